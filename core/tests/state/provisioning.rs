//! Tasks outside services that wait for a host of their capacity provider.

use berth_core::model::*;
use berth_core::state::{
    ClusterState, Command, Event, FeatureLevel, MAX_PROVISIONING_TASKS, PlaceTask, Rejection, apply,
};

use super::capacity_providers::{capacity_provider, put_providers};
use super::given::{cluster, register, task};

/// A task of a capacity provider that waits for a host.
pub(crate) fn waiting(id: u128, cpu: u32, pool: &str) -> Task {
    Task {
        container_instance: None,
        last_status: TaskStatus::Provisioning,
        capacity_provider: Some(pool.into()),
        provision_until: Some(Timestamp(100)),
        created_at: Timestamp(10),
        ..task(id, 0, cpu, 10, None)
    }
}

pub(crate) fn run(tasks: Vec<Task>) -> Command {
    Command::RunTasks {
        tasks,
        client_token: None,
    }
}

pub(crate) fn place(placements: &[(u128, u128)], at: i64) -> Command {
    let placements = placements.iter().map(|(task, host)| PlaceTask {
        task: TaskId(*task),
        container_instance: ContainerInstanceId(*host),
        placement: None,
    });
    Command::PlaceTasks {
        placements: placements.collect(),
        at: Timestamp(at),
    }
}

fn stop(id: u128) -> Command {
    Command::StopTasks {
        tasks: vec![TaskId(id)],
        stop_code: StopCode::UserInitiated,
        reason: "enough".to_owned(),
        at: Timestamp(30),
    }
}

/// A cluster with two hosts and a capacity provider.
fn state() -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    for command in [
        register(0, 1),
        register(1, 1),
        Command::CreateCapacityProvider(capacity_provider("gpu")),
        put_providers(&["gpu"]),
    ] {
        tell(&mut state, &command).expect("accepted");
    }
    state
}

/// Has the state take a command; it can always be restored from a snapshot.
fn tell(state: &mut ClusterState, command: &Command) -> Result<Vec<Event>, Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    let outcome = apply(state, index, command);
    assert_eq!(ClusterState::from_snapshot(state.snapshot()).as_ref(), Ok(&*state));
    outcome
}

fn provisioning(state: &ClusterState) -> Vec<u128> {
    state.provisioning_tasks(&cluster()).map(|task| task.id.0).collect()
}

#[test]
fn task_that_waits_holds_nothing_and_goes_on_as_any_once_it_has_a_host() {
    let mut state = state();
    tell(
        &mut state,
        &run(vec![waiting(7, 600, "gpu"), task(8, 0, 100, 10, None)]),
    )
    .expect("taken");
    assert_eq!(provisioning(&state), [7]);
    let held = |state: &ClusterState, host: u128| {
        1024 - state
            .allocation(ContainerInstanceId(host))
            .free(Resources::new(1024, 1000))
            .cpu
            .0
    };
    assert_eq!((held(&state, 0), held(&state, 1)), (100, 0));
    let version = |state: &ClusterState| state.container_instance(ContainerInstanceId(1)).expect("there").version;
    let before = version(&state);
    let events = tell(&mut state, &place(&[(7, 1)], 20)).expect("there is room");
    let [Event::TaskChanged(change)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (change.from, change.to, change.container_instance),
        (
            Some(TaskStatus::Provisioning),
            TaskStatus::Pending,
            Some(ContainerInstanceId(1))
        )
    );
    let placed = state.task(TaskId(7)).expect("there");
    assert_eq!((placed.placed_at, placed.provision_until), (Some(Timestamp(20)), None));
    assert_eq!((placed.created_at, placed.version), (Timestamp(10), 2));
    assert_eq!(state.tasks_of_instance(ContainerInstanceId(1)).count(), 1);
    assert_eq!((held(&state, 1), version(&state)), (600, before + 1));
    assert_eq!(provisioning(&state), [0u128; 0]);
    let again = tell(&mut state, &place(&[(7, 0)], 21));
    assert!(matches!(again, Err(Rejection::Stale(_))), "it has one: {again:?}");
}

#[test]
fn tasks_get_all_of_their_hosts_or_none() {
    let mut state = state();
    tell(&mut state, &run((1..=3).map(|id| waiting(id, 600, "gpu")).collect())).expect("taken");
    let before = state.clone();
    let refused = tell(&mut state, &place(&[(1, 0), (2, 1), (3, 1)], 20));
    assert!(matches!(refused, Err(Rejection::InsufficientCpu { .. })), "{refused:?}");
    let unknown = tell(&mut state, &place(&[(1, 0), (9, 1)], 20));
    assert!(matches!(unknown, Err(Rejection::Stale(_))), "{unknown:?}");
    assert!(state.snapshot().skip(1).eq(before.snapshot().skip(1)));
    tell(&mut state, &place(&[(1, 0), (2, 1)], 20)).expect("there is room");
    assert_eq!(provisioning(&state), [3]);
}

