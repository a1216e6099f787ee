//! What is too long for one answer, handed out in parts while the controller serves: backups, and recordings of decisions. Shell.
//!
//! A thread writes it into parts as they are asked for, so that what is open costs a few of them in memory. What nobody asks for is dropped
//! after a while. It must not know what is in the parts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::ports::{Part, PartFailure, Unavailable};

/// Bytes in a part.
const PART_BYTES: usize = 1024 * 1024;

/// Parts that wait to be asked for.
const PARTS_AHEAD: usize = 2;

/// How long what is open waits for the next question.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// How long a question waits for its part, before it is answered with an empty one: less than an operation may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why something was not written to its end.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// It makes no sense to ask for it.
    Refused(String),
    /// It went wrong.
    Failed(String),
}

/// What the thread that writes has to say.
enum Piece {
    Bytes(Vec<u8>),
    Broken(Broken),
}

struct Open {
    pieces: mpsc::Receiver<Piece>,
    /// Number of the next part, and the part before it, in case its answer was lost.
    next: u32,
    latest: Option<Part>,
}

struct Entry {
    open: Arc<tokio::sync::Mutex<Open>>,
    asked: Instant,
    /// Whether all parts were handed out, so that nothing but the last is kept.
    is_done: bool,
}

/// What bounds what is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many may be open at once.
    pub(crate) open: usize,
    /// How long each waits for the next question.
    pub(crate) idle: Duration,
    /// How long each may be open at all.
    pub(crate) in_all: Option<Duration>,
}

/// What is open of one kind in one controller.
pub(crate) struct PartStreams {
    /// What it is called.
    what: &'static str,
    bounds: Bounds,
    patience: Duration,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

impl PartStreams {
    pub(crate) fn new(what: &'static str, bounds: Bounds) -> Self {
        Self {
            what,
            bounds,
            patience: PATIENCE,
            entries: Arc::default(),
        }
    }

    /// Opens one: `write` is called on a thread of its own, which may block.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] where too many are open.
    pub(crate) fn open(
        &self,
        id: String,
        write: impl FnOnce(Parts) -> Result<(), Broken> + Send + 'static,
    ) -> Result<(), Unavailable> {
        let (sender, pieces) = mpsc::channel(PARTS_AHEAD);
        let open = Open {
            pieces,
            next: 0,
            latest: None,
        };
        let entry = Entry {
            open: Arc::new(tokio::sync::Mutex::new(open)),
            asked: Instant::now(),
            is_done: false,
        };
        {
            let mut entries = lock(&self.entries);
            if entries.values().filter(|entry| !entry.is_done).count() >= self.bounds.open {
                let (most, what) = (self.bounds.open, self.what);
                return Err(Unavailable::Overloaded(format!(
                    "{most} {what}s are being made already: try again once one is done"
                )));
            }
            entries.insert(id.clone(), entry);
        }
        let until = self.bounds.in_all.map(|in_all| Instant::now() + in_all);
        tokio::spawn(forget_when_idle(
            Arc::downgrade(&self.entries),
            id,
            self.bounds.idle,
            until,
        ));
        tokio::task::spawn_blocking(move || {
            let parts = Parts {
                sender: sender.clone(),
                gathered: Vec::with_capacity(PART_BYTES),
            };
            if let Err(broken) = write(parts) {
                // That nobody wants it any more is the likeliest reason, and no news to anybody.
                sender.blocking_send(Piece::Broken(broken)).ok();
            }
        });
        Ok(())
    }

