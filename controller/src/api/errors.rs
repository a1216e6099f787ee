//! The one place that gives AWS codes to what the controller refuses or cannot do. Pure.

use berth_aws::ecs::errors as ecs;
use berth_aws::error::common;
use berth_aws::{AwsError, Timestamp};
use berth_core::model::{
    CapacityProviderKey, MAX_ALARM_NAMES, MAX_HOOKS, PowerRefusal, ServiceKey, StrategyKind, TaskId,
    UnsupportedByDaemon, UnworkableConfiguration,
};
use berth_core::state::{MAX_ATTRIBUTES, MAX_TAGS, MAX_TASK_SETS, Rejection};

use super::ecs::{daemons, task_sets};
use super::ports::{AdministrationFailure, LogFailure, ProposeFailure, Unavailable};

/// What is said of a client token that comes with another request than before.
pub(super) const TOKEN_REUSED: &str = "The clientToken was used before with a request that has other parameters.";

/// Refuses what may not be recorded before every controller can read it: unless `is_upgraded`, `what` is not yet, such as "Alarms are not supported".
///
/// # Errors
/// What `error` makes of that.
pub(super) fn check_upgraded(is_upgraded: bool, error: fn(String) -> AwsError, what: &str) -> Result<(), AwsError> {
    match is_upgraded {
        true => Ok(()),
        false => Err(error(format!(
            "{what} yet: not every controller of the cluster has been upgraded."
        ))),
    }
}

/// The AWS error for a command that took no effect, or is not known to have.
pub(super) fn failure(failure: &ProposeFailure) -> AwsError {
    match failure {
        ProposeFailure::Rejected(rejection) => self::rejection(rejection),
        ProposeFailure::Unavailable(error) => unavailable(error),
    }
}

/// The AWS error for a controller that cannot serve.
pub(super) fn unavailable(error: &Unavailable) -> AwsError {
    match error {
        Unavailable::Overloaded(message) => common::THROTTLING.error(message.clone()),
        Unavailable::NoAnswer(message) => common::SERVICE_UNAVAILABLE.error(message.clone()),
        Unavailable::TooLarge(message) => ecs::CLIENT.error(message.clone()),
    }
}

/// The AWS error for what operators asked and did not get.
pub(super) fn administration(failure: &AdministrationFailure) -> AwsError {
    let message = sentence(&failure.to_string());
    match failure {
        AdministrationFailure::Refused(_) => ecs::INVALID_PARAMETER.error(message),
        AdministrationFailure::NotFound(_) => ecs::RESOURCE_NOT_FOUND.error(message),
        AdministrationFailure::Unavailable(_) => common::SERVICE_UNAVAILABLE.error(message),
    }
}

/// As errors of AWS are written: a capital first, and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    let mut sentence = first.unwrap_or_default() + characters.as_str();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

/// The AWS error for a log that could not be read.
pub(super) fn log_failure(task: TaskId, failure: &LogFailure) -> AwsError {
    match failure {
        LogFailure::NotConnected(_) => ecs::CLIENT.error(format!(
            "The log of task {task} cannot be read: {failure}. Try again once it is."
        )),
        LogFailure::Refused(why) => {
            ecs::RESOURCE_NOT_FOUND.error(format!("The log of task {task} cannot be read: {why}."))
        }
        LogFailure::NoAnswer(why) => {
            common::SERVICE_UNAVAILABLE.error(format!("The log of task {task} cannot be read now: {why}."))
        }
    }
}

/// Why somebody cannot have a host put to sleep or woken, and what to do.
fn power_refused(host: &str, why: &PowerRefusal) -> String {
    match why {
        PowerRefusal::NoSleepCommand => format!(
            "Host {host} cannot be put to sleep: its agent was started without --sleep-command, or a controller is on its machine."
        ),
        PowerRefusal::AgentAway => {
            format!("Host {host} cannot be put to sleep now: its agent, which would do so, is away.")
        }
        PowerRefusal::Protected { count, until } => {
            let (noun, verb) = if *count == 1 { ("task", "is") } else { ("tasks", "are") };
            let until = Timestamp(until.0).iso8601();
            format!(
                "Host {host} is not put to sleep: {count} {noun} on it {verb} protected from being stopped until {until}. Try again then, or with \
                 force, which has it wait for them (`berth hosts sleep --force --deadline TIME` stops them after that time). `berth hosts drain {host}` has \
                 the others leave meanwhile."
            )
        }
        PowerRefusal::Already => {
            format!("Host {host} is asleep by hand already; `berth hosts wake {host}` wakes it.")
        }
        PowerRefusal::Waking => format!(
            "Host {host} cannot be put to sleep now: it is being woken. Try again once it is awake, or asleep again since it did not come."
        ),
        PowerRefusal::FallingAsleep => {
            format!("Host {host} cannot be woken now: it is falling asleep. Try again once it sleeps.")
        }
        PowerRefusal::ShuttingDown => {
            format!(
                "The machine of host {host} shuts down: it can neither be put to sleep nor woken before it is back."
            )
        }
        PowerRefusal::AwayAndAwake => format!(
            "Host {host} cannot be woken: it was not put to sleep, and its agent is away. Look after the machine itself."
        ),
    }
}

