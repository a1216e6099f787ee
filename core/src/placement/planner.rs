//! [`place`]: serves requests in their order, each by one pass over the hosts it may go to, and reserves what it chose.
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::{Board, ExpressionIndex, GroupIndex, HostIndex};
use super::filter;
use super::plan::{Decision, Funnel, Outcome, Placement, PlacementPlan, RefusedHost, Unplaced};
use super::problem::{PlacementProblem, TaskRequest};
use super::refusal::Refusal;
use super::score::Score;
use super::seed::Seed;
use super::strategy::Ranking;
use crate::model::{ContainerInstanceId, PlacementConstraint, Ports, Resources};

/// Decides for every request where it goes. Later requests see what earlier ones reserved.
///
/// Equal problems and seeds give equal plans; the order of the hosts does not matter.
///
/// # Panics
/// If a host is in the problem twice.
#[must_use]
pub fn place(problem: &PlacementProblem, seed: Seed) -> PlacementPlan {
    let mut planner = Planner::new(problem, seed);
    let decisions = problem.requests.iter().map(|request| Decision {
        task: request.id,
        outcome: planner.decide(request),
    });
    PlacementPlan {
        decisions: decisions.collect(),
    }
}

/// What requests of one kind need: everything but their id and the hosts they are restricted to.
pub(super) struct Need<'p> {
    pub(super) group: GroupIndex,
    pub(super) resources: Resources,
    pub(super) host_ports: &'p Ports,
    pub(super) distinct_instance: bool,
    pub(super) member_of: Vec<ExpressionIndex>,
    ranking: Ranking,
    /// The first request of the kind.
    like: &'p TaskRequest,
    /// What the last request of the kind got that found no host, and at which revision of the board.
    unplaced: Option<(u64, Arc<Unplaced>)>,
}

/// Makes decisions one after the other.
pub(super) struct Planner<'p> {
    board: Board<'p>,
    seed: Seed,
    needs: Vec<Need<'p>>,
    /// Where in `needs` to look, by group and resources.
    kinds: BTreeMap<(&'p str, u32, u32), Vec<usize>>,
}

