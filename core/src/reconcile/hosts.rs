//! Hosts: given up when their agent stays away, forgotten when they left long ago, and reason to look at services. Pure.

use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, DesiredStatus,
    PredefinedCapacityProvider, SchedulingStrategy, ServiceKey, ServiceStatus, StopCode, Task, TaskId, Timestamp,
};
use crate::state::{ClusterState, Command};

use super::agenda::Subject;
use super::pass::Pass;
use super::stopping;
use super::{retention, zone_balance};

/// Why tasks of the capacity provider `FARGATE_SPOT` stop (ECS's sentence).
const SPOT_INTERRUPTED: &str = "Your Spot Task was interrupted.";

/// Hosts of a cluster that are given up within [`MASS_LOSS_WINDOW_MS`] whatever its size: losses that happen.
const HOSTS_GIVEN_UP_AT_ONCE: usize = 10;

/// Of a large cluster, one host in so many is given up within a window: more at once is a network that fails, and what
/// it cut off will mostly come back.
const SHARE_GIVEN_UP_AT_ONCE: usize = 20;

/// The window in which so many hosts are given up.
pub const MASS_LOSS_WINDOW_MS: i64 = 10_000;

/// How many of `hosts` are given up within [`MASS_LOSS_WINDOW_MS`].
#[must_use]
pub fn hosts_given_up_at_once(hosts: usize) -> usize {
    HOSTS_GIVEN_UP_AT_ONCE.max(hosts / SHARE_GIVEN_UP_AT_ONCE)
}

/// Looks at one host, and at the services with tasks on it.
pub(super) fn reconcile(pass: &mut Pass<'_>, id: ContainerInstanceId) {
    let Some(host) = pass.state.container_instance(id).cloned() else {
        return;
    };
    if host.status == ContainerInstanceStatus::Inactive {
        retention::inactive_host(pass, &host);
        return;
    }
    zone_balance::look_later(pass, &host.cluster);
    give_up_if_lost(pass, &host);
    interrupt_spot(pass, &host);
    let services: Vec<ServiceKey> = pass
        .state
        .tasks_of_instance(id)
        .filter(|t| !t.is_stopped())
        .filter_map(|t| t.service().cloned())
        .collect();
    for service in services {
        pass.agenda.enqueue(Subject::Service(service));
    }
}

/// Stops the tasks of the capacity provider `FARGATE_SPOT` on a host that drains, all at once, as ECS does where such capacity goes: what they
/// belong to keeps no tasks in place of them first, and those of no service stop as well.
fn interrupt_spot(pass: &mut Pass<'_>, host: &ContainerInstance) {
    if host.status != ContainerInstanceStatus::Draining {
        return;
    }
    let tasks = pass.state.tasks_of_instance(host.id);
    let interrupted = tasks.filter(|task| is_interrupted(&pass.state, task));
    let ids: Vec<TaskId> = interrupted.map(|task| task.id).collect();
    stopping::stop_all(pass, &ids, StopCode::SpotInterruption, SPOT_INTERRUPTED);
}

/// Whether a task that is to run stops at once, since it is of the capacity provider `FARGATE_SPOT` and its host drains.
pub(super) fn is_interrupted(state: &ClusterState, task: &Task) -> bool {
    let provider = task.capacity_provider.as_ref().and_then(PredefinedCapacityProvider::of);
    provider == Some(PredefinedCapacityProvider::FargateSpot)
        && task.desired_status == DesiredStatus::Running
        && task.container_instance.is_some_and(|host| state.is_draining(host))
}

/// Looks at one host whose agent may be away; what waiting for it means to services has been looked at.
pub(super) fn reconcile_away(pass: &mut Pass<'_>, id: ContainerInstanceId) {
    if let Some(host) = pass.state.container_instance(id).cloned() {
        give_up_if_lost(pass, &host);
    }
}

/// Looks at every host of `cluster` whose agent is away.
pub(super) fn reconcile_all_away(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    for host in pass.state.container_instances_of(cluster) {
        if !host.agent_connected {
            pass.agenda.enqueue(Subject::AwayHost(host.id));
        }
    }
}

/// Looks at the services to which any host of `cluster` matters, and at hosts that waited for one to be in touch.
pub(super) fn reconcile_all(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    if pass.state.in_touch_since(cluster).is_some() {
        pass.agenda.set_in_touch(cluster);
    }
    pass.agenda.enqueue_unplaced(cluster);
    let daemons: Vec<ServiceKey> = pass
        .state
        .services_and_daemons_of(cluster)
        .filter(|s| s.scheduling_strategy == SchedulingStrategy::Daemon && s.status == ServiceStatus::Active)
        .map(|s| s.key.clone())
        .collect();
    for service in daemons {
        pass.agenda.enqueue(Subject::Service(service));
    }
}

fn give_up_if_lost(pass: &mut Pass<'_>, host: &ContainerInstance) {
    if host.agent_connected || pass.state.tasks_of_instance(host.id).all(|t| t.is_stopped()) {
        return;
    }
    let Some(due) = due(pass, host) else {
        pass.agenda.set_out_of_touch(&host.cluster);
        return;
    };
    if due > pass.now {
        pass.agenda.wake(Subject::AwayHost(host.id), due);
        return;
    }
    let away_secs = pass.now.ms_since(host.last_heard_at) / 1_000;
    pass.decide(Command::DeclareHostLost {
        container_instance: host.id,
        reason: format!(
            "Host {} (container instance {}) was lost: nothing has been heard of its agent for {away_secs} s.",
            host.host.host_name, host.id
        ),
        at: pass.now,
    });
}

/// When the host is to be given up; `None` while no agent of its cluster is connected.
///
/// Where no agent of its cluster is connected, the controllers' own network is likelier to have failed than every host,
/// and there is nowhere to start anything: what runs is left alone, and once the first agent is back, the others have
/// as long as ever to come back too.
fn due(pass: &Pass<'_>, host: &ContainerInstance) -> Option<Timestamp> {
    let (state, cluster) = (&pass.state, &host.cluster);
    let in_touch_since = state.in_touch_since(cluster)?;
    let patience_ms = i64::from(state.host_settings(cluster).host_lost_after_ms);
    let due = host.last_heard_at.max(in_touch_since).plus_ms(patience_ms);
    // Of those that sleep nobody hears anyway: the measure is what can be lost.
    let hosts = state.host_count(cluster).saturating_sub(state.sleeper_count(cluster));
    let allowed = hosts_given_up_at_once(hosts);
    let window = pass.now.plus_ms(1 - MASS_LOSS_WINDOW_MS);
    let given_up: Vec<Timestamp> = state.hosts_lost_since(cluster, window).take(allowed).collect();
    let until_next = given_up.first().filter(|_| given_up.len() == allowed);
    Some(until_next.map_or(due, |first| due.max(first.plus_ms(MASS_LOSS_WINDOW_MS))))
}
