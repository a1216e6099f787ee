//! What keeps tasks on a host that they are to leave, for those who wait until it is empty. It says why the reconcilers do not stop a task yet,
//! and decides nothing. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{
    ContainerInstanceId, DeploymentId, DesiredStatus, RolloutState, SchedulingStrategy, Service, ServiceKey,
    ServiceStatus, Task, TaskId, Timestamp,
};
use crate::placement;
use crate::state::ClusterState;

use super::events::is_steady_state;
use super::tally::Tally;
use super::{dependencies, hosts, replica, revisions};

/// A task that is on its host still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staying {
    /// The task.
    pub task: TaskId,
    /// Why.
    pub why: Stays,
}

/// Why a task is on a host still that it is to leave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// It has been told to stop, or is about to be.
    Stopping,
    /// It is of no service, so that nothing but somebody stops it (ECS).
    Standalone,
    /// It is protected from being stopped, until then.
    Protected(Timestamp),
    /// It is of a managed daemon, and other tasks are there.
    LeavesLast,
    /// What takes its place is not healthy, or has not run for long enough.
    ReplacementStarts,
    /// No host takes what would take its place, and its service may not have fewer tasks.
    NoHost {
        /// What the service must keep healthy.
        minimum_healthy_percent: u32,
        /// What the service says of that.
        said: String,
    },
    /// Its service may have neither one more task nor one fewer.
    NoLeeway {
        /// What the service must keep healthy.
        minimum_healthy_percent: u32,
        /// What the service may have.
        maximum_percent: u32,
    },
    /// Tasks of its service failed to start, and none is started until then.
    HeldBack(Timestamp),
    /// Its service waits for others before it starts tasks.
    WaitsForServices(String),
    /// The deployment of its service failed or was stopped, so that nothing is started.
    DeploymentOver,
}

impl Stays {
    /// Until when, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Protected(until) | Self::HeldBack(until) => Some(*until),
            _ => None,
        }
    }
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("it is stopping"),
            Self::Standalone => f.write_str("it is of no service, and runs until it ends or somebody stops it"),
            Self::Protected(_) => f.write_str("it is protected from being stopped"),
            Self::LeavesLast => f.write_str("it is of a managed daemon, which leaves once all other tasks have"),
            Self::ReplacementStarts => f.write_str("it runs until another has started in its place and is healthy"),
            Self::NoHost {
                minimum_healthy_percent,
                said,
            } => write!(
                f,
                "no other host takes a task in its place, without which the service would have less than its \
                 minimumHealthyPercent of {minimum_healthy_percent}: {said}"
            ),
            Self::NoLeeway {
                minimum_healthy_percent,
                maximum_percent,
            } => write!(
                f,
                "by its minimumHealthyPercent of {minimum_healthy_percent} and maximumPercent of {maximum_percent} the service may have \
                 neither one more task nor one fewer"
            ),
            Self::HeldBack(_) => f.write_str("tasks of the service failed to start, and none starts in its place"),
            Self::WaitsForServices(said) => f.write_str(said),
            Self::DeploymentOver => f.write_str(
                "the deployment of the service failed or was stopped, so that no other task starts in its place",
            ),
        }
    }
}

/// Says what keeps tasks on hosts that they are to leave, as of one state and moment. What keeps one task of a service's deployment keeps the others, so
/// that it is found out once.
pub struct Leaving<'a> {
    state: &'a ClusterState,
    now: Timestamp,
    unreplaced: BTreeMap<(ServiceKey, Option<DeploymentId>), Stays>,
}

impl<'a> Leaving<'a> {
    /// Knows nothing yet of this state.
    #[must_use]
    pub fn new(state: &'a ClusterState, now: Timestamp) -> Self {
        let unreplaced = BTreeMap::new();
        Self { state, now, unreplaced }
    }

    /// How many tasks are not over on a host whose tasks are to leave it, and the first of them, so many at most, with why, in the order of their ids;
    /// none for another host.
    pub fn staying(&mut self, host: ContainerInstanceId, most: usize) -> (usize, Vec<Staying>) {
        let state = self.state;
        if !state.is_being_left(host) {
            return (0, vec![]);
        }
        // On one that a daemon has left, its own tasks come back.
        let leaves = |task: &Task| state.must_leave(task) || task.desired_status == DesiredStatus::Stopped;
        let tasks = state
            .tasks_of_instance(host)
            .filter(|task| !task.is_stopped() && leaves(task));
        let (mut count, mut first) = (0, vec![]);
        for task in tasks {
            count += 1;
            if first.len() < most {
                let why = self.why(task);
                first.push(Staying { task: task.id, why });
            }
        }
        (count, first)
    }

