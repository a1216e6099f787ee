//! What is known of a task on its host, and the small changes that the steps are made of. Pure.

use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerDependency, ContainerReport, ContainerStatus, HealthStatus, NetworkBinding, NetworkInterface,
    RestartPolicy, StopCode, TaskId, TaskReport, TaskSpec, TaskStatus, Timestamp,
};

use super::{RuntimeAction, dependencies};

/// A task on its host. Only [`super::step`] changes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    pub(super) task: TaskId,
    pub(super) status: TaskStatus,
    /// In the order of the task definition, which is the order of starting.
    pub(super) containers: Vec<ContainerState>,
    pub(super) network: NetworkPhase,
    /// The interface with the task's own address, once it has had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_interface: Option<NetworkInterface>,
    /// Set once the task is to end; never unset or replaced.
    pub(super) stop: Option<Stop>,
    pub(super) pull_started_at: Option<Timestamp>,
    pub(super) pull_stopped_at: Option<Timestamp>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) execution_stopped_at: Option<Timestamp>,
    pub(super) stopped_at: Option<Timestamp>,
}

/// Why a task ends: empty where the controllers wished it, who keep the reason themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) code: Option<StopCode>,
    pub(super) reason: Option<String>,
}

/// A container on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerState {
    pub(super) name: String,
    pub(super) essential: bool,
    pub(super) stop_timeout_secs: u32,
    pub(super) phase: ContainerPhase,
    /// Whether the runtime may hold something of it.
    pub(super) has_remains: bool,
    pub(super) image_digest: Option<String>,
    pub(super) runtime_id: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) reason: Option<String>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) bindings: Vec<NetworkBinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restart_policy: Option<RestartPolicy>,
    /// When its process was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began_at: Option<Timestamp>,
    /// How often it was started again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) restarts: u32,
    /// What its health check says of its last run; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<HealthStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) depends_on: Vec<ContainerDependency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_timeout_secs: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How a container's process ended.
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) reason: Option<String>,
    pub(super) at: Timestamp,
}

/// How far a container is. Phases in `-ing` wait for the outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ContainerPhase {
    Waiting,
    Pulling,
    Pulled,
    Creating,
    Created,
    Starting,
    Running,
    /// Has ended, and its policy has it started again.
    Restarting,
    /// Has its stop signal.
    Stopping {
        kill_at: Timestamp,
    },
    /// Has SIGKILL.
    Killing {
        again_at: Timestamp,
    },
    /// Its process has ended, or is never to be started.
    Ended,
    Removing {
        attempt: u32,
    },
    /// Could not be removed; to be tried again.
    RemovalDue {
        at: Timestamp,
        attempt: u32,
    },
    /// Nothing is left of it but its logs.
    Gone,
}

/// How far the task's network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NetworkPhase {
    Absent,
    SettingUp,
    Up,
    /// Could not be set up; parts of it may be there.
    Broken,
    TearingDown {
        attempt: u32,
    },
    /// Could not be torn down; to be tried again.
    TearDownDue {
        at: Timestamp,
        attempt: u32,
    },
    Gone,
}

impl ContainerPhase {
    /// Whether its process was not yet to be started.
    pub(super) fn is_before_start(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::Pulling | Self::Pulled | Self::Creating | Self::Created
        )
    }

    /// Whether a process may be there whose end would be news.
    pub(super) fn may_exit(&self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Stopping { .. } | Self::Killing { .. }
        )
    }

    /// Whether no process is there, nor ever will be.
    pub(super) fn is_over(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::Removing { .. } | Self::RemovalDue { .. } | Self::Gone
        )
    }

    fn status(self) -> ContainerStatus {
        match self {
            Self::Waiting | Self::Pulling | Self::Pulled | Self::Creating | Self::Created | Self::Starting => {
                ContainerStatus::Pending
            }
            Self::Running | Self::Restarting | Self::Stopping { .. } | Self::Killing { .. } => ContainerStatus::Running,
            Self::Ended | Self::Removing { .. } | Self::RemovalDue { .. } | Self::Gone => ContainerStatus::Stopped,
        }
    }

    fn wake_at(self) -> Option<Timestamp> {
        match self {
            Self::Stopping { kill_at: at } | Self::Killing { again_at: at } | Self::RemovalDue { at, .. } => Some(at),
            _ => None,
        }
    }
}

impl ContainerState {
    /// Its process runs from now on.
    pub(super) fn begin(&mut self, runtime_id: &str, now: Timestamp) {
        self.phase = ContainerPhase::Running;
        self.runtime_id = Some(runtime_id.to_owned());
        self.began_at = Some(now);
        (self.exit_code, self.reason, self.ended_at) = (None, None, None);
        self.health = self.health.map(|_| HealthStatus::Unknown);
    }

