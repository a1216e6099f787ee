//! `WatchResources`: lists all resources of a cluster, and then those that change, each as it is when it is told. Shell.
//!
//! A list has no memory here: its pages are of the state as it is then, and once it is at its end the caller gets whatever changed since it began, so
//! that nothing is missed between two pages and nothing is ever told as it was before.

use berth_aws::AwsError;
use berth_aws::berth::{EventGap, ResourceChange, ResourceKind, WatchResourcesRequest, WatchResourcesResponse};
use berth_core::announcements::{Position, Resource};
use berth_core::model::ClusterKey;
use berth_core::state::ClusterState;

use super::listed;
use super::places::{self, Place, Wait};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// What a caller follows.
struct Followed {
    cluster: ClusterKey,
    kinds: Vec<ResourceKind>,
    size: usize,
    history: u64,
}

impl Followed {
    fn takes(&self, resource: &Resource) -> bool {
        let is_here = match resource.cluster() {
            Some(cluster) => *cluster == self.cluster,
            None => *resource.scope() == self.cluster.scope,
        };
        is_here && (self.kinds.is_empty() || self.kinds.contains(&listed::kind(resource)))
    }
}

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: WatchResourcesRequest,
) -> Result<WatchResourcesResponse, AwsError> {
    let mut wait = Wait::new(api, input.wait_ms)?;
    wait.look();
    // Before the state is read: what is applied in between is told twice rather than not at all.
    let began = api.events().end();
    let state = api.read().await?;
    let followed = Followed {
        cluster: places::cluster(&state, &call.scope, input.cluster.as_deref(), input.position.is_some())?,
        kinds: input.kinds.unwrap_or_default(),
        size: places::size(input.max_results),
        history: api.events().history(),
    };
    let Some(text) = &input.position else {
        return Ok(list(&state, &followed, began, None, None));
    };
    match places::read(followed.history, api.events().end(), text)? {
        Place::At(from) => follow(api, &followed, from, wait).await,
        Place::Listing(began, after) => {
            let after = listed::read(&followed.cluster, &after);
            let after = after.ok_or_else(|| invalid("The position is none of a list of this cluster."))?;
            Ok(list(&state, &followed, began, Some(&after), None))
        }
        Place::Elsewhere => {
            let gap = places::elsewhere(followed.history, text, began);
            Ok(list(&state, &followed, began, None, Some(gap)))
        }
    }
}

/// A page of the list.
fn list(
    state: &ClusterState,
    followed: &Followed,
    began: Position,
    after: Option<&Resource>,
    gap: Option<EventGap>,
) -> WatchResourcesResponse {
    // One more than the page tells whether it is the last.
    let mut found = listed::after(state, &followed.cluster, &followed.kinds, after, followed.size + 1);
    let is_cut = found.len() > followed.size;
    found.truncate(followed.size);
    let (changes, told) = shown(state, &found);
    let position = match found.get(told.wrapping_sub(1)).filter(|_| is_cut || told < found.len()) {
        Some(last) => places::write_listing(followed.history, began, &listed::write(last)),
        None => places::write(followed.history, began),
    };
    WatchResourcesResponse {
        changes: Some(changes),
        position: Some(position),
        listing: Some(true),
        gap,
    }
}

/// What changed from a place on.
async fn follow(
    api: &Api,
    followed: &Followed,
    mut from: Position,
    mut wait: Wait,
) -> Result<WatchResourcesResponse, AwsError> {
    loop {
        wait.look();
        let read = api
            .events()
            .changes(from, followed.size, |resource| followed.takes(resource));
        if let Some(missed) = read.missed {
            let gap = EventGap {
                from: Some(places::write(followed.history, missed.from)),
                to: Some(places::write(followed.history, missed.to)),
                reason: Some(
                    "This controller does not know which resources changed before: it keeps a number of the newest changes in memory, and none of \
                     before it was started or took the state over from another. All resources are listed anew."
                        .to_owned(),
                ),
            };
            let began = api.events().end();
            let state = api.read().await?;
            return Ok(list(&state, followed, began, None, Some(gap)));
        }
        let (places, resources): (Vec<Position>, Vec<Resource>) = read.found.into_iter().unzip();
        from = read.next;
        if !resources.is_empty() {
            // The state has all that was noted.
            let state = api.read().await?;
            let (changes, told) = shown(&state, &resources);
            let next = places.get(told).copied().unwrap_or(read.next);
            return Ok(WatchResourcesResponse {
                changes: Some(changes),
                position: Some(places::write(followed.history, next)),
                listing: Some(false),
                gap: None,
            });
        }
        if !wait.pause().await {
            return Ok(WatchResourcesResponse {
                changes: Some(vec![]),
                position: Some(places::write(followed.history, from)),
                listing: Some(false),
                gap: None,
            });
        }
    }
}

/// The resources as documents, as many as an answer takes, and how many those are.
fn shown(state: &ClusterState, resources: &[Resource]) -> (Vec<ResourceChange>, usize) {
    let (mut changes, mut bytes) = (vec![], 0);
    for resource in resources {
        let document = listed::shown(state, resource);
        bytes += document.as_ref().map_or(0, |document| document.to_string().len());
        if bytes > places::MAX_BYTES && !changes.is_empty() {
            break;
        }
        changes.push(ResourceChange {
            kind: Some(listed::kind(resource)),
            arn: Some(resource.arn()),
            gone: document.is_none().then_some(true),
            resource: document,
        });
    }
    let told = changes.len();
    (changes, told)
}

#[cfg(test)]
#[path = "watch_resources_tests.rs"]
mod tests;
