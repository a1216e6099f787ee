//! Properties that hold whatever happens to a service: random histories in the small world.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::model::*;
use crate::state::{ClusterState, Command, UpdateCluster};

use super::limits::Limits;
use super::reconcile;
use super::world::{World, cases, cluster};

pub(super) const HOSTS: usize = 6;
pub(super) const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Scale(u32),
    NewRevision,
    HostsProceed,
    Kill(usize, TaskStatus),
    Drain(usize),
    Activate(usize),
    Cut(usize),
    Reconnect(usize),
    Protect(usize, i64),
    Pass(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    // An agent reports every step of an ending, or what it has become by the time that it can.
    let ending = prop::sample::select(vec![
        TaskStatus::Deactivating,
        TaskStatus::Stopping,
        TaskStatus::Deprovisioning,
        TaskStatus::Stopped,
    ]);
    prop_oneof![
        1 => (0u32..14).prop_map(Step::Scale),
        1 => Just(Step::NewRevision),
        3 => Just(Step::HostsProceed),
        1 => (0usize..20, ending).prop_map(|(nth, status)| Step::Kill(nth, status)),
        1 => (0..HOSTS).prop_map(Step::Drain),
        1 => (0..HOSTS).prop_map(Step::Activate),
        1 => (0..HOSTS).prop_map(Step::Cut),
        1 => (0..HOSTS).prop_map(Step::Reconnect),
        1 => (0usize..20, 1i64..60).prop_map(|(nth, minutes)| Step::Protect(nth, minutes)),
        1 => (0i64..40_000).prop_map(Step::Pass),
    ]
}

fn name(host: usize) -> String {
    format!("h{host}")
}

fn host_ids(world: &World) -> Vec<ContainerInstanceId> {
    let cluster = cluster();
    let hosts = world.state.container_instances_of(&cluster);
    hosts.map(|host| host.id).collect()
}

fn zone(host: usize) -> &'static str {
    ["a", "b", "c"][host % 3]
}

pub(super) fn world(desired: u32, min: u32, max: u32) -> World {
    let mut world = World::new();
    for host in 0..HOSTS {
        world.add_host(&name(host), zone(host), Resources::new(16_384, 16_384));
    }
    world.add_definition("web", Resources::new(256, 256), None);
    world.add_service("web", |service| {
        service.desired_count = desired;
        service.deployment_configuration.minimum_healthy_percent = min;
        service.deployment_configuration.maximum_percent = max;
    });
    world
}

pub(super) fn perform(world: &mut World, step: &Step) {
    let at = world.now;
    let host = |world: &World, host: usize| world.host(&name(host)).expect("host");
    match step {
        Step::Scale(desired) => world.update_service("web", Some(*desired), None),
        Step::NewRevision => {
            let revision = world.add_definition("web", Resources::new(256, 256), None);
            world.update_service("web", None, Some(revision));
        }
        Step::HostsProceed => _ = world.hosts_step(),
        Step::Kill(nth, status) => {
            let web = cluster().service("web");
            let tasks = world.state.tasks_of_service(&web);
            let running: Vec<_> = tasks
                .filter(|t| t.last_status == TaskStatus::Running)
                .cloned()
                .collect();
            if let Some(task) = running.get(nth % running.len().max(1)) {
                let reports = vec![world.report_of(task.id, *status)];
                let container_instance = task.container_instance.expect("runs on a host");
                world
                    .apply(Command::RecordTaskReports {
                        container_instance,
                        reports,
                        at,
                    })
                    .expect("host");
            }
        }
        Step::Drain(nth) | Step::Activate(nth) => {
            let status = match step {
                Step::Drain(_) => ContainerInstanceStatus::Draining,
                _ => ContainerInstanceStatus::Active,
            };
            let container_instance = host(world, *nth);
            world
                .apply(Command::UpdateContainerInstanceStatus {
                    container_instance,
                    status,
                    at: None,
                })
                .expect("host");
        }
        Step::Cut(nth) => {
            let container_instance = host(world, *nth);
            world.cut_off.insert(container_instance);
            world
                .apply(Command::RecordAgentDisconnected {
                    container_instance,
                    last_heard_at: at,
                    at,
                })
                .expect("host");
        }
        Step::Reconnect(nth) => _ = world.add_host(&name(*nth), zone(*nth), Resources::new(16_384, 16_384)),
        Step::Protect(nth, minutes) => {
            let web = cluster().service("web");
            let tasks: Vec<TaskId> = world.state.live_tasks_of_service(&web).map(|task| task.id).collect();
            if !tasks.is_empty() {
                let command = Command::UpdateTaskProtection {
                    tasks: vec![tasks[nth % tasks.len()]],
                    protected_until: Some(at.plus_ms(minutes * 60_000)),
                    at,
                };
                world.apply(command).expect("is always valid");
            }
        }
        Step::Pass(ms) => world.now = world.now.plus_ms(*ms),
    }
}

fn running_and_pending(state: &ClusterState) -> (usize, usize) {
    let web = cluster().service("web");
    let tasks = || state.tasks_of_service(&web);
    let wanted_running =
        tasks().filter(|t| t.desired_status == DesiredStatus::Running && t.last_status == TaskStatus::Running);
    (
        wanted_running.count(),
        tasks().filter(|t| t.last_status <= TaskStatus::Running).count(),
    )
}

