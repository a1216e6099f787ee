//! What changes the documents: reads, decides, proposes on what was read, and begins again if somebody else was faster. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_core::state::{ClusterState, Command, DocumentChange, Expected, Rejection};
use berth_raft::{ProposeError, ReadError};
use berth_trust::bundle::Bundle;
use berth_trust::ca::{Authority, CaError, DEFAULT_LIFETIME, Grant};
use berth_trust::credentials::{Credentials, CredentialsError};
use berth_trust::identity::{ClusterId, HolderId, Identity, IdentityError, Role};
use berth_trust::join::JoinError;
use berth_trust::request::{HolderKey, RequestError, SigningRequest};
use berth_trust::rotation::{Authorities, RotationError, Signer};
use berth_trust::token::TokenError;
use berth_trust::{ServerName, UnixTime};

use super::account::OtherAccount;
use super::documents::{self, DocumentError, RootKey};
use crate::clock::Clock;
use crate::replica::StateGroup;

/// Times that a change is decided anew because somebody else changed the same document: hosts that join with one token at once take
/// turns, and each turn lets one in.
const MAX_ATTEMPTS: u32 = 50;

/// Changes the documents of trust. Clones are the same.
#[derive(Clone)]
pub struct Registrar {
    pub(super) group: StateGroup,
    clock: Arc<dyn Clock>,
}

/// Why something of trust was not done.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The controller is alone and has no authority.
    #[error(
        "this controller was not started as a member of a cluster, so nobody can join it: start it with `berth controller \
         --bootstrap`"
    )]
    NoAuthorities,
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request for a certificate is no good.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The id is no id.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The id is taken.
    #[error("member {0} is there already: a new member needs a new id")]
    MemberExists(u64),
    /// The caller does not belong to the cluster any more.
    #[error("{0} was removed from the cluster: join it again with a new token")]
    Removed(Identity),
    /// The id was that of somebody who was removed.
    #[error("{0} was removed from the cluster, and its id is not used again: join under a new one")]
    IdOfRemoved(Identity),
    /// The account is not the cluster's.
    #[error(transparent)]
    OtherAccount(#[from] OtherAccount),
    /// The certificate could not be signed.
    #[error("the certificate could not be signed")]
    Sign(#[from] CaError),
    /// What was signed is of no use.
    #[error("the certificate that was made cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The rotation does not go on.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// A document is damaged.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The state refuses the change.
    #[error(transparent)]
    Rejected(Rejection),
    /// Others were always faster.
    #[error("others changed the same document {MAX_ATTEMPTS} times in a row: try again")]
    Contention,
    /// The group does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group does not take the change.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

impl From<JoinError> for RegistrarError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Token(error) => Self::Token(error),
            JoinError::Request(error) => Self::Request(error),
            JoinError::Sign(error) => Self::Sign(error),
            // The signer's side has no others.
            other => Self::Token(TokenError::Random(other.to_string())),
        }
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar").finish_non_exhaustive()
    }
}

/// What was decided: what to change, and what to answer once it is.
pub(super) type Decision<T> = Result<(Vec<DocumentChange>, T), RegistrarError>;

impl Registrar {
    /// Changes the documents of a group.
    #[must_use]
    pub fn new(group: StateGroup, clock: Arc<dyn Clock>) -> Self {
        Self { group, clock }
    }

