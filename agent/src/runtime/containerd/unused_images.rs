//! Removing images that no task uses any more, so that a host's disk does not fill with every version that it ever ran. Shell.

use std::collections::BTreeSet;
use std::time::Duration;

use containerd_client::services::v1::ListContainersRequest;
use tonic::Status;

use super::{ContainerdRuntime, image_error, refused};
use crate::runtime::RuntimeError;

/// Between two looks, as ECS's agent has it.
const LOOK_EVERY: Duration = Duration::from_secs(30 * 60);
/// Shortest time between two.
const SHORTEST: Duration = Duration::from_secs(1);

impl ContainerdRuntime {
    /// Removes, again and again, images that no container has used for so long; never those that were imported.
    pub async fn look_after_images(&self, unused_for: Duration) {
        loop {
            tokio::time::sleep(LOOK_EVERY.min(unused_for).max(SHORTEST)).await;
            match self.remove_unused_images(unused_for).await {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => tracing::info!(
                    images = removed.join(", "),
                    "removed images that no task has used for long"
                ),
                Err(error) => tracing::warn!(%error, "unused images cannot be removed; trying again later"),
            }
        }
    }

    /// Removes images that no container has used for so long; returns their names.
    ///
    /// # Errors
    /// If containerd does not say what there is, or does not remove it.
    pub async fn remove_unused_images(&self, unused_for: Duration) -> Result<Vec<String>, RuntimeError> {
        let in_use = images_of_containers(self).await;
        let in_use = in_use.map_err(|status| refused(&status, RuntimeError::Unavailable))?;
        let removed = self.images().remove_unused(&in_use, unused_for).await;
        removed.map_err(image_error)
    }
}

async fn images_of_containers(runtime: &ContainerdRuntime) -> Result<BTreeSet<String>, Status> {
    let client = &runtime.client;
    let request = client.request(ListContainersRequest::default());
    let mut stream = client.containers().list_stream(request).await?.into_inner();
    let mut images = BTreeSet::new();
    while let Some(message) = stream.message().await? {
        images.extend(message.container.map(|container| container.image));
    }
    Ok(images)
}