    fn why(&mut self, task: &Task) -> Stays {
        let state = self.state;
        if task.desired_status == DesiredStatus::Stopped {
            return Stays::Stopping;
        }
        // Nobody waits for another in its place.
        if hosts::is_interrupted(state, task) {
            return Stays::Stopping;
        }
        let Some(service) = task.service().and_then(|key| state.service(key)) else {
            return Stays::Standalone;
        };
        let protected_until = task.protected_until.filter(|until| *until > self.now);
        if let Some(until) = protected_until.filter(|_| !task.has_failed_health_checks()) {
            return Stays::Protected(until);
        }
        let host = task.container_instance;
        if service.is_managed_daemon() && host.is_some_and(|host| state.has_tasks_beside_daemons(host)) {
            return Stays::LeavesLast;
        }
        let is_daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
        if is_daemon || service.status != ServiceStatus::Active {
            return Stays::Stopping;
        }
        let alike = (service.key.clone(), task.deployment().cloned());
        let found = self.unreplaced.entry(alike);
        found
            .or_insert_with(|| until_replaced(state, service, task.deployment(), self.now))
            .clone()
    }
}

/// Why the tasks of a deployment of a service that wants a number of tasks have not been replaced.
fn until_replaced(state: &ClusterState, service: &Service, deployment: Option<&DeploymentId>, now: Timestamp) -> Stays {
    if revisions::are_apart(service) {
        let revision = deployment.and_then(|id| service.deployment(id));
        let Some(revision) = revision.filter(|revision| revisions::is_kept(service, revision)) else {
            return Stays::DeploymentOver;
        };
        let as_of = service.as_of(&revision.id);
        let tally = Tally::of_revision(state, &as_of, &revision.id);
        return of_tally(service, &as_of, &tally).unwrap_or(Stays::ReplacementStarts);
    }
    let set = service.task_sets.iter().find(|set| deployment == Some(&set.id));
    let of_set = set.map(|set| service.of_task_set(set));
    let as_of = of_set.as_ref().unwrap_or(service);
    let tally = Tally::of(state, as_of);
    let Some(lack) = of_tally(service, as_of, &tally) else {
        return Stays::ReplacementStarts;
    };
    match as_of.starting_deployment() {
        Some(starting) if starting.rollout_state == RolloutState::Failed => Stays::DeploymentOver,
        Some(starting) if starting.backoff.not_before > now => Stays::HeldBack(starting.backoff.not_before),
        _ => dependencies::waits_for(state, as_of).map_or(lack, Stays::WaitsForServices),
    }
}

