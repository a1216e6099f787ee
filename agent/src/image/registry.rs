//! Pulling from a registry over the OCI distribution protocol.
//!
//! Owns which registries are spoken to without TLS and how their errors are told: what is final, what is worth
//! another try, and in whose words. Shell.

use std::sync::Arc;
use std::time::Duration;

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
        }
    }

    /// The image `name` as its registry has it.
    pub(super) fn source(&self, name: &ImageName) -> RegistrySource {
        let plain = name.registry_is_loopback() || self.insecure.iter().any(|r| r == name.registry());
        let client = if plain { self.plain.clone() } else { self.secure.clone() };
        RegistrySource {
            client,
            name: name.clone(),
        }
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
