//! `ListDaemons`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListDaemonsRequest, ListDaemonsResponse};
use berth_core::model::{CapacityProviderName, Service, ServiceStatus};

use super::{capacity_providers, daemons, references, render};
use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

pub(crate) async fn handle(api: &Api, call: &Call, input: ListDaemonsRequest) -> Result<ListDaemonsResponse, AwsError> {
    let page = Page::parse("ListDaemons", input.next_token.as_deref(), input.max_results, 100)?;
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster_arn.as_deref())?;
    let given = input.capacity_provider_arns.unwrap_or_default();
    let wanted = capacity_providers::of_cluster(&call.scope, &given)?;
    let matching = state
        .daemons_of(&cluster.key)
        .filter(|daemon| daemon.status != ServiceStatus::Inactive && has_any(daemon, &wanted));
    let shown = matching.map(|daemon| (daemon.key.name.as_str().to_owned(), render::daemon_summary(daemon)));
    let (daemons, next_token) = page.take(shown);
    Ok(ListDaemonsResponse {
        daemon_summaries_list: Some(daemons),
        next_token,
    })
}

/// Whether a daemon has one of these capacity providers; any daemon does where none is asked for.
fn has_any(daemon: &Service, wanted: &[CapacityProviderName]) -> bool {
    let mut own = daemon.capacity_provider_strategy.iter();
    wanted.is_empty() || own.any(|item| wanted.contains(&item.capacity_provider))
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        ListDaemonDeployments, ListDaemons, ListTagsForResource, ListTasks, TagResource, UpdateDaemon,
    };
    use serde_json::{Value, json};

    use crate::api::ecs::daemons::testing::{arn, create, harness};

    fn names(answer: &Value) -> Vec<String> {
        let all = answer["daemonSummariesList"].as_array().expect("a list").iter();
        all.map(|daemon| {
            daemon["daemonArn"]
                .as_str()
                .unwrap_or_default()
                .replace(&arn("daemon/default/"), "")
        })
        .collect()
    }

    #[tokio::test]
    async fn daemons_are_listed_in_pages_by_capacity_provider_and_region() {
        let harness = harness().await;
        for (name, pool) in [("b", "gpu"), ("a", "plain"), ("c", "gpu")] {
            create(&harness, json!({"daemonName": name, "capacityProviderArns": [pool]})).await;
        }
        let first = harness
            .call::<ListDaemons>(json!({"maxResults": 2}))
            .await
            .expect("lists");
        assert_eq!(names(&first), ["a", "b"]);
        let more = json!({"maxResults": 2, "nextToken": first["nextToken"]});
        let second = harness.call::<ListDaemons>(more).await.expect("lists");
        assert_eq!((names(&second), second.get("nextToken")), (vec!["c".to_owned()], None));
        let of_pool = json!({"capacityProviderArns": [arn("capacity-provider/plain")]});
        assert_eq!(
            names(&harness.call::<ListDaemons>(of_pool).await.expect("lists")),
            ["a"]
        );
        let elsewhere = harness.call_in::<ListDaemons>("eu-west-1", json!({})).await;
        assert_eq!(
            elsewhere.expect_err("no cluster there").kind.code,
            "ClusterNotFoundException"
        );
    }

    #[tokio::test]
    async fn deployments_of_a_daemon_are_listed_the_newest_first_and_by_status() {
        let harness = harness().await;
        let created = create(&harness, json!({})).await;
        let update = json!({
            "daemonArn": created["daemonArn"], "daemonTaskDefinitionArn": "agent:2", "capacityProviderArns": ["gpu"],
        });
        let updated = harness.call::<UpdateDaemon>(update).await.expect("updates");
        let list = async |more: Value| {
            let mut input = json!({"daemonArn": created["daemonArn"]});
            for (name, value) in more.as_object().expect("members") {
                input[name] = value.clone();
            }
            let answer = harness.call::<ListDaemonDeployments>(input).await.expect("lists");
            let all = answer["daemonDeployments"].as_array().expect("a list").iter();
            all.map(|deployment| deployment["daemonDeploymentArn"].clone())
                .collect::<Vec<_>>()
        };
        let (new, old) = (updated["deploymentArn"].clone(), created["deploymentArn"].clone());
        assert_eq!(list(json!({})).await, [new.clone(), old.clone()]);
        assert_eq!(list(json!({"status": ["STOPPED"]})).await, vec![old]);
        assert_eq!(list(json!({"maxResults": 1})).await, vec![new]);
        assert_eq!(
            list(json!({"createdAt": {"after": 4_000_000_000_i64}})).await,
            [Value::Null; 0]
        );
    }

    #[tokio::test]
    async fn daemon_carries_tags_and_names_its_tasks() {
        let harness = harness().await;
        let created = create(&harness, json!({"tags": [{"key": "b", "value": "1"}]})).await;
        let input = json!({"resourceArn": created["daemonArn"], "tags": [{"key": "a", "value": "2"}]});
        harness.call::<TagResource>(input).await.expect("tags");
        let input = json!({"resourceArn": created["daemonArn"]});
        let tags = harness.call::<ListTagsForResource>(input).await.expect("lists")["tags"].clone();
        assert_eq!(tags, json!([{"key": "a", "value": "2"}, {"key": "b", "value": "1"}]));
        let tasks = harness
            .call::<ListTasks>(json!({"daemonName": "logs"}))
            .await
            .expect("lists");
        assert_eq!(tasks["taskArns"], json!([]));
        let error = harness
            .call::<ListTasks>(json!({"daemonName": "none"}))
            .await
            .expect_err("unknown");
        assert_eq!(error.kind.code, "InvalidParameterException");
    }
}
