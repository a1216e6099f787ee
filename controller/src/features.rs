//! Raises the group's feature level to what its members can do. Shell.
//!
//! `docs/decisions/2026-11-25-how-formats-evolve.md` says what the level is for.

use berth_core::state::{Command, FeatureLevel};
use berth_raft::Role;

use crate::replica::StateGroup;

/// Raises the level to the newest that this program knows, if this member is alone in its group: what others know is not asked yet, and a
/// group of several keeps its level. That it fails is logged: the group then goes on with the level that it has, and the next start tries
/// again.
pub(crate) async fn raise(group: &StateGroup) {
    let newest = FeatureLevel::newest(env!("CARGO_PKG_VERSION"));
    let is_alone = group.members().members.len() == 1;
    if !is_alone || group.status().role != Role::Leader || group.view().view.feature_level() >= newest.level() {
        return;
    }
    let level = newest.level();
    match group.propose(Command::RaiseFeatureLevel(newest)).await {
        Ok(applied) if applied.outcome.is_ok() => tracing::info!(level, "feature level raised"),
        // Somebody else has raised it meanwhile.
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(level, %error, "the feature level could not be raised: tried again at the next start")
        }
    }
}
