//! An event in a line. Pure.

use serde_json::Value;

use crate::cluster::last_part;
use crate::{counted, short_id};

/// The event as people read it: when, what it is about, and what happened.
pub(super) fn of(event: &Value) -> String {
    let detail = &event["detail"];
    let subject = last_part(event["resources"][0].as_str().unwrap_or_default());
    let (about, what) = match event["detail-type"].as_str().unwrap_or_default() {
        "ECS Task State Change" => {
            let group = text(detail, "group");
            (format!("task {} of {group}", short_id::shown(subject)), task(detail))
        }
        "ECS Container Instance State Change" => (format!("host {}", text(detail, "ec2InstanceId")), host(detail)),
        "ECS Hook State Change" => (
            format!("service {}", last_part(text(detail, "serviceArn"))),
            hook(detail),
        ),
        "ECS Daemon Service Action" | "ECS Daemon Deployment State Change" => {
            let daemon = last_part(text(detail, "daemonArn"));
            (
                format!("daemon {daemon}"),
                format!("{}{}", action(detail), place(detail)),
            )
        }
        _ => (format!("service {subject}"), action(detail)),
    };
    format!("{}  {about}: {what}", text(event, "time"))
}

fn text<'d>(document: &'d Value, member: &str) -> &'d str {
    document[member].as_str().unwrap_or_default()
}

fn task(detail: &Value) -> String {
    let (last, desired) = (text(detail, "lastStatus"), text(detail, "desiredStatus"));
    let reason = text(detail, "stoppedReason");
    let because = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    match (last, desired) {
        ("STOPPED", _) => format!("STOPPED{because}"),
        (last, "STOPPED") => format!("{last}, and is to stop{because}"),
        (last, _) => {
            let host = short_id::shown(last_part(text(detail, "containerInstanceArn")));
            format!("{last} on host {host}")
        }
    }
}

fn host(detail: &Value) -> String {
    let left = |name: &str| {
        let resources = detail["remainingResources"].as_array();
        let mut resources = resources.into_iter().flatten();
        let found = resources.find(|resource| resource["name"] == name);
        found
            .and_then(|resource| resource["integerValue"].as_i64())
            .unwrap_or_default()
    };
    let connected = if detail["agentConnected"] == true {
        "connected"
    } else {
        "not connected"
    };
    format!(
        "{}, its agent is {connected}, {} CPU units and {} MiB are free",
        text(detail, "status"),
        left("CPU"),
        left("MEMORY")
    )
}

/// What became of a hook, and which and where it is.
fn hook(detail: &Value) -> String {
    let of = |member| text(detail, member);
    format!("{}: {} at {}", of("eventName"), of("hookId"), of("lifecycleStage"))
}

/// Of which task and host that is said, where it is of one.
fn place(detail: &Value) -> String {
    let of = |what: &str, member: &str| match last_part(text(detail, member)) {
        "" => String::new(),
        id => format!(" {what} {}", short_id::shown(id)),
    };
    match (of("task", "taskArn"), of("on host", "containerInstanceArn")) {
        (task, host) if task.is_empty() && host.is_empty() => String::new(),
        (task, host) => format!(" ({})", format!("{task}{host}").trim_start()),
    }
}

fn action(detail: &Value) -> String {
    let name = text(detail, "eventName");
    match text(detail, "reason") {
        "" => match detail["desiredCount"].as_i64() {
            Some(count) => format!("{name}: {}", counted::tasks(count)),
            None => name.to_owned(),
        },
        reason => format!("{name}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_is_told_with_what_it_is_about_and_what_happened() {
        let event = |kind: &str, resource: &str, detail: Value| {
            let resource = format!("arn:aws:ecs:us-east-1:123456789012:{resource}");
            of(&json!({"detail-type": kind, "time": "2026-11-27T18:00:00Z", "resources": [resource], "detail": detail}))
        };
        let task = format!("task/shop/{}", "ab".repeat(16));
        let (group, host) = ("service:web", format!("x:container-instance/shop/{}", "cd".repeat(16)));
        let changed = |detail| event("ECS Task State Change", &task, detail);
        assert_eq!(
            changed(json!({
                "group": group, "lastStatus": "RUNNING", "desiredStatus": "RUNNING", "containerInstanceArn": host
            })),
            "2026-11-27T18:00:00Z  task abababab of service:web: RUNNING on host cdcdcdcd"
        );
        assert_eq!(
            changed(
                json!({"group": group, "lastStatus": "RUNNING", "desiredStatus": "STOPPED", "stoppedReason": "enough"})
            ),
            "2026-11-27T18:00:00Z  task abababab of service:web: RUNNING, and is to stop: enough"
        );
        let amount = |name: &str, value: i64| json!({"name": name, "integerValue": value});
        let detail = json!({
            "ec2InstanceId": "host-1", "status": "ACTIVE", "agentConnected": false,
            "remainingResources": [amount("CPU", 768), amount("MEMORY", 900)]
        });
        assert_eq!(
            event(
                "ECS Container Instance State Change",
                "container-instance/shop/1",
                detail
            ),
            "2026-11-27T18:00:00Z  host host-1: ACTIVE, its agent is not connected, 768 CPU units and 900 MiB are free"
        );
        let says = |detail| event("ECS Service Action", "service/shop/web", detail);
        assert_eq!(
            says(json!({"eventName": "SERVICE_TASK_PLACEMENT_FAILURE", "reason": "RESOURCE:CPU"})),
            "2026-11-27T18:00:00Z  service web: SERVICE_TASK_PLACEMENT_FAILURE: RESOURCE:CPU"
        );
        assert_eq!(
            says(json!({"eventName": "SERVICE_DESIRED_COUNT_UPDATED", "desiredCount": 3})),
            "2026-11-27T18:00:00Z  service web: SERVICE_DESIRED_COUNT_UPDATED: 3 tasks"
        );
        let of_daemon = |detail| event("ECS Daemon Service Action", "daemon/shop/logs", detail);
        let daemon = "x:daemon/shop/logs";
        let mut impaired = json!({
            "daemonArn": daemon, "eventName": "DAEMON_TASK_START_IMPAIRED", "reason": "no such image", "containerInstanceArn": host
        });
        let line = "2026-11-27T18:00:00Z  daemon logs: DAEMON_TASK_START_IMPAIRED: no such image";
        assert_eq!(of_daemon(impaired.clone()), format!("{line} (on host cdcdcdcd)"));
        impaired["taskArn"] = json!(format!("x:{task}"));
        assert_eq!(of_daemon(impaired), format!("{line} (task abababab on host cdcdcdcd)"));
        let done = json!({"daemonArn": daemon, "eventName": "DAEMON_DEPLOYMENT_SUCCESSFUL"});
        assert_eq!(
            of_daemon(done),
            "2026-11-27T18:00:00Z  daemon logs: DAEMON_DEPLOYMENT_SUCCESSFUL"
        );
        let hook = json!({
            "eventName": "HOOK_AWAITING_ACTION", "hookId": "ecs-pause-1", "lifecycleStage": "PRE_SCALE_UP",
            "serviceArn": "arn:aws:ecs:us-east-1:123456789012:service/shop/web"
        });
        assert_eq!(
            event("ECS Hook State Change", "service-deployment/shop/web/5", hook),
            "2026-11-27T18:00:00Z  service web: HOOK_AWAITING_ACTION: ecs-pause-1 at PRE_SCALE_UP"
        );
    }
}
