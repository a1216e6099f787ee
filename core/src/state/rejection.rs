//! The rejections: why a command was refused. The state is unchanged when one is returned.

use crate::model::{
    AlarmKey, CapacityProviderKey, CapacityProviderName, ClusterKey, ClusterName, ContainerInstanceId, DeploymentId,
    HostSettingsError, MemoryMib, NoZoneRebalancing, PowerRefusal, ServiceKey, TaskDefinitionKey, TaskId,
    TransportProtocol, UnsupportedByDaemon, UnworkableConfiguration, UnworkableScaling,
};

use super::{
    MAX_ALARM_DEFINITION_BYTES, MAX_ALARMS, MAX_DOCUMENT_BYTES, MAX_DOCUMENT_CHANGES, MAX_MOVES,
    MAX_PROVISIONING_TASKS, MAX_TASK_SETS,
};

/// Most tags that one resource can carry beside those that ECS sets (ECS's limit).
pub const MAX_TAGS: usize = 50;

/// Most attributes that users can put on one container instance (ECS's limit).
pub const MAX_ATTRIBUTES: usize = 10;

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such cluster, or it is inactive.
    #[error("cluster {} not found", .0.name)]
    ClusterNotFound(ClusterKey),
    /// The cluster still has container instances.
    #[error("cluster {} still has container instances", .0.name)]
    ClusterContainsContainerInstances(ClusterKey),
    /// The cluster still has active services.
    #[error("cluster {} still has active services", .0.name)]
    ClusterContainsServices(ClusterKey),
    /// The cluster still has tasks.
    #[error("cluster {} still has tasks", .0.name)]
    ClusterContainsTasks(ClusterKey),
    /// No such capacity provider.
    #[error("capacity provider {} not found", .0.name)]
    CapacityProviderNotFound(CapacityProviderKey),
    /// There is a capacity provider of that name.
    #[error("capacity provider {} exists already", .0.name)]
    CapacityProviderExists(CapacityProviderKey),
    /// A cluster has the capacity provider.
    #[error("capacity provider {capacity_provider} is associated with cluster {cluster}")]
    CapacityProviderAssociated {
        /// The capacity provider.
        capacity_provider: CapacityProviderName,
        /// The first cluster that has it.
        cluster: ClusterName,
    },
    /// The strategy names a capacity provider that the cluster does not have.
    #[error("capacity provider {} is not associated with the cluster", .0.name)]
    CapacityProviderNotAssociated(CapacityProviderKey),
    /// A service or a task of the cluster uses the capacity provider.
    #[error("capacity provider {capacity_provider} is used by {by}")]
    CapacityProviderInUse {
        /// The capacity provider.
        capacity_provider: CapacityProviderName,
        /// The first that uses it, in words.
        by: String,
    },
    /// What is managed of the hosts of a capacity provider contradicts itself.
    #[error(transparent)]
    ManagedScaling(UnworkableScaling),
    /// Another capacity provider strategy takes effect with a new deployment alone.
    #[error("another capacity provider strategy of service {} needs a new deployment", .0.name)]
    NewDeploymentNeeded(ServiceKey),
    /// No such task definition, or it is inactive.
    #[error("task definition {}:{} not found or inactive", .0.family, .0.revision)]
    TaskDefinitionNotFound(TaskDefinitionKey),
    /// The task definition must be deregistered before it can be deleted.
    #[error("task definition {}:{} is active", .0.family, .0.revision)]
    TaskDefinitionActive(TaskDefinitionKey),
    /// No such service.
    #[error("service {} not found", .0.name)]
    ServiceNotFound(ServiceKey),
    /// The service is being deleted or was.
    #[error("service {} is not active", .0.name)]
    ServiceNotActive(ServiceKey),
    /// Another service has that name.
    #[error("creation of service {} was not idempotent", .0.name)]
    ServiceExists(ServiceKey),
    /// The service is not scaled to 0.
    #[error("service {} cannot be deleted while it is scaled above 0", .0.name)]
    ServiceScaledAboveZero(ServiceKey),
    /// No such service deployment, or it is forgotten.
    #[error("service {} has no service deployment {}", .0.name, .1.number())]
    ServiceDeploymentNotFound(ServiceKey, DeploymentId),
    /// The service deployment is over.
    #[error("service deployment {} of service {} is over", .1.number(), .0.name)]
    ServiceDeploymentOver(ServiceKey, DeploymentId),
    /// No such hook of the service deployment waits for anybody.
    #[error("{service_deployment} does not wait at hook {hook}")]
    HookNotAwaiting {
        /// ARN of the service deployment.
        service_deployment: Box<str>,
        /// The hook.
        hook: Box<str>,
    },
    /// The service has not reached any revision yet.
    #[error("service {} has not reached a revision to return to", .0.name)]
    NoRevisionToReturnTo(ServiceKey),
    /// The service has deployments, and no task sets.
    #[error("service {} has no task sets: its deployments are controlled by the cluster", .0.name)]
    NoTaskSets(ServiceKey),
    /// What the service runs is decided by its task sets.
    #[error("service {} is deployed by task sets", .0.name)]
    DeployedByTaskSets(ServiceKey),
    /// No such task set, or it is deleted.
    #[error("service {} has no task set {}", .0.name, .1)]
    TaskSetNotFound(ServiceKey, DeploymentId),
    /// The task set wants tasks.
    #[error("task set {} of service {} cannot be deleted while it is scaled above 0", .1, .0.name)]
    TaskSetScaledAboveZero(ServiceKey, DeploymentId),
    /// The service has as many task sets as it can.
    #[error("service {} has {MAX_TASK_SETS} task sets", .0.name)]
    TooManyTaskSets(ServiceKey),
    /// No deployment could proceed by the service's configuration.
    #[error("deployments could not proceed: {0}")]
    DeploymentConfiguration(UnworkableConfiguration),
    /// Tasks of the service have an address of their own, and nothing says where from.
    #[error("tasks of network mode awsvpc need a network configuration")]
    NetworkConfigurationNeeded,
    /// Tasks of the service have no address of their own.
    #[error("only tasks of network mode awsvpc have a network configuration")]
    NetworkConfigurationNotValid,
    /// Tasks of the service cannot be brought back to evenness over zones.
    #[error("tasks cannot be rebalanced over availability zones: {0}")]
    ZoneRebalancing(NoZoneRebalancing),
    /// The service is a daemon service, which has no use for this.
    #[error(transparent)]
    UnsupportedByDaemon(#[from] UnsupportedByDaemon),
    /// The token came with another request before.
    #[error("client token was used before with another request")]
    ClientTokenReused {
        /// The tasks that the other request made and that are still remembered, by ARN.
        tasks: Vec<String>,
    },
    /// No such task.
    #[error("task {0} not found")]
    TaskNotFound(TaskId),
    /// The task is on a host of Berth's own agent, which says by itself what becomes of it.
    #[error("task {0} is on container instance {1}, whose agent says by itself what becomes of it")]
    NotOfAnEcsAgent(TaskId, ContainerInstanceId),
    /// The id is taken.
    #[error("id {0} is in use already")]
    TaskExists(TaskId),
    /// No such container instance, or it is inactive.
    #[error("container instance {0} not found")]
    ContainerInstanceNotFound(ContainerInstanceId),
    /// The host was deregistered, and its agent has not been started anew since.
    #[error("container instance {0} was deregistered")]
    ContainerInstanceDeregistered(ContainerInstanceId),
    /// The host takes no new tasks.
    #[error("container instance {0} is draining, its agent is not connected, or it waits for a daemon")]
    ContainerInstanceUnavailable(ContainerInstanceId),
    /// The host still has tasks.
    #[error("container instance {0} still has tasks")]
    ContainerInstanceHasTasks(ContainerInstanceId),
    /// The agent is connected, so the host is not lost.
    #[error("the agent of container instance {0} is connected")]
    AgentConnected(ContainerInstanceId),
    /// Somebody cannot have the host put to sleep, or woken.
    #[error("host {host} cannot: {why}")]
    PowerByHand {
        /// What the host is called.
        host: Box<str>,
        /// Why not.
        why: PowerRefusal,
    },
    /// The host has not enough CPU left.
    #[error("container instance {container_instance} has {free} cpu units free, {needed} are needed")]
    InsufficientCpu {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Units needed.
        needed: u32,
        /// Units free.
        free: u32,
    },
    /// The host has not enough memory left.
    #[error("container instance {container_instance} has {} MiB free, {} are needed", free.0, needed.0)]
    InsufficientMemory {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Memory needed.
        needed: MemoryMib,
        /// Memory free.
        free: MemoryMib,
    },
    /// A port of the host is taken.
    #[error("port {port} of container instance {container_instance} is in use")]
    PortInUse {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Protocol.
        protocol: TransportProtocol,
        /// Port.
        port: u16,
    },
    /// No such attribute.
    #[error("container instance {container_instance} has no attribute {name}")]
    AttributeNotFound {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Attribute.
        name: String,
    },
    /// More attributes than users can put on a container instance.
    #[error("container instance {0} carries at most {MAX_ATTRIBUTES} attributes of users")]
    TooManyAttributes(ContainerInstanceId),
    /// More tags than a resource can carry.
    #[error("a resource carries at most {MAX_TAGS} tags")]
    TooManyTags,
    /// How the cluster is to keep in touch with its hosts cannot be kept.
    #[error(transparent)]
    HostSettings(#[from] HostSettingsError),
    /// The document is not what the change expects.
    #[error("{0} was changed by somebody else meanwhile")]
    DocumentChanged(String),
    /// The document would be larger than one may be.
    #[error("{0} would have more than the {MAX_DOCUMENT_BYTES} bytes that a document may have")]
    DocumentTooLarge(String),
    /// More changes than one command may make.
    #[error("one change can concern at most {MAX_DOCUMENT_CHANGES} documents")]
    TooManyDocuments,
    /// Tasks of the cluster are being moved already.
    #[error("tasks of cluster {} are being moved already", .0.name)]
    RebalanceUnderWay(ClusterKey),
    /// No tasks of the cluster are being moved.
    #[error("no tasks of cluster {} are being moved", .0.name)]
    NoRebalanceUnderWay(ClusterKey),
    /// More moves than one rebalancing may have.
    #[error("at most {MAX_MOVES} tasks can be moved at once")]
    TooManyMoves,
    /// More tasks than can wait for a host.
    #[error("{MAX_PROVISIONING_TASKS} tasks of cluster {} wait for a host at most", .0.name)]
    TooManyProvisioningTasks(ClusterKey),
    /// No such alarm.
    #[error("alarm {} not found", .0.name)]
    AlarmNotFound(AlarmKey),
    /// What the alarm is meant to watch takes more room than it may.
    #[error("the definition of alarm {} would have more than the {MAX_ALARM_DEFINITION_BYTES} bytes that one may have", .0.name)]
    AlarmTooLarge(AlarmKey),
    /// There are as many alarms as there can be.
    #[error("there are {MAX_ALARMS} alarms in the account and region")]
    TooManyAlarms,
    /// The plan was made for a state that has moved on; plan again.
    #[error("the state has moved on since this was planned: {0}")]
    Stale(String),
}

impl Rejection {
    /// Whether it says that a host has no room for a task: another host may have.
    #[must_use]
    pub fn is_about_room(&self) -> bool {
        matches!(
            self,
            Self::InsufficientCpu { .. }
                | Self::InsufficientMemory { .. }
                | Self::PortInUse { .. }
                | Self::ContainerInstanceUnavailable(_)
                | Self::ContainerInstanceNotFound(_)
        )
    }
}
