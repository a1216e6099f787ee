//! This member's own certificate, and whom it trusts: kept in files, renewed in time, and brought up to date when the cluster's
//! documents change. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_core::state::{ClusterState, Event};
use berth_raft::FeedItem;
use berth_trust::UnixTime;
use berth_trust::bundle::Bundle;
use berth_trust::credentials::Credentials;
use berth_trust::identity::Identity;
use berth_trust::keeper::{Keeper, Kept};
use berth_trust::removed::Removed;
use berth_trust::renew;
use berth_trust::request::HolderKey;
use berth_trust::tls::{LiveCredentials, LiveTrust, Trust};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes::{Registrar, RegistrarError};
use super::documents;
use crate::peers::PeerTls;

/// Longest wait before the certificate's time is looked at again, since the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The last part of a certificate's lifetime, in which this member no longer waits for its group to renew it.
const LAST_PART: u64 = 10;

/// What this member shows and trusts now.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What others are shown.
    pub tls: PeerTls,
    /// Who this member is, as its certificate says.
    pub identity: Identity,
}

/// Looks after the certificate.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    registrar: Registrar,
    keeper: Keeper,
    credentials: Credentials,
    authorities: Bundle,
    removed: Removed,
    /// Whether the cluster was told whom this member trusts now.
    is_reported: bool,
    /// Whether the cluster knows of the certificate.
    is_recorded: bool,
    shown: Shown,
}

impl OwnCertificate {
    /// Goes on with what is kept.
    #[must_use]
    pub fn resume(registrar: Registrar, keeper: Keeper, kept: Kept) -> Self {
        let Kept {
            credentials,
            authorities,
        } = kept;
        let removed = Removed::default();
        let shown = Shown {
            tls: PeerTls {
                own: LiveCredentials::new(&credentials),
                trust: LiveTrust::new(Trust::new(authorities.clone(), removed.clone())),
            },
            identity: credentials.identity().clone(),
        };
        Self {
            registrar,
            keeper,
            credentials,
            authorities,
            removed,
            is_reported: false,
            is_recorded: true,
            shown,
        }
    }

    /// Has this member sign a certificate for itself if the one that it has is at its end: when all members were off for long, none lets
    /// another one in, and so there is no group that could renew one. The group takes note of it later.
    pub fn sign_if_at_its_end(&mut self) {
        let (not_before, not_after) = (self.credentials.not_before(), self.credentials.not_after());
        let last_s = not_after.as_secs().saturating_sub(not_before.as_secs()) / LAST_PART;
        if self.registrar.now().as_secs() < not_after.as_secs().saturating_sub(last_s) {
            return;
        }
        let signed = self.registrar.sign_for_itself(&self.shown.identity);
        let taken = signed.map_err(|error| chain(&error)).and_then(|new| self.take(new));
        match taken {
            Ok(()) => {
                self.is_recorded = false;
                tracing::info!(
                    identity = %self.shown.identity,
                    "this controller's certificate was at its end: it signed itself another one"
                );
            }
            Err(why) => tracing::warn!(
                why,
                "this controller's certificate is at its end, and it could not sign itself another one"
            ),
        }
    }

    /// Makes a certificate for this member with the authority of the state, and keeps it.
    ///
    /// # Errors
    /// A text that says what failed.
    pub async fn issue(registrar: Registrar, keeper: Keeper) -> Result<Self, String> {
        let group = registrar.group.clone();
        let read = group.read().await.map_err(|error| error.to_string())?;
        let found = documents::authorities(&read.view).map_err(|error| error.to_string())?;
        let (_, authorities) = found.ok_or_else(|| RegistrarError::NoAuthorities.to_string())?;
        let authorities = authorities.bundle().map_err(|error| chain(&error))?;
        let identity = Identity::controller(authorities.cluster().clone(), group.identity().member_id);
        let credentials = sign(&registrar, &identity).await?;
        let kept = Kept {
            credentials,
            authorities,
        };
        keeper.keep(&kept).map_err(|error| chain(&error))?;
        Ok(Self::resume(registrar, keeper, kept))
    }

