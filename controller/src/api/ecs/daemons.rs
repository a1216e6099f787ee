//! Managed daemons in requests: which one a request means, what it is to be, and from when on there are any. Pure.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{DaemonDeploymentConfiguration, DaemonPropagateTags, errors as ecs};
use berth_core::model::{
    ArnResource, CapacityProviderStrategy, CapacityProviderStrategyItem, Cluster, DaemonSettings,
    DeploymentConfiguration, DeploymentId, Family, PredefinedCapacityProvider, PropagateTags, Scale, Scope, Service,
    ServiceKey, ServiceStatus, TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus,
};
use berth_core::state::{ClusterState, Feature};

use super::{capacity_providers, names, references};
use crate::api::errors::{self, client, invalid};
use crate::api::members::Honoured;

/// On which share of its hosts the task of a daemon is replaced at once, where nobody says it (ECS: 25 %).
const DEFAULT_DRAIN_PERCENT: f64 = 25.0;
/// Longest bake time (ECS: a day).
const MAX_BAKE_MINUTES: i32 = 1_440;

/// What Berth honours of a deployment configuration: alarms are for deployments of services alone.
pub(super) const CONFIGURATION: Honoured =
    Honoured::Members(&[("drainPercent", Honoured::All), ("bakeTimeInMinutes", Honoured::All)]);

/// Refuses what concerns daemons while there may be controllers that do not know them.
///
/// # Errors
/// `ClientException`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(
        state.uses(Feature::ManagedDaemons),
        client,
        "Managed daemons are not supported",
    )
}

/// Refuses the name of a daemon with anything but letters, digits, hyphens and underscores.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_name(name: &str) -> Result<(), AwsError> {
    match name.is_empty() || !names::is_well_formed(name) {
        false => Ok(()),
        true => Err(invalid(
            "Invalid daemonName: use up to 255 letters, numbers, hyphens and underscores.",
        )),
    }
}

/// The daemon that an ARN names, as long as it is there.
///
/// # Errors
/// `InvalidParameterException` for anything else, and for another account or region; `ClusterNotFoundException` and `DaemonNotFoundException`.
pub(super) fn find<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    arn: Option<&str>,
) -> Result<&'s Arc<Service>, AwsError> {
    check_level(state)?;
    let text = arn.unwrap_or_default();
    let Some(ArnResource::Daemon { cluster, daemon }) = references::arn_in(scope, text)? else {
        return Err(invalid(format!(
            "Invalid identifier: {text} is not the ARN of a daemon."
        )));
    };
    let cluster = references::active_cluster(state, scope, Some(&cluster))?;
    let known = state.service(&cluster.key.daemon(&daemon));
    known
        .filter(|daemon| daemon.status != ServiceStatus::Inactive)
        .ok_or_else(not_found)
}

/// The error for a daemon that is not there.
pub(in crate::api) fn not_found() -> AwsError {
    ecs::DAEMON_NOT_FOUND.error("The specified daemon was not found. ListDaemons shows those that there are.")
}

/// The error for a daemon that is being deleted.
pub(in crate::api) fn not_active() -> AwsError {
    ecs::DAEMON_NOT_ACTIVE.error("The specified daemon is not ACTIVE. Once it is deleted, it can be created again.")
}

/// Which daemon and which number the ARN of a daemon deployment names.
///
/// # Errors
/// `InvalidParameterException` for anything else, and for another account or region.
pub(super) fn deployment_of(scope: &Scope, arn: &str) -> Result<(ServiceKey, DeploymentId), AwsError> {
    match references::arn_in(scope, arn)? {
        Some(ArnResource::DaemonDeployment { cluster, daemon, id }) => {
            Ok((scope.cluster(&cluster).daemon(&daemon), DeploymentId::of_number(&id)))
        }
        _ => Err(invalid(format!(
            "Invalid identifier: {arn} is not a daemon deployment."
        ))),
    }
}

/// Which daemon and which number the ARN of a daemon revision names.
///
/// # Errors
/// As [`deployment_of`].
pub(super) fn revision_of(scope: &Scope, arn: &str) -> Result<(ServiceKey, DeploymentId), AwsError> {
    match references::arn_in(scope, arn)? {
        Some(ArnResource::DaemonRevision { cluster, daemon, id }) => {
            Ok((scope.cluster(&cluster).daemon(&daemon), DeploymentId::of_number(&id)))
        }
        _ => Err(invalid(format!("Invalid identifier: {arn} is not a daemon revision."))),
    }
}

/// The revision that a request names: `family` (its newest active revision), `family:revision` or an ARN. `None` if there is none.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another account or region.
pub(super) fn task_definition<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    text: &str,
) -> Result<Option<&'s Arc<TaskDefinition>>, AwsError> {
    check_level(state)?;
    let revision_of = |family: &str, revision| TaskDefinitionKey {
        scope: scope.clone(),
        family: Family::for_daemons(family),
        revision,
    };
    let key = match text.split_once(':').filter(|_| !text.starts_with("arn:")) {
        Some((family, revision)) => {
            let number = revision.parse();
            revision_of(
                family,
                number.map_err(|_| invalid(format!("Invalid revision number. Number: {revision}")))?,
            )
        }
        None => match references::arn_in(scope, text)? {
            None => return Ok(state.latest_task_definition(scope, &Family::for_daemons(text))),
            Some(ArnResource::DaemonTaskDefinition { family, revision }) => revision_of(&family, revision),
            Some(_) => {
                return Err(invalid(format!(
                    "Invalid identifier: {text} is not a daemon task definition."
                )));
            }
        },
    };
    Ok(state.task_definition(&key))
}

