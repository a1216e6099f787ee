//! Agents that speak ECS's own API. They call and are not called: each of their calls is a sign of life, and a session of one is nothing but the
//! memory that it called lately. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{ContainerInstance, ContainerInstanceId, ContainerInstanceStatus};
use berth_proto::v1::{RefusalCode, Refused};

use super::context::Context;
use super::opening::{self, Admitted, Applicant};
use super::registry::SessionState;
use super::server::AgentsHandle;
use super::session::{self, deposed};
use crate::api::ports::{EcsAgentFailure, EcsAgents, PortFuture, RegisteringHost};
use tokio::time::Instant;

/// How long such an agent may be silent before it counts as disconnected: it calls when a task changes, and else three times in that span.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

impl EcsAgents for AgentsHandle {
    fn register(&self, host: RegisteringHost) -> PortFuture<'_, Result<ContainerInstanceId, EcsAgentFailure>> {
        let applicant = Applicant::without_tasks((host.cluster, host.agent), Some(host.host), host.previous);
        Box::pin(async move { admit(self.context(), applicant).await.map_err(failure) })
    }

    fn heard<'a>(&'a self, host: &'a ContainerInstance) -> PortFuture<'a, Result<(), EcsAgentFailure>> {
        Box::pin(async move {
            let session = self.context().registry.session_of(host.id);
            if let Some(session) = session.filter(|_| host.agent_connected) {
                session.called.notify_one();
                return Ok(());
            }
            // What it is may have changed since the caller looked.
            let agent = (host.cluster.clone(), host.agent.clone());
            let applicant = Applicant::without_tasks(agent, None, Some(host.id));
            let admitted = admit(self.context(), applicant).await;
            admitted.map(|_| ()).map_err(failure)
        })
    }
}

/// Gives the agent a session, which lasts for as long as it calls.
async fn admit(context: &Arc<Context>, applicant: Applicant) -> Result<ContainerInstanceId, Refused> {
    // Nobody takes what it is asked for: it would not hear of it.
    let (state, _) = SessionState::new(context.stop.child_token());
    let admitted = opening::admit(context, applicant, false, &state).await?;
    let (id, context) = (admitted.host, Arc::clone(context));
    tokio::spawn(async move { stay(&context, admitted, state).await });
    Ok(id)
}

/// Waits until the agent has been silent for too long, or something else ends its session.
async fn stay(context: &Context, admitted: Admitted, state: Arc<SessionState>) {
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
            () = state.called.notified() => {
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
