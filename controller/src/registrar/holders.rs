//! Those who have certificates: their next ones, whom they trust, and their removal. Shell.

use berth_core::state::{ClusterState, DocumentChange, Expected};
use berth_trust::UnixTime;
use berth_trust::bundle::CaDigest;
use berth_trust::ca::{DEFAULT_LIFETIME, Grant, MAX_LIFETIME};
use berth_trust::identity::{Identity, Role};
use berth_trust::rotation::Authorities;

use super::changes::{Registrar, RegistrarError, not_after_s, read_request, signer};
use super::documents::{self, DocumentError, Holder, RemovedHolder};

/// A certificate and those of the authorities above, each in DER.
pub(super) type Chain = Vec<Vec<u8>>;

/// Holders, tokens and removals that are forgotten with one command.
const FORGOTTEN_AT_ONCE: usize = 60;

/// How long a token that is no good any more is still listed, so that it can be seen what became of it.
const TOKEN_LISTED_S: u64 = 7 * 24 * 3600;

/// Digests of authorities in one report, above what a cluster has.
const MAX_REPORTED: usize = 8;

impl Registrar {
    /// The next certificate of somebody who has one.
    ///
    /// # Errors
    /// [`RegistrarError`]; [`RegistrarError::Removed`] before anything else.
    pub async fn renew(&self, identity: &Identity, request: &[u8]) -> Result<Chain, RegistrarError> {
        self.change(|state, now| {
            refuse_removed(state, identity)?;
            let request = read_request(request)?;
            let signer = signer(state)?;
            let grant = Grant {
                identity: identity.clone(),
                names: vec![],
            };
            let chain = signer.issue(&request, &grant, now, DEFAULT_LIFETIME)?;
            let known = documents::holder(state, identity)?;
            let expected = known
                .as_ref()
                .map_or(Expected::Absent, |(version, _)| Expected::Version(*version));
            let holder = Holder {
                identity: identity.clone(),
                authority: signer.authority().digest(),
                not_after_s: not_after_s(&signer, now),
                trusts: known.map(|(_, holder)| holder.trusts).unwrap_or_default(),
            };
            let change = documents::put_holder(&holder, expected)?;
            Ok((vec![change], chain.iter().map(|one| one.to_vec()).collect()))
        })
        .await
    }

    /// Takes note of whom a holder trusts.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn report_trust(&self, identity: &Identity, trusts: &[CaDigest]) -> Result<(), RegistrarError> {
        let mut trusts = trusts.to_vec();
        trusts.sort_unstable();
        trusts.dedup();
        trusts.truncate(MAX_REPORTED);
        self.change(|state, _| {
            refuse_removed(state, identity)?;
            // Nobody has a certificate who is not known here, unless it was forgotten since it had expired.
            let Some((version, mut holder)) = documents::holder(state, identity)? else {
                return Ok((vec![], ()));
            };
            let mut known = holder.trusts.clone();
            known.sort_unstable();
            if known == trusts {
                return Ok((vec![], ()));
            }
            holder.trusts.clone_from(&trusts);
            Ok((vec![documents::put_holder(&holder, Expected::Version(version))?], ()))
        })
        .await
    }

    /// Refuses somebody from now on, at every controller.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn remove(&self, identity: &Identity) -> Result<(), RegistrarError> {
        self.change(|state, now| {
            let known = documents::holder(state, identity)?.map(|(_, holder)| holder.not_after_s);
            let until_s = known.unwrap_or_else(|| now.as_secs().saturating_add(MAX_LIFETIME.as_secs()));
            Ok((removal(identity, now, until_s)?.into(), ()))
        })
        .await
    }

    /// Takes the next step of a rotation of the authority, decided by `step` on how many holders are not ready for which authority.
    ///
    /// # Errors
    /// [`RegistrarError`]; [`RegistrarError::Rotation`] if it is not the time for it.
    pub async fn rotate<T>(
        &self,
        step: impl Fn(&Authorities, &[Holder], UnixTime) -> Result<(Authorities, T), RegistrarError>,
    ) -> Result<T, RegistrarError> {
        self.change(|state, now| {
            let (version, authorities) = documents::authorities(state)?.ok_or(RegistrarError::NoAuthorities)?;
            let holders = valid_holders(state, now)?;
            let (next, answer) = step(&authorities, &holders, now)?;
            if next == authorities {
                return Ok((vec![], answer));
            }
            let change = documents::put_authorities(&next, Expected::Version(version))?;
            Ok((vec![change], answer))
        })
        .await
    }

    /// Forgets what is of no use any more: holders and removals whose certificates have expired, and old tokens.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn tidy(&self) -> Result<(), RegistrarError> {
        self.change(|state, now| {
            let now = now.as_secs();
            let mut changes = vec![];
            for holder in documents::holders(state)? {
                if holder.not_after_s < now {
                    changes.push(documents::drop_holder(&holder.identity));
                }
            }
            for removed in documents::removed_holders(state)? {
                if removed.until_s < now {
                    changes.push(documents::drop_removed(&removed.identity));
                }
            }
            for token in documents::tokens(state)? {
                if token.expires_at_s.saturating_add(TOKEN_LISTED_S) < now {
                    changes.push(documents::drop_token(&token.id));
                }
            }
            changes.truncate(FORGOTTEN_AT_ONCE);
            Ok((changes, ()))
        })
        .await
    }
}

/// Refuses all controllers of a cluster from now on: what they have is the past of the one that goes on from its backup.
///
/// # Errors
/// [`DocumentError`]
pub(crate) fn removal_of_controllers(
    state: &ClusterState,
    now: UnixTime,
) -> Result<Vec<DocumentChange>, DocumentError> {
    let mut changes = vec![];
    for holder in documents::holders(state)? {
        if holder.identity.role() == Role::Controller {
            changes.extend(removal(&holder.identity, now, holder.not_after_s)?);
        }
    }
    Ok(changes)
}

fn removal(identity: &Identity, now: UnixTime, until_s: u64) -> Result<[DocumentChange; 2], DocumentError> {
    let removed = RemovedHolder {
        identity: identity.clone(),
        removed_at_s: now.as_secs(),
        until_s,
    };
    Ok([documents::put_removed(&removed)?, documents::drop_holder(identity)])
}

/// The holders whose certificates are valid.
fn valid_holders(state: &ClusterState, now: UnixTime) -> Result<Vec<Holder>, RegistrarError> {
    let holders = documents::holders(state)?;
    let is_valid = |holder: &Holder| holder.not_after_s >= now.as_secs();
    Ok(holders.into_iter().filter(is_valid).collect())
}

fn refuse_removed(state: &ClusterState, identity: &Identity) -> Result<(), RegistrarError> {
    if documents::is_removed(state, identity) {
        return Err(RegistrarError::Removed(identity.clone()));
    }
    Ok(())
}
