//! What every session works with. Shell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::IdSource;
use berth_core::model::ContainerInstanceId;
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use crate::clock::Clock;
use crate::replica::StateGroup;
use berth_raft::Role;

/// Intervals without a word from an agent after which it counts as disconnected.
const MISSED_INTERVALS: u32 = 3;

/// How sessions are kept.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// How often an agent is to say that it is alive.
    pub heartbeat_interval: Duration,
}

impl Default for AgentsOptions {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(5),
        }
    }
}

/// What every session works with.
pub(super) struct Context {
    pub(super) group: StateGroup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Mutex<IdSource>,
    pub(super) registry: Arc<Registry>,
    pub(super) options: AgentsOptions,
    /// The server is stopping.
    pub(super) stop: CancellationToken,
}

impl Context {
    pub(super) fn new_instance_id(&self) -> ContainerInstanceId {
        // The source is valid after every step, so a panic elsewhere leaves nothing half done.
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .container_instance_id()
    }

    /// The term in which this member leads.
    pub(super) fn led_term(&self) -> Option<u64> {
        let status = self.group.status();
        (status.role == Role::Leader).then_some(status.term)
    }

    /// How long an agent may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.options.heartbeat_interval * MISSED_INTERVALS
    }
}
