//! The agents of a development cluster: started, waited for, and stopped with everything that they started.
//!
//! Owns what runs per host. Shell.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_agent::network::NetworkOptions;
use berth_agent::runtime::containerd::{Containerd, ContainerdRuntime, HostOptions, OciRuntime, StartGate};
use berth_agent::runtime::{Runtime, SimulatedRuntime};
use berth_agent::{Agent, AgentConfig, AgentHandle, FileLogs, LogSource};
use berth_core::model::{ClusterKey, Resources};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::plan::PlannedHost;
use crate::fargate::FargateArguments;

/// How long all hosts together may take to register.
const REGISTER_DEADLINE: Duration = Duration::from_secs(30);

/// How long tasks may take to end by themselves once everything is to stop; then they are killed.
const STOP_TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// What every host is started with.
pub(crate) struct HostSettings {
    /// URI of the controller's port for agents.
    pub(crate) controller: String,
    /// The cluster to join.
    pub(crate) cluster: ClusterKey,
    /// What each host offers.
    pub(crate) capacity: Resources,
    /// Where hosts keep their files.
    pub(crate) data_dir: PathBuf,
    /// Whether hosts keep their ledgers, so that they are the same hosts at the next start.
    pub(crate) keeps_ledgers: bool,
    /// Registries that are spoken to over plain HTTP.
    pub(crate) insecure_registries: Vec<String>,
    /// What hosts offer to tasks of the launch type FARGATE.
    pub(crate) fargate: FargateArguments,
    /// What runs the containers of those; nothing where they are simulated.
    pub(crate) fargate_runtime: Option<OciRuntime>,
    /// What the hosts are called on this machine.
    pub(crate) names: Names,
}

impl HostSettings {
    /// With which the host's containers are run, where they are real.
    pub(crate) fn options(&self, engine: &Engine, host: &str) -> Option<HostOptions> {
        if matches!(engine, Engine::Simulated) {
            return None;
        }
        let namespace = self.names.namespace(host);
        let mut all = self.names.options(&self.data_dir).into_iter();
        all.find(|options| options.namespace == namespace)
    }
}

/// What tells the hosts' namespaces, bridges and files from those of others on the same machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// Tells this cluster's from another's.
    pub(crate) tag: String,
    /// The hosts' names, in their order.
    pub(crate) hosts: Vec<String>,
}

impl Names {
    /// The names of `planned` in the cluster `tag`.
    pub(crate) fn new(tag: String, planned: &[PlannedHost]) -> Self {
        Self {
            tag,
            hosts: planned.iter().map(|host| host.name.clone()).collect(),
        }
    }

    /// The containerd namespaces of the hosts.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        self.hosts.iter().map(|host| self.namespace(host)).collect()
    }

    /// With which each host's containers are run.
    pub(crate) fn options(&self, data_dir: &Path) -> Vec<HostOptions> {
        let gate = StartGate::default();
        let options = |(number, host): (usize, &String)| {
            let mut options = HostOptions::new(&format!("{}-{host}", self.tag), &directory_of(data_dir, host));
            options.namespace = self.namespace(host);
            options.gate = gate.clone();
            options.network = NetworkOptions {
                bind_address: bind_address(number),
                ..NetworkOptions::default()
            };
            options
        };
        self.hosts.iter().enumerate().map(options).collect()
    }

    fn namespace(&self, host: &str) -> String {
        format!("berth-{}-{host}", self.tag)
    }
}

fn directory_of(data_dir: &Path, host: &str) -> PathBuf {
    data_dir.join("hosts").join(host)
}

/// A host that runs.
struct Host {
    name: String,
    agent: AgentHandle,
    shutdown: CancellationToken,
    /// To remove everything of it, where containers are real.
    containerd: Option<Arc<ContainerdRuntime>>,
}

/// The hosts of a cluster.
pub(crate) struct Hosts {
    hosts: Vec<Host>,
    /// Those that no agent runs and of which something may be on this machine: not there yet, not started, or not gone yet. One that is to start is
    /// the first.
    unstarted: VecDeque<HostOptions>,
    /// ARNs of those that were killed, by name.
    killed: BTreeMap<String, String>,
}

impl Hosts {
    /// Starts an agent for each host; those that were started are in the result even if a later one fails.
    ///
    /// # Errors
    /// If a host's files or its containerd namespace cannot be used.
    pub(crate) async fn start(
        &mut self,
        engine: &Engine,
        planned: &[PlannedHost],
        settings: &HostSettings,
    ) -> Result<()> {
        if matches!(engine, Engine::Containerd(_)) {
            self.unstarted = settings.names.options(&settings.data_dir).into();
        }
        for host in planned {
            let started = self.start_one(engine, host, settings.capacity, settings).await;
            started.with_context(|| format!("cannot start {}", host.name))?;
            self.unstarted.pop_front();
        }
        Ok(())
    }

    /// No hosts yet.
    pub(crate) fn new() -> Self {
        Self {
            hosts: Vec::new(),
            unstarted: VecDeque::new(),
            killed: BTreeMap::new(),
        }
    }

