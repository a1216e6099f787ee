//! Managed daemons: which hosts wait for one, and what is left of one that is deleted.

use berth_core::model::{
    CapacityProviderStrategyItem, ContainerInstanceId, DaemonAbsence, DaemonSettings, Deployment,
    DeploymentConfiguration, HostDescription, LogIndex, ManagedDaemon, Scale, SchedulingStrategy, Service,
    ServiceDeploymentStatus, ServiceStatus, StopCode, Task, TaskDefinitionKey, TaskDefinitionStatus, TaskId,
    TaskOrigin, TaskStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, Event, Rejection, ServiceProgress, UpdateService, apply};

use super::capacity_providers::{capacity_provider, put_providers};
use super::given::{cluster, definition, register, report, service, task};

const AT: Timestamp = Timestamp(9);
pub(crate) const POOL: &str = "gpu";

pub(crate) fn logs() -> TaskDefinitionKey {
    TaskDefinitionKey {
        scope: cluster().scope,
        family: berth_core::model::Family::for_daemons("logs"),
        revision: 1,
    }
}

pub(crate) fn daemon(critical: bool) -> Service {
    let item = CapacityProviderStrategyItem {
        capacity_provider: POOL.into(),
        weight: 1,
        base: 0,
    };
    Service {
        key: cluster().daemon("logs"),
        scheduling_strategy: SchedulingStrategy::Daemon,
        desired_count: 0,
        capacity_provider_strategy: vec![item],
        deployment_configuration: DeploymentConfiguration::of_daemon(0),
        deployments: vec![Deployment::new("ecs-svc/1".into(), logs(), AT)],
        managed_daemon: Some(Box::new(ManagedDaemon {
            settings: DaemonSettings {
                critical,
                drain: Scale::WHOLE,
            },
        })),
        ..service(&logs())
    }
}

pub(crate) fn create(critical: bool) -> Command {
    Command::CreateService {
        service: Box::new(daemon(critical)),
        client_token: None,
    }
}

pub(crate) fn delete() -> Command {
    Command::DeleteDaemon {
        daemon: cluster().daemon("logs"),
        deployment: "ecs-svc/9".into(),
        at: AT,
    }
}

/// The host in the pool of the daemon.
pub(crate) fn register_in_pool(host: u128) -> Command {
    match register(host, 4) {
        Command::RegisterContainerInstance {
            id,
            previous,
            cluster,
            agent,
            host,
            at,
        } => Command::RegisterContainerInstance {
            id,
            previous,
            cluster,
            agent,
            host: HostDescription {
                capacity_provider: Some(POOL.into()),
                ..host
            },
            at,
        },
        other => other,
    }
}

/// A task of the daemon's first deployment.
pub(crate) fn task_of_daemon(id: u128, host: u128) -> Command {
    let origin = TaskOrigin::Service {
        service: cluster().daemon("logs"),
        deployment: "ecs-svc/1".into(),
    };
    let task = Task {
        id: TaskId(id),
        last_status: TaskStatus::Pending,
        container_instance: Some(ContainerInstanceId(host)),
        capacity_provider: Some(POOL.into()),
        ..Task::new(cluster(), &definition(&logs()), origin, Timestamp(0))
    };
    Command::CreateTasks { tasks: vec![task] }
}

fn tell(state: &mut ClusterState, command: &Command) -> Result<Vec<Event>, Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, command)
}

fn says(id: u128, status: TaskStatus, at: i64) -> Command {
    Command::RecordTaskReports {
        container_instance: ContainerInstanceId(0),
        reports: vec![report(id, status)],
        at: Timestamp(at),
    }
}

/// A cluster with a host of the pool and one of none, before there is a daemon.
fn state() -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    for command in [
        register_in_pool(0),
        register(1, 0),
        Command::RegisterTaskDefinition(definition(&logs())),
        Command::CreateCapacityProvider(capacity_provider(POOL)),
        put_providers(&[POOL]),
    ] {
        tell(&mut state, &command).expect("accepted");
    }
    state
}

/// Whether a host has to wait for the daemon, and whether that has left it.
fn missing(state: &ClusterState, host: u128) -> Option<bool> {
    let missing = state.missing_daemon(ContainerInstanceId(host));
    missing.map(|missing| missing.has_left)
}

fn run(id: u128, host: u128) -> Command {
    Command::RunTasks {
        tasks: vec![task(id, host, 10, 10, None)],
        client_token: None,
    }
}

