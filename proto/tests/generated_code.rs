//! Proves that the committed generated code is what the `.proto` files give.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Set to `1` to rewrite the committed code instead of failing.
const WRITE_VARIABLE: &str = "BERTH_WRITE_GENERATED";

#[test]
fn generated_code_regenerated_is_unchanged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(proto_files(root), [root]).unwrap();
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .emit_rerun_if_changed(false)
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(descriptors)
        .unwrap();

    let committed = root.join("src/generated");
    let write = std::env::var(WRITE_VARIABLE).is_ok_and(|value| value == "1");
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let entry = entry.unwrap();
        let target = committed.join(entry.file_name());
        let content = fs::read_to_string(entry.path()).unwrap();
        if write {
            fs::write(&target, &content).unwrap();
        }
        let current = fs::read_to_string(&target).unwrap_or_default();
        assert!(
            current == content,
            "{} is stale: run {WRITE_VARIABLE}=1 cargo test -p berth-proto --test generated_code",
            target.display()
        );
    }
}

fn proto_files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("berth/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    files.sort();
    files
}
