//! The replicated state and the one function that changes it: [`apply`]. Pure: all ids and times travel inside
//! the commands, so equal logs give equal states on every member. Maps are persistent: a clone is a cheap
//! snapshot that readers, the reconciler and the snapshot writer use while the original goes on.

mod alarms;
mod allocation;
mod attributes;
mod backoff;
mod capacity_providers;
mod clusters;
mod command;
mod container_instances;
mod daemons;
mod documents;
mod event;
mod feature_level;
mod hosts_seen;
mod lifecycle;
mod new_history;
mod power;
mod preemption;
mod progress;
mod protection;
mod provisioning;
mod rebalances;
mod rejection;
mod service_deployments;
mod services;
mod sharing;
mod snapshot;
mod submitted;
mod tags;
mod task_definitions;
mod task_sets;
mod tasks;
mod tokens;
mod view;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::model::{
    AgentId, Alarm, AlarmKey, CapacityProvider, CapacityProviderKey, CapacityProviderName, Cluster, ClusterKey,
    ContainerInstance, ContainerInstanceId, Family, LogIndex, Rebalance, Scope, Service, ServiceKey, Task,
    TaskDefinition, TaskDefinitionKey, TaskId, Timestamp,
};

pub use alarms::{MAX_ALARM_DEFINITION_BYTES, MAX_ALARMS};
pub use allocation::Allocation;
pub use backoff::{STAYED_UP_MS, delay_ms as backoff_delay_ms, keeps_failing};
pub use command::{
    ClientToken, Command, MoveTask, StopType, Taggable, UpdateCapacityProvider, UpdateCluster, UpdateService,
};
pub use daemons::MissingDaemon;
pub use documents::{Document, DocumentChange, Expected, MAX_DOCUMENT_BYTES, MAX_DOCUMENT_CHANGES};
pub use event::{Event, TaskChange};
pub use feature_level::{Feature, FeatureLevel, FeatureLevelTooHigh, NEWEST_FEATURE_LEVEL};
pub use hosts_seen::HostsSeen;
pub(crate) use lifecycle::serving;
pub use progress::{
    DeploymentProgress, LifecycleProgress, RebalanceProgress, ServiceDeploymentProgress, ServiceProgress,
    ServingRevision, TaskSetProgress,
};
pub use provisioning::{MAX_PROVISIONING_TASKS, PlaceTask};
pub use rebalances::MAX_MOVES;
pub use rejection::{MAX_ATTRIBUTES, MAX_TAGS, Rejection};
pub use service_deployments::{MAX_SERVICE_DEPLOYMENTS, ServiceTaskCounts};
pub use snapshot::{SnapshotError, SnapshotRecord};
pub use task_sets::MAX_TASK_SETS;
pub use tokens::{RememberedRequest, TokenKey};

/// Everything that the members agree on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterState {
    applied: LogIndex,
    feature_level: Option<FeatureLevel>,
    clusters: OrdMap<ClusterKey, Arc<Cluster>>,
    capacity_providers: OrdMap<CapacityProviderKey, Arc<CapacityProvider>>,
    task_definitions: OrdMap<TaskDefinitionKey, Arc<TaskDefinition>>,
    /// Last revision of each family, so that none is used twice.
    last_revisions: OrdMap<(Scope, Family), u32>,
    services: OrdMap<ServiceKey, Arc<Service>>,
    tasks: OrdMap<TaskId, Arc<Task>>,
    container_instances: OrdMap<ContainerInstanceId, Arc<ContainerInstance>>,
    tokens: tokens::Tokens,
    documents: OrdMap<String, Arc<Document>>,
    /// The rebalancing of each cluster that is under way, or the last one.
    rebalances: OrdMap<ClusterKey, Arc<Rebalance>>,
    alarms: OrdMap<AlarmKey, Arc<Alarm>>,
    index: Index,
}

