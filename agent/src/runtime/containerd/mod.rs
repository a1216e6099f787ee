//! The runtime over containerd: Berth's containers in one containerd namespace per host.
//!
//! Owns the translation of the trait's steps into containerd's services. What decides when a step is due is elsewhere.
//! Shell.
//!
//! - [`launcher`]: finding or starting containerd.
//! - `client`: requests, and telling containerd's answers apart.
//! - `spec`: the OCI specification of a container (pure).
//! - `oci_runtime`: what runs containers below containerd; `trial`: whether it can.
//! - `create`, `lifecycle`, `restart`, `list`, `probe`: the steps.
//! - `cleanup`: leaving nothing behind.
//! - `unused_images`: nor what is used no more.

mod cgroup;
mod cleanup;
pub(crate) mod client;
mod create;
pub mod launcher;
mod lifecycle;
mod list;
mod names;
mod oci_runtime;
mod probe;
mod restart;
mod rootfs;
mod spec;
mod trial;
mod unused_images;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_core::model::{Attributes, TaskId, TaskSpec, TransportProtocol};
use tokio::sync::Semaphore;
use tonic::Status;

use super::{
    ContainerExit, ContainerKey, CreateContainer, FoundContainer, ProbeResult, ReadyImage, Runtime, RuntimeError,
    StartedContainer, TaskNetwork,
};
use crate::image::{ImageError, ImageStore, RegistryOptions};
use crate::network::{NetworkError, NetworkOptions, Networks};
pub use client::Client;
pub use launcher::{Containerd, ContainerdOptions, LaunchError};
pub use oci_runtime::{NoSuchRuntime, OciRuntime};

/// Containers created or started at once, by all hosts of a process together: more of them only wait for each other's
/// processor time, since each costs about 50 ms of it.
pub const STARTS_AT_ONCE: usize = 4;

/// Bounds how many containers are created or started at once; shared by all hosts of a process.
#[derive(Clone, Debug)]
pub struct StartGate(Arc<Semaphore>);

impl StartGate {
    /// A gate that lets `count` through at once, at least one.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.max(1))))
    }
}

impl Default for StartGate {
    fn default() -> Self {
        Self::new(STARTS_AT_ONCE)
    }
}

/// A host on containerd.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Identity of the agent.
    pub agent: String,
    /// containerd namespace of the host; each host has its own.
    pub namespace: String,
    /// Directory for logs, networks' records and tasks' files.
    pub data_dir: PathBuf,
    /// The program that containerd starts beside each container to keep its log: `berth` itself, called as
    /// `PROGRAM container-log DIRECTORY`. `None` discards what containers write.
    pub log_program: Option<PathBuf>,
    /// What runs the containers of tasks of the launch type `FARGATE`.
    pub fargate_runtime: OciRuntime,
    /// Bounds how many containers start at once.
    pub gate: StartGate,
    /// Networks.
    pub network: NetworkOptions,
    /// Registries.
    pub registry: RegistryOptions,
}

impl HostOptions {
    /// The host of `agent` with its data under `data_dir` and everything else as usual.
    #[must_use]
    pub fn new(agent: &str, data_dir: &Path) -> Self {
        Self {
            agent: agent.to_owned(),
            namespace: format!("berth-{agent}"),
            data_dir: data_dir.to_owned(),
            log_program: std::env::current_exe().ok(),
            fargate_runtime: OciRuntime::runc(),
            gate: StartGate::default(),
            network: NetworkOptions::default(),
            registry: RegistryOptions::default(),
        }
    }
}

/// Runs containers through containerd.
pub struct ContainerdRuntime {
    options: HostOptions,
    client: Client,
    snapshotter: String,
    images: ImageStore,
    networks: Networks,
    unified_cgroups: bool,
    filters_calls: bool,
    host_name: String,
    /// Users that were looked up, by file system and text.
    users: Mutex<HashMap<(String, String), spec::user::User>>,
    /// Bounds how many health checks begin at once.
    probes: Semaphore,
}

