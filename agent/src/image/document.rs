//! The JSON documents of an image: index, manifest, configuration; reading them and choosing for this machine.
//!
//! Pure.

use std::collections::HashMap;

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os};
use sha2::{Digest, Sha256};

use super::ImageError;

/// Manifest documents are small; more is refused before it is parsed.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Media types asked for at a registry.
pub(crate) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A blob as announced by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl From<&Descriptor> for Blob {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type().to_string(),
            digest: descriptor.digest().to_string(),
            size: descriptor.size(),
        }
    }
}

impl Blob {
    pub(crate) fn descriptor(&self) -> containerd_client::types::Descriptor {
        containerd_client::types::Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            annotations: HashMap::new(),
        }
    }
}

/// What an image name can point at.
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

/// Reads an index or a manifest; which of them it is tells its content, since media types lie or are absent.
pub(crate) fn parse(digest: &str, bytes: &[u8]) -> Result<Document, ImageError> {
    let damaged = |why: String| ImageError::Damaged {
        digest: digest.to_owned(),
        why,
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if value.get("manifests").is_some() {
        return serde_json::from_value(value)
            .map(|i| Document::Index(Box::new(i)))
            .map_err(|e| damaged(e.to_string()));
    }
    if value.get("layers").is_none() {
        return Err(damaged(
            "it is neither an image index nor an image manifest of schema version 2".to_owned(),
        ));
    }
    serde_json::from_value(value)
        .map(|m| Document::Manifest(Box::new(m)))
        .map_err(|e| damaged(e.to_string()))
}

pub(crate) fn parse_config(digest: &str, bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    serde_json::from_slice(bytes).map_err(|e| ImageError::Damaged {
        digest: digest.to_owned(),
        why: format!("image configuration: {e}"),
    })
}

/// The entry of an index for this machine.
pub(crate) fn choose(image: &str, index: &ImageIndex) -> Result<Blob, ImageError> {
    let here = Arch::default();
    let fits = |entry: &&Descriptor| {
        entry
            .platform()
            .as_ref()
            .is_some_and(|p| *p.os() == Os::Linux && *p.architecture() == here)
    };
    // An entry that names no platform is taken if nothing else fits: layouts made by hand have no platforms.
    let unnamed = |entry: &&Descriptor| entry.platform().is_none() && is_image(entry.media_type());
    let entries = index.manifests();
    let chosen = entries.iter().find(fits).or_else(|| entries.iter().find(unnamed));
    chosen.map(Blob::from).ok_or_else(|| ImageError::NoPlatform {
        image: image.to_owned(),
        architecture: here.to_string(),
    })
}

fn is_image(media_type: &MediaType) -> bool {
    let text = media_type.to_string();
    ACCEPTED.contains(&text.as_str())
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Refuses bytes that are not those announced.
pub(crate) fn verify(digest: &str, bytes: &[u8]) -> Result<(), ImageError> {
    let actual = digest_of(bytes);
    if actual == digest {
        return Ok(());
    }
    Err(ImageError::Damaged {
        digest: digest.to_owned(),
        why: format!("its content has the digest {actual}"),
    })
}

/// The chain id of the topmost layer: what containerd's snapshots of unpacked layers are named by.
pub(crate) fn chain_id(diff_ids: &[String]) -> String {
    chain_ids(diff_ids).pop().unwrap_or_default()
}

/// The chain id of each layer, lowest first.
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(parent) => digest_of(format!("{parent} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &str) -> ImageIndex {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        match parse("sha256:x", text.as_bytes()).unwrap() {
            Document::Index(index) => *index,
            Document::Manifest(_) => panic!("an index"),
        }
    }

    fn entry(letter: &str, platform: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":1{platform}}}"#,
            letter.repeat(64)
        )
    }

    #[test]
    fn choose_among_platforms_takes_this_machines() {
        let here = format!(r#","platform":{{"os":"linux","architecture":"{}"}}"#, Arch::default());
        let other = r#","platform":{"os":"linux","architecture":"s390x"}"#;
        let both = index(&format!("{},{}", entry("a", other), entry("b", &here)));
        assert_eq!(choose("i", &both).unwrap().digest, format!("sha256:{}", "b".repeat(64)));
        assert!(matches!(
            choose("i", &index(&entry("a", other))),
            Err(ImageError::NoPlatform { .. })
        ));
        assert!(choose("i", &index(&entry("c", ""))).is_ok());
    }

    #[test]
    fn chain_ids_of_layers_hash_the_parent_with_the_layer() {
        let ids = chain_ids(&["sha256:a".to_owned(), "sha256:b".to_owned()]);
        assert_eq!(ids[0], "sha256:a");
        assert_eq!(ids[1], digest_of(b"sha256:a sha256:b"));
        assert_eq!(chain_id(&["sha256:a".to_owned()]), "sha256:a");
    }

    #[test]
    fn verify_of_other_bytes_is_refused() {
        assert!(verify(&digest_of(b"x"), b"x").is_ok());
        assert!(matches!(
            verify(&digest_of(b"x"), b"y"),
            Err(ImageError::Damaged { .. })
        ));
    }
}
