//! The hosts as requests of one kind see them, in order: made once, and then kept in step with the board, so that a plan with many
//! requests of a kind looks at each host once and then only at those that changed. It chooses what a pass over all hosts would. Pure.
//!
//! Hosts whose shared ranks are always equal, such as those of one zone, are one class: within it their order is that of what is
//! left of their scores, which changes for one host at a time. What a class shares is looked up when a request comes.

use std::collections::{BTreeMap, BTreeSet};

use super::board::{Board, HostIndex};
use super::filter::{self, FilterKind};
use super::need::Need;
use super::plan::Funnel;
use super::podium::{Best, Podium};
use super::score::Score;

/// See the module.
pub(super) struct Candidates {
    /// Revision of the board whose changes are taken in.
    revision: usize,
    funnel: Funnel,
    /// By host.
    standings: Vec<Standing>,
    /// The hosts of each class that may take a task, by their scores within it.
    classes: Vec<BTreeSet<(Score, HostIndex)>>,
}

struct Standing {
    class: usize,
    /// The filter that refuses the host, or its score within its class.
    verdict: Result<Score, FilterKind>,
}

impl Candidates {
    /// The hosts of the board as it is now.
    pub(super) fn new(board: &Board, need: &Need) -> Self {
        let mut numbers = BTreeMap::new();
        let mut funnel = Funnel::default();
        let (mut standings, mut fitting) = (Vec::new(), Vec::<Vec<(Score, HostIndex)>>::new());
        for host in board.indices() {
            let next = numbers.len();
            let class = *numbers.entry(need.ranking.class_of(board, host)).or_insert(next);
            if class == fitting.len() {
                fitting.push(Vec::new());
            }
            let verdict = verdict(board, need, host);
            funnel.count(verdict.err());
            if let Ok(score) = verdict {
                fitting[class].push((score, host));
            }
            standings.push(Standing { class, verdict });
        }
        Self {
            revision: board.revision(),
            funnel,
            standings,
            classes: fitting.into_iter().map(BTreeSet::from_iter).collect(),
        }
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board, need: &Need) {
        for host in board.changed_since(self.revision).iter() {
            let standing = &mut self.standings[host.position()];
            let fitting = &mut self.classes[standing.class];
            let fresh = verdict(board, need, *host);
            self.funnel.uncount(standing.verdict.err());
            self.funnel.count(fresh.err());
            if let Ok(score) = standing.verdict {
                fitting.remove(&(score, *host));
            }
            if let Ok(score) = fresh {
                fitting.insert((score, *host));
            }
            standing.verdict = fresh;
        }
        self.revision = board.revision();
    }

    /// How many hosts passed which filter, and the best with the score of the next best. The changes of the board must be taken in.
    pub(super) fn best(&self, board: &Board, need: &Need) -> (Funnel, Option<Best>) {
        let complete =
            |(score, host): &(Score, HostIndex)| (need.ranking.complete(*score, board, *host, &need.shape), *host);
        // The two best of all are among the two best of each class.
        let heads = self
            .classes
            .iter()
            .flat_map(|fitting| fitting.iter().take(2).map(complete));
        let mut podium = Podium::default();
        heads.for_each(|(score, host)| podium.enter(score, host));
        (self.funnel, podium.best())
    }
}

fn verdict(board: &Board, need: &Need, host: HostIndex) -> Result<Score, FilterKind> {
    match filter::stopped_by(board, need, host) {
        Some(filter) => Err(filter),
        None => Ok(need.ranking.score_within_class(board, host, &need.shape)),
    }
}
