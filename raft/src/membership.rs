//! Who belongs to the group: records of its members, changes, and which changes are allowed. Pure.
//!
//! It must not know how a change is agreed on, nor what the details of a member mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use berth_proto::v1;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfState};

use super::error::MembershipError;
use super::options::{MAX_MEMBER_RECORD_BYTES, MAX_MEMBERS, MAX_PROMOTION_LAG, REMOVED_IDS_KEPT};

/// The id of a group, so that members of different groups never talk to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Who a member is, as every member knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its id, drawn at random, never used for another member.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// What others need to know of it, such as its addresses; the group does not look into it.
    pub details: BTreeMap<String, String>,
}

/// Whether a member counts in decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// It votes and counts in majorities.
    Voter,
    /// It receives the log, and does not count.
    Learner,
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who it is.
    pub record: MemberRecord,
    /// Whether it counts.
    pub role: MemberRole,
}

/// The members of the group as of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Index of the entry that made it so; 0 on a member that has not heard from its group yet.
    pub index: u64,
    /// The members, by id.
    pub members: Vec<MemberInfo>,
}

impl Membership {
    /// The member with an id.
    pub fn get(&self, id: u64) -> Option<&MemberInfo> {
        self.members.iter().find(|member| member.record.id == id)
    }
}

/// A change of the membership; one at a time is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member joins, as a learner.
    Add(MemberRecord),
    /// A learner becomes a voter.
    Promote {
        /// Its id.
        member: u64,
        /// Although those that are reachable are no majority of the voters afterwards, or it lags behind.
        forced: bool,
    },
    /// A member leaves for good.
    Remove {
        /// Its id.
        member: u64,
        /// Although those that are reachable are no majority of the voters afterwards.
        forced: bool,
    },
    /// A member has another name or other details.
    Update(MemberRecord),
}

/// What the leader knows of the members when it judges a change.
pub(crate) struct Reachability {
    /// The members heard from lately, the leader included.
    pub(crate) alive: BTreeSet<u64>,
    /// Number of entries that each member lacks; those that need a snapshot are missing.
    pub(crate) lag: BTreeMap<u64, u64>,
    /// Number of entries that there are, or were.
    pub(crate) log_entries: u64,
}

impl Reachability {
    /// Whether the leader knows how a member stands.
    pub(crate) fn has_heard(&self, member: u64) -> bool {
        self.alive.contains(&member) && self.lag.contains_key(&member)
    }
}

/// The membership with what consensus needs to know of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Configuration {
    pub(crate) index: u64,
    pub(crate) conf: ConfState,
    records: BTreeMap<u64, MemberRecord>,
    removed: Vec<u64>,
}

impl Configuration {
    /// That of a new group with its first member.
    pub(crate) fn founding(index: u64, first: MemberRecord) -> Self {
        Self {
            index,
            conf: ConfState::from((vec![first.id], vec![])),
            records: BTreeMap::from([(first.id, first)]),
            removed: Vec::new(),
        }
    }

    pub(crate) fn from_record(record: v1::Membership) -> Self {
        let records = record.members.into_iter().map(MemberRecord::from);
        Self {
            index: record.index,
            records: records.map(|record| (record.id, record)).collect(),
            removed: record.removed,
            conf: ConfState {
                voters: record.voters,
                learners: record.learners,
                voters_outgoing: record.voters_outgoing,
                learners_next: record.learners_next,
                auto_leave: record.auto_leave,
            },
        }
    }

    pub(crate) fn to_record(&self) -> v1::Membership {
        v1::Membership {
            voters: self.conf.voters.clone(),
            learners: self.conf.learners.clone(),
            voters_outgoing: self.conf.voters_outgoing.clone(),
            learners_next: self.conf.learners_next.clone(),
            auto_leave: self.conf.auto_leave,
            members: self.records.values().cloned().map(v1::MemberRecord::from).collect(),
            index: self.index,
            removed: self.removed.clone(),
        }
    }

