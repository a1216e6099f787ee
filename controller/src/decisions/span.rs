//! Spans of the log, by index or by time. Pure.

use berth_core::model::Timestamp;

use super::export::DecisionsError;

/// From where to where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its beginning; without one, the first entry that is held.
    pub from: Option<Edge>,
    /// Its end, which belongs to it; without one, the last entry.
    pub to: Option<Edge>,
}

/// Where a span begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// At an entry.
    Index(u64),
    /// At a moment: what was decided then or later, or then or before.
    Time(Timestamp),
}

impl Span {
    /// Refuses a span that makes no sense, or does not begin in a log of which entries `first` to `last` are held.
    ///
    /// # Errors
    /// [`DecisionsError`].
    pub(super) fn check(&self, first: u64, last: u64) -> Result<(), DecisionsError> {
        if let (Some(Edge::Index(from)), Some(Edge::Index(to))) = (self.from, self.to)
            && to < from
        {
            return Err(DecisionsError::Backwards { from, to });
        }
        if let (Some(Edge::Time(from)), Some(Edge::Time(to))) = (self.from, self.to)
            && to < from
        {
            return Err(DecisionsError::BackwardsInTime);
        }
        match self.from {
            Some(Edge::Index(asked)) if asked < first => Err(DecisionsError::NotHeld { asked, first }),
            Some(Edge::Index(asked)) if asked > last => Err(DecisionsError::NotYet { asked, last }),
            _ => match self.to {
                Some(Edge::Index(to)) if to < first => Err(DecisionsError::NotHeld { asked: to, first }),
                _ => Ok(()),
            },
        }
    }

    /// Whether an entry is at its beginning or behind it. `time` is the newest that is known up to the entry.
    pub(super) fn has_begun(&self, index: u64, time: Option<Timestamp>) -> bool {
        match self.from {
            None => true,
            Some(Edge::Index(from)) => index >= from,
            Some(Edge::Time(from)) => time.is_some_and(|time| time >= from),
        }
    }

    /// Whether an entry is behind its end.
    pub(super) fn is_over(&self, index: u64, time: Option<Timestamp>) -> bool {
        match self.to {
            None => false,
            Some(Edge::Index(to)) => index > to,
            Some(Edge::Time(to)) => time.is_some_and(|time| time > to),
        }
    }
}
