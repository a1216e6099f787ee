//! What the rest of the controller holds of the Raft group: propose, read, view, status, subscribe. Shell.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use berth_proto::v1::PeerMessage;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::Instant;

use super::command::command_record;
use super::driver::{self, Request};
use super::engine::{Engine, check_address};
use super::error::{MembershipError, ProposeError, RaftFault, ReadError, ReceiveError, TransferError};
use super::feed::{AppliedFeed, FeedItem};
use super::founding::Identity;
use super::inbox::{Full, Haste, Inbox, Notice};
use super::membership::{ClusterId, MemberRecord, MemberRole, Membership, MembershipChange};
use super::options::{FEED_CAPACITY, RaftOptions, TRANSFER_DEADLINE};
use super::state_machine::StateMachine;
use super::transport::Transport;
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
    /// It follows a leader without a vote, or waits to be contacted by one.
    Learner,
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
    /// It was removed from its group, has stopped, and has released its storage, which is of no use any more.
    Removed,
    /// It could not go on, for this reason.
    Failed(Arc<str>),
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its group.
    pub cluster: ClusterId,
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
    /// The term in which this member leads, if it does.
    pub fn led_term(&self) -> Option<u64> {
        (self.role == Role::Leader).then_some(self.term)
    }

    /// Whether the driver no longer works.
    pub fn has_stopped(&self) -> bool {
        self.run != RunState::Running
    }
}

/// What the handles and the driver share.
pub(super) struct Shared<M: StateMachine> {
    identity: Identity,
    pub(super) published: ArcSwap<Published<M::View>>,
    pub(super) status: watch::Sender<Status>,
    /// The term in which this member leads. Never behind `status`.
    pub(super) led_term: watch::Sender<Option<u64>>,
    pub(super) membership: watch::Sender<Arc<Membership>>,
    pub(super) batches: broadcast::Sender<FeedItem<M::Outcome>>,
    /// Whether the driver no longer works. Never ahead of `status`, and apart from it, since that changes with every commit.
    pub(super) stopped: watch::Sender<bool>,
}

impl<M: StateMachine> Shared<M> {
    pub(super) fn new(engine: &Engine<M>) -> Arc<Self> {
        Arc::new(Self {
            identity: engine.identity(),
            published: ArcSwap::from_pointee(engine.published()),
            status: watch::Sender::new(Status {
                run: RunState::Running,
                ..engine.status()
            }),
            led_term: watch::Sender::new(engine.status().led_term()),
            membership: watch::Sender::new(Arc::new(engine.membership())),
            batches: broadcast::Sender::new(FEED_CAPACITY),
            stopped: watch::Sender::new(false),
        })
    }
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

/// A [`Raft`] that does not keep the member running.
pub struct WeakRaft<M: StateMachine> {
    owner: Weak<Owner<M>>,
}

impl<M: StateMachine> WeakRaft<M> {
    /// The group, unless the last [`Raft`] was dropped.
    pub fn upgrade(&self) -> Option<Raft<M>> {
        self.owner.upgrade().map(|owner| Raft { owner })
    }
}

impl<M: StateMachine> Clone for WeakRaft<M> {
    fn clone(&self) -> Self {
        Self {
            owner: Weak::clone(&self.owner),
        }
    }
}

impl<M: StateMachine> std::fmt::Debug for WeakRaft<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WeakRaft").finish_non_exhaustive()
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
    inbox: Arc<Inbox<Request<M>>>,
    shared: Arc<Shared<M>>,
    propose_deadline: Duration,
    read_deadline: Duration,
}

impl<M: StateMachine> Drop for Owner<M> {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

/// How much longer a caller waits than the engine, which knows better why there is no answer.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is tried again to promote a member that lags behind.
const PROMOTION_INTERVAL: Duration = Duration::from_millis(100);

impl<M: StateMachine> Raft<M> {
    /// Starts a member on its storage: restores its snapshot into the machine, then runs the driver's thread,
    /// which replays the log. An empty storage becomes what the options say: the first member of a new group, or
    /// one that waits for the leader of its group. Reads the disk before it returns; [`Raft::read`] waits until the
    /// log is replayed.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage does not hold a sound state of this member.
    pub fn start(
        store: Arc<dyn Storage>,
        machine: M,
        options: RaftOptions,
        transport: impl Transport,
    ) -> Result<Self, RaftFault> {
        let inbox = Arc::new(Inbox::default());
        let (propose_deadline, read_deadline) = (options.propose_deadline, options.read_deadline);
        let shared = driver::start(store, machine, options, Box::new(transport), Arc::clone(&inbox))?;
        Ok(Self {
            owner: Arc::new(Owner {
                inbox,
                shared,
                propose_deadline,
                read_deadline,
            }),
        })
    }

