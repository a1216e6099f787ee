//! The seam to the other members of the group. Pure.

use berth_proto::v1::PeerMessage;

use super::membership::Membership;

/// Carries messages to other members. It may lose, delay and repeat them, and never blocks: what does not
/// fit into its queue of a member is lost. A message never has more than
/// [`MAX_PEER_MESSAGE_BYTES`](crate::MAX_PEER_MESSAGE_BYTES).
///
/// What arrives goes to [`Raft::receive`](crate::Raft::receive); that a connection broke, to
/// [`Raft::report_unreachable`](crate::Raft::report_unreachable). Called on the driver's thread.
pub trait Transport: Send + 'static {
    /// Sends messages, each to the member that its `to` names.
    fn send(&mut self, messages: Vec<PeerMessage>);

    /// The members changed, or are known for the first time: where to reach them is in their records.
    fn members_changed(&mut self, membership: &Membership);
}

/// The transport of a group of one member, which has nobody to write to.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        for message in messages {
            tracing::error!(
                to = message.to,
                "raft message to a member that this group of one does not have"
            );
        }
    }

    fn members_changed(&mut self, _membership: &Membership) {}
}
