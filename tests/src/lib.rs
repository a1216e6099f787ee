//! What tests over the whole repository share: where it is and which files are in it.
//!
//! Owns the reading of the tree; what is demanded of it is in the tests. Shell.

pub mod linearizable;
pub mod requests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path from the root of the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file that belongs to the repository: tracked, or new and not ignored.
///
/// # Errors
/// If git cannot list the files or one cannot be read.
pub fn files() -> Result<Vec<SourceFile>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git to list the files of the repository")?;
    if !output.status.success() {
        bail!(
            "git cannot list the files of the repository: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut files = Vec::new();
    for path in String::from_utf8(output.stdout)?.lines() {
        let Ok(bytes) = std::fs::read(root().join(path)) else {
            // Deleted, and the deletion not committed yet.
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

impl SourceFile {
    /// True for Rust that people write.
    #[must_use]
    pub fn is_written_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.is_generated()
    }

    /// True for what a generator wrote.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }
}
