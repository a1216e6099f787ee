//! The control groups of tasks: limits on all containers of a task together, out-of-memory kills, removal.
//!
//! Containers' own groups are runc's work; Berth owns their parents, `/berth/TASK`. Both cgroup versions. Shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_core::model::{TaskId, TaskSpec};
use tokio::time::Instant;

use super::spec::linux::{PERIOD_US, cgroup_path, quota_us};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Our group under the root.
const OURS: &str = "berth";
/// How long the kernel may take to let go of the group of a container that has ended, and how often that is looked at.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
const REMOVE_POLL: Duration = Duration::from_millis(20);

/// Whether this machine has cgroup v2 alone.
pub(super) fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Sets the limits that hold for all containers of the task together; nothing to do for a task without.
pub(super) fn limit_task(task: &TaskSpec) -> Result<(), String> {
    if task.cpu.is_none() && task.memory.is_none() {
        return Ok(());
    }
    let quota_us = task.cpu.map(quota_us);
    let memory_bytes = task.memory.map(|memory| u64::from(memory.0) << 20);
    let write = |path: PathBuf, value: String| {
        std::fs::write(&path, value).map_err(|e| format!("the task's limit {} cannot be set: {e}", path.display()))
    };
    if is_unified() {
        let group = make_unified(task.task)?;
        if let Some(quota) = quota_us {
            write(group.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        }
        if let Some(bytes) = memory_bytes {
            write(group.join("memory.max"), bytes.to_string())?;
        }
        return Ok(());
    }
    if let Some(quota) = quota_us {
        let group = make(&Path::new(ROOT).join("cpu"), task.task)?;
        write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        write(group.join("cpu.cfs_quota_us"), quota.to_string())?;
    }
    if let Some(bytes) = memory_bytes {
        write(
            make(&Path::new(ROOT).join("memory"), task.task)?.join("memory.limit_in_bytes"),
            bytes.to_string(),
        )?;
    }
    Ok(())
}

fn make(hierarchy: &Path, task: TaskId) -> Result<PathBuf, String> {
    let group = hierarchy.join(OURS).join(task.to_string());
    std::fs::create_dir_all(&group)
        .map_err(|e| format!("the control group {} cannot be made: {e}", group.display()))?;
    Ok(group)
}

fn make_unified(task: TaskId) -> Result<PathBuf, String> {
    let root = Path::new(ROOT);
    let group = make(root, task)?;
    for parent in [root.to_owned(), root.join(OURS)] {
        let control = parent.join("cgroup.subtree_control");
        std::fs::write(&control, "+cpu +memory")
            .map_err(|e| format!("controllers cannot be enabled in {}: {e}", control.display()))?;
    }
    Ok(group)
}

/// Whether the kernel killed something in the container for want of memory.
pub(super) fn was_out_of_memory(task: TaskId, container: &str) -> bool {
    let group = cgroup_path(&task.to_string(), container);
    let group = group.trim_start_matches('/');
    let file = if is_unified() {
        Path::new(ROOT).join(group).join("memory.events")
    } else {
        Path::new(ROOT).join("memory").join(group).join("memory.oom_control")
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let kills = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok());
    kills.unwrap_or(0u64) > 0
}

/// Removes the groups of a task; no error if they are gone.
pub(super) async fn remove_task(task: TaskId) -> Result<(), String> {
    let until = Instant::now() + REMOVE_WITHIN;
    for hierarchy in hierarchies() {
        let group = hierarchy.join(OURS).join(task.to_string());
        while let Err(error) = remove_tree(&group) {
            if Instant::now() >= until {
                return Err(format!(
                    "the control group {} cannot be removed: {error}; see what still runs in it by its cgroup.procs",
                    group.display()
                ));
            }
            tokio::time::sleep(REMOVE_POLL).await;
        }
    }
    Ok(())
}

/// Removes the group of all tasks if no task is left.
pub(super) fn remove_ours() {
    for hierarchy in hierarchies() {
        // Other hosts of this machine may still use it: then it is not empty, and stays.
        drop(std::fs::remove_dir(hierarchy.join(OURS)));
    }
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if is_unified() {
        return vec![root];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}
