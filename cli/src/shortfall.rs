//! Why a service has fewer tasks than it wants, in a sentence. Pure.

use berth_aws::Timestamp;
use berth_aws::ecs::{Service, Task, TaskStopCode};

use crate::age::age;
use crate::cluster::{last_part, primary};
use crate::short_id;

/// Part of what a service says whose tasks keep failing, in ECS's words.
const START_CONSISTENTLY: &str = "unable to consistently start tasks";

/// Why a task stopped whose service found it unhealthy, in ECS's words.
const FAILED_HEALTH_CHECKS: &str = "Task failed container health checks";

/// Part of what a service says whose tasks find no host.
const UNABLE_TO_PLACE: &str = "unable to place a task";

/// Part of what a service says that has not begun since others are not steady.
const WAITS: &str = "is waiting for other services before it starts tasks";

/// How many tasks of the service run and why not more, `None` if it has what it wants. The reason is the newest of what the service says
/// and what its tasks failed of; `tasks` may hold those of others too.
pub(crate) fn sentence(service: &Service, tasks: &[Task], now: Timestamp) -> Option<String> {
    let (desired, running) = (service.desired_count.unwrap_or(0), service.running_count.unwrap_or(0));
    if running >= desired || service.status.as_deref() != Some("ACTIVE") {
        return None;
    }
    let name = service.service_name.as_deref().unwrap_or_default();
    let why = why(service, tasks, now).map(|text| text.trim_end_matches('.').to_owned());
    let why = why.unwrap_or_else(|| match service.pending_count.unwrap_or(0) {
        0 => "the others have no host yet".to_owned(),
        pending => format!("{pending} more on the way"),
    });
    Some(format!("service {name} runs {running} of {desired} tasks: {why}"))
}

/// Whether the service lacks tasks because they found no host, by the newest of what it says; `tasks` as for [`sentence`].
pub(crate) fn lacks_hosts(service: &Service, tasks: &[Task]) -> bool {
    complaint(service).is_some_and(|(said, text)| {
        let has_failed_since = failure(service, tasks).is_some_and(|(failed, _)| failed >= said);
        text.contains(UNABLE_TO_PLACE) && !has_failed_since
    })
}

/// How the task of the service ended that failed last since its deployment began; `tasks` as for [`sentence`].
pub(crate) fn last_failure(service: &Service, tasks: &[Task], now: Timestamp) -> Option<String> {
    let (at, task) = failure(service, tasks)?;
    let text = failure_text(at, task, now);
    Some(text.trim_end_matches('.').to_owned())
}

fn why(service: &Service, tasks: &[Task], now: Timestamp) -> Option<String> {
    let complaint = complaint(service);
    let failure = failure(service, tasks);
    match (complaint, failure) {
        // That tasks fail is said better by how the last one did.
        (Some((said, text)), Some((failed, _))) if said > failed && !text.contains(START_CONSISTENTLY) => Some(text),
        (_, Some((at, task))) => Some(failure_text(at, task, now)),
        (Some((_, text)), None) => Some(text),
        (None, None) => None,
    }
}

/// The newest of the service's own sentences that says what it cannot do.
fn complaint(service: &Service) -> Option<(Timestamp, String)> {
    let events = service.events.iter().flatten();
    let has_tasks = [service.running_count, service.pending_count]
        .iter()
        .any(|count| count.unwrap_or(0) > 0);
    let unable = events.filter_map(|event| {
        let (at, message) = (event.created_at?, event.message.as_deref()?);
        let text = message.split_once(") ").map_or(message, |(_, text)| text);
        // Since the current deployment began: what an earlier one could not do is over.
        let is_current = deployed_at(service).is_none_or(|began| at >= began);
        // What has begun no longer waits.
        let waits = !has_tasks && text.starts_with(WAITS);
        (is_current && (waits || text.contains("unable to"))).then(|| (at, text.to_owned()))
    });
    unable.max_by_key(|(at, _)| *at)
}

/// The task of the service that failed last.
fn failure<'a>(service: &Service, tasks: &'a [Task]) -> Option<(Timestamp, &'a Task)> {
    let group = format!("service:{}", service.service_name.as_deref()?);
    let failed = tasks.iter().filter_map(|task| {
        let at = task.stopped_at?;
        let has_failed = matches!(
            task.stop_code,
            Some(TaskStopCode::TaskFailedToStart | TaskStopCode::EssentialContainerExited)
        ) || was_unhealthy(task);
        let is_current = deployed_at(service).is_none_or(|began| at >= began);
        (has_failed && is_current && task.group.as_ref() == Some(&group)).then_some((at, task))
    });
    failed.max_by_key(|(at, _)| *at)
}

