//! Tasks outside services: many requests planned at once, so that they do not take each other's room. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    ClusterKey, ContainerInstanceId, Manner, PlacementRecord, Priority, Task, TaskId, TaskStatus, Timestamp,
};
use crate::placement::{Outcome, Seed, TaskRequest, Unplaced};
use crate::state::{ClientToken, ClusterState, Command, Feature, Rejection};

use super::agenda::Agenda;
use super::provisioning::Prospects;

/// Tasks that somebody wants to run, each with its id and without a host. All are in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandaloneRequest {
    /// The tasks; not none.
    pub tasks: Vec<Task>,
    /// Tasks that may go to one host only, and which.
    pub only_host: BTreeMap<TaskId, ContainerInstanceId>,
    /// The caller's idempotency token.
    pub client_token: Option<ClientToken>,
}

/// Tasks without a host, and why; requests that differ in nothing but their id share the reason.
pub type UnplacedTasks = Vec<(TaskId, Arc<Unplaced>)>;

/// The host of a task and how it was chosen, or why there is none.
type Answer = Result<(ContainerInstanceId, Option<PlacementRecord>), Arc<Unplaced>>;

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandalonePlan {
    /// Propose the command; the tasks in it have hosts or wait for one of their capacity provider, those in `unplaced` do neither.
    Run {
        /// `RunTasks`.
        command: Command,
        /// Tasks that found no host and do not wait for one.
        unplaced: UnplacedTasks,
    },
    /// Nothing can be placed.
    NoRoom(UnplacedTasks),
    /// The same request came before and made these tasks.
    Repeated(Vec<TaskId>),
    /// A request with the same client token is being planned: plan this one once that is applied.
    Later,
    /// It cannot be served.
    Refused(Rejection),
}

/// Plans `requests` in the order of their priorities, equal ones in their own; each sees what those before it take. The agenda knows the hosts,
/// and whose room was made for a service that is yet to be looked at. What finds no host waits for one from `now` on, where hosts of its capacity
/// provider are woken and one of them would take it.
#[must_use]
pub fn plan_standalone(
    state: &ClusterState,
    agenda: &mut Agenda,
    requests: &[StandaloneRequest],
    seed: Seed,
    now: Timestamp,
) -> Vec<StandalonePlan> {
    let mut tokens = BTreeSet::new();
    let ready: Vec<Option<StandalonePlan>> = requests
        .iter()
        .map(|r| without_placing(state, r, &mut tokens))
        .collect();
    let mut by_cluster: BTreeMap<&ClusterKey, Vec<TaskRequest>> = BTreeMap::new();
    let to_place = requests.iter().zip(&ready).filter(|(_, known)| known.is_none());
    let mut to_place: Vec<&StandaloneRequest> = to_place.map(|(request, _)| request).collect();
    to_place.sort_by_key(|request| Reverse(request.tasks.first().map(|task| Priority::of(&task.tags))));
    for request in to_place {
        for task in &request.tasks {
            let only_host = request.only_host.get(&task.id);
            let wanted = TaskRequest {
                only_hosts: only_host.map(|host| BTreeSet::from([*host])),
                ..TaskRequest::of(task)
            };
            by_cluster.entry(&task.cluster).or_default().push(wanted);
        }
    }
    let records = state.uses(Feature::PlacementRecords);
    agenda.hosts.keep_room(agenda.kept_room.names());
    let mut answers: BTreeMap<TaskId, Answer> = BTreeMap::new();
    for (cluster, requests) in by_cluster {
        let plan = agenda.hosts.place(state, cluster, &requests, Manner::OneByOne, seed);
        let decided = requests.iter().zip(plan.decisions).enumerate();
        answers.extend(decided.map(|(position, (request, decision))| {
            let answer = match decision.outcome {
                Outcome::Placed(placement) => {
                    let record = || placement.record(request, seed, plan.manner, position);
                    Ok((placement.host(), records.then(record)))
                }
                Outcome::Unplaced(unplaced) => Err(unplaced),
            };
            (decision.task, answer)
        }));
    }
    agenda.hosts.keep_room(BTreeMap::new());
    let mut prospects = Prospects::default();
    let planned = requests.iter().zip(ready);
    planned
        .map(|(request, known)| {
            known.unwrap_or_else(|| put_together(request, &answers, |task| prospects.of(state, task, now)))
        })
        .collect()
}

fn without_placing<'r>(
    state: &ClusterState,
    request: &'r StandaloneRequest,
    tokens: &mut BTreeSet<(&'r str, &'r str, &'r crate::model::Scope)>,
) -> Option<StandalonePlan> {
    if let Some(token) = &request.client_token {
        match state.remembered_request(token) {
            Err(rejection) => return Some(StandalonePlan::Refused(rejection)),
            Ok(Some(seen)) => return Some(StandalonePlan::Repeated(seen.tasks.clone())),
            Ok(None) => {}
        }
        if !tokens.insert((&token.token, &token.operation, &token.scope)) {
            return Some(StandalonePlan::Later);
        }
    }
    let task = request.tasks.first()?;
    state.active_cluster(&task.cluster).err().map(StandalonePlan::Refused)
}

