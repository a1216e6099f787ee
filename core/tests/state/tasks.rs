//! Tasks that are created together, or not at all.

use berth_core::model::{ContainerInstanceId, LogIndex, Task, TaskId, Timestamp};
use berth_core::state::{ClientToken, ClusterState, Command, Event, Rejection, apply};

use super::given::{cluster, register, task};

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