/// Whether a service said that its limits leave no room for a deployment.
pub(super) fn is_held_by_configuration(service: &Service) -> bool {
    let said = "Update the minimumHealthyPercent";
    service.events.iter().any(|event| event.message.contains(said))
}

/// What must hold of each command: our stops leave enough and spare what is protected, our starts do not exceed the maximum.
pub(super) fn check(before: &ClusterState, world: &World) {
    let limits = Limits::of(world.service("web"));
    let ((running_before, occupying_before), (running, occupying)) =
        (running_and_pending(before), running_and_pending(&world.state));
    let lost = before
        .tasks_of_service(&cluster().service("web"))
        .any(|t| !t.is_stopped() && world.state.task(t.id).is_some_and(|now| now.is_stopped()));
    if running < running_before && !lost {
        assert!(running >= limits.lower, "{running} run, {} must", limits.lower);
    }
    if occupying > occupying_before {
        assert!(occupying <= limits.upper, "{occupying} tasks, {} allowed", limits.upper);
    }
    let web = cluster().service("web");
    for task in before
        .live_tasks_of_service(&web)
        .filter(|task| task.is_protected(world.now))
    {
        let stays = world.state.task(task.id).is_some_and(|now| now.is_protected(world.now));
        assert!(stays || lost, "task {} was protected and stops", task.id);
    }
    let all = world.state.tasks_of_service(&web);
    let live = world.state.live_tasks_of_service(&web);
    assert!(
        live.eq(all.filter(|t| !t.is_stopped())),
        "the index of live tasks is off"
    );
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn service_after_any_history_reaches_its_desired_count_within_its_limits(
        steps in proptest::collection::vec(step(), 1..30),
        desired in 0u32..10,
        (min, max) in prop_oneof![Just((100, 200)), Just((50, 100)), Just((50, 200)), Just((0, 100)), Just((75, 150))],
        early in prop::option::of((0u32..=100, prop::sample::select(vec![SourceCleanup::Blocking, SourceCleanup::Deferred]))),
    ) {
        let mut world = world(desired, min, max);
        let early = early.map(|(percent, cleanup)| EarlySuccess {
            enable: true,
            healthy_percent: Some(percent.max(min)),
            source_cleanup: Some(cleanup),
        });
        world.change_service("web", |update| {
            update.deployment_configuration.early_success = early;
            update.force_new_deployment = true;
        });
        for step in &steps {
            perform(&mut world, step);
            world.reconcile_checking(check);
        }
        for host in 0..HOSTS {
            perform(&mut world, &Step::Reconnect(host));
            perform(&mut world, &Step::Activate(host));
        }
        for _ in 0..8 {
            world.pass_ms(HOUR_MS);
        }
        let service = world.service("web").clone();
        let tasks = world.state.tasks_of_service(&service.key).filter(|t| !t.is_stopped());
        let revisions: BTreeSet<_> = tasks.map(|t| t.deployment().cloned()).collect();
        let (running, all) = running_and_pending(&world.state);
        let primary = service.primary().expect("primary");
        if !is_held_by_configuration(&service) {
            prop_assert_eq!(running, usize::try_from(service.desired_count).expect("small"));
            prop_assert_eq!(all, running);
            prop_assert!(revisions.iter().all(|d| d.as_ref() == Some(&primary.id)));
            prop_assert_eq!(service.deployments.len(), 1);
            prop_assert_eq!(primary.rollout_state, RolloutState::Completed);
            prop_assert!(service.steady);
        }
        let again = reconcile(&world.state, &mut super::Agenda::everything(&world.state), world.now, &mut world.ids);
        prop_assert!(again.is_empty(), "a second look finds {again:?}");
    }

    #[test]
    fn service_scaled_on_healthy_hosts_is_level_over_zones(
        counts in proptest::collection::vec(0u32..40, 1..6),
    ) {
        let mut world = world(counts[0], 100, 200);
        for count in counts {
            world.update_service("web", Some(count), None);
            world.pass_ms(11_000);
            let zones = world.by_zone("web");
            let (least, most) = (zones.values().min().expect("zones"), zones.values().max().expect("zones"));
            prop_assert!(most - least <= 1, "{zones:?}");
            prop_assert_eq!(zones.values().sum::<usize>(), usize::try_from(count).expect("small"));
        }
    }
}

#[test]
fn leader_with_an_agenda_of_its_own_decides_as_one_that_saw_everything() {
    let mut world = world(6, 100, 200);
    world.pass_ms(11_000);
    perform(&mut world, &Step::Kill(0, TaskStatus::Stopped));
    perform(&mut world, &Step::Drain(1));
    let mut ids = world.ids.clone();
    let mut fresh = super::Agenda::everything(&world.state);
    let seen = reconcile(&world.state, &mut world.agenda, world.now, &mut world.ids);
    let new = reconcile(&world.state, &mut fresh, world.now, &mut ids);
    assert!(!seen.is_empty());
    let count = |commands: &[Command], starts: bool| {
        commands
            .iter()
            .map(|c| match c {
                Command::CreateTasks { tasks } if starts => tasks.len(),
                Command::StopTasks { tasks, .. } if !starts => tasks.len(),
                _ => 0,
            })
            .sum::<usize>()
    };
    assert_eq!(
        (count(&seen, true), count(&seen, false)),
        (count(&new, true), count(&new, false))
    );
}

