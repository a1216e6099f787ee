//! How a host becomes part of a cluster with a join token, and stays part of it: its certificate, and whom it trusts.
//!
//! Owns what is in the folder of the host's identity, under which id it joins, and its next certificates and the cluster's news
//! ([`upkeep`]). How it is let in is `joining`'s; what certificates are and how they are checked is `trust`'s. It must not know of sessions
//! or tasks. Shell.

mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use berth_core::model::AgentId;
use berth_joining::{LetIn, NotLetIn, PATIENCE, Peer, Who};
use berth_trust::credentials::Credentials;
use berth_trust::identity::{Identity, Role};
use berth_trust::join::JoinError;
use berth_trust::keeper::{Keeper, KeeperError, Kept};
use berth_trust::removed::Removed;
use berth_trust::tls::{Connector, Expected, LiveCredentials, LiveTrust, Protocol, Refusal, Trust, verify_chain};
use berth_trust::token::JoinToken;
use berth_trust::{DefaultTimeProvider, UnixTime};
use tokio::sync::watch;

use crate::ledger::{Joined, Ledger, LedgerError};
pub(crate) use upkeep::keep_up;

/// How an agent is to be part of a cluster.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// Folder of the host's identity: its key, its certificate, and the authorities that it trusts. For nobody else to read.
    pub folder: PathBuf,
    /// The text of a join token: a secret. One that the agent has joined with before is not used again.
    pub token: Option<String>,
}

/// Why an agent is not part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The token is for something else.
    #[error(
        "this join token is for the role {0}, and a host needs one for agents: make one with `berth token create --role agent`"
    )]
    OtherRole(Role),
    /// A controller refused.
    #[error("{peer} does not let this host join: {reason}")]
    Refused {
        /// Which controller.
        peer: String,
        /// In its words.
        reason: String,
    },
    /// Nobody answered.
    #[error("no controller lets this host join within {} s; the last, {peer}: {reason}", PATIENCE.as_secs())]
    NoAnswer {
        /// Which controller was asked last.
        peer: String,
        /// What went wrong there.
        reason: String,
    },
    /// Token or answer are no good.
    #[error("this host cannot join")]
    Join(#[source] Box<JoinError>),
    /// What was kept cannot be read, or what is new not kept.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// What was kept is of no use any more.
    #[error(
        "the certificate in {folder} is of no use any more: {reason}; make a token with `berth token create --role agent` and start the \
         agent with it"
    )]
    Useless {
        /// Where it is.
        folder: PathBuf,
        /// Why.
        reason: Box<Refusal>,
    },
    /// The machine's clock is wrong.
    #[error("this host cannot take part in its cluster now, with the certificate in {folder}: {reason}")]
    Clock {
        /// Where it is.
        folder: PathBuf,
        /// Why.
        reason: Box<Refusal>,
    },
    /// The folder is somebody else's.
    #[error(
        "the certificate in {folder} is for {identity}, which is no agent: give this agent a data directory of its own with --data-dir"
    )]
    IdentityOfNoAgent {
        /// Where it is.
        folder: PathBuf,
        /// Whose it is.
        identity: Identity,
    },
    /// The agent has joined, and is asked to be without TLS.
    #[error(
        "this host has joined a cluster, with the certificate in {0}, and is started with the address of a controller without TLS: start it \
         with --peer HOST:PORT, or without an address"
    )]
    PlainText(PathBuf),
    /// It cannot be remembered.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl MembershipError {
    /// Whether it stays so until somebody does something about it: starting the agent again changes nothing.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Clock { .. } | Self::Ledger(_) => false,
            Self::Join(error) => berth_joining::is_final(error),
            _ => true,
        }
    }
}

impl From<NotLetIn> for MembershipError {
    fn from(error: NotLetIn) -> Self {
        match error {
            NotLetIn::Refused { peer, reason } | NotLetIn::OtherId { peer, reason } => Self::Refused { peer, reason },
            NotLetIn::NoAnswer { peer, reason } => Self::NoAnswer { peer, reason },
            NotLetIn::Join(error) => error.into(),
            NotLetIn::Keeper(error) => Self::Keeper(error),
        }
    }
}

