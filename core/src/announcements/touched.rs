//! Which resources look other than before, as ECS describes them: with a task, also its service, its host and its cluster, which count it. Managed
//! daemons and their definitions are not among them. Pure.

use std::collections::BTreeSet;

use crate::model::{
    CapacityProviderKey, ClusterKey, ContainerInstanceId, Scope, ServiceKey, TaskDefinitionKey, TaskId,
};
use crate::state::{ClusterState, Command, Event, Taggable};

/// A resource that ECS describes, in the order in which all of them are listed: what others name comes before them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A capacity provider.
    CapacityProvider(CapacityProviderKey),
    /// A cluster.
    Cluster(ClusterKey),
    /// A revision of a task definition.
    TaskDefinition(TaskDefinitionKey),
    /// A host.
    ContainerInstance(ClusterKey, ContainerInstanceId),
    /// A service.
    Service(ServiceKey),
    /// A task.
    Task(ClusterKey, TaskId),
}

/// What a command touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// These resources.
    These(BTreeSet<Resource>),
    /// No resource can be relied on to be as it was.
    Everything,
}

impl Resource {
    /// The cluster that it is in; `None` for what belongs to all of an account and region.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterKey> {
        match self {
            Self::CapacityProvider(_) | Self::TaskDefinition(_) => None,
            Self::Cluster(cluster) | Self::ContainerInstance(cluster, _) | Self::Task(cluster, _) => Some(cluster),
            Self::Service(service) => Some(&service.cluster),
        }
    }

    /// The account and region that it is in.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        match self {
            Self::CapacityProvider(provider) => &provider.scope,
            Self::TaskDefinition(definition) => &definition.scope,
            Self::Cluster(cluster) | Self::ContainerInstance(cluster, _) | Self::Task(cluster, _) => &cluster.scope,
            Self::Service(service) => &service.cluster.scope,
        }
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::CapacityProvider(provider) => provider.arn(),
            Self::Cluster(cluster) => cluster.arn(),
            Self::TaskDefinition(definition) => definition.arn(),
            Self::ContainerInstance(cluster, id) => cluster.container_instance_arn(*id),
            Self::Service(service) => service.arn(),
            Self::Task(cluster, id) => cluster.task_arn(*id),
        }
    }
}

/// Hosts and tasks that `command` names, by ids which do not tell their clusters, as long as the state knows them.
pub(super) fn named(state: &ClusterState, command: &Command) -> BTreeSet<Resource> {
    let host = |id: &ContainerInstanceId| {
        let host = state.container_instance(*id)?;
        Some(Resource::ContainerInstance(host.cluster.clone(), *id))
    };
    match command {
        Command::Forget {
            container_instances, ..
        } => container_instances.iter().filter_map(host).collect(),
        Command::TagResource { resource, .. } | Command::UntagResource { resource, .. } => match resource {
            Taggable::Cluster(cluster) => BTreeSet::from([Resource::Cluster(cluster.clone())]),
            Taggable::Service(daemon) if daemon.is_of_daemon() => BTreeSet::new(),
            Taggable::TaskDefinition(definition) if definition.family.of_daemons().is_some() => BTreeSet::new(),
            Taggable::Service(service) => BTreeSet::from([Resource::Service(service.clone())]),
            Taggable::TaskDefinition(definition) => BTreeSet::from([Resource::TaskDefinition(definition.clone())]),
            Taggable::CapacityProvider(provider) => BTreeSet::from([Resource::CapacityProvider(provider.clone())]),
            Taggable::Alarm(_) => BTreeSet::new(),
            Taggable::ContainerInstance(id) => host(id).into_iter().collect(),
            Taggable::Task(id) => {
                let task = state.task(*id);
                task.map(|task| Resource::Task(task.cluster.clone(), *id))
                    .into_iter()
                    .collect()
            }
        },
        _ => BTreeSet::new(),
    }
}

/// What `command`, which gave `events` and [`named`] these, touched.
pub(super) fn by(command: &Command, events: &[Event], named: &BTreeSet<Resource>) -> Touched {
    let mut found = named.clone();
    for event in events {
        match event {
            Event::StateReset | Event::FeatureLevelRaised(_) => return Touched::Everything,
            event => add(&mut found, event),
        }
    }
    match command {
        Command::Forget { services, clusters, .. } => {
            let services = services.iter().filter(|service| !service.is_of_daemon());
            found.extend(services.cloned().map(Resource::Service));
            found.extend(clusters.iter().cloned().map(Resource::Cluster));
        }
        Command::ForgetTaskDefinitions { task_definitions } => {
            let own = task_definitions
                .iter()
                .filter(|definition| definition.family.of_daemons().is_none());
            found.extend(own.cloned().map(Resource::TaskDefinition));
        }
        _ => {}
    }
    Touched::These(found)
}

fn add(found: &mut BTreeSet<Resource>, event: &Event) {
    match event {
        Event::ClusterCreated(cluster) | Event::ClusterUpdated(cluster) | Event::ClusterDeleted(cluster) => {
            found.insert(Resource::Cluster(cluster.clone()));
        }
        Event::CapacityProviderCreated(provider)
        | Event::CapacityProviderUpdated(provider)
        | Event::CapacityProviderDeleted(provider) => {
            found.insert(Resource::CapacityProvider(provider.clone()));
        }
        Event::TaskDefinitionRegistered(definition)
        | Event::TaskDefinitionDeregistered(definition)
        | Event::TaskDefinitionDeleted(definition)
            if definition.family.of_daemons().is_some() => {}
        Event::ServiceCreated(daemon) | Event::ServiceUpdated(daemon) if daemon.is_of_daemon() => {}
        Event::TaskDefinitionRegistered(definition)
        | Event::TaskDefinitionDeregistered(definition)
        | Event::TaskDefinitionDeleted(definition) => {
            found.insert(Resource::TaskDefinition(definition.clone()));
        }
        Event::ServiceCreated(service) | Event::ServiceUpdated(service) => {
            found.insert(Resource::Service(service.clone()));
            found.insert(Resource::Cluster(service.cluster.clone()));
        }
        Event::TaskChanged(change) => {
            found.insert(Resource::Task(change.cluster.clone(), change.task));
            found.insert(Resource::Cluster(change.cluster.clone()));
            let service = change.service.as_ref().filter(|service| !service.is_of_daemon());
            found.extend(service.cloned().map(Resource::Service));
            let host = change.container_instance;
            found.extend(host.map(|id| Resource::ContainerInstance(change.cluster.clone(), id)));
        }
        Event::TaskForgotten { task, cluster, .. } => {
            found.insert(Resource::Task(cluster.clone(), *task));
        }
        Event::ContainerInstanceRegistered { id, cluster }
        | Event::ContainerInstanceChanged { id, cluster }
        | Event::ContainerInstanceDeregistered { id, cluster } => {
            found.insert(Resource::ContainerInstance(cluster.clone(), *id));
            found.insert(Resource::Cluster(cluster.clone()));
        }
        Event::PowerChanged { .. }
        | Event::TagsChanged(_)
        | Event::RequestRepeated { .. }
        | Event::DocumentChanged(_)
        | Event::RebalanceChanged(_)
        | Event::AlarmChanged(_)
        | Event::FeatureLevelRaised(_)
        | Event::StateReset => {}
    }
}
