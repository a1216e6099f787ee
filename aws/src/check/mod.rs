//! Holds a request's document against the tables of its shapes.
//!
//! First `types`: is every value of its member's type, and is every member known? Then `constraints`: what the model requires of
//! the values. Pure; the same for all protocols, since each reads a request into a JSON value first.

mod constraints;
mod types;

pub(crate) use constraints::check as constraints;
pub(crate) use types::normalise;
