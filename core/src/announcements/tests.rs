//! What is announced while a small world works, held against ECS's rules and against what is.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::*;
use crate::reconcile::world::{World, cluster};
use crate::state::{ClusterState, Command, FeatureLevel, Taggable, apply};

/// What the log of a world announces from the command `from` on, counted from 0.
fn announced(world: &World, from: usize) -> Vec<Announcement> {
    let mut state = ClusterState::at_newest_level();
    let mut all = vec![];
    for (number, command) in world.log.iter().enumerate() {
        let index = LogIndex(number as u64 + 1);
        let witness = Witness::before(&state, command);
        let Ok(events) = apply(&mut state, index, command) else {
            continue;
        };
        if number >= from {
            all.extend(witness.announce(&state, index, command, &events));
        }
    }
    all
}

/// Each in a line.
fn told(all: &[Announcement]) -> Vec<String> {
    let line = |announcement: &Announcement| match &announcement.subject {
        Subject::Task { task, .. } => format!("task {} -> {}", task.last_status.as_str(), task.desired_status.as_str()),
        Subject::ContainerInstance {
            host,
            allocation,
            status,
        } => {
            let free = allocation.free(host.host.capacity).cpu.0;
            format!("host {} {status}, {free} CPU units free", host.host.host_name)
        }
        Subject::Service { service, action } => format!("{} {action:?}", service.name),
        Subject::Deployment { service, deployment } => {
            format!(
                "{} {:?}: {}",
                service.name, deployment.rollout_state, deployment.rollout_state_reason
            )
        }
        Subject::Hook { stage, hook, .. } => format!("hook of {stage} {:?}", hook.status),
        Subject::Daemon { daemon, news } => match news {
            DaemonNews::Deployment { status, has_target, .. } => {
                let what = if *has_target { "deployment" } else { "deletion" };
                format!("{} {what} {status:?}", daemon.name)
            }
            DaemonNews::TaskStartImpaired { task, reason, .. } => {
                let what = if task.is_some() { "task" } else { "no task" };
                format!("{} impaired, {what}: {reason}", daemon.name)
            }
        },
    };
    all.iter().map(line).collect()
}

fn world() -> World {
    let mut world = World::new();
    world.add_host("h1", "a", Resources::new(1024, 1024));
    world.add_definition("web", Resources::new(256, 128), None);
    world
}

#[test]
fn service_with_a_task_tells_its_course_until_it_is_steady() {
    let mut world = world();
    let from = world.log.len();
    world.add_service("web", |_| {});
    let id = world.service("web").deployments[0].id.clone();
    world.pass_ms(60_000);
    assert_eq!(
        told(&announced(&world, from)),
        [
            &format!("web InProgress: ECS deployment {id} in progress."),
            "task PENDING -> RUNNING",
            "host h1 ACTIVE, 768 CPU units free",
            "task ACTIVATING -> RUNNING",
            "task RUNNING -> RUNNING",
            &format!("web Completed: ECS deployment {id} completed."),
            "web SteadyState",
        ]
    );
}

#[test]
fn deployment_that_fails_is_told_before_the_one_that_takes_its_place() {
    let mut world = world();
    world.add_service("web", |service| {
        service.deployment_configuration.circuit_breaker = CircuitBreaker {
            enable: true,
            rollback: true,
            ..CircuitBreaker::default()
        };
    });
    world.pass_ms(60_000);
    world.add_definition("web", Resources::new(256, 128), None);
    world.broken.insert(("web".to_owned(), 2));
    let from = world.log.len();
    world.update_service("web", None, Some(2));
    world.pass_ms(30 * 60_000);
    let deployments: Vec<(RolloutState, String)> = announced(&world, from)
        .into_iter()
        .filter_map(|announcement| match announcement.subject {
            Subject::Deployment { deployment, .. } => Some((deployment.rollout_state, deployment.rollout_state_reason)),
            _ => None,
        })
        .collect();
    let states: Vec<RolloutState> = deployments.iter().map(|(state, _)| *state).collect();
    let expected = [
        RolloutState::InProgress,
        RolloutState::Failed,
        RolloutState::InProgress,
        RolloutState::Completed,
    ];
    assert_eq!(states, expected, "{deployments:?}");
    assert_eq!(
        deployments[1].1,
        "ECS deployment circuit breaker: tasks failed to start."
    );
    assert!(
        deployments[2].1.contains("rolling back to deploymentId"),
        "{deployments:?}"
    );
    let actions = told(&announced(&world, from));
    assert!(actions.iter().any(|line| line == "web SteadyState"), "{actions:?}");
}

