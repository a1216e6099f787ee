//! The hosts of the simulated cluster, and what runs on them. Pure.

use berth_core::ids::IdSource;
use berth_core::model::*;
use berth_core::state::{ClientToken, Command, UpdateService};

use crate::bug::{Bug, Bugs};
use crate::conversation::AgentNumber;

/// Time between two heartbeats of an agent: the default of a cluster.
pub(crate) const HEARTBEAT_MS: u64 = 2_000;

/// Silence after which either end of a session gives it up.
pub(crate) const SILENCE_MS: u64 = 3 * HEARTBEAT_MS;

const OPERATION: &str = "RunTask";

pub(crate) fn cluster() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("default")
}

pub(crate) fn agent_name(agent: AgentNumber) -> String {
    format!("agent-{agent}")
}

pub(crate) fn agent_number(name: &str) -> Option<AgentNumber> {
    name.strip_prefix("agent-")?.parse().ok()
}

/// What every host has.
pub(crate) fn capacity() -> Resources {
    Resources::new(1024, 2048)
}

/// What an agent says of its host; with the bug, it says that it has twice as much.
pub(crate) fn description(agent: AgentNumber, bugs: Bugs) -> HostDescription {
    let zone = ["a", "b", "c"][agent % 3].to_owned();
    HostDescription {
        host_name: format!("host-{agent}"),
        capacity: if bugs.has(Bug::ReservedTwice) {
            twice(capacity())
        } else {
            capacity()
        },
        attributes: [(attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone))].into(),
        agent_version: "0.1.0".to_owned(),
        runtime_version: "simulated".to_owned(),
        capacity_provider: None,
        ecs_agent: None,
    }
}

fn twice(of: Resources) -> Resources {
    Resources::new(2 * of.cpu.0, 2 * of.memory.0)
}

/// What may run. The last wants a port of its host for itself.
pub(crate) const FAMILIES: [&str; 3] = ["web", "job", "edge"];

pub(crate) fn definition(family: &str, at: Timestamp) -> Command {
    let port = PortMapping {
        container_port: 80,
        host_port: Some(80),
        protocol: TransportProtocol::Tcp,
        name: None,
    };
    let container = ContainerDefinition {
        name: "main".to_owned(),
        image: "demo".to_owned(),
        cpu: CpuUnits(128),
        memory: Some(MemoryMib(128)),
        memory_reservation: None,
        essential: true,
        entry_point: vec![],
        command: vec![],
        environment: vec![],
        working_directory: None,
        user: None,
        port_mappings: if family == "edge" { vec![port] } else { vec![] },
        stop_timeout_secs: None,
        docker_labels: std::collections::BTreeMap::new(),
        restart_policy: None,
        health_check: None,
        depends_on: vec![],
        start_timeout_secs: None,
    };
    Command::RegisterTaskDefinition(TaskDefinition {
        key: definition_key(family, 0),
        status: TaskDefinitionStatus::Active,
        containers: vec![container],
        network_mode: NetworkMode::Bridge,
        network_mode_given: false,
        cpu: None,
        memory: None,
        runtime_platform: None,
        placement_constraints: vec![],
        requires_compatibilities: vec![],
        tags: Tags::new(),
        registered_at: at,
        deregistered_at: None,
        registered_by: "arn:aws:iam::123456789012:root".to_owned(),
        also_given: String::new(),
    })
}

pub(crate) fn definition_key(family: &str, revision: u32) -> TaskDefinitionKey {
    TaskDefinitionKey {
        scope: cluster().scope,
        family: family.into(),
        revision,
    }
}

/// A service with the name of its family.
pub(crate) fn service(family: &str, desired_count: u32, ids: &mut IdSource, at: Timestamp) -> Command {
    let service = Service {
        key: cluster().service(family),
        status: ServiceStatus::Active,
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count,
        launch_type: None,
        capacity_provider_strategy: vec![],
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        placement_constraints: vec![],
        placement_strategy: vec![],
        deployment_configuration: DeploymentConfiguration {
            minimum_healthy_percent: 50,
            ..DeploymentConfiguration::default_of(SchedulingStrategy::Replica)
        },
        deployments: vec![Deployment::new(ids.deployment_id(), definition_key(family, 1), at)],
        last_completed: None,
        service_deployments: Default::default(),
        deployment_controller: Default::default(),
        task_sets: vec![],
        zone_rebalancing: false,
        managed_daemon: None,
        events: Default::default(),
        steady: false,
        health_check_grace_period_secs: None,
        propagate_tags: PropagateTags::None,
        enable_ecs_managed_tags: false,
        tags: Tags::new(),
        created_at: at,
        created_by: "arn:aws:iam::123456789012:root".to_owned(),
        request_digest: String::new(),
        inactive_since: None,
    };
    Command::CreateService {
        service: Box::new(service),
        client_token: None,
    }
}

/// A change of a service: of its count, or with none a new deployment of the same.
pub(crate) fn update(family: &str, desired_count: Option<u32>, ids: &mut IdSource, at: Timestamp) -> Command {
    Command::UpdateService(Box::new(UpdateService {
        desired_count,
        force_new_deployment: desired_count.is_none(),
        ..UpdateService::blank(cluster().service(family), ids.deployment_id(), at)
    }))
}

pub(crate) fn token(name: String, at: Timestamp) -> ClientToken {
    ClientToken {
        scope: cluster().scope,
        operation: OPERATION.to_owned(),
        token: name,
        request_digest: "the same".to_owned(),
        at,
    }
}

/// A task outside services, without a host.
pub(crate) fn standalone(definition: &TaskDefinition, ids: &mut IdSource, at: Timestamp) -> Task {
    Task {
        id: ids.task_id(),
        containers: vec![],
        ..Task::new(cluster(), definition, TaskOrigin::Standalone, at)
    }
}
