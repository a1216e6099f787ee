//! What managed daemons do beyond daemon services: they belong to capacity providers, are the last to leave a host, and some take the other tasks
//! with them where they end and do not come back. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    CapacityProviderName, ContainerInstanceId, DaemonAbsence, DesiredStatus, Service, Task, TaskId, Timestamp,
};
use crate::state::Command;

use super::pass::Pass;
use super::service::nothing_new;
use super::tally::Tally;
use super::{events, stopping};

/// Why tasks stop on hosts that are of none of the daemon's capacity providers, to follow ECS's sentence.
const SINCE_ELSEWHERE: &str = ": its container instance is in no capacity provider of the daemon";

/// Hosts by the capacity provider through which the service has them: of one that is no managed daemon, all of them through none.
pub(super) fn by_pool(
    pass: &Pass<'_>,
    service: &Service,
    hosts: Vec<ContainerInstanceId>,
) -> BTreeMap<Option<CapacityProviderName>, Vec<ContainerInstanceId>> {
    let mut pools: BTreeMap<Option<CapacityProviderName>, Vec<ContainerInstanceId>> = BTreeMap::new();
    for id in hosts {
        let host = pass
            .state
            .container_instance(id)
            .filter(|_| service.is_managed_daemon());
        let pool = host.and_then(|host| service.pool_of(host));
        pools.entry(pool).or_default().push(id);
    }
    pools
}

/// Stops tasks on hosts that are of none of the daemon's capacity providers any more.
pub(super) fn stop_elsewhere(pass: &mut Pass<'_>, service: &Service, tally: &Tally) -> Vec<TaskId> {
    if !service.is_managed_daemon() {
        return vec![];
    }
    let is_elsewhere = |task: &&Arc<Task>| {
        let host = task.container_instance.and_then(|id| pass.state.container_instance(id));
        host.is_some_and(|host| service.pool_of(host).is_none())
    };
    let victims: Vec<Arc<Task>> = tally.wanted().iter().filter(is_elsewhere).cloned().collect();
    stopping::stop_since(pass, service, &victims, SINCE_ELSEWHERE)
}

/// Has the daemon looked at again once there is room, where its tasks wait for others to leave their host.
pub(super) fn await_others(pass: &mut Pass<'_>, service: &Service, tally: &Tally) {
    if !tally.lingering.is_empty() {
        super::placing::wait_for_room(pass, service);
    }
}

/// How long a critical daemon may be away from a host where it served before other tasks leave that too: long enough for its task to stop, which
/// takes 30 s unless `stopTimeout` says otherwise, and for the next one to start and be found healthy.
pub(super) const PATIENCE_MS: i64 = 120_000;

/// Hosts that one command gives up, far below the bytes that a command may have.
const MAX_HOSTS_PER_COMMAND: usize = 500;

/// Has other tasks leave hosts that the daemon, without which none is to run there, has been away from for too long: those of services move by
/// themselves, those outside services are stopped. Has the daemon looked at again when the next host is due.
pub(super) fn empty_hosts_left(pass: &mut Pass<'_>, service: &Service) -> Vec<String> {
    if !service.is_critical_daemon() {
        return vec![];
    }
    let hosts = pass.state.container_instances_of(&service.key.cluster);
    let absences = hosts.filter_map(|host| Some((host.id, pass.state.absence(&service.key, host.id)?)));
    let absences: Vec<(ContainerInstanceId, DaemonAbsence)> = absences.collect();
    let (mut due, mut left, mut next) = (vec![], vec![], None::<Timestamp>);
    for (host, absence) in absences {
        let until = absence.since.plus_ms(PATIENCE_MS);
        if absence.given_up {
            left.push(host);
        } else if until <= pass.now {
            due.push(host);
        } else {
            next = Some(next.map_or(until, |next| next.min(until)));
        }
    }
    if let Some(next) = next {
        pass.wake_service(&service.key, next);
    }
    for hosts in due.chunks(MAX_HOSTS_PER_COMMAND) {
        let mut progress = nothing_new(pass, service);
        progress.hosts_given_up = hosts.to_vec();
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
    stop_alone(pass, service, left.iter().chain(&due));
    let named = |id: &ContainerInstanceId| {
        let host = pass.state.container_instance(*id);
        host.map_or_else(|| id.to_string(), |host| host.host.host_name.clone())
    };
    let names: Vec<String> = due.iter().map(named).collect();
    events::gave_up_hosts(&service.key.name, &names, PATIENCE_MS / 1_000)
}

/// Stops tasks outside services on hosts that the daemon has left.
fn stop_alone<'h>(pass: &mut Pass<'_>, service: &Service, hosts: impl Iterator<Item = &'h ContainerInstanceId>) {
    let mut victims: Vec<Arc<Task>> = vec![];
    for host in hosts {
        let tasks = pass.state.tasks_of_instance(*host);
        let alone = tasks.filter(|task| task.service().is_none() && task.desired_status == DesiredStatus::Running);
        victims.extend(alone.cloned());
    }
    let name = service.key.name.of_daemon().unwrap_or_default();
    let reason = format!("Daemon {name}, which is critical, has stopped on the container instance.");
    stopping::stop_because(pass, &victims, &reason);
}
