//! Where a join token comes from: the command line, the environment, or a file. Shell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

/// Longest file that is read: a token has some two hundred bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// Flags of what joins a cluster.
#[derive(Args, Debug)]
pub(crate) struct JoinArguments {
    /// Join a cluster with a token from `berth token create`; one that was joined with is not used again. Every user of this machine sees it
    /// in the list of processes: give it in BERTH_JOIN_TOKEN or --join-file instead
    #[arg(long, env = "BERTH_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    join: Option<String>,
    /// Join a cluster with the token in this file, which may be removed afterwards
    #[arg(long, value_name = "FILE")]
    join_file: Option<PathBuf>,
}

impl JoinArguments {
    /// The token, if there is one. A variable that is set to nothing is not set; a file that is gone matters only to one that `has_joined`
    /// not.
    ///
    /// # Errors
    /// If there are two, or the file cannot be read.
    pub(crate) fn token(&self, has_joined: bool) -> Result<Option<String>> {
        let given = self.join.as_deref().map(str::trim).filter(|token| !token.is_empty());
        match (given, &self.join_file) {
            (Some(_), Some(file)) => bail!(
                "there are two join tokens, one of --join or BERTH_JOIN_TOKEN and one in {}: leave one of them away",
                file.display()
            ),
            (Some(given), None) => Ok(Some(given.to_owned())),
            (None, Some(file)) if has_joined && !file.exists() => Ok(None),
            (None, Some(file)) => read(file).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read(file: &Path) -> Result<String> {
    let cannot = || format!("cannot read the join token in {}", file.display());
    let size = std::fs::metadata(file).with_context(cannot)?.len();
    if size > MAX_BYTES {
        bail!("{} has {size} bytes, and is no join token", file.display());
    }
    let token = std::fs::read_to_string(file).with_context(cannot)?.trim().to_owned();
    if token.is_empty() {
        bail!(
            "{} is empty: put a token from `berth token create` into it, or leave --join-file away",
            file.display()
        );
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(join: Option<&str>, file: Option<&Path>) -> JoinArguments {
        JoinArguments {
            join: join.map(str::to_owned),
            join_file: file.map(Path::to_owned),
        }
    }

    #[test]
    fn token_comes_from_one_place_and_nothing_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        assert!(arguments(None, Some(&file)).token(false).is_err());
        assert_eq!(arguments(None, Some(&file)).token(true).expect("not needed"), None);
        std::fs::write(&file, "berth-join.v1.x\n").expect("written");
        let token = arguments(Some(""), Some(&file)).token(false).expect("read");
        assert_eq!(token.as_deref(), Some("berth-join.v1.x"));
        let token = arguments(Some("given"), None).token(false).expect("given");
        assert_eq!(token.as_deref(), Some("given"));
        assert_eq!(arguments(Some(""), None).token(false).expect("none"), None);
        let error = arguments(Some("given"), Some(&file)).token(false).expect_err("two");
        assert!(error.to_string().contains("two join tokens"), "{error}");
    }
}
