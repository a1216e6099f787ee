//! The events: what applying a command changed, for those who react to changes and for the answer to the caller.

use crate::model::{
    AlarmKey, CapacityProviderKey, ClusterKey, ContainerInstanceId, ServiceKey, TaskDefinitionKey, TaskId, TaskStatus,
};

use super::command::Taggable;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A cluster exists now.
    ClusterCreated(ClusterKey),
    /// A cluster's settings changed.
    ClusterUpdated(ClusterKey),
    /// A cluster is inactive now.
    ClusterDeleted(ClusterKey),
    /// A capacity provider exists now.
    CapacityProviderCreated(CapacityProviderKey),
    /// What is managed of the hosts of a capacity provider changed.
    CapacityProviderUpdated(CapacityProviderKey),
    /// A capacity provider is gone.
    CapacityProviderDeleted(CapacityProviderKey),
    /// A revision exists now.
    TaskDefinitionRegistered(TaskDefinitionKey),
    /// A revision is inactive now.
    TaskDefinitionDeregistered(TaskDefinitionKey),
    /// A revision is to be forgotten once nothing uses it.
    TaskDefinitionDeleted(TaskDefinitionKey),
    /// A service exists now.
    ServiceCreated(ServiceKey),
    /// A service, its deployments or its events changed.
    ServiceUpdated(ServiceKey),
    /// A task is new, or its desired or last status, host or containers changed.
    TaskChanged(TaskChange),
    /// A stopped task is no longer remembered.
    TaskForgotten {
        /// The task.
        task: TaskId,
        /// Its cluster.
        cluster: ClusterKey,
        /// Where it was.
        container_instance: Option<ContainerInstanceId>,
    },
    /// An agent has a session for this host.
    ContainerInstanceRegistered {
        /// The host.
        id: ContainerInstanceId,
        /// Its cluster.
        cluster: ClusterKey,
    },
    /// A host's status, attributes or connection changed.
    ContainerInstanceChanged {
        /// The host.
        id: ContainerInstanceId,
        /// Its cluster.
        cluster: ClusterKey,
    },
    /// A host is at another place between awake and asleep than before, or was called again.
    PowerChanged {
        /// The host.
        id: ContainerInstanceId,
        /// Its cluster.
        cluster: ClusterKey,
    },
    /// A host left its cluster.
    ContainerInstanceDeregistered {
        /// The host.
        id: ContainerInstanceId,
        /// The cluster that it left.
        cluster: ClusterKey,
    },
    /// A resource's tags changed.
    TagsChanged(Taggable),
    /// The request was seen before under its client token and has these tasks; nothing changed.
    RequestRepeated {
        /// Tasks that the first request made.
        tasks: Vec<TaskId>,
    },
    /// A document is new, has other content, or is gone.
    DocumentChanged(String),
    /// Moves of a cluster's tasks began, came further, or ended.
    RebalanceChanged(ClusterKey),
    /// An alarm is new, is meant to watch something else, says something else, or is gone.
    AlarmChanged(AlarmKey),
    /// The group uses what belongs to this level from now on.
    FeatureLevelRaised(u32),
    /// The state is empty.
    StateReset,
}

/// What changed of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskChange {
    /// Which task.
    pub task: TaskId,
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Its service.
    pub service: Option<ServiceKey>,
    /// Its host.
    pub container_instance: Option<ContainerInstanceId>,
    /// Its status before; `None` for a new task.
    pub from: Option<TaskStatus>,
    /// Its status now.
    pub to: TaskStatus,
}
