//! Service revisions and service deployments: when they begin, what ends them, what is kept of them.

use berth_core::model::{
    CapacityProviderStrategy, CapacityProviderStrategyItem, Deployment, DeploymentId, LogIndex, RolloutState, Service,
    ServiceDeploymentStatus, ServiceStatus, TaskDefinitionKey, Timestamp,
};
use berth_core::state::{
    ClusterState, Command, DeploymentProgress, FeatureLevel, MAX_SERVICE_DEPLOYMENTS, Rejection,
    ServiceDeploymentProgress, ServiceProgress, StopType, UpdateService, apply,
};

use super::capacity_providers::{capacity_provider, put_providers};
use super::given::{cluster, definition, no_change, register, service};
use ServiceDeploymentStatus as S;

pub(crate) fn web(revision: u32) -> TaskDefinitionKey {
    TaskDefinitionKey {
        scope: cluster().scope,
        family: "web".into(),
        revision,
    }
}

pub(crate) fn perform(state: &mut ClusterState, command: Command) -> Result<(), Rejection> {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, &command).map(drop)
}

/// A service at its first revision, which has not begun.
fn created_in(mut state: ClusterState) -> ClusterState {
    let commands = [
        register(0, 0),
        Command::RegisterTaskDefinition(definition(&web(1))),
        Command::RegisterTaskDefinition(definition(&web(2))),
        Command::CreateService {
            service: Box::new(service(&web(1))),
            client_token: None,
        },
    ];
    for command in commands {
        perform(&mut state, command).expect("accepted");
    }
    state
}

pub(crate) fn created() -> ClusterState {
    created_in(ClusterState::at_newest_level())
}

pub(crate) fn the_service(state: &ClusterState) -> &Service {
    state.service(&cluster().service("web")).expect("exists")
}

/// Numbers and statuses, the newest first.
fn history(state: &ClusterState) -> Vec<(String, S)> {
    let all = the_service(state).service_deployments.iter();
    all.map(|d| (d.id().number().to_owned(), d.status)).collect()
}

fn is(expected: &[(&str, S)]) -> Vec<(String, S)> {
    expected
        .iter()
        .map(|(id, status)| ((*id).to_owned(), *status))
        .collect()
}

pub(crate) fn update(state: &mut ClusterState, id: &str, change: impl FnOnce(&mut UpdateService)) {
    let mut update = no_change(the_service(state), id);
    change(&mut update);
    perform(state, Command::UpdateService(Box::new(update))).expect("updates");
}

pub(crate) fn redeploy(state: &mut ClusterState, id: &str) {
    update(state, id, |update| update.force_new_deployment = true);
}

pub(crate) fn nothing_new(service: &Service) -> ServiceProgress {
    ServiceProgress::nothing_new(service.key.clone(), Timestamp(2))
}

/// What a reconciler finds of the newest deployment.
pub(crate) fn found(service: &Service, status: S, rollout_state: RolloutState) -> ServiceProgress {
    let id = service.primary().expect("a primary").id.clone();
    let newest = service.current_service_deployment();
    ServiceProgress {
        deployments: vec![DeploymentProgress {
            id: id.clone(),
            status: berth_core::model::DeploymentStatus::Primary,
            rollout_state,
            rollout_state_reason: "because".to_owned(),
            resets_failed_tasks: false,
        }],
        service_deployment: Some(ServiceDeploymentProgress {
            id: newest.map_or(id, |newest| newest.id().clone()),
            status,
            reason: Some("because".to_owned()),
            by_circuit_breaker: false,
        }),
        ..nothing_new(service)
    }
}

pub(crate) fn record(state: &mut ClusterState, progress: ServiceProgress) -> Result<(), Rejection> {
    perform(state, Command::RecordServiceProgress(Box::new(progress)))
}

pub(crate) fn reach(state: &mut ClusterState) {
    let progress = found(the_service(state), S::Successful, RolloutState::Completed);
    record(state, progress).expect("recorded");
}

fn stop(state: &mut ClusterState, id: &str, stop_type: StopType) -> Result<(), Rejection> {
    let command = Command::StopServiceDeployment {
        service: cluster().service("web"),
        service_deployment: DeploymentId::of_number(id),
        stop_type,
        at: Timestamp(3),
    };
    perform(state, command)
}

