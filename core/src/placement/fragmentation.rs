//! Fragmentation of GPUs: how much of what a host has free is of no use to the tasks that are typical, as Weng et al. define it
//! ("Beware of Fragmentation", USENIX ATC 2023). Integers alone. Pure.
//!
//! For one typical task, what is free is of use where the host could take the task: then the devices that have too little for
//! it are fragments, and otherwise all of them are. For a task that needs no GPU all of them are. The fragmentation is the mean over the
//! typical tasks, each with its weight.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::board::{AllowedModels, Free, ModelIndex};
use super::gpus::GpuNeed;
use super::problem::Shape;

/// Of a hundred tasks, those that typical ones stand for; the rest are of shapes too rare to count.
const TYPICAL_OF_HUNDRED: u64 = 95;

/// What tasks usually take: the commonest shapes, and how many tasks have each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypicalTasks {
    kinds: Vec<(Kind, u64)>,
}

/// What fragmentation looks at of a shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    cpu: u32,
    gpu: GpuNeed,
    models: BTreeSet<String>,
}

impl TypicalTasks {
    /// What is typical of tasks with these shapes.
    #[must_use]
    pub fn of<'s>(shapes: impl IntoIterator<Item = &'s Shape>) -> Self {
        let mut counts = BTreeMap::<Kind, u64>::new();
        for shape in shapes {
            let kind = Kind {
                cpu: shape.resources.cpu.0,
                gpu: shape.gpu,
                models: shape.gpu_models.clone(),
            };
            *counts.entry(kind).or_default() += 1;
        }
        let all: u64 = counts.values().sum();
        let mut kinds: Vec<(Kind, u64)> = counts.into_iter().collect();
        kinds.sort_by_cached_key(|(kind, count)| Reverse((*count, kind.clone())));
        let mut before = 0;
        kinds.retain(|(_, count)| {
            let wanted = before * 100 < all * TYPICAL_OF_HUNDRED;
            before += count;
            wanted
        });
        Self { kinds }
    }
}

/// Typical tasks on the hosts of one board.
pub(super) struct Measure {
    typical: Vec<TypicalNeed>,
    weight: u64,
}

struct TypicalNeed {
    cpu: u32,
    gpu: GpuNeed,
    models: AllowedModels,
    weight: u64,
}

impl Measure {
    pub(super) fn new(tasks: &TypicalTasks, models: impl Fn(&BTreeSet<String>) -> AllowedModels) -> Self {
        let need = |(kind, count): &(Kind, u64)| TypicalNeed {
            cpu: kind.cpu,
            gpu: kind.gpu,
            models: models(&kind.models),
            weight: *count,
        };
        Self {
            typical: tasks.kinds.iter().map(need).collect(),
            weight: tasks.kinds.iter().map(|(_, count)| count).sum(),
        }
    }

    /// The weight of all typical tasks together.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// What is of no use of a host with so much free, in thousandths of a GPU, times [`Self::weight`].
    pub(super) fn fragments(&self, free: &Free, model: ModelIndex) -> u64 {
        let total = free.gpus.total();
        if total == 0 {
            return 0;
        }
        let of = |need: &TypicalNeed| u64::from(need.fragments(free, total, model)) * need.weight;
        self.typical.iter().map(of).sum()
    }
}

impl TypicalNeed {
    fn fragments(&self, free: &Free, total: u32, model: ModelIndex) -> u32 {
        if self.gpu == GpuNeed::None || free.resources.cpu.0 < self.cpu || !self.models.allow(model) {
            return total;
        }
        let share = self.gpu.per_device();
        let (mut enough, mut too_small) = (0, 0);
        for free in free.gpus.shares() {
            let fits = *free >= share;
            enough += usize::from(fits);
            too_small += if fits { 0 } else { u32::from(*free) };
        }
        if enough >= self.gpu.devices() { too_small } else { total }
    }
}
