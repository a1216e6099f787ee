//! What a `berth dev` that was killed left on this machine: written down while it runs, removed by the next one.
//!
//! Owns the records, one per `berth dev`. Whoever runs it holds a lock on its record until it ends, so a record without a
//! lock speaks of one that was killed, whatever became of its process id. Shell.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_agent::runtime::containerd::{Containerd, ContainerdOptions};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::hosts::{self, Names};
use crate::{lock, output, running};

/// Where root's records are: they have to outlive a reboot, as the machine's containerd does.
const DIRECTORY_OF_ROOT: &str = "/var/lib/berth/dev";
/// Where another user's are, under the home directory.
const DIRECTORY_OF_USER: &str = ".berth/dev";
/// Held by whoever removes leftovers or names what it is about to start, so that nothing is removed that has just been
/// started under the same name.
const TURN: &str = "turn";
/// How long to wait for that.
const TURN_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const TURN_POLL: Duration = Duration::from_millis(50);
/// Temporary data directories begin with this; nothing else is ever removed as one.
pub(super) const TEMPORARY_PREFIX: &str = "berth-dev-";

/// What a `berth dev` has on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    pid: u32,
    data_dir: PathBuf,
    /// Whether the data directory goes as well.
    temporary: bool,
    /// Once they are about to start.
    started: Option<Started>,
}

/// What runs the hosts, and what they are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    /// The machine's containerd; `None` if a private one under the data directory runs them, or nothing does.
    socket: Option<PathBuf>,
    hosts: Names,
    /// By which other commands find it; there only if it came so far.
    announcement: PathBuf,
}

/// The record of one that was killed.
struct Dead {
    path: PathBuf,
    record: Record,
    lock: Flock<File>,
}

/// The record of this process. Once it is dropped, whatever still is on the machine counts as left behind.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    record: Record,
    file: Flock<File>,
}

/// The user's records, while nobody else may touch them.
#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    _turn: Flock<File>,
}

impl Records {
    /// Waits for the turn to use this user's records.
    ///
    /// # Errors
    /// If there is no place for them, or another process has its turn for too long.
    pub(super) async fn open() -> Result<Self> {
        let directory = if nix::unistd::geteuid().is_root() {
            PathBuf::from(DIRECTORY_OF_ROOT)
        } else {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            PathBuf::from(home.context("HOME is not set, so there is no place to note what is to be removed")?)
                .join(DIRECTORY_OF_USER)
        };
        Self::open_in(directory).await
    }

    async fn open_in(directory: PathBuf) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("cannot create {}", directory.display()))?;
        let turn = take_turn(&directory.join(TURN)).await?;
        Ok(Self { directory, _turn: turn })
    }

    /// Removes what those that were killed left behind; says what was removed, and what could not be.
    pub(super) async fn sweep(&self) -> Swept {
        let mut swept = Swept::default();
        let (alive, dead) = self.read();
        for Dead { path, record, lock } in dead {
            // Its names are in use again: what is there under them is not its any more, or is removed with the rest.
            if alive.iter().any(|other| other.shares_names_with(&record)) {
                continue;
            }
            match record.remove().await {
                Ok(()) => {
                    fs::remove_file(&path).ok();
                    swept.removed.push(record.pid);
                }
                Err(error) => swept.left.push(format!("of process {}: {error:#}", record.pid)),
            }
            drop(lock);
        }
        swept
    }

    /// Notes that this process is about to use `data_dir`.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(super) fn claim(self, data_dir: &Path, temporary: bool) -> Result<Claim> {
        let record = Record {
            pid: std::process::id(),
            data_dir: data_dir.to_owned(),
            temporary,
            started: None,
        };
        let made = tempfile::Builder::new().suffix(".json").tempfile_in(&self.directory);
        let (file, path) = made
            .context("cannot make a file")
            .and_then(|made| made.keep().context("cannot keep a file"))
            .with_context(|| format!("cannot note in {} what is to be removed", self.directory.display()))?;
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let file = locked.map_err(|(_, errno)| anyhow::anyhow!("cannot lock {}: {errno}", path.display()))?;
        let mut claim = Claim { path, record, file };
        claim.write()?;
        Ok(claim)
    }

    /// The records of those that run, and of those that were killed.
    fn read(&self) -> (Vec<Record>, Vec<Dead>) {
        let (mut alive, mut dead) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
                continue;
            };
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            match (serde_json::from_str::<Record>(&text), lock) {
                (Ok(record), Ok(lock)) => dead.push(Dead { path, record, lock }),
                (Ok(record), Err(_)) => alive.push(record),
                // Killed before it wrote anything, and so before it started anything.
                (Err(_), Ok(_)) => drop(fs::remove_file(&path)),
                (Err(_), Err(_)) => {}
            }
        }
        (alive, dead)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // The next one makes it again; a turn that is taken on a file without a name is noticed.
        let is_empty = fs::read_dir(&self.directory).is_ok_and(|entries| entries.count() == 1);
        if is_empty {
            fs::remove_file(self.directory.join(TURN)).ok();
            for directory in [Some(self.directory.as_path()), self.directory.parent()] {
                // Not empty where others keep something there.
                directory.map(fs::remove_dir);
            }
        }
    }
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub(super) struct Swept {
    removed: Vec<u32>,
    left: Vec<String>,
}

