//! What it costs to decide what has to change: passes of the reconcilers over a large cluster in one process, without a controller, a log or hosts. Only the passes
//! are timed, not what is done with their commands. Shell around `berth_core::reconcile`.
//!
//! `reconcile-bench [HOSTS TASKS SERVICES]` (without the first part where TASKS is 0), by default 10,000 hosts in 3 zones and 100,000 tasks of 2,000 services. Then, with as many hosts, services of high
//! priority that wait for room where tasks may be stopped for them.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use berth_core::ids::IdSource;
use berth_core::model::*;
use berth_core::reconcile::{Agenda, reconcile};
use berth_core::state::{ClusterState, Command, Taggable, UpdateService, apply};

const HOST: (u32, u32) = (16_384, 65_536);
const ZONES: usize = 3;
const START: Timestamp = Timestamp(1_800_000_000_000);

/// Tasks that die, one after the other.
const DEATHS: usize = 50;

/// Tasks of the service that is updated.
const ROLLED: u32 = 1_000;

/// Services that wait for room, and those whose tasks fill the hosts.
const WAITING: usize = 200;
const FILLING: usize = 20;

/// Rounds in which something must be over.
const MAX_ROUNDS: usize = 10_000;

/// What passes took.
#[derive(Default)]
struct Passes {
    times: Vec<Duration>,
    /// What taking in what changed took between them.
    between: Duration,
    commands: usize,
}

impl Passes {
    fn told(&self, what: &str) {
        let total: Duration = self.times.iter().sum();
        let longest = self.times.iter().max().copied().unwrap_or_default();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{what:<44} {:>5} passes  {:>9.1} ms  longest {:>7.2} ms  between them {:>7.1} ms  {:>6} commands",
            self.times.len(),
            ms(total),
            ms(longest),
            ms(self.between),
            self.commands
        );
    }
}

