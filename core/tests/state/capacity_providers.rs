//! Capacity providers: whose they are, and that what is used stays.

use berth_core::model::{
    CapacityProvider, CapacityProviderKey, CapacityProviderStrategy, CapacityProviderStrategyItem, LogIndex,
    SchedulingStrategy, Service, ServiceStatus, StopCode, TaskId, TaskStatus, Timestamp, UnsupportedByDaemon,
};
use berth_core::state::{ClusterState, Command, Rejection, UpdateService, apply};

use super::given::{cluster, definition, no_change, register, report, service, task};
use super::services::tell;

fn key(name: &str) -> CapacityProviderKey {
    cluster().scope.capacity_provider(name)
}

pub(crate) fn capacity_provider(name: &str) -> CapacityProvider {
    CapacityProvider {
        key: key(name),
        managed_scaling: None,
        managed_termination_protection: false,
        managed_draining: false,
        updated: false,
        auto_scaling_group_arn: name.to_owned(),
        tags: Default::default(),
        created_at: Timestamp(0),
    }
}

pub(crate) fn put_providers(names: &[&str]) -> Command {
    Command::PutClusterCapacityProviders {
        cluster: cluster(),
        capacity_providers: names.iter().map(|name| (*name).into()).collect(),
        default_strategy: vec![],
    }
}

fn strategy(names: &[&str]) -> CapacityProviderStrategy {
    let item = |name: &&str| CapacityProviderStrategyItem {
        capacity_provider: (*name).into(),
        weight: 1,
        base: 0,
    };
    names.iter().map(item).collect()
}

fn tell_state(state: &mut ClusterState, command: &Command) -> Result<(), Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, command).map(drop)
}

/// A cluster with a host and the capacity providers `plain` and `gpu`.
fn state() -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    for command in [
        register(0, 0),
        Command::RegisterTaskDefinition(definition(&service_with(&[]).deployments[0].task_definition)),
        Command::CreateCapacityProvider(capacity_provider("plain")),
        Command::CreateCapacityProvider(capacity_provider("gpu")),
        put_providers(&["plain", "gpu"]),
    ] {
        tell_state(&mut state, &command).expect("accepted");
    }
    state
}

fn service_with(names: &[&str]) -> Service {
    let web = berth_core::model::TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision: 1,
    };
    Service {
        capacity_provider_strategy: strategy(names),
        ..service(&web)
    }
}

fn create(service: Service) -> Command {
    Command::CreateService {
        service: Box::new(service),
        client_token: None,
    }
}

fn update(names: &[&str], force_new_deployment: bool) -> Command {
    Command::UpdateService(Box::new(UpdateService {
        capacity_provider_strategy: Some(strategy(names)),
        force_new_deployment,
        ..no_change(&service_with(&[]), "ecs-svc/2")
    }))
}

#[test]
fn capacity_provider_is_there_once_and_deleted_once_no_cluster_has_it() {
    let mut state = state();
    let again = tell_state(&mut state, &Command::CreateCapacityProvider(capacity_provider("gpu")));
    assert_eq!(again, Err(Rejection::CapacityProviderExists(key("gpu"))));
    let delete = Command::DeleteCapacityProvider {
        capacity_provider: key("gpu"),
    };
    let associated = Rejection::CapacityProviderAssociated {
        capacity_provider: "gpu".into(),
        cluster: cluster().name,
    };
    assert_eq!(tell_state(&mut state, &delete), Err(associated));
    tell_state(&mut state, &put_providers(&["plain"])).expect("nothing uses it");
    assert_eq!(tell_state(&mut state, &delete), Ok(()));
    assert_eq!(
        tell_state(&mut state, &delete),
        Err(Rejection::CapacityProviderNotFound(key("gpu")))
    );
    assert_eq!(
        tell_state(&mut state, &put_providers(&["gpu"])),
        Err(Rejection::CapacityProviderNotFound(key("gpu")))
    );
    let names: Vec<_> = state
        .capacity_providers(&cluster().scope)
        .map(|p| p.key.name.to_string())
        .collect();
    assert_eq!(names, ["plain"]);
}

#[test]
fn strategy_with_a_capacity_provider_that_the_cluster_does_not_have_is_refused() {
    let mut state = state();
    tell_state(&mut state, &put_providers(&["plain"])).expect("nothing uses it");
    let refused = Err(Rejection::CapacityProviderNotAssociated(key("gpu")));
    assert_eq!(
        tell_state(&mut state, &create(service_with(&["plain", "gpu"]))),
        refused
    );
    tell_state(&mut state, &create(service_with(&["plain"]))).expect("creates");
    assert_eq!(tell_state(&mut state, &update(&["gpu"], true)), refused);
    let as_default = Command::PutClusterCapacityProviders {
        cluster: cluster(),
        capacity_providers: vec!["plain".into()],
        default_strategy: strategy(&["gpu"]),
    };
    assert_eq!(tell_state(&mut state, &as_default), refused);
}

