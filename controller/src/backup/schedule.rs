//! Backups on a schedule: the leader writes one when the newest in the folder has become too old, and removes those beyond the number to
//! keep. Shell, but for the names and the choice of what is due, which are pure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::Timestamp;
use berth_raft::Role;
use tokio_util::sync::CancellationToken;

use super::files;
use super::format::{self, BackupError, BackupSummary};
use crate::clock::Clock;
use crate::monitoring::Metrics;
use crate::replica::StateGroup;

/// How often it is looked whether a backup is due, at most; also the pause after a failure.
const LOOK_EVERY: Duration = Duration::from_secs(30);

const PREFIX: &str = "berth-";
const SUFFIX: &str = ".backup";

/// Where backups go, how often, and how many stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// The folder, which should be on another disk than the data directory. All controllers may share one.
    pub directory: PathBuf,
    /// Between two backups.
    pub every: Duration,
    /// Number of backups that stay.
    pub keep: usize,
}

/// Sees to it that the folder is there. Of what is missing only the last part is made: where more is, a disk is not mounted, and what was written
/// there would be on another one. Blocks.
///
/// # Errors
/// [`BackupError::NoParent`], or [`BackupError::Io`].
pub fn prepare(directory: &Path) -> Result<(), BackupError> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.exists()) {
        return Err(BackupError::NoParent {
            directory: directory.to_owned(),
            parent: parent.to_owned(),
        });
    }
    let action = format!("make the folder {} for backups", directory.display());
    std::fs::create_dir(directory).map_err(BackupError::io(action))?;
    tracing::warn!(
        directory = %directory.display(),
        "the folder for backups was not there, and was made: if it is to be on a disk of its own, see whether that is mounted"
    );
    Ok(())
}

/// Writes backups until `stop`. A failure is logged and counted, and tried again.
pub async fn run(group: StateGroup, clock: Arc<dyn Clock>, options: ScheduleOptions, stop: CancellationToken) {
    let look_every = LOOK_EVERY.min(options.every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(look_every) => {}
            () = stop.cancelled() => return,
        }
        if group.status().role == Role::Leader {
            look(&group, &*clock, &options).await;
        }
    }
}

async fn look(group: &StateGroup, clock: &dyn Clock, options: &ScheduleOptions) {
    let metrics = group.metrics();
    let now = clock.now();
    match write_if_due(group, options, now).await {
        Ok(None) => {}
        Ok(Some((path, summary))) => {
            metrics.backup_succeeded(now, summary.bytes);
            tracing::info!(
                path = %path.display(),
                raft_index = summary.header.index,
                bytes = summary.bytes,
                "backup written"
            );
        }
        Err(error) => {
            metrics.backup_failed();
            tracing::error!(
                directory = %options.directory.display(),
                error = %error.chain(),
                "a scheduled backup failed: free space or repair the folder; it is tried again"
            );
        }
    }
}