#[test]
fn hook_is_told_as_it_waits_and_as_what_becomes_of_it() {
    let mut world = world();
    world.add_service("web", |service| {
        service.deployment_configuration.lifecycle_hooks = vec![LifecycleHook {
            stages: vec![LifecycleStage::PreScaleUp, LifecycleStage::PostScaleUp],
            timeout_minutes: 5,
            at_timeout: HookAction::Continue,
        }];
    });
    let from = world.log.len();
    world.pass_ms(60_000);
    let current = world.service("web").current_service_deployment().expect("deployed");
    let hook = current.lifecycle.as_ref().expect("paused").hooks[0].id.clone();
    let resume = Command::ContinueServiceDeployment {
        service: cluster().service("web"),
        service_deployment: current.id().clone(),
        hook,
        action: HookAction::Continue,
        at: world.now,
    };
    world.apply(resume).expect("goes on");
    world.pass_ms(10 * 60_000);
    let told = told(&announced(&world, from));
    let hooks: Vec<&String> = told.iter().filter(|line| line.starts_with("hook")).collect();
    assert_eq!(
        hooks,
        [
            "hook of PRE_SCALE_UP AwaitingAction",
            "hook of PRE_SCALE_UP Succeeded",
            "hook of POST_SCALE_UP AwaitingAction",
            "hook of POST_SCALE_UP TimedOut",
        ]
    );
}

#[test]
fn task_that_finds_no_host_is_told_with_the_closest_host_and_what_it_lacks() {
    let mut world = world();
    world.add_definition("wide", Resources::new(2048, 128), None);
    world.add_service("wide", |_| {});
    let from = world.log.len();
    world.pass_ms(1_000);
    let all = announced(&world, from);
    let failure = Subject::Service {
        service: cluster().service("wide"),
        action: ServiceAction::TaskPlacementFailure {
            closest: world.host("h1"),
            reason: "RESOURCE:CPU".to_owned(),
            capacity_providers: vec![],
        },
    };
    assert!(all.iter().any(|found| found.subject == failure), "{all:?}");
}

#[test]
fn daemon_service_tells_how_many_tasks_its_scheduler_wants_as_hosts_come() {
    let mut world = world();
    world.add_service("web", |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.desired_count = 0;
        service.deployment_configuration.maximum_percent = 100;
        service.deployment_configuration.minimum_healthy_percent = 0;
    });
    world.pass_ms(60_000);
    let from = world.log.len();
    world.add_host("h2", "a", Resources::new(1024, 1024));
    world.pass_ms(60_000);
    let lines = told(&announced(&world, from));
    assert!(lines.contains(&"web DesiredCountUpdated(2)".to_owned()), "{lines:?}");
    let from = world.log.len();
    world.add_definition("other", Resources::new(1, 1), None);
    world.add_service("other", |_| {});
    world.pass_ms(60_000);
    world.update_service("other", Some(2), None);
    let lines = told(&announced(&world, from));
    assert!(
        !lines.iter().any(|line| line.contains("DesiredCountUpdated")),
        "{lines:?}"
    );
}

#[test]
fn task_set_that_has_its_tasks_is_told_before_its_service() {
    let mut world = world();
    world.add_service("web", |service| {
        service.deployments.clear();
        service.deployment_controller = DeploymentController::External;
    });
    let from = world.log.len();
    let set = world.task_set("web", 1, Scale::WHOLE);
    let id = set.id.clone();
    let create = Command::CreateTaskSet {
        service: cluster().service("web"),
        task_set: Box::new(set),
        client_token: None,
    };
    world.apply(create).expect("creates");
    world.pass_ms(60_000);
    let lines = told(&announced(&world, from));
    let last = &lines[lines.len() - 2..];
    assert_eq!(
        last,
        [format!("web TaskSetSteadyState({id:?})"), "web SteadyState".to_owned()],
        "{lines:?}"
    );
}

