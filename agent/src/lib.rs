//! The agent of a Berth host: runs the tasks that the controllers assign to it.

pub mod runtime;
