//! `ListDaemonTaskDefinitions`. Shell.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{
    DaemonTaskDefinitionStatus as Status, DaemonTaskDefinitionStatusFilter as StatusFilter,
    ListDaemonTaskDefinitionsRequest, ListDaemonTaskDefinitionsResponse, SortOrder,
};
use berth_core::model::TaskDefinition;
use berth_core::state::ClusterState;

use super::{daemons, render};
use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

const LIST: &str = "ListDaemonTaskDefinitions";

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListDaemonTaskDefinitionsRequest,
) -> Result<ListDaemonTaskDefinitionsResponse, AwsError> {
    let (token, size) = (input.next_token.as_deref(), input.max_results);
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let matching = state
        .daemon_task_definitions(&call.scope)
        .filter(|definition| matches(&state, definition, &input));
    let mut matching: Vec<&Arc<TaskDefinition>> = matching.collect();
    if input.revision.is_some() {
        matching = last_registered(matching);
    }
    let summary = |definition: &TaskDefinition| {
        let key = (definition.key.family.as_str().to_owned(), definition.key.revision);
        let is_unused = !state.is_used_by_daemons(&definition.key);
        (key, render::daemon_task_definition_summary(definition, is_unused))
    };
    let (daemon_task_definitions, next_token) = match input.sort.unwrap_or(SortOrder::Asc) {
        SortOrder::Asc => Page::parse(LIST, token, size, 100)?.take(matching.into_iter().map(|d| summary(d))),
        SortOrder::Desc => {
            let descending = matching.into_iter().rev().map(|d| summary(d));
            Page::parse(LIST, token, size, 100)?.take(descending.map(|(key, shown)| (Reverse(key), shown)))
        }
    };
    Ok(ListDaemonTaskDefinitionsResponse {
        daemon_task_definitions: Some(daemon_task_definitions),
        next_token,
    })
}

fn matches(state: &ClusterState, definition: &TaskDefinition, input: &ListDaemonTaskDefinitionsRequest) -> bool {
    let name = definition.key.family.of_daemons().unwrap_or_default();
    let prefix = input.family_prefix.as_deref().unwrap_or_default();
    let family = input.family.as_deref().filter(|family| !family.is_empty());
    let has_status = || {
        let is_unused = !state.is_used_by_daemons(&definition.key);
        let status = render::daemon_task_definition_status(definition, is_unused);
        match input.status.unwrap_or(StatusFilter::Active) {
            StatusFilter::Active => status == Status::Active,
            StatusFilter::DeleteInProgress => status == Status::DeleteInProgress,
            StatusFilter::All => true,
        }
    };
    name.starts_with(prefix) && family.is_none_or(|family| family == name) && has_status()
}

/// Of each family the last of these, which are in the order of families and revisions.
fn last_registered(definitions: Vec<&Arc<TaskDefinition>>) -> Vec<&Arc<TaskDefinition>> {
    let by_family = definitions
        .into_iter()
        .map(|definition| (&definition.key.family, definition));
    let last: BTreeMap<_, _> = by_family.collect();
    last.into_values().collect()
}
