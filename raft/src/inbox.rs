//! What waits for the driver: messages of other members, requests of callers, and what the shell noticed. Shell.
//!
//! Owns the bounds of what waits. Messages and requests wait apart, so that a flood of requests never pushes
//! out the heartbeats of a leader. So do requests that somebody waits for and those in the background: of the latter a batch has little, so that
//! the former do not wait long for the batch before theirs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use berth_proto::v1::PeerMessage;
use prost::Message;

use super::engine::JobDone;
use super::error::RaftFault;
use super::options::{
    MAX_BACKGROUND_BATCH_BYTES, MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, MAX_WAITING_BYTES, MAX_WAITING_MESSAGE_BYTES,
    MAX_WAITING_MESSAGES, MAX_WAITING_REQUESTS,
};

/// Notices that wait before more are dropped; what they say shows again.
const MAX_NOTICES: usize = 256;

/// What the shell noticed.
#[derive(Debug)]
pub(super) enum Notice {
    /// A job has ended; nothing if it was told to stop.
    JobDone(Result<Option<JobDone>, RaftFault>),
    /// A member cannot be reached.
    Unreachable(u64),
    /// Leadership is to go to this member.
    Transfer(u64),
}

/// How soon a request is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Somebody waits for it.
    Now,
    /// After those that somebody waits for; a little of it with each batch.
    Background,
}

/// Why something was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Too much waits.
    Overloaded,
    /// Nobody takes it out any more.
    Closed,
}

/// What the driver takes out at once; all of it shares one sync.
#[derive(Debug)]
pub(super) struct Taken<R> {
    pub(super) notices: Vec<Notice>,
    pub(super) messages: Vec<PeerMessage>,
    pub(super) requests: Vec<R>,
    pub(super) stop: bool,
}

#[derive(Debug)]
struct Queues<R> {
    notices: VecDeque<Notice>,
    messages: VecDeque<(usize, PeerMessage)>,
    message_bytes: usize,
    requests: VecDeque<(usize, R)>,
    request_bytes: usize,
    background: VecDeque<(usize, R)>,
    background_bytes: usize,
    stop: bool,
    closed: bool,
    /// Whether the driver sleeps, and has not been woken yet: waking it is a call of the system, whether it sleeps or not.
    sleeps: bool,
}

/// The queues of one driver.
#[derive(Debug)]
pub(super) struct Inbox<R> {
    queues: Mutex<Queues<R>>,
    arrived: Condvar,
}

impl<R> Default for Inbox<R> {
    fn default() -> Self {
        Self {
            queues: Mutex::new(Queues {
                notices: VecDeque::new(),
                messages: VecDeque::new(),
                message_bytes: 0,
                requests: VecDeque::new(),
                request_bytes: 0,
                background: VecDeque::new(),
                background_bytes: 0,
                stop: false,
                closed: false,
                sleeps: false,
            }),
            arrived: Condvar::new(),
        }
    }
}

impl<R> Inbox<R> {
    /// A request of a caller, with the bytes that it keeps in memory.
    pub(super) fn request(&self, bytes: usize, haste: Haste, request: R) -> Result<(), Full> {
        let mut queues = self.lock();
        if queues.closed {
            return Err(Full::Closed);
        }
        let all = &mut *queues;
        let (queue, waiting_bytes) = match haste {
            Haste::Now => (&mut all.requests, &mut all.request_bytes),
            Haste::Background => (&mut all.background, &mut all.background_bytes),
        };
        if queue.len() >= MAX_WAITING_REQUESTS || *waiting_bytes + bytes > MAX_WAITING_BYTES {
            return Err(Full::Overloaded);
        }
        queue.push_back((bytes, request));
        *waiting_bytes += bytes;
        self.wake(queues);
        Ok(())
    }

    /// A message of another member.
    pub(super) fn message(&self, message: PeerMessage) -> Result<(), Full> {
        let bytes = message.encoded_len();
        let mut queues = self.lock();
        if queues.closed {
            return Err(Full::Closed);
        }
        if queues.messages.len() >= MAX_WAITING_MESSAGES || queues.message_bytes + bytes > MAX_WAITING_MESSAGE_BYTES {
            return Err(Full::Overloaded);
        }
        queues.message_bytes += bytes;
        queues.messages.push_back((bytes, message));
        self.wake(queues);
        Ok(())
    }

    /// Something that the shell noticed; that a job has ended is always taken in.
    pub(super) fn notice(&self, notice: Notice) {
        let mut queues = self.lock();
        if queues.closed || (queues.notices.len() >= MAX_NOTICES && !matches!(notice, Notice::JobDone(_))) {
            return;
        }
        queues.notices.push_back(notice);
        self.wake(queues);
    }

    /// The driver is to stop.
    pub(super) fn stop(&self) {
        let mut queues = self.lock();
        queues.stop = true;
        self.wake(queues);
    }

