//! A member of the group without a thread, a clock or a network: something that is stepped. Shell.
//!
//! Owns what happens in which order; whoever drives it owns when. The driver feeds an [`Engine`] with
//! whatever came in (proposals, reads, messages, ticks, finished jobs) and then lets it [`Engine::work`]
//! once: everything fed together shares one sync. What comes of it goes out through [`Outputs`] while it
//! works: messages before the sync that they need not wait for, answers as soon as they are known.
//!
//! Equal seeds and equal inputs give equal outputs. [`crate::Raft`] drives one with a thread; a simulation
//! drives many in one.

mod applied_proposals;
mod dispatch;
mod elections;
mod ids;
mod intake;
mod jobs;
mod leaving;
mod member;
mod outputs;
mod pass;
mod proposals;
mod reads;
mod transfers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::{self, peer_message::Content as PeerContent};
use raft::StateRole;

use crate::error::{ProposeError, RaftFault, ReadError, TransferError};
use crate::founding::{self, Identity};
use crate::handle::{Published, Role, RunState, Status};
use crate::membership::{Membership, MembershipChange};
use crate::options::{ALIVE_TICKS, RaftOptions, TICK};
use crate::snapshot;
use crate::state_machine::StateMachine;
use berth_storage::Storage;
use elections::Elections;
use jobs::{Done, Jobs};
use member::Member;
use pass::Pass;
use proposals::{Content, Proposals};
use reads::Reads;
use transfers::{Fetch, Serving};

pub(crate) use applied_proposals::AppliedProposals;
pub(crate) use ids::{Draws, ProposalId};
pub(crate) use intake::check_address;
pub use jobs::{Job, JobDone};
pub use outputs::{Answer, Collected, Outputs};

/// What the driver of an engine knows a request by; its answer carries the same.
pub type Ticket = u64;

/// A member of the group, stepped by whoever holds it.
pub struct Engine<M: StateMachine> {
    member: Member<M>,
    book: Book<M>,
    options: RaftOptions,
    propose_ticks: u64,
    read_ticks: u64,
}

/// What a member knows beside the replicated state.
struct Book<M: StateMachine> {
    identity: Identity,
    /// Ticks since the start.
    now: u64,
    proposals: Proposals,
    reads: Reads<Reader>,
    next_read: u64,
    elections: Elections,
    jobs: Jobs<M::View>,
    serving: Serving,
    fetch: Option<Fetch>,
    /// Proposals of other members that wait to be appended.
    forwarded: Vec<Forwarded>,
    /// Proposals in the log of this leader that are not applied, by origin and number.
    in_flight: BTreeSet<(u64, u64)>,
    /// Messages that wait for the next work.
    outbox: Vec<v1::PeerMessage>,
    /// When each member was heard last.
    heard: BTreeMap<u64, u64>,
    leadership: (Option<u64>, u64),
    /// Tick at which it became known who leads now.
    leadership_since: u64,
    /// The state as it is after the newest entry that is applied.
    published: Arc<Published<M::View>>,
    published_membership: Option<u64>,
    /// Tick at which the newest membership was taken over.
    membership_since: u64,
    /// This member was removed, and nobody needs it any more.
    removed: bool,
}

/// A proposal that another member sent.
struct Forwarded {
    from: u64,
    proposal: proposals::Sending,
}

/// A read that waits.
#[derive(Clone, Copy, Debug)]
struct Reader {
    ticket: Ticket,
    deadline: u64,
}

