//! Berth's pure core: the model, the state machine, placement, reconcilers and the task lifecycle.
//!
//! Nothing here is async, reads a clock, draws randomness, does IO or logs. Time enters as
//! [`model::Timestamp`], randomness as [`ids::IdSource`] or a seed, and everything that must be explained
//! is returned as data. The same functions therefore run in production, in tests and in simulations.

pub mod announcements;
pub mod decisions;
pub mod explain;
pub mod ids;
pub mod model;
pub mod placement;
pub mod rebalance;
pub mod reconcile;
pub mod scaling;
pub mod state;
pub mod task_lifecycle;
pub mod what_if;
