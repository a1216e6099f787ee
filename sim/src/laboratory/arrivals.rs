//! Arrivals: the tasks of a workload come when it says, run as long as it says once they have a host, and go; in virtual time. A task for which no
//! host has room waits. When tasks have gone, those that wait are tried in the order in which they came, and a later one may go first. Tasks stay on
//! their hosts, but for those that are moved every so often where that is asked for (`moving.rs`). Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use berth_core::model::attribute_names;
use berth_core::placement::{Host, HostState, Seed, Session, TaskRequest};

use super::inflation::percent;
use super::moving::{self, Moved, Moving, Running};
use super::policy::Policy;
use super::workload::{self, Amounts, LabTask, Workload};

/// Looks at the cluster, at most.
const SAMPLES: usize = 400;

/// What became of the workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// The cluster over time.
    pub samples: Vec<Sample>,
    /// How long the tasks that got a host had waited, in seconds, in ascending order.
    pub waits_s: Vec<u64>,
    /// Tasks that came.
    pub tasks: usize,
    /// Tasks that waited to the end.
    pub without_host: usize,
    /// What was moved, where tasks were to be.
    pub moved: Option<Moved>,
}

/// The cluster at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds from the beginning.
    pub at_s: u64,
    /// CPU that is allocated, in percent.
    pub cpu: f64,
    /// Memory that is allocated, in percent.
    pub memory: f64,
    /// GPUs that are allocated, in percent.
    pub gpu: f64,
    /// GPUs that are free and of no use to typical tasks, in percent of all.
    pub fragmented: f64,
    /// Hosts with a task.
    pub hosts_used: usize,
    /// Hosts without which what is allocated could not be: those with the most of the resource of which the most hosts are needed.
    pub hosts_needed: usize,
    /// By how many tasks the zone with the most of a group is above the one with the fewest, for the group of which that is most; nothing where hosts
    /// name no zones.
    pub zone_skew: usize,
    /// Tasks that wait.
    pub waiting: usize,
    /// Tasks that have been moved so far.
    pub moves: usize,
}

impl Replay {
    /// The wait that so many of a hundred tasks do not exceed.
    #[must_use]
    pub fn wait_of(&self, of_hundred: usize) -> u64 {
        let last = self.waits_s.len().saturating_sub(1);
        self.waits_s.get(last * of_hundred / 100).copied().unwrap_or(0)
    }

    /// The mean of something over the samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "some hundred samples")]
    pub fn mean(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).sum::<f64>() / self.samples.len().max(1) as f64
    }
}

/// Lets the tasks come and go, and moves them if `moving` says so. `watch` is shown the hosts with each sample.
pub fn replay(
    workload: &Workload,
    policy: &Policy,
    moving: Option<Moving>,
    seed: u64,
    watch: &mut dyn FnMut(&Sample, Vec<HostState>),
) -> Replay {
    let request = |(number, task)| workload::request(number, task, policy.strategies());
    let requests: Vec<TaskRequest> = workload.tasks.iter().enumerate().map(request).collect();
    let mut run = Run::new(workload, &requests, moving, seed);
    for until in moments(&workload.tasks) {
        run.advance(until);
        let sample = run.sample(until);
        watch(&sample, run.session.hosts().collect());
        run.replay.samples.push(sample);
    }
    // Whatever is left comes to rest after the time that is shown.
    run.advance(u64::MAX);
    run.replay.without_host = run.waiting.len();
    run.replay.waits_s.sort_unstable();
    run.replay
}

/// When to look: evenly over what happens, as it would if no task waited, and not over time, of which real traces have much in which little does.
fn moments(tasks: &[LabTask]) -> Vec<u64> {
    let ends = tasks
        .iter()
        .filter_map(|task| task.arrives_s.checked_add(task.lasts_s?));
    let mut all: Vec<u64> = tasks.iter().map(|task| task.arrives_s).chain(ends).collect();
    all.sort_unstable();
    let last = all.len().saturating_sub(1);
    let mut moments: Vec<u64> = (0..=SAMPLES)
        .filter_map(|look| all.get(last * look / SAMPLES).copied())
        .collect();
    moments.dedup();
    moments
}