impl From<JoinError> for MembershipError {
    fn from(error: JoinError) -> Self {
        Self::Join(Box::new(error))
    }
}

/// The host's part in a cluster.
#[derive(Clone)]
pub(crate) struct Membership {
    keeper: Keeper,
    current: Arc<Mutex<Kept>>,
    shown: LiveCredentials,
    trust: LiveTrust,
    /// Version of the cluster's news that a controller has spoken of last.
    spoken_of: Arc<watch::Sender<u64>>,
}

impl Membership {
    fn new(keeper: Keeper, kept: Kept) -> Self {
        Self {
            keeper,
            shown: LiveCredentials::new(&kept.credentials),
            trust: LiveTrust::new(Trust::new(kept.authorities.clone(), Removed::default())),
            current: Arc::new(Mutex::new(kept)),
            spoken_of: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Connects to controllers of the cluster, as this host.
    pub(crate) fn connector(&self) -> Connector {
        Connector::new(
            Some(self.shown.clone()),
            self.trust.clone(),
            Expected::Roles(vec![Role::Controller]),
            Protocol::Http2,
            Arc::new(DefaultTimeProvider),
        )
    }

    /// A controller says that the cluster's news have this version.
    pub(crate) fn hear_of_news(&self, version: u64) {
        self.spoken_of.send_if_modified(|known| {
            let is_new = *known != version && version > 0;
            if is_new {
                *known = version;
            }
            is_new
        });
    }

    fn kept(&self) -> Kept {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows another certificate from now on, and after the next start.
    fn take_credentials(&self, credentials: Credentials) -> Result<(), KeeperError> {
        self.keeper.keep_credentials(&credentials)?;
        self.shown.replace(&credentials);
        self.current.lock().unwrap_or_else(PoisonError::into_inner).credentials = credentials;
        Ok(())
    }

    /// Trusts others from now on, and after the next start.
    fn take_authorities(&self, authorities: berth_trust::bundle::Bundle) -> Result<(), KeeperError> {
        self.keeper.keep_authorities(&authorities)?;
        self.trust.replace(Trust::new(authorities.clone(), Removed::default()));
        self.current.lock().unwrap_or_else(PoisonError::into_inner).authorities = authorities;
        Ok(())
    }
}

/// What an agent has of its membership when it starts.
pub(crate) struct Begun {
    pub(crate) membership: Membership,
    pub(crate) agent: AgentId,
    /// The controllers that the cluster told of when the agent joined.
    pub(crate) controllers: Vec<String>,
}

/// Takes up the membership that is kept, or joins with the token; `None` where there is neither.
///
/// A token that the agent has not joined with before is used even if an identity is kept: whoever gives one wants that, since the host was
/// removed or its certificate has expired. The host then joins as a new agent, since the old one may be refused.
pub(crate) async fn begin(
    config: &MembershipConfig,
    peers: &[String],
    account: &str,
    agent: Option<AgentId>,
    joined: Option<&Joined>,
    ledger: &Ledger,
    draw: impl Fn() -> AgentId,
) -> Result<Option<Begun>, MembershipError> {
    let keeper = Keeper::new(&config.folder);
    let kept = load(&keeper).await?;
    if let Some(kept) = &kept {
        refuse_identity_of_no_agent(kept, &config.folder)?;
    }
    let token = config.token.as_deref().map(str::parse::<JoinToken>).transpose();
    let token = token.map_err(|error| MembershipError::from(JoinError::Token(error)))?;
    let is_new = token
        .as_ref()
        .filter(|token| joined.is_none_or(|joined| joined.token != token.id().to_string()));
    match (kept, is_new) {
        (None, None) if token.is_none() => Ok(None),
        (Some(kept), None) => {
            let credentials = &kept.credentials;
            verify_chain(credentials.chain(), &kept.authorities, UnixTime::now()).map_err(|reason| {
                let (folder, reason) = (config.folder.clone(), Box::new(reason));
                match *reason {
                    // Only a clock that is wrong says so of a certificate that was valid once.
                    Refusal::NotYetValid { .. } => MembershipError::Clock { folder, reason },
                    _ => MembershipError::Useless { folder, reason },
                }
            })?;
            tracing::info!(identity = %credentials.identity(), "takes up the identity with which this host has joined");
            let agent = AgentId::from(credentials.identity().id().as_str());
            Ok(Some(Begun {
                membership: Membership::new(keeper, kept),
                agent,
                controllers: vec![],
            }))
        }
        // A token that was used, of which nothing is left: asking again tells what became of it.
        (kept, _) => {
            // There is one, or the arms above would have been taken.
            let Some(token) = token else { return Ok(None) };
            let known = agent.filter(|_| kept.is_none());
            let (agent, let_in) = join(&keeper, &token, peers, account, known, ledger, draw).await?;
            let token = token.id().to_string();
            ledger.put_joined(&Joined { token }).await?;
            keep(&keeper, &let_in.kept).await?;
            tracing::info!(identity = %let_in.kept.credentials.identity(), "this host has joined");
            Ok(Some(Begun {
                membership: Membership::new(keeper, let_in.kept),
                agent,
                controllers: let_in.controllers,
            }))
        }
    }
}

/// Joins with the token, as the agent that is known or as a new one. Its id is kept before anybody is asked, as its key is: an agent that
/// stopped before it had its answer is let in with the same token when it starts again.
async fn join(
    keeper: &Keeper,
    token: &JoinToken,
    peers: &[String],
    account: &str,
    known: Option<AgentId>,
    ledger: &Ledger,
    draw: impl Fn() -> AgentId,
) -> Result<(AgentId, LetIn), MembershipError> {
    if token.role() != Role::Agent {
        return Err(MembershipError::OtherRole(token.role()));
    }
    let peers = peers.iter().map(|peer| Peer {
        name: peer.clone(),
        uri: peer.clone(),
    });
    let peers: Vec<Peer> = peers.collect();
    let agent = known.unwrap_or_else(&draw);
    ledger.put_agent(&agent).await?;
    let account = Some(account);
    let id = agent.as_str();
    let (peer, reason) = match berth_joining::join(token, &peers, Who { id, account }, keeper).await {
        Ok(let_in) => return Ok((agent, let_in)),
        Err(NotLetIn::OtherId { peer, reason }) => (peer, reason),
        Err(error) => return Err(error.into()),
    };
    // It was removed under the id that it had.
    tracing::info!(
        peer,
        reason,
        "this host cannot join under the id that it had: it draws another one"
    );
    let agent = draw();
    ledger.put_agent(&agent).await?;
    let id = agent.as_str();
    match berth_joining::join(token, &peers, Who { id, account }, keeper).await {
        Ok(let_in) => Ok((agent, let_in)),
        Err(error) => {
            if matches!(error, NotLetIn::OtherId { .. }) {
                berth_joining::forget(keeper).await?;
            }
            Err(error.into())
        }
    }
}

/// Refuses what a controller has that was started on this agent's directory: were the agent to join again, it would overwrite it.
fn refuse_identity_of_no_agent(kept: &Kept, folder: &Path) -> Result<(), MembershipError> {
    let identity = kept.credentials.identity();
    match identity.role() {
        Role::Agent => Ok(()),
        _ => Err(MembershipError::IdentityOfNoAgent {
            folder: folder.to_owned(),
            identity: identity.clone(),
        }),
    }
}

/// Whether the folder holds the identity of a host that has joined.
///
/// # Errors
/// [`KeeperError`]
pub fn has_joined(folder: &Path) -> Result<bool, KeeperError> {
    Ok(Keeper::new(folder).load()?.is_some())
}

async fn load(keeper: &Keeper) -> Result<Option<Kept>, KeeperError> {
    let keeper = keeper.clone();
    blocking(move || keeper.load()).await
}

async fn keep(keeper: &Keeper, kept: &Kept) -> Result<(), KeeperError> {
    let (keeper, kept) = (keeper.clone(), kept.clone());
    blocking(move || keeper.keep(&kept)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
