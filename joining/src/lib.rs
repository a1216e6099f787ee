//! How a controller or a host that has a join token gets its first certificate from a controller of the cluster.
//!
//! Owns the conversation, and when it is tried again. It believes whoever shows the authority that the token names, and tells the token to
//! nobody else. What certificates are and how they are checked is `trust`'s; what whoever is let in does then, and under which id it asks, it
//! must not know. Shell.

mod conversation;

use std::time::Duration;

use berth_proto::v1::JoinAnswer;
use berth_trust::UnixTime;
use berth_trust::identity::Identity;
use berth_trust::join::{JoinError, JoinResponse, Joiner};
use berth_trust::keeper::{Keeper, KeeperError, Kept};
use berth_trust::token::JoinToken;
use tokio::time::Instant;

use conversation::{Conversation, Failure};

/// How long it is tried to reach a controller that can answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Wait between two rounds of all controllers.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// A controller that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As whoever starts the program calls it.
    pub name: String,
    /// Where it is.
    pub uri: String,
}

/// Who wants to join.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The id that it drew for itself.
    pub id: &'a str,
    /// The account that it will be of, if it says so: where that is not the cluster's, it is refused before its token is used.
    pub account: Option<&'a str>,
}

/// What somebody got who was let in.
#[derive(Debug)]
pub struct LetIn {
    /// Its certificate, and whom it is to trust.
    pub kept: Kept,
    /// Where the controllers are, as URIs.
    pub controllers: Vec<String>,
    /// The Raft group of the controllers, as they wrote it.
    pub raft_cluster_id: Vec<u8>,
    /// The controller that let it in.
    pub by: String,
}

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// A controller refused, or none of those who answered is one of the cluster.
    #[error("{peer} does not let it join: {reason}")]
    Refused {
        /// Which.
        peer: String,
        /// In its words.
        reason: String,
    },
    /// The id is, or was, that of another; under another id it may be let in.
    #[error("{peer} does not let it join under this id: {reason}")]
    OtherId {
        /// Which controller says so.
        peer: String,
        /// In its words.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer within {} s; the last, {peer}: {reason}", PATIENCE.as_secs())]
    NoAnswer {
        /// Which controller was asked last.
        peer: String,
        /// What went wrong there.
        reason: String,
    },
    /// The answer is no good.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The key cannot be kept.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// Whether an answer that is no good stays so until somebody does something about it; clocks are set by themselves.
#[must_use]
pub fn is_final(error: &JoinError) -> bool {
    !matches!(error, JoinError::Refused(refusal) if refusal.is_about_time())
}

/// Joins with a token, by the first of `peers` that can answer. The key is kept before anybody is asked, so that one that
/// stopped before it had its answer is let in with the same token when it asks again; it is forgotten once there is a decision, but for
/// one that is about the id.
///
/// # Errors
/// [`NotLetIn`]
pub async fn join(token: &JoinToken, peers: &[Peer], who: Who<'_>, keeper: &Keeper) -> Result<LetIn, NotLetIn> {
    let joining = keeper.clone();
    let key = blocking(move || joining.joining_key()).await?;
    let joiner = Joiner::with_key(token.clone(), key);
    let outcome = ask_for_a_while(joiner, peers, who).await;
    let is_over = match &outcome {
        Err(NotLetIn::Refused { .. }) => true,
        Err(NotLetIn::Join(error)) => is_final(error),
        _ => false,
    };
    if is_over {
        forget(keeper).await?;
    }
    outcome
}

/// Forgets the key of somebody who asks no more.
///
/// # Errors
/// [`KeeperError`]
pub async fn forget(keeper: &Keeper) -> Result<(), KeeperError> {
    let joining = keeper.clone();
    blocking(move || joining.forget_joining_key()).await
}

async fn ask_for_a_while(joiner: Joiner, peers: &[Peer], who: Who<'_>) -> Result<LetIn, NotLetIn> {
    let conversation = Conversation::new(&joiner, &who);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut last = ("no controller".to_owned(), "none is named".to_owned());
        let mut strangers = 0;
        for Peer { name, uri } in peers {
            let peer = name.clone();
            let reason = match conversation.with(uri).await {
                Ok((answer, server)) => return complete(joiner, answer, &server, peer),
                Err(Failure::OtherId(reason)) => return Err(NotLetIn::OtherId { peer, reason }),
                Err(Failure::ForGood(reason)) => return Err(NotLetIn::Refused { peer, reason }),
                Err(Failure::Stranger(reason)) => {
                    strangers += 1;
                    reason
                }
                Err(Failure::ForNow(reason)) => reason,
            };
            tracing::warn!(peer, reason, "could not join yet");
            last = (peer, reason);
        }
        let (peer, reason) = last;
        if strangers == peers.len() && !peers.is_empty() {
            return Err(NotLetIn::Refused { peer, reason });
        }
        if Instant::now() >= until || peers.is_empty() {
            return Err(NotLetIn::NoAnswer { peer, reason });
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

fn complete(joiner: Joiner, answer: JoinAnswer, server: &Identity, by: String) -> Result<LetIn, NotLetIn> {
    let news = answer.news.unwrap_or_default();
    let response = JoinResponse {
        chain: answer.chain,
        authorities: news.authorities,
    };
    Ok(LetIn {
        kept: joiner.complete(&response, server, UnixTime::now())?,
        controllers: news.controllers,
        raft_cluster_id: answer.raft_cluster_id,
        by,
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
