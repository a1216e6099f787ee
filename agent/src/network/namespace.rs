//! Named network namespaces, pinned where `ip netns` looks for them. Shell around `ip`.

use std::path::{Path, PathBuf};

use super::NetworkError;
use crate::process::{find_program, run};

/// Where `ip netns` pins namespaces.
const DIRECTORY: &str = "/run/netns";

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Whether the namespace exists: a file alone, left by a crash or a reboot, is none.
pub(super) fn exists(name: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|m| m.dev()).ok();
    let pinned = device(&path(name));
    pinned.is_some() && pinned != device(Path::new(DIRECTORY))
}

/// Names of the pinned namespaces that begin with `prefix`.
pub(super) fn with_prefix(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Makes an empty namespace, with its loopback up; what exists is kept.
pub(super) async fn create(name: &str) -> Result<(), NetworkError> {
    let failed = |why| NetworkError::Namespace {
        name: name.to_owned(),
        action: "made",
        why,
    };
    if find_program("ip").is_none() {
        return Err(NetworkError::ProgramMissing {
            program: "ip",
            package: "iproute2",
        });
    }
    if !exists(name) {
        if path(name).exists() {
            delete(name).await?;
        }
        run("ip", ["netns", "add", name]).await.map_err(failed)?;
    }
    run("ip", ["-n", name, "link", "set", "lo", "up"])
        .await
        .map(drop)
        .map_err(failed)
}

/// Removes a namespace; no error if there is none.
pub(super) async fn delete(name: &str) -> Result<(), NetworkError> {
    if !path(name).exists() {
        return Ok(());
    }
    match run("ip", ["netns", "delete", name]).await {
        Err(why) if path(name).exists() => Err(NetworkError::Namespace {
            name: name.to_owned(),
            action: "removed",
            why,
        }),
        _ => Ok(()),
    }
}
