//! Properties of the replicated state that hold for every sequence of commands.

use std::collections::BTreeMap;

use berth_core::model::{
    AgentId, Attributes, CircuitBreaker, Cluster, ClusterKey, ClusterStatus, ContainerDefinition, ContainerInstanceId,
    ContainerInstanceStatus, CpuUnits, Deployment, DeploymentConfiguration, DeploymentConfigurationChanges,
    DeploymentStatus, DesiredStatus, HostDescription, HostSettings, LogIndex, MemoryMib, NetworkMode, PropagateTags,
    Resources, RolloutState, SchedulingStrategy, Scope, Service, ServiceStatus, StartBackoff, StopCode, Tags, Task,
    TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus, TaskId, TaskOrigin, TaskOverride, TaskReport, TaskStatus,
    Timestamp, TransportProtocol,
};
use berth_core::state::{
    ClientToken, ClusterState, Command, Event, FeatureLevel, Rejection, SnapshotError, UpdateService, apply,
};
use proptest::prelude::*;

const HOSTS: u128 = 3;
const CAPACITY: (u32, u32) = (1024, 1000);
/// What hosts that come back may have instead.
const OTHER_CAPACITIES: [(u32, u32); 3] = [(1024, 300), (400, 1000), (2048, 4000)];

fn cluster() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("default")
}

fn register(host: u128, at: i64) -> Command {
    register_with(host, CAPACITY, at)
}

fn register_with(host: u128, (cpu, memory): (u32, u32), at: i64) -> Command {
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
        },
        at: Timestamp(at),
    }
}

fn task(id: u128, host: u128, cpu: u32, memory: u32, port: Option<u16>) -> Task {
    Task {
        id: TaskId(id),
        cluster: cluster(),
        task_definition: TaskDefinitionKey {
            scope: cluster().scope,
            family: "web".into(),
            revision: 1,
        },
        origin: TaskOrigin::Standalone,
        group: "family:web".to_owned(),
        started_by: None,
        launch_type: None,
        overrides: TaskOverride::default(),
        desired_status: DesiredStatus::Running,
        last_status: TaskStatus::Pending,
        container_instance: Some(ContainerInstanceId(host)),
        reservation: Resources::new(cpu, memory),
        host_ports: port.map(|p| (TransportProtocol::Tcp, p)).into_iter().collect(),
        placement_constraints: vec![],
        placement_strategy: vec![],
        containers: vec![],
        tags: Tags::new(),
        version: 1,
        created_at: Timestamp(0),
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
    }
}

fn report(id: u128, status: TaskStatus) -> TaskReport {
    TaskReport {
        task: TaskId(id),
        status,
        containers: vec![],
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
    }
}

fn token(digest: &str, at: i64) -> ClientToken {
    ClientToken {
        scope: cluster().scope,
        operation: "RunTask".to_owned(),
        token: "once".to_owned(),
        request_digest: digest.to_owned(),
        at: Timestamp(at),
    }
}

