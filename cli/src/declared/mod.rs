//! Files that say what a cluster is to be, and how it becomes so.
//!
//! Owns the form of the files: documents of a kind whose members are those of ECS's requests, and Compose files. [`files`] reads them with
//! [`document`] and holds them against the model with [`check`]; [`plan`] compares them ([`compare`]) with what there is ([`live`]) before
//! anything is changed; [`carry_out`] makes the calls, [`looked`] keeps those for services apart, and [`settling`] waits. [`rehearsed`] asks
//! what the calls would lead to instead.

pub(crate) mod carry_out;
mod check;
mod compare;
mod compose;
mod document;
pub(crate) mod ended;
pub(crate) mod files;
pub(crate) mod live;
mod live_daemons;
pub(crate) mod looked;
pub(crate) mod plan;
mod plan_daemons;
mod problem;
pub(crate) mod rehearsed;
pub(crate) mod resource;
mod revision;
pub(crate) mod settling;
pub(crate) mod settling_daemons;
mod shown;
mod until_stable;
