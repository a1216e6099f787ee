//! The laboratory: what strategies of placement do with a workload, real or drawn, measured with the same engine that places tasks in
//! production. Nothing here reads a file or a clock, and the same seed gives the same experiment. Pure.
//!
//! - `workload.rs`: hosts and tasks of an experiment; `csv.rs`, `openb.rs`, `berth_csv.rs`: as text.
//! - `optimum.rs`: how far strategies are from the best that there could be, on small problems.
//! - `policy.rs`: strategies by the names that users give them.
//! - `generate.rs`: workloads that are drawn; `arrivals.rs`: tasks come and go in virtual time; `moving.rs`: and are moved; `packing.rs`: as few hosts as possible;
//!   [`leftovers`]: what that leaves on them.
//! - [`recorded`]: decisions that a cluster made, decided again, and as other strategies would have.
//! - [`report`]: tables, CSV and pages of what came out; `chart.rs`, `axis.rs`, `page.rs`: plots, in a page and as pictures.
//! - `inflation.rs`: tasks come until more is asked for than there is, and none goes. `published.rs`: what others measured that way.

mod arrivals;
mod axis;
mod berth_csv;
mod chart;
mod csv;
mod generate;
mod inflation;
pub mod leftovers;
mod moving;
mod openb;
mod optimum;
mod packing;
mod page;
mod policy;
mod published;
pub mod recorded;
pub mod report;
mod workload;

pub use arrivals::{Replay, Sample, replay};
pub use csv::CsvError;
pub use generate::{Synthetic, generate};
pub use inflation::{Curve, Point, inflate};
pub use moving::{Moved, Moving};
pub use optimum::{Gaps, Sizes, Way, gaps};
pub use packing::{Packed, pack};
pub use policy::{Policy, PolicyError};
pub use published::{PUBLISHED, Published, REQUESTED, SEEDS};
pub use workload::{LabTask, Workload, WorkloadError};
