//! The feature level: which kinds of commands and snapshot records the group has agreed to use.
//!
//! A command that an older member could not read must not reach its log. So every such command belongs to a level; the leader
//! raises the level once every member knows it, and proposes the command only from then on. A member that meets a level above its own
//! refuses to read on, and says which version it takes: `docs/decisions/2026-11-25-how-formats-evolve.md` has the rules.

use serde::{Deserialize, Serialize};

use super::{ClusterState, Event, Rejection, service_deployments};

/// The newest level that this program knows.
pub const NEWEST_FEATURE_LEVEL: u32 = 2;

/// What members have to agree on before any of them uses it. Without it they do as those did that do not know it: what is written has none
/// of its fields, and commands have the effect that they had. What is not named here is older than levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// What the cluster decides counts when tasks run and end by the leader's clock, and the times of hosts are held to it.
    LeadersClock,
    /// The circuit breaker's failures count from zero again once a task is healthy, unless `resetOnHealthyTask` says otherwise.
    ResetOnHealthyTask,
    /// Members of a task definition that ask for nothing are kept, to be shown.
    MembersThatAskForNothing,
    /// A service that is being deleted is deleted again without an error.
    RepeatedDeletion,
    /// Deleted clusters are forgotten after a while.
    ForgottenClusters,
    /// Large commands and snapshots are packed.
    PackedRecords,
    /// What several hosts report at the same time is one command.
    ReportsOfSeveralHosts,
    /// Tasks keep how their hosts were chosen.
    PlacementRecords,
    /// Services and tasks have placement strategies that ECS does not have.
    PlacementExtensions,
    /// Tasks are moved to other hosts.
    Rebalancing,
    /// Hosts belong to capacity providers, and services and tasks are divided among them.
    CapacityProviders,
    /// Tasks of services are protected from their scheduler for a while.
    TaskProtection,
    /// Tags that ECS sets are not counted among those that a resource can carry.
    UncountedManagedTags,
    /// Clusters say how long stopped tasks are remembered.
    StoppedTasksKept,
    /// Services remember what was deployed, and return to it.
    ServiceDeployments,
    /// What services run is decided from outside, by task sets.
    TaskSets,
    /// Containers have health checks, and services replace tasks that are unhealthy.
    ContainerHealth,
    /// The version of a host counts the tasks that are placed on it or end, and its commands say when its status was set.
    HostVersions,
    /// Services are brought back to evenness over availability zones.
    ZoneRebalancing,
    /// Deployments go through stages: they shift traffic, bake and pause.
    DeploymentStrategies,
    /// Tasks have an address of their own, and go to hosts that can give them one.
    TaskNetworkInterfaces,
    /// Hosts have agents that speak ECS's own API.
    EcsAgents,
    /// The circuit breaker takes other numbers of failures, and rolling updates are successful with fewer tasks.
    DeploymentCriteria,
    /// There are alarms, by which deployments fail.
    Alarms,
    /// Tasks are stopped for others of higher priority, and remember for which.
    Preemption,
    /// Capacity providers have daemons: a task of each on every host.
    ManagedDaemons,
    /// Tasks go by the capacity providers `FARGATE` and `FARGATE_SPOT`, services name platform versions, and task definitions their platform.
    FargatePlatform,
    /// Hosts are put to sleep and woken as their capacity providers need them.
    ManagedScaling,
    /// Tasks outside services wait for a host of a capacity provider whose hosts are woken.
    ProvisioningTasks,
}

impl Feature {
    /// The level that it belongs to.
    #[must_use]
    pub fn level(self) -> u32 {
        match self {
            Self::LeadersClock
            | Self::ResetOnHealthyTask
            | Self::MembersThatAskForNothing
            | Self::RepeatedDeletion
            | Self::ForgottenClusters
            | Self::PackedRecords
            | Self::ReportsOfSeveralHosts
            | Self::PlacementRecords
            | Self::PlacementExtensions
            | Self::Rebalancing
            | Self::CapacityProviders
            | Self::TaskProtection
            | Self::UncountedManagedTags
            | Self::StoppedTasksKept
            | Self::ServiceDeployments
            | Self::TaskSets
            | Self::ContainerHealth
            | Self::HostVersions
            | Self::ZoneRebalancing
            | Self::DeploymentStrategies
            | Self::TaskNetworkInterfaces
            | Self::EcsAgents
            | Self::DeploymentCriteria
            | Self::Alarms
            | Self::Preemption
            | Self::ManagedDaemons
            | Self::FargatePlatform
            | Self::ManagedScaling
            | Self::ProvisioningTasks => 2,
        }
    }
}

/// A level, and the version of berth from which on it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct FeatureLevel {
    level: u32,
    needs_version: String,
}

/// A level of which nobody knows yet whether this program can do it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    level: u32,
    needs_version: String,
}

