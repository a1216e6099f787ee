//! What can go wrong in the Raft group: for its callers, and for itself. Pure.

use std::time::Duration;

use berth_proto::record::RecordError;

use super::state_machine::RestoreError;
use berth_storage::StorageError;

/// Why a proposal was not applied, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
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
    /// The change took effect, but a snapshot took its place in the log before this member saw with which outcome.
    #[error("the change took effect, but its outcome is not known: look at the state before trying again")]
    OutcomeLost,
    /// It was a decision for the leader of a term, and this member does not lead in that term any more; nothing came
    /// of it.
    #[error("this controller leads its group no more, and what it decided as the leader did not take effect")]
    TermPassed,
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

/// Why a change of the membership was not made, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only one change at a time.
    #[error("another change of the membership is under way: try again shortly")]
    ChangeUnderWay,
    /// Nobody has this id.
    #[error("the group has no member {member}")]
    NoSuchMember {
        /// The id.
        member: u64,
    },
    /// The id belongs, or belonged, to another member.
    #[error("the id {member} is, or was, that of another member: a new member needs a new id")]
    IdUsed {
        /// The id.
        member: u64,
    },
    /// There is nothing to promote.
    #[error("member {member} has a vote already")]
    VotesAlready {
        /// The id.
        member: u64,
    },
    /// The member would hold up the group.
    #[error(
        "member {member} lacks {entries} entries of the log, or cannot be reached: promote it once it has caught up"
    )]
    LagsBehind {
        /// The id.
        member: u64,
        /// What it lacks.
        entries: u64,
    },
    /// The group would stand still.
    #[error(
        "the group would lose its majority: {alive} of the voters it would then have can be reached, and {needed} are \
         needed; bring the others back or remove those that are dead first"
    )]
    WouldLoseQuorum {
        /// Voters that can be reached.
        alive: usize,
        /// Voters that a majority takes.
        needed: usize,
    },
    /// More would not make it safer.
    #[error("the group has {members} members, the most it may have")]
    TooManyMembers {
        /// The bound.
        members: usize,
    },
    /// The record would not fit into the store together with those of the others.
    #[error("the name and details of the member have {bytes} bytes, more than the {max_bytes} that they may have")]
    RecordTooLarge {
        /// Length of the encoded record.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Nobody would be left to decide anything.
    #[error("member {member} is the last that has a vote")]
    LastVoter {
        /// The id.
        member: u64,
    },
    /// It was not proposed, or is not known to be made, for the reason that any proposal may have.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// Why leadership did not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only members that vote can lead.
    #[error("member {member} has no vote in the group, so it cannot lead")]
    NotVoter {
        /// The id.
        member: u64,
    },
    /// It did not lead within the deadline.
    #[error("member {member} does not lead after {}: is it running, and reachable from the leader?", seconds(*.after))]
    Timeout {
        /// The id.
        member: u64,
        /// How long was waited.
        after: Duration,
    },
    /// The group stopped on this member.
    #[error("the controller is stopping")]
    Stopped,
}

/// Why a message of another member was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// It comes from another group.
    #[error(
        "the message is from a member of cluster {theirs}, and this is cluster {ours}: check the addresses of peers"
    )]
    WrongCluster {
        /// This group.
        ours: super::membership::ClusterId,
        /// The group that the message names, in hexadecimal.
        theirs: String,
    },
    /// It is for another member.
    #[error("the message is for member {theirs}, and this is member {ours}: check the addresses of peers")]
    WrongMember {
        /// This member.
        ours: u64,
        /// The member that the message names.
        theirs: u64,
    },
    /// Too many wait already; the sender sends again what matters.
    #[error("too many messages wait to be taken in")]
    Overloaded,
    /// The group stopped on this member.
    #[error("the controller is stopping")]
    Stopped,
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
    /// The store belongs to a member of another group.
    #[error(
        "the store belongs to cluster {found}, and this controller was to join cluster {expected}: check --data-dir"
    )]
    WrongCluster {
        /// Group that the options name.
        expected: super::membership::ClusterId,
        /// Group that the store names.
        found: super::membership::ClusterId,
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

    /// Whether the store or the group holds what another version of this program wrote and this one does not understand: what is damaged
    /// fails its checksum. Starting this program again changes nothing.
    pub fn is_of_another_version(&self) -> bool {
        let is_of_another =
            |source: &RecordError| matches!(source, RecordError::NewerFormat { .. } | RecordError::Payload { .. });
        matches!(self, Self::Record { source, .. } if is_of_another(source))
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

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

#[cfg(test)]
mod tests {
    use berth_proto::record::{self, FORMAT_VERSION, RecordKind};

    use super::*;

    fn fault(bytes: &[u8]) -> RaftFault {
        let read = record::decode::<u32>(RecordKind::Command, bytes);
        RaftFault::record("log entry 7")(read.expect_err("not a number"))
    }

    #[test]
    fn record_of_another_version_is_told_from_a_damaged_one() {
        let newer = record::seal_as(FORMAT_VERSION + 1, RecordKind::Command, b"1".to_vec());
        let unknown = record::seal(RecordKind::Command, b"{\"FromTheFuture\":1}".to_vec());
        for record in [newer, unknown.clone()] {
            assert!(fault(&record).is_of_another_version());
        }
        let mut damaged = unknown;
        *damaged.last_mut().expect("bytes") ^= 1;
        assert!(!fault(&damaged).is_of_another_version());
    }
}
