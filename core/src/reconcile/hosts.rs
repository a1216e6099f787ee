//! Hosts: given up when their agent stays away, forgotten when they left long ago, and reason to look at services. Pure.

use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, SchedulingStrategy, ServiceKey,
    ServiceStatus,
};
use crate::state::Command;

use super::agenda::Subject;
use super::pass::Pass;
use super::retention;

/// A host whose agent has been away for this long is given up, and its tasks are replaced: long beside a restart of
/// the agent or of the controller, short beside what users of a service bear.
pub const HOST_LOST_AFTER_MS: i64 = 60_000;

/// Looks at one host, and at the services with tasks on it.
pub(super) fn reconcile(pass: &mut Pass<'_>, id: ContainerInstanceId) {
    let Some(host) = pass.state.container_instance(id).cloned() else {
        return;
    };
    if host.status == ContainerInstanceStatus::Inactive {
        retention::inactive_host(pass, &host);
        return;
    }
    if !host.agent_connected {
        give_up_if_lost(pass, &host);
    }
    let services: Vec<ServiceKey> = pass
        .state
        .tasks_of_instance(id)
        .filter_map(|t| t.service().cloned())
        .collect();
    for service in services {
        pass.agenda.enqueue(Subject::Service(service));
    }
}

/// Looks at the services to which any host of `cluster` matters.
pub(super) fn reconcile_all(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    pass.agenda.enqueue_unplaced(cluster);
    let daemons: Vec<ServiceKey> = pass
        .state
        .services_of(cluster)
        .filter(|s| s.scheduling_strategy == SchedulingStrategy::Daemon && s.status == ServiceStatus::Active)
        .map(|s| s.key.clone())
        .collect();
    for service in daemons {
        pass.agenda.enqueue(Subject::Service(service));
    }
}

fn give_up_if_lost(pass: &mut Pass<'_>, host: &ContainerInstance) {
    if pass.state.tasks_of_instance(host.id).all(|t| t.is_stopped()) {
        return;
    }
    let lost_at = host.connection_changed_at.plus_ms(HOST_LOST_AFTER_MS);
    if lost_at > pass.now {
        pass.agenda.wake(Subject::Host(host.id), lost_at);
        return;
    }
    let away_secs = pass.now.ms_since(host.connection_changed_at) / 1_000;
    pass.decide(Command::DeclareHostLost {
        container_instance: host.id,
        reason: format!(
            "Host {} (container instance {}) was lost: its agent has been disconnected for {away_secs} s.",
            host.host.host_name, host.id
        ),
        at: pass.now,
    });
}
