//! Tells sessions what concerns their hosts, from the stream of what was applied. Shell.

use std::sync::Arc;

use berth_core::state::Event;

use super::context::Context;
use super::registry::Registry;
use crate::replica::ApplyOutcome;
use berth_raft::{AppliedFeed, FeedItem};

/// Follows the stream until the group or the server stops.
pub(super) async fn follow(context: Arc<Context>, mut feed: AppliedFeed<ApplyOutcome>) {
    loop {
        let item = tokio::select! {
            item = feed.next() => item,
            () = context.stop.cancelled() => return,
        };
        match item {
            Some(FeedItem::Batch(batch)) => {
                let events = batch
                    .outcomes
                    .iter()
                    .filter_map(|applied| applied.outcome.as_ref().ok());
                events
                    .flat_map(|events| events.iter())
                    .for_each(|event| tell(&context.registry, event));
            }
            Some(FeedItem::Resync) => context.registry.all_changed(),
            None => return,
        }
    }
}

fn tell(registry: &Registry, event: &Event) {
    match event {
        Event::TaskChanged(change) => {
            if let Some(host) = change.container_instance {
                registry.task_changed(host, change.task);
            }
        }
        Event::TaskForgotten {
            task,
            container_instance: Some(host),
            ..
        } => registry.task_forgotten(*host, *task),
        Event::ContainerInstanceDeregistered { id, .. } => registry.host_changed(*id),
        Event::PowerChanged { id, .. } => registry.power_changed(*id),
        // Their container instances are gone: the agents register again, into nothing that they knew.
        Event::StateReset => registry.end_all(),
        _ => {}
    }
}
