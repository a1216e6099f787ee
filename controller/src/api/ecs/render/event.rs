//! Events as ECS sends them to EventBridge: the envelope of all events, and in `detail` what ECS's Describe operations show, with times as texts.
//! Pure.

use berth_aws::Operation;
use berth_aws::Timestamp as AwsTimestamp;
use berth_aws::ecs::DaemonDeploymentStatus;
use berth_aws::ecs::operations::{DescribeContainerInstances, DescribeTasks};
use berth_aws::model::{Kind, Shape};
use berth_core::announcements::{Announcement, DaemonNews, ServiceAction, Subject};
use berth_core::model::{
    CapacityProviderKey, Deployment, HookRun, HookStatus, LifecycleStage, RolloutState, ServiceKey, Timestamp,
};
use serde_json::{Map, Value, json};

use super::container_instance::container_instance_with;
use super::daemon::daemon_deployment_status;
use super::task::task_on;

/// `detail-type` of each kind of event.
pub(crate) const TASK: &str = "ECS Task State Change";
pub(crate) const CONTAINER_INSTANCE: &str = "ECS Container Instance State Change";
pub(crate) const SERVICE_ACTION: &str = "ECS Service Action";
pub(crate) const DEPLOYMENT: &str = "ECS Deployment State Change";
pub(crate) const HOOK: &str = "ECS Hook State Change";
pub(crate) const DAEMON_ACTION: &str = "ECS Daemon Service Action";
pub(crate) const DAEMON_DEPLOYMENT: &str = "ECS Daemon Deployment State Change";

/// The `detail-type` of an announcement.
pub(crate) fn detail_type(announcement: &Announcement) -> &'static str {
    match &announcement.subject {
        Subject::Task { .. } => TASK,
        Subject::ContainerInstance { .. } => CONTAINER_INSTANCE,
        Subject::Service { .. } => SERVICE_ACTION,
        Subject::Deployment { .. } => DEPLOYMENT,
        Subject::Hook { .. } => HOOK,
        Subject::Daemon { news, .. } => match news {
            DaemonNews::Deployment { .. } => DAEMON_DEPLOYMENT,
            DaemonNews::TaskStartImpaired { .. } => DAEMON_ACTION,
        },
    }
}

/// An announcement of a history as EventBridge would deliver it.
pub(crate) fn event(announcement: &Announcement, history: u64) -> Value {
    let scope = &announcement.cluster().scope;
    let (resource, detail) = match &announcement.subject {
        Subject::Task { task, host, definition } => {
            let shown = task_on(task, host.as_deref(), definition.as_deref(), false);
            let shape = element_of(DescribeTasks::MODEL.output, "tasks");
            (task.arn(), described(&shown, shape, announcement.at))
        }
        Subject::ContainerInstance {
            host,
            allocation,
            status,
        } => {
            let shown = container_instance_with(allocation, status, host, &[]);
            let shape = element_of(DescribeContainerInstances::MODEL.output, "containerInstances");
            let mut detail = described(&shown, shape, announcement.at);
            detail["clusterArn"] = host.cluster.arn().into();
            (host.arn(), detail)
        }
        Subject::Service { service, action } => (service.arn(), service_action(service, action, announcement.at)),
        Subject::Deployment { service, deployment } => (service.arn(), deployment_state(deployment)),
        Subject::Hook {
            service,
            service_deployment,
            stage,
            hook,
        } => {
            let arn = service.service_deployment_arn(service_deployment);
            let detail = hook_state(service, &arn, *stage, hook, announcement.at);
            (arn, detail)
        }
        Subject::Daemon { daemon, news } => daemon_news(daemon, news, announcement.at),
    };
    json!({
        "version": "0",
        "id": announcement.id(history),
        "detail-type": detail_type(announcement),
        "source": "aws.ecs",
        "account": scope.account.as_str(),
        "time": to_the_second(announcement.at),
        "region": scope.region.as_str(),
        "resources": [resource],
        "detail": detail,
    })
}

