//! When a container that has ended is started again in place: ECS's `restartPolicy` of a container definition.

use serde::{Deserialize, Serialize};

/// How long a container has to run before it is started again, where the policy says nothing (ECS: 300 s).
const DEFAULT_ATTEMPT_PERIOD_SECS: u32 = 300;

/// A container's `restartPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartPolicy {
    /// Whether it is in force at all.
    pub enabled: bool,
    /// Exit codes after which the container is not started again, as given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_exit_codes: Vec<i32>,
    /// The container is started again only after it ran for so long, in seconds; `None` means 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_period_secs: Option<u32>,
}

impl RestartPolicy {
    /// Whether a container that has run for `ran_ms` since it was last started, and has ended with `exit_code`, is
    /// started again. One of which nobody knows how it ended is not: its code may be one of those that are ignored, and
    /// whatever took its process away has hardly left the rest of it whole.
    #[must_use]
    pub fn restarts(&self, exit_code: Option<i32>, ran_ms: i64) -> bool {
        let period = self.attempt_period_secs.unwrap_or(DEFAULT_ATTEMPT_PERIOD_SECS);
        let is_wanted = exit_code.is_some_and(|code| !self.ignored_exit_codes.contains(&code));
        // The two times that this lies between are taken by different programs; a very short run may seem to have been none.
        self.enabled && is_wanted && ran_ms.max(0) >= i64::from(period) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_is_started_again_only_after_its_period_and_not_for_ignored_or_unknown_codes() {
        let policy = RestartPolicy {
            enabled: true,
            ignored_exit_codes: vec![0, 3],
            attempt_period_secs: Some(60),
        };
        assert!(policy.restarts(Some(1), 60_000));
        assert!(!policy.restarts(Some(1), 59_999));
        assert!(!policy.restarts(Some(3), 60_000) && !policy.restarts(None, 60_000));
        assert!(
            !policy.restarts(Some(1), -5),
            "a clock that was set back is no long run"
        );
        let disabled = RestartPolicy {
            enabled: false,
            ..policy.clone()
        };
        assert!(!disabled.restarts(Some(1), 60_000));
        let by_default = RestartPolicy {
            attempt_period_secs: None,
            ..policy
        };
        assert!(!by_default.restarts(Some(1), 299_999) && by_default.restarts(Some(1), 300_000));
    }
}
