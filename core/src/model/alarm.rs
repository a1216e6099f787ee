//! Alarms: what somebody outside finds of how things are, and when a deployment minds. Nothing here looks at any metric: the state of an
//! alarm is what it was set to. Pure data.

use serde::{Deserialize, Serialize};

use super::{AlarmName, Scope, Tags, Timestamp};

/// Alarms that one service names (what CloudWatch tells of at once: 100).
pub const MAX_ALARM_NAMES: usize = 100;

/// An alarm, uniquely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmKey {
    /// Account and region.
    pub scope: Scope,
    /// Name within them.
    pub name: AlarmName,
}

impl Scope {
    /// The key of the alarm `name` in this scope.
    #[must_use]
    pub fn alarm(&self, name: &str) -> AlarmKey {
        AlarmKey {
            scope: self.clone(),
            name: name.into(),
        }
    }
}

impl AlarmKey {
    /// Its ARN, which is one of CloudWatch.
    #[must_use]
    pub fn arn(&self) -> String {
        let Scope { account, region } = &self.scope;
        format!("arn:aws:cloudwatch:{region}:{account}:alarm:{}", self.name)
    }

    /// The alarm of a scope that an ARN names, if it is one of an alarm there.
    #[must_use]
    pub fn of_arn(scope: &Scope, arn: &str) -> Option<Self> {
        let name = arn.strip_prefix(&scope.alarm("").arn())?;
        (!name.is_empty()).then(|| scope.alarm(name))
    }
}

/// What an alarm says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlarmState {
    /// All is well.
    Ok,
    /// All is not well.
    Alarm,
    /// Nobody knows.
    InsufficientData,
}

impl AlarmState {
    /// CloudWatch's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Its key.
    pub key: AlarmKey,
    /// What it is meant to watch, as the caller wrote it: JSON that is shown again, and that nothing here understands.
    pub definition: String,
    /// For how many seconds what it watches lasts until it is found.
    pub found_after_secs: u32,
    /// What it says.
    pub state: AlarmState,
    /// Why, in words.
    pub state_reason: String,
    /// Why, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason_data: Option<String>,
    /// When its state was set.
    pub state_updated_at: Timestamp,
    /// When its state became another.
    pub state_changed_at: Timestamp,
    /// When what it is meant to watch was last written.
    pub configured_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// The alarms that deployments of a service mind: ECS's `deploymentConfiguration.alarms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentAlarms {
    /// Which, as given.
    pub names: Vec<AlarmName>,
    /// Whether they are minded.
    pub enable: bool,
    /// Whether a deployment that fails by them returns to the last completed one.
    pub rollback: bool,
}

/// The alarms of a service deployment that are monitored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitoredAlarms {
    /// Those that went off while it was on its way, in that order, each once.
    pub triggered: Vec<AlarmName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_is_found_by_its_arn_in_its_own_scope_alone() {
        let scope = Scope::new("123456789012", "us-east-1");
        let key = scope.alarm("5xx: too many");
        assert_eq!(
            key.arn(),
            "arn:aws:cloudwatch:us-east-1:123456789012:alarm:5xx: too many"
        );
        assert_eq!(AlarmKey::of_arn(&scope, &key.arn()), Some(key.clone()));
        let elsewhere = Scope::new("123456789012", "eu-west-1");
        assert_eq!(AlarmKey::of_arn(&elsewhere, &key.arn()), None);
        assert_eq!(AlarmKey::of_arn(&scope, &scope.alarm("").arn()), None);
    }
}
