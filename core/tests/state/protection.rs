//! Tasks that are protected from the schedulers of their services.

use berth_core::model::{
    ContainerInstanceId, DesiredStatus, LogIndex, Service, StopCode, TaskId, TaskOrigin, Timestamp,
};
use berth_core::state::{ClusterState, Command, Event, UpdateService, apply};

use super::given::{no_change, task};
use super::services::state_with_a_service_task;

const SOON: Timestamp = Timestamp(60_000);
const LATER: Timestamp = Timestamp(120_000);

/// A service that wants two tasks and has tasks 1 to 3, and a task 4 of no service.
fn given() -> (ClusterState, Service) {
    let (mut state, service) = state_with_a_service_task();
    let scale = UpdateService {
        desired_count: Some(2),
        ..no_change(&service, "ecs-svc/2")
    };
    perform(&mut state, Command::UpdateService(Box::new(scale)));
    let more = [2, 3].map(|id| {
        let mut task = task(id, 0, 1, 1, None);
        task.blueprint_mut().origin = TaskOrigin::Service {
            service: service.key.clone(),
            deployment: service.deployments[0].id.clone(),
        };
        task
    });
    perform(&mut state, Command::CreateTasks { tasks: more.to_vec() });
    let tasks = vec![task(4, 0, 1, 1, None)];
    let client_token = None;
    perform(&mut state, Command::RunTasks { tasks, client_token });
    (state, service)
}

fn perform(state: &mut ClusterState, command: Command) -> Vec<Event> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, &command).expect("accepted")
}

fn protect(state: &mut ClusterState, tasks: &[u128], protected_until: Option<Timestamp>, at: Timestamp) -> usize {
    let tasks = tasks.iter().copied().map(TaskId).collect();
    let command = Command::UpdateTaskProtection {
        tasks,
        protected_until,
        at,
    };
    perform(state, command).len()
}

fn stop(state: &mut ClusterState, task: u128, stop_code: StopCode, at: Timestamp) -> bool {
    let tasks = vec![TaskId(task)];
    let reason = "because".to_owned();
    let command = Command::StopTasks {
        tasks,
        stop_code,
        reason,
        at,
    };
    !perform(state, command).is_empty()
}

fn protected(state: &ClusterState, at: Timestamp) -> Vec<u128> {
    let tasks = (1..=4).filter(|id| state.task(TaskId(*id)).is_some_and(|task| task.is_protected(at)));
    tasks.collect()
}

#[test]
fn protection_holds_until_its_time_and_can_be_made_longer_or_ended() {
    let (mut state, _) = given();
    assert_eq!(protect(&mut state, &[1], Some(SOON), Timestamp(0)), 1);
    assert_eq!(protected(&state, Timestamp(59_999)), [1]);
    assert_eq!(protected(&state, SOON), []);
    assert_eq!(
        protect(&mut state, &[1], Some(SOON), Timestamp(5)),
        0,
        "nothing changes"
    );
    assert_eq!(protect(&mut state, &[1], Some(LATER), Timestamp(5)), 1);
    assert_eq!(protected(&state, SOON), [1]);
    assert_eq!(ClusterState::from_snapshot(state.snapshot()).expect("whole"), state);
    assert_eq!(protect(&mut state, &[1], None, Timestamp(6)), 1);
    assert_eq!(protected(&state, Timestamp(6)), []);
}

#[test]
fn protection_is_for_tasks_of_services_alone_and_for_no_more_than_the_service_wants() {
    let (mut state, _) = given();
    assert_eq!(protect(&mut state, &[4, 77], Some(SOON), Timestamp(0)), 0);
    assert_eq!(protect(&mut state, &[1, 2, 3], Some(SOON), Timestamp(0)), 2);
    assert_eq!(protected(&state, Timestamp(0)), [1, 2]);
    assert_eq!(
        protect(&mut state, &[3], Some(LATER), SOON),
        1,
        "the others are no longer protected"
    );
    assert!(stop(&mut state, 2, StopCode::UserInitiated, Timestamp(0)));
    assert_eq!(
        protect(&mut state, &[2], Some(LATER), Timestamp(0)),
        0,
        "it is about to stop"
    );
}

#[test]
fn protected_task_is_spared_by_schedulers_and_stopped_by_users() {
    let (mut state, _) = given();
    protect(&mut state, &[1, 2], Some(SOON), Timestamp(0));
    let by_scheduler = StopCode::ServiceSchedulerInitiated;
    assert!(!stop(&mut state, 1, by_scheduler, Timestamp(59_999)));
    assert!(stop(&mut state, 1, by_scheduler, SOON));
    assert!(stop(&mut state, 2, StopCode::UserInitiated, Timestamp(1)));
}

#[test]
fn protected_task_of_a_lost_host_is_lost() {
    let (mut state, _) = given();
    protect(&mut state, &[1], Some(SOON), Timestamp(0));
    let container_instance = ContainerInstanceId(0);
    perform(
        &mut state,
        Command::RecordAgentDisconnected {
            container_instance,
            last_heard_at: Timestamp(1),
            at: Timestamp(1),
        },
    );
    perform(
        &mut state,
        Command::DeclareHostLost {
            container_instance,
            reason: "lost".to_owned(),
            at: Timestamp(2),
        },
    );
    let lost = state.task(TaskId(1)).expect("remembered");
    assert!(lost.is_stopped() && !lost.is_protected(Timestamp(2)));
}

#[test]
fn deletion_by_force_ends_protection_and_one_without_does_not() {
    let (mut state, service) = given();
    protect(&mut state, &[1, 2], Some(SOON), Timestamp(0));
    let scale = UpdateService {
        desired_count: Some(0),
        ..no_change(&service, "ecs-svc/3")
    };
    perform(&mut state, Command::UpdateService(Box::new(scale)));
    for (force, left) in [(false, vec![1, 2]), (true, vec![])] {
        let service = service.key.clone();
        let at = Timestamp(1);
        perform(&mut state, Command::DeleteService { service, force, at });
        assert_eq!(protected(&state, at), left);
    }
    assert_eq!(
        state.task(TaskId(1)).map(|task| task.desired_status),
        Some(DesiredStatus::Running)
    );
}
