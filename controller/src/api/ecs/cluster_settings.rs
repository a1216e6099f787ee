//! Settings of clusters in requests: `containerInsights`, which Berth has as `disabled` alone. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::ClusterSetting as Given;
use berth_core::model::ClusterSetting;

use crate::api::errors::{client, invalid};

/// The settings of a request.
///
/// # Errors
/// `InvalidParameterException` for a setting without name or value or given twice, `ClientException` for a value that is not honoured.
pub(crate) fn from_request(settings: Option<Vec<Given>>) -> Result<Vec<ClusterSetting>, AwsError> {
    let mut result: Vec<ClusterSetting> = vec![];
    for setting in settings.unwrap_or_default() {
        let name = setting
            .name
            .ok_or_else(|| invalid("Setting name must not be null."))?
            .as_str();
        let value = setting
            .value
            .ok_or_else(|| invalid(format!("The setting {name} has no value.")))?;
        match value.as_str() {
            "disabled" => {}
            "enabled" | "enhanced" => {
                return Err(client(format!(
                    "The value {value} of the setting {name} is not supported by Berth yet; supported: disabled."
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "The value {value} of the setting {name} is not valid."
                )));
            }
        }
        if result.iter().any(|known| known.name == name) {
            return Err(invalid(format!("The setting {name} is given twice.")));
        }
        result.push(ClusterSetting {
            name: name.to_owned(),
            value,
        });
    }
    Ok(result)
}
