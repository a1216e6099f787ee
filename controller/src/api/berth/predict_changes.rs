//! `PredictChanges`. Shell.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::berth::{
    HostAttribute, HostToAdd, PlacementStrategyType, PredictChangesRequest, PredictChangesResponse, RehearsedRequest,
    ServiceChange,
};
use berth_aws::ecs;
use berth_core::ids::IdSource;
use berth_core::model::{Attributes, ClusterKey, ContainerInstanceId, Resources, SchedulingStrategy, attribute_names};
use berth_core::state::ClusterState;
use berth_core::what_if::{self, Change, NewHost};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::predicted;
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::ecs::{attributes, placement, service_input};
use crate::api::errors::{self, invalid};
use crate::api::rehearsed;

/// Most hosts that may be thought to join.
const MAX_NEW_HOSTS: usize = 100;

/// What hosts that join say too, as far as those that are there say the same of it: tasks ask for it whose definitions say nothing of hosts.
const SAID_ALIKE: [&str; 4] = [
    attribute_names::OS_TYPE,
    attribute_names::CPU_ARCHITECTURE,
    attribute_names::TASK_ENI,
    attribute_names::SUBNET_ID,
];

/// One is played at a time: it takes a processor for as long as it goes on, which a large cluster makes seconds.
static PLAYING: Semaphore = Semaphore::const_new(1);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PredictChangesRequest,
) -> Result<PredictChangesResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    let mut input = input;
    let requests = requests(input.requests.take().unwrap_or_default())?;
    let requests = rehearsed::commands(api, call, &state, requests).await?;
    let requests = requests.into_iter().map(|command| Change::Request(Box::new(command)));
    let changes: Vec<Change> = requests.chain(changes(&state, &cluster, input)?).collect();
    let seed = api.with_ids(IdSource::next_u64);
    let now = call.now;
    let interrupted = || errors::client("The prediction was interrupted; ask again.");
    let _turn = PLAYING.acquire().await.map_err(|_| interrupted())?;
    let played = tokio::task::spawn_blocking(move || {
        let outlook = what_if::predict(&state, &cluster, &changes, now, IdSource::from_seed(seed));
        outlook.map(|outlook| predicted::answer(&cluster, &outlook))
    });
    let played = played.await.map_err(|_| interrupted())?;
    played.map_err(|rejection| errors::rejection(&rejection))
}

/// The operations and inputs of the requests that are to be thought made.
fn requests(given: Vec<RehearsedRequest>) -> Result<Vec<(String, Value)>, AwsError> {
    let named = given.into_iter().map(|request| {
        let operation = request.operation.map(|operation| operation.as_str().to_owned());
        let input = request.input.filter(Value::is_object);
        let input = input.ok_or_else(|| invalid("The input of a request is an object, as the operation takes it."))?;
        Ok((operation.unwrap_or_default(), input))
    });
    named.collect()
}

/// What the request wants to have happen: services are changed before hosts go, and hosts come before others go.
fn changes(state: &ClusterState, cluster: &ClusterKey, input: PredictChangesRequest) -> Result<Vec<Change>, AwsError> {
    let new = input.add_hosts.unwrap_or_default();
    if new.len() > MAX_NEW_HOSTS {
        return Err(invalid(format!(
            "At most {MAX_NEW_HOSTS} hosts can be added at once, not {}.",
            new.len()
        )));
    }
    let mut changes = vec![];
    for change in input.services.unwrap_or_default() {
        changes.push(service_change(state, cluster, change)?);
    }
    changes.extend(new_hosts(state, cluster, new)?.into_iter().map(Change::AddHost));
    let mut lost = BTreeSet::new();
    for zone in input.lose_zones.unwrap_or_default() {
        lost.extend(hosts_in(state, cluster, &zone)?);
    }
    for named in input.lose_hosts.unwrap_or_default() {
        lost.insert(host(state, cluster, &named)?);
    }
    for named in input.drain_hosts.unwrap_or_default() {
        let drained = host(state, cluster, &named)?;
        if lost.contains(&drained) {
            return Err(invalid(format!(
                "Host {} is to be lost (loseHosts, loseZones) and to be drained (drainHosts) at once: ask for one of the two.",
                label(state, drained)
            )));
        }
        changes.push(Change::DrainHost(drained));
    }
    changes.extend(lost.into_iter().map(Change::LoseHost));
    Ok(changes)
}

fn host(state: &ClusterState, cluster: &ClusterKey, named: &str) -> Result<ContainerInstanceId, AwsError> {
    match references::container_instance(state, cluster, named)? {
        Lookup::Found(host) => Ok(host.id),
        Lookup::Missing(arn) => Err(RESOURCE_NOT_FOUND.error(format!("There is no container instance {arn}."))),
    }
}

