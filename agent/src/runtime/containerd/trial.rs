//! Whether an OCI runtime can run a container on this host: a small one is run to its end, with a network namespace of its own as containers of
//! tasks have. A gVisor that is older than the kernel fails with every container, and says so only then.
//!
//! Owns the container that is tried. Shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::process;

/// What the container runs: it ends at once.
const PROGRAM: &str = "true";
/// What that program is read from, as far as the host has it.
const DIRECTORIES: [&str; 5] = ["/bin", "/lib", "/lib32", "/lib64", "/usr"];
/// Of what a runtime says of its failure, this much is told.
const MAX_SAID: usize = 300;

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// The container ran.
    Ran,
    /// The runtime said that it cannot, and why.
    Failed(String),
    /// It could not be tried, or did not end.
    Unclear(String),
}

/// Has `runtime` run a container, and leaves nothing behind.
pub(super) async fn of(runtime: &Path) -> Trial {
    let template = std::env::temp_dir().join("berth-trial-XXXXXX");
    let folder = match nix::unistd::mkdtemp(&template) {
        Ok(folder) => folder,
        Err(error) => return Trial::Unclear(format!("{}: {error}", template.display())),
    };
    let trial = within(runtime, &folder).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "the files of a trial stay");
    }
    trial
}

async fn within(runtime: &Path, folder: &Path) -> Trial {
    let Some(program) = process::find_program(PROGRAM) else {
        return Trial::Unclear(format!("there is no program {PROGRAM} to try it with"));
    };
    let bundle = folder.join("bundle");
    let specification = specification(&program).to_string();
    let written = std::fs::create_dir_all(bundle.join("rootfs"))
        .and_then(|()| std::fs::write(bundle.join("config.json"), specification));
    if let Err(error) = written {
        return Trial::Unclear(format!("{}: {error}", bundle.display()));
    }
    let state = folder.join("state");
    // Unlike any other on the host: some runtimes name sockets by it.
    let id = folder.file_name().unwrap_or(OsStr::new("berth-trial"));
    let calls = |arguments: &[&OsStr]| {
        let mut command = tokio::process::Command::new(runtime);
        command.arg("--root").arg(&state).args(arguments);
        command
    };
    let run = calls(&["run".as_ref(), "--bundle".as_ref(), bundle.as_ref(), id]);
    let ended = process::run_with_input(run, &[]).await;
    // Whatever became of it: what is left of one that failed holds a process, or mounts.
    let delete = calls(&["delete".as_ref(), "--force".as_ref(), id]);
    drop(process::run_with_input(delete, &[]).await);
    match ended {
        Ok(output) if output.status.success() => Trial::Ran,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            let last: String = last.unwrap_or_default().trim().chars().take(MAX_SAID).collect();
            Trial::Failed(format!("{}: {last}", output.status))
        }
        Err(error) => Trial::Unclear(error.to_string()),
    }
}

/// The container: a program of the host, read-only, in namespaces of its own.
fn specification(program: &Path) -> Value {
    let directories = DIRECTORIES.iter().filter_map(|directory| {
        // Of a link, what it leads to.
        let source: PathBuf = std::fs::canonicalize(directory).ok()?;
        Some(json!({"destination": directory, "type": "bind", "source": source, "options": ["rbind", "ro"]}))
    });
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let mounts: Vec<Value> = std::iter::once(proc).chain(directories).collect();
    let namespaces: Vec<Value> = ["pid", "network", "ipc", "uts", "mount"]
        .into_iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": [program], "env": [], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {"namespaces": namespaces},
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that stands in for a runtime.
    fn stand_in(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("runtime");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    /// The trial, again where another test's process had the program open for a moment.
    async fn tried(runtime: &Path) -> Trial {
        for _ in 0..100 {
            let trial = of(runtime).await;
            if !matches!(&trial, Trial::Unclear(why) if why.contains("busy")) {
                return trial;
            }
        }
        panic!("{} stays busy", runtime.display());
    }

    #[tokio::test]
    async fn runtime_is_given_a_container_with_a_network_of_its_own_and_told_to_delete_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let calls = folder.path().join("calls");
        let kept = folder.path().join("config.json");
        let script = format!(
            "echo \"$3\" >> {}\n[ \"$3\" = delete ] || cp \"$5/config.json\" {}",
            calls.display(),
            kept.display()
        );
        assert_eq!(tried(&stand_in(folder.path(), &script)).await, Trial::Ran);
        let calls = std::fs::read_to_string(calls).expect("called");
        assert!(calls.ends_with("run\ndelete\n"), "{calls}");
        let given: Value = serde_json::from_slice(&std::fs::read(kept).expect("given")).expect("JSON");
        assert!(
            given["linux"]["namespaces"]
                .as_array()
                .expect("namespaces")
                .contains(&json!({"type": "network"}))
        );
    }

    #[tokio::test]
    async fn runtime_that_fails_is_told_with_the_last_that_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "echo first >&2; echo 'cannot run with network enabled' >&2; echo >&2; exit 128";
        let trial = tried(&stand_in(folder.path(), script)).await;
        assert_eq!(
            trial,
            Trial::Failed("exit status: 128: cannot run with network enabled".to_owned())
        );
        let missing = of(&folder.path().join("none-such")).await;
        assert!(matches!(missing, Trial::Unclear(_)), "{missing:?}");
    }
}
