//! The log writer alone, as `berth container-log` runs it: for tests that have no `berth` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_agent::logs::writer::run_if_asked().map_or(ExitCode::FAILURE, ExitCode::from)
}
