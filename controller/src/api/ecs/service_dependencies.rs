//! What the API holds a service to that waits for others by its tag. Pure.

use berth_aws::AwsError;
use berth_core::model::{DEPENDS_ON_TAG, DeploymentController, ServiceKey, ServiceName, Tags, dependencies_of};
use berth_core::reconcile::dependency_circle;
use berth_core::state::{ClusterState, Taggable};

use crate::api::errors::invalid;

/// Refuses tags of a service with which it would wait for itself, by way of others or not, or wait although its deployer decides when its tasks start.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check(
    state: &ClusterState,
    service: &ServiceKey,
    controller: DeploymentController,
    tags: &Tags,
) -> Result<(), AwsError> {
    let names = dependencies_of(tags);
    if names.is_empty() {
        return Ok(());
    }
    if controller == DeploymentController::External {
        return Err(invalid(format!(
            "The tag {DEPENDS_ON_TAG} is not supported for a service with the deployment controller EXTERNAL: whoever makes its task sets decides \
             when they start."
        )));
    }
    match dependency_circle(state, service, &names) {
        Some(way) => {
            let way: Vec<&str> = way.iter().map(ServiceName::as_str).collect();
            Err(invalid(format!(
                "With the tag {DEPENDS_ON_TAG} service {} would wait for itself ({}). Take one of these services out of the tag of the one before it.",
                service.name,
                way.join(" -> ")
            )))
        }
        None => Ok(()),
    }
}

/// The same for a resource that is tagged, whatever it is.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_tagged(state: &ClusterState, resource: &Taggable, tags: &Tags) -> Result<(), AwsError> {
    let Taggable::Service(key) = resource else {
        return Ok(());
    };
    let controller = state.service(key).map(|service| service.deployment_controller);
    check(state, key, controller.unwrap_or_default(), tags)
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition, TagResource};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn create(harness: &Harness, name: &str, more: Value) -> Result<Value, String> {
        let mut input = json!({"serviceName": name, "desiredCount": 1});
        if more.get("deploymentController").is_none() {
            input["taskDefinition"] = json!("web");
        }
        for (member, value) in more.as_object().expect("members") {
            input[member] = value.clone();
        }
        let answer = harness.call::<CreateService>(input).await;
        answer.map_err(|error| format!("{}: {}", error.kind.code, error.message))
    }

    fn depends_on(names: &str) -> Value {
        json!({"tags": [{"key": "berth:depends-on", "value": names}]})
    }

    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        harness
    }

    #[tokio::test]
    async fn service_that_would_wait_for_itself_is_refused_and_one_that_waits_for_what_is_not_there_is_not() {
        let harness = harness().await;
        let alone = create(&harness, "a", depends_on("a")).await.expect_err("refused");
        assert!(
            alone.starts_with("InvalidParameterException: ") && alone.contains("(a -> a)"),
            "{alone}"
        );
        create(&harness, "a", depends_on("b x")).await.expect("waits");
        create(&harness, "b", depends_on("c")).await.expect("waits");
        let circle = create(&harness, "c", depends_on("x a")).await.expect_err("refused");
        assert!(
            circle.contains("service c would wait for itself (c -> a -> b -> c)"),
            "{circle}"
        );
        create(&harness, "c", json!({})).await.expect("waits for none");
        let arn = harness.cluster("default").service("c").arn();
        let mut tagged = depends_on("a");
        tagged["resourceArn"] = json!(arn);
        let error = harness.call::<TagResource>(tagged).await.expect_err("refused");
        assert!(error.message.contains("(c -> a -> b -> c)"), "{}", error.message);
    }

    #[tokio::test]
    async fn service_whose_deployer_decides_when_tasks_start_does_not_wait() {
        let harness = harness().await;
        let mut input = depends_on("a");
        input["deploymentController"] = json!({"type": "EXTERNAL"});
        let refused = create(&harness, "web", input).await.expect_err("refused");
        assert!(refused.contains("deployment controller EXTERNAL"), "{refused}");
    }
}