impl<M: StateMachine> Engine<M> {
    /// Opens a member on its storage, or founds one as the options say. Reads the disk.
    ///
    /// The seed decides all that looks random: the ids of a new group and member, election timeouts, and the
    /// origin of proposals. No two runs of any member may have the same.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage does not hold a sound state of this member.
    pub fn open(store: Arc<dyn Storage>, machine: M, options: RaftOptions, seed: u64) -> Result<Self, RaftFault> {
        let mut draws = Draws::new(seed);
        let identity = founding::open(&store, &options, &mut draws)?;
        let mut member = Member::open(store, machine, identity.member_id)?;
        member.campaign_if_alone()?;
        let book = Book {
            identity,
            now: 0,
            proposals: Proposals::new(draws.id()),
            reads: Reads::default(),
            next_read: 0,
            elections: Elections::new(draws),
            jobs: Jobs::default(),
            serving: Serving::default(),
            fetch: None,
            forwarded: Vec::new(),
            in_flight: BTreeSet::new(),
            outbox: Vec::new(),
            heard: BTreeMap::new(),
            leadership: (None, 0),
            leadership_since: 0,
            published: Arc::new(member.published()),
            published_membership: None,
            membership_since: 0,
            removed: false,
        };
        Ok(Self {
            member,
            book,
            propose_ticks: ticks(options.propose_deadline),
            read_ticks: ticks(options.read_deadline),
            options,
        })
    }

    /// Who this member is.
    pub fn identity(&self) -> Identity {
        self.book.identity
    }

    /// The state as it is applied here.
    pub fn published(&self) -> Published<M::View> {
        self.member.published()
    }

    /// The members as they are known here.
    pub fn membership(&self) -> Membership {
        self.member.configuration().published()
    }

    /// How the member stands. Once it is [`RunState::Removed`], it does nothing any more.
    pub fn status(&self) -> Status {
        let raft = &self.member.node().raft;
        Status {
            cluster: self.book.identity.cluster,
            member_id: raft.id,
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower if !raft.promotable() => Role::Learner,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            leader: self.member.leader(),
            term: raft.term,
            commit: raft.raft_log.committed,
            applied: self.member.applied_index(),
            snapshot: self.member.log().snapshot_meta().index,
            run: if self.book.removed {
                RunState::Removed
            } else {
                RunState::Running
            },
        }
    }