#[test]
fn host_that_is_drained_lost_and_back_is_told_with_its_tasks_each_time_by_a_higher_version() {
    let mut world = world();
    world.add_service("web", |_| {});
    world.pass_ms(60_000);
    let host = world.host("h1").expect("there");
    world.add_host("h2", "b", Resources::new(1024, 1024));
    let from = world.log.len();
    let drain = Command::UpdateContainerInstanceStatus {
        container_instance: host,
        status: ContainerInstanceStatus::Draining,
        at: Some(world.now),
    };
    world.apply(drain).expect("drains");
    world.cut_off.insert(host);
    let away = Command::RecordAgentDisconnected {
        container_instance: host,
        last_heard_at: world.now,
        at: world.now,
    };
    world.apply(away).expect("is away");
    world.pass_ms(30 * 60_000);
    let all = announced(&world, from);
    let lines = told(&all);
    assert_eq!(lines[0], "host h1 DRAINING, 768 CPU units free");
    assert!(lines.contains(&"task STOPPED -> STOPPED".to_owned()), "{lines:?}");
    let mut of_host = lines.iter().filter(|line| line.starts_with("host h1 "));
    assert_eq!(
        of_host.next_back().expect("some"),
        "host h1 DRAINING, 1024 CPU units free"
    );
    let versions: Vec<u64> = announced(&world, 0)
        .iter()
        .filter_map(|announcement| match &announcement.subject {
            Subject::ContainerInstance { host: found, .. } if found.id == host => Some(found.version),
            _ => None,
        })
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[test]
fn ids_are_the_same_for_all_members_and_no_two_alike() {
    let mut world = world();
    world.add_service("web", |service| service.desired_count = 3);
    world.pass_ms(60_000);
    let (one, other) = (announced(&world, 0), announced(&world, 0));
    assert_eq!(one, other);
    let ids: BTreeSet<String> = one.iter().map(|announcement| announcement.id(7)).collect();
    assert_eq!(ids.len(), one.len());
    assert!(ids.iter().all(|id| id.len() == 36), "{ids:?}");
    assert!(one.iter().all(|announcement| !ids.contains(&announcement.id(8))));
    assert!(
        one.is_sorted_by(|a, b| a.position < b.position),
        "in the order of the log"
    );
    assert!(one.iter().all(|announcement| announcement.bytes() > 500));
}

/// A reader that has all resources as they were, and takes over those that are told to be touched, has them as they are.
#[test]
fn resources_that_are_not_told_to_be_touched_are_as_they_were() {
    let mut world = world();
    world.add_capacity_providers(&["gpu"]);
    world.add_service("web", |service| service.desired_count = 3);
    world.pass_ms(60_000);
    world.update_service("web", Some(1), None);
    let web = Taggable::Service(cluster().service("web"));
    let tags = Tags::from([("k".to_owned(), "v".to_owned())]);
    world.apply(Command::TagResource { resource: web, tags }).expect("tags");
    world.pass_ms(30 * 3_600_000);
    let delete = Command::DeleteService {
        service: cluster().service("web"),
        force: true,
        at: world.now,
    };
    world.apply(delete).expect("deletes");
    world.pass_ms(30 * 3_600_000);
    let mut state = ClusterState::at_newest_level();
    for (number, command) in world.log.iter().enumerate() {
        let before = shown(&state);
        let witness = Witness::before(&state, command);
        let Ok(events) = apply(&mut state, LogIndex(number as u64 + 1), command) else {
            continue;
        };
        let Touched::These(touched) = witness.touched(command, &events) else {
            panic!("nothing was reset");
        };
        let after = shown(&state);
        let keys: BTreeSet<&Resource> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let is_same = before.get(key) == after.get(key);
            assert!(is_same || touched.contains(key), "{key:?} by {command:?}");
        }
    }
    assert!(
        shown(&state).keys().all(|key| !matches!(key, Resource::Task(..))),
        "all were forgotten"
    );
}

#[test]
fn state_that_is_emptied_or_raised_is_touched_as_a_whole() {
    let mut state = ClusterState::default();
    let raise = Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"));
    for command in [Command::Reset, raise] {
        let witness = Witness::before(&state, &command);
        let events = apply(&mut state, LogIndex(1), &command).expect("applied");
        assert_eq!(witness.touched(&command, &events), Touched::Everything);
    }
}

