//! `PlanRebalance`. Shell.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::berth::{PlanRebalanceRequest, PlanRebalanceResponse};
use berth_core::model::ServiceName;
use berth_core::rebalance::{self, Wish};
use tokio::sync::Semaphore;

use super::rebalanced;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors;

/// Moves of a plan, where the request does not say how many there may be.
const DEFAULT_MAX_MOVES: usize = 50;

/// One plan is made at a time: it takes a processor for as long as it goes on, which a large cluster makes seconds.
static PLANNING: Semaphore = Semaphore::const_new(1);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PlanRebalanceRequest,
) -> Result<PlanRebalanceResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    let mut services: BTreeSet<ServiceName> = BTreeSet::new();
    for named in input.services.unwrap_or_default() {
        let service = references::service(&state, &cluster, &named)?;
        services.insert(service.key.name.clone());
    }
    let wish = Wish {
        goal: rebalanced::goal(input.goal),
        services,
        // The model admits no negative numbers.
        max_moves: input
            .max_moves
            .and_then(|moves| usize::try_from(moves).ok())
            .unwrap_or(DEFAULT_MAX_MOVES),
    };
    let now = call.now;
    let interrupted = || errors::client("The plan was interrupted; ask again.");
    let _turn = PLANNING.acquire().await.map_err(|_| interrupted())?;
    let planned = tokio::task::spawn_blocking(move || {
        let proposal = rebalance::propose(&state, &cluster, &wish, now);
        rebalanced::proposal(&state, &cluster, &proposal)
    });
    planned.await.map_err(|_| interrupted())
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::{DescribeRebalance, PlanRebalance, StartRebalance, StopRebalance};
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition};
    use berth_core::model::{
        ClusterKey, ContainerInstanceId, DeploymentStatus, Scope, TaskId, TaskReport, TaskStatus, Timestamp,
    };
    use berth_core::state::{Command, DeploymentProgress, ServiceProgress};
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, NOW};

    fn cluster() -> ClusterKey {
        Scope::new("123456789012", "us-east-1").cluster("default")
    }

    fn id(number: u128) -> String {
        format!("{number:032x}")
    }

    /// A service with four tasks on the one host of zone-a, and a host in zone-b.
    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "zone-a");
        let definition = json!({
            "family": "web", "networkMode": "host",
            "containerDefinitions": [{"name": "app", "image": "app", "cpu": 100, "memory": 100}]
        });
        harness
            .call::<RegisterTaskDefinition>(definition)
            .await
            .expect("registered");
        let create = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 4});
        harness.call::<CreateService>(create).await.expect("created");
        start_tasks(&harness);
        harness.add_host(2, "zone-b");
        harness
    }

    /// What the leader and the host would have done long ago.
    fn start_tasks(harness: &Harness) {
        let state = harness.state.state();
        let key = Scope::new("123456789012", "us-east-1")
            .cluster("default")
            .service("web");
        let service = state.service(&key).expect("created");
        let long_ago = Timestamp(NOW.0 - 60_000);
        let prototype = berth_core::reconcile::next_task(&state, service, long_ago).expect("defined");
        let host = ContainerInstanceId(1);
        let tasks = (11..15).map(|id| {
            let mut task = prototype.clone();
            (task.id, task.container_instance, task.last_status) = (TaskId(id), Some(host), TaskStatus::Pending);
            task
        });
        let tasks = tasks.collect();
        harness.state.apply(&Command::CreateTasks { tasks }).expect("created");
        let report = |id| TaskReport {
            started_at: Some(long_ago),
            ..TaskReport::new(TaskId(id), TaskStatus::Running)
        };
        let running = Command::RecordTaskReports {
            container_instance: host,
            reports: (11..15).map(report).collect(),
            at: long_ago,
        };
        harness.state.apply(&running).expect("recorded");
        let completed = Command::RecordServiceProgress(Box::new(ServiceProgress {
            deployments: vec![DeploymentProgress {
                id: service.deployments[0].id.clone(),
                status: DeploymentStatus::Primary,
                rollout_state: berth_core::model::RolloutState::Completed,
                rollout_state_reason: String::new(),
                resets_failed_tasks: false,
            }],
            steady: Some(true),
            ..ServiceProgress::nothing_new(key, long_ago)
        }));
        harness.state.apply(&completed).expect("recorded");
    }

    fn moves(answer: &Value) -> Vec<Value> {
        let moves = answer["moves"].as_array().expect("a list").iter();
        let to_make = moves
            .map(|found| json!({"task": found["taskArn"], "containerInstance": found["to"]["containerInstanceArn"]}));
        to_make.collect()
    }

    #[tokio::test]
    async fn plan_says_what_moves_and_what_that_brings_and_changes_nothing() {
        let harness = harness().await;
        let before = harness.state.state();
        let answer = harness.call::<PlanRebalance>(json!({})).await.expect("planned");
        assert_eq!(moves(&answer).len(), 2);
        let first = &answer["moves"][0];
        assert_eq!(
            (
                &first["serviceName"],
                &first["from"]["hostName"],
                &first["to"]["hostName"],
                &first["why"]
            ),
            (
                &json!("web"),
                &json!("host-1"),
                &json!("host-2"),
                &json!("zone-a has 4 and zone-b has 0")
            )
        );
        let skew = |when: &str| answer[when]["spreads"][0]["skew"].clone();
        assert_eq!((skew("before"), skew("after")), (json!(4), json!(0)));
        assert_eq!(
            (&answer["before"]["emptyHosts"], &answer["after"]["emptyHosts"]),
            (&json!(1), &json!(0))
        );
        let one = json!({"maxMoves": 1, "services": ["web"]});
        let one = harness.call::<PlanRebalance>(one).await.expect("planned");
        assert_eq!(moves(&one).len(), 1);
        let spent = json!([{"serviceName": "web", "reason": "it takes 1 move, and 0 are left"}]);
        assert_eq!(one["notMoved"], spent);
        let none = json!({"goal": "defragment"});
        let none = harness.call::<PlanRebalance>(none).await.expect("planned");
        assert_eq!(moves(&none).len(), 0);
        assert_eq!(harness.state.state(), before);
    }

    #[tokio::test]
    async fn moves_that_were_planned_are_started_described_and_stopped() {
        let harness = harness().await;
        let none = harness.call::<DescribeRebalance>(json!({})).await.expect("described");
        assert_eq!(none, json!({}));
        let plan = harness.call::<PlanRebalance>(json!({})).await.expect("planned");
        let start = json!({"moves": moves(&plan), "atATime": 2, "drainHosts": [id(1)], "deadlineSeconds": 60});
        let started = harness.call::<StartRebalance>(start.clone()).await.expect("started");
        let rebalance = &started["rebalance"];
        assert_eq!(
            (&rebalance["status"], &rebalance["atATime"]),
            (&json!("IN_PROGRESS"), &json!(2))
        );
        assert_eq!(rebalance["moves"][0]["status"], "WAITING");
        assert_eq!(rebalance["drainHosts"][0]["hostName"], "host-1");
        let again = harness.call::<StartRebalance>(start).await.expect_err("refused");
        assert_eq!(again.kind.code, "ClientException");
        let described = harness.call::<DescribeRebalance>(json!({})).await.expect("described");
        assert_eq!(described, started);
        let stopped = harness.call::<StopRebalance>(json!({})).await.expect("stopped");
        assert_eq!(stopped["rebalance"]["stopped"], true);
    }

    #[tokio::test]
    async fn moves_that_cannot_be_are_refused_and_change_nothing() {
        let harness = harness().await;
        let before = harness.state.state();
        let to = |task: u128, host: u128| json!({"task": id(task), "containerInstance": id(host)});
        for (input, code, said) in [
            (json!({"moves": []}), "InvalidParameterException", "At least one move"),
            (
                json!({"moves": [to(99, 2)]}),
                "ResourceNotFoundException",
                "There is no task",
            ),
            (
                json!({"moves": [to(11, 9)]}),
                "ResourceNotFoundException",
                "There is no container instance",
            ),
            (
                json!({"moves": [to(11, 1)]}),
                "InvalidParameterException",
                "is on host-1 already",
            ),
            (
                json!({"moves": [to(11, 2), to(11, 2)]}),
                "InvalidParameterException",
                "twice",
            ),
            (
                json!({"moves": [to(11, 2)], "drainHosts": [id(9)]}),
                "ResourceNotFoundException",
                "There is no container instance",
            ),
        ] {
            let error = harness
                .call::<StartRebalance>(input.clone())
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code, "{input}");
            assert!(error.message.contains(said), "{input}: {}", error.message);
        }
        let nothing = harness.call::<StopRebalance>(json!({})).await.expect_err("refused");
        assert_eq!(nothing.kind.code, "ClientException");
        let unknown = json!({"services": ["nothing"]});
        let unknown = harness.call::<PlanRebalance>(unknown).await.expect_err("refused");
        assert_eq!(unknown.kind.code, "ServiceNotFoundException");
        assert_eq!(
            unknown.message,
            "Service not found: cluster default has no service nothing."
        );
        assert_eq!(
            harness.state.state().snapshot().skip(1).count(),
            before.snapshot().skip(1).count()
        );
        assert_eq!(harness.state.state().rebalance(&cluster()), None);
    }

    #[tokio::test]
    async fn moves_are_refused_until_all_controllers_are_upgraded() {
        let harness = Harness::before_levels();
        harness.add_host(1, "zone-a");
        let start = json!({"moves": [{"task": id(1), "containerInstance": id(1)}]});
        let error = harness.call::<StartRebalance>(start).await.expect_err("refused");
        assert!(error.message.contains("upgraded"), "{}", error.message);
    }
}
