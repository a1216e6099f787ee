//! Whether a history of operations on one object can be explained by some order in which each took effect at one moment between its
//! call and its answer.
//!
//! The search is that of Wing and Gong with Lowe's memory of what was tried: it goes through the orders that the times allow, and never twice
//! through one set of operations with one state. An operation without an answer may have taken effect at any time after its call, or
//! never. Pure.

use std::collections::HashSet;

/// What was done to an object, with what it answered. An object begins with the value 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The value was set. No two writes of one object set the same value, and none sets 0.
    Write(u64),
    /// The value was read.
    Read(u64),
    /// The value was raised by one, and the new value answered; none if the answer is unknown.
    Increment(Option<u64>),
}

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was called, on a clock that all clients share; in any unit.
    pub called: u64,
    /// When its answer was there; none if that never came.
    pub answered: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none: as many operations as could be put into an order, of how many, and one that none of the longest orders could contain.
    Violated {
        /// Length of the longest order.
        explained: usize,
        /// Number of operations with an answer.
        of: usize,
        /// One of the operations that did not fit.
        offender: Operation,
    },
    /// The search was given up.
    Undecided {
        /// Steps after which it was.
        steps: u64,
    },
}

/// Searches such an order, in at most so many steps.
#[must_use]
pub fn check(operations: &[Operation], max_steps: u64) -> Verdict {
    let mut operations = settled(operations);
    operations.sort_by_key(|operation| operation.called);
    Search::new(&operations).run(max_steps)
}

/// What an answer that is missing can matter for: reads without one are left out, and so are writes whose value nobody saw. A write that
/// somebody saw did take effect, before the first answer that shows it.
fn settled(operations: &[Operation]) -> Vec<Operation> {
    let first_seen = |value: u64| {
        let reads = operations.iter().filter(|read| read.action == Action::Read(value));
        reads.filter_map(|read| read.answered).min()
    };
    let settle = |operation: &Operation| match (operation.answered, operation.action) {
        (Some(_), _) | (None, Action::Increment(_)) => Some(*operation),
        (None, Action::Read(_)) => None,
        (None, Action::Write(value)) => first_seen(value).map(|seen| Operation {
            answered: Some(seen),
            ..*operation
        }),
    };
    operations.iter().filter_map(settle).collect()
}

/// A set of operations: all below a position, and some from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    below: usize,
    beyond: Vec<usize>,
}

impl Done {
    fn contains(&self, position: usize) -> bool {
        position < self.below || self.beyond.binary_search(&position).is_ok()
    }

    fn with(&self, position: usize) -> Self {
        let mut done = self.clone();
        if let Err(place) = done.beyond.binary_search(&position) {
            done.beyond.insert(place, position);
        }
        while done.beyond.first() == Some(&done.below) {
            done.beyond.remove(0);
            done.below += 1;
        }
        done
    }
}

/// A state that the search has reached, and what it has not tried from there.
struct Reached {
    done: Done,
    value: u64,
    answered: usize,
    untried: Vec<usize>,
}

struct Search<'a> {
    operations: &'a [Operation],
    tried: HashSet<(Done, u64)>,
    path: Vec<Reached>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        Self {
            operations,
            tried: HashSet::new(),
            path: Vec::new(),
        }
    }

    fn run(mut self, max_steps: u64) -> Verdict {
        let answered = |operation: &&Operation| operation.answered.is_some();
        let all = self.operations.iter().filter(answered).count();
        self.reach(Done::default(), 0, 0);
        let mut longest = (0, Done::default());
        for _ in 0..max_steps {
            let Some(last) = self.path.last_mut() else {
                return self.violated(longest, all);
            };
            if last.answered == all {
                return Verdict::Linearizable;
            }
            if last.answered >= longest.0 {
                longest = (last.answered, last.done.clone());
            }
            let Some(next) = last.untried.pop() else {
                self.path.pop();
                continue;
            };
            let operation = &self.operations[next];
            if let Some(value) = effect(last.value, operation.action) {
                let answered = last.answered + usize::from(operation.answered.is_some());
                let done = last.done.with(next);
                self.reach(done, value, answered);
            }
        }
        Verdict::Undecided { steps: max_steps }
    }

    fn reach(&mut self, done: Done, value: u64, answered: usize) {
        if self.tried.insert((done.clone(), value)) {
            let untried = self.candidates(&done);
            self.path.push(Reached {
                done,
                value,
                answered,
                untried,
            });
        }
    }

    /// What can come next: whatever was called before the first answer of those that are left. The last is tried first.
    fn candidates(&self, done: &Done) -> Vec<usize> {
        let left = || (done.below..self.operations.len()).filter(|position| !done.contains(*position));
        let first_answer = left()
            .filter_map(|position| self.operations[position].answered)
            .min()
            .unwrap_or(u64::MAX);
        let mut candidates: Vec<usize> = left()
            .take_while(|position| self.operations[*position].called <= first_answer)
            .collect();
        // Of increments without an answer the first to be called can stand for any other.
        let unknown = |position: &usize| self.operations[*position].answered.is_none();
        let first_unknown = candidates.iter().copied().find(|position| unknown(position));
        candidates.retain(|position| !unknown(position) || Some(*position) == first_unknown);
        candidates.sort_by_key(|position| {
            let answered = self.operations[*position].answered;
            std::cmp::Reverse((answered.unwrap_or(u64::MAX), *position))
        });
        candidates
    }

    fn violated(&self, (explained, done): (usize, Done), all: usize) -> Verdict {
        let left = (0..self.operations.len()).filter(|position| !done.contains(*position));
        let first = left
            .map(|position| &self.operations[position])
            .min_by_key(|operation| operation.answered.unwrap_or(u64::MAX));
        match first {
            Some(offender) => Verdict::Violated {
                explained,
                of: all,
                offender: *offender,
            },
            None => Verdict::Linearizable,
        }
    }
}

