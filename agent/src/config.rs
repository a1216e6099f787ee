//! What an agent is started with. Pure data.

use std::path::PathBuf;

use berth_core::model::{Attributes, ClusterKey, Resources};

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Folder of the agent's ledger, which no other agent may use. `None` keeps nothing: for hosts that are to be
    /// forgotten with the process, such as simulated ones.
    pub data_dir: Option<PathBuf>,
    /// URIs of the controllers' port for agents, such as `http://127.0.0.1:7481`; tried in turn.
    pub controllers: Vec<String>,
    /// The cluster to join, with its account and region.
    pub cluster: ClusterKey,
    /// Name of the host, shown as its `ec2InstanceId`.
    pub host_name: String,
    /// Zone of the host, its attribute `ecs.availability-zone`.
    pub availability_zone: Option<String>,
    /// Further attributes; they win over those that the agent finds out.
    pub attributes: Attributes,
    /// What the host offers to tasks; see [`crate::host::detect_capacity`].
    pub capacity: Resources,
    /// The container runtime and its version, such as `containerd 1.6.20`.
    pub runtime_version: String,
}
