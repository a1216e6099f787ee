//! Pulling from a registry over the OCI distribution protocol.
//!
//! Owns which registries are spoken to without TLS and how their errors are told: what is final, what is worth
//! another try, and in whose words. Shell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use tokio_stream::StreamExt as _;

use super::content::ByteStream;
use super::document::{ACCEPTED, Blob, MAX_DOCUMENT_BYTES, digest_of};
use super::transfer::Source;
use super::{ImageError, ImageName};
use crate::runtime::containerd::client::error_chain;

/// How long connecting to a registry may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a registry may be silent in the middle of an answer.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// How long a registry may take to say what a name means, where the host has an image that could be used instead.
const DIGEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long one that did not answer is not asked that again.
const AWAY: Duration = Duration::from_secs(60);

/// Settings for pulling.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Registries (`host` or `host:port`) that are spoken to over plain HTTP, besides those on this machine.
    pub insecure_registries: Vec<String>,
}

/// Clients for registries with and without TLS.
#[derive(Clone)]
pub(super) struct Registries {
    secure: oci_client::Client,
    plain: oci_client::Client,
    insecure: Arc<Vec<String>>,
    /// Registries that did not answer, and when that was.
    away: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Registries {
    pub(super) fn new(options: RegistryOptions) -> Self {
        let client = |protocol| {
            oci_client::Client::new(ClientConfig {
                protocol,
                connect_timeout: Some(CONNECT_DEADLINE),
                read_timeout: Some(READ_DEADLINE),
                user_agent: concat!("berth/", env!("CARGO_PKG_VERSION")),
                ..Default::default()
            })
        };
        Self {
            secure: client(ClientProtocol::Https),
            plain: client(ClientProtocol::Http),
            insecure: Arc::new(options.insecure_registries),
            away: Arc::default(),
        }
    }

    /// What the name means at its registry now; `None` if that does not say so, or not soon.
    pub(super) async fn digest(&self, name: &ImageName) -> Option<String> {
        let registry = name.registry();
        let is_away = |since: &Instant| since.elapsed() < AWAY;
        if self.lock_away().get(registry).is_some_and(is_away) {
            return None;
        }
        let source = self.source(name);
        let asking = source
            .client
            .fetch_manifest_digest(name.reference(), &RegistryAuth::Anonymous);
        let reason = match tokio::time::timeout(DIGEST_DEADLINE, asking).await {
            Ok(Ok(digest)) => return Some(digest),
            Ok(Err(error)) => match source.error(&error) {
                ImageError::Unreachable { why, .. } => why,
                error => {
                    tracing::debug!(image = %name, %error, "the registry does not say what the image is");
                    return None;
                }
            },
            Err(_) => format!("no answer within {} s", DIGEST_DEADLINE.as_secs()),
        };
        tracing::info!(image = %name, registry, reason, "the registry does not answer: copies on this host are used as they are");
        let mut away = self.lock_away();
        away.retain(|_, since| is_away(since));
        away.insert(registry.to_owned(), Instant::now());
        None
    }

    fn lock_away(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image `name` as its registry has it.
    pub(super) fn source(&self, name: &ImageName) -> RegistrySource {
        let client = if self.without_tls(name) {
            self.plain.clone()
        } else {
            self.secure.clone()
        };
        RegistrySource {
            client,
            name: name.clone(),
        }
    }
}

impl Registries {
    /// A registry of this machine needs no TLS; another one does, unless the operator says otherwise. It is never found out by
    /// trying: who can cut a connection could then have a pull go without TLS.
    fn without_tls(&self, name: &ImageName) -> bool {
        name.registry_is_loopback() || self.insecure.iter().any(|registry| registry == name.registry())
    }
}

/// An image in a registry.
pub(super) struct RegistrySource {
    client: oci_client::Client,
    name: ImageName,
}

#[async_trait]
impl Source for RegistrySource {
    async fn target(&self) -> Result<(Blob, Vec<u8>), ImageError> {
        let (bytes, digest) = self
            .client
            .pull_manifest_raw(self.name.reference(), &RegistryAuth::Anonymous, &ACCEPTED)
            .await
            .map_err(|e| self.error(&e))?;
        let media_type = media_type_of(&bytes);
        // A reference by digest must be answered with that content, whatever the registry calls it.
        let digest = self.name.reference().digest().map_or(digest, str::to_owned);
        Ok((
            Blob {
                media_type,
                digest,
                size: bytes.len() as u64,
            },
            bytes.to_vec(),
        ))
    }

    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, ImageError> {
        if ACCEPTED.contains(&blob.media_type.as_str()) {
            let reference = self.name.reference().clone_with_digest(blob.digest.clone());
            let pulled = self
                .client
                .pull_manifest_raw(&reference, &RegistryAuth::Anonymous, &ACCEPTED)
                .await;
            return pulled.map(|(bytes, _)| bytes.to_vec()).map_err(|e| self.error(&e));
        }
        let mut stream = self.layer(blob).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
                let why = format!("a configuration larger than {MAX_DOCUMENT_BYTES} bytes is refused");
                return Err(ImageError::Damaged {
                    digest: blob.digest.clone(),
                    why,
                });
            }
        }
        Ok(bytes)
    }

