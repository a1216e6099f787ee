//! Protected tasks: they stay until their protection ends, and their service says that it waits for that. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{DeploymentId, Service, Task, Timestamp};

use super::events;
use super::pass::Pass;

/// The same sentence is said again after this long while its cause lasts (ECS).
const REPEAT_AFTER_MS: i64 = 6 * 60 * 60 * 1_000;

/// Tasks that may be stopped, and those that are protected.
pub(super) fn split(tasks: impl IntoIterator<Item = Arc<Task>>, now: Timestamp) -> (Vec<Arc<Task>>, Vec<Arc<Task>>) {
    tasks.into_iter().partition(|task| !task.is_protected(now))
}

/// Has the service looked at again when the first of `held` is no longer protected; returns what is to be said of those that keep it
/// from what it wants.
pub(super) fn say_held(pass: &mut Pass<'_>, service: &Service, held: &[Arc<Task>]) -> Vec<String> {
    if let Some(first) = held.iter().filter_map(|task| task.protected_until).min() {
        pass.wake_service(&service.key, first);
    }
    let mut by_deployment: BTreeMap<&DeploymentId, usize> = BTreeMap::new();
    for deployment in held.iter().filter_map(|task| task.deployment()) {
        *by_deployment.entry(deployment).or_default() += 1;
    }
    let sentences = by_deployment.into_iter();
    let sentences =
        sentences.map(|(deployment, count)| events::unable_to_scale_in(&service.key.name, deployment, count));
    sentences
        .filter_map(|sentence| unless_said(pass, service, sentence))
        .collect()
}

/// The sentence, unless the service said it of what it still waits for.
fn unless_said(pass: &mut Pass<'_>, service: &Service, sentence: String) -> Option<String> {
    let steady = events::steady_state(&service.key.name);
    let mut said = service.events.iter();
    let last = said.find(|event| event.message == sentence || event.message == steady);
    let again = last
        .filter(|event| event.message == sentence)
        .map(|event| event.created_at.plus_ms(REPEAT_AFTER_MS))
        .filter(|again| *again > pass.now);
    pass.wake_service(&service.key, again.unwrap_or(pass.now.plus_ms(REPEAT_AFTER_MS)));
    again.is_none().then_some(sentence)
}

#[cfg(test)]
mod tests {
    use crate::model::{DesiredStatus, MoveStatus, Rebalance, RebalanceGoal, Resources, TaskId, TaskMove};
    use crate::rebalance::{Stays, Wish, propose};
    use crate::reconcile::world::{World, cluster};
    use crate::state::Command;

    const MINUTE_MS: i64 = 60_000;