impl ContainerdRuntime {
    /// Opens the host: its namespace exists then, and its tasks' networks are found again.
    ///
    /// # Errors
    /// If containerd refuses, or the data directory cannot be used.
    pub async fn open(containerd: &Containerd, mut options: HostOptions) -> Result<Self, RuntimeError> {
        let absolute = std::path::absolute(&options.data_dir);
        let absolute = absolute.and_then(|dir| prepare(&dir).map(|()| dir));
        options.data_dir = absolute
            .map_err(|e| RuntimeError::ResourceInitialization(format!("{}: {e}", options.data_dir.display())))?;
        let client = containerd.client(&options.namespace)?;
        let refused = |status: Status| RuntimeError::Unavailable(status.message().to_owned());
        client.ensure_namespace().await.map_err(refused)?;
        let snapshotter = client.choose_snapshotter().await.map_err(refused)?;
        let images = ImageStore::new(client.clone(), &snapshotter, options.registry.clone());
        let directory = options.data_dir.join("network");
        let networks = Networks::open(&options.agent, directory, options.network.clone()).await;
        let networks = networks.map_err(|e| RuntimeError::ResourceInitialization(e.to_string()))?;
        let host_name = nix::unistd::gethostname()
            .ok()
            .and_then(|n| n.into_string().ok())
            .unwrap_or_default();
        let unified_cgroups = cgroup::is_unified();
        let filters_calls = can_filter_calls();
        if !filters_calls {
            tracing::warn!(
                "the kernel of this host cannot filter system calls (CONFIG_SECCOMP_FILTER): containers can make all of them"
            );
        }
        let users = Mutex::default();
        Ok(Self {
            options,
            client,
            snapshotter,
            images,
            networks,
            unified_cgroups,
            filters_calls,
            host_name,
            users,
            probes: Semaphore::new(probe::PROBES_AT_ONCE),
        })
    }

    /// The host's images.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// The snapshotter in use.
    #[must_use]
    pub fn snapshotter(&self) -> &str {
        &self.snapshotter
    }

    /// Removes everything of this host from the machine: containers, networks, images, its containerd namespace.
    /// Files under its data directory stay.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    pub async fn clean_up(&self) -> Result<(), RuntimeError> {
        cleanup::clean_up(self).await
    }

    /// What runs the containers of the task.
    fn oci_runtime_of(&self, task: &TaskSpec) -> OciRuntime {
        match task.fargate {
            true => self.options.fargate_runtime.clone(),
            false => OciRuntime::runc(),
        }
    }

    /// Tasks of which something may be on the machine: those with files, logs or a network.
    fn known_tasks(&self) -> BTreeSet<TaskId> {
        let networks = self.networks.tasks().unwrap_or_default();
        self.tasks_named_in("tasks")
            .chain(self.tasks_named_in("logs"))
            .chain(networks)
            .collect()
    }

    fn tasks_named_in(&self, directory: &str) -> impl Iterator<Item = TaskId> + use<> {
        let entries = std::fs::read_dir(self.options.data_dir.join(directory));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok())
    }

    fn task_directory(&self, task: TaskId) -> PathBuf {
        self.options.data_dir.join("tasks").join(task.to_string())
    }

    fn log_directory_of_task(&self, task: TaskId) -> PathBuf {
        self.options.data_dir.join("logs").join(task.to_string())
    }
}

#[async_trait]
impl Runtime for ContainerdRuntime {
    fn offered(&self) -> Attributes {
        self.networks.offered()
    }

    async fn ensure_image(&self, image: &str) -> Result<ReadyImage, RuntimeError> {
        let ready = self.images.ensure(image).await.map_err(image_error)?;
        Ok(ReadyImage {
            name: ready.name.clone(),
            digest: ready.digest.clone(),
        })
    }

