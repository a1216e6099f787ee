//! How far the logs of a task have been read, and that as a token. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_aws::AwsError;
use berth_core::model::{Task, TaskId};
use serde::{Deserialize, Serialize};

use crate::api::errors::invalid;
use crate::api::ports::LogStart;

/// How far each container's log has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    task: TaskId,
    containers: BTreeMap<String, Place>,
}

/// How far one container's log has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Where to go on; `None` before anything was read.
    pub(super) position: Option<String>,
    /// Before anything was read: begin with so many of the newest lines.
    pub(super) tail: Option<u32>,
    /// Whether no line will follow.
    pub(super) ended: bool,
}

impl Place {
    /// Where the next piece begins.
    pub(super) fn start(&self) -> LogStart {
        match (&self.position, self.tail) {
            (Some(position), _) => LogStart::At(position.clone()),
            // Where the log ends now is where its last line ends; the line itself is then dropped.
            (None, Some(tail)) => LogStart::Tail(tail.max(1)),
            (None, None) => LogStart::First,
        }
    }

    /// Whether the lines of the first piece only tell where the log ends.
    pub(super) fn skips_lines(&self) -> bool {
        self.position.is_none() && self.tail == Some(0)
    }
}

impl Places {
    /// The places of a request: those of its token, or the beginnings.
    ///
    /// # Errors
    /// `InvalidParameterException` for a container that the task does not have, and for a token of other logs or none of ours.
    pub(super) fn of_request(
        task: &Task,
        container: Option<&str>,
        tail: Option<u32>,
        token: Option<&str>,
    ) -> Result<Self, AwsError> {
        let names: Vec<&str> = task.containers.iter().map(|c| &*c.name).collect();
        let wanted = match container {
            Some(name) if names.contains(&name) => vec![name],
            Some(name) => {
                return Err(invalid(format!(
                    "The task has no container {name}; it has: {}.",
                    names.join(", ")
                )));
            }
            None => names,
        };
        let Some(token) = token else {
            let place = Place {
                tail,
                ..Place::default()
            };
            let containers = wanted.into_iter().map(|name| (name.to_owned(), place.clone()));
            return Ok(Self {
                task: task.id,
                containers: containers.collect(),
            });
        };
        if tail.is_some() {
            return Err(invalid("tail and nextToken cannot be given together."));
        }
        let places = Self::decode(token).ok_or_else(|| invalid("Invalid token."))?;
        let same_containers =
            places.containers.len() == wanted.len() && wanted.iter().all(|name| places.containers.contains_key(*name));
        if places.task != task.id || !same_containers {
            return Err(invalid("The token is of another task or of other containers."));
        }
        Ok(places)
    }

    /// The token for these places.
    pub(super) fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_vec(self).map(|document| URL_SAFE_NO_PAD.encode(document))
    }

    fn decode(token: &str) -> Option<Self> {
        let document = URL_SAFE_NO_PAD.decode(token).ok()?;
        serde_json::from_slice(&document).ok()
    }

    /// Containers whose logs may have more, and how far each was read.
    pub(super) fn open(&self) -> impl Iterator<Item = (&String, &Place)> {
        self.containers.iter().filter(|(_, place)| !place.ended)
    }

    /// Number of containers that are read.
    pub(super) fn len(&self) -> usize {
        self.containers.len()
    }

    /// Notes how far a container was read.
    pub(super) fn advance(&mut self, container: &str, position: String, ended: bool) {
        if let Some(place) = self.containers.get_mut(container) {
            // A log without a line has no place yet; whatever is written to it from now on is new.
            *place = Place {
                position: Some(position).filter(|position| !position.is_empty()),
                tail: None,
                ended,
            };
        }
    }

    /// Notes that no container will write anything more.
    pub(super) fn end_all(&mut self) {
        for place in self.containers.values_mut() {
            place.ended = true;
        }
    }
}
