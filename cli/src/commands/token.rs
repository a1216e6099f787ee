//! `berth token`: makes the tokens with which agents and controllers join a cluster, lists and withdraws them.
//!
//! Owns the flags and how tokens are shown. Shell.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_aws::berth::operations::{CreateJoinToken, ListJoinTokens, RevokeJoinToken};
use berth_aws::berth::{
    CreateJoinTokenRequest, JoinRole, JoinToken, JoinTokenStatus, ListJoinTokensRequest, RevokeJoinTokenRequest,
};
use clap::{Args, Subcommand, ValueEnum};

use super::values;
use crate::output::{self, Format};
use crate::table::Table;
use crate::target::TargetArguments;

/// Flags of `berth token`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Make a token, and print it: it is a secret, and is not shown again
    Create(CreateArguments),
    /// List the tokens, without their secrets
    List(ListArguments),
    /// Withdraw tokens; those who joined with them stay
    Revoke(RevokeArguments),
}

#[derive(Args, Debug)]
struct CreateArguments {
    /// What its bearer becomes
    #[arg(long, value_enum)]
    role: Role,
    /// How many may join with it
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    uses: i32,
    /// For how long it is good, such as 30m, 6h or 7d; between 1m and 30d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = values::token_lifetime)]
    expires: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Agent,
    Controller,
}

#[derive(Args, Debug)]
struct ListArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// As a table, or as a JSON array with one object per token
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args, Debug)]
struct RevokeArguments {
    /// Ids of tokens
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    target: TargetArguments,
}

/// Makes, lists or withdraws tokens.
///
/// # Errors
/// If the cluster cannot be asked, or refuses.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        TokenCommand::Create(arguments) => create(arguments).await,
        TokenCommand::List(arguments) => list(arguments).await,
        TokenCommand::Revoke(arguments) => revoke(arguments).await,
    }
}

async fn create(arguments: CreateArguments) -> Result<()> {
    let request = CreateJoinTokenRequest {
        role: Some(match arguments.role {
            Role::Agent => JoinRole::Agent,
            Role::Controller => JoinRole::Controller,
        }),
        uses: Some(arguments.uses),
        // No longer than the parser lets it be.
        expires_in_seconds: Some(i32::try_from(arguments.expires.as_secs()).unwrap_or(i32::MAX)),
    };
    let client = arguments.target.find()?.client()?;
    let made = client.call::<CreateJoinToken>(&request).await?;
    output::line(&made.token.context("the controller gave no token")?)
}

async fn list(arguments: ListArguments) -> Result<()> {
    let client = arguments.target.find()?.client()?;
    let listed = client.call::<ListJoinTokens>(&ListJoinTokensRequest {}).await?;
    let tokens = listed.join_tokens.unwrap_or_default();
    if arguments.format == Format::Json {
        return output::line(&serde_json::to_string_pretty(&tokens)?);
    }
    let mut table = Table::new(&["ID", "ROLE", "STATUS", "USES LEFT", "EXPIRES", "CREATED BY"]);
    tokens.iter().for_each(|token| table.row(cells(token)));
    output::line(&table.render(output::width()))
}

async fn revoke(arguments: RevokeArguments) -> Result<()> {
    let client = arguments.target.find()?.client()?;
    for id in arguments.ids {
        let request = RevokeJoinTokenRequest {
            token_id: Some(id.clone()),
        };
        client.call::<RevokeJoinToken>(&request).await?;
        output::line(&format!("{id}: revoked"))?;
    }
    Ok(())
}

fn cells(token: &JoinToken) -> [String; 6] {
    let status = match token.status {
        Some(JoinTokenStatus::Usable) => "usable",
        Some(JoinTokenStatus::Used) => "used up",
        Some(JoinTokenStatus::Expired) => "expired",
        Some(JoinTokenStatus::Revoked) => "revoked",
        _ => "",
    };
    let role = match token.role {
        Some(JoinRole::Agent) => "agent",
        Some(JoinRole::Controller) => "controller",
        _ => "",
    };
    [
        token.token_id.clone().unwrap_or_default(),
        role.to_owned(),
        status.to_owned(),
        token.uses_left.map(|uses| uses.to_string()).unwrap_or_default(),
        token.expires_at.map(moment).unwrap_or_default(),
        token.created_by.clone().unwrap_or_default(),
    ]
}

fn moment(at: berth_aws::Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_shown_in_one_row() {
        let token = JoinToken {
            token_id: Some("0123456789abcdef".to_owned()),
            role: Some(JoinRole::Agent),
            uses_left: Some(3),
            expires_at: Some(berth_aws::Timestamp(1_800_000_000_000)),
            status: Some(JoinTokenStatus::Usable),
            ..JoinToken::default()
        };
        let expected = [
            "0123456789abcdef",
            "agent",
            "usable",
            "3",
            "2027-01-15 08:00:00 UTC",
            "",
        ];
        assert_eq!(cells(&token), expected.map(str::to_owned));
    }
}
