//! Services even over availability zones: one task at a time, from the zone with the most to the one with the fewest, as long as they differ by
//! two or more. Each such move is needed: it takes a task out of a zone that has too many and puts it where one is missing. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::ground::{Ground, spreads_over_zones};
use super::measure::skew;
use super::outcome::{Asked, Move, Obstacle, Stuck, Why};
use crate::model::ContainerInstanceId;
use crate::placement::Refusal;

pub(super) fn plan(ground: &mut Ground<'_>, max_moves: usize) -> (Vec<Move>, Vec<Stuck>) {
    let mut moves = vec![];
    let mut blocked: BTreeMap<String, Obstacle> = BTreeMap::new();
    let mut has_moved = false;
    loop {
        let Some(group) = most_uneven(ground, &blocked) else {
            if !has_moved {
                break;
            }
            // What one service left may be room for another.
            has_moved = false;
            blocked.clear();
            continue;
        };
        if moves.len() == max_moves {
            let obstacle = none_moves(ground, &group).unwrap_or_else(|| Obstacle::TooManyMoves {
                needs: moves_to_even(&ground.spreads()[group.as_str()]),
                left: 0,
            });
            blocked.insert(group, obstacle);
            continue;
        }
        match step(ground, &group) {
            Ok(found) => {
                moves.push(found);
                has_moved = true;
            }
            Err(obstacle) => drop(blocked.insert(group, obstacle)),
        }
    }
    let stuck = blocked.into_iter().map(|(name, obstacle)| Stuck {
        host: None,
        name,
        obstacle,
    });
    let stuck = stuck.chain(uneven_by_choice(ground)).collect();
    (moves, stuck)
}

fn most_uneven(ground: &Ground<'_>, blocked: &BTreeMap<String, Obstacle>) -> Option<String> {
    let uneven = ground.spreads().iter().map(|(group, zones)| (skew(zones), *group));
    let open = uneven.filter(|(skew, group)| *skew > 1 && !blocked.contains_key(*group));
    let most = open.max_by_key(|(skew, group)| (*skew, Reverse(*group)));
    most.map(|(_, group)| group.to_owned())
}

/// How many tasks have to go to another zone for all to be even.
fn moves_to_even(zones: &BTreeMap<String, usize>) -> usize {
    let total: usize = zones.values().sum();
    let (each, more) = (total / zones.len().max(1), total % zones.len().max(1));
    let mut counts: Vec<usize> = zones.values().copied().collect();
    counts.sort_unstable_by_key(|tasks| Reverse(*tasks));
    let wanted = |place: usize| each + usize::from(place < more);
    let surplus = counts
        .iter()
        .enumerate()
        .map(|(place, tasks)| tasks.saturating_sub(wanted(place)));
    surplus.sum()
}

/// Moves one task of the group from a zone with more to one with fewer.
fn step(ground: &mut Ground<'_>, group: &str) -> Result<Move, Obstacle> {
    let zones = ground.spreads()[group].clone();
    let mut fullest: Vec<(&String, usize)> = zones.iter().map(|(zone, tasks)| (zone, *tasks)).collect();
    fullest.sort_by_key(|(zone, tasks)| (Reverse(*tasks), *zone));
    let mut obstacle = None;
    for (from, from_tasks) in &fullest {
        for (to, to_tasks) in fullest.iter().rev().filter(|(_, tasks)| tasks + 2 <= *from_tasks) {
            let why = Why::Evens {
                from: (*from).clone(),
                from_tasks: *from_tasks,
                to: (*to).clone(),
                to_tasks: *to_tasks,
            };
            match between(ground, group, from, to, why) {
                Ok(found) => return Ok(found),
                Err(found) => obstacle = obstacle.or(Some(found)),
            }
        }
    }
    Err(obstacle.unwrap_or(Obstacle::OtherStrategy))
}

fn between(ground: &mut Ground<'_>, group: &str, from: &str, to: &str, why: Why) -> Result<Move, Obstacle> {
    let there: BTreeSet<ContainerInstanceId> = ground
        .available()
        .map(|host| host.id)
        .filter(|host| ground.zone(*host) == Some(to))
        .collect();
    let mut first_refused = None;
    let mut asked = vec![];
    for task in candidates(ground, group, from) {
        let request = &ground.tasks()[task].replacement;
        if asked.contains(&request) {
            continue;
        }
        asked.push(request);
        if let Some(host) = ground.best_of(task, &there) {
            let source = ground.at(task);
            if ground.shift(task, host).is_some() {
                return Ok(Move {
                    task: ground.id(task),
                    group: group.to_owned(),
                    from: source,
                    to: host,
                    why,
                });
            }
        }
        first_refused = first_refused.or(Some(task));
    }
    Err(match first_refused {
        Some(task) => no_room(ground, task, &there, Asked::InZone(to.to_owned())),
        None => all_stay(ground, group, from),
    })
}

