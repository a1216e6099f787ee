//! Whose turn it is among services that want tasks at the same moment, and tasks outside services that wait for a host: those of higher priority are looked at
//! first, those that wait for room included, so that no other takes what they could have. Pure.

use std::cmp::Reverse;

use crate::model::{ClusterKey, Priority, SchedulingStrategy, Service, ServiceKey};

use super::agenda::Subject;
use super::pass::Pass;
use super::waiting::Waiter;
use super::{revisions, together};

/// Services that are put before another at once.
const MAX_SERVICES: usize = 128;

/// Whether others come before the tasks outside services of this priority. If so they are looked at next, and these after them.
pub(super) fn tasks_give_way(pass: &mut Pass<'_>, cluster: &ClusterKey, priority: Priority) -> bool {
    let above = waits_above(pass, cluster, priority);
    put_before(pass, above, Subject::Tasks(cluster.clone(), priority))
}

/// Who waits for room with a higher priority, and is to be looked at anyway: one that nothing has changed for would be looked at in vain.
fn waits_above(pass: &Pass<'_>, cluster: &ClusterKey, priority: Priority) -> Vec<Waiter> {
    let above = pass.agenda.waiting.above(cluster, priority);
    let is_new =
        |waiter: &&Waiter| !pass.gave_way_to.contains(*waiter) && pass.agenda.is_due(&Subject::from((*waiter).clone()));
    above.filter(is_new).take(MAX_SERVICES).cloned().collect()
}

/// Has `above` looked at next, and `then` after them, if there are any.
fn put_before(pass: &mut Pass<'_>, above: Vec<Waiter>, then: Subject) -> bool {
    if above.is_empty() {
        return false;
    }
    pass.gave_way_to.extend(above.iter().cloned());
    let above = above.into_iter().map(Subject::from);
    pass.agenda.put_first(above.chain([then]).collect());
    true
}

/// Whether others come before the service that is about to be looked at. If so they are looked at next, and it after them.
pub(super) fn give_way(pass: &mut Pass<'_>, first: &ServiceKey) -> bool {
    // It was put in order with the others that were asked what they want.
    if pass.together.has_asked(first) {
        return false;
    }
    let Some(service) = pass.state.service(first).cloned() else {
        return false;
    };
    let priority = Priority::of(&service.tags);
    let above = waits_above(pass, &first.cluster, priority);
    if !above.is_empty() && may_start_tasks(pass, &service) {
        return put_before(pass, above, Subject::Service(first.clone()));
    }
    put_in_order(pass, first, priority)
}

/// Whether the service wants tasks now, as far as that is known without a look at it as a whole.
fn may_start_tasks(pass: &Pass<'_>, service: &Service) -> bool {
    let wants_together = service.scheduling_strategy == SchedulingStrategy::Replica
        && !service.is_external()
        && !revisions::are_apart(service);
    !wants_together || together::wants_tasks(pass, service)
}

/// Puts the services that come right after `first` in the order of their priorities; whether one of them comes before it.
fn put_in_order(pass: &mut Pass<'_>, first: &ServiceKey, priority: Priority) -> bool {
    let next = pass.agenda.next_services(&first.cluster).take(MAX_SERVICES - 1);
    let mut due: Vec<(Reverse<Priority>, ServiceKey)> = vec![(Reverse(priority), first.clone())];
    due.extend(next.map(|key| (Reverse(pass.state.priority_of_service(key)), key.clone())));
    if due.is_sorted_by_key(|(priority, _)| *priority) {
        return false;
    }
    due.sort_by_key(|(priority, _)| *priority);
    let due = due.into_iter().map(|(_, key)| Subject::Service(key));
    pass.agenda.put_first(due.collect());
    true
}

#[cfg(test)]
mod tests {
    use crate::model::{DesiredStatus, Priority, Resources};
    use crate::reconcile::world::{World, cluster};

    /// More than are planned at once.
    const SERVICES: usize = 150;

    fn tasks(world: &World, service: usize) -> usize {
        let key = cluster().service(&format!("s{service:03}"));
        let tasks = world.state.live_tasks_of_service(&key);
        tasks
            .filter(|task| task.desired_status == DesiredStatus::Running)
            .count()
    }

    /// Services of two tasks each, of which those at the end of the alphabet have a higher priority.
    fn world(first_of_high_priority: usize) -> World {
        let mut world = World::new();
        world.add_definition("one", Resources::new(64, 64), None);
        let definition = crate::model::TaskDefinitionKey {
            scope: cluster().scope,
            family: "one".into(),
            revision: 1,
        };
        for number in 0..SERVICES {
            world.add_service(&format!("s{number:03}"), |service| {
                service.desired_count = 2;
                service.deployments[0].task_definition = definition.clone();
                if number >= first_of_high_priority {
                    service.tags = [(Priority::TAG.to_owned(), "90".to_owned())].into();
                }
            });
        }
        world.reconcile();
        world
    }

    #[test]
    fn each_of_very_many_services_gets_a_task_before_one_gets_a_second() {
        let mut world = world(SERVICES);
        for host in 0..SERVICES / 10 {
            world.add_host(&format!("h{host}"), "a", Resources::new(640, 640));
            world.quiesce();
        }
        assert!((0..SERVICES).all(|service| tasks(&world, service) == 1));
    }

    #[test]
    fn services_of_high_priority_get_all_before_others_get_anything() {
        let mut world = world(SERVICES - 10);
        world.add_host("h1", "a", Resources::new(20 * 64, 4096));
        world.quiesce();
        let served: Vec<usize> = (0..SERVICES).filter(|service| tasks(&world, *service) > 0).collect();
        assert_eq!(served, (SERVICES - 10..SERVICES).collect::<Vec<_>>());
    }
}
