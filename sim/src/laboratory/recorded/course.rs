//! [`course`]: what happens to the hosts and tasks of a recording under a strategy. Hosts come and go, and tasks come, stop and go, when that was recorded; only where
//! tasks are put may differ. A task for which no host has room waits, and those that wait are tried, in the order in which they came, when room was made. A task
//! whose host is lost or leaves before it goes itself is placed anew. Otherwise no task is moved. What was placed together comes together, with the first of it. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use berth_core::decisions::{Entry, Happening, Held, PlacedTask, Recording, Scene};
use berth_core::model::{ContainerInstanceId, Manner, PlacementStrategy, Ports, TaskId, Timestamp};
use berth_core::placement::{Ask, TaskRequest};

use super::Engine;
use super::figures::{Figures, Look};
use crate::laboratory::Policy;

/// Looks at the cluster, at most.
const LOOKS: usize = 400;

/// What happened under a strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The name of the strategy.
    pub name: String,
    /// What came of it.
    pub figures: Figures,
}

/// Lets a recording take its course: as it was recorded, or with another strategy for all tasks.
#[must_use]
pub fn course(recording: &Recording, policy: Option<&Policy>) -> Course {
    let mut run = Run {
        recording,
        asks: policy.map(|policy| {
            recording
                .requests
                .iter()
                .map(|ask| with(ask, policy.strategies()))
                .collect()
        }),
        batches: batches(recording),
        engine: Engine::default(),
        scene: recording.start.clone(),
        placed: BTreeMap::new(),
        waiting: VecDeque::new(),
        room_was_made: false,
        figures: Figures::default(),
    };
    let last = recording.entries.len().saturating_sub(1);
    let every = recording.entries.len().div_ceil(LOOKS).max(1);
    run.figures.hosts_used_most = run.scene.hosts_used();
    for (place, entry) in recording.entries.iter().enumerate() {
        run.take_in(entry);
        if place % every == 0 || place == last {
            let look = Look::at(&run.scene, entry.index, entry.at, run.waiting.len());
            run.figures.looks.push(look);
        }
    }
    run.figures.never_placed += run.waiting.iter().filter(|waiting| !waiting.is_moved).count();
    Course {
        name: policy.map_or("recorded", Policy::name).to_owned(),
        figures: run.figures,
    }
}

struct Run<'r> {
    recording: &'r Recording,
    /// What tasks ask for with the strategy, by number; without one, tasks go where they went.
    asks: Option<Vec<Arc<Ask>>>,
    /// What was placed together, by seed; none of it once it has come.
    batches: BTreeMap<u64, Batch<'r>>,
    engine: Engine,
    scene: Scene,
    /// Tasks that were placed within the recording, by number.
    placed: BTreeMap<u32, &'r PlacedTask>,
    waiting: VecDeque<Waiting>,
    room_was_made: bool,
    figures: Figures,
}

/// Tasks that were placed together.
struct Batch<'r> {
    manner: Manner,
    tasks: Vec<&'r PlacedTask>,
}

/// A task without a host.
struct Waiting {
    task: u32,
    /// What it will hold.
    held: Held,
    since: Option<Timestamp>,
    /// Whether it had a host before.
    is_moved: bool,
}

impl<'r> Run<'r> {
    fn take_in(&mut self, entry: &'r Entry) {
        let mut coming: Vec<&PlacedTask> = vec![];
        for happening in &entry.happenings {
            let Happening::Placed(placed) = happening else {
                self.place_those_that_come(&mut coming, entry);
                self.let_happen(happening, entry);
                continue;
            };
            if coming
                .first()
                .is_some_and(|first| seed(first, entry) != seed(placed, entry))
            {
                self.place_those_that_come(&mut coming, entry);
            }
            coming.push(placed);
        }
        self.place_those_that_come(&mut coming, entry);
        if std::mem::take(&mut self.room_was_made) {
            self.try_waiting(entry);
        }
        self.figures.hosts_used_most = self.figures.hosts_used_most.max(self.scene.hosts_used());
    }

