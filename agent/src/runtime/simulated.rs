//! A runtime whose containers only pretend to run: no root, no containerd, no process, no thread.
//!
//! Owns what a pretended container does. Commands are not interpreted, not even `exit 3` or `sleep 5`; these variables in
//! a container's environment say how it behaves:
//!
//! - `BERTH_SIM_EXIT_AFTER_MS`: it ends by itself so long after its start; otherwise it runs until it is stopped.
//! - `BERTH_SIM_EXIT_CODE`: the exit code with which it ends by itself, 0 unless given.
//! - `BERTH_SIM_START_ERROR`: it cannot be started, for this reason.
//! - `BERTH_SIM_IGNORE_STOP`: with any value, it does not heed its stop signal and has to be killed.
//! - `BERTH_SIM_HEALTHY_AFTER_MS`, `BERTH_SIM_UNHEALTHY_AFTER_MS`: probes of its health check pass from so long after its start on, or fail from
//!   then on; otherwise they pass.
//! - `BERTH_SIM_HEALTH_FLAPS_MS`: they pass for so long, then fail for so long, and so on.
//! - `BERTH_SIM_HEALTH_HANGS`: with any value, they are never answered.
//!
//! Images are always there; the digest of an image is that of its name. Ports are given out and refused as on a real
//! host, and nothing listens on them. It must not know of the session or the ledger. Shell: it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use berth_core::model::{
    Attributes, ContainerSpec, NetworkBinding, NetworkInterface, NetworkMode, Ports, TaskId, TaskSpec,
    TransportProtocol,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::simulated_health::SimulatedHealth;
use super::simulated_logs::SimulatedLog;
use super::{
    ContainerBinding, ContainerExit, ContainerKey, CreateContainer, FoundContainer, FoundStatus, ProbeResult,
    ReadyImage, Runtime, RuntimeError, StartedContainer, TaskNetwork,
};
use crate::clock;
use crate::log_source::{LogChunk, LogQuery, LogSource, LogSourceError};
use crate::network;

/// How long the simulated steps take: a little, so that they happen in some order.
const PULL_TAKES: Duration = Duration::from_millis(2);
const START_TAKES: Duration = Duration::from_millis(3);

/// Linux's range of ephemeral ports, from which dynamic host ports are taken.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

/// The first address that a task gets: 10.177.0.2.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 177, 0, 2]);

/// Exit codes of a process that SIGTERM or SIGKILL has ended.
const ENDED_BY_SIGTERM: i32 = 128 + 15;
const ENDED_BY_SIGKILL: i32 = 128 + 9;

/// A host on which containers pretend to run. Clones are the same host.
#[derive(Clone, Debug, Default)]
pub struct SimulatedRuntime {
    host: Arc<Mutex<Host>>,
}

#[derive(Debug, Default)]
struct Host {
    containers: BTreeMap<ContainerKey, Container>,
    networks: BTreeMap<TaskId, TaskNetwork>,
    logs: BTreeMap<ContainerKey, SimulatedLog>,
    /// Ports that programs which are no tasks hold.
    foreign_ports: Ports,
}

#[derive(Debug)]
struct Container {
    image: String,
    behaviour: Behaviour,
    is_started: bool,
    /// When it was started last.
    started_at: Instant,
    /// How often it was started; a timer of an earlier run does not end a later one.
    runs: u32,
    exit: watch::Sender<Option<ContainerExit>>,
}

/// What a container's environment says of it.
#[derive(Clone, Debug, Default)]
struct Behaviour {
    exit_after: Option<Duration>,
    exit_code: i32,
    start_error: Option<String>,
    ignores_stop: bool,
    health: SimulatedHealth,
}

impl Behaviour {
    fn of(container: &ContainerSpec) -> Result<Self, RuntimeError> {
        let value = |name: &str| {
            container
                .environment
                .iter()
                .rev()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
        };
        let number = |name: &str| match value(name).map(str::parse::<i64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(error)) => Err(RuntimeError::CannotCreateContainer(format!(
                "{name} is not a number: {error}"
            ))),
        };
        let exit_code = number("BERTH_SIM_EXIT_CODE")?.unwrap_or(0);
        let duration = |name: &str| -> Result<Option<Duration>, RuntimeError> {
            let ms = number(name)?;
            Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
        };
        Ok(Self {
            exit_after: duration("BERTH_SIM_EXIT_AFTER_MS")?,
            exit_code: i32::try_from(exit_code & 0xff).unwrap_or(0),
            start_error: value("BERTH_SIM_START_ERROR").map(str::to_owned),
            ignores_stop: value("BERTH_SIM_IGNORE_STOP").is_some(),
            health: SimulatedHealth {
                healthy_after: duration("BERTH_SIM_HEALTHY_AFTER_MS")?,
                unhealthy_after: duration("BERTH_SIM_UNHEALTHY_AFTER_MS")?,
                flaps_every: duration("BERTH_SIM_HEALTH_FLAPS_MS")?,
                hangs: value("BERTH_SIM_HEALTH_HANGS").is_some(),
            },
        })
    }
}

