//! Whether the engine decides as was recorded: what each entry of the log puts on hosts is planned again on the hosts as they were, with its seed. Pure.
//!
//! A leader plans for all services in a round, each plan on what those before it will have done, and its commands enter the log a moment later: among what others
//! write, and in any order. So a plan that does not come out the same on the hosts as they are in the log right before it is made again on the hosts as they were some
//! entries earlier, behind other plans of about the same time, those that come out the same there, and behind stops that some then come out behind. What comes out
//! the same to the last figure was decided so.
//!
//! What has one seed was planned at once, for one service or for several together; there is at least one command for each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use berth_core::decisions::{DecisionLine, Entry, Happening, Held, PlacedTask, Recording, Scene};
use berth_core::model::{ContainerInstanceId, LogIndex, Manner, TaskId};
use berth_core::placement::{Placement, Seed, TaskRequest};

use super::Engine;

/// Entries that a leader may not have seen, and within which its other commands are: far more than are written in a round.
const ROUND: usize = 64;

/// Plans that are tried for a place in front of another.
const MAX_OTHERS: usize = 128;

/// Plans that may be made beyond those on the hosts as the log has them: so many, and so many more for each plan of the recording. What an engine decides that is
/// not the one that recorded it comes out nowhere, and looking for it everywhere would take hours where there are many hosts.
const TRIALS: usize = 10_000;
const TRIALS_PER_PLAN: usize = 20;

/// How decisions came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Decisions that were made again.
    pub decisions: usize,
    /// Those that came out the same, to the last figure.
    pub same: usize,
    /// Of those, how many did on the hosts as a leader saw them, which is not how they are in the log right before.
    pub same_as_seen: usize,
    /// Placements of which it is not recorded how they were decided.
    pub not_recorded: usize,
    /// Decisions that were made together with some that are not in the recording, which begins or ends in between, and so cannot be made again.
    pub cut_off: usize,
    /// Those that came out otherwise.
    pub differences: Vec<Difference>,
}

/// A decision that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The entry of the log.
    pub index: LogIndex,
    /// The task.
    pub task: TaskId,
    /// Its group.
    pub group: String,
    /// The host recorded.
    pub recorded: ContainerInstanceId,
    /// How it was chosen.
    pub decision: DecisionLine,
    /// The host now and how it is chosen; `None` if no host takes the task.
    pub now: Option<(ContainerInstanceId, DecisionLine)>,
}

/// What was decided at once.
struct Plan<'r> {
    seed: u64,
    manner: Manner,
    /// Place of the first entry with a task of it.
    entry: usize,
    /// Number of that task.
    first: u32,
    tasks: Vec<(LogIndex, &'r PlacedTask, &'r DecisionLine)>,
    requests: Vec<TaskRequest>,
}

/// Hosts on which a plan may have been made: as they were before an entry.
struct Base {
    scene: Scene,
    /// Place of the entry.
    entry: usize,
}

/// What a plan gives for each of its tasks.
type Again = Vec<Option<(ContainerInstanceId, DecisionLine)>>;

struct Judge<'r> {
    recording: &'r Recording,
    numbers: BTreeMap<ContainerInstanceId, u32>,
    /// In the order of the log.
    plans: Vec<Plan<'r>>,
    /// The last entry that puts a task on a host.
    last_placed: Option<LogIndex>,
    /// Tasks that were no longer wanted from an entry on, by its place.
    stops: BTreeMap<usize, Vec<u32>>,
    /// Those that are known to come out the same as a leader saw the hosts.
    settled: BTreeSet<usize>,
    engine: Engine,
    /// Plans that may still be made to find out what a leader saw.
    trials: usize,
    judgement: Judgement,
}

/// Makes every decision of a recording again.
#[must_use]
pub fn judge(recording: &Recording) -> Judgement {
    let mut judge = Judge {
        recording,
        numbers: (0..).zip(&recording.hosts).map(|(number, id)| (*id, number)).collect(),
        plans: plans(recording),
        last_placed: last_placed(recording),
        stops: stops(recording),
        settled: BTreeSet::new(),
        engine: Engine::default(),
        trials: TRIALS,
        judgement: Judgement::default(),
    };
    let (mut scene, mut earlier, mut next) = (recording.start.clone(), VecDeque::<Base>::new(), 0);
    for (place, entry) in recording.entries.iter().enumerate() {
        let scene_before = scene.clone();
        earlier.push_front(Base {
            scene: scene_before,
            entry: place,
        });
        earlier.truncate(ROUND);
        for happening in &entry.happenings {
            if let Happening::Placed(placed) = happening {
                judge.judgement.not_recorded += usize::from(placed.decision.is_none());
                if judge.plans.get(next).is_some_and(|plan| plan.first == placed.task) {
                    judge.note(next, &scene, &earlier);
                    next += 1;
                }
            }
            recording.follow(&mut scene, happening);
        }
    }
    judge.judgement
}

