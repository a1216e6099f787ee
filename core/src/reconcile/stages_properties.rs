//! Properties of deployments that shift traffic, whatever happens meanwhile: random histories in the small world.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::model::*;
use crate::state::{ClusterState, Command, StopType};

use super::limits::Limits;
use super::world::{World, cases, cluster};
use super::{Agenda, reconcile};

const HOSTS: usize = 4;
const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Scale(u32),
    NewRevision { is_broken: bool },
    Configure(StrategyKind),
    Resume(HookAction),
    Stop(StopType),
    SetAlarm(AlarmState),
    AnotherLeader,
    HostsProceed,
    Kill(usize),
    Cut(usize),
    Reconnect(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = vec![
        StrategyKind::Rolling,
        StrategyKind::BlueGreen,
        StrategyKind::Linear,
        StrategyKind::Canary,
    ];
    prop_oneof![
        1 => (0u32..8).prop_map(Step::Scale),
        2 => prop::bool::weighted(0.2).prop_map(|is_broken| Step::NewRevision { is_broken }),
        1 => prop::sample::select(kinds).prop_map(Step::Configure),
        2 => prop::sample::select(vec![HookAction::Continue, HookAction::Continue, HookAction::Rollback]).prop_map(Step::Resume),
        1 => prop::sample::select(vec![StopType::Rollback, StopType::Abort]).prop_map(Step::Stop),
        1 => prop::sample::select(vec![AlarmState::Alarm, AlarmState::Ok, AlarmState::Ok]).prop_map(Step::SetAlarm),
        1 => Just(Step::AnotherLeader),
        3 => Just(Step::HostsProceed),
        1 => (0usize..20).prop_map(Step::Kill),
        1 => (0..HOSTS).prop_map(Step::Cut),
        1 => (0..HOSTS).prop_map(Step::Reconnect),
        3 => (0i64..90_000).prop_map(Step::Pass),
    ]
}

/// A service that pauses nowhere for long, with room for each revision that it has tasks of.
fn world(desired: u32, kind: StrategyKind) -> World {
    let mut world = World::new();
    for host in 0..HOSTS {
        perform(&mut world, &Step::Reconnect(host));
    }
    world.add_definition("web", Resources::new(64, 64), None);
    world.add_alarm("errors", 60);
    let stages = vec![
        LifecycleStage::PreScaleUp,
        LifecycleStage::PostTestTrafficShift,
        LifecycleStage::PreProductionTrafficShift,
    ];
    world.add_service("web", |service| {
        service.desired_count = desired;
        let configuration = &mut service.deployment_configuration;
        configuration.circuit_breaker.enable = true;
        configuration.circuit_breaker.rollback = true;
        configuration.bake_minutes = 1;
        configuration.alarms = Some(DeploymentAlarms {
            names: vec!["errors".into()],
            enable: true,
            rollback: true,
        });
        configuration.strategy = DeploymentStrategy::BlueGreen;
        configuration.lifecycle_hooks = vec![LifecycleHook {
            stages,
            timeout_minutes: 3,
            at_timeout: HookAction::Continue,
        }];
    });
    world.pass_ms(HOUR_MS);
    perform(&mut world, &Step::Configure(kind));
    world
}

fn configure(world: &mut World, kind: StrategyKind) {
    world.change_service("web", |update| {
        let changes = &mut update.deployment_configuration;
        changes.strategy = Some(kind);
        match kind {
            StrategyKind::Rolling => changes.lifecycle_hooks = Some(vec![]),
            StrategyKind::Linear => {
                changes.linear = Some(LinearShift {
                    step: TrafficShare::of_tenths(400).expect("a share"),
                    step_bake_minutes: 1,
                });
            }
            StrategyKind::Canary => {
                changes.canary = Some(CanaryShift {
                    canary_bake_minutes: 1,
                    ..CanaryShift::default()
                });
            }
            StrategyKind::BlueGreen => {}
        }
    });
}

fn current(world: &World) -> &ServiceDeployment {
    let current = world.service("web").current_service_deployment();
    current.expect("one deployment at least")
}

