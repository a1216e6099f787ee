//! Back-off of a deployment whose tasks fail to start or to stay up: it lives in the replicated state, so that a
//! new leader neither forgets nor doubles it. ECS retries up to every 15 minutes and never gives up.

use crate::model::{StartBackoff, Timestamp};

/// Failures in a row that are retried at once: a single lost task is replaced without delay.
const FREE_RETRIES: u32 = 2;
/// First delay.
const FIRST_DELAY_MS: i64 = 1_000;
/// Longest delay (ECS: 15 minutes).
const MAX_DELAY_MS: i64 = 15 * 60 * 1_000;
/// A failure this long after the one before starts a new count.
const FORGET_AFTER_MS: i64 = 2 * MAX_DELAY_MS;
/// A task that stayed up for this long did start; its end is no failure of the deployment.
pub const STAYED_UP_MS: i64 = 10_000;

/// How long no task starts after so many failures in a row.
#[must_use]
pub fn delay_ms(consecutive_failures: u32) -> i64 {
    let Some(doublings) = consecutive_failures.checked_sub(FREE_RETRIES + 1) else {
        return 0;
    };
    (FIRST_DELAY_MS << doublings.min(20)).min(MAX_DELAY_MS)
}

/// Whether failures have followed each other so that there are waits between them, and none has been absent for long.
#[must_use]
pub fn keeps_failing(backoff: StartBackoff, now: Timestamp) -> bool {
    backoff.consecutive_failures > FREE_RETRIES && now.ms_since(backoff.last_failure_at) <= FORGET_AFTER_MS
}

/// The back-off after one more failure at `at`.
pub(super) fn after_failure(before: StartBackoff, at: Timestamp) -> StartBackoff {
    if at < before.not_before {
        // Of the same wave: tasks that were started together fail together, and count as one try.
        return StartBackoff {
            last_failure_at: at,
            ..before
        };
    }
    let fresh = at.ms_since(before.last_failure_at) > FORGET_AFTER_MS;
    let consecutive_failures = if fresh {
        1
    } else {
        before.consecutive_failures.saturating_add(1)
    };
    StartBackoff {
        consecutive_failures,
        last_failure_at: at,
        not_before: at.plus_ms(delay_ms(consecutive_failures)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_after_many_failures_stays_at_fifteen_minutes() {
        let mut backoff = StartBackoff::default();
        let mut delays = vec![];
        let mut at = Timestamp(1_000_000_000_000);
        for _ in 0..40 {
            at = at.max(backoff.not_before);
            backoff = after_failure(backoff, at);
            delays.push(backoff.not_before.ms_since(at));
        }
        assert_eq!(&delays[..5], &[0, 0, 1_000, 2_000, 4_000]);
        assert_eq!(delays.last(), Some(&MAX_DELAY_MS));
    }

    #[test]
    fn backoff_after_a_hundred_failures_at_once_is_that_of_one_try() {
        let at = Timestamp(1_000_000_000_000);
        let backoff = (0..100).fold(StartBackoff::default(), |backoff, _| after_failure(backoff, at));
        assert_eq!(backoff.not_before, at.plus_ms(FIRST_DELAY_MS));
    }

    #[test]
    fn backoff_after_a_long_quiet_time_starts_anew() {
        let mut backoff = StartBackoff::default();
        for second in 0..10 {
            backoff = after_failure(backoff, Timestamp(1_000_000_000_000 + second * 1_000));
        }
        let later = Timestamp(1_000_000_000_000 + FORGET_AFTER_MS + 10_001);
        assert_eq!(after_failure(backoff, later).consecutive_failures, 1);
    }
}
