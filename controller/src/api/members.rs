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
                None => Err(errors::CLIENT.error(format!(
                    "The member {path} is not supported by Berth yet.{}",
                    remedy(name)
                ))),
            }
        }),
        (Honoured::Members(_), _) => Ok(()),
    }
}

/// What to do without a member that files made for ECS often have.
fn remedy(member: &str) -> &'static str {
    match member {
        "executionRoleArn" => {
            " It names a role of AWS, by which images and secrets are fetched. Leave it out: hosts fetch images from registries that want no \
             credentials, and `berth image import` brings others."
        }
        "taskRoleArn" => {
            " It names a role of AWS, and hosts have no credentials of it for containers. Leave it out; what a container needs to call AWS can be \
             in its environment."
        }
        "logConfiguration" => " Leave it out: what containers write is kept on their hosts, and `berth logs` shows it.",
        "ephemeralStorage" => {
            " Hosts cannot hold the files of a task to a size. Leave it out: tasks may use what is free on the disks of their hosts."
        }
        "secrets" | "environmentFiles" => " Leave it out, and give the values in environment.",
        _ => "",
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
                "The member parts[1].secrets is not supported by Berth yet. Leave it out, and give the values in environment."
            )
        );
    }

    #[test]
    fn member_that_files_for_ecs_often_have_is_refused_with_what_to_do_instead() {
        for (member, part) in [
            ("executionRoleArn", "`berth image import`"),
            ("taskRoleArn", "in its environment"),
            ("logConfiguration", "`berth logs`"),
            ("ephemeralStorage", "free on the disks"),
        ] {
            let error = refuse_others(&json!({member: "x"}), &HONOURED).expect_err("refused");
            let begins = format!("The member {member} is not supported by Berth yet. ");
            assert!(error.message.starts_with(&begins), "{}", error.message);
            assert!(error.message.contains(part), "{}", error.message);
        }
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
