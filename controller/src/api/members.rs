//! Which members of a request are honoured: whatever is present and not listed is refused by name, so that nothing that a caller asks
//! for is dropped in silence. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::errors;
use serde::Serialize;
use serde_json::Value;

/// What is honoured of a value.
#[derive(Debug)]
pub(crate) enum Honoured {
    /// All of it, whatever it is.
    All,
    /// Only these values, as text: those that ask for what happens anyway.
    Only(&'static [&'static str]),
    /// These members of the structure, or of each structure in the list.
    Members(&'static [(&'static str, Honoured)]),
}

/// Refuses a request that asks for something else than `honoured`. Empty lists, structures and texts and `false` ask for nothing.
///
/// # Errors
/// `ClientException` with the name of the first such member.
pub(crate) fn refuse_others(request: &impl Serialize, honoured: &Honoured) -> Result<(), AwsError> {
    let value = serde_json::to_value(request).map_err(|e| errors::SERVER.error(e.to_string()))?;
    check(&value, honoured, "")
}

fn check(value: &Value, honoured: &Honoured, path: &str) -> Result<(), AwsError> {
    match (honoured, value) {
        (Honoured::All, _) => Ok(()),
        (Honoured::Only(_) | Honoured::Members(_), Value::Array(elements)) => elements
            .iter()
            .enumerate()
            .try_for_each(|(index, element)| check(element, honoured, &format!("{path}[{index}]"))),
        (Honoured::Only(values), _) if asks_for_nothing(value) || values.contains(&text(value).as_str()) => Ok(()),
        (Honoured::Only(values), _) => Err(errors::CLIENT.error(format!(
            "The value {} of {path} is not supported by Berth yet; supported: {}.",
            text(value),
            values.join(", ")
        ))),
        (Honoured::Members(members), Value::Object(object)) => object.iter().try_for_each(|(name, value)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match members.iter().find(|(known, _)| known == name) {
                Some((_, honoured)) => check(value, honoured, &path),
                None if asks_for_nothing(value) => Ok(()),
                None => Err(errors::CLIENT.error(format!("The member {path} is not supported by Berth yet."))),
            }
        }),
        (Honoured::Members(_), _) => Ok(()),
    }
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.values().all(asks_for_nothing),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HONOURED: Honoured = Honoured::Members(&[
        ("name", Honoured::All),
        ("mode", Honoured::Only(&["bridge"])),
        ("parts", Honoured::Members(&[("image", Honoured::All)])),
    ]);

    #[test]
    fn member_that_is_not_listed_is_refused_by_its_path() {
        let request = json!({"name": "x", "parts": [{"image": "i"}, {"image": "i", "secrets": [{"name": "s"}]}]});
        let error = refuse_others(&request, &HONOURED).expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            (
                "ClientException",
                "The member parts[1].secrets is not supported by Berth yet."
            )
        );
    }

    #[test]
    fn member_that_asks_for_nothing_is_accepted() {
        let request = json!({"volumes": [], "parts": [{"interactive": false, "linux": {"devices": []}}], "role": ""});
        assert_eq!(refuse_others(&request, &HONOURED), Ok(()));
    }

    #[test]
    fn value_outside_the_honoured_ones_is_refused() {
        assert_eq!(refuse_others(&json!({"mode": "bridge"}), &HONOURED), Ok(()));
        let error = refuse_others(&json!({"mode": "awsvpc"}), &HONOURED).expect_err("refused");
        assert!(error.message.contains("awsvpc of mode"), "{}", error.message);
    }
}
