//! Services: updates that meet, failures that count once.

use berth_core::model::{
    ContainerInstanceId, DeploymentConfiguration, DeploymentConfigurationChanges, LogIndex, PlacementConstraint,
    PlacementStrategy, SchedulingStrategy, Service, TaskDefinitionKey, TaskId, TaskOrigin, TaskReport, TaskStatus,
    Timestamp, UnsupportedByDaemon,
};
use berth_core::state::{ClusterState, Command, Rejection, UpdateService, apply};

use super::given::{cluster, definition, no_change, register, report, service, task};

/// A service whose one task is on host 0.
pub(crate) fn state_with_a_service_task() -> (ClusterState, Service) {
    state_with_a_service_task_in(ClusterState::at_newest_level())
}

pub(crate) fn state_with_a_service_task_in(mut state: ClusterState) -> (ClusterState, Service) {
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    let service = service(&key);
    let origin = TaskOrigin::Service {
        service: service.key.clone(),
        deployment: service.deployments[0].id.clone(),
    };
    let mut started = task(1, 0, 1, 1, None);
    started.blueprint_mut().origin = origin;
    let tasks = vec![started];
    let commands = [
        register(0, 0),
        Command::RegisterTaskDefinition(definition(&key)),
        Command::CreateService {
            service: Box::new(service.clone()),
            client_token: None,
        },
        Command::CreateTasks { tasks },
    ];
    for (index, command) in (1..).zip(commands) {
        apply(&mut state, LogIndex(index), &command).expect("accepted");
    }
    (state, service)
}

pub(crate) fn tell(state: &mut ClusterState, report: TaskReport, at: i64) {
    let index = LogIndex(state.applied().0 + 1);
    let reported = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report],
        at: Timestamp(at),
    };
    apply(state, index, &reported).expect("records");
}

pub(crate) fn failures(state: &ClusterState, service: &Service) -> u32 {
    state.service(&service.key).expect("exists").deployments[0].failed_tasks
}

#[test]
fn service_task_that_ends_step_by_step_counts_as_one_failure() {
    let (mut state, service) = state_with_a_service_task();
    for status in [
        TaskStatus::Running,
        TaskStatus::Deactivating,
        TaskStatus::Stopping,
        TaskStatus::Deprovisioning,
        TaskStatus::Stopped,
    ] {
        tell(&mut state, report(1, status), 1_000);
    }
    assert_eq!(failures(&state, &service), 1);
}

#[test]
fn service_task_counts_as_failed_by_the_time_for_which_it_ran_and_not_by_the_clock_of_its_host() {
    let hour = 3_600_000;
    for ahead in [-hour, 0, hour] {
        for (ran_for, failed) in [(9_000, 1), (10_000, 0)] {
            let (mut state, service) = state_with_a_service_task();
            let (began, ended) = (2 * hour, 2 * hour + ran_for);
            let running = TaskReport {
                started_at: Some(Timestamp(began + ahead)),
                ..report(1, TaskStatus::Running)
            };
            let stopped = TaskReport {
                execution_stopped_at: Some(Timestamp(ended + ahead)),
                stopped_at: Some(Timestamp(ended + ahead)),
                ..running.clone()
            };
            let stopped = TaskReport {
                status: TaskStatus::Stopped,
                ..stopped
            };
            tell(&mut state, running, began);
            tell(&mut state, stopped, ended);
            assert_eq!(failures(&state, &service), failed, "ahead {ahead} ran for {ran_for}");
            let task = state.task(TaskId(1)).expect("remembered");
            assert_eq!(task.stopped_at, Some(Timestamp(ended)));
            let told = [task.started_at, task.execution_stopped_at];
            let told: Vec<i64> = told.into_iter().flatten().map(|time| time.0).collect();
            assert!(told.iter().all(|time| (0..=ended).contains(time)), "{told:?}");
        }
    }
}

