//! Inflation: the tasks of a workload come in an order that is drawn, and after them more that are drawn from them, until they ask for so many
//! percent of what the hosts have. None goes. How much gets allocated on the way is how Weng et al. (USENIX ATC 2023) compare policies. Pure.
//!
//! The order of tasks follows from the seed alone, so that policies are compared on the same one. So does the order of the hosts, which decides
//! where a policy sees no difference.

use std::collections::BTreeSet;

use berth_core::model::ContainerInstanceId;
use berth_core::placement::{Host, Seed, Session, TaskRequest};

use super::policy::Policy;
use super::workload::{self, Amounts, LabTask, Workload};
use crate::draws::Draws;

/// What became of one experiment, by how much was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// For each whole percent of what the hosts have that was asked for, in order; percents at which no task came are left out.
    pub points: Vec<Point>,
    /// Tasks that came.
    pub tasks: u32,
    /// Those that found no host.
    pub without_host: u32,
}

/// The state around one percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What was asked for, in percent of what the hosts have, rounded.
    pub requested: u32,
    /// What was allocated, in percent: the mean over the tasks that came around this percent.
    pub allocated: f64,
    /// What was free and of no use to typical tasks, in percent of all GPUs, when the first of these tasks had come.
    pub fragmented: f64,
    /// Hosts with a task, in percent, when the first of these tasks had come.
    pub hosts_used: f64,
}

impl Curve {
    /// What was allocated when so much was asked for.
    #[must_use]
    pub fn allocated_at(&self, requested: u32) -> Option<f64> {
        let point = self.points.iter().find(|point| point.requested == requested)?;
        Some(point.allocated)
    }
}

/// Lets tasks come until they ask for `until_percent` of what the hosts have: of the GPUs, or of the CPU where there are none.
#[must_use]
pub fn inflate(workload: &Workload, policy: &Policy, until_percent: u32, seed: u64) -> Curve {
    let capacity = workload.capacity();
    let mut draws = Draws::new(seed);
    let order = order(workload, capacity.scarce(capacity), until_percent, &mut draws);
    let hosts = shuffled_hosts(&workload.hosts, &mut draws);
    let request = |(number, task): (usize, &&LabTask)| workload::request(number, task, policy.strategies());
    let requests: Vec<TaskRequest> = order.iter().enumerate().map(request).collect();
    let mut session = Session::new(&hosts, workload.typical(), Seed(seed));
    let mut progress = Progress::new(capacity, hosts.len());
    for request in &requests {
        let placed = session.place(request);
        progress.count(Amounts::of(&request.shape), placed.map(|placement| placement.host()));
        if progress.is_at_a_new_percent() {
            progress.look_at(session.fragments());
        }
    }
    progress.curve()
}

/// The tasks in the order in which they come.
fn order<'w>(workload: &'w Workload, capacity: u64, until_percent: u32, draws: &mut Draws) -> Vec<&'w LabTask> {
    let all = workload.capacity();
    let asks = |task: &LabTask| Amounts::of(&task.shape).scarce(all);
    let mut order: Vec<&LabTask> = workload.tasks.iter().collect();
    shuffle(&mut order, draws);
    let until = capacity * u64::from(until_percent) / 100;
    let mut requested: u64 = workload.tasks.iter().map(asks).sum();
    if requested > until {
        let mut sum = 0;
        let come = order.iter().take_while(|task| {
            sum += asks(task);
            sum <= until
        });
        let come = come.count();
        order.truncate(come);
        return order;
    }
    let asks_for_something = requested > 0;
    while asks_for_something && requested < until {
        let Some(task) = draws.pick(&order[..workload.tasks.len()]) else {
            break;
        };
        if requested + asks(task) > until {
            break;
        }
        requested += asks(task);
        order.push(task);
    }
    order
}

