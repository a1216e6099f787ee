//! [`place`]: serves requests in their order, and reserves what it chose for each. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::{Board, ExpressionIndex, GroupIndex, HostIndex};
use super::candidates::Candidates;
use super::filter;
use super::plan::{Decision, Funnel, Outcome, Placement, PlacementPlan, RefusedHost, Unplaced};
use super::problem::{Host, PlacementProblem, TaskRequest};
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
    plan(Planner::new(problem.hosts.iter(), seed), &problem.requests)
}

/// The same for hosts that are known from plan to plan.
///
/// # Panics
/// If a host is given twice.
#[must_use]
pub fn place_on(hosts: &[Arc<Host>], requests: &[TaskRequest], seed: Seed) -> PlacementPlan {
    plan(Planner::new(hosts.iter().map(|host| &**host), seed), requests)
}

fn plan<'p>(mut planner: Planner<'p>, requests: &'p [TaskRequest]) -> PlacementPlan {
    let decisions = requests.iter().map(|request| Decision {
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
    pub(super) ranking: Ranking,
    /// The first request of the kind.
    like: &'p TaskRequest,
    /// What the last request of the kind got that found no host, and at which revision of the board.
    unplaced: Option<(usize, Arc<Unplaced>)>,
    /// Whether a request of the kind that may go to any host was served.
    served: bool,
    /// The hosts in order, once there was a second one.
    candidates: Option<Candidates>,
}

/// The host that is best for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) host: HostIndex,
    pub(super) score: Score,
    pub(super) runner_up: Option<Score>,
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
    pub(super) fn new(hosts: impl Iterator<Item = &'p Host>, seed: Seed) -> Self {
        Self {
            board: Board::new(hosts),
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
        let (funnel, best) = self.choose(kind, request);
        let Some(best) = best else {
            return Outcome::Unplaced(self.explain_unplaced(kind, request, funnel));
        };
        let need = &self.needs[kind];
        self.board
            .reserve(best.host, need.group, need.resources, need.host_ports);
        Outcome::Placed(Placement {
            funnel,
            score: best.score,
            runner_up: best.runner_up,
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
            served: false,
            candidates: None,
        });
        kind
    }

    /// How many hosts passed which filter, and the best with the score of the next best.
    ///
    /// By a pass over the hosts for what is asked for once. From the second request of a kind on, by an order of the hosts that is
    /// made once, unless each task has its own.
    fn choose(&mut self, kind: usize, request: &TaskRequest) -> (Funnel, Option<Best>) {
        let need = &mut self.needs[kind];
        let is_alike = request.only_hosts.is_none() && need.ranking.is_alike_for_all_tasks();
        if !is_alike || !std::mem::replace(&mut need.served, true) {
            return self.pass_over(&self.needs[kind], request);
        }
        let mut candidates = match need.candidates.take() {
            Some(candidates) => candidates,
            None => Candidates::new(&self.board, need),
        };
        candidates.catch_up(&self.board, need);
        let chosen = candidates.best(&self.board, need);
        need.candidates = Some(candidates);
        chosen
    }

    /// Looks at every host that the request may go to.
    fn pass_over(&self, need: &Need<'p>, request: &TaskRequest) -> (Funnel, Option<Best>) {
        let mut funnel = Funnel::default();
        let mut best: Option<Best> = None;
        let mut look_at = |host: HostIndex| {
            let stopped_by = filter::stopped_by(&self.board, need, host);
            funnel.count(stopped_by);
            if stopped_by.is_some() {
                return;
            }
            let score = need.score(&self.board, host, request);
            match &mut best {
                Some(best) if best.score < score => {
                    best.runner_up = Some(best.runner_up.map_or(score, |second| second.min(score)));
                }
                _ => {
                    best = Some(Best {
                        host,
                        score,
                        runner_up: best.map(|leader| leader.score),
                    });
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attributes, BinpackResource, PlacementStrategy, TaskId, Timestamp};
    use crate::placement::service_default;
    use std::collections::BTreeSet;

    /// Hosts of several sizes and zones, some away, some that hold a port.
    fn hosts() -> Vec<Host> {
        let host = |number: u32| Host {
            id: ContainerInstanceId(u128::from(number)),
            name: format!("host-{number}"),
            attributes: Attributes::from([(
                "ecs.availability-zone".to_owned(),
                (number % 4 != 3).then(|| format!("zone-{}", number % 4)),
            )]),
            registered: Resources::new(1024, 1024),
            free: Resources::new(128 + 64 * (number % 7), 1024),
            used_ports: Ports::new(),
            foreign_ports: Ports::new(),
            status: crate::model::ContainerInstanceStatus::Active,
            agent_connected: number % 11 != 5,
            agent_version: String::new(),
            registered_at: Timestamp(0),
            running_tasks: 0,
            tasks_by_group: BTreeMap::from([("service:web".to_owned(), number % 3)]),
        };
        (0..40).map(host).collect()
    }

    #[test]
    fn order_of_candidates_chooses_what_a_pass_over_all_hosts_does() {
        let spread = |field: &str| PlacementStrategy::Spread {
            field: field.to_owned(),
        };
        let binpack = PlacementStrategy::Binpack {
            resource: BinpackResource::Cpu,
        };
        let strategies = [
            service_default(),
            vec![binpack.clone()],
            vec![spread("attribute:ecs.availability-zone"), binpack],
            vec![spread("host"), spread("attribute:ecs.availability-zone")],
            vec![],
        ];
        let distinct = vec![PlacementConstraint::DistinctInstance];
        let request = |number: usize| TaskRequest {
            id: TaskId(number as u128),
            group: ["service:web", "service:api"][number / 5 % 2].to_owned(),
            resources: Resources::new(64, 32),
            host_ports: Ports::new(),
            constraints: if number.is_multiple_of(7) {
                distinct.clone()
            } else {
                vec![]
            },
            strategies: strategies[number % strategies.len()].clone(),
            only_hosts: number
                .is_multiple_of(13)
                .then(|| BTreeSet::from([ContainerInstanceId(4)])),
        };
        let problem = PlacementProblem {
            hosts: hosts(),
            requests: (0..400).map(request).collect(),
        };
        let mut planner = Planner::new(problem.hosts.iter(), Seed(5));
        let (mut ordered, mut unplaced) = (0, 0);
        for request in &problem.requests {
            let kind = planner.kind_of(request);
            let by_pass = planner.pass_over(&planner.needs[kind], request);
            assert_eq!(planner.choose(kind, request), by_pass, "{request:?}");
            ordered += usize::from(planner.needs[kind].candidates.is_some());
            unplaced += usize::from(matches!(planner.decide(request), Outcome::Unplaced(_)));
        }
        assert!(ordered > 300 && unplaced > 50, "{ordered} {unplaced}");
    }
}
