//! `berth backup`: makes a backup of a cluster, verifies one, and restores one into a new cluster.
//!
//! Owns the flags and what is said of a backup; what is in one is the controller's. Shell.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use berth_aws::berth::operations::{CreateBackup, GetBackupPart};
use berth_aws::berth::{CreateBackupRequest, GetBackupPartRequest};
use berth_controller::backup::{self, BackupError, BackupSummary};
use berth_controller::clock::{Clock, SystemClock};
use clap::{Args, Subcommand};

use crate::client::Client;
use crate::output;
use crate::parts;
use crate::target::TargetArguments;

/// Flags of `berth backup`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Write the whole state of a running cluster, as it is at one moment, to a new file
    Create(CreateArguments),
    /// Check that a backup is whole and unchanged and that this berth can restore it
    Verify(VerifyArguments),
    /// Make the first controller's data directory of a new cluster from a backup
    Restore(RestoreArguments),
}

#[derive(Args, Debug)]
struct CreateArguments {
    /// The file to write; it must not exist
    file: PathBuf,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Args, Debug)]
struct VerifyArguments {
    /// The backup
    file: PathBuf,
}

#[derive(Args, Debug)]
struct RestoreArguments {
    /// The backup
    file: PathBuf,
    /// Where the new controller will keep its state; it must be empty, but for a root-key.json
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// If the cluster cannot be reached, the backup is not sound, or a file cannot be written.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.action {
        Action::Create(arguments) => create(arguments).await,
        Action::Verify(arguments) => verify(&arguments.file),
        Action::Restore(arguments) => restore(&arguments),
    }
}

async fn create(arguments: CreateArguments) -> Result<()> {
    let path = &arguments.file;
    if path.exists() {
        bail!("{} exists already; name another file", path.display());
    }
    let client = arguments.target.find()?.client()?;
    let begun = client.call::<CreateBackup>(&CreateBackupRequest::default()).await?;
    let backup_id = begun.backup_id.context("the controller gave no id for the backup")?;
    let handle = tokio::runtime::Handle::current();
    let written = path.clone();
    // Files are written on a thread that may block; each part is on its way to the disk before the next is asked for.
    let writing = tokio::task::spawn_blocking(move || {
        let mut refused = None;
        let outcome = backup::write_file(&written, |file| {
            handle.block_on(fetch(&client, &backup_id, file)).map_err(|error| {
                let text = format!("{error:#}");
                refused = Some(error);
                BackupError::Target(text)
            })
        });
        match (outcome, refused) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(error.into()),
        }
    });
    writing.await.context("writing the backup failed")??;
    let summary =
        backup::check_file(path).with_context(|| format!("{} was written and is not sound", path.display()))?;
    output::line(&format!("{}: written and verified", path.display()))?;
    output::line(&describe(&summary))
}

async fn fetch(client: &Client, backup_id: &str, file: &File) -> Result<()> {
    let ask = async |number| {
        let request = GetBackupPartRequest {
            backup_id: Some(backup_id.to_owned()),
            part_number: Some(number),
        };
        let part = client.call::<GetBackupPart>(&request).await?;
        Ok((part.data, part.last))
    };
    parts::write(file, "the backup", ask).await
}

fn verify(path: &Path) -> Result<()> {
    let summary = backup::verify_file(path).with_context(|| format!("{} cannot be restored", path.display()))?;
    output::line(&format!(
        "{}: whole and unchanged; this berth can restore it",
        path.display()
    ))?;
    output::line(&describe(&summary))
}

fn restore(arguments: &RestoreArguments) -> Result<()> {
    let (file, data_dir) = (&arguments.file, &arguments.data_dir);
    let restored = backup::restore(file, data_dir, SystemClock.now())
        .with_context(|| format!("{} was not restored", file.display()))?;
    output::line(&format!("{}: restored into {}", file.display(), data_dir.display()))?;
    output::line(&describe(&restored.backup))?;
    output::line(&format!(
        "Start the controller with `berth controller{} --data-dir {}`. Agents find it at the address that they know; tasks that the \
         backup knows run on, and those that began after it are stopped.",
        if restored.has_authority { " --bootstrap" } else { "" },
        data_dir.display()
    ))
}

fn describe(summary: &BackupSummary) -> String {
    let header = &summary.header;
    let made = jiff::Timestamp::from_millisecond(header.created_at_ms).unwrap_or_default();
    let mut lines = vec![
        format!(
            "  made       {} by berth {}",
            made.strftime("%Y-%m-%d %H:%M:%S UTC"),
            header.berth_version
        ),
        format!("  log index  {} in term {}", header.index, header.term),
        format!(
            "  content    {} records, {} bytes, feature level {}",
            summary.items, summary.bytes, header.feature_level
        ),
    ];
    lines.extend(header.clusters.iter().map(|cluster| format!("  cluster    {cluster}")));
    lines.join("\n")
}