/// Each resource with what its description depends on.
fn shown(state: &ClusterState) -> BTreeMap<Resource, String> {
    let key = cluster();
    let mut shown = BTreeMap::new();
    for cluster in state.all_clusters() {
        let hosts = state
            .container_instances_of(&cluster.key)
            .map(|host| state.allocation(host.id));
        let counts: Vec<(u32, u32)> = hosts.map(|held| (held.running_tasks(), held.pending_tasks())).collect();
        let services = state.services_of(&cluster.key).map(|service| service.status);
        let services = services.filter(|status| *status != ServiceStatus::Inactive);
        let services: Vec<ServiceStatus> = services.collect();
        shown.insert(
            Resource::Cluster(cluster.key.clone()),
            format!("{cluster:?} {counts:?} {services:?}"),
        );
    }
    for definition in state.task_definitions(&key.scope) {
        shown.insert(
            Resource::TaskDefinition(definition.key.clone()),
            format!("{definition:?}"),
        );
    }
    for host in state.all_container_instances() {
        let held = state.allocation(host.id);
        shown.insert(
            Resource::ContainerInstance(key.clone(), host.id),
            format!("{host:?} {held:?}"),
        );
    }
    for service in state.all_services() {
        let counts = state.task_counts(&service.key);
        shown.insert(
            Resource::Service(service.key.clone()),
            format!("{service:?} {counts:?}"),
        );
    }
    for task in state.tasks_of_cluster(&key) {
        shown.insert(Resource::Task(key.clone(), task.id), format!("{task:?}"));
    }
    shown
}

#[test]
fn daemon_tells_how_far_its_deployments_are_and_which_of_its_tasks_do_not_start() {
    let mut world = World::new();
    world.add_capacity_providers(&["gpu"]);
    world.add_host_of("h1", "a", Resources::new(1024, 1024), Some("gpu"));
    world.add_definition("daemon:logs", Resources::new(256, 128), None);
    world.add_definition("daemon:logs", Resources::new(2048, 128), None);
    let from = world.log.len();
    world.add_service("daemon:logs", |daemon| {
        daemon.scheduling_strategy = SchedulingStrategy::Daemon;
        daemon.desired_count = 0;
        daemon.deployment_configuration = DeploymentConfiguration::of_daemon(0);
        daemon.capacity_provider_strategy = vec![CapacityProviderStrategyItem {
            capacity_provider: "gpu".into(),
            weight: 1,
            base: 0,
        }];
        let settings = DaemonSettings {
            critical: false,
            drain: Scale::WHOLE,
        };
        daemon.managed_daemon = Some(Box::new(ManagedDaemon { settings }));
    });
    world.reconcile();
    let task = world.state.live_tasks_of_service(&cluster().daemon("logs")).next();
    let task = task.expect("it has one").clone();
    let mut report = world.report_of(task.id, TaskStatus::Stopped);
    report.stop_code = Some(StopCode::TaskFailedToStart);
    report.stopped_reason = Some("no such image".to_owned());
    let failed = Command::RecordTaskReports {
        container_instance: task.container_instance.expect("is on a host"),
        reports: vec![report],
        at: world.now,
    };
    world.apply(failed).expect("is taken");
    world.pass_ms(60_000);
    world.change_service("daemon:logs", |update| {
        update.task_definition = Some(TaskDefinitionKey {
            scope: cluster().scope,
            family: "daemon:logs".into(),
            revision: 2,
        });
    });
    world.pass_ms(30_000);
    let delete = Command::DeleteDaemon {
        daemon: cluster().daemon("logs"),
        deployment: world.ids.deployment_id(),
        at: world.now,
    };
    world.apply(delete).expect("deletes");
    world.pass_ms(30_000);
    let of_daemon = |line: &String| line.starts_with("daemon:logs");
    let told: Vec<String> = told(&announced(&world, from)).into_iter().filter(of_daemon).collect();
    assert_eq!(
        told,
        [
            "daemon:logs deployment Pending",
            "daemon:logs deployment InProgress",
            "daemon:logs impaired, task: Task failed to reach RUNNING status: no such image",
            "daemon:logs deployment Successful",
            "daemon:logs deployment Pending",
            "daemon:logs deployment InProgress",
            // Once the task that was replaced is gone.
            "daemon:logs impaired, no task: RESOURCE:CPU",
            "daemon:logs deployment Stopped",
            "daemon:logs deletion Pending",
            "daemon:logs deletion Successful",
        ]
    );
}
