//! The bounds and timings of the Raft group, each with its reason. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::RaftFault;
use super::membership::ClusterId;

/// Time between two ticks of Raft's logical clock: short beside a failover.
pub const TICK: Duration = Duration::from_millis(50);

/// Ticks without a leader before an election, at least: 0.7 s is long beside a sync of a busy disk. A leader whose
/// process dies is noticed much earlier, by its connections.
pub(crate) const ELECTION_TICKS: usize = 14;

/// Ticks without a leader before an election, less than: the range spreads members, so that votes do not split.
pub(crate) const MAX_ELECTION_TICKS: usize = 24;

/// Ticks between two heartbeats of a leader.
pub(crate) const HEARTBEAT_TICKS: usize = 2;

/// Ticks without a word from a member after which it counts as unreachable: two rounds of elections.
pub(crate) const ALIVE_TICKS: u64 = 2 * MAX_ELECTION_TICKS as u64;

/// Bytes of entries in one message to a peer: large enough to stream, small beside a heartbeat's interval.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Messages with entries that may be under way to one peer.
pub(crate) const MAX_INFLIGHT_MESSAGES: usize = 64;

/// Bytes of entries that a leader keeps uncommitted before it refuses more.
pub(crate) const MAX_UNCOMMITTED_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of entries applied in one go: bounds how long proposals wait behind a replay.
pub(crate) const MAX_APPLY_BYTES: u64 = 4 * 1024 * 1024;

/// Length of one encoded command; ECS's largest request is far below.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;

/// Requests that wait for the driver before more are refused; of those that clients wait for, and of others, each.
pub(crate) const MAX_WAITING_REQUESTS: usize = 4096;

/// Bytes of commands that wait for the driver before more are refused; of those that clients wait for, and of others, each.
pub(crate) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Requests that the driver takes in before it syncs: they share that sync.
pub(crate) const MAX_BATCH_REQUESTS: usize = 1024;

/// Bytes of commands that the driver takes in before it syncs.
pub(crate) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of what members decided by themselves that the driver takes in before it syncs: bounds how long what clients ask for waits behind it.
pub(crate) const MAX_BACKGROUND_BATCH_BYTES: usize = 128 * 1024;

/// Bytes of the newest entries kept in memory, to apply them and to send them without reading the disk.
pub(crate) const MAX_CACHED_LOG_BYTES: usize = 4 * 1024 * 1024;

/// Ticks after which a read that no leader confirmed is asked for again: longer than the round that it takes.
pub(crate) const READ_RETRY_TICKS: u32 = 5;

/// Ticks after which a proposal is sent again to the same leader: it is recognised if it arrives twice, and a
/// busy leader may take this long.
pub(crate) const FORWARD_RETRY_TICKS: u64 = 20;

/// Proposals of this member that may be under way: as many requests as may wait, four times over.
pub(crate) const MAX_OUTSTANDING_PROPOSALS: usize = 4 * MAX_WAITING_REQUESTS;

/// Bytes of commands of this member that may be under way: what a leader keeps uncommitted.
pub(crate) const MAX_OUTSTANDING_BYTES: usize = 32 * 1024 * 1024;

/// Messages of other members that wait before more are dropped, which they survive.
pub(crate) const MAX_WAITING_MESSAGES: usize = 8192;

/// Bytes of such messages: two windows of a leader.
pub(crate) const MAX_WAITING_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one message to another member are below this: a carrier must not refuse it. Entries up to
/// [`MAX_MESSAGE_BYTES`], the last of which may be as large as a command, twice over for what is around them.
pub const MAX_PEER_MESSAGE_BYTES: usize = 4 * MAX_COMMAND_BYTES;

/// Members of a group: five survive the loss of two; beyond, each only makes every proposal slower.
pub(crate) const MAX_MEMBERS: usize = 9;

/// Bytes of one member's record, so that those of all members fit into one value of the store.
pub(crate) const MAX_MEMBER_RECORD_BYTES: usize = 320;

/// Ids of removed members that are remembered, so that these members are told: replacing each of the most
/// members five times over.
pub(crate) const REMOVED_IDS_KEPT: usize = 45;

/// Entries that a learner may lack when it becomes a voter: what a leader has under way anyway.
pub(crate) const MAX_PROMOTION_LAG: u64 = 1024;

/// Bytes of log kept in front of a snapshot for members that lag: no more than a log may have before its next one.
pub(crate) const MAX_RETAINED_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Chunks of a snapshot in one message: 256 KiB, so that heartbeats are not held up behind them.
pub(crate) const SNAPSHOT_PULL_CHUNKS: u64 = 64;

/// Ticks without an answer after which chunks are asked for again.
pub(crate) const SNAPSHOT_PULL_TICKS: u64 = 10;

/// Times that chunks are asked for in vain before the transfer is given up, and the leader told.
pub(crate) const SNAPSHOT_PULL_ATTEMPTS: u32 = 12;

/// Ticks without a question for chunks after which a leader announces the snapshot again: longer than a question
/// that was lost takes to be repeated, and harmless to a transfer that is under way.
pub(crate) const SNAPSHOT_SILENCE_TICKS: u64 = 3 * SNAPSHOT_PULL_TICKS;

