//! `berth env`: prints the variables by which AWS tools find a running development cluster.
//!
//! Owns the form in which they are printed. Shell, but for the rendering, which is pure.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::output;
use crate::target::{ListenArgument, Target};

/// Flags of `berth env`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    running: ListenArgument,
    /// As shell commands for `eval "$(berth env)"`, or as a JSON object
    #[arg(long, value_enum, default_value_t = Format::Shell)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Shell,
    Json,
}

/// Prints the variables.
///
/// # Errors
/// If no development cluster runs, or several do and none was named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::from(arguments.running.find()?);
    match arguments.format {
        Format::Shell => output::line(&shell(&target)),
        Format::Json => output::line(&json(&target)),
    }
}

/// The variables as commands of a POSIX shell; a session token of other credentials must go, since AWS tools would send it.
pub(crate) fn shell(target: &Target) -> String {
    let exports = target
        .variables()
        .into_iter()
        .map(|(name, value)| format!("export {name}={}", quoted(&value)));
    let unset = target
        .session_token
        .is_none()
        .then(|| "unset AWS_SESSION_TOKEN".to_owned());
    exports.chain(unset).collect::<Vec<_>>().join("\n")
}

fn json(target: &Target) -> String {
    let members = target
        .variables()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), serde_json::Value::String(value)));
    format!("{:#}", serde_json::Value::Object(members.collect()))
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Origin;

    fn target() -> Target {
        Target {
            endpoint: "http://127.0.0.1:7480".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "it's$(secret)".to_owned(),
            session_token: None,
            cluster: "default".to_owned(),
            origin: Origin::Running,
        }
    }

    #[test]
    fn shell_form_with_special_characters_quotes_them() {
        let text = shell(&target());
        assert!(
            text.contains("export AWS_ENDPOINT_URL=http://127.0.0.1:7480\n"),
            "{text}"
        );
        assert!(
            text.contains(r"export AWS_SECRET_ACCESS_KEY='it'\''s$(secret)'"),
            "{text}"
        );
        assert!(text.ends_with("unset AWS_SESSION_TOKEN"), "{text}");
    }

    #[test]
    fn json_form_is_an_object_of_the_variables() {
        let value: serde_json::Value = serde_json::from_str(&json(&target())).expect("JSON");
        assert_eq!(value["AWS_REGION"], "us-east-1");
        assert_eq!(value["AWS_SECRET_ACCESS_KEY"], "it's$(secret)");
    }
}
