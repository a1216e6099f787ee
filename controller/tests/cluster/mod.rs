//! A controller without its front: a group of one member in memory, and the leader's loop.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::sync::Arc;
use std::time::Duration;

use berth_controller::clock::{Clock, SystemClock};
use berth_controller::leader::{self, LeaderHandle};
use berth_controller::replica::{ReplicatedState, StateGroup};
use berth_core::ids::IdSource;
use berth_core::model::*;
use berth_core::reconcile::StandaloneRequest;
use berth_core::state::{ClientToken, ClusterState, Command, Event, UpdateCluster};
use berth_raft::{FeedItem, RaftOptions};
use berth_storage::MemoryStorage;
use tokio::runtime::Handle;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct TestCluster {
    pub(crate) group: StateGroup,
    pub(crate) leader: LeaderHandle,
    ids: std::sync::Mutex<IdSource>,
}

pub(crate) fn key() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("default")
}

/// Options of a group that needs no disk, and whose failure fails its test alone.
pub(crate) fn options() -> RaftOptions {
    RaftOptions {
        required_free_bytes: 0,
        on_fault: |_| {},
        ..RaftOptions::default()
    }
}

pub(crate) fn start_group(storage: Arc<MemoryStorage>, options: RaftOptions) -> StateGroup {
    StateGroup::start(storage, ReplicatedState::default(), options).expect("the group starts")
}

impl TestCluster {
    pub(crate) fn start() -> Self {
        Self::start_on(Arc::new(MemoryStorage::default()), options())
    }

    pub(crate) fn start_on(storage: Arc<MemoryStorage>, options: RaftOptions) -> Self {
        Self::of(start_group(storage, options))
    }

    /// The leader's loop over a group that runs already.
    pub(crate) fn of(group: StateGroup) -> Self {
        let (leader, _) = leader::start(
            group.clone(),
            Arc::new(SystemClock),
            IdSource::from_seed(7),
            false,
            &Handle::current(),
        );
        let ids = std::sync::Mutex::new(IdSource::from_seed(11));
        Self { group, leader, ids }
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    pub(crate) fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.group.view().view)
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut IdSource) -> T) -> T {
        draw(&mut self.ids.lock().expect("no panic while drawing"))
    }

    /// Proposes a command, once the group has its leader.
    pub(crate) async fn propose(&self, command: Command) -> Arc<[Event]> {
        self.group.read().await.expect("the group has a leader");
        self.group
            .propose(command)
            .await
            .expect("is applied")
            .outcome
            .expect("is accepted")
    }

    /// Waits until `look` finds something in the state.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&ClusterState) -> Option<T>) -> T {
        let mut feed = self.group.subscribe();
        let search = async {
            loop {
                if let Some(found) = look(&self.group.view().view) {
                    return found;
                }
                match feed.next().await {
                    Some(FeedItem::Batch(_) | FeedItem::Resync) => {}
                    None => panic!("the group stopped while waiting until {what}"),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain until {what}"),
        }
    }

    pub(crate) async fn register_host(&self, number: usize, zone: &str, capacity: Resources) -> ContainerInstanceId {
        let agent = AgentId::from(format!("agent-{number}"));
        let host = host(number, zone, capacity);
        let command = Command::RegisterContainerInstance {
            id: self.draw(IdSource::container_instance_id),
            previous: None,
            cluster: key(),
            agent: agent.clone(),
            host,
            at: self.now(),
        };
        self.propose(command).await;
        self.state()
            .container_instance_of_agent(&key(), &agent)
            .expect("just registered")
    }

    /// Changes the settings of the cluster, which is created if it is not there yet.
    pub(crate) async fn change_host_settings(&self, host_settings: HostSettingsChange) {
        let cluster = Cluster::new(key(), self.now());
        self.propose(Command::CreateCluster(cluster)).await;
        let update = UpdateCluster {
            cluster: key(),
            settings: vec![],
            host_settings,
        };
        self.propose(Command::UpdateCluster(update)).await;
    }

    pub(crate) async fn define(&self, family: &str, needs: Resources) {
        self.propose(Command::RegisterTaskDefinition(definition(family, needs)))
            .await;
    }

    pub(crate) fn request(&self, family: &str, count: usize) -> StandaloneRequest {
        let state = self.state();
        let definition = state
            .latest_task_definition(&key().scope, &family.into())
            .expect("defined")
            .clone();
        let tasks = (0..count).map(|_| standalone(self.draw(IdSource::task_id), &definition, self.now()));
        StandaloneRequest {
            tasks: tasks.collect(),
            ..StandaloneRequest::default()
        }
    }

    /// A request for a task in a cluster that does not exist.
    pub(crate) fn request_without_cluster(&self) -> StandaloneRequest {
        let definition = definition("job", Resources::new(128, 128));
        StandaloneRequest {
            tasks: vec![standalone(self.draw(IdSource::task_id), &definition, self.now())],
            ..StandaloneRequest::default()
        }
    }

    pub(crate) async fn stop(&self) {
        self.group.shutdown().await;
    }
}

