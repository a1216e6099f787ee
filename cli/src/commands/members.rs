//! `berth members`: the controllers of a cluster: lists them, removes one, gives one its vote, has one lead.
//!
//! Owns the flags and how members are shown. Shell.

use anyhow::Result;
use berth_aws::berth::operations::{ListMembers, PromoteMember, RemoveMember, TransferLeadership};
use berth_aws::berth::{
    ListMembersRequest, Member, MemberRole, PromoteMemberRequest, RemoveMemberRequest, TransferLeadershipRequest,
};
use clap::{Args, Subcommand};

use crate::output::{self, Format};
use crate::table::Table;
use crate::target::TargetArguments;

/// Flags of `berth members`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: MembersCommand,
}

#[derive(Subcommand, Debug)]
enum MembersCommand {
    /// List the controllers, and which of them leads
    List(ListArguments),
    /// Remove a controller for good, such as one that is dead; its certificate is refused from then on
    Remove(ForceArguments),
    /// Give a controller its vote; happens by itself once it has caught up
    Promote(ForceArguments),
    /// Have another controller lead
    TransferLeader(MemberArguments),
}

#[derive(Args, Debug)]
struct ListArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// As a table, or as a JSON array with one object per controller
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args, Debug)]
struct ForceArguments {
    /// Id of the controller, or its name where no other has it, as `berth members list` shows them
    #[arg(value_name = "CONTROLLER")]
    member: String,
    /// Even if the controllers that can be reached are no majority afterwards
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Args, Debug)]
struct MemberArguments {
    /// Id of the controller, or its name where no other has it, as `berth members list` shows them
    #[arg(value_name = "CONTROLLER")]
    member: String,
    #[command(flatten)]
    target: TargetArguments,
}

/// Lists the members, or changes what was asked for.
///
/// # Errors
/// If the cluster cannot be asked, or refuses.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        MembersCommand::List(arguments) => list(arguments).await,
        MembersCommand::Remove(arguments) => {
            let request = RemoveMemberRequest {
                member_id: Some(arguments.member.clone()),
                force: Some(arguments.force),
            };
            let client = arguments.target.find()?.client()?;
            client.call::<RemoveMember>(&request).await?;
            output::line(&format!(
                "{}: removed; its machine can join again with a new token, once its data directory is moved away",
                arguments.member
            ))
        }
        MembersCommand::Promote(arguments) => {
            let request = PromoteMemberRequest {
                member_id: Some(arguments.member.clone()),
                force: Some(arguments.force),
            };
            let client = arguments.target.find()?.client()?;
            client.call::<PromoteMember>(&request).await?;
            output::line(&format!("{}: votes", arguments.member))
        }
        MembersCommand::TransferLeader(arguments) => {
            let request = TransferLeadershipRequest {
                member_id: Some(arguments.member.clone()),
            };
            let client = arguments.target.find()?.client()?;
            client.call::<TransferLeadership>(&request).await?;
            output::line(&format!("{}: leads", arguments.member))
        }
    }
}

async fn list(arguments: ListArguments) -> Result<()> {
    let client = arguments.target.find()?.client()?;
    let listed = client.call::<ListMembers>(&ListMembersRequest {}).await?;
    let members = listed.members.unwrap_or_default();
    if arguments.format == Format::Json {
        return output::line(&serde_json::to_string_pretty(&members)?);
    }
    let mut table = Table::new(&["ID", "NAME", "ADDRESS", "ROLE", "CONNECTED", "LEVEL"]);
    members.iter().for_each(|member| table.row(cells(member)));
    output::line(&table.render(output::width()))?;
    match listed
        .feature_level
        .and_then(|level| upgrade_under_way(level, &members))
    {
        Some(sentence) => output::line(&sentence),
        None => Ok(()),
    }
}

/// What an upgrade still waits for, if some controllers know a newer feature level than the cluster uses.
fn upgrade_under_way(level: i32, members: &[Member]) -> Option<String> {
    let newest = members.iter().filter_map(|member| member.feature_level).max()?;
    let older = members
        .iter()
        .filter(|member| member.feature_level.is_none_or(|known| known < newest));
    let older: Vec<&str> = older.filter_map(|member| member.name.as_deref()).collect();
    let waits_for = match older.as_slice() {
        [] => "that is about to change".to_owned(),
        older => format!("{newest} once these are upgraded or removed: {}", older.join(", ")),
    };
    (level < newest).then(|| format!("The cluster uses feature level {level}; {waits_for}"))
}

fn cells(member: &Member) -> [String; 6] {
    let role = match (member.role, member.leader) {
        (_, Some(true)) => "leader",
        (Some(MemberRole::Learner), _) => "learner",
        (Some(MemberRole::Voter), _) => "voter",
        _ => "",
    };
    [
        member.member_id.clone().unwrap_or_default(),
        member.name.clone().unwrap_or_default(),
        member.address.clone().unwrap_or_default(),
        role.to_owned(),
        member
            .connected
            .map_or("", |connected| if connected { "yes" } else { "NO" })
            .to_owned(),
        member.feature_level.map_or_else(String::new, |level| level.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_shown_with_what_it_is_in_the_group() {
        let row = |role, leader| {
            let member = Member {
                member_id: Some("7".to_owned()),
                role: Some(role),
                leader: Some(leader),
                connected: Some(leader),
                feature_level: Some(2),
                ..Member::default()
            };
            cells(&member).join("|")
        };
        assert_eq!(row(MemberRole::Voter, true), "7|||leader|yes|2");
        assert_eq!(row(MemberRole::Voter, false), "7|||voter|NO|2");
        assert_eq!(row(MemberRole::Learner, false), "7|||learner|NO|2");
    }

    #[test]
    fn upgrade_that_is_not_finished_says_for_whom_it_waits() {
        let member = |name: &str, level| Member {
            name: Some(name.to_owned()),
            feature_level: level,
            ..Member::default()
        };
        let mixed = [member("a", Some(2)), member("b", Some(1)), member("c", None)];
        assert_eq!(
            upgrade_under_way(1, &mixed).as_deref(),
            Some("The cluster uses feature level 1; 2 once these are upgraded or removed: b, c")
        );
        let all = [member("a", Some(2)), member("b", Some(2))];
        assert!(upgrade_under_way(1, &all).is_some_and(|said| said.contains("about to change")));
        assert_eq!(upgrade_under_way(2, &all), None);
        assert_eq!(upgrade_under_way(0, &[]), None);
    }
}