/// A level that is above all that this program knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster has been raised to feature level {level}, and this program knows levels up to {NEWEST_FEATURE_LEVEL}: run berth \
     {needs_version} or newer on this data"
)]
pub struct FeatureLevelTooHigh {
    level: u32,
    needs_version: String,
}

impl FeatureLevel {
    /// The newest level that this program, of that version, knows.
    #[must_use]
    pub fn newest(version: &str) -> Self {
        Self {
            level: NEWEST_FEATURE_LEVEL,
            needs_version: version.to_owned(),
        }
    }

    /// A level above all that this program knows, as a newer one would write it: to try how that is refused.
    #[must_use]
    pub fn from_the_future(version: &str) -> Self {
        Self {
            level: NEWEST_FEATURE_LEVEL + 1,
            needs_version: version.to_owned(),
        }
    }

    /// The number; 1 is the first.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// The version of berth from which on it is known.
    #[must_use]
    pub fn needs_version(&self) -> &str {
        &self.needs_version
    }
}

impl TryFrom<Unchecked> for FeatureLevel {
    type Error = FeatureLevelTooHigh;

    fn try_from(read: Unchecked) -> Result<Self, FeatureLevelTooHigh> {
        let Unchecked { level, needs_version } = read;
        if level > NEWEST_FEATURE_LEVEL {
            return Err(FeatureLevelTooHigh { level, needs_version });
        }
        Ok(Self { level, needs_version })
    }
}

impl ClusterState {
    /// An empty state whose group has agreed on the newest level, as the state of a group that this program founds is soon.
    #[must_use]
    pub fn at_newest_level() -> Self {
        Self {
            feature_level: Some(FeatureLevel::newest(env!("CARGO_PKG_VERSION"))),
            ..Self::default()
        }
    }

    /// Whether the group has agreed to use a feature. Once it has, it has for ever.
    #[must_use]
    pub fn uses(&self, feature: Feature) -> bool {
        self.feature_level() >= feature.level()
    }

    /// The level that the group has agreed on, with the version that it takes; nothing until it has on any.
    #[must_use]
    pub fn agreed_level(&self) -> Option<&FeatureLevel> {
        self.feature_level.as_ref()
    }

    /// The level that the group has agreed on; 0 until it has on any.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.feature_level.as_ref().map_or(0, FeatureLevel::level)
    }
}

/// Raises the level; it never goes down.
pub(super) fn raise(state: &mut ClusterState, to: &FeatureLevel) -> Result<Vec<Event>, Rejection> {
    if to.level <= state.feature_level() {
        let now = state.feature_level();
        return Err(Rejection::Stale(format!("the feature level is {now} already")));
    }
    state.feature_level = Some(to.clone());
    if state.uses(Feature::ServiceDeployments) {
        service_deployments::derive(state);
    }
    Ok(vec![Event::FeatureLevelRaised(to.level)])
}

#[cfg(test)]
mod tests {
    use super::super::{Command, SnapshotRecord, apply};
    use super::*;
    use crate::model::LogIndex;

    fn raised() -> ClusterState {
        let mut state = ClusterState::default();
        let command = Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"));
        let events = apply(&mut state, LogIndex(1), &command).expect("raised");
        assert_eq!(events, [Event::FeatureLevelRaised(NEWEST_FEATURE_LEVEL)]);
        state
    }

    #[test]
    fn level_raised_survives_a_snapshot_and_a_reset() {
        let mut state = raised();
        let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
        assert_eq!(restored, state);
        apply(&mut state, LogIndex(2), &Command::Reset).expect("reset");
        assert_eq!(state.feature_level(), NEWEST_FEATURE_LEVEL);
    }

    #[test]
    fn level_raised_again_changes_nothing() {
        let mut state = raised();
        let command = Command::RaiseFeatureLevel(FeatureLevel::newest("0.2.0"));
        assert!(matches!(
            apply(&mut state, LogIndex(2), &command),
            Err(Rejection::Stale(_))
        ));
    }

    #[test]
    fn level_above_the_newest_in_log_or_snapshot_is_refused_naming_the_version() {
        let future = FeatureLevel::from_the_future("9.1.0");
        let command = serde_json::to_string(&Command::RaiseFeatureLevel(future.clone())).expect("JSON");
        let record = serde_json::to_string(&SnapshotRecord::FeatureLevel(future)).expect("JSON");
        let refusals = [
            serde_json::from_str::<Command>(&command)
                .expect_err("refused")
                .to_string(),
            serde_json::from_str::<SnapshotRecord>(&record)
                .expect_err("refused")
                .to_string(),
        ];
        for refusal in refusals {
            let level = format!("feature level {}", NEWEST_FEATURE_LEVEL + 1);
            assert!(refusal.contains(&level), "{refusal}");
            assert!(refusal.contains("run berth 9.1.0 or newer"), "{refusal}");
        }
    }
}
