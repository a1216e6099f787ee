//! What the cluster says of itself as it changes, in the terms of the events that ECS sends to EventBridge, and which resources look other than
//! before. Both follow from a command, what it changed, and the state before and after, so that all members say the same under the same ids.
//! Must not know how either is written or kept. Pure.
//!
//! - `announce.rs`: which events a command brings about, from the rules of ECS's documentation.
//! - `service.rs`: what the course of a service says.
//! - `daemon.rs`: what the course of a managed daemon says.
//! - `touched.rs`: which resources look other than before.

mod announce;
mod daemon;
mod service;
#[cfg(test)]
mod tests;
mod touched;

use std::sync::Arc;

use crate::ids::IdSource;
use crate::model::{
    CapacityProviderKey, ClusterKey, ContainerInstance, ContainerInstanceId, Deployment, DeploymentId, HookRun,
    LifecycleStage, LogIndex, ServiceKey, Task, TaskDefinition, TaskId, Timestamp,
};
use crate::state::Allocation;

pub use announce::Witness;
pub use daemon::DaemonNews;
pub use touched::{Resource, Touched};

/// Bits of the number of an announcement in its id: more than any command, of 1 MiB at most, brings about.
const NUMBER_BITS: u32 = 20;

/// Where an announcement stands among all of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Index of the command that brought it about.
    pub index: LogIndex,
    /// Which of those of the command, counted from 0.
    pub number: u32,
}

impl Position {
    /// The place of the first announcement of the command after `index`.
    #[must_use]
    pub fn after(index: LogIndex) -> Self {
        Self {
            index: LogIndex(index.0.saturating_add(1)),
            number: 0,
        }
    }

    /// The place of the announcement after this one, if the command has another.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }
}

/// An event, as ECS would send it to EventBridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Where it stands.
    pub position: Position,
    /// When it came about, by the clock of the leader.
    pub at: Timestamp,
    /// What it says.
    pub subject: Subject,
}

/// What an event says, with all that is shown of it, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A task is new, or its desired or last status or one of its containers changed.
    Task {
        /// The task.
        task: Arc<Task>,
        /// Its host.
        host: Option<Arc<ContainerInstance>>,
        /// Its definition.
        definition: Option<Arc<TaskDefinition>>,
    },
    /// A host came, went, changed, or had a task placed on it or stopped.
    ContainerInstance {
        /// The host.
        host: Arc<ContainerInstance>,
        /// What its tasks hold.
        allocation: Arc<Allocation>,
        /// Its status, in ECS's words.
        status: &'static str,
    },
    /// A service has something to say.
    Service {
        /// The service.
        service: ServiceKey,
        /// What it says.
        action: ServiceAction,
    },
    /// A managed daemon has something to say.
    Daemon {
        /// The daemon.
        daemon: ServiceKey,
        /// What it says.
        news: DaemonNews,
    },
    /// A deployment of a service began, completed or failed.
    Deployment {
        /// The service.
        service: ServiceKey,
        /// The deployment.
        deployment: Deployment,
    },
    /// A hook of a service deployment waits for somebody, or what became of it is known.
    Hook {
        /// The service.
        service: ServiceKey,
        /// The service deployment.
        service_deployment: DeploymentId,
        /// The stage that it is in.
        stage: LifecycleStage,
        /// The hook.
        hook: HookRun,
    },
}

/// What a service says of itself: those of ECS's service actions that can come about here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAction {
    /// It has the tasks that it wants.
    SteadyState,
    /// One of its task sets has the tasks that it wants.
    TaskSetSteadyState(DeploymentId),
    /// So have its capacity providers.
    CapacityProviderSteadyState(Vec<CapacityProviderKey>),
    /// Its scheduler wants another number of tasks, as that of a daemon service does where hosts come and go.
    DesiredCountUpdated(u32),
    /// Its tasks do not start, one after the other.
    TaskStartImpaired,
    /// A task found no host.
    TaskPlacementFailure {
        /// The host that lacks least, if there is any.
        closest: Option<ContainerInstanceId>,
        /// What it lacks, in ECS's words.
        reason: String,
        /// The capacity providers whose hosts alone are asked.
        capacity_providers: Vec<CapacityProviderKey>,
    },
}

impl Announcement {
    /// Its id in UUID form: the same on every member of the group whose history is `history`, and another for each announcement.
    #[must_use]
    pub fn id(&self, history: u64) -> String {
        let place = (self.position.index.0 << NUMBER_BITS) ^ u64::from(self.position.number);
        IdSource::from_seed(place).uuid_in(history)
    }

    /// The cluster that it is about.
    #[must_use]
    pub fn cluster(&self) -> &ClusterKey {
        match &self.subject {
            Subject::Task { task, .. } => &task.cluster,
            Subject::ContainerInstance { host, .. } => &host.cluster,
            Subject::Service { service, .. } | Subject::Deployment { service, .. } | Subject::Hook { service, .. } => {
                &service.cluster
            }
            Subject::Daemon { daemon, .. } => &daemon.cluster,
        }
    }

    /// The service that it is about, or whose task.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceKey> {
        match &self.subject {
            Subject::Task { task, .. } => task.service(),
            Subject::ContainerInstance { .. } => None,
            Subject::Service { service, .. } | Subject::Deployment { service, .. } | Subject::Hook { service, .. } => {
                Some(service)
            }
            Subject::Daemon { daemon, .. } => Some(daemon),
        }
    }

    /// The task that it is about.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match &self.subject {
            Subject::Task { task, .. } => Some(task.id),
            Subject::Daemon {
                news: DaemonNews::TaskStartImpaired { task, .. },
                ..
            } => *task,
            _ => None,
        }
    }

    /// The host that it is about, or that its task is on.
    #[must_use]
    pub fn container_instance(&self) -> Option<ContainerInstanceId> {
        match &self.subject {
            Subject::Task { task, .. } => task.container_instance,
            Subject::ContainerInstance { host, .. } => Some(host.id),
            Subject::Daemon {
                news: DaemonNews::TaskStartImpaired { host, .. },
                ..
            } => *host,
            _ => None,
        }
    }

    /// About how many bytes it keeps in memory by itself, should nothing else keep what it says.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// What belongs to any announcement, and a small one in all.
        const EACH: usize = 512;
        /// A container, with its names and ports.
        const CONTAINER: usize = 512;
        /// An attribute or a port.
        const SMALL: usize = 96;
        let subject = match &self.subject {
            Subject::Task { task, .. } => {
                let reason = task.stopped_reason.as_ref().map_or(0, String::len);
                size_of::<Task>() + reason + task.containers.len() * CONTAINER
            }
            Subject::ContainerInstance { host, allocation, .. } => {
                let attributes = host.host.attributes.len() + host.user_attributes.len() + host.tags.len();
                let held = allocation.ports().len() + allocation.groups().count();
                size_of::<ContainerInstance>() + size_of::<Allocation>() + (attributes + held) * SMALL
            }
            Subject::Service { .. } | Subject::Hook { .. } => 0,
            Subject::Daemon { news, .. } => match news {
                DaemonNews::Deployment { reason, .. } => reason.as_ref().map_or(0, String::len),
                DaemonNews::TaskStartImpaired { reason, .. } => reason.len(),
            },
            Subject::Deployment { deployment, .. } => deployment.rollout_state_reason.len(),
        };
        EACH + subject
    }
}
