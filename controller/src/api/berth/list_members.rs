//! `ListMembers`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{ListMembersRequest, ListMembersResponse, Member, MemberRole};
use berth_raft::MemberInfo;

use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::ports::Members;
use crate::peers::{ADDRESS, FEATURE_LEVEL};

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    _input: ListMembersRequest,
) -> Result<ListMembersResponse, AwsError> {
    let members = api.administration().members().await;
    let members = members.map_err(|failure| errors::administration(&failure))?;
    Ok(ListMembersResponse {
        members: Some(members.members.iter().map(|member| render(member, &members)).collect()),
        term: i64::try_from(members.term).ok(),
        feature_level: i32::try_from(api.feature_level()).ok(),
    })
}

fn render(member: &MemberInfo, members: &Members) -> Member {
    let record = &member.record;
    Member {
        member_id: Some(record.id.to_string()),
        name: Some(record.name.clone()),
        address: record.details.get(ADDRESS).cloned(),
        role: Some(match member.role {
            berth_raft::MemberRole::Voter => MemberRole::Voter,
            berth_raft::MemberRole::Learner => MemberRole::Learner,
        }),
        leader: Some(members.leader == Some(record.id)),
        connected: Some(members.leader == Some(record.id) || members.connected.contains(&record.id)),
        feature_level: record.details.get(FEATURE_LEVEL).and_then(|level| level.parse().ok()),
    }
}
