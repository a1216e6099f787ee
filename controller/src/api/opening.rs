//! What the port for clients works with, as it comes to be while a controller starts.
//!
//! Owns what is there already; until all of it is, the port says that the controller does not serve yet. Pure.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use berth_core::ids::IdSource;
use berth_trust::tls::Acceptor;

use super::context::Api;

/// What the port for clients has so far. Clones are the same.
#[derive(Clone)]
pub struct Opening(Arc<Parts>);

struct Parts {
    /// How connections are secured, if they are; unknown while the certificate is.
    tls: OnceLock<Option<Acceptor>>,
    api: OnceLock<Arc<Api>>,
    /// Ids of the requests that come before the API is there.
    ids: Mutex<IdSource>,
}

impl Opening {
    /// Nothing yet. The ids must be seeded by the operating system.
    #[must_use]
    pub fn new(ids: IdSource) -> Self {
        Self(Arc::new(Parts {
            tls: OnceLock::new(),
            api: OnceLock::new(),
            ids: Mutex::new(ids),
        }))
    }

    /// Says how connections are secured, if they are: once and for all.
    pub fn secure(&self, tls: Option<Acceptor>) {
        self.0.tls.get_or_init(|| tls);
    }

    /// Serves the API from now on.
    pub fn serve(&self, api: Arc<Api>) {
        self.0.api.get_or_init(|| api);
    }

    /// How connections are secured, once that is known.
    #[must_use]
    pub fn tls(&self) -> Option<&Option<Acceptor>> {
        self.0.tls.get()
    }

    pub(super) fn api(&self) -> Option<&Arc<Api>> {
        self.0.api.get()
    }

    pub(super) fn request_id(&self) -> String {
        // The source is valid after every step, so a panic elsewhere leaves nothing half done.
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }
}
