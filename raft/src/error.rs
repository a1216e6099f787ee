//! What can go wrong in the Raft group: for its callers, and for itself. Pure.

use std::time::Duration;

use berth_proto::record::RecordError;

use super::state_machine::RestoreError;
use berth_storage::StorageError;

/// Why a proposal was not applied, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another member leads; nothing was proposed.
    #[error("this controller does not lead its group; the leader is {}", leader_text(*.leader))]
    NotLeader {
        /// The member that leads, if known.
        leader: Option<u64>,
    },
    /// Too many proposals wait already; nothing was proposed.
    #[error("too many changes wait to be written: try again shortly")]
    Overloaded,
    /// The command exceeds the bound; nothing was proposed.
    #[error("the change has {bytes} bytes, more than the {max_bytes} that one change may have")]
    TooLarge {
        /// Length of the encoded command.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The command has no JSON form; nothing was proposed.
    #[error("the change cannot be encoded: {reason}")]
    NotEncodable {
        /// What the encoder said.
        reason: String,
    },
    /// The disk is nearly full; nothing was proposed.
    #[error(
        "the disk of the controller's data directory has {free_bytes} bytes free, and changes are accepted \
         from {required_bytes} on: free some space"
    )]
    DiskFull {
        /// What is free.
        free_bytes: u64,
        /// What must be free.
        required_bytes: u64,
    },
    /// The group stopped on this member. A proposal that it had accepted may or may not take effect.
    #[error("the controller is stopping: the change may or may not take effect")]
    Stopped,
    /// No answer within the deadline. The proposal may or may not take effect.
    #[error("no answer within {}: the change may or may not take effect", seconds(*.after))]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
}

/// Why no linearizable view can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too many requests wait already.
    #[error("too many requests wait for the controller: try again shortly")]
    Overloaded,
    /// The group stopped on this member.
    #[error("the controller is stopping")]
    Stopped,
    /// No leader confirmed the read within the deadline.
    #[error("no leader confirmed the read within {}: try again", seconds(*.after))]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
}

/// Why the group cannot start or go on, on this member. Always final.
#[derive(Debug, thiserror::Error)]
pub enum RaftFault {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A stored record cannot be read.
    #[error("the stored {what} cannot be read")]
    Record {
        /// Which record.
        what: String,
        /// Why not.
        #[source]
        source: RecordError,
    },
    /// The stored records contradict each other.
    #[error("the stored Raft state is damaged: {reason}")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// The store belongs to another member.
    #[error("the store belongs to member {found}, and this controller is member {expected}: check --data-dir")]
    WrongMember {
        /// Member that the options name.
        expected: u64,
        /// Member that the store names.
        found: u64,
    },
    /// The log contains something that this version does not implement.
    #[error("the log contains {what}, which this version of berth does not implement")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// The snapshot does not make up a state.
    #[error("the snapshot at index {index} cannot be restored")]
    Restore {
        /// Index of the snapshot.
        index: u64,
        /// Why not.
        #[source]
        source: RestoreError,
    },
    /// The consensus library refused.
    #[error("the Raft library refused to {action}")]
    Library {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        #[source]
        source: raft::Error,
    },
    /// The system refused what every start needs.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// A thread of the group panicked: an invariant is broken.
    #[error("an invariant of the Raft group is broken: {message}")]
    Panicked {
        /// Message of the panic.
        message: String,
    },
}

impl RaftFault {
    pub(super) fn record(what: impl Into<String>) -> impl FnOnce(RecordError) -> Self {
        move |source| Self::Record {
            what: what.into(),
            source,
        }
    }

    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }

    /// The error with all its causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

fn leader_text(leader: Option<u64>) -> String {
    leader.map_or_else(|| "unknown at the moment".to_owned(), |id| format!("member {id}"))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}
