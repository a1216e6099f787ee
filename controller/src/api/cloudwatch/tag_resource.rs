//! `TagResource` of an alarm. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::{TagResourceInput, TagResourceOutput};
use berth_core::state::{Command, Taggable};

use super::alarms;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(api: &Api, call: &Call, input: TagResourceInput) -> Result<TagResourceOutput, AwsError> {
    alarms::check_level(&*api.read().await?)?;
    let key = alarms::of_arn(&call.scope, input.resource_arn.as_deref())?;
    let command = Command::TagResource {
        resource: Taggable::Alarm(key),
        tags: alarms::tags_of(input.tags)?,
    };
    let outcome = api.try_propose(command).await;
    outcome.map_err(|failure| alarms::tag_failure(&failure))?;
    Ok(TagResourceOutput {})
}
