//! Whole hosts without tasks: hosts with few tasks are emptied into the fullest hosts that have room; where few tasks are concerned, all ways are
//! tried. A host is emptied or left alone: part of the way would bring nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ground::{Ground, Undo};
use super::outcome::{Asked, Move, Obstacle, Stuck, Why};
use super::search;
use super::zones::no_room;
use crate::model::ContainerInstanceId;

/// Most hosts of which it is said why they keep their tasks.
const MAX_STUCK: usize = 100;

/// A host that could be emptied, if there is room for its tasks elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    /// How many moves that takes.
    pub(super) tasks: usize,
    /// What its tasks hold, CPU units and MiB together: of as many tasks, small ones are moved sooner.
    size: u64,
    pub(super) host: ContainerInstanceId,
}

/// Hosts that are emptied, in order, with where the tasks of each go.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) emptied: Vec<(ContainerInstanceId, Vec<(usize, ContainerInstanceId)>)>,
}

impl Choice {
    pub(super) fn moves(&self) -> usize {
        self.emptied.iter().map(|(_, moves)| moves.len()).sum()
    }

    /// Whether it frees more hosts than `other`, or as many with fewer moves.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.emptied.len(), other.emptied.len());
        mine > theirs || (mine == theirs && self.moves() < other.moves())
    }
}

pub(super) fn plan(ground: &mut Ground<'_>, max_moves: usize) -> (Vec<Move>, Vec<Stuck>) {
    let sources = sources(ground);
    let targets = targets(ground);
    let (greedy, undo) = greedily(ground, &sources, &targets, max_moves);
    undo.iter().rev().for_each(|undo| ground.undo(undo));
    let choice = search::best(ground, &sources, &targets, max_moves, greedy);
    let mut moves = vec![];
    for (host, of_host) in &choice.emptied {
        for (number, (task, to)) in (1..).zip(of_host) {
            if ground.shift(*task, *to).is_some() {
                moves.push(Move {
                    task: ground.id(*task),
                    group: ground.group(*task).to_owned(),
                    from: *host,
                    to: *to,
                    why: Why::Empties {
                        host: ground.host(*host).name.clone(),
                        number,
                        of: of_host.len(),
                    },
                });
            }
        }
    }
    let stuck = stuck(ground, &targets, max_moves - moves.len());
    (moves, stuck)
}

/// Hosts in use all of whose tasks may be moved, those with the fewest first.
fn sources(ground: &Ground<'_>) -> Vec<Source> {
    let movable = |task: usize| ground.tasks()[task].stays.is_none();
    let hosts = ground.available().filter(|host| !ground.is_empty(host.id));
    let all = hosts.filter(|host| ground.on(host.id).all(movable));
    let mut sources: Vec<Source> = all
        .map(|host| Source {
            tasks: ground.on(host.id).count(),
            size: ground.on(host.id).map(|task| size(ground, task)).sum(),
            host: host.id,
        })
        .collect();
    sources.sort();
    sources
}

/// Hosts in use, which may take tasks of others.
fn targets(ground: &Ground<'_>) -> BTreeSet<ContainerInstanceId> {
    let hosts = ground.available().map(|host| host.id);
    hosts.filter(|host| !ground.is_empty(*host)).collect()
}

/// Empties each host that can be, and leaves alone those that took tasks.
fn greedily(
    ground: &mut Ground<'_>,
    sources: &[Source],
    targets: &BTreeSet<ContainerInstanceId>,
    max_moves: usize,
) -> (Choice, Vec<Undo>) {
    let (mut choice, mut undo, mut targets) = (Choice::default(), vec![], targets.clone());
    let (mut took, mut takers) = (BTreeSet::new(), Takers::default());
    for source in sources {
        if took.contains(&source.host) || source.tasks > max_moves - choice.moves() {
            continue;
        }
        let first = tasks_of(ground, source.host).first().copied();
        if !first.is_some_and(|task| takers.has_one(ground, task, source.host, &targets)) {
            continue;
        }
        targets.remove(&source.host);
        match empty(ground, source.host, &targets) {
            Ok(moves) => {
                took.extend(moves.iter().map(|(_, to, _)| *to));
                let kept = moves.iter().map(|(task, to, _)| (*task, *to)).collect();
                choice.emptied.push((source.host, kept));
                undo.extend(moves.into_iter().map(|(_, _, undo)| undo));
            }
            Err(_) => drop(targets.insert(source.host)),
        }
    }
    (choice, undo)
}

