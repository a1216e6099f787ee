//! Tags between requests, state and answers. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::Tag;
use berth_core::model::{DEPENDS_ON_TAG, PREEMPTION_TAG, Priority, Tags, read_dependencies, read_preemption};
use berth_core::state::MAX_TAGS;

use crate::api::errors::invalid;

/// The tags of a request.
///
/// # Errors
/// `InvalidParameterException` for a key that is missing, empty, repeated or AWS's own, for one of Berth's that it does not know or whose value says nothing,
/// and for too many tags.
pub(crate) fn from_request(tags: Option<Vec<Tag>>) -> Result<Tags, AwsError> {
    let mut result = Tags::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        check_key(&key)?;
        let value = tag.value.unwrap_or_default();
        check_own(&key, &value)?;
        if result.insert(key.clone(), value).is_some() {
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

/// Refuses what would be a tag of Berth's and says nothing: a misspelt one would have no effect.
fn check_own(key: &str, value: &str) -> Result<(), AwsError> {
    let checked = match key {
        Priority::TAG => Priority::parse(value).map(|_| ()),
        PREEMPTION_TAG => read_preemption(value).map(|_| ()),
        DEPENDS_ON_TAG => {
            return read_dependencies(value)
                .map(|_| ())
                .map_err(|why| invalid(why.to_string()));
        }
        other if other.to_ascii_lowercase().starts_with("berth:") => {
            let known = [DEPENDS_ON_TAG, PREEMPTION_TAG, Priority::TAG].join(", ");
            return Err(invalid(format!(
                "The tag key {other} is reserved: keys that start with berth: are those that Berth knows, which are {known}."
            )));
        }
        _ => Ok(()),
    };
    checked.map_err(|why| invalid(why.to_string()))
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
    fn tags_of_berths_own_are_refused_where_they_say_nothing() {
        let of = |key: &str, value: &str| {
            let tag = Tag {
                key: Some(key.into()),
                value: Some(value.into()),
            };
            from_request(Some(vec![tag])).map_err(|error| error.message)
        };
        assert!(of("berth:priority", "90").is_ok() && of("berth:preemption", "enabled").is_ok());
        for (key, value, part) in [
            ("berth:priority", "high", "no whole number from 1 to 100"),
            ("berth:preemption", "on", "neither enabled nor disabled"),
            ("berth:depends-on", "a,b", "separated by spaces"),
            ("berth:Priority", "90", "which are berth:depends-on, berth:preemption"),
        ] {
            let message = of(key, value).expect_err("refused");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn tags_reserved_repeated_or_too_many_are_refused() {
        assert!(from_request(Some(vec![tag("aws:x")])).is_err());
        assert!(from_request(Some(vec![tag("a"), tag("a")])).is_err());
        assert!(from_request(Some((0..51).map(|n| tag(&n.to_string())).collect())).is_err());
    }
}