    /// A service of `tasks` tasks on one host, and a second host in another zone.
    fn world(tasks: u32) -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(4096, 4096));
        world.add_definition("web", Resources::new(100, 100), None);
        world.add_service("web", |service| service.desired_count = tasks);
        world.pass_ms(MINUTE_MS);
        world.add_host("h2", "b", Resources::new(4096, 4096));
        world.pass_ms(MINUTE_MS);
        world
    }

    fn wanted(world: &World) -> Vec<TaskId> {
        let web = cluster().service("web");
        let tasks = world.state.live_tasks_of_service(&web);
        let wanted = tasks.filter(|task| task.desired_status == DesiredStatus::Running);
        wanted.map(|task| task.id).collect()
    }

    fn protect(world: &mut World, tasks: &[TaskId], minutes: i64) {
        let at = world.now;
        let command = Command::UpdateTaskProtection {
            tasks: tasks.to_vec(),
            protected_until: Some(at.plus_ms(minutes * MINUTE_MS)),
            at,
        };
        world.apply(command).expect("is always valid");
    }

    /// Begins to move the first task of the service to the second host.
    fn begin_move(world: &mut World) -> TaskId {
        let task = wanted(world)[0];
        let found = TaskMove {
            task,
            service: "web".into(),
            from: world.host("h1").expect("a host"),
            to: world.host("h2").expect("a host"),
            status: MoveStatus::Waiting,
        };
        let rebalance = Rebalance {
            cluster: cluster(),
            id: "r1".to_owned(),
            goal: RebalanceGoal::Zones,
            at_a_time: 1,
            moves: vec![found],
            drain: vec![],
            drained: vec![],
            deadline: world.now.plus_ms(60 * MINUTE_MS),
            stopped: false,
            started_at: world.now,
            ended_at: None,
        };
        world
            .apply(Command::BeginRebalance(Box::new(rebalance)))
            .expect("begins");
        task
    }

    fn assert_dropped_since_protected(world: &World, task: TaskId) {
        let rebalance = world.state.rebalance(&cluster()).expect("begun");
        let MoveStatus::Dropped { reason, .. } = &rebalance.moves[0].status else {
            panic!("{rebalance:?}");
        };
        assert_eq!(reason, "The task is protected by now.");
        assert!(wanted(world).contains(&task));
        assert_eq!(wanted(world).len(), 2, "its replacement is gone");
        assert!(world.service("web").steady);
    }

    #[test]
    fn service_that_waits_for_protection_is_looked_at_again_when_that_ends_and_not_before() {
        let mut world = world(2);
        let tasks = wanted(&world);
        protect(&mut world, &tasks[..1], 60);
        protect(&mut world, &tasks[1..], 90);
        let (first, second) = (world.now.plus_ms(60 * MINUTE_MS), world.now.plus_ms(90 * MINUTE_MS));
        world.update_service("web", Some(0), None);
        world.pass_ms(MINUTE_MS);
        assert_eq!((wanted(&world).len(), world.agenda.next_wake()), (2, Some(first)));
        world.pass_ms(61 * MINUTE_MS);
        let next_of_service = world.agenda.next_wake_of_service(&cluster().service("web"));
        assert_eq!((wanted(&world).len(), next_of_service), (1, Some(second)));
        world.pass_ms(30 * MINUTE_MS);
        assert_eq!(wanted(&world), []);
    }

    #[test]
    fn service_that_waits_for_protection_says_so_once_for_each_time_that_it_has_to() {
        let mut world = world(2);
        for _ in 0..2 {
            let tasks = wanted(&world);
            protect(&mut world, &tasks, 60);
            world.update_service("web", Some(1), None);
            world.pass_ms(30 * MINUTE_MS);
            world.update_service("web", Some(2), None);
            world.pass_ms(90 * MINUTE_MS);
        }
        let said = world.service("web").events.iter();
        let said = said.filter(|event| {
            event
                .message
                .ends_with("was unable to scale in due to (reason 2 tasks under protection)")
        });
        assert_eq!(said.count(), 2);
    }

    #[test]
    fn protected_task_is_in_no_plan_to_move_tasks() {
        let mut world = world(2);
        let tasks = wanted(&world);
        protect(&mut world, &tasks, 60);
        let wish = Wish {
            goal: RebalanceGoal::Zones,
            services: Default::default(),
            max_moves: 10,
        };
        let plan = |world: &World| propose(&world.state, &cluster(), &wish, world.now).plan;
        assert_eq!(plan(&world).moves, []);
        world.pass_ms(61 * MINUTE_MS);
        assert_eq!(plan(&world).moves.len(), 1);
        assert_eq!(Stays::Protected.to_string(), "it is protected from being stopped");
    }

    #[test]
    fn move_of_a_task_that_is_protected_before_it_begins_is_dropped() {
        let mut world = world(2);
        let task = begin_move(&mut world);
        protect(&mut world, &[task], 60);
        world.pass_ms(5 * MINUTE_MS);
        assert_dropped_since_protected(&world, task);
    }

    #[test]
    fn move_of_a_task_that_is_protected_while_its_replacement_starts_is_dropped_and_the_replacement_stops() {
        let mut world = world(2);
        let task = begin_move(&mut world);
        world.quiesce();
        assert_eq!(wanted(&world).len(), 3);
        protect(&mut world, &[task], 60);
        world.pass_ms(5 * MINUTE_MS);
        assert_dropped_since_protected(&world, task);
    }
}
