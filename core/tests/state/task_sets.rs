//! Task sets: whose service has them, which one serves, how they go.

use berth_core::model::{
    DeploymentController, DeploymentId, LogIndex, PlatformVersion, Scale, Service, StartBackoff, Tags, TaskSet,
    TaskSetStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, MAX_TASK_SETS, Rejection, ServiceProgress, TaskSetProgress, apply};

use super::given::{cluster, definition, no_change, register, service};
use super::service_deployments::web;

const AT: Timestamp = Timestamp(9);

fn perform(state: &mut ClusterState, command: Command) -> Result<(), Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, &command).map(drop)
}

pub(crate) fn external() -> Service {
    Service {
        deployment_controller: DeploymentController::External,
        deployments: vec![],
        ..service(&web(1))
    }
}

pub(crate) fn task_set(id: &str) -> TaskSet {
    TaskSet {
        id: id.into(),
        status: TaskSetStatus::Active,
        external_id: None,
        client_token: None,
        task_definition: web(1),
        launch_type: None,
        capacity_provider_strategy: vec![],
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        scale: Scale::WHOLE,
        steady: false,
        steady_at: AT,
        failed_tasks: 0,
        backoff: StartBackoff::default(),
        tags: Tags::new(),
        created_at: AT,
        updated_at: AT,
    }
}

fn create(id: &str) -> Command {
    Command::CreateTaskSet {
        service: cluster().service("web"),
        task_set: Box::new(task_set(id)),
        client_token: None,
    }
}

fn make_primary(id: &str) -> Command {
    Command::UpdateServicePrimaryTaskSet {
        service: cluster().service("web"),
        task_set: id.into(),
        at: AT,
    }
}

fn delete(id: &str, force: bool) -> Command {
    Command::DeleteTaskSet {
        service: cluster().service("web"),
        task_set: id.into(),
        force,
        at: AT,
    }
}

fn found(id: &str, is_gone: bool) -> Command {
    let found = TaskSetProgress {
        id: id.into(),
        steady: true,
        is_gone,
    };
    Command::RecordServiceProgress(Box::new(ServiceProgress {
        task_sets: vec![found],
        ..ServiceProgress::nothing_new(cluster().service("web"), AT)
    }))
}

fn with(service: Service) -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    let commands = [
        register(0, 0),
        Command::RegisterTaskDefinition(definition(&web(1))),
        Command::CreateService {
            service: Box::new(service),
            client_token: None,
        },
    ];
    for command in commands {
        perform(&mut state, command).expect("accepted");
    }
    state
}

fn statuses(state: &ClusterState) -> Vec<(String, TaskSetStatus)> {
    let service = state.service(&cluster().service("web")).expect("exists");
    let sets = service.task_sets.iter();
    sets.map(|set| (set.id.to_string(), set.status)).collect()
}

#[test]
fn one_task_set_serves_and_another_goes_once_it_wants_nothing() {
    let mut state = with(external());
    for command in [create("a"), create("b"), make_primary("a"), make_primary("b")] {
        perform(&mut state, command).expect("accepted");
    }
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(
        statuses(&state),
        [(a.clone(), TaskSetStatus::Active), (b.clone(), TaskSetStatus::Primary)]
    );
    let refused = perform(&mut state, delete("a", false));
    assert!(
        matches!(refused, Err(Rejection::TaskSetScaledAboveZero(..))),
        "{refused:?}"
    );
    let early = perform(&mut state, found("a", true));
    assert!(matches!(early, Err(Rejection::Stale(_))), "{early:?}");
    let scale = Command::UpdateTaskSet {
        service: cluster().service("web"),
        task_set: "a".into(),
        scale: Scale::NONE,
        at: AT,
    };
    for command in [scale, delete("a", false), delete("a", false)] {
        perform(&mut state, command).expect("accepted");
    }
    assert_eq!(statuses(&state)[0], (a, TaskSetStatus::Draining));
    let deleted = perform(&mut state, make_primary("a"));
    assert!(matches!(deleted, Err(Rejection::TaskSetNotFound(..))), "{deleted:?}");
    perform(&mut state, found("a", true)).expect("accepted");
    assert_eq!(statuses(&state), [(b, TaskSetStatus::Primary)]);
}

#[test]
fn service_has_task_sets_or_deployments_and_not_both() {
    let mut own = with(service(&web(1)));
    assert!(matches!(perform(&mut own, create("a")), Err(Rejection::NoTaskSets(_))));
    let mut state = with(external());
    for number in 0..MAX_TASK_SETS {
        perform(&mut state, create(&number.to_string())).expect("accepted");
    }
    assert!(matches!(
        perform(&mut state, create("x")),
        Err(Rejection::TooManyTaskSets(_))
    ));
    let mut update = no_change(&external(), "d");
    update.force_new_deployment = true;
    let refused = perform(&mut state, Command::UpdateService(Box::new(update)));
    assert!(matches!(refused, Err(Rejection::DeployedByTaskSets(_))), "{refused:?}");
    let mut update = no_change(&external(), "d");
    update.desired_count = Some(7);
    perform(&mut state, Command::UpdateService(Box::new(update))).expect("accepted");
    let service = state.service(&cluster().service("web")).expect("exists");
    let set = service.task_set(&DeploymentId::from("0")).expect("exists");
    assert_eq!(set.computed_desired_count(service.desired_count), 7);
}
