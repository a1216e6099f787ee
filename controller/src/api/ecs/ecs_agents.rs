//! What agents that speak ECS's own API say of tasks, read and recorded. Shell.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::errors as ecs;
use berth_aws::ecs::{ContainerStateChange, NetworkBinding as Given, TransportProtocol as GivenProtocol};
use berth_core::model::{
    ContainerChange, ContainerStatus, NetworkBinding, StateChange, Task, TaskStatus, TransportProtocol,
};
use berth_core::state::{ClusterState, Command, Feature, Rejection};

use super::references::{self, Lookup};
use super::stop_task::reason;
use crate::api::context::{Api, Call};
use crate::api::errors::{self, client, invalid};
use crate::api::ports::EcsAgentFailure;

/// What is answered to a change that was recorded.
pub(super) const ACKNOWLEDGED: &str = "ACCEPT";

/// Most containers or ports that one change can tell of.
const MAX_LISTED: usize = 100;

/// Refuses agents that speak ECS's own API while there may be controllers that do not know them.
///
/// # Errors
/// `ClientException`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(
        state.uses(Feature::EcsAgents),
        client,
        "Agents that speak ECS's own API are not supported",
    )
}

/// The error that an agent gets.
pub(super) fn failure(failure: &EcsAgentFailure) -> AwsError {
    match failure {
        EcsAgentFailure::ClusterNotFound => errors::cluster_not_found(),
        EcsAgentFailure::Refused(why) => client(why.clone()),
        EcsAgentFailure::Unavailable(why) => ecs::SERVER.error(why.clone()),
    }
}

/// The task that an agent speaks of, whose host has such an agent.
///
/// # Errors
/// `InvalidParameterException` and `ClientException` for a task that there is not, or that is of Berth's own agent.
pub(super) async fn task(
    api: &Api,
    call: &Call,
    cluster: Option<&str>,
    given: Option<&str>,
) -> Result<Arc<Task>, AwsError> {
    let state = api.read().await?;
    check_level(&state)?;
    let cluster = references::active_cluster(&state, &call.scope, cluster)?;
    let task = match references::task(&state, &cluster.key, given.unwrap_or_default())? {
        Lookup::Found(task) => Arc::clone(task),
        Lookup::Missing(_) => return Err(invalid("The referenced task was not found.")),
    };
    let host = task.container_instance.and_then(|id| state.container_instance(id));
    let Some(host) = host else {
        return Err(invalid("The container instance of the referenced task was not found."));
    };
    if host.host.ecs_agent.is_none() {
        return Err(errors::rejection(&Rejection::NotOfAnEcsAgent(task.id, host.id)));
    }
    let heard = api.ecs_agents().heard(host).await;
    heard.map_err(|refused| failure(&refused))?;
    Ok(task)
}

/// Records a change.
pub(super) async fn record(api: &Api, change: StateChange) -> Result<(), AwsError> {
    api.propose(Command::SubmitStateChange(Box::new(change))).await?;
    Ok(())
}

/// The status of a task, as an agent names it.
pub(super) fn task_status(given: Option<&str>) -> Result<Option<TaskStatus>, AwsError> {
    const KNOWN: [TaskStatus; 7] = [
        TaskStatus::Pending,
        TaskStatus::Activating,
        TaskStatus::Running,
        TaskStatus::Deactivating,
        TaskStatus::Stopping,
        TaskStatus::Deprovisioning,
        TaskStatus::Stopped,
    ];
    one_of(given, &KNOWN, TaskStatus::as_str)
}

fn container_status(given: Option<&str>) -> Result<Option<ContainerStatus>, AwsError> {
    const KNOWN: [ContainerStatus; 3] = [
        ContainerStatus::Pending,
        ContainerStatus::Running,
        ContainerStatus::Stopped,
    ];
    one_of(given, &KNOWN, ContainerStatus::as_str)
}

fn one_of<S: Copy>(given: Option<&str>, known: &[S], name: fn(S) -> &'static str) -> Result<Option<S>, AwsError> {
    let Some(given) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let found = known.iter().copied().find(|status| name(*status) == given);
    let names = || known.iter().map(|status| name(*status)).collect::<Vec<_>>().join(", ");
    found
        .map(Some)
        .ok_or_else(|| invalid(format!("{given} is no status here; it must be one of {}.", names())))
}

/// Containers of a task that changed.
pub(super) fn containers(task: &Task, given: Vec<ContainerStateChange>) -> Result<Vec<ContainerChange>, AwsError> {
    if given.len() > MAX_LISTED {
        return Err(invalid(format!("At most {MAX_LISTED} containers can change at once.")));
    }
    given.into_iter().map(|change| container(task, change)).collect()
}

/// A container of a task that changed.
pub(super) fn container(task: &Task, given: ContainerStateChange) -> Result<ContainerChange, AwsError> {
    let name = given.container_name.unwrap_or_default();
    if task.containers.iter().all(|container| *container.name != *name) {
        return Err(invalid(format!("Task {} has no container {name:?}.", task.id)));
    }
    let text = |given: Option<String>| given.filter(|text| !text.is_empty());
    Ok(ContainerChange {
        name,
        status: container_status(given.status.as_deref())?,
        image_digest: text(given.image_digest),
        runtime_id: text(given.runtime_id),
        exit_code: given.exit_code,
        reason: reason(given.reason)?,
        network_bindings: given.network_bindings.map(bindings).transpose()?,
    })
}

fn bindings(given: Vec<Given>) -> Result<Vec<NetworkBinding>, AwsError> {
    if given.len() > MAX_LISTED {
        return Err(invalid(format!("A container can have {MAX_LISTED} networkBindings.")));
    }
    given.into_iter().map(binding).collect()
}

fn binding(given: Given) -> Result<NetworkBinding, AwsError> {
    if given.container_port_range.is_some() || given.host_port_range.is_some() {
        return Err(client(
            "The members containerPortRange and hostPortRange of networkBindings are not supported by Berth yet.",
        ));
    }
    let port = |member: &str, port: Option<i32>| {
        let number = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        number.ok_or_else(|| invalid(format!("{member} of networkBindings must be a port from 1 to 65535.")))
    };
    Ok(NetworkBinding {
        bind_ip: given.bind_ip.unwrap_or_else(|| "0.0.0.0".to_owned()),
        container_port: port("containerPort", given.container_port)?,
        host_port: port("hostPort", given.host_port)?,
        protocol: match given.protocol {
            Some(GivenProtocol::Udp) => TransportProtocol::Udp,
            _ => TransportProtocol::Tcp,
        },
    })
}
