//! Berth in virtual time: a whole cluster simulated in one thread from one seed, to find what faults bring to light.
//!
//! Real are core (`apply`, `reconcile`, `place`) and the engine of the Raft group, which is stepped. Modelled are what
//! surrounds them: disks, network, clocks, the shells of controllers and agents. Whatever is drawn is drawn from the seed,
//! so that a run that shows a violation can be made again, step by step.
//!
//! Owns the models, the faults and the checks; it must not know how the real shells are built.
//!
//! [`laboratory`] is another thing: it measures strategies of placement, on traces and on workloads that are drawn.

mod agent;
mod bug;
mod checks;
mod clients;
mod controller;
mod conversation;
mod disk;
mod draws;
mod faults;
mod hosts;
pub mod laboratory;
mod machine;
mod network;
mod run;
mod schedule;
mod world;

pub use bug::Bug;
pub use run::{Report, Violation, run, run_with};
