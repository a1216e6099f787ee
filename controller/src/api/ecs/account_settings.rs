//! Account settings: which there are, what each means on bare hosts, and how those that somebody set are kept.
//!
//! Nearly all of them are about services of AWS that are not here, and have one value that says how things are anyway. That value can be
//! set; others are refused, never kept without effect: `docs/account-settings.md` has the table. What is set is a document of the
//! replicated state for each account and region.

use std::collections::BTreeMap;

use berth_aws::AwsError;
use berth_aws::ecs::{Setting, SettingName, SettingType};
use berth_core::model::Scope;
use berth_core::state::{ClusterState, Command, DocumentChange, Expected, Rejection};

use crate::api::context::{Api, Call};
use crate::api::errors::{self, client, invalid};
use crate::api::ports::ProposeFailure;

/// How often a change is tried anew that another got ahead of.
const MAX_ATTEMPTS: usize = 8;

/// A setting and what can be made of it.
struct Known {
    /// How things are.
    value: &'static str,
    /// Values that ECS knows beside that.
    others: &'static [&'static str],
    /// Why they cannot be had.
    why: &'static str,
}

fn known(name: SettingName) -> Known {
    let (value, others, why): (_, &[&str], _) = match name {
        SettingName::ServiceLongArnFormat
        | SettingName::TaskLongArnFormat
        | SettingName::ContainerInstanceLongArnFormat => {
            ("enabled", &["disabled"], "ARNs always have the long format, as on ECS")
        }
        SettingName::AwsvpcTrunking => ("disabled", &["enabled"], "hosts have no elastic network interfaces"),
        SettingName::ContainerInsights => (
            "disabled",
            &["enabled", "enhanced"],
            "there is no CloudWatch that metrics could be sent to",
        ),
        SettingName::FargateFipsMode | SettingName::FargateEventWindows => (
            "disabled",
            &["enabled"],
            "tasks on Fargate run on hosts of your own, which Berth does not change",
        ),
        SettingName::FargateTaskRetirementWaitPeriod => (
            "7",
            &["0", "14"],
            "no task on Fargate is ever retired: hosts of your own are updated when you update them",
        ),
        SettingName::TagResourceAuthorization => (
            "off",
            &["on"],
            "every caller has the key of the root user, who may set all tags",
        ),
        SettingName::DefaultLogDriverMode => (
            "non-blocking",
            &["blocking"],
            "a container is never held up by a log that cannot be written",
        ),
        SettingName::GuardDutyActivate => ("off", &["on"], "there is no GuardDuty"),
    };
    Known { value, others, why }
}

/// The name that a request must have.
///
/// # Errors
/// `InvalidParameterException` if there is none.
pub(super) fn name(given: Option<SettingName>) -> Result<SettingName, AwsError> {
    given.ok_or_else(|| invalid("The account setting name must not be null."))
}

/// Refuses a value that a setting cannot have here.
///
/// # Errors
/// `InvalidParameterException` for what ECS does not know, `ClientException` for what Berth cannot do.
pub(super) fn check_value(name: SettingName, value: Option<&str>) -> Result<&'static str, AwsError> {
    let (known, value) = (known(name), value.unwrap_or_default());
    if is_managed(name) {
        return Err(client(format!(
            "The account setting {name} is read-only; its value is {}, since {}.",
            known.value, known.why
        )));
    }
    match value {
        _ if value == known.value => Ok(known.value),
        _ if known.others.contains(&value) => Err(client(format!(
            "The value {value} of the account setting {name} is not supported by Berth, since {}; supported: {}.",
            known.why, known.value
        ))),
        _ => Err(invalid(format!(
            "The value {value} of the account setting {name} is not valid."
        ))),
    }
}

/// Refuses a principal that is not there: the root user is the only one.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_principal(call: &Call, given: Option<&str>) -> Result<(), AwsError> {
    match given {
        Some(arn) if arn != call.caller_arn => Err(invalid(format!(
            "There is no principal {arn}: the account has no other than {}.",
            call.caller_arn
        ))),
        _ => Ok(()),
    }
}

/// The settings that somebody set, or all with what is in effect; in the order of their names.
pub(super) fn settings(state: &ClusterState, call: &Call, effective: bool) -> Vec<(SettingName, Setting)> {
    let set = read(state, &call.scope);
    let mut names = SettingName::ALL.to_vec();
    names.sort_by_key(|name| name.as_str());
    names.retain(|name| effective || set.contains_key(name.as_str()));
    names.into_iter().map(|name| (name, setting(call, name))).collect()
}

/// A setting with the value that is in effect.
pub(super) fn setting(call: &Call, name: SettingName) -> Setting {
    Setting {
        name: Some(name),
        value: Some(known(name).value.to_owned()),
        principal_arn: Some(call.caller_arn.clone()),
        r#type: Some(match is_managed(name) {
            true => SettingType::AwsManaged,
            false => SettingType::User,
        }),
    }
}

fn is_managed(name: SettingName) -> bool {
    name == SettingName::GuardDutyActivate
}

/// Remembers that somebody set a setting, or no longer.
pub(super) async fn remember(api: &Api, call: &Call, name: SettingName, value: Option<&str>) -> Result<(), AwsError> {
    for _ in 0..MAX_ATTEMPTS {
        let state = api.read().await?;
        let Some(change) = change(&state, &call.scope, name, value) else {
            return Ok(());
        };
        match api
            .try_propose(Command::ChangeDocuments { changes: vec![change] })
            .await
        {
            Ok(_) => return Ok(()),
            Err(ProposeFailure::Rejected(Rejection::DocumentChanged(_))) => {}
            Err(failure) => return Err(errors::failure(&failure)),
        }
    }
    Err(errors::rejection(&Rejection::DocumentChanged(document(&call.scope))))
}

/// What has to change in the state; `None` if nothing does.
fn change(state: &ClusterState, scope: &Scope, name: SettingName, value: Option<&str>) -> Option<DocumentChange> {
    let before = read(state, scope);
    let mut after = before.clone();
    match value {
        Some(value) => _ = after.insert(name.to_string(), value.to_owned()),
        None => _ = after.remove(name.as_str()),
    }
    let document = document(scope);
    let found = state.document(&document).map(|found| found.version);
    (after != before).then(|| DocumentChange {
        name: document,
        expected: found.map_or(Expected::Absent, Expected::Version),
        content: (!after.is_empty()).then(|| serde_json::to_string(&after).expect("texts are JSON")),
    })
}

/// What was set. A text that nobody here has written says nothing.
fn read(state: &ClusterState, scope: &Scope) -> BTreeMap<String, String> {
    let found = state.document(&document(scope));
    found
        .and_then(|found| serde_json::from_str(&found.content).ok())
        .unwrap_or_default()
}

fn document(scope: &Scope) -> String {
    format!("account-settings/{}/{}", scope.account, scope.region)
}
