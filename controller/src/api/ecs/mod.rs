//! ECS's operations, one file each, against shared helpers: [`references`] finds what a name or ARN means, [`tags`] and [`placement`]
//! convert what many requests carry, [`render`] shapes answers. Shell.

pub(super) mod references;
pub(super) mod tags;

pub(super) mod list_task_definition_families;
