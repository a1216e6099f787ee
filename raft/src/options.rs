//! The bounds and timings of the Raft group, each with its reason. Pure.

use std::time::Duration;

use super::error::RaftFault;

/// Time between two ticks of Raft's logical clock.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Ticks without a leader before an election: long beside a sync of a busy disk.
pub(super) const ELECTION_TICKS: usize = 10;

/// Ticks between two heartbeats of a leader.
pub(super) const HEARTBEAT_TICKS: usize = 2;

/// Bytes of entries in one message to a peer: large enough to stream, small beside a heartbeat's interval.
pub(super) const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;

/// Messages with entries that may be under way to one peer.
pub(super) const MAX_INFLIGHT_MESSAGES: usize = 64;

/// Bytes of entries that a leader keeps uncommitted before it refuses more.
pub(super) const MAX_UNCOMMITTED_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of entries applied in one go: bounds how long proposals wait behind a replay.
pub(super) const MAX_APPLY_BYTES: u64 = 4 * 1024 * 1024;

/// Length of one encoded command; ECS's largest request is far below.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;

/// Requests that wait for the driver before more are refused.
pub(super) const MAX_WAITING_REQUESTS: usize = 4096;

/// Bytes of commands that wait for the driver before more are refused.
pub(super) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Requests that the driver takes in before it syncs: they share that sync.
pub(super) const MAX_BATCH_REQUESTS: usize = 1024;

/// Bytes of commands that the driver takes in before it syncs.
pub(super) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the newest entries kept in memory, to apply them and to send them without reading the disk.
pub(super) const MAX_CACHED_LOG_BYTES: usize = 4 * 1024 * 1024;

/// Ticks after which a read that no leader confirmed is asked for again.
pub(super) const READ_RETRY_TICKS: u32 = 5;

/// Batches that a subscriber may lag behind before it is told to start again from the view.
pub(super) const FEED_CAPACITY: usize = 1024;

/// What a member of the group is given at its start.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// Id of this member; never 0, never used again after its store was lost.
    pub member_id: u64,
    /// How long a proposal waits for its outcome.
    pub propose_deadline: Duration,
    /// How long a read waits for its confirmation.
    pub read_deadline: Duration,
    /// Applied entries after which a snapshot is taken and the log cut.
    pub snapshot_after_entries: u64,
    /// Bytes of log after which a snapshot is taken and the log cut.
    pub snapshot_after_bytes: u64,
    /// Free space on the disk below which proposals are refused: a store on a full disk cannot be opened again.
    pub required_free_bytes: u64,
    /// Called on the driver's thread when the member cannot go on.
    pub on_fault: fn(&RaftFault),
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            member_id: 1,
            propose_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_secs(10),
            snapshot_after_entries: 20_000,
            snapshot_after_bytes: 16 * 1024 * 1024,
            required_free_bytes: 256 * 1024 * 1024,
            on_fault: exit_process,
        }
    }
}

/// Exit status for a failed disk or store, from sysexits.h.
const EXIT_IO_ERROR: i32 = 74;

/// Ends the process with a message: after a failed write nobody knows what the disk holds, so nothing goes on.
pub fn exit_process(fault: &RaftFault) {
    use std::io::Write;
    writeln!(
        std::io::stderr(),
        "berth controller: stopped since it can no longer keep its state: {}. Running containers are not \
         affected; solve the cause and start the controller again.",
        fault.chain()
    )
    .ok();
    std::process::exit(EXIT_IO_ERROR);
}
