//! How the ledger's documents lie in the store: keys, records, and their division into values that the store takes.
//!
//! `agent`, `seen`, `controllers` and `joined` are single documents. A task has two, its spec (written once) and its state; both lie under
//! `task/`, the 16 bytes of the task's id, one letter for the document, and the number of the part, big-endian. The
//! first part begins with the length of the whole, so that parts of an earlier, longer document do no harm. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::model::{AgentId, TaskId, TaskSpec};
use berth_core::task_lifecycle::TaskState;
use berth_proto::record::{self, RecordError, RecordKind};
use berth_storage::{Batch, MAX_VALUE_BYTES, Storage};
use serde::Serialize;

use super::{Contents, Joined, LedgerError, LedgerTask, SeenPosition};

const AGENT: &[u8] = b"agent";
const SEEN: &[u8] = b"seen";
const CONTROLLERS: &[u8] = b"controllers";
const JOINED: &[u8] = b"joined";
const TASK: &[u8] = b"task/";
/// The first key after all of [`TASK`]: `/` is followed by `0`.
const AFTER_TASKS: &[u8] = b"task0";
const SPEC: u8 = b'c';
const STATE: u8 = b's';

/// A change of the ledger, ready to be written.
#[derive(Debug)]
pub(super) enum Change {
    /// Replaces documents, each under its key (without the number of a part where it has but one).
    Put(Vec<Document>),
    /// Removes all of a task.
    Forget(TaskId),
}

/// A document under its key; divided where `is_divided`.
#[derive(Debug)]
pub(super) struct Document {
    key: Vec<u8>,
    bytes: Vec<u8>,
    is_divided: bool,
}

impl Change {
    pub(super) fn agent(agent: &AgentId) -> Result<Self, RecordError> {
        Ok(Self::Put(vec![whole(AGENT, agent)?]))
    }

    pub(super) fn seen(seen: &SeenPosition) -> Result<Self, RecordError> {
        Ok(Self::Put(vec![whole(SEEN, seen)?]))
    }

    pub(super) fn controllers(controllers: &[String]) -> Result<Self, RecordError> {
        Ok(Self::Put(vec![whole(CONTROLLERS, &controllers)?]))
    }

    pub(super) fn joined(joined: &Joined) -> Result<Self, RecordError> {
        Ok(Self::Put(vec![whole(JOINED, joined)?]))
    }

    pub(super) fn tasks(tasks: &[LedgerTask]) -> Result<Self, RecordError> {
        let mut documents = Vec::with_capacity(2 * tasks.len());
        for LedgerTask { spec, state } in tasks {
            documents.push(divided(spec.task, SPEC, &**spec)?);
            documents.push(divided(state.task(), STATE, state)?);
        }
        Ok(Self::Put(documents))
    }

    pub(super) fn state(state: &TaskState) -> Result<Self, RecordError> {
        Ok(Self::Put(vec![divided(state.task(), STATE, state)?]))
    }

    /// Adds the change to a batch.
    pub(super) fn write_to(self, batch: &mut Batch, storage: &dyn Storage) -> Result<(), LedgerError> {
        match self {
            Self::Put(documents) => documents.into_iter().for_each(|document| document.write_to(batch)),
            Self::Forget(task) => {
                let first = task_key(task);
                let mut end = first.clone();
                end.push(u8::MAX);
                for item in storage.scan(first..end) {
                    batch.delete(item?.0);
                }
            }
        }
        Ok(())
    }
}

impl Document {
    fn write_to(self, batch: &mut Batch) {
        if !self.is_divided {
            batch.put(self.key, self.bytes);
            return;
        }
        for (part, bytes) in (0u32..).zip(self.bytes.chunks(MAX_VALUE_BYTES)) {
            let mut key = self.key.clone();
            key.extend_from_slice(&part.to_be_bytes());
            batch.put(key, bytes.to_vec());
        }
    }
}

fn whole(key: &[u8], document: &impl Serialize) -> Result<Document, RecordError> {
    let bytes = record::encode(RecordKind::AgentLedger, document)?;
    Ok(Document {
        key: key.to_vec(),
        bytes,
        is_divided: false,
    })
}

fn divided(task: TaskId, letter: u8, document: &impl Serialize) -> Result<Document, RecordError> {
    let content = record::encode(RecordKind::AgentLedger, document)?;
    let mut bytes = (content.len() as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(&content);
    let mut key = task_key(task);
    key.push(letter);
    Ok(Document {
        key,
        bytes,
        is_divided: true,
    })
}

fn task_key(task: TaskId) -> Vec<u8> {
    [TASK, &task.0.to_be_bytes()].concat()
}

/// Reads all that a store has.
pub(super) fn load(storage: &dyn Storage) -> Result<Contents, LedgerError> {
    let mut contents = Contents::default();
    if let Some(bytes) = storage.get(AGENT)? {
        contents.agent = Some(record::decode(RecordKind::AgentLedger, &bytes)?);
    }
    if let Some(bytes) = storage.get(SEEN)? {
        contents.seen = Some(record::decode(RecordKind::AgentLedger, &bytes)?);
    }
    if let Some(bytes) = storage.get(CONTROLLERS)? {
        contents.controllers = record::decode(RecordKind::AgentLedger, &bytes)?;
    }
    if let Some(bytes) = storage.get(JOINED)? {
        contents.joined = Some(record::decode(RecordKind::AgentLedger, &bytes)?);
    }
    let mut documents: BTreeMap<TaskId, BTreeMap<u8, Vec<u8>>> = BTreeMap::new();
    for item in storage.scan(TASK.to_vec()..AFTER_TASKS.to_vec()) {
        let (key, value) = item?;
        if let Some((id, [letter, ..])) = key[TASK.len()..].split_first_chunk::<16>() {
            let task = documents.entry(TaskId(u128::from_be_bytes(*id))).or_default();
            task.entry(*letter).or_default().extend_from_slice(&value);
        }
    }
    for (task, mut parts) in documents {
        let (spec, state) = (take(&mut parts, SPEC, task)?, take(&mut parts, STATE, task)?);
        let spec: TaskSpec = record::decode(RecordKind::AgentLedger, &spec)?;
        let state: TaskState = record::decode(RecordKind::AgentLedger, &state)?;
        contents.tasks.insert(
            task,
            LedgerTask {
                spec: Arc::new(spec),
                state,
            },
        );
    }
    Ok(contents)
}

/// The document without its length and without what an earlier one left behind it.
fn take(parts: &mut BTreeMap<u8, Vec<u8>>, letter: u8, task: TaskId) -> Result<Vec<u8>, LedgerError> {
    let bytes = parts.remove(&letter).unwrap_or_default();
    let content = bytes.split_first_chunk::<8>().and_then(|(length, rest)| {
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        rest.get(..length)
    });
    Ok(content.ok_or(LedgerError::Incomplete(task))?.to_vec())
}