    /// What it shows and trusts; follows what happens later.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Follows the cluster's documents and the time until `stop`.
    pub async fn look_after(mut self, stop: CancellationToken) {
        let mut feed = self.registrar.group.subscribe();
        let seed = self.registrar.group.identity().member_id;
        let (mut failures, mut not_before) = (0, Instant::now());
        loop {
            self.follow();
            self.sign_if_at_its_end();
            self.report().await;
            let now = self.registrar.now();
            let due = self.due_at(seed);
            if due <= now && Instant::now() >= not_before {
                match self.renew().await {
                    Ok(()) if self.due_at(seed) > self.registrar.now() => failures = 0,
                    Ok(()) => {
                        failures += 1;
                        not_before = Instant::now() + renew::retry_after(failures, seed);
                        tracing::warn!("this controller's new certificate is to be renewed already: check its clock");
                    }
                    Err(why) => {
                        failures += 1;
                        not_before = Instant::now() + renew::retry_after(failures, seed);
                        tracing::warn!(
                            why,
                            failures,
                            "this controller's certificate could not be renewed: it tries again"
                        );
                    }
                }
                continue;
            }
            let wait = Duration::from_secs(due.as_secs().saturating_sub(now.as_secs())).min(LOOK_EVERY);
            let wait = wait.max(not_before.saturating_duration_since(Instant::now()));
            let wait = wait.max(Duration::from_millis(100));
            tokio::select! {
                () = changed(&mut feed) => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// When the certificate is to be renewed: at once if nobody has taken note of it.
    fn due_at(&self, seed: u64) -> UnixTime {
        if !self.is_recorded {
            return UnixTime::since_unix_epoch(Duration::ZERO);
        }
        renew::due_at(&self.credentials, &self.authorities, seed)
    }

    /// Trusts whom the state says, from now on.
    fn follow(&mut self) {
        let view = self.registrar.group.view();
        match read_trust(&view.view) {
            Ok(Some((authorities, removed))) => {
                if authorities == self.authorities && removed == self.removed {
                    return;
                }
                if authorities != self.authorities
                    && let Err(error) = self.keeper.keep_authorities(&authorities)
                {
                    // They are trusted all the same; after a restart the state says it again.
                    tracing::warn!(error = chain(&error), "the cluster's authorities could not be kept");
                }
                tracing::info!(
                    ?authorities,
                    removed = removed.iter().count(),
                    "whom this controller trusts changed"
                );
                self.shown
                    .tls
                    .trust
                    .replace(Trust::new(authorities.clone(), removed.clone()));
                (self.authorities, self.removed) = (authorities, removed);
                self.is_reported = false;
            }
            // This member has not heard from its group yet.
            Ok(None) => {}
            Err(why) => tracing::error!(why, "whom to trust cannot be read from the state: it stays as it was"),
        }
    }

    /// Says whom this member trusts, which a rotation waits for; where that fails, it is said the next time.
    async fn report(&mut self) {
        if self.is_reported {
            return;
        }
        let digests: Vec<_> = self.authorities.authorities().iter().map(|one| one.digest()).collect();
        match self.registrar.report_trust(&self.shown.identity, &digests).await {
            Ok(()) => self.is_reported = true,
            Err(error) => tracing::warn!(%error, "could not report whom this controller trusts: it tries again"),
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let credentials = sign(&self.registrar, &self.shown.identity).await?;
        self.take(credentials)?;
        self.is_recorded = true;
        tracing::info!(identity = %self.shown.identity, "renewed this controller's certificate");
        Ok(())
    }

    /// Shows another certificate from now on, and after the next start.
    fn take(&mut self, credentials: Credentials) -> Result<(), String> {
        self.keeper
            .keep_credentials(&credentials)
            .map_err(|error| chain(&error))?;
        self.shown.tls.own.replace(&credentials);
        self.credentials = credentials;
        Ok(())
    }
}

async fn sign(registrar: &Registrar, identity: &Identity) -> Result<Credentials, String> {
    let key = HolderKey::draw().map_err(|error| chain(&error))?;
    let request = key.request().map_err(|error| chain(&error))?;
    let signed = registrar
        .renew(identity, &request)
        .await
        .map_err(|error| chain(&error))?;
    let certificates = signed.into_iter().map(Into::into).collect();
    Credentials::new(key, certificates).map_err(|error| chain(&error))
}

fn read_trust(state: &Arc<ClusterState>) -> Result<Option<(Bundle, Removed)>, String> {
    let Some((_, authorities)) = documents::authorities(state).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let bundle = authorities.bundle().map_err(|error| chain(&error))?;
    let removed = documents::removed(state).map_err(|error| error.to_string())?;
    Ok(Some((bundle, removed)))
}

/// Waits until a document has changed, or may have; for ever once the group has stopped.
async fn changed(feed: &mut berth_raft::AppliedFeed<crate::replica::ApplyOutcome>) {
    loop {
        match feed.next().await {
            Some(FeedItem::Batch(batch)) => {
                let mut events = batch
                    .outcomes
                    .iter()
                    .filter_map(|applied| applied.outcome.as_ref().ok());
                let is_document = |event: &Event| matches!(event, Event::DocumentChanged(_));
                if events.any(|events| events.iter().any(is_document)) {
                    return;
                }
            }
            Some(FeedItem::Resync) => return,
            None => std::future::pending().await,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::errors::chain(error)
}
