//! Members in requests: by their ids, or by their names where those are of one alone. Shell, but for that choice.

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_raft::MemberRecord;

use crate::api::context::Api;
use crate::api::errors;

/// Finds out which member a request means. An id is taken as it is: one that was a member before may be meant.
pub(super) async fn find(api: &Api, text: Option<&str>) -> Result<u64, AwsError> {
    let text = text.unwrap_or_default();
    if let Some(id) = id(text) {
        return Ok(id);
    }
    let members = api.administration().members().await;
    let members = members.map_err(|failure| errors::administration(&failure))?.members;
    named(members.iter().map(|member| &member.record), text)
}

/// Reads the id of a member, which is a number above what JSON's numbers can be relied on for, and so travels as text.
fn id(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id: &u64| id.to_string() == text)
}

fn named<'a>(members: impl Iterator<Item = &'a MemberRecord>, name: &str) -> Result<u64, AwsError> {
    let named: Vec<u64> = members
        .filter(|member| member.name == name)
        .map(|member| member.id)
        .collect();
    match named.as_slice() {
        [only] => Ok(*only),
        [] => Err(RESOURCE_NOT_FOUND.error(format!(
            "The cluster has no controller with the name or the id {name:?}; `berth members list` shows those that it has."
        ))),
        several => {
            let ids: Vec<String> = several.iter().map(u64::to_string).collect();
            let (count, ids) = (ids.len(), ids.join(", "));
            Err(errors::invalid(format!("{count} controllers are called {name}; name one by its id: {ids}.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_found_by_a_name_that_it_alone_has() {
        let member = |id, name: &str| MemberRecord {
            id,
            name: name.to_owned(),
            ..MemberRecord::default()
        };
        let members = [member(11, "one"), member(12, "two"), member(13, "two")];
        let find = |name| named(members.iter(), name);
        assert_eq!(find("one"), Ok(11));
        let several = find("two").expect_err("ambiguous");
        assert_eq!(
            several.message,
            "2 controllers are called two; name one by its id: 12, 13."
        );
        let none = find("three").expect_err("missing");
        assert!(
            none.message
                .contains("no controller with the name or the id \"three\"; `berth members list`"),
            "{none:?}"
        );
        assert_eq!((id("12"), id("012"), id("two")), (Some(12), None, None));
    }
}