#[test]
fn service_deployment_begins_where_what_is_deployed_changes_and_not_where_tasks_are_counted() {
    let mut state = created();
    assert_eq!(history(&state), is(&[("1", S::Pending)]));
    let revision = &the_service(&state).service_deployments[0].revision;
    let images: Vec<_> = revision
        .images
        .iter()
        .map(|i| (i.container.as_str(), i.image.as_str()))
        .collect();
    assert_eq!((&revision.task_definition, images), (&web(1), vec![("web", "web")]));
    reach(&mut state);
    update(&mut state, "ecs-svc/2", |update| update.desired_count = Some(5));
    assert_eq!(history(&state), is(&[("1", S::Successful)]));
    update(&mut state, "ecs-svc/3", |update| update.task_definition = Some(web(2)));
    reach(&mut state);
    redeploy(&mut state, "ecs-svc/4");
    assert_eq!(
        history(&state),
        is(&[("4", S::Pending), ("3", S::Successful), ("1", S::Successful)])
    );
    let created: Vec<_> = the_service(&state)
        .service_deployments
        .iter()
        .map(|d| d.created_at)
        .collect();
    assert!(created.is_sorted_by(|newer, older| newer > older), "{created:?}");
}

#[test]
fn service_deployment_that_another_follows_is_stopped_and_the_last_reached_stays_where_a_rollback_goes() {
    let mut state = created();
    reach(&mut state);
    update(&mut state, "ecs-svc/2", |update| update.task_definition = Some(web(2)));
    redeploy(&mut state, "ecs-svc/3");
    assert_eq!(
        history(&state),
        is(&[("3", S::Pending), ("2", S::Stopped), ("1", S::Successful)])
    );
    let service = the_service(&state);
    assert_eq!(service.last_reached().map(|revision| revision.id.number()), Some("1"));
    let sources: Vec<_> = service.service_deployments[0]
        .sources
        .iter()
        .map(|s| s.id.number())
        .collect();
    assert_eq!(sources, ["2", "1"]);
    assert!(service.service_deployments[1].stopped_at.is_some());
}

#[test]
fn service_deployed_very_often_remembers_the_newest_and_what_it_can_return_to() {
    let mut state = created();
    reach(&mut state);
    let last = MAX_SERVICE_DEPLOYMENTS + 10;
    for number in 2..=last {
        redeploy(&mut state, &format!("ecs-svc/{number}"));
        let service = the_service(&state);
        // Those before had no tasks, so that they are retired.
        let retired = service.deployments.iter().skip(1).map(|d| d.id.clone()).collect();
        let progress = ServiceProgress {
            retired,
            ..nothing_new(service)
        };
        record(&mut state, progress).expect("recorded");
    }
    let history = history(&state);
    assert_eq!(history.len(), MAX_SERVICE_DEPLOYMENTS);
    assert_eq!(history[0], (last.to_string(), S::Pending));
    assert_eq!(history[1].0, (last - 1).to_string());
    assert_eq!(history.last(), Some(&("1".to_owned(), S::Successful)));
}

#[test]
fn service_deployment_is_stopped_while_it_is_under_way_and_not_without_a_way_back() {
    let mut state = created();
    let missing = stop(&mut state, "7", StopType::Rollback);
    assert!(
        matches!(missing, Err(Rejection::ServiceDeploymentNotFound(..))),
        "{missing:?}"
    );
    let first = stop(&mut state, "1", StopType::Rollback);
    assert!(matches!(first, Err(Rejection::NoRevisionToReturnTo(_))), "{first:?}");
    reach(&mut state);
    let over = stop(&mut state, "1", StopType::Abort);
    assert!(matches!(over, Err(Rejection::ServiceDeploymentOver(..))), "{over:?}");
    redeploy(&mut state, "ecs-svc/2");
    for _ in 0..2 {
        stop(&mut state, "2", StopType::Rollback).expect("requested, or under way already");
        assert_eq!(history(&state)[0].1, S::RollbackRequested);
    }
    for stop_type in [StopType::Abort, StopType::Rollback] {
        stop(&mut state, "2", stop_type).expect("requested, or under way already");
        assert_eq!(history(&state)[0].1, S::StopRequested);
    }
}

#[test]
fn request_to_stop_is_not_lost_to_what_was_found_before_it() {
    for (stop_type, requested) in [
        (StopType::Rollback, S::RollbackRequested),
        (StopType::Abort, S::StopRequested),
    ] {
        let mut state = created();
        reach(&mut state);
        redeploy(&mut state, "ecs-svc/2");
        let before = found(the_service(&state), S::Successful, RolloutState::Completed);
        stop(&mut state, "2", stop_type).expect("requested");
        assert!(matches!(record(&mut state, before), Err(Rejection::Stale(_))));
        assert_eq!(history(&state)[0].1, requested);
    }
}

