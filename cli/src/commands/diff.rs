//! `berth diff`: what `berth apply` would do. Shell.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::apply::CHANGES;
use crate::declared::files::FileArguments;
use crate::declared::live::Live;
use crate::declared::plan::{Plan, Step, Verb};
use crate::output;
use crate::target::TargetArguments;

/// Flags of `berth diff`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 everything is as the files say, 2 something is not, 1 an error.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    #[command(flatten)]
    target: TargetArguments,
}

/// Says what is different, and changes nothing.
///
/// # Errors
/// If the files are refused, or the controller cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let declared = arguments.files.read()?;
    let target = arguments.target.find()?;
    let live = Live::new(target.client()?);
    let plan = Plan::make(&live, declared, &target.cluster).await?;
    output::line(&text(&plan.steps))?;
    Ok(match plan.has_changes() {
        true => ExitCode::from(CHANGES),
        false => ExitCode::SUCCESS,
    })
}

/// What is made with `+`, what is changed with `~`, member by member, and how much there is of each.
pub(super) fn text(steps: &[Step]) -> String {
    let mut lines = vec![];
    for step in steps {
        let sign = match step.verb {
            Verb::Leave => continue,
            Verb::Create => "+",
            Verb::Change => "~",
        };
        lines.push(format!("{sign} {}", step.subject()));
        lines.extend(step.differences.iter().map(|difference| format!("    {difference}")));
    }
    let count = |verb| steps.iter().filter(|step| step.verb == verb).count();
    lines.push(format!(
        "{} to create, {} to change, {} as they are",
        count(Verb::Create),
        count(Verb::Change),
        count(Verb::Leave)
    ));
    lines.join("\n")
}