    /// A digest of what must be equal on every member at equal index, beside the machine's state: the members
    /// and the proposals that are recognised.
    pub fn replicated_digest(&self) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        format!("{:?}", self.membership()).hash(&mut hasher);
        format!("{:?}", self.member.proposals()).hash(&mut hasher);
        hasher.finish()
    }

    /// Takes in an encoded command; [`Answer::Proposed`] follows, at the latest when its deadline has passed.
    pub fn propose(&mut self, ticket: Ticket, command: Vec<u8>, out: &mut impl Outputs<M>) {
        self.take_command(ticket, command, None, out);
    }

    /// Takes in an encoded command which only this member may propose, as the leader of a term: it takes effect at a
    /// place of the log that this term wrote, or never. [`Answer::Proposed`] follows; it is
    /// [`ProposeError::TermPassed`] where nothing came of it since the member does not lead in that term any more.
    pub fn propose_in_term(&mut self, ticket: Ticket, command: Vec<u8>, term: u64, out: &mut impl Outputs<M>) {
        self.take_command(ticket, command, Some(term), out);
    }

    fn take_command(&mut self, ticket: Ticket, command: Vec<u8>, term: Option<u64>, out: &mut impl Outputs<M>) {
        let deadline = self.book.now + self.propose_ticks;
        if !self
            .book
            .proposals
            .add(ticket, Content::Command(command), term, deadline)
        {
            out.answer(ticket, Answer::Proposed(Err(ProposeError::Overloaded)));
        }
    }

    /// Takes in a change of the membership; [`Answer::Changed`] follows.
    pub fn change_membership(&mut self, ticket: Ticket, change: MembershipChange, out: &mut impl Outputs<M>) {
        let deadline = self.book.now + self.propose_ticks;
        if !self.book.proposals.add(ticket, Content::Change(change), None, deadline) {
            out.answer(ticket, Answer::Changed(Err(ProposeError::Overloaded.into())));
        }
    }

    /// Takes in a linearizable read; [`Answer::Read`] follows.
    pub fn read(&mut self, ticket: Ticket) {
        let deadline = self.book.now + self.read_ticks;
        self.book.reads.add(Reader { ticket, deadline });
    }

    /// Takes in what a job has done.
    ///
    /// # Errors
    /// [`RaftFault`]; the engine must not go on then.
    pub fn job_done(&mut self, done: JobDone) -> Result<(), RaftFault> {
        let JobDone(done) = done;
        self.book.jobs.done(&done);
        match done {
            Done::Written(meta) => {
                tracing::debug!(raft_index = meta.index, bytes = meta.stream_bytes, "snapshot written");
                let retained = if self.member.is_alone() {
                    0
                } else {
                    self.options.retained_entries
                };
                let leftovers = self.member.log_mut().install_own_snapshot(*meta, retained)?;
                self.book.jobs.clear(leftovers);
            }
            Done::Cleared => {}
        }
        Ok(())
    }

    /// A connection to a member broke, or could not be made.
    pub fn unreachable(&mut self, member: u64) {
        // Until it is heard again, it does not count among those that are alive.
        self.book.heard.remove(&member);
        if self.member.leads() {
            self.member.report_unreachable(member);
            return;
        }
        let me = self.member.id();
        if self.member.leader() == Some(member) && self.member.state() == StateRole::Follower {
            tracing::info!(member = me, leader = member, "raft leader unreachable");
            self.member.forget_leader();
            let voters = self.member.configuration().voters();
            if voters.contains(&me) {
                self.book.elections.suspect(self.book.now, me, member, &voters);
            }
        }
    }

    /// Asks the leader to hand over to a member; whether it did shows in the status.
    ///
    /// # Errors
    /// [`TransferError::NotVoter`].
    pub fn transfer_leadership(&mut self, to: u64) -> Result<(), TransferError> {
        if !self.member.configuration().voters().contains(&to) {
            return Err(TransferError::NotVoter { member: to });
        }
        self.member.transfer_leadership(to);
        Ok(())
    }

    /// A leader that is about to stop hands over to whoever is furthest; whether there is anyone to wait for.
    pub fn hand_over(&mut self) -> bool {
        if !self.member.leads() {
            return false;
        }
        let successor = self.successor();
        if let Some(successor) = successor {
            self.member.transfer_leadership(successor);
        }
        successor.is_some()
    }

    /// One tick of the clock passed, [`TICK`] long.
    pub fn tick(&mut self, out: &mut impl Outputs<M>) {
        self.book.now += 1;
        let now = self.book.now;
        let (term, role) = (self.member.term(), self.member.state());
        let timeout = self.book.elections.timeout(term, role);
        self.member.tick(timeout);
        let leader_known = self.member.leader().is_some();
        if self.book.elections.tries_early(now, self.member.state(), leader_known) {
            self.member.campaign();
        }
        for ended in self.book.proposals.tick(now) {
            let error = ProposeError::Timeout {
                after: self.options.propose_deadline,
            };
            out.answer(ended.ticket, Answer::failed(ended.is_change, error));
        }
        for reader in self.book.reads.tick(|reader| reader.deadline >= now) {
            let error = ReadError::Timeout {
                after: self.options.read_deadline,
            };
            out.answer(reader.ticket, Answer::Read(Err(error)));
        }
        self.tick_transfers();
        self.tick_leaving();
    }

    /// Works off all that came in: persists, sends, applies, answers.
    ///
    /// # Errors
    /// [`RaftFault`]: the member cannot go on, what its disk holds is unknown until it is opened again.
    pub fn work(&mut self, out: &mut impl Outputs<M>) -> Result<(), RaftFault> {
        loop {
            if self.book.removed {
                break;
            }
            self.note_leadership();
            self.dispatch(out)?;
            self.ask_reads();
            self.flush(out);
            if !self.member.has_work() {
                break;
            }
            let mut pass = Pass::new(&mut self.book, out);
            self.member.pass(&mut pass)?;
            self.note_leadership();
        }
        self.note_membership(out);
        self.flush(out);
        self.snapshot_if_due();
        let store = Arc::clone(self.member.log().store());
        if let Some(job) = self.book.jobs.next(&store) {
            out.run(job);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut impl Outputs<M>) {
        if !self.book.outbox.is_empty() {
            out.send(std::mem::take(&mut self.book.outbox));
        }
    }

    fn ask_reads(&mut self) {
        if self.book.reads.want_to_ask() && self.member.can_read() {
            self.book.next_read += 1;
            let context = [
                self.book.proposals.origin().to_be_bytes(),
                self.book.next_read.to_be_bytes(),
            ]
            .concat();
            self.member.ask_read(context.clone());
            self.book.reads.asked(context);
        }
    }

    fn note_leadership(&mut self) {
        let leadership = (self.member.leader(), self.member.term());
        if leadership == self.book.leadership {
            return;
        }
        self.book.leadership = leadership;
        self.book.leadership_since = self.book.now;
        self.book.in_flight.clear();
        if leadership.0.is_some() {
            self.book.proposals.leader_changed();
            self.book.reads.leader_changed();
        }
    }

    fn note_membership(&mut self, out: &mut impl Outputs<M>) {
        let configuration = self.member.configuration();
        if self.book.published_membership != Some(configuration.index) {
            self.book.published_membership = Some(configuration.index);
            self.book.membership_since = self.book.now;
            self.book.heard.retain(|member, _| configuration.contains(*member));
            out.members_changed(&configuration.published());
        }
    }

    fn snapshot_if_due(&mut self) {
        let log = self.member.log();
        let wanted = log.take_snapshot_wanted();
        let meta = log.snapshot_meta();
        let (snapshot, patience) = (
            meta.index,
            self.options.snapshot_patience(snapshot::content_bytes(meta)),
        );
        let entries = self.member.applied_index().saturating_sub(snapshot);
        let due = entries >= self.options.snapshot_after_entries.saturating_mul(patience)
            || (entries > 0 && log.log_bytes() >= self.options.snapshot_after_bytes.saturating_mul(patience))
            // A group founded by an older version: whoever joins needs a snapshot first.
            || (entries > 0 && snapshot == 0);
        if self.book.jobs.writes() || !(wanted || due) || entries == 0 {
            return;
        }
        if !wanted && self.book.serving.holds(self.book.now) {
            return;
        }
        let meta = self.member.new_snapshot_meta();
        let view = self.member.published().view;
        let proposals = self.member.proposals().clone();
        self.book.jobs.write(view, proposals, meta);
    }

    /// Members heard from lately, this one included.
    fn alive(&self) -> BTreeSet<u64> {
        let now = self.book.now;
        let heard = self.book.heard.iter();
        heard
            .filter(|(_, at)| now < **at + ALIVE_TICKS)
            .map(|(member, _)| *member)
            .chain([self.member.id()])
            .collect()
    }

    /// Whether this leader has led for so long that a member it has not heard from is silent, rather than about to answer.
    fn has_had_time_to_hear(&self) -> bool {
        self.book.now >= self.book.leadership_since + ALIVE_TICKS
    }

    /// The voter to hand over to: of those alive the one whose log is longest.
    fn successor(&self) -> Option<u64> {
        let (alive, me) = (self.alive(), self.member.id());
        let progress = self.member.node().raft.prs();
        let voters = self.member.configuration().voters().into_iter();
        voters
            .filter(|voter| *voter != me && alive.contains(voter))
            .filter_map(|voter| Some((progress.get(voter)?.matched, std::cmp::Reverse(voter))))
            .max()
            .map(|(_, std::cmp::Reverse(voter))| voter)
    }
}

impl<M: StateMachine> Book<M> {
    fn envelope(&self, to: u64, content: PeerContent) -> v1::PeerMessage {
        v1::PeerMessage {
            cluster_id: self.identity.cluster.0.to_vec(),
            from: self.identity.member_id,
            to,
            content: Some(content),
        }
    }

    fn post(&mut self, to: u64, content: PeerContent) {
        let message = self.envelope(to, content);
        self.outbox.push(message);
    }
}

fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2)
}