fn put_together(
    request: &StandaloneRequest,
    answers: &BTreeMap<TaskId, Answer>,
    mut waiting: impl FnMut(&Task) -> Option<Task>,
) -> StandalonePlan {
    let (mut tasks, mut unplaced) = (vec![], UnplacedTasks::new());
    for task in &request.tasks {
        // One that is for a host by its name waits for no other.
        let may_wait = !request.only_host.contains_key(&task.id);
        match answers.get(&task.id) {
            Some(Ok((host, record))) => tasks.push(placed(task, *host, record.clone())),
            Some(Err(why)) => match may_wait.then(|| waiting(task)).flatten() {
                Some(waiting) => tasks.push(waiting),
                None => unplaced.push((task.id, Arc::clone(why))),
            },
            None => {}
        }
    }
    if tasks.is_empty() {
        return StandalonePlan::NoRoom(unplaced);
    }
    let client_token = request.client_token.clone();
    let command = Command::RunTasks { tasks, client_token };
    StandalonePlan::Run { command, unplaced }
}

fn placed(task: &Task, host: ContainerInstanceId, record: Option<PlacementRecord>) -> Task {
    Task {
        container_instance: Some(host),
        placement: record,
        last_status: TaskStatus::Pending,
        ..task.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Resources, Timestamp};
    use crate::reconcile::world::{World, cluster};

    fn request(world: &mut World, count: usize, token: Option<&str>) -> StandaloneRequest {
        let prototype = world.standalone("job", Resources::new(512, 512));
        let tasks = (0..count).map(|_| Task {
            id: world.ids.task_id(),
            ..prototype.clone()
        });
        StandaloneRequest {
            tasks: tasks.collect(),
            only_host: BTreeMap::new(),
            client_token: token.map(|token| ClientToken {
                scope: cluster().scope,
                operation: "RunTask".to_owned(),
                token: token.to_owned(),
                request_digest: "same".to_owned(),
                at: Timestamp(0),
            }),
        }
    }

    #[test]
    fn standalone_requests_beyond_the_room_are_told_why_and_nothing_is_taken_twice() {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(1024, 1024));
        let requests = [
            request(&mut world, 1, None),
            request(&mut world, 2, None),
            request(&mut world, 1, None),
        ];
        let plans = plan_standalone(&world.state, &mut Agenda::new(), &requests, Seed(1), world.now);
        for (plan, (placed, left)) in plans.into_iter().zip([(1, 0), (1, 1), (0, 1)]) {
            match plan {
                StandalonePlan::Run { command, unplaced } => {
                    assert_eq!(unplaced.len(), left);
                    let Command::RunTasks { tasks, .. } = &command else {
                        panic!("{command:?}")
                    };
                    assert_eq!(tasks.len(), placed);
                    world.apply(command).expect("there is room");
                }
                StandalonePlan::NoRoom(unplaced) => assert_eq!((0, unplaced.len()), (placed, left)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn standalone_task_for_one_host_goes_there_or_nowhere() {
        let mut world = World::new();
        let small = world.add_host("h1", "a", Resources::new(512, 512));
        world.add_host("h2", "a", Resources::new(4096, 4096));
        let mut wanted = request(&mut world, 2, None);
        wanted.only_host = wanted.tasks.iter().map(|task| (task.id, small)).collect();
        let plans = plan_standalone(&world.state, &mut Agenda::new(), &[wanted], Seed(1), world.now);
        let [StandalonePlan::Run { command, unplaced }] = &plans[..] else {
            panic!("{plans:?}")
        };
        let Command::RunTasks { tasks, .. } = command else {
            panic!("{command:?}")
        };
        assert_eq!(
            tasks.iter().map(|t| t.container_instance).collect::<Vec<_>>(),
            [Some(small)]
        );
        let refusing: Vec<_> = unplaced
            .iter()
            .flat_map(|(_, why)| &why.hosts)
            .map(|h| h.host)
            .collect();
        assert_eq!(refusing, [small]);
    }

    #[test]
    fn standalone_request_with_a_token_seen_before_gets_the_tasks_of_then() {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(1024, 1024));
        let requests = [request(&mut world, 1, Some("t")), request(&mut world, 1, Some("t"))];
        let mut plans = plan_standalone(&world.state, &mut Agenda::new(), &requests, Seed(1), world.now);
        assert_eq!(plans.pop(), Some(StandalonePlan::Later));
        let Some(StandalonePlan::Run { command, .. }) = plans.pop() else {
            panic!("not planned")
        };
        world.apply(command).expect("there is room");
        let again = plan_standalone(&world.state, &mut Agenda::new(), &requests[1..], Seed(1), world.now);
        assert_eq!(again, [StandalonePlan::Repeated(vec![requests[0].tasks[0].id])]);
    }
}
