//! `DescribeTaskSets`: those that are named, or all of a service. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeTaskSetsRequest, DescribeTaskSetsResponse, TaskSetField};

use super::{references, render, task_sets};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// Most task sets that one request can name (ECS: 10).
const MAX_NAMED: usize = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeTaskSetsRequest,
) -> Result<DescribeTaskSetsResponse, AwsError> {
    let state = api.read().await?;
    let service = task_sets::service(&state, &call.scope, input.cluster.as_deref(), input.service.as_deref())?;
    let named = input.task_sets.unwrap_or_default();
    if named.len() > MAX_NAMED {
        return Err(invalid(format!("taskSets must not be more than {MAX_NAMED}.")));
    }
    let with_tags = input.include.unwrap_or_default().contains(&TaskSetField::Tags);
    let (mut found, mut failures) = (vec![], vec![]);
    for name in &named {
        let id = task_sets::id(&service.key, name)?;
        match service.task_set(&id) {
            Some(set) => found.push(set),
            None => failures.push(references::missing(service.key.task_set_arn(&id))),
        }
    }
    if named.is_empty() {
        found.extend(&service.task_sets);
    }
    let shown = found
        .into_iter()
        .map(|set| render::task_set(&state, &service, set, with_tags));
    Ok(DescribeTaskSetsResponse {
        task_sets: Some(shown.collect()),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::DescribeTaskSets;
    use serde_json::{Value, json};

    use crate::api::ecs::task_sets::testing::{create, harness};

    #[tokio::test]
    async fn task_sets_that_are_named_or_all_are_described_and_tags_where_asked_for() {
        let harness = harness().await;
        let tags = json!([{"key": "k", "value": "v"}]);
        let first = create(&harness, json!({"tags": tags})).await;
        let second = create(&harness, Value::Null).await;
        let request = |more: Value| {
            let mut input = json!({"cluster": "default", "service": "site"});
            for (name, value) in more.as_object().expect("members") {
                input[name] = value.clone();
            }
            input
        };
        let all = harness
            .call::<DescribeTaskSets>(request(json!({})))
            .await
            .expect("describes");
        let ids = |answer: &Value| -> Vec<Value> {
            let sets = answer["taskSets"].as_array().expect("task sets").iter();
            sets.map(|set| set["id"].clone()).collect()
        };
        assert_eq!(ids(&all), [first["id"].clone(), second["id"].clone()]);
        assert_eq!(all["taskSets"][0]["tags"], json!([]));
        let named = json!({"taskSets": [first["taskSetArn"], "ecs-svc/5"], "include": ["TAGS"]});
        let some = harness
            .call::<DescribeTaskSets>(request(named))
            .await
            .expect("describes");
        assert_eq!(ids(&some), [first["id"].clone()]);
        assert_eq!(some["taskSets"][0]["tags"], tags);
        let missing = "arn:aws:ecs:us-east-1:123456789012:task-set/default/site/ecs-svc/5";
        assert_eq!(some["failures"], json!([{"arn": missing, "reason": "MISSING"}]));
    }
}
