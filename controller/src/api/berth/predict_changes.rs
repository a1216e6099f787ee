//! `PredictChanges`. Shell.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::berth::{
    HostToAdd, PlacementStrategyType, PredictChangesRequest, PredictChangesResponse, ServiceChange,
};
use berth_aws::ecs;
use berth_core::ids::IdSource;
use berth_core::model::{ClusterKey, ContainerInstanceId, Resources, SchedulingStrategy};
use berth_core::state::ClusterState;
use berth_core::what_if::{self, Change, NewHost};
use tokio::sync::Semaphore;

use super::predicted;
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::ecs::{placement, service_input};
use crate::api::errors::{self, invalid};

/// Most hosts that may be thought to join.
const MAX_NEW_HOSTS: usize = 100;

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
    let changes = changes(&state, &cluster, input)?;
    let seed = api.with_ids(IdSource::next_u64);
    let now = call.now;
    let interrupted = || errors::client("The prediction was interrupted; ask again.");
    let _turn = PLAYING.acquire().await.map_err(|_| interrupted())?;
    let played = tokio::task::spawn_blocking(move || {
        let outlook = what_if::predict(&state, &cluster, &changes, now, IdSource::from_seed(seed));
        outlook.map(|outlook| predicted::answer(&state, &cluster, &outlook))
    });
    let played = played.await.map_err(|_| interrupted())?;
    played.map_err(|rejection| errors::rejection(&rejection))
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
    for (place, host) in new.into_iter().enumerate() {
        changes.push(Change::AddHost(new_host(place, host)));
    }
    let mut lost = BTreeSet::new();
    for zone in input.lose_zones.unwrap_or_default() {
        lost.extend(hosts_in(state, cluster, &zone)?);
    }
    for named in input.lose_hosts.unwrap_or_default() {
        lost.insert(host(state, cluster, &named)?);
    }
    for named in input.drain_hosts.unwrap_or_default() {
        changes.push(Change::DrainHost(host(state, cluster, &named)?));
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

fn new_host(place: usize, host: HostToAdd) -> NewHost {
    // The model admits no negative amounts.
    let amount = |given: Option<i32>| given.and_then(|amount| u32::try_from(amount).ok()).unwrap_or(0);
    NewHost {
        name: host.name.unwrap_or_else(|| format!("new-host-{}", place + 1)),
        capacity: Resources::new(amount(host.cpu), amount(host.memory)),
        zone: host.availability_zone,
        capacity_provider: host.capacity_provider.map(Into::into),
    }
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
mod tests {
    use berth_aws::berth::operations::PredictChanges;
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition};
    use serde_json::json;

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        for (id, zone) in [(1, "zone-a"), (2, "zone-b")] {
            harness.add_host(id, zone);
        }
        let definition = json!({
            "family": "web", "networkMode": "host",
            "containerDefinitions": [{"name": "app", "image": "app", "cpu": 1024, "memory": 4000}]
        });
        harness
            .call::<RegisterTaskDefinition>(definition)
            .await
            .expect("registered");
        let create = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 3});
        harness.call::<CreateService>(create).await.expect("created");
        harness
    }

    #[tokio::test]
    async fn loss_of_a_zone_says_what_moves_what_finds_no_host_and_what_room_is_left() {
        let harness = harness().await;
        let before = harness.state.state();
        let answer = harness
            .call::<PredictChanges>(json!({"loseZones": ["zone-a"]}))
            .await
            .expect("predicted");
        assert_eq!(
            (&answer["settled"], &answer["hostsGivenUp"][0]["hostName"]),
            (&json!(true), &json!("host-1"))
        );
        let service = &answer["services"][0];
        assert_eq!(
            (&service["tasksBefore"], &service["tasksAfter"]),
            (&json!(3), &json!(2))
        );
        assert_eq!(service["fit"]["hostsThatFit"], 0);
        let remedy = service["fit"]["remedies"][0]["sentence"].as_str().expect("text");
        assert_eq!(remedy, "on host-1: bring its agent back");
        let zones = &answer["after"]["zones"];
        assert_eq!(
            zones[0],
            json!({"availabilityZone": "zone-a", "hosts": 0, "freeCpu": 0, "freeMemory": 0})
        );
        assert_eq!(
            zones[1],
            json!({"availabilityZone": "zone-b", "hosts": 1, "freeCpu": 2048, "freeMemory": 192})
        );
        assert_eq!(
            answer["before"]["services"][0],
            json!({"serviceName": "web", "tasks": 1})
        );
        assert_eq!(harness.state.state(), before, "nothing was changed");
    }

    #[tokio::test]
    async fn host_that_is_added_takes_what_found_none_and_a_service_can_be_changed() {
        let harness = harness().await;
        let input = json!({
            "services": [{"service": "web", "desiredCount": 5, "placementStrategy": [{"type": "binpack", "field": "cpu"}]}],
            "addHosts": [{"cpu": 4096, "memory": 16000, "availabilityZone": "zone-c"}]
        });
        let answer = harness.call::<PredictChanges>(input).await.expect("predicted");
        assert_eq!(answer["services"][0]["tasksAfter"], 5);
        assert!(answer.to_string().contains("new-host-1"), "{answer}");
    }

    #[tokio::test]
    async fn question_about_what_is_not_there_is_refused() {
        let harness = harness().await;
        let gone = "0".repeat(31) + "9";
        for (input, code) in [
            (json!({"loseHosts": [gone]}), "ResourceNotFoundException"),
            (json!({"loseZones": ["zone-z"]}), "ResourceNotFoundException"),
            (
                json!({"services": [{"service": "api", "desiredCount": 1}]}),
                "ServiceNotFoundException",
            ),
            (
                json!({"services": [{"service": "web", "placementStrategy": [{"type": "spread", "field": "x"}]}]}),
                "InvalidParameterException",
            ),
            (json!({"services": [{"service": "web"}]}), "InvalidParameterException"),
            (json!({"cluster": "other"}), "ClusterNotFoundException"),
        ] {
            let error = harness
                .call::<PredictChanges>(input.clone())
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code, "{input}");
        }
    }
}
