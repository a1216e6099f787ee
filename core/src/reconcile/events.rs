//! What a service says about itself, in the sentences that ECS uses and people search for. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::model::{
    DeploymentId, LifecycleStage, RebalanceGoal, Service, ServiceName, TaskId, Timestamp, TrafficShare,
};

/// Tasks named in one sentence; ECS names up to ten.
const MAX_TASKS_IN_SENTENCE: usize = 10;

pub(super) fn started(service: impl Display, tasks: &[TaskId]) -> Vec<String> {
    in_tens(tasks, |count, list| {
        format!("(service {service}) has started {count} tasks: {list}.")
    })
}

/// Of many tasks at once, the first are named: the last 100 sentences of a service are all that is kept.
pub(super) fn failed_health_checks(service: &ServiceName, tasks: &[TaskId]) -> Vec<String> {
    let (named, others) = tasks.split_at(tasks.len().min(MAX_TASKS_IN_SENTENCE));
    let sentence = |task| format!("(service {service}) (task {task}) failed container health checks.");
    let mut said: Vec<String> = named.iter().map(sentence).collect();
    if !others.is_empty() {
        said.push(format!(
            "(service {service}) {} more tasks failed container health checks.",
            others.len()
        ));
    }
    said
}

pub(super) fn stopped(service: impl Display, tasks: &[TaskId]) -> Vec<String> {
    in_tens(tasks, |count, list| {
        format!("(service {service}) has stopped {count} running tasks: {list}.")
    })
}

/// Of many hosts at once, the first are named.
pub(super) fn gave_up_hosts(service: &ServiceName, hosts: &[String], seconds: i64) -> Vec<String> {
    let (named, others) = hosts.split_at(hosts.len().min(MAX_TASKS_IN_SENTENCE));
    if named.is_empty() {
        return vec![];
    }
    let more = match others.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    vec![format!(
        "(service {service}) has been away from {}{more} for {seconds} seconds: tasks of services move away from there, and others stop.",
        named.join(", ")
    )]
}

pub(super) fn waits_for_services(service: &ServiceName, others: &[String]) -> String {
    format!(
        "(service {service}) is waiting for other services before it starts tasks: {}.",
        others.join("; ")
    )
}

pub(super) fn makes_room(service: impl Display, host: &str, tasks: &[TaskId]) -> Vec<String> {
    in_tens(tasks, |count, list| match count {
        1 => format!("(service {service}) is making room on {host}, where 1 task of lower priority stops: {list}."),
        _ => {
            format!("(service {service}) is making room on {host}, where {count} tasks of lower priority stop: {list}.")
        }
    })
}

pub(super) fn preempted(service: &ServiceName, by: &ServiceName, host: &str, tasks: &[TaskId]) -> Vec<String> {
    in_tens(tasks, |count, list| {
        let tasks = if count == 1 { "task" } else { "tasks" };
        format!("(service {service}) has lost {count} {tasks} on {host}, preempted by (service {by}): {list}.")
    })
}

/// What ECS says of tasks that it starts to have zones even; where hosts are emptied, which one.
pub(super) fn started_to_rebalance(
    service: &ServiceName,
    goal: RebalanceGoal,
    task: TaskId,
    place: &str,
    from: &str,
) -> String {
    match goal {
        RebalanceGoal::Zones => {
            format!("(service {service}) has started 1 tasks in {place} to AZ Rebalance: (task {task}).")
        }
        RebalanceGoal::Defragment => {
            format!("(service {service}) has started 1 tasks on {place} to empty {from}: (task {task}).")
        }
    }
}

pub(super) fn stopped_to_rebalance(
    service: &ServiceName,
    goal: RebalanceGoal,
    tasks: &[TaskId],
    place: &str,
) -> Vec<String> {
    in_tens(tasks, |count, list| match goal {
        RebalanceGoal::Zones => {
            format!("(service {service}) has stopped {count} running tasks in {place} due to AZ rebalancing: {list}.")
        }
        RebalanceGoal::Defragment => {
            format!("(service {service}) has stopped {count} running tasks on {place} to empty it: {list}.")
        }
    })
}

pub(super) fn not_moved(service: &ServiceName, task: TaskId, to: &str, reason: &str) -> String {
    format!("(service {service}) does not move (task {task}) to {to}. {reason}")
}

pub(super) fn not_balanced(service: &ServiceName, zones: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> = zones
        .iter()
        .map(|(zone, tasks)| format!("{tasks} tasks in {zone}"))
        .collect();
    let beginning = beginning_of_not_balanced(service);
    format!("{beginning} with {}. AZ Rebalancing in progress.", counts.join(", "))
}

/// What [`not_balanced`] begins with, whatever the numbers are.
pub(super) fn beginning_of_not_balanced(service: &ServiceName) -> String {
    format!("(service {service}) is not AZ balanced")
}

pub(super) fn steady_state(service: &ServiceName) -> String {
    format!("(service {service}) has reached a steady state.")
}

pub(super) fn deployment_completed(service: &ServiceName, deployment: &DeploymentId) -> String {
    format!("(service {service}) (deployment {deployment}) deployment completed.")
}

pub(super) fn deployment_failed(service: &ServiceName, deployment: &DeploymentId) -> String {
    format!("(service {service}) (deployment {deployment}) deployment failed: tasks failed to start.")
}

