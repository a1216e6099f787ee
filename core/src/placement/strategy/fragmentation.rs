//! `berth:fragmentation`: where the task makes the least of the GPUs useless to typical tasks. A service that shrinks gives up the task that gives
//! most of them back. The policy "FGD" of Weng et al. (USENIX ATC 2023), fragmentation gradient descent: the change of a host's
//! fragmentation becomes points out of a hundred by the logistic function, hosts with equal points are equal, and the first of them
//! is taken, so that tasks gather. Pure.

use std::sync::Arc;

use super::{Arrival, Dependence, Strategy};
use crate::model::TaskId;
use crate::placement::board::{Board, Free, HostIndex};
use crate::placement::fragmentation::Measure;
use crate::placement::gpus::{GpuNeed, GpuSet};
use crate::placement::problem::Holding;

/// By how many millionths of a GPU the fragmentation may grow for a host to get so many points, from 1 on; the logarithm of (100 - points) / points.
/// It is antisymmetric about 50 points.
const GROWTH_FOR_POINTS: [i64; 50] = [
    4_595_120, 3_891_820, 3_476_099, 3_178_054, 2_944_439, 2_751_535, 2_586_689, 2_442_347, 2_313_635, 2_197_225,
    2_090_741, 1_992_430, 1_900_959, 1_815_290, 1_734_601, 1_658_228, 1_585_627, 1_516_347, 1_450_010, 1_386_294,
    1_324_925, 1_265_666, 1_208_311, 1_152_680, 1_098_612, 1_045_969, 994_623, 944_462, 895_384, 847_298, 800_119,
    753_772, 708_185, 663_294, 619_039, 575_364, 532_217, 489_548, 447_312, 405_465, 363_965, 322_773, 281_851,
    241_162, 200_671, 160_343, 120_144, 80_043, 40_005, 0,
];

/// Most points.
const POINTS: i64 = 100;

/// See the module.
pub(super) struct Fragmentation {
    measure: Arc<Measure>,
}

impl Fragmentation {
    pub(super) fn new(board: &mut Board) -> Self {
        Self {
            measure: board.watch_fragmentation(),
        }
    }

    /// What is of no use with the task on the host, in the unit of the measure, and the devices with which that is least.
    fn with_task(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> (u64, GpuSet) {
        let (free, need) = (board.all_free(host), arrival.shape.gpu);
        let left = |gpus: GpuSet| {
            let free = free.without(arrival.shape, gpus);
            (self.measure.fragments(&free, board.model(host)), gpus)
        };
        let GpuNeed::Share(share) = need else {
            return left(free.gpus.best_fit(need));
        };
        let shares = free.gpus.shares();
        let first_alike = |device: &usize| !shares[..*device].contains(&shares[*device]);
        let devices = free.gpus.fitting(share).filter(first_alike);
        let choices = devices.map(|device| left(GpuSet::from_iter([device])));
        choices.min().unwrap_or_else(|| left(GpuSet::default()))
    }

    /// Points that are missing to the most, for a fragmentation that goes from one to another.
    fn missing_points(&self, before: u64, after: u64) -> u64 {
        let growth = i128::from(after) - i128::from(before);
        let weight = i128::from(self.measure.weight().max(1));
        // Thousandths of a GPU times the weight against millionths.
        let is_within = |limit: i64| growth * 1_000 <= i128::from(limit) * weight;
        let limit_of = |points: i64| match usize::try_from(points).expect("from 1 to 99") {
            low @ ..=50 => GROWTH_FOR_POINTS[low - 1],
            high => -GROWTH_FOR_POINTS[99 - high],
        };
        let (mut reached, mut missed) = (0, POINTS);
        while missed - reached > 1 {
            let points = i64::midpoint(reached, missed);
            if is_within(limit_of(points)) {
                reached = points;
            } else {
                missed = points;
            }
        }
        (POINTS - reached).unsigned_abs()
    }

    /// Points of a host for a task that comes, missing to the most.
    pub(super) fn missing_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        let (after, _) = self.with_task(board, host, arrival);
        self.missing_points(board.fragments(host), after)
    }

    /// The devices that the task should take.
    pub(super) fn devices(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> GpuSet {
        self.with_task(board, host, arrival).1
    }

    /// Points of a host for a task that goes, missing to the most.
    pub(super) fn missing_to_stop(&self, board: &Board, host: HostIndex, holds: &Holding) -> u64 {
        let left: Free = board.all_free(host).with(holds);
        let after = self.measure.fragments(&left, board.model(host));
        self.missing_points(board.fragments(host), after)
    }
}

impl Strategy for Fragmentation {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        self.missing_to_place(board, host, arrival)
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        self.missing_to_stop(board, host, holds)
    }

    fn choose_gpus(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> Option<GpuSet> {
        Some(self.devices(board, host, arrival))
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Seed, Shape, TypicalTasks};

    /// Points for a fragmentation that grows by so many thousandths of a GPU.
    fn points(growth: i64) -> u64 {
        let mut board = Board::new([].into_iter(), TypicalTasks::of(&[Shape::default()]), Seed(0));
        let base = 1_000_000_u64;
        let after = base.saturating_add_signed(growth);
        100 - Fragmentation::new(&mut board).missing_points(base, after)
    }

    #[test]
    fn points_are_those_of_the_logistic_function_rounded_down() {
        let expected = [
            (-5000, 99),
            (-1000, 73),
            (-1, 50),
            (0, 50),
            (1, 49),
            (1000, 26),
            (2000, 11),
            (5000, 0),
        ];
        for (growth, score) in expected {
            assert_eq!(points(growth), score, "{growth}");
        }
        let all: Vec<u64> = (-6000..6000).map(points).collect();
        assert!(
            all.windows(2).all(|two| two[0] >= two[1]),
            "more growth never gives more points"
        );
    }
}