#[test]
fn stopped_task_after_a_day_is_forgotten() {
    let mut world = world(1, 100, 200);
    world.pass_ms(11_000);
    perform(&mut world, &Step::Kill(0, TaskStatus::Stopped));
    world.pass_ms(23 * HOUR_MS);
    assert_eq!(world.state.stopped_task_count(), 1);
    world.pass_ms(2 * HOUR_MS);
    assert_eq!(world.state.stopped_task_count(), 0);
}

#[test]
fn stopped_task_is_remembered_for_as_long_as_its_cluster_says() {
    let mut world = world(1, 100, 200);
    let keep = |world: &mut World, hours: i64| {
        let host_settings = HostSettingsChange {
            stopped_tasks_kept_ms: u32::try_from(hours * HOUR_MS).ok(),
            ..HostSettingsChange::default()
        };
        let settings = vec![];
        let cluster = cluster();
        let update = UpdateCluster {
            cluster,
            settings,
            host_settings,
        };
        world.apply(Command::UpdateCluster(update)).expect("can be kept");
    };
    world.pass_ms(11_000);
    keep(&mut world, 48);
    perform(&mut world, &Step::Kill(0, TaskStatus::Stopped));
    world.pass_ms(47 * HOUR_MS);
    assert_eq!(world.state.stopped_task_count(), 1);
    keep(&mut world, 1);
    world.pass_ms(60_000);
    assert_eq!(world.state.stopped_task_count(), 0);
}

fn delete_web(world: &mut World) {
    let (service, at) = (cluster().service("web"), world.now);
    let command = Command::DeleteService {
        service,
        force: true,
        at,
    };
    world.apply(command).expect("deletes");
}

#[test]
fn deleted_service_after_a_day_is_forgotten() {
    let mut world = world(2, 100, 200);
    world.pass_ms(11_000);
    delete_web(&mut world);
    world.pass_ms(11_000);
    assert_eq!(world.service("web").status, ServiceStatus::Inactive);
    world.pass_ms(25 * HOUR_MS);
    assert!(world.state.service(&cluster().service("web")).is_none());
}

#[test]
fn deleted_cluster_is_forgotten_a_day_later_once_nothing_of_it_is_remembered() {
    let mut world = world(1, 100, 200);
    world.pass_ms(11_000);
    delete_web(&mut world);
    world.pass_ms(11_000);
    let at = world.now;
    for container_instance in host_ids(&world) {
        let command = Command::DeregisterContainerInstance {
            container_instance,
            force: true,
            at,
        };
        world.apply(command).expect("deregisters");
    }
    let command = Command::DeleteCluster {
        cluster: cluster(),
        at: Some(at),
    };
    world.apply(command).expect("deletes");
    world.pass_ms(23 * HOUR_MS);
    assert!(world.state.cluster(&cluster()).is_some());
    world.pass_ms(2 * HOUR_MS);
    assert!(world.state.cluster(&cluster()).is_none());
    assert_eq!(world.agenda.next_wake(), None, "nothing is left to wait for");
}

#[test]
fn deleted_task_definitions_are_forgotten_in_commands_that_stay_small() {
    let mut world = World::new();
    for _ in 0..1_201 {
        let revision = world.add_definition("old", Resources::new(1, 1), None);
        let task_definition = TaskDefinitionKey {
            scope: cluster().scope,
            family: "old".into(),
            revision,
        };
        let at = world.now;
        let deregister = Command::DeregisterTaskDefinition {
            task_definition: task_definition.clone(),
            at,
        };
        world.apply(deregister).expect("deregisters");
        world
            .apply(Command::DeleteTaskDefinition { task_definition })
            .expect("deletes");
    }
    let sizes: Vec<usize> = world
        .reconcile()
        .iter()
        .map(|command| match command {
            Command::ForgetTaskDefinitions { task_definitions } => task_definitions.len(),
            other => panic!("decided on {other:?}"),
        })
        .collect();
    assert_eq!(sizes, [500, 500, 201]);
    assert_eq!(world.state.deleting_task_definitions().count(), 0);
}

#[test]
fn cluster_none_of_whose_agents_is_connected_costs_nothing_while_it_waits() {
    let mut world = world(4, 100, 200);
    world.pass_ms(11_000);
    for container_instance in host_ids(&world) {
        let at = world.now;
        let command = Command::RecordAgentDisconnected {
            container_instance,
            last_heard_at: at,
            at,
        };
        world.apply(command).expect("a host");
        world.cut_off.insert(container_instance);
    }
    world.reconcile();
    world.now = world.now.plus_ms(HOUR_MS);
    assert_eq!(world.reconcile(), []);
    assert_eq!(world.agenda.next_wake(), None, "until an agent is back");
}