struct Run<'r> {
    hosts: &'r [Host],
    tasks: &'r [LabTask],
    requests: &'r [TaskRequest],
    session: Session,
    facts: Facts,
    /// The next task that comes.
    next: usize,
    /// Tasks in the order in which they go.
    departures: BinaryHeap<Reverse<(u64, usize)>>,
    /// By task.
    running: Running,
    waiting: VecDeque<usize>,
    allocated: Amounts,
    /// When and how many tasks are moved, and when next.
    moving: Option<(Moving, u64)>,
    /// Whether tasks came or went since tasks were moved last.
    is_changed: bool,
    replay: Replay,
}

impl<'r> Run<'r> {
    fn new(workload: &'r Workload, requests: &'r [TaskRequest], moving: Option<Moving>, seed: u64) -> Self {
        Self {
            hosts: &workload.hosts,
            tasks: &workload.tasks,
            requests,
            session: Session::new(&workload.hosts, workload.typical(), Seed(seed)),
            facts: Facts::of(workload),
            next: 0,
            departures: BinaryHeap::new(),
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            allocated: Amounts::default(),
            moving: moving.map(|moving| (moving, moving.every_s)),
            is_changed: false,
            replay: Replay {
                tasks: workload.tasks.len(),
                moved: moving.map(|_| Moved::default()),
                ..Replay::default()
            },
        }
    }

    /// Lets everything happen up to this moment. What goes at a moment goes before what comes then, and tasks are moved before both.
    fn advance(&mut self, until: u64) {
        loop {
            let goes = self.departures.peek().map(|Reverse((at, _))| *at);
            let comes = self.tasks.get(self.next).map(|task| task.arrives_s);
            let Some(now) = goes.into_iter().chain(comes).min().filter(|now| *now <= until) else {
                return;
            };
            if let Some((moving, at)) = self.moving.filter(|(_, at)| *at <= now) {
                self.moving = Some((moving, at.saturating_add(moving.every_s.max(1))));
                self.defragment(moving.max_moves, at);
                continue;
            }
            self.is_changed = true;
            if goes == Some(now) {
                self.let_go(now);
                self.try_waiting(now);
            } else {
                let task = self.next;
                self.next += 1;
                if !self.place(task, now) {
                    self.waiting.push_back(task);
                }
            }
        }
    }

    fn let_go(&mut self, now: u64) {
        while let Some(Reverse((at, task))) = self.departures.peek().copied() {
            if at > now {
                return;
            }
            self.departures.pop();
            let (host, gpus) = self.running.remove(&task).expect("a task that goes was placed");
            self.session.take_off(&self.requests[task], host, gpus);
            self.allocated = self.allocated.minus(Amounts::of(&self.tasks[task].shape));
        }
    }

    /// Moves tasks so that hosts are free, each as soon as there is room for it at both places; then lets those that wait have what is free.
    fn defragment(&mut self, max_moves: usize, now: u64) {
        // What brought nothing the last time would bring nothing now.
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let before = self.hosts_used();
        let plan = moving::defragment(
            self.hosts,
            self.session.hosts(),
            &self.running,
            self.requests,
            max_moves,
        );
        let mut moves = 0;
        for planned in &plan.moves {
            let task = moving::number_of(planned.task);
            let mut replacement = self.requests[task].clone();
            replacement.only_hosts = Some([planned.to].into());
            // The plan may have taken other GPUs of a host for an earlier move than the policy does: what then finds no room stays.
            if let Some(placement) = self.session.place(&replacement) {
                let at = (placement.host(), placement.gpus);
                let (host, gpus) = self.running.insert(task, at).expect("a task that is moved runs");
                self.session.take_off(&self.requests[task], host, gpus);
                moves += 1;
            }
        }
        let freed = before.saturating_sub(self.hosts_used());
        if let Some(moved) = &mut self.replay.moved {
            moved.moves += moves;
            moved.hosts_freed += freed;
        }
        if moves > 0 {
            self.try_waiting(now);
        }
    }

