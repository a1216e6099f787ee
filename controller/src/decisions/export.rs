//! [`write()`]: goes through what is held of the log, and writes what happened in a span of it. Shell, over any writer; blocking.

use std::io::{self, Write};

use berth_core::decisions::{Line, Recorder, time_of};
use berth_core::model::{ClusterKey, LogIndex, Timestamp};
use berth_core::state::{ClusterState, apply};
use berth_raft::{History, PastCommand, RaftFault};
use berth_storage::StorageError;

use super::span::{Edge, Span};
use crate::replica::ReplicatedState;

/// Up to this index nothing was forgotten: a group begins there.
const BEGINNING: u64 = 1;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The first entry that may be in it.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Decisions in it.
    pub placed: u64,
}

/// Why a span cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum DecisionsError {
    /// Its beginning is forgotten.
    #[error(
        "entry {asked} is no longer in this controller's log, only what came of it: the first entry that a span can begin with is {first}"
    )]
    NotHeld {
        /// What was asked for.
        asked: u64,
        /// What there is.
        first: u64,
    },
    /// Its beginning may be forgotten.
    #[error(
        "what happened at that time is no longer in this controller's log, only what came of it: the first entry that a span can begin with is \
         {first}, written {}",
        at(*.time)
    )]
    TimeNotHeld {
        /// The first entry that there is.
        first: u64,
        /// The first time that an entry names.
        time: Timestamp,
    },
    /// It has not begun.
    #[error("there is no entry {asked} in the log yet: the last is {last}")]
    NotYet {
        /// What was asked for.
        asked: u64,
        /// What there is.
        last: u64,
    },
    /// It has not begun, by the clock.
    #[error("nothing was decided at that time or later: the last entry of the log is {last}")]
    NothingSince {
        /// What there is.
        last: u64,
    },
    /// It is over before anything is known, by the clock.
    #[error("nothing was decided until then: the log begins later, with entry {first}")]
    NothingUntil {
        /// The first entry that there is.
        first: u64,
    },
    /// It ends before it begins.
    #[error("a span from entry {from} to entry {to} ends before it begins")]
    Backwards {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
    },
    /// Likewise.
    #[error("the span ends before it begins")]
    BackwardsInTime,
    /// No cluster is called so, or several are.
    #[error("{0}")]
    Cluster(String),
    /// There is no store.
    #[error("{0} has no state of a controller: name the data directory that one was started with")]
    NoStore(String),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// What is stored cannot be read.
    #[error("what is stored of the log cannot be read")]
    Log(#[from] RaftFault),
    /// The recording could not be written.
    #[error("the recording cannot be written")]
    Write(#[from] io::Error),
}

impl DecisionsError {
    /// Whether another question would have been answered.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Log(_) | Self::Write(_) | Self::Store(_))
    }

    /// The error with all its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        crate::errors::chain(self)
    }
}

/// Writes what happened to a cluster in a span of the log, as `docs/recordings.md` says.
///
/// # Errors
/// [`DecisionsError`]; what was written by then is of no use.
pub fn write<W: Write>(
    history: History<ReplicatedState>,
    span: &Span,
    cluster: &ClusterKey,
    mut out: W,
) -> Result<Exported, DecisionsError> {
    let (begins_at, ends_at) = (history.index(), history.last());
    span.check(begins_at + 1, ends_at)?;
    let (machine, commands) = history.into_parts();
    let mut state = machine.into_state();
    let (mut recorder, mut time, mut last, mut first_time) = (None, None, begins_at, None);
    let mut exported = Exported {
        first: begins_at + 1,
        last: begins_at,
        placed: 0,
    };
    let mut line = |line: &Line| {
        exported.placed += u64::from(matches!(line, Line::Placed(_)));
        serde_json::to_writer(&mut out, line).map_err(io::Error::from)?;
        out.write_all(b"\n")
    };
    for past in commands {
        let PastCommand { index, command, .. } = past?;
        time = time.max(time_of(&command));
        first_time = first_time.or(time);
        check_time(span, begins_at, first_time)?;
        if span.is_over(index, time) {
            break;
        }
        if recorder.is_none() && span.has_begun(index, time) {
            exported.first = index;
            recorder = Some(begin(&state, cluster, index, &mut line)?);
        }
        let events = apply(&mut state, LogIndex(index), &command).unwrap_or_default();
        if let Some(recorder) = &mut recorder {
            recorder.note(&state, &command, &events, &mut line)?;
        }
        last = index;
    }
    if is_before(span, first_time) {
        return Err(DecisionsError::NothingUntil { first: begins_at + 1 });
    }
    let recorder = match (recorder, span.from) {
        (Some(recorder), _) => recorder,
        (None, Some(Edge::Time(from))) if time.is_none_or(|time| time < from) => {
            return Err(DecisionsError::NothingSince { last: ends_at });
        }
        // Nothing but entries without commands is left of it.
        (None, _) => {
            exported.first = last + 1;
            begin(&state, cluster, last + 1, &mut line)?
        }
    };
    recorder.end(LogIndex(last), &mut line)?;
    exported.last = last;
    out.flush()?;
    Ok(exported)
}

fn begin(
    state: &ClusterState,
    cluster: &ClusterKey,
    index: u64,
    line: &mut dyn FnMut(&Line) -> io::Result<()>,
) -> io::Result<Recorder> {
    Recorder::begin(state, cluster, LogIndex(index), env!("CARGO_PKG_VERSION"), line)
}

/// Refuses a span that begins at a moment before the first that is known, unless nothing came before that.
fn check_time(span: &Span, begins_at: u64, first_time: Option<Timestamp>) -> Result<(), DecisionsError> {
    match (span.from, first_time) {
        (Some(Edge::Time(from)), Some(time)) if from < time && begins_at > BEGINNING => {
            let first = begins_at + 1;
            Err(DecisionsError::TimeNotHeld { first, time })
        }
        _ => Ok(()),
    }
}

/// Whether a span ends before the first moment that is known.
fn is_before(span: &Span, first_time: Option<Timestamp>) -> bool {
    match (span.to, first_time) {
        (Some(Edge::Time(to)), Some(first)) => to < first,
        _ => false,
    }
}

fn at(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0)
        .unwrap_or_default()
        .to_string()
}