    /// Names of those that run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// ARN of what a host was that was killed.
    pub(crate) fn killed(&self, name: &str) -> Option<String> {
        self.killed.get(name).cloned()
    }

    /// Starts one more host, whose name is among those of the settings, and waits until it has registered.
    ///
    /// # Errors
    /// As [`Hosts::start`] and [`Hosts::registered`].
    pub(crate) async fn add(
        &mut self,
        engine: &Engine,
        planned: &PlannedHost,
        capacity: Resources,
        settings: &HostSettings,
    ) -> Result<()> {
        if let Some(options) = settings.options(engine, &planned.name) {
            self.put_first(options);
        }
        let started = self.start_one(engine, planned, capacity, settings).await;
        started.with_context(|| format!("cannot start {}", planned.name))?;
        self.unstarted.pop_front();
        self.killed.remove(&planned.name);
        self.registered().await
    }

    /// Ends a host as if its power were cut: its agent says nothing more, then its containers are gone. `options` are those of its containers, where
    /// they are real.
    ///
    /// # Errors
    /// If there is none of the name, or it cannot be ended.
    pub(crate) async fn kill(&mut self, name: &str, options: Option<HostOptions>) -> Result<()> {
        let place = self.hosts.iter().position(|host| host.name == name);
        let place = place.with_context(|| format!("{name} does not run; `berth dev host add {name}` starts it"))?;
        let namespace = options.as_ref().map(|options| options.namespace.clone());
        // If everything is stopped before this has ended, what is left of the host is found here.
        self.unstarted.extend(options);
        let host = self.hosts.remove(place);
        let arn = host.agent.registration().borrow().clone();
        self.killed.extend(arn.map(|arn| (host.name.clone(), arn)));
        host.kill().await?;
        self.unstarted
            .retain(|options| Some(&options.namespace) != namespace.as_ref());
        Ok(())
    }

    /// Has the host be the next that starts, once, whatever became of an earlier start of it or of others.
    fn put_first(&mut self, options: HostOptions) {
        self.unstarted.retain(|other| other.namespace != options.namespace);
        self.unstarted.push_front(options);
    }

    async fn start_one(
        &mut self,
        engine: &Engine,
        planned: &PlannedHost,
        capacity: Resources,
        settings: &HostSettings,
    ) -> Result<()> {
        let directory = directory_of(&settings.data_dir, &planned.name);
        let (runtime, logs, containerd, version): (Arc<dyn Runtime>, Arc<dyn LogSource>, _, _) = match engine {
            Engine::Simulated => {
                let runtime = SimulatedRuntime::new();
                (
                    Arc::new(runtime.clone()),
                    Arc::new(runtime),
                    None,
                    "simulated".to_owned(),
                )
            }
            Engine::Containerd(found) => {
                let mut options = self.unstarted.front().context("more hosts than names")?.clone();
                options
                    .registry
                    .insecure_registries
                    .clone_from(&settings.insecure_registries);
                options.fargate_runtime = settings.fargate_runtime.clone().unwrap_or(options.fargate_runtime);
                let runtime = Arc::new(ContainerdRuntime::open(found, options).await?);
                (
                    runtime.clone(),
                    Arc::new(FileLogs::new(runtime.clone())),
                    Some(runtime),
                    format!("containerd {}", found.version()),
                )
            }
        };
        let config = AgentConfig {
            data_dir: settings.keeps_ledgers.then(|| directory.join("ledger")),
            controllers: vec![settings.controller.clone()],
            membership: None,
            cluster: settings.cluster.clone(),
            host_name: planned.name.clone(),
            availability_zone: Some(planned.zone.clone()),
            capacity_provider: planned.capacity_provider.clone(),
            attributes: settings.fargate.attributes(settings.fargate_runtime.as_ref()),
            capacity,
            sleep_command: None,
            runtime_version: version,
        };
        let shutdown = CancellationToken::new();
        let agent = Agent::start(config, runtime, logs, shutdown.clone()).await?;
        self.hosts.push(Host {
            name: planned.name.clone(),
            agent,
            shutdown,
            containerd,
        });
        Ok(())
    }

    /// Waits until every host has registered.
    ///
    /// # Errors
    /// If one has not within the deadline.
    pub(crate) async fn registered(&self) -> Result<()> {
        let all = async {
            for host in &self.hosts {
                // The sender lives as long as the agent; if it is gone, so is the host.
                if host.agent.registration().wait_for(Option::is_some).await.is_err() {
                    bail!("{} ended before it registered; see the log above", host.name);
                }
            }
            Ok(())
        };
        let waited = tokio::time::timeout(REGISTER_DEADLINE, all).await;
        waited.unwrap_or_else(|_| {
            bail!(
                "not every host has registered within {} s; see the log above",
                REGISTER_DEADLINE.as_secs()
            )
        })
    }

