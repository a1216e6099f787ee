//! The stages that a service deployment goes through, and the hooks at which it pauses until somebody lets it go on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A stage of a service deployment, in the order in which it goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LifecycleStage {
    /// Of several revisions with tasks, one is left. Only where there are several when it begins.
    ReconcileService,
    /// No task of the new revision is there yet.
    PreScaleUp,
    /// The new revision gets its tasks.
    ScaleUp,
    /// It has them.
    PostScaleUp,
    /// It gets the test traffic.
    TestTrafficShift,
    /// It has it.
    PostTestTrafficShift,
    /// It is about to get production traffic, or more of it.
    PreProductionTrafficShift,
    /// It gets that.
    ProductionTrafficShift,
    /// It has all of it.
    PostProductionTrafficShift,
    /// The old revision stays, in case that it is needed again.
    BakeTime,
    /// The tasks of other revisions stop.
    CleanUp,
}

impl LifecycleStage {
    /// ECS's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    /// Whether a deployment can pause in it (ECS's rule: those that a rollback goes through as well, and those that only last, cannot).
    #[must_use]
    pub fn can_pause(self) -> bool {
        !matches!(
            self,
            Self::ScaleUp | Self::TestTrafficShift | Self::ProductionTrafficShift | Self::BakeTime | Self::CleanUp
        )
    }
}

impl fmt::Display for LifecycleStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a deployment that has paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookAction {
    /// It goes on.
    Continue,
    /// The service returns to the last revision that it has reached.
    Rollback,
}

/// A hook that pauses deployments: ECS's `PAUSE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleHook {
    /// Where, each once.
    pub stages: Vec<LifecycleStage>,
    /// For how long at most, in minutes.
    pub timeout_minutes: u32,
    /// What becomes of the deployment then.
    pub at_timeout: HookAction,
}

impl LifecycleHook {
    /// For how long one pauses that does not say (ECS: a day).
    pub const DEFAULT_TIMEOUT_MINUTES: u32 = 1_440;
}

/// What became of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookStatus {
    /// The deployment waits for somebody.
    AwaitingAction,
    /// It may go on.
    Succeeded,
    /// It is to be rolled back.
    Failed,
    /// Nobody said anything in time.
    TimedOut,
}

/// A hook of the stage that a deployment is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookRun {
    /// Its id, by which it is told to go on.
    pub id: String,
    /// What became of it.
    pub status: HookStatus,
    /// When it no longer waits.
    pub expires_at: Timestamp,
    /// What becomes of the deployment then.
    pub at_timeout: HookAction,
}

impl HookRun {
    /// Whether it waits for somebody at `now`.
    #[must_use]
    pub fn awaits(&self, now: Timestamp) -> bool {
        self.status == HookStatus::AwaitingAction && now < self.expires_at
    }

    /// Whether its time is over, and nobody has written that down.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.status == HookStatus::AwaitingAction && now >= self.expires_at
    }
}

/// Where a service deployment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// The stage.
    pub stage: LifecycleStage,
    /// Since when.
    pub since: Timestamp,
    /// Not before this moment does it go on: the end of a bake time.
    pub waits_until: Option<Timestamp>,
    /// The hooks of the stage. Those of a rollback are the ones before it.
    pub hooks: Vec<HookRun>,
    /// How often this has changed, so that what was found before a change is not taken for what was found after it.
    pub turn: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployment_pauses_where_ecs_lets_it() {
        use LifecycleStage as S;
        let can_pause = [
            S::ReconcileService,
            S::PreScaleUp,
            S::PostScaleUp,
            S::PostTestTrafficShift,
            S::PreProductionTrafficShift,
            S::PostProductionTrafficShift,
        ];
        assert!(can_pause.into_iter().all(LifecycleStage::can_pause));
        let cannot = [
            S::ScaleUp,
            S::TestTrafficShift,
            S::ProductionTrafficShift,
            S::BakeTime,
            S::CleanUp,
        ];
        assert!(!cannot.into_iter().any(LifecycleStage::can_pause));
    }
}
