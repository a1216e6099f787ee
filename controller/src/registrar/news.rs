//! What holders are told of the cluster: whom to trust, and where the controllers are. Pure but for the look at the group.

use berth_core::model::LogIndex;
use berth_core::state::ClusterState;
use berth_proto::v1::ClusterNews;
use berth_raft::Membership;

use super::changes::RegistrarError;
use super::documents;
use crate::peers::ADDRESS;

/// What there is to tell.
pub(super) fn news(state: &ClusterState, members: &Membership) -> Result<ClusterNews, RegistrarError> {
    let (version, authorities) = documents::authorities(state)?.ok_or(RegistrarError::NoAuthorities)?;
    Ok(ClusterNews {
        authorities: authorities.bundle()?.to_pem(),
        controllers: controllers(members),
        version: version_of(version, members),
    })
}

/// The version of the news, which rises whenever they change; 0 where there are no authorities.
pub(crate) fn news_version(state: &ClusterState, members: &Membership) -> u64 {
    let document = state.document(documents::AUTHORITIES);
    document.map_or(0, |authorities| version_of(authorities.version, members))
}

/// URIs of the controllers' ports for members and agents.
pub(crate) fn controllers(members: &Membership) -> Vec<String> {
    let records = members.members.iter().map(|member| &member.record);
    records
        .filter_map(|record| Some(uri(record.details.get(ADDRESS)?)))
        .collect()
}

/// URI of the port at an address.
pub(crate) fn uri(address: &str) -> String {
    format!("https://{address}")
}

/// Both are positions in one log.
fn version_of(authorities: LogIndex, members: &Membership) -> u64 {
    authorities.0.max(members.index)
}
