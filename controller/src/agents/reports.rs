//! Commits what a host says of its tasks. Shell.

use std::sync::Arc;

use berth_core::model::{ContainerInstanceId, TaskReport, Timestamp};
use berth_core::state::{Command, Rejection};
use berth_proto::record::{self, RecordError, RecordKind};
use tokio::sync::Semaphore;

use crate::replica::StateGroup;
use berth_raft::ProposeError;

/// Bytes of reports in one command, half of what a command may have.
const MAX_BYTES_PER_COMMAND: usize = 512 * 1024;

/// Batches that are proposed at a time, others wait for their turn: enough to share a sync, and far fewer than a group lets wait before
/// it refuses more, which would end the sessions of thousands of hosts that report at once.
pub(super) const MAX_PROPOSED: usize = 1_024;

/// Reads a batch and cuts it so that each part fits a command.
pub(super) fn read(reports: &[Vec<u8>]) -> Result<Vec<Vec<TaskReport>>, RecordError> {
    let (mut parts, mut bytes) = (vec![], MAX_BYTES_PER_COMMAND);
    for report in reports {
        bytes += report.len();
        if bytes > MAX_BYTES_PER_COMMAND {
            parts.push(vec![]);
            bytes = report.len();
        }
        if let Some(part) = parts.last_mut() {
            part.push(record::decode(RecordKind::TaskReport, report)?);
        }
    }
    Ok(parts)
}

/// Commits a batch once it has its turn, in the term of the session that it came in; once it returns, the agent need not send it again. A host that has left the cluster has no tasks that
/// its reports could be about.
pub(super) async fn commit(
    group: StateGroup,
    turns: Arc<Semaphore>,
    term: u64,
    container_instance: ContainerInstanceId,
    parts: Vec<Vec<TaskReport>>,
    at: Timestamp,
) -> Result<(), ProposeError> {
    for reports in parts {
        // It is never closed; the agent ends the session if its turn does not come in time.
        let _turn = turns.acquire().await;
        let command = Command::RecordTaskReports {
            container_instance,
            reports,
            at,
        };
        match group.propose_in_term(command, term).await?.outcome {
            Ok(_) | Err(Rejection::ContainerInstanceNotFound(_)) => {}
            Err(rejection) => {
                tracing::warn!(%container_instance, %rejection, "the reports of a host were refused");
            }
        }
    }
    Ok(())
}
