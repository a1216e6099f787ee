//! Raises the group's feature level to what its members can do. Shell.
//!
//! `docs/decisions/2026-11-25-how-formats-evolve.md` says what the level is for.

use berth_core::state::{ClusterState, Command, FeatureLevel, NEWEST_FEATURE_LEVEL};
use berth_raft::{MemberRecord, Membership, Role};

use crate::peers::FEATURE_LEVEL;
use crate::replica::StateGroup;

/// Raises the level to the newest that this program knows, if this member leads and every other one has said in its record that it knows
/// it too. That it fails is logged: the group then goes on with the level that it has, and it is tried again later.
pub(crate) async fn raise(group: &StateGroup) {
    let newest = FeatureLevel::newest(env!("CARGO_PKG_VERSION"));
    let level = newest.level();
    if group.status().role != Role::Leader || group.view().view.feature_level() >= level {
        return;
    }
    if !all_know(&group.members(), group.identity().member_id, level) {
        return;
    }
    match group.propose(Command::RaiseFeatureLevel(newest)).await {
        Ok(applied) if applied.outcome.is_ok() => tracing::info!(level, "feature level raised"),
        // Somebody else has raised it meanwhile.
        Ok(_) => {}
        Err(error) => tracing::warn!(level, %error, "the feature level could not be raised: tried again later"),
    }
}

/// What a member says in its record of what it knows.
pub(crate) fn known_level() -> String {
    NEWEST_FEATURE_LEVEL.to_string()
}

/// Why a member that wants to join cannot: it could not read what the others have.
pub(crate) fn too_old(state: &ClusterState, joiner: &MemberRecord) -> Option<String> {
    let level = state.agreed_level()?;
    let known = known_to(joiner).unwrap_or(0);
    (known < level.level()).then(|| {
        format!(
            "the cluster has been raised to feature level {}, and this controller knows levels up to {known}: run berth {} or newer",
            level.level(),
            level.needs_version()
        )
    })
}

fn all_know(members: &Membership, own: u64, level: u32) -> bool {
    let mut others = members.members.iter().filter(|member| member.record.id != own);
    others.all(|member| known_to(&member.record).is_some_and(|known| known >= level))
}

fn known_to(member: &MemberRecord) -> Option<u32> {
    member.details.get(FEATURE_LEVEL)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use berth_raft::{MemberInfo, MemberRole};

    use super::*;

    fn member(id: u64, level: Option<&str>) -> MemberInfo {
        let details = level.map(|level| (FEATURE_LEVEL.to_owned(), level.to_owned()));
        MemberInfo {
            record: MemberRecord {
                id,
                name: String::new(),
                details: BTreeMap::from_iter(details),
            },
            role: MemberRole::Voter,
        }
    }

    #[test]
    fn member_that_could_not_read_what_the_others_have_is_not_let_in() {
        let state = ClusterState::at_newest_level();
        assert_eq!(too_old(&state, &member(2, Some(&known_level())).record), None);
        let refused = too_old(&state, &member(2, Some("1")).record).expect("a refusal");
        assert!(refused.contains(env!("CARGO_PKG_VERSION")), "{refused}");
        assert!(too_old(&state, &member(2, None).record).is_some());
        assert_eq!(too_old(&ClusterState::default(), &member(2, None).record), None);
    }

    #[test]
    fn level_is_raised_only_once_every_other_member_knows_it() {
        let know = |others: &[Option<&str>]| {
            let others = others.iter().zip(2..).map(|(level, id)| member(id, *level));
            let members = std::iter::once(member(1, None)).chain(others).collect();
            all_know(&Membership { index: 1, members }, 1, 2)
        };
        assert!(know(&[]));
        assert!(know(&[Some("2"), Some("3")]));
        assert!(!know(&[Some("2"), Some("1")]));
        assert!(!know(&[Some("2"), None]));
        assert!(!know(&[Some("two")]));
    }
}
