//! Other programs: finding them and running them with a deadline.
//!
//! Knows nothing of what they are for. Shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

/// How long a helper program may run.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(30);
/// Directories that hold system programs although a user's PATH may lack them.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Finds a program in PATH or in the system's directories.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_DIRECTORIES.iter().map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether the process exists and is not a zombie.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned());
    state.is_some_and(|s| !s.starts_with('Z') && !s.starts_with('X'))
}

/// Runs a program to its end; its standard output on success, else a sentence with what it said.
pub(crate) async fn run<I, S>(program: &str, args: I) -> Result<String, String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let path = find_program(program).ok_or_else(|| format!("the program {program} is not installed"))?;
    let mut command = tokio::process::Command::new(path);
    command.args(args);
    let output = run_with_input(command, &[])
        .await
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} failed ({}): {said}", output.status))
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) async fn run_with_input(mut command: tokio::process::Command, input: &[u8]) -> std::io::Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input tells why by its exit code.
        drop(stdin.write_all(input).await);
    }
    match tokio::time::timeout(PROGRAM_DEADLINE, child.wait_with_output()).await {
        Ok(output) => output,
        Err(_) => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("did not end within {} s and was killed", PROGRAM_DEADLINE.as_secs()),
        )),
    }
}
