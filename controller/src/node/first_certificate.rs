//! How a controller that wants to join gets its first certificate from a member: who it asks and what it makes of the answer. The conversation
//! is `joining`'s. Shell.

use berth_joining::{NotLetIn, PATIENCE, Peer, Who};
use berth_raft::ClusterId;
use berth_trust::identity::Role;
use berth_trust::join::JoinError;
use berth_trust::keeper::{Keeper, KeeperError, Kept};
use berth_trust::token::JoinToken;
use http::Uri;

/// What a controller got that was let in.
#[derive(Debug)]
pub(super) struct LetIn {
    /// Its certificate, and whom it is to trust.
    pub(super) kept: Kept,
    /// The group that it will be a member of.
    pub(super) raft_cluster: ClusterId,
    /// Where the members are, as HOST:PORT.
    pub(super) contacts: Vec<String>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum FirstCertificateError {
    /// The token is for something else.
    #[error("the join token is for the role {0}: make one with `berth token create --role controller`")]
    OtherRole(Role),
    /// Not an address.
    #[error("--peer {0:?} is no address of a member: it must be HOST:PORT")]
    Address(String),
    /// The member refused.
    #[error("{peer} does not let this controller join: {reason}")]
    Refused {
        /// Which member.
        peer: String,
        /// In its words.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer from {peer} within {} s: {reason}", PATIENCE.as_secs())]
    NoAnswer {
        /// Which member.
        peer: String,
        /// What went wrong last.
        reason: String,
    },
    /// Token or answer are no good.
    #[error("this controller cannot join")]
    Join(#[from] JoinError),
    /// Its key cannot be kept.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl From<NotLetIn> for FirstCertificateError {
    fn from(error: NotLetIn) -> Self {
        match error {
            // The id was drawn for this start.
            NotLetIn::Refused { peer, reason } | NotLetIn::OtherId { peer, reason } => Self::Refused { peer, reason },
            NotLetIn::NoAnswer { peer, reason } => Self::NoAnswer { peer, reason },
            NotLetIn::Join(error) => Self::Join(error),
            NotLetIn::Keeper(error) => Self::Keeper(error),
        }
    }
}

impl FirstCertificateError {
    /// Whether starting the controller again, as it is, changes nothing.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Keeper(_) => false,
            Self::Join(error) => berth_joining::is_final(error),
            _ => true,
        }
    }
}

/// Gets a certificate for a member of that id from the member at `peer`.
pub(super) async fn get(token: &str, peer: &str, member: u64, keeper: &Keeper) -> Result<LetIn, FirstCertificateError> {
    let token: JoinToken = token.parse().map_err(JoinError::from)?;
    if token.role() != Role::Controller {
        return Err(FirstCertificateError::OtherRole(token.role()));
    }
    let uri = format!("http://{peer}");
    if uri.parse::<Uri>().is_err() {
        return Err(FirstCertificateError::Address(peer.to_owned()));
    }
    let name = peer.to_owned();
    // Of which account it is, it learns from the cluster.
    let who = Who {
        id: &member.to_string(),
        account: None,
    };
    let joined = berth_joining::join(&token, &[Peer { name, uri }], who, keeper).await;
    if matches!(joined, Err(NotLetIn::OtherId { .. })) {
        berth_joining::forget(keeper).await?;
    }
    as_member(joined?)
}

fn as_member(let_in: berth_joining::LetIn) -> Result<LetIn, FirstCertificateError> {
    let peer = let_in.by;
    let Ok(raft_cluster) = <[u8; 16]>::try_from(let_in.raft_cluster_id.as_slice()) else {
        let reason = "its answer does not say which group it is of".to_owned();
        return Err(FirstCertificateError::Refused { peer, reason });
    };
    let known = let_in.controllers.iter().filter_map(|uri| uri.strip_prefix("https://"));
    let mut contacts: Vec<String> = known.map(str::to_owned).collect();
    if !contacts.contains(&peer) {
        contacts.push(peer);
    }
    Ok(LetIn {
        kept: let_in.kept,
        raft_cluster: ClusterId(raft_cluster),
        contacts,
    })
}
