//! What hosts say of the health of tasks, and what it counts for.

use berth_core::model::{
    ContainerInstanceId, DesiredStatus, HealthStatus, LogIndex, ServiceKey, StopCode, TaskHealth, TaskId, TaskReport,
    TaskStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, Event, apply};

use super::given::{report, task};
use super::services::state_with_a_service_task;

fn perform(state: &mut ClusterState, command: Command) -> Vec<Event> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, &command).expect("accepted")
}

/// A service whose task 1 runs, with its key.
fn given() -> (ClusterState, ServiceKey) {
    let (mut state, service) = state_with_a_service_task();
    tell(&mut state, TaskStatus::Running, Some(HealthStatus::Unknown), 1_000);
    (state, service.key)
}

fn tell(state: &mut ClusterState, status: TaskStatus, health: Option<HealthStatus>, at: i64) -> Vec<Event> {
    let report = TaskReport {
        health,
        ..report(1, status)
    };
    let command = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report],
        at: Timestamp(at),
    };
    perform(state, command)
}

fn find_failed(state: &mut ClusterState, at: i64) -> Vec<Event> {
    let command = Command::RecordFailedHealthChecks {
        tasks: vec![TaskId(1), TaskId(99)],
        at: Timestamp(at),
    };
    perform(state, command)
}

fn health(state: &ClusterState) -> TaskHealth {
    state.task(TaskId(1)).and_then(|task| task.health).expect("it was told")
}

fn failures(state: &ClusterState, service: &ServiceKey) -> (u32, u32) {
    let deployment = &state.service(service).expect("it is there").deployments[0];
    (deployment.failed_tasks, deployment.backoff.consecutive_failures)
}

#[test]
fn health_that_a_host_tells_is_kept_with_when_it_was_good_first() {
    let (mut state, _) = given();
    assert_eq!(
        tell(&mut state, TaskStatus::Running, Some(HealthStatus::Healthy), 2_000).len(),
        1
    );
    assert_eq!(
        tell(&mut state, TaskStatus::Running, Some(HealthStatus::Healthy), 3_000),
        []
    );
    tell(&mut state, TaskStatus::Running, Some(HealthStatus::Unhealthy), 4_000);
    let wanted = TaskHealth {
        status: HealthStatus::Unhealthy,
        healthy_since: Some(Timestamp(2_000)),
        failed_at: None,
    };
    assert_eq!(health(&state), wanted);
    tell(&mut state, TaskStatus::Stopping, None, 5_000);
    assert_eq!(
        health(&state),
        wanted,
        "a report that says nothing of it leaves it as it is"
    );
    let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
    assert_eq!(restored, state);
}

#[test]
fn task_that_is_found_unhealthy_counts_once_as_a_failure_and_delays_starts_if_it_never_was_healthy() {
    for (was_healthy, counted) in [(false, (1, 1)), (true, (1, 0))] {
        let (mut state, service) = given();
        if was_healthy {
            tell(&mut state, TaskStatus::Running, Some(HealthStatus::Healthy), 2_000);
        }
        assert_eq!(find_failed(&mut state, 3_000), [], "it is not unhealthy");
        tell(&mut state, TaskStatus::Running, Some(HealthStatus::Unhealthy), 4_000);
        assert_eq!(find_failed(&mut state, 5_000).len(), 2);
        assert_eq!(find_failed(&mut state, 6_000), [], "it was found before");
        assert_eq!(health(&state).failed_at, Some(Timestamp(5_000)));
        tell(&mut state, TaskStatus::Stopped, None, 7_000);
        assert_eq!(failures(&state, &service), counted);
    }
}

#[test]
fn task_that_ends_before_it_ever_was_healthy_counts_as_a_failure_however_long_it_ran() {
    for (was_healthy, counted) in [(false, (1, 1)), (true, (0, 0))] {
        let (mut state, service) = given();
        if was_healthy {
            tell(&mut state, TaskStatus::Running, Some(HealthStatus::Healthy), 2_000);
        }
        tell(&mut state, TaskStatus::Stopped, None, 3_600_000);
        assert_eq!(failures(&state, &service), counted);
    }
}

#[test]
fn task_that_is_healthy_again_or_is_no_services_is_not_to_be_replaced() {
    let (mut state, _) = given();
    tell(&mut state, TaskStatus::Running, Some(HealthStatus::Unhealthy), 2_000);
    find_failed(&mut state, 3_000);
    tell(&mut state, TaskStatus::Running, Some(HealthStatus::Healthy), 4_000);
    assert_eq!(health(&state).failed_at, None);

    let tasks = vec![task(2, 0, 1, 1, None)];
    perform(
        &mut state,
        Command::RunTasks {
            tasks,
            client_token: None,
        },
    );
    let unhealthy = TaskReport {
        health: Some(HealthStatus::Unhealthy),
        ..report(2, TaskStatus::Running)
    };
    let reports = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![unhealthy],
        at: Timestamp(5_000),
    };
    perform(&mut state, reports);
    let found = Command::RecordFailedHealthChecks {
        tasks: vec![TaskId(2)],
        at: Timestamp(6_000),
    };
    assert_eq!(perform(&mut state, found), []);
}

#[test]
fn protected_task_stops_once_its_health_checks_have_failed() {
    let (mut state, _) = given();
    let protect = Command::UpdateTaskProtection {
        tasks: vec![TaskId(1)],
        protected_until: Some(Timestamp(600_000)),
        at: Timestamp(1_500),
    };
    perform(&mut state, protect);
    tell(&mut state, TaskStatus::Running, Some(HealthStatus::Unhealthy), 2_000);
    let stop = |at| Command::StopTasks {
        tasks: vec![TaskId(1)],
        stop_code: StopCode::ServiceSchedulerInitiated,
        reason: "Task failed container health checks".to_owned(),
        at: Timestamp(at),
    };
    assert_eq!(perform(&mut state, stop(3_000)), []);
    find_failed(&mut state, 4_000);
    assert_eq!(perform(&mut state, stop(5_000)).len(), 1);
    let task = state.task(TaskId(1)).expect("it is there");
    assert_eq!(task.desired_status, DesiredStatus::Stopped);
}
