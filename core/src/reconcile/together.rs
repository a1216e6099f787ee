//! Services that want new tasks at the same moment: one plan for all of them, so that they take fewer hosts than one after the other, and that none of them
//! gets all where there is not room for all. That is so where many are created or updated, a zone is lost, or there is room again for which many wait. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{DeploymentId, Manner, SchedulingStrategy, Service, ServiceKey, ServiceStatus, Task};

use super::pass::Pass;
use super::placing::{self, Choice};
use super::tally::Tally;
use super::{dependencies, deployment, replica, revisions, starting};

/// Services in one plan, with two commands for each or a few more: all are in one pass.
const MAX_SERVICES: usize = 128;

/// Tasks in one plan. Those of services that want more follow in the next.
const MAX_TASKS: usize = 4_096;

/// Hosts that were found for tasks which are not there yet. They are free as long as nothing else is placed.
#[derive(Default)]
pub(super) struct Together {
    /// The services that were asked what they want, and have not been looked at since.
    asked: BTreeSet<ServiceKey>,
    found: BTreeMap<ServiceKey, (DeploymentId, Vec<Choice>)>,
}

impl Together {
    /// The hosts for the tasks that the service wants to start now, if it was planned with others.
    pub(super) fn take(&mut self, service: &ServiceKey, deployment: &DeploymentId) -> Option<Vec<Choice>> {
        let (planned, choices) = self.found.remove(service)?;
        (planned == *deployment).then_some(choices)
    }

    /// Whether the service was asked what it wants, and has not been looked at since.
    pub(super) fn has_asked(&self, service: &ServiceKey) -> bool {
        self.asked.contains(service)
    }

