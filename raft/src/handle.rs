//! What the rest of the controller holds of the Raft group: propose, read, view, status, subscribe. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use berth_proto::record::{self, RecordKind};
use tokio::sync::{broadcast, oneshot, watch};

use super::driver::{self, Input, Proposal};
use super::error::{ProposeError, RaftFault, ReadError};
use super::feed::{AppliedBatch, AppliedFeed};
use super::options::{FEED_CAPACITY, MAX_COMMAND_BYTES, MAX_WAITING_BYTES, MAX_WAITING_REQUESTS, RaftOptions};
use super::state_machine::StateMachine;
use berth_storage::Storage;

/// A command that is committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<O> {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// What applying it gave.
    pub outcome: O,
}

/// A view with its place in the log.
#[derive(Clone, Debug)]
pub struct Published<V> {
    /// The last index whose effect it contains.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The state.
    pub view: V,
}

/// What a member is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders the log.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks to be elected.
    Candidate,
}

/// Whether the driver of a member works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It works.
    Running,
    /// It was asked to stop, has stopped, and has released its storage.
    Stopped,
    /// It could not go on, for this reason.
    Failed(Arc<str>),
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub member_id: u64,
    /// What it is in its group.
    pub role: Role,
    /// The member that leads, if known.
    pub leader: Option<u64>,
    /// The newest term it has seen.
    pub term: u64,
    /// The newest index that it knows to be committed.
    pub commit: u64,
    /// The last index whose effect its view contains.
    pub applied: u64,
    /// The index of its newest snapshot, 0 without one.
    pub snapshot: u64,
    /// Whether its driver works.
    pub run: RunState,
}

impl Status {
    /// Whether the driver no longer works.
    pub fn has_stopped(&self) -> bool {
        self.run != RunState::Running
    }
}

/// What the handles and the driver share.
pub(super) struct Shared<M: StateMachine> {
    pub(super) published: ArcSwap<Published<M::View>>,
    pub(super) status: watch::Sender<Status>,
    pub(super) batches: broadcast::Sender<Arc<AppliedBatch<M::Outcome>>>,
    pub(super) waiting_bytes: AtomicUsize,
    pub(super) stop: AtomicBool,
}

/// The Raft group, seen from this member. Clones are the same group; it stops when the last one is dropped.
pub struct Raft<M: StateMachine> {
    owner: Arc<Owner<M>>,
}

impl<M: StateMachine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<M: StateMachine> std::fmt::Debug for Raft<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Raft")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

struct Owner<M: StateMachine> {
    inbox: SyncSender<Input<M>>,
    shared: Arc<Shared<M>>,
    propose_deadline: Duration,
    read_deadline: Duration,
}

impl<M: StateMachine> Owner<M> {
    fn request_stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // A full inbox wakes the driver as well.
        self.inbox.try_send(Input::Wake).ok();
    }
}

impl<M: StateMachine> Drop for Owner<M> {
    fn drop(&mut self) {
        self.request_stop();
    }
}

impl<M: StateMachine> Raft<M> {
    /// Starts a member on its storage: restores its snapshot into the machine, then runs the driver's thread,
    /// which replays the log. An empty storage becomes the first member of a new group. Reads the disk
    /// before it returns; [`Raft::read`] waits until the log is replayed.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage does not hold a sound state of this member.
    pub fn start(store: Arc<dyn Storage>, machine: M, options: RaftOptions) -> Result<Self, RaftFault> {
        let (inbox, requests) = sync_channel(MAX_WAITING_REQUESTS);
        let (propose_deadline, read_deadline) = (options.propose_deadline, options.read_deadline);
        let shared = driver::start(store, machine, options, inbox.clone(), requests)?;
        Ok(Self {
            owner: Arc::new(Owner {
                inbox,
                shared,
                propose_deadline,
                read_deadline,
            }),
        })
    }

    pub(super) fn shared(member_id: u64, published: Published<M::View>) -> Arc<Shared<M>> {
        let applied = published.index;
        let status = Status {
            member_id,
            role: Role::Follower,
            leader: None,
            term: 0,
            commit: applied,
            applied,
            snapshot: applied,
            run: RunState::Running,
        };
        Arc::new(Shared {
            published: ArcSwap::from_pointee(published),
            status: watch::Sender::new(status),
            batches: broadcast::Sender::new(FEED_CAPACITY),
            waiting_bytes: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// Proposes a command and waits until it is committed and applied.
    ///
    /// # Errors
    /// [`ProposeError`]; after `Stopped` and `Timeout` the command may or may not take effect.
    pub async fn propose(&self, command: M::Command) -> Result<Applied<M::Outcome>, ProposeError> {
        let data = record::encode(RecordKind::Command, &command).map_err(|error| ProposeError::NotEncodable {
            reason: error.to_string(),
        })?;
        drop(command);
        let bytes = data.len();
        if bytes > MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge {
                bytes,
                max_bytes: MAX_COMMAND_BYTES,
            });
        }
        let waiting = &self.owner.shared.waiting_bytes;
        if waiting.fetch_add(bytes, Ordering::SeqCst) + bytes > MAX_WAITING_BYTES {
            waiting.fetch_sub(bytes, Ordering::SeqCst);
            return Err(ProposeError::Overloaded);
        }
        let (reply, outcome) = oneshot::channel();
        if let Err(error) = self.owner.inbox.try_send(Input::Propose(Proposal { data, reply })) {
            waiting.fetch_sub(bytes, Ordering::SeqCst);
            return Err(match error {
                TrySendError::Full(_) => ProposeError::Overloaded,
                TrySendError::Disconnected(_) => ProposeError::Stopped,
            });
        }
        let after = self.owner.propose_deadline;
        match tokio::time::timeout(after, outcome).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ProposeError::Stopped),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }

    /// A view that contains every proposal answered before the call, whichever member answered it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self) -> Result<Arc<Published<M::View>>, ReadError> {
        let (reply, view) = oneshot::channel();
        self.owner
            .inbox
            .try_send(Input::Read(reply))
            .map_err(|error| match error {
                TrySendError::Full(_) => ReadError::Overloaded,
                TrySendError::Disconnected(_) => ReadError::Stopped,
            })?;
        let after = self.owner.read_deadline;
        match tokio::time::timeout(after, view).await {
            Ok(answer) => answer.map_err(|_| ReadError::Stopped),
            Err(_) => Err(ReadError::Timeout { after }),
        }
    }

    /// The newest view of this member, which another member may have left behind. Never waits.
    pub fn view(&self) -> Arc<Published<M::View>> {
        self.owner.shared.published.load_full()
    }

    /// How this member stands now.
    pub fn status(&self) -> Status {
        self.owner.shared.status.borrow().clone()
    }

    /// Follows how this member stands.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.owner.shared.status.subscribe()
    }

    /// Follows what is applied from now on. Take the view after subscribing, so that nothing falls between.
    pub fn subscribe(&self) -> AppliedFeed<M::Outcome> {
        AppliedFeed {
            batches: self.owner.shared.batches.subscribe(),
            status: self.watch_status(),
        }
    }

    /// Stops this member and waits until its storage is released. Whoever waits for an answer gets `Stopped`.
    pub async fn shutdown(&self) -> RunState {
        self.owner.request_stop();
        self.stopped().await
    }

    /// Waits until this member has stopped, for whatever reason.
    pub async fn stopped(&self) -> RunState {
        let mut status = self.watch_status();
        // The sender lives as long as this handle, so waiting ends with a value.
        status
            .wait_for(Status::has_stopped)
            .await
            .map_or(RunState::Stopped, |status| status.run.clone())
    }
}
