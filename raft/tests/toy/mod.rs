//! A state machine small enough to check by eye: a map of texts, and how often it was asked.

use std::sync::Arc;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use berth_raft::{RaftOptions, RestoreError, StateMachine};
use berth_storage::{Batch, MemoryStorage, Storage};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// The key from whose presence on commands and snapshots are packed.
#[allow(dead_code, reason = "not every user of the toy needs it")]
pub(crate) const PACKS_KEY: &str = "packs";

/// Sets a key, or appends to one that begins with `count-`; the outcome is the number of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Set {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Set {
    /// Puts a key there, with nothing as its value.
    #[allow(dead_code, reason = "not every user of the toy needs it")]
    pub(crate) fn present(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: String::new(),
        }
    }

    /// One of many, of which some are short and some are long.
    pub(crate) fn numbered(number: usize) -> Self {
        Self {
            key: format!("key-{number:06}"),
            value: format!("value-{number}-{}", "#".repeat(number % 7 * 300)),
        }
    }
}

/// A key with its value, as a snapshot carries it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Item(String, Arc<str>);

#[derive(Default)]
pub(crate) struct ToyMap {
    map: OrdMap<String, Arc<str>>,
}

impl StateMachine for ToyMap {
    type Command = Set;
    type Outcome = usize;
    type View = OrdMap<String, Arc<str>>;
    type SnapshotItem = Item;

    fn packs(view: &Self::View) -> bool {
        view.contains_key(PACKS_KEY)
    }

    fn apply(&mut self, _index: u64, _term: u64, command: Set) -> usize {
        let before = self.map.get(&command.key).filter(|_| command.key.starts_with("count-"));
        let value = before.map_or(command.value.clone(), |before| format!("{before}{}", command.value));
        self.map.insert(command.key, value.into());
        self.map.len()
    }

    fn view(&self) -> Self::View {
        self.map.clone()
    }

    fn snapshot_items(view: &Self::View) -> Box<dyn Iterator<Item = Item> + '_> {
        Box::new(view.iter().map(|(key, value)| Item(key.clone(), Arc::clone(value))))
    }

    fn restore(&mut self, items: &mut dyn Iterator<Item = Item>) -> Result<(), RestoreError> {
        self.map = items.map(|Item(key, value)| (key, value)).collect();
        Ok(())
    }
}

/// Options for tests: a fault stops the member and not the test.
#[allow(dead_code, reason = "not every user of the toy needs it")]
pub(crate) fn options() -> RaftOptions {
    RaftOptions {
        member_id: Some(1),
        required_free_bytes: 0,
        on_fault: |_| {},
        ..RaftOptions::default()
    }
}

/// What the first version of the format, which knew only groups of one, left behind after one proposal.
#[allow(dead_code, reason = "not every user of the toy needs it")]
pub(crate) fn store_of_the_first_version() -> Arc<dyn Storage> {
    let store = MemoryStorage::default();
    let mut batch = Batch::default();
    let mut put = |key: &[u8], value: Vec<u8>| batch.put(key.to_vec(), value);
    let identity = v1::MemberIdentity {
        member_id: 1,
        ..v1::MemberIdentity::default()
    };
    put(
        b"identity",
        record::encode_message(RecordKind::MemberIdentity, &identity),
    );
    let membership = v1::Membership {
        voters: vec![1],
        ..v1::Membership::default()
    };
    put(
        b"membership",
        record::encode_message(RecordKind::Membership, &membership),
    );
    let hard_state = v1::HardState {
        term: 1,
        vote: 1,
        commit: 2,
    };
    put(
        b"hard-state",
        record::encode_message(RecordKind::HardState, &hard_state),
    );
    let command = record::encode(RecordKind::Command, &Set::numbered(1)).expect("it has a JSON form");
    for (index, data, proposal_id) in [(1_u64, Vec::new(), Vec::new()), (2, command, vec![7; 16])] {
        let entry = v1::LogEntry {
            term: 1,
            index,
            data,
            proposal_id,
            ..v1::LogEntry::default()
        };
        let key = [b"log/".as_slice(), &index.to_be_bytes(), &0_u32.to_be_bytes()].concat();
        put(&key, record::encode_message(RecordKind::LogEntry, &entry));
    }
    store.commit(batch).expect("memory does not fail");
    Arc::new(store)
}