#[test]
fn service_that_returns_to_a_revision_has_its_deployment_and_its_capacity_providers_again() {
    let mut state = created();
    let given = |name: &str| -> CapacityProviderStrategy {
        vec![CapacityProviderStrategyItem {
            capacity_provider: name.into(),
            weight: 1,
            base: 0,
        }]
    };
    for name in ["plain", "gpu"] {
        perform(&mut state, Command::CreateCapacityProvider(capacity_provider(name))).expect("created");
    }
    perform(&mut state, put_providers(&["plain", "gpu"])).expect("put");
    for (id, name) in [("ecs-svc/2", "plain"), ("ecs-svc/3", "gpu")] {
        reach(&mut state);
        update(&mut state, id, |update| {
            update.force_new_deployment = true;
            update.capacity_provider_strategy = Some(given(name));
        });
    }
    let refused = perform(&mut state, put_providers(&["gpu"]));
    let refused = refused.expect_err("it may return to it").to_string();
    assert!(refused.ends_with(", which may return to it"), "{refused}");
    let service = the_service(&state);
    let back = Deployment::new("ecs-svc/2".into(), web(1), Timestamp(5));
    let progress = ServiceProgress {
        rollback: Some(back),
        ..found(service, S::RollbackInProgress, RolloutState::Failed)
    };
    record(&mut state, progress).expect("recorded");
    let service = the_service(&state);
    assert_eq!(service.capacity_provider_strategy, given("plain"));
    let deployments: Vec<_> = service.deployments.iter().map(|d| d.id.number()).collect();
    assert_eq!(deployments, ["2", "3", "1"]);
    let rollback = service.service_deployments[0].rollback.as_ref().expect("under way");
    assert_eq!((rollback.revision.number(), rollback.reason.as_str()), ("2", "because"));
    let progress = found(service, S::RollbackSuccessful, RolloutState::Completed);
    record(&mut state, progress).expect("recorded");
    assert_eq!(history(&state)[0], ("3".to_owned(), S::RollbackSuccessful));
}

#[test]
fn service_that_is_deleted_stops_what_is_under_way_and_forgets_it_with_its_last_task() {
    let mut state = created();
    let delete = Command::DeleteService {
        service: cluster().service("web"),
        force: true,
        at: Timestamp(4),
    };
    perform(&mut state, delete).expect("deletes");
    assert_eq!(history(&state), is(&[("1", S::Stopped)]));
    let progress = ServiceProgress {
        inactive: true,
        ..nothing_new(the_service(&state))
    };
    record(&mut state, progress).expect("recorded");
    assert_eq!(the_service(&state).status, ServiceStatus::Inactive);
    assert_eq!(history(&state), []);
}

#[test]
fn service_older_than_service_deployments_has_them_once_the_level_is_raised() {
    let raise = |state: &mut ClusterState| {
        perform(state, Command::RaiseFeatureLevel(FeatureLevel::newest("0.2.0"))).expect("raised");
    };
    let completed = |state: &mut ClusterState| {
        let progress = ServiceProgress {
            service_deployment: None,
            ..found(the_service(state), S::Successful, RolloutState::Completed)
        };
        record(state, progress).expect("recorded");
    };
    let mut at_rest = created_in(ClusterState::default());
    completed(&mut at_rest);
    assert_eq!(history(&at_rest), []);
    raise(&mut at_rest);
    assert_eq!(history(&at_rest), is(&[("1", S::Successful)]));

    let mut under_way = created_in(ClusterState::default());
    completed(&mut under_way);
    update(&mut under_way, "ecs-svc/2", |update| {
        update.task_definition = Some(web(2))
    });
    let mut without_the_first = under_way.clone();
    raise(&mut under_way);
    assert_eq!(history(&under_way), is(&[("2", S::InProgress), ("1", S::Successful)]));

    let progress = ServiceProgress {
        retired: vec!["ecs-svc/1".into()],
        ..nothing_new(the_service(&without_the_first))
    };
    record(&mut without_the_first, progress).expect("recorded");
    raise(&mut without_the_first);
    let service = the_service(&without_the_first);
    let reached = service.last_reached().expect("what completed last");
    assert_eq!((&reached.task_definition, reached.images.len()), (&web(1), 1));
    assert_eq!(history(&without_the_first)[0], ("2".to_owned(), S::InProgress));
}
