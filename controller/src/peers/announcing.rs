//! A member says who and where it is, until the group knows. Shell.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_proto::v1::{self, Announcement};
use berth_raft::{MemberRecord, Membership, MembershipChange};
use tonic::Code;

use super::client::{says_removed, status_text};
use super::links::PeerNetwork;
use super::{ADDRESS, FEATURE_LEVEL};
use crate::features;
use crate::replica::StateGroup;

/// Wait between two rounds in which no member took the announcement: some elections long.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long one member may take: longer than a change of the membership waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The record of a member that is reached at an address.
#[must_use]
pub fn record_of(id: u64, name: &str, address: &str) -> MemberRecord {
    MemberRecord {
        id,
        name: name.to_owned(),
        details: BTreeMap::from([
            (ADDRESS.to_owned(), address.to_owned()),
            (FEATURE_LEVEL.to_owned(), features::known_level()),
        ]),
    }
}

/// Announces a member.
#[derive(Debug)]
pub struct Announcer {
    /// The ways to the others.
    pub network: PeerNetwork,
    /// The group as this member knows it.
    pub group: StateGroup,
    /// Who it is.
    pub record: MemberRecord,
    /// Where members were when it last heard of them.
    pub contacts: Vec<String>,
}

impl Announcer {
    /// Announces the member until one of the others has taken it in or refuses it for good; returns what it said then. Does nothing
    /// if the group knows it already as it is.
    ///
    /// # Errors
    /// The reason why the member is not let in.
    pub async fn run(self) -> Result<(), String> {
        let mut complained = false;
        loop {
            if self.is_known() {
                return Ok(());
            }
            let mut failures = vec![];
            if self.is_alone() {
                let changing = self
                    .group
                    .change_membership(MembershipChange::Update(self.record.clone()));
                match changing.await {
                    Ok(_) => return Ok(()),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            for address in self.addresses() {
                match tokio::time::timeout(ANSWER_WITHIN, self.announce_to(&address)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(Failure::ForGood(why))) => return Err(why),
                    Ok(Err(Failure::ForNow(why))) => failures.push(format!("{address}: {why}")),
                    Err(_) => failures.push(format!("{address}: no answer")),
                }
            }
            if !complained {
                complained = true;
                let failures = failures.join("; ");
                tracing::warn!(
                    failures,
                    "no member has let this one into the group yet: it goes on asking"
                );
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    fn is_known(&self) -> bool {
        let members = self.group.members();
        members
            .get(self.record.id)
            .is_some_and(|known| known.record == self.record)
    }

    /// Whether the group has no member but this one.
    fn is_alone(&self) -> bool {
        let members = self.group.members();
        members.members.len() == 1 && members.get(self.record.id).is_some()
    }

    fn addresses(&self) -> Vec<String> {
        let mut addresses = addresses_of_others(&self.group.members(), self.record.id);
        let more = self.contacts.iter().filter(|contact| !addresses.contains(contact));
        let more: Vec<String> = more.cloned().collect();
        addresses.extend(more);
        addresses
    }

    async fn announce_to(&self, address: &str) -> Result<(), Failure> {
        let not_yet = || Failure::ForNow("this member has no certificate yet".to_owned());
        let tls = self.network.shown().ok_or_else(not_yet)?;
        let connected = tls.connect(address, None).await;
        let mut client = connected.map_err(|error| match error.to_string() {
            why if says_removed(&why) => Failure::ForGood(why),
            why => Failure::ForNow(why),
        })?;
        let announcement = Announcement {
            member: Some(v1::MemberRecord::from(self.record.clone())),
        };
        match client.announce(announcement).await {
            Ok(_) => Ok(()),
            Err(status) => {
                let why = status_text(&status);
                if says_removed(&why) {
                    return Err(Failure::ForGood(why));
                }
                Err(match status.code() {
                    Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition => Failure::ForGood(why),
                    _ => Failure::ForNow(why),
                })
            }
        }
    }
}

enum Failure {
    ForNow(String),
    ForGood(String),
}

fn addresses_of_others(members: &Membership, own: u64) -> Vec<String> {
    let others = members.members.iter().filter(|member| member.record.id != own);
    others
        .filter_map(|member| member.record.details.get(ADDRESS).cloned())
        .collect()
}