/// The revision that a daemon is to have from now on.
///
/// # Errors
/// As [`task_definition`], and `ClientException` for one that does not exist or is deleted.
pub(super) fn usable_task_definition<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    given: Option<&str>,
) -> Result<&'s Arc<TaskDefinition>, AwsError> {
    let given = given.unwrap_or_default();
    let found = task_definition(state, scope, given)?;
    found
        .filter(|definition| definition.status == TaskDefinitionStatus::Active)
        .ok_or_else(|| client(format!("Daemon task definition not found, or not ACTIVE: {given}.")))
}

/// The capacity providers that a daemon is to have, all of them of its cluster.
///
/// # Errors
/// `InvalidParameterException` for none, too many, one that is named twice, and one that the cluster does not have.
pub(super) fn capacity(cluster: &Cluster, given: Option<&[String]>) -> Result<CapacityProviderStrategy, AwsError> {
    let names = capacity_providers::of_cluster(&cluster.key.scope, given.unwrap_or_default())?;
    if names.is_empty() {
        return Err(invalid("capacityProviderArns cannot be empty."));
    }
    if let Some(predefined) = names.iter().find(|name| PredefinedCapacityProvider::of(name).is_some()) {
        return Err(invalid(format!(
            "The capacity provider {predefined} cannot have daemons: they are for capacity providers of hosts, which CreateCapacityProvider makes."
        )));
    }
    if let Some(other) = names.iter().find(|name| !cluster.capacity_providers.contains(name)) {
        return Err(invalid(format!(
            "The capacity provider {other} is not associated with the cluster {}. Associate it with PutClusterCapacityProviders, or name another.",
            cluster.key.name
        )));
    }
    let item = |capacity_provider| CapacityProviderStrategyItem {
        capacity_provider,
        weight: 1,
        base: 0,
    };
    Ok(names.into_iter().map(item).collect())
}

/// What a request says of how a daemon is deployed and what it is to its hosts. Whatever is left out has its default, in an update as well (ECS).
///
/// # Errors
/// `InvalidParameterException` for numbers out of range.
pub(super) fn settings(
    configuration: Option<&DaemonDeploymentConfiguration>,
    critical: Option<bool>,
) -> Result<(DaemonSettings, DeploymentConfiguration), AwsError> {
    let percent = configuration.and_then(|given| given.drain_percent);
    let drain = Scale::of_percent(percent.unwrap_or(DEFAULT_DRAIN_PERCENT))
        .map_err(|_| invalid("drainPercent must be between 0.0 and 100.0."))?;
    let minutes = configuration.and_then(|given| given.bake_time_in_minutes).unwrap_or(0);
    if !(0..=MAX_BAKE_MINUTES).contains(&minutes) {
        return Err(invalid(format!(
            "bakeTimeInMinutes must be between 0 and {MAX_BAKE_MINUTES}, not {minutes}."
        )));
    }
    let settings = DaemonSettings {
        critical: critical.unwrap_or(true),
        drain,
    };
    Ok((settings, DeploymentConfiguration::of_daemon(minutes.unsigned_abs())))
}

/// Whether tasks get the tags of their daemon.
pub(super) fn propagate_tags(given: Option<DaemonPropagateTags>) -> PropagateTags {
    match given {
        Some(DaemonPropagateTags::Daemon) => PropagateTags::Service,
        None | Some(DaemonPropagateTags::None) => PropagateTags::None,
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of daemons begin with.

    use berth_aws::ecs::operations::{CreateDaemon, PutClusterCapacityProviders, RegisterDaemonTaskDefinition};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    pub(in crate::api::ecs) const PREFIX: &str = "arn:aws:ecs:us-east-1:123456789012";

    /// The ARN of something of ECS.
    pub(in crate::api::ecs) fn arn(resource: &str) -> String {
        format!("{PREFIX}:{resource}")
    }

    /// A host of the capacity provider `gpu`, and two revisions of `agent`.
    pub(in crate::api::ecs) async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host_of(1, "a", Some("gpu"));
        for pool in ["gpu", "plain"] {
            harness.add_capacity_provider(pool).await;
        }
        let put =
            json!({"cluster": "default", "capacityProviders": ["gpu", "plain"], "defaultCapacityProviderStrategy": []});
        harness.call::<PutClusterCapacityProviders>(put).await.expect("puts");
        for image in ["agent:1", "agent:2"] {
            let container = json!({"name": "agent", "image": image, "memory": 64});
            let input = json!({"family": "agent", "containerDefinitions": [container]});
            harness
                .call::<RegisterDaemonTaskDefinition>(input)
                .await
                .expect("registers");
        }
        harness
    }

    /// A request for the daemon `logs` of `agent:1`, with other members.
    pub(in crate::api::ecs) fn request(more: Value) -> Value {
        let mut request = json!({
            "daemonName": "logs", "daemonTaskDefinitionArn": arn("daemon-task-definition/agent:1"),
            "capacityProviderArns": [arn("capacity-provider/gpu")],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        request
    }

    /// Creates the daemon `logs`.
    pub(in crate::api::ecs) async fn create(harness: &Harness, more: Value) -> Value {
        harness.call::<CreateDaemon>(request(more)).await.expect("creates")
    }
}
