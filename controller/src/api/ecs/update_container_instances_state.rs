//! `UpdateContainerInstancesState`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{
    ContainerInstanceStatus as Wanted, Failure, UpdateContainerInstancesStateRequest,
    UpdateContainerInstancesStateResponse,
};
use berth_core::model::{ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, PowerState};
use berth_core::state::{Command, Feature, Rejection};

use super::references::{self, Lookup};
use super::render;
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};
use crate::api::ports::ProposeFailure;

/// Most container instances of one request (ECS's limit).
const MAX_INSTANCES: usize = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse, AwsError> {
    let status = match input.status {
        Some(Wanted::Active) => ContainerInstanceStatus::Active,
        Some(Wanted::Draining) => ContainerInstanceStatus::Draining,
        _ => return Err(invalid("Container instances can be set to ACTIVE or DRAINING only.")),
    };
    let named = input.container_instances.unwrap_or_default();
    if named.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    if named.len() > MAX_INSTANCES {
        return Err(invalid(format!(
            "At most {MAX_INSTANCES} container instances can be updated at once."
        )));
    }
    // Everything is looked up before anything changes, so that a request that is refused has no effect.
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let (mut found, mut failures) = (vec![], vec![]);
    for name in &named {
        match references::container_instance(&state, &cluster.key, name)? {
            Lookup::Found(instance) => found.push((instance.id, is_so(instance, status))),
            Lookup::Missing(arn) => failures.push(references::missing(arn)),
        }
    }
    let mut updated = vec![];
    for (id, is_so) in found {
        if is_so || set(api, id, status).await? {
            updated.push(id);
        } else {
            failures.push(inactive(cluster.key.container_instance_arn(id)));
        }
    }
    let state = api.read().await?;
    let render = |id| {
        let instance = state.container_instance(id)?;
        Some(render::container_instance::container_instance(&state, instance, &[]))
    };
    Ok(UpdateContainerInstancesStateResponse {
        container_instances: Some(updated.into_iter().filter_map(render).collect()),
        failures: Some(failures),
    })
}

/// Whether a host has the status by somebody's wish already, and not since it is about to sleep or to shut down.
fn is_so(host: &ContainerInstance, status: ContainerInstanceStatus) -> bool {
    use PowerState::{Emptying, FallingAsleep, ShuttingDown};
    let is_leaving = matches!(host.power.state, Emptying | FallingAsleep | ShuttingDown);
    host.status == status && !is_leaving
}

/// Sets the status of a host; `false` if it is deregistered.
async fn set(api: &Api, id: ContainerInstanceId, status: ContainerInstanceStatus) -> Result<bool, AwsError> {
    let command = Command::UpdateContainerInstanceStatus {
        container_instance: id,
        status,
        at: api.uses(Feature::HostVersions).then(|| api.now()),
    };
    match api.try_propose(command).await {
        Ok(_) => Ok(true),
        Err(ProposeFailure::Rejected(Rejection::ContainerInstanceNotFound(_))) => Ok(false),
        Err(failure) => Err(errors::failure(&failure)),
    }
}

fn inactive(arn: String) -> Failure {
    Failure {
        arn: Some(arn),
        reason: Some("INACTIVE".to_owned()),
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DeregisterContainerInstance, DescribeContainerInstances, UpdateContainerInstancesState,
    };
    use berth_core::model::ContainerInstanceId;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn host_drains_and_becomes_active_again() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        for status in ["DRAINING", "DRAINING", "ACTIVE"] {
            let input = json!({"containerInstances": [id], "status": status});
            let answer = harness
                .call::<UpdateContainerInstancesState>(input)
                .await
                .expect("updated");
            assert_eq!(answer["containerInstances"][0]["status"], status);
            assert_eq!(answer["failures"], json!([]));
        }
    }

    #[tokio::test]
    async fn hosts_unknown_or_deregistered_are_failures_beside_the_others() {
        let harness = Harness::new();
        let (a, gone, ghost) = (
            harness.add_host(1, "z"),
            harness.add_host(2, "z"),
            ContainerInstanceId(9),
        );
        harness
            .call::<DeregisterContainerInstance>(json!({"containerInstance": gone.to_string()}))
            .await
            .expect("deregistered");
        let names = [a, gone, ghost].map(|id| id.to_string());
        let input = json!({"containerInstances": names, "status": "DRAINING"});
        let answer = harness
            .call::<UpdateContainerInstancesState>(input)
            .await
            .expect("answered");
        assert_eq!(answer["containerInstances"].as_array().map(Vec::len), Some(1));
        let arn = |id| harness.cluster("default").container_instance_arn(id);
        assert_eq!(
            answer["failures"],
            json!([{"arn": arn(ghost), "reason": "MISSING"}, {"arn": arn(gone), "reason": "INACTIVE"}])
        );
    }

    #[tokio::test]
    async fn status_that_nobody_can_set_is_refused_without_effect() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        for input in [
            json!({"containerInstances": [id], "status": "REGISTERING"}),
            json!({"containerInstances": [id, harness.cluster("other").arn()], "status": "DRAINING"}),
        ] {
            let error = harness
                .call::<UpdateContainerInstancesState>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
        }
        let input = json!({"containerInstances": [id]});
        let described = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect("described");
        assert_eq!(described["containerInstances"][0]["status"], "ACTIVE");
    }
}
