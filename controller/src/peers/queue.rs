//! What waits to be sent to one member: bounded in number and in bytes. Shell.
//!
//! A message that finds the queue full is dropped, not one that waits already: those in front are the ones that the receiver can use,
//! since entries of the log that follow a gap are refused by it anyway. Raft sends again what matters.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use berth_proto::v1::PeerMessage;
use prost::Message;
use tokio_stream::Stream;

/// Messages that wait for one member: more than a leader has under way to it.
const MAX_MESSAGES: usize = 4096;

/// Bytes of them: the entries that a leader has under way to a member.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The queue of one member. Clones are the same queue.
#[derive(Clone, Default)]
pub(super) struct Queue {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<(usize, PeerMessage)>,
    bytes: usize,
    dropped: u64,
    reader: Option<Waker>,
}

/// Takes messages out of a queue, for as long as a connection lives. Those that are in the queue afterwards stay there.
pub(super) struct Reader {
    queue: Queue,
}

impl Queue {
    /// Adds a message, or drops it if there is no room.
    pub(super) fn push(&self, message: PeerMessage) {
        let bytes = message.encoded_len();
        let mut inner = self.lock();
        if inner.messages.len() >= MAX_MESSAGES || inner.bytes + bytes > MAX_BYTES {
            inner.dropped += 1;
            return;
        }
        inner.bytes += bytes;
        inner.messages.push_back((bytes, message));
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// Drops everything: what was for a connection that is gone is out of date.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.messages.clear();
        inner.bytes = 0;
    }

    /// Number of messages that found no room since this was asked last.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { queue: self.clone() }
    }

    /// Whole after every step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Reader {
    type Item = PeerMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PeerMessage>> {
        let mut inner = self.queue.lock();
        match inner.messages.pop_front() {
            Some((bytes, message)) => {
                inner.bytes -= bytes;
                Poll::Ready(Some(message))
            }
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::v1::peer_message::Content;
    use tokio_stream::StreamExt;

    use super::*;

    fn message(from: u64, bytes: usize) -> PeerMessage {
        PeerMessage {
            from,
            content: Some(Content::Raft(vec![0; bytes])),
            ..PeerMessage::default()
        }
    }

    #[tokio::test]
    async fn message_without_room_is_dropped_and_those_before_it_arrive_in_order() {
        let queue = Queue::default();
        for from in 0..MAX_MESSAGES as u64 + 3 {
            queue.push(message(from, 1));
        }
        assert_eq!(queue.take_dropped(), 3);
        assert_eq!(queue.take_dropped(), 0);
        let mut reader = queue.reader();
        for from in 0..MAX_MESSAGES as u64 {
            assert_eq!(reader.next().await.map(|message| message.from), Some(from));
        }
        queue.push(message(7, MAX_BYTES));
        assert_eq!(queue.take_dropped(), 1, "more bytes than may wait");
        queue.push(message(8, 1));
        assert_eq!(reader.next().await.map(|message| message.from), Some(8));
    }

    #[tokio::test]
    async fn reader_that_waits_is_woken_and_a_cleared_queue_has_room() {
        let queue = Queue::default();
        for _ in 0..MAX_MESSAGES {
            queue.push(message(1, 1));
        }
        queue.clear();
        let mut reader = queue.reader();
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        queue.push(message(2, 1));
        let read = reading.await.expect("no panic");
        assert_eq!(read.map(|message| message.from), Some(2));
        assert_eq!(queue.take_dropped(), 0);
    }
}
