//! What can be asked about, as the commands by which it would come about. Pure.

use crate::ids::IdSource;
use crate::model::{
    AgentId, Attributes, CapacityProviderName, ClusterKey, ContainerInstanceId, ContainerInstanceStatus,
    HostDescription, PlacementStrategy, Resources, ServiceKey, Timestamp, attribute_names,
};
use crate::state::{Command, UpdateService};

/// Something that might happen or be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is heard of the host any more.
    LoseHost(ContainerInstanceId),
    /// The host is drained.
    DrainHost(ContainerInstanceId),
    /// A host joins.
    AddHost(NewHost),
    /// A service gets another desired count, another strategy, or both.
    UpdateService {
        /// The service.
        service: ServiceKey,
        /// Its new desired count.
        desired_count: Option<u32>,
        /// Its new strategy, with a new deployment, so that its tasks are placed by it.
        placement_strategy: Option<Vec<PlacementStrategy>>,
    },
    /// What a request comes to: a definition is registered, a service is made, changed or deleted, capacity providers are.
    Request(Box<Command>),
}

/// A host that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHost {
    /// What it is called.
    pub name: String,
    /// What it offers.
    pub capacity: Resources,
    /// Its availability zone.
    pub zone: Option<String>,
    /// The capacity provider whose pool it is in, if any.
    pub capacity_provider: Option<CapacityProviderName>,
    /// What its agent says of it beside the zone.
    pub attributes: Attributes,
}

impl Change {
    /// The command by which the change comes about in `cluster`.
    pub(super) fn command(&self, cluster: &ClusterKey, now: Timestamp, ids: &mut IdSource) -> Command {
        match self {
            Self::LoseHost(host) => Command::RecordAgentDisconnected {
                container_instance: *host,
                last_heard_at: now,
                at: now,
            },
            Self::DrainHost(host) => Command::UpdateContainerInstanceStatus {
                container_instance: *host,
                status: ContainerInstanceStatus::Draining,
                at: None,
            },
            Self::AddHost(host) => host.command(cluster, now, ids),
            Self::Request(command) => Command::clone(command),
            Self::UpdateService {
                service,
                desired_count,
                placement_strategy,
            } => Command::UpdateService(Box::new(UpdateService {
                desired_count: *desired_count,
                force_new_deployment: placement_strategy.is_some(),
                placement_strategy: placement_strategy.clone(),
                ..UpdateService::blank(service.clone(), ids.deployment_id(), now)
            })),
        }
    }
}

impl NewHost {
    fn command(&self, cluster: &ClusterKey, now: Timestamp, ids: &mut IdSource) -> Command {
        let zone = self
            .zone
            .clone()
            .map(|zone| (attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone)));
        let attributes = self.attributes.clone().into_iter().chain(zone);
        let id = ids.container_instance_id();
        Command::RegisterContainerInstance {
            id,
            previous: None,
            cluster: cluster.clone(),
            agent: AgentId::from(format!("what-if-{id}")),
            host: HostDescription {
                host_name: self.name.clone(),
                capacity: self.capacity,
                attributes: attributes.collect(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                runtime_version: String::new(),
                capacity_provider: self.capacity_provider.clone(),
                ecs_agent: None,
            },
            at: now,
        }
    }
}
