//! Bringing an image into a containerd namespace from somewhere: another namespace, a registry, a directory.
//!
//! Owns the one order in which that is safe (layers, unpacking, configuration, manifest, index, name; all under a
//! lease) and the retries. The places themselves are [`Source`]s. Shell.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_client::services::v1::{CreateImageRequest, CreateRequest, DeleteRequest, Image, UpdateImageRequest};
use oci_spec::image::{ImageConfiguration, ImageManifest};
use prost_types::FieldMask;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Code;

use super::ImageError;
use super::content::{self, ByteStream, Labels};
use super::document::{Blob, Document, chain_id, choose, parse, parse_config, verify};
use super::unpack::unpack;
use crate::runtime::containerd::client::{Client, Lease, ascii};

/// Layers fetched at once, per image.
const LAYERS_AT_ONCE: usize = 3;
/// Tries of one step where the network fails.
const MAX_TRIES: u32 = 5;
/// Pause after the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Age at which containerd drops a lease whose process died.
const LEASE_LIFETIME_SECS: i64 = 24 * 3600;

/// A place that has an image.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// What the image's name points at, with its bytes.
    async fn target(&self) -> Result<(Blob, Vec<u8>), ImageError>;
    /// A manifest or a configuration.
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, ImageError>;
    /// A layer.
    async fn layer(&self, blob: &Blob) -> Result<ByteStream, ImageError>;
}

/// Where to bring an image.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) client: Client,
    pub(super) snapshotter: String,
}

/// An image brought in.
pub(super) struct Brought {
    pub(super) digest: String,
    pub(super) chain_id: String,
    pub(super) config: ImageConfiguration,
}

/// Brings the image into the namespace, unpacked, and only then makes its name visible, with these labels.
pub(super) async fn bring(
    destination: &Destination,
    name: &str,
    source: Arc<dyn Source>,
    labels: Labels,
) -> Result<Brought, ImageError> {
    let lease = create_lease(&destination.client).await?;
    let brought = bring_leased(destination, &lease, name, source, labels).await;
    let delete = DeleteRequest {
        id: lease.id.clone(),
        sync: false,
    };
    if let Err(status) = destination
        .client
        .leases()
        .delete(destination.client.request(delete))
        .await
    {
        tracing::debug!(lease = lease.id, %status, "lease could not be deleted; it expires");
    }
    brought
}

async fn bring_leased(
    destination: &Destination,
    lease: &Lease,
    name: &str,
    source: Arc<dyn Source>,
    labels: Labels,
) -> Result<Brought, ImageError> {
    let client = &destination.client;
    let (target, target_bytes) = retrying(|| source.target()).await?;
    verify(&target.digest, &target_bytes)?;
    let (manifest_blob, manifest_bytes, manifest) = match parse(&target.digest, &target_bytes)? {
        Document::Manifest(manifest) => (target.clone(), target_bytes.clone(), manifest),
        Document::Index(index) => {
            let chosen = choose(name, &index)?;
            let bytes = fetch_document(&source, &chosen).await?;
            match parse(&chosen.digest, &bytes)? {
                Document::Manifest(manifest) => (chosen, bytes, manifest),
                Document::Index(_) => {
                    let why = "an image index within an image index is not supported".to_owned();
                    return Err(ImageError::Damaged {
                        digest: chosen.digest,
                        why,
                    });
                }
            }
        }
    };
    let config_blob = Blob::from(manifest.config());
    let config_bytes = fetch_document(&source, &config_blob).await?;
    let config = parse_config(&config_blob.digest, &config_bytes)?;
    let layers = layers_of(&manifest, &config, &manifest_blob.digest)?;
    fetch_layers(client, lease, &source, &layers).await?;
    unpack(
        client,
        lease,
        &destination.snapshotter,
        &layers,
        config.rootfs().diff_ids(),
    )
    .await?;
    let chain_id = chain_id(config.rootfs().diff_ids());
    let snapshot = format!("containerd.io/gc.ref.snapshot.{}", destination.snapshotter);
    let config_labels = if chain_id.is_empty() {
        Labels::new()
    } else {
        Labels::from([(snapshot, chain_id.clone())])
    };
    put(client, lease, &config_blob, &config_labels, config_bytes).await?;
    put(
        client,
        lease,
        &manifest_blob,
        &manifest_labels(&layers, &config_blob),
        manifest_bytes,
    )
    .await?;
    if target.digest != manifest_blob.digest {
        let labels = Labels::from([("containerd.io/gc.ref.content.m.0".to_owned(), manifest_blob.digest)]);
        put(client, lease, &target, &labels, target_bytes).await?;
    }
    record(client, lease, name, &target, labels).await?;
    Ok(Brought {
        digest: target.digest,
        chain_id,
        config,
    })
}

fn layers_of(manifest: &ImageManifest, config: &ImageConfiguration, digest: &str) -> Result<Vec<Blob>, ImageError> {
    let layers: Vec<Blob> = manifest.layers().iter().map(Blob::from).collect();
    let diff_ids = config.rootfs().diff_ids().len();
    if layers.len() != diff_ids {
        let why = format!(
            "the manifest has {} layers and the configuration {diff_ids}",
            layers.len()
        );
        return Err(ImageError::Damaged {
            digest: digest.to_owned(),
            why,
        });
    }
    Ok(layers)
}

fn manifest_labels(layers: &[Blob], config: &Blob) -> Labels {
    let layer = |(i, blob): (usize, &Blob)| (format!("containerd.io/gc.ref.content.l.{i}"), blob.digest.clone());
    let mut labels: Labels = layers.iter().enumerate().map(layer).collect();
    labels.insert("containerd.io/gc.ref.content.config".to_owned(), config.digest.clone());
    labels
}