    /// A handle that does not keep the member running, for those whom the transport calls.
    pub fn downgrade(&self) -> WeakRaft<M> {
        WeakRaft {
            owner: Arc::downgrade(&self.owner),
        }
    }

    /// Who this member is.
    pub fn identity(&self) -> Identity {
        self.owner.shared.identity
    }

    /// Proposes a command, on whichever member leads, and waits until it is committed and applied here: a view
    /// of this member contains it then. It takes effect once, however often it had to be sent.
    ///
    /// # Errors
    /// [`ProposeError`]; after `Stopped` and `Timeout` the command may or may not take effect.
    pub async fn propose(&self, command: M::Command) -> Result<Applied<M::Outcome>, ProposeError> {
        self.propose_bound(command, None, Haste::Now).await
    }

    /// Proposes what this member decided as the leader of a term, and waits until it is committed and applied here.
    /// No other member proposes it instead, and it is in the log of no later term: what was decided on an older state
    /// is void once another leads.
    ///
    /// # Errors
    /// [`ProposeError`]; after `TermPassed` nothing came of it, after `Stopped` and `Timeout` the command may or may
    /// not take effect.
    pub async fn propose_in_term(&self, command: M::Command, term: u64) -> Result<Applied<M::Outcome>, ProposeError> {
        self.propose_bound(command, Some(term), Haste::Now).await
    }

    /// As [`Raft::propose_in_term`], for what no client waits for: what clients ask for meanwhile overtakes it.
    ///
    /// # Errors
    /// [`ProposeError`], as [`Raft::propose_in_term`].
    pub async fn propose_in_background(
        &self,
        command: M::Command,
        term: u64,
    ) -> Result<Applied<M::Outcome>, ProposeError> {
        self.propose_bound(command, Some(term), Haste::Background).await
    }

    async fn propose_bound(
        &self,
        command: M::Command,
        term: Option<u64>,
        haste: Haste,
    ) -> Result<Applied<M::Outcome>, ProposeError> {
        let data = command_record::<M>(&command, &self.view().view)?;
        drop(command);
        let bytes = data.len();
        let (reply, outcome) = oneshot::channel();
        self.request(bytes, haste, Request::Propose { data, term, reply })?;
        self.outcome(outcome).await?
    }

    fn request(&self, bytes: usize, haste: Haste, request: Request<M>) -> Result<(), ProposeError> {
        self.owner
            .inbox
            .request(bytes, haste, request)
            .map_err(|full| match full {
                Full::Overloaded => ProposeError::Overloaded,
                Full::Closed => ProposeError::Stopped,
            })
    }

    async fn outcome<T>(&self, outcome: oneshot::Receiver<T>) -> Result<T, ProposeError> {
        let after = self.owner.propose_deadline;
        match tokio::time::timeout(after + GRACE, outcome).await {
            Ok(Ok(answer)) => Ok(answer),
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
        let asked = self.owner.inbox.request(0, Haste::Now, Request::Read(reply));
        asked.map_err(|full| match full {
            Full::Overloaded => ReadError::Overloaded,
            Full::Closed => ReadError::Stopped,
        })?;
        let after = self.owner.read_deadline;
        match tokio::time::timeout(after + GRACE, view).await {
            Ok(answer) => answer.map_err(|_| ReadError::Stopped)?,
            Err(_) => Err(ReadError::Timeout { after }),
        }
    }

    /// The members as they are known here.
    pub fn members(&self) -> Arc<Membership> {
        Arc::clone(&self.owner.shared.membership.borrow())
    }

    /// Follows who the members are.
    pub fn watch_members(&self) -> watch::Receiver<Arc<Membership>> {
        self.owner.shared.membership.subscribe()
    }

    /// Makes a change of the membership, through whichever member leads; returns its index.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn change_membership(&self, change: MembershipChange) -> Result<u64, MembershipError> {
        let (reply, outcome) = oneshot::channel();
        self.request(0, Haste::Now, Request::Change(change, reply))?;
        self.outcome(outcome).await?
    }

