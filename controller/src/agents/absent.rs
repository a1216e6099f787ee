//! Looks out for agents that the state takes for connected although they have no session here: after this controller
//! has come to lead or has restarted, or where recording their leave failed. Shell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{ContainerInstanceId, ContainerInstanceStatus};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::context::{Context, silence};
use super::ecs_agents;
use super::registry::AgentKey;
use super::session::record_disconnected;

/// Time between two looks: short beside the silence after which an agent counts as disconnected.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Agents whose disconnection is proposed at the same time: enough to share a sync, few beside what else is proposed.
const MAX_AT_ONCE: usize = 64;

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

async fn look(context: &Arc<Context>, term: u64, absent_since: &mut BTreeMap<ContainerInstanceId, Instant>) {
    let absent = absent(context);
    absent_since.retain(|host, _| absent.contains_key(host));
    let mut under_way = JoinSet::new();
    for (host, agent) in absent {
        let since = *absent_since.entry(host).or_insert_with(Instant::now);
        if since.elapsed() < patience(context, host, &agent) {
            continue;
        }
        if under_way.len() >= MAX_AT_ONCE {
            log_panic(under_way.join_next().await);
        }
        if context.led_term() != Some(term) || context.stop.is_cancelled() {
            break;
        }
        under_way.spawn(miss(Arc::clone(context), term, host, agent, since));
    }
    while !under_way.is_empty() {
        log_panic(under_way.join_next().await);
    }
}

/// How long an agent may stay away: as long as it may be silent.
fn patience(context: &Context, host: ContainerInstanceId, agent: &AgentKey) -> Duration {
    let view = context.group.view();
    let speaks_ecs = view
        .view
        .container_instance(host)
        .map(|host| host.host.ecs_agent.is_some());
    match speaks_ecs {
        Some(true) => ecs_agents::SILENCE,
        _ => silence(&view.view.host_settings(&agent.0)),
    }
}

/// Records that the agent is disconnected, unless it has come back.
async fn miss(context: Arc<Context>, term: u64, host: ContainerInstanceId, agent: AgentKey, since: Instant) {
    // Held, so that an agent which registers at this moment comes after.
    let slot = context.registry.hold_slot(&agent).await;
    if slot.session().is_none() {
        tracing::info!(container_instance = %host, "an agent has not come back: it counts as disconnected");
        let absent_ms = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        record_disconnected(&context, term, host, context.clock.now().plus_ms(-absent_ms)).await;
    }
}

fn log_panic(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(panic)) = ended {
        tracing::error!(%panic, "recording that an agent is disconnected panicked: it is tried again");
    }
}

fn absent(context: &Context) -> BTreeMap<ContainerInstanceId, AgentKey> {
    let view = context.group.view();
    let hosts = view.view.all_container_instances();
    let hosts = hosts.filter(|h| h.agent_connected && h.status != ContainerInstanceStatus::Inactive);
    let absent = hosts.filter(|h| context.registry.session_of(h.id).is_none());
    absent.map(|h| (h.id, (h.cluster.clone(), h.agent.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::opening;
    use super::super::opening::testing::{applicant, leading_context};
    use super::super::registry::SessionState;
    use super::*;
    use berth_core::model::{Cluster, Timestamp};
    use berth_core::state::Command;

    #[tokio::test]
    async fn agents_that_are_absent_together_are_missed_together_and_only_in_the_term_in_which_they_were() {
        let context = Arc::new(leading_context().await);
        let cluster = Command::CreateCluster(Cluster::new(applicant("agent").agent.0, Timestamp(0)));
        context.group.propose(cluster).await.unwrap().outcome.unwrap();
        for number in 0..3 * MAX_AT_ONCE {
            let (session, _calls) = SessionState::new(context.stop.child_token());
            let agent = applicant(&format!("agent-{number}"));
            let key = agent.agent.clone();
            let admitted = opening::admit(&context, agent, false, &session).await.unwrap();
            // As one that this controller never had a session of.
            context.registry.hold_slot(&key).await.replace(None);
            context.registry.remove(admitted.host, &session);
        }
        let term = context.led_term().expect("it leads");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(10));
        let mut absent_since = BTreeMap::new();
        for host in absent(&context).into_keys() {
            absent_since.insert(host, long_ago.expect("the machine runs longer than that"));
        }
        assert_eq!(absent_since.len(), 3 * MAX_AT_ONCE);
        look(&context, term - 1, &mut absent_since).await;
        assert_eq!(absent(&context).len(), 3 * MAX_AT_ONCE, "another term's findings");
        look(&context, term, &mut absent_since).await;
        assert_eq!(absent(&context).len(), 0);
    }
}
