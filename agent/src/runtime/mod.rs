//! What a host can do with containers, as a trait, and the errors of it.
//!
//! Owns the vocabulary between the part of the agent that decides (the task lifecycle in core, driven by the
//! supervisor) and the part that acts (containerd, or the simulated runtime). It must not know of the controller,
//! the session or the ledger. The trait is pure; its implementations are shells.
//!
//! Every step may be repeated: after a crash the supervisor orders again what it does not know to be done, and finds
//! that a step which is done already succeeds.

pub mod containerd;
mod error;
mod simulated;
mod simulated_health;
mod simulated_logs;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::model::{
    Attributes, ContainerSpec, NetworkBinding, NetworkInterface, NetworkMode, TaskId, TaskSpec, Timestamp,
    TransportProtocol,
};
use serde::{Deserialize, Serialize};

pub use error::RuntimeError;
pub use simulated::SimulatedRuntime;

/// A container, uniquely on its host: its task and its name within the task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// The task.
    pub task: TaskId,
    /// Name within the task.
    pub name: String,
}

impl ContainerKey {
    /// The container `name` of `task`.
    #[must_use]
    pub fn new(task: TaskId, name: &str) -> Self {
        Self {
            task,
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.task, self.name)
    }
}

/// An image that is present and unpacked, ready for containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyImage {
    /// The normalised name, such as `docker.io/library/busybox:latest`.
    pub name: String,
    /// Digest of what the name resolved to (`sha256:...`), as ECS reports it in `imageDigest`.
    pub digest: String,
}

/// The network of a task, once set up. It can be written down, but need not be: setting up again returns the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskNetwork {
    /// Network mode.
    pub mode: NetworkMode,
    /// Path of the network namespace; `None` is the host's.
    pub namespace: Option<PathBuf>,
    /// The task's address on its bridge.
    pub address: Option<std::net::IpAddr>,
    /// Ports as bound, with the container that each belongs to.
    pub bindings: Vec<ContainerBinding>,
    /// The interface with the task's own address, where it has one.
    pub interface: Option<NetworkInterface>,
}

impl TaskNetwork {
    /// The bindings of one container, as ECS reports them.
    #[must_use]
    pub fn bindings_of(&self, container: &str) -> Vec<NetworkBinding> {
        self.bindings
            .iter()
            .filter(|b| b.container == container)
            .map(|b| b.binding.clone())
            .collect()
    }
}

/// A bound port and the container behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerBinding {
    /// Name of the container within the task.
    pub container: String,
    /// The port.
    pub binding: NetworkBinding,
}

/// All that creating one container takes.
#[derive(Clone, Debug)]
pub struct CreateContainer<'a> {
    /// The task.
    pub task: &'a TaskSpec,
    /// The container, one of the task's.
    pub container: &'a ContainerSpec,
    /// The task's network.
    pub network: &'a TaskNetwork,
    /// Variables that the agent adds (metadata endpoints and the like); the container's own win.
    pub agent_environment: &'a [(String, String)],
}

impl CreateContainer<'_> {
    /// Which container.
    #[must_use]
    pub fn key(&self) -> ContainerKey {
        ContainerKey::new(self.task.task, &self.container.name)
    }
}

/// A container whose process has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedContainer {
    /// Id at the container runtime, as ECS reports it in `runtimeId`.
    pub runtime_id: String,
    /// Process id on the host; 0 where nothing real runs.
    pub pid: u32,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// Exit code; 128 + signal where a signal ended it. `None` where it cannot be known.
    pub exit_code: Option<i32>,
    /// What to tell the user, where there is more to say than the code: `OutOfMemoryError: ...`, or why the code is unknown.
    pub reason: Option<String>,
    /// When it ended, or when that was found out.
    pub at: Timestamp,
}

/// What became of a command that was run to see whether a container is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It ended in time, with this exit code.
    Exited(i32),
    /// It did not end in time, and was killed.
    TimedOut,
    /// The container cannot run it, for this reason.
    CannotRun(String),
}

/// Where a container that the runtime knows is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundStatus {
    /// Created, never started.
    Created,
    /// Its process runs, under this process id.
    Running(u32),
    /// It has ended, or nothing is left to tell how it ended.
    Exited(ContainerExit),
}

