//! `berth plan`: what `berth apply` would do, where every new task would go, and how the rollout would proceed.
//!
//! Owns the flags and the exit code. Shell.

mod text;

use std::process::ExitCode;

use anyhow::Result;
use berth_aws::berth::operations::PredictChanges;
use berth_aws::berth::{PredictChangesRequest, PredictChangesResponse, ServiceOutlook};
use clap::Args;
use serde_json::{Value, json};

use super::apply::{CANNOT_BE_PLACED, CHANGES};
use super::diff;
use crate::cluster::Cluster;
use crate::declared::files::{Declared, FileArguments};
use crate::declared::live::Live;
use crate::declared::plan::{Plan, Step, Verb};
use crate::declared::rehearsed::{self, Question};
use crate::declared::resource::{Kind, Resource};
use crate::output::{self, Format};
use crate::target::{Target, TargetArguments};

/// Flags of `berth plan`.
#[derive(Args, Debug)]
#[command(
    after_help = "The controller plays it through on a copy of its state, with the functions by which it deploys and places tasks; nothing is changed.\n\
                        Exit codes: 0 nothing is to be done, 2 something is, 3 something is and tasks of a service of the files would find no host, 1 an error."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// What `berth delete` would do to the services of the files instead
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// In words and tables, or in JSON
    #[arg(long, short = 'o', value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What is to be done.
struct Intention {
    /// What is different, as people read it.
    words: String,
    /// The same for programs.
    changes: Vec<Value>,
    questions: Vec<Question>,
}

/// A question with its answer; none for a cluster that is yet to be made.
type Answered = (Question, Option<PredictChangesResponse>);

/// Says what would happen, and changes nothing.
///
/// # Errors
/// If the files are refused, a request would be, or the controller cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let declared = arguments.files.read()?;
    let target = arguments.target.find()?;
    let intention = match arguments.delete {
        true => deletion(declared, &target).await?,
        false => application(declared, &target).await?,
    };
    let cluster = Cluster::of(&target)?;
    let mut answered: Vec<Answered> = vec![];
    for question in intention.questions {
        let answer = match question.is_there {
            true => Some(ask(&cluster, &question).await?),
            false => None,
        };
        answered.push((question, answer));
    }
    output::line(&match arguments.format {
        Format::Json => serde_json::to_string_pretty(&document(&intention.changes, &answered))?,
        Format::Table => text::of(&intention.words, !intention.changes.is_empty(), &answered),
    })?;
    Ok(match intention.changes.is_empty() {
        true => ExitCode::SUCCESS,
        false if answered.iter().any(lacks_hosts) => ExitCode::from(CANNOT_BE_PLACED),
        false => ExitCode::from(CHANGES),
    })
}

async fn application(declared: Declared, target: &Target) -> Result<Intention> {
    let live = Live::new(target.client()?);
    let plan = Plan::make(&live, declared, &target.cluster).await?;
    let changed = plan.steps.iter().filter(|step| step.verb != Verb::Leave);
    let mut words = diff::text(&plan.steps);
    if changed.clone().any(|step| step.resource.kind == Kind::Daemon) {
        words.push_str("\nWhat becomes of the tasks of daemons, and where services wait for them, is not foreseen.");
    }
    Ok(Intention {
        words,
        changes: changed.map(change).collect(),
        questions: rehearsed::of_plan(&plan),
    })
}

async fn deletion(declared: Declared, target: &Target) -> Result<Intention> {
    let live = Live::new(target.client()?);
    let services = declared.resources.into_iter().rev();
    let services = services.filter(|resource| resource.kind == Kind::Service).collect();
    let there = rehearsed::services_there(&live, services, &target.cluster).await?;
    let lines: Vec<String> = there
        .iter()
        .map(|(cluster, service)| format!("- {} in cluster {cluster}", service.subject()))
        .chain([format!("{} to delete", there.len())])
        .collect();
    let change = |(cluster, service): &(String, Resource)| json!({"subject": format!("{} in cluster {cluster}", service.subject()), "verb": "delete", "differences": []});
    Ok(Intention {
        words: lines.join("\n"),
        changes: there.iter().map(change).collect(),
        questions: rehearsed::of_deletion(&there),
    })
}

async fn ask(cluster: &Cluster, question: &Question) -> Result<PredictChangesResponse> {
    let request = PredictChangesRequest {
        cluster: Some(question.cluster.clone()),
        requests: Some(question.requests.clone()),
        ..Default::default()
    };
    let of = cluster.beside(&question.cluster);
    let answer = of.call::<PredictChanges>(&request).await;
    answer.map_err(|error| question.placed(error))
}

/// What is different of one thing.
fn change(step: &Step) -> Value {
    let differences = step.differences.iter();
    let differences: Vec<Value> = differences
        .map(|found| json!({"path": found.path, "old": found.old, "new": found.new}))
        .collect();
    let verb = if step.verb == Verb::Create { "create" } else { "change" };
    json!({"subject": step.subject(), "verb": verb, "differences": differences})
}

fn document(changes: &[Value], answered: &[Answered]) -> Value {
    let clusters: Vec<Value> = answered
        .iter()
        .map(|(question, answer)| json!({"cluster": question.cluster, "exists": question.is_there, "prediction": answer}))
        .collect();
    json!({"changes": changes, "clusters": clusters})
}

/// Whether a service that the files name would have fewer tasks than it wants, or older ones.
fn lacks_hosts((question, answer): &Answered) -> bool {
    let Some(answer) = answer else {
        return question.tasks_wanted() > 0;
    };
    let is_named = |service: &&ServiceOutlook| {
        service
            .service_name
            .as_ref()
            .is_some_and(|name| question.services.contains(name))
    };
    let mut named = answer.services.iter().flatten().filter(is_named);
    named.any(|service| service.missing.unwrap_or(0) > 0 || service.not_replaced.unwrap_or(0) > 0)
}
