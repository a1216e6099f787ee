//! Where controllers are: those that the agent was started with, and those that the cluster has told of since.
//!
//! Owns which addresses are gone to, in which order, and that what was told is still known after a restart. It must not know how
//! they are connected to. Shell: it writes to the ledger.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;

use crate::host;
use crate::ledger::{Ledger, LedgerError};

/// Controllers that a cluster can tell of, well above what a Raft group has.
const MAX_TOLD: usize = 32;

/// How controllers are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS, on this machine alone.
    Plain,
    /// With TLS.
    Tls,
}

/// Why there is nobody to go to at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("{0:?} is not the address of a controller; expected one like {1}")]
    Malformed(String, &'static str),
    #[error(
        "{0} is not on this machine, and agents speak to controllers on other machines over TLS alone: join the cluster with `berth agent \
         --join TOKEN --peer HOST:PORT`"
    )]
    NotLoopback(String),
}

/// The controllers of the cluster. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Controllers {
    scheme: Scheme,
    named: Arc<[String]>,
    told: Arc<Mutex<Vec<String>>>,
    ledger: Ledger,
}

impl Controllers {
    /// Those of the command line, each of which has been checked, and those that an earlier process of the agent was told of.
    pub(crate) fn new(scheme: Scheme, named: Vec<String>, told: Vec<String>, ledger: Ledger) -> Self {
        let told = told.into_iter().filter(|uri| scheme.check(uri).is_ok()).collect();
        Self {
            scheme,
            named: named.into(),
            told: Arc::new(Mutex::new(told)),
            ledger,
        }
    }

    /// All of them, each once: what the cluster says now comes before what somebody wrote down once.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for named in &*self.named {
            if !all.contains(named) {
                all.push(named.clone());
            }
        }
        all
    }

    /// A controller that is on this machine, by its address, which others reach it at too.
    pub(crate) fn on_this_machine(&self) -> Option<String> {
        let is_reached = self.scheme == Scheme::Tls;
        let mut all = self.all().into_iter().filter(|_| is_reached);
        all.find(|uri| host::is_on_this_machine(uri))
    }

    /// Whether an address that a controller has told of can be gone to.
    pub(crate) fn may_go_to(&self, uri: &str) -> bool {
        self.scheme.check(uri).is_ok()
    }

    /// Takes what the cluster says, and keeps it. Nothing said changes nothing.
    pub(crate) async fn tell(&self, mut told: Vec<String>) -> Result<(), LedgerError> {
        told.retain(|uri| match self.scheme.check(uri) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the cluster tells of a controller that this agent cannot go to");
                false
            }
        });
        told.truncate(MAX_TOLD);
        told.sort_unstable();
        told.dedup();
        {
            let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_empty() || *known == told {
                return Ok(());
            }
            known.clone_from(&told);
        }
        tracing::info!(controllers = ?told, "the cluster has these controllers");
        self.ledger.put_controllers(&told).await
    }
}

impl Scheme {
    /// Checks that the address of a controller can be gone to.
    pub(crate) fn check(self, uri: &str) -> Result<(), AddressError> {
        let (scheme, example) = match self {
            Self::Plain => ("http", "http://127.0.0.1:7481"),
            Self::Tls => ("https", "https://10.0.0.1:7481"),
        };
        let malformed = || AddressError::Malformed(uri.to_owned(), example);
        let parsed: Uri = uri.parse().map_err(|_| malformed())?;
        let host = parsed.host().unwrap_or_default();
        if parsed.scheme_str() != Some(scheme) || host.is_empty() || parsed.port_u16().is_none() {
            return Err(malformed());
        }
        if self == Self::Plain && !is_loopback(host) {
            return Err(AddressError::NotLoopback(uri.to_owned()));
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_for_this_machine_and_tls_for_all() {
        for uri in ["http://127.0.0.1:7481", "http://localhost:1", "http://[::1]:7481"] {
            assert_eq!(Scheme::Plain.check(uri), Ok(()));
            assert!(Scheme::Tls.check(uri).is_err());
        }
        for uri in ["http://10.0.0.1:7481", "http://host-1:7481"] {
            assert_eq!(Scheme::Plain.check(uri), Err(AddressError::NotLoopback(uri.to_owned())));
        }
        assert_eq!(Scheme::Tls.check("https://10.0.0.1:7481"), Ok(()));
        for uri in ["https://10.0.0.1", "10.0.0.1:7481", "", "https://:1"] {
            assert!(
                matches!(Scheme::Tls.check(uri), Err(AddressError::Malformed(..))),
                "{uri}"
            );
        }
    }

    #[tokio::test]
    async fn what_the_cluster_says_comes_first_and_what_cannot_be_gone_to_not_at_all() {
        let named = vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let controllers = Controllers::new(Scheme::Plain, named, vec![], Ledger::volatile());
        let told = ["http://127.0.0.1:3", "http://10.0.0.1:4", "http://127.0.0.1:2"];
        controllers.tell(told.map(str::to_owned).to_vec()).await.unwrap();
        let expected = ["http://127.0.0.1:2", "http://127.0.0.1:3", "http://127.0.0.1:1"];
        assert_eq!(controllers.all(), expected);
        controllers.tell(vec![]).await.unwrap();
        assert_eq!(controllers.all(), expected, "nothing said changes nothing");
    }

    #[tokio::test]
    async fn controller_of_this_machine_is_known_once_the_cluster_tells_of_it() {
        // Of documentation (RFC 5737), so that no machine has it.
        let elsewhere = "https://192.0.2.1:7482".to_owned();
        let controllers = Controllers::new(Scheme::Tls, vec![elsewhere.clone()], vec![], Ledger::volatile());
        assert_eq!(controllers.on_this_machine(), None);
        let here = "https://127.0.0.1:7482".to_owned();
        controllers.tell(vec![elsewhere, here.clone()]).await.unwrap();
        assert_eq!(controllers.on_this_machine(), Some(here));
        // Without TLS agents speak to their own machine alone, and `berth agent` has judged that.
        let plain = vec!["http://127.0.0.1:7481".to_owned()];
        let controllers = Controllers::new(Scheme::Plain, plain, vec![], Ledger::volatile());
        assert_eq!(controllers.on_this_machine(), None);
    }
}