    async fn layer(&self, blob: &Blob) -> Result<ByteStream, ImageError> {
        let descriptor = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            ..Default::default()
        };
        let sized = self
            .client
            .pull_blob_stream(self.name.reference(), &descriptor)
            .await
            .map_err(|e| self.error(&e))?;
        let image = self.name.to_string();
        Ok(Box::pin(sized.stream.map(move |piece| {
            piece.map_err(|e| ImageError::Unreachable {
                image: image.clone(),
                why: error_chain(&e),
                tries: 1,
            })
        })))
    }
}

impl RegistrySource {
    fn error(&self, error: &OciDistributionError) -> ImageError {
        let image = self.name.to_string();
        let registry = self.name.registry();
        match verdict(error) {
            Verdict::Final(why) => ImageError::Refused {
                image,
                why: format!("{registry}: {why}"),
            },
            // rustls' name for an answer that is no TLS.
            Verdict::Again(why) if why.contains("InvalidContentType") => ImageError::Refused {
                image,
                why: format!(
                    "{registry} does not speak TLS; if it is to be trusted without, start the agent with \
                     --insecure-registry {registry}"
                ),
            },
            Verdict::Again(why) => ImageError::Unreachable {
                image,
                why: format!("{registry}: {why}"),
                tries: 1,
            },
        }
    }
}

enum Verdict {
    Final(String),
    Again(String),
}

/// Whether another try can help, and the registry's own words.
fn verdict(error: &OciDistributionError) -> Verdict {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            let say = |e: &oci_client::errors::OciError| {
                let code = serde_json::to_value(&e.code)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_lowercase));
                let detail = if e.detail.is_null() {
                    String::new()
                } else {
                    format!(" ({})", e.detail)
                };
                format!("{}: {}{detail}", code.unwrap_or_default().replace('_', " "), e.message)
            };
            let said = envelope.errors.iter().map(say).collect::<Vec<_>>().join("; ");
            let busy = envelope
                .errors
                .iter()
                .any(|e| e.code == oci_client::errors::OciErrorCode::Toomanyrequests);
            if busy {
                Verdict::Again(said)
            } else {
                Verdict::Final(said)
            }
        }
        OciDistributionError::UnauthorizedError { .. } => {
            Verdict::Final("unauthorized: the registry wants credentials, or there is no such repository".to_owned())
        }
        OciDistributionError::ImageManifestNotFoundError(said) => Verdict::Final(format!("not found: {said}")),
        OciDistributionError::ServerError { code, message, .. } => {
            let said = format!("HTTP status {code}: {}", message.trim());
            if *code >= 500 || *code == 429 {
                Verdict::Again(said)
            } else {
                Verdict::Final(said)
            }
        }
        OciDistributionError::RequestError(e) => Verdict::Again(error_chain(e)),
        OciDistributionError::IoError(e) => Verdict::Again(error_chain(e)),
        other => Verdict::Final(error_chain(other)),
    }
}

fn media_type_of(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let given = value.get("mediaType").and_then(|m| m.as_str());
    let assumed = if value.get("manifests").is_some() {
        ACCEPTED[0]
    } else {
        ACCEPTED[2]
    };
    given.unwrap_or(assumed).to_owned()
}

/// For documents that have no announcement: what they are by their own content.
pub(super) fn blob_of_document(bytes: &[u8]) -> Blob {
    Blob {
        media_type: media_type_of(bytes),
        digest: digest_of(bytes),
        size: bytes.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn registry_goes_without_tls_on_this_machine_or_where_it_is_said_and_nowhere_else() {
        let registries = Registries::new(RegistryOptions {
            insecure_registries: vec!["10.0.0.1:5000".to_owned()],
        });
        for (image, expected) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("10.0.0.1:5000/a", true),
            ("10.0.0.1:5001/a", false),
            ("10.0.0.1/a", false),
            ("busybox", false),
        ] {
            let name: ImageName = image.parse().unwrap();
            assert_eq!(registries.without_tls(&name), expected, "{image}");
        }
    }

    #[tokio::test]
    async fn registry_without_tls_that_was_not_named_is_refused_with_the_flag_that_names_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
                // A socket closed with something unread would take the answer back.
                while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
            }
        });
        let registries = Registries::new(RegistryOptions::default());
        let source = RegistrySource {
            client: registries.secure.clone(),
            name: format!("127.0.0.1:{port}/a").parse().unwrap(),
        };
        let error = source.target().await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("--insecure-registry 127.0.0.1:{port}")),
            "{error}"
        );
    }
}