impl Swept {
    /// Tells the user, if there is something to tell; true if nothing is left.
    pub(super) fn tell(&self) -> bool {
        for pid in &self.removed {
            output::complain(&format!(
                "Removed what an earlier `berth dev` (process {pid}), which was killed, left on this machine."
            ));
        }
        for left in &self.left {
            output::complain(&format!(
                "Something that an earlier `berth dev` left on this machine cannot be removed, {left}; the next start tries again."
            ));
        }
        self.left.is_empty()
    }
}

impl Claim {
    /// Notes what is about to be started, before it is.
    ///
    /// # Errors
    /// If it cannot be written down, or another process removes leftovers for too long.
    pub(super) async fn note(
        &mut self,
        containerd: Option<&Containerd>,
        hosts: Names,
        announcement: PathBuf,
    ) -> Result<()> {
        let directory = self.path.parent().context("a record is in a directory")?;
        let turn = take_turn(&directory.join(TURN)).await?;
        let socket = containerd.filter(|found| !found.is_private());
        self.record.started = Some(Started {
            socket: socket.map(|found| found.socket().to_owned()),
            hosts,
            announcement,
        });
        self.write()?;
        drop(turn);
        Ok(())
    }

    /// Forgets the record: nothing is left.
    pub(super) async fn release(self) {
        let Some(directory) = self.path.parent().map(Path::to_owned) else {
            return;
        };
        fs::remove_file(&self.path).ok();
        // For its end, at which an empty directory goes.
        Records::open_in(directory).await.ok();
    }

