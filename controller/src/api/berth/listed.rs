//! All resources of a cluster in one order, and each as ECS describes it. Pure.

use berth_aws::berth::ResourceKind;
use berth_aws::ecs::{ClusterField, ContainerInstanceField};
use berth_core::announcements::Resource;
use berth_core::model::{
    CapacityProviderKey, ClusterKey, ContainerInstanceId, ServiceStatus, TaskDefinitionKey, TaskId,
};
use berth_core::state::ClusterState;
use serde_json::Value;

use crate::api::ecs::{render, tags};

/// What is shown of a cluster.
const OF_CLUSTER: [ClusterField; 4] = [
    ClusterField::Attachments,
    ClusterField::Settings,
    ClusterField::Statistics,
    ClusterField::Tags,
];

/// The kind of a resource.
pub(super) fn kind(resource: &Resource) -> ResourceKind {
    match resource {
        Resource::CapacityProvider(_) => ResourceKind::CapacityProvider,
        Resource::Cluster(_) => ResourceKind::Cluster,
        Resource::TaskDefinition(_) => ResourceKind::TaskDefinition,
        Resource::ContainerInstance(..) => ResourceKind::ContainerInstance,
        Resource::Service(_) => ResourceKind::Service,
        Resource::Task(..) => ResourceKind::Task,
    }
}

/// The next resources of these kinds, all kinds if none is named, at most `limit`: what belongs to the cluster, and the capacity providers and task
/// definitions of its account and region. Deregistered hosts and deleted services are left out, as ECS's lists leave them out.
pub(super) fn after(
    state: &ClusterState,
    cluster: &ClusterKey,
    kinds: &[ResourceKind],
    after: Option<&Resource>,
    limit: usize,
) -> Vec<Resource> {
    let is_wanted = |kind: ResourceKind| kinds.is_empty() || kinds.contains(&kind);
    let scope = &cluster.scope;
    // Ids are compared before keys are copied: a page near the end passes over many.
    let last_host = match after {
        Some(Resource::ContainerInstance(_, id)) => Some(*id),
        _ => None,
    };
    let last_task = match after {
        Some(Resource::Task(_, id)) => Some(*id),
        _ => None,
    };
    let providers = state.capacity_providers(scope);
    let providers = providers.map(|provider| Resource::CapacityProvider(provider.key.clone()));
    let itself = state.cluster(cluster).map(|found| Resource::Cluster(found.key.clone()));
    let definitions = state.task_definitions(scope);
    let definitions = definitions.map(|definition| Resource::TaskDefinition(definition.key.clone()));
    let hosts = state.container_instances_of(cluster).map(|host| host.id);
    let hosts = hosts.filter(|id| last_host.is_none_or(|last| *id > last));
    let hosts = hosts.map(|id| Resource::ContainerInstance(cluster.clone(), id));
    let services = state.services_of(cluster);
    let services = services.filter(|service| service.status != ServiceStatus::Inactive);
    let services = services.map(|service| Resource::Service(service.key.clone()));
    let tasks = state.tasks_of_cluster(cluster).map(|task| task.id);
    let tasks = tasks.filter(|id| last_task.is_none_or(|last| *id > last));
    let tasks = tasks.map(|id| Resource::Task(cluster.clone(), id));
    let all: [(ResourceKind, Box<dyn Iterator<Item = Resource> + '_>); 6] = [
        (ResourceKind::CapacityProvider, Box::new(providers)),
        (ResourceKind::Cluster, Box::new(itself.into_iter())),
        (ResourceKind::TaskDefinition, Box::new(definitions)),
        (ResourceKind::ContainerInstance, Box::new(hosts)),
        (ResourceKind::Service, Box::new(services)),
        (ResourceKind::Task, Box::new(tasks)),
    ];
    let first = after.map(kind);
    let of_kinds = all.into_iter().filter(|(kind, _)| is_wanted(*kind));
    // What is of an earlier kind is passed over as a whole.
    let place = |kind: ResourceKind| ORDER.iter().position(|other| *other == kind);
    let rest = of_kinds.filter(|(kind, _)| first.is_none_or(|first| place(*kind) >= place(first)));
    let found = rest.flat_map(|(_, resources)| resources);
    found
        .filter(|resource| after.is_none_or(|after| resource > after))
        .take(limit)
        .collect()
}

/// The kinds in the order in which they are listed.
const ORDER: [ResourceKind; 6] = [
    ResourceKind::CapacityProvider,
    ResourceKind::Cluster,
    ResourceKind::TaskDefinition,
    ResourceKind::ContainerInstance,
    ResourceKind::Service,
    ResourceKind::Task,
];

/// The resource as ECS's Describe operation of its kind shows it, with tags; `None` if it is gone.
pub(super) fn shown(state: &ClusterState, resource: &Resource) -> Option<Value> {
    let document = match resource {
        Resource::CapacityProvider(key) => {
            serde_json::to_value(render::capacity_provider(state.capacity_provider(key)?, true))
        }
        Resource::Cluster(key) => {
            serde_json::to_value(render::cluster::cluster(state, state.cluster(key)?, &OF_CLUSTER))
        }
        Resource::TaskDefinition(key) => {
            let definition = state.task_definition(key)?;
            let shown = serde_json::to_value(render::task_definition(definition));
            // ECS shows them beside the definition.
            shown.and_then(|mut shown| {
                shown["tags"] = serde_json::to_value(tags::render(&definition.tags))?;
                Ok(shown)
            })
        }
        Resource::ContainerInstance(cluster, id) => {
            let host = state.container_instance(*id).filter(|host| host.cluster == *cluster)?;
            let include = [ContainerInstanceField::Tags];
            serde_json::to_value(render::container_instance::container_instance(state, host, &include))
        }
        Resource::Service(key) => serde_json::to_value(render::service(state, state.service(key)?, true)),
        Resource::Task(cluster, id) => {
            let task = state.task(*id).filter(|task| task.cluster == *cluster)?;
            serde_json::to_value(render::task(state, task, true))
        }
    };
    document.ok()
}

/// A resource of a list as a text, for those who go on after it.
pub(super) fn write(resource: &Resource) -> String {
    match resource {
        Resource::CapacityProvider(key) => format!("capacity-provider/{}", key.name),
        Resource::Cluster(_) => "cluster/".to_owned(),
        Resource::TaskDefinition(key) => format!("task-definition/{}:{}", key.family, key.revision),
        Resource::ContainerInstance(_, id) => format!("container-instance/{id}"),
        Resource::Service(key) => format!("service/{}", key.name),
        Resource::Task(_, id) => format!("task/{id}"),
    }
}

/// The resource that a text stands for in a list of this cluster.
pub(super) fn read(cluster: &ClusterKey, text: &str) -> Option<Resource> {
    let (kind, name) = text.split_once('/')?;
    let scope = cluster.scope.clone();
    Some(match kind {
        "capacity-provider" => Resource::CapacityProvider(CapacityProviderKey {
            scope,
            name: name.into(),
        }),
        "cluster" => Resource::Cluster(cluster.clone()),
        "task-definition" => {
            let (family, revision) = name.rsplit_once(':')?;
            Resource::TaskDefinition(TaskDefinitionKey {
                scope,
                family: family.into(),
                revision: revision.parse().ok()?,
            })
        }
        "container-instance" => Resource::ContainerInstance(cluster.clone(), name.parse::<ContainerInstanceId>().ok()?),
        "service" => Resource::Service(cluster.service(name)),
        "task" => Resource::Task(cluster.clone(), name.parse::<TaskId>().ok()?),
        _ => return None,
    })
}
