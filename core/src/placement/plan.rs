//! What was decided, with as much of the why as stays small: the whole why is in [`super::explain()`]. Pure data.

use std::sync::Arc;

use super::filter::FilterKind;
use super::gpus::GpuSet;
use super::refusal::Refusal;
use super::score::Score;
use crate::model::{ContainerInstanceId, Manner, TaskId};

/// A decision for each request, in the order of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementPlan {
    /// In what manner the tasks were placed.
    pub manner: Manner,
    /// The decisions.
    pub decisions: Vec<Decision>,
}

impl PlacementPlan {
    /// Tasks with the hosts chosen for them.
    pub fn placements(&self) -> impl Iterator<Item = (TaskId, ContainerInstanceId)> {
        self.decisions.iter().filter_map(|decision| match &decision.outcome {
            Outcome::Placed(placement) => Some((decision.task, placement.host())),
            Outcome::Unplaced(_) => None,
        })
    }

    /// Tasks that found no host.
    pub fn unplaced(&self) -> impl Iterator<Item = (TaskId, &Unplaced)> {
        self.decisions.iter().filter_map(|decision| match &decision.outcome {
            Outcome::Placed(_) => None,
            Outcome::Unplaced(unplaced) => Some((decision.task, &**unplaced)),
        })
    }
}

/// What was decided for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The request's task.
    pub task: TaskId,
    /// Where it goes, if anywhere.
    pub outcome: Outcome,
}

/// Where a task goes, if anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To a host.
    Placed(Placement),
    /// Nowhere. Requests that differ in nothing but their id share one, so that 2,000 of them on 10,000 hosts are small.
    Unplaced(Arc<Unplaced>),
}

/// A host for a task, and how it came to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// How many hosts were left after each filter.
    pub funnel: Funnel,
    /// Score of the host chosen.
    pub score: Score,
    /// Score of the next best host, if there was one.
    pub runner_up: Option<Score>,
    /// The host's GPUs that the task takes something of.
    pub gpus: GpuSet,
}

impl Placement {
    /// The host chosen.
    #[must_use]
    pub fn host(&self) -> ContainerInstanceId {
        self.score.host
    }
}

/// Why a task goes nowhere: of all hosts how many each filter refused, and of the closest everything that each has against it. What every host says is found out
/// where somebody asks, by [`super::explain()`]: very many hosts refuse very many tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unplaced {
    /// How many hosts were left after each filter.
    pub funnel: Funnel,
    /// The hosts that were considered and why they refused, the closest match first, 100 at most; empty where there was none.
    pub hosts: Vec<RefusedHost>,
    /// How many hosts were considered beside these.
    pub others: usize,
    /// Of all that were considered, those that lack nothing but what tasks hold: the hosts that make room for a task of this service, and the 200 closest others,
    /// the closest first.
    pub lack_room: Vec<ContainerInstanceId>,
}

/// A host and every reason for which it did not take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedHost {
    /// The host.
    pub host: ContainerInstanceId,
    /// What people call it.
    pub name: String,
    /// The refusals in the order of the filters; at least one.
    pub refusals: Vec<Refusal>,
}

impl RefusedHost {
    /// ECS's failure reason: that of the first refusal, and that it sleeps only where nothing else is against it.
    #[must_use]
    pub fn ecs_reason(&self) -> &'static str {
        let lasting = self.refusals.iter().find(|refusal| !refusal.is_sleep());
        let first = lasting.or(self.refusals.first());
        first.map_or("", Refusal::ecs_reason)
    }
}

/// How many hosts were left after each filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funnel {
    /// Hosts that the request may go to at all.
    pub considered: u32,
    left: [u32; FilterKind::ALL.len()],
}

impl Funnel {
    /// Hosts that passed this filter and those before it.
    #[must_use]
    pub fn left_after(&self, filter: FilterKind) -> u32 {
        self.left[filter as usize]
    }

    /// So many were considered, and so many left after each filter.
    pub(super) fn of(considered: u32, left_after: impl FnMut(FilterKind) -> u32) -> Self {
        Self {
            considered,
            left: FilterKind::ALL.map(left_after),
        }
    }

    pub(super) fn count(&mut self, stopped_by: Option<FilterKind>) {
        self.considered += 1;
        self.passed(stopped_by).iter_mut().for_each(|n| *n += 1);
    }

    /// Takes back that such a host was counted.
    pub(super) fn uncount(&mut self, stopped_by: Option<FilterKind>) {
        self.considered -= 1;
        self.passed(stopped_by).iter_mut().for_each(|n| *n -= 1);
    }

    fn passed(&mut self, stopped_by: Option<FilterKind>) -> &mut [u32] {
        let passed = stopped_by.map_or(self.left.len(), |filter| filter as usize);
        &mut self.left[..passed]
    }
}
