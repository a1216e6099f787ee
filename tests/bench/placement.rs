//! How fast placement decides, and how few hosts it takes: tasks of mixed sizes on hosts that are alike, one by one and as a batch, in one process
//! without a controller. The sizes follow from a seed. Shell around `berth_core::placement`.
//!
//! `placement-bench [HOSTS TASKS [CASE]]`, by default 10,000 hosts in 3 zones, 100,000 tasks of 500 services, and all cases.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_core::model::{
    Attributes, BinpackResource, ContainerInstanceId, PlacementConstraint, PlacementExtension, PlacementStrategy,
    Resources, TaskId,
};
use berth_core::placement::{
    Ask, Host, Placement, PlacementProblem, Seed, Session, Shape, TaskRequest, TypicalTasks, place_together,
};

const HOST: (u32, u32) = (16_384, 65_536);
const ZONES: usize = 3;
const SERVICES: usize = 500;
const ZONE: &str = "ecs.availability-zone";

/// Numbers that look random and come from one seed (SplitMix64).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }

    /// Between the two, each power of two as likely as the next.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes are small"
    )]
    fn size(&mut self, least: f64, most: f64) -> u32 {
        let part = self.next() as f64 / u64::MAX as f64;
        (least.ln() + part * (most / least).ln()).exp() as u32
    }
}

fn hosts(count: usize) -> Vec<Host> {
    let host = |number: usize| {
        let id = ContainerInstanceId(number as u128);
        Host {
            attributes: Attributes::from([
                (ZONE.to_owned(), Some(format!("zone-{}", number % ZONES))),
                ("disk".to_owned(), Some(["ssd", "hdd"][number / ZONES % 2].to_owned())),
            ]),
            ..Host::idle(id, format!("host-{number}"), Resources::new(HOST.0, HOST.1))
        }
    };
    (0..count).map(host).collect()
}

/// Tasks of services, mixed as if many clients scaled theirs at once. Ten of them ask for most of what a host has.
fn requests(count: usize, strategies: &[PlacementStrategy], constraints: &[PlacementConstraint]) -> Vec<TaskRequest> {
    let mut draws = Draws(42);
    let sizes: Vec<Resources> = (0..SERVICES)
        .map(|_| {
            let cpu = draws.size(60.0, 6_700.0);
            let memory = draws.size(220.0, 27_000.0);
            Resources::new(cpu.min(HOST.0), memory.min(HOST.1))
        })
        .collect();
    let ask = |(service, size): (usize, &Resources)| Ask {
        group: format!("service:service-{service}"),
        shape: Shape::of(*size),
        constraints: constraints.to_vec(),
        strategies: strategies.to_vec(),
        ..Ask::default()
    };
    let asks: Vec<Arc<Ask>> = sizes.iter().enumerate().map(ask).map(Arc::new).collect();
    let request = |number: usize| TaskRequest::new(TaskId(number as u128), Arc::clone(&asks[draws.below(SERVICES)]));
    (0..count).map(request).collect()
}

/// What became of all tasks.
struct Outcome {
    seconds: f64,
    /// By task, sorted.
    times: Vec<Duration>,
    /// Hosts that got a task.
    used: usize,
    unplaced: usize,
    /// The most by which zones differ in the tasks of one service.
    skew: u32,
}

