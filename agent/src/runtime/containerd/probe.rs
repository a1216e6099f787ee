//! Running a command in a container to see whether it is healthy.
//!
//! Owns that at most one such command runs in a container, under one name, so that what an agent has left of one is found by the next. Shell.

use std::time::Duration;

use containerd_client::services::v1::{
    DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, GetRequest, KillRequest, StartRequest, WaitRequest,
};
use containerd_client::types::v1::{Process as TaskProcess, Status as TaskStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::{Process, Spec};
use prost_types::Any;
use tonic::{Code, Status};

use super::ContainerdRuntime;
use super::client::{is_away, unless_gone};
use super::names::container_id;
use crate::runtime::{ContainerKey, ProbeResult, RuntimeError};

/// The name of the command within its container.
const EXEC_ID: &str = "health";
/// How containerd names the type of a process.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Where its output goes. Without any containerd opens /dev/null to be read, and a command that writes fails.
const OUTPUT: &str = "file:///dev/null";
/// How long a killed command may take to be gone; one that takes longer is left to the next probe.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Processes of one command that are killed with it: a bound on what is looked at.
const MAX_DESCENDANTS: usize = 1_000;

/// Commands begun at once on a host: as with containers, each costs tens of milliseconds of a processor, and more only wait for each other.
pub(super) const PROBES_AT_ONCE: usize = 4;

pub(super) async fn probe(
    runtime: &ContainerdRuntime,
    key: &ContainerKey,
    arguments: &[String],
    within: Duration,
) -> Result<ProbeResult, RuntimeError> {
    let id = container_id(key);
    let process = process_of(runtime, key, &id, arguments).await?;
    let pid = {
        // The semaphore is never closed.
        let _permit = runtime.probes.acquire().await.ok();
        match begin(runtime, &id, process).await {
            Ok(pid) => pid,
            Err(status) => {
                // What was made of it goes with the next one, or with the container.
                remove(runtime, &id).await.ok();
                return match is_running(runtime, &id).await {
                    true => cannot_run(key, &status),
                    // What containerd says of one that has ended has many forms.
                    false => Err(away_or_gone(key, &status)),
                };
            }
        }
    };
    let result = match tokio::time::timeout(within, wait(runtime, &id)).await {
        Ok(Ok(code)) => ProbeResult::Exited(code),
        Ok(Err(status)) => return cannot_run(key, &status),
        Err(_) => {
            end(runtime, &id, pid)
                .await
                .map_err(|status| away_or_gone(key, &status))?;
            ProbeResult::TimedOut
        }
    };
    if let Err(status) = remove(runtime, &id).await {
        tracing::debug!(%status, container = %key, "a probe stays until the next one");
    }
    Ok(result)
}

/// The container's own process with other arguments: the same user, environment, directory and limits.
async fn process_of(
    runtime: &ContainerdRuntime,
    key: &ContainerKey,
    id: &str,
    arguments: &[String],
) -> Result<Any, RuntimeError> {
    let request = runtime.client.request(GetContainerRequest { id: id.to_owned() });
    let answer = runtime.client.containers().get(request).await;
    let container = answer
        .map_err(|status| away_or_gone(key, &status))?
        .into_inner()
        .container;
    let spec = container.and_then(|container| container.spec).unwrap_or_default();
    let unreadable = |why: String| RuntimeError::CannotStartContainer(format!("the specification of {key}: {why}"));
    let spec: Spec = serde_json::from_slice(&spec.value).map_err(|error| unreadable(error.to_string()))?;
    let mut process: Process = spec
        .process()
        .clone()
        .ok_or_else(|| unreadable("it has no process".to_owned()))?;
    process.set_args(Some(arguments.to_vec()));
    process.set_terminal(Some(false));
    Ok(Any {
        type_url: PROCESS_TYPE.to_owned(),
        value: serde_json::to_vec(&process).map_err(|error| unreadable(error.to_string()))?,
    })
}

/// Begins the command; returns its process id on the host. What an earlier agent has left of one goes before.
async fn begin(runtime: &ContainerdRuntime, id: &str, process: Any) -> Result<u32, Status> {
    match make(runtime, id, process.clone()).await {
        Err(status) if status.code() == Code::AlreadyExists => {
            end(runtime, id, pid_of(runtime, id).await).await?;
            remove(runtime, id).await?;
            make(runtime, id, process).await?;
        }
        made => made?,
    }
    let request = StartRequest {
        container_id: id.to_owned(),
        exec_id: EXEC_ID.to_owned(),
    };
    let started = runtime.client.tasks().start(runtime.client.request(request)).await?;
    Ok(started.into_inner().pid)
}

/// The process id on the host of a command that an earlier agent has begun; 0 if it has none.
async fn pid_of(runtime: &ContainerdRuntime, id: &str) -> u32 {
    process(runtime, id, EXEC_ID).await.map_or(0, |process| process.pid)
}

async fn is_running(runtime: &ContainerdRuntime, id: &str) -> bool {
    let process = process(runtime, id, "").await;
    process.is_some_and(|process| process.status() == TaskStatus::Running)
}

/// A process of a container as containerd knows it; with an empty id its own.
async fn process(runtime: &ContainerdRuntime, id: &str, exec_id: &str) -> Option<TaskProcess> {
    let request = GetRequest {
        container_id: id.to_owned(),
        exec_id: exec_id.to_owned(),
    };
    let found = runtime.client.tasks().get(runtime.client.request(request)).await;
    found.ok().and_then(|answer| answer.into_inner().process)
}

/// Whatever the command writes is dropped as it is written.
async fn make(runtime: &ContainerdRuntime, id: &str, process: Any) -> Result<(), Status> {
    let request = ExecProcessRequest {
        container_id: id.to_owned(),
        exec_id: EXEC_ID.to_owned(),
        stdout: OUTPUT.to_owned(),
        stderr: OUTPUT.to_owned(),
        spec: Some(process),
        ..Default::default()
    };
    let made = runtime.client.tasks().exec(runtime.client.request(request)).await;
    made.map(drop)
}

async fn wait(runtime: &ContainerdRuntime, id: &str) -> Result<i32, Status> {
    let request = WaitRequest {
        container_id: id.to_owned(),
        exec_id: EXEC_ID.to_owned(),
    };
    let ended = runtime.client.tasks().wait(runtime.client.unbounded(request)).await?;
    Ok(i32::try_from(ended.into_inner().exit_status).unwrap_or(i32::MAX))
}

/// Kills the command with what it has started: a shell that is killed leaves its children behind.
async fn end(runtime: &ContainerdRuntime, id: &str, pid: u32) -> Result<(), Status> {
    let children = descendants(pid);
    let request = KillRequest {
        container_id: id.to_owned(),
        exec_id: EXEC_ID.to_owned(),
        signal: Signal::SIGKILL as u32,
        all: false,
    };
    let killed = runtime.client.tasks().kill(runtime.client.request(request)).await;
    match unless_gone(killed.map(drop)) {
        Err(status) if is_away(&status) => return Err(status),
        // It has ended, or was never started.
        _ => {}
    }
    for child in children {
        // It may have ended meanwhile.
        kill(child, Signal::SIGKILL).ok();
    }
    if tokio::time::timeout(END_WITHIN, wait(runtime, id)).await.is_err() {
        tracing::warn!(container = id, "a health check that was killed does not end");
    }
    Ok(())
}

/// What a process has started, as far as it is there still.
fn descendants(pid: u32) -> Vec<Pid> {
    let mut found: Vec<u32> = vec![pid].into_iter().filter(|pid| *pid > 0).collect();
    let mut next = 0;
    while next < found.len() && found.len() < MAX_DESCENDANTS {
        let parent = found[next];
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
        next += 1;
    }
    let below = found.into_iter().skip(1);
    below
        .filter_map(|pid| i32::try_from(pid).ok())
        .map(Pid::from_raw)
        .collect()
}

async fn remove(runtime: &ContainerdRuntime, id: &str) -> Result<(), Status> {
    let request = DeleteProcessRequest {
        container_id: id.to_owned(),
        exec_id: EXEC_ID.to_owned(),
    };
    let removed = runtime
        .client
        .tasks()
        .delete_process(runtime.client.request(request))
        .await;
    unless_gone(removed.map(drop))
}

/// What it means that the command could not be begun, or not be waited for.
fn cannot_run(key: &ContainerKey, status: &Status) -> Result<ProbeResult, RuntimeError> {
    let says_nothing = is_away(status) || matches!(status.code(), Code::NotFound | Code::FailedPrecondition);
    if says_nothing {
        return Err(away_or_gone(key, status));
    }
    Ok(ProbeResult::CannotRun(status.message().to_owned()))
}

fn away_or_gone(key: &ContainerKey, status: &Status) -> RuntimeError {
    if is_away(status) {
        RuntimeError::Unavailable(status.message().to_owned())
    } else {
        RuntimeError::NoSuchContainer(key.to_string())
    }
}
