//! [`place`]: serves requests in their order, and reserves what it chose for each. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::board::{Board, HostIndex};
use super::candidates::Candidates;
use super::crowd::{self, Crowd, Nearest};
use super::filter;
use super::fragmentation::TypicalTasks;
use super::gpus::GpuSet;
use super::groups::GroupIndex;
use super::need::{Moment, Need, is_like};
use super::plan::{Decision, Funnel, Outcome, Placement, PlacementPlan, RefusedHost, Unplaced};
use super::podium::{Best, Podium};
use super::problem::{Ask, Holding, Host, PlacementProblem, TaskRequest};
use super::roads::{Road, Roads};
use super::scale_in::{self, ScaleIn};
use super::seed::Seed;
use super::strategy::{Arrival, Ranking};
use super::together;
use crate::model::{ContainerInstanceId, Manner, PlacementConstraint, TaskId};

/// Decides for every request where it goes. Later requests see what earlier ones reserved.
///
/// Equal problems and seeds give equal plans; the order of the hosts does not matter.
///
/// # Panics
/// If a host is in the problem twice.
#[must_use]
pub fn place(problem: &PlacementProblem, seed: Seed) -> PlacementPlan {
    let hosts = problem.hosts.iter().cloned().map(Arc::new);
    Planner::new(hosts, problem.typical_tasks(), seed).plan(&problem.requests, Manner::OneByOne)
}

/// Most kinds of requests that a planner keeps from plan to plan.
const MAX_KINDS: usize = 4096;

/// Most expressions that a planner keeps from plan to plan: a host that changes is held against all of them.
const MAX_EXPRESSIONS: usize = 64;

/// Most changes of hosts that a planner keeps, for orders that have not taken them in.
const MAX_CHANGES: usize = 100_000;

/// Hosts that are asked one by one whether they take a task, before it is found out otherwise.
const SOON_LOOKED_AT: usize = 64;

/// Passes over all hosts after which a kind gets an order of its own.
const ENOUGH_PASSES: u8 = 2;

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.board.host_count();
        f.debug_struct("Planner").field("hosts", &hosts).finish_non_exhaustive()
    }
}

/// Makes decisions one after the other.
pub(super) struct Planner {
    board: Board,
    needs: Vec<Need>,
    /// The kinds of each group, as places in `needs`.
    kinds: Vec<Vec<usize>>,
    /// The kind of what requests asked for that others may share, by where that is kept: what is listed here stays there.
    asked: BTreeMap<usize, (Arc<Ask>, usize)>,
    /// How requests of each kind find their host, in step with `needs`.
    ways: Vec<Way>,
    roads: Roads,
    /// Whether a decision says how many hosts passed which filter, and which was the next best.
    explains: bool,
    /// How often room may have been made: tasks that were taken off, and hosts that were described anew.
    releases: usize,
    /// Hosts that are not as they were described, since tasks were put there or taken off.
    touched: Vec<HostIndex>,
    /// The hosts by what is alike of them, once something found none.
    crowd: Option<Crowd>,
    /// How many hosts were looked at one by one, those that are alike once.
    looks: usize,
}

/// How requests of a kind find their host.
struct Way {
    road: Road,
    /// The hosts in their order for this kind alone, once there was a second request that needed it.
    candidates: Option<Candidates>,
    /// Passes over all hosts for requests of the kind; [`ENOUGH_PASSES`] once one of them found a host.
    passes: u8,
}

/// The crowd of the hosts as they are now, made where it is first needed.
fn caught_up<'c>(crowd: &'c mut Option<Crowd>, board: &Board) -> &'c Crowd {
    let crowd = crowd.get_or_insert_with(|| Crowd::new(board));
    crowd.catch_up(board);
    crowd
}

impl Planner {
    pub(super) fn new(hosts: impl Iterator<Item = Arc<Host>>, typical: TypicalTasks, seed: Seed) -> Self {
        Self {
            board: Board::new(hosts, typical, seed),
            needs: Vec::new(),
            kinds: Vec::new(),
            asked: BTreeMap::new(),
            ways: Vec::new(),
            roads: Roads::default(),
            explains: true,
            releases: 0,
            touched: Vec::new(),
            crowd: None,
            looks: 0,
        }
    }

