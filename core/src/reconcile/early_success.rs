//! Rolling updates that are successful before all of their tasks are there (ECS's `earlySuccessCriteria`): whether enough are, and
//! whether the tasks of other revisions have become needless. A rollback goes all the way. Pure.

use crate::model::{Service, ServiceDeployment, ServiceDeploymentStatus, SourceCleanup};

use super::pass::Pass;
use super::stages;
use super::tally::Tally;

/// What becomes of the other revisions of a deployment on its way, if enough tasks of its own serve.
fn met(pass: &Pass<'_>, service: &Service, current: &ServiceDeployment) -> Option<SourceCleanup> {
    let early = current.configuration.early_success?;
    let (enough, cleanup) = early.enough(service.desired_count)?;
    let tally = Tally::of_revision(&pass.state, service, current.id());
    let serve = u32::try_from(tally.healthy(pass.now)).unwrap_or(u32::MAX);
    (serve >= enough).then_some(cleanup)
}

fn on_its_way(service: &Service) -> Option<&ServiceDeployment> {
    service
        .service_deployment_under_way()
        .filter(|current| current.status.is_forward())
}

/// Whether enough tasks of what is deployed serve for it to go on.
pub(super) fn has_enough(pass: &Pass<'_>, service: &Service) -> bool {
    on_its_way(service).is_some_and(|current| met(pass, service, current).is_some())
}

/// Whether what is deployed is successful although it lacks tasks; `is_alone` says that no other revision has any.
pub(super) fn is_enough(pass: &Pass<'_>, service: &Service, is_alone: bool) -> bool {
    let cleanup = on_its_way(service).and_then(|current| met(pass, service, current));
    cleanup.is_some_and(|cleanup| is_alone || cleanup == SourceCleanup::Deferred)
}

/// Whether the tasks of other revisions stop without others in their place: once enough serve and nothing else is to be awaited, and after a
/// success that did not wait for them.
pub(super) fn sources_go(pass: &Pass<'_>, service: &Service) -> bool {
    let Some(current) = service.current_service_deployment() else {
        return false;
    };
    match current.status {
        ServiceDeploymentStatus::Successful => {
            let early = current.configuration.early_success;
            early.is_some_and(|early| early.enough(service.desired_count).is_some())
        }
        status if status.is_forward() => stages::is_at_end(service) && met(pass, service, current).is_some(),
        _ => false,
    }
}
