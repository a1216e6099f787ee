//! Revisions of task definitions, and when one is forgotten.

use berth_core::model::{ContainerInstanceId, LogIndex, TaskDefinitionKey, TaskId, TaskStatus, Timestamp};
use berth_core::state::{ClusterState, Command, Event, Rejection, apply};

use super::given::{cluster, definition, register, report, task};

#[test]
fn task_definition_revisions_are_never_used_twice() {
    let mut state = ClusterState::at_newest_level();
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 0,
    };
    for expected in 1..=3 {
        let events = apply(
            &mut state,
            LogIndex(u64::from(expected)),
            &Command::RegisterTaskDefinition(definition(&key)),
        )
        .expect("registers");
        let registered = TaskDefinitionKey {
            revision: expected,
            ..key.clone()
        };
        assert_eq!(events, vec![Event::TaskDefinitionRegistered(registered.clone())]);
        let deregister = Command::DeregisterTaskDefinition {
            task_definition: registered,
            at: Timestamp(1),
        };
        apply(&mut state, LogIndex(9), &deregister).expect("deregisters");
    }
}

#[test]
fn deleted_task_definition_is_forgotten_only_once_no_task_uses_it() {
    let mut state = ClusterState::at_newest_level();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    apply(
        &mut state,
        LogIndex(2),
        &Command::RegisterTaskDefinition(definition(&key)),
    )
    .expect("registers");
    let delete = Command::DeleteTaskDefinition {
        task_definition: key.clone(),
    };
    assert_eq!(
        apply(&mut state, LogIndex(3), &delete),
        Err(Rejection::TaskDefinitionActive(key.clone()))
    );
    let run = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None)],
        client_token: None,
    };
    apply(&mut state, LogIndex(4), &run).expect("runs");
    let deregister = Command::DeregisterTaskDefinition {
        task_definition: key.clone(),
        at: Timestamp(1),
    };
    apply(&mut state, LogIndex(5), &deregister).expect("deregisters");
    apply(&mut state, LogIndex(6), &delete).expect("deletes");
    let forget = Command::ForgetTaskDefinitions {
        task_definitions: vec![key.clone()],
    };
    apply(&mut state, LogIndex(7), &forget).expect("is no error");
    assert!(state.task_definition(&key).is_some(), "a task uses it");
    let stopped = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report(1, TaskStatus::Stopped)],
        at: Timestamp(2),
    };
    apply(&mut state, LogIndex(8), &stopped).expect("records");
    let forgotten = Command::Forget {
        tasks: vec![TaskId(1)],
        services: vec![],
        container_instances: vec![],
        clusters: vec![],
    };
    apply(&mut state, LogIndex(9), &forgotten).expect("forgets");
    apply(&mut state, LogIndex(10), &forget).expect("forgets");
    assert!(state.task_definition(&key).is_none());
}
