//! How long to wait before the next attempt. Shell: draws jitter from the operating system.

use std::time::Duration;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(200);

/// Longest pause: a host is back this soon after its controllers are.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that double up to a bound, each between half and all of its length, so that the hosts of a cluster do not
/// come back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn next_pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        let jitter = getrandom::u32().unwrap_or(u32::MAX);
        full / 2 + (full / 2).mul_f64(f64::from(jitter) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_stay_within_their_jitter() {
        let mut backoff = Backoff::new();
        let mut full = FIRST;
        for _ in 0..20 {
            let pause = backoff.next_pause();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        assert_eq!(full, LONGEST);
    }
}
