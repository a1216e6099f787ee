//! Daemon task definitions as requests carry them: task definitions without ports, networks and placement. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{RegisterDaemonTaskDefinitionRequest, RegisterTaskDefinitionRequest, errors};
use berth_core::model::{Family, TaskDefinition};
use serde_json::Value;

use super::also_given;
use crate::api::context::Call;
use crate::api::ecs::render;
use crate::api::ecs::tags::{self, Carrier};
use crate::api::members::{Honoured, refuse_others};

/// What Berth honours of a daemon task definition; of its containers, what it honours of those of task definitions.
const HONOURED: Honoured = Honoured::Members(&[
    ("family", Honoured::All),
    ("cpu", Honoured::All),
    ("memory", Honoured::All),
    ("tags", Honoured::All),
    ("containerDefinitions", Honoured::All),
    ("pidMode", Honoured::Only(&[NOT_SHARED])),
    ("ipcMode", Honoured::Only(&[NOT_SHARED])),
]);

/// The namespace modes that ask for what happens anyway, and that task definitions have no word for.
const MODES: [&str; 2] = ["pidMode", "ipcMode"];
const NOT_SHARED: &str = "none";

/// Reads a daemon task definition; its revision is 0 until the state gives it one.
///
/// # Errors
/// As those of a task definition.
pub(in crate::api::ecs) fn from_request(
    call: &Call,
    input: &RegisterDaemonTaskDefinitionRequest,
) -> Result<TaskDefinition, AwsError> {
    refuse_others(input, &HONOURED)?;
    let mut definition = super::from_request(call, as_of_tasks(input)?)?;
    for (key, value) in &definition.tags {
        tags::check_own(Carrier::DaemonTaskDefinition, key, value)?;
    }
    definition.key.family = Family::for_daemons(definition.key.family.as_str());
    definition.also_given.clear();
    definition.also_given = also_given::of(input, &render::daemon_task_definition(&definition, false));
    Ok(definition)
}

/// The request for a task definition that has the same members.
fn as_of_tasks(input: &RegisterDaemonTaskDefinitionRequest) -> Result<RegisterTaskDefinitionRequest, AwsError> {
    let unreadable =
        |error: serde_json::Error| errors::CLIENT.error(format!("Invalid daemon task definition: {error}."));
    let mut request = serde_json::to_value(input).map_err(unreadable)?;
    if let Value::Object(members) = &mut request {
        MODES.iter().for_each(|mode| drop(members.remove(*mode)));
    }
    serde_json::from_value(request).map_err(unreadable)
}
