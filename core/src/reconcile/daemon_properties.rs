//! Properties that hold whatever happens to a daemon and its hosts: one task on a host, no more hosts at once than a deployment may change, and other
//! tasks left alone while the daemon is away for a short time. Random histories in the small world.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::model::*;
use crate::state::{ClusterState, Command, UpdateService};

use super::limits::Limits;
use super::managed_daemons::PATIENCE_MS;
use super::world::{World, cases, cluster};

const HOSTS: usize = 6;
const DAEMON: &str = "daemon:logs";
const POOL: &str = "gpu";

#[derive(Clone, Debug)]
enum Step {
    NewRevision,
    HostsProceed,
    Reconcile,
    /// A task of the daemon ends by itself.
    End(usize),
    /// Somebody stops a task of the daemon.
    Stop(usize),
    Drain(usize),
    Activate(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::NewRevision),
        5 => Just(Step::HostsProceed),
        5 => Just(Step::Reconcile),
        1 => (0..HOSTS).prop_map(Step::End),
        1 => (0..HOSTS).prop_map(Step::Stop),
        1 => (0..HOSTS).prop_map(Step::Drain),
        1 => (0..HOSTS).prop_map(Step::Activate),
        2 => (0i64..60_000).prop_map(Step::Pass),
    ]
}

fn name(host: usize) -> String {
    format!("h{host}")
}

/// Hosts of a pool, each with a task outside services once the daemon serves there.
fn world(managed: bool, percent: u32) -> World {
    let mut world = World::new();
    world.add_capacity_providers(&[POOL]);
    for host in 0..HOSTS {
        world.add_host_of(&name(host), "a", Resources::new(1024, 1024), Some(POOL));
    }
    world.add_definition(DAEMON, Resources::new(64, 64), None);
    world.add_definition("job", Resources::new(64, 64), None);
    world.add_service(DAEMON, |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.desired_count = 0;
        service.deployment_configuration.maximum_percent = 100;
        service.deployment_configuration.minimum_healthy_percent = 100 - percent;
        if managed {
            let item = CapacityProviderStrategyItem {
                capacity_provider: POOL.into(),
                weight: 1,
                base: 0,
            };
            service.capacity_provider_strategy = vec![item];
            service.deployment_configuration = DeploymentConfiguration::of_daemon(0);
            let drain = Scale::of_percent(percent.into()).expect("a share");
            let settings = DaemonSettings { critical: true, drain };
            service.managed_daemon = Some(Box::new(ManagedDaemon { settings }));
        }
    });
    world.pass_ms(11_000);
    let job = world.state.latest_task_definition(&cluster().scope, &"job".into());
    let job = job.expect("it is defined").clone();
    for host in 0..HOSTS {
        let task = Task {
            id: world.ids.task_id(),
            container_instance: world.host(&name(host)),
            last_status: TaskStatus::Pending,
            ..Task::new(cluster(), &job, TaskOrigin::Standalone, world.now)
        };
        let run = Command::RunTasks {
            tasks: vec![task],
            client_token: None,
        };
        world.apply(run).expect("the daemon serves there");
    }
    world.hosts_finish();
    world
}

fn running(state: &ClusterState) -> impl Iterator<Item = &std::sync::Arc<Task>> {
    let daemon = cluster().service(DAEMON);
    let tasks: Vec<_> = state.live_tasks_of_service(&daemon).collect();
    let runs = |task: &&std::sync::Arc<Task>| {
        task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running
    };
    tasks.into_iter().filter(runs)
}