/// Ticks without a question for chunks after which nobody fetches the snapshot any more: longer than all attempts
/// of the receiver.
pub(crate) const SNAPSHOT_IDLE_TICKS: u64 = 150;

/// Ticks for which a member puts off a new snapshot while another member reads the current one.
pub(crate) const SNAPSHOT_HOLD_TICKS: u64 = 1200;

/// Ticks between two questions of a removed member whether it is still needed.
pub(crate) const LEAVING_TICKS: u64 = 4;

/// How long a leader that stops waits for another to take over.
pub(crate) const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);

/// How long a caller waits until the member that it named leads.
pub(crate) const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);

/// Ticks for which a leader that lost its connection is suspected, and an early election tried.
pub(crate) const SUSPICION_TICKS: u64 = MAX_ELECTION_TICKS as u64;

/// Ticks between the attempts of two members to be elected early, so that their votes do not split.
pub(crate) const SUSPICION_SLOT_TICKS: u64 = 2;

/// Ticks that an election is given before the next attempt: two rounds of messages, and the sync of a vote.
pub(crate) const SUSPICION_ELECTION_TICKS: u64 = 4;

/// Batches that a subscriber may lag behind before it is told to start again from the view.
pub(crate) const FEED_CAPACITY: usize = 1024;

/// What a member becomes that is started on an empty storage.
#[derive(Clone, Debug)]
pub enum Founding {
    /// The first member of a new group.
    Bootstrap {
        /// Its name, for people.
        name: String,
        /// What others will need to know of it.
        details: BTreeMap<String, String>,
    },
    /// A member that waits until the leader of a group, to which it is added, writes to it.
    Join {
        /// The group.
        cluster: ClusterId,
    },
}

impl Default for Founding {
    fn default() -> Self {
        Self::Bootstrap {
            name: String::new(),
            details: BTreeMap::new(),
        }
    }
}

/// What a member of the group is given at its start.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// What an empty storage becomes.
    pub founding: Founding,
    /// Id of this member; never 0, never used again after its store was lost. With none, that of the store, or a
    /// random one for an empty store.
    pub member_id: Option<u64>,
    /// How long a proposal waits for its outcome.
    pub propose_deadline: Duration,
    /// How long a read waits for its confirmation.
    pub read_deadline: Duration,
    /// Applied entries after which a snapshot is taken and the log cut; more if the last snapshot was large.
    pub snapshot_after_entries: u64,
    /// Bytes of log after which a snapshot is taken and the log cut; half of the last snapshot if that is more.
    pub snapshot_after_bytes: u64,
    /// Entries kept in front of a snapshot for members that lag, so that they need no snapshot. A group of one keeps none.
    pub retained_entries: u64,
    /// Free space on the disk below which proposals are refused: a store on a full disk cannot be opened again.
    pub required_free_bytes: u64,
    /// Called on the driver's thread when the member cannot go on.
    pub on_fault: fn(&RaftFault),
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            founding: Founding::default(),
            member_id: None,
            propose_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_secs(10),
            snapshot_after_entries: 20_000,
            snapshot_after_bytes: 16 * 1024 * 1024,
            retained_entries: 20_000,
            required_free_bytes: 256 * 1024 * 1024,
            on_fault: exit_process,
        }
    }
}

impl RaftOptions {
    /// How many times longer than usual the log may become before the next snapshot, after one of so many bytes: one of a large state
    /// costs much, and is worth it once the log is half as large.
    pub(crate) fn snapshot_patience(&self, content_bytes: u64) -> u64 {
        let worth_bytes = self.snapshot_after_bytes.saturating_mul(2).max(1);
        (content_bytes / worth_bytes).max(1)
    }
}

/// Exit status for a failed disk or store, from sysexits.h.
const EXIT_IO_ERROR: i32 = 74;

/// Exit status of a controller that somebody has to do something about, which is not started again by itself.
const EXIT_NOT_AGAIN: u8 = 3;

/// Ends the process with a message: after a failed write nobody knows what the disk holds, so nothing goes on.
pub fn exit_process(fault: &RaftFault) {
    use std::io::Write;
    if fault.is_of_another_version() {
        let why = fault.chain();
        writeln!(
            std::io::stderr(),
            "berth controller: this is not the version of berth for its data: {why}. Running containers are not affected."
        )
        .ok();
        std::process::exit(EXIT_NOT_AGAIN.into());
    }
    writeln!(
        std::io::stderr(),
        "berth controller: stopped since it can no longer keep its state: {}. Running containers are not \
         affected; solve the cause and start the controller again.",
        fault.chain()
    )
    .ok();
    std::process::exit(EXIT_IO_ERROR);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_of_a_large_state_is_followed_by_a_longer_log() {
        let options = RaftOptions::default();
        let mib = 1024 * 1024;
        let patience = [0, 20 * mib, 63 * mib, 64 * mib, 160 * mib].map(|bytes| options.snapshot_patience(bytes));
        assert_eq!(patience, [1, 1, 1, 2, 5]);
    }
}
