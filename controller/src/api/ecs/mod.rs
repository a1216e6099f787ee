//! ECS's operations, one file each, against shared helpers: [`references`] finds what a name or ARN means, [`tags`] and [`placement`]
//! convert what many requests carry, [`render`] shapes answers. Shell.

pub(super) mod attributes;
pub(super) mod cluster_settings;
pub(super) mod references;
pub(super) mod render;
pub(super) mod taggable;
pub(super) mod tags;

pub(super) mod create_cluster;
pub(super) mod delete_attributes;
pub(super) mod delete_cluster;
pub(super) mod deregister_container_instance;
pub(super) mod describe_clusters;
pub(super) mod describe_container_instances;
pub(super) mod list_attributes;
pub(super) mod list_clusters;
pub(super) mod list_container_instances;
pub(super) mod list_tags_for_resource;
pub(super) mod list_task_definition_families;
pub(super) mod put_attributes;
pub(super) mod tag_resource;
pub(super) mod untag_resource;
pub(super) mod update_cluster;
pub(super) mod update_cluster_settings;
pub(super) mod update_container_instances_state;
