//! The Raft group: turns proposals into commands that a majority has on disk, applied in one order.
//!
//! Owns the log, its snapshots, the driver's thread and who waits for what; it must not know what the
//! commands mean, nor how messages travel between members. Shell.
//!
//! The way of a proposal: [`Raft::propose`] encodes the command and hands it to the driver's thread
//! (`driver`); the [`engine`] brings it to the leader, whose log takes in all that waits. The leader sends it
//! to the others and writes it in one batch with one sync (`log_storage`); once a majority has it on disk, every
//! member applies it to its [`StateMachine`], and the one that proposed it answers.
//!
//! [`Transport`] is the seam to the other members: it carries what the group sends, and [`Raft::receive`] takes in
//! what arrives.

mod command;
mod convert;
mod driver;
pub mod engine;
mod error;
mod feed;
mod founding;
mod handle;
mod history;
mod inbox;
mod keys;
mod log_storage;
mod membership;
mod options;
mod seeding;
mod slog_drain;
mod snapshot;
mod state_machine;
mod stored_entries;
pub mod testing;
mod transport;
mod worker;

pub use command::command_record;
pub use error::{MembershipError, ProposeError, RaftFault, ReadError, ReceiveError, TransferError};
pub use feed::{AppliedBatch, AppliedFeed, FeedItem};
pub use founding::Identity;
pub use handle::{Applied, Published, Raft, Role, RunState, Status, WeakRaft};
pub use history::{History, PastCommand, snapshot_index};
pub use membership::{ClusterId, MemberInfo, MemberRecord, MemberRole, Membership, MembershipChange};
pub use options::{Founding, MAX_COMMAND_BYTES, MAX_PEER_MESSAGE_BYTES, RaftOptions, TICK, exit_process};
pub use seeding::seed;
pub use state_machine::{RestoreError, StateMachine};
pub use transport::{NoPeers, Transport};
