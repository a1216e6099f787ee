//! `ListAccountSettings`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListAccountSettingsRequest, ListAccountSettingsResponse};

use super::account_settings;
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

/// Settings of a page where the request does not say, and at most (ECS: 10).
const MAX_PAGE: i32 = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse, AwsError> {
    if input.max_results.is_some_and(|size| !(1..=MAX_PAGE).contains(&size)) {
        return Err(invalid(format!("maxResults must be between 1 and {MAX_PAGE}.")));
    }
    let page = Page::<String>::parse(
        "ListAccountSettings",
        input.next_token.as_deref(),
        input.max_results,
        MAX_PAGE,
    )?;
    if input.value.is_some() && input.name.is_none() {
        return Err(invalid(
            "A value can only be looked for together with the name of an account setting.",
        ));
    }
    account_settings::check_principal(call, input.principal_arn.as_deref())?;
    let state = api.read().await?;
    let all = account_settings::settings(&state, call, input.effective_settings.unwrap_or(false));
    let matching = all.into_iter().filter(|(name, setting)| {
        let is_named = input.name.is_none_or(|wanted| wanted == *name);
        is_named
            && input
                .value
                .as_ref()
                .is_none_or(|wanted| setting.value.as_ref() == Some(wanted))
    });
    let (settings, next_token) = page.take(matching.map(|(name, setting)| (name.to_string(), setting)));
    Ok(ListAccountSettingsResponse {
        settings: Some(settings),
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::SettingName;
    use berth_aws::ecs::operations::{
        DeleteAccountSetting, ListAccountSettings, PutAccountSetting, PutAccountSettingDefault,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    const ROOT: &str = "arn:aws:iam::123456789012:root";

    async fn list(harness: &Harness, input: Value) -> Value {
        harness.call::<ListAccountSettings>(input).await.expect("lists")
    }

    fn names(answer: &Value) -> Vec<String> {
        let settings = answer["settings"].as_array().expect("settings").iter();
        settings
            .map(|setting| setting["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    #[tokio::test]
    async fn settings_in_effect_are_listed_in_pages_with_what_holds_here() {
        let harness = Harness::new();
        let first = list(&harness, json!({"effectiveSettings": true})).await;
        assert_eq!(names(&first).len(), 10);
        let input = json!({"effectiveSettings": true, "nextToken": first["nextToken"]});
        let second = list(&harness, input).await;
        let mut all: Vec<String> = [names(&first), names(&second)].concat();
        assert_eq!(second.get("nextToken"), None);
        assert!(all.is_sorted());
        let mut known: Vec<String> = SettingName::ALL.iter().map(ToString::to_string).collect();
        all.sort();
        known.sort();
        assert_eq!(all, known);
        for (name, value) in [
            ("taskLongArnFormat", "enabled"),
            ("containerInsights", "disabled"),
            ("tagResourceAuthorization", "off"),
            ("defaultLogDriverMode", "non-blocking"),
        ] {
            let answer = list(&harness, json!({"effectiveSettings": true, "name": name})).await;
            let setting = json!({"name": name, "value": value, "principalArn": ROOT, "type": "user"});
            assert_eq!(answer["settings"], json!([setting]));
        }
        let managed = list(
            &harness,
            json!({"effectiveSettings": true, "name": "guardDutyActivate"}),
        )
        .await;
        assert_eq!(managed["settings"][0]["type"], "aws_managed");
    }

    #[tokio::test]
    async fn setting_that_was_put_is_listed_in_its_region_until_it_is_deleted() {
        let harness = Harness::new();
        assert_eq!(list(&harness, json!({})).await["settings"], json!([]));
        let put = json!({"name": "serviceLongArnFormat", "value": "enabled", "principalArn": ROOT});
        let answer = harness.call::<PutAccountSetting>(put.clone()).await.expect("put");
        assert_eq!(answer["setting"]["value"], "enabled");
        assert_eq!(harness.call::<PutAccountSetting>(put).await, Ok(answer));
        let put = json!({"name": "containerInsights", "value": "disabled"});
        let answer = harness.call::<PutAccountSettingDefault>(put).await.expect("put");
        assert_eq!(answer["setting"]["principalArn"], ROOT);
        assert_eq!(
            names(&list(&harness, json!({})).await),
            ["containerInsights", "serviceLongArnFormat"]
        );
        let input = json!({"name": "containerInsights", "value": "enabled"});
        assert_eq!(names(&list(&harness, input).await), Vec::<String>::new());
        let elsewhere = harness.call_in::<ListAccountSettings>("eu-west-1", json!({})).await;
        assert_eq!(elsewhere.expect("lists")["settings"], json!([]));
        for name in ["containerInsights", "serviceLongArnFormat", "serviceLongArnFormat"] {
            let input = json!({"name": name});
            let answer = harness.call::<DeleteAccountSetting>(input).await.expect("deleted");
            assert_eq!(answer["setting"]["name"], name);
        }
        assert_eq!(list(&harness, json!({})).await["settings"], json!([]));
        assert_eq!(harness.state.state().documents("account-settings/").count(), 0);
    }

    #[tokio::test]
    async fn value_that_cannot_be_honoured_is_refused_with_the_name_and_sets_nothing() {
        let harness = Harness::new();
        for (name, value, code) in [
            ("taskLongArnFormat", "disabled", "ClientException"),
            ("containerInsights", "enhanced", "ClientException"),
            ("awsvpcTrunking", "enabled", "ClientException"),
            ("tagResourceAuthorization", "on", "ClientException"),
            ("fargateTaskRetirementWaitPeriod", "14", "ClientException"),
            ("fargateFIPSMode", "enabled", "ClientException"),
            ("defaultLogDriverMode", "blocking", "ClientException"),
            ("guardDutyActivate", "off", "ClientException"),
            ("containerInsights", "on", "InvalidParameterException"),
        ] {
            let input = json!({"name": name, "value": value});
            let error = harness
                .call::<PutAccountSettingDefault>(input.clone())
                .await
                .expect_err(name);
            assert_eq!(error.kind.code, code, "{name}");
            assert!(error.message.contains(name), "{}", error.message);
            assert_eq!(harness.call::<PutAccountSetting>(input).await, Err(error));
        }
        let other = json!({"name": "containerInsights", "value": "disabled", "principalArn": "arn:aws:iam::123456789012:user/a"});
        let error = harness.call::<PutAccountSetting>(other).await.expect_err("refused");
        assert!(error.message.contains("user/a"), "{}", error.message);
        for input in [json!({"maxResults": 11}), json!({"value": "enabled"})] {
            let error = harness.call::<ListAccountSettings>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
        }
        assert_eq!(list(&harness, json!({})).await["settings"], json!([]));
    }
}
