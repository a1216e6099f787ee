//! The stages that a service deployment goes through: whether what a stage is for is done, what comes after it, and what ends it early. Pure.
//!
//! Where a deployment is lives in the replicated state, with the moments at which waits end, so that each leader goes on from there. One stage follows another
//! in one look at a time. A shift of traffic is done once the state says so: whoever brings traffic follows
//! it ([`crate::model::Traffic`]).

use crate::model::{
    Deployment, DeploymentId, HookAction, HookRun, HookStatus, Lifecycle, LifecycleStage, Service, ServiceDeployment,
    ServiceDeploymentStatus, ServiceKey, TaskStatus, Timestamp, Traffic, TrafficShare,
};
use crate::state::{self, Command, LifecycleProgress, ServingRevision, keeps_failing};

use super::limits::Limits;
use super::pass::Pass;
use super::service::nothing_new;
use super::tally::Tally;
use super::{deployment, early_success, events};

/// A stage that waits for tasks does not last longer (ECS).
const LONGEST_STAGE_MS: i64 = 24 * 60 * 60 * 1_000;

const MINUTE_MS: i64 = 60_000;

/// Where a deployment comes to.
struct Step {
    stage: LifecycleStage,
    waits_until: Option<Timestamp>,
    hooks: Vec<HookRun>,
    traffic: Traffic,
    /// The revision that serves instead of the one that was chosen.
    serving: Option<ServingRevision>,
    said: Vec<String>,
}

/// Takes what is deployed of a service one stage on, if its stage is done.
pub(super) fn advance(pass: &mut Pass<'_>, key: &ServiceKey) {
    let Some(service) = pass.state.service(key).cloned() else {
        return;
    };
    let Some(current) = under_way(&service) else { return };
    let step = match current.status {
        status if status.is_forward() => forward(pass, &service, current),
        ServiceDeploymentStatus::RollbackInProgress => back(pass, &service, current),
        _ => None,
    };
    let Some(step) = step else { return };
    let before = current.lifecycle.as_ref();
    let since = before
        .filter(|before| before.stage == step.stage)
        .map(|same| same.since);
    let mut progress = nothing_new(pass, &service);
    progress.lifecycle = Some(LifecycleProgress {
        id: current.id().clone(),
        lifecycle: Lifecycle {
            stage: step.stage,
            since: since.unwrap_or(pass.now),
            waits_until: step.waits_until,
            hooks: step.hooks,
            turn: before.map_or(0, |before| before.turn) + 1,
        },
        traffic: step.traffic,
        serving: step.serving,
    });
    progress.events = deployment::as_events(pass, step.said);
    pass.decide(Command::RecordServiceProgress(Box::new(progress)));
}

/// The service deployment that is not over and goes through stages, if one is.
fn under_way(service: &Service) -> Option<&ServiceDeployment> {
    let current = service.service_deployment_under_way()?;
    current.configuration.has_stages().then_some(current)
}

/// Whether nothing is left of what is deployed but that the tasks of other revisions are gone.
pub(super) fn is_at_end(service: &Service) -> bool {
    let Some(current) = under_way(service) else { return true };
    let rolls_back_task_by_task = !current.status.is_forward() && !current.configuration.strategy.shifts_traffic();
    rolls_back_task_by_task || current.stage() == Some(LifecycleStage::CleanUp)
}

/// Whether a revision may be needed again, although it has no tasks.
pub(super) fn keeps(service: &Service, id: &DeploymentId) -> bool {
    let Some(current) = under_way(service) else {
        return false;
    };
    current.serving.as_ref() == Some(id) && current.stage() != Some(LifecycleStage::CleanUp)
}

