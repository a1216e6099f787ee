//! `ExportDecisions`: begins a recording of placement decisions in a span of the log, to be fetched in parts. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{ExportDecisionsRequest, ExportDecisionsResponse};
use berth_core::ids::IdSource;
use berth_core::model::Timestamp;

use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors::{self, invalid};
use crate::api::ports::RecordingFailure;
use crate::decisions::{Edge, Span};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ExportDecisionsRequest,
) -> Result<ExportDecisionsResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    drop(state);
    let span = Span {
        from: edge("from", input.from_index, input.from_time)?,
        to: edge("to", input.to_index, input.to_time)?,
    };
    let id = api.with_ids(IdSource::uuid);
    let begun = api.decisions().begin(id.clone(), cluster, span).await;
    let begun = begun.map_err(|failure| match failure {
        RecordingFailure::Refused(why) => invalid(sentence(&why)),
        RecordingFailure::Unavailable(error) => errors::unavailable(&error),
    })?;
    Ok(ExportDecisionsResponse {
        recording_id: Some(id),
        first_index: i64::try_from(begun.first).ok(),
        last_index: i64::try_from(begun.last).ok(),
    })
}

fn edge(side: &str, index: Option<i64>, time: Option<berth_aws::Timestamp>) -> Result<Option<Edge>, AwsError> {
    match (index, time) {
        (None, None) => Ok(None),
        (None, Some(time)) => Ok(Some(Edge::Time(Timestamp(time.0)))),
        (Some(index), None) => match u64::try_from(index) {
            Ok(index) => Ok(Some(Edge::Index(index))),
            Err(_) => Err(invalid(format!("{side}Index {index} is no entry of the log."))),
        },
        (Some(_), Some(_)) => Err(invalid(format!("Give {side}Index or {side}Time, not both."))),
    }
}

fn sentence(why: &str) -> String {
    let mut chars = why.chars();
    let first: String = chars.next().map(char::to_uppercase).into_iter().flatten().collect();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::{ExportDecisions, GetDecisionsPart};
    use berth_aws::ecs::operations::CreateCluster;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn recording_is_begun_for_a_span_that_is_held_and_fetched_in_parts() {
        let harness = Harness::new();
        harness.call::<CreateCluster>(json!({})).await.expect("created");
        let begun = harness
            .call::<ExportDecisions>(json!({"fromIndex": 6}))
            .await
            .expect("begun");
        assert_eq!((&begun["firstIndex"], &begun["lastIndex"]), (&json!(5), &json!(9)));
        let part = json!({"recordingId": begun["recordingId"], "partNumber": 0});
        let part = harness.call::<GetDecisionsPart>(part).await.expect("a part");
        assert_eq!(part, json!({"data": "e30=", "last": true}));
    }

    #[tokio::test]
    async fn span_that_makes_no_sense_or_is_not_held_is_refused_with_the_reason() {
        let harness = Harness::new();
        let call = |input| harness.call::<ExportDecisions>(input);
        let error = call(json!({})).await.expect_err("no cluster");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
        harness.call::<CreateCluster>(json!({})).await.expect("created");
        for (input, told) in [
            (json!({"fromIndex": 1}), "From 5 on."),
            (json!({"fromIndex": 6, "fromTime": 1_800_000_000}), "not both"),
            (json!({"toIndex": -1}), "no entry"),
        ] {
            let error = call(input).await.expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(told), "{error:?}");
        }
    }
}
