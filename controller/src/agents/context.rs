//! What every session works with. Shell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::IdSource;
use berth_core::model::{AccountId, ClusterKey, ContainerInstanceId, HostSettings};
use berth_core::state::ClusterState;
use berth_raft::ReadError;
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
    /// The account of a controller that is by itself; a cluster has it in its state.
    pub(super) account: Option<AccountId>,
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

    /// The account that hosts must be of. `None` where there is no root user, as in tests.
    ///
    /// # Errors
    /// If the group does not say what its state is.
    pub(super) async fn account(&self) -> Result<Option<AccountId>, ReadError> {
        if self.account.is_some() {
            return Ok(self.account.clone());
        }
        if let Some(account) = account_of(&self.group.view().view) {
            return Ok(Some(account));
        }
        // One that leads since just now may not have applied yet what it is in.
        Ok(account_of(&self.group.read().await?.view))
    }

    /// How the cluster keeps in touch with its hosts.
    pub(super) fn settings(&self, cluster: &ClusterKey) -> HostSettings {
        self.group.view().view.host_settings(cluster)
    }
}

/// The account of a cluster. A root key that cannot be read is complained of when the controller starts.
fn account_of(state: &ClusterState) -> Option<AccountId> {
    let root = registrar::root_key(state).ok().flatten()?;
    Some(AccountId::from(root.account.as_str()))
}

/// How long an agent may be silent before it counts as disconnected.
pub(super) fn silence(settings: &HostSettings) -> Duration {
    Duration::from_millis(u64::from(settings.silence_ms()))
}
