//! Which controller is gone to next, and after what pause. Pure but for the jitter of its pauses.
//!
//! Owns that a leader which is pointed out is gone to at once, that a round of all controllers is made quickly and the next rounds more and
//! more slowly, and that two controllers which point at each other are not followed for ever.

use std::time::Duration;

use super::backoff::Backoff;

/// Times in a row that an agent goes where it is pointed without a pause: a leader that has just changed is pointed out wrongly once or twice.
const MAX_HINTS: u32 = 3;

/// How long a controller may take to accept a connection while others have not been tried, and once they have.
const CONNECT_WITHIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// The way of an agent from controller to controller.
#[derive(Debug)]
pub(super) struct Route {
    backoff: Backoff,
    /// Controllers tried since the last session.
    tried: usize,
    hints: u32,
    hint: Option<String>,
    current: String,
}

impl Route {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(),
            tried: 0,
            hints: 0,
            hint: None,
            current: String::new(),
        }
    }

    /// The controller to go to now: the one that was pointed out, else the one after the last in `all`, which is not empty.
    pub(super) fn next(&mut self, all: &[String]) -> String {
        let after = |current: &String| {
            let place = all.iter().position(|one| one == current).map_or(0, |place| place + 1);
            all.get(place % all.len().max(1)).cloned().unwrap_or_default()
        };
        self.tried += 1;
        self.current = self.hint.take().unwrap_or_else(|| after(&self.current));
        self.current.clone()
    }

    /// How long the controller may take to accept a connection.
    pub(super) fn connect_within(&self, all: &[String]) -> Duration {
        if self.tried <= all.len() && all.len() > 1 {
            CONNECT_WITHIN.0
        } else {
            CONNECT_WITHIN.1
        }
    }

    /// There was a session: the way begins anew, where it was held.
    pub(super) fn had_session(&mut self) {
        (self.backoff, self.tried, self.hints) = (Backoff::new(), 0, 0);
    }

    /// The pause before the next controller is gone to. `hint` is where the leader is said to be; `at_least` is what the controller asks for.
    pub(super) fn pause(&mut self, all: &[String], hint: Option<String>, at_least: Duration) -> Duration {
        let points_on = hint.is_some() && hint.as_deref() != Some(&self.current);
        if points_on {
            self.hint = hint;
            self.hints += 1;
            if self.hints <= MAX_HINTS {
                return Duration::ZERO;
            }
            self.hints = 0;
        }
        if self.tried >= all.len() || points_on {
            self.tried = 0;
            return self.backoff.next_pause().max(at_least);
        }
        Backoff::new().next_pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn controllers_are_tried_in_turn_and_each_round_waits_longer() {
        let (mut route, all) = (Route::new(), all());
        let mut tried = vec![];
        let mut longest = vec![];
        for _ in 0..12 {
            tried.push(route.next(&all));
            longest.push(route.pause(&all, None, Duration::ZERO));
        }
        assert_eq!(tried.concat(), "abcabcabcabc");
        for pauses in longest.chunks(3) {
            assert!(pauses[0] <= Duration::from_millis(200) && pauses[1] <= Duration::from_millis(200));
        }
        assert!(longest[11] >= Duration::from_millis(800), "{longest:?}");
    }

    #[test]
    fn leader_pointed_out_is_gone_to_at_once_but_two_that_point_at_each_other_are_not_followed_for_ever() {
        let (mut route, all) = (Route::new(), all());
        assert_eq!(route.next(&all), "a");
        assert_eq!(
            route.pause(&all, Some("c".to_owned()), Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!(route.next(&all), "c");
        let mut without_pause = 1;
        for _ in 0..20 {
            let other = if route.current == "c" { "a" } else { "c" };
            without_pause += u32::from(route.pause(&all, Some(other.to_owned()), Duration::ZERO).is_zero());
            assert_eq!(route.next(&all), other);
        }
        assert!(without_pause <= 16, "{without_pause} of 21");
    }

    #[test]
    fn after_a_session_the_next_controller_is_tried_soon() {
        let (mut route, all) = (Route::new(), all());
        for _ in 0..10 {
            route.next(&all);
            route.pause(&all, None, Duration::ZERO);
        }
        assert_eq!(route.next(&all), "b");
        route.had_session();
        assert!(route.pause(&all, None, Duration::ZERO) <= Duration::from_millis(200));
        assert_eq!(route.next(&all), "c");
    }

    #[test]
    fn connecting_is_given_up_soon_while_others_are_left() {
        let (mut route, all) = (Route::new(), all());
        route.next(&all);
        assert_eq!(route.connect_within(&all), CONNECT_WITHIN.0);
        assert_eq!(route.connect_within(&all[..1]), CONNECT_WITHIN.1);
        for _ in 0..3 {
            route.next(&all);
        }
        assert_eq!(route.connect_within(&all), CONNECT_WITHIN.1);
    }
}