pub(crate) fn token(token: &str) -> ClientToken {
    ClientToken {
        scope: key().scope,
        operation: "RunTask".to_owned(),
        token: token.to_owned(),
        request_digest: "same".to_owned(),
        at: SystemClock.now(),
    }
}

pub(crate) fn host(number: usize, zone: &str, capacity: Resources) -> HostDescription {
    HostDescription {
        host_name: format!("host-{number}"),
        capacity,
        attributes: [(attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone.to_owned()))].into(),
        agent_version: "0.1.0".to_owned(),
        runtime_version: "simulated".to_owned(),
        capacity_provider: None,
        ecs_agent: None,
    }
}

pub(crate) fn definition(family: &str, needs: Resources) -> TaskDefinition {
    TaskDefinition {
        key: TaskDefinitionKey {
            scope: key().scope,
            family: family.into(),
            revision: 0,
        },
        status: TaskDefinitionStatus::Active,
        containers: vec![ContainerDefinition {
            name: "main".to_owned(),
            image: "demo".to_owned(),
            cpu: needs.cpu,
            memory: Some(needs.memory),
            memory_reservation: None,
            essential: true,
            entry_point: vec![],
            command: vec![],
            environment: vec![],
            working_directory: None,
            user: None,
            port_mappings: vec![],
            stop_timeout_secs: None,
            docker_labels: std::collections::BTreeMap::new(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        }],
        network_mode: NetworkMode::Bridge,
        network_mode_given: false,
        cpu: None,
        memory: None,
        runtime_platform: None,
        placement_constraints: vec![],
        requires_compatibilities: vec![],
        tags: Tags::new(),
        registered_at: SystemClock.now(),
        deregistered_at: None,
        registered_by: "arn:aws:iam::123456789012:root".to_owned(),
        also_given: String::new(),
    }
}

pub(crate) fn service_of(family: &str, desired_count: u32) -> Command {
    let now = SystemClock.now();
    let id = IdSource::from_seed(u64::from(desired_count)).deployment_id();
    let deployment = Deployment {
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        status: DeploymentStatus::Primary,
        task_definition: TaskDefinitionKey {
            scope: key().scope,
            family: family.into(),
            revision: 1,
        },
        rollout_state: RolloutState::InProgress,
        failed_tasks: 0,
        backoff: StartBackoff::default(),
        created_at: now,
        updated_at: now,
    };
    let service = Service {
        key: key().service(family),
        status: ServiceStatus::Active,
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count,
        launch_type: None,
        capacity_provider_strategy: vec![],
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        placement_constraints: vec![],
        placement_strategy: vec![],
        deployment_configuration: DeploymentConfiguration::default_of(SchedulingStrategy::Replica),
        deployments: vec![deployment],
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
        created_at: now,
        created_by: "arn:aws:iam::123456789012:root".to_owned(),
        request_digest: String::new(),
        inactive_since: None,
    };
    Command::CreateService {
        service: Box::new(service),
        client_token: None,
    }
}

fn standalone(id: TaskId, definition: &TaskDefinition, now: Timestamp) -> Task {
    Task {
        id,
        containers: vec![],
        ..Task::new(key(), definition, TaskOrigin::Standalone, now)
    }
}

pub(crate) fn report(task: TaskId, status: TaskStatus) -> TaskReport {
    let now = SystemClock.now();
    let ended = status == TaskStatus::Stopped;
    TaskReport {
        started_at: (status == TaskStatus::Running).then_some(now),
        stopped_at: ended.then_some(now),
        stop_code: ended.then_some(StopCode::EssentialContainerExited),
        stopped_reason: ended.then(|| "Essential container in task exited".to_owned()),
        ..TaskReport::new(task, status)
    }
}
