//! Printing: lines and complaints.
//!
//! Owns how text reaches the terminal, so that a closed pipe ends a command quietly. Shell.

use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Writes a line to standard output.
///
/// # Errors
/// If standard output cannot be written, as when its reader has gone.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard error; there is nobody to tell if that fails.
pub(crate) fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// How many columns the terminal has that standard output goes to; `None` if it goes elsewhere, where no line is to be cut.
pub(crate) fn width() -> Option<usize> {
    let (width, _height) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0))
}

/// True if the error is that the reader of our output has gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