async fn fetch_document(source: &Arc<dyn Source>, blob: &Blob) -> Result<Vec<u8>, ImageError> {
    let bytes = retrying(|| source.document(blob)).await?;
    verify(&blob.digest, &bytes)?;
    Ok(bytes)
}

async fn fetch_layers(
    client: &Client,
    lease: &Lease,
    source: &Arc<dyn Source>,
    layers: &[Blob],
) -> Result<(), ImageError> {
    let slots = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
    let mut fetching = JoinSet::new();
    for layer in layers {
        let (client, lease, source, slots, layer) = (
            client.clone(),
            lease.clone(),
            source.clone(),
            slots.clone(),
            layer.clone(),
        );
        fetching.spawn(async move {
            // The semaphore is never closed; without a permit the layer would merely be fetched at once.
            let _permit = slots.acquire().await.ok();
            retrying(|| fetch_layer(&client, &lease, &source, &layer)).await
        });
    }
    while let Some(fetched) = fetching.join_next().await {
        fetched.map_err(|e| ImageError::Away(format!("fetching a layer was cut short: {e}")))??;
    }
    Ok(())
}

async fn fetch_layer(client: &Client, lease: &Lease, source: &Arc<dyn Source>, layer: &Blob) -> Result<(), ImageError> {
    let labels = Labels::new();
    if content::has(client, lease, layer, &labels).await? || content::adopt(client, lease, layer, &labels).await? {
        return Ok(());
    }
    content::write(client, lease, layer, &labels, source.layer(layer).await?).await
}

async fn put(client: &Client, lease: &Lease, blob: &Blob, labels: &Labels, bytes: Vec<u8>) -> Result<(), ImageError> {
    if content::has(client, lease, blob, labels).await? {
        return Ok(());
    }
    content::write(
        client,
        lease,
        blob,
        labels,
        Box::pin(tokio_stream::once(Ok(bytes.into()))),
    )
    .await
}

async fn record(client: &Client, lease: &Lease, name: &str, target: &Blob, labels: Labels) -> Result<(), ImageError> {
    let image = Image {
        name: name.to_owned(),
        labels,
        target: Some(target.descriptor()),
        ..Default::default()
    };
    let create = CreateImageRequest {
        image: Some(image.clone()),
        ..Default::default()
    };
    let failed = |status| ImageError::of_status("record the image", &status);
    match client.images().create(client.leased(create, lease)).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => {
            let update_mask = Some(FieldMask {
                paths: vec!["target".to_owned(), "labels".to_owned()],
            });
            let update = UpdateImageRequest {
                image: Some(image),
                update_mask,
                ..Default::default()
            };
            client
                .images()
                .update(client.leased(update, lease))
                .await
                .map(drop)
                .map_err(failed)
        }
        Err(status) => Err(failed(status)),
    }
}

pub(super) async fn create_lease(client: &Client) -> Result<Lease, ImageError> {
    let failed = |status| ImageError::of_status("lease room for the image", &status);
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| ImageError::Away(format!("no random numbers: {e}")))?;
    let id = format!("berth-{}", hex::encode(random));
    let expires = jiff::Timestamp::now().as_second().saturating_add(LEASE_LIFETIME_SECS);
    let expires = jiff::Timestamp::from_second(expires)
        .map(|t| t.to_string())
        .unwrap_or_default();
    let labels = Labels::from([("containerd.io/gc.expire".to_owned(), expires)]);
    client
        .leases()
        .create(client.request(CreateRequest { id: id.clone(), labels }))
        .await
        .map_err(failed)?;
    Ok(Lease {
        header: ascii(&id).map_err(failed)?,
        id,
    })
}

/// Repeats a step while the network fails, with growing pauses; any other error is final.
async fn retrying<T, F, Fut>(step: F) -> Result<T, ImageError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, ImageError>>,
{
    let mut pause = FIRST_PAUSE;
    let mut tried = 1;
    loop {
        match step().await {
            Err(ImageError::Unreachable { image, why, .. }) if tried >= MAX_TRIES => {
                return Err(ImageError::Unreachable {
                    image,
                    why,
                    tries: tried,
                });
            }
            Err(ImageError::Unreachable { image, why, .. }) => {
                tracing::debug!(image, why, tried, "image transfer failed; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
                tried += 1;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn unreachable() -> ImageError {
        ImageError::Unreachable {
            image: "i".to_owned(),
            why: "connection refused".to_owned(),
            tries: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retrying_a_step_that_recovers_succeeds() {
        let calls = Cell::new(0);
        let result = retrying(|| {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() < 3 {
                Err(unreachable())
            } else {
                Ok(calls.get())
            })
        })
        .await;
        assert_eq!(result, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn retrying_a_step_that_never_recovers_ends_with_the_last_error_and_count() {
        let result: Result<(), _> = retrying(|| std::future::ready(Err(unreachable()))).await;
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("connection refused (tried 5 times)")
        );
    }

    #[tokio::test]
    async fn retrying_a_refused_step_does_not_try_again() {
        let calls = Cell::new(0);
        let refused = ImageError::Refused {
            image: "i".to_owned(),
            why: "unauthorized".to_owned(),
        };
        let result: Result<(), _> = retrying(|| {
            calls.set(calls.get() + 1);
            std::future::ready(Err(refused.clone()))
        })
        .await;
        assert_eq!((result, calls.get()), (Err(refused), 1));
    }
}