    fn restarts_after(&self, exit: &Exit) -> bool {
        let policy = self.restart_policy.as_ref();
        let began_at = self.began_at.filter(|_| self.phase == ContainerPhase::Running);
        policy
            .zip(began_at)
            .is_some_and(|(policy, began)| policy.restarts(exit.code, exit.at.ms_since(began)))
    }
}

impl TaskState {
    /// A task that the host has just been given; the first [`super::step`] begins with it.
    #[must_use]
    pub fn new(spec: &TaskSpec) -> Self {
        let containers = spec.containers.iter().map(|container| ContainerState {
            name: container.name.clone(),
            essential: container.essential,
            stop_timeout_secs: container.stop_timeout_secs,
            phase: ContainerPhase::Waiting,
            has_remains: false,
            image_digest: None,
            runtime_id: None,
            exit_code: None,
            reason: None,
            ended_at: None,
            bindings: Vec::new(),
            restart_policy: container.restart_policy.clone(),
            began_at: None,
            restarts: 0,
            health: container.health_check.as_ref().map(|_| HealthStatus::Unknown),
            depends_on: container.depends_on.clone(),
            start_timeout_secs: container.start_timeout_secs,
        });
        Self {
            task: spec.task,
            status: TaskStatus::Pending,
            containers: containers.collect(),
            network: NetworkPhase::Absent,
            network_interface: None,
            stop: None,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            execution_stopped_at: None,
            stopped_at: None,
        }
    }

    /// A task that this host took further once, of which it knows nothing any more: it has stopped, and says so.
    #[must_use]
    pub fn lost(spec: &TaskSpec, now: Timestamp) -> Self {
        const REASON: &str = "the agent has lost its record of this task; how its containers ended is not known";
        let mut state = Self::new(spec);
        for container in &mut state.containers {
            container.phase = ContainerPhase::Gone;
            container.reason = Some(REASON.to_owned());
        }
        state.network = NetworkPhase::Gone;
        state.status = TaskStatus::Stopped;
        state.stop = Some(Stop {
            code: Some(StopCode::EssentialContainerExited),
            reason: Some(exit_sentence(None, REASON)),
        });
        state.execution_stopped_at = Some(now);
        state.stopped_at = Some(now);
        state
    }

    /// This task where its host cannot take it further, for a reason that is no container's: it has stopped, and says so.
    /// Whatever the host holds of it is to be removed before.
    #[must_use]
    pub fn abandoned(&self, reason: &str, now: Timestamp) -> Self {
        let mut state = self.clone();
        for container in &mut state.containers {
            if !container.phase.is_over() {
                container.reason = Some(reason.to_owned());
                container.ended_at = Some(now);
            }
            container.phase = ContainerPhase::Gone;
        }
        state.network = NetworkPhase::Gone;
        if state.started_at.is_none() {
            state.fail_to_start(reason);
        }
        state.stop.get_or_insert_with(|| Stop {
            code: Some(StopCode::EssentialContainerExited),
            reason: Some(exit_sentence(None, reason)),
        });
        state.status = TaskStatus::Stopped;
        state.execution_stopped_at.get_or_insert(now);
        state.stopped_at.get_or_insert(now);
        state
    }