/// What follows from the rest of the state and is kept beside it for speed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Index {
    allocations: OrdMap<ContainerInstanceId, Arc<Allocation>>,
    agents: OrdMap<(ClusterKey, AgentId), ContainerInstanceId>,
    instances_by_cluster: OrdSet<(ClusterKey, ContainerInstanceId)>,
    /// Hosts that are not deregistered.
    host_counts: OrdMap<ClusterKey, usize>,
    /// Hosts whose agent is connected, by cluster and the moment since which it is.
    connected: OrdSet<(ClusterKey, Timestamp, ContainerInstanceId)>,
    /// Hosts whose tasks are to move away.
    draining: OrdSet<ContainerInstanceId>,
    /// Hosts that are called and have not come.
    waking: OrdSet<ContainerInstanceId>,
    /// Hosts that are not awake, deregistered ones left out.
    not_awake: OrdSet<(ClusterKey, ContainerInstanceId)>,
    /// How many of each cluster sleep, or have not come yet.
    sleeper_counts: OrdMap<ClusterKey, usize>,
    /// Daemons that hosts are to have before other tasks, and on the hosts of which capacity providers.
    critical_daemons: OrdMap<ServiceKey, Vec<CapacityProviderName>>,
    /// Hosts without a daemon that they are to have before other tasks, and which.
    missing_daemons: OrdMap<ContainerInstanceId, MissingDaemon>,
    /// Hosts that were given up and are not back, by cluster and the moment they were given up.
    lost: OrdSet<(ClusterKey, Timestamp, ContainerInstanceId)>,
    tasks_by_cluster: OrdMap<ClusterKey, OrdSet<TaskId>>,
    tasks_by_service: OrdMap<ServiceKey, OrdSet<TaskId>>,
    /// Of the tasks of each service, those that are not over: few beside those that are remembered where tasks keep failing. Themselves, since a
    /// look at one among all tasks takes longer than what is wanted to know of it.
    live_by_service: OrdMap<ServiceKey, OrdMap<TaskId, Arc<Task>>>,
    tasks_by_instance: OrdSet<(ContainerInstanceId, TaskId)>,
    /// Tasks outside services that wait for a host.
    provisioning: OrdMap<ClusterKey, OrdSet<TaskId>>,
    /// Tasks that are ending so that a task of a service fits in their place, by that service.
    making_room: OrdMap<ServiceKey, OrdSet<TaskId>>,
    /// Tasks outside services that say a priority and are not over: those of them that may be stopped for others.
    prioritized: OrdMap<ClusterKey, OrdSet<TaskId>>,
    /// Revisions that are being deleted.
    deleting: OrdSet<TaskDefinitionKey>,
    /// Stopped tasks by the moment they stopped, the oldest first.
    stopped: OrdSet<(Timestamp, TaskId)>,
}

/// Applies `command`, which stands at `index` of the log.
///
/// # Errors
/// The reason for which the command was refused; the state then is as before.
pub fn apply(state: &mut ClusterState, index: LogIndex, command: &Command) -> Result<Vec<Event>, Rejection> {
    state.applied = index;
    let mut events = change(state, index, command)?;
    daemons::settle(state, &mut events);
    power::settle(state, &events);
    Ok(events)
}