    async fn set_up_network(&self, task: &TaskSpec) -> Result<TaskNetwork, RuntimeError> {
        self.networks.set_up(task).await.map_err(|error| match error {
            NetworkError::PortTaken { protocol, port, .. } => RuntimeError::PortHeld {
                protocol,
                port,
                why: error.to_string(),
            },
            other => RuntimeError::ResourceInitialization(other.to_string()),
        })
    }

    async fn is_port_free(&self, protocol: TransportProtocol, port: u16) -> bool {
        self.networks.is_port_free(protocol, port)
    }

    async fn create_container(&self, request: CreateContainer<'_>) -> Result<(), RuntimeError> {
        create::create(self, request).await
    }

    async fn start_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        lifecycle::start(self, key).await
    }

    async fn restart_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        restart::restart(self, key).await
    }

    async fn wait_container(&self, key: &ContainerKey) -> Result<ContainerExit, RuntimeError> {
        lifecycle::wait(self, key).await
    }

    async fn probe_container(
        &self,
        key: &ContainerKey,
        arguments: &[String],
        within: Duration,
    ) -> Result<ProbeResult, RuntimeError> {
        probe::probe(self, key, arguments, within).await
    }

    async fn stop_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        lifecycle::stop(self, key).await
    }

    async fn kill_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        lifecycle::kill(self, key).await
    }

    async fn delete_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        lifecycle::delete(&self.client, &self.snapshotter, &names::container_id(key)).await
    }

    async fn tear_down_network(&self, task: TaskId) -> Result<(), RuntimeError> {
        let torn_down = self.networks.tear_down(task).await;
        let groups = cgroup::remove_task(task).await;
        torn_down.map_err(|e| RuntimeError::CannotRemoveContainer(e.to_string()))?;
        groups.map_err(RuntimeError::CannotRemoveContainer)?;
        // Last: while it is there, the task is known to have left something.
        remove_directory(&self.task_directory(task))
    }

    async fn networks(&self) -> Result<Vec<TaskId>, RuntimeError> {
        let recorded = self.networks.tasks();
        let recorded = recorded.map_err(|e| RuntimeError::ResourceInitialization(e.to_string()))?;
        let tasks: BTreeSet<TaskId> = self.tasks_named_in("tasks").chain(recorded).collect();
        Ok(tasks.into_iter().collect())
    }

    async fn list(&self) -> Result<Vec<FoundContainer>, RuntimeError> {
        list::list(self).await
    }

    async fn forget_logs(&self, task: TaskId) -> Result<(), RuntimeError> {
        remove_directory(&self.log_directory_of_task(task))
    }

    fn log_directory(&self, key: &ContainerKey) -> Option<PathBuf> {
        self.options.log_program.as_ref()?;
        Some(self.log_directory_of_task(key.task).join(&key.name))
    }
}

/// Makes the data directory. What containers write is for nobody else to read.
fn prepare(data_dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let logs = data_dir.join("logs");
    std::fs::create_dir_all(&logs)?;
    std::fs::set_permissions(&logs, std::fs::Permissions::from_mode(0o700))
}

/// Whether the kernel filters system calls: it says of each process whether it does.
fn can_filter_calls() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Seccomp:"))
}

fn remove_directory(path: &Path) -> Result<(), RuntimeError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::CannotRemoveContainer(
            format!("{}: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

fn image_error(error: ImageError) -> RuntimeError {
    match error {
        ImageError::Away(why) => RuntimeError::Unavailable(why),
        ImageError::Refused { ref image, .. } | ImageError::Unreachable { ref image, .. } => {
            RuntimeError::CannotPullContainer(format!(
                "{error}; this host does not have the image either: check its name, or bring it here from a file with \
                 `berth image import FILE --name {image}`"
            ))
        }
        other => RuntimeError::CannotPullContainer(other.to_string()),
    }
}

/// The status as `error` unless it says only that containerd is away.
fn refused(status: &Status, error: fn(String) -> RuntimeError) -> RuntimeError {
    if client::is_away(status) {
        RuntimeError::Unavailable(status.message().to_owned())
    } else {
        error(status.message().to_owned())
    }
}
