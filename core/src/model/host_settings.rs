//! How a cluster keeps in touch with its hosts, and how long it remembers what ran there. Berth's own: ECS has no such settings.

use serde::{Deserialize, Serialize};

/// Intervals without a word from an agent after which it counts as disconnected.
const MISSED_INTERVALS: u32 = 3;

/// How a cluster keeps in touch with its hosts, and what happens when it loses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// How often an agent says that it is alive, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// A host is given up, and its tasks are replaced, when nothing has been heard of its agent for this long, in
    /// milliseconds.
    pub host_lost_after_ms: u32,
    /// An agent that reaches no controller for this long, in milliseconds, stops its tasks; `None` lets them run on.
    pub fence_after_ms: Option<u32>,
    /// How long stopped tasks can still be described, in milliseconds, as far as there are not too many. Another time than by default
    /// with [`Feature::StoppedTasksKept`](crate::state::Feature) alone.
    #[serde(default = "kept_by_default", skip_serializing_if = "is_kept_by_default")]
    pub stopped_tasks_kept_ms: u32,
}

fn kept_by_default() -> u32 {
    DAY_MS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_kept_by_default(kept_ms: &u32) -> bool {
    *kept_ms == kept_by_default()
}

/// Changes to the settings; `None` leaves as is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettingsChange {
    /// New interval, in milliseconds.
    pub heartbeat_interval_ms: Option<u32>,
    /// New patience, in milliseconds.
    pub host_lost_after_ms: Option<u32>,
    /// New fence, in milliseconds; 0 for none.
    pub fence_after_ms: Option<u32>,
    /// New time for which stopped tasks can be described, in milliseconds. With
    /// [`Feature::StoppedTasksKept`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_tasks_kept_ms: Option<u32>,
}

/// Settings that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be between {least} and {most} ms{why}, not {found}")]
pub struct HostSettingsError {
    /// The setting, as the API calls it.
    name: &'static str,
    least: u32,
    most: u32,
    why: &'static str,
    found: u32,
}

/// Bounds of a heartbeat's interval: below, heartbeats cost more than they tell; above, so would every loss.
const HEARTBEAT_MS: (u32, u32) = (200, 60_000);

/// A day: whoever waits longer does not want hosts to be given up, or tasks to be stopped.
const LONGEST_MS: u32 = DAY_MS;

const DAY_MS: u32 = 24 * 60 * 60 * 1_000;

/// Bounds of the time for which stopped tasks are remembered: once a minute they are looked at; after a week nobody asks.
const KEPT_MS: (u32, u32) = (60_000, 7 * DAY_MS);

/// Shortest fence: a change of leaders takes a second or two, and must not stop tasks.
const SHORTEST_FENCE_MS: u32 = 5_000;

impl Default for HostSettings {
    /// A lost host's tasks run elsewhere within 15 seconds, and an agent may restart within 10 without being missed.
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 2_000,
            host_lost_after_ms: 10_000,
            fence_after_ms: None,
            stopped_tasks_kept_ms: kept_by_default(),
        }
    }
}

impl HostSettings {
    /// The settings with a change.
    ///
    /// # Errors
    /// Where they cannot be kept together.
    pub fn with(self, change: &HostSettingsChange) -> Result<Self, HostSettingsError> {
        let fence_after_ms = match change.fence_after_ms {
            Some(0) => None,
            other => other.or(self.fence_after_ms),
        };
        let changed = Self {
            heartbeat_interval_ms: change.heartbeat_interval_ms.unwrap_or(self.heartbeat_interval_ms),
            host_lost_after_ms: change.host_lost_after_ms.unwrap_or(self.host_lost_after_ms),
            fence_after_ms,
            stopped_tasks_kept_ms: change.stopped_tasks_kept_ms.unwrap_or(self.stopped_tasks_kept_ms),
        };
        changed.check()?;
        Ok(changed)
    }

    /// How long an agent may be silent before it counts as disconnected, in milliseconds.
    #[must_use]
    pub fn silence_ms(&self) -> u32 {
        self.heartbeat_interval_ms.saturating_mul(MISSED_INTERVALS)
    }

    fn check(&self) -> Result<(), HostSettingsError> {
        let within = |name, found, least, most, why| {
            if (least..=most).contains(&found) {
                Ok(())
            } else {
                Err(HostSettingsError {
                    name,
                    least,
                    most,
                    why,
                    found,
                })
            }
        };
        let (least, most) = HEARTBEAT_MS;
        within("heartbeatIntervalMs", self.heartbeat_interval_ms, least, most, "")?;
        let silence = self.silence_ms();
        within(
            "hostLostAfterMs",
            self.host_lost_after_ms,
            silence,
            LONGEST_MS,
            " (at least three heartbeat intervals)",
        )?;
        let (least, most) = KEPT_MS;
        within("stoppedTasksKeptMs", self.stopped_tasks_kept_ms, least, most, "")?;
        match self.fence_after_ms {
            Some(fence) => within("fenceAfterMs", fence, SHORTEST_FENCE_MS, LONGEST_MS, ""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_by_default_can_be_kept() {
        HostSettings::default().check().expect("within the bounds");
    }

    #[test]
    fn settings_that_give_a_host_up_before_it_is_missed_are_refused_by_name() {
        let hasty = HostSettings {
            host_lost_after_ms: 5_999,
            ..HostSettings::default()
        };
        let error = hasty.check().expect_err("refused").to_string();
        assert!(error.starts_with("hostLostAfterMs must be between 6000 and"), "{error}");
    }

    #[test]
    fn settings_that_remember_stopped_tasks_for_too_short_or_too_long_are_refused_by_name() {
        for stopped_tasks_kept_ms in [59_999, 7 * DAY_MS + 1] {
            let change = HostSettingsChange {
                stopped_tasks_kept_ms: Some(stopped_tasks_kept_ms),
                ..HostSettingsChange::default()
            };
            let error = HostSettings::default().with(&change).expect_err("refused");
            assert!(error.to_string().starts_with("stoppedTasksKeptMs must be"), "{error}");
        }
    }

    #[test]
    fn settings_by_default_are_written_as_before_they_knew_of_stopped_tasks() {
        let written = serde_json::to_string(&HostSettings::default()).expect("JSON");
        assert!(!written.contains("stopped_tasks"), "{written}");
        assert_eq!(
            serde_json::from_str::<HostSettings>(&written).expect("reads"),
            HostSettings::default()
        );
    }

    #[test]
    fn settings_that_fence_during_a_change_of_leaders_are_refused_by_name() {
        let hasty = HostSettings {
            fence_after_ms: Some(1_000),
            ..HostSettings::default()
        };
        assert!(hasty.check().expect_err("refused").to_string().contains("fenceAfterMs"));
    }
}