#[test]
fn other_strategy_of_a_service_needs_a_new_deployment_and_the_same_one_does_not() {
    let mut state = state();
    tell_state(&mut state, &create(service_with(&["plain"]))).expect("creates");
    let of_service = cluster().service("web");
    tell_state(&mut state, &update(&["plain"], false)).expect("changes nothing");
    assert_eq!(
        tell_state(&mut state, &update(&["gpu"], false)),
        Err(Rejection::NewDeploymentNeeded(of_service.clone()))
    );
    tell_state(&mut state, &update(&["gpu"], true)).expect("updates");
    let service = state.service(&of_service).expect("exists");
    assert_eq!(
        (&service.capacity_provider_strategy, service.deployments.len()),
        (&strategy(&["gpu"]), 2)
    );
    tell_state(&mut state, &update(&[], true)).expect("goes back to any host");
    assert!(
        state
            .service(&of_service)
            .expect("exists")
            .capacity_provider_strategy
            .is_empty()
    );
}

#[test]
fn capacity_provider_that_a_service_or_a_task_uses_stays_with_the_cluster() {
    let mut state = state();
    let in_use = |by: &str| {
        Err(Rejection::CapacityProviderInUse {
            capacity_provider: "gpu".into(),
            by: by.to_owned(),
        })
    };
    tell_state(&mut state, &create(service_with(&["gpu"]))).expect("creates");
    let refused = tell_state(&mut state, &put_providers(&["plain"]));
    assert_eq!(refused, in_use("service web"));
    tell_state(&mut state, &update(&["plain"], true)).expect("updates");
    let mut of_task = task(1, 0, 1, 1, None);
    of_task.capacity_provider = Some("gpu".into());
    let run = Command::RunTasks {
        tasks: vec![of_task],
        client_token: None,
    };
    tell_state(&mut state, &run).expect("runs");
    let refused = tell_state(&mut state, &put_providers(&["plain"]));
    let group = state.task(TaskId(1)).expect("it runs").group.clone();
    assert_eq!(refused, in_use(&format!("task {} of {group}", TaskId(1))));
    let stop = Command::StopTasks {
        tasks: vec![TaskId(1)],
        stop_code: StopCode::UserInitiated,
        reason: String::new(),
        at: Timestamp(2),
    };
    tell_state(&mut state, &stop).expect("stops");
    tell(&mut state, report(1, TaskStatus::Stopped), 3);
    assert_eq!(tell_state(&mut state, &put_providers(&["plain"])), Ok(()));
}

#[test]
fn service_on_every_host_has_no_capacity_provider_strategy() {
    let mut state = state();
    let daemon = Service {
        scheduling_strategy: SchedulingStrategy::Daemon,
        status: ServiceStatus::Active,
        ..service_with(&["gpu"])
    };
    let why = UnsupportedByDaemon::CapacityProviderStrategy;
    assert_eq!(
        tell_state(&mut state, &create(daemon)),
        Err(Rejection::UnsupportedByDaemon(why))
    );
}

#[test]
fn cluster_that_is_deleted_lets_its_capacity_providers_go() {
    let mut state = state();
    for command in [
        Command::DeregisterContainerInstance {
            container_instance: berth_core::model::ContainerInstanceId(0),
            force: true,
            at: Timestamp(1),
        },
        Command::DeleteCluster {
            cluster: cluster(),
            at: None,
        },
        Command::DeleteCapacityProvider {
            capacity_provider: key("gpu"),
        },
    ] {
        tell_state(&mut state, &command).expect("accepted");
    }
}

#[test]
fn capacity_providers_of_ecs_are_there_without_being_created_once_all_members_know_them() {
    let put = put_providers(&["FARGATE", "FARGATE_SPOT"]);
    let mut state = ClusterState::at_newest_level();
    tell_state(&mut state, &register(0, 0)).expect("registers");
    tell_state(&mut state, &put).expect("puts");
    let names = &state.cluster(&cluster()).expect("there").capacity_providers;
    assert_eq!(names, &["FARGATE".into(), "FARGATE_SPOT".into()]);
    let mut old = ClusterState::default();
    tell_state(&mut old, &register(0, 0)).expect("registers");
    let refused = tell_state(&mut old, &put);
    assert_eq!(refused, Err(Rejection::CapacityProviderNotFound(key("FARGATE"))));
}
