//! What every session works with. Shell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::IdSource;
use berth_core::model::{ClusterKey, ContainerInstanceId, HostSettings};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use super::reports::Recorder;
use crate::clock::Clock;
use crate::registrar;
use crate::replica::StateGroup;

/// What every session works with.
pub(super) struct Context {
    pub(super) group: StateGroup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Mutex<IdSource>,
    pub(super) registry: Arc<Registry>,
    /// Where sessions bring what their hosts say of their tasks.
    pub(super) recorder: Recorder,
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
        self.group.status().led_term()
    }

    /// The version of what agents are told of the cluster, see `ClusterNews`; those without a certificate are not told.
    pub(super) fn news_version(&self, is_trusted: bool) -> u64 {
        if !is_trusted {
            return 0;
        }
        registrar::news_version(&self.group.view().view, &self.group.members())
    }

    /// How the cluster keeps in touch with its hosts.
    pub(super) fn settings(&self, cluster: &ClusterKey) -> HostSettings {
        self.group.view().view.host_settings(cluster)
    }
}

/// How long an agent may be silent before it counts as disconnected.
pub(super) fn silence(settings: &HostSettings) -> Duration {
    Duration::from_millis(u64::from(settings.silence_ms()))
}
