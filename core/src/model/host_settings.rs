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
    /// How long a host of a pool with managed scaling is without tasks before it may be put to sleep, in milliseconds. Another time than by
    /// default with [`Feature::ManagedScaling`](crate::state::Feature) alone, as is the next.
    #[serde(
        default = "sleep_after_by_default",
        skip_serializing_if = "is_sleep_after_by_default"
    )]
    pub sleep_after_ms: u32,
    /// How long a host that is called may take to come before it is called again, in milliseconds.
    #[serde(
        default = "wake_within_by_default",
        skip_serializing_if = "is_wake_within_by_default"
    )]
    pub wake_within_ms: u32,
}

/// ECS scales in after 15 minutes in which too little was in use.
fn sleep_after_by_default() -> u32 {
    15 * MINUTE_MS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_sleep_after_by_default(after_ms: &u32) -> bool {
    *after_ms == sleep_after_by_default()
}

/// Machines of all sizes start in less.
fn wake_within_by_default() -> u32 {
    5 * MINUTE_MS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_wake_within_by_default(within_ms: &u32) -> bool {
    *within_ms == wake_within_by_default()
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
    /// New time without tasks before a host may be put to sleep, in milliseconds. With
    /// [`Feature::ManagedScaling`](crate::state::Feature) alone, as is the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep_after_ms: Option<u32>,
    /// New time in which a host that is called has to come, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_within_ms: Option<u32>,
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

const MINUTE_MS: u32 = 60 * 1_000;

const DAY_MS: u32 = 24 * 60 * MINUTE_MS;

/// Bounds of the time for which stopped tasks are remembered: once a minute they are looked at; after a week nobody asks.
const KEPT_MS: (u32, u32) = (60_000, 7 * DAY_MS);

/// Bounds of the time without tasks before a host sleeps: below, hosts would sleep between two tasks of a deployment.
const SLEEP_AFTER_MS: (u32, u32) = (5_000, LONGEST_MS);

/// Bounds of the time in which a host has to come: no machine starts in less, and none takes longer than an hour.
const WAKE_WITHIN_MS: (u32, u32) = (5_000, 60 * MINUTE_MS);

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
            sleep_after_ms: sleep_after_by_default(),
            wake_within_ms: wake_within_by_default(),
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
            sleep_after_ms: change.sleep_after_ms.unwrap_or(self.sleep_after_ms),
            wake_within_ms: change.wake_within_ms.unwrap_or(self.wake_within_ms),
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
        let (least, most) = SLEEP_AFTER_MS;
        within("sleepAfterMs", self.sleep_after_ms, least, most, "")?;
        let (least, most) = WAKE_WITHIN_MS;
        within("wakeWithinMs", self.wake_within_ms, least, most, "")?;
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
    fn settings_by_default_are_written_as_before_they_knew_of_later_ones() {
        let written = serde_json::to_string(&HostSettings::default()).expect("JSON");
        for later in ["stopped_tasks", "sleep_after", "wake_within"] {
            assert!(!written.contains(later), "{written}");
        }
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
