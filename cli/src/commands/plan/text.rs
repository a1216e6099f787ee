//! A plan in words and tables. Pure.

use std::collections::BTreeMap;

use berth_aws::berth::{PredictChangesResponse, RolloutStep, TasksOnHost};

use super::Answered;
use crate::commands::what_if;
use crate::table::Table;

/// Rows of a rollout that are shown: what a person reads of it. `--format json` has all that the controller tells.
const MAX_ROWS: usize = 40;

/// The whole plan.
pub(super) fn of(difference: &str, has_changes: bool, answered: &[Answered]) -> String {
    let mut parts = vec![difference.to_owned()];
    if has_changes && answered.is_empty() {
        parts.push("No service changes: no task is started or stopped.".to_owned());
    }
    for (question, answer) in answered {
        let cluster = &question.cluster;
        match answer {
            Some(answer) => {
                parts.push(rollout(cluster, answer));
                parts.push(what_if::text(answer, false));
            }
            None => parts.push(format!(
                "Cluster {cluster} is yet to be made and has no hosts: its services want {} tasks, which start as hosts join it.",
                question.tasks_wanted()
            )),
        }
    }
    parts.join("\n\n")
}

/// The steps, with what is started and stopped in each, and where.
fn rollout(cluster: &str, answer: &PredictChangesResponse) -> String {
    let steps = answer.steps.as_deref().unwrap_or_default();
    if steps.is_empty() {
        return format!("In cluster {cluster}, no task is started or stopped.");
    }
    let rows: Vec<[String; 5]> = (1..).zip(steps).flat_map(|(number, step)| rows(number, step)).collect();
    let mut table = Table::new(&["STEP", "AFTER", "GROUP", "START", "STOP"]);
    let left_out = rows.len().saturating_sub(MAX_ROWS);
    for row in rows.into_iter().take(MAX_ROWS) {
        table.row(row);
    }
    let mut text = format!("The rollout in cluster {cluster}, if hosts did at once what they are told:\n\n");
    text.push_str(&table.render(None));
    let untold = answer.steps_left_out.unwrap_or(0);
    match (left_out, untold) {
        (0, 0) => {}
        (0, untold) => text.push_str(&format!("\nand {untold} more steps")),
        (rows, 0) => text.push_str(&format!("\nand {rows} more rows; --format json tells them")),
        (rows, untold) => text.push_str(&format!(
            "\nand {rows} more rows, which --format json tells, and {untold} more steps"
        )),
    }
    text
}

/// One step, a row for each group.
fn rows(number: usize, step: &RolloutStep) -> Vec<[String; 5]> {
    let mut groups: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for (side, tasks) in [&step.starts, &step.stops].into_iter().enumerate() {
        for found in tasks.iter().flatten() {
            let group = groups.entry(found.group.clone().unwrap_or_default()).or_default();
            group[side].push(on_host(found));
        }
    }
    let seconds = step.after_ms.unwrap_or(0) / 1_000;
    let row = |(group, [starts, stops]): (String, [Vec<String>; 2])| {
        let (number, after) = (number.to_string(), format!("{seconds}s"));
        [number, after, group, starts.join(", "), stops.join(", ")]
    };
    groups.into_iter().map(row).collect()
}

fn on_host(found: &TasksOnHost) -> String {
    let host = found.host.as_ref().map(what_if::label).unwrap_or_default();
    format!("{} on {host}", found.tasks.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::HostRef;

    use super::*;

    fn tasks(group: &str, host: &str, tasks: i32) -> TasksOnHost {
        TasksOnHost {
            group: Some(group.to_owned()),
            host: Some(HostRef {
                host_name: Some(host.to_owned()),
                container_instance_arn: None,
            }),
            tasks: Some(tasks),
        }
    }

    #[test]
    fn rollout_is_told_step_by_step_with_hosts() {
        let web = "service:web";
        let answer = PredictChangesResponse {
            steps: Some(vec![
                RolloutStep {
                    after_ms: Some(0),
                    starts: Some(vec![tasks(web, "host-1", 2), tasks(web, "host-2", 1)]),
                    stops: Some(vec![tasks("service:old", "host-1", 3)]),
                },
                RolloutStep {
                    after_ms: Some(46_000),
                    starts: Some(vec![]),
                    stops: Some(vec![tasks(web, "host-1", 3)]),
                },
            ]),
            steps_left_out: Some(2),
            ..Default::default()
        };
        let text = rollout("shop", &answer);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "The rollout in cluster shop, if hosts did at once what they are told:",
                "",
                "STEP  AFTER  GROUP        START                     STOP",
                "1     0s     service:old  -                         3 on host-1",
                "1     0s     service:web  2 on host-1, 1 on host-2  -",
                "2     46s    service:web  -                         3 on host-1",
                "and 2 more steps",
            ]
        );
        assert_eq!(
            rollout("shop", &PredictChangesResponse::default()),
            "In cluster shop, no task is started or stopped."
        );
    }
}
