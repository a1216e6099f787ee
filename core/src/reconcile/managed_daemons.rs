//! What managed daemons do beyond daemon services: they belong to capacity providers, are the last to leave a host, and some take the other tasks
//! with them where they end. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{CapacityProviderName, ContainerInstanceId, DesiredStatus, Service, Task, TaskId};

use super::pass::Pass;
use super::stopping;
use super::tally::Tally;

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

/// Stops tasks outside services where the daemon, without which no task is to run, has left. Those of services move away by themselves.
pub(super) fn empty_hosts_left(pass: &mut Pass<'_>, service: &Service) {
    let Some(daemon) = service
        .managed_daemon
        .as_ref()
        .filter(|daemon| daemon.settings.critical)
    else {
        return;
    };
    let mut victims: Vec<Arc<Task>> = vec![];
    for host in &daemon.left {
        let tasks = pass.state.tasks_of_instance(*host);
        let alone = tasks.filter(|task| task.service().is_none() && task.desired_status == DesiredStatus::Running);
        // A host that has gone to another pool since, or that this daemon has left for another, misses it no more.
        let alone = alone.filter(|task| pass.state.must_leave(task));
        victims.extend(alone.cloned());
    }
    let name = service.key.name.of_daemon().unwrap_or_default();
    let reason = format!("Daemon {name}, which is critical, has stopped on the container instance.");
    stopping::stop_because(pass, &victims, &reason);
}
