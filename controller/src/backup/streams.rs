//! Backups handed out in parts, each of one index, while the controller serves. Shell.
//!
//! The state is shared with the replica, not copied; a thread turns it into parts as they are asked for, so that an open backup costs a few
//! of them in memory. One that nobody asks for is dropped after a while.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::format;
use crate::api::ports::{BackupBegun, BackupFailure, BackupPart, Backups, PortFuture, Unavailable};
use crate::clock::Clock;
use crate::replica::StateGroup;

/// Bytes in a part.
const PART_BYTES: usize = 1024 * 1024;

/// Parts that wait to be asked for.
const PARTS_AHEAD: usize = 2;

/// Backups that may be open at once: each costs some parts in memory and keeps an old state alive.
const MAX_OPEN: usize = 4;

/// How long an open backup waits for the next question.
const IDLE: Duration = Duration::from_secs(60);

/// What the thread that writes a backup has to say.
enum Piece {
    Bytes(Vec<u8>),
    Failed(String),
}

struct Open {
    pieces: mpsc::Receiver<Piece>,
    /// Number of the next part, and the part before it, in case its answer was lost.
    next: u32,
    latest: Option<BackupPart>,
}

struct Entry {
    open: Arc<tokio::sync::Mutex<Open>>,
    asked: Instant,
}

/// The open backups of one controller.
pub struct BackupStreams {
    group: StateGroup,
    clock: Arc<dyn Clock>,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    idle: Duration,
}

impl std::fmt::Debug for BackupStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BackupStreams").finish_non_exhaustive()
    }
}

impl BackupStreams {
    /// Backups of the group's state.
    #[must_use]
    pub fn new(group: StateGroup, clock: Arc<dyn Clock>) -> Self {
        Self::dropped_after(IDLE, group, clock)
    }

    /// As [`BackupStreams::new`], with another time for which an open backup waits for the next question.
    #[must_use]
    pub fn dropped_after(idle: Duration, group: StateGroup, clock: Arc<dyn Clock>) -> Self {
        Self {
            group,
            clock,
            entries: Arc::default(),
            idle,
        }
    }

    async fn begin_one(&self, id: String) -> Result<BackupBegun, Unavailable> {
        let read = self.group.read().await;
        let published = read.map_err(|error| Unavailable::NoAnswer(error.to_string()))?;
        let created_at = self.clock.now();
        let header = format::header_of(&published, created_at.0);
        let (sender, pieces) = mpsc::channel(PARTS_AHEAD);
        let open = Open {
            pieces,
            next: 0,
            latest: None,
        };
        let entry = Entry {
            open: Arc::new(tokio::sync::Mutex::new(open)),
            asked: Instant::now(),
        };
        {
            let mut entries = lock(&self.entries);
            if entries.len() >= MAX_OPEN {
                return Err(Unavailable::Overloaded(format!(
                    "{MAX_OPEN} backups are being made already: try again once one is done"
                )));
            }
            entries.insert(id.clone(), entry);
        }
        tokio::spawn(forget_when_idle(Arc::downgrade(&self.entries), id, self.idle));
        let index = header.index;
        let state = Arc::clone(&published.view);
        tokio::task::spawn_blocking(move || {
            let parts = Parts {
                sender: sender.clone(),
                gathered: Vec::with_capacity(PART_BYTES),
            };
            if let Err(error) = format::write_state(parts, &header, &state) {
                // That nobody wants it any more is the likeliest reason, and no news to anybody.
                sender.blocking_send(Piece::Failed(error.chain())).ok();
            }
        });
        Ok(BackupBegun { index, created_at })
    }

    async fn part_of(&self, id: &str, number: u32) -> Result<BackupPart, BackupFailure> {
        let open = {
            let mut entries = lock(&self.entries);
            let entry = entries
                .get_mut(id)
                .ok_or_else(|| BackupFailure::Unknown(id.to_owned()))?;
            entry.asked = Instant::now();
            Arc::clone(&entry.open)
        };
        let mut open = open.lock().await;
        if let Some(latest) = open.latest.as_ref().filter(|_| number + 1 == open.next) {
            return Ok(latest.clone());
        }
        if number != open.next {
            return Err(BackupFailure::OutOfOrder { next: open.next });
        }
        let part = match open.pieces.recv().await {
            Some(Piece::Bytes(data)) => BackupPart { data, is_last: false },
            Some(Piece::Failed(why)) => return Err(BackupFailure::Failed(why)),
            None => BackupPart {
                data: vec![],
                is_last: true,
            },
        };
        open.next += 1;
        open.latest = Some(part.clone());
        Ok(part)
    }
}

impl Backups for BackupStreams {
    fn begin(&self, id: String) -> PortFuture<'_, Result<BackupBegun, Unavailable>> {
        Box::pin(self.begin_one(id))
    }

    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<BackupPart, BackupFailure>> {
        Box::pin(self.part_of(id, number))
    }
}

async fn forget_when_idle(entries: Weak<Mutex<BTreeMap<String, Entry>>>, id: String, idle: Duration) {
    loop {
        let idle_at = {
            let Some(entries) = entries.upgrade() else { return };
            let mut entries = lock(&entries);
            let Some(entry) = entries.get(&id) else { return };
            let idle_at = entry.asked + idle;
            if idle_at <= Instant::now() {
                entries.remove(&id);
                return;
            }
            idle_at
        };
        tokio::time::sleep_until(idle_at).await;
    }
}

/// Cuts what is written into parts. Waits while enough of them wait.
struct Parts {
    sender: mpsc::Sender<Piece>,
    gathered: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == PART_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.gathered, Vec::with_capacity(PART_BYTES));
        let sent = self.sender.blocking_send(Piece::Bytes(part));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody asks for the backup any more"))
    }
}

/// What is behind the lock is whole after every step, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