fn hosts_in(state: &ClusterState, cluster: &ClusterKey, zone: &str) -> Result<Vec<ContainerInstanceId>, AwsError> {
    let all = state.container_instances_of(cluster);
    let hosts: Vec<ContainerInstanceId> = all
        .filter(|host| host.availability_zone() == Some(zone))
        .map(|host| host.id)
        .collect();
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let zones: BTreeSet<&str> = state
        .container_instances_of(cluster)
        .filter_map(|host| host.availability_zone())
        .collect();
    let zones: Vec<&str> = zones.into_iter().collect();
    Err(RESOURCE_NOT_FOUND.error(format!(
        "No host of cluster {} is in zone {zone}; there are hosts in: {}.",
        cluster.name,
        zones.join(", ")
    )))
}

/// The hosts that join, under names that no host of the cluster has.
fn new_hosts(state: &ClusterState, cluster: &ClusterKey, given: Vec<HostToAdd>) -> Result<Vec<NewHost>, AwsError> {
    let there = state.container_instances_of(cluster);
    let mut taken: BTreeSet<String> = there.map(|host| host.host.host_name.clone()).collect();
    for name in given.iter().filter_map(|host| host.name.as_ref()) {
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(invalid(format!(
                "A host that is added cannot be called {name:?}: names have no blanks."
            )));
        }
        if !taken.insert(name.clone()) {
            return Err(invalid(format!(
                "A host that is added cannot be called {name}: there is one of that name already. Without a name it gets one."
            )));
        }
    }
    let mut free = (1..)
        .map(|number| format!("new-host-{number}"))
        .filter(|name| !taken.contains(name));
    let alike = said_alike(state, cluster);
    given
        .into_iter()
        .map(|host| new_host(host, &mut free, &alike))
        .collect()
}

fn new_host(host: HostToAdd, free: &mut impl Iterator<Item = String>, alike: &Attributes) -> Result<NewHost, AwsError> {
    // The model admits no negative amounts.
    let amount = |given: Option<i32>| given.and_then(|amount| u32::try_from(amount).ok()).unwrap_or(0);
    let mut attributes = alike.clone();
    attributes.extend(said_by(host.attributes.unwrap_or_default())?);
    Ok(NewHost {
        name: host.name.unwrap_or_else(|| free.next().unwrap_or_default()),
        capacity: Resources::new(amount(host.cpu), amount(host.memory)),
        zone: host.availability_zone,
        capacity_provider: host.capacity_provider.map(Into::into),
        attributes,
    })
}

/// What all hosts of the cluster say of themselves in the same words.
fn said_alike(state: &ClusterState, cluster: &ClusterKey) -> Attributes {
    let said = |name: &str| {
        let mut hosts = state.container_instances_of(cluster);
        let value = hosts.next()?.attribute(name)?;
        hosts
            .all(|host| host.attribute(name) == Some(value))
            .then(|| (name.to_owned(), value.map(str::to_owned)))
    };
    SAID_ALIKE.into_iter().filter_map(said).collect()
}

/// What the agent of a host that joins is to say of it.
fn said_by(given: Vec<HostAttribute>) -> Result<Attributes, AwsError> {
    let mut said = Attributes::new();
    for attribute in given {
        let (name, value) = attributes::of_host(ecs::Attribute {
            name: attribute.name,
            value: attribute.value,
            ..Default::default()
        })?;
        if said.insert(name.clone(), value).is_some() {
            return Err(invalid(format!(
                "The attribute {name} is given twice for a host that is added: give it once."
            )));
        }
    }
    Ok(said)
}

/// What people call a host of the state.
fn label(state: &ClusterState, id: ContainerInstanceId) -> String {
    let name = state.container_instance(id).map(|host| host.host.host_name.clone());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_string())
}

fn service_change(state: &ClusterState, cluster: &ClusterKey, change: ServiceChange) -> Result<Change, AwsError> {
    let service = references::service(state, cluster, change.service.as_deref().unwrap_or_default())?;
    if change.desired_count.is_none() && change.placement_strategy.is_none() {
        return Err(invalid(format!(
            "What is to change of service {} is not said: desiredCount, placementStrategy or both are needed.",
            service.key.name
        )));
    }
    let is_daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
    if is_daemon && (change.desired_count.is_some() || change.placement_strategy.is_some()) {
        return Err(invalid(format!(
            "Service {} is a daemon service: it has one task on each host that takes it.",
            service.key.name
        )));
    }
    let strategies = change.placement_strategy.map(|given| {
        let given = given.into_iter().map(|strategy| ecs::PlacementStrategy {
            r#type: strategy.r#type.map(|kind| match kind {
                PlacementStrategyType::Random => ecs::PlacementStrategyType::Random,
                PlacementStrategyType::Spread => ecs::PlacementStrategyType::Spread,
                PlacementStrategyType::Binpack => ecs::PlacementStrategyType::Binpack,
            }),
            field: strategy.field,
        });
        placement::strategies(state, given.collect())
    });
    Ok(Change::UpdateService {
        service: service.key.clone(),
        desired_count: change.desired_count.map(service_input::desired_count).transpose()?,
        placement_strategy: strategies.transpose()?,
    })
}

#[cfg(test)]
#[path = "predict_changes_tests.rs"]
mod tests;