impl SimulatedRuntime {
    /// A host without containers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a container if it runs. A test's way to kill a container's process.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`].
    pub fn end(&self, key: &ContainerKey, exit_code: i32) -> Result<(), RuntimeError> {
        let mut host = self.host();
        let container = host
            .containers
            .get(key)
            .ok_or_else(|| RuntimeError::NoSuchContainer(key.to_string()))?;
        if container.is_running() {
            let at = clock::now();
            container.exit.send_replace(Some(ContainerExit {
                exit_code: Some(exit_code),
                reason: None,
                at,
            }));
            host.log(
                key,
                format!("simulated container {} ended with exit code {exit_code}", key.name),
            );
        }
        Ok(())
    }

    /// Has a container's process begin, unless it has.
    fn begin(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        let started = StartedContainer {
            runtime_id: runtime_id(key),
            pid: 0,
        };
        let mut host = self.host();
        let container = host
            .containers
            .get_mut(key)
            .ok_or_else(|| RuntimeError::NoSuchContainer(key.to_string()))?;
        if container.is_started {
            return Ok(started);
        }
        if let Some(reason) = &container.behaviour.start_error {
            return Err(RuntimeError::CannotStartContainer(reason.clone()));
        }
        container.is_started = true;
        container.started_at = Instant::now();
        container.runs += 1;
        let (behaviour, run) = (container.behaviour.clone(), container.runs);
        let line = format!(
            "simulated container {} of image {} started; nothing real runs in it",
            key.name, container.image
        );
        host.log(key, line);
        if let Some(after) = behaviour.exit_after {
            let (runtime, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let is_same = runtime.host().containers.get(&key).is_some_and(|c| c.runs == run);
                if is_same {
                    // It may be removed at this moment, which ends it as well.
                    runtime.end(&key, behaviour.exit_code).ok();
                }
            });
        }
        Ok(started)
    }

    /// Has a program that is no task hold these ports and no others.
    pub fn hold_ports(&self, ports: Ports) {
        self.host().foreign_ports = ports;
    }

    /// Makes a container vanish, as if somebody had removed it behind the agent's back.
    pub fn lose(&self, key: &ContainerKey) {
        self.host().containers.remove(key);
    }
}

impl Container {
    fn is_running(&self) -> bool {
        self.is_started && self.exit.borrow().is_none()
    }
}

impl Host {
    fn log(&mut self, key: &ContainerKey, line: String) {
        self.logs.entry(key.clone()).or_default().write(line);
    }

    fn ports_in_use(&self) -> Ports {
        let bindings = self.networks.values().flat_map(|network| &network.bindings);
        bindings.map(|b| (b.binding.protocol, b.binding.host_port)).collect()
    }

    /// The first address that no task has; as real hosts' ones, of a subnet that every host has for itself.
    fn connect(&self, task: &TaskSpec) -> NetworkInterface {
        let interfaces = self.networks.values().filter_map(|network| network.interface.as_ref());
        let in_use: BTreeSet<&str> = interfaces.map(|i| i.private_ipv4_address.as_str()).collect();
        let mut addresses = (FIRST_ADDRESS..).map(Ipv4Addr::from_bits);
        let address = addresses.find(|a| !in_use.contains(a.to_string().as_str()));
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let [_, b, c, d] = address.octets();
        let mac = format!("02:00:0a:{b:02x}:{c:02x}:{d:02x}");
        network::interface(&task.task_arn, address, mac, network::DEFAULT_SUBNET_ID)
    }

