//! Stages of service deployments: what serves when one begins, which findings are stale, and hooks.

use berth_core::model::{
    DeploymentId, HookAction, HookRun, HookStatus, Lifecycle, LifecycleStage, RolloutState, ServiceDeployment,
    ServiceDeploymentStatus, StrategyKind, Timestamp, Traffic, TrafficShare,
};
use berth_core::state::{ClusterState, Command, LifecycleProgress, Rejection};

use super::service_deployments::{created, found, nothing_new, perform, reach, record, redeploy, the_service, update};

/// A deployment that waits at a hook.
pub(crate) fn paused(hook: &str, turn: u32) -> Lifecycle {
    Lifecycle {
        stage: LifecycleStage::PostTestTrafficShift,
        since: Timestamp(2),
        waits_until: None,
        hooks: vec![HookRun {
            id: hook.to_owned(),
            status: HookStatus::AwaitingAction,
            expires_at: Timestamp(60_000),
            at_timeout: HookAction::Rollback,
        }],
        turn,
    }
}

fn id(number: &str) -> DeploymentId {
    DeploymentId::of_number(number)
}

fn current(state: &ClusterState) -> &ServiceDeployment {
    the_service(state).current_service_deployment().expect("deployed")
}

/// A service at its first revision, with a blue/green deployment of the second that has begun.
fn blue_green() -> ClusterState {
    let mut state = created();
    reach(&mut state);
    update(&mut state, "ecs-svc/2", |update| {
        update.force_new_deployment = true;
        update.deployment_configuration.strategy = Some(StrategyKind::BlueGreen);
    });
    let progress = found(
        the_service(&state),
        ServiceDeploymentStatus::InProgress,
        RolloutState::InProgress,
    );
    record(&mut state, progress).expect("begins");
    state
}

fn step(state: &mut ClusterState, lifecycle: Lifecycle, share: TrafficShare) -> Result<(), Rejection> {
    let mut progress = nothing_new(the_service(state));
    progress.lifecycle = Some(LifecycleProgress {
        id: id("2"),
        lifecycle,
        traffic: Traffic::between(&id("1"), &id("2"), share),
        serving: None,
    });
    record(state, progress)
}

fn resume(state: &mut ClusterState, of: &str, hook: &str, action: HookAction, at: i64) -> Result<(), Rejection> {
    let command = Command::ContinueServiceDeployment {
        service: the_service(state).key.clone(),
        service_deployment: id(of),
        hook: hook.to_owned(),
        action,
        at: Timestamp(at),
    };
    perform(state, command)
}

#[test]
fn deployment_that_shifts_traffic_begins_with_all_of_it_at_the_revision_that_was_reached() {
    let mut state = blue_green();
    assert_eq!(current(&state).serving, Some(id("1")));
    assert_eq!(current(&state).traffic, Traffic::all_to(id("1")));
    let tenth = TrafficShare::of_tenths(100).expect("a share");
    step(&mut state, paused("h", 1), tenth).expect("goes on");
    redeploy(&mut state, "ecs-svc/3");
    assert_eq!(
        current(&state).serving,
        Some(id("1")),
        "what was not reached does not count"
    );
    let traffic = &current(&state).traffic;
    let (none, rest) = (TrafficShare::NONE, tenth.rest());
    assert_eq!(
        (traffic.of(&id("1")), traffic.of(&id("2")), traffic.of(&id("3"))),
        (Some((rest, none)), Some((tenth, none)), Some((none, none))),
        "it is as it was, without that of testers"
    );
    update(&mut state, "ecs-svc/4", |update| {
        update.force_new_deployment = true;
        update.deployment_configuration.strategy = Some(StrategyKind::Rolling);
    });
    assert_eq!(
        (&current(&state).serving, current(&state).traffic.is_divided()),
        (&None, false)
    );
}

#[test]
fn finding_of_a_stage_that_the_deployment_has_left_is_refused() {
    let mut state = blue_green();
    let stale = |result: Result<(), Rejection>| assert!(matches!(result, Err(Rejection::Stale(_))), "{result:?}");
    step(&mut state, paused("h", 1), TrafficShare::NONE).expect("goes on");
    stale(step(&mut state, paused("h", 1), TrafficShare::ALL));
    resume(&mut state, "2", "h", HookAction::Continue, 3).expect("is told");
    stale(step(&mut state, paused("g", 2), TrafficShare::ALL));
    step(&mut state, paused("g", 3), TrafficShare::ALL).expect("goes on");
    resume(&mut state, "2", "g", HookAction::Rollback, 4).expect("is told");
    stale(step(&mut state, paused("f", 5), TrafficShare::ALL));
}

#[test]
fn hook_is_told_once_in_time_and_by_its_id() {
    let mut state = blue_green();
    step(&mut state, paused("h", 1), TrafficShare::NONE).expect("goes on");
    for (of, hook, at) in [("2", "g", 3), ("1", "h", 3), ("2", "h", 60_000)] {
        let refused = resume(&mut state, of, hook, HookAction::Continue, at);
        assert!(matches!(refused, Err(Rejection::HookNotAwaiting { .. })), "{refused:?}");
    }
    let refused = resume(&mut state, "9", "h", HookAction::Continue, 3);
    assert!(
        matches!(refused, Err(Rejection::ServiceDeploymentNotFound(..))),
        "{refused:?}"
    );
    resume(&mut state, "2", "h", HookAction::Rollback, 3).expect("is told");
    assert_eq!(current(&state).status, ServiceDeploymentStatus::RollbackRequested);
    let hooks = &current(&state).lifecycle.as_ref().expect("a stage").hooks;
    assert_eq!(hooks[0].status, HookStatus::Failed);
    let refused = resume(&mut state, "2", "h", HookAction::Continue, 3);
    assert!(matches!(refused, Err(Rejection::HookNotAwaiting { .. })), "{refused:?}");
}

#[test]
fn configuration_that_changes_meanwhile_leaves_the_stages_of_what_is_under_way() {
    let mut state = blue_green();
    update(&mut state, "ecs-svc/3", |update| {
        update.deployment_configuration.strategy = Some(StrategyKind::Rolling);
        update.deployment_configuration.bake_minutes = Some(5);
        update.deployment_configuration.minimum_healthy_percent = Some(50);
    });
    let configuration = &current(&state).configuration;
    assert_eq!(
        (
            configuration.strategy.kind(),
            configuration.bake_minutes,
            configuration.minimum_healthy_percent
        ),
        (StrategyKind::BlueGreen, 0, 50)
    );
    assert_eq!(the_service(&state).deployment_configuration.bake_minutes, 5);
}
