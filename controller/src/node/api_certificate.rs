//! The certificate that clients of the API are shown: from files, or made by the cluster's authority; renewed while connections live. Shell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_trust::bundle::Bundle;
use berth_trust::credentials::{Credentials, CredentialsError, foreign_certified_key};
use berth_trust::renew;
use berth_trust::tls::{Acceptor, Clients, LiveCredentials, Protocol};
use berth_trust::{CertifiedKey, DefaultTimeProvider};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::options::ControllerError;
use crate::registrar::{Registrar, RegistrarError};

/// Between two looks whether there is a newer certificate, or it is time for one: short beside the hour that the shortest one lives.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why there is no certificate for clients.
#[derive(Debug, thiserror::Error)]
pub enum ApiCertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What is in the files is of no use.
    #[error("{certificate} and {key} are no certificate with its key")]
    Files {
        /// The certificate's.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: CredentialsError,
    },
    /// The authority does not sign.
    #[error("the cluster's authority makes no certificate for clients")]
    Authority(#[from] RegistrarError),
}

/// Secures connections of clients with a certificate of somebody else's making; `parts` looks after it until `stop`.
pub(super) async fn from_files(
    certificate: &Path,
    key: &Path,
    stop: &CancellationToken,
    parts: &mut JoinSet<Result<(), ControllerError>>,
) -> Result<Acceptor, ApiCertificateError> {
    let files = Files {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let changed_at = files.changed_at();
    let shown = LiveCredentials::of_key(files.read().await?);
    let looked_after = files.look_after(shown.clone(), changed_at, stop.clone());
    parts.spawn(async move {
        looked_after.await;
        Ok(())
    });
    Ok(acceptor(shown))
}

/// Secures connections of clients with a certificate of the cluster's authority, for these names; `parts` looks after it until `stop`.
pub(super) fn from_authority(
    names: &[String],
    registrar: &Registrar,
    stop: &CancellationToken,
    parts: &mut JoinSet<Result<(), ControllerError>>,
) -> Result<Acceptor, ApiCertificateError> {
    let (credentials, bundle) = registrar.sign_for_api(names)?;
    let shown = LiveCredentials::new(&credentials);
    let made = Made {
        registrar: registrar.clone(),
        names: names.to_owned(),
        credentials,
        bundle,
    };
    let looked_after = made.look_after(shown.clone(), stop.clone());
    parts.spawn(async move {
        looked_after.await;
        Ok(())
    });
    Ok(acceptor(shown))
}

fn acceptor(shown: LiveCredentials) -> Acceptor {
    Acceptor::new(shown, Clients::Anyone, Protocol::Http1, Arc::new(DefaultTimeProvider))
}

/// A certificate of somebody else's making.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    async fn read(&self) -> Result<Arc<CertifiedKey>, ApiCertificateError> {
        let (certificate, key) = (read(&self.certificate).await?, read(&self.key).await?);
        foreign_certified_key(&certificate, &key).map_err(|source| ApiCertificateError::Files {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }

    /// When they were changed last, as far as that can be told.
    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).and_then(|about| about.modified()).ok())
    }

    /// Reads the files again when they have changed.
    async fn look_after(
        self,
        shown: LiveCredentials,
        mut changed_at: [Option<SystemTime>; 2],
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let now = self.changed_at();
            if now == changed_at {
                continue;
            }
            match self.read().await {
                Ok(fresh) => {
                    changed_at = now;
                    shown.replace_key(fresh);
                    tracing::info!(certificate = %self.certificate.display(), "clients are shown a new certificate");
                }
                // Perhaps one of the two is written still.
                Err(error) => {
                    tracing::warn!(
                        error = crate::errors::chain(&error),
                        "clients are shown the old certificate still"
                    );
                }
            }
        }
    }
}

async fn read(path: &Path) -> Result<String, ApiCertificateError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| ApiCertificateError::Io {
            path: path.to_owned(),
            source,
        })
}

/// A certificate of the cluster's authority.
struct Made {
    registrar: Registrar,
    names: Vec<String>,
    credentials: Credentials,
    bundle: Bundle,
}

impl Made {
    /// Makes another one in time, and at once when another authority signs.
    async fn look_after(mut self, shown: LiveCredentials, stop: CancellationToken) {
        let seed = self.registrar.member_id();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            match self.registrar.bundle() {
                Ok(bundle) => self.bundle = bundle,
                Err(error) => tracing::warn!(%error, "the cluster's authorities cannot be read"),
            }
            if renew::due_at(&self.credentials, &self.bundle, seed) > self.registrar.now() {
                continue;
            }
            match self.registrar.sign_for_api(&self.names) {
                Ok((credentials, bundle)) => {
                    shown.replace(&credentials);
                    (self.credentials, self.bundle) = (credentials, bundle);
                    tracing::info!("clients are shown a new certificate");
                }
                Err(error) => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(error, "the certificate for clients could not be renewed: tried again");
                }
            }
        }
    }
}