    fn write(&mut self) -> Result<()> {
        // In place, since a file that is renamed over this one would be without the lock.
        let text = serde_json::to_vec_pretty(&self.record)?;
        let written = (|| {
            use std::os::unix::fs::FileExt as _;
            self.file.write_all_at(&text, 0)?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_data()
        })();
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Record {
    fn shares_names_with(&self, other: &Self) -> bool {
        let tag = |record: &Self| record.started.as_ref().map(|started| started.hosts.tag.clone());
        self.data_dir == other.data_dir || (tag(self).is_some() && tag(self) == tag(other))
    }

    /// Removes all that it had, except a data directory that is to be kept.
    async fn remove(&self) -> Result<()> {
        if let Some(containerd) = self.containerd().await? {
            let mut left = Vec::new();
            if let Some(started) = &self.started {
                left = hosts::clean_up(&containerd, started.hosts.options(&self.data_dir)).await;
            }
            containerd.shut_down().await;
            if !left.is_empty() {
                bail!("{}", left.join("; "));
            }
        }
        if let Some(started) = &self.started {
            running::forget(&started.announcement)?;
        }
        let name = self.data_dir.file_name().and_then(|name| name.to_str());
        if self.temporary && name.is_some_and(|name| name.starts_with(TEMPORARY_PREFIX)) && self.data_dir.exists() {
            fs::remove_dir_all(&self.data_dir).with_context(|| format!("cannot remove {}", self.data_dir.display()))?;
        }
        Ok(())
    }

    /// The containerd that has its containers: its private one is started again.
    async fn containerd(&self) -> Result<Option<Containerd>> {
        let options = ContainerdOptions::under(&self.data_dir);
        match self.started.as_ref().and_then(|started| started.socket.as_ref()) {
            Some(socket) => Ok(Some(Containerd::connect(socket).await?)),
            None if options.has_been_used() => {
                let private = ContainerdOptions {
                    always_private: true,
                    ..options
                };
                Ok(Some(Containerd::connect_or_start(&private).await?))
            }
            None => Ok(None),
        }
    }
}

/// Locks the file at `path`, which whoever had it before may have removed meanwhile.
async fn take_turn(path: &Path) -> Result<Flock<File>> {
    let deadline = tokio::time::Instant::now() + TURN_DEADLINE;
    loop {
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        let locked = made.and_then(|()| lock::try_lock(path));
        if let Some(lock) = locked.with_context(|| format!("cannot open {}", path.display()))? {
            return Ok(lock);
        }
        if tokio::time::Instant::now() >= deadline {
            bail!(
                "another `berth dev` holds {} for more than {} s; it may still remove what an earlier one left",
                path.display(),
                TURN_DEADLINE.as_secs()
            );
        }
        tokio::time::sleep(TURN_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tag: &str) -> Names {
        Names {
            tag: tag.to_owned(),
            hosts: vec!["host-1".to_owned()],
        }
    }

    async fn records(directory: &Path) -> Records {
        Records::open_in(directory.join("berth/dev")).await.expect("records")
    }

    fn temporary(directory: &Path) -> PathBuf {
        let path = directory.join(format!("{TEMPORARY_PREFIX}x"));
        fs::create_dir(&path).expect("made");
        fs::write(path.join("file"), "x").expect("written");
        path
    }

    #[tokio::test]
    async fn temporary_directory_of_a_killed_one_is_removed_and_its_record_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = temporary(directory.path());
        let mut claim = records(directory.path()).await.claim(&data_dir, true).expect("claimed");
        claim
            .note(None, names("dev1"), directory.path().join("dev-1.json"))
            .await
            .expect("noted");
        let swept = records(directory.path()).await.sweep().await;
        assert!(swept.removed.is_empty() && data_dir.exists(), "it runs: {swept:?}");
        drop(claim);
        let swept = records(directory.path()).await.sweep().await;
        assert_eq!(swept.removed, [std::process::id()]);
        assert!(!data_dir.exists());
        assert!(!directory.path().join("berth").exists(), "nor is a record left");
    }

    #[tokio::test]
    async fn data_directory_that_is_to_be_kept_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = temporary(directory.path());
        drop(
            records(directory.path())
                .await
                .claim(&data_dir, false)
                .expect("claimed"),
        );
        assert!(records(directory.path()).await.sweep().await.tell());
        assert!(data_dir.join("file").exists());
    }

    #[tokio::test]
    async fn leftovers_whose_names_are_in_use_again_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = temporary(directory.path());
        let mut killed = records(directory.path()).await.claim(&data_dir, true).expect("claimed");
        killed
            .note(None, names("dev1"), directory.path().join("dev-1.json"))
            .await
            .expect("noted");
        let other = directory.path().join("other");
        let mut running = records(directory.path()).await.claim(&other, true).expect("claimed");
        running
            .note(None, names("dev1"), directory.path().join("dev-1.json"))
            .await
            .expect("noted");
        drop(killed);
        assert!(records(directory.path()).await.sweep().await.removed.is_empty());
        running.release().await;
        assert_eq!(records(directory.path()).await.sweep().await.removed.len(), 1);
    }

    #[tokio::test]
    async fn record_released_leaves_no_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let claim = records(directory.path())
            .await
            .claim(directory.path(), true)
            .expect("claimed");
        claim.release().await;
        assert!(!directory.path().join("berth").exists());
        assert!(directory.path().exists());
    }
}
