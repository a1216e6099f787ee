//! All ways to empty hosts, where few tasks are concerned: which hosts, and where the tasks of each go. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::defragment::{Choice, Source, hosts_for, tasks_of};
use super::ground::Ground;
use crate::model::ContainerInstanceId;

/// More hosts, or tasks on them, are too many to try all ways.
const MAX_SOURCES: usize = 12;
const MAX_TASKS: usize = 48;

/// Tasks that are put somewhere before the search ends with the best that it has found.
const MAX_STEPS: usize = 50_000;

/// The best choice, or `known` if none is better.
pub(super) fn best(
    ground: &mut Ground<'_>,
    sources: &[Source],
    targets: &BTreeSet<ContainerInstanceId>,
    max_moves: usize,
    known: Choice,
) -> Choice {
    let tasks: usize = sources.iter().map(|source| source.tasks).sum();
    if sources.len() > MAX_SOURCES || tasks > MAX_TASKS {
        return known;
    }
    let mut search = Search {
        ground,
        sources,
        targets: targets.clone(),
        took: BTreeMap::new(),
        max_moves,
        steps_left: MAX_STEPS,
        chosen: Choice::default(),
        best: known,
    };
    search.from(0);
    search.best
}

struct Search<'g, 'p, 's> {
    ground: &'g mut Ground<'p>,
    sources: &'s [Source],
    /// Hosts that may take tasks: those in use that are not emptied.
    targets: BTreeSet<ContainerInstanceId>,
    /// How many tasks each host took.
    took: BTreeMap<ContainerInstanceId, usize>,
    max_moves: usize,
    steps_left: usize,
    chosen: Choice,
    best: Choice,
}

impl Search<'_, '_, '_> {
    /// Decides on the sources from this place on.
    fn from(&mut self, place: usize) {
        if self.chosen.is_better_than(&self.best) {
            self.best = self.chosen.clone();
        }
        if !self.may_get_better(place) {
            return;
        }
        let Some(source) = self.sources.get(place) else { return };
        let took = self.took.get(&source.host).is_some_and(|tasks| *tasks > 0);
        if !took && source.tasks <= self.max_moves - self.chosen.moves() {
            let tasks = tasks_of(self.ground, source.host);
            self.targets.remove(&source.host);
            self.chosen.emptied.push((source.host, vec![]));
            self.put(place, &tasks);
            self.chosen.emptied.pop();
            self.targets.insert(source.host);
        }
        self.from(place + 1);
    }

    /// Finds a host for each of the tasks, and goes on with the next source.
    fn put(&mut self, place: usize, tasks: &[usize]) {
        let Some((task, rest)) = tasks.split_first() else {
            self.from(place + 1);
            return;
        };
        for to in hosts_for(self.ground, *task, &self.targets) {
            if self.steps_left == 0 {
                return;
            }
            self.steps_left -= 1;
            let Some(undo) = self.ground.shift(*task, to) else {
                continue;
            };
            *self.took.entry(to).or_default() += 1;
            self.note(|moves| moves.push((*task, to)));
            self.put(place, rest);
            self.note(|moves| moves.truncate(moves.len().saturating_sub(1)));
            *self.took.entry(to).or_default() -= 1;
            self.ground.undo(&undo);
        }
    }

    fn note(&mut self, change: impl FnOnce(&mut Vec<(usize, ContainerInstanceId)>)) {
        if let Some((_, moves)) = self.chosen.emptied.last_mut() {
            change(moves);
        }
    }

    /// Whether the sources from this place on can lead to more than the best so far: sources with fewer tasks come first.
    fn may_get_better(&self, place: usize) -> bool {
        let (chosen, best) = (self.chosen.emptied.len(), self.best.emptied.len());
        let left = &self.sources[place.min(self.sources.len())..];
        if self.steps_left == 0 || chosen + left.len() < best {
            return false;
        }
        if chosen + left.len() > best {
            return true;
        }
        let cheapest: usize = left
            .iter()
            .take(best.saturating_sub(chosen))
            .map(|source| source.tasks)
            .sum();
        self.chosen.moves() + cheapest < self.best.moves()
    }
}
