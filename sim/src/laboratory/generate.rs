//! Workloads that are drawn, from distributions that others have published. Tasks come as a Poisson process whose rate keeps the hosts about full on
//! average. Pure.

use std::collections::BTreeSet;

use berth_core::model::Resources;
use berth_core::placement::{GpuNeed, Gpus, Shape};

use super::workload::{self, LabTask, Workload};
use crate::draws::Draws;

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synthetic {
    /// CPU and memory of each task uniform and independent of each other, up to half a host, and exponential times, as in studies of vector bin packing
    /// (Panigrahy et al., "Heuristics for Vector Bin Packing", 2011).
    Uniform,
    /// Times from a bounded Pareto distribution with exponent 0.69, the tail that Tirmazi et al. found for the CPU hours of jobs ("Borg: the Next Generation", EuroSys 2020):
    /// a hundredth of the tasks has most of the load. Sizes are those of EC2's families c, m and r: one to sixteen CPUs in powers of two, with 2, 4 or 8 GiB to each.
    HeavyTailed,
    /// CPU and memory of each task powers of two over five doublings and independent of each other, so that their proportions are far apart, and exponential times.
    PowersOfTwo,
    /// Services of several tasks each, in three zones, with the sizes that AWS Fargate offers, and exponential times.
    Services,
}

impl Synthetic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::HeavyTailed, Self::PowersOfTwo, Self::Services];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::HeavyTailed => "heavy-tailed",
            Self::PowersOfTwo => "powers-of-two",
            Self::Services => "services",
        }
    }
}

/// Every host.
const HOST: (u32, u32) = (32 * 1024, 128 * 1024);

/// Mean of exponential times, in seconds.
const MEAN_S: f64 = 3600.0;

/// Bounds of Pareto's times, in seconds: half a minute and a week.
const PARETO_S: (f64, f64) = (30.0, 604_800.0);

/// Exponent of Pareto's tail.
const PARETO_EXPONENT: f64 = 0.69;

/// Memory to a CPU in EC2's families c, m and r.
const MIB_OF_CPU: [u32; 3] = [2048, 4096, 8192];

/// Zones of the services.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// Tasks of a service, on average.
const TASKS_OF_SERVICE: u64 = 12;

/// Fargate's sizes: CPU units, and the least and the most memory in MiB, in steps of 1 GiB from 1 GiB on.
const FARGATE: [(u32, u32, u32); 5] = [
    (256, 512, 2048),
    (512, 1024, 4096),
    (1024, 2048, 8192),
    (2048, 4096, 16_384),
    (4096, 8192, 30_720),
];

/// Draws a workload of so many hosts and tasks.
#[must_use]
pub fn generate(kind: Synthetic, hosts: usize, tasks: usize, seed: u64) -> Workload {
    let mut draws = Draws::new(seed);
    let zone = |number: usize| (kind == Synthetic::Services).then(|| ZONES[number % ZONES.len()]);
    let host = |number: usize| {
        let registered = Resources::new(HOST.0, HOST.1);
        workload::host(
            number,
            &format!("host-{number}"),
            registered,
            Gpus::default(),
            zone(number),
        )
    };
    let mut drawn: Vec<LabTask> = (0..tasks).map(|number| task(kind, number, tasks, &mut draws)).collect();
    set_arrivals(&mut drawn, hosts, &mut draws);
    Workload {
        hosts: (0..hosts).map(host).collect(),
        tasks: drawn,
    }
}

