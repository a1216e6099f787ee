//! Creating a container: file system, record and the shim with its waiting process.
//!
//! Owns that what a crash left half made is made anew, and what fails leaves nothing behind. Shell.

use std::collections::HashMap;
use std::path::Path;
use std::sync::PoisonError;

use berth_core::model::NetworkInterface;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::{Container, CreateContainerRequest, CreateTaskRequest, GetRequest};
use containerd_client::types::Mount;
use containerd_client::types::v1::Status as TaskStatus;
use prost_types::Any;
use tonic::{Code, Status};

use super::names::{LABEL_GC_ROOT, container_id, labels};
use super::spec::user::{self, User};
use super::spec::{self, Ingredients};
use super::{ContainerdRuntime, cgroup, image_error, lifecycle, refused, rootfs};
use crate::image::UnpackedImage;
use crate::logs::writer::SUBCOMMAND;
use crate::network::TaskFiles;
use crate::runtime::{ContainerKey, CreateContainer, RuntimeError};

/// How containerd names the type of a specification.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// Length of the host name that a container sees, as Docker's.
const HOSTNAME_LENGTH: usize = 12;
/// Longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 64;

pub(super) async fn create(runtime: &ContainerdRuntime, request: CreateContainer<'_>) -> Result<(), RuntimeError> {
    let id = container_id(&request.key());
    let mut image = image_of(runtime, &request).await?;
    // The semaphore is never closed.
    let _permit = runtime.options.gate.0.acquire().await.ok();
    let prepared = match prepare(runtime, &id, &image.chain_id).await {
        Err(status) if status.code() == Code::AlreadyExists => {
            if has_process(runtime, &id).await? {
                return Ok(());
            }
            // A crash came between the steps; nothing has run yet.
            lifecycle::delete(&runtime.client, &runtime.snapshotter, &id).await?;
            prepare(runtime, &id, &image.chain_id).await
        }
        Err(status) if status.code() == Code::NotFound => {
            // Someone removed the unpacked image: look for it, or fetch it, again.
            runtime.images.forget(&image.name);
            image = runtime.images.ensure(&image.name).await.map_err(image_error)?;
            prepare(runtime, &id, &image.chain_id).await
        }
        other => other,
    };
    let mounts = prepared.map_err(|s| refused(&s, RuntimeError::CannotCreateContainer))?;
    let made = make(runtime, &request, &id, &image, mounts).await;
    if made.as_ref().is_err_and(|error| !error.is_transient()) {
        // An error here would hide the one that matters; what stays is found by the next cleanup.
        drop(lifecycle::delete(&runtime.client, &runtime.snapshotter, &id).await);
    }
    made
}

async fn image_of(
    runtime: &ContainerdRuntime,
    request: &CreateContainer<'_>,
) -> Result<std::sync::Arc<UnpackedImage>, RuntimeError> {
    let name: crate::image::ImageName = request.container.image.parse().map_err(image_error)?;
    match runtime.images.known(&name.to_string()) {
        Some(image) => Ok(image),
        None => runtime
            .images
            .ensure(&request.container.image)
            .await
            .map_err(image_error),
    }
}

/// Makes the container's writable layer. Its label keeps it from containerd's collector until the container's record
/// refers to it: the work of a lease, without the two synchronous writes that a lease would cost each start.
async fn prepare(runtime: &ContainerdRuntime, id: &str, parent: &str) -> Result<Vec<Mount>, Status> {
    let now = jiff::Timestamp::now().to_string();
    let request = PrepareSnapshotRequest {
        snapshotter: runtime.snapshotter.clone(),
        key: id.to_owned(),
        parent: parent.to_owned(),
        labels: HashMap::from([(LABEL_GC_ROOT.to_owned(), now)]),
    };
    let answer = runtime
        .client
        .snapshots()
        .prepare(runtime.client.request(request))
        .await?;
    Ok(answer.into_inner().mounts)
}

/// Whether there is a process that waits to be started, or runs. One that has ended before it was started is of no use.
async fn has_process(runtime: &ContainerdRuntime, id: &str) -> Result<bool, RuntimeError> {
    let request = GetRequest {
        container_id: id.to_owned(),
        exec_id: String::new(),
    };
    match runtime.client.tasks().get(runtime.client.request(request)).await {
        Ok(answer) => {
            let process = answer.into_inner().process;
            Ok(process.is_some_and(|process| process.status() != TaskStatus::Stopped))
        }
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(refused(&status, RuntimeError::CannotCreateContainer)),
    }
}