struct Bench {
    state: ClusterState,
    agenda: Agenda,
    ids: IdSource,
    now: Timestamp,
    index: u64,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: ClusterState::at_newest_level(),
            agenda: Agenda::new(),
            ids: IdSource::from_seed(1),
            now: START,
            index: 0,
        };
        bench.apply(&Command::CreateCluster(Cluster::new(cluster(), START)));
        bench
    }

    fn apply(&mut self, command: &Command) {
        self.index += 1;
        let events = apply(&mut self.state, LogIndex(self.index), command).expect("accepted");
        events.iter().for_each(|event| self.agenda.note(event));
    }

    fn add_hosts(&mut self, count: usize) {
        for number in 0..count {
            let zone = Some(format!("zone-{}", number % ZONES));
            let name = format!("host-{number}");
            let command = Command::RegisterContainerInstance {
                id: self.ids.container_instance_id(),
                previous: None,
                cluster: cluster(),
                agent: name.as_str().into(),
                host: HostDescription {
                    host_name: name,
                    capacity: Resources::new(HOST.0, HOST.1),
                    attributes: [(attribute_names::AVAILABILITY_ZONE.to_owned(), zone)].into(),
                    agent_version: "1".to_owned(),
                    runtime_version: "1".to_owned(),
                    capacity_provider: None,
                    ecs_agent: None,
                },
                at: self.now,
            };
            self.apply(&command);
        }
    }

    /// A service whose tasks take so much, level over zones and packed within them.
    fn add_service(&mut self, name: &str, tasks: u32, needs: Resources) {
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
            port_mappings: vec![],
            stop_timeout_secs: None,
            docker_labels: Default::default(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        };
        let registered = TaskDefinition {
            key: definition(name, 0),
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
            registered_by: String::new(),
            also_given: String::new(),
        };
        // Twice, so that there is another revision to go to.
        self.apply(&Command::RegisterTaskDefinition(registered.clone()));
        self.apply(&Command::RegisterTaskDefinition(registered));
        let field = format!("attribute:{}", attribute_names::AVAILABILITY_ZONE);
        let extension = PlacementExtension::Tightest;
        let service = Service {
            key: cluster().service(name),
            status: ServiceStatus::Active,
            scheduling_strategy: SchedulingStrategy::Replica,
            desired_count: tasks,
            launch_type: None,
            capacity_provider_strategy: vec![],
            platform_version: PlatformVersion::default(),
            network_configuration: None,
            placement_constraints: vec![],
            placement_strategy: vec![
                PlacementStrategy::Spread { field },
                PlacementStrategy::Extension { extension },
            ],
            deployment_configuration: DeploymentConfiguration {
                maximum_percent: 110,
                minimum_healthy_percent: 95,
                ..DeploymentConfiguration::default_of(SchedulingStrategy::Replica)
            },
            deployments: vec![Deployment::new(self.ids.deployment_id(), definition(name, 1), self.now)],
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
            created_by: String::new(),
            request_digest: String::new(),
            inactive_since: None,
        };
        let service = Box::new(service);
        self.apply(&Command::CreateService {
            service,
            client_token: None,
        });
    }

    /// A pass, and what it decided; how much that was.
    fn pass(&mut self, passes: &mut Passes) -> usize {
        let began = Instant::now();
        let commands = reconcile(&self.state, &mut self.agenda, self.now, &mut self.ids);
        passes.times.push(began.elapsed());
        passes.commands += commands.len();
        commands.iter().for_each(|command| self.apply(command));
        commands.len()
    }

    /// What a leader does between passes.
    fn keep_up(&mut self, passes: &mut Passes) {
        let began = Instant::now();
        self.agenda.keep_up(&self.state);
        passes.between += began.elapsed();
    }

    /// Passes until nothing is left to do now.
    fn settle(&mut self) -> Passes {
        let mut passes = Passes::default();
        for _ in 0..MAX_ROUNDS {
            self.keep_up(&mut passes);
            if !self.agenda.has_work() {
                return passes;
            }
            self.pass(&mut passes);
        }
        panic!("still busy after {MAX_ROUNDS} passes");
    }

    /// Has all hosts do what they were told and report it; whether there was anything.
    fn hosts_work(&mut self) -> bool {
        let hosts: Vec<ContainerInstanceId> = self.state.container_instances_of(&cluster()).map(|h| h.id).collect();
        let mut worked = false;
        for container_instance in hosts {
            let tasks = self.state.tasks_of_instance(container_instance);
            let reports: Vec<TaskReport> = tasks.filter_map(|task| self.report(task)).collect();
            if !reports.is_empty() {
                worked = true;
                let at = self.now;
                self.apply(&Command::RecordTaskReports {
                    container_instance,
                    reports,
                    at,
                });
            }
        }
        worked
    }

    /// That the task is what it is wanted to be, if it is not.
    fn report(&self, task: &Task) -> Option<TaskReport> {
        let status = match task.desired_status {
            DesiredStatus::Running if task.last_status < TaskStatus::Running => TaskStatus::Running,
            DesiredStatus::Stopped if task.last_status < TaskStatus::Stopped => TaskStatus::Stopped,
            _ => return None,
        };
        Some(self.report_of(task.id, status))
    }

    fn report_of(&self, task: TaskId, status: TaskStatus) -> TaskReport {
        let ended = status == TaskStatus::Stopped;
        TaskReport {
            started_at: Some(self.now),
            execution_stopped_at: ended.then_some(self.now),
            stopped_at: ended.then_some(self.now),
            stop_code: ended.then_some(StopCode::EssentialContainerExited),
            stopped_reason: ended.then(|| "Essential container in task exited".to_owned()),
            ..TaskReport::new(task, status)
        }
    }

    /// Lets hosts work and time pass until nothing changes any more.
    fn come_to_rest(&mut self) -> Passes {
        let mut all = Passes::default();
        for _ in 0..MAX_ROUNDS {
            let passes = self.settle();
            all.commands += passes.commands;
            all.between += passes.between;
            all.times.extend(passes.times);
            if self.hosts_work() {
                continue;
            }
            // What comes due: tasks that have proved to stay up.
            self.now = self.now.plus_ms(20_000);
            if self.pass(&mut all) == 0 && !self.agenda.has_work() {
                return all;
            }
        }
        panic!("still busy after {MAX_ROUNDS} rounds");
    }

    fn hosts_used(&self) -> usize {
        let key = cluster();
        let tasks = self.state.tasks_of_cluster(&key).filter(|task| !task.is_stopped());
        let hosts = tasks.filter_map(|task| task.container_instance);
        hosts.collect::<BTreeSet<_>>().len()
    }

    /// The times from the end of one task to the plan for another in its place.
    fn deaths(&mut self) -> Vec<Duration> {
        let key = cluster();
        let tasks: Vec<Task> = self
            .state
            .tasks_of_cluster(&key)
            .map(|task| Task::clone(task))
            .collect();
        let every = (tasks.len() / DEATHS).max(1);
        let mut times = vec![];
        for task in tasks.iter().step_by(every).filter(|task| !task.is_stopped()) {
            self.apply(&Command::RecordTaskReports {
                container_instance: task.container_instance.expect("it runs"),
                reports: vec![self.report_of(task.id, TaskStatus::Stopped)],
                at: self.now,
            });
            let began = Instant::now();
            let commands = reconcile(&self.state, &mut self.agenda, self.now, &mut self.ids);
            times.push(began.elapsed());
            commands.iter().for_each(|command| self.apply(command));
            self.come_to_rest();
        }
        times.sort();
        times
    }

    fn lose_zone(&mut self, zone: &str) {
        let key = cluster();
        let hosts = self.state.container_instances_of(&key);
        let lost: Vec<ContainerInstanceId> = hosts
            .filter(|host| host.availability_zone() == Some(zone))
            .map(|host| host.id)
            .collect();
        for container_instance in lost {
            let at = self.now;
            self.apply(&Command::RecordAgentDisconnected {
                container_instance,
                last_heard_at: at,
                at,
            });
            self.apply(&Command::DeclareHostLost {
                container_instance,
                reason: "the zone is gone".to_owned(),
                at,
            });
        }
    }

    fn update(&mut self, name: &str) {
        let service = cluster().service(name);
        let update = UpdateService {
            task_definition: Some(definition(name, 2)),
            ..UpdateService::blank(service, self.ids.deployment_id(), self.now)
        };
        self.apply(&Command::UpdateService(Box::new(update)));
    }
}