fn last_placed(recording: &Recording) -> Option<LogIndex> {
    let places = |entry: &&Entry| entry.happenings.iter().any(|one| matches!(one, Happening::Placed(_)));
    recording.entries.iter().rfind(places).map(|entry| entry.index)
}

fn plans(recording: &Recording) -> Vec<Plan<'_>> {
    let (mut plans, mut by_seed) = (Vec::<Plan<'_>>::new(), BTreeMap::new());
    for (place, entry) in recording.entries.iter().enumerate() {
        for happening in &entry.happenings {
            let Happening::Placed(placed) = happening else { continue };
            let Some(decision) = &placed.decision else { continue };
            let plan = *by_seed.entry(decision.seed).or_insert_with(|| {
                plans.push(Plan {
                    seed: decision.seed,
                    manner: decision.manner,
                    entry: place,
                    first: placed.task,
                    tasks: vec![],
                    requests: vec![],
                });
                plans.len() - 1
            });
            plans[plan].tasks.push((entry.index, placed, decision));
        }
    }
    for plan in &mut plans {
        // The commands of a plan enter the log in any order.
        plan.tasks.sort_by_key(|(.., decision)| decision.position);
        let request = |(_, placed, _): &(LogIndex, &PlacedTask, &DecisionLine)| TaskRequest {
            only_hosts: placed.only_host.then(|| [placed.host].into()),
            ..TaskRequest::new(placed.id, recording.request(placed.request).clone())
        };
        plan.requests = plan.tasks.iter().map(request).collect();
    }
    plans
}