/// What keeps a service from having a task more; nothing if it has all that it wants, and as long as nobody has found that it cannot.
fn of_tally(service: &Service, as_of: &Service, tally: &Tally) -> Option<Stays> {
    let configuration = &service.deployment_configuration;
    if replica::missing(as_of, tally) == 0 {
        return None;
    }
    if replica::wanted(as_of, tally) == 0 {
        return Some(Stays::NoLeeway {
            minimum_healthy_percent: configuration.minimum_healthy_percent,
            maximum_percent: configuration.maximum_percent,
        });
    }
    let mut events = service.events.iter().map(|event| &event.message);
    let said = events.find(|said| placement::is_unable_to_place(said) || is_steady_state(said));
    // What was said before it was steady is over: nobody has looked for a host since.
    let said = said.filter(|said| placement::is_unable_to_place(said))?.clone();
    Some(Stays::NoHost {
        minimum_healthy_percent: configuration.minimum_healthy_percent,
        said,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::{ContainerInstanceStatus, Resources, TaskOrigin, TaskStatus};
    use crate::reconcile::world::{World, cluster};
    use crate::state::Command;

    use super::*;

    fn small() -> Resources {
        Resources::new(256, 256)
    }

    /// Three tasks on the host `h1`, and a host that has room for one of them.
    fn world(min: u32, max: u32) -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(1024, 1024));
        world.add_definition("web", small(), None);
        world.add_service("web", |service| {
            service.desired_count = 3;
            service.deployment_configuration.minimum_healthy_percent = min;
            service.deployment_configuration.maximum_percent = max;
        });
        world.pass_ms(11_000);
        world.add_host("h2", "a", small());
        world
    }

    fn drain(world: &mut World) -> ContainerInstanceId {
        let host = world.host("h1").expect("a host");
        let drain = Command::UpdateContainerInstanceStatus {
            container_instance: host,
            status: ContainerInstanceStatus::Draining,
            at: None,
        };
        world.apply(drain).expect("drains");
        host
    }

    fn whys(world: &World, host: ContainerInstanceId) -> Vec<Stays> {
        let (_, staying) = Leaving::new(&world.state, world.now).staying(host, usize::MAX);
        staying.into_iter().map(|staying| staying.why).collect()
    }

    #[test]
    fn tasks_say_that_no_host_takes_others_and_that_a_replacement_starts() {
        let mut world = world(100, 200);
        let host = drain(&mut world);
        world.reconcile();
        let said = whys(&world, host);
        let Stays::NoHost { said: sentence, .. } = &said[0] else {
            panic!("{said:?}");
        };
        assert!(sentence.contains("was unable to place a task"), "{sentence}");
        world.update_service("web", Some(1), None);
        world.reconcile();
        let staying = whys(&world, host);
        assert!(staying.contains(&Stays::ReplacementStarts), "{staying:?}");
        world.pass_ms(11_000);
        assert_eq!(whys(&world, host), []);
    }

    #[test]
    fn tasks_do_not_say_that_no_host_takes_others_as_long_as_nobody_has_looked_for_one() {
        let mut world = world(100, 200);
        let host = drain(&mut world);
        assert_eq!(whys(&world, host), vec![Stays::ReplacementStarts; 3]);
    }

    #[test]
    fn tasks_that_run_on_what_may_go_at_any_time_are_about_to_stop() {
        let mut world = world(100, 200);
        let web = cluster().service("web");
        let of_service = world.state.live_tasks_of_service(&web).next();
        let spot = Task {
            capacity_provider: Some("FARGATE_SPOT".into()),
            ..Task::clone(of_service.expect("a task"))
        };
        let why = |world: &World| Leaving::new(&world.state, world.now).why(&spot);
        assert_eq!(why(&world), Stays::ReplacementStarts, "its host does not drain");
        drain(&mut world);
        assert_eq!(why(&world), Stays::Stopping);
    }

    #[test]
    fn tasks_are_all_counted_and_what_keeps_those_of_a_deployment_is_found_out_once_and_only_for_those_that_are_told() {
        let mut world = world(90, 100);
        let host = drain(&mut world);
        world.reconcile();
        let mut leaving = Leaving::new(&world.state, world.now);
        let of = |(count, staying): (usize, Vec<Staying>)| (count, staying.len());
        assert_eq!(of(leaving.staying(host, 0)), (3, 0));
        assert_eq!(leaving.unreplaced.len(), 0);
        assert_eq!(of(leaving.staying(host, 2)), (3, 2));
        assert_eq!(of(leaving.staying(host, 100)), (3, 3));
        assert_eq!(leaving.unreplaced.len(), 1);
    }

    #[test]
    fn service_that_may_have_neither_more_nor_fewer_says_so() {
        let mut world = world(90, 100);
        let host = drain(&mut world);
        world.reconcile();
        let limits = Stays::NoLeeway {
            minimum_healthy_percent: 90,
            maximum_percent: 100,
        };
        assert_eq!(whys(&world, host), vec![limits; 3]);
    }

    #[test]
    fn protected_tasks_and_those_of_no_service_say_so_and_a_host_that_is_active_says_nothing() {
        let mut world = world(0, 100);
        let host = world.host("h1").expect("a host");
        assert_eq!(whys(&world, host), []);
        let scope = cluster().scope;
        let definition = world.state.latest_task_definition(&scope, &"web".into());
        let definition = definition.expect("there").clone();
        let alone = Task {
            id: world.ids.task_id(),
            container_instance: Some(host),
            last_status: TaskStatus::Pending,
            ..Task::new(cluster(), &definition, TaskOrigin::Standalone, world.now)
        };
        let run = Command::RunTasks {
            tasks: vec![alone],
            client_token: None,
        };
        world.apply(run).expect("runs");
        let until = world.now.plus_ms(60_000);
        let web = cluster().service("web");
        let of_service = world.state.live_tasks_of_service(&web);
        let protect = Command::UpdateTaskProtection {
            tasks: of_service.map(|task| task.id).take(1).collect(),
            protected_until: Some(until),
            at: world.now,
        };
        world.apply(protect).expect("protects");
        drain(&mut world);
        world.pass_ms(30_000);
        let mut staying = whys(&world, host);
        staying.sort();
        assert_eq!(staying, [Stays::Standalone, Stays::Protected(until)]);
    }
}
