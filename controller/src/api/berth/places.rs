//! Places to which readers of events and of changes have come, as texts that any controller of the cluster understands; and how they wait. Pure,
//! but for the waiting.

use std::time::Duration;

use berth_aws::AwsError;
use berth_aws::berth::EventGap;
use berth_aws::error::common;
use berth_core::announcements::Position;
use berth_core::model::{ClusterKey, LogIndex, Scope};
use berth_core::state::ClusterState;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use crate::api::context::Api;
use crate::api::ecs::references;
use crate::api::errors::{self, invalid};

/// Bytes of documents of one answer, beyond which it ends: it is held in memory here and by the client.
pub(super) const MAX_BYTES: usize = 512 * 1024;

/// Documents of one answer where the request does not say.
const DEFAULT_SIZE: usize = 100;

/// Where a reader goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At this place of the history of this cluster.
    At(Position),
    /// In a list that began there, after what this text stands for.
    Listing(Position, String),
    /// At a place of another history, or of one that this cluster has lost.
    Elsewhere,
}

/// A place as a text.
pub(super) fn write(history: u64, place: Position) -> String {
    format!("{history:016x}-{}-{}", place.index.0, place.number)
}

/// A place in a list as a text.
pub(super) fn write_listing(history: u64, began: Position, after: &str) -> String {
    format!("{}-{after}", write(history, began))
}

/// What a text stands for; `end` is the end of the history.
///
/// # Errors
/// `InvalidParameterException` for a text that no controller wrote.
pub(super) fn read(history: u64, end: Position, text: &str) -> Result<Place, AwsError> {
    let mut parts = text.splitn(4, '-');
    let mut next = || parts.next();
    let found = next().zip(next()).zip(next()).and_then(|((of, index), number)| {
        let of = u64::from_str_radix(of, 16).ok()?;
        let index = LogIndex(index.parse().ok()?);
        let number = number.parse().ok()?;
        Some((of, Position { index, number }))
    });
    let Some((of, position)) = found else {
        return Err(invalid(format!(
            "The position {text:?} is none: give back the position of an earlier answer, as it was."
        )));
    };
    Ok(match next() {
        _ if of != history || position > end => Place::Elsewhere,
        Some(after) => Place::Listing(position, after.to_owned()),
        None => Place::At(position),
    })
}

/// The gap of a reader of another history.
pub(super) fn elsewhere(history: u64, given: &str, to: Position) -> EventGap {
    EventGap {
        from: Some(given.to_owned()),
        to: Some(write(history, to)),
        reason: Some(
            "The position is of another history: the cluster was restored from a backup since, or it is another one."
                .to_owned(),
        ),
    }
}

/// The cluster that a request follows: one that is deleted meanwhile is followed to its end.
///
/// # Errors
/// `ClusterNotFoundException`.
pub(super) fn cluster(
    state: &ClusterState,
    scope: &Scope,
    given: Option<&str>,
    goes_on: bool,
) -> Result<ClusterKey, AwsError> {
    let key = references::cluster_key(scope, given)?;
    if goes_on && state.cluster(&key).is_some() {
        return Ok(key);
    }
    let found = state.active_cluster(&key);
    found
        .map(|cluster| cluster.key.clone())
        .map_err(|rejection| errors::rejection(&rejection))
}

/// How many documents an answer has at most.
pub(super) fn size(given: Option<i32>) -> usize {
    given
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(DEFAULT_SIZE)
}

/// Callers that may wait at the same time: a quarter of the requests that the server has under way.
const MAX_WAITING: usize = 64;

static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);

/// Waits for what comes after what was read.
pub(super) struct Wait {
    news: watch::Receiver<u64>,
    until: Instant,
    /// A place among those who wait.
    _place: Option<SemaphorePermit<'static>>,
}

impl Wait {
    /// A wait that ends after so many milliseconds.
    ///
    /// # Errors
    /// `ThrottlingException` where many wait already: each is a request under way, of which the server has no more than it can do with.
    pub(super) fn new(api: &Api, wait_ms: Option<i32>) -> Result<Self, AwsError> {
        let wait = wait_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let place = (wait > 0).then(|| WAITING.try_acquire()).transpose().map_err(|_| {
            common::THROTTLING.error(format!(
                "{MAX_WAITING} callers wait for news of this controller already. Ask again later, or ask another controller."
            ))
        })?;
        Ok(Self {
            news: api.events().news(),
            until: Instant::now() + Duration::from_millis(wait),
            _place: place,
        })
    }

    /// To be called before each look: what comes after it ends the next pause.
    pub(super) fn look(&mut self) {
        self.news.borrow_and_update();
    }

    /// Whether something came before the time was over.
    pub(super) async fn pause(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        !left.is_zero() && matches!(tokio::time::timeout(left, self.news.changed()).await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, number: u32) -> Position {
        Position {
            index: LogIndex(index),
            number,
        }
    }

    #[test]
    fn place_in_text_and_back_is_the_same() {
        let end = at(9, 0);
        let text = write(7, at(3, 2));
        assert_eq!(read(7, end, &text).expect("ours"), Place::At(at(3, 2)));
        let list = write_listing(7, at(3, 0), "service/a-b");
        assert_eq!(
            read(7, end, &list).expect("ours"),
            Place::Listing(at(3, 0), "service/a-b".to_owned())
        );
        assert_eq!(read(8, end, &text).expect("well-formed"), Place::Elsewhere);
        assert_eq!(read(7, at(2, 0), &text).expect("well-formed"), Place::Elsewhere);
        for nonsense in ["", "7", "x-1-2", "7-1", "7-1-x", "7--"] {
            assert!(read(7, end, nonsense).is_err(), "{nonsense}");
        }
    }
}
