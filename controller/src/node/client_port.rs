//! The port for clients, from the first moment of a controller to its last.
//!
//! Owns what it says at which point of the start: a controller whose group has no majority may start for as long as that lasts, and
//! whoever asks it meanwhile is told so. It must not know what the API does. Shell.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::options::{ApiTls, ControllerError};
use super::{api_certificate, ids};
use crate::agents::AgentsHandle;
use crate::api::{self, Api, Opening};
use crate::monitoring::{self, Watched};
use crate::registrar::Registrar;
use crate::replica::StateGroup;

/// The port while its controller starts.
pub(super) struct ClientPort {
    opening: Opening,
    watched: Watched,
    tls: ApiTls,
    stop: CancellationToken,
}

impl ClientPort {
    /// Listens: says from now on that the controller lives, and does not serve yet.
    pub(super) async fn open(
        listener: TcpListener,
        tls: &ApiTls,
        stop: &CancellationToken,
        parts: &mut JoinSet<Result<(), ControllerError>>,
    ) -> Result<Self, ControllerError> {
        let port = Self {
            opening: Opening::new(ids()?),
            watched: Watched::default(),
            tls: tls.clone(),
            stop: stop.clone(),
        };
        match tls {
            ApiTls::Plain => port.opening.secure(None),
            ApiTls::Files { certificate, key } => {
                let acceptor = api_certificate::from_files(certificate, key, stop, parts).await?;
                port.opening.secure(Some(acceptor));
            }
            ApiTls::FromAuthority { .. } => {}
        }
        let routes = monitoring::routes(port.watched.clone());
        let serving = api::serve(listener, port.opening.clone(), routes, stop.clone());
        parts.spawn(async move { Ok(serving.await?) });
        Ok(port)
    }

    /// Tells from now on how the member of the group stands.
    pub(super) fn watch(&self, group: &StateGroup, sessions: &AgentsHandle) {
        self.watched.begin(group.clone(), sessions.clone());
    }

    /// Secures connections with a certificate of the cluster's authority, if it is to be of that, and there is none yet.
    pub(super) fn secure(
        &self,
        registrar: &Registrar,
        parts: &mut JoinSet<Result<(), ControllerError>>,
    ) -> Result<(), ControllerError> {
        if let (ApiTls::FromAuthority { names }, None) = (&self.tls, self.opening.tls()) {
            let acceptor = api_certificate::from_authority(names, registrar, &self.stop, parts)?;
            self.opening.secure(Some(acceptor));
        }
        Ok(())
    }

    /// Serves the API from now on.
    pub(super) fn serve(&self, api: Arc<Api>) {
        self.opening.serve(api);
        self.watched.serves();
    }
}