fn perform(world: &mut World, step: &Step) {
    let at = world.now;
    let web = cluster().service("web");
    match step {
        Step::Scale(desired) => world.update_service("web", Some(*desired), None),
        Step::NewRevision { is_broken } => {
            let revision = world.add_definition("web", Resources::new(64, 64), None);
            if *is_broken {
                world.broken.insert(("web".to_owned(), revision));
            }
            world.update_service("web", None, Some(revision));
        }
        Step::Configure(kind) => configure(world, *kind),
        Step::Resume(action) => {
            let (service_deployment, at_hooks) = (current(world).id().clone(), current(world).lifecycle.clone());
            let hooks = at_hooks.into_iter().flat_map(|at_hooks| at_hooks.hooks);
            for hook in hooks.filter(|hook| hook.awaits(at)) {
                let command = Command::ContinueServiceDeployment {
                    service: web.clone(),
                    service_deployment: service_deployment.clone(),
                    hook: hook.id,
                    action: *action,
                    at,
                };
                // It may be on its way to its end already.
                _ = world.apply(command).is_ok();
            }
        }
        Step::Stop(stop_type) => {
            let command = Command::StopServiceDeployment {
                service: web,
                service_deployment: current(world).id().clone(),
                stop_type: *stop_type,
                at,
            };
            _ = world.apply(command).is_ok();
        }
        Step::SetAlarm(state) => set_alarm(world, *state),
        Step::AnotherLeader => world.agenda = Agenda::everything(&world.state),
        Step::HostsProceed => _ = world.hosts_step(),
        Step::Kill(nth) => {
            let tasks = world.state.live_tasks_of_service(&web);
            let running: Vec<TaskId> = tasks
                .filter(|task| task.last_status == TaskStatus::Running)
                .map(|task| task.id)
                .collect();
            if let Some(task) = running.get(nth % running.len().max(1)) {
                let reports = vec![world.report_of(*task, TaskStatus::Stopped)];
                let host = world.state.task(*task).and_then(|task| task.container_instance);
                let command = Command::RecordTaskReports {
                    container_instance: host.expect("runs on a host"),
                    reports,
                    at,
                };
                world.apply(command).expect("a host");
            }
        }
        Step::Cut(nth) => {
            let container_instance = world.host(&format!("h{nth}")).expect("a host");
            world.cut_off.insert(container_instance);
            let command = Command::RecordAgentDisconnected {
                container_instance,
                last_heard_at: at,
                at,
            };
            world.apply(command).expect("a host");
        }
        Step::Reconnect(nth) => {
            _ = world.add_host(&format!("h{nth}"), ["a", "b"][nth % 2], Resources::new(16_384, 16_384));
        }
        Step::Pass(ms) => world.pass_ms(*ms),
    }
}

/// Sets the alarm. What is on its way and monitors it has failed then, and remembers that.
fn set_alarm(world: &mut World, state: AlarmState) {
    let monitored = Some(current(world)).filter(|current| current.status.is_forward() && current.alarms.is_some());
    let id = monitored.map(|current| current.id().clone());
    world.set_alarm("errors", state);
    if let Some(id) = id.filter(|_| state == AlarmState::Alarm) {
        assert!(current(world).has_triggered_alarms(), "{id} does not mind");
        world.reconcile_checking(check);
        let service = world.service("web");
        let failed = service.service_deployment(&id).expect("remembered");
        assert!(!failed.status.is_forward(), "{failed:?} goes on");
    }
}

/// Running tasks of a revision that are not told to stop.
fn serve(state: &ClusterState, revision: &DeploymentId) -> usize {
    let web = cluster().service("web");
    let tasks = state.live_tasks_of_service(&web);
    tasks
        .filter(|task| task.deployment() == Some(revision))
        .filter(|task| task.desired_status == DesiredStatus::Running && task.last_status == TaskStatus::Running)
        .count()
}

/// What must hold of each command: shares add up to all traffic, and what serves is not stopped before the last stage, as long as it is needed.
fn check(before: &ClusterState, world: &World) {
    let service = world.service("web");
    let deployment = current(world);
    let production = deployment.traffic.revisions().map(|part| part.production.tenths());
    if deployment.traffic.is_divided() {
        assert_eq!(production.sum::<u16>(), 1_000, "{:?}", deployment.traffic);
    }
    let Some(serving) = deployment.serving.as_ref().filter(|_| deployment.status.is_forward()) else {
        return;
    };
    if deployment.stage() == Some(LifecycleStage::CleanUp) {
        return;
    }
    let (was, is) = (serve(before, serving), serve(&world.state, serving));
    let lost = before
        .tasks_of_service(&service.key)
        .any(|t| !t.is_stopped() && world.state.task(t.id).is_some_and(|now| now.is_stopped()));
    let needed = Limits::of(service).lower;
    assert!(
        is >= was || is >= needed || lost,
        "{is} tasks of {serving} serve, {needed} must"
    );
}

fn end(world: &mut World) {
    for host in 0..HOSTS {
        perform(world, &Step::Reconnect(host));
    }
    for _ in 0..6 {
        world.pass_ms(HOUR_MS);
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn deployment_that_shifts_traffic_ends_whatever_happens_and_what_serves_is_not_stopped_before(
        steps in proptest::collection::vec(step(), 1..30),
        desired in 0u32..6,
        kind in prop::sample::select(vec![StrategyKind::BlueGreen, StrategyKind::Linear, StrategyKind::Canary]),
    ) {
        let mut world = world(desired, kind);
        for step in &steps {
            perform(&mut world, step);
            world.reconcile_checking(check);
        }
        end(&mut world);
        prop_assert!(current(&world).status.is_over(), "{:?}", current(&world));
        // What was left where it was is taken up by the next.
        perform(&mut world, &Step::NewRevision { is_broken: false });
        world.reconcile_checking(check);
        end(&mut world);
        let newest = current(&world).clone();
        prop_assert_eq!(newest.status, ServiceDeploymentStatus::Successful);
        let service = world.service("web").clone();
        prop_assert!(service.steady);
        let tasks = world.state.live_tasks_of_service(&service.key);
        let revisions: BTreeSet<_> = tasks.map(|task| task.deployment().cloned()).collect();
        prop_assert!(revisions.is_empty() || revisions == [Some(newest.id().clone())].into(), "{revisions:?}");
        prop_assert_eq!(serve(&world.state, newest.id()), usize::try_from(service.desired_count).expect("small"));
        let again = reconcile(&world.state, &mut Agenda::everything(&world.state), world.now, &mut world.ids);
        prop_assert!(again.is_empty(), "a second look finds {again:?}");
    }
}
