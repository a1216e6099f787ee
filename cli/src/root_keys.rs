//! The root access key of an installation: taken from the environment, else from the data directory, else minted.
//!
//! Owns the file that keeps a minted key, so that a controller started again on its data has the same one. Shell.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use berth_controller::api::RootCredentials;
use berth_core::model::AccountId;
use serde::{Deserialize, Serialize};

/// Names of the variables that give a key.
const KEY_VARIABLE: &str = "BERTH_ROOT_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "BERTH_ROOT_SECRET_ACCESS_KEY";

/// File in the data directory that keeps a minted key.
pub(crate) const ROOT_KEY_FILE: &str = "root-key.json";

/// Characters of a minted access key's id after `AKIA`, and of its secret: AWS's own lengths.
const ID_LENGTH: usize = 16;
const SECRET_LENGTH: usize = 40;

/// Letters and digits only, so that a secret can be pasted anywhere.
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptKey {
    access_key_id: String,
    secret_access_key: String,
}

/// The root key of the installation whose data is in `data_dir`.
///
/// # Errors
/// If only half a key is given, the file cannot be read or written, or no random bytes can be had.
pub(crate) fn find_or_mint(account: &str, data_dir: &Path) -> Result<RootCredentials> {
    let key = match given_key()? {
        Some(key) => key,
        None => kept_or_minted(data_dir)?,
    };
    Ok(key.of(account))
}

/// Whether a key was minted for that data directory before.
pub(crate) fn is_kept(data_dir: &Path) -> bool {
    data_dir.join(ROOT_KEY_FILE).exists()
}

/// The root key in the environment, if any.
///
/// # Errors
/// If only half a key is given.
pub(crate) fn given(account: &str) -> Result<Option<RootCredentials>> {
    Ok(given_key()?.map(|key| key.of(account)))
}

impl KeptKey {
    fn of(self, account: &str) -> RootCredentials {
        RootCredentials {
            account: AccountId::from(account),
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
        }
    }
}

fn given_key() -> Result<Option<KeptKey>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(KEY_VARIABLE), variable(SECRET_VARIABLE)) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(Some(KeptKey {
            access_key_id,
            secret_access_key,
        })),
        (None, None) => Ok(None),
        _ => bail!("{KEY_VARIABLE} and {SECRET_VARIABLE} must be set together, or neither"),
    }
}

fn kept_or_minted(data_dir: &Path) -> Result<KeptKey> {
    let path = data_dir.join(ROOT_KEY_FILE);
    match std::fs::read(&path) {
        Ok(text) => {
            return serde_json::from_slice(&text)
                .with_context(|| format!("{} does not hold a root key", path.display()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let key = KeptKey {
        access_key_id: format!("AKIA{}", random_text(ID_ALPHABET, ID_LENGTH)?),
        secret_access_key: random_text(SECRET_ALPHABET, SECRET_LENGTH)?,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("cannot create {}", data_dir.display()))?;
    let write = || {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&serde_json::to_vec_pretty(&key)?)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

/// Random characters, each equally likely.
fn random_text(alphabet: &[u8], length: usize) -> Result<String> {
    // The largest multiple of the alphabet's size that fits a byte: bytes above it would favour the first characters.
    let limit = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|error| anyhow!("the operating system gives no random bytes: {error}"))?;
        let fair = bytes.into_iter().map(usize::from).filter(|byte| *byte < limit);
        text.extend(
            fair.take(length - text.len())
                .map(|byte| char::from(alphabet[byte % alphabet.len()])),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_key_has_the_form_of_an_aws_key_and_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = kept_or_minted(directory.path()).expect("minted");
        assert!(
            first.access_key_id.starts_with("AKIA") && first.access_key_id.len() == 20,
            "{}",
            first.access_key_id
        );
        assert_eq!(first.secret_access_key.len(), SECRET_LENGTH);
        let second = kept_or_minted(directory.path()).expect("read");
        assert_eq!(second.secret_access_key, first.secret_access_key);
    }

    #[test]
    fn file_that_is_no_key_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(ROOT_KEY_FILE), "nonsense").expect("written");
        let error = kept_or_minted(directory.path()).err().expect("refused");
        assert!(error.to_string().contains(ROOT_KEY_FILE), "{error}");
    }
}
