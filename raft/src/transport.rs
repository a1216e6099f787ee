//! The seam to the other members of the group. Pure.

use raft::eraftpb::Message;

/// Carries messages to other members; may lose, delay and repeat them, and never blocks.
pub(super) trait Transport: Send + 'static {
    /// Sends messages, each to the member that it names.
    fn send(&mut self, messages: Vec<Message>);
}

/// The transport of a group of one member, which has nobody to write to.
#[derive(Debug, Default)]
pub(super) struct NoPeers;

impl Transport for NoPeers {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            tracing::error!(
                to = message.to,
                "raft message to a member that this group of one does not have"
            );
        }
    }
}
