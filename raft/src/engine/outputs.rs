//! What comes of an engine's work. Pure.

use std::sync::Arc;

use berth_proto::v1;

use super::{Job, Ticket};
use crate::error::{MembershipError, ProposeError, ReadError};
use crate::handle::{Applied, Published};
use crate::membership::Membership;
use crate::state_machine::StateMachine;

/// Takes what an engine gives, in the order in which it must take effect. None of it may block.
pub trait Outputs<M: StateMachine> {
    /// Messages for other members, each to the one that it names. They may be lost, late or repeated.
    fn send(&mut self, messages: Vec<v1::PeerMessage>);

    /// A newer state. Comes before the answers that it contains the effects of. With `outcomes`, it is the last
    /// state with these commands applied; with none, a snapshot took its place.
    fn publish(&mut self, published: Arc<Published<M::View>>, outcomes: Option<&[Applied<M::Outcome>]>);

    /// The answer to a request; each gets one.
    fn answer(&mut self, ticket: Ticket, answer: Answer<M>);

    /// The members changed, or are known for the first time.
    fn members_changed(&mut self, membership: &Membership);

    /// Something is to be done beside the engine; see [`Job`].
    fn run(&mut self, job: Job<M>);
}

/// The answer to a request.
pub enum Answer<M: StateMachine> {
    /// To a proposal.
    Proposed(Result<Applied<M::Outcome>, ProposeError>),
    /// To a read.
    Read(Result<Arc<Published<M::View>>, ReadError>),
    /// To a change of the membership: the index that made it.
    Changed(Result<u64, MembershipError>),
}

impl<M: StateMachine> Answer<M> {
    /// A failed proposal, or a failed change of the membership.
    pub(super) fn failed(is_change: bool, error: ProposeError) -> Self {
        if is_change {
            Self::Changed(Err(error.into()))
        } else {
            Self::Proposed(Err(error))
        }
    }
}

/// Keeps all outputs, for those who look at them afterwards.
pub struct Collected<M: StateMachine> {
    /// Messages that were sent.
    pub messages: Vec<v1::PeerMessage>,
    /// The newest state.
    pub published: Option<Arc<Published<M::View>>>,
    /// Answers that were given.
    pub answers: Vec<(Ticket, Answer<M>)>,
    /// The newest members.
    pub membership: Option<Membership>,
    /// The job to be run.
    pub job: Option<Job<M>>,
}

impl<M: StateMachine> Default for Collected<M> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            published: None,
            answers: Vec::new(),
            membership: None,
            job: None,
        }
    }
}

impl<M: StateMachine> Outputs<M> for Collected<M> {
    fn send(&mut self, messages: Vec<v1::PeerMessage>) {
        self.messages.extend(messages);
    }

    fn publish(&mut self, published: Arc<Published<M::View>>, _outcomes: Option<&[Applied<M::Outcome>]>) {
        self.published = Some(published);
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer<M>) {
        self.answers.push((ticket, answer));
    }

    fn members_changed(&mut self, membership: &Membership) {
        self.membership = Some(membership.clone());
    }

    fn run(&mut self, job: Job<M>) {
        self.job = Some(job);
    }
}
