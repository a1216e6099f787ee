//! Carries out one action on the runtime and says what came of it.
//!
//! Owns the translation between core's actions and the runtime's methods, and the patience with a runtime that is away:
//! it is asked again until it is back, since an order that was not heard has no outcome. Shell.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::TaskSpec;
use berth_core::task_lifecycle::{Observation, Probe, ProbeOutcome, RuntimeAction};
use tokio::sync::OnceCell;

use crate::foreign_ports::ForeignPorts;
use crate::runtime::{
    ContainerKey, CreateContainer, ProbeResult, Runtime, RuntimeError, StartedContainer, TaskNetwork,
};

/// First pause before a runtime that is away is asked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest such pause. There is no last attempt: a task whose runtime is away can neither run nor stop.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much longer than its time a probe may take to be answered, which is for the runtime to begin and to end it. What takes longer says nothing
/// of the container.
const PROBE_SLACK: Duration = Duration::from_secs(30);

/// What became of a probe, and why it did not pass.
pub(super) type Probed = (Probe, ProbeOutcome, Option<String>);

/// What carries out the actions of one task.
#[derive(Clone)]
pub(super) struct Hands {
    runtime: Arc<dyn Runtime>,
    spec: Arc<TaskSpec>,
    /// The task's network, once it is known in this process.
    network: Arc<OnceCell<TaskNetwork>>,
    foreign_ports: Arc<ForeignPorts>,
}

impl Hands {
    pub(super) fn new(runtime: Arc<dyn Runtime>, spec: Arc<TaskSpec>, foreign_ports: Arc<ForeignPorts>) -> Self {
        Self {
            runtime,
            spec,
            network: Arc::default(),
            foreign_ports,
        }
    }

    /// Carries out an action. `None` where there is nothing to tell: signals are answered by the container's end.
    pub(super) async fn carry_out(self, action: RuntimeAction) -> Option<Observation> {
        match action {
            RuntimeAction::PullImage { container } => Some(self.pull(container).await),
            RuntimeAction::SetUpNetwork => Some(self.set_up_network().await),
            RuntimeAction::CreateContainer { container } => Some(match self.create(&container).await {
                Ok(()) => Observation::ContainerCreated { container },
                Err(error) => Observation::ContainerFailed {
                    container,
                    reason: error.to_string(),
                },
            }),
            RuntimeAction::StartContainer { container } => {
                let key = self.key(&container);
                let outcome = patiently(|| self.runtime.start_container(&key)).await;
                Some(started(container, outcome))
            }
            RuntimeAction::RestartContainer { container } => {
                let key = self.key(&container);
                tracing::info!(
                    container,
                    "a container has ended, and is started again as its restart policy says"
                );
                let outcome = patiently(|| self.runtime.restart_container(&key)).await;
                Some(started(container, outcome))
            }
            RuntimeAction::WatchContainer { container } => Some(self.watch(container).await),
            RuntimeAction::StopContainer { container } => {
                let key = self.key(&container);
                let result = patiently(|| self.runtime.stop_container(&key)).await;
                signalled(container, result)
            }
            RuntimeAction::KillContainer { container } => {
                let key = self.key(&container);
                let result = patiently(|| self.runtime.kill_container(&key)).await;
                signalled(container, result)
            }
            RuntimeAction::RemoveContainer { container } => {
                let key = self.key(&container);
                Some(match patiently(|| self.runtime.delete_container(&key)).await {
                    Ok(()) => Observation::ContainerRemoved { container },
                    Err(error) => {
                        tracing::warn!(%error, container, "a container cannot be removed");
                        Observation::RemoveFailed {
                            container,
                            reason: error.to_string(),
                        }
                    }
                })
            }
            RuntimeAction::TearDownNetwork => Some(
                match patiently(|| self.runtime.tear_down_network(self.spec.task)).await {
                    Ok(()) => Observation::NetworkTornDown,
                    Err(error) => {
                        tracing::warn!(%error, "the network of a task cannot be released");
                        Observation::TearDownFailed {
                            reason: error.to_string(),
                        }
                    }
                },
            ),
        }
    }

