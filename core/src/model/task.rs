//! Tasks: instances of a task definition, each for one host.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderName, ClusterKey, ContainerInstanceId, ContainerStatus, CpuUnits, DeploymentId, HealthStatus,
    MemoryMib, NetworkBinding, NetworkInterface, PlacementConstraint, PlacementRecord, PlacementStrategy, Ports,
    Resources, ServiceKey, ServiceName, Tags, TaskDefinition, TaskDefinitionKey, TaskHealth, TaskId, Timestamp,
    task_record::TaskRecord,
};

/// Where a task is on its way; it only ever moves to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskStatus {
    /// Wanted, and not yet on a host.
    Provisioning,
    /// Given to a host that has not begun, or is fetching images.
    Pending,
    /// The host is preparing its network and containers.
    Activating,
    /// Its containers run.
    Running,
    /// About to be stopped.
    Deactivating,
    /// Its containers have been told to stop.
    Stopping,
    /// The host is cleaning up after it.
    Deprovisioning,
    /// Over; holds nothing.
    Stopped,
}

impl TaskStatus {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What the cluster wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DesiredStatus {
    /// To run.
    Running,
    /// To end.
    Stopped,
}

impl DesiredStatus {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// Why a task stopped, as a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopCode {
    /// It could not be started.
    TaskFailedToStart,
    /// An essential container ended.
    EssentialContainerExited,
    /// Someone called `StopTask`.
    UserInitiated,
    /// Its service no longer wanted it.
    ServiceSchedulerInitiated,
    /// Its host was lost or deregistered.
    TerminationNotice,
    /// Its host drains, and it was given to the capacity provider `FARGATE_SPOT`. With
    /// [`Feature::FargatePlatform`](crate::state::Feature) alone.
    SpotInterruption,
}

impl StopCode {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::TerminationNotice => "TerminationNotice",
            Self::SpotInterruption => "SpotInterruption",
        }
    }
}

/// What asked for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TaskOrigin {
    /// A deployment of a service.
    Service {
        /// The service.
        service: ServiceKey,
        /// The deployment.
        deployment: DeploymentId,
    },
    /// `RunTask` or `StartTask`.
    Standalone,
}

/// Values that a task has instead of its definition's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOverride {
    /// Task-level CPU limit.
    pub cpu: Option<CpuUnits>,
    /// Task-level memory limit.
    pub memory: Option<MemoryMib>,
    /// By container.
    pub containers: Vec<ContainerOverride>,
}

/// Values that one container has instead of its definition's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerOverride {
    /// Which container.
    pub name: String,
    /// Command.
    pub command: Option<Vec<String>>,
    /// Added to the definition's; wins where a name is in both.
    pub environment: Vec<(String, String)>,
    /// CPU share.
    pub cpu: Option<CpuUnits>,
    /// Hard memory limit.
    pub memory: Option<MemoryMib>,
    /// Soft memory limit.
    pub memory_reservation: Option<MemoryMib>,
}

/// A container as the host last reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Name within the task.
    pub name: Arc<str>,
    /// Image reference.
    pub image: Arc<str>,
    /// Digest that the reference resolved to.
    pub image_digest: Option<Arc<str>>,
    /// Id at the container runtime.
    pub runtime_id: Option<String>,
    /// Where it is.
    pub last_status: ContainerStatus,
    /// Exit code, once it has ended and the code is known.
    pub exit_code: Option<i32>,
    /// What went wrong, in a sentence.
    pub reason: Option<String>,
    /// Ports as bound on the host.
    pub network_bindings: Vec<NetworkBinding>,
    /// What its health check says; `None` where it has none, or none has said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TaskRecord", into = "TaskRecord")]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What it has in common with tasks like it; read as if it were the task's own.
    pub blueprint: Arc<TaskBlueprint>,
    /// What the cluster wants.
    pub desired_status: DesiredStatus,
    /// What the host last reported.
    pub last_status: TaskStatus,
    /// The host; `None` until the task is placed, which it is before it is part of the state unless it waits for a host of its capacity provider.
    pub container_instance: Option<ContainerInstanceId>,
    /// The capacity provider that it was given to, and to whose hosts alone it goes; `None` if it may go to any. With
    /// [`Feature::CapacityProviders`](crate::state::Feature) alone.
    pub capacity_provider: Option<CapacityProviderName>,
    /// How its host was chosen; `None` if it was placed before that was recorded.
    pub placement: Option<PlacementRecord>,
    /// Containers in the order of the definition.
    pub containers: Vec<Container>,
    /// Counts the changes of this record, as ECS's `version`.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// By when, by the clock of the leader, it needs a host or is stopped; `None` of one that has its host, or had it before it was part of the state.
    /// With [`Feature::ProvisioningTasks`](crate::state::Feature) alone, as is the next.
    pub provision_until: Option<Timestamp>,
    /// When it got its host, where it waited for one.
    pub placed_at: Option<Timestamp>,
    /// When its host began to fetch images.
    pub pull_started_at: Option<Timestamp>,
    /// When its host had all images.
    pub pull_stopped_at: Option<Timestamp>,
    /// When it reached `RUNNING`.
    pub started_at: Option<Timestamp>,
    /// When a controller heard that it runs. This, by the clock of the leader, counts for what the cluster decides; the other times of the
    /// run are its host's, whose clock may be off.
    pub running_since: Option<Timestamp>,
    /// Until when, by the clock of the leader, its service's scheduler does not stop it. With
    /// [`Feature::TaskProtection`](crate::state::Feature) alone.
    pub protected_until: Option<Timestamp>,
    /// What its health checks say; `None` where it has none, or its host has not said anything. With
    /// [`Feature::ContainerHealth`](crate::state::Feature) alone.
    pub health: Option<TaskHealth>,
    /// The interface with its own address; `None` where it has none, or none yet. With
    /// [`Feature::TaskNetworkInterfaces`](crate::state::Feature) alone.
    pub network_interface: Option<NetworkInterface>,
    /// The service of its cluster for whose task it was stopped, if it was. With [`Feature::Preemption`](crate::state::Feature) alone.
    pub preempted_by: Option<ServiceName>,
    /// When its desired status became `STOPPED`.
    pub stopping_at: Option<Timestamp>,
    /// When its last container ended.
    pub execution_stopped_at: Option<Timestamp>,
    /// When a controller heard that it reached `STOPPED`; it is remembered for a while from then on.
    pub stopped_at: Option<Timestamp>,
    /// Why it stopped, as a code.
    pub stop_code: Option<StopCode>,
    /// Why it stopped, in a sentence.
    pub stopped_reason: Option<String>,
}