    /// Adds a new member, which learns before it votes. Its storage must be empty and founded to join this group.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn add_member(&self, record: MemberRecord) -> Result<u64, MembershipError> {
        self.change_membership(MembershipChange::Add(record)).await
    }

    /// Gives a member its vote, once it has caught up.
    ///
    /// # Errors
    /// [`MembershipError`]; `LagsBehind` and `ChangeUnderWay` are final only when the deadline has passed.
    pub async fn promote(&self, member: u64, deadline: Duration) -> Result<u64, MembershipError> {
        let until = Instant::now() + deadline;
        loop {
            let change = MembershipChange::Promote { member, forced: false };
            match self.change_membership(change).await {
                Err(MembershipError::LagsBehind { .. } | MembershipError::ChangeUnderWay) if Instant::now() < until => {
                    tokio::time::sleep(PROMOTION_INTERVAL).await;
                }
                answer => return answer,
            }
        }
    }

    /// Removes a member for good. A leader hands over first. With `forced`, even if those that can be reached are
    /// no majority afterwards.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn remove_member(&self, member: u64, forced: bool) -> Result<u64, MembershipError> {
        self.change_membership(MembershipChange::Remove { member, forced })
            .await
    }

    /// Hands leadership to a member, and waits until it leads.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), TransferError> {
        let votes = |member: &super::membership::MemberInfo| member.role == MemberRole::Voter;
        if !self.members().get(to).is_some_and(votes) {
            return Err(TransferError::NotVoter { member: to });
        }
        let mut status = self.watch_status();
        self.owner.inbox.notice(Notice::Transfer(to));
        let after = TRANSFER_DEADLINE;
        let settled = status.wait_for(|status| status.leader == Some(to) || status.has_stopped());
        match tokio::time::timeout(after, settled).await {
            Ok(Ok(status)) if !status.has_stopped() => Ok(()),
            Ok(_) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::Timeout { member: to, after }),
        }
    }

    /// Takes in a message that another member sent to this one. Never waits.
    ///
    /// # Errors
    /// [`ReceiveError`]. After `Overloaded` the sender may go on: it sends again what matters.
    pub fn receive(&self, message: PeerMessage) -> Result<(), ReceiveError> {
        check_address(self.owner.shared.identity, &message)?;
        self.owner.inbox.message(message).map_err(|full| match full {
            Full::Overloaded => ReceiveError::Overloaded,
            Full::Closed => ReceiveError::Stopped,
        })
    }

    /// Tells the group that an established connection to a member broke. If that member leads, another election
    /// begins early, so say it at once, and only when it is so.
    pub fn report_unreachable(&self, member: u64) {
        self.owner.inbox.notice(Notice::Unreachable(member));
    }

    /// The newest view of this member, which another member may have left behind. Never waits.
    pub fn view(&self) -> Arc<Published<M::View>> {
        self.owner.shared.published.load_full()
    }

    /// How this member stands now.
    pub fn status(&self) -> Status {
        self.owner.shared.status.borrow().clone()
    }

    /// Follows in which term this member leads, if it does. For those who are many: unlike [`Raft::watch_status`], it does not wake
    /// them with every commit.
    pub fn watch_led_term(&self) -> watch::Receiver<Option<u64>> {
        self.owner.shared.led_term.subscribe()
    }

    /// Follows how this member stands.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.owner.shared.status.subscribe()
    }

    /// Follows what is applied from now on. Take the view after subscribing, so that nothing falls between.
    pub fn subscribe(&self) -> AppliedFeed<M::Outcome> {
        AppliedFeed {
            batches: self.owner.shared.batches.subscribe(),
            stopped: self.owner.shared.stopped.subscribe(),
        }
    }

    /// Stops this member and waits until its storage is released. A leader hands over first, if there is anyone. Whoever
    /// waits for an answer gets `Stopped`.
    pub async fn shutdown(&self) -> RunState {
        self.owner.inbox.stop();
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
