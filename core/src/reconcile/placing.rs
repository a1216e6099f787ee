//! What reconcilers ask of placement: hosts for new tasks, tasks that are missed least, and words for a shortfall. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{ClusterKey, ContainerInstanceId, Manner, PlacementRecord, Priority, Service, Task, TaskId};
use crate::placement::{self, HOSTS_PER_SENTENCE, Outcome, ScaleIn, Seed, StopCandidate, TaskRequest, Unplaced};
use crate::state::Feature;

use super::pass::Pass;
use super::waiting::Waiter;
use super::{deployment, events, starting};

/// Time between two sentences on why a task has no host, where the second gives other numbers: they may change with every
/// task that comes and goes.
const CHANGED_SENTENCE_AFTER_MS: i64 = 10_000;

/// New tasks that are alike.
pub(super) struct Lot {
    /// Each, but for its id and its host.
    pub(super) prototype: Task,
    /// How many.
    pub(super) count: usize,
}

/// Hosts for new tasks that are alike.
pub(super) struct Choice {
    /// Each, but for its id and its host.
    pub(super) prototype: Task,
    /// The tasks that found a host.
    pub(super) placements: Vec<Placed>,
    /// Why the first that found none did not.
    pub(super) shortfall: Option<Arc<Unplaced>>,
    /// How many found none.
    pub(super) unplaced: usize,
}

/// A task that found a host.
pub(super) struct Placed {
    /// Its id.
    pub(super) task: TaskId,
    /// The host.
    pub(super) host: ContainerInstanceId,
    /// How the host was chosen, as the task is to keep it.
    pub(super) record: Option<PlacementRecord>,
}

/// Chooses hosts for new tasks of one cluster, by one plan for all lots.
pub(super) fn choose_hosts(pass: &mut Pass<'_>, lots: Vec<Lot>, manner: Manner) -> Vec<Choice> {
    let Some(cluster) = lots.first().map(|lot| lot.prototype.cluster.clone()) else {
        return vec![];
    };
    let requests = lots.iter().flat_map(|lot| requests(pass, lot)).collect();
    let mut answers = place(pass, &cluster, requests, manner).into_iter();
    let choices = lots.into_iter().map(|lot| {
        let own = answers.by_ref().take(lot.count).collect();
        choice(lot, own)
    });
    choices.collect()
}

fn requests(pass: &mut Pass<'_>, lot: &Lot) -> Vec<TaskRequest> {
    let request = TaskRequest::of(&lot.prototype);
    let requests = (0..lot.count).map(|_| TaskRequest {
        id: pass.ids.task_id(),
        ..request.clone()
    });
    requests.collect()
}

fn choice(lot: Lot, answers: Vec<Answer>) -> Choice {
    let (mut placements, mut shortfall) = (vec![], None);
    let asked = answers.len();
    for answer in answers {
        match answer {
            Ok(placed) => placements.push(placed),
            Err(unplaced) => shortfall = shortfall.or(Some(unplaced)),
        }
    }
    Choice {
        prototype: lot.prototype,
        unplaced: asked - placements.len(),
        placements,
        shortfall,
    }
}

/// What became of a task that may go to one host only.
pub(super) enum OnHost {
    /// The host takes it.
    Takes(Placed),
    /// The host does not.
    Refuses(Unplaced),
}

/// Whether each of `hosts` takes a task like `prototype`.
pub(super) fn one_on_each(pass: &mut Pass<'_>, prototype: &Task, hosts: &[ContainerInstanceId]) -> Vec<OnHost> {
    let request = TaskRequest::of(prototype);
    let requests = hosts.iter().map(|host| TaskRequest {
        id: pass.ids.task_id(),
        only_hosts: Some(BTreeSet::from([*host])),
        ..request.clone()
    });
    let requests = requests.collect();
    let answers = place(pass, &prototype.cluster, requests, Manner::OneByOne).into_iter();
    let answers = answers.map(|answer| match answer {
        Ok(placed) => OnHost::Takes(placed),
        Err(unplaced) => OnHost::Refuses(Unplaced::clone(&unplaced)),
    });
    answers.collect()
}

/// At most `count` of `tasks`, those that the service's strategy misses least.
pub(super) fn choose_to_stop(
    pass: &mut Pass<'_>,
    service: &Service,
    tasks: &[Arc<Task>],
    count: usize,
) -> Vec<Arc<Task>> {
    if count >= tasks.len() || count == 0 {
        return tasks.iter().take(count).cloned().collect();
    }
    let Some(group) = tasks.first().map(|t| t.group.as_str()) else {
        return vec![];
    };
    let candidates: Vec<StopCandidate> = tasks.iter().map(|t| StopCandidate::of(t)).collect();
    let scale_in = ScaleIn {
        group,
        strategies: &starting::strategy(service),
        candidates: &candidates,
        seed: seed(pass),
    };
    let known = &mut pass.agenda.hosts;
    let chosen = known.choose_to_stop(&pass.state, &service.key.cluster, &scale_in, count);
    let chosen: BTreeSet<TaskId> = chosen.into_iter().collect();
    tasks.iter().filter(|t| chosen.contains(&t.id)).cloned().collect()
}

/// Has the service wait for room, where it stood before unless it has got something.
pub(super) fn wait_for_room(pass: &mut Pass<'_>, service: &Service) {
    let priority = Priority::of(&service.tags);
    let waiter = Waiter::Service(service.key.clone());
    pass.agenda.waiting.join(waiter, priority, pass.turn);
}

/// Has the service wait for room, and says why it must: at once if that was not said lately.
pub(super) fn say_unplaced(pass: &mut Pass<'_>, service: &Service, unplaced: &Unplaced) -> Option<String> {
    wait_for_room(pass, service);
    let name = service.spoken();
    let sentence = placement::unable_to_place(&name, unplaced, HOSTS_PER_SENTENCE);
    let beginning = format!("(service {name}) was unable to place a task");
    if let Some((said, at)) = events::last_said(service, &beginning)
        && said != sentence
    {
        let again = at.plus_ms(CHANGED_SENTENCE_AFTER_MS);
        if again > pass.now {
            pass.wake_service(&service.key, again);
            return None;
        }
    }
    deployment::unless_said(pass, service, sentence)
}

/// The host of a task, or why there is none.
pub(super) type Answer = Result<Placed, Arc<Unplaced>>;

/// Hosts for these tasks of a cluster, in their order.
pub(super) fn place(
    pass: &mut Pass<'_>,
    cluster: &ClusterKey,
    requests: Vec<TaskRequest>,
    manner: Manner,
) -> Vec<Answer> {
    pass.together.forget();
    let seed = seed(pass);
    let known = &mut pass.agenda.hosts;
    let plan = known.place(&pass.state, cluster, &requests, manner, seed);
    let records = pass.state.uses(Feature::PlacementRecords);
    let answers = requests.iter().zip(plan.decisions).enumerate();
    let answers = answers.map(|(position, (request, decision))| match decision.outcome {
        Outcome::Placed(placement) => Ok(Placed {
            task: request.id,
            host: placement.host(),
            record: records.then(|| placement.record(request, seed, plan.manner, position)),
        }),
        Outcome::Unplaced(unplaced) => Err(unplaced),
    });
    answers.collect()
}

fn seed(pass: &mut Pass<'_>) -> Seed {
    Seed(pass.ids.next_u64())
}
