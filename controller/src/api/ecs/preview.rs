//! What a request would come to, for those who check requests before they make the first: no state is looked at.
//!
//! Owns nothing; the same functions as the operations themselves. Pure.

use berth_aws::AwsError;
use berth_aws::cloudwatch::PutMetricAlarmInput;
use berth_aws::ecs::{
    CreateCapacityProviderRequest, CreateClusterRequest, CreateDaemonRequest, CreateServiceRequest,
    DaemonTaskDefinition, RegisterDaemonTaskDefinitionRequest, RegisterTaskDefinitionRequest, TaskDefinition,
};
use berth_core::model::{Scope, Timestamp};

use super::{
    create_capacity_provider, create_cluster, create_daemon, create_service, daemons, definition, render, service_input,
};
use crate::api::cloudwatch::put_metric_alarm;
use crate::api::context::Call;
use crate::api::members::refuse_others;

/// What `RegisterTaskDefinition` answers with to this request, but for its ARN, revision, status and times.
///
/// # Errors
/// As `RegisterTaskDefinition`.
pub fn task_definition(request: RegisterTaskDefinitionRequest) -> Result<TaskDefinition, AwsError> {
    let definition = definition::from_request(&nobodys_call(), request)?;
    let shown = render::task_definition(&definition);
    Ok(TaskDefinition {
        task_definition_arn: None,
        revision: None,
        status: None,
        registered_at: None,
        registered_by: None,
        ..shown
    })
}

/// What `DescribeDaemonTaskDefinition` would answer with of this request, but for its ARN, revision, status and times.
///
/// # Errors
/// As `RegisterDaemonTaskDefinition`.
pub fn daemon_task_definition(request: &RegisterDaemonTaskDefinitionRequest) -> Result<DaemonTaskDefinition, AwsError> {
    let definition = definition::daemon::from_request(&nobodys_call(), request)?;
    let shown = render::daemon_task_definition(&definition, false);
    Ok(DaemonTaskDefinition {
        daemon_task_definition_arn: None,
        revision: None,
        status: None,
        registered_at: None,
        registered_by: None,
        ..shown
    })
}

/// A call in which nothing is kept.
fn nobodys_call() -> Call {
    Call {
        scope: Scope::new("", ""),
        caller_arn: String::new(),
        request_id: String::new(),
        now: Timestamp(0),
    }
}

/// Refuses members that `CreateDaemon` does not honour, names that no daemon can have, and numbers out of range.
///
/// # Errors
/// `ClientException` with the name of the first such member, `InvalidParameterException` for the name and numbers.
pub fn daemon(request: &CreateDaemonRequest) -> Result<(), AwsError> {
    refuse_others(request, &create_daemon::HONOURED)?;
    daemons::check_name(request.daemon_name.as_deref().unwrap_or_default())?;
    daemons::settings(request.deployment_configuration.as_ref(), request.critical).map(drop)
}

/// Refuses members that `CreateService` does not honour, and names that no service can have.
///
/// # Errors
/// `ClientException` with the name of the first such member, `InvalidParameterException` for the name.
pub fn service(request: &CreateServiceRequest) -> Result<(), AwsError> {
    refuse_others(request, &create_service::HONOURED)?;
    service_input::check_name(request.service_name.as_deref().unwrap_or_default())
}

/// Refuses members that `CreateCluster` does not honour.
///
/// # Errors
/// `ClientException` with the name of the first such member.
pub fn cluster(request: &CreateClusterRequest) -> Result<(), AwsError> {
    refuse_others(request, &create_cluster::HONOURED)
}

/// Refuses members that `CreateCapacityProvider` does not honour.
///
/// # Errors
/// `ClientException` with the name of the first such member.
pub fn capacity_provider(request: &CreateCapacityProviderRequest) -> Result<(), AwsError> {
    refuse_others(request, &create_capacity_provider::HONOURED)
}

/// What `DescribeAlarms` of CloudWatch shows of an alarm that this request makes, as far as the request says it, but for tags.
///
/// # Errors
/// As `PutMetricAlarm`.
pub fn alarm(request: PutMetricAlarmInput) -> Result<PutMetricAlarmInput, AwsError> {
    put_metric_alarm::preview(request)
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::RegisterTaskDefinition;
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn definition_comes_to_what_is_answered_when_it_is_registered() {
        let request = json!({
            "family": "web", "networkMode": "host", "cpu": "0.5 vCPU", "requiresCompatibilities": ["EC2"],
            "placementConstraints": [{"type": "memberOf", "expression": "attribute:disk == ssd"}],
            "containerDefinitions": [{"name": "c", "image": "i", "memory": 64, "privileged": false,
                "portMappings": [{"containerPort": 80}], "dockerLabels": {"a": "b"}}]
        });
        let previewed = super::task_definition(serde_json::from_value(request.clone()).expect("a request"));
        let previewed = serde_json::to_value(previewed.expect("valid")).expect("JSON");
        let answer = Harness::new().call::<RegisterTaskDefinition>(request).await;
        let mut registered = answer.expect("registers")["taskDefinition"].take();
        let members = registered.as_object_mut().expect("a definition");
        for of_the_revision in [
            "taskDefinitionArn",
            "revision",
            "status",
            "registeredAt",
            "registeredBy",
        ] {
            members.remove(of_the_revision);
        }
        assert_eq!(previewed, Value::Object(members.clone()));
    }
}