    fn let_happen(&mut self, happening: &Happening, entry: &Entry) {
        if self.asks.is_none() {
            self.recording.follow(&mut self.scene, happening);
            if let Happening::Unplaced { .. } = happening {
                self.figures.shortages += 1;
            }
            return;
        }
        match happening {
            Happening::Host(_) | Happening::Placed(_) => {
                self.room_was_made = true;
                self.recording.follow(&mut self.scene, happening);
            }
            Happening::Changed {
                task, wanted, running, ..
            } => self.change(*task, *wanted, *running),
            Happening::Gone(task) => self.let_go(*task),
            Happening::Unplaced { request, .. } => self.note_shortage(*request, entry),
            Happening::Lost(host) => {
                let tasks: Vec<u32> = self.scene.tasks_on(*host).collect();
                let taken: Vec<_> = tasks
                    .into_iter()
                    .filter_map(|task| Some((task, self.scene.take_off(task)?.1)))
                    .collect();
                self.displace(taken, entry);
            }
            Happening::Left(host) => {
                let taken = self.scene.remove(*host);
                self.displace(taken, entry);
            }
        }
    }

    /// Ports that a host gave a task belong to that host, and are none here.
    fn change(&mut self, task: u32, wanted: bool, running: bool) {
        let change = |held: &mut Held| (held.wanted, held.running, held.bound) = (wanted, running, Ports::new());
        if self.scene.change(task, change) {
            return;
        }
        if !wanted {
            self.stop_waiting(task);
        }
    }

    fn let_go(&mut self, task: u32) {
        self.placed.remove(&task);
        if self.scene.take_off(task).is_some() {
            self.room_was_made = true;
            return;
        }
        self.stop_waiting(task);
    }

