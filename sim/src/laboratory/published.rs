//! What others measured by inflation on the openb trace: the artifact of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
//! Gradient Descent" (USENIX ATC 2023), the mean of ten seeds for its workload "default". Pure data.

use std::ops::Range;

/// Seeds of the published experiments.
pub const SEEDS: Range<u64> = 42..52;

/// Requested shares, in percent of all GPUs, at which allocated shares are given.
pub const REQUESTED: [u32; 3] = [90, 100, 130];

/// A policy's published figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// What the authors call it.
    pub called: &'static str,
    /// The name of the policy here.
    pub policy: &'static str,
    /// Allocated shares of all GPUs in percent, at each of [`REQUESTED`].
    pub allocated: [f64; 3],
}

/// The table.
pub const PUBLISHED: [Published; 6] = [
    of("Random", "random", [85.02, 86.30, 87.47]),
    of("DotProd", "dot-product", [89.98, 90.62, 90.85]),
    of("GpuClustering", "gpu-clustering", [89.98, 91.65, 91.88]),
    of("GpuPacking", "gpu-packing", [89.98, 91.78, 92.00]),
    of("BestFit", "best-fit", [89.99, 92.86, 93.08]),
    of("FGD", "fragmentation", [89.98, 95.23, 95.39]),
];

const fn of(called: &'static str, policy: &'static str, allocated: [f64; 3]) -> Published {
    Published {
        called,
        policy,
        allocated,
    }
}