    /// Nothing is taken out any more: whoever waits for an answer is told by what it waited with being dropped.
    pub(super) fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        let requests = std::mem::take(&mut queues.requests);
        let background = std::mem::take(&mut queues.background);
        queues.messages.clear();
        queues.notices.clear();
        drop(queues);
        drop((requests, background));
    }

    /// Waits until something is there, or the time has come, and takes out what one batch may have. With
    /// `stopping`, that it is to stop is no reason to return.
    pub(super) fn take(&self, until: Instant, stopping: bool) -> Taken<R> {
        let mut queues = self.lock();
        loop {
            let now = Instant::now();
            if queues.has_something() || (queues.stop && !stopping) || now >= until {
                return queues.take();
            }
            queues.sleeps = true;
            queues = self
                .arrived
                .wait_timeout(queues, until - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            queues.sleeps = false;
        }
    }

    /// Wakes the driver if it sleeps and nobody has done so.
    fn wake(&self, mut queues: MutexGuard<'_, Queues<R>>) {
        let sleeps = std::mem::take(&mut queues.sleeps);
        drop(queues);
        if sleeps {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues<R>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Queues<R> {
    fn has_something(&self) -> bool {
        !self.notices.is_empty()
            || !self.messages.is_empty()
            || !self.requests.is_empty()
            || !self.background.is_empty()
    }

    fn take(&mut self) -> Taken<R> {
        let messages = take_batch(&mut self.messages, &mut self.message_bytes, MAX_BATCH_BYTES);
        let mut requests = take_batch(&mut self.requests, &mut self.request_bytes, MAX_BATCH_BYTES);
        requests.extend(take_batch(
            &mut self.background,
            &mut self.background_bytes,
            MAX_BACKGROUND_BATCH_BYTES,
        ));
        Taken {
            notices: self.notices.drain(..).collect(),
            messages,
            requests,
            stop: self.stop,
        }
    }
}

/// Takes out up to the bounds of a batch. What is not taken stays in its place.
fn take_batch<T>(queue: &mut VecDeque<(usize, T)>, queued_bytes: &mut usize, most: usize) -> Vec<T> {
    let mut taken = Vec::with_capacity(queue.len().min(MAX_BATCH_REQUESTS));
    let mut bytes = 0;
    while taken.len() < MAX_BATCH_REQUESTS && bytes < most {
        let Some((size, item)) = queue.pop_front() else { break };
        bytes += size;
        taken.push(item);
    }
    *queued_bytes -= bytes;
    taken
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take(inbox: &Inbox<usize>) -> Taken<usize> {
        inbox.take(Instant::now(), true)
    }

    #[test]
    fn requests_behind_a_full_batch_are_taken_with_the_next() {
        let inbox = Inbox::default();
        let all: Vec<usize> = (0..2 * MAX_BATCH_REQUESTS + 7).collect();
        all.iter()
            .for_each(|number| inbox.request(1, Haste::Now, *number).unwrap());
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.extend(take(&inbox).requests);
        }
        assert_eq!(taken, all);
        assert!(take(&inbox).requests.is_empty());
    }

    #[test]
    fn requests_over_the_bound_are_refused_and_messages_still_come_in() {
        let inbox = Inbox::default();
        (0..MAX_WAITING_REQUESTS).for_each(|number| inbox.request(0, Haste::Now, number).unwrap());
        assert_eq!(inbox.request(0, Haste::Now, 0), Err(Full::Overloaded));
        inbox.message(PeerMessage::default()).unwrap();
        assert_eq!(take(&inbox).messages.len(), 1);
        inbox.request(0, Haste::Now, 0).unwrap();
    }

    #[test]
    fn what_somebody_waits_for_overtakes_the_background_of_which_a_batch_has_little() {
        let inbox = Inbox::default();
        let half = MAX_BACKGROUND_BATCH_BYTES / 2;
        (1..=3).for_each(|number| inbox.request(half, Haste::Background, number).unwrap());
        inbox.request(half, Haste::Now, 10).unwrap();
        inbox.request(half, Haste::Now, 11).unwrap();
        assert_eq!(take(&inbox).requests, [10, 11, 1, 2]);
        inbox.request(half, Haste::Now, 12).unwrap();
        assert_eq!(
            take(&inbox).requests,
            [12, 3],
            "the background goes on, whatever else comes"
        );
        assert!(take(&inbox).requests.is_empty());
    }

    #[test]
    fn bytes_over_the_bound_are_refused_until_they_are_taken() {
        let inbox = Inbox::default();
        inbox.request(MAX_WAITING_BYTES, Haste::Background, 1).unwrap();
        assert_eq!(inbox.request(1, Haste::Background, 2), Err(Full::Overloaded));
        inbox.request(1, Haste::Now, 3).unwrap();
        assert_eq!(take(&inbox).requests, [3, 1], "neither is refused for the other");
        inbox.request(MAX_WAITING_BYTES, Haste::Now, 1).unwrap();
        assert_eq!(inbox.request(1, Haste::Now, 2), Err(Full::Overloaded));
        assert_eq!(take(&inbox).requests, [1]);
        inbox.request(1, Haste::Now, 2).unwrap();
    }

    #[test]
    fn inbox_closed_takes_nothing_in() {
        let inbox = Inbox::default();
        inbox.request(1, Haste::Now, 1).unwrap();
        inbox.close();
        assert_eq!(inbox.request(1, Haste::Now, 2), Err(Full::Closed));
        assert!(take(&inbox).requests.is_empty());
    }

    #[test]
    fn take_returns_when_the_time_has_come_or_it_is_to_stop() {
        let inbox = Inbox::<usize>::default();
        let started = Instant::now();
        inbox.take(started + Duration::from_millis(20), false);
        assert!(started.elapsed() >= Duration::from_millis(20));
        inbox.stop();
        assert!(inbox.take(started + Duration::from_secs(600), false).stop);
    }
}
