//! Writes `aws/src/generated` from the service models that botocore ships and from our own in `aws/models`.
//!
//! `cargo run -p berth-aws-generate -- --models <site-packages>/botocore/data` writes the code; with `--check` it fails if the
//! committed code differs. Shell: reads and writes files, and leaves the rest to `model` and `emit`.

mod emit;
mod model;
mod names;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::model::Model;
use crate::services::SERVICES;

/// Writes Rust code from AWS service models.
#[derive(Parser)]
struct Arguments {
    /// Folder of botocore's models: `botocore/data` in an installed botocore.
    #[arg(long)]
    models: PathBuf,
    /// Change nothing; fail if the committed code is not what would be written.
    #[arg(long)]
    check: bool,
    /// The folder of the crate berth-aws.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    aws: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = generate(&arguments.models, &arguments.aws.join("models"))?;
    let target = arguments.aws.join("src/generated");
    let found = committed(&target)?;
    if arguments.check {
        return compare(&wanted, &found);
    }
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        std::fs::remove_file(target.join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    for (name, text) in wanted.iter().filter(|(name, text)| found.get(*name) != Some(*text)) {
        let path = target.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&target))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Every generated file: its path under `src/generated` and its text.
fn generate(botocore: &Path, own: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::from([("mod.rs".to_owned(), emit::index(SERVICES)?)]);
    for config in SERVICES {
        let model = Model::load(config, botocore, own).with_context(|| format!("service {}", config.module))?;
        files.extend(emit::service(config, &model)?);
    }
    Ok(files)
}

fn committed(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        if !next.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(name, text);
            }
        }
    }
    Ok(files)
}

fn compare(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Result<()> {
    let changed = wanted
        .iter()
        .filter(|(name, text)| found.get(*name) != Some(*text))
        .map(|(name, _)| name);
    let superfluous = found.keys().filter(|name| !wanted.contains_key(*name));
    let stale: Vec<&str> = changed.chain(superfluous).map(String::as_str).collect();
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "generated code is stale: {}; run `cargo run -p berth-aws-generate -- --models DIR` with botocore's data folder and commit the result",
        stale.join(", ")
    )
}