impl<'p> Planner<'p> {
    pub(super) fn new(problem: &'p PlacementProblem, seed: Seed) -> Self {
        Self {
            board: Board::new(&problem.hosts),
            seed,
            needs: Vec::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// Chooses a host for the request and reserves it.
    pub(super) fn decide(&mut self, request: &'p TaskRequest) -> Outcome {
        let kind = self.kind_of(request);
        if let Some(unplaced) = self.known_unplaced(kind, request) {
            return Outcome::Unplaced(unplaced);
        }
        let need = &self.needs[kind];
        let (funnel, best) = self.choose(need, request);
        let Some((host, score, runner_up)) = best else {
            return Outcome::Unplaced(self.explain_unplaced(kind, request, funnel));
        };
        self.board.reserve(host, need.group, need.resources, need.host_ports);
        Outcome::Placed(Placement {
            funnel,
            score,
            runner_up,
        })
    }

    /// What the request needs, and the board to hold it against.
    pub(super) fn need_of(&mut self, request: &'p TaskRequest) -> (&Need<'p>, &Board<'p>) {
        let kind = self.kind_of(request);
        (&self.needs[kind], &self.board)
    }

    /// The hosts that the request may go to at all.
    pub(super) fn considered(&self, request: &TaskRequest) -> Vec<HostIndex> {
        match &request.only_hosts {
            None => self.board.indices().collect(),
            Some(ids) => ids.iter().filter_map(|id| self.board.index_of(*id)).collect(),
        }
    }

    fn kind_of(&mut self, request: &'p TaskRequest) -> usize {
        let key = (
            request.group.as_str(),
            request.resources.cpu.0,
            request.resources.memory.0,
        );
        let alike = self.kinds.entry(key).or_default();
        if let Some(kind) = alike.iter().find(|kind| is_like(self.needs[**kind].like, request)) {
            return *kind;
        }
        let kind = self.needs.len();
        alike.push(kind);
        let group = self.board.watch_group(&request.group);
        let expressions = request.constraints.iter().filter_map(|constraint| match constraint {
            PlacementConstraint::MemberOf { expression } => Some(expression.as_str()),
            PlacementConstraint::DistinctInstance => None,
        });
        self.needs.push(Need {
            group,
            resources: request.resources,
            host_ports: &request.host_ports,
            distinct_instance: request.constraints.contains(&PlacementConstraint::DistinctInstance),
            member_of: expressions.map(|text| self.board.watch_expression(text)).collect(),
            ranking: Ranking::new(&request.strategies, group, self.seed, &mut self.board),
            like: request,
            unplaced: None,
        });
        kind
    }

    /// One pass over the hosts: how many passed which filter, and the best with the score of the next best.
    fn choose(&self, need: &Need<'p>, request: &TaskRequest) -> (Funnel, Option<(HostIndex, Score, Option<Score>)>) {
        let mut funnel = Funnel::default();
        let mut best: Option<(HostIndex, Score, Option<Score>)> = None;
        let mut look_at = |host: HostIndex| {
            let stopped_by = filter::stopped_by(&self.board, need, host);
            funnel.count(stopped_by);
            if stopped_by.is_some() {
                return;
            }
            let score = need.score(&self.board, host, request);
            match &mut best {
                Some((_, leader, runner_up)) if *leader < score => {
                    *runner_up = Some(runner_up.map_or(score, |second| second.min(score)));
                }
                _ => best = Some((host, score, best.map(|(_, leader, _)| leader))),
            }
        };
        match &request.only_hosts {
            None => self.board.indices().for_each(&mut look_at),
            Some(_) => self.considered(request).into_iter().for_each(&mut look_at),
        }
        (funnel, best)
    }

    /// What a request of the same kind got before, if this one must get the same: reservations only take away, so a kind
    /// that found no host finds none later in the plan, unless its constraints ask for the company of other tasks.
    fn known_unplaced(&self, kind: usize, request: &TaskRequest) -> Option<Arc<Unplaced>> {
        let need = &self.needs[kind];
        let (revision, unplaced) = need.unplaced.as_ref()?;
        let unchanged = *revision == self.board.revision();
        let fixed = || !need.member_of.iter().any(|e| self.board.depends_on_tasks(*e));
        (request.only_hosts.is_none() && (unchanged || fixed())).then(|| Arc::clone(unplaced))
    }

    fn explain_unplaced(&mut self, kind: usize, request: &TaskRequest, funnel: Funnel) -> Arc<Unplaced> {
        let need = &self.needs[kind];
        let hosts = self.considered(request).into_iter().map(|host| RefusedHost {
            host: self.board.host(host).id,
            name: self.board.host(host).name.clone(),
            refusals: filter::refusals(&self.board, need, host),
        });
        let mut hosts: Vec<RefusedHost> = hosts.collect();
        hosts.sort_by_cached_key(Distance::of);
        let unplaced = Arc::new(Unplaced { funnel, hosts });
        if request.only_hosts.is_none() {
            self.needs[kind].unplaced = Some((self.board.revision(), Arc::clone(&unplaced)));
        }
        unplaced
    }
}

impl Need<'_> {
    pub(super) fn score(&self, board: &Board<'_>, host: HostIndex, request: &TaskRequest) -> Score {
        self.ranking.score(board, host, request.id)
    }
}

fn is_like(one: &TaskRequest, other: &TaskRequest) -> bool {
    one.group == other.group
        && one.resources == other.resources
        && one.host_ports == other.host_ports
        && one.constraints == other.constraints
        && one.strategies == other.strategies
}

/// How far a host is from taking a task; the least is the closest match.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Distance {
    /// Whether the request's own expressions rule it out.
    excluded: bool,
    /// Whether it takes no task at all now.
    unavailable: bool,
    refusals: usize,
    /// CPU units and MiB together: near enough to tell a close miss from a far one.
    short_by: u64,
    host: ContainerInstanceId,
}

impl Distance {
    pub(super) fn of(refused: &RefusedHost) -> Self {
        let excluded = |r: &Refusal| matches!(r, Refusal::MemberOf { .. } | Refusal::UnreadableExpression { .. });
        let unavailable = |r: &Refusal| matches!(r, Refusal::NotActive(_) | Refusal::AgentDisconnected);
        let short_by = |r: &Refusal| match r {
            Refusal::Cpu(shortage) | Refusal::Memory(shortage) => u64::from(shortage.short_by()),
            _ => 0,
        };
        Self {
            excluded: refused.refusals.iter().any(excluded),
            unavailable: refused.refusals.iter().any(unavailable),
            refusals: refused.refusals.len(),
            short_by: refused.refusals.iter().map(short_by).sum(),
            host: refused.host,
        }
    }
}
