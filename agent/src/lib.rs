//! The agent of a Berth host: runs the tasks that the controllers assign to it.

pub mod image;
pub mod logs;
pub mod network;
mod process;
pub mod runtime;