/// Why what is deployed cannot go on, in ECS's words; nor back, if it is on its way back.
pub(super) fn failure(service: &Service, now: Timestamp) -> Option<String> {
    let current = under_way(service)?;
    let at = current.lifecycle.as_ref()?;
    if current.status == ServiceDeploymentStatus::RollbackInProgress {
        let is_late = bound(current, at).is_some_and(|bound| bound <= now);
        return is_late.then(|| {
            let stage = at.stage;
            format!("Service deployment rollback failed because {stage} was not completed within 24 hours.")
        });
    }
    if !current.status.is_forward() {
        return None;
    }
    let ends = |hook: &&HookRun| hook.has_expired(now) && hook.at_timeout == HookAction::Rollback;
    if let Some(hook) = at.hooks.iter().find(ends) {
        return Some(hook_failed(at.stage, hook, "timed out"));
    }
    let is_late = bound(current, at).is_some_and(|bound| bound <= now);
    is_late.then(|| {
        let stage = at.stage;
        format!("Service deployment rolled back because {stage} was not completed within 24 hours.")
    })
}

/// Why somebody had what is deployed rolled back, if it was at a hook.
pub(super) fn refusal(service: &Service) -> Option<String> {
    let at = under_way(service)?.lifecycle.as_ref()?;
    let hook = at.hooks.iter().find(|hook| hook.status == HookStatus::Failed)?;
    Some(hook_failed(at.stage, hook, "was told to roll back"))
}

fn hook_failed(stage: LifecycleStage, hook: &HookRun, how: &str) -> String {
    let id = &hook.id;
    format!("Service deployment rolled back because {stage} lifecycle hook(s) failed. Lifecycle hook {id} {how}.")
}

/// When a stage that waits for tasks has lasted too long.
fn bound(current: &ServiceDeployment, at: &Lifecycle) -> Option<Timestamp> {
    let waits = matches!(at.stage, LifecycleStage::ReconcileService | LifecycleStage::ScaleUp);
    let is_bound = waits && current.configuration.strategy.shifts_traffic();
    is_bound.then(|| at.since.plus_ms(LONGEST_STAGE_MS))
}

fn forward(pass: &mut Pass<'_>, service: &Service, current: &ServiceDeployment) -> Option<Step> {
    let Some(at) = &current.lifecycle else {
        let several = current.sources.len() > 1 && current.configuration.strategy.shifts_traffic();
        // Where none serves there is none to bring the others to.
        let first = if several && current.serving.is_some() {
            LifecycleStage::ReconcileService
        } else {
            LifecycleStage::PreScaleUp
        };
        return Some(enter(pass, service, current, first));
    };
    let mut expired = at.hooks.iter().filter(|hook| hook.has_expired(pass.now));
    if let Some(hook) = expired.next() {
        let goes_on = std::iter::once(hook)
            .chain(expired)
            .all(|hook| hook.at_timeout == HookAction::Continue);
        return goes_on.then(|| time_out(current, at, pass.now));
    }
    let waits = at.hooks.iter().filter(|hook| hook.awaits(pass.now));
    let ends = waits.map(|hook| hook.expires_at).min();
    if let Some(ends) = ends.or(at.waits_until.filter(|until| *until > pass.now)) {
        pass.wake_service(&service.key, ends);
        return None;
    }
    if at.stage == LifecycleStage::ReconcileService
        && let Some(step) = choose_again(pass, service, current, at).or_else(|| unite(pass, service, current, at))
    {
        return Some(step);
    }
    if !is_done(pass, service, current, at.stage) {
        if let Some(bound) = bound(current, at) {
            pass.wake_service(&service.key, bound);
        }
        return None;
    }
    let next = next(current, at.stage)?;
    Some(enter(pass, service, current, next))
}

/// Chooses again which revision serves where that one cannot run, which may have run for a moment as the deployment began: no task of it does, and
/// its tasks keep failing. Others are given no tasks meanwhile, so that this comes to an end.
fn choose_again(pass: &Pass<'_>, service: &Service, current: &ServiceDeployment, at: &Lifecycle) -> Option<Step> {
    let chosen = current.serving.as_ref()?;
    let cannot_run = |deployment: &Deployment| keeps_failing(deployment.backoff, pass.now);
    let mut tasks = pass.state.live_tasks_of_service(&service.key);
    let runs = tasks.any(|task| task.last_status == TaskStatus::Running && task.deployment() == Some(chosen));
    if runs || !service.deployment(chosen).is_none_or(cannot_run) {
        return None;
    }
    let id = state::serving(&pass.state, service, &current.traffic).map(|serving| serving.id.clone());
    (id.as_ref() != Some(chosen)).then(|| Step {
        stage: at.stage,
        waits_until: None,
        hooks: at.hooks.clone(),
        traffic: current.traffic.clone(),
        serving: Some(ServingRevision { id }),
        said: vec![],
    })
}