/// The AWS error for a refused command, in ECS's words where ECS has them.
pub(super) fn rejection(rejection: &Rejection) -> AwsError {
    use Rejection as R;
    match rejection {
        R::ClusterNotFound(_) => cluster_not_found(),
        R::ClusterContainsContainerInstances(_) => ecs::CLUSTER_CONTAINS_CONTAINER_INSTANCES
            .error("The Cluster cannot be deleted while Container Instances are active or draining."),
        R::ClusterContainsServices(_) => {
            ecs::CLUSTER_CONTAINS_SERVICES.error("The Cluster cannot be deleted while Services are active.")
        }
        R::ClusterContainsTasks(_) => {
            ecs::CLUSTER_CONTAINS_TASKS.error("The Cluster cannot be deleted while Tasks are active.")
        }
        // In the words by which clients know it.
        R::TooManyProvisioningTasks(_) => client("Tasks provisioning capacity limit exceeded."),
        R::CapacityProviderNotFound(key) => capacity_provider_not_found(key),
        R::CapacityProviderExists(_) => ecs::CLIENT.error(
            "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the \
             capacity provider.",
        ),
        R::CapacityProviderAssociated { cluster, .. } => ecs::CLIENT.error(format!(
            "The capacity provider cannot be deleted because it is associated with cluster: {cluster}. Remove the capacity provider from the \
             cluster and try again."
        )),
        R::CapacityProviderNotAssociated(key) => ecs::INVALID_PARAMETER.error(format!(
            "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. \
             Associate the capacity provider with the cluster or specify a valid capacity provider and try again. Not associated: {}.",
            key.name
        )),
        R::ManagedScaling(why) => ecs::CLIENT.error(format!("The settings of the capacity provider are invalid: {why}.")),
        R::CapacityProviderInUse { capacity_provider, by } => ecs::RESOURCE_IN_USE.error(format!(
            "The specified capacity provider is in use and cannot be removed. The capacity provider {capacity_provider} is used by {by}."
        )),
        R::NewDeploymentNeeded(_) => ecs::INVALID_PARAMETER.error(
            "When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity \
             provider strategy on a service that is already using one, you must force a new deployment. Set forceNewDeployment to true; an empty \
             capacityProviderStrategy then has the service go back to its launch type.",
        ),
        R::TaskDefinitionActive(_) => ecs::CLIENT.error(
            "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
        ),
        R::TaskDefinitionNotFound(_) => ecs::CLIENT.error("TaskDefinition not found."),
        R::ServiceNotFound(key) if key.is_of_daemon() => daemons::not_found(),
        R::ServiceNotActive(key) if key.is_of_daemon() => daemons::not_active(),
        R::ServiceNotFound(_) => service_not_found(),
        R::ServiceNotActive(_) => service_not_active(),
        R::ServiceExists(_) => ecs::INVALID_PARAMETER.error("Creation of service was not idempotent."),
        R::ServiceScaledAboveZero(_) => {
            ecs::INVALID_PARAMETER.error("The service cannot be stopped while it is scaled above 0.")
        }
        R::ServiceDeploymentNotFound(..) => ecs::SERVICE_DEPLOYMENT_NOT_FOUND.error("The service deployment was not found."),
        R::ServiceDeploymentOver(key, id) => ecs::CONFLICT.error(format!(
            "The service deployment {} is over: only one that is under way can be stopped.",
            key.service_deployment_arn(id)
        )),
        R::HookNotAwaiting { service_deployment, hook } => ecs::INVALID_PARAMETER.error(format!(
            "The lifecycle hook {hook} of the service deployment {service_deployment} does not await action. DescribeServiceDeployments shows the hooks \
             that do."
        )),
        R::NoRevisionToReturnTo(key) => ecs::CONFLICT.error(format!(
            "The service {} has not reached any service revision yet that it could be rolled back to. Update it, or stop the service \
             deployment with the stop type ABORT.",
            key.name
        )),
        R::NoTaskSets(key) => task_sets::no_task_sets(key),
        R::DeployedByTaskSets(key) => ecs::INVALID_PARAMETER.error(format!(
            "The service {} has the deployment controller EXTERNAL: its task definition, network configuration and capacity provider strategy \
             are those of its task sets. Create another task set.",
            key.name
        )),
        R::TaskSetNotFound(key, id) => task_sets::not_found(key, id),
        R::TaskSetScaledAboveZero(_, id) => ecs::INVALID_PARAMETER.error(format!(
            "The task set {id} cannot be deleted while it is scaled above 0. Scale it to 0 first, or delete it with force."
        )),
        R::TooManyTaskSets(_) => ecs::LIMIT_EXCEEDED.error(format!(
            "A service can have at most {MAX_TASK_SETS} task sets. Delete one that is not needed any more."
        )),
        R::DeploymentConfiguration(why) => ecs::INVALID_PARAMETER.error(unworkable(*why)),
        R::NetworkConfigurationNeeded => {
            invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        }
        R::NetworkConfigurationNotValid => {
            invalid("Network Configuration is not valid for the given networkMode of this task definition.")
        }
        R::ZoneRebalancing(why) => invalid(format!(
            "availabilityZoneRebalancing ENABLED is not supported for this service: {why}. Set it to DISABLED, or change that."
        )),
        R::UnsupportedByDaemon(what) => unsupported_by_daemon(*what),
        R::ClientTokenReused { tasks } => ecs::CONFLICT
            .error(TOKEN_REUSED)
            .with_member("resourceIds", tasks.clone()),
        R::NotOfAnEcsAgent(task, host) => client(format!(
            "Task {task} is on container instance {host}, whose agent is Berth's and says by itself what becomes of it: such changes are \
             submitted by agents alone that registered by RegisterContainerInstance."
        )),
        R::TaskNotFound(_) => ecs::INVALID_PARAMETER.error("The referenced task was not found."),
        R::ContainerInstanceNotFound(_) => {
            ecs::INVALID_PARAMETER.error("The referenced container instance was not found.")
        }
        R::ContainerInstanceHasTasks(_) => ecs::INVALID_PARAMETER.error("Found running tasks on the instance."),
        R::PowerByHand { host, why } => ecs::CLIENT.error(power_refused(host, why)),
        R::AttributeNotFound { name, .. } => ecs::TARGET_NOT_FOUND.error(format!(
            "The container instance has no attribute {name} that was put by a user."
        )),
        R::TooManyAttributes(_) => ecs::ATTRIBUTE_LIMIT_EXCEEDED.error(format!(
            "A container instance can have at most {MAX_ATTRIBUTES} attributes that were put by users."
        )),
        R::HostSettings(error) => invalid(format!("{error}.")),
        R::RebalanceUnderWay(cluster) => client(format!(
            "Tasks of cluster {} are being moved already. Wait until that has ended, or stop it: berth rebalance --stop.",
            cluster.name
        )),
        R::NoRebalanceUnderWay(cluster) => client(format!("No tasks of cluster {} are being moved.", cluster.name)),
        R::TooManyMoves => invalid(format!("{rejection}.")),
        R::TooManyTags => ecs::INVALID_PARAMETER.error(format!("A resource can have at most {MAX_TAGS} tags.")),
        R::AlarmNotFound(key) => ecs::INVALID_PARAMETER.error(format!(
            "The alarm {} of deploymentConfiguration.alarms.alarmNames does not exist. Create it with PutMetricAlarm of CloudWatch, or set enable of \
             deploymentConfiguration.alarms to false.",
            key.name
        )),
        R::AlarmTooLarge(_) | R::TooManyAlarms => ecs::INVALID_PARAMETER.error(sentence(&rejection.to_string())),
        R::ContainerInstanceUnavailable(_)
        | R::InsufficientCpu { .. }
        | R::InsufficientMemory { .. }
        | R::PortInUse { .. }
        | R::AgentConnected(_)
        | R::ContainerInstanceDeregistered(_)
        | R::TaskExists(_)
        | R::DocumentChanged(_)
        | R::DocumentTooLarge(_)
        | R::TooManyDocuments
        | R::Stale(_) => ecs::SERVER.error(format!("The state changed while the request was served; {rejection}.")),
    }
}