    /// The same for the same hosts, in the order of their ids, some of which changed, and with another seed. What it put on hosts before counts only if
    /// it is described with them.
    pub(super) fn brought_up_to(
        mut self,
        hosts: &[Arc<Host>],
        mut changed: BTreeSet<HostIndex>,
        typical: TypicalTasks,
        seed: Seed,
    ) -> Self {
        let is_full = self.needs.len() > MAX_KINDS
            || self.board.revision() > MAX_CHANGES
            || self.board.expressions() > MAX_EXPRESSIONS
            || self.roads.are_many();
        changed.extend(self.touched.drain(..));
        if is_full || !self.board.describe_anew(hosts, &changed, &typical, seed) {
            return Self::new(hosts.iter().cloned(), typical, seed);
        }
        self.releases += 1;
        self.asked.clear();
        // What is kept of each kind alone is large.
        for way in &mut self.ways {
            (way.candidates, way.passes) = (None, 0);
        }
        for need in &mut self.needs {
            need.unplaced = None;
        }
        self
    }

    /// Leaves out of its decisions how many hosts passed which filter, and which was the next best.
    pub(super) fn without_explanations(mut self) -> Self {
        self.explains = false;
        self
    }

    /// Decides for every request: in this manner, or in turns where not all can be placed together.
    pub(super) fn plan(&mut self, requests: &[TaskRequest], manner: Manner) -> PlacementPlan {
        let (manner, outcomes) = match manner {
            Manner::OneByOne => (manner, requests.iter().map(|request| self.decide(request)).collect()),
            Manner::Together => together::place_all(self, requests),
            Manner::InTurns => (manner, together::place_in_turns(self, requests)),
        };
        let decisions = requests.iter().zip(outcomes).map(|(request, outcome)| Decision {
            task: request.id,
            outcome,
        });
        PlacementPlan {
            manner,
            decisions: decisions.collect(),
        }
    }

    /// Chooses a host for the request and reserves it.
    pub(super) fn decide(&mut self, request: &TaskRequest) -> Outcome {
        let kind = self.kind_of(request);
        if let Some(unplaced) = self.known_unplaced(kind, request) {
            return Outcome::Unplaced(unplaced);
        }
        let (funnel, best) = self.choose(kind, request);
        let Some(best) = best else {
            return Outcome::Unplaced(self.explain_unplaced(kind, request, funnel));
        };
        Outcome::Placed(self.reserve(kind, request, funnel, best))
    }

    /// The same, without the why where no host is found.
    pub(super) fn decide_alone(&mut self, request: &TaskRequest) -> Option<Placement> {
        let kind = self.kind_of(request);
        let any_host = request.only_hosts.is_none();
        let found_none = self.needs[kind].found_none_after;
        if any_host && found_none == Some(self.releases) && !self.depends_on_company(kind) {
            return None;
        }
        let (funnel, best) = self.choose(kind, request);
        let Some(best) = best else {
            self.needs[kind].found_none_after = any_host.then_some(self.releases);
            return None;
        };
        Some(self.reserve(kind, request, funnel, best))
    }

    /// Takes a task off its host, as it was put there by this request.
    pub(super) fn take_off(&mut self, request: &TaskRequest, host: ContainerInstanceId, gpus: GpuSet) {
        let kind = self.kind_of(request);
        let host = self
            .board
            .index_of(host)
            .expect("the task was put on a host of the board");
        let held = Holding {
            shape: request.shape.clone(),
            gpus,
        };
        self.releases += 1;
        self.touched.push(host);
        self.board
            .release(host, self.needs[kind].group, &held, &request.host_ports);
    }

    /// Puts a task back on the host that it was taken off, whatever the host says to new ones.
    pub(super) fn put_back(&mut self, request: &TaskRequest, host: ContainerInstanceId, gpus: GpuSet) {
        let kind = self.kind_of(request);
        let need = &self.needs[kind];
        let host = self.board.index_of(host).expect("the task was on a host of the board");
        self.touched.push(host);
        self.board
            .reserve(host, need.group, &need.shape, gpus, &need.host_ports);
    }

    /// Chooses tasks to stop, and takes them off.
    pub(super) fn choose_to_stop(&mut self, scale_in: &ScaleIn<'_>, count: usize) -> Vec<TaskId> {
        let chosen = scale_in::from_board(&mut self.board, scale_in, count);
        self.releases += 1;
        self.touched.extend(chosen.iter().filter_map(|(_, host)| *host));
        chosen.into_iter().map(|(task, _)| task).collect()
    }

