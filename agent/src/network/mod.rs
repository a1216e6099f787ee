//! The networks of tasks: the host's own, an empty namespace, a bridge with ports bound on the host, or an address of the task's own on that
//! bridge.
//!
//! Owns network namespaces, addresses, host ports and the record of them, so that setting up again after a crash
//! finds what is there. Knows nothing of containers or images. Shell around `ip`, `iptables` and the CNI plugins.

mod cni;
mod error;
mod files;
mod holder;
mod namespace;
mod ports;
mod record;
mod reservations;
mod subnet;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_core::model::{
    Attributes, NetworkBinding, NetworkInterface, NetworkMode, TaskId, TaskSpec, TransportProtocol, attribute_names,
};
use sha2::{Digest, Sha256};

use crate::runtime::{ContainerBinding, TaskNetwork};
use cni::Plugins;
pub use error::NetworkError;
pub(crate) use files::TaskFiles;
use ports::PortHolder;
use record::{Record, Records};
pub use subnet::Subnet;

/// What the subnet of a host is called that was given no name.
pub const DEFAULT_SUBNET_ID: &str = "subnet-default";

/// Settings of a host's networks.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Subnet of the host's bridge; `None` takes a free one of `10.177.0.0/16`.
    pub subnet: Option<Subnet>,
    /// Address on which bridge-mode tasks bind their host ports; several hosts of one machine can each have their own
    /// of `127.0.0.0/8`.
    pub bind_address: Ipv4Addr,
    /// What network configurations call the subnet.
    pub subnet_id: String,
    /// Directories with CNI plugins, searched before the usual ones.
    pub plugin_directories: Vec<PathBuf>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            subnet: None,
            bind_address: Ipv4Addr::UNSPECIFIED,
            subnet_id: DEFAULT_SUBNET_ID.to_owned(),
            plugin_directories: Vec::new(),
        }
    }
}

/// The networks of one host.
pub struct Networks {
    options: NetworkOptions,
    /// Eight characters that tell this host's namespaces and bridge from another's.
    tag: String,
    records: Records,
    ports: PortHolder,
    plugins: Plugins,
    at_work: Mutex<HashMap<TaskId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Networks {
    /// Opens the networks of the host `agent` with their records under `directory`: binds again the ports of tasks
    /// whose namespaces still exist, and removes what is left of others.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub async fn open(agent: &str, directory: PathBuf, options: NetworkOptions) -> Result<Self, NetworkError> {
        let tag = hex::encode(&Sha256::digest(agent.as_bytes())[..4]);
        let records = Records::open(directory.join("tasks"))?;
        let plugins = Plugins::new(&tag, directory, &options);
        let ports = PortHolder::new(options.bind_address);
        let networks = Self {
            options,
            tag,
            records,
            ports,
            plugins,
            at_work: Mutex::default(),
        };
        networks.recover().await?;
        Ok(networks)
    }

    /// Whether a task could have this host port now.
    #[must_use]
    pub fn is_port_free(&self, protocol: TransportProtocol, port: u16) -> bool {
        self.ports.is_free(protocol, port)
    }

    /// What the host has to say of itself for tasks to come that have an address of their own; nothing where it cannot give them any.
    #[must_use]
    pub fn offered(&self) -> Attributes {
        match self.plugins.check() {
            Ok(()) => offered(&self.options.subnet_id),
            Err(error) => {
                tracing::warn!(%error, "tasks of the network modes bridge and awsvpc cannot run on this host");
                Attributes::new()
            }
        }
    }

