//! ECS's operations, one file each, against shared helpers: [`references`] finds what a name or ARN means; [`tags`], [`placement`],
//! [`capacity_providers`],
//! [`overrides`] and [`definition`] read what requests carry; [`new_task`] makes standalone tasks; [`render`] shapes
//! answers. Shell; the helpers are pure.

mod account_settings;
pub(super) mod attributes;
mod capacity_providers;
pub(super) mod cluster_settings;
mod definition;
mod idempotency;
mod names;
mod new_task;
mod overrides;
pub(super) mod placement;
pub(super) mod references;
pub(super) mod render;
pub(super) mod service_input;
pub(super) mod taggable;
pub(super) mod tags;
mod task_protection;

pub(super) mod create_capacity_provider;
pub(super) mod create_cluster;
pub(super) mod create_service;
pub(super) mod delete_account_setting;
pub(super) mod delete_attributes;
pub(super) mod delete_capacity_provider;
pub(super) mod delete_cluster;
pub(super) mod delete_service;
pub(super) mod delete_task_definitions;
pub(super) mod deregister_container_instance;
pub(super) mod deregister_task_definition;
pub(super) mod describe_capacity_providers;
pub(super) mod describe_clusters;
pub(super) mod describe_container_instances;
pub(super) mod describe_services;
pub(super) mod describe_task_definition;
pub(super) mod describe_tasks;
pub(super) mod discover_poll_endpoint;
pub(super) mod get_task_protection;
pub(super) mod list_account_settings;
pub(super) mod list_attributes;
pub(super) mod list_clusters;
pub(super) mod list_container_instances;
pub(super) mod list_services;
pub(super) mod list_services_by_namespace;
pub(super) mod list_tags_for_resource;
pub(super) mod list_task_definition_families;
pub(super) mod list_task_definitions;
pub(super) mod list_tasks;
pub(super) mod put_account_setting;
pub(super) mod put_account_setting_default;
pub(super) mod put_attributes;
pub(super) mod put_cluster_capacity_providers;
pub(super) mod register_task_definition;
pub(super) mod run_task;
pub(super) mod start_task;
pub(super) mod stop_task;
pub(super) mod tag_resource;
pub(super) mod untag_resource;
pub(super) mod update_capacity_provider;
pub(super) mod update_cluster;
pub(super) mod update_cluster_settings;
pub(super) mod update_container_agent;
pub(super) mod update_container_instances_state;
pub(super) mod update_service;
pub(super) mod update_task_protection;