/// Brings all traffic to the one revision that serves, once it has the tasks for it.
fn unite(pass: &Pass<'_>, service: &Service, current: &ServiceDeployment, at: &Lifecycle) -> Option<Step> {
    let serving = current.serving.as_ref()?;
    let united = Traffic::all_to(serving.clone());
    let is_due = current.traffic != united && has_enough(pass, service, serving);
    is_due.then(|| Step {
        stage: at.stage,
        waits_until: None,
        hooks: at.hooks.clone(),
        traffic: united,
        serving: None,
        said: vec![events::traffic_shifted(&service.key.name, serving, TrafficShare::ALL)],
    })
}

/// Writes down whose time is over.
fn time_out(current: &ServiceDeployment, at: &Lifecycle, now: Timestamp) -> Step {
    let mut hooks = at.hooks.clone();
    let expired = hooks.iter_mut().filter(|hook| hook.has_expired(now));
    expired.for_each(|hook| hook.status = HookStatus::TimedOut);
    Step {
        stage: at.stage,
        waits_until: at.waits_until,
        hooks,
        traffic: current.traffic.clone(),
        serving: None,
        said: vec![],
    }
}

fn is_done(pass: &Pass<'_>, service: &Service, current: &ServiceDeployment, stage: LifecycleStage) -> bool {
    use LifecycleStage as S;
    let shifts_traffic = current.configuration.strategy.shifts_traffic();
    match stage {
        // Where none serves there is none to bring the others to.
        S::ReconcileService if current.serving.is_none() => true,
        S::ReconcileService => {
            let tally = Tally::of(&pass.state, service);
            tally.deployments.iter().all(|id| current.serving.as_ref() == Some(id))
        }
        S::ScaleUp if shifts_traffic => {
            let tally = Tally::of_revision(&pass.state, service, current.id());
            tally.has_reached(service.desired_count, pass.now)
        }
        S::ScaleUp if early_success::has_enough(pass, service) => true,
        S::ScaleUp => {
            let tally = Tally::of(&pass.state, service);
            let alone = tally.deployments.iter().all(|id| id == current.id());
            alone && tally.has_reached(service.desired_count, pass.now)
        }
        S::PreProductionTrafficShift | S::BakeTime => !shifts_traffic || has_enough(pass, service, current.id()),
        S::CleanUp => false,
        _ => true,
    }
}

/// Whether a revision has as many tasks that serve as the service must have.
fn has_enough(pass: &Pass<'_>, service: &Service, revision: &DeploymentId) -> bool {
    let tally = Tally::of_revision(&pass.state, service, revision);
    // One at least, although the service may have none while it is deployed.
    let least = usize::from(service.desired_count > 0);
    tally.healthy(pass.now) >= Limits::of(service).lower.max(least)
}

fn next(current: &ServiceDeployment, stage: LifecycleStage) -> Option<LifecycleStage> {
    use LifecycleStage as S;
    Some(match stage {
        S::ReconcileService => S::PreScaleUp,
        S::PreScaleUp => S::ScaleUp,
        S::ScaleUp => S::PostScaleUp,
        S::PostScaleUp if current.configuration.strategy.shifts_traffic() => S::TestTrafficShift,
        S::TestTrafficShift => S::PostTestTrafficShift,
        S::PostTestTrafficShift => S::PreProductionTrafficShift,
        S::PreProductionTrafficShift => S::ProductionTrafficShift,
        S::ProductionTrafficShift if share(current) < TrafficShare::ALL => S::PreProductionTrafficShift,
        S::ProductionTrafficShift => S::PostProductionTrafficShift,
        S::PostScaleUp | S::PostProductionTrafficShift => S::BakeTime,
        S::BakeTime => S::CleanUp,
        S::CleanUp => return None,
    })
}

/// What the new revision has of production traffic.
fn share(current: &ServiceDeployment) -> TrafficShare {
    let (production, _) = current.traffic.of(current.id()).unwrap_or_default();
    production
}