fn size(ground: &Ground<'_>, task: usize) -> u64 {
    let needs = ground.tasks()[task].replacement.shape.resources;
    u64::from(needs.cpu.0) + u64::from(needs.memory.0)
}

/// Tasks of a host, the largest first: they are the hardest to find room for.
pub(super) fn tasks_of(ground: &Ground<'_>, host: ContainerInstanceId) -> Vec<usize> {
    let mut tasks: Vec<usize> = ground.on(host).collect();
    let size = |task: usize| (ground.tasks()[task].replacement.shape.gpu, size(ground, task));
    tasks.sort_by(|one, other| size(*other).cmp(&size(*one)).then(one.cmp(other)));
    tasks
}

/// Hosts that take the task, those first in which it leaves the least room.
pub(super) fn hosts_for(
    ground: &mut Ground<'_>,
    task: usize,
    targets: &BTreeSet<ContainerInstanceId>,
) -> Vec<ContainerInstanceId> {
    let takers: Vec<ContainerInstanceId> = targets
        .iter()
        .filter(|host| ground.takes(task, **host))
        .copied()
        .collect();
    let hosts = even_among(ground, task, &takers);
    let mut ranked: Vec<_> = hosts
        .into_iter()
        .map(|host| (ground.left_over(task, host), host))
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, host)| host).collect()
}

/// Those of the hosts on which the task keeps its group as even over zones as it has to be.
fn even_among(ground: &Ground<'_>, task: usize, hosts: &[ContainerInstanceId]) -> Vec<ContainerInstanceId> {
    let mut zones: BTreeMap<Option<&str>, bool> = BTreeMap::new();
    let mut is_even = |host: ContainerInstanceId| {
        let zone = zones.entry(ground.zone(host));
        *zone.or_insert_with(|| ground.keeps_even(task, host))
    };
    hosts.iter().copied().filter(|host| is_even(*host)).collect()
}

/// For tasks that are alike, hosts that may take one. What is moved for good only takes room, so that a host that refuses one will refuse the others.
#[derive(Default)]
struct Takers(BTreeMap<usize, BTreeSet<ContainerInstanceId>>);

impl Takers {
    /// Whether there is a host for the task on `source`, all that is moved being moved for good.
    fn has_one(
        &mut self,
        ground: &mut Ground<'_>,
        task: usize,
        source: ContainerInstanceId,
        targets: &BTreeSet<ContainerInstanceId>,
    ) -> bool {
        // Tasks that share what they ask for are alike; others may be, and are asked about anew.
        let ask = Arc::as_ptr(&ground.tasks()[task].replacement.ask) as usize;
        let open = self.0.entry(ask).or_insert_with(|| targets.clone());
        while let Some(host) = open.iter().copied().find(|host| *host != source) {
            if targets.contains(&host) && ground.takes(task, host) {
                return true;
            }
            open.remove(&host);
        }
        open.insert(source);
        false
    }
}

type Made = Vec<(usize, ContainerInstanceId, Undo)>;

/// Moves all tasks of a host to others, or none; then says which found no host.
fn empty(
    ground: &mut Ground<'_>,
    host: ContainerInstanceId,
    targets: &BTreeSet<ContainerInstanceId>,
) -> Result<Made, usize> {
    let (made, left) = move_off(ground, host, targets);
    match left {
        None => Ok(made),
        Some(task) => {
            take_back(ground, &made);
            Err(task)
        }
    }
}

