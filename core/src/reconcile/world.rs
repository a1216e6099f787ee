//! A small world for tests: a state, hosts that run what they are told, and a clock that only moves when told.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::IdSource;
use crate::model::*;
use crate::state::{ClusterState, Command, Event, Rejection, Taggable, UpdateCapacityProvider, UpdateService, apply};

use super::{Agenda, reconcile};

pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);
const MAX_ROUNDS: usize = 200;

/// How random cases are made: so many of them, or as many as `BERTH_CASES` says.
pub(crate) fn cases(usual: u32) -> proptest::prelude::ProptestConfig {
    let wanted = std::env::var("BERTH_CASES").ok();
    proptest::prelude::ProptestConfig {
        cases: wanted.and_then(|count| count.parse().ok()).unwrap_or(usual),
        failure_persistence: None,
        ..Default::default()
    }
}

pub(crate) struct World {
    pub(crate) state: ClusterState,
    pub(crate) agenda: Agenda,
    pub(crate) now: Timestamp,
    pub(crate) ids: IdSource,
    /// Families and revisions whose tasks end as soon as they run.
    pub(crate) broken: BTreeSet<(String, u32)>,
    /// Families and revisions with a health check, and what it says of their tasks once they run.
    pub(crate) checks: BTreeMap<(String, u32), HealthStatus>,
    /// Tasks of which it says something else.
    pub(crate) health: BTreeMap<TaskId, HealthStatus>,
    /// Hosts whose agent is away.
    pub(crate) cut_off: BTreeSet<ContainerInstanceId>,
    /// Hosts that do not come when they are called.
    pub(crate) sound_sleepers: BTreeSet<ContainerInstanceId>,
    /// Hosts whose clock is not that of the leader, and by how much it is ahead.
    pub(crate) ahead_ms: BTreeMap<ContainerInstanceId, i64>,
    /// What was applied, the first at index 1.
    pub(crate) log: Vec<Command>,
    index: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            state: ClusterState::at_newest_level(),
            agenda: Agenda::new().waking_hosts(true),
            now: START,
            ids: IdSource::from_seed(1),
            broken: BTreeSet::new(),
            checks: BTreeMap::new(),
            health: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            sound_sleepers: BTreeSet::new(),
            ahead_ms: BTreeMap::new(),
            log: vec![],
            index: 0,
        };
        let cluster = Cluster::new(cluster(), START);
        world.apply(Command::CreateCluster(cluster)).expect("creates");
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Vec<Event>, Rejection> {
        self.index += 1;
        self.log.push(command.clone());
        let events = apply(&mut self.state, LogIndex(self.index), &command)?;
        events.iter().for_each(|event| self.agenda.note(event));
        Ok(events)
    }

    /// Reconciles until nothing is left to do now; returns what was decided. `check` sees the state before and after
    /// each command.
    pub(crate) fn reconcile_checking(&mut self, mut check: impl FnMut(&ClusterState, &Self)) -> Vec<Command> {
        let mut decided = vec![];
        for _ in 0..MAX_ROUNDS {
            self.agenda.keep_up(&self.state);
            let commands = reconcile(&self.state, &mut self.agenda, self.now, &mut self.ids);
            if commands.is_empty() && !self.agenda.has_work() {
                return decided;
            }
            for command in commands {
                let before = self.state.clone();
                self.apply(command.clone()).expect("a decided command is accepted");
                check(&before, self);
                decided.push(command);
            }
        }
        panic!("still busy after {MAX_ROUNDS} rounds");
    }

    pub(crate) fn reconcile(&mut self) -> Vec<Command> {
        self.reconcile_checking(|_, _| {})
    }

    /// Lets every host whose agent is connected take each of its tasks one step on, and report it as agents do: every
    /// status on the way up and on the way down. Returns whether any had something to do.
    pub(crate) fn hosts_step(&mut self) -> bool {
        let hosts: Vec<ContainerInstanceId> = self.state.container_instances_of(&cluster()).map(|h| h.id).collect();
        let mut worked = self.hosts_sleep_and_wake(&hosts);
        for host in hosts {
            if self.cut_off.contains(&host) {
                continue;
            }
            let tasks = self.state.tasks_of_instance(host);
            let steps = tasks.filter_map(|task| Some((task.id, self.next_status(task).or(self.news_of_health(task))?)));
            let reports: Vec<TaskReport> = steps.map(|(task, status)| self.report_of(task, status)).collect();
            if !reports.is_empty() {
                worked = true;
                let at = self.now;
                let container_instance = host;
                self.apply(Command::RecordTaskReports {
                    container_instance,
                    reports,
                    at,
                })
                .expect("host exists");
            }
        }
        worked
    }

    /// Lets hosts fall asleep that are told to, and come that are called.
    fn hosts_sleep_and_wake(&mut self, hosts: &[ContainerInstanceId]) -> bool {
        let mut worked = false;
        for id in hosts {
            let host = self.state.container_instance(*id).expect("it is there");
            let (cluster, agent) = (host.cluster.clone(), host.agent.clone());
            let (container_instance, at) = (*id, self.now);
            let command = match host.power.state {
                PowerState::FallingAsleep if host.agent_connected => Command::RecordAgentDisconnected {
                    container_instance,
                    last_heard_at: at,
                    at,
                },
                PowerState::Waking if !self.sound_sleepers.contains(id) => Command::RegisterContainerInstance {
                    id: container_instance,
                    previous: None,
                    cluster,
                    agent,
                    host: host.host.clone(),
                    at,
                },
                _ => continue,
            };
            self.apply(command).expect("the host is there");
            worked = true;
        }
        worked
    }

    /// Lets hosts work until they have done all that they were told so far.
    pub(crate) fn hosts_finish(&mut self) {
        let busy = (0..MAX_ROUNDS).all(|_| self.hosts_step());
        assert!(!busy, "hosts still busy after {MAX_ROUNDS} steps");
    }

    fn next_status(&self, task: &Task) -> Option<TaskStatus> {
        use TaskStatus as S;
        let definition = definition_of(task);
        let told_to_stop = task.desired_status == DesiredStatus::Stopped;
        match task.last_status {
            S::Provisioning | S::Pending | S::Activating if told_to_stop => Some(S::Deactivating),
            S::Provisioning | S::Pending => Some(S::Activating),
            S::Activating => Some(S::Running),
            S::Running => (told_to_stop || self.broken.contains(&definition)).then_some(S::Deactivating),
            S::Deactivating => Some(S::Stopping),
            S::Stopping => Some(S::Deprovisioning),
            S::Deprovisioning => Some(S::Stopped),
            S::Stopped => None,
        }
    }

    /// The status of a task that runs, if its host has something new to say of its health.
    fn news_of_health(&self, task: &Task) -> Option<TaskStatus> {
        let known = task.health.map(|health| health.status);
        let is_news = task.last_status == TaskStatus::Running && self.health_of(task) != known;
        is_news.then_some(TaskStatus::Running)
    }

    /// What the host says of a task's health: nothing yet before it runs, and nothing new once it ends.
    fn health_of(&self, task: &Task) -> Option<HealthStatus> {
        let verdict = *self.checks.get(&definition_of(task))?;
        let known = task.health.map_or(HealthStatus::Unknown, |health| health.status);
        Some(match task.last_status {
            TaskStatus::Running => self.health.get(&task.id).copied().unwrap_or(verdict),
            _ => known,
        })
    }

    pub(crate) fn report_of(&self, task: TaskId, status: TaskStatus) -> TaskReport {
        let ends = status > TaskStatus::Running;
        let host = self.state.task(task).and_then(|t| t.container_instance);
        let ahead_ms = host.and_then(|host| self.ahead_ms.get(&host));
        let clock = self.now.plus_ms(ahead_ms.copied().unwrap_or_default());
        TaskReport {
            started_at: (status == TaskStatus::Running).then_some(clock),
            execution_stopped_at: (status > TaskStatus::Stopping).then_some(clock),
            stopped_at: (status == TaskStatus::Stopped).then_some(clock),
            stop_code: ends.then_some(StopCode::EssentialContainerExited),
            stopped_reason: ends.then(|| "Essential container in task exited".to_owned()),
            health: self.state.task(task).and_then(|task| self.health_of(task)),
            ..TaskReport::new(task, status)
        }
    }

    /// Reconciles and lets hosts take a step, in turns, until both have nothing to do now.
    pub(crate) fn quiesce(&mut self) {
        for _ in 0..MAX_ROUNDS {
            self.reconcile();
            if !self.hosts_step() {
                return;
            }
        }
        panic!("still busy after {MAX_ROUNDS} rounds");
    }

    /// Lets time pass, and what comes due with it happen.
    pub(crate) fn pass_ms(&mut self, ms: i64) {
        let end = self.now.plus_ms(ms);
        self.quiesce();
        while let Some(wake) = self.agenda.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.quiesce();
        }
        self.now = end;
    }

    pub(crate) fn add_host(&mut self, name: &str, zone: &str, capacity: Resources) -> ContainerInstanceId {
        self.add_host_of(name, zone, capacity, None)
    }

    /// A host in the pool of a capacity provider.
    pub(crate) fn add_host_of(
        &mut self,
        name: &str,
        zone: &str,
        capacity: Resources,
        capacity_provider: Option<&str>,
    ) -> ContainerInstanceId {
        self.add_host_offering(name, zone, capacity, capacity_provider, &[])
    }

    /// A host with further attributes.
    pub(crate) fn add_host_offering(
        &mut self,
        name: &str,
        zone: &str,
        capacity: Resources,
        capacity_provider: Option<&str>,
        offers: &[&str],
    ) -> ContainerInstanceId {
        let zone = (attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone.to_owned()));
        let offers = offers.iter().map(|name| ((*name).to_owned(), None));
        let attributes = offers.chain([zone]);
        let host = HostDescription {
            host_name: name.to_owned(),
            capacity,
            attributes: attributes.collect(),
            agent_version: "0.1.0".to_owned(),
            runtime_version: "simulated".to_owned(),
            capacity_provider: capacity_provider.map(Into::into),
            ecs_agent: None,
        };
        let id = self.ids.container_instance_id();
        let command = Command::RegisterContainerInstance {
            id,
            previous: None,
            cluster: cluster(),
            agent: name.into(),
            host,
            at: self.now,
        };
        self.apply(command).expect("cluster is active");
        let id = self.host(name).expect("just registered");
        self.cut_off.remove(&id);
        id
    }

    /// Capacity providers that the cluster has.
    pub(crate) fn add_capacity_providers(&mut self, names: &[&str]) {
        for name in names {
            let provider = CapacityProvider {
                key: cluster().scope.capacity_provider(name),
                auto_scaling_group_arn: (*name).to_owned(),
                managed_scaling: None,
                managed_termination_protection: false,
                managed_draining: false,
                updated: false,
                tags: Tags::new(),
                created_at: self.now,
            };
            self.apply(Command::CreateCapacityProvider(provider)).expect("creates");
        }
        self.put_capacity_providers(names);
    }

    /// Gives the cluster these capacity providers, which there are.
    pub(crate) fn put_capacity_providers(&mut self, names: &[&str]) {
        let put = Command::PutClusterCapacityProviders {
            cluster: cluster(),
            capacity_providers: names.iter().map(|name| (*name).into()).collect(),
            default_strategy: vec![],
        };
        self.apply(put).expect("puts");
    }

    /// Has the hosts of a pool put to sleep and woken as this says, and the rest of it as `change` does.
    pub(crate) fn scale_pool(
        &mut self,
        name: &str,
        scaling: ManagedScalingChanges,
        change: impl FnOnce(&mut UpdateCapacityProvider),
    ) {
        let mut update = UpdateCapacityProvider {
            capacity_provider: cluster().scope.capacity_provider(name),
            managed_scaling: Some(scaling),
            managed_termination_protection: None,
            managed_draining: None,
        };
        change(&mut update);
        self.apply(Command::UpdateCapacityProvider(update)).expect("updates");
    }

    pub(crate) fn change_power(&mut self, name: &str, change: PowerChange) {
        let command = Command::ChangePower {
            container_instance: self.host(name).expect("it is there"),
            change,
            at: self.now,
        };
        self.apply(command).expect("it can");
    }

    pub(crate) fn host(&self, name: &str) -> Option<ContainerInstanceId> {
        self.state.container_instance_of_agent(&cluster(), &name.into())
    }

    pub(crate) fn add_definition(&mut self, family: &str, needs: Resources, host_port: Option<u16>) -> u32 {
        let port = host_port.map(|port| PortMapping {
            container_port: port,
            host_port: Some(port),
            protocol: TransportProtocol::Tcp,
            name: None,
        });
        let container = ContainerDefinition {
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
            port_mappings: port.into_iter().collect(),
            stop_timeout_secs: None,
            docker_labels: Default::default(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        };
        let definition = TaskDefinition {
            key: definition(family, 0),
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
            registered_at: self.now,
            deregistered_at: None,
            registered_by: "arn:aws:iam::123456789012:root".to_owned(),
            also_given: String::new(),
        };
        let events = self
            .apply(Command::RegisterTaskDefinition(definition))
            .expect("registers");
        match events.as_slice() {
            [Event::TaskDefinitionRegistered(key)] => key.revision,
            other => panic!("unexpected events {other:?}"),
        }
    }

    pub(crate) fn add_alarm(&mut self, name: &str, found_after_secs: u32) {
        let alarm = Alarm {
            key: cluster().scope.alarm(name),
            definition: "{}".to_owned(),
            found_after_secs,
            state: AlarmState::InsufficientData,
            state_reason: "Unchecked: Initial alarm creation".to_owned(),
            state_reason_data: None,
            state_updated_at: self.now,
            state_changed_at: self.now,
            configured_at: self.now,
            tags: Tags::new(),
        };
        self.apply(Command::PutAlarm(Box::new(alarm))).expect("there is room");
    }

    pub(crate) fn set_alarm(&mut self, name: &str, state: AlarmState) {
        let command = Command::SetAlarmState {
            alarm: cluster().scope.alarm(name),
            state,
            reason: "somebody looked".to_owned(),
            reason_data: None,
            at: self.now,
        };
        self.apply(command).expect("there is the alarm");
    }

    pub(crate) fn service(&self, name: &str) -> &Service {
        self.state
            .service(&cluster().service(name))
            .expect("the service exists")
    }

    pub(crate) fn add_service(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let deployment = Deployment::new(self.ids.deployment_id(), definition(name, 1), self.now);
        let mut service = Service {
            key: cluster().service(name),
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
            created_at: self.now,
            created_by: "arn:aws:iam::123456789012:root".to_owned(),
            request_digest: String::new(),
            inactive_since: None,
        };
        change(&mut service);
        let command = Command::CreateService {
            service: Box::new(service),
            client_token: None,
        };
        self.apply(command).expect("creates the service");
    }

    pub(crate) fn update_service(&mut self, name: &str, desired: Option<u32>, revision: Option<u32>) {
        self.change_service(name, |update| {
            update.desired_count = desired;
            update.task_definition = revision.map(|revision| definition(name, revision));
        });
    }

    pub(crate) fn change_service(&mut self, name: &str, change: impl FnOnce(&mut UpdateService)) {
        let mut update = UpdateService::blank(cluster().service(name), self.ids.deployment_id(), self.now);
        change(&mut update);
        self.apply(Command::UpdateService(Box::new(update)))
            .expect("updates the service");
    }

    pub(crate) fn tag(&mut self, resource: Taggable, key: &str, value: &str) {
        let tags = [(key.to_owned(), value.to_owned())].into();
        self.apply(Command::TagResource { resource, tags }).expect("tags");
    }

    /// A task set of a service, with `revision` of the definition that is called like it.
    pub(crate) fn task_set(&mut self, service: &str, revision: u32, scale: Scale) -> TaskSet {
        TaskSet {
            id: self.ids.deployment_id(),
            status: TaskSetStatus::Active,
            external_id: None,
            client_token: None,
            task_definition: definition(service, revision),
            launch_type: None,
            capacity_provider_strategy: vec![],
            platform_version: PlatformVersion::default(),
            network_configuration: None,
            scale,
            steady: false,
            steady_at: self.now,
            failed_tasks: 0,
            backoff: StartBackoff::default(),
            tags: Tags::new(),
            created_at: self.now,
            updated_at: self.now,
        }
    }

    /// A task outside services that has no host yet.
    pub(crate) fn standalone(&mut self, family: &str, needs: Resources) -> Task {
        let revision = self.add_definition(family, needs, None);
        let definition = self
            .state
            .task_definition(&definition(family, revision))
            .expect("registered")
            .clone();
        let name = format!("prototype-{family}-{revision}");
        self.add_service(&name, |service| {
            service.deployments[0].task_definition = definition.key.clone()
        });
        let service = self.service(&name).clone();
        let mut task = super::starting::prototype(&service, &service.deployments[0], &definition, self.now);
        let blueprint = task.blueprint_mut();
        blueprint.origin = TaskOrigin::Standalone;
        blueprint.group = format!("family:{family}");
        task
    }

    /// Tasks of a service that are wanted, by zone.
    pub(crate) fn by_zone(&self, name: &str) -> BTreeMap<String, usize> {
        let mut zones = BTreeMap::new();
        for host in self.state.container_instances_of(&cluster()) {
            let zone = host.availability_zone().unwrap_or("none").to_owned();
            let tasks = self.state.tasks_of_instance(host.id);
            let count = tasks.filter(|t| {
                t.desired_status == DesiredStatus::Running && t.service().is_some_and(|s| s.name.as_str() == name)
            });
            *zones.entry(zone).or_default() += count.count();
        }
        zones
    }
}

/// Family and revision of a task.
fn definition_of(task: &Task) -> (String, u32) {
    let definition = &task.task_definition;
    (definition.family.as_str().to_owned(), definition.revision)
}

pub(crate) fn cluster() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("shop")
}

pub(crate) fn definition(family: &str, revision: u32) -> TaskDefinitionKey {
    TaskDefinitionKey {
        scope: cluster().scope,
        family: family.into(),
        revision,
    }
}
