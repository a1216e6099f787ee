//! `StartTask`: a task on each of the hosts named. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{Failure, StartTaskRequest, StartTaskResponse};
use berth_core::model::ContainerInstanceStatus;
use berth_core::reconcile::StandaloneRequest;

use super::launch_type::check_compatible;
use super::new_task::{TaskInput, prototype};
use super::references::{self, Lookup};
use super::{network_configuration, overrides, placement, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::members::{Honoured, refuse_others};
use crate::api::ports::RanTasks;

/// Most hosts of one request (ECS: 10).
const MAX_HOSTS: usize = 10;

const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("containerInstances", Honoured::All),
    ("enableECSManagedTags", Honoured::All),
    ("group", Honoured::All),
    ("networkConfiguration", network_configuration::HONOURED),
    ("overrides", overrides::HONOURED),
    ("propagateTags", Honoured::All),
    ("startedBy", Honoured::All),
    ("tags", Honoured::All),
    ("taskDefinition", Honoured::All),
]);

pub(crate) async fn handle(api: &Api, call: &Call, input: StartTaskRequest) -> Result<StartTaskResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let hosts = input.container_instances.unwrap_or_default();
    if hosts.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    if hosts.len() > MAX_HOSTS {
        return Err(invalid(format!(
            "There can be at most {MAX_HOSTS} container instances."
        )));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    let definition = references::usable_task_definition(&state, &call.scope, input.task_definition.as_deref())?;
    check_compatible(definition, None)?;
    let task_input = TaskInput {
        group: input.group,
        started_by: input.started_by,
        overrides: input.overrides,
        network: network_configuration::of_request(&state, definition, input.network_configuration)?,
        tags: input.tags,
        propagate_tags: input.propagate_tags,
        managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        ..Default::default()
    };
    let task = prototype(&cluster, definition, task_input, call.now)?;
    let (mut failures, mut request) = (vec![], StandaloneRequest::default());
    for host in &hosts {
        match references::container_instance(&state, &cluster, host)? {
            Lookup::Missing(arn) => failures.push(references::missing(arn)),
            Lookup::Found(host) if host.status == ContainerInstanceStatus::Inactive => failures.push(Failure {
                arn: Some(host.arn()),
                reason: Some("INACTIVE".to_owned()),
                detail: None,
            }),
            Lookup::Found(host) => {
                let mut task = task.clone();
                task.id = api.with_ids(berth_core::ids::IdSource::task_id);
                request.only_host.insert(task.id, host.id);
                request.tasks.push(task);
            }
        }
    }
    let started = match request.tasks.is_empty() {
        true => RanTasks::default(),
        false => api.run_tasks(request).await?,
    };
    failures.extend(placement::failures(
        &cluster,
        started.unplaced.iter().map(|(_, why)| why),
    ));
    let state = api.read().await?;
    let tasks = started.tasks.iter().filter_map(|id| state.task(*id));
    Ok(StartTaskResponse {
        tasks: Some(tasks.map(|task| render::task(&state, task, true)).collect()),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{RegisterTaskDefinition, StartTask};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn task_starts_on_the_hosts_named_and_fails_on_those_that_are_missing_or_full() {
        let harness = Harness::new();
        let (first, second) = (harness.add_host(1, "a"), harness.add_host(2, "a"));
        let ports = json!([{"containerPort": 80, "hostPort": 80}]);
        let container = json!({"name": "c", "image": "i", "memory": 64, "portMappings": ports});
        let input = json!({"family": "f", "containerDefinitions": [container]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let hosts = json!([
            first.to_string(),
            second.to_string(),
            "0000000000000000000000000000000f"
        ]);
        let input = json!({"taskDefinition": "f", "containerInstances": hosts});
        let answer = harness.call::<StartTask>(input.clone()).await.expect("starts");
        assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(2));
        assert_eq!(answer["failures"][0]["reason"], "MISSING");
        let answer = harness.call::<StartTask>(input).await.expect("answers");
        assert_eq!(answer["tasks"], json!([]));
        assert_eq!(answer["failures"][1]["reason"], "RESOURCE:PORTS");
        assert_eq!(answer["failures"].as_array().map(Vec::len), Some(3));
    }
}
