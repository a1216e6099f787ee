//! The images of one host: makes sure that an image is there, once for all who wait for it.
//!
//! Owns the order of places that are asked (the host's own namespace, other namespaces of the same containerd, the
//! registry) and what is remembered of unpacked images. Shell.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use containerd_client::services::v1::GetImageRequest;
use oci_spec::image::ImageConfiguration;
use tokio::sync::watch;
use tonic::Code;

use super::content::{self, ByteStream};
use super::document::{Blob, Document, chain_id, choose, parse, parse_config};
use super::registry::Registries;
use super::transfer::{Brought, Destination, Source, bring};
use super::unpack::is_unpacked;
use super::{ImageError, ImageName, RegistryOptions, import, list};
use crate::runtime::containerd::client::Client;

/// Namespace for images that all hosts of a machine may use: `berth image import` puts them there.
pub const SHARED_NAMESPACE: &str = "berth";

/// An image that is present and unpacked.
#[derive(Clone, Debug, PartialEq)]
pub struct UnpackedImage {
    /// The normalised name.
    pub name: String,
    /// Digest of what the name points at.
    pub digest: String,
    /// Name of the snapshot that holds its file system.
    pub chain_id: String,
    /// Its configuration: entry point, environment, user and the like.
    pub config: ImageConfiguration,
}

type Outcome = Result<Arc<UnpackedImage>, ImageError>;

/// The images of one containerd namespace. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore {
    shared: Arc<Shared>,
}

struct Shared {
    destination: Destination,
    registries: Registries,
    known: Mutex<HashMap<String, Arc<UnpackedImage>>>,
    under_way: Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>,
}

impl ImageStore {
    /// The images that `client`'s namespace has, unpacked with `snapshotter`.
    #[must_use]
    pub fn new(client: Client, snapshotter: &str, options: RegistryOptions) -> Self {
        let destination = Destination {
            client,
            snapshotter: snapshotter.to_owned(),
        };
        let registries = Registries::new(options);
        let shared = Shared {
            destination,
            registries,
            known: Mutex::default(),
            under_way: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes sure that an image is present and unpacked. Callers that ask at the same time share one fetch.
    ///
    /// # Errors
    /// [`ImageError`], with the registry's words if it was asked.
    pub async fn ensure(&self, image: &str) -> Outcome {
        let name: ImageName = image.parse()?;
        let text = name.to_string();
        if let Some(target) = self.shared.recorded(&self.shared.destination.client, &text).await?
            && let Some(known) = self.known(&text)
            && known.digest == target.digest
        {
            return Ok(known);
        }
        let mut outcome = self.join_or_fetch(&name);
        let ended = outcome.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|o| o.clone());
        ended.unwrap_or_else(|| Err(ImageError::Away(format!("fetching image {text} was cut short"))))
    }

    /// What is known of an image that was ensured before; asks nobody.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Arc<UnpackedImage>> {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Forgets an image whose layers turned out to be gone, so that the next `ensure` looks again.
    pub fn forget(&self, name: &str) {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// Brings in an image from a directory: an OCI image layout, or `rootfs.tar` with an optional `config.json`
    /// (the `config` object of an image configuration).
    ///
    /// # Errors
    /// [`ImageError`], naming the file that is missing or damaged.
    pub async fn import(&self, directory: &Path, name: &str) -> Outcome {
        let name: ImageName = name.parse()?;
        let source = import::source(directory, &name).await?;
        self.shared.bring(&name.to_string(), Arc::from(source)).await
    }

    fn join_or_fetch(&self, name: &ImageName) -> watch::Receiver<Option<Outcome>> {
        let text = name.to_string();
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&text) {
            return outcome.clone();
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(text.clone(), receiver.clone());
        let name = name.clone();
        let fetch = Fetch {
            shared: self.shared.clone(),
            text,
        };
        // A task of its own: it ends even if the caller who began it goes away.
        tokio::spawn(async move {
            let outcome = fetch.shared.find_or_pull(&name).await;
            drop(fetch);
            sender.send_replace(Some(outcome));
        });
        receiver
    }
}

/// A fetch that is under way. However it ends, by a panic too, the next caller begins another one.
struct Fetch {
    shared: Arc<Shared>,
    text: String,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.text);
    }
}