async fn make(
    runtime: &ContainerdRuntime,
    request: &CreateContainer<'_>,
    id: &str,
    image: &UnpackedImage,
    mounts: Vec<Mount>,
) -> Result<(), RuntimeError> {
    let spec = describe(runtime, request, id, image, &mounts)?;
    cgroup::limit_task(request.task).map_err(RuntimeError::CannotCreateContainer)?;
    let image_signal = image.config.config().as_ref().and_then(|c| c.stop_signal().clone());
    let container = Container {
        id: id.to_owned(),
        image: image.name.clone(),
        runtime: Some(runtime.oci_runtime_of(request.task).to_containerd()),
        spec: Some(Any {
            type_url: SPEC_TYPE.to_owned(),
            value: spec,
        }),
        snapshotter: runtime.snapshotter.clone(),
        snapshot_key: id.to_owned(),
        labels: labels(
            &runtime.options.agent,
            request,
            spec::stop_signal(image_signal.as_deref()),
        ),
        ..Default::default()
    };
    let client = &runtime.client;
    let create = CreateContainerRequest {
        container: Some(container),
    };
    let created = client.containers().create(client.request(create)).await;
    created.map_err(|s| refused(&s, RuntimeError::CannotCreateContainer))?;
    make_task(runtime, &request.key(), mounts).await
}

/// Makes the shim with its waiting process. Docker, and so ECS, calls this part of starting: it is where a missing program
/// shows.
pub(super) async fn make_task(
    runtime: &ContainerdRuntime,
    key: &ContainerKey,
    mounts: Vec<Mount>,
) -> Result<(), RuntimeError> {
    let log = log_uri(runtime, key)?;
    let task = CreateTaskRequest {
        container_id: container_id(key),
        rootfs: mounts,
        stdout: log.clone(),
        stderr: log,
        ..Default::default()
    };
    let client = &runtime.client;
    let created = client.tasks().create(client.request(task)).await;
    created
        .map(drop)
        .map_err(|s| refused(&s, RuntimeError::CannotStartContainer))
}

fn describe(
    runtime: &ContainerdRuntime,
    request: &CreateContainer<'_>,
    id: &str,
    image: &UnpackedImage,
    mounts: &[Mount],
) -> Result<Vec<u8>, RuntimeError> {
    let failed = |why: String| RuntimeError::CannotCreateContainer(why);
    let hostname = match request.network.namespace {
        None => runtime.host_name.clone(),
        Some(_) => hostname(id, request.network.interface.as_ref()),
    };
    let directory = runtime.task_directory(request.task.task);
    let files = TaskFiles::prepare(&directory, request.network, &hostname)
        .map_err(|e| failed(format!("{}: {e}", directory.display())))?;
    let ingredients = Ingredients {
        task: request.task,
        container: request.container,
        image: &image.config,
        agent_environment: request.agent_environment,
        user: user_of(runtime, request, image, mounts)?,
        hostname,
        network_namespace: request.network.namespace.clone(),
        files,
        unified_cgroups: runtime.unified_cgroups,
        filters_calls: runtime.filters_calls,
        is_machine: !runtime.oci_runtime_of(request.task).shares_network(),
    };
    let spec = spec::build(&ingredients).map_err(|e| failed(e.to_string()))?;
    serde_json::to_vec(&spec).map_err(|e| failed(e.to_string()))
}

/// The name that a container has for itself: that of the task's address, where the task has one of its own and the kernel takes the name.
fn hostname(id: &str, interface: Option<&NetworkInterface>) -> String {
    match interface.map(|interface| interface.private_dns_name.as_str()) {
        None => id.chars().take(HOSTNAME_LENGTH).collect(),
        Some(name) if name.len() <= MAX_HOSTNAME => name.to_owned(),
        Some(name) => name.chars().take_while(|c| *c != '.').collect(),
    }
}

fn user_of(
    runtime: &ContainerdRuntime,
    request: &CreateContainer<'_>,
    image: &UnpackedImage,
    mounts: &[Mount],
) -> Result<User, RuntimeError> {
    let given = request.container.user.clone().filter(|u| !u.is_empty());
    let of_image = || image.config.config().as_ref().and_then(|c| c.user().clone());
    let text = given.or_else(of_image).unwrap_or_default();
    let key = (image.chain_id.clone(), text);
    if let Some(user) = runtime.users.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(user.clone());
    }
    let read = |path: &str| {
        rootfs::read_text(mounts, path)
            .map_err(|e| RuntimeError::CannotCreateContainer(format!("/{path} of the image cannot be read: {e}")))
    };
    let user = user::resolve(&key.1, &read("etc/passwd")?, &read("etc/group")?)
        .map_err(|e| RuntimeError::CannotCreateContainer(e.to_string()))?;
    runtime
        .users
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, user.clone());
    Ok(user)
}

/// Where containerd sends what the container writes: to a program that it starts, or nowhere.
fn log_uri(runtime: &ContainerdRuntime, key: &ContainerKey) -> Result<String, RuntimeError> {
    let Some(program) = &runtime.options.log_program else {
        return Ok(String::new());
    };
    let directory = runtime.log_directory_of_task(key.task).join(&key.name);
    std::fs::create_dir_all(&directory)
        .map_err(|e| RuntimeError::CannotCreateContainer(format!("{}: {e}", directory.display())))?;
    Ok(format!(
        "binary://{}?{SUBCOMMAND}={}",
        escape(program),
        escape(&directory)
    ))
}

/// A path as part of a URI.
fn escape(path: &Path) -> String {
    let mut escaped = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_of_a_path_with_spaces_and_signs_is_safe_in_a_uri() {
        assert_eq!(escape(Path::new("/a b/c?d=e&f")), "/a%20b/c%3Fd%3De%26f");
    }
}
