//! The ledger on a real store and on one that fails.

use std::path::PathBuf;
use std::time::Duration;

use berth_core::model::LogIndex;
use berth_core::model::{DesiredStatus, Timestamp};
use berth_core::task_lifecycle::{Observation, step};

use super::*;
use crate::test_support::task_spec;

fn new(spec: &TaskSpec) -> LedgerTask {
    LedgerTask {
        spec: Arc::new(spec.clone()),
        state: TaskState::new(spec),
    }
}

#[tokio::test]
async fn ledger_opened_again_has_identity_position_and_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, contents) = Ledger::open(folder.path()).unwrap();
    assert!(contents.agent.is_none() && contents.seen.is_none() && contents.tasks.is_empty());
    let agent = AgentId::from("agent-1");
    let seen = SeenPosition {
        container_instance_arn: "arn".to_owned(),
        position: LogPosition {
            term: 2,
            index: LogIndex(17),
        },
    };
    // A long environment makes documents of several parts.
    let mut spec = task_spec(7, "busybox");
    spec.containers[0]
        .environment
        .push(("LONG".to_owned(), "x".repeat(3 * berth_storage::MAX_VALUE_BYTES)));
    let state = TaskState::new(&spec);
    ledger.put_agent(&agent).await.unwrap();
    ledger.put_seen(&seen).await.unwrap();
    let controllers = ["https://10.0.0.1:7481".to_owned()];
    let joined = Joined {
        token: "0123".to_owned(),
    };
    ledger.put_controllers(&controllers).await.unwrap();
    ledger.put_joined(&joined).await.unwrap();
    ledger.put_tasks(&[new(&spec)]).await.unwrap();
    let (state, _) = step(&state, &Observation::Assigned(DesiredStatus::Running), Timestamp(5));
    ledger.put_state(&state).await.unwrap();
    ledger.put_tasks(&[new(&task_spec(8, "busybox"))]).await.unwrap();
    ledger.forget_task(TaskId(8)).await.unwrap();
    ledger.close().await;

    let (_, contents) = Ledger::open(folder.path()).unwrap();
    assert_eq!(contents.agent, Some(agent));
    assert_eq!(contents.seen, Some(seen));
    assert_eq!(contents.controllers, controllers);
    assert_eq!(contents.joined, Some(joined));
    assert_eq!(contents.tasks.keys().collect::<Vec<_>>(), [&TaskId(7)]);
    assert_eq!(*contents.tasks[&TaskId(7)].spec, spec);
    assert_eq!(contents.tasks[&TaskId(7)].state, state);
}

#[tokio::test]
async fn document_that_became_shorter_is_read_without_the_rest_of_the_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(folder.path()).unwrap();
    let mut long = task_spec(7, "busybox");
    long.containers[0].name = "n".repeat(2 * berth_storage::MAX_VALUE_BYTES);
    let short = task_spec(7, "busybox");
    ledger.put_tasks(&[new(&long)]).await.unwrap();
    ledger.put_tasks(&[new(&short)]).await.unwrap();
    ledger.close().await;
    let (_, contents) = Ledger::open(folder.path()).unwrap();
    assert_eq!(*contents.tasks[&TaskId(7)].spec, short);
}

#[tokio::test]
async fn ledger_whose_store_fails_says_so_and_takes_nothing_more() {
    let storage = Arc::new(Broken);
    let (ledger, _) = Ledger::on(storage).unwrap();
    assert!(matches!(
        ledger.put_agent(&AgentId::from("a")).await,
        Err(LedgerError::Closed)
    ));
    tokio::time::timeout(Duration::from_secs(5), ledger.failed())
        .await
        .unwrap();
    assert!(matches!(
        ledger.put_agent(&AgentId::from("a")).await,
        Err(LedgerError::Closed)
    ));
}

/// A store that is empty and takes nothing.
#[derive(Debug)]
struct Broken;

impl Storage for Broken {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(None)
    }

    fn scan(&self, _range: std::ops::Range<Vec<u8>>) -> berth_storage::Scan<'_> {
        Box::new(std::iter::empty())
    }

    fn commit(&self, _batch: berth_storage::Batch) -> Result<(), StorageError> {
        Err(StorageError::Io {
            action: "write",
            path: PathBuf::from("/ledger"),
            source: std::io::Error::other("the disk is gone"),
        })
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(0)
    }
}
