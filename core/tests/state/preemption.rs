//! Tasks that are stopped for others of higher priority.

use berth_core::model::{
    ContainerInstanceId, DesiredStatus, LogIndex, Service, StopCode, TaskId, TaskStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, Rejection, apply};

use super::given::{register, report, task};
use super::services::state_with_a_service_task;

/// A service with task 1, and tasks 4 and 5 of no service on the same host, 6 on another.
fn given() -> (ClusterState, Service) {
    let (mut state, service) = state_with_a_service_task();
    perform(&mut state, &register(1, 0)).expect("registers");
    for (id, host) in [(4, 0), (5, 0), (6, 1)] {
        let command = Command::RunTasks {
            tasks: vec![task(id, host, 1, 1, None)],
            client_token: None,
        };
        perform(&mut state, &command).expect("runs");
    }
    (state, service)
}

fn perform(state: &mut ClusterState, command: &Command) -> Result<usize, Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, command).map(|events| events.len())
}

fn preempt(state: &mut ClusterState, service: &Service, tasks: &[u128]) -> Result<usize, Rejection> {
    let command = Command::PreemptTasks {
        tasks: tasks.iter().copied().map(TaskId).collect(),
        by: service.key.clone(),
        reason: "Preempted.".to_owned(),
        at: Timestamp(5),
    };
    perform(state, &command)
}

#[test]
fn tasks_that_are_preempted_remember_for_whom_and_make_room_until_they_are_over() {
    let (mut state, service) = given();
    assert_eq!(preempt(&mut state, &service, &[4, 5]), Ok(2));
    let task = state.task(TaskId(4)).expect("there");
    assert_eq!(task.desired_status, DesiredStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    assert_eq!(task.stopped_reason.as_deref(), Some("Preempted."));
    assert_eq!(task.preempted_by.as_ref(), Some(&service.key.name));
    assert_eq!(ClusterState::from_snapshot(state.snapshot()).expect("whole"), state);
    for (id, left) in [(4, 1), (5, 0)] {
        let making_room = state.allocation(ContainerInstanceId(0)).makes_room_for().cloned();
        assert_eq!(making_room, Some(service.key.name.clone()));
        let command = Command::RecordTaskReports {
            container_instance: ContainerInstanceId(0),
            reports: vec![report(id, TaskStatus::Stopped)],
            at: Timestamp(6),
        };
        perform(&mut state, &command).expect("recorded");
        assert_eq!(state.tasks_making_room_for(&service.key).count(), left);
    }
    assert_eq!(state.allocation(ContainerInstanceId(0)).makes_room_for(), None);
    assert_eq!(ClusterState::from_snapshot(state.snapshot()).expect("whole"), state);
}

#[test]
fn all_of_the_tasks_are_preempted_or_none() {
    let (mut state, service) = given();
    let protect = Command::UpdateTaskProtection {
        tasks: vec![TaskId(1)],
        protected_until: Some(Timestamp(60_000)),
        at: Timestamp(0),
    };
    perform(&mut state, &protect).expect("protects");
    let before = state.clone();
    for (tasks, why) in [
        (vec![], "none are named"),
        (vec![4, 1], "one is protected"),
        (vec![4, 6], "they are on two hosts"),
        (vec![4, 77], "one is not there"),
    ] {
        assert!(
            matches!(preempt(&mut state, &service, &tasks), Err(Rejection::Stale(_))),
            "{why}"
        );
    }
    assert_eq!(preempt(&mut state, &service, &[4]), Ok(1));
    assert!(preempt(&mut state, &service, &[4, 5]).is_err(), "one is about to stop");
    assert_eq!(before.task(TaskId(5)), state.task(TaskId(5)));
    let other = Service {
        key: service.key.cluster.service("gone"),
        ..service
    };
    assert!(preempt(&mut state, &other, &[5]).is_err(), "there is no such service");
}