    /// The time.
    pub(crate) fn now(&self) -> UnixTime {
        let ms = u64::try_from(self.clock.now().0).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_millis(ms))
    }

    /// Makes the cluster's first authority, and keeps the root user's key for all members, if there is one and unless that was done before.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn found(&self, cluster: &ClusterId, root: Option<&RootKey>) -> Result<(), RegistrarError> {
        self.change(|state, now| {
            let mut changes = vec![];
            if documents::authorities(state)?.is_none() {
                let authority = Authority::create(cluster, now)?;
                tracing::info!(authority = %authority.certificate().digest(), "made the cluster's authority");
                changes.push(documents::put_authorities(
                    &Authorities::new(&authority),
                    Expected::Absent,
                )?);
            }
            if let Some(root) = root
                && documents::root_key(state)?.is_none()
            {
                changes.push(documents::put_root_key(root)?);
            }
            Ok((changes, ()))
        })
        .await
    }

    /// The member of the group that this is at.
    pub(crate) fn member_id(&self) -> u64 {
        self.group.identity().member_id
    }

    /// The authorities that are trusted, as far as this member knows; the first one signs.
    pub(crate) fn bundle(&self) -> Result<Bundle, RegistrarError> {
        Ok(signer(&self.group.view().view)?.bundle().clone())
    }

    /// Makes a certificate for the API's port of this member, which clients reach by these names. It is in nobody's list: clients know
    /// nothing of lists.
    pub(crate) fn sign_for_api(&self, names: &[String]) -> Result<(Credentials, Bundle), RegistrarError> {
        let signer = signer(&self.group.view().view)?;
        let id: HolderId = self.member_id().to_string().parse()?;
        let names = names.iter().map(|name| {
            let unusable = || RegistrarError::Sign(CaError::Name(name.clone()));
            ServerName::try_from(name.clone()).map_err(|_| unusable())
        });
        let grant = Grant {
            identity: Identity::new(signer.authority().cluster().clone(), Role::Api, id)?,
            names: names.collect::<Result<_, _>>()?,
        };
        Ok((self.sign_here(&signer, &grant)?, signer.bundle().clone()))
    }

    /// Makes a certificate for this member itself with the authority that its own store knows, without asking the group, of which nobody
    /// may answer yet. Nobody takes note of it.
    pub(super) fn sign_for_itself(&self, identity: &Identity) -> Result<Credentials, RegistrarError> {
        let view = self.group.view();
        if documents::is_removed(&view.view, identity) {
            return Err(RegistrarError::Removed(identity.clone()));
        }
        let grant = Grant {
            identity: identity.clone(),
            names: vec![],
        };
        self.sign_here(&signer(&view.view)?, &grant)
    }

    fn sign_here(&self, signer: &Signer, grant: &Grant) -> Result<Credentials, RegistrarError> {
        let key = HolderKey::draw()?;
        let request = SigningRequest::from_der(&key.request()?)?;
        let chain = signer.issue(&request, grant, self.now(), DEFAULT_LIFETIME)?;
        Ok(Credentials::new(key, chain)?)
    }

    /// Decides on the state as it is, and sees to it that the decision takes effect on that state.
    pub(super) async fn change<T>(
        &self,
        decide: impl Fn(&ClusterState, UnixTime) -> Decision<T>,
    ) -> Result<T, RegistrarError> {
        for _ in 0..MAX_ATTEMPTS {
            let published = self.group.read().await?;
            let (changes, answer) = decide(&published.view, self.now())?;
            if changes.is_empty() {
                return Ok(answer);
            }
            match self.group.propose(Command::ChangeDocuments { changes }).await?.outcome {
                Ok(_) => return Ok(answer),
                Err(Rejection::DocumentChanged(_)) => {}
                Err(rejection) => return Err(RegistrarError::Rejected(rejection)),
            }
        }
        Err(RegistrarError::Contention)
    }
}

/// The authority that signs now.
pub(super) fn signer(state: &ClusterState) -> Result<Signer, RegistrarError> {
    let (_, authorities) = documents::authorities(state)?.ok_or(RegistrarError::NoAuthorities)?;
    Ok(authorities.signer()?)
}

/// When a certificate ends that is signed now.
pub(super) fn not_after_s(signer: &Signer, now: UnixTime) -> u64 {
    let ends = now.as_secs().saturating_add(DEFAULT_LIFETIME.as_secs());
    ends.min(signer.authority().not_after().as_secs())
}

pub(super) fn read_request(der: &[u8]) -> Result<SigningRequest, RegistrarError> {
    Ok(SigningRequest::from_der(der)?)
}
