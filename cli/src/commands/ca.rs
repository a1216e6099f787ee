//! `berth ca`: the authority that signs the certificates of a cluster: shows it, and rotates it.
//!
//! Owns the flags, and the order of a rotation's steps when all are taken in one go. Shell.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_aws::berth::operations::{DescribeAuthority, RotateAuthority};
use berth_aws::berth::{
    Authority, DescribeAuthorityRequest, Holder, RotateAuthorityRequest, RotationPhase, RotationStep,
};
use clap::{Args, Subcommand};
use tokio::time::Instant;

use super::values;
use crate::client::Client;
use crate::cluster::last_part;
use crate::output;
use crate::target::TargetArguments;

/// Between two looks whether everyone is ready for the next step.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Those that are named of whom a rotation waits for.
const MAX_NAMED: usize = 5;

/// Flags of `berth ca`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Subcommand, Debug)]
enum CaCommand {
    /// Show which authority signs, and how far a rotation is
    Show(ShowArguments),
    /// Have a new authority sign all certificates, without a connection being refused; goes on with a rotation that was begun
    Rotate(RotateArguments),
}

#[derive(Args, Debug)]
struct ShowArguments {
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Args, Debug)]
struct RotateArguments {
    /// How long to wait for controllers and hosts that are not ready for the next step; the rotation is gone on with by the next call
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = values::duration)]
    wait: Duration,
    /// Take back a rotation whose new authority does not sign yet
    #[arg(long)]
    take_back: bool,
    #[command(flatten)]
    target: TargetArguments,
}

/// Shows or rotates the authority.
///
/// # Errors
/// If the cluster cannot be asked, refuses, or somebody is not ready in time.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        CaCommand::Show(arguments) => {
            let client = arguments.target.find()?.client()?;
            output::line(&describe(&ask(&client).await?))
        }
        CaCommand::Rotate(arguments) => rotate(arguments).await,
    }
}

async fn rotate(arguments: RotateArguments) -> Result<()> {
    let client = arguments.target.find()?.client()?;
    if arguments.take_back {
        let authority = step(&client, RotationStep::TakeBack).await?;
        return output::line(&describe(&authority));
    }
    let until = Instant::now() + arguments.wait;
    let mut authority = ask(&client).await?;
    if authority.phase == Some(RotationPhase::Settled) {
        authority = step(&client, RotationStep::Begin).await?;
        output::line("A new authority is there; everyone learns to trust it.")?;
    }
    if authority.phase == Some(RotationPhase::Introduced) {
        wait_for_all(&client, until, "does not trust the new authority yet").await?;
        step(&client, RotationStep::Continue).await?;
        output::line("It signs from now on; everyone gets a certificate of it.")?;
    }
    wait_for_all(&client, until, "still has a certificate of the old authority").await?;
    let authority = step(&client, RotationStep::Continue).await?;
    output::line("The old authority is trusted no longer.")?;
    output::line(&describe(&authority))
}

/// Waits until the next step waits for nobody.
async fn wait_for_all(client: &Client, until: Instant, lack: &str) -> Result<()> {
    loop {
        let authority = ask(client).await?;
        let count = authority.waiting_count.unwrap_or_default();
        if count == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            let mut named = waiting(&authority);
            named.truncate(MAX_NAMED);
            bail!(
                "the rotation waits for {count}, each of which {lack}: {}; bring them back, or remove those that are gone for good, a host or another \
                 agent with `berth hosts remove` and the identity that is named here, a controller with `berth members remove`, and run this again",
                named.join(", ")
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ask(client: &Client) -> Result<Authority> {
    let described = client.call::<DescribeAuthority>(&DescribeAuthorityRequest {}).await?;
    described
        .authority
        .context("the controller did not say which authority signs")
}

async fn step(client: &Client, step: RotationStep) -> Result<Authority> {
    let request = RotateAuthorityRequest { step: Some(step) };
    let rotated = client.call::<RotateAuthority>(&request).await?;
    rotated
        .authority
        .context("the controller did not say which authority signs")
}

fn describe(authority: &Authority) -> String {
    let phase = match authority.phase {
        Some(RotationPhase::Settled) => "no rotation is under way",
        Some(RotationPhase::Introduced) => "a new authority is trusted, and does not sign yet",
        Some(RotationPhase::Switched) => "a new authority signs, and the old one is still trusted",
        _ => "unknown",
    };
    let mut lines = vec![
        format!("rotation  {phase}"),
        format!("signs     {}", authority.signing.clone().unwrap_or_default()),
    ];
    let trusted = authority.trusted.iter().flatten();
    lines.extend(trusted.map(|digest| format!("trusted   {digest}")));
    lines.extend(waiting(authority).iter().map(|holder| format!("waits for {holder}")));
    lines.join("\n")
}

/// For whom the next step waits: the identities, with what people call their holders where the controller says that.
fn waiting(authority: &Authority) -> Vec<String> {
    match &authority.waiting_holders {
        Some(holders) => holders.iter().map(named).collect(),
        None => authority.waiting_for.clone().unwrap_or_default(),
    }
}

fn named(holder: &Holder) -> String {
    let identity = holder.identity.as_deref().unwrap_or_default();
    match (&holder.name, &holder.cluster) {
        (Some(name), Some(cluster)) => {
            let region = cluster.split(':').nth(3).unwrap_or_default();
            format!("{identity} (host {name} of cluster {} in {region})", last_part(cluster))
        }
        (Some(name), None) => format!("{identity} ({name})"),
        (None, _) if identity.contains("/agent/") => format!("{identity} (an agent that is no host)"),
        (None, _) => identity.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_waited_for_are_said_with_what_they_are_called() {
        let holder = |identity: &str, name: Option<&str>, cluster: Option<&str>| Holder {
            identity: Some(identity.to_owned()),
            name: name.map(str::to_owned),
            cluster: cluster.map(str::to_owned),
        };
        let holders = vec![
            holder(
                "berth://c/agent/1",
                Some("host-1"),
                Some("arn:aws:ecs:eu-west-1:123456789012:cluster/shop"),
            ),
            holder("berth://c/agent/2", None, None),
            holder("berth://c/controller/3", Some("controller-1"), None),
        ];
        let mut authority = Authority {
            waiting_for: Some(vec!["berth://c/agent/1".to_owned()]),
            waiting_holders: Some(holders),
            ..Authority::default()
        };
        assert_eq!(
            waiting(&authority),
            [
                "berth://c/agent/1 (host host-1 of cluster shop in eu-west-1)",
                "berth://c/agent/2 (an agent that is no host)",
                "berth://c/controller/3 (controller-1)"
            ]
        );
        authority.waiting_holders = None;
        assert_eq!(
            waiting(&authority),
            ["berth://c/agent/1"],
            "a controller of an earlier version"
        );
    }
}
