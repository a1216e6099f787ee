//! What the tests of the state begin with: a cluster, hosts, task definitions, tasks and services.

use std::collections::BTreeMap;

use berth_core::model::{
    AgentId, Attributes, ClusterKey, ContainerDefinition, ContainerInstanceId, CpuUnits, Deployment,
    DeploymentConfiguration, DeploymentStatus, EcsAgent, HostDescription, MemoryMib, NetworkMode, PlatformVersion,
    PropagateTags, Resources, RolloutState, SchedulingStrategy, Scope, Service, ServiceStatus, StartBackoff, Tags,
    Task, TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus, TaskId, TaskOrigin, TaskReport, TaskStatus,
    Timestamp, TransportProtocol,
};
use berth_core::state::{Command, UpdateService};

/// Hosts that there may be.
pub(crate) const HOSTS: u128 = 3;
/// Cpu and memory of each.
pub(crate) const CAPACITY: (u32, u32) = (1024, 1000);

pub(crate) fn cluster() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("default")
}

pub(crate) fn register(host: u128, at: i64) -> Command {
    register_with(host, CAPACITY, at)
}

pub(crate) fn register_with(host: u128, (cpu, memory): (u32, u32), at: i64) -> Command {
    Command::RegisterContainerInstance {
        id: ContainerInstanceId(host),
        previous: None,
        cluster: cluster(),
        agent: AgentId::from(format!("agent-{host}")),
        host: HostDescription {
            host_name: format!("host-{host}"),
            capacity: Resources::new(cpu, memory),
            attributes: Attributes::new(),
            agent_version: "1".to_owned(),
            runtime_version: "simulated".to_owned(),
            capacity_provider: None,
            ecs_agent: None,
        },
        at: Timestamp(at),
    }
}

/// The same host, whose agent speaks ECS's own API.
pub(crate) fn register_ecs_agent(number: u128, at: i64) -> Command {
    let mut command = register(number, at);
    if let Command::RegisterContainerInstance { host, .. } = &mut command {
        host.ecs_agent = Some(EcsAgent { hash: None });
    }
    command
}

pub(crate) fn task(id: u128, host: u128, cpu: u32, memory: u32, port: Option<u16>) -> Task {
    let web = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    let mut task = Task {
        id: TaskId(id),
        last_status: TaskStatus::Pending,
        container_instance: Some(ContainerInstanceId(host)),
        containers: vec![],
        ..Task::new(cluster(), &definition(&web), TaskOrigin::Standalone, Timestamp(0))
    };
    let blueprint = task.blueprint_mut();
    blueprint.reservation = Resources::new(cpu, memory);
    blueprint.host_ports = port.map(|p| (TransportProtocol::Tcp, p)).into_iter().collect();
    task
}

pub(crate) fn report(id: u128, status: TaskStatus) -> TaskReport {
    TaskReport::new(TaskId(id), status)
}

pub(crate) fn definition(key: &TaskDefinitionKey) -> TaskDefinition {
    TaskDefinition {
        key: key.clone(),
        status: TaskDefinitionStatus::Active,
        containers: vec![ContainerDefinition {
            name: "web".to_owned(),
            image: "web".to_owned(),
            cpu: CpuUnits(10),
            memory: Some(MemoryMib(64)),
            memory_reservation: None,
            essential: true,
            entry_point: vec![],
            command: vec![],
            environment: vec![],
            working_directory: None,
            user: None,
            port_mappings: vec![],
            stop_timeout_secs: None,
            docker_labels: BTreeMap::new(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        }],
        network_mode: NetworkMode::Host,
        network_mode_given: true,
        cpu: None,
        memory: None,
        runtime_platform: None,
        placement_constraints: vec![],
        requires_compatibilities: vec![],
        tags: Tags::new(),
        registered_at: Timestamp(0),
        deregistered_at: None,
        registered_by: String::new(),
        also_given: String::new(),
    }
}

pub(crate) fn service(task_definition: &TaskDefinitionKey) -> Service {
    Service {
        key: cluster().service("web"),
        status: ServiceStatus::Active,
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count: 1,
        launch_type: None,
        capacity_provider_strategy: vec![],
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        placement_constraints: vec![],
        placement_strategy: vec![],
        deployment_configuration: DeploymentConfiguration::default_of(SchedulingStrategy::Replica),
        deployments: vec![Deployment {
            id: "ecs-svc/1".into(),
            status: DeploymentStatus::Primary,
            task_definition: task_definition.clone(),
            rollout_state: RolloutState::InProgress,
            rollout_state_reason: String::new(),
            failed_tasks: 0,
            backoff: StartBackoff::default(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }],
        last_completed: None,
        service_deployments: Default::default(),
        deployment_controller: Default::default(),
        task_sets: vec![],
        zone_rebalancing: false,
        managed_daemon: None,
        events: imbl::Vector::new(),
        steady: false,
        health_check_grace_period_secs: None,
        propagate_tags: PropagateTags::None,
        enable_ecs_managed_tags: false,
        tags: Tags::new(),
        created_at: Timestamp(0),
        created_by: String::new(),
        request_digest: String::new(),
        inactive_since: None,
    }
}

pub(crate) fn no_change(service: &Service, deployment: &str) -> UpdateService {
    UpdateService::blank(service.key.clone(), deployment.into(), Timestamp(1))
}