    /// Whether there are services that were planned with others and have not been looked at since.
    pub(super) fn is_under_way(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Something is placed without a look at what was found.
    pub(super) fn forget(&mut self) {
        self.found.clear();
    }
}

/// What a service wants.
struct Wish {
    service: Service,
    tally: Tally,
    prototype: Task,
    deployment: DeploymentId,
}

/// Plans for the service that is about to be looked at and those of its priority that come right after it, unless it was among such before.
pub(super) fn plan(pass: &mut Pass<'_>, first: &ServiceKey) {
    if pass.together.asked.remove(first) {
        return;
    }
    pass.together = Together::default();
    let priority = pass.state.priority_of_service(first);
    let alike = |key: &&ServiceKey| pass.state.priority_of_service(key) == priority;
    let others = pass
        .agenda
        .next_services(&first.cluster)
        .take(MAX_SERVICES - 1)
        .take_while(alike);
    let due: Vec<ServiceKey> = std::iter::once(first).chain(others).cloned().collect();
    let mut wishes = vec![];
    for key in due {
        let Some(service) = pass.state.service(&key) else {
            continue;
        };
        // Its tasks are placed by themselves, one on each host.
        if service.scheduling_strategy == SchedulingStrategy::Daemon {
            break;
        }
        wishes.extend(wish(pass, service));
        if key != *first {
            pass.together.asked.insert(key);
        }
    }
    if wishes.len() > 1 {
        place(pass, wishes);
        pass.go_on_for_those_planned();
    }
}

/// Whether the service wants tasks that may start now.
pub(super) fn wants_tasks(pass: &Pass<'_>, service: &Service) -> bool {
    wish(pass, service).is_some()
}

fn wish(pass: &Pass<'_>, service: &Service) -> Option<Wish> {
    let deployment = service.starting_deployment()?;
    if service.status != ServiceStatus::Active || !deployment::may_start(deployment, pass.now) {
        return None;
    }
    if dependencies::is_held_back(&pass.state, service, deployment) {
        return None;
    }
    // What each of its revisions wants is found out by itself.
    if revisions::are_apart(service) {
        return None;
    }
    let tally = Tally::of(&pass.state, service);
    if replica::wanted(service, &tally) == 0 {
        return None;
    }
    let definition = starting::definition_of(&pass.state, deployment)?;
    Some(Wish {
        tally,
        prototype: starting::prototype(service, deployment, &definition, pass.now),
        deployment: deployment.id.clone(),
        service: service.clone(),
    })
}

fn place(pass: &mut Pass<'_>, wishes: Vec<Wish>) {
    let most = (MAX_TASKS / wishes.len()).min(replica::MAX_STARTS_PER_PASS);
    let (mut owners, mut lots) = (vec![], vec![]);
    for wish in wishes {
        for lot in replica::lots(&wish.service, &wish.tally, &wish.prototype, most) {
            owners.push((wish.service.key.clone(), wish.deployment.clone()));
            lots.push(lot);
        }
    }
    let choices = placing::choose_hosts(pass, lots, Manner::Together);
    for ((service, deployment), choice) in owners.into_iter().zip(choices) {
        let found = pass.together.found.entry(service);
        found.or_insert((deployment, vec![])).1.push(choice);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use crate::explain::{DecidedBy, why};
    use crate::model::{BinpackResource, PlacementStrategy, Resources, Task};
    use crate::reconcile::world::{World, cluster};

    /// A small service, one like it, and one whose tasks leave room for two small ones beside each.
    const SERVICES: [(&str, u32, u32); 3] = [("a", 250, 100), ("b", 250, 100), ("c", 520, 800)];

    fn hosts() -> World {
        let mut world = World::new();
        for host in 0..20 {
            let zone = if host % 2 == 0 { "a" } else { "b" };
            world.add_host(&format!("h{host}"), zone, Resources::new(1024, 1024));
        }
        world
    }

    /// Adds a service of ten tasks, half of them in each zone, that fill hosts by CPU.
    fn add(world: &mut World, (name, cpu, memory): (&str, u32, u32)) {
        world.add_definition(name, Resources::new(cpu, memory), None);
        world.add_service(name, |service| {
            service.desired_count = 10;
            let field = "attribute:ecs.availability-zone".to_owned();
            let resource = BinpackResource::Cpu;
            service.placement_strategy = vec![
                PlacementStrategy::Spread { field },
                PlacementStrategy::Binpack { resource },
            ];
        });
    }

    fn tasks(world: &World) -> Vec<Arc<Task>> {
        world.state.tasks_of_cluster(&cluster()).cloned().collect()
    }

    fn hosts_used(world: &World) -> usize {
        let tasks = tasks(world);
        let hosts = tasks.iter().filter_map(|task| task.container_instance);
        hosts.collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn services_that_are_due_at_once_take_fewer_hosts_than_one_after_the_other() {
        let (mut together, mut one_by_one) = (hosts(), hosts());
        for service in SERVICES {
            add(&mut together, service);
            add(&mut one_by_one, service);
            one_by_one.reconcile();
        }
        together.reconcile();
        assert_eq!((tasks(&together).len(), hosts_used(&together)), (30, 10));
        assert_eq!((tasks(&one_by_one).len(), hosts_used(&one_by_one)), (30, 14));
        for world in [&together, &one_by_one] {
            for (service, ..) in SERVICES {
                assert!(world.by_zone(service).values().all(|tasks| *tasks == 5));
            }
        }
    }

    #[test]
    fn task_that_others_brought_to_its_host_says_so() {
        let mut world = hosts();
        SERVICES.into_iter().for_each(|service| add(&mut world, service));
        world.reconcile();
        let tasks = tasks(&world);
        let reasons = tasks.iter().map(|task| why(&world.state, task).expect("recorded"));
        let together: Vec<String> = reasons
            .filter(|why| matches!(why.decided_by, Some(DecidedBy::Together(_))))
            .map(|why| why.to_string())
            .collect();
        assert!(!together.is_empty());
        for sentence in together {
            assert!(sentence.contains("placed together with it"), "{sentence}");
        }
    }
}