    /// Binds the ports of a task that has none yet.
    fn bind(&self, task: &TaskSpec) -> Result<Vec<ContainerBinding>, RuntimeError> {
        let mut in_use = self.ports_in_use();
        let mut bindings = Vec::new();
        for (container, mapping) in task
            .containers
            .iter()
            .flat_map(|c| c.port_mappings.iter().map(move |m| (c, m)))
        {
            let fixed = match task.network_mode {
                NetworkMode::None | NetworkMode::Awsvpc => continue,
                NetworkMode::Host => Some(mapping.host_port.unwrap_or(mapping.container_port)),
                NetworkMode::Bridge => mapping.host_port,
            };
            if let Some(port) = fixed.filter(|port| self.foreign_ports.contains(&(mapping.protocol, *port))) {
                return Err(RuntimeError::PortHeld {
                    protocol: mapping.protocol,
                    port,
                    why: format!("host port {port} is held by a program that is no task"),
                });
            }
            let is_free = |port: &u16| !in_use.contains(&(mapping.protocol, *port));
            let host_port = match fixed {
                Some(port) => Some(port).filter(is_free),
                None => EPHEMERAL_PORTS.clone().find(is_free),
            };
            let host_port = host_port.ok_or_else(|| {
                RuntimeError::ResourceInitialization(match fixed {
                    Some(port) => format!("host port {port} is in use by another task"),
                    None => "no ephemeral host port is free".to_owned(),
                })
            })?;
            in_use.insert((mapping.protocol, host_port));
            let (container_port, protocol) = (mapping.container_port, mapping.protocol);
            let binding = NetworkBinding {
                bind_ip: "0.0.0.0".to_owned(),
                container_port,
                host_port,
                protocol,
            };
            bindings.push(ContainerBinding {
                container: container.name.clone(),
                binding,
            });
        }
        Ok(bindings)
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    fn offered(&self) -> Attributes {
        network::offered(network::DEFAULT_SUBNET_ID)
    }

    async fn ensure_image(&self, image: &str) -> Result<ReadyImage, RuntimeError> {
        tokio::time::sleep(PULL_TAKES).await;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(image)));
        Ok(ReadyImage {
            name: image.to_owned(),
            digest,
        })
    }

    async fn set_up_network(&self, task: &TaskSpec) -> Result<TaskNetwork, RuntimeError> {
        let mut host = self.host();
        if let Some(network) = host.networks.get(&task.task) {
            return Ok(network.clone());
        }
        let bindings = host.bind(task)?;
        let network = TaskNetwork {
            mode: task.network_mode,
            namespace: None,
            address: None,
            bindings,
            interface: (task.network_mode == NetworkMode::Awsvpc).then(|| host.connect(task)),
        };
        host.networks.insert(task.task, network.clone());
        Ok(network)
    }

    async fn is_port_free(&self, protocol: TransportProtocol, port: u16) -> bool {
        !self.host().foreign_ports.contains(&(protocol, port))
    }

    async fn create_container(&self, request: CreateContainer<'_>) -> Result<(), RuntimeError> {
        let behaviour = Behaviour::of(request.container)?;
        let image = request.container.image.clone();
        let container = Container {
            image,
            behaviour,
            is_started: false,
            started_at: Instant::now(),
            runs: 0,
            exit: watch::Sender::new(None),
        };
        self.host().containers.entry(request.key()).or_insert(container);
        Ok(())
    }

    async fn start_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        tokio::time::sleep(START_TAKES).await;
        self.begin(key)
    }

    async fn restart_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        tokio::time::sleep(START_TAKES).await;
        if let Some(container) = self.host().containers.get_mut(key).filter(|c| !c.is_running()) {
            container.exit = watch::Sender::new(None);
            container.is_started = false;
        }
        self.begin(key)
    }

    async fn wait_container(&self, key: &ContainerKey) -> Result<ContainerExit, RuntimeError> {
        let gone = || RuntimeError::NoSuchContainer(key.to_string());
        let mut exit = self.host().containers.get(key).ok_or_else(gone)?.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| gone())?;
        ended.clone().ok_or_else(gone)
    }

    async fn probe_container(
        &self,
        key: &ContainerKey,
        _arguments: &[String],
        within: Duration,
    ) -> Result<ProbeResult, RuntimeError> {
        let (health, started_at) = {
            let host = self.host();
            let container = host.containers.get(key).filter(|c| c.is_running());
            let container = container.ok_or_else(|| RuntimeError::NoSuchContainer(key.to_string()))?;
            (container.behaviour.health.clone(), container.started_at)
        };
        if health.hangs {
            tokio::time::sleep(within).await;
            return Ok(ProbeResult::TimedOut);
        }
        let passes = health.passes(started_at.elapsed());
        Ok(ProbeResult::Exited(i32::from(!passes)))
    }

    async fn stop_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let heeds = self
            .host()
            .containers
            .get(key)
            .is_some_and(|c| !c.behaviour.ignores_stop);
        if heeds { self.end(key, ENDED_BY_SIGTERM) } else { Ok(()) }
    }

    async fn kill_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let is_there = self.host().containers.contains_key(key);
        if is_there {
            self.end(key, ENDED_BY_SIGKILL)
        } else {
            Ok(())
        }
    }

    async fn delete_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.kill_container(key).await?;
        self.host().containers.remove(key);
        Ok(())
    }

    async fn tear_down_network(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.host().networks.remove(&task);
        Ok(())
    }

    async fn networks(&self) -> Result<Vec<TaskId>, RuntimeError> {
        Ok(self.host().networks.keys().copied().collect())
    }

    async fn list(&self) -> Result<Vec<FoundContainer>, RuntimeError> {
        let found = |(key, container): (&ContainerKey, &Container)| FoundContainer {
            key: key.clone(),
            runtime_id: runtime_id(key),
            status: match (container.is_started, container.exit.borrow().clone()) {
                (_, Some(exit)) => FoundStatus::Exited(exit),
                (true, None) => FoundStatus::Running(0),
                (false, None) => FoundStatus::Created,
            },
        };
        Ok(self.host().containers.iter().map(found).collect())
    }

    async fn forget_logs(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.host().logs.retain(|key, _| key.task != task);
        Ok(())
    }

    fn log_directory(&self, _key: &ContainerKey) -> Option<PathBuf> {
        None
    }
}

#[async_trait]
impl LogSource for SimulatedRuntime {
    async fn read(&self, query: LogQuery) -> Result<LogChunk, LogSourceError> {
        let host = self.host();
        match host.logs.get(&query.container) {
            Some(log) => log.read(&query),
            None => SimulatedLog::default().read(&query),
        }
    }
}

fn runtime_id(key: &ContainerKey) -> String {
    format!("simulated-{}-{}", key.task, key.name)
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