/// The value after an action, unless that cannot have answered what it did.
fn effect(value: u64, action: Action) -> Option<u64> {
    match action {
        Action::Write(new) => Some(new),
        Action::Read(seen) => (seen == value).then_some(value),
        Action::Increment(None) => Some(value + 1),
        Action::Increment(Some(new)) => (new == value + 1).then_some(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Increment, Read, Write};

    const STEPS: u64 = 1_000_000;

    fn answered(called: u64, answered: u64, action: Action) -> Operation {
        Operation {
            called,
            answered: Some(answered),
            action,
        }
    }

    fn lost(called: u64, action: Action) -> Operation {
        Operation {
            called,
            answered: None,
            action,
        }
    }

    fn is_linearizable(operations: &[Operation]) -> bool {
        match check(operations, STEPS) {
            Verdict::Linearizable => true,
            Verdict::Violated { .. } => false,
            Verdict::Undecided { .. } => panic!("undecided"),
        }
    }

    #[test]
    fn history_without_overlap_must_be_in_order() {
        assert!(is_linearizable(&[answered(1, 2, Write(7)), answered(3, 4, Read(7))]));
        assert!(!is_linearizable(&[answered(1, 2, Write(7)), answered(3, 4, Read(0))]));
        assert!(is_linearizable(&[]));
    }

    #[test]
    fn read_beside_a_write_may_show_either_value_but_never_goes_back() {
        let write = answered(1, 9, Write(7));
        assert!(is_linearizable(&[
            write,
            answered(2, 3, Read(0)),
            answered(4, 5, Read(7))
        ]));
        assert!(!is_linearizable(&[
            write,
            answered(2, 3, Read(7)),
            answered(4, 5, Read(0))
        ]));
    }

    #[test]
    fn write_without_an_answer_may_show_late_or_never_and_not_come_undone() {
        let write = lost(1, Write(7));
        assert!(is_linearizable(&[write, answered(5, 6, Read(0))]));
        assert!(is_linearizable(&[
            write,
            answered(5, 6, Read(0)),
            answered(7, 8, Read(7))
        ]));
        assert!(!is_linearizable(&[
            write,
            answered(5, 6, Read(7)),
            answered(7, 8, Read(0))
        ]));
        assert!(!is_linearizable(&[answered(2, 3, Read(7)), lost(4, Write(7))]));
    }

    #[test]
    fn increments_answer_each_number_once_and_in_order() {
        let second = answered(3, 4, Increment(Some(2)));
        assert!(is_linearizable(&[answered(1, 2, Increment(Some(1))), second]));
        assert!(!is_linearizable(&[
            answered(1, 2, Increment(Some(1))),
            answered(3, 4, Increment(Some(1)))
        ]));
        assert!(!is_linearizable(&[second]), "number 1 is nobody's");
        assert!(is_linearizable(&[
            lost(1, Increment(None)),
            lost(2, Increment(None)),
            second
        ]));
        assert!(
            !is_linearizable(&[lost(5, Increment(None)), second]),
            "it was called too late"
        );
    }

    #[test]
    fn lost_acknowledged_write_among_many_is_found() {
        let mut operations: Vec<Operation> = (1..=300_u64)
            .flat_map(|number| {
                [
                    answered(number * 10, number * 10 + 5, Write(number)),
                    answered(number * 10 + 6, number * 10 + 7, Read(number)),
                ]
            })
            .collect();
        assert!(is_linearizable(&operations));
        operations.push(answered(4_000, 4_001, Read(299)));
        let verdict = check(&operations, STEPS);
        let Verdict::Violated { offender, .. } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(offender.action, Read(299));
    }

    #[test]
    fn histories_of_a_real_object_are_linearizable_and_those_of_a_stale_one_are_not() {
        for seed in 0..200 {
            let operations = simulated(seed, false);
            assert!(is_linearizable(&operations), "seed {seed}");
        }
        let found = (0..200)
            .filter(|seed| !is_linearizable(&simulated(*seed, true)))
            .count();
        assert!(found > 150, "only {found} of 200 stale histories were found");
    }

    /// Eight clients on one register. A stale one answers some reads with the value before the last.
    fn simulated(seed: u64, stale: bool) -> Vec<Operation> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut draw = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let (mut value, mut before, mut next) = (0, 0, 1);
        let mut free_at = [0_u64; 8];
        let mut moments = Vec::new();
        for _ in 0..400 {
            let client = usize::try_from(draw(8)).unwrap();
            let called = free_at[client] + draw(20);
            let effect = called + draw(8);
            let answered = effect + draw(8);
            free_at[client] = answered + 1;
            moments.push((effect, called, answered, draw(10), draw(20)));
        }
        moments.sort_unstable();
        let mut operations = Vec::new();
        for (_, called, answered, kind, luck) in moments {
            let answered = (luck > 0).then_some(answered);
            let action = if kind < 5 {
                (before, value) = (value, next);
                next += 1;
                Write(value)
            } else {
                Read(if stale && luck == 1 { before } else { value })
            };
            operations.push(Operation {
                called,
                answered,
                action,
            });
        }
        operations
    }
}