impl Judge<'_> {
    /// Makes a plan again: on the hosts as they are in the log, or as the leader saw them.
    fn note(&mut self, plan: usize, scene: &Scene, earlier: &VecDeque<Base>) {
        let again = self.again(plan, scene);
        let tasks = self.plans[plan].tasks.len();
        self.trials += TRIALS_PER_PLAN;
        self.judgement.decisions += tasks;
        if self.is_same(plan, &again) {
            self.judgement.same += tasks;
            return;
        }
        if self.settled.remove(&plan) || self.is_same_as_seen(plan, scene, earlier) {
            self.judgement.same += tasks;
            self.judgement.same_as_seen += tasks;
            return;
        }
        if self.may_be_cut_off(plan) {
            self.judgement.decisions -= tasks;
            self.judgement.cut_off += tasks;
            return;
        }
        for ((index, placed, decision), now) in self.plans[plan].tasks.iter().zip(again) {
            if is_same(placed, decision, now.as_ref()) {
                self.judgement.same += 1;
                continue;
            }
            self.judgement.differences.push(Difference {
                index: *index,
                task: placed.id,
                group: self.recording.request(placed.request).group.clone(),
                recorded: placed.host,
                decision: (*decision).clone(),
                now,
            });
        }
    }

    /// Whether tasks that were placed together with those of the plan may be in front of the recording or behind it: some are missing near its
    /// beginning, or those of the plan are the last that were placed.
    fn may_be_cut_off(&self, plan: usize) -> bool {
        let found = &self.plans[plan];
        let lacks_some = found
            .tasks
            .iter()
            .zip(0..)
            .any(|((.., decision), place)| decision.position != place);
        let is_last = self.last_placed == found.tasks.iter().map(|(index, ..)| *index).max();
        found.manner != Manner::OneByOne && (is_last || found.entry < ROUND && lacks_some)
    }

    /// Whether the plan comes out the same on the hosts as they were some entries earlier, behind others of about the same time.
    fn is_same_as_seen(&mut self, plan: usize, scene: &Scene, earlier: &VecDeque<Base>) -> bool {
        let now = Base {
            scene: scene.clone(),
            entry: self.plans[plan].entry,
        };
        std::iter::once(&now)
            .chain(earlier)
            .any(|base| self.comes_out_behind_others(plan, base))
    }

    /// Whether the plan comes out the same once others have put their tasks on the hosts that come out the same there themselves, and tasks were stopped that they
    /// then come out behind. If so, all that come out are settled.
    fn comes_out_behind_others(&mut self, plan: usize, base: &Base) -> bool {
        let first = self.plans.partition_point(|other| other.entry < base.entry);
        let until = (self.plans[plan].entry + ROUND).min(self.recording.entries.len());
        let others = first..self.plans.len().min(plan + MAX_OTHERS);
        let mut others: Vec<usize> = others.filter(|other| self.plans[*other].entry < until).collect();
        let mut stops: Vec<usize> = self.stops.range(base.entry..until).map(|(entry, _)| *entry).collect();
        let (mut scene, mut came_out) = (base.scene.clone(), BTreeSet::new());
        loop {
            let fitting = others.iter().position(|other| self.comes_out(*other, &scene));
            if let Some(place) = fitting {
                let other = others.remove(place);
                self.put(other, &mut scene);
                came_out.insert(other);
                continue;
            }
            let helps = |stop: &usize| {
                let with_it = self.with_stops(&scene, *stop);
                others.iter().any(|other| self.comes_out(*other, &with_it))
            };
            let Some(place) = stops.iter().position(helps) else {
                break;
            };
            scene = self.with_stops(&scene, stops.remove(place));
        }
        if !came_out.remove(&plan) {
            return false;
        }
        self.settled.extend(came_out.into_iter().filter(|other| *other > plan));
        true
    }

    fn put(&self, plan: usize, scene: &mut Scene) {
        for (_, placed, _) in &self.plans[plan].tasks {
            let held = Held::new(self.recording.request(placed.request).clone());
            scene.put(placed.task, placed.host, held);
        }
    }

    /// The hosts once the tasks are to stop that an entry stops.
    fn with_stops(&self, scene: &Scene, entry: usize) -> Scene {
        let mut scene = scene.clone();
        for task in self.stops.get(&entry).into_iter().flatten() {
            scene.change(*task, |held| held.wanted = false);
        }
        scene
    }

    fn comes_out(&mut self, plan: usize, scene: &Scene) -> bool {
        if self.trials == 0 || !self.may_come_out(plan, scene) {
            return false;
        }
        self.trials -= 1;
        let again = self.again(plan, scene);
        self.is_same(plan, &again)
    }

    /// What the record says of hosts, at little cost: how many there were, and how many tasks were on the one chosen first.
    fn may_come_out(&self, plan: usize, scene: &Scene) -> bool {
        let plan = &self.plans[plan];
        // The first of those that are placed one by one is placed first.
        let Some((_, placed, decision)) = plan.tasks.first() else {
            return false;
        };
        let Some(host) = scene.host(placed.host) else {
            return false;
        };
        // Where tasks do not matter, none are recorded.
        let tasks: u32 = host.tasks_by_group.values().sum();
        plan.manner != Manner::OneByOne || decision.tasks == 0 || decision.tasks == tasks
    }

    /// What the plan gives on these hosts.
    fn again(&mut self, plan: usize, scene: &Scene) -> Again {
        let plan = &self.plans[plan];
        let placements = self.engine.place(scene, &plan.requests, plan.manner, plan.seed);
        let now = |request: &TaskRequest, placement: Placement, recorded: &DecisionLine| {
            let position = usize::try_from(recorded.position).unwrap_or(usize::MAX);
            let record = placement.record(request, Seed(plan.seed), plan.manner, position).read();
            let line = DecisionLine::of(&record, |id| self.numbers.get(&id).copied());
            (placement.host(), line)
        };
        let both = plan.requests.iter().zip(&plan.tasks).zip(placements);
        both.map(|((request, (.., recorded)), placement)| placement.map(|placement| now(request, placement, recorded)))
            .collect()
    }

    fn is_same(&self, plan: usize, again: &Again) -> bool {
        let mut tasks = self.plans[plan].tasks.iter().zip(again);
        tasks.all(|((_, placed, decision), now)| is_same(placed, decision, now.as_ref()))
    }
}

fn is_same(placed: &PlacedTask, decision: &DecisionLine, now: Option<&(ContainerInstanceId, DecisionLine)>) -> bool {
    now.is_some_and(|(host, line)| *host == placed.host && line == decision)
}

/// Tasks that were no longer wanted from an entry on, by its place.
fn stops(recording: &Recording) -> BTreeMap<usize, Vec<u32>> {
    let (mut stops, mut unwanted) = (BTreeMap::<usize, Vec<u32>>::new(), BTreeSet::new());
    for (place, entry) in recording.entries.iter().enumerate() {
        for happening in &entry.happenings {
            if let Happening::Changed {
                task, wanted: false, ..
            } = happening
                && unwanted.insert(*task)
            {
                stops.entry(place).or_default().push(*task);
            }
        }
    }
    stops
}