/// ECS's sentence; which alarms it were is said by `details`.
pub(super) fn alarm_detected(service: &ServiceName, deployment: &DeploymentId, details: Option<&str>) -> String {
    let details = details.map(|details| format!(" {details}")).unwrap_or_default();
    format!("(service {service}) (deployment {deployment}) deployment failed: alarm detected.{details}")
}

/// What ECS does not say: it ignores them silently. `which` says which alarm was.
pub(super) fn alarms_ignored(service: &ServiceName, deployment: &DeploymentId, which: &str) -> String {
    format!(
        "(service {service}) (deployment {deployment}) does not monitor alarms, since {which} in the ALARM state when it began."
    )
}

/// What ECS does not say either.
pub(super) fn alarms_missing(service: &ServiceName, deployment: &DeploymentId, which: &str) -> String {
    format!("(service {service}) (deployment {deployment}) monitors alarms of which some cannot go off. {which}")
}

/// The same for a reason that ECS has a sentence for.
pub(super) fn deployment_failed_since(service: &ServiceName, deployment: &DeploymentId, reason: &str) -> String {
    format!("(service {service}) (deployment {deployment}) deployment failed: {reason}")
}

pub(super) fn traffic_shifted(service: &ServiceName, deployment: &DeploymentId, share: TrafficShare) -> String {
    let (percent, tenths) = (share.tenths() / 10, share.tenths() % 10);
    let tenths = if tenths == 0 {
        String::new()
    } else {
        format!(".{tenths}")
    };
    format!("(service {service}) (deployment {deployment}) {percent}{tenths}% of production traffic is shifted to it.")
}

pub(super) fn paused(service: &ServiceName, deployment: &DeploymentId, stage: LifecycleStage, hook: &str) -> String {
    format!("(service {service}) (deployment {deployment}) paused at {stage}: lifecycle hook {hook} awaits action.")
}

pub(super) fn baking(service: &ServiceName, deployment: &DeploymentId, minutes: u32) -> String {
    format!("(service {service}) (deployment {deployment}) bake time of {minutes} minutes has begun.")
}

pub(super) fn deployment_stopped(service: &ServiceName, deployment: &DeploymentId) -> String {
    format!("(service {service}) (deployment {deployment}) deployment stopped.")
}

pub(super) fn rolling_back(service: &ServiceName, to: &DeploymentId) -> String {
    format!("(service {service}) rolling back to deployment {to}.")
}

pub(super) fn unable_to_start_consistently(service: impl Display) -> String {
    format!(
        "(service {service}) is unable to consistently start tasks successfully. For more information, see the \
         Troubleshooting section of the Amazon ECS Developer Guide."
    )
}

pub(super) fn held_by_configuration(service: impl Display) -> String {
    format!(
        "(service {service}) was unable to stop or start tasks during a deployment because of the service deployment \
         configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
    )
}

pub(super) fn unable_to_scale_in(service: &ServiceName, deployment: &DeploymentId, protected: usize) -> String {
    format!(
        "(service {service}, taskSet {deployment}) was unable to scale in due to (reason {protected} tasks under protection)"
    )
}

/// Whether a sentence of a service says that it is in a steady state.
#[must_use]
pub fn is_steady_state(sentence: &str) -> bool {
    sentence.starts_with("(service ") && sentence.ends_with(") has reached a steady state.")
}

/// Whether a sentence of a service says that its tasks keep failing to start.
#[must_use]
pub fn is_unable_to_start(sentence: &str) -> bool {
    sentence.starts_with("(service ") && sentence.contains(") is unable to consistently start tasks successfully.")
}

/// When a sentence that begins with `beginning` was last said; the service remembers its last 100 sentences.
pub(super) fn last_said<'a>(service: &'a Service, beginning: &str) -> Option<(&'a str, Timestamp)> {
    let event = service.events.iter().find(|e| e.message.starts_with(beginning))?;
    Some((&event.message, event.created_at))
}

fn in_tens(tasks: &[TaskId], sentence: impl Fn(usize, &str) -> String) -> Vec<String> {
    let named = |tasks: &[TaskId]| {
        let names: Vec<String> = tasks.iter().map(|id| format!("(task {id})")).collect();
        sentence(tasks.len(), &names.join(" "))
    };
    tasks.chunks(MAX_TASKS_IN_SENTENCE).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_recognised_by_what_they_say() {
        let web: ServiceName = "web".into();
        assert!(is_steady_state(&steady_state(&web)));
        assert!(is_unable_to_start(&unable_to_start_consistently(&web)));
        assert!(!is_steady_state(&unable_to_start_consistently(&web)));
        assert!(!is_unable_to_start(&held_by_configuration(&web)));
    }

    #[test]
    fn sentence_about_many_tasks_names_ten_at_a_time() {
        let tasks: Vec<TaskId> = (0..12).map(TaskId).collect();
        let said = started("web", &tasks);
        assert_eq!(said.len(), 2);
        assert!(
            said[1].starts_with("(service web) has started 2 tasks: (task "),
            "{}",
            said[1]
        );
        assert!(said[1].ends_with(")."), "{}", said[1]);
    }
}
