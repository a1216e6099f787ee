//! One service: to its desired count while it is active, to nothing once it is deleted. Pure.

use std::sync::Arc;

use crate::model::{
    DeploymentStatus, DesiredStatus, SchedulingStrategy, Service, ServiceDeploymentStatus, ServiceKey, ServiceStatus,
    Task,
};
use crate::state::{Command, ServiceDeploymentProgress, ServiceProgress};

use super::pass::Pass;
use super::waiting::Waiter;
use super::{
    daemon, deployment, events, health, protection, replica, retention, revisions, stages, stopping, task_sets,
};

pub(super) fn reconcile(pass: &mut Pass<'_>, key: &ServiceKey) {
    pass.turn = pass.agenda.waiting.leave(&Waiter::Service(key.clone()));
    pass.agenda.dependents.leave(key);
    pass.agenda.scaled.wants_nothing(key);
    let Some(service) = pass.state.service(key).cloned() else {
        return;
    };
    match service.status {
        ServiceStatus::Active => active(pass, &service),
        ServiceStatus::Draining => draining(pass, &service),
        ServiceStatus::Inactive => retention::inactive_service(pass, &service),
    }
}

fn active(pass: &mut Pass<'_>, service: &Service) {
    health::find_failed(pass, service);
    // Its failures may be more now.
    let Some(service) = pass.state.service(&service.key).cloned() else {
        return;
    };
    if service.is_external() {
        return task_sets::reconcile(pass, &service);
    }
    deployment::give_up(pass, &service);
    stages::advance(pass, &service.key);
    // Another deployment may be the primary one now.
    let Some(service) = pass.state.service(&service.key).cloned() else {
        return;
    };
    let said = match service.scheduling_strategy {
        SchedulingStrategy::Replica if revisions::are_apart(&service) => revisions::reconcile(pass, &service),
        SchedulingStrategy::Replica => replica::reconcile(pass, &service),
        SchedulingStrategy::Daemon => daemon::reconcile(pass, &service),
    };
    deployment::conclude(pass, &service.key, said);
}

/// Stops what a deleted service still has, then lets it go. Where it was not deleted by force, protected tasks are waited for.
fn draining(pass: &mut Pass<'_>, service: &Service) {
    let tasks: Vec<Arc<Task>> = pass.state.live_tasks_of_service(&service.key).cloned().collect();
    let mut progress = nothing_new(pass, service);
    let unwanted = tasks.iter().filter(|t| t.desired_status == DesiredStatus::Running);
    let (unwanted, held) = protection::split(unwanted.cloned(), pass.now);
    let stopped = stopping::stop(pass, service, &unwanted);
    let mut said = events::stopped(&service.key.name, &stopped);
    said.extend(protection::say_held(pass, service, &held));
    progress.events = deployment::as_events(pass, said);
    progress.inactive = tasks.is_empty();
    progress.service_deployment = deletion(service, progress.inactive);
    let with_tasks = |id| tasks.iter().any(|t| t.deployment() == Some(id));
    progress.retired = service
        .deployments
        .iter()
        .filter(|d| d.status != DeploymentStatus::Primary && !with_tasks(&d.id))
        .map(|d| d.id.clone())
        .collect();
    let news = !progress.events.is_empty() || !progress.retired.is_empty() || progress.service_deployment.is_some();
    if progress.inactive || news {
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
}

/// How far the deployment has come that deletes a managed daemon.
fn deletion(service: &Service, is_over: bool) -> Option<ServiceDeploymentProgress> {
    let current = service
        .service_deployment_under_way()
        .filter(|_| service.is_managed_daemon())?;
    let (status, reason) = match is_over {
        true => (ServiceDeploymentStatus::Successful, "The daemon was deleted."),
        false => (ServiceDeploymentStatus::InProgress, "The daemon is being deleted."),
    };
    current.status.may_become(status).then(|| ServiceDeploymentProgress {
        id: current.id().clone(),
        status,
        reason: Some(reason.to_owned()),
        by_circuit_breaker: false,
    })
}

/// A finding that says nothing.
pub(super) fn nothing_new(pass: &Pass<'_>, service: &Service) -> ServiceProgress {
    ServiceProgress::nothing_new(service.key.clone(), pass.now)
}