    fn hosts_used(&mut self) -> usize {
        self.session.hosts().filter(|host| host.tasks > 0).count()
    }

    fn try_waiting(&mut self, now: u64) {
        for task in std::mem::take(&mut self.waiting) {
            if !self.place(task, now) {
                self.waiting.push_back(task);
            }
        }
    }

    fn place(&mut self, number: usize, now: u64) -> bool {
        let Some(placement) = self.session.place(&self.requests[number]) else {
            return false;
        };
        let task = &self.tasks[number];
        self.running.insert(number, (placement.host(), placement.gpus));
        self.allocated = self.allocated.plus(Amounts::of(&task.shape));
        self.replay.waits_s.push(now - task.arrives_s);
        if let Some(lasts) = task.lasts_s {
            self.departures.push(Reverse((now.saturating_add(lasts), number)));
        }
        true
    }

    fn sample(&mut self, at_s: u64) -> Sample {
        let capacity = self.facts.capacity;
        let used = self.hosts_used();
        Sample {
            at_s,
            cpu: percent(self.allocated.cpu, capacity.cpu),
            memory: percent(self.allocated.memory, capacity.memory),
            gpu: percent(self.allocated.gpu, capacity.gpu),
            fragmented: percent(self.session.fragments(), capacity.gpu),
            hosts_used: used,
            hosts_needed: self.facts.hosts_needed(self.allocated),
            zone_skew: self.zone_skew(),
            waiting: self.waiting.len(),
            moves: self.replay.moved.map_or(0, |moved| moved.moves),
        }
    }

    fn zone_skew(&self) -> usize {
        let mut counts = BTreeMap::<&str, Vec<usize>>::new();
        for (task, (host, _)) in &self.running {
            let zone = self.facts.zone_of[usize::try_from(host.0).unwrap_or_default()];
            let of_group = counts.entry(&self.tasks[*task].group);
            of_group.or_insert_with(|| vec![0; self.facts.zones])[zone] += 1;
        }
        let skew = |zones: &Vec<usize>| zones.iter().max().unwrap_or(&0) - zones.iter().min().unwrap_or(&0);
        counts.values().map(skew).max().unwrap_or(0)
    }
}

/// What stays the same.
struct Facts {
    capacity: Amounts,
    /// What the hosts have of each resource, the most first.
    largest: [Vec<u64>; 3],
    zones: usize,
    /// By host.
    zone_of: Vec<usize>,
}

impl Facts {
    fn of(workload: &Workload) -> Self {
        let amounts = |of: fn(&Amounts) -> u64| {
            let hosts = workload.hosts.iter();
            let mut sizes: Vec<u64> = hosts
                .map(|host| of(&Amounts::new(host.registered, host.gpus.registered())))
                .collect();
            sizes.sort_unstable_by_key(|size| Reverse(*size));
            sizes
        };
        let mut zones = BTreeMap::new();
        let mut zone_of = vec![];
        for host in &workload.hosts {
            let zone = host.attributes.get(attribute_names::AVAILABILITY_ZONE);
            let next = zones.len();
            zone_of.push(*zones.entry(zone).or_insert(next));
        }
        Self {
            capacity: workload.capacity(),
            largest: [amounts(|a| a.cpu), amounts(|a| a.memory), amounts(|a| a.gpu)],
            zones: zones.len(),
            zone_of,
        }
    }

