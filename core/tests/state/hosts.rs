//! Hosts that come, go, come back otherwise, and the default cluster.

use berth_core::model::{
    AgentId, Cluster, ClusterStatus, ContainerInstanceId, DesiredStatus, LogIndex, Resources, TaskStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, Rejection, apply};

use super::given::{cluster, register, register_with, report, task};

#[test]
fn host_that_comes_back_smaller_keeps_its_tasks_and_takes_none_until_there_is_room() {
    let mut state = ClusterState::at_newest_level();
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
    let mut state = ClusterState::at_newest_level();
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
fn default_cluster_is_created_by_its_first_host_and_no_other_is() {
    let mut state = ClusterState::at_newest_level();
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
    let created = Cluster::new(shop, Timestamp(0));
    apply(&mut state, LogIndex(3), &Command::CreateCluster(created)).expect("creates");
    assert!(apply(&mut state, LogIndex(4), &elsewhere).is_ok());
}

#[test]
fn host_counts_as_running_only_what_runs() {
    let mut state = ClusterState::at_newest_level();
    let run = Command::RunTasks {
        tasks: vec![task(1, 0, 1, 1, None)],
        client_token: None,
    };
    apply(&mut state, LogIndex(1), &register(0, 0)).expect("registers");
    apply(&mut state, LogIndex(2), &run).expect("runs");
    let counts = |state: &ClusterState| {
        let allocation = state.allocation(ContainerInstanceId(0));
        (allocation.pending_tasks(), allocation.running_tasks())
    };
    assert_eq!(counts(&state), (1, 0));
    for (index, status, expected) in [
        (3, TaskStatus::Activating, (1, 0)),
        (4, TaskStatus::Running, (0, 1)),
        (5, TaskStatus::Deactivating, (0, 0)),
        (6, TaskStatus::Deprovisioning, (0, 0)),
        (7, TaskStatus::Stopped, (0, 0)),
    ] {
        let reported = Command::RecordTaskReports {
            container_instance: ContainerInstanceId(0),
            reports: vec![report(1, status)],
            at: Timestamp(2),
        };
        apply(&mut state, LogIndex(index), &reported).expect("records");
        assert_eq!(counts(&state), expected, "{status:?}");
    }
}
