//! The thread that drives a member: takes in what waits, lets the engine work, hands out what comes of it. Shell.
//!
//! Its own thread and no task of the async runtime, since it waits for the disk. It sleeps until
//! something arrives; whatever arrives while it syncs is taken in together and shares the next sync.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use berth_proto::v1::PeerMessage;
use tokio::sync::oneshot;

use super::engine::{Answer, Engine, Job, Outputs, Ticket};
use super::error::{MembershipError, ProposeError, RaftFault, ReadError};
use super::feed::{AppliedBatch, FeedItem};
use super::handle::{Applied, Published, RunState, Shared, Status};
use super::inbox::{Inbox, Notice, Taken};
use super::membership::{Membership, MembershipChange};
use super::options::{HAND_OVER_DEADLINE, RaftOptions, TICK};
use super::state_machine::StateMachine;
use super::transport::Transport;
use super::worker::Worker;
use berth_storage::Storage;

/// What a caller asks for.
pub(super) enum Request<M: StateMachine> {
    /// That a command is applied; with a term, in the log of no other.
    Propose {
        data: Vec<u8>,
        term: Option<u64>,
        reply: oneshot::Sender<Result<Applied<M::Outcome>, ProposeError>>,
    },
    /// A linearizable view.
    Read(oneshot::Sender<ReadAnswer<M>>),
    /// That the membership changes.
    Change(MembershipChange, oneshot::Sender<Result<u64, MembershipError>>),
}

/// What a read gives.
pub(super) type ReadAnswer<M> = Result<Arc<Published<<M as StateMachine>::View>>, ReadError>;

/// Who waits for an answer.
enum Waiter<M: StateMachine> {
    Propose(oneshot::Sender<Result<Applied<M::Outcome>, ProposeError>>),
    Read(oneshot::Sender<ReadAnswer<M>>),
    Change(oneshot::Sender<Result<u64, MembershipError>>),
}

/// Opens the member and starts its thread.
pub(super) fn start<M: StateMachine>(
    store: Arc<dyn Storage>,
    machine: M,
    options: RaftOptions,
    transport: Box<dyn Transport>,
    inbox: Arc<Inbox<Request<M>>>,
) -> Result<Arc<Shared<M>>, RaftFault> {
    let on_fault = options.on_fault;
    let engine = Engine::open(store, machine, options, random_seed()?)?;
    let shared = Shared::new(&engine);
    let reports = Arc::clone(&inbox);
    let worker = Worker::start(move |done| reports.notice(Notice::JobDone(done)))?;
    let driver = Driver {
        engine,
        inbox: Arc::clone(&inbox),
        outlet: Outlet {
            transport,
            shared: Arc::clone(&shared),
            waiting: HashMap::new(),
            worker,
            fault: None,
        },
        next_ticket: 0,
        next_tick: Instant::now() + TICK,
    };
    let thread_shared = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("raft".to_owned())
        .spawn(move || run_to_the_end(driver, &inbox, &thread_shared, on_fault))
        .map_err(|source| RaftFault::System {
            action: "start the raft thread",
            source,
        })?;
    Ok(shared)
}

pub(super) fn random_seed() -> Result<u64, RaftFault> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| RaftFault::System {
        action: "draw a random number",
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(u64::from_be_bytes(bytes))
}

fn run_to_the_end<M: StateMachine>(
    driver: Driver<M>,
    inbox: &Inbox<Request<M>>,
    shared: &Shared<M>,
    on_fault: fn(&RaftFault),
) {
    // The closure owns the driver: afterwards its storage is released and its waiters know.
    let result = catch_unwind(AssertUnwindSafe(move || driver.run())).unwrap_or_else(|panic| {
        Err(RaftFault::Panicked {
            message: panic_message(&*panic),
        })
    });
    let run = match &result {
        Ok(run) => run.clone(),
        Err(fault) => RunState::Failed(fault.chain().into()),
    };
    if let Err(fault) = result {
        on_fault(&fault);
    }
    inbox.close();
    shared.led_term.send_replace(None);
    shared.status.send_modify(|status| status.run = run);
    shared.stopped.send_replace(true);
}

struct Driver<M: StateMachine> {
    engine: Engine<M>,
    inbox: Arc<Inbox<Request<M>>>,
    outlet: Outlet<M>,
    next_ticket: Ticket,
    next_tick: Instant,
}

impl<M: StateMachine> Driver<M> {
    fn run(mut self) -> Result<RunState, RaftFault> {
        self.work()?;
        // Set once it is to stop: until when it waits for another to lead.
        let mut stop_at = None;
        loop {
            let taken = self.inbox.take(self.next_tick, stop_at.is_some());
            let stop = taken.stop;
            let now = Instant::now();
            if now >= self.next_tick {
                self.engine.tick(&mut self.outlet);
                // A paused process must not live through all the ticks it missed at once.
                self.next_tick = now + TICK;
                self.outlet.forget_those_gone();
            }
            self.feed(taken)?;
            if stop && stop_at.is_none() {
                let handing_over = self.engine.hand_over();
                stop_at = Some(if handing_over { now + HAND_OVER_DEADLINE } else { now });
            }
            self.work()?;
            let status = self.engine.status();
            if status.run == RunState::Removed {
                return Ok(RunState::Removed);
            }
            let another_leads = status.leader.is_some_and(|leader| leader != status.member_id);
            if stop_at.is_some_and(|stop_at| another_leads || now >= stop_at) {
                return Ok(RunState::Stopped);
            }
        }
    }

