//! The operations of Berth's own service, one file each. Shell.

mod log_places;
mod log_rounds;

pub(super) mod create_backup;
pub(super) mod describe_host_settings;
pub(super) mod get_backup_part;
pub(super) mod get_task_logs;
pub(super) mod update_host_settings;
