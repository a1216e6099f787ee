//! The replicated state, changed by commands alone.

mod alarms;
mod capacity_providers;
mod daemons;
mod given;
mod health;
mod hosts;
mod levels;
mod lifecycle;
mod networks;
mod power;
mod preemption;
mod properties;
mod protection;
mod provisioning;
mod service_deployments;
mod services;
mod task_definitions;
mod task_sets;
mod tasks;
