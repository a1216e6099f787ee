//! Announcements in their order, the newest that fit. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_core::announcements::{Announcement, Position};
use berth_core::model::Timestamp;

use super::Read;

/// Announcements that are kept: a rollout of 2,000 tasks makes some 20,000.
const MAX_EVENTS: usize = 20_000;

/// Bytes of all of them, should nothing else keep what they say.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    events: VecDeque<Arc<Announcement>>,
    bytes: usize,
    /// All that has its place here or after is kept.
    begins: Position,
}

impl KeptEvents {
    /// Adds those of one command.
    pub(super) fn add(&mut self, announced: Vec<Announcement>) {
        for announcement in announced {
            self.bytes += announcement.bytes();
            self.events.push_back(Arc::new(announcement));
        }
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.begins = oldest.position.next();
        }
    }

    /// Forgets all, and begins at a place.
    pub(super) fn begin_at(&mut self, place: Position) {
        self.events.clear();
        self.bytes = 0;
        self.begins = place;
    }

    /// The next from `from` on; `end` is the place after all that was announced.
    pub(super) fn read(
        &self,
        from: Position,
        limit: usize,
        end: Position,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Read<Arc<Announcement>> {
        let first = self.events.partition_point(|kept| kept.position < from);
        let kept = self.events.range(first..).map(|kept| (kept.position, kept));
        Read::of(self.begins, from, limit, end, kept, |_, kept| {
            wanted(kept).then(|| Arc::clone(kept))
        })
    }

    /// The place of the first at or after `since`; and since when they are kept, if some of before are not.
    pub(super) fn since(&self, since: Timestamp, end: Position) -> (Position, Option<Timestamp>) {
        // Times of several hosts in one command may be out of order by moments; the first that is late enough begins.
        let first = self.events.iter().find(|kept| kept.at >= since);
        let place = first.map_or(end, |kept| kept.position);
        let is_whole = self.begins == Position::default();
        let oldest = self.events.front().map(|kept| kept.at);
        match oldest {
            _ if is_whole => (place, None),
            Some(oldest) if oldest <= since => (place, None),
            oldest => (place, Some(oldest.unwrap_or(Timestamp(i64::MAX)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::announcements::{ServiceAction, Subject};
    use berth_core::model::{LogIndex, Scope};

    use super::super::Missed;
    use super::*;

    fn at(index: u64, number: u32) -> Position {
        Position {
            index: LogIndex(index),
            number,
        }
    }

    fn announcement(index: u64, number: u32) -> Announcement {
        let cluster = Scope::new("123456789012", "us-east-1").cluster("default");
        Announcement {
            position: at(index, number),
            at: Timestamp(i64::try_from(index).expect("small") * 1_000),
            subject: Subject::Service {
                service: cluster.service("web"),
                action: ServiceAction::SteadyState,
            },
        }
    }

    fn places(read: &Read<Arc<Announcement>>) -> Vec<Position> {
        read.found.iter().map(|kept| kept.position).collect()
    }

    #[test]
    fn reader_goes_on_within_a_command_and_gets_each_announcement_once() {
        let mut kept = KeptEvents::default();
        kept.add(vec![announcement(3, 0), announcement(3, 1), announcement(3, 2)]);
        kept.add(vec![announcement(5, 0)]);
        let end = at(8, 0);
        let first = kept.read(at(0, 0), 2, end, |_| true);
        assert_eq!(places(&first), [at(3, 0), at(3, 1)]);
        let second = kept.read(first.next, 2, end, |_| true);
        assert_eq!(places(&second), [at(3, 2), at(5, 0)]);
        let third = kept.read(second.next, 2, end, |_| true);
        assert_eq!((places(&third), third.missed, third.next), (vec![], None, end));
        let none = kept.read(at(0, 0), 2, end, |_| false);
        assert_eq!((places(&none), none.next), (vec![], end));
    }

    #[test]
    fn announcement_at_the_very_end_is_not_passed_over() {
        let mut kept = KeptEvents::default();
        kept.add(vec![announcement(7, 0)]);
        // The end may have been looked up before the command was noted.
        let read = kept.read(at(7, 0), 10, at(7, 0), |_| true);
        assert_eq!((places(&read), read.next), (vec![at(7, 0)], at(7, 1)));
    }

    #[test]
    fn reader_that_comes_too_late_is_told_what_it_missed_and_gets_the_rest() {
        let mut kept = KeptEvents::default();
        let all = u64::try_from(MAX_EVENTS).expect("small") + 10;
        (1..=all).for_each(|index| kept.add(vec![announcement(index, 0)]));
        assert_eq!(kept.events.len(), MAX_EVENTS);
        let read = kept.read(at(5, 0), 1, at(all + 1, 0), |_| true);
        let missed = Missed {
            from: at(5, 0),
            to: at(10, 1),
        };
        assert_eq!((read.missed, places(&read)), (Some(missed), vec![at(11, 0)]));
        let in_time = kept.read(at(11, 0), 1, at(all + 1, 0), |_| true);
        assert_eq!(in_time.missed, None);
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let mut kept = KeptEvents::default();
        let each = announcement(1, 0).bytes();
        kept.bytes = MAX_BYTES - each;
        kept.add(vec![announcement(1, 0), announcement(2, 0)]);
        assert_eq!(kept.events.len(), 1);
        assert_eq!(kept.begins, at(1, 1));
    }

    #[test]
    fn time_before_all_that_is_kept_is_told_where_some_was_forgotten() {
        let mut kept = KeptEvents::default();
        kept.add(vec![announcement(3, 0), announcement(5, 0)]);
        let end = at(8, 0);
        assert_eq!(kept.since(Timestamp(0), end), (at(3, 0), None));
        assert_eq!(kept.since(Timestamp(4_000), end), (at(5, 0), None));
        assert_eq!(kept.since(Timestamp(9_000), end), (end, None));
        kept.begin_at(at(6, 0));
        kept.add(vec![announcement(7, 0)]);
        assert_eq!(kept.since(Timestamp(4_000), end), (at(7, 0), Some(Timestamp(7_000))));
        assert_eq!(kept.since(Timestamp(7_000), end), (at(7, 0), None));
    }
}
