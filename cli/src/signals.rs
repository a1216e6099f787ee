//! Being told to stop: Ctrl-C and SIGTERM.
//!
//! Owns the handlers. Shell.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals that follow another this closely are the same request: `timeout` sends each to the process and to its group. A person who
/// presses Ctrl-C a second time takes longer.
const ECHO: Duration = Duration::from_millis(100);

/// The signals that ask a process to stop.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    last: Option<Instant>,
}

impl StopSignals {
    /// From now on these signals do not end the process by themselves.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub(crate) fn install() -> Result<Self> {
        let install = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
            last: None,
        })
    }

    /// Waits for the next of them. Safe to cancel.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            let now = Instant::now();
            let is_echo = self.last.is_some_and(|last| now.duration_since(last) < ECHO);
            if !is_echo {
                self.last = Some(now);
                return;
            }
        }
    }
}