    /// Probes a container once.
    pub(super) async fn probe(self, probe: Probe) -> Probed {
        let containers = &self.spec.containers;
        let found = containers.iter().find(|c| c.name == probe.container);
        let check = found.and_then(|container| container.health_check.as_ref());
        let Some((check, arguments)) = check.and_then(|check| Some((check, check.arguments()?))) else {
            return (probe, ProbeOutcome::NotRun, None);
        };
        let within = Duration::from_secs(u64::from(check.timeout_secs));
        let key = self.key(&probe.container);
        let asking = self.runtime.probe_container(&key, &arguments, within);
        let (outcome, why) = match tokio::time::timeout(within + PROBE_SLACK, asking).await {
            Ok(Ok(ProbeResult::Exited(0))) => return (probe, ProbeOutcome::Passed, None),
            Ok(Ok(ProbeResult::Exited(code))) => (ProbeOutcome::Failed, format!("it ended with exit code {code}")),
            Ok(Ok(ProbeResult::TimedOut)) => (
                ProbeOutcome::Failed,
                format!("it did not end within {} s", check.timeout_secs),
            ),
            Ok(Ok(ProbeResult::CannotRun(why))) => (ProbeOutcome::Failed, why),
            Ok(Err(error)) => (ProbeOutcome::NotRun, error.to_string()),
            Err(_) => (ProbeOutcome::NotRun, "the container runtime did not answer".to_owned()),
        };
        (probe, outcome, Some(why))
    }

    fn key(&self, container: &str) -> ContainerKey {
        ContainerKey::new(self.spec.task, container)
    }

    async fn pull(&self, container: String) -> Observation {
        let Some(spec) = self.spec.containers.iter().find(|c| c.name == container) else {
            let reason = format!("CannotPullContainerError: the task has no container {container}");
            return Observation::ImagePullFailed { container, reason };
        };
        match patiently(|| self.runtime.ensure_image(&spec.image)).await {
            Ok(image) => Observation::ImagePulled {
                container,
                digest: image.digest,
            },
            Err(error) => Observation::ImagePullFailed {
                container,
                reason: error.to_string(),
            },
        }
    }

    async fn network(&self) -> Result<&TaskNetwork, RuntimeError> {
        self.network
            .get_or_try_init(|| patiently(|| self.runtime.set_up_network(&self.spec)))
            .await
    }

    async fn set_up_network(&self) -> Observation {
        match self.network().await {
            Ok(network) => {
                let bindings = network
                    .bindings
                    .iter()
                    .map(|b| (b.container.clone(), b.binding.clone()));
                Observation::NetworkReady {
                    bindings: bindings.collect(),
                    interface: network.interface.clone(),
                }
            }
            Err(error) => {
                // Before it is told that the task has failed, lest another one comes here in its place.
                if let RuntimeError::PortHeld { protocol, port, .. } = &error {
                    self.foreign_ports.found(*protocol, *port);
                }
                Observation::NetworkFailed {
                    reason: error.to_string(),
                }
            }
        }
    }

    async fn create(&self, container: &str) -> Result<(), RuntimeError> {
        let spec = self.spec.containers.iter().find(|c| c.name == container);
        let container = spec.ok_or_else(|| RuntimeError::NoSuchContainer(container.to_owned()))?;
        // After an agent restart this sets up what is set up, which returns what it is.
        let network = self.network().await?;
        patiently(|| {
            self.runtime.create_container(CreateContainer {
                task: &self.spec,
                container,
                network,
                agent_environment: &[],
            })
        })
        .await
    }

    async fn watch(&self, container: String) -> Observation {
        let key = self.key(&container);
        match patiently(|| self.runtime.wait_container(&key)).await {
            Ok(exit) => Observation::ContainerExited {
                container,
                exit_code: exit.exit_code,
                reason: exit.reason,
                at: exit.at,
            },
            Err(error) => Observation::ContainerExited {
                container,
                exit_code: None,
                reason: Some(error.to_string()),
                at: crate::clock::now(),
            },
        }
    }
}

fn started(container: String, outcome: Result<StartedContainer, RuntimeError>) -> Observation {
    match outcome {
        Ok(started) => Observation::ContainerStarted {
            container,
            runtime_id: started.runtime_id,
        },
        Err(error) => Observation::ContainerFailed {
            container,
            reason: error.to_string(),
        },
    }
}

fn signalled(container: String, result: Result<(), RuntimeError>) -> Option<Observation> {
    let error = result.err()?;
    tracing::warn!(%error, container, "a container cannot be signalled");
    Some(Observation::StopFailed {
        container,
        reason: error.to_string(),
    })
}

/// Asks again for as long as the runtime is away.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, RuntimeError>
where
    F: Future<Output = Result<T, RuntimeError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, again_in_ms = pause.as_millis(), "waiting for the container runtime");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
