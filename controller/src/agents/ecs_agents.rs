//! Agents that speak ECS's own API. They call and are not called: each of their calls is a sign of life, and a session of one is nothing but the
//! memory that it called lately. Shell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::model::{ContainerInstance, ContainerInstanceId, ContainerInstanceStatus};
use berth_proto::v1::{RefusalCode, Refused};

use super::context::Context;
use super::opening::{self, Admitted, Applicant};
use super::registry::SessionState;
use super::server::AgentsHandle;
use super::session::{self, deposed};
use crate::api::ports::{EcsAgentFailure, EcsAgents, PortFuture, RegisteringHost};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long such an agent may be silent before it counts as disconnected: it calls when a task changes, and else three times in that span.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Those that have a session here, and how to say that one called.
#[derive(Default)]
pub(super) struct Callers(Mutex<BTreeMap<ContainerInstanceId, Arc<Notify>>>);

impl Callers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerInstanceId, Arc<Notify>>> {
        // Whole after every step, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that one called; `false` if it has no session here.
    fn note(&self, host: ContainerInstanceId) -> bool {
        let callers = self.lock();
        let called = callers.get(&host);
        called.inspect(|called| called.notify_one()).is_some()
    }

    /// Takes one out, unless a newer session of its host has taken its place.
    fn remove(&self, host: ContainerInstanceId, called: &Arc<Notify>) {
        let mut callers = self.lock();
        if callers.get(&host).is_some_and(|known| Arc::ptr_eq(known, called)) {
            callers.remove(&host);
        }
    }
}

impl EcsAgents for AgentsHandle {
    fn register(&self, host: RegisteringHost) -> PortFuture<'_, Result<ContainerInstanceId, EcsAgentFailure>> {
        Box::pin(async move { admit(self.context(), self.callers(), host).await.map_err(failure) })
    }

    fn heard<'a>(&'a self, host: &'a ContainerInstance) -> PortFuture<'a, Result<(), EcsAgentFailure>> {
        Box::pin(async move {
            if host.agent_connected && self.callers().note(host.id) {
                return Ok(());
            }
            let again = RegisteringHost {
                cluster: host.cluster.clone(),
                agent: host.agent.clone(),
                previous: Some(host.id),
                host: host.host.clone(),
            };
            self.register(again).await.map(|_| ())
        })
    }
}

/// Gives the agent a session, which lasts for as long as it calls.
async fn admit(
    context: &Arc<Context>,
    callers: &Arc<Callers>,
    host: RegisteringHost,
) -> Result<ContainerInstanceId, Refused> {
    // Nobody takes what it is asked for: it would not hear of it.
    let (state, _) = SessionState::new(context.stop.child_token());
    let applicant = Applicant::without_tasks((host.cluster, host.agent), host.host, host.previous);
    let admitted = opening::admit(context, applicant, false, &state).await?;
    let (id, called) = (admitted.host, Arc::new(Notify::new()));
    callers.lock().insert(id, Arc::clone(&called));
    let (context, callers) = (Arc::clone(context), Arc::clone(callers));
    tokio::spawn(async move { stay(&context, &callers, admitted, state, called).await });
    Ok(id)
}

/// Waits until the agent has been silent for too long, or something else ends its session.
async fn stay(context: &Context, callers: &Callers, admitted: Admitted, state: Arc<SessionState>, called: Arc<Notify>) {
    let Admitted { agent, host, term, .. } = admitted;
    let mut led_term = context.group.watch_led_term();
    let (mut last_heard_at, mut silent_at) = (context.clock.now(), Instant::now() + SILENCE);
    tracing::info!(container_instance = %host, term, "an agent that speaks ECS's API has a session");
    loop {
        tokio::select! {
            biased;
            () = context.stop.cancelled() => break,
            () = state.end.cancelled() => break,
            () = deposed(&mut led_term, term) => break,
            () = called.notified() => {
                (last_heard_at, silent_at) = (context.clock.now(), Instant::now() + SILENCE);
            }
            () = state.changed.notified() => {
                // It asks by itself what it is to run.
                state.take_changes();
                let view = context.group.view();
                let known = view.view.container_instance(host);
                if known.is_none_or(|host| host.status == ContainerInstanceStatus::Inactive) {
                    break;
                }
            }
            () = tokio::time::sleep_until(silent_at) => break,
        }
    }
    tracing::info!(container_instance = %host, "the session of an agent that speaks ECS's API ended");
    callers.remove(host, &called);
    context.registry.remove(host, &state);
    session::leave(context, &agent, &state, (host, term), last_heard_at).await;
}

fn failure(refused: Refused) -> EcsAgentFailure {
    match refused.code() {
        RefusalCode::ClusterNotFound => EcsAgentFailure::ClusterNotFound,
        RefusalCode::NotLeader | RefusalCode::Unavailable => EcsAgentFailure::Unavailable(refused.message),
        _ => EcsAgentFailure::Refused(refused.message),
    }
}