#[test]
fn host_of_the_pool_takes_no_task_before_the_daemon_serves_there() {
    let mut state = state();
    let events = tell(&mut state, &create(true)).expect("creates");
    let waits = Event::ContainerInstanceChanged {
        id: ContainerInstanceId(0),
        cluster: cluster(),
    };
    assert!(events.contains(&waits), "{events:?}");
    assert_eq!((missing(&state, 0), missing(&state, 1)), (Some(false), None));
    let refused = tell(&mut state, &run(1, 0));
    assert_eq!(
        refused,
        Err(Rejection::ContainerInstanceUnavailable(ContainerInstanceId(0)))
    );
    tell(&mut state, &run(2, 1)).expect("a host of no pool takes it");
    tell(&mut state, &task_of_daemon(3, 0)).expect("the daemon comes first");
    assert_eq!(missing(&state, 0), Some(false), "it does not run yet");
    tell(&mut state, &says(3, TaskStatus::Running, 10)).expect("reported");
    assert_eq!(missing(&state, 0), None);
    tell(&mut state, &run(4, 0)).expect("takes it now");
    let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
    assert_eq!(restored, state);
}

#[test]
fn host_waits_for_no_daemon_that_is_not_critical_of_another_pool_or_deleted() {
    let mut state = state();
    tell(&mut state, &create(false)).expect("creates");
    assert_eq!(missing(&state, 0), None);
    let mut state = self::state();
    tell(&mut state, &create(true)).expect("creates");
    tell(&mut state, &register(0, 5)).expect("it is in no pool now");
    assert_eq!(missing(&state, 0), None);
    tell(&mut state, &register_in_pool(0)).expect("it is back");
    assert_eq!(missing(&state, 0), Some(false));
    tell(&mut state, &delete()).expect("deletes");
    assert_eq!(missing(&state, 0), None);
}

/// Since when the daemon is away from a host.
fn absence(state: &ClusterState, host: u128) -> Option<DaemonAbsence> {
    let host = state.container_instance(ContainerInstanceId(host))?;
    host.absent_daemons.get(&cluster().daemon("logs").name).copied()
}

fn give_up(host: u128) -> Command {
    let mut progress = ServiceProgress::nothing_new(cluster().daemon("logs"), Timestamp(140_000));
    progress.hosts_given_up = vec![ContainerInstanceId(host)];
    Command::RecordServiceProgress(Box::new(progress))
}

#[test]
fn task_of_a_daemon_that_served_and_ends_by_itself_leaves_its_host_once_it_is_given_up_until_the_next_one_serves() {
    let mut state = state();
    for command in [
        create(true),
        task_of_daemon(3, 0),
        says(3, TaskStatus::Running, 10),
        run(4, 0),
    ] {
        tell(&mut state, &command).expect("accepted");
    }
    let of_a_service = state.task(TaskId(4)).expect("runs").clone();
    assert!(!state.must_leave(&of_a_service));
    tell(&mut state, &give_up(0)).expect("says nothing of a host where it serves");
    assert_eq!(missing(&state, 0), None);
    tell(&mut state, &says(3, TaskStatus::Stopped, 20_000)).expect("reported");
    assert_eq!(missing(&state, 0), Some(false), "it may come back");
    let since = Timestamp(20_000);
    assert_eq!(absence(&state, 0), Some(DaemonAbsence { since, given_up: false }));
    assert!(!state.must_leave(&of_a_service));
    let events = tell(&mut state, &give_up(0)).expect("given up");
    let changed = Event::ContainerInstanceChanged {
        id: ContainerInstanceId(0),
        cluster: cluster(),
    };
    assert!(events.contains(&changed), "{events:?}");
    assert_eq!(missing(&state, 0), Some(true));
    assert!(state.must_leave(&of_a_service));
    let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
    assert_eq!(restored, state);
    tell(&mut state, &task_of_daemon(5, 0)).expect("comes back");
    tell(&mut state, &says(5, TaskStatus::Running, 150_001)).expect("reported");
    assert_eq!(missing(&state, 0), None);
    tell(&mut state, &says(5, TaskStatus::Stopped, 150_500)).expect("reported");
    assert_eq!(
        missing(&state, 0),
        Some(true),
        "it ran for a moment, and is away since then all the same"
    );
    tell(&mut state, &task_of_daemon(6, 0)).expect("comes back");
    tell(&mut state, &says(6, TaskStatus::Running, 160_000)).expect("reported");
    let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
    assert_eq!(restored, state);
    let stop = Command::StopTasks {
        tasks: vec![TaskId(6)],
        stop_code: StopCode::ServiceSchedulerInitiated,
        reason: "it is replaced".to_owned(),
        at: Timestamp(190_000),
    };
    tell(&mut state, &stop).expect("stops");
    tell(&mut state, &says(6, TaskStatus::Stopped, 190_001)).expect("reported");
    assert_eq!(missing(&state, 0), Some(false));
    assert_eq!(absence(&state, 0), None, "it was replaced, and did not leave");
}