fn commands() -> impl Strategy<Value = Command> {
    let status = prop::sample::select(vec![TaskStatus::Activating, TaskStatus::Running, TaskStatus::Stopped]);
    let host_status = prop::sample::select(vec![ContainerInstanceStatus::Active, ContainerInstanceStatus::Draining]);
    prop_oneof![
        (0..HOSTS, 0..1_000_000i64).prop_map(|(h, at)| register(h, at)),
        (0..HOSTS, prop::sample::select(OTHER_CAPACITIES.to_vec())).prop_map(|(h, has)| register_with(h, has, 4)),
        (
            0..200u128,
            0..HOSTS,
            1..600u32,
            1..600u32,
            prop::option::of(prop::sample::select(vec![22u16, 80, 81]))
        )
            .prop_map(|(id, h, cpu, mem, port)| Command::RunTasks {
                tasks: vec![task(id, h, cpu, mem, port)],
                client_token: None
            }),
        (0..200u128, 0..HOSTS, status).prop_map(|(id, h, status)| Command::RecordTaskReports {
            container_instance: ContainerInstanceId(h),
            reports: vec![report(id, status)],
            at: Timestamp(5),
        }),
        (0..200u128).prop_map(|id| Command::StopTasks {
            tasks: vec![TaskId(id)],
            stop_code: StopCode::UserInitiated,
            reason: "because".to_owned(),
            at: Timestamp(6),
        }),
        (0..HOSTS).prop_map(|h| Command::RecordAgentDisconnected {
            container_instance: ContainerInstanceId(h),
            last_heard_at: Timestamp(6),
            at: Timestamp(7)
        }),
        (0..HOSTS).prop_map(|h| Command::DeclareHostLost {
            container_instance: ContainerInstanceId(h),
            reason: "Host lost.".to_owned(),
            at: Timestamp(8),
        }),
        (0..HOSTS, host_status).prop_map(|(h, status)| Command::UpdateContainerInstanceStatus {
            container_instance: ContainerInstanceId(h),
            status
        }),
        (0..HOSTS, any::<bool>()).prop_map(|(h, force)| Command::DeregisterContainerInstance {
            container_instance: ContainerInstanceId(h),
            force,
            at: Timestamp(9),
        }),
        (0..200u128).prop_map(|id| Command::Forget {
            tasks: vec![TaskId(id)],
            services: vec![],
            container_instances: vec![ContainerInstanceId(id)],
        }),
        Just(Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"))),
    ]
}

/// What the tasks on each host hold, counted from the tasks themselves.
fn held(state: &ClusterState) -> BTreeMap<ContainerInstanceId, (u32, u32, Vec<u16>)> {
    let mut held: BTreeMap<ContainerInstanceId, (u32, u32, Vec<u16>)> = BTreeMap::new();
    for task in state.tasks_of_cluster(&cluster()).filter(|t| !t.is_stopped()) {
        let entry = held.entry(task.container_instance.expect("placed")).or_default();
        entry.0 += task.reservation.cpu.0;
        entry.1 += task.reservation.memory.0;
        entry.2.extend(task.host_ports.iter().map(|(_, p)| *p));
    }
    held
}

proptest! {
    #[test]
    fn host_after_any_commands_is_never_promised_more_than_it_has(log in prop::collection::vec(commands(), 1..120)) {
        let mut state = ClusterState::default();
        for (index, command) in (1u64..).zip(&log) {
            let before = state.clone();
            let outcome = apply(&mut state, LogIndex(index), command);
            if outcome.is_err() {
                let unchanged: Vec<_> = before.snapshot().skip(1).collect();
                prop_assert_eq!(unchanged, state.snapshot().skip(1).collect::<Vec<_>>());
            }
            let held_before = held(&before);
            for (host, (cpu, memory, mut ports)) in held(&state) {
                let has = state.container_instance(host).expect("kept while it has tasks").host.capacity;
                // A host that came back smaller keeps what it had, and gets no more.
                let had = held_before.get(&host).map_or((0, 0), |(cpu, memory, _)| (*cpu, *memory));
                prop_assert!(cpu <= has.cpu.0.max(had.0) && memory <= has.memory.0.max(had.1));
                let free = state.allocation(host).free(has);
                let left = Resources::new(has.cpu.0.saturating_sub(cpu), has.memory.0.saturating_sub(memory));
                prop_assert_eq!(free, left);
                let count = ports.len();
                ports.sort_unstable();
                ports.dedup();
                prop_assert_eq!(ports.len(), count);
                prop_assert!(!ports.contains(&22));
            }
        }
    }

    #[test]
    fn snapshot_of_any_state_restores_an_equal_state(log in prop::collection::vec(commands(), 1..120)) {
        let mut state = ClusterState::default();
        for (index, command) in (1u64..).zip(&log) {
            let _refused = apply(&mut state, LogIndex(index), command).is_err();
        }
        let records: Vec<_> = state.snapshot().collect();
        let json = serde_json::to_string(&records).expect("serializes");
        let read = serde_json::from_str::<Vec<_>>(&json).expect("deserializes");
        let restored = ClusterState::from_snapshot(read).expect("whole");
        prop_assert_eq!(restored.snapshot().collect::<Vec<_>>(), records.clone());
        // What is kept beside the records is the same too.
        prop_assert_eq!(&restored, &state);
        for host in (0..HOSTS).map(ContainerInstanceId) {
            let capacity = Resources::new(CAPACITY.0, CAPACITY.1);
            prop_assert_eq!(restored.allocation(host).free(capacity), state.allocation(host).free(capacity));
        }
        if records.len() > 2 {
            let mut cut = records;
            cut.remove(1);
            let refused = matches!(ClusterState::from_snapshot(cut), Err(SnapshotError::RecordsMissing { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn command_written_and_read_back_is_the_same(command in commands()) {
        let json = serde_json::to_string(&command).expect("serializes");
        prop_assert_eq!(serde_json::from_str::<Command>(&json).expect("deserializes"), command);
    }
}

#[test]
fn run_tasks_repeated_with_its_token_answers_with_the_first_tasks() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let first = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None)],
        client_token: Some(token("a", 10)),
    };
    apply(&mut state, LogIndex(2), &first).expect("runs");
    let again = Command::RunTasks {
        tasks: vec![task(2, 0, 1, 1, None)],
        client_token: Some(token("a", 11)),
    };
    let events = apply(&mut state, LogIndex(3), &again).expect("is no error");
    assert_eq!(events, vec![Event::RequestRepeated { tasks: vec![TaskId(1)] }]);
    let other = Command::RunTasks {
        tasks: vec![task(3, 0, 1, 1, None)],
        client_token: Some(token("b", 12)),
    };
    assert_eq!(
        apply(&mut state, LogIndex(4), &other),
        Err(Rejection::ClientTokenReused)
    );
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 1);
}

#[test]
fn run_tasks_with_one_that_does_not_fit_creates_none() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let tasks = vec![task(1, 0, 1000, 1, None), task(2, 0, 25, 1, None)];
    let refused = apply(
        &mut state,
        LogIndex(2),
        &Command::RunTasks {
            tasks,
            client_token: None,
        },
    );
    assert_eq!(
        refused,
        Err(Rejection::InsufficientCpu {
            container_instance: ContainerInstanceId(0),
            needed: 25,
            free: 24
        })
    );
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 0);
}

