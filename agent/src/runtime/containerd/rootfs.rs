//! Reading a file of an image's file system from its unpacked layers, without mounting them.
//!
//! Owns the care that takes: an image's symbolic links must never lead out of it. Shell.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use containerd_client::types::Mount;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// Larger files than this are not user databases.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The text of `path` (relative to the root) as the mounts would show it; empty if there is no such file.
pub(super) fn read_text(mounts: &[Mount], path: &str) -> std::io::Result<String> {
    for layer in layers(mounts) {
        match read_in(&layer, path) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => {}
            Err(Hidden::Whiteout) => return Ok(String::new()),
            Err(Hidden::Error(error)) => return Err(error),
        }
    }
    Ok(String::new())
}

enum Hidden {
    /// The layer says that the file is deleted.
    Whiteout,
    Error(std::io::Error),
}

fn read_in(layer: &Path, path: &str) -> Result<Option<String>, Hidden> {
    let failed = |errno: Errno| Hidden::Error(std::io::Error::from(errno));
    let directory = open(
        layer,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&directory, path, how) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        // Opening a whiteout (a character device 0:0) fails so.
        Err(Errno::ENXIO | Errno::ENODEV) => return Err(Hidden::Whiteout),
        Err(errno) => return Err(failed(errno)),
    };
    let metadata = file.metadata().map_err(Hidden::Error)?;
    if metadata.file_type().is_char_device() {
        return Err(Hidden::Whiteout);
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(Hidden::Error)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The directories of the layers, topmost first.
fn layers(mounts: &[Mount]) -> Vec<PathBuf> {
    let Some(mount) = mounts.first() else { return Vec::new() };
    if mount.r#type != "overlay" {
        return vec![PathBuf::from(&mount.source)];
    }
    let option = |name: &str| mount.options.iter().find_map(|o| o.strip_prefix(name));
    let upper = option("upperdir=").map(PathBuf::from);
    let lower = option("lowerdir=")
        .unwrap_or_default()
        .split(':')
        .filter(|l| !l.is_empty())
        .map(PathBuf::from);
    upper.into_iter().chain(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(layers: &[&Path]) -> Vec<Mount> {
        let lower: Vec<String> = layers.iter().map(|l| l.display().to_string()).collect();
        let options = vec!["index=off".to_owned(), format!("lowerdir={}", lower.join(":"))];
        vec![Mount {
            r#type: "overlay".to_owned(),
            options,
            ..Default::default()
        }]
    }

    #[test]
    fn read_text_takes_the_topmost_layer_that_has_the_file() {
        let (top, bottom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&top, &bottom] {
            std::fs::create_dir(dir.path().join("etc")).unwrap();
        }
        std::fs::write(bottom.path().join("etc/passwd"), "bottom").unwrap();
        let mounts = overlay(&[top.path(), bottom.path()]);
        assert_eq!(read_text(&mounts, "etc/passwd").unwrap(), "bottom");
        std::fs::write(top.path().join("etc/passwd"), "top").unwrap();
        assert_eq!(read_text(&mounts, "etc/passwd").unwrap(), "top");
        assert_eq!(read_text(&mounts, "etc/group").unwrap(), "");
    }

    #[test]
    fn read_text_of_a_link_that_leads_out_stays_within_the_image() {
        let (outside, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        std::fs::create_dir(image.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), image.path().join("etc/passwd")).unwrap();
        assert_eq!(read_text(&overlay(&[image.path()]), "etc/passwd").unwrap(), "");
    }
}