async fn write_if_due(
    group: &StateGroup,
    options: &ScheduleOptions,
    now: Timestamp,
) -> Result<Option<(PathBuf, BackupSummary)>, BackupError> {
    let (directory, every, keep) = (options.directory.clone(), options.every, options.keep);
    let asked = directory.clone();
    if !blocking(move || is_due(&asked, every, now)).await? {
        return Ok(None);
    }
    // A leader that no majority follows any more cannot read, and writes no backup.
    let read = group.read().await;
    let published = read.map_err(|error| BackupError::Target(error.to_string()))?;
    let header = format::header_of(&published, now.0);
    let path = directory.join(name(now, header.index));
    let state = Arc::clone(&published.view);
    blocking(move || {
        files::write_state_file(&path, &header, &state)?;
        let summary = files::check_file(&path)?;
        remove_beyond(&directory, keep, now, header.index)?;
        Ok(Some((path, summary)))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(BackupError::Target(format!("writing the backup failed: {error}"))))
}

fn is_due(directory: &Path, every: Duration, now: Timestamp) -> Result<bool, BackupError> {
    // Made at the start, and never here: it would be on another disk if its own was taken away.
    if !directory.exists() {
        return Err(BackupError::FolderGone(directory.to_owned()));
    }
    // One from the future is of a clock that was wrong, and says nothing of when the next is due.
    let made = backups(directory)?.into_iter().filter_map(|name| made_at(&name));
    let newest = made.filter(|at| at.0 <= now.0).max();
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    Ok(newest.is_none_or(|at| now.0 - at.0 >= every))
}

/// Removes the oldest beyond those to keep, after one was written now and at this place of the log. Those from the future are older than
/// it too, if the log says so: the clock was wrong then, or is now.
fn remove_beyond(directory: &Path, keep: usize, now: Timestamp, index: u64) -> Result<(), BackupError> {
    let mut names = backups(directory)?;
    let is_older_in_the_log = |name: &String| index_of(name).is_some_and(|of| of <= index);
    names.sort_by_key(|name| made_at(name).is_none_or(|at| at <= now) || !is_older_in_the_log(name));
    let beyond = names.len().saturating_sub(keep.max(1));
    for name in &names[..beyond] {
        let path = directory.join(name);
        std::fs::remove_file(&path).map_err(BackupError::io(format!("remove {}", path.display())))?;
    }
    Ok(())
}

/// Names of the schedule's backups, the oldest first; nothing else in the folder is ever touched.
fn backups(directory: &Path) -> Result<Vec<String>, BackupError> {
    let failed = || format!("read {}", directory.display());
    let mut names = vec![];
    for entry in std::fs::read_dir(directory).map_err(BackupError::io(failed()))? {
        let name = entry.map_err(BackupError::io(failed()))?.file_name();
        names.extend(name.to_str().filter(|name| made_at(name).is_some()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// `berth-20261125T214500.123Z-00000000001234.backup`: in the order of time, and then of the log.
fn name(at: Timestamp, index: u64) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    format!("{PREFIX}{}-{index:014}{SUFFIX}", moment.strftime("%Y%m%dT%H%M%S.%3fZ"))
}

fn index_of(name: &str) -> Option<u64> {
    let (_, index) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    index.parse().ok()
}

fn made_at(name: &str) -> Option<Timestamp> {
    let (moment, _) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    index_of(name)?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S.%fZ", moment).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}

impl Metrics {
    fn backup_succeeded(&self, at: Timestamp, bytes: u64) {
        self.backups_with("written").inc();
        self.last_backup_bytes.set(bytes);
        self.last_backup_seconds.set(u64::try_from(at.0 / 1000).unwrap_or(0));
    }

    fn backup_failed(&self) {
        self.backups_with("failed").inc();
    }
}

#[cfg(test)]
mod tests {
    use berth_raft::RaftOptions;
    use berth_storage::MemoryStorage;

    use super::*;
    use crate::replica::ReplicatedState;

    const HOUR_MS: i64 = 3_600_000;

    fn group() -> StateGroup {
        let options = RaftOptions {
            required_free_bytes: 0,
            on_fault: |_| {},
            ..RaftOptions::default()
        };
        StateGroup::start(Arc::new(MemoryStorage::default()), ReplicatedState::default(), options).expect("started")
    }

    #[test]
    fn name_of_a_backup_says_when_it_was_made() {
        let at = Timestamp(1_763_800_000_123);
        assert_eq!(made_at(&name(at, 42)), Some(at));
        for other in [
            "notes.txt",
            "berth-x-1.backup",
            "berth-20261125T214500.123Z-1.unfinished",
        ] {
            assert_eq!(made_at(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn schedule_over_a_day_keeps_the_newest_and_touches_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = ScheduleOptions {
            directory: directory.path().join("backups"),
            every: Duration::from_secs(6 * 3600),
            keep: 3,
        };
        std::fs::create_dir(&options.directory).expect("created");
        std::fs::write(options.directory.join("notes.txt"), "mine").expect("written");
        let (group, start) = (group(), 1_763_800_000_000);
        let mut written = 0;
        for hour in 0..=36 {
            let outcome = write_if_due(&group, &options, Timestamp(start + hour * HOUR_MS)).await;
            written += usize::from(outcome.expect("no failure").is_some());
        }
        assert_eq!(written, 7, "one every six hours");
        let kept = backups(&options.directory).expect("listed");
        let hours: Vec<_> = kept
            .iter()
            .filter_map(|name| made_at(name))
            .map(|at| (at.0 - start) / HOUR_MS)
            .collect();
        assert_eq!(hours, [24, 30, 36]);
        assert!(options.directory.join("notes.txt").exists());
        for name in kept {
            files::verify_file(&options.directory.join(name)).expect("sound");
        }
    }

    #[tokio::test]
    async fn schedule_after_a_clock_that_ran_ahead_writes_as_often_as_ever_and_keeps_what_it_writes() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = ScheduleOptions {
            directory: directory.path().to_owned(),
            every: Duration::from_secs(6 * 3600),
            keep: 3,
        };
        let (group, start) = (group(), 1_763_800_000_000);
        let year = 365 * 24 * HOUR_MS;
        for ahead in 0..3 {
            let at = Timestamp(start + year + ahead * 6 * HOUR_MS);
            write_if_due(&group, &options, at)
                .await
                .expect("no failure")
                .expect("written");
        }
        let mut written = vec![];
        for hour in 0..=12 {
            let outcome = write_if_due(&group, &options, Timestamp(start + hour * HOUR_MS)).await;
            written.extend(outcome.expect("no failure").map(|(path, _)| path));
        }
        assert_eq!(written.len(), 3, "one every six hours");
        assert_eq!(backups(&options.directory).expect("listed").len(), 3);
        assert!(
            written.iter().all(|path| path.exists()),
            "what is the newest in truth is kept"
        );
    }

    #[test]
    fn folder_that_is_missing_is_made_but_not_what_it_is_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("backups");
        for _ in 0..2 {
            prepare(&folder).expect("made, or there");
            assert!(folder.is_dir());
        }
        let error = prepare(&directory.path().join("mnt/backups"))
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("mnt is not there") && error.contains("mount that") && error.contains("--backup-dir"),
            "{error}"
        );
        assert!(!directory.path().join("mnt").exists());
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        prepare(&file).expect_err("it is no folder");
    }

    #[tokio::test]
    async fn folder_that_has_gone_is_a_failure_and_is_not_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = ScheduleOptions {
            directory: directory.path().join("backups"),
            every: Duration::from_secs(1),
            keep: 3,
        };
        let group = group();
        prepare(&options.directory).expect("made");
        std::fs::remove_dir(&options.directory).expect("removed");
        let error = write_if_due(&group, &options, Timestamp(1)).await.expect_err("refused");
        assert!(error.to_string().contains("is not there any more"), "{error}");
        look(&group, &crate::clock::SystemClock, &options).await;
        assert!(!options.directory.exists());
        let text = group.metrics().text();
        assert!(text.contains("berth_backups_total{outcome=\"failed\"} 1"), "{text}");
        // The disk is back.
        std::fs::create_dir(&options.directory).expect("made");
        look(&group, &crate::clock::SystemClock, &options).await;
        assert_eq!(backups(&options.directory).expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn schedule_that_cannot_write_is_counted_and_keeps_what_there_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("not-a-folder");
        std::fs::write(&file, "").expect("written");
        let options = ScheduleOptions {
            directory: file,
            every: Duration::from_secs(1),
            keep: 3,
        };
        let group = group();
        look(&group, &crate::clock::SystemClock, &options).await;
        let text = group.metrics().text();
        assert!(text.contains("berth_backups_total{outcome=\"failed\"} 1"), "{text}");
    }
}
