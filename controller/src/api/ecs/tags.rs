//! Tags between requests, state and answers. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::Tag;
use berth_core::model::Tags;
use berth_core::state::MAX_TAGS;

use crate::api::errors::invalid;

/// The tags of a request.
///
/// # Errors
/// `InvalidParameterException` for a key that is missing, empty, repeated or AWS's own, and for too many tags.
pub(crate) fn from_request(tags: Option<Vec<Tag>>) -> Result<Tags, AwsError> {
    let mut result = Tags::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        check_key(&key)?;
        if result.insert(key.clone(), tag.value.unwrap_or_default()).is_some() {
            return Err(invalid(format!("Duplicate tag key {key}.")));
        }
    }
    if result.len() > MAX_TAGS {
        return Err(invalid(format!("A resource can have at most {MAX_TAGS} tags.")));
    }
    Ok(result)
}

/// Refuses a key that no caller can set.
///
/// # Errors
/// `InvalidParameterException` for a key that is empty or AWS's own.
pub(crate) fn check_key(key: &str) -> Result<(), AwsError> {
    if key.is_empty() {
        return Err(invalid("Tag key must not be null or empty."));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid(format!(
            "The tag key {key} is reserved: keys cannot start with aws:."
        )));
    }
    Ok(())
}

/// The tags of an answer, sorted by key as ECS returns them.
pub(crate) fn render(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str) -> Tag {
        Tag {
            key: Some(key.into()),
            value: Some("v".into()),
        }
    }

    #[test]
    fn tags_come_back_sorted_by_key() {
        let tags = from_request(Some(vec![tag("b"), tag("a")])).expect("valid");
        let keys: Vec<_> = render(&tags).into_iter().filter_map(|t| t.key).collect();
        assert_eq!(keys, ["a", "b"]);
    }

    #[test]
    fn tags_reserved_repeated_or_too_many_are_refused() {
        assert!(from_request(Some(vec![tag("aws:x")])).is_err());
        assert!(from_request(Some(vec![tag("a"), tag("a")])).is_err());
        assert!(from_request(Some((0..51).map(|n| tag(&n.to_string())).collect())).is_err());
    }
}
