//! `berth image import`: brings an image from a file to the hosts of this machine.
//!
//! Owns the unpacking of archives; the image itself is read by the agent's image store. Shell.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_agent::image::{ImageStore, RegistryOptions, SHARED_NAMESPACE};
use berth_agent::runtime::containerd::Containerd;
use clap::Args;
use serde::Deserialize;

use super::PlaceArguments;
use crate::output;

/// Flags of `berth image import`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// An OCI image layout, as a tar archive or a directory
    path: PathBuf,
    /// Name of the image [default: what the archive calls it]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    place: PlaceArguments,
    /// containerd namespace that gets the image; the default one is seen by all hosts of the machine
    #[arg(long, default_value = SHARED_NAMESPACE, value_name = "NAME")]
    containerd_namespace: String,
}

/// What is read of a layout's `index.json`.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be read, or containerd does not take it.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    // Before containerd is looked for: a mistyped path is the likelier mistake.
    std::fs::metadata(&arguments.path).with_context(|| format!("cannot read {}", arguments.path.display()))?;
    let socket = arguments.place.find()?.socket;
    let unpacked = unpack_if_archive(&arguments.path)?;
    let layout = unpacked
        .as_ref()
        .map_or(arguments.path.as_path(), tempfile::TempDir::path);
    let name = match arguments.name {
        Some(name) => name,
        None => name_in(layout)?.with_context(|| {
            format!(
                "{} does not say what the image is called; give --name",
                arguments.path.display()
            )
        })?,
    };
    let containerd = Containerd::connect(&socket).await?;
    let client = containerd.client(&arguments.containerd_namespace)?;
    let refused = || format!("containerd at {} refuses", socket.display());
    client.ensure_namespace().await.with_context(refused)?;
    let snapshotter = client.choose_snapshotter().await.with_context(refused)?;
    let image = ImageStore::new(client, &snapshotter, RegistryOptions::default())
        .import(layout, &name)
        .await?;
    output::line(&format!(
        "{} {} (containerd at {}, namespace {})",
        image.name,
        image.digest,
        socket.display(),
        arguments.containerd_namespace
    ))
}

/// The archive unpacked into a directory that lives as long as the result; `None` if it is a directory already.
fn unpack_if_archive(path: &Path) -> Result<Option<tempfile::TempDir>> {
    if path.is_dir() {
        return Ok(None);
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let directory = tempfile::tempdir().context("cannot create a directory to unpack into")?;
    tar::Archive::new(file)
        .unpack(directory.path())
        .with_context(|| format!("{} is not a tar archive", path.display()))?;
    Ok(Some(directory))
}

/// The name that the archive gives its only image.
fn name_in(layout: &Path) -> Result<Option<String>> {
    let path = layout.join("index.json");
    let Ok(text) = std::fs::read(&path) else {
        return Ok(None);
    };
    let index: Index = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no index of an OCI image layout", path.display()))?;
    let [only] = index.manifests.as_slice() else {
        return Ok(None);
    };
    let names = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let mut found = names.iter().filter_map(|annotation| only.annotations.get(*annotation));
    Ok(found.find(|name| name.contains(['/', ':'])).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_layout_with_one_image_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let index = r#"{"manifests":[{"annotations":{"io.containerd.image.name":"docker.io/library/web:1"}}]}"#;
        std::fs::write(directory.path().join("index.json"), index).expect("written");
        assert_eq!(
            name_in(directory.path()).expect("read").as_deref(),
            Some("docker.io/library/web:1")
        );
    }

    #[test]
    fn file_that_is_no_archive_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image.tar");
        std::fs::write(&path, "x".repeat(2048)).expect("written");
        let error = unpack_if_archive(&path).expect_err("refused");
        assert!(error.to_string().contains("image.tar"), "{error}");
    }
}