fn was_unhealthy(task: &Task) -> bool {
    task.stopped_reason.as_deref() == Some(FAILED_HEALTH_CHECKS)
}

fn deployed_at(service: &Service) -> Option<Timestamp> {
    primary(service)?.created_at
}

fn failure_text(at: Timestamp, task: &Task, now: Timestamp) -> String {
    let id = task.task_arn.as_deref().map(last_part).unwrap_or_default();
    // A task that never started wrote nothing.
    let has_log = task.stop_code == Some(TaskStopCode::EssentialContainerExited) || was_unhealthy(task);
    format!(
        "task {} stopped {} ago, {}{}",
        short_id::shown(id),
        age(at, now),
        task.stopped_reason.as_deref().unwrap_or("for no known reason"),
        if has_log {
            format!("; `berth logs {}` shows what it wrote", short_id::shown(id))
        } else {
            String::new()
        },
    )
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::ServiceEvent;

    use super::*;

    const NOW: Timestamp = Timestamp(100_000);

    fn service(running: i32) -> Service {
        let event = |at, text: &str| ServiceEvent {
            created_at: Some(Timestamp(at)),
            message: Some(format!("(service web) {text}")),
            ..Default::default()
        };
        Service {
            service_name: Some("web".to_owned()),
            status: Some("ACTIVE".to_owned()),
            desired_count: Some(3),
            running_count: Some(running),
            events: Some(vec![
                event(60_000, "has started 2 tasks"),
                event(50_000, "was unable to place a task because there was no room."),
            ]),
            ..Default::default()
        }
    }

    fn failed(at: i64) -> Task {
        Task {
            task_arn: Some("arn:aws:ecs:us-east-1:123456789012:task/shop/0123456789abcdef".to_owned()),
            group: Some("service:web".to_owned()),
            stop_code: Some(TaskStopCode::EssentialContainerExited),
            stopped_at: Some(Timestamp(at)),
            stopped_reason: Some("Essential container in task exited (exit code 3)".to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn service_with_all_its_tasks_says_nothing() {
        assert_eq!(sentence(&service(3), &[failed(90_000)], NOW), None);
    }

    #[test]
    fn service_without_room_says_so_in_its_own_words() {
        assert_eq!(
            sentence(&service(1), &[failed(40_000)], NOW).expect("a sentence"),
            "service web runs 1 of 3 tasks: was unable to place a task because there was no room"
        );
        assert!(lacks_hosts(&service(1), &[failed(40_000)]));
        assert!(!lacks_hosts(&service(1), &[failed(95_000)]), "its tasks fail");
    }

    #[test]
    fn service_that_waits_for_others_says_so_until_it_has_a_task() {
        let says = |running| {
            let waits = ServiceEvent {
                created_at: Some(Timestamp(70_000)),
                message: Some(format!("(service web) {WAITS}: (service db) is not steady.")),
                ..Default::default()
            };
            let service = Service {
                events: Some(vec![waits]),
                ..service(running)
            };
            sentence(&service, &[], NOW).expect("a sentence")
        };
        assert!(says(0).ends_with("is waiting for other services before it starts tasks: (service db) is not steady"));
        assert_eq!(says(1), "service web runs 1 of 3 tasks: the others have no host yet");
    }

    #[test]
    fn service_whose_tasks_fail_says_of_what_and_where_to_look() {
        assert_eq!(
            sentence(&service(1), &[failed(95_000), failed(70_000)], NOW).expect("a sentence"),
            "service web runs 1 of 3 tasks: task 01234567 stopped 5s ago, Essential container in task exited (exit code 3); \
             `berth logs 01234567` shows what it wrote"
        );
    }

    #[test]
    fn service_whose_tasks_are_unhealthy_says_so() {
        let unhealthy = Task {
            stop_code: Some(TaskStopCode::ServiceSchedulerInitiated),
            stopped_reason: Some(FAILED_HEALTH_CHECKS.to_owned()),
            ..failed(95_000)
        };
        assert_eq!(
            sentence(&service(1), &[unhealthy], NOW).expect("a sentence"),
            "service web runs 1 of 3 tasks: task 01234567 stopped 5s ago, Task failed container health checks; \
             `berth logs 01234567` shows what it wrote"
        );
    }
}