    pub(crate) fn published(&self) -> Membership {
        let voters = self.voters();
        let member = |id: u64| MemberInfo {
            record: self.records.get(&id).cloned().unwrap_or(MemberRecord {
                id,
                ..MemberRecord::default()
            }),
            role: if voters.contains(&id) {
                MemberRole::Voter
            } else {
                MemberRole::Learner
            },
        };
        Membership {
            index: self.index,
            members: self.ids().into_iter().map(member).collect(),
        }
    }

    /// Those that vote, before or after a joint change.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.conf
            .voters
            .iter()
            .chain(&self.conf.voters_outgoing)
            .copied()
            .collect()
    }

    /// All members.
    pub(crate) fn ids(&self) -> BTreeSet<u64> {
        let learners = self.conf.learners.iter().chain(&self.conf.learners_next);
        self.voters().into_iter().chain(learners.copied()).collect()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        let conf = &self.conf;
        [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
            .iter()
            .any(|ids| ids.contains(&id))
    }

    pub(crate) fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Whether the member is the only one that counts.
    pub(crate) fn is_only_voter(&self, id: u64) -> bool {
        self.conf.voters == [id] && self.conf.voters_outgoing.is_empty()
    }

    /// What consensus is told of a change.
    pub(crate) fn step(&self, change: &MembershipChange) -> ConfChangeSingle {
        let (kind, id) = match change {
            MembershipChange::Add(record) => (ConfChangeType::AddLearnerNode, record.id),
            MembershipChange::Promote { member, .. } => (ConfChangeType::AddNode, *member),
            MembershipChange::Remove { member, .. } => (ConfChangeType::RemoveNode, *member),
            MembershipChange::Update(record) if self.voters().contains(&record.id) => {
                (ConfChangeType::AddNode, record.id)
            }
            MembershipChange::Update(record) => (ConfChangeType::AddLearnerNode, record.id),
        };
        let mut step = ConfChangeSingle::default();
        step.set_change_type(kind);
        step.node_id = id;
        step
    }

    /// Takes over a change that was agreed on, with what consensus made of it.
    pub(crate) fn changed(&mut self, change: Option<MembershipChange>, conf: ConfState, index: u64) {
        (self.conf, self.index) = (conf, index);
        match change {
            Some(MembershipChange::Add(record) | MembershipChange::Update(record)) => {
                self.records.insert(record.id, record);
            }
            Some(MembershipChange::Remove { member, .. }) => {
                self.records.remove(&member);
                self.removed.push(member);
                let excess = self.removed.len().saturating_sub(REMOVED_IDS_KEPT);
                self.removed.drain(..excess);
            }
            Some(MembershipChange::Promote { .. }) | None => {}
        }
    }

    /// Whether the leader may make the change now.
    pub(crate) fn check(&self, change: &MembershipChange, now: &Reachability) -> Result<(), MembershipError> {
        match change {
            MembershipChange::Add(record) => {
                check_size(record)?;
                if record.id == 0 || self.contains(record.id) || self.was_removed(record.id) {
                    return Err(MembershipError::IdUsed { member: record.id });
                }
                if self.ids().len() >= MAX_MEMBERS {
                    return Err(MembershipError::TooManyMembers { members: MAX_MEMBERS });
                }
                Ok(())
            }
            MembershipChange::Update(record) => {
                check_size(record)?;
                self.require(record.id)
            }
            MembershipChange::Promote { member, forced } => {
                self.require(*member)?;
                let mut voters = self.voters();
                if !voters.insert(*member) {
                    return Err(MembershipError::VotesAlready { member: *member });
                }
                let caught_up = |lag: &u64| *lag <= MAX_PROMOTION_LAG && now.alive.contains(member);
                let lag = now.lag.get(member).copied();
                if !forced && !lag.as_ref().is_some_and(caught_up) {
                    return Err(MembershipError::LagsBehind {
                        member: *member,
                        entries: lag.unwrap_or(now.log_entries),
                    });
                }
                check_quorum(&voters, now, *forced)
            }
            MembershipChange::Remove { member, forced } => {
                self.require(*member)?;
                let mut voters = self.voters();
                if !voters.remove(member) {
                    return Ok(());
                }
                if voters.is_empty() {
                    return Err(MembershipError::LastVoter { member: *member });
                }
                check_quorum(&voters, now, *forced)
            }
        }
    }

    fn require(&self, member: u64) -> Result<(), MembershipError> {
        if self.contains(member) {
            Ok(())
        } else {
            Err(MembershipError::NoSuchMember { member })
        }
    }
}