    fn hosts_needed(&self, allocated: Amounts) -> usize {
        let amounts = [allocated.cpu, allocated.memory, allocated.gpu];
        let needed = |(sizes, amount): (&Vec<u64>, u64)| {
            let mut left = amount;
            sizes
                .iter()
                .take_while(|size| {
                    let wanted = left > 0;
                    left = left.saturating_sub(**size);
                    wanted
                })
                .count()
        };
        self.largest.iter().zip(amounts).map(needed).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "host,cpu_units,memory_mib,gpus,gpu_model,zone\na,1024,1024,0,,one\nb,1024,1024,0,,two\n";

    fn played(tasks: &str) -> Replay {
        moved(tasks, None)
    }

    fn moved(tasks: &str, moving: Option<Moving>) -> Replay {
        let tasks = format!("task,group,cpu_units,memory_mib,gpus,gpu_milli,gpu_models,arrives_s,lasts_s\n{tasks}");
        let workload = Workload {
            hosts: Workload::read_hosts(HOSTS).expect("hosts"),
            tasks: Workload::read_tasks(&tasks).expect("tasks"),
        };
        replay(
            &workload,
            &"tightest".parse().expect("a policy"),
            moving,
            1,
            &mut |_, _| {},
        )
    }

    #[test]
    fn task_without_room_waits_until_another_has_gone_and_then_runs_as_long_as_it_lasts() {
        let replay = played("1,g,1024,1,0,,,0,100\n2,g,1024,1,0,,,0,50\n3,g,512,1,0,,,10,10\n4,g,600,1,0,,,20,5\n");
        // The third takes the room of the second at 50, and the fourth follows it at 60.
        assert_eq!(replay.waits_s, [0, 0, 40, 40]);
        assert_eq!(
            (replay.tasks, replay.without_host, replay.samples[0].waiting),
            (4, 0, 0)
        );
        let most = replay.samples.iter().map(|sample| sample.waiting).max();
        assert_eq!(most, Some(2));
    }

    #[test]
    fn task_that_fits_no_host_waits_to_the_end() {
        let replay = played("1,g,2000,1,0,,,0,100\n2,g,100,1,0,,,5,\n");
        assert_eq!((replay.without_host, replay.waits_s.len()), (1, 1));
        let last = replay.samples.last().expect("samples");
        assert_eq!(
            (last.hosts_used, last.hosts_needed, last.zone_skew, last.waiting),
            (1, 1, 1, 1)
        );
    }

    /// Two of 500 on the first host and one on the second, until the first goes; then one of 1000, for which no host has room unless two share one.
    const SCATTERED: &str = "1,g,500,1,0,,,0,50\n2,g,500,1,0,,,1,1000\n3,g,500,1,0,,,2,1000\n4,g,1000,1,0,,,100,10\n";

    #[test]
    fn task_finds_room_at_once_where_others_were_moved_together() {
        assert_eq!(played(SCATTERED).waits_s, [0, 0, 0, 901]);
        let moving = |max_moves| Some(Moving { every_s: 60, max_moves });
        let replay = moved(SCATTERED, moving(5));
        assert_eq!(replay.waits_s, [0, 0, 0, 0]);
        let expected = Moved {
            moves: 1,
            hosts_freed: 1,
        };
        assert_eq!(replay.moved, Some(expected));
        assert_eq!(replay.samples.last().map(|sample| sample.moves), Some(1));
        // Without a budget it is as if nothing was asked for.
        let replay = moved(SCATTERED, moving(0));
        assert_eq!(
            (replay.waits_s, replay.moved),
            (vec![0, 0, 0, 901], Some(Moved::default()))
        );
    }

    #[test]
    fn moved_tasks_hold_what_they_held_and_leave_nothing_behind() {
        let moving = Moving {
            every_s: 120,
            max_moves: 30,
        };
        for kind in crate::laboratory::Synthetic::ALL {
            let workload = crate::laboratory::generate(kind, 8, 300, 3);
            let policy = "random".parse().expect("a policy");
            let (mut looks, mut most) = (0, 0);
            let replay = replay(&workload, &policy, Some(moving), 1, &mut |sample, hosts| {
                looks += 1;
                most = most.max(sample.moves);
                let free: u64 = hosts.iter().map(|host| u64::from(host.free.cpu.0)).sum();
                let all = workload.capacity().cpu;
                assert!((percent(all - free, all) - sample.cpu).abs() < 1e-9, "{kind:?}");
            });
            assert!(looks > 100 && most > 0, "{kind:?}: {most} moves");
            assert_eq!(replay.waits_s.len() + replay.without_host, workload.tasks.len());
        }
    }
}
