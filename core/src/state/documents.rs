//! Documents: what shells keep in the replicated state and core does not understand, such as whom the cluster trusts. Each
//! has a name and a version, and is changed only by who knows the version that is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ClusterState, Event, LogIndex, Rejection};

/// Most changes in one command, so that none is held up for long behind it.
pub const MAX_DOCUMENT_CHANGES: usize = 64;

/// Longest content of a document: many fit into one command.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// A document of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Index of the command that changed it last: later versions are higher, also than those of a document of that name that was removed.
    pub version: LogIndex,
    /// What is in it.
    pub content: String,
}

/// A change of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentChange {
    /// Its name, such as `trust/authorities`.
    pub name: String,
    /// What must be there.
    pub expected: Expected,
    /// The new content; `None` removes it.
    pub content: Option<String>,
}

/// What must be there for a change to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Anything or nothing.
    Any,
    /// No document of that name.
    Absent,
    /// The document in this version.
    Version(LogIndex),
}

impl ClusterState {
    /// A document.
    #[must_use]
    pub fn document(&self, name: &str) -> Option<&Document> {
        self.documents.get(name).map(Arc::as_ref)
    }

    /// The documents whose names begin with `prefix`, in the order of their names.
    pub fn documents<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Document)> {
        let from = self.documents.range(prefix.to_owned()..);
        from.take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, document)| (name.as_str(), document.as_ref()))
    }
}

/// Makes all changes, or none.
pub(super) fn change(
    state: &mut ClusterState,
    index: LogIndex,
    changes: &[DocumentChange],
) -> Result<Vec<Event>, Rejection> {
    if changes.len() > MAX_DOCUMENT_CHANGES {
        return Err(Rejection::TooManyDocuments);
    }
    for change in changes {
        let found = state.document(&change.name).map(|document| document.version);
        let is_as_expected = match change.expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Version(version) => found == Some(version),
        };
        if !is_as_expected {
            return Err(Rejection::DocumentChanged(change.name.clone()));
        }
        if change
            .content
            .as_ref()
            .is_some_and(|text| text.len() > MAX_DOCUMENT_BYTES)
        {
            return Err(Rejection::DocumentTooLarge(change.name.clone()));
        }
    }
    let mut events = vec![];
    for change in changes {
        let is_there = match &change.content {
            Some(content) => {
                let document = Document {
                    version: index,
                    content: content.clone(),
                };
                state.documents.insert(change.name.clone(), Arc::new(document));
                true
            }
            None => state.documents.remove(&change.name).is_some(),
        };
        if is_there {
            events.push(Event::DocumentChanged(change.name.clone()));
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::super::{Command, apply};
    use super::*;

    fn put(name: &str, expected: Expected, content: &str) -> DocumentChange {
        DocumentChange {
            name: name.to_owned(),
            expected,
            content: Some(content.to_owned()),
        }
    }

    fn change(state: &mut ClusterState, index: u64, changes: Vec<DocumentChange>) -> Result<Vec<Event>, Rejection> {
        apply(state, LogIndex(index), &Command::ChangeDocuments { changes })
    }

    #[test]
    fn change_by_one_who_does_not_know_what_is_there_is_refused() {
        let mut state = ClusterState::default();
        let first = put("trust/a", Expected::Absent, "1");
        change(&mut state, 1, vec![first.clone()]).expect("made");
        let conflict = Err(Rejection::DocumentChanged("trust/a".to_owned()));
        assert_eq!(change(&mut state, 2, vec![first]), conflict);
        let next = put("trust/a", Expected::Version(LogIndex(1)), "2");
        change(&mut state, 3, vec![next.clone()]).expect("changed");
        assert_eq!(change(&mut state, 4, vec![next]), conflict);
        let document = state.document("trust/a").expect("there");
        assert_eq!((document.version, document.content.as_str()), (LogIndex(3), "2"));
    }

    #[test]
    fn changes_of_which_one_is_refused_are_all_refused() {
        let mut state = ClusterState::default();
        let large = "x".repeat(MAX_DOCUMENT_BYTES + 1);
        for bad in [
            put("b", Expected::Version(LogIndex(7)), "1"),
            put("b", Expected::Any, &large),
        ] {
            change(&mut state, 1, vec![put("a", Expected::Absent, "1"), bad]).expect_err("refused");
            assert_eq!(state.documents("").count(), 0);
        }
        let many = vec![put("a", Expected::Any, "1"); MAX_DOCUMENT_CHANGES + 1];
        assert_eq!(change(&mut state, 2, many), Err(Rejection::TooManyDocuments));
    }

    #[test]
    fn documents_of_a_prefix_are_listed_and_survive_a_snapshot_and_a_reset() {
        let mut state = ClusterState::default();
        for name in ["token/1", "token/2", "trust", "tokens"] {
            change(&mut state, 1, vec![put(name, Expected::Absent, name)]).expect("made");
        }
        let removed = DocumentChange {
            content: None,
            ..put("token/1", Expected::Any, "")
        };
        let events = change(&mut state, 2, vec![removed.clone()]).expect("removed");
        assert_eq!(events, [Event::DocumentChanged("token/1".to_owned())]);
        assert_eq!(change(&mut state, 3, vec![removed]).expect("gone already"), []);
        let names: Vec<_> = state.documents("token/").map(|(name, _)| name).collect();
        assert_eq!(names, ["token/2"]);
        assert_eq!(ClusterState::from_snapshot(state.snapshot()).expect("whole"), state);
        apply(&mut state, LogIndex(4), &Command::Reset).expect("reset");
        assert_eq!(state.documents("").count(), 3);
    }
}