/// What a Describe operation shows, without tags, which events have none of, and with when it was so.
fn described(shown: &impl serde::Serialize, shape: Option<&'static Shape>, at: Timestamp) -> Value {
    let mut detail = serde_json::to_value(shown).unwrap_or_default();
    if let Some(shape) = shape {
        write_times(&mut detail, shape);
    }
    if let Some(members) = detail.as_object_mut() {
        members.remove("tags");
    }
    detail["updatedAt"] = text(at).into();
    detail
}

fn service_action(service: &ServiceKey, action: &ServiceAction, at: Timestamp) -> Value {
    let mut detail = Map::new();
    let mut add = |member: &str, value: Value| drop(detail.insert(member.to_owned(), value));
    let arns = |providers: &[CapacityProviderKey]| -> Value {
        let arns = providers.iter().map(CapacityProviderKey::arn);
        arns.collect::<Vec<_>>().into()
    };
    let (kind, name) = match action {
        ServiceAction::SteadyState => ("INFO", "SERVICE_STEADY_STATE"),
        ServiceAction::TaskSetSteadyState(id) => {
            add("taskSetArns", json!([service.task_set_arn(id)]));
            ("INFO", "TASKSET_STEADY_STATE")
        }
        ServiceAction::CapacityProviderSteadyState(providers) => {
            add("capacityProviderArns", arns(providers));
            ("INFO", "CAPACITY_PROVIDER_STEADY_STATE")
        }
        ServiceAction::DesiredCountUpdated(count) => {
            add("desiredCount", (*count).into());
            ("INFO", "SERVICE_DESIRED_COUNT_UPDATED")
        }
        ServiceAction::TaskStartImpaired => ("WARN", "SERVICE_TASK_START_IMPAIRED"),
        ServiceAction::TaskPlacementFailure {
            closest,
            reason,
            capacity_providers,
        } => {
            if let Some(host) = closest {
                add(
                    "containerInstanceArns",
                    json!([service.cluster.container_instance_arn(*host)]),
                );
            }
            if !capacity_providers.is_empty() {
                add("capacityProviderArns", arns(capacity_providers));
            }
            add("reason", reason.clone().into());
            ("ERROR", "SERVICE_TASK_PLACEMENT_FAILURE")
        }
    };
    add("eventType", kind.into());
    add("eventName", name.into());
    add("clusterArn", service.cluster.arn().into());
    add("createdAt", text(at).into());
    detail.into()
}

fn deployment_state(deployment: &Deployment) -> Value {
    let (kind, name) = match deployment.rollout_state {
        RolloutState::InProgress => ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS"),
        RolloutState::Completed => ("INFO", "SERVICE_DEPLOYMENT_COMPLETED"),
        RolloutState::Failed => ("ERROR", "SERVICE_DEPLOYMENT_FAILED"),
    };
    json!({
        "eventType": kind,
        "eventName": name,
        "deploymentId": deployment.id.as_str(),
        "updatedAt": text(deployment.updated_at),
        "reason": deployment.rollout_state_reason,
    })
}

fn hook_state(
    service: &ServiceKey,
    service_deployment: &str,
    stage: LifecycleStage,
    hook: &HookRun,
    at: Timestamp,
) -> Value {
    let (kind, name) = match hook.status {
        HookStatus::AwaitingAction => ("INFO", "HOOK_AWAITING_ACTION"),
        HookStatus::Succeeded => ("INFO", "HOOK_SUCCEEDED"),
        HookStatus::Failed => ("ERROR", "HOOK_FAILED"),
        HookStatus::TimedOut => ("ERROR", "HOOK_TIMED_OUT"),
    };
    json!({
        "eventType": kind,
        "eventName": name,
        "hookId": hook.id,
        "hookType": "PAUSE",
        "expiresAt": text(hook.expires_at),
        "lifecycleStage": stage.as_str(),
        "clusterArn": service.cluster.arn(),
        "serviceArn": service.arn(),
        "serviceDeploymentArn": service_deployment,
        "updatedAt": text(at),
    })
}

