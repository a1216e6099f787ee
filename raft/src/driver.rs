//! The thread that drives a member: takes in what waits, lets the member work, answers. Shell.
//!
//! Its own thread and no task of the async runtime, since it waits for the disk. It sleeps until
//! something arrives; whatever arrives while it syncs is taken in together and shares the next sync.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::{ProposeError, RaftFault};
use super::feed::AppliedBatch;
use super::handle::{Applied, Published, Raft, RunState, Shared, Status};
use super::member::{Member, Progress};
use super::options::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, RaftOptions, TICK};
use super::reads::Reads;
use super::snapshot_worker::{Done, Job, SnapshotWorker};
use super::state_machine::StateMachine;
use super::transport::NoPeers;
use berth_storage::Storage;

/// What reaches the driver.
pub(super) enum Input<M: StateMachine> {
    /// A command to propose.
    Propose(Proposal<M::Outcome>),
    /// A linearizable read.
    Read(ReadReply<M::View>),
    /// The snapshot thread finished something.
    Snapshot(Result<Done, RaftFault>),
    /// Look at the stop flag.
    Wake,
}

/// A command on its way into the log.
pub(super) struct Proposal<O> {
    /// The encoded command.
    pub(super) data: Vec<u8>,
    /// Who waits for the outcome.
    pub(super) reply: ProposeReply<O>,
}

type ProposeReply<O> = oneshot::Sender<Result<Applied<O>, ProposeError>>;
type ReadReply<V> = oneshot::Sender<Arc<Published<V>>>;

/// Opens the member and starts its thread.
pub(super) fn start<M: StateMachine>(
    store: Arc<dyn Storage>,
    machine: M,
    options: RaftOptions,
    inbox: SyncSender<Input<M>>,
    requests: Receiver<Input<M>>,
) -> Result<Arc<Shared<M>>, RaftFault> {
    let ids = UniqueIds::new()?;
    let member = Member::open(store, machine, options.member_id, Box::new(NoPeers))?;
    let shared = Raft::shared(options.member_id, member.published());
    let worker = SnapshotWorker::start::<M>(Arc::clone(member.store()), move |done| {
        inbox.send(Input::Snapshot(done)).is_ok()
    })?;
    let on_fault = options.on_fault;
    let driver = Driver {
        member,
        requests,
        shared: Arc::clone(&shared),
        options,
        worker,
        snapshot_under_way: false,
        proposals: HashMap::new(),
        reads: Reads::default(),
        ids,
        next_tick: Instant::now() + TICK,
    };
    let thread_shared = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("raft".to_owned())
        .spawn(move || run_to_the_end(driver, &thread_shared, on_fault))
        .map_err(|source| RaftFault::System {
            action: "start the raft thread",
            source,
        })?;
    Ok(shared)
}

fn run_to_the_end<M: StateMachine>(driver: Driver<M>, shared: &Shared<M>, on_fault: fn(&RaftFault)) {
    // The closure owns the driver: afterwards its storage is released and its waiters know.
    let result = catch_unwind(AssertUnwindSafe(move || driver.run())).unwrap_or_else(|panic| {
        Err(RaftFault::Panicked {
            message: panic_message(&*panic),
        })
    });
    let run = match &result {
        Ok(()) => RunState::Stopped,
        Err(fault) => RunState::Failed(fault.chain().into()),
    };
    if let Err(fault) = result {
        on_fault(&fault);
    }
    shared.status.send_modify(|status| status.run = run);
}

struct Driver<M: StateMachine> {
    // First, so that it is dropped before `worker`: the snapshot thread may wait to report into this inbox.
    requests: Receiver<Input<M>>,
    member: Member<M>,
    shared: Arc<Shared<M>>,
    options: RaftOptions,
    worker: SnapshotWorker<M::View>,
    snapshot_under_way: bool,
    proposals: HashMap<Vec<u8>, ProposeReply<M::Outcome>>,
    reads: Reads<ReadReply<M::View>>,
    ids: UniqueIds,
    next_tick: Instant,
}

