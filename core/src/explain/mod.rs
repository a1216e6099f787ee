//! Why a task is where it is, and why another would not go to a host: made of what tasks keep of their placement and of the state as
//! it is, with the same filters and scores that place. It changes nothing. Pure.
//!
//! - `why.rs`: the decision that a task keeps, in words.
//! - `why_not.rs`: what every host says to a service's next task.
//! - `standstill.rs`: what keeps a service from its tasks whatever room there is.
//! - `change.rs`: the smallest changes with which it would fit.

mod change;
mod standstill;
mod why;
mod why_not;

#[cfg(test)]
mod tests;

pub use change::{Change, HeldBy, Remedy};
pub use why::{Bound, Candidate, DecidedBy, Term, Why, why};
pub(crate) use why_not::answers;
pub use why_not::{HostAnswer, WhyNot, why_not, why_not_yet};
