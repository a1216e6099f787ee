//! The images of one host: makes sure that an image is there, once for all who wait for it.
//!
//! Owns the order of places that are asked (imports, the registry, copies in this and other namespaces of the same containerd)
//! and what is remembered of unpacked images. Shell.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use containerd_client::services::v1::{DeleteImageRequest, GetImageRequest, ListImagesRequest};
use oci_spec::image::ImageConfiguration;
use tokio::sync::watch;
use tonic::Code;

use super::content::{self, ByteStream, Labels};
use super::document::{Blob, Document, chain_id, choose, parse, parse_config};
use super::registry::Registries;
use super::transfer::{Brought, Destination, Source, bring};
use super::unpack::is_unpacked;
use super::{ImageError, ImageName, RegistryOptions, import, list};
use crate::runtime::containerd::client::Client;

/// Namespace for images that all hosts of a machine may use: `berth image import` puts them there.
pub const SHARED_NAMESPACE: &str = "berth";

/// On the record of an image that was imported.
pub(super) const LABEL_IMPORTED: &str = "berth/imported";

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
    /// When this process saw each image used last.
    used: Mutex<HashMap<String, Instant>>,
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
            used: Mutex::default(),
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
        self.shared.note_use(&text);
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

    /// Removes from the namespace what nobody has used for so long; returns the names. Those `in_use`, and what was imported there, stay.
    /// containerd removes their layers by itself. What was used before this process began counts as used when it first looks here.
    ///
    /// # Errors
    /// [`ImageError`] if containerd does not list or remove them.
    pub async fn remove_unused(
        &self,
        in_use: &BTreeSet<String>,
        unused_for: Duration,
    ) -> Result<Vec<String>, ImageError> {
        let client = &self.shared.destination.client;
        let listed = client
            .images()
            .list(client.request(ListImagesRequest::default()))
            .await
            .map_err(|status| ImageError::of_status("list its images", &status))?;
        let mut removed = Vec::new();
        for image in listed.into_inner().images {
            if in_use.contains(&image.name) {
                self.shared.note_use(&image.name);
                continue;
            }
            if image.labels.contains_key(LABEL_IMPORTED) || self.shared.unused_for(&image.name) < unused_for {
                continue;
            }
            self.forget(&image.name);
            let request = DeleteImageRequest {
                name: image.name.clone(),
                ..Default::default()
            };
            match client.images().delete(client.request(request)).await {
                Ok(_) => removed.push(image.name),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(ImageError::of_status("remove an image", &status)),
            }
        }
        Ok(removed)
    }

    /// Brings in an image from a directory: an OCI image layout, or `rootfs.tar` with an optional `config.json`
    /// (the `config` object of an image configuration).
    ///
    /// # Errors
    /// [`ImageError`], naming the file that is missing or damaged.
    pub async fn import(&self, directory: &Path, name: &str) -> Outcome {
        let name: ImageName = name.parse()?;
        let source = import::source(directory, &name).await?;
        self.shared.bring(&name.to_string(), Arc::from(source), true).await
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
    /// As ECS does by default: whoever has the name in their hands is asked what it means now, and where they cannot be asked, the host's
    /// copy is used. For a name with a digest there is nothing to ask; for an imported image, it is the operator.
    async fn find_or_pull(&self, name: &ImageName) -> Outcome {
        let text = name.to_string();
        let copies = self.copies(&text).await?;
        let is_settled = name.reference().digest().is_some();
        let imported = copies.iter().find(|copy| copy.is_imported);
        if let Some(imported) = imported
            && let Some(image) = self.try_copy(&text, imported).await?
        {
            return Ok(image);
        }
        let wanted = match is_settled {
            true => None,
            false => self.registries.digest(name).await,
        };
        let is_wanted = |copy: &&Copy| wanted.as_ref().is_none_or(|digest| copy.target.digest == *digest);
        for copy in copies.iter().filter(is_wanted) {
            if let Some(image) = self.try_copy(&text, copy).await? {
                return Ok(image);
            }
        }
        let error = match self.bring(&text, Arc::new(self.registries.source(name)), false).await {
            Err(error @ (ImageError::Refused { .. } | ImageError::Unreachable { .. })) if wanted.is_some() => error,
            other => return other,
        };
        for copy in &copies {
            if let Some(image) = self.try_copy(&text, copy).await? {
                tracing::warn!(image = text, %error, "the image cannot be pulled: the copy that this host has is used");
                return Ok(image);
            }
        }
        Err(error)
    }

    /// What containerd has under the name: first what this host has, unless another namespace's is newer. The namespaces of other
    /// hosts on this machine are looked at if this one has nothing.
    async fn copies(&self, name: &str) -> Result<Vec<Copy>, ImageError> {
        let client = &self.destination.client;
        let mut copies: Vec<Copy> = self.copy_in(client, name).await?.into_iter().collect();
        let has_own = !copies.is_empty();
        for namespace in self.other_namespaces().await {
            let is_another_host = namespace.starts_with("berth") && namespace != SHARED_NAMESPACE;
            let Ok(other) = client.in_namespace(&namespace) else {
                continue;
            };
            if !(has_own && is_another_host)
                && let Ok(Some(copy)) = self.copy_in(&other, name).await
            {
                copies.push(copy);
            }
        }
        // Stable: of the same age, in the order in which they were asked.
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.updated_at));
        Ok(copies)
    }

    async fn copy_in(&self, client: &Client, name: &str) -> Result<Option<Copy>, ImageError> {
        let found = self.recorded(client, name).await?;
        Ok(found.map(|(target, updated_at, labels)| Copy {
            is_imported: client.namespace() == SHARED_NAMESPACE || labels.contains_key(LABEL_IMPORTED),
            client: client.clone(),
            target,
            updated_at,
        }))
    }

    /// The image from a copy; `None` if that is not whole, or for another machine.
    async fn try_copy(&self, name: &str, copy: &Copy) -> Result<Option<Arc<UnpackedImage>>, ImageError> {
        let own = &self.destination.client;
        let is_own = copy.client.namespace() == own.namespace();
        let is_recorded = is_own
            || self
                .recorded(own, name)
                .await?
                .is_some_and(|(own, ..)| own == copy.target);
        if is_recorded && let Some(image) = self.unpacked(name, &copy.target).await? {
            return Ok(Some(self.remember(image)));
        }
        let source = NamespaceSource {
            client: copy.client.clone(),
            target: copy.target.clone(),
        };
        match self.bring(name, Arc::new(source), is_own && copy.is_imported).await {
            Ok(image) => Ok(Some(image)),
            Err(error @ ImageError::Away(_)) => Err(error),
            Err(error) => {
                let namespace = copy.client.namespace();
                tracing::debug!(image = name, namespace, %error, "image cannot be taken over");
                Ok(None)
            }
        }
    }

    fn note_use(&self, name: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(name.to_owned(), Instant::now());
    }

    fn unused_for(&self, name: &str) -> Duration {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry(name.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    async fn bring(&self, name: &str, source: Arc<dyn Source>, is_imported: bool) -> Outcome {
        let labels = match is_imported {
            true => Labels::from([(LABEL_IMPORTED.to_owned(), "true".to_owned())]),
            false => Labels::new(),
        };
        let Brought {
            digest,
            chain_id,
            config,
        } = bring(&self.destination, name, source, labels).await?;
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

    /// What the name points at in a namespace, since when, and the labels of that.
    async fn recorded(&self, client: &Client, name: &str) -> Result<Option<Recorded>, ImageError> {
        match client
            .images()
            .get(client.request(GetImageRequest { name: name.to_owned() }))
            .await
        {
            Ok(answer) => {
                let image = answer.into_inner().image.unwrap_or_default();
                let updated_at = image.updated_at.map_or((0, 0), |at| (at.seconds, at.nanos));
                let labels = image.labels;
                Ok(image.target.map(|t| {
                    let blob = Blob {
                        media_type: t.media_type,
                        digest: t.digest,
                        size: u64::try_from(t.size).unwrap_or(0),
                    };
                    (blob, updated_at, labels)
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

/// An image as a namespace of the same containerd has it.
struct Copy {
    client: Client,
    target: Blob,
    /// Seconds and nanoseconds since 1970.
    updated_at: (i64, i32),
    /// Whether somebody brought it to this machine from a file: they want it, whatever a registry has under its name.
    is_imported: bool,
}

type Recorded = (Blob, (i64, i32), Labels);

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
