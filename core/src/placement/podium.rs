//! The best host for a request and the next best, whichever way the hosts are looked at. Pure.

use super::board::HostIndex;
use super::score::Score;

/// The host that is best for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) host: HostIndex,
    pub(super) score: Score,
    pub(super) runner_up: Option<Score>,
}

/// The two best hosts of those that entered.
#[derive(Default)]
pub(super) struct Podium {
    best: Option<(Score, HostIndex)>,
    second: Option<Score>,
}

impl Podium {
    pub(super) fn enter(&mut self, score: Score, host: HostIndex) {
        match self.best {
            Some((best, _)) if best < score => {
                self.second = Some(self.second.map_or(score, |second| second.min(score)));
            }
            best => {
                self.second = best.map(|(score, _)| score);
                self.best = Some((score, host));
            }
        }
    }

    /// Whether all that is asked for is known, and hosts whose scores begin so come behind it.
    pub(super) fn beats(&self, lead: &[u64], runner_up: bool) -> bool {
        let last = if runner_up {
            self.second
        } else {
            self.best.map(|(score, _)| score)
        };
        last.is_some_and(|last| last.ranks[..lead.len()] < *lead)
    }

    /// The best, if any entered.
    pub(super) fn best(self) -> Option<Best> {
        self.best.map(|(score, host)| Best {
            host,
            score,
            runner_up: self.second,
        })
    }
}
