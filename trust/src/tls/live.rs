//! What is trusted and what is shown, swapped while connections live. Shell.
//!
//! Owns the current values, and tells established connections of changes. It must not know why something changed.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::TrustAnchor;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::bundle::Bundle;
use crate::credentials::Credentials;
use crate::identity::Identity;
use crate::removed::Removed;
use crate::tls::Refusal;

/// Whom a process trusts at one moment.
#[derive(Clone, Debug)]
pub struct Trust {
    bundle: Bundle,
    removed: Removed,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Whom a process trusts now.
#[derive(Clone)]
pub struct LiveTrust {
    inner: Arc<Inner>,
}

struct Inner {
    current: ArcSwap<Trust>,
    changes: watch::Sender<()>,
}

/// What a process shows of itself now.
#[derive(Clone)]
pub struct LiveCredentials {
    current: Arc<ArcSwap<CertifiedKey>>,
}

impl Trust {
    /// Trusts the authorities, but not those who were removed.
    #[must_use]
    pub fn new(bundle: Bundle, removed: Removed) -> Self {
        Self {
            anchors: bundle.anchors(),
            bundle,
            removed,
        }
    }

    /// The authorities.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Whether somebody whose certificate is good is still of the cluster.
    pub(crate) fn admit(&self, identity: &Identity) -> Result<(), Refusal> {
        if identity.cluster() != self.bundle.cluster() {
            return Err(Refusal::OtherCluster {
                identity: identity.clone(),
                cluster: self.bundle.cluster().clone(),
            });
        }
        match self.removed.since(identity) {
            Some(since) => Err(Refusal::Removed {
                identity: identity.clone(),
                since,
            }),
            None => Ok(()),
        }
    }
}

impl LiveTrust {
    /// Begins with this.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        let current = ArcSwap::from_pointee(trust);
        let (changes, _) = watch::channel(());
        Self {
            inner: Arc::new(Inner { current, changes }),
        }
    }

    /// Trusts somebody else from now on. Connections to those who were removed end at once; all others stay, also those of an
    /// authority that is trusted no longer.
    pub fn replace(&self, trust: Trust) {
        self.inner.current.store(Arc::new(trust));
        self.inner.changes.send_replace(());
    }

    /// What is trusted now.
    #[must_use]
    pub fn now(&self) -> Arc<Trust> {
        self.inner.current.load_full()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.inner.changes.subscribe()
    }
}

impl LiveCredentials {
    /// Begins with these.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self::of_key(credentials.certified_key())
    }

    /// Begins with a certificate of somebody else's making ([`crate::credentials::foreign_certified_key`]).
    #[must_use]
    pub fn of_key(certified: Arc<CertifiedKey>) -> Self {
        Self {
            current: Arc::new(ArcSwap::new(certified)),
        }
    }

    /// Shows others from the next handshake on.
    pub fn replace(&self, credentials: &Credentials) {
        self.current.store(credentials.certified_key());
    }

    /// Shows a certificate of somebody else's making from the next handshake on.
    pub fn replace_key(&self, certified: Arc<CertifiedKey>) {
        self.current.store(certified);
    }
}

impl ResolvesServerCert for LiveCredentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for LiveCredentials {
    // There is one certificate to show, so what the server hints at does not matter.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for LiveTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveTrust({:?})", self.inner.current.load().bundle)
    }
}

impl fmt::Debug for LiveCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveCredentials")
    }
}