    fn stop_waiting(&mut self, task: u32) {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.task == task) {
            let given_up = self.waiting.remove(place);
            self.figures.never_placed += usize::from(given_up.is_some_and(|waiting| !waiting.is_moved));
        }
    }

    /// Tasks of a host that is there no more wait for another. Those that were on it when that was recorded go within the same entry.
    fn displace(&mut self, taken: Vec<(u32, Held)>, entry: &Entry) {
        self.room_was_made |= !taken.is_empty();
        self.waiting.extend(taken.into_iter().map(|(task, held)| Waiting {
            task,
            held,
            since: entry.at,
            is_moved: true,
        }));
    }

    fn place_those_that_come(&mut self, coming: &mut Vec<&'r PlacedTask>, entry: &Entry) {
        let Some(seed) = coming.first().map(|first| seed(first, entry)) else {
            return;
        };
        let mut coming = std::mem::take(coming);
        let mut manner = Manner::OneByOne;
        if let Some(batch) = self.batches.get_mut(&seed) {
            manner = batch.manner;
            coming = std::mem::take(&mut batch.tasks);
        }
        self.figures.tasks += coming.len();
        self.placed.extend(coming.iter().map(|placed| (placed.task, *placed)));
        let hosts: Vec<Option<ContainerInstanceId>> = match self.asks {
            None => coming.iter().map(|placed| Some(placed.host)).collect(),
            Some(_) => {
                let requests: Vec<TaskRequest> = coming.iter().map(|placed| self.request(placed)).collect();
                let placements = self.engine.place(&self.scene, &requests, manner, seed).into_iter();
                placements.map(|placement| placement.map(|one| one.host())).collect()
            }
        };
        for (placed, host) in coming.into_iter().zip(hosts) {
            let held = Held::new(self.recording.request(placed.request).clone());
            match host {
                Some(host) => {
                    self.figures.elsewhere += usize::from(host != placed.host);
                    self.scene.put(placed.task, host, held);
                }
                None => {
                    self.figures.waited += 1;
                    self.waiting.push_back(Waiting {
                        task: placed.task,
                        held,
                        since: entry.at,
                        is_moved: false,
                    });
                }
            }
        }
    }

    fn try_waiting(&mut self, entry: &Entry) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting: Vec<Waiting> = std::mem::take(&mut self.waiting).into();
        let requests: Vec<TaskRequest> = waiting.iter().map(|waiting| self.request_of(waiting)).collect();
        let placements = self
            .engine
            .place(&self.scene, &requests, Manner::OneByOne, entry.index.0);
        for (waiting, placement) in waiting.into_iter().zip(placements) {
            let Some(host) = placement.map(|placement| placement.host()) else {
                self.waiting.push_back(waiting);
                continue;
            };
            let ms = entry
                .at
                .zip(waiting.since)
                .map_or(0, |(now, since)| now.ms_since(since));
            if waiting.is_moved {
                self.figures.moved += 1;
            } else {
                let recorded = self.placed.get(&waiting.task).map(|placed| placed.host);
                self.figures.elsewhere += usize::from(recorded != Some(host));
                self.figures.longest_wait_ms = self.figures.longest_wait_ms.max(ms);
            }
            self.scene.put(waiting.task, host, waiting.held);
        }
    }

    fn note_shortage(&mut self, request: u32, entry: &Entry) {
        self.figures.shortages += 1;
        let request = TaskRequest::new(TaskId(entry.index.0.into()), self.ask(request));
        let found = self
            .engine
            .place(&self.scene, &[request], Manner::OneByOne, entry.index.0);
        self.figures.with_room += usize::from(found.iter().any(Option::is_some));
    }

    fn request(&self, placed: &PlacedTask) -> TaskRequest {
        TaskRequest {
            only_hosts: placed.only_host.then(|| [placed.host].into()),
            ..TaskRequest::new(placed.id, self.ask(placed.request))
        }
    }

    /// What tasks ask for with the strategy.
    fn ask(&self, number: u32) -> Arc<Ask> {
        let with_it = self.asks.as_ref().zip(usize::try_from(number).ok());
        let with_it = with_it.and_then(|(asks, number)| asks.get(number));
        Arc::clone(with_it.unwrap_or_else(|| self.recording.request(number)))
    }

    fn request_of(&self, waiting: &Waiting) -> TaskRequest {
        match self.placed.get(&waiting.task) {
            Some(placed) => self.request(placed),
            // One that was there at the beginning, of which no id is recorded.
            None => {
                let asks = &self.recording.requests;
                let number = asks.iter().position(|ask| Arc::ptr_eq(ask, &waiting.held.ask));
                let number = number.and_then(|number| u32::try_from(number).ok());
                let ask = number.map_or_else(|| Arc::clone(&waiting.held.ask), |number| self.ask(number));
                TaskRequest::new(TaskId(waiting.task.into()), ask)
            }
        }
    }
}

/// The same with other strategies.
fn with(ask: &Ask, strategies: &[PlacementStrategy]) -> Arc<Ask> {
    Arc::new(Ask {
        strategies: strategies.to_vec(),
        ..ask.clone()
    })
}

fn batches(recording: &Recording) -> BTreeMap<u64, Batch<'_>> {
    let mut batches = BTreeMap::<u64, Batch<'_>>::new();
    for entry in &recording.entries {
        for happening in &entry.happenings {
            let Happening::Placed(placed) = happening else { continue };
            let Some(decision) = &placed.decision else { continue };
            if decision.manner != Manner::OneByOne {
                let batch = batches.entry(decision.seed).or_insert_with(|| Batch {
                    manner: decision.manner,
                    tasks: vec![],
                });
                batch.tasks.push(placed);
            }
        }
    }
    for batch in batches.values_mut() {
        let position = |placed: &&PlacedTask| placed.decision.as_ref().map(|decision| decision.position);
        batch.tasks.sort_by_key(position);
    }
    batches
}

/// What was decided at once has the same.
fn seed(placed: &PlacedTask, entry: &Entry) -> u64 {
    placed.decision.as_ref().map_or(entry.index.0, |decision| decision.seed)
}