#[test]
fn host_that_comes_back_smaller_keeps_its_tasks_and_takes_none_until_there_is_room() {
    let mut state = ClusterState::default();
    let run = |id| Command::RunTasks {
        tasks: vec![task(id, 0, 300, 300, None)],
        client_token: None,
    };
    let mut index = 0;
    let mut apply = |command: &Command| {
        index += 1;
        let outcome = apply(&mut state, LogIndex(index), command);
        let host = state.container_instance(ContainerInstanceId(0)).expect("registered");
        let tasks = state
            .tasks_of_instance(host.id)
            .filter(|t| t.desired_status == DesiredStatus::Running);
        (
            outcome,
            tasks.filter(|t| !t.is_stopped()).count(),
            state.allocation(host.id).free(host.host.capacity),
        )
    };
    let stopped = |id| Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report(id, TaskStatus::Stopped)],
        at: Timestamp(2),
    };
    apply(&register(0, 0)).0.expect("registers");
    apply(&run(1)).0.expect("fits");
    apply(&run(2)).0.expect("fits");
    let (outcome, tasks, free) = apply(&register_with(0, (500, 500), 1));
    assert!(outcome.is_ok());
    assert_eq!(
        (tasks, free),
        (2, Resources::new(0, 0)),
        "both run on, and less than nothing is never free"
    );
    let (refused, ..) = apply(&run(3));
    assert!(
        matches!(refused, Err(Rejection::InsufficientCpu { free: 0, .. })),
        "{refused:?}"
    );
    let (_, tasks, free) = apply(&stopped(1));
    assert_eq!((tasks, free), (1, Resources::new(200, 200)));
    assert!(apply(&run(4)).0.is_err(), "300 do not fit into 200");
    apply(&stopped(2)).0.expect("records");
    let (outcome, tasks, free) = apply(&run(5));
    assert!(outcome.is_ok());
    assert_eq!((tasks, free), (1, Resources::new(200, 200)));
}

#[test]
fn host_that_was_deregistered_comes_back_only_as_a_new_one_of_an_agent_started_anew() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let deregister = Command::DeregisterContainerInstance {
        container_instance: ContainerInstanceId(0),
        force: false,
        at: Timestamp(1),
    };
    apply(&mut state, LogIndex(2), &deregister).expect("deregisters");
    let again = |was: Option<u128>| {
        let Command::RegisterContainerInstance { cluster, host, at, .. } = register(0, 2) else {
            panic!("a registration")
        };
        Command::RegisterContainerInstance {
            id: ContainerInstanceId(7),
            previous: was.map(ContainerInstanceId),
            agent: AgentId::from("agent-0"),
            cluster,
            host,
            at,
        }
    };
    let refused = apply(&mut state, LogIndex(3), &again(Some(0)));
    let why = Rejection::ContainerInstanceDeregistered(ContainerInstanceId(0));
    assert_eq!(refused, Err(why));
    apply(&mut state, LogIndex(4), &again(None)).expect("registers");
    let agent = state.container_instance_of_agent(&cluster(), &AgentId::from("agent-0"));
    assert_eq!(agent, Some(ContainerInstanceId(7)));
    apply(&mut state, LogIndex(5), &again(Some(7))).expect("is what it is");
}

