//! `GetEvents`: hands out what the cluster announced, and waits for the next if asked to. Shell.

use std::str::FromStr;
use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::berth::{EventGap, EventType, GetEventsRequest, GetEventsResponse};
use berth_core::announcements::{Announcement, Position};
use berth_core::model::{ClusterKey, ContainerInstanceId, ServiceKey, TaskId, Timestamp};
use berth_core::state::ClusterState;
use serde_json::Value;

use super::places::{self, Place, Wait};
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::ecs::render::event;
use crate::api::errors::{self, invalid};
use crate::events::Read;

/// Which events a reader wants.
struct Wanted {
    cluster: ClusterKey,
    service: Option<ServiceKey>,
    task: Option<TaskId>,
    host: Option<ContainerInstanceId>,
    types: Vec<EventType>,
}

impl Wanted {
    /// What is named has to be there when a reader begins; one that goes on may follow it to its end.
    fn of(cluster: ClusterKey, input: &GetEventsRequest, state: &ClusterState) -> Result<Self, AwsError> {
        let goes_on = input.position.is_some();
        let service = given(&input.service).map(|name| references::service_key(&cluster, name));
        let service = service.transpose()?;
        if let Some(key) = service.as_ref().filter(|key| !goes_on && state.service(key).is_none()) {
            return Err(errors::named_service_not_found(key));
        }
        let task = given(&input.task).map(|name| match references::task(state, &cluster, name)? {
            Lookup::Found(task) => Ok(task.id),
            Lookup::Missing(arn) => missing(&arn, goes_on),
        });
        let host =
            given(&input.container_instance).map(|name| match references::container_instance(state, &cluster, name)? {
                Lookup::Found(host) => Ok(host.id),
                Lookup::Missing(arn) => missing(&arn, goes_on),
            });
        Ok(Self {
            service,
            task: task.transpose()?,
            host: host.transpose()?,
            types: input.detail_types.clone().unwrap_or_default(),
            cluster,
        })
    }

    fn takes(&self, announcement: &Announcement) -> bool {
        let name = event::detail_type(announcement);
        *announcement.cluster() == self.cluster
            && (self.service.is_none() || announcement.service() == self.service.as_ref())
            && (self.task.is_none() || announcement.task() == self.task)
            && (self.host.is_none() || announcement.container_instance() == self.host)
            && (self.types.is_empty() || self.types.iter().any(|wanted| wanted.as_str() == name))
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// The id of something that is not there.
fn missing<Id: FromStr>(arn: &str, goes_on: bool) -> Result<Id, AwsError> {
    let id = arn.rsplit('/').next().and_then(|id| id.parse().ok());
    let id = id.filter(|_| goes_on);
    id.ok_or_else(|| RESOURCE_NOT_FOUND.error(format!("There is no {arn}; what is over is forgotten after a while.")))
}

pub(crate) async fn handle(api: &Api, call: &Call, input: GetEventsRequest) -> Result<GetEventsResponse, AwsError> {
    if input.position.is_some() && input.since.is_some() {
        return Err(invalid(
            "position and since cannot be given together: a position says where to go on.",
        ));
    }
    let mut wait = Wait::new(api, input.wait_ms)?;
    // With all that was answered before, so that what another controller has handed out is known here too.
    let state = api.read().await?;
    let cluster = places::cluster(&state, &call.scope, input.cluster.as_deref(), input.position.is_some())?;
    let wanted = Wanted::of(cluster, &input, &state)?;
    let (mut from, mut gap) = begin(api, &input)?;
    loop {
        wait.look();
        let read = api
            .events()
            .events(from, places::size(input.max_events), |kept| wanted.takes(kept));
        let missed = read.missed;
        let history = api.events().history();
        let (events, next) = rendered(read, history);
        gap = gap.or_else(|| missed.map(|missed| forgotten(history, Some(missed.from), missed.to)));
        from = next;
        if !events.is_empty() || gap.is_some() || !wait.pause().await {
            return Ok(GetEventsResponse {
                events: Some(events),
                position: Some(places::write(history, from)),
                gap,
            });
        }
    }
}

/// Where the reader begins, and what is missing before that.
fn begin(api: &Api, input: &GetEventsRequest) -> Result<(Position, Option<EventGap>), AwsError> {
    let (memory, history) = (api.events(), api.events().history());
    if let Some(text) = &input.position {
        return match places::read(history, memory.end(), text)? {
            Place::At(position) => Ok((position, None)),
            Place::Elsewhere => {
                // All that is kept is of this history.
                let (oldest, _) = memory.since(Timestamp(i64::MIN));
                Ok((oldest, Some(places::elsewhere(history, text, oldest))))
            }
            Place::Listing(..) => Err(invalid(
                "The position is one of WatchResources, and means nothing to GetEvents.",
            )),
        };
    }
    let Some(since) = input.since else {
        return Ok((memory.end(), None));
    };
    let (position, kept_since) = memory.since(Timestamp(since.0));
    Ok((position, kept_since.map(|_| forgotten(history, None, position))))
}

fn forgotten(history: u64, from: Option<Position>, to: Position) -> EventGap {
    EventGap {
        from: from.map(|from| places::write(history, from)),
        to: Some(places::write(history, to)),
        reason: Some(
            "This controller does not keep what was announced before: it keeps a number of the newest events in memory, and none of before it \
             was started or took the state over from another."
                .to_owned(),
        ),
    }
}

/// The events as documents, as many as an answer takes, and where to go on.
fn rendered(read: Read<Arc<Announcement>>, history: u64) -> (Vec<Value>, Position) {
    let (mut events, mut bytes) = (vec![], 0);
    for announcement in read.found {
        let document = event::event(&announcement, history);
        bytes += document.to_string().len();
        if bytes > places::MAX_BYTES && !events.is_empty() {
            return (events, announcement.position);
        }
        events.push(document);
    }
    (events, read.next)
}

#[cfg(test)]
#[path = "get_events_tests.rs"]
mod tests;