    /// What tasks usually take, and the seed.
    pub(super) fn terms(&self) -> (TypicalTasks, Seed) {
        (self.board.typical().clone(), self.board.seed())
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    pub(super) fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    /// What requests of a kind need.
    pub(super) fn need(&self, kind: usize) -> &Need {
        &self.needs[kind]
    }

    /// How requests of a kind find their host.
    pub(super) fn road(&self, kind: usize) -> &Road {
        &self.ways[kind].road
    }

    /// Puts a task on a host that was chosen otherwise; `None` if the host does not take it.
    pub(super) fn put(&mut self, kind: usize, request: &TaskRequest, host: HostIndex) -> Option<Placement> {
        let need = &self.needs[kind];
        if filter::stopped_by(&self.board, need, host).is_some() {
            return None;
        }
        let score = need.score(&self.board, host, request);
        let (funnel, alone) = self.choose(kind, request);
        let runner_up = match alone {
            Some(best) if best.host != host => Some(best.score),
            best => best.and_then(|best| best.runner_up),
        };
        let best = Best { host, score, runner_up };
        Some(self.reserve(kind, request, funnel, best))
    }

    fn reserve(&mut self, kind: usize, request: &TaskRequest, funnel: Funnel, best: Best) -> Placement {
        let need = &self.needs[kind];
        let arrival = Arrival {
            shape: &need.shape,
            task: request.id,
        };
        let gpus = need.ranking.choose_gpus(&self.board, best.host, arrival);
        self.touched.push(best.host);
        self.board
            .reserve(best.host, need.group, &need.shape, gpus, &need.host_ports);
        Placement {
            funnel,
            score: best.score,
            runner_up: best.runner_up,
            gpus,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            revision: self.board.revision(),
            releases: self.releases,
        }
    }

    /// Whether the kind's constraints ask for the company of other tasks.
    fn depends_on_company(&self, kind: usize) -> bool {
        let expressions = &self.needs[kind].member_of;
        expressions.iter().any(|e| self.board.depends_on_tasks(*e))
    }

    /// What the request needs, and the board to hold it against.
    pub(super) fn need_of(&mut self, request: &TaskRequest) -> (&Need, &Board) {
        let kind = self.kind_of(request);
        (&self.needs[kind], &self.board)
    }

    /// Whether a host would take the request now.
    pub(super) fn has_host_for(&mut self, request: &TaskRequest) -> bool {
        let kind = self.kind_of(request);
        if request.only_hosts.is_none() {
            return self.has_taker(kind);
        }
        let mut considered = self.considered(request).into_iter();
        considered.any(|host| filter::stopped_by(&self.board, &self.needs[kind], host).is_none())
    }

    /// Whether any host would take a request of the kind now.
    pub(super) fn has_taker(&mut self, kind: usize) -> bool {
        let need = &self.needs[kind];
        let takes = |host: HostIndex| filter::stopped_by(&self.board, need, host).is_none();
        // The last are filled last, and where there is room there is mostly some on them.
        if self.board.indices().rev().take(SOON_LOOKED_AT).any(takes) {
            return true;
        }
        let crowd = caught_up(&mut self.crowd, &self.board);
        let (found, looks) = crowd.has_taker(&self.board, need);
        self.looks += looks;
        found
    }

    /// The hosts that come closest to taking a request of the kind, which none takes.
    fn nearest(&mut self, kind: usize) -> Nearest {
        caught_up(&mut self.crowd, &self.board).nearest(&self.board, &self.needs[kind])
    }

    /// How many hosts were looked at since this was asked last, those that are alike once.
    pub(super) fn take_looks(&mut self) -> usize {
        std::mem::take(&mut self.looks)
    }

    /// The hosts that the request may go to at all.
    pub(super) fn considered(&self, request: &TaskRequest) -> Vec<HostIndex> {
        match &request.only_hosts {
            None => self.board.indices().collect(),
            Some(ids) => ids.iter().filter_map(|id| self.board.index_of(*id)).collect(),
        }
    }

    pub(super) fn kind_of(&mut self, request: &TaskRequest) -> usize {
        let place = Arc::as_ptr(&request.ask).addr();
        if let Some((_, kind)) = self.asked.get(&place) {
            return *kind;
        }
        let is_shared = Arc::strong_count(&request.ask) > 1;
        let kind = self.kind_by_contents(request);
        if is_shared && self.asked.len() < MAX_KINDS {
            self.asked.insert(place, (Arc::clone(&request.ask), kind));
        }
        kind
    }

    fn kind_by_contents(&mut self, request: &TaskRequest) -> usize {
        let group = self.board.watch_group(&request.group);
        if self.kinds.len() <= group.position() {
            self.kinds.resize_with(group.position() + 1, Vec::new);
        }
        let mut alike = self.kinds[group.position()].iter().copied();
        let known = alike.find(|kind| is_like(&self.needs[*kind].like, &request.ask));
        known.unwrap_or_else(|| self.add_kind(request, group))
    }

    fn add_kind(&mut self, request: &TaskRequest, group: GroupIndex) -> usize {
        let expressions = request.constraints.iter().filter_map(PlacementConstraint::expression);
        let need = Need {
            group,
            shape: request.shape.clone(),
            gpu_models: self.board.allowed_models(&request.shape.gpu_models),
            host_ports: request.host_ports.clone(),
            pool: request
                .capacity_provider
                .as_ref()
                .map(|name| self.board.watch_pool(name)),
            distinct_instance: request.constraints.contains(&PlacementConstraint::DistinctInstance),
            member_of: expressions.map(|text| self.board.watch_expression(&text)).collect(),
            ranking: Ranking::new(&request.strategies, group, &mut self.board),
            like: Arc::clone(&request.ask),
            unplaced: None,
            found_none_after: None,
        };
        self.ways.push(Way {
            road: Road::of(&need, &request.strategies, &mut self.board),
            candidates: None,
            passes: 0,
        });
        let kind = self.needs.len();
        self.needs.push(need);
        self.kinds[group.position()].push(kind);
        kind
    }

    /// How many hosts passed which filter, and the best with the score of the next best.
    ///
    /// By a pass over the hosts for what is asked for once, or twice where none takes it: whether any does, and how many refuse. After that by an order of
    /// the hosts that is made once: one that kinds share, or one of the kind's own; unless each task has its own.
    fn choose(&mut self, kind: usize, request: &TaskRequest) -> (Funnel, Option<Best>) {
        let (need, way) = (&self.needs[kind], &mut self.ways[kind]);
        if let Some(only) = &request.only_hosts {
            self.looks += only.len();
            return self.pass_over(need, request);
        }
        let hosts = self.board.host_count() as usize;
        if matches!(way.road, Road::EachTaskItsOwn) {
            self.looks += hosts;
            return self.pass_over(need, request);
        }
        if let Road::Shared(road) = &mut way.road
            && road.is_short(&self.board)
            && !self.roads.is_first_to_ask(road)
        {
            return self.roads.choose(road, &self.board, need, self.explains);
        }
        if way.passes < ENOUGH_PASSES {
            let found = self.pass_over(need, request);
            self.ways[kind].passes += if found.1.is_some() { ENOUGH_PASSES } else { 1 };
            self.looks += hosts;
            return found;
        }
        if way.candidates.is_none() {
            self.looks += hosts;
        }
        let candidates = way.candidates.get_or_insert_with(|| Candidates::new(&self.board, need));
        candidates.catch_up(&self.board, need);
        candidates.best(&self.board, need)
    }

    /// Looks at every host that the request may go to.
    fn pass_over(&self, need: &Need, request: &TaskRequest) -> (Funnel, Option<Best>) {
        let (mut funnel, mut podium) = (Funnel::default(), Podium::default());
        let mut look_at = |host: HostIndex| {
            let stopped_by = filter::stopped_by(&self.board, need, host);
            funnel.count(stopped_by);
            if stopped_by.is_none() {
                podium.enter(need.score(&self.board, host, request), host);
            }
        };
        match &request.only_hosts {
            None => self.board.indices().for_each(&mut look_at),
            Some(_) => self.considered(request).into_iter().for_each(&mut look_at),
        }
        (funnel, podium.best())
    }

    /// What a request of the same kind got before, if this one must get the same: reservations only take away, so a kind
    /// that found no host finds none later in the plan, unless its constraints ask for the company of other tasks.
    fn known_unplaced(&self, kind: usize, request: &TaskRequest) -> Option<Arc<Unplaced>> {
        let need = &self.needs[kind];
        let (then, unplaced) = need.unplaced.as_ref()?;
        let now = self.moment();
        let only_less_room = || now.releases == then.releases && !self.depends_on_company(kind);
        (request.only_hosts.is_none() && (now == *then || only_less_room())).then(|| Arc::clone(unplaced))
    }

    fn explain_unplaced(&mut self, kind: usize, request: &TaskRequest, funnel: Funnel) -> Arc<Unplaced> {
        let (considered, nearest) = match request.only_hosts {
            None => (self.board.host_count() as usize, self.nearest(kind)),
            Some(_) => {
                let considered = self.considered(request);
                let nearest = crowd::nearest_among(&self.board, &self.needs[kind], &considered);
                (considered.len(), nearest)
            }
        };
        self.looks += nearest.looks;
        let hosts = nearest.hosts.into_iter().map(|host| RefusedHost {
            host: self.board.id(host),
            name: self.board.host(host).name.clone(),
            refusals: filter::refusals(&self.board, &self.needs[kind], host),
        });
        let hosts: Vec<RefusedHost> = hosts.collect();
        let lack_room = nearest.lack_room.into_iter().map(|host| self.board.id(host));
        let unplaced = Arc::new(Unplaced {
            funnel,
            others: considered - hosts.len(),
            hosts,
            lack_room: lack_room.collect(),
        });
        if request.only_hosts.is_none() {
            self.needs[kind].unplaced = Some((self.moment(), Arc::clone(&unplaced)));
        }
        unplaced
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