#[test]
fn absence_of_a_daemon_is_forgotten_with_whatever_made_the_host_wait_for_it() {
    let away = || {
        let mut state = state();
        for command in [
            create(true),
            task_of_daemon(3, 0),
            says(3, TaskStatus::Running, 10),
            says(3, TaskStatus::Stopped, 20_000),
        ] {
            tell(&mut state, &command).expect("accepted");
        }
        assert!(absence(&state, 0).is_some());
        state
    };
    let deregister = Command::DeregisterContainerInstance {
        container_instance: ContainerInstanceId(0),
        force: false,
        at: AT,
    };
    for what in [delete(), register(0, 5), deregister] {
        let mut state = away();
        tell(&mut state, &what).expect("accepted");
        assert_eq!((missing(&state, 0), absence(&state, 0)), (None, None), "{what:?}");
        let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
        assert_eq!(restored, state);
    }
}

#[test]
fn daemon_that_was_updated_is_not_created_again_by_the_request_that_made_it() {
    let mut state = state();
    let mut made = daemon(true);
    made.request_digest = "first".to_owned();
    let create = Command::CreateService {
        service: Box::new(made),
        client_token: None,
    };
    tell(&mut state, &create).expect("creates");
    assert_eq!(tell(&mut state, &create), Ok(vec![]), "it is what the request asks for");
    let settings = DaemonSettings {
        critical: false,
        drain: Scale::WHOLE,
    };
    let key = cluster().daemon("logs");
    let update = UpdateService {
        force_new_deployment: true,
        daemon_settings: Some(settings),
        ..UpdateService::blank(key.clone(), "ecs-svc/2".into(), AT)
    };
    tell(&mut state, &Command::UpdateService(Box::new(update))).expect("updates");
    assert_eq!(tell(&mut state, &create), Err(Rejection::ServiceExists(key)));
}

#[test]
fn task_of_a_daemon_that_did_not_serve_leaves_nothing() {
    let mut state = state();
    for command in [create(true), task_of_daemon(3, 0), says(3, TaskStatus::Running, 10)] {
        tell(&mut state, &command).expect("accepted");
    }
    tell(&mut state, &says(3, TaskStatus::Stopped, 500)).expect("reported");
    assert_eq!(missing(&state, 0), Some(false));
}

#[test]
fn deleted_daemon_keeps_how_it_was_deleted_and_its_pool_until_its_tasks_are_gone() {
    let mut state = state();
    tell(&mut state, &create(true)).expect("creates");
    tell(&mut state, &task_of_daemon(3, 0)).expect("starts");
    tell(&mut state, &delete()).expect("deletes");
    let key = cluster().daemon("logs");
    assert_eq!(
        tell(&mut state, &delete()),
        Err(Rejection::ServiceNotActive(key.clone()))
    );
    let in_use = tell(&mut state, &put_providers(&[]));
    assert_eq!(
        in_use.map_err(|why| why.to_string()),
        Err("capacity provider gpu is used by daemon logs".to_owned())
    );
    tell(&mut state, &says(3, TaskStatus::Stopped, 20)).expect("reported");
    let gone = ServiceProgress {
        inactive: true,
        ..ServiceProgress::nothing_new(key.clone(), AT)
    };
    tell(&mut state, &Command::RecordServiceProgress(Box::new(gone))).expect("it is gone");
    let daemon = state.service(&key).expect("is remembered");
    assert_eq!(daemon.status, ServiceStatus::Inactive);
    let known: Vec<ServiceDeploymentStatus> = daemon.service_deployments.iter().map(|d| d.status).collect();
    assert_eq!(
        known,
        [ServiceDeploymentStatus::Pending, ServiceDeploymentStatus::Stopped]
    );
    tell(&mut state, &put_providers(&[])).expect("nothing uses it any more");
}

#[test]
fn definition_of_daemons_has_revisions_of_its_own_and_is_deleted_once() {
    let mut state = state();
    let web = TaskDefinitionKey {
        family: "logs".into(),
        ..logs()
    };
    tell(&mut state, &Command::RegisterTaskDefinition(definition(&web))).expect("registers");
    let scope = cluster().scope;
    let keys = |all: Vec<_>| -> Vec<TaskDefinitionKey> { all };
    let of_tasks = keys(state.task_definitions(&scope).map(|d| d.key.clone()).collect());
    let of_daemons = keys(state.daemon_task_definitions(&scope).map(|d| d.key.clone()).collect());
    assert_eq!((of_tasks, of_daemons), (vec![web], vec![logs()]));
    let delete = Command::DeleteDaemonTaskDefinition {
        task_definition: logs(),
        at: AT,
    };
    tell(&mut state, &delete).expect("deletes");
    let deleted = state.task_definition(&logs()).expect("is remembered");
    assert_eq!(
        (deleted.status, deleted.deregistered_at),
        (TaskDefinitionStatus::DeleteInProgress, Some(AT))
    );
    assert_eq!(
        tell(&mut state, &delete),
        Err(Rejection::TaskDefinitionNotFound(logs()))
    );
    assert_eq!(
        tell(&mut state, &create(true)),
        Err(Rejection::TaskDefinitionNotFound(logs()))
    );
}