fn enter(pass: &mut Pass<'_>, service: &Service, current: &ServiceDeployment, stage: LifecycleStage) -> Step {
    let (name, id) = (&service.key.name, current.id());
    let traffic = shifted(current, stage);
    let minutes = bake_minutes(current, stage, &traffic);
    let hooks = current.configuration.lifecycle_hooks.iter();
    let hooks: Vec<HookRun> = hooks
        .filter(|hook| hook.stages.contains(&stage))
        .map(|hook| HookRun {
            id: format!("ecs-pause-{}", pass.ids.uuid()),
            status: HookStatus::AwaitingAction,
            expires_at: pass.now.plus_ms(i64::from(hook.timeout_minutes) * MINUTE_MS),
            at_timeout: hook.at_timeout,
        })
        .collect();
    let mut said = vec![];
    if stage == LifecycleStage::ProductionTrafficShift {
        let (production, _) = traffic.of(id).unwrap_or_default();
        said.push(events::traffic_shifted(name, id, production));
    }
    if stage == LifecycleStage::BakeTime && minutes > 0 {
        said.push(events::baking(name, id, minutes));
    }
    said.extend(hooks.iter().map(|hook| events::paused(name, id, stage, &hook.id)));
    Step {
        stage,
        waits_until: (minutes > 0).then(|| pass.now.plus_ms(i64::from(minutes) * MINUTE_MS)),
        hooks,
        traffic,
        serving: None,
        said,
    }
}

/// What traffic becomes in a stage. Where nothing served before, the new revision gets all of it at once.
fn shifted(current: &ServiceDeployment, stage: LifecycleStage) -> Traffic {
    let id = current.id();
    match (stage, &current.serving) {
        (LifecycleStage::TestTrafficShift, Some(serving)) => Traffic::between(serving, id, TrafficShare::NONE),
        (LifecycleStage::ProductionTrafficShift, Some(serving)) => {
            let share = current.configuration.strategy.next_share(share(current));
            Traffic::between(serving, id, share)
        }
        (LifecycleStage::ProductionTrafficShift, None) => Traffic::wholly_to(id.clone()),
        _ => current.traffic.clone(),
    }
}

/// Minutes that a stage lasts at least. Where traffic is shifted and nothing served before, there is nothing to go back to.
fn bake_minutes(current: &ServiceDeployment, stage: LifecycleStage, traffic: &Traffic) -> u32 {
    let strategy = current.configuration.strategy;
    if strategy.shifts_traffic() && current.serving.is_none() {
        return 0;
    }
    match stage {
        LifecycleStage::ProductionTrafficShift => {
            let (production, _) = traffic.of(current.id()).unwrap_or_default();
            strategy.bake_minutes_at(production)
        }
        LifecycleStage::BakeTime => current.configuration.bake_minutes,
        _ => 0,
    }
}

