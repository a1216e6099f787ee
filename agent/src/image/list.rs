//! What images a containerd has: in which namespaces they are looked for, and what is recorded there. Shell.

use containerd_client::services::v1::{ListImagesRequest, ListNamespacesRequest};

use super::ImageError;
use super::content;
use super::document::{Document, choose, parse};
use super::store::SHARED_NAMESPACE;
use crate::runtime::containerd::client::Client;

/// Namespaces in which a machine's images are usually found, in the order in which they are asked.
const USUAL_NAMESPACES: [&str; 4] = [SHARED_NAMESPACE, "default", "k8s.io", "moby"];

/// An image as one namespace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedImage {
    /// The name.
    pub name: String,
    /// Digest of what the name points at.
    pub digest: String,
    /// Bytes of its layers as they are transferred and of its documents; `None` if not all of these documents are there.
    pub size: Option<u64>,
}

/// Namespaces from which hosts of this machine take images, those of other hosts included, in the order in which they are asked.
///
/// # Errors
/// [`ImageError::Containerd`] if containerd does not list them.
pub async fn namespaces(client: &Client) -> Result<Vec<String>, ImageError> {
    let listed = client
        .namespaces()
        .list(client.request(ListNamespacesRequest::default()))
        .await
        .map_err(|status| ImageError::of_status("list its namespaces", &status))?;
    let rank = |name: &str| USUAL_NAMESPACES.iter().position(|usual| *usual == name);
    let mut names: Vec<String> = listed
        .into_inner()
        .namespaces
        .into_iter()
        .map(|namespace| namespace.name)
        .filter(|name| rank(name).is_some() || name.starts_with("berth"))
        .collect();
    names.sort_by_key(|name| (rank(name).unwrap_or(USUAL_NAMESPACES.len()), name.clone()));
    Ok(names)
}

/// The images of the client's namespace, by name.
///
/// # Errors
/// [`ImageError`] if containerd does not list them or does not read their documents.
pub async fn images(client: &Client) -> Result<Vec<ListedImage>, ImageError> {
    let listed = client
        .images()
        .list(client.request(ListImagesRequest::default()))
        .await
        .map_err(|status| ImageError::of_status("list its images", &status))?;
    let mut images = Vec::new();
    for image in listed.into_inner().images {
        let Some(target) = image.target else { continue };
        images.push(ListedImage {
            size: size(client, &image.name, &target.digest).await?,
            name: image.name,
            digest: target.digest,
        });
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Bytes of the image for this machine. An image that cannot be read, such as one for other machines only, is of unknown size.
async fn size(client: &Client, name: &str, digest: &str) -> Result<Option<u64>, ImageError> {
    let Some(bytes) = content::read_small(client, digest).await? else {
        return Ok(None);
    };
    let (manifest, documents) = match parse(digest, &bytes) {
        Ok(Document::Manifest(manifest)) => (manifest, bytes.len()),
        Ok(Document::Index(index)) => {
            let Ok(chosen) = choose(name, &index) else {
                return Ok(None);
            };
            let Some(inner) = content::read_small(client, &chosen.digest).await? else {
                return Ok(None);
            };
            let Ok(Document::Manifest(manifest)) = parse(&chosen.digest, &inner) else {
                return Ok(None);
            };
            (manifest, bytes.len() + inner.len())
        }
        Err(_) => return Ok(None),
    };
    let layers: u64 = manifest.layers().iter().map(|layer| layer.size()).sum();
    let documents = u64::try_from(documents).unwrap_or(u64::MAX);
    Ok(Some(
        documents
            .saturating_add(manifest.config().size())
            .saturating_add(layers),
    ))
}
