//! Leaving nothing behind: everything in the host's containerd namespace, its networks and control groups.
//!
//! Owns the order in which containerd lets go of things. Only ever touches the host's own namespace. Shell.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::TaskId;
use containerd_client::services::v1::snapshots::{ListSnapshotsRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{
    AbortRequest, DeleteContentRequest, DeleteImageRequest, DeleteNamespaceRequest, DeleteRequest,
    ListContainersRequest, ListContentRequest, ListImagesRequest, ListRequest, ListStatusesRequest,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::client::{Client, unless_gone};
use super::names::key_of;
use super::{ContainerdRuntime, cgroup, lifecycle, refused, remove_directory};
use crate::runtime::RuntimeError;

/// Containers removed at once.
const REMOVALS_AT_ONCE: usize = 8;
/// Rounds in which snapshots are removed: children before parents, and each round removes a generation.
const SNAPSHOT_ROUNDS: usize = 200;
/// How often an emptied namespace is tried: containerd lets go of content after its collector ran.
const NAMESPACE_TRIES: usize = 50;
/// Pause between the tries.
const NAMESPACE_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn clean_up(runtime: &ContainerdRuntime) -> Result<(), RuntimeError> {
    let failed = |status: Status| refused(&status, RuntimeError::CannotRemoveContainer);
    let mut outcome = remove_containers(runtime).await;
    let networks = runtime.networks.remove_all().await;
    outcome = outcome.and(networks.map_err(|e| RuntimeError::CannotRemoveContainer(e.to_string())));
    cgroup::remove_ours();
    outcome = outcome.and(remove_directory(&runtime.options.data_dir.join("tasks")));
    let client = &runtime.client;
    outcome = outcome.and(remove_images(client).await.map_err(failed));
    outcome = outcome.and(remove_snapshots(client, &runtime.snapshotter).await.map_err(failed));
    outcome = outcome.and(remove_content(client).await.map_err(failed));
    outcome = outcome.and(remove_namespace(client).await.map_err(failed));
    // Where runc and the shim kept the state of containers that are gone; not empty if another containerd shares it.
    drop(std::fs::remove_dir(format!(
        "/run/containerd/runc/{}",
        client.namespace()
    )));
    outcome
}

async fn remove_containers(runtime: &ContainerdRuntime) -> Result<(), RuntimeError> {
    let client = &runtime.client;
    let listed = client
        .containers()
        .list_stream(client.request(ListContainersRequest::default()))
        .await;
    let mut stream = listed
        .map_err(|s| refused(&s, RuntimeError::CannotRemoveContainer))?
        .into_inner();
    let mut containers = Vec::new();
    while let Some(message) = stream
        .message()
        .await
        .map_err(|s| refused(&s, RuntimeError::CannotRemoveContainer))?
    {
        containers.extend(message.container);
    }
    let mut tasks: BTreeSet<TaskId> = containers
        .iter()
        .filter_map(|c| key_of(&c.labels))
        .map(|key| key.task)
        .collect();
    let slots = Arc::new(Semaphore::new(REMOVALS_AT_ONCE));
    let mut removing = JoinSet::new();
    for container in containers {
        let (client, snapshotter, slots) = (client.clone(), runtime.snapshotter.clone(), slots.clone());
        removing.spawn(async move {
            // The semaphore is never closed.
            let _permit = slots.acquire().await.ok();
            lifecycle::delete(&client, &snapshotter, &container.id).await
        });
    }
    let mut outcome = Ok(());
    while let Some(removed) = removing.join_next().await {
        let removed = removed.map_err(|e| RuntimeError::CannotRemoveContainer(e.to_string()));
        outcome = outcome.and(removed.and_then(|r| r));
    }
    tasks.append(&mut runtime.known_tasks());
    for task in tasks {
        let removed = cgroup::remove_task(task).await;
        outcome = outcome.and(removed.map_err(RuntimeError::CannotRemoveContainer));
    }
    outcome
}

async fn remove_images(client: &Client) -> Result<(), Status> {
    let images = client
        .images()
        .list(client.request(ListImagesRequest::default()))
        .await?
        .into_inner()
        .images;
    for image in images {
        let request = DeleteImageRequest {
            name: image.name,
            ..Default::default()
        };
        unless_gone(client.images().delete(client.request(request)).await.map(drop))?;
    }
    let leases = client
        .leases()
        .list(client.request(ListRequest::default()))
        .await?
        .into_inner()
        .leases;
    for lease in leases {
        let request = DeleteRequest {
            id: lease.id,
            sync: false,
        };
        unless_gone(client.leases().delete(client.request(request)).await.map(drop))?;
    }
    Ok(())
}

async fn remove_snapshots(client: &Client, snapshotter: &str) -> Result<(), Status> {
    for _ in 0..SNAPSHOT_ROUNDS {
        let names = snapshots(client, snapshotter).await?;
        if names.is_empty() {
            return Ok(());
        }
        let mut removed = false;
        for key in names {
            let request = RemoveSnapshotRequest {
                snapshotter: snapshotter.to_owned(),
                key,
            };
            match client.snapshots().remove(client.request(request)).await {
                Ok(_) => removed = true,
                Err(status) if status.code() == Code::NotFound => removed = true,
                // It has children still; its turn comes.
                Err(status) if status.code() == Code::FailedPrecondition => {}
                Err(status) => return Err(status),
            }
        }
        if !removed {
            break;
        }
    }
    let left = snapshots(client, snapshotter).await?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "snapshots are still in use: {}",
        left.join(", ")
    )))
}

async fn snapshots(client: &Client, snapshotter: &str) -> Result<Vec<String>, Status> {
    let request = ListSnapshotsRequest {
        snapshotter: snapshotter.to_owned(),
        filters: Vec::new(),
    };
    let mut stream = client.snapshots().list(client.request(request)).await?.into_inner();
    let mut names = Vec::new();
    while let Some(message) = stream.message().await? {
        names.extend(message.info.into_iter().map(|info| info.name));
    }
    Ok(names)
}

async fn remove_content(client: &Client) -> Result<(), Status> {
    let ingests = client
        .content()
        .list_statuses(client.request(ListStatusesRequest::default()))
        .await?;
    for ingest in ingests.into_inner().statuses {
        let request = AbortRequest { r#ref: ingest.r#ref };
        unless_gone(client.content().abort(client.request(request)).await.map(drop))?;
    }
    let mut stream = client
        .content()
        .list(client.request(ListContentRequest::default()))
        .await?
        .into_inner();
    let mut digests = Vec::new();
    while let Some(message) = stream.message().await? {
        digests.extend(message.info.into_iter().map(|info| info.digest));
    }
    for digest in digests {
        let request = DeleteContentRequest { digest };
        unless_gone(client.content().delete(client.request(request)).await.map(drop))?;
    }
    Ok(())
}

async fn remove_namespace(client: &Client) -> Result<(), Status> {
    let mut tries = 0;
    loop {
        let request = DeleteNamespaceRequest {
            name: client.namespace().to_owned(),
        };
        let deleted = unless_gone(client.namespaces().delete(client.request(request)).await.map(drop));
        match deleted {
            Err(status) if status.code() == Code::FailedPrecondition && tries < NAMESPACE_TRIES => {
                tries += 1;
                tokio::time::sleep(NAMESPACE_PAUSE).await;
            }
            other => return other,
        }
    }
}