#[test]
fn run_tasks_with_one_that_has_no_host_creates_none() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let homeless = Task {
        container_instance: None,
        ..task(2, 0, 1, 1, None)
    };
    let run = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None), homeless],
        client_token: None,
    };
    let refused = apply(&mut state, LogIndex(2), &run);
    assert!(matches!(refused, Err(Rejection::Stale(_))), "{refused:?}");
    assert_eq!(state.tasks_of_cluster(&cluster()).count(), 0);
}

#[test]
fn task_definition_revisions_are_never_used_twice() {
    let mut state = ClusterState::default();
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 0,
    };
    for expected in 1..=3 {
        let events = apply(
            &mut state,
            LogIndex(u64::from(expected)),
            &Command::RegisterTaskDefinition(definition(&key)),
        )
        .expect("registers");
        let registered = TaskDefinitionKey {
            revision: expected,
            ..key.clone()
        };
        assert_eq!(events, vec![Event::TaskDefinitionRegistered(registered.clone())]);
        let deregister = Command::DeregisterTaskDefinition {
            task_definition: registered,
            at: Timestamp(1),
        };
        apply(&mut state, LogIndex(9), &deregister).expect("deregisters");
    }
}

#[test]
fn service_task_that_ends_step_by_step_counts_as_one_failure() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    apply(
        &mut state,
        LogIndex(2),
        &Command::RegisterTaskDefinition(definition(&key)),
    )
    .expect("registers");
    let service = service(&key);
    let origin = TaskOrigin::Service {
        service: service.key.clone(),
        deployment: service.deployments[0].id.clone(),
    };
    let create = Command::CreateService {
        service: Box::new(service.clone()),
        client_token: None,
    };
    apply(&mut state, LogIndex(3), &create).expect("creates");
    let tasks = vec![Task {
        origin,
        ..task(1, 0, 1, 1, None)
    }];
    apply(&mut state, LogIndex(4), &Command::CreateTasks { tasks }).expect("creates");
    let ways = [
        TaskStatus::Running,
        TaskStatus::Deactivating,
        TaskStatus::Stopping,
        TaskStatus::Deprovisioning,
        TaskStatus::Stopped,
    ];
    for (index, status) in (5u64..).zip(ways) {
        let reported = Command::RecordTaskReports {
            container_instance: ContainerInstanceId(0),
            reports: vec![report(1, status)],
            at: Timestamp(1_000),
        };
        apply(&mut state, LogIndex(index), &reported).expect("records");
    }
    let failed = state.service(&service.key).map(|s| s.deployments[0].failed_tasks);
    assert_eq!(failed, Some(1));
}

#[test]
fn service_updated_by_two_who_saw_it_as_it_was_keeps_what_both_changed() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let revision = |revision| TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision,
    };
    for index in 2..4 {
        let register = Command::RegisterTaskDefinition(definition(&revision(0)));
        apply(&mut state, LogIndex(index), &register).expect("registers");
    }
    let created = service(&revision(1));
    let create = Command::CreateService {
        service: Box::new(created.clone()),
        client_token: None,
    };
    apply(&mut state, LogIndex(4), &create).expect("creates");
    let update = |deployment: &str| UpdateService {
        service: created.key.clone(),
        desired_count: None,
        task_definition: None,
        force_new_deployment: false,
        deployment_id: deployment.into(),
        placement_constraints: None,
        placement_strategy: None,
        deployment_configuration: DeploymentConfigurationChanges::default(),
        propagate_tags: None,
        enable_ecs_managed_tags: None,
        at: Timestamp(1),
    };
    let one = UpdateService {
        task_definition: Some(revision(2)),
        deployment_configuration: DeploymentConfigurationChanges {
            maximum_percent: Some(150),
            ..Default::default()
        },
        ..update("ecs-svc/2")
    };
    let other = UpdateService {
        force_new_deployment: true,
        deployment_configuration: DeploymentConfigurationChanges {
            minimum_healthy_percent: Some(50),
            ..Default::default()
        },
        ..update("ecs-svc/3")
    };
    for (index, update) in (5..).zip([one, other]) {
        apply(&mut state, LogIndex(index), &Command::UpdateService(Box::new(update))).expect("updates");
    }
    let updated = state.service(&created.key).expect("exists");
    let configuration = updated.deployment_configuration;
    assert_eq!(
        (configuration.minimum_healthy_percent, configuration.maximum_percent),
        (50, 150)
    );
    let primary = updated.primary().expect("a primary");
    assert_eq!(
        (primary.id.as_str(), primary.task_definition.revision),
        ("ecs-svc/3", 2)
    );
    let lowered = UpdateService {
        deployment_configuration: DeploymentConfigurationChanges {
            maximum_percent: Some(99),
            ..Default::default()
        },
        ..update("ecs-svc/4")
    };
    let refused = apply(&mut state, LogIndex(7), &Command::UpdateService(Box::new(lowered)));
    assert!(
        matches!(refused, Err(Rejection::DeploymentConfiguration(_))),
        "{refused:?}"
    );
}

