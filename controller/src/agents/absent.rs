//! Looks out for agents that the state takes for connected although they have no session here: after this controller
//! has come to lead or has restarted, or where recording their leave failed. Shell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{ContainerInstanceId, ContainerInstanceStatus};
use tokio::time::{Instant, MissedTickBehavior};

use super::context::{Context, silence};
use super::registry::AgentKey;
use super::session::record_disconnected;

/// Time between two looks: short beside the silence after which an agent counts as disconnected.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks again and again until the server stops.
pub(super) async fn look_out(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut term, mut absent_since) = (None, BTreeMap::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = context.stop.cancelled() => return,
        }
        let led = context.led_term();
        if led != term {
            term = led;
            absent_since.clear();
        }
        if let Some(term) = led {
            look(&context, term, &mut absent_since).await;
        }
    }
}

async fn look(context: &Context, term: u64, absent_since: &mut BTreeMap<ContainerInstanceId, Instant>) {
    let absent = absent(context);
    absent_since.retain(|host, _| absent.contains_key(host));
    for (host, agent) in absent {
        let since = *absent_since.entry(host).or_insert_with(Instant::now);
        let absent_for = since.elapsed();
        if absent_for < silence(&context.settings(&agent.0)) {
            continue;
        }
        // Held, so that an agent which registers at this moment comes after.
        let slot = context.registry.hold_slot(&agent).await;
        if slot.session().is_none() {
            tracing::info!(container_instance = %host, "an agent has not come back: it counts as disconnected");
            let absent_ms = i64::try_from(absent_for.as_millis()).unwrap_or(i64::MAX);
            record_disconnected(context, term, host, context.clock.now().plus_ms(-absent_ms)).await;
        }
    }
}

fn absent(context: &Context) -> BTreeMap<ContainerInstanceId, AgentKey> {
    let view = context.group.view();
    let hosts = view.view.all_container_instances();
    let hosts = hosts.filter(|h| h.agent_connected && h.status != ContainerInstanceStatus::Inactive);
    let absent = hosts.filter(|h| context.registry.session_of(h.id).is_none());
    absent.map(|h| (h.id, (h.cluster.clone(), h.agent.clone()))).collect()
}
