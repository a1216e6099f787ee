//! The Raft group: turns proposals into commands that a majority has on disk, applied in one order.
//!
//! Owns the log, its snapshots, the driver's thread and who waits for what; it must not know what the
//! commands mean. Shell.
//!
//! The way of a proposal: [`Raft::propose`] encodes the command and hands it to the driver's thread;
//! the driver takes in all that waits, persists it in one batch with one sync ([`log_storage`]), applies
//! what is committed to the [`StateMachine`] ([`member`]), publishes the new view, and answers.
//!
//! The group has one member. The parts that know of several are [`transport`] (outgoing messages; there
//! is no peer yet) and [`member`], where membership changes and snapshots from a leader arrive: it refuses
//! both until they are built.

mod convert;
mod driver;
mod error;
mod feed;
mod handle;
mod keys;
mod log_storage;
mod member;
mod options;
mod reads;
mod slog_drain;
mod snapshot;
mod snapshot_worker;
mod state_machine;
mod stored_entries;
mod transport;

pub use error::{ProposeError, RaftFault, ReadError};
pub use feed::{AppliedBatch, AppliedFeed, FeedItem};
pub use handle::{Applied, Published, Raft, Role, RunState, Status};
pub use options::{MAX_COMMAND_BYTES, RaftOptions, exit_process};
pub use state_machine::{RestoreError, StateMachine};
