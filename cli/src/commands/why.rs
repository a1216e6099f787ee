//! `berth why`: why a task is on its host, or has none yet.
//!
//! Owns the flags and the layout of the answer. Shell, but for the layout, which is pure.

use anyhow::{Context, Result, bail};
use berth_aws::berth::operations::ExplainPlacement;
use berth_aws::berth::{ExplainPlacementRequest, PlacementCandidate, TaskPlacement};
use clap::Args;

use super::why_not;
use crate::cluster::{Cluster, last_part};
use crate::output::{self, Format};
use crate::short_id;
use crate::table::Table;
use crate::target::TargetArguments;

/// Flags of `berth why`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Id of a task, its first digits (4 at least), or its ARN
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    target: TargetArguments,
    /// In words and tables, or as the API answers
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints why the task is where it is.
///
/// # Errors
/// If the cluster cannot be asked, has no such task, or did not record how its host was chosen.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let cluster = Cluster::of(&arguments.target.find()?)?;
    let request = ExplainPlacementRequest {
        cluster: cluster.named(),
        task: Some(task_of(&cluster, &arguments.task).await?),
        ..Default::default()
    };
    let answer = cluster.call::<ExplainPlacement>(&request).await?;
    if let Some(fit) = answer.fit {
        return match arguments.format {
            Format::Json => output::line(&serde_json::to_string_pretty(&fit)?),
            Format::Table => output::line(&why_not::text(&fit)),
        };
    }
    let placement = answer.placement.context("the controller explained nothing")?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&placement)?),
        Format::Table => output::line(&text(&placement)),
    }
}

/// The id of the task that is meant.
async fn task_of(cluster: &Cluster, wanted: &str) -> Result<String> {
    let wanted = last_part(wanted);
    if short_id::is_whole(wanted) {
        return Ok(wanted.to_owned());
    }
    let arns = match short_id::is_prefix(wanted) {
        true => cluster.all_task_arns(None).await?,
        false => vec![],
    };
    match short_id::complete(wanted, arns.iter().map(|arn| last_part(arn)))? {
        Some(id) => Ok(id.to_owned()),
        None => bail!(
            "cluster {} has no task whose id begins with {wanted}; `berth ps --all` lists its tasks",
            cluster.name()
        ),
    }
}

fn text(placement: &TaskPlacement) -> String {
    let mut filters = Table::new(&["FILTER", "HOSTS LEFT"]);
    let number = |number: Option<i32>| number.unwrap_or(0).to_string();
    filters.row(vec!["(all)".to_owned(), number(placement.hosts_considered)]);
    for step in placement.filters.iter().flatten() {
        filters.row(vec![step.filter.clone().unwrap_or_default(), number(step.hosts_left)]);
    }
    let sentence = placement.sentence.clone().unwrap_or_default();
    let terms = terms(placement).render(None);
    format!("{sentence}\n\n{}\n\n{terms}", filters.render(None))
}

/// The host chosen beside the next best one, term by term.
fn terms(placement: &TaskPlacement) -> Table {
    let chosen = placement.chosen.clone().unwrap_or_default();
    let second = placement.runner_up.as_ref();
    let mut headings = vec!["TERM".to_owned(), label(&chosen)];
    headings.extend(second.map(label));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    let meaning = |candidate: &PlacementCandidate, place: usize| {
        let term = candidate.terms.as_ref().and_then(|terms| terms.get(place));
        term.and_then(|term| term.meaning.clone()).unwrap_or_default()
    };
    for (place, term) in chosen.terms.iter().flatten().enumerate() {
        let name = term.name.clone().unwrap_or_default();
        let decided = placement.decided_by.as_ref() == Some(&name);
        let mark = if decided { " (decided)" } else { "" };
        let mut row = vec![format!("{name}{mark}"), meaning(&chosen, place)];
        row.extend(second.map(|second| meaning(second, place)));
        table.row(row);
    }
    table
}

fn label(candidate: &PlacementCandidate) -> String {
    let id = candidate.container_instance_arn.as_deref().map(last_part);
    let name = candidate.host_name.as_deref().or(id);
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_aws::berth::{FilterStep, ScoreTerm};

    #[test]
    fn answer_shows_hosts_left_and_both_hosts_with_the_term_that_decided() {
        let candidate = |name: &str, tasks: u32| PlacementCandidate {
            container_instance_arn: None,
            host_name: Some(name.to_owned()),
            terms: Some(vec![ScoreTerm {
                name: Some("spread instanceId".to_owned()),
                value: Some(tasks.to_string()),
                meaning: Some(format!("{tasks} tasks of service:web on it")),
            }]),
        };
        let placement = TaskPlacement {
            sentence: Some("host-2 was chosen.".to_owned()),
            hosts_considered: Some(3),
            filters: Some(vec![FilterStep {
                filter: Some("agent".to_owned()),
                hosts_left: Some(2),
            }]),
            chosen: Some(candidate("host-2", 0)),
            runner_up: Some(candidate("host-1", 2)),
            decided_by: Some("spread instanceId".to_owned()),
            ..Default::default()
        };
        let lines = text(&placement);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines,
            [
                "host-2 was chosen.",
                "",
                "FILTER  HOSTS LEFT",
                "(all)   3",
                "agent   2",
                "",
                "TERM                         host-2                        host-1",
                "spread instanceId (decided)  0 tasks of service:web on it  2 tasks of service:web on it",
            ]
        );
    }
}
