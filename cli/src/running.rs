//! The development clusters that run on this machine, as small files that other commands find them by.
//!
//! Owns those files: one per running `berth dev`, named after its port, readable by its user only since it holds the root
//! credentials. Whoever writes one holds a lock on it until it ends, so a file without a lock is a leftover, whatever became of
//! the process. Shell.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::lock;

/// For how long a lock on a file is sought: whoever only looks whether it is held has it for a moment.
const LOCK_DEADLINE: Duration = Duration::from_secs(1);
/// How often it is tried.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// A development cluster that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningCluster {
    /// URL of the AWS-compatible endpoint.
    pub(crate) endpoint: String,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Region of its hosts.
    pub(crate) region: String,
    /// Account that everything belongs to.
    pub(crate) account_id: String,
    /// Name of the cluster that its hosts belong to.
    pub(crate) cluster: String,
    /// Id of the root access key.
    pub(crate) access_key_id: String,
    /// Secret of the root access key.
    pub(crate) secret_access_key: String,
    /// Process that runs it.
    pub(crate) pid: u32,
    /// Its data directory.
    pub(crate) data_dir: PathBuf,
    /// Where its hosts keep images, empty if containers are simulated.
    pub(crate) containerd: Option<Containerd>,
}

/// Where images for a development cluster go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Containerd {
    /// Socket of containerd.
    pub(crate) socket: PathBuf,
    /// Namespaces, one per host.
    pub(crate) namespaces: Vec<String>,
}

/// The file of a cluster that this process runs; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Announcement {
    path: PathBuf,
    lock: Flock<File>,
}

impl Announcement {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells other commands something else about the cluster.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn rewrite(&mut self, cluster: &RunningCluster) -> Result<()> {
        let text = serde_json::to_vec_pretty(cluster)?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        let written = self.lock.write_all(&text);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Tells other commands about a cluster, for as long as the result lives.
///
/// # Errors
/// If the file cannot be written, or another process runs a cluster on that port.
pub(crate) fn announce(cluster: &RunningCluster) -> Result<Announcement> {
    announce_as(announcement(cluster.listen)?, cluster)
}

/// The file of a cluster that listens there, whether it exists or not.
///
/// # Errors
/// If there is no place for such files.
pub(crate) fn announcement(listen: SocketAddr) -> Result<PathBuf> {
    let directories = directories()?;
    let directory = directories
        .first()
        .context("no directory for the state of running clusters")?;
    Ok(directory.join(format!("dev-{}.json", listen.port())))
}

/// The socket on which the cluster with this file takes orders.
pub(crate) fn socket_beside(announcement: &Path) -> PathBuf {
    announcement.with_extension("sock")
}

/// Removes a file that a cluster left which was killed; one that is in use is left alone.
///
/// # Errors
/// If it is there and cannot be removed.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let outcome = OpenOptions::new().write(true).open(path).and_then(|file| {
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        lock.map_or(Ok(()), |_lock| {
            fs::remove_file(socket_beside(path)).ok();
            fs::remove_file(path)
        })
    });
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn announce_as(path: PathBuf, cluster: &RunningCluster) -> Result<Announcement> {
    let directory = path
        .parent()
        .context("no directory for the state of running clusters")?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut announcement = Announcement {
        lock: wait_for_lock(&path)?,
        path,
    };
    announcement.rewrite(cluster)?;
    Ok(announcement)
}

/// Locks the file, which is made if it is not there or was removed meanwhile.
fn wait_for_lock(path: &Path) -> Result<Flock<File>> {
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        let locked = lock::try_lock(path).with_context(|| format!("cannot write {}", path.display()))?;
        if let Some(lock) = locked {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            bail!(
                "another `berth dev` holds {}; stop it, or choose another port with --listen",
                path.display()
            );
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// The clusters that run now, in the order of their ports.
///
/// # Errors
/// If a directory or file of them cannot be read.
pub(crate) fn list() -> Result<Vec<RunningCluster>> {
    let mut found = Vec::new();
    for directory in directories()? {
        found.extend(list_in(&directory)?);
    }
    found.sort_by_key(|cluster| cluster.listen.port());
    Ok(found)
}

fn list_in(directory: &Path) -> Result<Vec<RunningCluster>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|extension| extension == "json");
        if is_ours && let Some(cluster) = read_if_running(&path)? {
            found.push(cluster);
        }
    }
    Ok(found)
}

/// The cluster of a file, or `None` if nobody holds its lock or the file is gone again.
fn read_if_running(path: &Path) -> Result<Option<RunningCluster>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_unused) => return Ok(None),
        Err((file, _held)) => file,
    };
    let mut text = String::new();
    file.read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let cluster =
        serde_json::from_str(&text).with_context(|| format!("{} is not what `berth dev` writes", path.display()))?;
    Ok(Some(cluster))
}

/// Where the files are looked for; new ones go into the first.
fn directories() -> Result<Vec<PathBuf>> {
    let path = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let run_time = path("XDG_RUNTIME_DIR").map(|directory| directory.join("berth"));
    let home = path("HOME").map(|directory| directory.join(".berth"));
    let directories: Vec<PathBuf> = run_time.into_iter().chain(home).collect();
    if directories.is_empty() {
        bail!("neither XDG_RUNTIME_DIR nor HOME is set, so there is no place for the state of running clusters");
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(port: u16) -> RunningCluster {
        RunningCluster {
            endpoint: format!("http://127.0.0.1:{port}"),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
            cluster: "default".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            pid: 1,
            data_dir: PathBuf::from("/nonexistent"),
            containerd: None,
        }
    }

    #[test]
    fn announcement_while_held_is_listed_and_gone_afterwards() {
        let directory = tempfile::tempdir().expect("a directory");
        let announcement = announce_as(directory.path().join("dev-7480.json"), &cluster(7480)).expect("announced");
        assert_eq!(list_in(directory.path()).expect("listed"), [cluster(7480)]);
        drop(announcement);
        assert_eq!(list_in(directory.path()).expect("listed"), []);
    }

    #[test]
    fn announcement_for_a_port_in_use_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let _first = announce_as(directory.path().join("dev-7480.json"), &cluster(7480)).expect("announced");
        let error = announce_as(directory.path().join("dev-7480.json"), &cluster(7480)).expect_err("refused");
        assert!(error.to_string().contains("another `berth dev`"), "{error}");
    }

    #[test]
    fn file_left_by_a_killed_process_is_not_listed() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = serde_json::to_vec(&cluster(7480)).expect("text");
        fs::write(directory.path().join("dev-7480.json"), text).expect("written");
        assert_eq!(list_in(directory.path()).expect("listed"), []);
    }

    #[test]
    fn file_forgotten_is_gone_unless_its_cluster_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dev-7480.json");
        forget(&path).expect("nothing to forget");
        let announcement = announce_as(path.clone(), &cluster(7480)).expect("announced");
        forget(&path).expect("left alone");
        assert!(path.exists());
        drop(announcement);
        fs::write(&path, "{}").expect("written");
        forget(&path).expect("forgotten");
        assert!(!path.exists());
    }
}