#[test]
fn task_that_is_stopped_while_it_waits_is_over_at_once() {
    let mut state = state();
    tell(&mut state, &run(vec![waiting(7, 600, "gpu")])).expect("taken");
    let events = tell(&mut state, &stop(7)).expect("always valid");
    let [Event::TaskChanged(change)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((change.to, change.container_instance), (TaskStatus::Stopped, None));
    let over = state.task(TaskId(7)).expect("remembered");
    assert_eq!(
        (over.desired_status, over.stopped_at),
        (DesiredStatus::Stopped, Some(Timestamp(30)))
    );
    assert_eq!(over.stop_code, Some(StopCode::UserInitiated));
    assert_eq!(provisioning(&state), [0u128; 0]);
    assert!(matches!(
        tell(&mut state, &place(&[(7, 0)], 40)),
        Err(Rejection::Stale(_))
    ));
}

#[test]
fn cluster_and_capacity_provider_stay_as_long_as_a_task_waits() {
    let mut state = state();
    tell(&mut state, &run(vec![waiting(7, 600, "gpu")])).expect("taken");
    for host in [0, 1] {
        let deregister = Command::DeregisterContainerInstance {
            container_instance: ContainerInstanceId(host),
            force: false,
            at: Timestamp(20),
        };
        tell(&mut state, &deregister).expect("nothing is on it");
    }
    let delete = Command::DeleteCluster {
        cluster: cluster(),
        at: Some(Timestamp(20)),
    };
    assert_eq!(
        tell(&mut state, &delete),
        Err(Rejection::ClusterContainsTasks(cluster()))
    );
    let kept = tell(&mut state, &put_providers(&[]));
    assert!(matches!(kept, Err(Rejection::CapacityProviderInUse { .. })), "{kept:?}");
    tell(&mut state, &stop(7)).expect("always valid");
    tell(&mut state, &put_providers(&[])).expect("nothing uses it");
    tell(&mut state, &delete).expect("it is empty");
}

#[test]
fn no_more_tasks_of_a_cluster_wait_than_may_at_once() {
    let mut state = state();
    let most = u128::try_from(MAX_PROVISIONING_TASKS).expect("small");
    for id in 1..=most {
        let index = LogIndex(state.applied().0 + 1);
        apply(&mut state, index, &run(vec![waiting(id, 1, "gpu")])).expect("taken");
    }
    let before = state.clone();
    let both = run(vec![task(1_000, 0, 1, 1, None), waiting(1_001, 1, "gpu")]);
    assert_eq!(
        tell(&mut state, &both),
        Err(Rejection::TooManyProvisioningTasks(cluster()))
    );
    assert!(state.snapshot().skip(1).eq(before.snapshot().skip(1)));
    tell(&mut state, &run(vec![task(1_000, 0, 1, 1, None)])).expect("it has a host");
    tell(&mut state, &place(&[(1, 1)], 20)).expect("there is room");
    tell(&mut state, &run(vec![waiting(1_001, 1, "gpu")])).expect("one waits no longer");
}

#[test]
fn what_has_no_host_and_cannot_wait_for_one_is_refused() {
    let mut state = state();
    let late = Task {
        provision_until: None,
        ..waiting(1, 1, "gpu")
    };
    let unasked = Task {
        capacity_provider: None,
        ..waiting(2, 1, "gpu")
    };
    let begun = Task {
        last_status: TaskStatus::Pending,
        ..waiting(3, 1, "gpu")
    };
    for task in [late, unasked, begun] {
        let refused = tell(&mut state, &run(vec![task]));
        assert!(matches!(refused, Err(Rejection::Stale(_))), "{refused:?}");
    }
    let foreign = tell(&mut state, &run(vec![waiting(4, 1, "other")]));
    assert!(
        matches!(foreign, Err(Rejection::CapacityProviderNotAssociated(_))),
        "{foreign:?}"
    );
}

#[test]
fn before_every_member_knows_it_no_task_waits() {
    let mut state = ClusterState::default();
    tell(&mut state, &register(0, 1)).expect("accepted");
    let refused = tell(&mut state, &run(vec![waiting(7, 1, "gpu")]));
    assert!(matches!(refused, Err(Rejection::Stale(_))), "{refused:?}");
    let raise = Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"));
    for command in [
        raise,
        Command::CreateCapacityProvider(capacity_provider("gpu")),
        put_providers(&["gpu"]),
        run(vec![waiting(7, 1, "gpu")]),
    ] {
        tell(&mut state, &command).expect("accepted");
    }
    assert_eq!(provisioning(&state), [7]);
}

#[test]
fn task_is_written_with_what_it_waits_for_only_while_it_does() {
    let waits = serde_json::to_value(waiting(7, 1, "gpu")).expect("JSON");
    assert_eq!(waits["provision_until"], 100);
    let usual = serde_json::to_value(task(8, 0, 1, 1, None)).expect("JSON");
    assert!(usual.get("provision_until").is_none() && usual.get("placed_at").is_none());
}