/// The way back: once the revision that served before has tasks enough, traffic returns to it, and then all others stop.
fn back(pass: &mut Pass<'_>, service: &Service, current: &ServiceDeployment) -> Option<Step> {
    if !current.configuration.strategy.shifts_traffic() {
        return None;
    }
    let target = &service.primary()?.id;
    let returned = Traffic::all_to(target.clone());
    let (stage, said) = match current.stage() {
        None | Some(LifecycleStage::ScaleUp) if has_enough(pass, service, target) => {
            let is_there = current
                .traffic
                .of(target)
                .is_some_and(|(share, _)| share == TrafficShare::ALL);
            let said = (!is_there).then(|| events::traffic_shifted(&service.key.name, target, TrafficShare::ALL));
            (LifecycleStage::ProductionTrafficShift, said.into_iter().collect())
        }
        Some(LifecycleStage::ProductionTrafficShift) => (LifecycleStage::CleanUp, vec![]),
        _ => {
            let bound = current.lifecycle.as_ref().and_then(|at| bound(current, at));
            bound
                .into_iter()
                .for_each(|bound| pass.wake_service(&service.key, bound));
            return None;
        }
    };
    Some(Step {
        stage,
        waits_until: None,
        hooks: current
            .lifecycle
            .as_ref()
            .map(|at| at.hooks.clone())
            .unwrap_or_default(),
        traffic: returned,
        serving: None,
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeploymentStrategy, Resources};
    use crate::reconcile::world::{World, cluster};
    use crate::state::StopType;

    /// A service whose first revision fills its one host.
    fn full() -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(200, 200));
        world.add_definition("web", Resources::new(100, 100), None);
        world.add_service("web", |service| {
            service.desired_count = 2;
            service.deployment_configuration.strategy = DeploymentStrategy::BlueGreen;
        });
        world.pass_ms(11_000);
        world.change_service("web", |update| update.force_new_deployment = true);
        world
    }

    fn current(world: &World) -> &ServiceDeployment {
        let current = world.service("web").current_service_deployment();
        current.expect("deployed")
    }

    #[test]
    fn deployment_that_finds_no_room_for_a_day_is_rolled_back() {
        let mut world = full();
        let begun = world.now;
        world.pass_ms(LONGEST_STAGE_MS - 1);
        assert_eq!(current(&world).stage(), Some(LifecycleStage::ScaleUp));
        let web = cluster().service("web");
        let wake = world.agenda.next_wake_of_service(&web).expect("waits");
        assert!(wake <= begun.plus_ms(LONGEST_STAGE_MS), "{wake:?}");
        world.pass_ms(1);
        assert_eq!(current(&world).status, ServiceDeploymentStatus::RollbackSuccessful);
        let rollback = current(&world).rollback.as_ref().expect("rolled back");
        assert_eq!(
            rollback.reason,
            "Service deployment rolled back because SCALE_UP was not completed within 24 hours."
        );
    }

    #[test]
    fn rollback_that_finds_no_room_for_a_day_has_failed_and_leaves_traffic_as_it_is() {
        let mut world = full();
        world.add_host("h2", "a", Resources::new(200, 200));
        world.change_service("web", |update| {
            update.deployment_configuration.bake_minutes = Some(60);
            update.force_new_deployment = true;
        });
        world.pass_ms(60_000);
        assert_eq!(current(&world).stage(), Some(LifecycleStage::BakeTime));
        // The host of what served before is gone, and the other is full of what serves now.
        let lost = Command::DeregisterContainerInstance {
            container_instance: world.host("h1").expect("a host"),
            force: true,
            at: world.now,
        };
        world.apply(lost).expect("leaves");
        let stop = Command::StopServiceDeployment {
            service: cluster().service("web"),
            service_deployment: current(&world).id().clone(),
            stop_type: StopType::Rollback,
            at: world.now,
        };
        world.apply(stop).expect("can be stopped");
        let (begun, traffic) = (world.now, current(&world).traffic.clone());
        world.pass_ms(LONGEST_STAGE_MS - 1);
        assert_eq!(current(&world).status, ServiceDeploymentStatus::RollbackInProgress);
        let wake = world.agenda.next_wake_of_service(&cluster().service("web"));
        assert!(wake.expect("waits") <= begun.plus_ms(LONGEST_STAGE_MS), "{wake:?}");
        world.pass_ms(1);
        assert_eq!(current(&world).status, ServiceDeploymentStatus::RollbackFailed);
        let reason = current(&world).status_reason.as_deref().expect("says why");
        assert_eq!(
            reason,
            "Service deployment rollback failed because SCALE_UP was not completed within 24 hours. It is what was to be rolled back to."
        );
        assert_eq!(current(&world).traffic, traffic);
        // Once there is room, the next one goes on from there.
        world.add_host("h3", "a", Resources::new(200, 200));
        world.change_service("web", |update| update.force_new_deployment = true);
        world.pass_ms(2 * 60 * 60_000);
        assert_eq!(current(&world).status, ServiceDeploymentStatus::Successful);
    }

    #[test]
    fn second_look_at_a_deployment_that_waits_finds_nothing() {
        let mut world = full();
        world.pass_ms(60_000);
        let turn = |world: &World| current(world).lifecycle.as_ref().map(|at| at.turn);
        let before = turn(&world);
        world.agenda = crate::reconcile::Agenda::everything(&world.state);
        world.reconcile();
        assert_eq!(turn(&world), before);
    }
}
