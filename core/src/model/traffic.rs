//! Which share of a service's traffic each of its revisions is to get.
//!
//! This is all that a service deployment says to whatever brings traffic to a service's tasks: it follows
//! [`ServiceDeployment::traffic`](super::ServiceDeployment) of the newest service deployment, and divides the traffic of one revision evenly among
//! those of its tasks that serve. How traffic is brought, and what of it is test traffic, is not known here.

use serde::{Deserialize, Serialize};

use super::DeploymentId;

/// A share of traffic, in tenths of a percent: from 0 to 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct TrafficShare(u16);

impl TrafficShare {
    /// None of it.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000);

    /// So many tenths of a percent; `None` where that is more than all.
    #[must_use]
    pub const fn of_tenths(tenths: u16) -> Option<Self> {
        if tenths > Self::ALL.0 { None } else { Some(Self(tenths)) }
    }

    /// It in tenths of a percent.
    #[must_use]
    pub fn tenths(self) -> u16 {
        self.0
    }

    /// What it leaves to others.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(Self::ALL.0 - self.0)
    }

    /// It and `more`, at most all.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self((self.0 + more.0).min(Self::ALL.0))
    }
}

/// More than all traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} tenths of a percent are more than all traffic")]
pub struct MoreThanAll(u16);

impl TryFrom<u16> for TrafficShare {
    type Error = MoreThanAll;

    fn try_from(tenths: u16) -> Result<Self, MoreThanAll> {
        Self::of_tenths(tenths).ok_or(MoreThanAll(tenths))
    }
}

impl From<TrafficShare> for u16 {
    fn from(share: TrafficShare) -> Self {
        share.0
    }
}

/// What one revision is to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionTraffic {
    /// The revision, by the deployment that its tasks are of.
    pub revision: DeploymentId,
    /// Of what users send.
    pub production: TrafficShare,
    /// Of what testers send.
    pub test: TrafficShare,
}

/// What each revision of a service is to get. A revision that is not named gets nothing, unless none is: then traffic is not divided by revisions,
/// and goes to all tasks of the service alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Traffic(Vec<RevisionTraffic>);

impl Traffic {
    /// All production traffic to one revision, and no test traffic.
    #[must_use]
    pub fn all_to(revision: DeploymentId) -> Self {
        Self(vec![RevisionTraffic {
            revision,
            production: TrafficShare::ALL,
            test: TrafficShare::NONE,
        }])
    }

    /// All traffic to one revision, that of testers too.
    #[must_use]
    pub fn wholly_to(revision: DeploymentId) -> Self {
        Self(vec![RevisionTraffic {
            revision,
            production: TrafficShare::ALL,
            test: TrafficShare::ALL,
        }])
    }

    /// `share` of production traffic to the revision `to`, the rest to `from`, and all test traffic to `to`.
    #[must_use]
    pub fn between(from: &DeploymentId, to: &DeploymentId, share: TrafficShare) -> Self {
        let part = |revision: &DeploymentId, production, test| RevisionTraffic {
            revision: revision.clone(),
            production,
            test,
        };
        Self(vec![
            part(from, share.rest(), TrafficShare::NONE),
            part(to, share, TrafficShare::ALL),
        ])
    }

    /// Whether it is divided by revisions.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        !self.0.is_empty()
    }

    /// What a revision gets; nothing where traffic is not divided.
    #[must_use]
    pub fn of(&self, revision: &DeploymentId) -> Option<(TrafficShare, TrafficShare)> {
        if !self.is_divided() {
            return None;
        }
        let named = self.0.iter().find(|part| part.revision == *revision);
        Some(named.map_or_else(Default::default, |part| (part.production, part.test)))
    }

    /// Whether a revision gets production traffic, for all that is known.
    #[must_use]
    pub fn may_reach(&self, revision: &DeploymentId) -> bool {
        self.of(revision)
            .is_none_or(|(production, _)| production > TrafficShare::NONE)
    }

    /// The revisions that are named.
    pub fn revisions(&self) -> impl Iterator<Item = &RevisionTraffic> {
        self.0.iter()
    }

    /// It without test traffic; not divided where any of production traffic goes to revisions that `is_there` does not know.
    #[must_use]
    pub fn among(&self, is_there: impl Fn(&DeploymentId) -> bool) -> Self {
        let getting = self.0.iter().filter(|part| part.production > TrafficShare::NONE);
        if !getting.clone().all(|part| is_there(&part.revision)) {
            return Self::default();
        }
        let untested = getting.map(|part| RevisionTraffic {
            test: TrafficShare::NONE,
            ..part.clone()
        });
        Self(untested.collect())
    }

    /// It without what gets none of it.
    #[must_use]
    pub fn without_idle(&self) -> Self {
        let gets_any = |part: &&RevisionTraffic| part.production.max(part.test) > TrafficShare::NONE;
        Self(self.0.iter().filter(gets_any).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_all_and_to_no_more() {
        let share = |tenths| TrafficShare::of_tenths(tenths).expect("a share");
        assert_eq!(share(300).rest(), share(700));
        assert_eq!(share(700).and(share(333)), TrafficShare::ALL);
        assert_eq!(TrafficShare::of_tenths(1_001), None);
        assert!(serde_json::from_str::<TrafficShare>("1001").is_err());
    }

    #[test]
    fn traffic_that_is_not_divided_may_reach_every_revision_and_otherwise_those_with_a_share() {
        let id = |number: &str| DeploymentId::of_number(number);
        assert!(Traffic::default().may_reach(&id("1")));
        let shifted = Traffic::between(&id("1"), &id("2"), TrafficShare::ALL);
        let reached = ["1", "2", "3"].map(|number| shifted.may_reach(&id(number)));
        assert_eq!(reached, [false, true, false]);
        assert_eq!(
            shifted.of(&id("2")),
            Some((TrafficShare::ALL, TrafficShare::ALL)),
            "of production and test traffic"
        );
        assert_eq!(shifted.among(|known| *known == id("1")), Traffic::default());
        assert_eq!(shifted.among(|_| true), Traffic::all_to(id("2")));
    }
}