    /// Sets up the task's network; what is set up already is returned as it is.
    ///
    /// # Errors
    /// [`NetworkError`], naming a port that is taken or a program that is missing.
    pub async fn set_up(&self, task: &TaskSpec) -> Result<TaskNetwork, NetworkError> {
        if task.network_mode == NetworkMode::Host {
            return Ok(host_network(task));
        }
        let turn = self.turn(task.task);
        let _turn = turn.lock().await;
        let namespace = self.namespace_of(task.task);
        let mut record = match self.records.read(task.task)? {
            Some(record) if record.complete && namespace::exists(&namespace) => {
                return Ok(self.network(task, &record));
            }
            // A crash came in between: begin again with the same ports.
            Some(record) => {
                self.detach(task.task, &record).await?;
                self.ports.hold_all(task.task, &record.bindings)?;
                Record {
                    mode: task.network_mode,
                    connected: false,
                    ..record
                }
            }
            None => {
                let bindings = match task.network_mode {
                    NetworkMode::Bridge => self.ports.allocate(task)?,
                    _ => Vec::new(),
                };
                Record {
                    mode: task.network_mode,
                    bindings,
                    address: None,
                    mac: None,
                    connected: false,
                    complete: false,
                }
            }
        };
        let result = self.attach(task.task, &mut record).await;
        if let Err(error) = result {
            // What cannot be removed now is tried again when the task is torn down; said here, it would hide the first error.
            if let Err(left) = self.remove(task.task, &record).await {
                tracing::warn!(task = %task.task, error = %left, "something is left of a network that could not be set up");
            }
            return Err(error);
        }
        Ok(self.network(task, &record))
    }

    /// Releases the task's network; no error if there is none.
    ///
    /// # Errors
    /// [`NetworkError`] if something of it could not be removed; then it can be tried again.
    pub async fn tear_down(&self, task: TaskId) -> Result<(), NetworkError> {
        let turn = self.turn(task);
        let _turn = turn.lock().await;
        if let Some(record) = self.records.read(task)? {
            self.remove(task, &record).await?;
        }
        self.at_work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&task);
        Ok(())
    }

    /// Tasks that have a network of their own.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn tasks(&self) -> Result<Vec<TaskId>, NetworkError> {
        self.records.tasks()
    }

    /// Removes all networks of this host, its bridge and its reservations.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    pub async fn remove_all(&self) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        for task in self.records.tasks()? {
            outcome = outcome.and(self.tear_down(task).await);
        }
        outcome.and(self.plugins.remove_bridge().await)
    }

    async fn attach(&self, task: TaskId, record: &mut Record) -> Result<(), NetworkError> {
        self.records.write(task, record)?;
        let namespace = self.namespace_of(task);
        namespace::create(&namespace).await?;
        if record.is_on_bridge() {
            self.plugins.settle().await?;
            record.connected = true;
            self.records.write(task, record)?;
            let id = task.to_string();
            let connected = self.plugins.add(&id, &namespace, &record.bindings).await?;
            record.address = Some(connected.address);
            record.mac = connected.mac;
        }
        record.complete = true;
        self.records.write(task, record)
    }

    async fn detach(&self, task: TaskId, record: &Record) -> Result<(), NetworkError> {
        let disconnected = self.disconnect(task, record).await;
        NetworkError::joined([disconnected, namespace::delete(&self.namespace_of(task)).await])
    }

    async fn disconnect(&self, task: TaskId, record: &Record) -> Result<(), NetworkError> {
        if !record.is_on_bridge() || !record.connected {
            return Ok(());
        }
        let namespace = self.namespace_of(task);
        self.plugins
            .delete(&task.to_string(), &namespace, &record.bindings)
            .await
    }

    /// Removes all that can be removed. The record stays while something is left, to be tried again.
    async fn remove(&self, task: TaskId, record: &Record) -> Result<(), NetworkError> {
        let disconnected = self.disconnect(task, record).await;
        let deleted = namespace::delete(&self.namespace_of(task)).await;
        // While packets may still be redirected to where the task was, its ports are of no use to another one.
        if disconnected.is_ok() {
            self.ports.release(task);
        }
        NetworkError::joined([disconnected, deleted])?;
        self.records.delete(task)
    }

    async fn recover(&self) -> Result<(), NetworkError> {
        let mut alive = Vec::new();
        for task in self.records.tasks()? {
            let Some(record) = self.records.read(task)? else {
                continue;
            };
            let namespace = self.namespace_of(task);
            if !(record.complete && namespace::exists(&namespace)) {
                tracing::info!(%task, "removing what is left of a task's network");
                if let Err(error) = self.remove(task, &record).await {
                    tracing::warn!(%task, %error, "what is left of a task's network could not be removed");
                }
                continue;
            }
            alive.push(namespace);
            if let Err(error) = self.ports.hold_all(task, &record.bindings) {
                tracing::warn!(%task, %error, "a host port of a running task is held by another program as well");
            }
        }
        for leftover in namespace::with_prefix(&format!("berth-{}-", self.tag)) {
            if !alive.contains(&leftover)
                && let Err(error) = namespace::delete(&leftover).await
            {
                tracing::warn!(leftover, %error, "a leftover network namespace could not be removed");
            }
        }
        self.plugins.release_others(&self.records.tasks()?);
        Ok(())
    }

    fn network(&self, task: &TaskSpec, record: &Record) -> TaskNetwork {
        let own = record.address.filter(|_| record.mode == NetworkMode::Awsvpc);
        let mac = || record.mac.clone().unwrap_or_default();
        TaskNetwork {
            mode: record.mode,
            namespace: Some(namespace::path(&self.namespace_of(task.task))),
            address: record.address.map(IpAddr::V4),
            bindings: record.bindings.clone(),
            interface: own.map(|address| interface(&task.task_arn, address, mac(), &self.options.subnet_id)),
        }
    }

    fn namespace_of(&self, task: TaskId) -> String {
        format!("berth-{}-{task}", self.tag)
    }

    fn turn(&self, task: TaskId) -> Arc<tokio::sync::Mutex<()>> {
        self.at_work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(task)
            .or_default()
            .clone()
    }
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks")
            .field("tag", &self.tag)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What a host says of itself that gives tasks addresses of the subnet.
