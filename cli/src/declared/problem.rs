//! What is wrong in files, and where it stands. Pure.

use std::fmt;

/// Problems that are told at once: a person mends these and tries again.
const MAX_TOLD: usize = 20;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, as it was named.
    pub(crate) file: String,
    /// The line, counted from 1.
    pub(crate) line: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) place: Place,
    /// Of what, such as `service web`.
    pub(crate) subject: String,
    /// Of which member; empty if of none.
    pub(crate) member: String,
    /// What.
    pub(crate) reason: String,
}

/// All that was found wrong before anything was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        for part in [&self.subject, &self.member, &self.reason] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was changed, because of what is wrong in the files:")?;
        for problem in self.0.iter().take(MAX_TOLD) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(MAX_TOLD) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
