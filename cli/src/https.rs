//! Connections to a controller's endpoint, over TLS where its URL says so.
//!
//! Owns whom a controller's certificate is believed from: the authorities in the file that `AWS_CA_BUNDLE` names, as for AWS's own tools. Shell.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, anyhow, bail};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt};

/// The variable by which AWS's tools are told whom to believe.
const BUNDLE_VARIABLE: &str = "AWS_CA_BUNDLE";

/// Connects over TCP, and over TLS if it was made for that.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
}

/// A connection to a controller.
pub(crate) struct Stream(Box<dyn Io>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connector {
    /// A connector for an endpoint.
    ///
    /// # Errors
    /// If the endpoint is `https://` and it is not said whom to believe.
    pub(crate) fn for_endpoint(endpoint: &Uri) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let tls = match endpoint.scheme_str() {
            Some("https") => Some(TlsConnector::from(Arc::new(configuration()?))),
            _ => None,
        };
        Ok(Self { tcp, tls })
    }
}

fn configuration() -> Result<ClientConfig> {
    let bundle = std::env::var_os(BUNDLE_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let Some(bundle) = bundle else {
        bail!(
            "{BUNDLE_VARIABLE} does not name the file of the authorities that the controller's certificate is believed from; a controller of a \
             cluster has it in its data directory, as identity/authorities.pem"
        );
    };
    let unreadable = || {
        format!(
            "{} ({BUNDLE_VARIABLE}) holds no certificates of authorities",
            bundle.display()
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&bundle).with_context(unreadable)? {
        roots
            .add(certificate.with_context(unreadable)?)
            .with_context(unreadable)?;
    }
    if roots.is_empty() {
        return Err(anyhow!(unreadable()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tcp, tls } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let stream = tcp.oneshot(uri).await?.into_inner();
            let stream: Box<dyn Io> = match tls {
                Some(tls) => Box::new(tls.connect(ServerName::try_from(name)?, stream).await?),
                None => Box::new(stream),
            };
            Ok(TokioIo::new(Stream(stream)))
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
