//! The operations of Berth's own service, one file each. Shell.

mod authority;
mod explained;
mod join_token;
mod listed;
mod log_places;
mod log_rounds;
mod member_id;
mod places;
mod predicted;
mod rebalanced;

pub(super) mod create_backup;
pub(super) mod create_join_token;
pub(super) mod describe_authority;
pub(super) mod describe_host_settings;
pub(super) mod describe_hosts;
pub(super) mod describe_rebalance;
pub(super) mod explain_placement;
pub(super) mod export_decisions;
pub(super) mod get_backup_part;
pub(super) mod get_decisions_part;
pub(super) mod get_events;
pub(super) mod get_task_logs;
pub(super) mod list_join_tokens;
pub(super) mod list_members;
pub(super) mod plan_rebalance;
pub(super) mod predict_changes;
pub(super) mod promote_member;
pub(super) mod remove_host;
pub(super) mod remove_member;
pub(super) mod revoke_join_token;
pub(super) mod rotate_authority;
pub(super) mod start_rebalance;
pub(super) mod stop_rebalance;
pub(super) mod transfer_leadership;
pub(super) mod update_host_settings;
pub(super) mod watch_resources;
