//! Ids of members in requests. Pure.

use berth_aws::AwsError;

use crate::api::errors;

/// Reads the id of a member, which is a number above what JSON's numbers can be relied on for, and so travels as text.
pub(super) fn read(text: Option<&str>) -> Result<u64, AwsError> {
    let text = text.unwrap_or_default();
    let id = text.parse().ok().filter(|id: &u64| id.to_string() == text);
    id.ok_or_else(|| {
        errors::invalid(format!(
            "{text:?} is no id of a member, which is a number as ListMembers shows it."
        ))
    })
}
