//! `ListTaskDefinitionFamilies`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{
    ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse, TaskDefinitionFamilyStatus as Status,
};
use berth_core::model::{Scope, TaskDefinitionStatus};
use berth_core::state::ClusterState;

use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse, AwsError> {
    let page = Page::parse(
        "ListTaskDefinitionFamilies",
        input.next_token.as_deref(),
        input.max_results,
        100,
    )?;
    let state = api.read().await?;
    let prefix = input.family_prefix.unwrap_or_default();
    let wanted = input.status.unwrap_or(Status::All);
    let matching = families(&state, &call.scope)
        .into_iter()
        .filter(|(name, active)| name.starts_with(&prefix) && has_status(*active, wanted));
    let (families, next_token) = page.take(matching.map(|(name, _)| (name.clone(), name)));
    Ok(ListTaskDefinitionFamiliesResponse {
        families: Some(families),
        next_token,
    })
}

/// All families in name order, and whether each has an active revision.
fn families(state: &ClusterState, scope: &Scope) -> Vec<(String, bool)> {
    let mut families: Vec<(String, bool)> = vec![];
    for definition in state.task_definitions(scope) {
        let active = definition.status == TaskDefinitionStatus::Active;
        let name = definition.key.family.as_str();
        match families.last_mut() {
            Some((last, any_active)) if last == name => *any_active |= active,
            _ => families.push((name.to_owned(), active)),
        }
    }
    families
}

fn has_status(active: bool, wanted: Status) -> bool {
    match wanted {
        Status::Active => active,
        Status::Inactive => !active,
        Status::All => true,
    }
}