fn check_size(record: &MemberRecord) -> Result<(), MembershipError> {
    let bytes = prost::Message::encoded_len(&v1::MemberRecord::from(record.clone()));
    if bytes > MAX_MEMBER_RECORD_BYTES {
        return Err(MembershipError::RecordTooLarge {
            bytes,
            max_bytes: MAX_MEMBER_RECORD_BYTES,
        });
    }
    Ok(())
}

fn check_quorum(voters: &BTreeSet<u64>, now: &Reachability, forced: bool) -> Result<(), MembershipError> {
    let alive = voters.intersection(&now.alive).count();
    let needed = voters.len() / 2 + 1;
    if alive < needed && !forced {
        return Err(MembershipError::WouldLoseQuorum { alive, needed });
    }
    Ok(())
}

impl From<MemberRecord> for v1::MemberRecord {
    fn from(record: MemberRecord) -> Self {
        let details = record.details.into_iter();
        Self {
            id: record.id,
            name: record.name,
            details: details.map(|(key, value)| v1::MemberDetail { key, value }).collect(),
        }
    }
}

impl From<v1::MemberRecord> for MemberRecord {
    fn from(record: v1::MemberRecord) -> Self {
        let details = record.details.into_iter();
        Self {
            id: record.id,
            name: record.name,
            details: details.map(|detail| (detail.key, detail.value)).collect(),
        }
    }
}

impl From<MembershipChange> for v1::MembershipChange {
    fn from(change: MembershipChange) -> Self {
        use v1::membership_change::Change;
        let (change, forced) = match change {
            MembershipChange::Add(record) => (Change::Add(record.into()), false),
            MembershipChange::Promote { member, forced } => (Change::Promote(member), forced),
            MembershipChange::Remove { member, forced } => (Change::Remove(member), forced),
            MembershipChange::Update(record) => (Change::Update(record.into()), false),
        };
        Self {
            change: Some(change),
            forced,
        }
    }
}