pub(crate) fn offered(subnet_id: &str) -> Attributes {
    let offered = [
        (attribute_names::TASK_ENI, None),
        (attribute_names::SUBNET_ID, Some(subnet_id.to_owned())),
    ];
    offered
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The interface of a task with this address, and the name that ECS would give it.
pub(crate) fn interface(task_arn: &str, address: Ipv4Addr, mac: String, subnet_id: &str) -> NetworkInterface {
    let region = task_arn.split(':').nth(3).unwrap_or_default();
    let domain = match region {
        "us-east-1" => "ec2.internal".to_owned(),
        other => format!("{other}.compute.internal"),
    };
    let [a, b, c, d] = address.octets();
    NetworkInterface {
        private_ipv4_address: address.to_string(),
        mac_address: mac,
        subnet_id: subnet_id.to_owned(),
        private_dns_name: format!("ip-{a}-{b}-{c}-{d}.{domain}"),
    }
}

/// In host mode a container binds its ports itself, at every address; they are reported as ECS reports them.
fn host_network(task: &TaskSpec) -> TaskNetwork {
    let mut bindings = Vec::new();
    for container in &task.containers {
        for mapping in &container.port_mappings {
            let binding = NetworkBinding {
                bind_ip: Ipv4Addr::UNSPECIFIED.to_string(),
                container_port: mapping.container_port,
                host_port: mapping.container_port,
                protocol: mapping.protocol,
            };
            bindings.push(ContainerBinding {
                container: container.name.clone(),
                binding,
            });
        }
    }
    TaskNetwork {
        mode: NetworkMode::Host,
        namespace: None,
        address: None,
        bindings,
        interface: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_has_the_name_that_ecs_gives_an_address_in_its_region() {
        for (region, name) in [
            ("us-east-1", "ip-10-177-0-2.ec2.internal"),
            ("eu-west-1", "ip-10-177-0-2.eu-west-1.compute.internal"),
        ] {
            let arn = format!("arn:aws:ecs:{region}:123456789012:task/default/1");
            let interface = interface(&arn, Ipv4Addr::new(10, 177, 0, 2), String::new(), "subnet-a");
            assert_eq!(interface.private_dns_name, name);
        }
    }
}