impl Shared {
    async fn find_or_pull(&self, name: &ImageName) -> Outcome {
        let text = name.to_string();
        let client = &self.destination.client;
        if let Some(target) = self.recorded(client, &text).await? {
            if let Some(image) = self.unpacked(&text, &target).await? {
                return Ok(self.remember(image));
            }
            // Recorded, but not unpacked for our snapshotter: as if it came from another namespace.
            match self
                .bring(
                    &text,
                    Arc::new(NamespaceSource {
                        client: client.clone(),
                        target,
                    }),
                )
                .await
            {
                Err(ImageError::Damaged { digest, why }) => {
                    tracing::debug!(
                        image = text,
                        digest,
                        why,
                        "recorded image is incomplete; fetching it again"
                    );
                }
                other => return other,
            }
        }
        for namespace in self.other_namespaces().await {
            let Ok(other) = client.in_namespace(&namespace) else {
                continue;
            };
            let Ok(Some(target)) = self.recorded(&other, &text).await else {
                continue;
            };
            match self
                .bring(&text, Arc::new(NamespaceSource { client: other, target }))
                .await
            {
                Ok(image) => return Ok(image),
                // An image of another platform, or one whose layers that namespace does not keep.
                Err(error) => tracing::debug!(image = text, namespace, %error, "image cannot be taken over"),
            }
        }
        self.bring(&text, Arc::new(self.registries.source(name))).await
    }

    async fn bring(&self, name: &str, source: Arc<dyn Source>) -> Outcome {
        let Brought {
            digest,
            chain_id,
            config,
        } = bring(&self.destination, name, source).await?;
        Ok(self.remember(UnpackedImage {
            name: name.to_owned(),
            digest,
            chain_id,
            config,
        }))
    }

    fn remember(&self, image: UnpackedImage) -> Arc<UnpackedImage> {
        let image = Arc::new(image);
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image.name.clone(), image.clone());
        image
    }

    async fn recorded(&self, client: &Client, name: &str) -> Result<Option<Blob>, ImageError> {
        match client
            .images()
            .get(client.request(GetImageRequest { name: name.to_owned() }))
            .await
        {
            Ok(answer) => {
                let target = answer.into_inner().image.and_then(|i| i.target);
                Ok(target.map(|t| Blob {
                    media_type: t.media_type,
                    digest: t.digest,
                    size: u64::try_from(t.size).unwrap_or(0),
                }))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(ImageError::of_status("look up the image", &status)),
        }
    }

    /// The image if all that a container needs of it is there: its documents and its unpacked layers.
    async fn unpacked(&self, name: &str, target: &Blob) -> Result<Option<UnpackedImage>, ImageError> {
        let client = &self.destination.client;
        let Some(bytes) = content::read_small(client, &target.digest).await? else {
            return Ok(None);
        };
        let manifest = match parse(&target.digest, &bytes)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let chosen = choose(name, &index)?;
                let Some(bytes) = content::read_small(client, &chosen.digest).await? else {
                    return Ok(None);
                };
                match parse(&chosen.digest, &bytes)? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Ok(None),
                }
            }
        };
        let config_digest = manifest.config().digest().to_string();
        let Some(bytes) = content::read_small(client, &config_digest).await? else {
            return Ok(None);
        };
        let config = parse_config(&config_digest, &bytes)?;
        let chain_id = chain_id(config.rootfs().diff_ids());
        if !chain_id.is_empty() && !is_unpacked(client, &self.destination.snapshotter, &chain_id).await? {
            return Ok(None);
        }
        Ok(Some(UnpackedImage {
            name: name.to_owned(),
            digest: target.digest.clone(),
            chain_id,
            config,
        }))
    }

    /// Namespaces to look in, those of other hosts on this machine included; none if they cannot be listed.
    async fn other_namespaces(&self) -> Vec<String> {
        let client = &self.destination.client;
        let mut names = list::namespaces(client).await.unwrap_or_default();
        names.retain(|name| name != client.namespace());
        names
    }
}

/// An image in a namespace of the same containerd.
struct NamespaceSource {
    client: Client,
    target: Blob,
}

#[async_trait]
impl Source for NamespaceSource {
    async fn target(&self) -> Result<(Blob, Vec<u8>), ImageError> {
        Ok((self.target.clone(), self.document(&self.target).await?))
    }

    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, ImageError> {
        let missing = || ImageError::Damaged {
            digest: blob.digest.clone(),
            why: format!(
                "it is missing from the containerd namespace {}",
                self.client.namespace()
            ),
        };
        content::read_small(&self.client, &blob.digest)
            .await?
            .ok_or_else(missing)
    }

    async fn layer(&self, blob: &Blob) -> Result<ByteStream, ImageError> {
        content::stream(&self.client, &blob.digest).await
    }
}