fn change(state: &mut ClusterState, index: LogIndex, command: &Command) -> Result<Vec<Event>, Rejection> {
    match command {
        Command::CreateCluster(cluster) => clusters::create(state, cluster),
        Command::UpdateCluster(update) => clusters::update(state, update),
        Command::DeleteCluster { cluster, at } => clusters::delete(state, cluster, *at),
        Command::CreateCapacityProvider(provider) => capacity_providers::create(state, provider),
        Command::DeleteCapacityProvider { capacity_provider } => capacity_providers::delete(state, capacity_provider),
        Command::UpdateCapacityProvider(update) => capacity_providers::update(state, update),
        Command::PutClusterCapacityProviders {
            cluster,
            capacity_providers,
            default_strategy,
        } => capacity_providers::put_of_cluster(state, cluster, capacity_providers, default_strategy),
        Command::RegisterTaskDefinition(definition) => task_definitions::register(state, definition),
        Command::DeregisterTaskDefinition { task_definition, at } => {
            task_definitions::deregister(state, task_definition, *at)
        }
        Command::DeleteTaskDefinition { task_definition } => task_definitions::delete(state, task_definition),
        Command::DeleteDaemonTaskDefinition { task_definition, at } => {
            task_definitions::delete_of_daemons(state, task_definition, *at)
        }
        Command::DeleteDaemon { daemon, deployment, at } => daemons::delete(state, daemon, deployment, *at),
        Command::ForgetTaskDefinitions { task_definitions } => {
            task_definitions::forget(state, task_definitions);
            Ok(vec![])
        }
        Command::CreateService { service, client_token } => services::create(state, service, client_token.as_ref()),
        Command::UpdateService(update) => services::update(state, update),
        Command::DeleteService { service, force, at } => services::delete(state, service, *force, *at),
        Command::RecordServiceProgress(progress) => services::record_progress(state, progress),
        Command::StopServiceDeployment {
            service,
            service_deployment,
            stop_type,
            at,
        } => service_deployments::stop(state, service, service_deployment, *stop_type, *at),
        Command::CreateTaskSet {
            service,
            task_set,
            client_token,
        } => task_sets::create(state, service, task_set, client_token.as_ref()),
        Command::UpdateTaskSet {
            service,
            task_set,
            scale,
            at,
        } => task_sets::update(state, service, task_set, *scale, *at),
        Command::UpdateServicePrimaryTaskSet { service, task_set, at } => {
            task_sets::make_primary(state, service, task_set, *at)
        }
        Command::DeleteTaskSet {
            service,
            task_set,
            force,
            at,
        } => task_sets::delete(state, service, task_set, *force, *at),
        Command::ContinueServiceDeployment {
            service,
            service_deployment,
            hook,
            action,
            at,
        } => lifecycle::resume(state, service, service_deployment, hook, *action, *at),
        Command::RunTasks { tasks, client_token } => tasks::run(state, tasks, client_token.as_ref()),
        Command::PlaceTasks { placements, at } => provisioning::place(state, placements, *at),
        Command::CreateTasks { tasks } => tasks::create_for_service(state, tasks),
        Command::StopTasks {
            tasks,
            stop_code,
            reason,
            at,
        } => Ok(tasks::stop(state, tasks, *stop_code, reason, *at)),
        Command::PreemptTasks { tasks, by, reason, at } => preemption::preempt(state, tasks, by, reason, *at),
        Command::RecordFailedHealthChecks { tasks, at } => Ok(tasks::record_failed_health_checks(state, tasks, *at)),
        Command::UpdateTaskProtection {
            tasks,
            protected_until,
            at,
        } => Ok(protection::update(state, tasks, *protected_until, *at)),
        Command::RecordTaskReports {
            container_instance,
            reports,
            at,
        } => tasks::record_reports(state, *container_instance, reports, *at),
        Command::RecordReportsOfHosts { hosts } => Ok(tasks::record_reports_of_hosts(state, hosts)),
        Command::SubmitStateChange(change) => submitted::submit(state, change),
        Command::RecordForeignPorts {
            container_instance,
            ports,
        } => container_instances::record_foreign_ports(state, *container_instance, ports),
        Command::Forget {
            tasks,
            services,
            container_instances,
            clusters,
        } => Ok(forget(state, tasks, services, container_instances, clusters)),
        Command::RegisterContainerInstance {
            id,
            previous,
            cluster,
            agent,
            host,
            at,
        } => {
            container_instances::check_not_deregistered(state, *previous, agent)?;
            container_instances::register(state, *id, cluster, agent, host, *at)
        }
        Command::RecordAgentDisconnected {
            container_instance,
            last_heard_at,
            at,
        } => container_instances::record_disconnected(state, *container_instance, *last_heard_at, *at),
        Command::DeclareHostLost {
            container_instance,
            reason,
            at,
        } => container_instances::declare_lost(state, *container_instance, reason, *at),
        Command::UpdateContainerInstanceStatus {
            container_instance,
            status,
            at,
        } => container_instances::update_status(state, *container_instance, *status, *at),
        Command::ChangePower {
            container_instance,
            change,
            at,
        } => power::change(state, *container_instance, change, *at),
        Command::DeregisterContainerInstance {
            container_instance,
            force,
            at,
        } => container_instances::deregister(state, *container_instance, *force, *at),
        Command::PutAttributes { attributes } => attributes::put(state, attributes),
        Command::DeleteAttributes { attributes } => attributes::delete(state, attributes),
        Command::TagResource { resource, tags } => tags::tag(state, resource, tags),
        Command::UntagResource { resource, keys } => tags::untag(state, resource, keys),
        Command::ChangeDocuments { changes } => documents::change(state, index, changes),
        Command::BeginRebalance(rebalance) => rebalances::begin(state, rebalance),
        Command::MoveTask(step) => rebalances::move_task(state, step),
        Command::RecordRebalance(progress) => rebalances::record(state, progress),
        Command::StopRebalance { cluster, at } => rebalances::stop(state, cluster, *at),
        Command::PutAlarm(alarm) => alarms::put(state, alarm),
        Command::DeleteAlarms { alarms } => Ok(alarms::delete(state, alarms)),
        Command::SetAlarmState {
            alarm,
            state: value,
            reason,
            reason_data,
            at,
        } => alarms::set_state(state, alarm, *value, reason, reason_data.as_deref(), *at),
        Command::RaiseFeatureLevel(level) => feature_level::raise(state, level),
        Command::Reset => {
            *state = ClusterState {
                applied: index,
                feature_level: state.feature_level.take(),
                documents: std::mem::take(&mut state.documents),
                ..ClusterState::default()
            };
            Ok(vec![Event::StateReset])
        }
    }
}

fn forget(
    state: &mut ClusterState,
    tasks: &[TaskId],
    services: &[ServiceKey],
    container_instances: &[ContainerInstanceId],
    clusters: &[ClusterKey],
) -> Vec<Event> {
    let mut events = tasks::forget(state, tasks);
    events.extend(services::forget(state, services));
    events.extend(container_instances::forget(state, container_instances));
    clusters::forget(state, clusters);
    events
}
