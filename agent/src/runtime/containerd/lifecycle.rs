//! Starting, waiting for, stopping and removing containers.
//!
//! Owns what containerd's answers mean: that a process is gone already is success, and that containerd is away says
//! nothing about a container. Shell.

use std::time::Duration;

use berth_core::model::Timestamp;
use containerd_client::services::v1::snapshots::RemoveSnapshotRequest;
use containerd_client::services::v1::{
    DeleteContainerRequest, DeleteTaskRequest, GetContainerRequest, GetRequest, KillRequest, StartRequest, WaitRequest,
};
use containerd_client::types::v1::Status as TaskStatus;
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::client::{Client, is_away, unless_gone};
use super::names::{LABEL_STOP_SIGNAL, container_id};
use super::{ContainerdRuntime, cgroup, refused};
use crate::runtime::{ContainerExit, ContainerKey, RuntimeError, StartedContainer};

/// First and longest pause before containerd is asked again while it is away.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a container without a task is looked at again before its shim is called dead: a containerd that just
/// started may still be finding its tasks.
const SHIM_GRACE: Duration = Duration::from_secs(1);
/// How long a killed container may take to be gone.
const DELETE_DEADLINE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const DELETE_POLL: Duration = Duration::from_millis(20);

/// What ECS says of a container that the kernel killed for want of memory.
const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";
/// What is said where no exit code can be known.
pub(super) const SHIM_DIED: &str = "exit code unknown: the process that watched over the container is gone";

pub(super) async fn start(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
    // The semaphore is never closed.
    let _permit = runtime.options.gate.0.acquire().await.ok();
    begin(runtime, key).await
}

/// Starts the process that waits; the caller holds a permit of the gate.
pub(super) async fn begin(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
    let id = container_id(key);
    let client = &runtime.client;
    let request = StartRequest {
        container_id: id.clone(),
        exec_id: String::new(),
    };
    match client.tasks().start(client.request(request)).await {
        Ok(answer) => Ok(StartedContainer {
            runtime_id: id,
            pid: answer.into_inner().pid,
        }),
        Err(status) if status.code() == Code::NotFound => Err(RuntimeError::NoSuchContainer(key.to_string())),
        Err(status) if is_away(&status) => Err(RuntimeError::Unavailable(status.message().to_owned())),
        Err(status) => {
            // It may have been started before a crash: then it is as it should be.
            let get = GetRequest {
                container_id: id.clone(),
                exec_id: String::new(),
            };
            let found = client
                .tasks()
                .get(client.request(get))
                .await
                .ok()
                .and_then(|a| a.into_inner().process);
            match found {
                Some(process) if !matches!(process.status(), TaskStatus::Created | TaskStatus::Unknown) => {
                    Ok(StartedContainer {
                        runtime_id: id,
                        pid: process.pid,
                    })
                }
                _ => Err(refused(&status, RuntimeError::CannotStartContainer)),
            }
        }
    }
}

