//! Images from files: an OCI image layout, or a root file system as a tar archive with a configuration.
//!
//! Owns how such directories are read. Knows nothing of containerd. Shell.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Arch, Config, ImageIndex, Os};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt as _;

use super::content::ByteStream;
use super::document::{Blob, choose, digest_of};
use super::registry::blob_of_document;
use super::transfer::Source;
use super::{ImageError, ImageName};

/// Bytes read at once from a file.
const READ_BYTES: usize = 1 << 20;
/// The root file system in a directory that is no image layout.
const ROOTFS_FILE: &str = "rootfs.tar";
/// Its optional configuration: the `config` object of an OCI image configuration (`Cmd`, `Env`, ...).
const CONFIG_FILE: &str = "config.json";

/// Reads `directory`, whichever of the two it is.
pub(super) async fn source(directory: &Path, name: &ImageName) -> Result<Box<dyn Source>, ImageError> {
    if directory.join("index.json").is_file() {
        return LayoutSource::open(directory, name).map(|s| Box::new(s) as Box<dyn Source>);
    }
    let rootfs = directory.join(ROOTFS_FILE);
    if !rootfs.is_file() {
        let why = format!("neither an OCI image layout (index.json) nor a root file system ({ROOTFS_FILE}) is in it");
        return Err(file_error(directory, why));
    }
    let config = match std::fs::read(directory.join(CONFIG_FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| file_error(&directory.join(CONFIG_FILE), e))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Config::default(),
        Err(error) => return Err(file_error(&directory.join(CONFIG_FILE), error)),
    };
    RootfsSource::open(&rootfs, &config)
        .await
        .map(|s| Box::new(s) as Box<dyn Source>)
}

fn file_error(path: &Path, why: impl std::fmt::Display) -> ImageError {
    ImageError::File {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

/// An OCI image layout.
struct LayoutSource {
    directory: PathBuf,
    target: Blob,
}

impl LayoutSource {
    fn open(directory: &Path, name: &ImageName) -> Result<Self, ImageError> {
        let path = directory.join("index.json");
        let bytes = std::fs::read(&path).map_err(|e| file_error(&path, e))?;
        let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|e| file_error(&path, e))?;
        let target = match index.manifests().as_slice() {
            [one] => Blob::from(one),
            several => {
                let tag = name.reference().tag();
                let named = several.iter().find(|d| {
                    let annotations = d.annotations().as_ref();
                    let reference = annotations.and_then(|a| a.get("org.opencontainers.image.ref.name"));
                    reference.is_some_and(|r| Some(r.as_str()) == tag || *r == name.to_string())
                });
                named.map_or_else(|| choose(&name.to_string(), &index), |d| Ok(Blob::from(d)))?
            }
        };
        Ok(Self {
            directory: directory.to_owned(),
            target,
        })
    }

    fn path(&self, digest: &str) -> Result<PathBuf, ImageError> {
        let safe = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        match digest.split_once(':') {
            Some((algorithm, hash)) if safe(algorithm) && safe(hash) => {
                Ok(self.directory.join("blobs").join(algorithm).join(hash))
            }
            _ => Err(file_error(&self.directory, format!("{digest:?} is not a digest"))),
        }
    }
}

#[async_trait]
impl Source for LayoutSource {
    async fn target(&self) -> Result<(Blob, Vec<u8>), ImageError> {
        Ok((self.target.clone(), self.document(&self.target).await?))
    }

    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, ImageError> {
        let path = self.path(&blob.digest)?;
        tokio::fs::read(&path).await.map_err(|e| file_error(&path, e))
    }

    async fn layer(&self, blob: &Blob) -> Result<ByteStream, ImageError> {
        stream_file(&self.path(&blob.digest)?).await
    }
}

/// A root file system that becomes an image of one layer.
struct RootfsSource {
    layer: PathBuf,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl RootfsSource {
    async fn open(rootfs: &Path, config: &Config) -> Result<Self, ImageError> {
        let (diff_id, size) = digest_file(rootfs).await?;
        let config = serde_json::json!({
            "architecture": Arch::default(),
            "os": Os::Linux,
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        })
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest_of(&config),
                "size": config.len(),
            },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": size }],
        })
        .to_string()
        .into_bytes();
        Ok(Self {
            layer: rootfs.to_owned(),
            config,
            manifest,
        })
    }
}

#[async_trait]
impl Source for RootfsSource {
    async fn target(&self) -> Result<(Blob, Vec<u8>), ImageError> {
        Ok((blob_of_document(&self.manifest), self.manifest.clone()))
    }

    async fn document(&self, _blob: &Blob) -> Result<Vec<u8>, ImageError> {
        // The manifest is the target, so the configuration is the only document that is asked for.
        Ok(self.config.clone())
    }

    async fn layer(&self, _blob: &Blob) -> Result<ByteStream, ImageError> {
        stream_file(&self.layer).await
    }
}

async fn digest_file(path: &Path) -> Result<(String, u64), ImageError> {
    let mut file = tokio::fs::File::open(path).await.map_err(|e| file_error(path, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; READ_BYTES];
    let mut size = 0u64;
    loop {
        let count = file.read(&mut buffer).await.map_err(|e| file_error(path, e))?;
        if count == 0 {
            return Ok((format!("sha256:{}", hex::encode(hash.finalize())), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

async fn stream_file(path: &Path) -> Result<ByteStream, ImageError> {
    let mut file = tokio::fs::File::open(path).await.map_err(|e| file_error(path, e))?;
    let path = path.to_owned();
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let mut buffer = vec![0u8; READ_BYTES];
            let piece = match file.read(&mut buffer).await {
                Ok(0) => return,
                Ok(count) => {
                    buffer.truncate(count);
                    Ok(Bytes::from(buffer))
                }
                Err(error) => Err(file_error(&path, error)),
            };
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver)))
}
