//! The commands: every change that the replicated state knows. They carry all ids and times, since applying
//! invents nothing. Fields unknown to a member are refused, so that an older one never misreads a newer log.

use serde::{Deserialize, Serialize};

use super::progress::{RebalanceProgress, ServiceProgress};
use super::{DocumentChange, FeatureLevel, PlaceTask};
use crate::model::{
    AgentId, Alarm, AlarmKey, AlarmState, CapacityProvider, CapacityProviderKey, CapacityProviderName,
    CapacityProviderStrategy, Cluster, ClusterKey, ClusterSetting, ContainerInstanceId, ContainerInstanceStatus,
    DaemonSettings, DeploymentConfigurationChanges, DeploymentId, HookAction, HostDescription, HostReports,
    HostSettingsChange, ManagedScalingChanges, NetworkConfiguration, PlacementConstraint, PlacementStrategy,
    PlatformVersion, Ports, PowerChange, PropagateTags, Rebalance, Scale, Scope, Service, ServiceKey, StateChange,
    StopCode, Tags, Task, TaskDefinition, TaskDefinitionKey, TaskId, TaskReport, TaskSet, Timestamp,
};

/// A change to the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Command {
    /// Creates a cluster, or nothing if it is active already. Valid when its capacity providers exist. Emits `ClusterCreated` if it was new.
    CreateCluster(Cluster),
    /// Changes a cluster's settings. Valid when it is active and they can be kept. Emits `ClusterUpdated`.
    UpdateCluster(UpdateCluster),
    /// Makes a cluster inactive. Valid when it has no container instances, services or tasks. Emits `ClusterDeleted`.
    DeleteCluster {
        /// Which.
        cluster: ClusterKey,
        /// Now. With [`Feature::ForgottenClusters`](super::Feature) alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// Creates a capacity provider. Valid when there is none of the name. Emits `CapacityProviderCreated`. With
    /// [`Feature::CapacityProviders`](super::Feature) alone.
    CreateCapacityProvider(CapacityProvider),
    /// Deletes a capacity provider. Valid when it exists and no active cluster has it. Emits `CapacityProviderDeleted`.
    DeleteCapacityProvider {
        /// Which.
        capacity_provider: CapacityProviderKey,
    },
    /// Changes how the hosts of a capacity provider are woken and put to sleep. Valid when it exists and that does not contradict itself. Emits
    /// `CapacityProviderUpdated`, and `ClusterUpdated` for each cluster that has it. With [`Feature::ManagedScaling`](super::Feature) alone.
    UpdateCapacityProvider(UpdateCapacityProvider),
    /// Gives a cluster its capacity providers, instead of those that it had. Valid when it is active, each of them exists, the strategy
    /// names no other, and none that goes is used by a service or a task. Emits `ClusterUpdated`.
    PutClusterCapacityProviders {
        /// Which cluster.
        cluster: ClusterKey,
        /// All that it is to have, each once.
        capacity_providers: Vec<CapacityProviderName>,
        /// What services and tasks use that name none.
        default_strategy: CapacityProviderStrategy,
    },
    /// Adds the next revision of a family; the revision in the command is overwritten. Valid always. Emits
    /// `TaskDefinitionRegistered`, which says the revision.
    RegisterTaskDefinition(TaskDefinition),
    /// Makes a revision inactive. Valid when it exists. Emits `TaskDefinitionDeregistered`.
    DeregisterTaskDefinition {
        /// Which.
        task_definition: TaskDefinitionKey,
        /// Now.
        at: Timestamp,
    },
    /// Begins to delete a revision. Valid when it exists and is not active. Emits `TaskDefinitionDeleted`; it is forgotten once
    /// nothing uses it.
    DeleteTaskDefinition {
        /// Which.
        task_definition: TaskDefinitionKey,
    },
    /// Begins to delete a revision of a daemon task definition. Valid when it exists and is active. Emits `TaskDefinitionDeleted`; it is
    /// forgotten a while after nothing uses it any more. With [`Feature::ManagedDaemons`](super::Feature) alone, as is the next.
    DeleteDaemonTaskDefinition {
        /// Which.
        task_definition: TaskDefinitionKey,
        /// Now.
        at: Timestamp,
    },
    /// Begins to delete a daemon, by a deployment that stops its tasks. Valid when it is active. Emits `ServiceUpdated`; the daemon is
    /// `INACTIVE` once its tasks have stopped.
    DeleteDaemon {
        /// Which.
        daemon: ServiceKey,
        /// Id of the deployment.
        deployment: DeploymentId,
        /// Now.
        at: Timestamp,
    },
    /// Forgets revisions that are being deleted; those still in use are left out. Valid always. Emits nothing.
    ForgetTaskDefinitions {
        /// Which.
        task_definitions: Vec<TaskDefinitionKey>,
    },
    /// Creates a service with its first deployment. Valid when cluster and task definition are active, the name is free
    /// and deployments could proceed by its configuration; the same request again does nothing. Emits `ServiceCreated`.
    CreateService {
        /// The service.
        service: Box<Service>,
        /// The caller's idempotency token.
        client_token: Option<ClientToken>,
    },
    /// Changes a service: what is named is merged with what is. Valid when it is active, deployments could proceed by
    /// the merged configuration, and the definition of a new deployment is active. Emits `ServiceUpdated`.
    UpdateService(Box<UpdateService>),
    /// Begins to delete a service, or nothing if that has begun. Valid when it exists (and is active, without
    /// [`Feature::RepeatedDeletion`](super::Feature)) and its desired count is 0, it is a daemon service, or `force`. Emits
    /// `ServiceUpdated`, and `TaskChanged` for each task whose protection `force` ends; the service is `INACTIVE` once its tasks have stopped.
    DeleteService {
        /// Which.
        service: ServiceKey,
        /// Whether a desired count above 0 and protected tasks are no obstacle.
        force: bool,
        /// Now.
        at: Timestamp,
    },
    /// What a reconciler found out about a service. Valid when the deployments named still exist; otherwise the
    /// finding is stale. Emits `ServiceUpdated`.
    RecordServiceProgress(Box<ServiceProgress>),
    /// Asks for the end of a service deployment, or for nothing if it stops or returns already. Valid when it is under way, and, to roll back,
    /// when the service has reached a revision before. Emits `ServiceUpdated`. With
    /// [`Feature::ServiceDeployments`](super::Feature) alone.
    StopServiceDeployment {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        service_deployment: DeploymentId,
        /// What becomes of the service.
        stop_type: StopType,
        /// Now.
        at: Timestamp,
    },
    /// Gives a service another task set. Valid when the service is active, has task sets instead of deployments and not too many of them, and
    /// the task definition is active. Emits `ServiceUpdated`. With [`Feature::TaskSets`](super::Feature) alone, as are the next three.
    CreateTaskSet {
        /// Which service.
        service: ServiceKey,
        /// The task set.
        task_set: Box<TaskSet>,
        /// The caller's idempotency token.
        client_token: Option<ClientToken>,
    },
    /// Changes how many tasks a task set wants. Valid when the service is active and has it, and it is not deleted. Emits `ServiceUpdated`.
    UpdateTaskSet {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        task_set: DeploymentId,
        /// Its share of the service's tasks from now on.
        scale: Scale,
        /// Now.
        at: Timestamp,
    },
    /// Makes a task set the one that serves, instead of the one that did. Valid as with [`Command::UpdateTaskSet`]. Emits `ServiceUpdated`.
    UpdateServicePrimaryTaskSet {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        task_set: DeploymentId,
        /// Now.
        at: Timestamp,
    },
    /// Begins to delete a task set, or nothing if that has begun: it is gone once its tasks have stopped. Valid when the service is active and
    /// has it, and it wants no task or `force`. Emits `ServiceUpdated`.
    DeleteTaskSet {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        task_set: DeploymentId,
        /// Whether tasks that it wants are no obstacle.
        force: bool,
        /// Now.
        at: Timestamp,
    },
    /// Lets a service deployment go on that waits at a hook, or asks for its end. Valid when it is on its way to its revision, the hook waits, and,
    /// to roll back, when the service has reached a revision before. Emits `ServiceUpdated`. With
    /// [`Feature::DeploymentStrategies`](super::Feature) alone.
    ContinueServiceDeployment {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        service_deployment: DeploymentId,
        /// The hook.
        hook: String,
        /// What becomes of it.
        action: HookAction,
        /// Now.
        at: Timestamp,
    },
    /// Creates tasks outside services, each placed already, or, with [`Feature::ProvisioningTasks`](super::Feature), to wait for a host of a capacity
    /// provider of its cluster. Valid when every host still has room for all that go to it, and there are not too many that wait; else nothing is
    /// created. Emits `TaskChanged` for each.
    RunTasks {
        /// The tasks.
        tasks: Vec<Task>,
        /// The caller's idempotency token.
        client_token: Option<ClientToken>,
    },
    /// Gives tasks a host that wait for one. Valid when all of them do, and every host has room for all that go to it; else none gets one. Emits
    /// `TaskChanged` for each. With [`Feature::ProvisioningTasks`](super::Feature) alone.
    PlaceTasks {
        /// Which tasks, and where each goes.
        placements: Vec<PlaceTask>,
        /// Now.
        at: Timestamp,
    },
    /// Creates tasks of a service, each placed already. Valid when the service is active and has the deployment, and
    /// every host still has room for all that go to it; else nothing is created. Emits `TaskChanged` for each.
    CreateTasks {
        /// The tasks.
        tasks: Vec<Task>,
    },
    /// Wants tasks stopped; those that have no host are over at once. Unknown or stopped tasks are left out, and protected ones where a scheduler wants
    /// it, unless their health checks have failed. Valid always. Emits `TaskChanged` for each.
    StopTasks {
        /// Which.
        tasks: Vec<TaskId>,
        /// Why, as a code.
        stop_code: StopCode,
        /// Why, in a sentence.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// Stops tasks of one host so that a task of a service of higher priority fits there; until they are over, the host takes no other task. Valid when
    /// the service is active, and all of them are wanted, on one host of its cluster, and not protected. Emits `TaskChanged` for each. With
    /// [`Feature::Preemption`](super::Feature) alone.
    PreemptTasks {
        /// Which.
        tasks: Vec<TaskId>,
        /// For which service.
        by: ServiceKey,
        /// Why, in a sentence.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// Finds that tasks are to be replaced since they are unhealthy; each counts as a failure of its deployment. Left out are unknown tasks,
    /// tasks of no service, tasks that are to stop, tasks that are not unhealthy, and those of which that was found before. Valid always. Emits
    /// `TaskChanged` for each, and `ServiceUpdated`. With [`Feature::ContainerHealth`](super::Feature) alone.
    RecordFailedHealthChecks {
        /// Which.
        tasks: Vec<TaskId>,
        /// Now.
        at: Timestamp,
    },
    /// Protects tasks from the schedulers of their services, or ends that. Left out are unknown tasks, tasks of no service, tasks that are to
    /// stop, and tasks with which more would be protected than their service wants. Valid always. Emits `TaskChanged` for each that changed.
    /// With [`Feature::TaskProtection`](super::Feature) alone.
    UpdateTaskProtection {
        /// Which.
        tasks: Vec<TaskId>,
        /// Until when; `None` ends it.
        protected_until: Option<Timestamp>,
        /// Now.
        at: Timestamp,
    },
    /// What a host says of its tasks. Reports of tasks that are not on this host, or that would move a task back,
    /// are left out. With [`Feature::LeadersClock`](super::Feature), their times are held to `at`. Valid when the host
    /// exists. Emits `TaskChanged` for each that changed.
    RecordTaskReports {
        /// The host.
        container_instance: ContainerInstanceId,
        /// The reports.
        reports: Vec<TaskReport>,
        /// Now.
        at: Timestamp,
    },
    /// What several hosts say of their tasks, each as with [`Command::RecordTaskReports`]; hosts that do not exist are left out. Valid always.
    /// With [`Feature::ReportsOfSeveralHosts`](super::Feature) alone.
    RecordReportsOfHosts {
        /// The hosts, each once at most.
        hosts: Vec<HostReports>,
    },
    /// What the agent of a host that speaks ECS's own API says of a task: what changed, and nothing of what did not. What would move the task or a
    /// container back is left out. Valid when the task exists, is on a host that is there, and that host has such an agent. Emits `TaskChanged`
    /// if anything changed. With [`Feature::EcsAgents`](super::Feature) alone.
    SubmitStateChange(Box<StateChange>),
    /// What a host says of ports that programs which are no tasks hold: all of them, so that a later list replaces an earlier one. Valid
    /// when the host exists. Emits `ContainerInstanceChanged` if they are others than before.
    RecordForeignPorts {
        /// The host.
        container_instance: ContainerInstanceId,
        /// The ports.
        ports: Ports,
    },
    /// Removes what has been over for long. Valid always. Emits `TaskForgotten` for each task.
    Forget {
        /// Stopped tasks.
        tasks: Vec<TaskId>,
        /// Inactive services.
        services: Vec<ServiceKey>,
        /// Inactive container instances.
        container_instances: Vec<ContainerInstanceId>,
        /// Inactive clusters. With [`Feature::ForgottenClusters`](super::Feature) alone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        clusters: Vec<ClusterKey>,
    },
    /// An agent has a session: makes its container instance, or brings it up to date. A host that comes back with less
    /// than its tasks hold keeps them, and takes none until there is room. Valid when the cluster is active (the
    /// cluster `default` is created) and what the agent has been was not deregistered. Emits `ContainerInstanceRegistered`.
    RegisterContainerInstance {
        /// Id for a new container instance.
        id: ContainerInstanceId,
        /// What the agent has been since its process began.
        previous: Option<ContainerInstanceId>,
        /// The cluster.
        cluster: ClusterKey,
        /// The agent's identity.
        agent: AgentId,
        /// The host.
        host: HostDescription,
        /// Now.
        at: Timestamp,
    },
    /// An agent's session has ended. Valid when the host exists. Emits `ContainerInstanceChanged`. A host that was told to sleep sleeps now: its tasks
    /// count as stopped, and `PowerChanged` and `TaskChanged` are emitted as well.
    RecordAgentDisconnected {
        /// The host.
        container_instance: ContainerInstanceId,
        /// When something was last heard of the agent; not after `at`.
        last_heard_at: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// Gives up on a host whose agent stays away: its tasks count as stopped. Valid when the agent is not connected.
    /// Emits `ContainerInstanceChanged`, and `TaskChanged` for each task.
    DeclareHostLost {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Why, in a sentence for the tasks' `stoppedReason`.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// Sets whether a host takes tasks. Valid when it is not inactive. Emits `ContainerInstanceChanged`.
    UpdateContainerInstanceStatus {
        /// The host.
        container_instance: ContainerInstanceId,
        /// `Active` or `Draining`.
        status: ContainerInstanceStatus,
        /// Now. With [`Feature::HostVersions`](super::Feature) alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// Takes a host a step on between being awake and asleep. Valid when it stands where that step begins; to sleep, when it has no tasks but those of
    /// daemons. Emits `ContainerInstanceChanged` and `PowerChanged`. With [`Feature::ManagedScaling`](super::Feature) alone.
    ChangePower {
        /// The host.
        container_instance: ContainerInstanceId,
        /// The step.
        change: PowerChange,
        /// Now.
        at: Timestamp,
    },
    /// Takes a host out of its cluster. Valid when it has no tasks, or `force`: they then count as stopped. Emits
    /// `ContainerInstanceDeregistered`, and `TaskChanged` for each task.
    DeregisterContainerInstance {
        /// The host.
        container_instance: ContainerInstanceId,
        /// Whether running tasks are no obstacle.
        force: bool,
        /// Now.
        at: Timestamp,
    },
    /// Puts attributes on hosts. Valid when every host exists and has room for them; else nothing changes. Emits `ContainerInstanceChanged`.
    PutAttributes {
        /// Host, name and value.
        attributes: Vec<(ContainerInstanceId, String, Option<String>)>,
    },
    /// Takes users' attributes off hosts. Valid when every host exists and has it. Emits `ContainerInstanceChanged`.
    DeleteAttributes {
        /// Host and name.
        attributes: Vec<(ContainerInstanceId, String)>,
    },
    /// Adds tags, replacing those of the same key. Valid when the resource exists. Emits `TagsChanged`.
    TagResource {
        /// What to tag.
        resource: Taggable,
        /// The tags.
        tags: Tags,
    },
    /// Removes tags by key. Valid when the resource exists. Emits `TagsChanged`.
    UntagResource {
        /// What to untag.
        resource: Taggable,
        /// The keys.
        keys: Vec<String>,
    },
    /// Changes documents, all or none. Valid when what each expects is there. Emits `DocumentChanged` for each that changed.
    ChangeDocuments {
        /// The changes; at most [`MAX_DOCUMENT_CHANGES`](super::MAX_DOCUMENT_CHANGES).
        changes: Vec<DocumentChange>,
    },
    /// Begins to move tasks. Valid when the cluster is active, no other rebalancing of it is under way, and there are at most
    /// [`MAX_MOVES`](super::MAX_MOVES) moves. Emits `RebalanceChanged`. With [`Feature::Rebalancing`](super::Feature) alone, as are the next three.
    BeginRebalance(Box<Rebalance>),
    /// Begins a move, or gives one that has begun its replacement. With a replacement, creates that; without, wants the task stopped. Valid when
    /// the move waits, or has no replacement yet, and the replacement has the host that the move names and can be created as with
    /// [`Command::CreateTasks`]. Emits `RebalanceChanged` and `TaskChanged`.
    MoveTask(Box<MoveTask>),
    /// What a reconciler found out about moves. Valid when that rebalancing is under way, none of the moves named is over, and, for it to end, all
    /// are. Emits `RebalanceChanged`.
    RecordRebalance(Box<RebalanceProgress>),
    /// Brings the deadline forward to now. Valid when a rebalancing of the cluster is under way. Emits `RebalanceChanged`.
    StopRebalance {
        /// The cluster.
        cluster: ClusterKey,
        /// Now.
        at: Timestamp,
    },
    /// Makes an alarm; of one that is there, writes anew what it is meant to watch. Valid when it is not too large, and there are not too many
    /// in its account and region. Emits `AlarmChanged`. With [`Feature::Alarms`](super::Feature) alone, as are the next two.
    PutAlarm(Box<Alarm>),
    /// Deletes alarms; unknown ones are left out. Valid always. Emits `AlarmChanged` for each.
    DeleteAlarms {
        /// Which.
        alarms: Vec<AlarmKey>,
    },
    /// Sets what an alarm says. Valid when it exists. Emits `AlarmChanged`, and, where it goes off, `ServiceUpdated` for each service with a
    /// deployment on its way that monitors it.
    SetAlarmState {
        /// Which.
        alarm: AlarmKey,
        /// What it says.
        state: AlarmState,
        /// Why, in words.
        reason: String,
        /// Why, as JSON.
        reason_data: Option<String>,
        /// Now.
        at: Timestamp,
    },
    /// Lets the group use what belongs to a level. Proposed once every member knows it. Valid when it is higher than the level
    /// before. Emits `FeatureLevelRaised`.
    RaiseFeatureLevel(FeatureLevel),
    /// Empties the state, but for the feature level and documents. For tests only; the shell refuses it unless it was started for testing. Emits `StateReset`.
    Reset,
}

/// The caller's token for idempotency, and a digest of the request that it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientToken {
    /// Account and region of the caller.
    pub scope: Scope,
    /// Operation, since the same token may be used with two.
    pub operation: String,
    /// The token.
    pub token: String,
    /// Digest of the request without the token.
    pub request_digest: String,
    /// Now; tokens are remembered for 24 hours, or until very many have come after them.
    pub at: Timestamp,
}

/// Changes to a cluster; `None` leaves as is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCluster {
    /// Which.
    pub cluster: ClusterKey,
    /// Settings that replace those of the same name.
    pub settings: Vec<ClusterSetting>,
    /// Changes to how it keeps in touch with its hosts.
    pub host_settings: HostSettingsChange,
}

/// Changes to a capacity provider; `None` leaves as is. Without managed scaling, what was `true` of the others is `false`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCapacityProvider {
    /// Which.
    pub capacity_provider: CapacityProviderKey,
    /// Whether and how its hosts are woken and put to sleep.
    pub managed_scaling: Option<ManagedScalingChanges>,
    /// Whether hosts with tasks are never put to sleep.
    pub managed_termination_protection: Option<bool>,
    /// Whether hosts are drained before they sleep.
    pub managed_draining: Option<bool>,
}

/// Changes to a service; `None` leaves as is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateService {
    /// Which.
    pub service: ServiceKey,
    /// New desired count.
    pub desired_count: Option<u32>,
    /// What the service is to run; a definition other than the current one begins a deployment.
    pub task_definition: Option<TaskDefinitionKey>,
    /// Whether a deployment begins in any case.
    pub force_new_deployment: bool,
    /// Id of the deployment, where one begins.
    pub deployment_id: DeploymentId,
    /// New constraints, for tasks made from now on.
    pub placement_constraints: Option<Vec<PlacementConstraint>>,
    /// New strategy, for tasks made from now on.
    pub placement_strategy: Option<Vec<PlacementStrategy>>,
    /// New division among capacity providers, for tasks made from now on; an empty one ends it. With
    /// [`Feature::CapacityProviders`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<CapacityProviderStrategy>,
    /// The platform version that its tasks are to run on; another than before begins a deployment. With
    /// [`Feature::FargatePlatform`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<PlatformVersion>,
    /// Where its tasks are to get their addresses from; another than before begins a deployment. With
    /// [`Feature::TaskNetworkInterfaces`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    /// Changes to the deployment configuration.
    pub deployment_configuration: DeploymentConfigurationChanges,
    /// New seconds in which the health checks of a task may fail. With [`Feature::ContainerHealth`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_secs: Option<u32>,
    /// Whether its tasks are brought back to evenness over availability zones. With
    /// [`Feature::ZoneRebalancing`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_rebalancing: Option<bool>,
    /// What it has as a managed daemon from now on. With [`Feature::ManagedDaemons`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_settings: Option<DaemonSettings>,
    /// New source of tags.
    pub propagate_tags: Option<PropagateTags>,
    /// Whether new tasks get managed tags.
    pub enable_ecs_managed_tags: Option<bool>,
    /// Now.
    pub at: Timestamp,
}

impl UpdateService {
    /// One that changes nothing yet.
    #[must_use]
    pub fn blank(service: ServiceKey, deployment_id: DeploymentId, at: Timestamp) -> Self {
        Self {
            service,
            desired_count: None,
            task_definition: None,
            force_new_deployment: false,
            deployment_id,
            placement_constraints: None,
            placement_strategy: None,
            capacity_provider_strategy: None,
            platform_version: None,
            network_configuration: None,
            deployment_configuration: DeploymentConfigurationChanges::default(),
            health_check_grace_period_secs: None,
            zone_rebalancing: None,
            daemon_settings: None,
            propagate_tags: None,
            enable_ecs_managed_tags: None,
            at,
        }
    }
}

/// How a service deployment is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopType {
    /// The service returns to the last revision that it has reached.
    Rollback,
    /// The service stays as it is.
    Abort,
}

/// A move that begins, or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveTask {
    /// The cluster.
    pub cluster: ClusterKey,
    /// Id of the rebalancing.
    pub rebalance: String,
    /// Which of its moves, counted from 0.
    pub number: u32,
    /// The task's replacement, placed already; `None` where the task has to stop first.
    pub replacement: Option<Task>,
    /// Why the task stops, where it has to first.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// A resource that can carry tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taggable {
    /// A cluster.
    Cluster(ClusterKey),
    /// A service.
    Service(ServiceKey),
    /// A task.
    Task(TaskId),
    /// A revision of a task definition.
    TaskDefinition(TaskDefinitionKey),
    /// A container instance.
    ContainerInstance(ContainerInstanceId),
    /// A capacity provider.
    CapacityProvider(CapacityProviderKey),
    /// An alarm. With [`Feature::Alarms`](super::Feature) alone.
    Alarm(AlarmKey),
}