    /// The part of that number, from 0 on: the next, or the one before it once more. One that is not there yet is empty.
    pub(crate) async fn part(&self, id: &str, number: u32) -> Result<Part, PartFailure> {
        let what = self.what;
        let open = {
            let mut entries = lock(&self.entries);
            let entry = entries.get_mut(id).ok_or_else(|| PartFailure::Unknown {
                what,
                id: id.to_owned(),
            })?;
            entry.asked = Instant::now();
            Arc::clone(&entry.open)
        };
        let mut open = open.lock().await;
        if let Some(latest) = open
            .latest
            .as_ref()
            .filter(|_| number.checked_add(1) == Some(open.next))
        {
            return Ok(latest.clone());
        }
        if number != open.next {
            let next = open.next;
            return Err(PartFailure::OutOfOrder { what, next });
        }
        let part = match tokio::time::timeout(self.patience, open.pieces.recv()).await {
            Err(_) => Part {
                data: vec![],
                is_last: false,
            },
            Ok(Some(Piece::Bytes(data))) => Part { data, is_last: false },
            Ok(Some(Piece::Broken(broken))) => {
                lock(&self.entries).remove(id);
                return Err(match broken {
                    Broken::Refused(why) => PartFailure::Refused(why),
                    Broken::Failed(why) => PartFailure::Failed { what, why },
                });
            }
            Ok(None) => {
                if let Some(entry) = lock(&self.entries).get_mut(id) {
                    entry.is_done = true;
                }
                Part {
                    data: vec![],
                    is_last: true,
                }
            }
        };
        open.next += 1;
        open.latest = Some(part.clone());
        Ok(part)
    }
}

async fn forget_when_idle(
    entries: Weak<Mutex<BTreeMap<String, Entry>>>,
    id: String,
    idle: Duration,
    until: Option<Instant>,
) {
    loop {
        let over_at = {
            let Some(entries) = entries.upgrade() else { return };
            let mut entries = lock(&entries);
            let Some(entry) = entries.get(&id) else { return };
            let idle_at = entry.asked + idle;
            let over_at = until.map_or(idle_at, |until| until.min(idle_at));
            if over_at <= Instant::now() {
                entries.remove(&id);
                return;
            }
            over_at
        };
        tokio::time::sleep_until(over_at).await;
    }
}

/// Cuts what is written into parts. Waits while enough of them wait.
pub(crate) struct Parts {
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
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody asks for it any more"))
    }
}

/// What is behind the lock is whole after every step, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        open: 1,
        idle: IDLE,
        in_all: None,
    };

    #[tokio::test]
    async fn part_that_takes_long_is_answered_with_an_empty_one_and_follows_later() {
        let streams = PartStreams {
            patience: Duration::from_millis(5),
            ..PartStreams::new("thing", BOUNDS)
        };
        let (go_on, wait) = channel();
        let opened = streams.open("one".to_owned(), move |mut parts| {
            wait.recv().expect("told to go on");
            parts.write_all(b"at last").expect("asked for");
            parts.flush().expect("asked for");
            Ok(())
        });
        opened.expect("there is room");
        let empty = Part {
            data: vec![],
            is_last: false,
        };
        assert_eq!(streams.part("one", 0).await, Ok(empty.clone()));
        go_on.send(()).expect("it waits");
        let mut number = 1;
        while streams.part("one", number).await == Ok(empty.clone()) {
            number += 1;
        }
        let again = streams.part("one", number).await.expect("once more");
        assert_eq!(again.data, b"at last");
    }

    #[tokio::test]
    async fn what_broke_is_told_once_and_makes_room() {
        let streams = PartStreams::new("thing", BOUNDS);
        let opened = streams.open("one".to_owned(), |_| Err(Broken::Refused("never".to_owned())));
        opened.expect("there is room");
        let second = streams.open("two".to_owned(), |_| Ok(()));
        assert!(matches!(second, Err(Unavailable::Overloaded(_))), "{second:?}");
        assert_eq!(
            streams.part("one", 0).await,
            Err(PartFailure::Refused("never".to_owned()))
        );
        let gone = streams.part("one", 1).await;
        assert!(matches!(gone, Err(PartFailure::Unknown { .. })), "{gone:?}");
        streams.open("two".to_owned(), |_| Ok(())).expect("there is room again");
        assert!(streams.part("two", 0).await.expect("its end").is_last);
    }
}
