//! The log in a data directory that no controller uses. Shell, blocking.

use std::io::Write;
use std::path::Path;

use berth_core::model::{ClusterKey, LogIndex};
use berth_core::state::{ClusterState, apply};
use berth_raft::History;
use berth_storage::SledStorage;

use super::export::{DecisionsError, Exported, write};
use super::span::Span;
use crate::node::{STORE_FOLDER, has_store};

/// Writes what happened in a span of the log of a data directory to the cluster that a name or an ARN means; without a name, the only one.
///
/// # Errors
/// [`DecisionsError`], also where a controller uses the directory. What was written by then is of no use.
pub fn write_offline<W: Write>(
    data_dir: &Path,
    span: &Span,
    cluster: Option<&str>,
    out: W,
) -> Result<Exported, DecisionsError> {
    if !has_store(data_dir) {
        return Err(DecisionsError::NoStore(data_dir.display().to_string()));
    }
    let store = SledStorage::open(&data_dir.join(STORE_FOLDER))?;
    // Clusters may have come later than what the log begins with.
    let (machine, commands) = History::read(&store, None)?.into_parts();
    let mut state = crate::replica::ReplicatedState::into_state(machine);
    for past in commands {
        let past = past?;
        apply(&mut state, LogIndex(past.index), &past.command).ok();
    }
    let cluster = cluster_named(&state, cluster)?;
    write(History::read(&store, None)?, span, &cluster, out)
}

fn cluster_named(state: &ClusterState, name: Option<&str>) -> Result<ClusterKey, DecisionsError> {
    let known: Vec<&ClusterKey> = state.all_clusters().map(|cluster| &cluster.key).collect();
    let is_meant = |key: &ClusterKey| name.is_none_or(|name| key.name.as_str() == name || key.arn() == name);
    let meant: Vec<&ClusterKey> = known.iter().copied().filter(|key| is_meant(key)).collect();
    if let [one] = meant[..] {
        return Ok(one.clone());
    }
    let all = |keys: &[&ClusterKey]| keys.iter().map(|key| key.arn()).collect::<Vec<_>>().join(", ");
    Err(DecisionsError::Cluster(match (name, meant.is_empty()) {
        (_, false) => format!(
            "which cluster is meant? Name one of these with --cluster: {}",
            all(&meant)
        ),
        (Some(name), true) if !known.is_empty() => {
            format!("there is no cluster {name} in this log; there are: {}", all(&known))
        }
        (_, true) => "there is no cluster in this log".to_owned(),
    }))
}