    fn feed(&mut self, taken: Taken<Request<M>>) -> Result<(), RaftFault> {
        for message in taken.messages {
            self.engine.receive(message, &mut self.outlet)?;
        }
        // After the messages: those of a leader that is gone must not make it known again.
        for notice in taken.notices {
            match notice {
                Notice::JobDone(done) => {
                    if let Some(done) = done? {
                        self.engine.job_done(done)?;
                    }
                }
                Notice::Unreachable(member) => self.engine.unreachable(member),
                // That the member has no vote was checked with the members as they were known to the caller.
                Notice::Transfer(to) => self.engine.transfer_leadership(to).unwrap_or_default(),
            }
        }
        for request in taken.requests {
            self.next_ticket += 1;
            let ticket = self.next_ticket;
            match request {
                // Whoever asked has given up, and may have decided anew since.
                Request::Propose { reply, .. } if reply.is_closed() => {}
                Request::Propose { data, term, reply } => {
                    self.outlet.waiting.insert(ticket, Waiter::Propose(reply));
                    match term {
                        Some(term) => self.engine.propose_in_term(ticket, data, term, &mut self.outlet),
                        None => self.engine.propose(ticket, data, &mut self.outlet),
                    }
                }
                Request::Read(reply) => {
                    self.outlet.waiting.insert(ticket, Waiter::Read(reply));
                    self.engine.read(ticket);
                }
                Request::Change(change, reply) => {
                    self.outlet.waiting.insert(ticket, Waiter::Change(reply));
                    self.engine.change_membership(ticket, change, &mut self.outlet);
                }
            }
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), RaftFault> {
        self.engine.work(&mut self.outlet)?;
        if let Some(fault) = self.outlet.fault.take() {
            return Err(fault);
        }
        let fresh = self.engine.status();
        let led_term = fresh.led_term();
        self.outlet
            .shared
            .led_term
            .send_if_modified(|led| std::mem::replace(led, led_term) != led_term);
        self.outlet.shared.status.send_if_modified(|status| {
            log_change(status, &fresh);
            // That it runs no more is said once its storage is released.
            let run = status.run.clone();
            let fresh = Status { run, ..fresh };
            let changed = *status != fresh;
            *status = fresh;
            changed
        });
        Ok(())
    }
}

/// Where the engine's outputs go.
struct Outlet<M: StateMachine> {
    transport: Box<dyn Transport>,
    shared: Arc<Shared<M>>,
    waiting: HashMap<Ticket, Waiter<M>>,
    worker: Worker<M>,
    fault: Option<RaftFault>,
}

impl<M: StateMachine> Outlet<M> {
    fn forget_those_gone(&mut self) {
        self.waiting.retain(|_, waiter| match waiter {
            Waiter::Propose(reply) => !reply.is_closed(),
            Waiter::Read(reply) => !reply.is_closed(),
            Waiter::Change(reply) => !reply.is_closed(),
        });
    }
}

impl<M: StateMachine> Outputs<M> for Outlet<M> {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.transport.send(messages);
    }

    fn publish(&mut self, published: Arc<Published<M::View>>, outcomes: Option<&[Applied<M::Outcome>]>) {
        let last_index = published.index;
        self.shared.published.store(published);
        if self.shared.batches.receiver_count() == 0 {
            return;
        }
        let item = match outcomes {
            Some([]) => return,
            Some(outcomes) => FeedItem::Batch(Arc::new(AppliedBatch {
                last_index,
                outcomes: outcomes.to_vec(),
            })),
            None => FeedItem::Resync,
        };
        // That the last subscriber has just left is no error.
        self.shared.batches.send(item).ok();
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer<M>) {
        // Whoever asked may have stopped waiting.
        match (self.waiting.remove(&ticket), answer) {
            (Some(Waiter::Propose(reply)), Answer::Proposed(answer)) => drop(reply.send(answer)),
            (Some(Waiter::Read(reply)), Answer::Read(answer)) => drop(reply.send(answer)),
            (Some(Waiter::Change(reply)), Answer::Changed(answer)) => drop(reply.send(answer)),
            _ => {}
        }
    }

    fn members_changed(&mut self, membership: &Membership) {
        self.transport.members_changed(membership);
        self.shared.membership.send_replace(Arc::new(membership.clone()));
    }

    fn run(&mut self, job: Job<M>) {
        if let Err(fault) = self.worker.submit(job) {
            self.fault = Some(fault);
        }
    }
}

fn log_change(before: &Status, now: &Status) {
    if (before.role, before.term) != (now.role, now.term) {
        tracing::info!(
            member = now.member_id,
            role = ?now.role,
            term = now.term,
            raft_index = now.applied,
            "raft role changed"
        );
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
