//! `UpdateHostSettings`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{UpdateHostSettingsRequest, UpdateHostSettingsResponse};
use berth_core::model::HostSettingsChange;
use berth_core::state::{Command, Feature, UpdateCluster};

use super::describe_host_settings::render;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors::{self, invalid};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateHostSettingsRequest,
) -> Result<UpdateHostSettingsResponse, AwsError> {
    let key = references::cluster_key(&call.scope, input.cluster.as_deref())?;
    let is_readable = input.stopped_tasks_kept_ms.is_none() || api.uses(Feature::StoppedTasksKept);
    errors::check_upgraded(is_readable, invalid, "stoppedTasksKeptMs cannot be changed")?;
    for (name, given) in [
        ("sleepAfterMs", input.sleep_after_ms),
        ("wakeWithinMs", input.wake_within_ms),
    ] {
        let is_readable = given.is_none() || api.uses(Feature::ManagedScaling);
        errors::check_upgraded(is_readable, invalid, &format!("{name} cannot be changed"))?;
    }
    // The model admits no negative numbers.
    let ms = |value: Option<i32>| value.and_then(|ms| u32::try_from(ms).ok());
    let update = UpdateCluster {
        cluster: key.clone(),
        settings: vec![],
        host_settings: HostSettingsChange {
            heartbeat_interval_ms: ms(input.heartbeat_interval_ms),
            host_lost_after_ms: ms(input.host_lost_after_ms),
            fence_after_ms: ms(input.fence_after_ms),
            stopped_tasks_kept_ms: ms(input.stopped_tasks_kept_ms),
            sleep_after_ms: ms(input.sleep_after_ms),
            wake_within_ms: ms(input.wake_within_ms),
        },
    };
    api.propose(Command::UpdateCluster(update)).await?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, Some(key.name.as_str()))?;
    Ok(UpdateHostSettingsResponse {
        host_settings: Some(render(&cluster.host_settings)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::{DescribeHostSettings, UpdateHostSettings};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn settings_changed_one_at_a_time_keep_the_others() {
        let harness = Harness::new();
        harness.add_cluster("default");
        let described = harness
            .call::<DescribeHostSettings>(json!({}))
            .await
            .expect("described");
        let by_default = json!({
            "heartbeatIntervalMs": 2000, "hostLostAfterMs": 10000, "fenceAfterMs": 0, "stoppedTasksKeptMs": 86_400_000,
            "sleepAfterMs": 900_000, "wakeWithinMs": 300_000
        });
        assert_eq!(described["hostSettings"], by_default);
        for change in [
            json!({"fenceAfterMs": 30000}),
            json!({"heartbeatIntervalMs": 3000}),
            json!({"stoppedTasksKeptMs": 3_600_000}),
            json!({"sleepAfterMs": 60_000}),
            json!({"wakeWithinMs": 120_000}),
        ] {
            harness.call::<UpdateHostSettings>(change).await.expect("updated");
        }
        let described = harness
            .call::<DescribeHostSettings>(json!({}))
            .await
            .expect("described");
        let changed = json!({
            "heartbeatIntervalMs": 3000, "hostLostAfterMs": 10000, "fenceAfterMs": 30000, "stoppedTasksKeptMs": 3_600_000,
            "sleepAfterMs": 60_000, "wakeWithinMs": 120_000
        });
        assert_eq!(described["hostSettings"], changed);
        let off = json!({"fenceAfterMs": 0});
        let answer = harness.call::<UpdateHostSettings>(off).await.expect("updated");
        assert_eq!(answer["hostSettings"]["fenceAfterMs"], 0);
    }

    #[tokio::test]
    async fn settings_that_cannot_be_kept_are_refused_by_name_and_change_nothing() {
        let harness = Harness::new();
        harness.add_cluster("default");
        let hasty = json!({"heartbeatIntervalMs": 5000, "hostLostAfterMs": 12000});
        let error = harness.call::<UpdateHostSettings>(hasty).await.expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(
            error.message.starts_with("hostLostAfterMs must be"),
            "{}",
            error.message
        );
        let described = harness
            .call::<DescribeHostSettings>(json!({}))
            .await
            .expect("described");
        assert_eq!(described["hostSettings"]["heartbeatIntervalMs"], 2000);
    }

    #[tokio::test]
    async fn time_for_stopped_tasks_before_all_controllers_know_it_is_refused() {
        let harness = Harness::before_levels();
        harness.add_cluster("default");
        let input = json!({"stoppedTasksKeptMs": 3_600_000});
        let error = harness.call::<UpdateHostSettings>(input).await.expect_err("refused");
        assert!(error.message.contains("has been upgraded"), "{}", error.message);
        let input = json!({"heartbeatIntervalMs": 3000});
        harness.call::<UpdateHostSettings>(input).await.expect("is older");
    }

    #[tokio::test]
    async fn settings_of_a_cluster_that_is_not_there_are_refused() {
        let harness = Harness::new();
        let error = harness
            .call::<DescribeHostSettings>(json!({}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
    }
}