/// ECS's error for what a daemon service has no use for.
pub(super) fn unsupported_by_daemon(what: UnsupportedByDaemon) -> AwsError {
    invalid(match what {
        UnsupportedByDaemon::DesiredCount => {
            "The daemon scheduling strategy does not support a desired count for services. Remove a desired count value \
             and try again"
        }
        UnsupportedByDaemon::PlacementStrategy => {
            "Placement strategies are not supported by the daemon scheduling strategy."
        }
        UnsupportedByDaemon::CapacityProviderStrategy => {
            "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy. A cluster's \
             default capacity provider strategy counts unless the launch type is given: EC2 has the service take all hosts."
        }
        UnsupportedByDaemon::TaskSets => {
            "The daemon scheduling strategy is not supported with the deployment controller EXTERNAL."
        }
        UnsupportedByDaemon::DistinctInstance => {
            "The daemon scheduling strategy does not support the distinctInstance placement constraint."
        }
    })
}

fn unworkable(why: UnworkableConfiguration) -> String {
    let text = match why {
        UnworkableConfiguration::DaemonStrategy(strategy) => {
            let strategy = strategy.as_str();
            return format!("The daemon scheduling strategy does not support the {strategy} deployment strategy.");
        }
        UnworkableConfiguration::LinearOfAnotherStrategy(strategy) => {
            return of_another_strategy("linearConfiguration", "LINEAR", strategy);
        }
        UnworkableConfiguration::CanaryOfAnotherStrategy(strategy) => {
            return of_another_strategy("canaryConfiguration", "CANARY", strategy);
        }
        UnworkableConfiguration::CannotPause(stage) => {
            return format!("PAUSE hooks cannot be configured at the lifecycle stage {stage}.");
        }
        UnworkableConfiguration::NoSuchStage(stage) => {
            return format!(
                "The lifecycle stage {stage} of deploymentConfiguration.lifecycleHooks is none of the ROLLING deployment strategy, which has \
                 PRE_SCALE_UP and POST_SCALE_UP."
            );
        }
        UnworkableConfiguration::StagesOfTaskSets => {
            "A service with the EXTERNAL deployment controller supports no deployment strategy but ROLLING, and no bakeTimeInMinutes, lifecycleHooks, \
             alarms or earlySuccessCriteria."
        }
        UnworkableConfiguration::TooManyHooks => {
            return format!("A service can have at most {MAX_HOOKS} PAUSE hooks.");
        }
        UnworkableConfiguration::IncompleteEarlySuccess => {
            "earlySuccessCriteria with enable true must have healthyPercent and sourceServiceRevisionCleanup."
        }
        UnworkableConfiguration::EarlySuccessOfAnotherStrategy(strategy) => {
            return of_another_strategy("earlySuccessCriteria", "ROLLING", strategy);
        }
        UnworkableConfiguration::EarlySuccessBelowMinimum => {
            "healthyPercent of earlySuccessCriteria must be greater than or equal to minimumHealthyPercent."
        }
        UnworkableConfiguration::NoAlarms => "alarms with enable true must have alarmNames.",
        UnworkableConfiguration::TooManyAlarms => {
            return format!("A service can have at most {MAX_ALARM_NAMES} alarmNames.");
        }
        UnworkableConfiguration::DaemonMaximum => "The daemon scheduling strategy supports no maximumPercent but 100.",
        UnworkableConfiguration::DaemonMinimum => {
            "minimumHealthyPercent must be less than 100 for the daemon scheduling strategy, or deployments could not \
             replace a task."
        }
        UnworkableConfiguration::BothFull => {
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."
        }
        UnworkableConfiguration::MaximumBelowDesired => "maximumPercent must be at least 100.",
        UnworkableConfiguration::MinimumAboveMaximum => "maximumPercent cannot be less than minimumHealthyPercent.",
    };
    text.to_owned()
}

