//! What the controller hands out in parts, written to a file.
//!
//! Owns the asking for one part after the other; what is in them is the caller's. Shell.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use berth_aws::Blob;

/// A part as the controller answers it: what is in it, and whether it is the last.
pub(crate) type Part = (Option<Blob>, Option<bool>);

/// Asks for part 0, 1, ... until the last, and writes them to `file`, which is `what`.
///
/// # Errors
/// If a part cannot be had, or the file not be written.
pub(crate) async fn write(mut file: &File, what: &str, ask: impl AsyncFn(i32) -> Result<Part>) -> Result<()> {
    for number in 0..i32::MAX {
        let (data, last) = ask(number).await?;
        if let Some(data) = data {
            file.write_all(&data.0)
                .with_context(|| format!("cannot write {what}"))?;
        }
        if last.unwrap_or(false) {
            break;
        }
    }
    Ok(())
}
