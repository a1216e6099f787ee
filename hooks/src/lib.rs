//! Commands of the operator that Berth runs at a moment of its own: which, the flags of a program say, and nobody else.
//!
//! Owns that a command ends in time and says no more than is kept. It must not know what a command is for. What it says of one never has the command
//! itself, which may name a password and is nobody's but the operator's: errors are shown to users. Shell.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;

/// What of a command's output is kept: its last bytes, where an error is likelier to be than at the beginning.
const MAX_OUTPUT_BYTES: usize = 400;

/// How long what a command started may hold on to its output once the command has ended.
const OUTPUT_WITHIN: Duration = Duration::from_millis(200);

/// A command of the operator.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    name: &'static str,
    command: String,
    deadline: Duration,
}

/// Why a command did not do what it is for, without the command.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started.
    #[error("the {name} cannot be started: {source}")]
    Start {
        /// What the command is called.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It failed.
    #[error("the {name} failed ({status}){said}")]
    Failed {
        /// What the command is called.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said, after a colon.
        said: String,
    },
    /// It was ended.
    #[error("the {name} did not end within {} s and was killed{said}", .deadline.as_secs())]
    Late {
        /// What the command is called.
        name: &'static str,
        /// How long it may take.
        deadline: Duration,
        /// What it said, after a colon.
        said: String,
    },
}

impl Hook {
    /// A command that `/bin/sh` runs, and that may take so long; errors call it by `name`, such as `wake command`.
    #[must_use]
    pub fn new(name: &'static str, command: impl Into<String>, deadline: Duration) -> Self {
        Self {
            name,
            command: command.into(),
            deadline,
        }
    }

    /// Runs the command to its end, with these variables beside those of this process. What it leaves running is none of it.
    ///
    /// # Errors
    /// [`HookError`]; a command that takes too long is killed, with all that it started in its process group.
    pub async fn run(&self, variables: impl IntoIterator<Item = (String, String)>) -> Result<(), HookError> {
        let mut command = tokio::process::Command::new("/bin/sh");
        command
            .args(["-c", &self.command])
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let name = self.name;
        let start = |source| HookError::Start { name, source };
        let mut child = command.spawn().map_err(start)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let output = [child.stdout.take().map(follow), child.stderr.take().map(follow)];
        let ended = tokio::time::timeout(self.deadline, child.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(HookError::Failed {
                name,
                status,
                said: said(output).await,
            }),
            Ok(Err(source)) => Err(start(source)),
            Err(_) => {
                if let Some(group) = group {
                    // One that has ended meanwhile needs no signal.
                    killpg(group, Signal::SIGKILL).ok();
                }
                Err(HookError::Late {
                    name,
                    deadline: self.deadline,
                    said: said(output).await,
                })
            }
        }
    }
}

/// Reads all of an output, so that nobody waits for it to be read, and keeps its end.
fn follow(mut output: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let (mut kept, mut piece) = (vec![], [0; 1024]);
        while let Ok(length @ 1..) = output.read(&mut piece).await {
            kept.extend_from_slice(&piece[..length]);
            let surplus = kept.len().saturating_sub(MAX_OUTPUT_BYTES);
            kept.drain(..surplus);
        }
        kept
    })
}

/// What was said, to follow a sentence.
async fn said(outputs: [Option<JoinHandle<Vec<u8>>>; 2]) -> String {
    let mut texts = vec![];
    for output in outputs.into_iter().flatten() {
        let abort = output.abort_handle();
        match tokio::time::timeout(OUTPUT_WITHIN, output).await {
            Ok(Ok(kept)) => texts.push(String::from_utf8_lossy(&kept).trim().to_owned()),
            Ok(Err(_)) => {}
            Err(_) => abort.abort(),
        }
    }
    texts.retain(|text| !text.is_empty());
    match texts.is_empty() {
        true => String::new(),
        false => format!(": {}", texts.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn hook(command: &str) -> Hook {
        Hook::new("wake command", command, Duration::from_millis(500))
    }

    fn host() -> [(String, String); 1] {
        [("BERTH_HOST_NAME".to_owned(), "host-1".to_owned())]
    }

    #[tokio::test]
    async fn command_that_ends_well_has_its_variables_and_says_nothing() {
        hook("test \"$BERTH_HOST_NAME\" = host-1")
            .run(host())
            .await
            .expect("it does what it is for");
    }

    #[tokio::test]
    async fn command_that_fails_says_why_with_the_end_of_what_it_said() {
        let error = hook("seq 10000; echo no such host >&2; exit 3").run(host()).await;
        let text = error.expect_err("it failed").to_string();
        assert!(text.starts_with("the wake command failed (exit status: 3): "), "{text}");
        assert!(text.ends_with("10000; no such host"), "{text}");
        assert!(text.len() < 3 * MAX_OUTPUT_BYTES, "{text}");
    }

    #[tokio::test]
    async fn command_that_takes_too_long_is_killed_with_what_it_waits_for() {
        let began = Instant::now();
        let error = hook("echo waiting; sleep 60; true").run(host()).await;
        let text = error.expect_err("it is killed").to_string();
        assert!(text.contains("was killed: waiting"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn errors_say_nothing_of_the_command_which_may_have_a_password() {
        for command in ["true -P hunter2; exit 1", "true -P hunter2; sleep 60; true"] {
            let error = hook(command).run(host()).await.expect_err("it does not do it");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn command_that_leaves_something_running_has_ended() {
        let began = Instant::now();
        hook("sleep 3 &").run(host()).await.expect("it ended");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
