//! What an agent is started with. Pure data.

use std::path::PathBuf;

use berth_core::model::{Attributes, CapacityProviderName, ClusterKey, Resources};

use crate::membership::MembershipConfig;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Folder of the agent's ledger, which no other agent may use. `None` keeps nothing: for hosts that are to be
    /// forgotten with the process, such as simulated ones.
    pub data_dir: Option<PathBuf>,
    /// URIs of controllers: `https://HOST:PORT` as a member of a cluster, else `http://` and a port for agents on this machine. Others that
    /// the cluster tells of are gone to as well.
    pub controllers: Vec<String>,
    /// How the agent is part of a cluster; `None` speaks plain text.
    pub membership: Option<MembershipConfig>,
    /// The cluster to join, with its account and region.
    pub cluster: ClusterKey,
    /// Name of the host, shown as its `ec2InstanceId`.
    pub host_name: String,
    /// Zone of the host, its attribute `ecs.availability-zone`.
    pub availability_zone: Option<String>,
    /// The capacity provider whose pool the host belongs to, if any.
    pub capacity_provider: Option<CapacityProviderName>,
    /// Further attributes; they win over those that the agent finds out.
    pub attributes: Attributes,
    /// The command by which the host sleeps, until the controllers have it woken. `None` where it never does.
    pub sleep_command: Option<String>,
    /// What the host offers to tasks; see [`crate::host::detect_capacity`].
    pub capacity: Resources,
    /// The container runtime and its version, such as `containerd 1.6.20`.
    pub runtime_version: String,
}