/// Tasks of the group in a zone that may be moved: those of the host with the most of them first, then of the host with the most of all.
fn candidates(ground: &Ground<'_>, group: &str, zone: &str) -> Vec<usize> {
    let of_group = |task: &usize| ground.group(*task) == group && ground.tasks()[*task].stays.is_none();
    let hosts = ground.available().filter(|host| ground.zone(host.id) == Some(zone));
    let mut hosts: Vec<_> = hosts
        .map(|host| {
            let tasks: Vec<usize> = ground.on(host.id).filter(of_group).collect();
            let all = ground.on(host.id).count();
            (Reverse(tasks.len()), Reverse(all), host.id, tasks)
        })
        .collect();
    hosts.sort();
    let original = |task: &usize| ground.at(*task) == ground.tasks()[*task].host;
    hosts
        .into_iter()
        .flat_map(|(_, _, _, tasks)| tasks)
        .filter(original)
        .collect()
}

fn all_stay(ground: &Ground<'_>, group: &str, zone: &str) -> Obstacle {
    let mut stays = ground.tasks().iter().enumerate().filter(|(number, task)| {
        task.held.group == group && ground.zone(ground.at(*number)) == Some(zone) && task.stays.is_some()
    });
    match stays.next().and_then(|(_, task)| Some((task.id(), task.stays?))) {
        Some((task, why)) => Obstacle::Stays {
            task,
            group: group.to_owned(),
            why,
        },
        None => Obstacle::TooManyMoves { needs: 1, left: 0 },
    }
}

/// Why no task of the group may be moved, however many moves are left; `None` if one may be.
fn none_moves(ground: &Ground<'_>, group: &str) -> Option<Obstacle> {
    let mut tasks = ground.tasks().iter().filter(|task| task.held.group == group);
    let first = tasks.next()?;
    let why = first.stays?;
    let all_stay = tasks.all(|task| task.stays.is_some());
    all_stay.then(|| Obstacle::Stays {
        task: first.id(),
        group: group.to_owned(),
        why,
    })
}

/// What the host says that is closest to taking the task.
pub(super) fn no_room(
    ground: &mut Ground<'_>,
    task: usize,
    hosts: &BTreeSet<ContainerInstanceId>,
    asked: Asked,
) -> Obstacle {
    let answers: Vec<(usize, u64, ContainerInstanceId, Vec<Refusal>)> = hosts
        .iter()
        .map(|host| {
            let refusals = ground.refusals(task, *host);
            let short_by = refusals.iter().map(|refusal| match refusal {
                Refusal::Cpu(shortage) | Refusal::Memory(shortage) => u64::from(shortage.short_by()),
                _ => 0,
            });
            (refusals.len(), short_by.sum(), *host, refusals)
        })
        .collect();
    let closest = answers
        .into_iter()
        .min_by_key(|(number, short_by, host, _)| (*number, *short_by, *host));
    Obstacle::NoRoom {
        task: ground.id(task),
        group: ground.group(task).to_owned(),
        asked,
        closest: closest.map(|(_, _, host, refusals)| (ground.host(host).name.clone(), refusals)),
    }
}

/// Groups that are uneven since their strategy says nothing of zones, or not first.
fn uneven_by_choice(ground: &Ground<'_>) -> Vec<Stuck> {
    let zones: BTreeSet<&str> = ground.available().filter_map(|host| ground.zone(host.id)).collect();
    let mut groups: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for (number, task) in ground.tasks().iter().enumerate() {
        if task.stays.is_none()
            && !spreads_over_zones(&task.replacement)
            && let Some(zone) = ground.zone(ground.at(number))
        {
            let none = || zones.iter().map(|zone| ((*zone).to_owned(), 0)).collect();
            let counts = groups.entry(ground.group(number)).or_insert_with(none);
            *counts.entry(zone.to_owned()).or_default() += 1;
        }
    }
    let uneven = groups.into_iter().filter(|(_, zones)| skew(zones) > 1);
    uneven
        .map(|(group, _)| Stuck {
            host: None,
            name: group.to_owned(),
            obstacle: Obstacle::OtherStrategy,
        })
        .collect()
}