/// Hosts full of tasks of `priority`, and services of priority 90 that find no room, each of another size; tasks may be stopped for others.
fn crowded(hosts: usize, priority: &str) -> Bench {
    let mut bench = Bench::new();
    bench.add_hosts(hosts);
    let tag = |resource, key: &str, value: &str| Command::TagResource {
        resource,
        tags: [(key.to_owned(), value.to_owned())].into(),
    };
    // Ten of them fill a host.
    let each = u32::try_from(hosts * 10 / FILLING).expect("few");
    for number in 0..FILLING {
        let name = format!("filling-{number}");
        bench.add_service(&name, each, Resources::new(HOST.0 / 10, HOST.1 / 10));
        let service = Taggable::Service(cluster().service(&name));
        bench.apply(&tag(service, Priority::TAG, priority));
    }
    bench.come_to_rest();
    bench.apply(&tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled"));
    for number in 0..WAITING {
        let name = format!("waiting-{number}");
        let more = u32::try_from(number).expect("few");
        bench.add_service(&name, 1, Resources::new(2_048 + more, 8_192));
        let service = Taggable::Service(cluster().service(&name));
        bench.apply(&tag(service, Priority::TAG, "90"));
    }
    bench
}

/// What services that wait for room cost with each task that ends.
fn preemption(hosts: usize) {
    for (priority, what) in [("90", "nothing can be stopped for them"), ("10", "all can")] {
        let mut bench = crowded(hosts, priority);
        bench.settle().told(&format!("{WAITING} services find no room, {what}"));
        let key = cluster();
        let ends: Vec<Task> = bench
            .state
            .tasks_of_cluster(&key)
            .filter(|task| task.desired_status == DesiredStatus::Running)
            .step_by(1_000)
            .take(DEATHS)
            .map(|task| Task::clone(task))
            .collect();
        let mut passes = Passes::default();
        for task in ends {
            bench.apply(&Command::RecordTaskReports {
                container_instance: task.container_instance.expect("it runs"),
                reports: vec![bench.report_of(task.id, TaskStatus::Stopped)],
                at: bench.now,
            });
            let one = bench.settle();
            passes.commands += one.commands;
            passes.times.extend(one.times);
        }
        passes.told(&format!("a task ends {DEATHS} times, {what}"));
    }
}

fn cluster() -> ClusterKey {
    Scope::new("123456789012", "us-east-1").cluster("shop")
}

fn definition(family: &str, revision: u32) -> TaskDefinitionKey {
    TaskDefinitionKey {
        scope: cluster().scope,
        family: family.into(),
        revision,
    }
}

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [hosts, tasks, services] = given[..] else {
        run(10_000, 100_000, 2_000);
        return preemption(10_000);
    };
    if tasks > 0 {
        run(hosts, tasks, services);
    }
    preemption(hosts);
}

fn run(hosts: usize, tasks: usize, services: usize) {
    let mut bench = Bench::new();
    bench.add_hosts(hosts);
    bench.settle();
    let mut ids = IdSource::from_seed(42);
    let mut between = |least: u64, most: u64| u32::try_from(least + ids.next_u64() % (most - least)).expect("small");
    let each = u32::try_from(tasks / services).expect("few");
    for service in 0..services {
        let needs = Resources::new(between(64, 2_048), between(128, 8_192));
        bench.add_service(&format!("service-{service}"), each, needs);
    }
    bench
        .settle()
        .told(&format!("{services} services of {each} tasks created at once"));
    let used = bench.hosts_used();
    bench.come_to_rest().told("until all are steady");
    println!("hosts used: {used} of {hosts}");
    bench.now = bench.now.plus_ms(1_000);
    bench.settle().told("nothing changes");
    let deaths = bench.deaths();
    if let Some(longest) = deaths.last() {
        println!(
            "one task ends, its successor is planned after: median {:.2} ms, longest {:.2} ms of {}",
            deaths[deaths.len() / 2].as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3,
            deaths.len()
        );
    }
    bench.add_service("rolled", ROLLED, Resources::new(100, 200));
    bench.come_to_rest();
    bench.update("rolled");
    bench
        .come_to_rest()
        .told(&format!("a rolling update of {ROLLED} tasks"));
    bench.lose_zone("zone-0");
    bench.settle().told("a zone is lost, until all is placed anew");
    println!("hosts used: {}", bench.hosts_used());
}
