//! Which of the services that wait for room need not be looked at because a task ended somewhere: those that fit on none of the hosts where tasks ended, and for
//! which no other task could be stopped. To look at one costs about what there are hosts, so that where there are many of both, a pass would last long
//! for nothing. What such a service says of its want gets no newer meanwhile than its own reminder makes it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ClusterKey, ContainerInstanceId, Priority, Resources, ServiceKey};
use crate::state::ClusterState;

use super::pass::Pass;
use super::starting;

/// As many services on as many hosts are looked at whatever they need: that is soon done, and what they say is then as new as can be.
const SOON_DONE: usize = 20_000;

/// Where tasks ended, and who is to be looked at for nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    hosts: BTreeMap<ClusterKey, BTreeSet<ContainerInstanceId>>,
    services: BTreeSet<ServiceKey>,
}

impl Room {
    /// A task ended on a host.
    pub(super) fn made(&mut self, cluster: &ClusterKey, host: ContainerInstanceId) {
        self.hosts.entry(cluster.clone()).or_default().insert(host);
    }

    /// A service is to be looked at since a task ended somewhere, and for nothing else.
    pub(super) fn concerns(&mut self, service: ServiceKey) {
        self.services.insert(service);
    }

    /// A service is to be looked at for something else too.
    pub(super) fn is_not_all(&mut self, service: &ServiceKey) {
        self.services.remove(service);
    }
}

/// Takes services off the agenda that would be looked at in vain.
pub(super) fn spare_vain_looks(pass: &mut Pass<'_>) {
    let Room { hosts, services } = std::mem::take(&mut pass.agenda.room);
    let mut by_cluster: BTreeMap<ClusterKey, Vec<ServiceKey>> = BTreeMap::new();
    for service in services {
        by_cluster.entry(service.cluster.clone()).or_default().push(service);
    }
    let mut vain = BTreeSet::new();
    for (cluster, services) in by_cluster {
        let state = &pass.state;
        if services.len().saturating_mul(state.host_count(&cluster)) <= SOON_DONE {
            continue;
        }
        let hosts = hosts.get(&cluster).into_iter().flatten();
        let free: Vec<Resources> = hosts.filter_map(|host| free(state, *host)).collect();
        let lowest = state
            .preempts(&cluster)
            .then(|| state.lowest_preemptible(&cluster))
            .flatten();
        vain.extend(
            services
                .into_iter()
                .filter(|service| is_vain(state, service, &free, lowest)),
        );
    }
    pass.agenda.take_off(&vain);
}

fn free(state: &ClusterState, host: ContainerInstanceId) -> Option<Resources> {
    let instance = state.container_instance(host)?;
    Some(state.allocation(host).free(instance.host.capacity))
}

/// Whether a service that waits neither fits where so much is free nor could have a task stopped, the lowest priority of which is this.
fn is_vain(state: &ClusterState, key: &ServiceKey, free: &[Resources], lowest: Option<Priority>) -> bool {
    let may_preempt = lowest.is_some_and(|lowest| state.priority_of_service(key).may_preempt(lowest));
    if may_preempt || state.tasks_making_room_for(key).next().is_some() {
        return false;
    }
    // A managed daemon may wait for nothing but that other tasks leave a host before its own.
    let service = state.service(key);
    let service = service.filter(|service| !service.is_external() && !service.is_managed_daemon());
    let definition = service
        .and_then(|service| service.starting_deployment())
        .and_then(|deployment| starting::definition_of(state, deployment));
    let Some(definition) = definition else { return false };
    let needs = definition.reservation();
    !free.iter().any(|free| free.checked_sub(needs).is_some())
}

#[cfg(test)]
mod tests {
    use crate::model::{DesiredStatus, Priority, Resources, TaskStatus};
    use crate::reconcile::world::{World, cluster};
    use crate::state::Command;

    /// So many hosts and services that not all of them are looked at whatever they need.
    const MANY: usize = 150;

    /// Hosts with a large task each, one of them with a small one beside it, and services that find no room.
    fn crowded() -> World {
        let mut world = World::new();
        for host in 0..MANY {
            world.add_host(&format!("h{host}"), "a", Resources::new(1_000, 4_096));
        }
        for (name, cpu, desired) in [("large", 800, 150), ("small", 50, 1), ("waiting", 300, 0)] {
            world.add_definition(name, Resources::new(cpu, 16), None);
            world.add_service(name, |service| service.desired_count = desired);
            world.pass_ms(20_000);
        }
        let definition = world.service("waiting").deployments[0].task_definition.clone();
        for number in 0..MANY {
            world.add_service(&format!("w{number:03}"), |service| {
                service.deployments[0].task_definition = definition.clone();
                service.tags = [(Priority::TAG.to_owned(), "90".to_owned())].into();
            });
        }
        world.pass_ms(60_000);
        world
    }

    /// Has the first task of a service end; returns the services that anything was decided for then.
    fn end(world: &mut World, service: &str) -> Vec<String> {
        let key = cluster().service(service);
        let task = world
            .state
            .live_tasks_of_service(&key)
            .find(|task| task.desired_status == DesiredStatus::Running)
            .cloned();
        let task = task.expect("it runs");
        let command = Command::RecordTaskReports {
            container_instance: task.container_instance.expect("it is on a host"),
            reports: vec![world.report_of(task.id, TaskStatus::Stopped)],
            at: world.now,
        };
        world.apply(command).expect("a host");
        let decided = world.reconcile();
        let concerned = decided.iter().filter_map(|command| match command {
            Command::RecordServiceProgress(progress) => Some(progress.service.name.as_str().to_owned()),
            Command::CreateTasks { tasks } => Some(tasks[0].service()?.name.as_str().to_owned()),
            _ => None,
        });
        concerned.filter(|name| name.starts_with('w')).collect()
    }

    #[test]
    fn services_that_fit_nowhere_are_not_looked_at_where_a_task_ends_and_one_that_fits_gets_the_room() {
        let mut world = crowded();
        assert_eq!(end(&mut world, "small"), Vec::<String>::new());
        let served = end(&mut world, "large");
        assert!(served.iter().any(|name| name == "w000"), "{served:?}");
        let running = (0..MANY).filter(|number| {
            let key = cluster().service(&format!("w{number:03}"));
            world.state.live_tasks_of_service(&key).next().is_some()
        });
        assert_eq!(running.count(), 3, "as many as fit");
    }
}