/// What the tasks of a deployment have in common, kept once for all of them: most of what there is to say of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskBlueprint {
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Its definition.
    pub task_definition: TaskDefinitionKey,
    /// What asked for it.
    pub origin: TaskOrigin,
    /// Group: `service:NAME`, `daemon:NAME`, `family:NAME`, or what the caller of `RunTask` said.
    pub group: String,
    /// Free text of the caller; the deployment id for a service's tasks.
    pub started_by: Option<String>,
    /// `EC2` or `FARGATE` where the caller named a launch type.
    pub launch_type: Option<String>,
    /// Values that differ from the definition's.
    pub overrides: TaskOverride,
    /// CPU and memory that it holds on its host until it has stopped.
    pub reservation: Resources,
    /// Fixed host ports that it holds on its host until it has stopped.
    pub host_ports: Ports,
    /// Constraints on where it may go, those of its definition included.
    pub placement_constraints: Vec<PlacementConstraint>,
    /// Preferences among hosts that fit.
    pub placement_strategy: Vec<PlacementStrategy>,
    /// Tags.
    pub tags: Tags,
}

impl Deref for Task {
    type Target = TaskBlueprint;

    fn deref(&self) -> &TaskBlueprint {
        &self.blueprint
    }
}

impl Task {
    /// A task of `definition` that is wanted from now on and has no id, no host, no tags and no placement strategy yet.
    #[must_use]
    pub fn new(cluster: ClusterKey, definition: &TaskDefinition, origin: TaskOrigin, now: Timestamp) -> Self {
        let blueprint = TaskBlueprint {
            cluster,
            task_definition: definition.key.clone(),
            group: match &origin {
                TaskOrigin::Service { service, .. } if service.is_of_daemon() => service.name.to_string(),
                TaskOrigin::Service { service, .. } => format!("service:{}", service.name),
                TaskOrigin::Standalone => format!("family:{}", definition.key.family),
            },
            origin,
            started_by: None,
            launch_type: None,
            overrides: TaskOverride::default(),
            reservation: definition.reservation(),
            host_ports: definition.fixed_host_ports(),
            placement_constraints: definition.placement_constraints.clone(),
            placement_strategy: vec![],
            tags: Tags::new(),
        };
        Self {
            id: TaskId(0),
            blueprint: Arc::new(blueprint),
            desired_status: DesiredStatus::Running,
            last_status: TaskStatus::Provisioning,
            container_instance: None,
            capacity_provider: None,
            placement: None,
            containers: definition.pending_containers(),
            version: 1,
            created_at: now,
            provision_until: None,
            placed_at: None,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            running_since: None,
            protected_until: None,
            health: None,
            network_interface: None,
            preempted_by: None,
            stopping_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
        }
    }

    /// What it has in common with tasks like it, to be changed for this one alone.
    pub fn blueprint_mut(&mut self) -> &mut TaskBlueprint {
        Arc::make_mut(&mut self.blueprint)
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        self.cluster.task_arn(self.id)
    }

    /// The service that the task belongs to.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceKey> {
        match &self.origin {
            TaskOrigin::Service { service, .. } => Some(service),
            TaskOrigin::Standalone => None,
        }
    }

    /// The deployment that the task belongs to.
    #[must_use]
    pub fn deployment(&self) -> Option<&DeploymentId> {
        match &self.origin {
            TaskOrigin::Service { deployment, .. } => Some(deployment),
            TaskOrigin::Standalone => None,
        }
    }

    /// How long it ran by its host's clock, as far as the host has said; never less than nothing.
    #[must_use]
    pub fn ran_for_ms(&self) -> Option<i64> {
        Some(self.execution_stopped_at?.ms_since(self.started_at?).max(0))
    }

    /// Whether it is to be replaced since its health checks have failed.
    #[must_use]
    pub fn has_failed_health_checks(&self) -> bool {
        self.health.is_some_and(|health| health.failed_at.is_some())
    }

    /// Whether its health checks have never passed; not of one that has none.
    #[must_use]
    pub fn was_never_healthy(&self) -> bool {
        self.health.is_some_and(|health| health.healthy_since.is_none())
    }

    /// Whether its service's scheduler must not stop it at `now`, unless the service is deleted by force.
    #[must_use]
    pub fn is_protected(&self, now: Timestamp) -> bool {
        self.desired_status == DesiredStatus::Running && self.protected_until.is_some_and(|until| until > now)
    }

    /// For which service it makes room, as long as it holds what that is to get.
    #[must_use]
    pub fn makes_room_for(&self) -> Option<&ServiceName> {
        self.preempted_by.as_ref().filter(|_| !self.is_stopped())
    }

    /// Whether it waits for a host of its capacity provider.
    #[must_use]
    pub fn is_provisioning(&self) -> bool {
        self.container_instance.is_none() && !self.is_stopped()
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.last_status == TaskStatus::Stopped
    }
}
