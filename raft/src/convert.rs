//! Conversion between the consensus library's types and the stored records. Pure.
//!
//! The one place where stored shapes and the library's shapes meet.

use berth_proto::v1;
use raft::eraftpb::{Entry, EntryType, HardState};

pub(super) fn entry_to_record(entry: &Entry) -> v1::LogEntry {
    let entry_type = match entry.get_entry_type() {
        EntryType::EntryNormal => v1::LogEntryType::Normal,
        EntryType::EntryConfChange => v1::LogEntryType::MembershipChange,
        EntryType::EntryConfChangeV2 => v1::LogEntryType::MembershipChangeV2,
    };
    v1::LogEntry {
        entry_type: entry_type.into(),
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        proposal_id: entry.context.clone(),
    }
}

pub(super) fn entry_from_record(record: v1::LogEntry) -> Entry {
    let entry_type = match record.entry_type() {
        v1::LogEntryType::Normal => EntryType::EntryNormal,
        v1::LogEntryType::MembershipChange => EntryType::EntryConfChange,
        v1::LogEntryType::MembershipChangeV2 => EntryType::EntryConfChangeV2,
    };
    let mut entry = Entry::default();
    entry.set_entry_type(entry_type);
    entry.term = record.term;
    entry.index = record.index;
    entry.data = record.data;
    entry.context = record.proposal_id;
    entry
}

pub(super) fn hard_state_to_record(state: &HardState) -> v1::HardState {
    v1::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
    }
}

pub(super) fn hard_state_from_record(record: &v1::HardState) -> HardState {
    HardState {
        term: record.term,
        vote: record.vote,
        commit: record.commit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_converted_to_a_record_and_back_is_unchanged() {
        for entry_type in [
            EntryType::EntryNormal,
            EntryType::EntryConfChange,
            EntryType::EntryConfChangeV2,
        ] {
            let mut entry = Entry::default();
            entry.set_entry_type(entry_type);
            (entry.term, entry.index) = (3, 17);
            (entry.data, entry.context) = (vec![1, 2], vec![9]);
            assert_eq!(entry_from_record(entry_to_record(&entry)), entry);
        }
    }
}
