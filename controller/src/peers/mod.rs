//! The connections between the members of the Raft group: what `proto/berth/v1/peer.proto` describes, over TLS.
//!
//! Owns who is connected to whom and how messages queue in between; it must not know what they say. Whoever speaks is held to the
//! certificate of its connection: a member speaks for itself alone. Shell.
//!
//! Each member opens one stream to each other member, and sends on it; so between two there are two streams, one for each direction.

mod announcing;
mod calls;
mod client;
mod link;
mod links;
mod queue;
mod server;

pub use announcing::{Announcer, record_of};
pub(crate) use calls::CallsToLeader;
pub use client::{PeerError, PeerTls};
pub use links::{PeerNetwork, PeerTransport};
pub use server::PeersService;

/// Detail of a member's record: where other members and agents reach it, as HOST:PORT.
pub const ADDRESS: &str = "address";

/// Detail of a member's record: the newest feature level that it knows.
pub const FEATURE_LEVEL: &str = "level";

/// Metadata of a stream: where its sender is reached.
const ADDRESS_METADATA: &str = "berth-address";