impl<M: StateMachine> Driver<M> {
    fn run(mut self) -> Result<(), RaftFault> {
        self.member.campaign_if_alone()?;
        self.advance()?;
        while !self.shared.stop.load(Ordering::SeqCst) {
            let first = self.wait();
            self.take_in(first)?;
            self.advance()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Option<Input<M>> {
        let now = Instant::now();
        if now >= self.next_tick {
            self.tick(now);
        }
        // The snapshot thread holds a sender, so that nothing came is the only error.
        self.requests
            .recv_timeout(self.next_tick.saturating_duration_since(now))
            .ok()
    }

    fn tick(&mut self, now: Instant) {
        self.member.tick();
        self.proposals.retain(|_, reply| !reply.is_closed());
        self.reads.tick(|reply| !reply.is_closed());
        // A paused process must not live through all the ticks it missed at once.
        self.next_tick = now + TICK;
    }

    /// Takes in the first request and all that wait behind it, up to the bounds of a batch.
    fn take_in(&mut self, first: Option<Input<M>>) -> Result<(), RaftFault> {
        let mut room = None;
        let mut bytes = 0;
        let mut first = first;
        for _ in 0..MAX_BATCH_REQUESTS {
            // Taken out only where this pass will handle it: what is dropped here would never be answered.
            let Some(input) = first.take().or_else(|| self.requests.try_recv().ok()) else {
                break;
            };
            match input {
                Input::Propose(proposal) => {
                    bytes += proposal.data.len();
                    let refused = match room {
                        Some(known) => known,
                        None => self.no_disk_room()?,
                    };
                    room = Some(refused.clone());
                    self.propose(proposal, refused);
                }
                Input::Read(reply) => self.reads.add(reply),
                Input::Snapshot(done) => self.snapshot_done(done?)?,
                Input::Wake => {}
            }
            if bytes >= MAX_BATCH_BYTES {
                break;
            }
        }
        Ok(())
    }

    fn no_disk_room(&self) -> Result<Option<ProposeError>, RaftFault> {
        let (free_bytes, required_bytes) = (self.member.store().free_bytes()?, self.options.required_free_bytes);
        Ok((free_bytes < required_bytes).then_some(ProposeError::DiskFull {
            free_bytes,
            required_bytes,
        }))
    }

    fn propose(&mut self, proposal: Proposal<M::Outcome>, refused: Option<ProposeError>) {
        let Proposal { data, reply } = proposal;
        self.shared.waiting_bytes.fetch_sub(data.len(), Ordering::SeqCst);
        let id = self.ids.next();
        let accepted = match refused {
            Some(error) => Err(error),
            None => self.member.propose(id.clone(), data),
        };
        match accepted {
            Ok(()) => {
                self.proposals.insert(id, reply);
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Lets the member work, publishes what came of it and answers.
    fn advance(&mut self) -> Result<(), RaftFault> {
        loop {
            let asked = self.ask_reads();
            let progress = self.member.process()?;
            self.publish(progress);
            // A new leader can answer reads only since its first entry is committed, which just happened.
            if asked || !(self.reads.want_to_ask() && self.member.can_read()) {
                break;
            }
        }
        self.publish_status();
        self.snapshot_if_due()
    }

    fn ask_reads(&mut self) -> bool {
        let ask = self.reads.want_to_ask() && self.member.can_read();
        if ask {
            let context = self.ids.next();
            self.member.ask_read(context.clone());
            self.reads.asked(context);
        }
        ask
    }

    /// The view first, so that whoever is answered finds the effect in it.
    fn publish(&mut self, progress: Progress<M::Outcome>) {
        let mut published = self.shared.published.load_full();
        let fresh = self.member.status().applied;
        if published.index != fresh {
            published = Arc::new(self.member.published());
            self.shared.published.store(Arc::clone(&published));
        }
        if self.shared.batches.receiver_count() > 0 && !progress.applied.is_empty() {
            let outcomes = progress.applied.iter().map(|(_, applied)| applied.clone()).collect();
            // That the last subscriber has just left is no error.
            self.shared
                .batches
                .send(Arc::new(AppliedBatch {
                    last_index: published.index,
                    outcomes,
                }))
                .ok();
        }
        for (id, applied) in progress.applied {
            if let Some(reply) = self.proposals.remove(&id) {
                answer(reply, Ok(applied));
            }
        }
        for read in progress.reads {
            self.reads.confirmed(&read.request_ctx, read.index);
        }
        for reply in self.reads.take_answerable(published.index) {
            answer(reply, Arc::clone(&published));
        }
    }

    fn publish_status(&self) {
        let fresh = self.member.status();
        self.shared.status.send_if_modified(|status| {
            log_change(status, &fresh);
            let changed = *status != fresh;
            if changed {
                *status = fresh;
            }
            changed
        });
    }

    fn snapshot_if_due(&mut self) -> Result<(), RaftFault> {
        let entries = self.member.entries_since_snapshot();
        let due = entries >= self.options.snapshot_after_entries
            || (entries > 0 && self.member.log_bytes() >= self.options.snapshot_after_bytes);
        if !due || self.snapshot_under_way {
            return Ok(());
        }
        self.snapshot_under_way = true;
        let view = self.member.published().view;
        self.worker.submit(Job::Write {
            view,
            meta: self.member.new_snapshot_meta(),
        })
    }

    fn snapshot_done(&mut self, done: Done) -> Result<(), RaftFault> {
        match done {
            Done::Written(meta) => {
                tracing::debug!(raft_index = meta.index, bytes = meta.stream_bytes, "snapshot written");
                let leftovers = self.member.install_snapshot(meta)?;
                self.worker.submit(Job::Clear(leftovers))
            }
            Done::Cleared => {
                self.snapshot_under_way = false;
                Ok(())
            }
        }
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    // Whoever asked may have stopped waiting.
    reply.send(value).ok();
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

/// Ids that no other driver, of this member or another, ever gives out.
struct UniqueIds {
    driver: [u8; 8],
    next: u64,
}

impl UniqueIds {
    fn new() -> Result<Self, RaftFault> {
        let mut driver = [0; 8];
        getrandom::fill(&mut driver).map_err(|error| RaftFault::System {
            action: "draw a random number",
            source: std::io::Error::other(error.to_string()),
        })?;
        Ok(Self { driver, next: 0 })
    }

    fn next(&mut self) -> Vec<u8> {
        self.next += 1;
        [self.driver, self.next.to_be_bytes()].concat()
    }
}
