//! Starting a container again whose process has ended.
//!
//! Owns that its record and its writable layer stay: what ends is the process with its shim, and a new one takes its place. Shell.

use containerd_client::services::v1::GetRequest;
use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::types::v1::Status as TaskStatus;
use tonic::{Code, Status};

use super::names::container_id;
use super::{ContainerdRuntime, create, lifecycle, refused};
use crate::runtime::{ContainerKey, RuntimeError, StartedContainer};

pub(super) async fn restart(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
    let id = container_id(key);
    let failed = |status: Status| refused(&status, RuntimeError::CannotStartContainer);
    // The semaphore is never closed.
    let _permit = runtime.options.gate.0.acquire().await.ok();
    match status_of(runtime, &id).await.map_err(failed)? {
        Some(TaskStatus::Stopped) => lifecycle::delete_task(&runtime.client, &id).await?,
        // A crash came after what this would do, or in the middle of it.
        Some(_) => return lifecycle::begin(runtime, key).await,
        None => {}
    }
    let mounts = MountsRequest {
        snapshotter: runtime.snapshotter.clone(),
        key: id,
    };
    let mounts = match runtime.client.snapshots().mounts(runtime.client.request(mounts)).await {
        Ok(answer) => answer.into_inner().mounts,
        Err(status) if status.code() == Code::NotFound => return Err(RuntimeError::NoSuchContainer(key.to_string())),
        Err(status) => return Err(failed(status)),
    };
    create::make_task(runtime, key, mounts).await?;
    lifecycle::begin(runtime, key).await
}

/// Where the container's process is; `None` if it has none.
async fn status_of(runtime: &ContainerdRuntime, id: &str) -> Result<Option<TaskStatus>, Status> {
    let request = GetRequest {
        container_id: id.to_owned(),
        exec_id: String::new(),
    };
    match runtime.client.tasks().get(runtime.client.request(request)).await {
        Ok(answer) => Ok(answer.into_inner().process.map(|process| process.status())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
