//! Recordings of placement decisions: what hosts there were, what came and went, and where each task was put and why, taken from the log
//! and read again. The format is described in `docs/recordings.md`. It knows nothing of files and of how a log is read. Pure.
//!
//! - `line.rs`: the lines of a recording; `words.rs`: strategies, constraints and ports as words in them.
//! - `recorder.rs`: from a state and the commands after it, the lines.
//! - `recording.rs`: from the lines what they say, or the line that is wrong and why.
//! - `scene.rs`: the hosts of a recording at a moment, as placement sees them.

mod line;
mod recorder;
mod recording;
mod scene;
#[cfg(test)]
mod tests;
mod words;

pub use line::{
    ChangedLine, DecisionLine, EndLine, EntryLine, GoneLine, Header, HostLine, HostNumberLine, Line, PlacedLine,
    RequestLine, RunnerUpLine, TaskLine, UnplacedLine, VERSION,
};
pub use recorder::{Recorder, time_of};
pub use recording::{Entry, Happening, PlacedTask, Reader, Recording, RecordingError};
pub use scene::{Held, Scene};