fn run(hosts: &[Host], requests: &[TaskRequest], explains: bool, timed: bool) -> Outcome {
    let mut session = Session::new(hosts, TypicalTasks::default(), Seed(7));
    if !explains {
        session = session.without_explanations();
    }
    let mut placed = Vec::with_capacity(requests.len());
    let mut times = Vec::new();
    let started = Instant::now();
    for request in requests {
        let before = timed.then(Instant::now);
        placed.push(session.place(request));
        times.extend(before.map(|before| before.elapsed()));
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let places: Vec<_> = placed
        .iter()
        .map(|placement| placement.as_ref().map(Placement::host))
        .collect();
    outcome(seconds, times, requests, &places)
}

fn outcome(
    seconds: f64,
    times: Vec<Duration>,
    requests: &[TaskRequest],
    places: &[Option<ContainerInstanceId>],
) -> Outcome {
    let (mut used, mut zones) = (BTreeSet::new(), BTreeMap::<&str, [u32; ZONES]>::new());
    for (request, host) in requests.iter().zip(places) {
        let Some(host) = host else { continue };
        used.insert(*host);
        let host = usize::try_from(host.0).expect("numbered from 0");
        zones.entry(&request.group).or_default()[host % ZONES] += 1;
    }
    let skew = |zones: &[u32; ZONES]| {
        zones
            .iter()
            .max()
            .zip(zones.iter().min())
            .map_or(0, |(most, least)| most - least)
    };
    Outcome {
        seconds,
        times,
        used: used.len(),
        unplaced: places.iter().filter(|place| place.is_none()).count(),
        skew: zones.values().map(skew).max().unwrap_or(0),
    }
}

/// The same as a batch.
fn run_together(hosts: &[Host], requests: Vec<TaskRequest>) -> Outcome {
    let problem = PlacementProblem {
        hosts: hosts.to_vec(),
        requests,
        typical: None,
    };
    let started = Instant::now();
    let plan = place_together(&problem, Seed(7));
    let seconds = started.elapsed().as_secs_f64();
    let placed: BTreeMap<TaskId, ContainerInstanceId> = plan.placements().collect();
    let places = problem.requests.iter().map(|request| placed.get(&request.id).copied());
    outcome(seconds, Vec::new(), &problem.requests, &places.collect::<Vec<_>>())
}

fn least_hosts(requests: &[TaskRequest]) -> u64 {
    let total = |amount: fn(&Resources) -> u32| {
        requests
            .iter()
            .map(|r| u64::from(amount(&r.shape.resources)))
            .sum::<u64>()
    };
    total(|r| r.cpu.0)
        .div_ceil(u64::from(HOST.0))
        .max(total(|r| r.memory.0).div_ceil(u64::from(HOST.1)))
}

fn main() {
    let numbers = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let (host_count, task_count) = match numbers[..] {
        [hosts, tasks, ..] => (hosts, tasks),
        _ => (10_000, 100_000),
    };
    let zones = PlacementStrategy::Spread {
        field: format!("attribute:{ZONE}"),
    };
    let packed = |extension| vec![zones.clone(), PlacementStrategy::Extension { extension }];
    let memory = PlacementStrategy::Binpack {
        resource: BinpackResource::Memory,
    };
    let member = PlacementConstraint::MemberOf {
        expression: "attribute:disk == ssd or attribute:disk == hdd".to_owned(),
    };
    let bound = [member, PlacementConstraint::DistinctInstance];
    let cases = [
        (
            "spread zones, berth:tightest",
            packed(PlacementExtension::Tightest),
            &[][..],
        ),
        ("spread zones, berth:best-fit", packed(PlacementExtension::BestFit), &[]),
        ("spread zones, binpack memory", vec![zones.clone(), memory], &[]),
        (
            "the same as the first, memberOf and distinctInstance",
            packed(PlacementExtension::Tightest),
            &bound,
        ),
        (
            "spread zones, berth:dot-product",
            packed(PlacementExtension::DotProduct),
            &[],
        ),
    ];
    let hosts = hosts(host_count);
    println!("{host_count} hosts, {task_count} tasks of {SERVICES} services");
    let only = numbers.get(2);
    for (case, (name, strategies, constraints)) in cases.into_iter().enumerate() {
        if only.is_some_and(|only| *only != case) {
            continue;
        }
        let requests = requests(task_count, &strategies, constraints);
        let slow = strategies.contains(&PlacementStrategy::Extension {
            extension: PlacementExtension::DotProduct,
        });
        let rounds = if slow { 1 } else { 5 };
        let (mut plain, mut explained) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(run(&hosts, &requests, false, false).seconds);
            explained.push(run(&hosts, &requests, true, false).seconds);
        }
        let outcome = run(&hosts, &requests, true, true);
        let median = |seconds: &mut Vec<f64>| {
            seconds.sort_by(f64::total_cmp);
            seconds[seconds.len() / 2]
        };
        let (plain, explained) = (median(&mut plain), median(&mut explained));
        let at = |thousandths: usize| outcome.times[(outcome.times.len() - 1) * thousandths / 1000].as_nanos();
        println!(
            "{name}: {:.0}/s, explained {:.0}/s ({:+.0} %), one decision p50 {} p99 {} ns, {} hosts (least {}), {} unplaced, skew {}",
            task_count as f64 / plain,
            task_count as f64 / explained,
            (explained / plain - 1.0) * 100.0,
            at(500),
            at(990),
            outcome.used,
            least_hosts(&requests),
            outcome.unplaced,
            outcome.skew
        );
    }
    if only.is_none() {
        for count in [5_000, task_count] {
            let requests = requests(count, &packed(PlacementExtension::Tightest), &[]);
            let (least, alone) = (least_hosts(&requests), run(&hosts, &requests, false, false));
            let together = run_together(&hosts, requests);
            println!(
                "{count} tasks as a batch: {:.0}/s, {} hosts, one by one {}, least {least} ({:.3} and {:.3} of it), {} unplaced, skew {}",
                count as f64 / together.seconds,
                together.used,
                alone.used,
                together.used as f64 / least as f64,
                alone.used as f64 / least as f64,
                together.unplaced,
                together.skew
            );
        }
    }
}
