//! Whether tasks of a service can be moved to other hosts, and what is said of those that are. Pure.

use std::fmt;

use crate::model::{RolloutState, SchedulingStrategy, Service, ServiceStatus, Timestamp};
use crate::state::ClusterState;

use super::limits::Limits;
use super::tally::Tally;

/// Why no task of a service is moved now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unready {
    /// It is being deleted, or was.
    Deleted,
    /// It has one task on each host.
    Daemon,
    /// Something outside the cluster decides what it runs.
    External,
    /// A deployment is under way, or the last one failed.
    Deploying,
    /// It has fewer tasks than it wants, or more, or some that are about to move from hosts that are draining.
    Incomplete,
    /// Its tasks failed to start, and the next try is later.
    HeldBack,
    /// It may have neither one more task than it wants nor one fewer.
    NoLeeway,
}

impl Unready {
    /// Whether it goes by itself.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Incomplete | Self::HeldBack)
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "the service is deleted",
            Self::Daemon => "the service is a daemon service, which has one task on each host",
            Self::External => "the service is deployed by task sets, whose tasks are not moved",
            Self::Deploying => "the service's last deployment is not completed",
            Self::Incomplete => "the service does not have the tasks that it wants",
            Self::HeldBack => "the service waits, since its tasks failed to start",
            Self::NoLeeway => {
                "by its minimumHealthyPercent and maximumPercent the service may have neither one more task nor one fewer"
            }
        })
    }
}

/// Why no task of `service` is moved now; `None` if they can be.
#[must_use]
pub fn unready(state: &ClusterState, service: &Service, now: Timestamp) -> Option<Unready> {
    if service.status != ServiceStatus::Active {
        return Some(Unready::Deleted);
    }
    if service.scheduling_strategy == SchedulingStrategy::Daemon {
        return Some(Unready::Daemon);
    }
    if service.is_external() {
        return Some(Unready::External);
    }
    let tally = Tally::of(state, service);
    let primary = service.primary();
    let completed = primary.filter(|p| p.rollout_state == RolloutState::Completed && service.deployments.len() == 1);
    let Some(primary) = completed.filter(|_| tally.outdated.is_empty()) else {
        return Some(Unready::Deploying);
    };
    let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
    let limits = Limits::of(service);
    if limits.upper <= desired && limits.lower >= desired {
        return Some(Unready::NoLeeway);
    }
    if primary.backoff.not_before > now {
        return Some(Unready::HeldBack);
    }
    let is_complete = tally.current.len() + tally.awaited == desired && tally.draining.is_empty();
    (!is_complete).then_some(Unready::Incomplete)
}
