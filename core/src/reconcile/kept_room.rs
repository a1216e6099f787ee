//! [`KeptRoom`]: hosts on which tasks were stopped for a service. As long as some of them are ending, the state itself keeps the host for it; then this does, until the
//! service was looked at once: what is run outside services in that moment would otherwise take the room. It lasts no longer than until the next look, since
//! the last task that ends brings the service back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ContainerInstanceId, ServiceKey, ServiceName};
use crate::state::ClusterState;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptRoom {
    by_host: BTreeMap<ContainerInstanceId, ServiceKey>,
    by_service: BTreeMap<ServiceKey, BTreeSet<ContainerInstanceId>>,
}

impl KeptRoom {
    /// What a leader knows of it that begins.
    pub(super) fn of(state: &ClusterState) -> Self {
        let mut kept = Self::default();
        for (service, task) in state.all_tasks_making_room() {
            if let Some(host) = task.container_instance {
                kept.keep(host, service);
            }
        }
        kept
    }

    /// Keeps the room that is made on a host for a service.
    pub(super) fn keep(&mut self, host: ContainerInstanceId, service: &ServiceKey) {
        let before = self.by_host.insert(host, service.clone());
        before.into_iter().for_each(|before| self.leave(&before, host));
        self.by_service.entry(service.clone()).or_default().insert(host);
    }

    /// For whom the room of a host is kept.
    pub(super) fn for_whom(&self, host: ContainerInstanceId) -> Option<&ServiceKey> {
        self.by_host.get(&host)
    }

    /// The service was looked at, and has taken of the room that is there what it wants.
    pub(super) fn looked_at(&mut self, state: &ClusterState, service: &ServiceKey) {
        let hosts = self.by_service.get(service).cloned().unwrap_or_default();
        let over = |host: &ContainerInstanceId| state.allocation(*host).makes_room_for().is_none();
        for host in hosts.into_iter().filter(over) {
            self.by_host.remove(&host);
            self.leave(service, host);
        }
    }

    /// All of it, by host.
    pub(super) fn names(&self) -> BTreeMap<ContainerInstanceId, ServiceName> {
        let names = self.by_host.iter().map(|(host, service)| (*host, service.name.clone()));
        names.collect()
    }

    fn leave(&mut self, service: &ServiceKey, host: ContainerInstanceId) {
        if let Some(hosts) = self.by_service.get_mut(service) {
            hosts.remove(&host);
            if hosts.is_empty() {
                self.by_service.remove(service);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdSource;
    use crate::model::{DesiredStatus, PREEMPTION_TAG, Priority, Resources, Task};
    use crate::placement::Seed;
    use crate::reconcile::world::{World, cluster};
    use crate::reconcile::{Agenda, StandalonePlan, StandaloneRequest, plan_standalone};
    use crate::state::{Command, Taggable};

    /// A host full of a service of low priority, two of whose tasks are ending for one of high priority.
    fn stopping() -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(1024, 1024));
        world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled");
        for (name, size, desired, priority) in [("batch", 256, 4, "10"), ("web", 512, 1, "80")] {
            world.add_definition(name, Resources::new(size, size), None);
            world.add_service(name, |service| {
                service.desired_count = desired;
                service.tags = [(Priority::TAG.to_owned(), priority.to_owned())].into();
            });
            if name == "batch" {
                world.pass_ms(20_000);
            }
        }
        world.reconcile();
        assert_eq!(wanted(&world, "batch"), 2, "two were stopped");
        world
    }

    /// The two are over, and nobody has looked at the service since.
    fn room_is_made() -> World {
        let mut world = stopping();
        world.hosts_finish();
        world
    }

    fn wanted(world: &World, service: &str) -> usize {
        let service = cluster().service(service);
        let tasks = world.state.live_tasks_of_service(&service);
        tasks
            .filter(|task| task.desired_status == DesiredStatus::Running)
            .count()
    }

    /// Whether a task outside services runs at once, and if not why its host refuses it.
    fn run(world: &mut World) -> Result<(), String> {
        let mut elsewhere = IdSource::from_seed(9);
        let id = elsewhere.task_id();
        let definition = world
            .state
            .task_definition(&crate::reconcile::world::definition("web", 1));
        let definition = definition.expect("registered").clone();
        let task = Task {
            id,
            ..Task::new(cluster(), &definition, crate::model::TaskOrigin::Standalone, world.now)
        };
        let request = StandaloneRequest {
            tasks: vec![task],
            ..StandaloneRequest::default()
        };
        let plan = plan_standalone(&world.state, &mut world.agenda, &[request], Seed(1), world.now).remove(0);
        match plan {
            StandalonePlan::Run { command, .. } => world.apply(command).map(|_| ()).map_err(|error| error.to_string()),
            StandalonePlan::NoRoom(unplaced) => Err(unplaced[0].1.hosts[0].refusals[0].to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn room_that_was_made_for_a_service_goes_to_no_task_outside_services_before_it_was_looked_at() {
        let mut world = room_is_made();
        assert_eq!(
            run(&mut world),
            Err("makes room for a task of (service web)".to_owned())
        );
        world.reconcile();
        assert_eq!(wanted(&world, "web"), 1);
        assert!(run(&mut world).is_err(), "the host is full");
        assert!(world.agenda.kept_room.by_host.is_empty() && world.agenda.kept_room.by_service.is_empty());
    }

    #[test]
    fn room_that_the_service_no_longer_wants_is_kept_until_it_was_looked_at() {
        let mut world = room_is_made();
        world.update_service("batch", Some(2), None);
        world.update_service("web", Some(0), None);
        assert!(run(&mut world).is_err());
        world.reconcile();
        assert_eq!(run(&mut world), Ok(()));
    }

    #[test]
    fn room_is_kept_by_a_leader_that_begins_while_tasks_are_ending() {
        let mut world = stopping();
        world.agenda = Agenda::everything(&world.state);
        world.reconcile();
        world.hosts_finish();
        assert!(run(&mut world).is_err());
        world.reconcile();
        assert_eq!(wanted(&world, "web"), 1);
    }

    #[test]
    fn room_of_a_service_that_is_deleted_is_free_once_its_tasks_are_over() {
        let mut world = room_is_made();
        let (service, at) = (cluster().service("web"), world.now);
        let delete = Command::DeleteService {
            service,
            force: true,
            at,
        };
        world.apply(delete).expect("deletes");
        world.update_service("batch", Some(2), None);
        world.reconcile();
        assert_eq!(run(&mut world), Ok(()));
        assert!(world.agenda.kept_room.by_host.is_empty());
    }

    #[test]
    fn another_service_for_which_a_host_makes_room_takes_the_place_of_the_one_before() {
        let mut kept = KeptRoom::default();
        let host = ContainerInstanceId(1);
        for name in ["web", "db"] {
            kept.keep(host, &cluster().service(name));
        }
        assert_eq!(kept.for_whom(host), Some(&cluster().service("db")));
        assert_eq!(kept.by_service.len(), 1);
    }
}
