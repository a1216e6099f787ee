//! Tasks that are created together, or not at all.

use std::sync::Arc;

use berth_core::model::{ContainerInstanceId, LogIndex, Task, TaskId, Timestamp};
use berth_core::state::{ClientToken, ClusterState, Command, Event, Rejection, apply};

use super::given::{cluster, register, task};
use super::services::state_with_a_service_task;

fn token(digest: &str, at: i64) -> ClientToken {
    ClientToken {
        scope: cluster().scope,
        operation: "RunTask".to_owned(),
        token: "once".to_owned(),
        request_digest: digest.to_owned(),
        at: Timestamp(at),
    }
}

#[test]
fn run_tasks_repeated_with_its_token_answers_with_the_first_tasks() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let first = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None)],
        client_token: Some(token("a", 10)),
    };
    apply(&mut state, LogIndex(2), &first).expect("runs");
    let again = Command::RunTasks {
        tasks: vec![task(2, 0, 1, 1, None)],
        client_token: Some(token("a", 11)),
    };
    let events = apply(&mut state, LogIndex(3), &again).expect("is no error");
    assert_eq!(events, vec![Event::RequestRepeated { tasks: vec![TaskId(1)] }]);
    let other = Command::RunTasks {
        tasks: vec![task(3, 0, 1, 1, None)],
        client_token: Some(token("b", 12)),
    };
    assert_eq!(
        apply(&mut state, LogIndex(4), &other),
        Err(Rejection::ClientTokenReused {
            tasks: vec![cluster().task_arn(TaskId(1))]
        })
    );
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 1);
}

#[test]
fn run_tasks_with_one_that_does_not_fit_creates_none() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let tasks = vec![task(1, 0, 1000, 1, None), task(2, 0, 25, 1, None)];
    let refused = apply(
        &mut state,
        LogIndex(2),
        &Command::RunTasks {
            tasks,
            client_token: None,
        },
    );
    assert_eq!(
        refused,
        Err(Rejection::InsufficientCpu {
            container_instance: ContainerInstanceId(0),
            needed: 25,
            free: 24
        })
    );
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 0);
}

#[test]
fn run_tasks_with_one_that_has_no_host_creates_none() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let homeless = Task {
        container_instance: None,
        ..task(2, 0, 1, 1, None)
    };
    let run = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None), homeless],
        client_token: None,
    };
    let refused = apply(&mut state, LogIndex(2), &run);
    assert!(matches!(refused, Err(Rejection::Stale(_))), "{refused:?}");
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 0);
}

#[test]
fn tasks_of_a_service_of_which_one_is_refused_leave_the_state_as_it_was() {
    let (mut state, _) = state_with_a_service_task();
    let first = state.task(TaskId(1)).expect("a task").clone();
    let another = |id| Task {
        id: TaskId(id),
        ..Task::clone(&first)
    };
    let before = state.clone();
    let create = Command::CreateTasks {
        tasks: vec![another(2), another(3), another(2)],
    };
    let refused = apply(&mut state, before.applied(), &create);
    assert_eq!(refused, Err(Rejection::TaskExists(TaskId(2))));
    assert_eq!(state, before);
}

#[test]
fn tasks_of_a_deployment_keep_what_they_have_in_common_once_also_after_a_snapshot() {
    let (mut state, _) = state_with_a_service_task();
    let first = state.task(TaskId(1)).expect("a task").clone();
    let another = Task {
        id: TaskId(2),
        ..Task::clone(&first)
    };
    let create = Command::CreateTasks { tasks: vec![another] };
    let written = serde_json::to_string(&create).expect("JSON");
    let read: Command = serde_json::from_str(&written).expect("a command");
    apply(&mut state, LogIndex(9), &read).expect("accepted");
    let records: Vec<_> = state.snapshot().map(|record| serde_json::to_string(&record)).collect();
    let read = records
        .iter()
        .flatten()
        .map(|record| serde_json::from_str(record).expect("a record"));
    let restored = ClusterState::from_snapshot(read).expect("whole");
    assert_eq!(restored, state);
    for state in [state, restored] {
        let [one, other] = [1, 2].map(|id| state.task(TaskId(id)).expect("a task"));
        assert!(Arc::ptr_eq(&one.blueprint, &other.blueprint));
    }
}