fn perform(world: &mut World, managed: bool, step: &Step) {
    match step {
        Step::NewRevision => {
            let revision = world.add_definition(DAEMON, Resources::new(64, 64), None);
            let key = cluster().service(DAEMON);
            let settings = world
                .service(DAEMON)
                .managed_daemon
                .as_ref()
                .map(|daemon| daemon.settings);
            let update = UpdateService {
                task_definition: Some(TaskDefinitionKey {
                    scope: key.cluster.scope.clone(),
                    family: DAEMON.into(),
                    revision,
                }),
                daemon_settings: settings.filter(|_| managed),
                ..UpdateService::blank(key, world.ids.deployment_id(), world.now)
            };
            world.apply(Command::UpdateService(Box::new(update))).expect("updates");
        }
        Step::HostsProceed => _ = world.hosts_step(),
        Step::Reconcile => _ = world.reconcile_checking(check),
        Step::End(nth) => {
            let task = running(&world.state).nth(*nth).cloned();
            if let Some(task) = task {
                let report = Command::RecordTaskReports {
                    container_instance: task.container_instance.expect("runs on a host"),
                    reports: vec![world.report_of(task.id, TaskStatus::Deactivating)],
                    at: world.now,
                };
                world.apply(report).expect("a host");
            }
        }
        Step::Stop(nth) => {
            let task = running(&world.state).nth(*nth).map(|task| task.id);
            let stop = Command::StopTasks {
                tasks: task.into_iter().collect(),
                stop_code: StopCode::UserInitiated,
                reason: "somebody says so".to_owned(),
                at: world.now,
            };
            world.apply(stop).expect("is always valid");
        }
        Step::Drain(nth) | Step::Activate(nth) => {
            let status = match step {
                Step::Drain(_) => ContainerInstanceStatus::Draining,
                _ => ContainerInstanceStatus::Active,
            };
            let update = Command::UpdateContainerInstanceStatus {
                container_instance: world.host(&name(*nth)).expect("a host"),
                status,
                at: None,
            };
            world.apply(update).expect("a host");
        }
        Step::Pass(ms) => world.now = world.now.plus_ms(*ms),
    }
}

/// What must hold of each command of the reconcilers.
fn check(before: &ClusterState, world: &World) {
    let daemon = cluster().service(DAEMON);
    let mut on_host: BTreeMap<_, usize> = BTreeMap::new();
    for task in world.state.live_tasks_of_service(&daemon) {
        *on_host.entry(task.container_instance).or_default() += 1;
    }
    assert!(
        on_host.values().all(|tasks| *tasks == 1),
        "a host has several: {on_host:?}"
    );

    let is_active = |task: &&std::sync::Arc<Task>| {
        let host = task
            .container_instance
            .and_then(|id| world.state.container_instance(id));
        host.is_some_and(|host| host.status == ContainerInstanceStatus::Active)
    };
    let count = |state: &ClusterState| running(state).filter(is_active).count();
    let (had, has) = (count(before), count(&world.state));
    let lower = Limits::of(world.service(DAEMON)).lower;
    assert!(has >= had || has >= lower, "{has} run after {had}, and {lower} must");

    for task in before
        .tasks_of_cluster(&cluster())
        .filter(|task| task.service().is_none())
    {
        let was_wanted = task.desired_status == DesiredStatus::Running;
        let is_wanted = world
            .state
            .task(task.id)
            .is_some_and(|now| now.desired_status == DesiredStatus::Running);
        let host = task.container_instance;
        let absence = host.and_then(|host| world.state.absence(&daemon, host));
        let long_away = absence.is_some_and(|away| world.now.ms_since(away.since) >= PATIENCE_MS);
        assert!(
            !was_wanted || is_wanted || long_away,
            "task {} is stopped too soon",
            task.id
        );
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn daemon_keeps_to_one_task_on_a_host_and_to_its_share_of_hosts(
        managed in any::<bool>(),
        percent in prop::sample::select(vec![10u32, 25, 50, 100]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = world(managed, percent);
        for step in &steps {
            perform(&mut world, managed, step);
        }
        world.reconcile_checking(check);
        // It comes back everywhere. The last revision of a daemon service does not where its minimumHealthyPercent lets no task stop.
        world.pass_ms(20 * 60_000);
        let (cluster, daemon) = (cluster(), cluster().service(DAEMON));
        let live = world.state.live_tasks_of_service(&daemon);
        let current = world.service(DAEMON).primary().map(|primary| primary.id.clone());
        let active = world.state.container_instances_of(&cluster);
        let active = active.filter(|host| host.status == ContainerInstanceStatus::Active);
        let on_active = running(&world.state).filter(|task| !managed || task.deployment() == current.as_ref());
        prop_assert!(on_active.count() >= active.count());
        prop_assert!(live.count() <= HOSTS);
    }
}
