//! Services whose deployments something outside the cluster controls: each of their task sets is run as if it were a service that wants the
//! set's share of the tasks. Pure.

use crate::model::{Service, TaskSet, TaskSetStatus};
use crate::state::{Command, TaskSetProgress};

use super::pass::Pass;
use super::service::nothing_new;
use super::tally::Tally;
use super::{deployment, events, replica};

/// Starts and stops what is due in each task set, and records how they are.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service) {
    let mut progress = nothing_new(pass, service);
    let (mut said, mut steady) = (vec![], true);
    for set in &service.task_sets {
        let of_set = service.of_task_set(set);
        said.extend(replica::reconcile(pass, &of_set));
        let found = look_at(pass, &of_set, set);
        steady &= found.steady;
        if found.is_gone || found.steady != set.steady {
            progress.task_sets.push(found);
        }
    }
    if steady && !service.steady {
        said.push(events::steady_state(&service.key.name));
    }
    progress.steady = (steady != service.steady).then_some(steady);
    progress.events = deployment::as_events(pass, said);
    if progress.steady.is_some() || !progress.events.is_empty() || !progress.task_sets.is_empty() {
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
}

/// How a task set is now that tasks were started and stopped.
fn look_at(pass: &mut Pass<'_>, of_set: &Service, set: &TaskSet) -> TaskSetProgress {
    let tally = Tally::of(&pass.state, of_set);
    if let Some(at) = tally.next_to_settle(pass.now) {
        pass.wake_service(&of_set.key, at);
    }
    let is_empty = tally.deployments.is_empty();
    TaskSetProgress {
        id: set.id.clone(),
        // A task that still stops is none that it has.
        steady: tally.has_reached(of_set.desired_count, pass.now) && tally.stopping.is_empty(),
        is_gone: is_empty && set.status == TaskSetStatus::Draining,
    }
}
