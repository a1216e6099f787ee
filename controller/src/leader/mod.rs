//! What the leader does by itself: it runs the reconcilers over what has changed, places standalone tasks, and proposes
//! what comes of both.
//!
//! One loop does both, one round after the other, each on a view that contains the round before: plans of the leader
//! never compete with each other, only with commands of others, which `apply` checks. Plans are bound to the term in which
//! they were made: those of a leader that was deposed are void, and never reach the log through its successor. It must
//! not know how hosts or clients talk. Shell.

mod handle;
mod proposing;
mod rounds;

use std::sync::Arc;

use berth_core::ids::IdSource;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::replica::StateGroup;

pub use handle::LeaderHandle;

/// Starts the loop on a runtime; it works while this member leads, and ends when the group stops. `ids` must be seeded by the
/// operating system, since ids must not repeat. `wakes_hosts` says whether hosts that were put to sleep can be woken.
pub fn start(
    group: StateGroup,
    clock: Arc<dyn Clock>,
    ids: IdSource,
    wakes_hosts: bool,
    runtime: &Handle,
) -> (LeaderHandle, JoinHandle<()>) {
    let (requests, waiting) = mpsc::channel(handle::MAX_WAITING_REQUESTS);
    let rounds = rounds::Rounds::new(group, clock, ids, wakes_hosts, waiting);
    (LeaderHandle::new(requests), runtime.spawn(rounds.run()))
}