pub(super) async fn wait(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<ContainerExit, RuntimeError> {
    let id = container_id(key);
    let client = &runtime.client;
    let mut pause = ASK_AGAIN.0;
    let mut missing_since: Option<Instant> = None;
    loop {
        let request = WaitRequest {
            container_id: id.clone(),
            exec_id: String::new(),
        };
        match client.tasks().wait(client.unbounded(request)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                return Ok(exit_of(key, answer.exit_status, answer.exited_at));
            }
            Err(status) if status.code() == Code::NotFound => {
                let since = *missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SHIM_GRACE {
                    match exists(runtime, &id).await {
                        Ok(true) => return Ok(unknown_exit()),
                        Ok(false) => return Err(RuntimeError::NoSuchContainer(key.to_string())),
                        Err(status) => tracing::debug!(%status, container = %key, "containerd is away"),
                    }
                }
            }
            Err(status) => {
                missing_since = None;
                tracing::debug!(%status, container = %key, "waiting for the container was cut short; waiting again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(if missing_since.is_some() {
            SHIM_GRACE / 4
        } else {
            ASK_AGAIN.1
        });
    }
}

/// The exit of a container with this exit status; says so if the kernel killed it for want of memory.
pub(super) fn exit_of(key: &ContainerKey, status: u32, at: Option<prost_types::Timestamp>) -> ContainerExit {
    let exit_code = i32::try_from(status).unwrap_or(i32::MAX);
    let killed = exit_code != 0 && cgroup::was_out_of_memory(key.task, &key.name);
    ContainerExit {
        exit_code: Some(exit_code),
        reason: killed.then(|| OUT_OF_MEMORY.to_owned()),
        at: at.map_or_else(now, |t| {
            Timestamp(t.seconds.saturating_mul(1000) + i64::from(t.nanos / 1_000_000))
        }),
    }
}

pub(super) fn unknown_exit() -> ContainerExit {
    ContainerExit {
        exit_code: None,
        reason: Some(SHIM_DIED.to_owned()),
        at: now(),
    }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

async fn exists(runtime: &ContainerdRuntime, id: &str) -> Result<bool, Status> {
    let request = runtime.client.request(GetContainerRequest { id: id.to_owned() });
    match runtime.client.containers().get(request).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

pub(super) async fn stop(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<(), RuntimeError> {
    let id = container_id(key);
    let failed = |status: Status| refused(&status, RuntimeError::CannotStopContainer);
    let request = runtime.client.request(GetContainerRequest { id: id.clone() });
    let container = match runtime.client.containers().get(request).await {
        Ok(answer) => answer.into_inner().container.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        Err(status) => return Err(failed(status)),
    };
    let signal = container.labels.get(LABEL_STOP_SIGNAL).and_then(|s| s.parse().ok());
    send(&runtime.client, &id, signal.unwrap_or(Signal::SIGTERM as u32), false)
        .await
        .map_err(failed)
}

pub(super) async fn kill(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<(), RuntimeError> {
    let sent = send(&runtime.client, &container_id(key), Signal::SIGKILL as u32, true).await;
    sent.map_err(|s| refused(&s, RuntimeError::CannotStopContainer))
}

/// Sends a signal; success also where nothing runs.
async fn send(client: &Client, id: &str, signal: u32, all: bool) -> Result<(), Status> {
    let request = KillRequest {
        container_id: id.to_owned(),
        exec_id: String::new(),
        signal,
        all,
    };
    let sent = unless_gone(client.tasks().kill(client.request(request)).await.map(drop));
    match sent {
        Err(status) if status.message().contains("process already finished") => Ok(()),
        Err(status) if status.message().contains("container not running") => Ok(()),
        other => other,
    }
}

/// Removes a container, its process and its file system; success also where they are gone.
pub(super) async fn delete(client: &Client, snapshotter: &str, id: &str) -> Result<(), RuntimeError> {
    let failed = |status: Status| refused(&status, RuntimeError::CannotRemoveContainer);
    delete_task(client, id).await?;
    let container = DeleteContainerRequest { id: id.to_owned() };
    let deleted = client.containers().delete(client.request(container)).await;
    unless_gone(deleted.map(drop)).map_err(failed)?;
    let snapshot = RemoveSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: id.to_owned(),
    };
    let removed = client.snapshots().remove(client.request(snapshot)).await;
    unless_gone(removed.map(drop)).map_err(failed)
}

pub(super) async fn delete_task(client: &Client, id: &str) -> Result<(), RuntimeError> {
    let deadline = Instant::now() + DELETE_DEADLINE;
    let mut killed = false;
    loop {
        let request = DeleteTaskRequest {
            container_id: id.to_owned(),
        };
        let status = match client.tasks().delete(client.request(request)).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::NotFound => return Ok(()),
            Err(status) => status,
        };
        if is_away(&status) || Instant::now() >= deadline {
            return Err(refused(&status, RuntimeError::CannotRemoveContainer));
        }
        if !killed {
            send(client, id, Signal::SIGKILL as u32, true)
                .await
                .map_err(|s| refused(&s, RuntimeError::CannotRemoveContainer))?;
            killed = true;
        }
        tokio::time::sleep(DELETE_POLL).await;
    }
}
