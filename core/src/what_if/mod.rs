//! What a change would lead to: a copy of the state is changed, and the reconcilers, placement and the state machine work on it as they do on
//! the real one, with hosts that do at once what they are told. What happens is told as differences. Pure.
//!
//! - `change.rs`: what can be asked about, as commands.
//! - `rehearsal.rs`: the copy, played until it comes to rest.
//! - `steps.rs`: what is started and stopped together on the way there.
//! - `chance.rs`: what of it is drawn.
//! - `outlook.rs`: the differences between before and after.
//! - `headroom.rs`: what more there is room for.

mod chance;
mod change;
mod headroom;
mod outlook;
mod rehearsal;
#[cfg(test)]
mod request_tests;
mod steps;
#[cfg(test)]
mod tests;

pub use change::{Change, NewHost};
pub(crate) use headroom::headroom_of;
pub use headroom::{Headroom, MAX_MORE_TASKS, MoreTasks, ZoneRoom};
pub use outlook::{HostName, Move, Outlook, ServiceOutlook};
pub use steps::{Step, TasksOnHost};

use crate::ids::IdSource;
use crate::model::{ClusterKey, Timestamp};
use crate::state::{ClusterState, Rejection};

use rehearsal::Rehearsal;

/// What becomes of a cluster if all of `changes` happen at once, now; requests among them one after the other.
///
/// The state is first let come to rest as it is, so that what it was about to do anyway counts as before. Hosts, and with `spread` and the
/// strategies that pack also the choice among them, are those that the leader comes to from the same state; what `random` draws, and what
/// ids of new tasks and hosts decide where nothing else does, is not.
///
/// # Errors
/// The reason for which one of the changes could not be made.
pub fn predict(
    state: &ClusterState,
    cluster: &ClusterKey,
    changes: &[Change],
    now: Timestamp,
    ids: IdSource,
) -> Result<Outlook, Rejection> {
    let mut rehearsal = Rehearsal::of(state, cluster, now, ids);
    let mut settled = rehearsal.settle();
    let before = rehearsal.state().clone();
    let began = rehearsal.now();
    rehearsal.tell_steps();
    for change in changes {
        rehearsal.make(change)?;
        // Requests come one after the other, and the leader acts on each before the next.
        if matches!(change, Change::Request(_)) {
            rehearsal.react();
        }
    }
    settled &= rehearsal.settle();
    Ok(outlook::between(&before, &rehearsal, began, settled))
}