#[test]
fn service_task_that_ran_and_ended_while_its_host_was_away_counts_by_how_long_it_ran() {
    for (ran_for, failed) in [(9_000, 1), (10_000, 0)] {
        let (mut state, service) = state_with_a_service_task();
        let stopped = TaskReport {
            started_at: Some(Timestamp(1_000)),
            execution_stopped_at: Some(Timestamp(1_000 + ran_for)),
            ..report(1, TaskStatus::Stopped)
        };
        tell(&mut state, stopped, 3_600_000);
        assert_eq!(failures(&state, &service), failed, "ran for {ran_for}");
    }
}

#[test]
fn service_updated_by_two_who_saw_it_as_it_was_keeps_what_both_changed() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let revision = |revision| TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision,
    };
    for index in 2..4 {
        let register = Command::RegisterTaskDefinition(definition(&revision(0)));
        apply(&mut state, LogIndex(index), &register).expect("registers");
    }
    let created = service(&revision(1));
    let create = Command::CreateService {
        service: Box::new(created.clone()),
        client_token: None,
    };
    apply(&mut state, LogIndex(4), &create).expect("creates");
    let update = |deployment| no_change(&created, deployment);
    let one = UpdateService {
        task_definition: Some(revision(2)),
        deployment_configuration: DeploymentConfigurationChanges {
            maximum_percent: Some(150),
            ..Default::default()
        },
        ..update("ecs-svc/2")
    };
    let other = UpdateService {
        force_new_deployment: true,
        deployment_configuration: DeploymentConfigurationChanges {
            minimum_healthy_percent: Some(50),
            ..Default::default()
        },
        ..update("ecs-svc/3")
    };
    for (index, update) in (5..).zip([one, other]) {
        apply(&mut state, LogIndex(index), &Command::UpdateService(Box::new(update))).expect("updates");
    }
    let updated = state.service(&created.key).expect("exists");
    let configuration = &updated.deployment_configuration;
    assert_eq!(
        (configuration.minimum_healthy_percent, configuration.maximum_percent),
        (50, 150)
    );
    let primary = updated.primary().expect("a primary");
    assert_eq!(
        (primary.id.as_str(), primary.task_definition.revision),
        ("ecs-svc/3", 2)
    );
    let lowered = UpdateService {
        deployment_configuration: DeploymentConfigurationChanges {
            maximum_percent: Some(99),
            ..Default::default()
        },
        ..update("ecs-svc/4")
    };
    let refused = apply(&mut state, LogIndex(7), &Command::UpdateService(Box::new(lowered)));
    assert!(
        matches!(refused, Err(Rejection::DeploymentConfiguration(_))),
        "{refused:?}"
    );
}

#[test]
fn update_that_was_made_for_a_replica_service_is_refused_by_the_daemon_service_that_took_its_name() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let revision = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    let define = Command::RegisterTaskDefinition(definition(&revision));
    apply(&mut state, LogIndex(2), &define).expect("registers");
    let mut daemon = service(&revision);
    daemon.scheduling_strategy = SchedulingStrategy::Daemon;
    daemon.desired_count = 0;
    daemon.deployment_configuration = DeploymentConfiguration::default_of(SchedulingStrategy::Daemon);
    let create = Command::CreateService {
        service: Box::new(daemon.clone()),
        client_token: None,
    };
    apply(&mut state, LogIndex(3), &create).expect("creates");
    let update = || no_change(&daemon, "ecs-svc/2");
    let updates = [
        (
            UpdateService {
                desired_count: Some(3),
                ..update()
            },
            UnsupportedByDaemon::DesiredCount,
        ),
        (
            UpdateService {
                placement_strategy: Some(vec![PlacementStrategy::Random]),
                ..update()
            },
            UnsupportedByDaemon::PlacementStrategy,
        ),
        (
            UpdateService {
                placement_constraints: Some(vec![PlacementConstraint::DistinctInstance]),
                ..update()
            },
            UnsupportedByDaemon::DistinctInstance,
        ),
    ];
    let before = state.service(&daemon.key).cloned();
    for (index, (update, why)) in (4..).zip(updates) {
        let refused = apply(&mut state, LogIndex(index), &Command::UpdateService(Box::new(update)));
        assert_eq!(refused, Err(Rejection::UnsupportedByDaemon(why)));
    }
    assert_eq!(state.service(&daemon.key).cloned(), before);
}
