//! Which proposals have been applied, so that one that arrives twice is applied once. Pure.
//!
//! Replicated like the state: it changes only with entries and is part of snapshots, so that it is equal
//! on every member at equal index. It must not know what was proposed.

use std::collections::BTreeMap;

use berth_proto::v1;

use super::ids::ProposalId;

/// Origins remembered; the one without a proposal for longest is forgotten first. An origin is one run of
/// one member and repeats a proposal for seconds at most: in that time there are never so many runs.
const MAX_ORIGINS: usize = 1024;

/// The table of all origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedProposals {
    origins: BTreeMap<u64, Origin>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Origin {
    last_index: u64,
    lowest: u64,
    /// First and last number of each run of numbers that were applied, from `lowest` on. The gaps between
    /// them are proposals that the origin waits for, so that it bounds their number.
    applied: BTreeMap<u64, u64>,
}

impl AppliedProposals {
    /// Whether the proposal needs no applying: it was applied, or its origin has stopped waiting for it.
    pub(crate) fn contains(&self, id: ProposalId) -> bool {
        self.origins
            .get(&id.origin)
            .is_some_and(|origin| id.sequence < origin.lowest || origin.has_applied(id.sequence))
    }

    /// Whether the proposal was applied, as far as that is still known.
    pub(crate) fn has_applied(&self, origin: u64, sequence: u64) -> bool {
        self.origins
            .get(&origin)
            .is_some_and(|origin| origin.has_applied(sequence))
    }

    /// Remembers the proposal of the entry at an index. Whether it is new: only then it is to be applied.
    pub(crate) fn record(&mut self, id: ProposalId, index: u64) -> bool {
        if self.contains(id) {
            return false;
        }
        let origin = self.origins.entry(id.origin).or_default();
        origin.last_index = index;
        origin.insert(id.sequence);
        origin.forget_below(id.lowest);
        if self.origins.len() > MAX_ORIGINS {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        let oldest = self.origins.iter().min_by_key(|(id, origin)| (origin.last_index, **id));
        if let Some((id, _)) = oldest {
            let id = *id;
            self.origins.remove(&id);
        }
    }

    /// Number of origins: of the records that [`AppliedProposals::records`] gives.
    pub(crate) fn len(&self) -> u64 {
        self.origins.len() as u64
    }

    /// The table as a snapshot carries it.
    pub(crate) fn records(&self) -> impl Iterator<Item = v1::ProposalOrigin> + '_ {
        self.origins.iter().map(|(id, origin)| v1::ProposalOrigin {
            origin: *id,
            last_index: origin.last_index,
            lowest: origin.lowest,
            applied: origin
                .applied
                .iter()
                .map(|(first, last)| v1::SequenceRange {
                    first: *first,
                    last: *last,
                })
                .collect(),
        })
    }

    /// Takes in a record of a snapshot.
    pub(crate) fn restore(&mut self, record: v1::ProposalOrigin) {
        let origin = Origin {
            last_index: record.last_index,
            lowest: record.lowest,
            applied: record.applied.iter().map(|range| (range.first, range.last)).collect(),
        };
        self.origins.insert(record.origin, origin);
    }
}

impl Origin {
    fn has_applied(&self, sequence: u64) -> bool {
        self.applied
            .range(..=sequence)
            .next_back()
            .is_some_and(|(_, last)| sequence <= *last)
    }

    fn insert(&mut self, sequence: u64) {
        let mut last = sequence;
        if let Some(after) = sequence.checked_add(1).and_then(|next| self.applied.remove(&next)) {
            last = after;
        }
        match self.applied.range_mut(..sequence).next_back() {
            Some((_, before)) if *before + 1 == sequence => *before = last,
            _ => {
                self.applied.insert(sequence, last);
            }
        }
    }

    fn forget_below(&mut self, lowest: u64) {
        if lowest <= self.lowest {
            return;
        }
        self.lowest = lowest;
        while let Some((first, last)) = self.applied.pop_first() {
            if last < lowest {
                continue;
            }
            self.applied.insert(first.max(lowest), last);
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(origin: u64, sequence: u64, lowest: u64) -> ProposalId {
        ProposalId {
            origin,
            sequence,
            lowest,
        }
    }

    #[test]
    fn proposal_that_arrives_again_is_recognised_in_any_order() {
        let mut applied = AppliedProposals::default();
        for (index, sequence) in [5, 1, 3, 2, 4, 9].into_iter().enumerate() {
            assert!(applied.record(id(7, sequence, 1), index as u64), "{sequence}");
        }
        for sequence in [1, 2, 3, 4, 5, 9] {
            assert!(!applied.record(id(7, sequence, 1), 50), "{sequence}");
        }
        assert!(applied.record(id(8, 1, 1), 51), "another origin counts for itself");
        assert!(applied.record(id(7, 6, 1), 52));
        assert_eq!(applied.records().next().unwrap().applied.len(), 2, "1 to 6, and 9");
    }

    #[test]
    fn proposal_that_its_origin_gave_up_is_not_applied_later() {
        let mut applied = AppliedProposals::default();
        assert!(applied.record(id(7, 5, 4), 1));
        assert!(!applied.record(id(7, 3, 1), 2));
        assert!(applied.record(id(7, 4, 4), 3));
        assert!(!applied.has_applied(7, 3), "it is known not to have been applied");
    }

    #[test]
    fn table_of_an_origin_that_waits_for_little_stays_small() {
        let mut applied = AppliedProposals::default();
        for sequence in 0..10_000 {
            applied.record(id(7, sequence ^ 1, (sequence ^ 1).saturating_sub(8)), sequence);
        }
        assert!(applied.records().next().unwrap().applied.len() < 10);
    }

    #[test]
    fn origins_over_the_bound_push_out_the_one_silent_for_longest() {
        let mut applied = AppliedProposals::default();
        for origin in 0..=MAX_ORIGINS as u64 {
            applied.record(id(1_000_000 - origin, 1, 1), 10 + origin);
        }
        assert_eq!(applied.len(), MAX_ORIGINS as u64);
        assert!(!applied.has_applied(1_000_000, 1));
        assert!(applied.has_applied(999_999, 1));
    }

    #[test]
    fn table_written_and_restored_is_the_same() {
        let mut applied = AppliedProposals::default();
        for (sequence, lowest) in [(4, 1), (9, 3), (5, 3), (100, 5)] {
            applied.record(id(7, sequence, lowest), sequence);
            applied.record(id(u64::MAX, sequence, lowest), sequence);
        }
        let mut restored = AppliedProposals::default();
        applied.records().for_each(|record| restored.restore(record));
        assert_eq!(restored, applied);
    }
}