fn of_another_strategy(member: &str, belongs_to: &str, strategy: StrategyKind) -> String {
    let strategy = strategy.as_str();
    format!("{member} is only valid when the deployment strategy is {belongs_to}, and it is {strategy}.")
}

/// ECS's error for a cluster that does not exist or is inactive.
pub(super) fn cluster_not_found() -> AwsError {
    ecs::CLUSTER_NOT_FOUND.error("Cluster not found.")
}

/// ECS's error for a capacity provider that does not exist.
pub(super) fn capacity_provider_not_found(key: &CapacityProviderKey) -> AwsError {
    ecs::INVALID_PARAMETER.error(format!(
        "The specified capacity provider {} was not found. Specify a valid capacity provider and try again.",
        key.name
    ))
}

/// ECS's error for a service that does not exist.
pub(super) fn service_not_found() -> AwsError {
    ecs::SERVICE_NOT_FOUND.error("Service not found.")
}

/// The same where a request may name several: it says which.
pub(super) fn named_service_not_found(key: &ServiceKey) -> AwsError {
    ecs::SERVICE_NOT_FOUND.error(format!(
        "Service not found: cluster {} has no service {}.",
        key.cluster.name, key.name
    ))
}

/// ECS's error for a service that is being deleted or was.
pub(super) fn service_not_active() -> AwsError {
    ecs::SERVICE_NOT_ACTIVE.error("Service was not ACTIVE.")
}

/// ECS's error for a value that it does not take.
pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    ecs::INVALID_PARAMETER.error(message)
}

/// ECS's error for a request that makes no sense as a whole.
pub(super) fn client(message: impl Into<String>) -> AwsError {
    ecs::CLIENT.error(message)
}
