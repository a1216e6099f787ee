//! `DescribeContainerInstances`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ContainerInstanceField, DescribeContainerInstancesRequest, DescribeContainerInstancesResponse};

use super::references::{self, Lookup};
use super::render;
use crate::api::context::{Api, Call};
use crate::api::errors::{client, invalid};

/// Most container instances of one request (ECS's limit).
const MAX_INSTANCES: usize = 100;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeContainerInstancesRequest,
) -> Result<DescribeContainerInstancesResponse, AwsError> {
    let named = input.container_instances.unwrap_or_default();
    if named.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    if named.len() > MAX_INSTANCES {
        return Err(invalid(format!(
            "At most {MAX_INSTANCES} container instances can be described at once."
        )));
    }
    let include = input.include.unwrap_or_default();
    if include.contains(&ContainerInstanceField::ContainerInstanceHealth) {
        return Err(client(
            "The value CONTAINER_INSTANCE_HEALTH of include is not supported by Berth yet; supported: TAGS.",
        ));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let (mut instances, mut failures) = (vec![], vec![]);
    for name in &named {
        match references::container_instance(&state, &cluster.key, name)? {
            Lookup::Found(instance) => instances.push(render::container_instance::container_instance(
                &state, instance, &include,
            )),
            Lookup::Missing(arn) => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeContainerInstancesResponse {
        container_instances: Some(instances),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::DescribeContainerInstances;
    use berth_core::model::ContainerInstanceId;
    use berth_core::state::{Command, Taggable};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn host_shows_what_it_has_and_who_it_is() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a");
        let answer = harness
            .call::<DescribeContainerInstances>(json!({"containerInstances": [id.to_string()]}))
            .await
            .expect("described");
        assert_eq!(answer["failures"], json!([]));
        let instance = &answer["containerInstances"][0];
        assert_eq!(
            instance["containerInstanceArn"],
            harness.cluster("default").container_instance_arn(id)
        );
        assert_eq!(instance["ec2InstanceId"], "host-1");
        assert_eq!(instance["status"], "ACTIVE");
        assert_eq!(instance["agentConnected"], true);
        assert_eq!(
            instance["versionInfo"],
            json!({"agentVersion": "1", "dockerVersion": "simulated"})
        );
        assert_eq!(
            instance["attributes"],
            json!([{"name": "ecs.availability-zone", "value": "zone-a"}])
        );
        assert_eq!(instance["registeredAt"], json!(1_700_000_000.0));
        let number = |name: &str, value: i32| json!({"name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value});
        let resources = instance["remainingResources"].as_array().expect("a list");
        assert_eq!(resources[0], number("CPU", 4096));
        assert_eq!(resources[1], number("MEMORY", 8192));
        assert_eq!(
            resources[2]["stringSetValue"],
            json!(["22", "2375", "2376", "51678", "51679", "51680"])
        );
        assert_eq!(resources[3]["name"], "PORTS_UDP");
        assert_eq!(resources[3]["stringSetValue"], json!([]));
        assert_eq!(instance["registeredResources"], instance["remainingResources"]);
    }

    #[tokio::test]
    async fn host_that_does_not_exist_is_a_failure() {
        let harness = Harness::new();
        harness.add_host(1, "z");
        let ghost = ContainerInstanceId(9);
        let input = json!({"containerInstances": [ghost.to_string()]});
        let answer = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect("answered");
        let arn = harness.cluster("default").container_instance_arn(ghost);
        assert_eq!(answer["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
    }

    #[tokio::test]
    async fn tags_are_shown_where_they_are_included() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z");
        let arn = harness.cluster("default").container_instance_arn(id);
        let tags = json!([{"key": "k", "value": "v"}]);
        let command = Command::TagResource {
            resource: Taggable::ContainerInstance(id),
            tags: [("k".to_owned(), "v".to_owned())].into(),
        };
        harness.state.apply(&command).expect("tagged");
        let plain = harness
            .call::<DescribeContainerInstances>(json!({"containerInstances": [arn]}))
            .await;
        assert_eq!(plain.expect("described")["containerInstances"][0]["tags"], json!([]));
        let input = json!({"containerInstances": [arn], "include": ["TAGS"]});
        let full = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect("described");
        assert_eq!(full["containerInstances"][0]["tags"], tags);
    }

    #[tokio::test]
    async fn request_for_none_or_for_health_is_refused() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        assert!(
            harness
                .call::<DescribeContainerInstances>(json!({"containerInstances": []}))
                .await
                .is_err()
        );
        let input = json!({"containerInstances": [id], "include": ["CONTAINER_INSTANCE_HEALTH"]});
        let error = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect_err("refused");
        assert!(error.message.contains("CONTAINER_INSTANCE_HEALTH"), "{}", error.message);
    }
}