/// A container of this host that the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundContainer {
    /// Which container.
    pub key: ContainerKey,
    /// Id at the container runtime.
    pub runtime_id: String,
    /// Where it is.
    pub status: FoundStatus,
}

/// Runs containers on one host.
///
/// Every method can be called again with the same outcome. Errors for which [`RuntimeError::is_transient`] holds say
/// nothing about the container: the runtime could not be asked, and the caller asks again later.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What tasks may need of a host that this one has, as attributes: placement goes by them.
    fn offered(&self) -> Attributes;

    /// Makes an image present and unpacked: from the host if it is there, else from its registry.
    ///
    /// # Errors
    /// [`RuntimeError::CannotPullContainer`] with the registry's own words.
    async fn ensure_image(&self, image: &str) -> Result<ReadyImage, RuntimeError>;

    /// Sets up the task's network and binds its ports. A second call returns what the first did.
    ///
    /// # Errors
    /// [`RuntimeError::ResourceInitialization`]; [`RuntimeError::PortHeld`] for a port that a foreign program has.
    async fn set_up_network(&self, task: &TaskSpec) -> Result<TaskNetwork, RuntimeError>;

    /// Whether a task could have this host port now.
    async fn is_port_free(&self, protocol: TransportProtocol, port: u16) -> bool;

    /// Creates a container without starting it. Its image must have been ensured and its network set up.
    ///
    /// # Errors
    /// [`RuntimeError::CannotCreateContainer`].
    async fn create_container(&self, request: CreateContainer<'_>) -> Result<(), RuntimeError>;

    /// Starts a created container. One that runs, or has run, is left as it is.
    ///
    /// # Errors
    /// [`RuntimeError::CannotStartContainer`].
    async fn start_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError>;

    /// Starts a container again whose process has ended, with its file system as that left it. One that runs is left as
    /// it is.
    ///
    /// # Errors
    /// [`RuntimeError::CannotStartContainer`], or [`RuntimeError::NoSuchContainer`].
    async fn restart_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError>;

    /// Resolves when a started container has ended; at once if it has. Outlives restarts of what is below: a
    /// runtime that cannot be reached for a while is waited for.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`].
    async fn wait_container(&self, key: &ContainerKey) -> Result<ContainerExit, RuntimeError>;

    /// Runs a command in a running container, as its user and in its directory, and waits for its end; what it writes is dropped. One that
    /// has not ended after `within` is killed. What an earlier agent has left of such a command is removed first: one runs at a time.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`] where the container does not run; nothing is said of its health then.
    async fn probe_container(
        &self,
        key: &ContainerKey,
        arguments: &[String],
        within: Duration,
    ) -> Result<ProbeResult, RuntimeError>;

    /// Asks a container to stop, by the image's stop signal or else SIGTERM. No error if it is not running.
    ///
    /// # Errors
    /// [`RuntimeError::CannotStopContainer`].
    async fn stop_container(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Ends every process of a container by SIGKILL. No error if it is not running.
    ///
    /// # Errors
    /// [`RuntimeError::CannotStopContainer`].
    async fn kill_container(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Removes a container and its file system, killing it first if it runs. Its logs stay. No error if it is gone.
    ///
    /// # Errors
    /// [`RuntimeError::CannotRemoveContainer`].
    async fn delete_container(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Releases the task's network, ports and control groups. No error if they are gone.
    ///
    /// # Errors
    /// [`RuntimeError::CannotRemoveContainer`].
    async fn tear_down_network(&self, task: TaskId) -> Result<(), RuntimeError>;

    /// Tasks that have a network, or of whose network something may be left.
    ///
    /// # Errors
    /// [`RuntimeError::ResourceInitialization`].
    async fn networks(&self) -> Result<Vec<TaskId>, RuntimeError>;

    /// The containers of this host, in key order.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`].
    async fn list(&self) -> Result<Vec<FoundContainer>, RuntimeError>;

    /// Removes the task's log files; called when the task is forgotten.
    ///
    /// # Errors
    /// [`RuntimeError::CannotRemoveContainer`].
    async fn forget_logs(&self, task: TaskId) -> Result<(), RuntimeError>;

    /// The directory that holds a container's log, in the format of the agent's log files; `None` where nothing is logged.
    fn log_directory(&self, key: &ContainerKey) -> Option<PathBuf>;
}
