//! The nouns of ECS as types: what the replicated state is made of. Pure data; the rules that change it are
//! in [`crate::state`].

mod alarm;
mod arn;
mod attribute;
mod capacity_provider;
mod cluster;
mod container_dependency;
mod container_instance;
mod daemon;
mod deployment_configuration;
mod deployment_criteria;
mod deployment_strategy;
mod fargate;
mod health;
mod host_settings;
mod lifecycle;
mod names;
mod network;
mod placement;
mod placement_record;
mod power;
mod priority;
mod rebalance;
mod report;
mod restart_policy;
mod service;
mod service_dependencies;
mod service_deployment;
mod state_change;
mod task;
mod task_definition;
mod task_record;
mod task_set;
mod task_spec;
mod traffic;
mod units;

pub use alarm::{Alarm, AlarmKey, AlarmState, DeploymentAlarms, MAX_ALARM_NAMES, MonitoredAlarms};
pub use arn::{Arn, ArnResource};
pub use attribute::{Attributes, names as attribute_names};
pub use capacity_provider::{
    CapacityProvider, CapacityProviderKey, CapacityProviderStrategy, CapacityProviderStrategyItem, ManagedScaling,
    ManagedScalingChanges, UnworkableScaling,
};
pub use cluster::{Cluster, ClusterSetting, ClusterStatus};
pub use container_dependency::{ContainerDependency, DependencyCondition};
pub use container_instance::{
    ContainerInstance, ContainerInstanceStatus, EcsAgent, HostDescription, RESERVED_TCP_PORTS,
};
pub use daemon::{DaemonAbsence, DaemonRevision, DaemonSettings, ManagedDaemon, is_group_of_daemon};
pub use deployment_configuration::{
    CircuitBreaker, DeploymentConfiguration, DeploymentConfigurationChanges, MAX_HOOKS, UnworkableConfiguration,
};
pub use deployment_criteria::{EarlySuccess, FailureThreshold, SourceCleanup};
pub use deployment_strategy::{CanaryShift, DeploymentStrategy, LinearShift, StrategyKind};
pub use fargate::{
    CpuArchitecture, FARGATE, PlatformVersion, PredefinedCapacityProvider, RuntimePlatform, launch_type_of,
};
pub use health::{HealthCheck, HealthStatus, TaskHealth};
pub use host_settings::{HostSettings, HostSettingsChange, HostSettingsError};
pub use lifecycle::{HookAction, HookRun, HookStatus, Lifecycle, LifecycleHook, LifecycleStage};
pub use names::{
    AccountId, AgentId, AlarmName, CapacityProviderName, ClusterKey, ClusterName, ContainerInstanceId, DeploymentId,
    Family, Region, Scope, ServiceKey, ServiceName, TaskDefinitionKey, TaskId,
};
pub use network::{NetworkConfiguration, NetworkInterface};
pub use placement::{BinpackResource, PlacementConstraint, PlacementExtension, PlacementStrategy};
pub use placement_record::{InvalidPlacementRecord, Manner, PlacementRecord, RecordedPlacement, RecordedScore};
pub use power::{MAX_CALLS, Power, PowerChange, PowerRefusal, PowerState, REST_MS};
pub use priority::{InvalidPriorityTag, PREEMPTION_TAG, Priority, allows_preemption, read_preemption};
pub use rebalance::{MoveStatus, Rebalance, RebalanceGoal, TaskMove};
pub use report::{ContainerReport, ContainerStatus, HostReports, NetworkBinding, TaskReport};
pub use restart_policy::RestartPolicy;
pub use service::{
    Deployment, DeploymentStatus, NoZoneRebalancing, PropagateTags, RolloutState, SchedulingStrategy, Service,
    ServiceEvent, ServiceStatus, StartBackoff, UnsupportedByDaemon,
};
pub use service_dependencies::{DEPENDS_ON_TAG, InvalidDependencies, dependencies_of, read_dependencies};
pub use service_deployment::{
    ContainerImage, CountedFailures, ServiceDeployment, ServiceDeploymentStatus, ServiceRevision, ServiceRollback,
    SourceRevision, TaskCounts,
};
pub use state_change::{ContainerChange, StateChange};
pub use task::{
    Container, ContainerOverride, DesiredStatus, StopCode, Task, TaskBlueprint, TaskOrigin, TaskOverride, TaskStatus,
};
pub use task_definition::{
    ContainerDefinition, PortMapping, Ports, TaskDefinition, TaskDefinitionStatus, TransportProtocol,
};
pub use task_set::{DeploymentController, NotAScale, Scale, TaskSet, TaskSetStatus};
pub use task_spec::{ContainerSpec, NetworkMode, TaskSpec};
pub use traffic::{MoreThanAll, RevisionTraffic, Traffic, TrafficShare};
pub use units::{CpuUnits, LogIndex, LogPosition, MemoryMib, Resources, Timestamp};

/// Tags of a resource, in key order as ECS returns them.
pub type Tags = std::collections::BTreeMap<String, String>;