    /// Ends every task, then every agent, and removes what they left on the machine. Returns what could not be removed.
    pub(crate) async fn stop(self, engine: &Engine) -> Vec<String> {
        let mut stopping = JoinSet::new();
        for host in self.hosts {
            stopping.spawn(host.stop());
        }
        let mut left = Vec::new();
        while let Some(stopped) = stopping.join_next().await {
            match stopped {
                Ok(Ok(())) => {}
                Ok(Err(error)) => left.push(format!("{error:#}")),
                Err(error) => left.push(format!("a host failed while it stopped: {error}")),
            }
        }
        if let Engine::Containerd(containerd) = engine {
            left.extend(clean_up(containerd, self.unstarted).await);
        }
        left
    }
}

/// Removes everything of hosts that no agent runs from this machine. Returns what could not be removed.
pub(crate) async fn clean_up(containerd: &Containerd, hosts: impl IntoIterator<Item = HostOptions>) -> Vec<String> {
    let mut left = Vec::new();
    for options in hosts {
        let namespace = options.namespace.clone();
        let removed = async { ContainerdRuntime::open(containerd, options).await?.clean_up().await };
        if let Err(error) = removed.await {
            left.push(format!("something of {namespace}: {error}"));
        }
    }
    left
}

impl Host {
    async fn stop(self) -> Result<()> {
        self.agent.stop_tasks(STOP_TASKS_DEADLINE).await;
        self.kill().await
    }

    /// Ends the agent, and then what it ran.
    async fn kill(self) -> Result<()> {
        self.shutdown.cancel();
        let ended = self
            .agent
            .join()
            .await
            .with_context(|| format!("{} did not end well", self.name));
        if let Some(runtime) = self.containerd {
            runtime
                .clean_up()
                .await
                .with_context(|| format!("something of {} is left on this machine", self.name))?;
        }
        ended
    }
}

/// Each host binds its ports on a loopback address of its own, so that two hosts of this machine can both offer port 80.
fn bind_address(number: usize) -> Ipv4Addr {
    let [.., third, fourth] = u32::try_from(number + 1).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(127, 1, third, fourth)
}

#[cfg(test)]
mod tests {
    use berth_core::model::Scope;

    use super::*;

    #[test]
    fn bind_addresses_of_hosts_differ() {
        assert_eq!(bind_address(0), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(bind_address(255), Ipv4Addr::new(127, 1, 1, 0));
    }

    fn settings(data_dir: &Path, planned: &[PlannedHost]) -> HostSettings {
        HostSettings {
            controller: "http://127.0.0.1:9".to_owned(),
            cluster: Scope::new("123456789012", "us-east-1").cluster("default"),
            capacity: Resources::new(1024, 1024),
            data_dir: data_dir.to_owned(),
            keeps_ledgers: false,
            insecure_registries: vec![],
            fargate: FargateArguments::default(),
            fargate_runtime: None,
            names: Names::new("test".to_owned(), planned),
        }
    }

    fn planned(name: &str) -> PlannedHost {
        PlannedHost {
            capacity_provider: None,
            capacity: None,
            name: name.to_owned(),
            zone: "us-east-1a".to_owned(),
        }
    }

    fn namespaces(hosts: &Hosts) -> Vec<&str> {
        hosts
            .unstarted
            .iter()
            .map(|options| options.namespace.as_str())
            .collect()
    }

    #[test]
    fn host_that_is_added_after_one_failed_to_start_starts_as_itself() {
        let planned = [planned("one"), planned("two")];
        let names = Names::new("test".to_owned(), &planned);
        let [one, two] = &names.options(Path::new("/data"))[..] else {
            panic!("two hosts")
        };
        let mut hosts = Hosts::new();
        hosts.put_first(one.clone());
        hosts.put_first(two.clone());
        assert_eq!(namespaces(&hosts), ["berth-test-two", "berth-test-one"]);
        hosts.put_first(one.clone());
        assert_eq!(namespaces(&hosts), ["berth-test-one", "berth-test-two"]);
    }

    #[tokio::test]
    async fn host_whose_end_is_interrupted_is_left_to_be_cleaned_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let planned = [planned("one")];
        let settings = settings(directory.path(), &planned);
        let options = || settings.names.options(directory.path()).pop();
        let mut hosts = Hosts::new();
        let started = hosts.start(&Engine::Simulated, &planned, &settings).await;
        started.expect("an agent needs no controller to start");
        tokio::select! {
            biased;
            ended = hosts.kill("one", options()) => panic!("an agent takes a while to end: {ended:?}"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(namespaces(&hosts), ["berth-test-one"]);
        hosts.unstarted.clear();
        let started = hosts.start(&Engine::Simulated, &planned, &settings).await;
        started.expect("started again");
        hosts.kill("one", options()).await.expect("killed");
        assert_eq!((hosts.names().len(), namespaces(&hosts).len()), (0, 0));
        let error = hosts.kill("one", options()).await.expect_err("is not there");
        assert!(error.to_string().contains("`berth dev host add one`"), "{error}");
    }
}
