//! What containerd knows of this host's containers: how a restarted agent finds them again. Shell.

use std::collections::HashMap;

use containerd_client::services::v1::{ListContainersRequest, ListTasksRequest};
use containerd_client::types::v1::{Process, Status as TaskStatus};
use tonic::Status;

use super::lifecycle::{exit_of, unknown_exit};
use super::names::key_of;
use super::{ContainerdRuntime, refused};
use crate::runtime::{ContainerKey, FoundContainer, FoundStatus, RuntimeError};

pub(super) async fn list(runtime: &ContainerdRuntime) -> Result<Vec<FoundContainer>, RuntimeError> {
    let unavailable = |status: Status| refused(&status, RuntimeError::Unavailable);
    let client = &runtime.client;
    let containers = containers(runtime).await.map_err(unavailable)?;
    let tasks = client
        .tasks()
        .list(client.request(ListTasksRequest::default()))
        .await
        .map_err(unavailable)?;
    let mut tasks: HashMap<String, Process> = tasks
        .into_inner()
        .tasks
        .into_iter()
        .map(|process| (process.id.clone(), process))
        .collect();
    let mut found: Vec<FoundContainer> = containers
        .into_iter()
        .map(|(runtime_id, key)| {
            let status = status_of(&key, tasks.remove(&runtime_id));
            FoundContainer {
                key,
                runtime_id,
                status,
            }
        })
        .collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Ids and keys of this host's containers. As a stream: with their specifications, a thousand would be one answer of
/// 10 MB.
pub(super) async fn containers(runtime: &ContainerdRuntime) -> Result<Vec<(String, ContainerKey)>, Status> {
    let client = &runtime.client;
    let mut stream = client
        .containers()
        .list_stream(client.request(ListContainersRequest::default()))
        .await?
        .into_inner();
    let mut found = Vec::new();
    while let Some(message) = stream.message().await? {
        let container = message.container.unwrap_or_default();
        if let Some(key) = key_of(&container.labels) {
            found.push((container.id, key));
        }
    }
    Ok(found)
}

fn status_of(key: &ContainerKey, process: Option<Process>) -> FoundStatus {
    let Some(process) = process else {
        return FoundStatus::Exited(unknown_exit());
    };
    match process.status() {
        TaskStatus::Created => FoundStatus::Created,
        TaskStatus::Stopped => FoundStatus::Exited(exit_of(key, process.exit_status, process.exited_at)),
        TaskStatus::Running | TaskStatus::Paused | TaskStatus::Pausing | TaskStatus::Unknown => {
            FoundStatus::Running(process.pid)
        }
    }
}