fn task(kind: Synthetic, number: usize, tasks: usize, draws: &mut Draws) -> LabTask {
    let (size, group, lasts) = match kind {
        Synthetic::Uniform => {
            let of = |all: u32, draws: &mut Draws| share(draws.between(1, u64::from(all / 2)));
            let size = Resources::new(of(HOST.0, draws), of(HOST.1, draws));
            (size, "tasks".to_owned(), exponential(draws) * MEAN_S)
        }
        Synthetic::HeavyTailed => {
            let cpus = 1 << share(draws.below(5));
            let mib_of_cpu = draws.pick(&MIB_OF_CPU).unwrap_or(MIB_OF_CPU[0]);
            let size = Resources::new(1024 * cpus, mib_of_cpu * cpus);
            (size, "jobs".to_owned(), bounded_pareto(draws))
        }
        Synthetic::PowersOfTwo => {
            let size = Resources::new(1024 << draws.below(5), 2048 << draws.below(6));
            (size, "tasks".to_owned(), exponential(draws) * MEAN_S)
        }
        Synthetic::Services => {
            let services = (tasks as u64).div_ceil(TASKS_OF_SERVICE);
            let (cpu, least, most) = draws.pick(&FARGATE).unwrap_or(FARGATE[0]);
            let steps = most.saturating_sub(1024) / 1024;
            let memory = (1024 * (1 + share(draws.below(u64::from(steps) + 1)))).clamp(least, most);
            let service = format!("service:web-{}", draws.below(services));
            (Resources::new(cpu, memory), service, exponential(draws) * MEAN_S)
        }
    };
    LabTask {
        name: format!("task-{number}"),
        group,
        shape: Shape {
            resources: size,
            gpu: GpuNeed::None,
            gpu_models: BTreeSet::new(),
        },
        arrives_s: 0,
        lasts_s: Some(seconds(lasts).max(1)),
    }
}

/// A Poisson process: as much CPU or memory is asked for over time as the hosts have.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn set_arrivals(tasks: &mut [LabTask], hosts: usize, draws: &mut Draws) {
    let load = |task: &LabTask| {
        let (size, lasts) = (task.shape.resources, task.lasts_s.unwrap_or(0) as f64);
        let of_host = (f64::from(size.cpu.0) / f64::from(HOST.0)).max(f64::from(size.memory.0) / f64::from(HOST.1));
        of_host * lasts
    };
    let host_seconds: f64 = tasks.iter().map(load).sum();
    let between = host_seconds / hosts.max(1) as f64 / tasks.len().max(1) as f64;
    let mut now = 0.0;
    for task in tasks {
        now += exponential(draws) * between;
        task.arrives_s = seconds(now);
    }
}

/// Above 0 and at most 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
fn uniform(draws: &mut Draws) -> f64 {
    ((draws.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// With mean 1.
fn exponential(draws: &mut Draws) -> f64 {
    -uniform(draws).ln()
}

fn bounded_pareto(draws: &mut Draws) -> f64 {
    let (low, high) = PARETO_S;
    let cut = 1.0 - (low / high).powf(PARETO_EXPONENT);
    low / (1.0 - (1.0 - uniform(draws)) * cut).powf(1.0 / PARETO_EXPONENT)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some years at most"
)]
fn seconds(of: f64) -> u64 {
    of.round() as u64
}

fn share(of: u64) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_drawn_twice_from_a_seed_is_the_same_and_has_the_shape_that_its_kind_says() {
        for kind in Synthetic::ALL {
            let workload = generate(kind, 10, 2000, 7);
            assert_eq!(workload, generate(kind, 10, 2000, 7));
            assert!(workload.tasks.is_sorted_by_key(|task| task.arrives_s));
            let room = workload.hosts[0].registered;
            assert!(
                workload
                    .tasks
                    .iter()
                    .all(|task| room.checked_sub(task.shape.resources).is_some())
            );
        }
        let lasts = |kind| {
            let tasks = generate(kind, 10, 20_000, 3).tasks;
            let mut all: Vec<u64> = tasks.iter().filter_map(|task| task.lasts_s).collect();
            all.sort_unstable_by_key(|seconds| std::cmp::Reverse(*seconds));
            (
                all.iter().take(200).sum::<u64>() * 100 / all.iter().sum::<u64>(),
                all.iter().sum::<u64>() / 20_000,
            )
        };
        let (of_hundredth, _) = lasts(Synthetic::HeavyTailed);
        assert!(
            of_hundredth > 30,
            "a hundredth of the tasks has {of_hundredth} % of the time"
        );
        let (of_hundredth, mean) = lasts(Synthetic::Uniform);
        assert!(
            of_hundredth < 8 && (3500..3700).contains(&mean),
            "{of_hundredth} {mean}"
        );
    }
}
