//! `ListTasks`. Shell.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{DesiredStatus as AwsDesiredStatus, ListTasksRequest, ListTasksResponse};
use berth_core::model::{ClusterKey, DesiredStatus, ServiceStatus, Task};
use berth_core::state::ClusterState;

use super::launch_type;
use super::references::{self, Lookup};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};
use crate::api::members::{Honoured, refuse_others};
use crate::api::pagination::Page;

const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("containerInstance", Honoured::All),
    ("family", Honoured::All),
    ("nextToken", Honoured::All),
    ("maxResults", Honoured::All),
    ("startedBy", Honoured::All),
    ("serviceName", Honoured::All),
    ("daemonName", Honoured::All),
    ("desiredStatus", Honoured::All),
    ("launchType", Honoured::All),
]);

pub(crate) async fn handle(api: &Api, call: &Call, input: ListTasksRequest) -> Result<ListTasksResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let page = Page::parse("ListTasks", input.next_token.as_deref(), input.max_results, 100)?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let matching = narrowest(&state, &cluster.key, &input)?.filter(|task| matches(task, &cluster.key, &input));
    let (task_arns, next_token) = page.take(matching.map(|task| (task.id, task.arn())));
    Ok(ListTasksResponse {
        task_arns: Some(task_arns),
        next_token,
    })
}

/// Tasks in id order, by the index that gives the fewest.
fn narrowest<'s>(
    state: &'s ClusterState,
    cluster: &'s ClusterKey,
    input: &ListTasksRequest,
) -> Result<Box<dyn Iterator<Item = &'s Arc<Task>> + 's>, AwsError> {
    let host = match input.container_instance.as_deref() {
        None => None,
        Some(name) => match references::container_instance(state, cluster, name)? {
            Lookup::Found(host) => Some(host.id),
            Lookup::Missing(_) => return Err(invalid("The referenced container instance was not found.")),
        },
    };
    let service = match input.service_name.as_deref() {
        None => None,
        Some(name) => {
            let key = references::service_key(cluster, name)?;
            Some(&state.service(&key).ok_or_else(errors::service_not_found)?.key)
        }
    };
    let service = match (input.daemon_name.as_deref(), service) {
        (None, service) => service,
        (Some(_), Some(_)) => return Err(invalid("serviceName and daemonName cannot be given together.")),
        (Some(name), None) => {
            let daemon = state.service(&cluster.daemon(name));
            let daemon = daemon.filter(|daemon| daemon.status != ServiceStatus::Inactive);
            Some(
                &daemon
                    .ok_or_else(|| invalid("The referenced daemon was not found."))?
                    .key,
            )
        }
    };
    Ok(match (host, service) {
        (Some(host), None) => Box::new(state.tasks_of_instance(host)),
        (None, Some(service)) => Box::new(state.tasks_of_service(service)),
        (None, None) => Box::new(state.tasks_of_cluster(cluster)),
        (Some(host), Some(service)) => Box::new(
            state
                .tasks_of_instance(host)
                .filter(move |task| task.service() == Some(service)),
        ),
    })
}

fn matches(task: &Task, cluster: &ClusterKey, input: &ListTasksRequest) -> bool {
    let desired = match input.desired_status {
        None | Some(AwsDesiredStatus::Running) => task.desired_status == DesiredStatus::Running,
        Some(AwsDesiredStatus::Stopped) => task.desired_status == DesiredStatus::Stopped,
        // ECS never sets a task's desired status to PENDING, so it finds none.
        Some(AwsDesiredStatus::Pending) => false,
    };
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
    desired
        && task.cluster == *cluster
        && is(&input.family, Some(task.task_definition.family.own_name()))
        && is(&input.started_by, task.started_by.as_deref())
        && input
            .launch_type
            .is_none_or(|wanted| wanted == launch_type::render(task.launch_type.as_deref()))
}