/// The change that a record stands for; none if it is one that this version does not know.
pub(crate) fn change_from_record(record: v1::MembershipChange) -> Option<MembershipChange> {
    use v1::membership_change::Change;
    let forced = record.forced;
    Some(match record.change? {
        Change::Add(record) => MembershipChange::Add(record.into()),
        Change::Promote(member) => MembershipChange::Promote { member, forced },
        Change::Remove(member) => MembershipChange::Remove { member, forced },
        Change::Update(record) => MembershipChange::Update(record.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> MemberRecord {
        MemberRecord {
            id,
            name: format!("m{id}"),
            details: BTreeMap::from([("peer".to_owned(), format!("10.0.0.{id}:7000"))]),
        }
    }

    fn group(voters: &[u64], learners: &[u64]) -> Configuration {
        let mut group = Configuration {
            conf: ConfState::from((voters.to_vec(), learners.to_vec())),
            index: 9,
            ..Configuration::default()
        };
        group.records = group.ids().into_iter().map(|id| (id, record(id))).collect();
        group
    }

    fn alive(ids: &[u64]) -> Reachability {
        Reachability {
            alive: ids.iter().copied().collect(),
            lag: ids.iter().map(|id| (*id, 0)).collect(),
            log_entries: 100,
        }
    }

    fn remove(member: u64, forced: bool) -> MembershipChange {
        MembershipChange::Remove { member, forced }
    }

    #[test]
    fn removal_of_a_dead_member_is_allowed_and_that_of_one_needed_for_a_majority_is_not() {
        let group = group(&[1, 2, 3], &[]);
        assert_eq!(group.check(&remove(3, false), &alive(&[1, 2])), Ok(()));
        assert_eq!(
            group.check(&remove(2, false), &alive(&[1, 2])),
            Err(MembershipError::WouldLoseQuorum { alive: 1, needed: 2 })
        );
        assert_eq!(group.check(&remove(2, true), &alive(&[1, 2])), Ok(()));
    }

    #[test]
    fn removal_of_the_last_voter_is_refused_even_if_forced() {
        let refused = group(&[1], &[2]).check(&remove(1, true), &alive(&[1, 2]));
        assert_eq!(refused, Err(MembershipError::LastVoter { member: 1 }));
    }

    #[test]
    fn promotion_needs_a_learner_that_has_caught_up() {
        let promote = MembershipChange::Promote {
            member: 2,
            forced: false,
        };
        let mut now = alive(&[1, 2]);
        assert_eq!(group(&[1], &[2]).check(&promote, &now), Ok(()));
        assert_eq!(
            group(&[1, 2], &[]).check(&promote, &now),
            Err(MembershipError::VotesAlready { member: 2 })
        );
        assert_eq!(
            group(&[1], &[]).check(&promote, &now),
            Err(MembershipError::NoSuchMember { member: 2 })
        );
        now.lag.insert(2, MAX_PROMOTION_LAG + 1);
        let refused = group(&[1], &[2]).check(&promote, &now);
        assert!(
            matches!(refused, Err(MembershipError::LagsBehind { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn id_of_a_removed_member_is_never_used_again() {
        let mut group = group(&[1, 2], &[]);
        group.changed(Some(remove(2, false)), ConfState::from((vec![1], vec![])), 20);
        assert_eq!(
            group.check(&MembershipChange::Add(record(2)), &alive(&[1])),
            Err(MembershipError::IdUsed { member: 2 })
        );
        assert_eq!(group.published().members.len(), 1);
    }

    #[test]
    fn largest_membership_fits_into_one_value_of_the_store() {
        let mut group = Configuration::default();
        let ids: Vec<u64> = (0..MAX_MEMBERS as u64).map(|id| u64::MAX - id).collect();
        group.conf = ConfState::from((ids.clone(), vec![]));
        group.index = u64::MAX;
        for id in ids {
            let mut record = record(id);
            while check_size(&record).is_ok() {
                record.name.push('x');
            }
            record.name.pop();
            group.records.insert(id, record);
        }
        group.removed = vec![u64::MAX; REMOVED_IDS_KEPT];
        let meta = v1::SnapshotMeta {
            index: u64::MAX,
            term: u64::MAX,
            membership: Some(group.to_record()),
            chunk_count: u64::MAX,
            stream_bytes: u64::MAX,
            slot: u64::MAX,
            proposal_origins: u64::MAX,
            retained_entries: u64::MAX,
            log_start_term: u64::MAX,
            packed: true,
            content_bytes: u64::MAX,
        };
        let bytes = berth_proto::record::encode_message(berth_proto::record::RecordKind::SnapshotMeta, &meta);
        assert!(bytes.len() <= berth_storage::MAX_VALUE_BYTES, "{} bytes", bytes.len());
        assert_eq!(Configuration::from_record(group.to_record()), group);
    }

    #[test]
    fn change_converted_to_a_record_and_back_is_unchanged() {
        for change in [
            MembershipChange::Add(record(4)),
            MembershipChange::Promote {
                member: 4,
                forced: true,
            },
            remove(4, false),
            MembershipChange::Update(record(4)),
        ] {
            assert_eq!(change_from_record(change.clone().into()), Some(change));
        }
    }
}
