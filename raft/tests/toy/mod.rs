//! A state machine small enough to check by eye: a map of texts, and how often it was asked.

use std::sync::Arc;

use berth_raft::{RaftOptions, RestoreError, StateMachine};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// Sets a key; the outcome is the number of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Set {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Set {
    pub(crate) fn numbered(number: usize) -> Self {
        Self {
            key: format!("key-{number:06}"),
            value: format!("value-{number}"),
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

    fn apply(&mut self, _index: u64, _term: u64, command: Set) -> usize {
        self.map.insert(command.key, command.value.into());
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