/// Moves the tasks of a host to others, up to the first that finds no host.
fn move_off(
    ground: &mut Ground<'_>,
    host: ContainerInstanceId,
    targets: &BTreeSet<ContainerInstanceId>,
) -> (Made, Option<usize>) {
    let mut made: Made = vec![];
    for task in tasks_of(ground, host) {
        let to = hosts_for(ground, task, targets).first().copied();
        let shifted = to.and_then(|to| Some((task, to, ground.shift(task, to)?)));
        match shifted {
            Some(shifted) => made.push(shifted),
            None => return (made, Some(task)),
        }
    }
    (made, None)
}

fn take_back(ground: &mut Ground<'_>, made: &Made) {
    made.iter().rev().for_each(|(_, _, undo)| ground.undo(undo));
}

/// Why hosts keep their tasks.
fn stuck(ground: &mut Ground<'_>, targets: &BTreeSet<ContainerInstanceId>, moves_left: usize) -> Vec<Stuck> {
    let kept: Vec<ContainerInstanceId> = targets.iter().copied().filter(|host| !ground.is_empty(*host)).collect();
    let mut stuck = vec![];
    for host in kept.iter().take(MAX_STUCK) {
        stuck.push(Stuck {
            host: Some(*host),
            name: ground.host(*host).name.clone(),
            obstacle: obstacle(ground, *host, &kept, moves_left),
        });
    }
    stuck
}

fn obstacle(
    ground: &mut Ground<'_>,
    host: ContainerInstanceId,
    kept: &[ContainerInstanceId],
    moves_left: usize,
) -> Obstacle {
    let tasks: Vec<usize> = ground.on(host).collect();
    let staying = tasks
        .iter()
        .find_map(|task| Some((*task, ground.tasks()[*task].stays?)));
    if let Some((task, why)) = staying {
        return Obstacle::Stays {
            task: ground.id(task),
            group: ground.group(task).to_owned(),
            why,
        };
    }
    if tasks.iter().any(|task| ground.tasks()[*task].host != host) {
        return Obstacle::TakesOthers;
    }
    if tasks.len() > moves_left {
        return Obstacle::TooManyMoves {
            needs: tasks.len(),
            left: moves_left,
        };
    }
    let others: BTreeSet<ContainerInstanceId> = kept.iter().copied().filter(|other| *other != host).collect();
    let (made, left) = move_off(ground, host, &others);
    let makes_uneven = left.is_some_and(|task| unevenly(ground, task, &others));
    take_back(ground, &made);
    let Some(task) = left else { return Obstacle::Later };
    let alone = hosts_for(ground, task, &others).first().copied();
    let (id, group) = (ground.id(task), ground.group(task).to_owned());
    match alone {
        _ if makes_uneven => Obstacle::Uneven { task: id, group },
        Some(other) => Obstacle::NotTogether {
            tasks: tasks.len(),
            task: id,
            group,
            host: ground.host(other).name.clone(),
        },
        None if unevenly(ground, task, &others) => Obstacle::Uneven { task: id, group },
        None => {
            let asked = Asked::InUse {
                empty: without_tasks(ground, task),
            };
            no_room(ground, task, &others, asked)
        }
    }
}

/// Whether a host would take the task if that did not make zones uneven.
fn unevenly(ground: &mut Ground<'_>, task: usize, hosts: &BTreeSet<ContainerInstanceId>) -> bool {
    hosts
        .iter()
        .any(|host| ground.takes(task, *host) && !ground.keeps_even(task, *host))
}

/// A host without tasks that would take the task.
fn without_tasks(ground: &mut Ground<'_>, task: usize) -> Option<String> {
    let mut hosts = ground.available();
    let found = hosts.find(|host| ground.is_empty(host.id) && ground.takes(task, host.id));
    found.map(|host| host.name.clone())
}
