//! Threads with a runtime of their own, apart from that of clients. Shell.
//!
//! One speaks with other members and with agents: what members say to each other is not to wait behind what clients ask, and a message that comes in
//! wakes one thread where a runtime of several wakes two or three, which is most of what a message costs. The leader's loop has another: what it
//! decides in one go may take some ten milliseconds, for which no client is to wait.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct OwnThread {
    runtime: Handle,
    _ends: DropGuard,
}

impl OwnThread {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let ends = end.clone().drop_guard();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(end.cancelled_owned()))?;
        Ok(Self {
            runtime: handle,
            _ends: ends,
        })
    }

    /// Where to spawn what is to run on it.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(work)
    }
}