fn service(task_definition: &TaskDefinitionKey) -> Service {
    Service {
        key: cluster().service("web"),
        status: ServiceStatus::Active,
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count: 1,
        launch_type: None,
        placement_constraints: vec![],
        placement_strategy: vec![],
        deployment_configuration: DeploymentConfiguration {
            maximum_percent: 200,
            minimum_healthy_percent: 100,
            circuit_breaker: CircuitBreaker::default(),
        },
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
        events: imbl::Vector::new(),
        steady: false,
        propagate_tags: PropagateTags::None,
        enable_ecs_managed_tags: false,
        tags: Tags::new(),
        created_at: Timestamp(0),
        created_by: String::new(),
        request_digest: String::new(),
        inactive_since: None,
    }
}

#[test]
fn deleted_task_definition_is_forgotten_only_once_no_task_uses_it() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    apply(
        &mut state,
        LogIndex(2),
        &Command::RegisterTaskDefinition(definition(&key)),
    )
    .expect("registers");
    let delete = Command::DeleteTaskDefinition {
        task_definition: key.clone(),
    };
    assert_eq!(
        apply(&mut state, LogIndex(3), &delete),
        Err(Rejection::TaskDefinitionActive(key.clone()))
    );
    let run = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None)],
        client_token: None,
    };
    apply(&mut state, LogIndex(4), &run).expect("runs");
    let deregister = Command::DeregisterTaskDefinition {
        task_definition: key.clone(),
        at: Timestamp(1),
    };
    apply(&mut state, LogIndex(5), &deregister).expect("deregisters");
    apply(&mut state, LogIndex(6), &delete).expect("deletes");
    let forget = Command::ForgetTaskDefinitions {
        task_definitions: vec![key.clone()],
    };
    apply(&mut state, LogIndex(7), &forget).expect("is no error");
    assert!(state.task_definition(&key).is_some(), "a task uses it");
    let stopped = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report(1, TaskStatus::Stopped)],
        at: Timestamp(2),
    };
    apply(&mut state, LogIndex(8), &stopped).expect("records");
    let forgotten = Command::Forget {
        tasks: vec![TaskId(1)],
        services: vec![],
        container_instances: vec![],
    };
    apply(&mut state, LogIndex(9), &forgotten).expect("forgets");
    apply(&mut state, LogIndex(10), &forget).expect("forgets");
    assert!(state.task_definition(&key).is_none());
}

fn definition(key: &TaskDefinitionKey) -> TaskDefinition {
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
        }],
        network_mode: NetworkMode::Host,
        network_mode_given: true,
        cpu: None,
        memory: None,
        placement_constraints: vec![],
        requires_compatibilities: vec![],
        tags: Tags::new(),
        registered_at: Timestamp(0),
        deregistered_at: None,
        registered_by: String::new(),
    }
}

#[test]
fn default_cluster_is_created_by_its_first_host_and_no_other_is() {
    let mut state = ClusterState::default();
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    assert_eq!(state.cluster(&cluster()).map(|c| c.status), Some(ClusterStatus::Active));
    let Command::RegisterContainerInstance {
        id, agent, host, at, ..
    } = register(1, 0)
    else {
        panic!("a registration")
    };
    let shop = cluster().scope.cluster("shop");
    let elsewhere = Command::RegisterContainerInstance {
        id,
        previous: None,
        cluster: shop.clone(),
        agent,
        host,
        at,
    };
    assert_eq!(
        apply(&mut state, LogIndex(2), &elsewhere),
        Err(Rejection::ClusterNotFound(shop.clone()))
    );
    let created = Cluster {
        key: shop,
        status: ClusterStatus::Active,
        settings: vec![],
        host_settings: HostSettings::default(),
        tags: Tags::new(),
        created_at: Timestamp(0),
    };
    apply(&mut state, LogIndex(3), &Command::CreateCluster(created)).expect("creates");
    assert!(apply(&mut state, LogIndex(4), &elsewhere).is_ok());
}