    /// Which task it is.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        self.status
    }

    /// Whether it is over and holds nothing but its logs.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.status == TaskStatus::Stopped
    }

    /// When the next [`super::Observation::Tick`] is due, if one is.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let network = match self.network {
            NetworkPhase::TearDownDue { at, .. } => Some(at),
            _ => None,
        };
        self.containers
            .iter()
            .filter_map(|c| c.phase.wake_at())
            .chain(network)
            .chain(dependencies::gives_up_at(self))
            .min()
    }

    /// The task as the controllers are to see it.
    #[must_use]
    pub fn report(&self) -> TaskReport {
        let containers = self.containers.iter().map(|c| ContainerReport {
            name: c.name.clone(),
            status: c.phase.status(),
            image_digest: c.image_digest.clone(),
            runtime_id: c.runtime_id.clone(),
            // That of an earlier run is none of a container that runs again.
            exit_code: c.exit_code.filter(|_| c.phase.is_over()),
            reason: c.reason.clone(),
            network_bindings: c.bindings.clone(),
            health: c.health,
        });
        let essential = self.containers.iter().filter(|c| c.essential);
        TaskReport {
            task: self.task,
            status: self.status,
            containers: containers.collect(),
            pull_started_at: self.pull_started_at,
            pull_stopped_at: self.pull_stopped_at,
            started_at: self.started_at,
            execution_stopped_at: self.execution_stopped_at,
            stopped_at: self.stopped_at,
            stop_code: self.stop.as_ref().and_then(|stop| stop.code),
            stopped_reason: self.stop.as_ref().and_then(|stop| stop.reason.clone()),
            health: HealthStatus::of_task(essential.filter_map(|c| c.health)),
            network_interface: self.network_interface.clone(),
        }
    }

    pub(super) fn container_mut(&mut self, name: &str) -> Option<&mut ContainerState> {
        self.containers.iter_mut().find(|c| c.name == name)
    }

    /// The container `name`, if its phase is as expected.
    pub(super) fn container_in(
        &mut self,
        name: &str,
        expected: impl Fn(&ContainerPhase) -> bool,
    ) -> Option<&mut ContainerState> {
        self.container_mut(name).filter(|c| expected(&c.phase))
    }

    /// Moves the status on; never back.
    pub(super) fn reach(&mut self, status: TaskStatus) {
        self.status = self.status.max(status);
    }

    pub(super) fn wish_stop(&mut self) {
        self.stop.get_or_insert_default();
    }

    /// Ends the task since its host was cut off for so long.
    pub(super) fn fence(&mut self, after_ms: u32) {
        let secs = f64::from(after_ms) / 1_000.0;
        self.stop.get_or_insert_with(|| Stop {
            code: Some(StopCode::TerminationNotice),
            reason: Some(format!(
                "Host was cut off from every controller for {secs} s: its cluster has hosts stop their tasks then (setting fenceAfterMs)."
            )),
        });
    }

    /// Ends the task since it could not be started.
    pub(super) fn fail_to_start(&mut self, reason: &str) {
        self.stop.get_or_insert_with(|| Stop {
            code: Some(StopCode::TaskFailedToStart),
            reason: Some(format!("Task failed to start: {reason}")),
        });
    }

    /// Notes that a container cannot be started; an essential one takes the task with it.
    pub(super) fn fail_container(&mut self, name: &str, reason: &str, now: Timestamp) {
        let Some(container) = self.container_mut(name) else {
            return;
        };
        container.phase = ContainerPhase::Ended;
        container.reason = Some(reason.to_owned());
        container.ended_at = Some(now);
        if container.essential {
            self.fail_to_start(reason);
        }
    }

    /// Notes that a container's process has ended, and has it started again if its policy says so and nothing has the task end.
    pub(super) fn take_exit(&mut self, name: &str, exit: Exit, actions: &mut Vec<RuntimeAction>) {
        let is_to_run = self.stop.is_none();
        let Some(container) = self.container_mut(name) else {
            return;
        };
        if is_to_run && container.restarts_after(&exit) {
            container.phase = ContainerPhase::Restarting;
            container.restarts = container.restarts.saturating_add(1);
            container.exit_code = exit.code;
            container.ended_at = Some(exit.at);
            actions.push(RuntimeAction::RestartContainer {
                container: name.to_owned(),
            });
        } else {
            self.end_container(name, exit);
        }
    }

    /// Notes that a container cannot be started again; it has then ended as it did before.
    pub(super) fn fail_restart(&mut self, name: &str, reason: &str, now: Timestamp) {
        let restarting = |phase: &ContainerPhase| matches!(phase, ContainerPhase::Restarting);
        if let Some(container) = self.container_in(name, restarting) {
            let exit = Exit {
                code: container.exit_code,
                reason: Some(format!("it could not be started again: {reason}")),
                at: container.ended_at.unwrap_or(now),
            };
            self.end_container(name, exit);
        }
    }

    /// Notes that a container's process has ended for good; an essential one takes the task with it.
    pub(super) fn end_container(&mut self, name: &str, exit: Exit) {
        let Exit { code, reason, at } = exit;
        let Some(container) = self.container_mut(name) else {
            return;
        };
        container.phase = ContainerPhase::Ended;
        container.exit_code = code;
        container.ended_at = Some(at);
        container.reason.clone_from(&reason);
        if container.essential {
            let sentence = exit_sentence(code, reason.as_deref().unwrap_or("the runtime did not say"));
            self.stop.get_or_insert(Stop {
                code: Some(StopCode::EssentialContainerExited),
                reason: Some(sentence),
            });
        }
    }

    pub(super) fn bind_ports(&mut self, bindings: &[(String, NetworkBinding)]) {
        for container in &mut self.containers {
            let own = bindings.iter().filter(|(name, _)| *name == container.name);
            container.bindings = own.map(|(_, binding)| binding.clone()).collect();
        }
    }
}

/// ECS's sentence for the end of an essential container, with the exit code or why there is none.
fn exit_sentence(code: Option<i32>, why_unknown: &str) -> String {
    match code {
        Some(code) => format!("Essential container in task exited (exit code {code})"),
        None => format!("Essential container in task exited (exit code unknown: {why_unknown})"),
    }
}