fn shuffled_hosts(hosts: &[Host], draws: &mut Draws) -> Vec<Host> {
    let mut shuffled = hosts.to_vec();
    shuffle(&mut shuffled, draws);
    for (number, host) in shuffled.iter_mut().enumerate() {
        host.id = ContainerInstanceId(number as u128);
    }
    shuffled
}

fn shuffle<T>(things: &mut [T], draws: &mut Draws) {
    for end in (1..things.len()).rev() {
        let other = usize::try_from(draws.below(end as u64 + 1)).unwrap_or_default();
        things.swap(end, other);
    }
}

/// What has come and what was placed so far.
struct Progress {
    capacity: Amounts,
    requested: Amounts,
    allocated: Amounts,
    all_hosts: usize,
    hosts: BTreeSet<ContainerInstanceId>,
    tasks: u32,
    without_host: u32,
    points: Vec<Gathering>,
}

/// A point that is not finished.
struct Gathering {
    requested: u32,
    allocated: f64,
    tasks: u32,
    fragmented: f64,
    hosts: usize,
}

impl Progress {
    fn new(capacity: Amounts, all_hosts: usize) -> Self {
        Self {
            capacity,
            all_hosts,
            requested: Amounts::default(),
            allocated: Amounts::default(),
            hosts: BTreeSet::new(),
            tasks: 0,
            without_host: 0,
            points: vec![],
        }
    }

    fn count(&mut self, asks: Amounts, host: Option<ContainerInstanceId>) {
        self.tasks += 1;
        self.requested = self.requested.plus(asks);
        match host {
            Some(host) => {
                self.allocated = self.allocated.plus(asks);
                self.hosts.insert(host);
            }
            None => self.without_host += 1,
        }
        let all = self.capacity.scarce(self.capacity);
        let requested = rounded(percent(self.requested.scarce(self.capacity), all));
        let allocated = percent(self.allocated.scarce(self.capacity), all);
        match self.points.last_mut().filter(|last| last.requested == requested) {
            Some(last) => {
                last.allocated += allocated;
                last.tasks += 1;
            }
            None => self.points.push(Gathering {
                requested,
                allocated,
                tasks: 1,
                fragmented: 0.0,
                hosts: self.hosts.len(),
            }),
        }
    }

    fn is_at_a_new_percent(&self) -> bool {
        self.points.last().is_some_and(|last| last.tasks == 1)
    }

    fn look_at(&mut self, fragments: u64) {
        if let Some(last) = self.points.last_mut() {
            last.fragmented = percent(fragments, self.capacity.gpu);
        }
    }

    fn curve(self) -> Curve {
        let all_hosts = self.all_hosts as u64;
        let point = |gathered: Gathering| Point {
            requested: gathered.requested,
            allocated: gathered.allocated / f64::from(gathered.tasks),
            fragmented: gathered.fragmented,
            hosts_used: percent(gathered.hosts as u64, all_hosts),
        };
        Curve {
            points: self.points.into_iter().map(point).collect(),
            tasks: self.tasks,
            without_host: self.without_host,
        }
    }
}

/// How much of the whole; nothing of nothing.
#[expect(clippy::cast_precision_loss, reason = "amounts of a cluster are far below 2^52")]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some hundred percent"
)]
fn rounded(percent: f64) -> u32 {
    percent.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laboratory::{Synthetic, generate};

    #[test]
    fn tasks_come_until_they_ask_for_what_was_wanted_even_if_the_workload_asks_for_more() {
        let policy: Policy = "tightest".parse().expect("a policy");
        let workload = generate(Synthetic::Uniform, 5, 60, 3);
        let asked_for = |until| {
            let curve = inflate(&workload, &policy, until, 1);
            (curve.points.last().expect("tasks came").requested, curve.tasks)
        };
        for until in [50, 130, 500] {
            let (requested, _) = asked_for(until);
            assert!((until - 20..=until).contains(&requested), "{requested} of {until}");
        }
        assert!(asked_for(50).1 < 60 && asked_for(500).1 > 60);
    }
}
