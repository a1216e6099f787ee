//! Mistakes that the simulation can be told to make, to show that it would find them. Pure.
//!
//! Each is planted in one place of the models, behind [`Bugs::has`]; what is real stays as it is.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The disk says that a commit is synced, and syncs only every fourth.
    SkippedSync,
    /// The disk does not sync votes and terms by themselves.
    LostVote,
    /// A batch that the power cut interrupts is there in part.
    TornBatch,
    /// A leader answers reads from its own state, without asking whether it still leads.
    LeaseRead,
    /// A leader acknowledges a write once it has it itself.
    AckBeforeCommit,
    /// A controller proposes what a client asked for again when it takes long, as something new.
    RetryAsNew,
    /// A command is applied twice after a snapshot was restored.
    DoubleApply,
    /// A snapshot lacks its end.
    TruncatedSnapshot,
    /// A retried request to run tasks comes without its token.
    ForgottenToken,
    /// Hosts register with twice of what they have.
    ReservedTwice,
    /// What a leader decides may be proposed by its successor.
    UnboundDecision,
    /// Reports of an agent are acknowledged before they are committed.
    ReportsAckedEarly,
    /// A controller admits agents that it takes for connected without asking the group, and they take over assignments
    /// however old these are.
    StaleAssignments,
    /// An agent that starts again does not know what it has begun.
    LostLedger,
    /// A session begins with what changes instead of with everything.
    PartialAssignments,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SkippedSync,
        Self::LostVote,
        Self::TornBatch,
        Self::LeaseRead,
        Self::AckBeforeCommit,
        Self::RetryAsNew,
        Self::DoubleApply,
        Self::TruncatedSnapshot,
        Self::ForgottenToken,
        Self::ReservedTwice,
        Self::UnboundDecision,
        Self::ReportsAckedEarly,
        Self::StaleAssignments,
        Self::LostLedger,
        Self::PartialAssignments,
    ];
}

/// The mistake of a run, if it makes one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bugs(pub(crate) Option<Bug>);

impl Bugs {
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }
}