/// What a daemon says, and the resource that it says it of.
fn daemon_news(daemon: &ServiceKey, news: &DaemonNews, at: Timestamp) -> (String, Value) {
    let mut detail = json!({"clusterArn": daemon.cluster.arn(), "daemonArn": daemon.arn()});
    let mut add = |member: &str, value: String| detail[member] = value.into();
    let resource = match news {
        DaemonNews::Deployment {
            id,
            status,
            reason,
            has_target,
        } => {
            let status = daemon_deployment_status(*status);
            let kind = match status {
                DaemonDeploymentStatus::RollbackFailed => "ERROR",
                _ => "INFO",
            };
            add("eventType", kind.to_owned());
            add("eventName", format!("DAEMON_DEPLOYMENT_{}", status.as_str()));
            add("daemonDeploymentArn", daemon.service_deployment_arn(id));
            if *has_target {
                add("targetDaemonRevisionArn", daemon.service_revision_arn(id));
            }
            if let Some(reason) = reason {
                add("reason", reason.clone());
            }
            add("updatedAt", text(at));
            daemon.arn()
        }
        DaemonNews::TaskStartImpaired {
            revision,
            task_definition,
            host,
            capacity_provider,
            task,
            reason,
        } => {
            add("eventType", "WARNING".to_owned());
            add("eventName", "DAEMON_TASK_START_IMPAIRED".to_owned());
            add("daemonRevisionArn", daemon.service_revision_arn(revision));
            add("daemonTaskDefinitionArn", task_definition.arn());
            let failure = task.map_or("TASK_CREATION_FAILED", |_| "TASK_FAILED_TO_RUN");
            add("failureType", failure.to_owned());
            if let Some(host) = host {
                add("containerInstanceArn", daemon.cluster.container_instance_arn(*host));
            }
            if let Some(name) = capacity_provider {
                add("capacityProviderName", name.to_string());
            }
            add("createdAt", text(at));
            add("reason", reason.clone());
            let task = task.map(|task| daemon.cluster.task_arn(task));
            if let Some(task) = &task {
                add("taskArn", task.clone());
            }
            task.unwrap_or_else(|| daemon.arn())
        }
    };
    (resource, detail)
}

/// A time as details of events have it.
fn text(at: Timestamp) -> String {
    AwsTimestamp(at.0).iso8601()
}

/// A time as envelopes of events have it.
fn to_the_second(at: Timestamp) -> String {
    text(Timestamp(at.0 - at.0.rem_euclid(1_000))).replace(".000Z", "Z")
}

/// The shape of an element of a list in an answer.
fn element_of(answer: &'static Shape, list: &str) -> Option<&'static Shape> {
    let Kind::Structure { members, .. } = &answer.kind else {
        return None;
    };
    match members.iter().find(|member| member.name == list)?.shape.kind {
        Kind::List { element, .. } => Some(element),
        _ => None,
    }
}

/// Writes the times of a value of a shape as texts, which answers of the API have as numbers.
fn write_times(value: &mut Value, shape: &Shape) {
    match (&shape.kind, value) {
        (Kind::Timestamp, value) => {
            if let Some(seconds) = value.as_f64() {
                *value = AwsTimestamp::from_epoch_seconds(seconds).iso8601().into();
            }
        }
        (Kind::Structure { members, .. }, Value::Object(values)) => {
            for member in *members {
                if let Some(value) = values.get_mut(member.name) {
                    write_times(value, member.shape);
                }
            }
        }
        (Kind::List { element, .. }, Value::Array(values)) => {
            values.iter_mut().for_each(|value| write_times(value, element));
        }
        (Kind::Map { value: shape, .. }, Value::Object(values)) => {
            values.values_mut().for_each(|value| write_times(value, shape));
        }
        _ => {}
    }
}
