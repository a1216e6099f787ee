//! Finds a containerd to work with: the one that runs on the machine, or a private one started here.
//!
//! Owns the private containerd's process, configuration and directories; keeps it running until shut down. Knows
//! nothing of namespaces or tasks. Shell.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::client::{Client, connect};

/// Where a distribution's containerd listens.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";
/// How long a private containerd may take to answer after its start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How often start and stop are looked at.
const POLL: Duration = Duration::from_millis(20);
/// Pause before a private containerd that died is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// A Unix socket's path is at most 107 bytes; containerd appends `.ttrpc` to it.
const MAX_SOCKET_PATH: usize = 100;
/// Where it is if its directory's path is too long for that.
const OUTSIDE: &str = "/run/berth";

/// Where to look for containerd and where a private one may live.
#[derive(Clone, Debug)]
pub struct ContainerdOptions {
    /// The socket of the machine's containerd.
    pub socket: PathBuf,
    /// Directory for a private containerd's data.
    pub data_dir: PathBuf,
    /// Start a private one even if the machine's answers.
    pub always_private: bool,
}

impl ContainerdOptions {
    /// The usual socket, and a private containerd under `data_dir` if nothing answers there.
    #[must_use]
    pub fn under(data_dir: &Path) -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            data_dir: data_dir.to_owned(),
            always_private: false,
        }
    }

    /// Whether a private containerd was ever started there.
    #[must_use]
    pub fn has_been_used(&self) -> bool {
        Paths::under(&self.data_dir).config().exists()
    }
}

/// Why there is no containerd to work with. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Containers need root.
    #[error("running containers takes root: run as root, or use the simulated runtime")]
    NotRoot,
    /// A program is missing.
    #[error("no containerd answers at {socket} ({why}) and {program} is not in PATH: install containerd and runc")]
    NotInstalled {
        /// Socket that was tried.
        socket: String,
        /// Why it did not answer.
        why: String,
        /// What is missing.
        program: &'static str,
    },
    /// The containerd that was named does not answer.
    #[error("no containerd answers at {socket}: {why}")]
    NotThere {
        /// Socket that was tried.
        socket: String,
        /// Why it did not answer.
        why: String,
    },
    /// The private containerd did not come up.
    #[error("a private containerd could not be started under {dir}: {why}")]
    DidNotStart {
        /// Its directory.
        dir: String,
        /// What went wrong, with the end of its log.
        why: String,
    },
}

/// A containerd to work with. A private one is stopped when this is dropped.
#[derive(Debug)]
pub struct Containerd {
    channel: Channel,
    socket: PathBuf,
    version: String,
    description: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    paths: Paths,
    pid: Arc<AtomicI32>,
    stop: watch::Sender<bool>,
    keeper: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Paths {
    dir: PathBuf,
    state: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    /// Uses the containerd at `socket`, and no other.
    ///
    /// # Errors
    /// [`LaunchError::NotThere`].
    pub async fn connect(socket: &Path) -> Result<Self, LaunchError> {
        match connect(socket).await {
            Ok((channel, version)) => Ok(Self::running(channel, version, socket)),
            Err(why) => Err(LaunchError::NotThere {
                socket: socket.display().to_string(),
                why,
            }),
        }
    }

    /// Uses the machine's containerd if it answers, else starts a private one.
    ///
    /// # Errors
    /// [`LaunchError`], saying what is missing.
    pub async fn connect_or_start(options: &ContainerdOptions) -> Result<Self, LaunchError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(LaunchError::NotRoot);
        }
        let why = if options.always_private {
            "a private one was asked for".to_owned()
        } else {
            match connect(&options.socket).await {
                Ok((channel, version)) => return Ok(Self::running(channel, version, &options.socket)),
                Err(why) => why,
            }
        };
        Self::start_private(options, &why).await
    }

    fn running(channel: Channel, version: String, socket: &Path) -> Self {
        let description = format!("the running containerd {version} at {}", socket.display());
        Self {
            channel,
            socket: socket.to_owned(),
            version,
            description,
            private: None,
        }
    }

    async fn start_private(options: &ContainerdOptions, why: &str) -> Result<Self, LaunchError> {
        for program in ["containerd", "runc"] {
            if crate::process::find_program(program).is_none() {
                let socket = options.socket.display().to_string();
                return Err(LaunchError::NotInstalled {
                    socket,
                    why: why.to_owned(),
                    program,
                });
            }
        }
        let paths = Paths::under(&options.data_dir);
        let failed = |why: String| LaunchError::DidNotStart {
            dir: paths.dir.display().to_string(),
            why,
        };
        paths.prepare().map_err(|e| failed(e.to_string()))?;
        paths.stop_predecessor().await;
        let child = paths.spawn().map_err(|e| failed(e.to_string()))?;
        let pid = Arc::new(AtomicI32::new(pid_of(&child)));
        let (stop, stopped) = watch::channel(false);
        let keeper = tokio::spawn(keep_running(paths.clone(), child, pid.clone(), stopped));
        let private = Private {
            paths: paths.clone(),
            pid,
            stop,
            keeper,
        };
        let (channel, version) = match paths.wait_until_it_answers().await {
            Ok(answer) => answer,
            Err(error) => {
                let why = format!("{error}; its log ends: {}", paths.end_of_log());
                private.shut_down().await;
                return Err(failed(why));
            }
        };
        let description = format!(
            "a private containerd {version} under {} (none at {}: {why})",
            paths.dir.display(),
            options.socket.display()
        );
        Ok(Self {
            channel,
            socket: paths.socket,
            version,
            description,
            private: Some(private),
        })
    }

    /// A client in the namespace `namespace`.
    ///
    /// # Errors
    /// If the namespace has characters that no namespace can have.
    pub fn client(&self, namespace: &str) -> Result<Client, crate::runtime::RuntimeError> {
        Client::new(self.channel.clone(), namespace)
            .map_err(|status| crate::runtime::RuntimeError::Unavailable(status.message().to_owned()))
    }

    /// Its version, such as `1.6.20`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Which containerd was taken, and why.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it was started here and ends with this process.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Process id of a private containerd.
    #[must_use]
    pub fn private_pid(&self) -> Option<i32> {
        self.private.as_ref().map(|p| p.pid.load(Ordering::SeqCst))
    }

    /// Stops a private containerd and waits for its end; leaves the machine's own alone.
    pub async fn shut_down(mut self) {
        if let Some(private) = self.private.take() {
            private.shut_down().await;
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.keeper.abort();
        terminate(self.pid.load(Ordering::SeqCst), Signal::SIGTERM);
    }
}

impl Private {
    async fn shut_down(self) {
        self.stop.send_replace(true);
        let pid = self.pid.load(Ordering::SeqCst);
        terminate(pid, Signal::SIGTERM);
        if !has_ended_within(pid, STOP_DEADLINE).await {
            tracing::warn!(pid, "private containerd did not end after SIGTERM; killing it");
            terminate(pid, Signal::SIGKILL);
            has_ended_within(pid, STOP_DEADLINE).await;
        }
        self.pid.store(0, Ordering::SeqCst);
        remove_quietly(&self.paths.socket);
        remove_quietly(&self.paths.pid_file());
        // Containers that still run outlive this process; the next one finds them by what is in there.
        if !self.paths.has_containers() {
            remove_quietly(&self.paths.state);
            // Not empty while others keep something there.
            drop(std::fs::remove_dir(OUTSIDE));
        }
    }
}

impl Paths {
    fn under(data_dir: &Path) -> Self {
        let dir = std::path::absolute(data_dir)
            .unwrap_or_else(|_| data_dir.to_owned())
            .join("containerd");
        let socket = dir.join("containerd.sock");
        if socket.as_os_str().len() <= MAX_SOCKET_PATH {
            return Self {
                state: dir.join("state"),
                socket,
                dir,
            };
        }
        let digest = hex::encode(&Sha256::digest(dir.as_os_str().as_bytes())[..6]);
        let state = PathBuf::from(OUTSIDE).join(format!("containerd-{digest}"));
        Self {
            socket: state.join("containerd.sock"),
            state,
            dir,
        }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    fn prepare(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.state)?;
        let quoted = |path: &Path| toml_string(&path.to_string_lossy());
        let config = format!(
            "version = 2\nroot = {}\nstate = {}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
             \"io.containerd.internal.v1.opt\", \"io.containerd.snapshotter.v1.aufs\", \
             \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \
             \"io.containerd.snapshotter.v1.zfs\"]\n[grpc]\naddress = {}\n",
            quoted(&self.dir.join("root")),
            quoted(&self.state),
            quoted(&self.socket),
        );
        std::fs::write(self.config(), config)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(self.config()).args(["--log-level", "warn"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C at the terminal must reach Berth alone, which then stops things in order.
        command.process_group(0);
        let child = command.spawn()?;
        std::fs::write(self.pid_file(), pid_of(&child).to_string())?;
        Ok(child)
    }

    /// Ends the containerd that a process killed before its time left behind in this directory.
    async fn stop_predecessor(&self) {
        let Some(pid) = std::fs::read_to_string(self.pid_file())
            .ok()
            .and_then(|t| t.trim().parse::<i32>().ok())
        else {
            return;
        };
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = self.config();
        if cmdline
            .split(|b| *b == 0)
            .any(|arg| arg == config.as_os_str().as_bytes())
        {
            terminate(pid, Signal::SIGTERM);
            if !has_ended_within(pid, STOP_DEADLINE).await {
                terminate(pid, Signal::SIGKILL);
                has_ended_within(pid, STOP_DEADLINE).await;
            }
        }
    }

    async fn wait_until_it_answers(&self) -> Result<(Channel, String), String> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let why = match connect(&self.socket).await {
                Ok(answer) => return Ok(answer),
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(format!("it does not answer at {} ({why})", self.socket.display()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether a container is left: containerd keeps a directory for each, by namespace.
    fn has_containers(&self) -> bool {
        let namespaces = std::fs::read_dir(self.state.join("io.containerd.runtime.v2.task"));
        let namespaces = namespaces.into_iter().flatten().flatten();
        namespaces
            .flat_map(|n| std::fs::read_dir(n.path()))
            .any(|mut containers| containers.next().is_some())
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

/// Starts the private containerd again whenever it dies, until told to stop. Containers outlive it meanwhile.
async fn keep_running(paths: Paths, mut child: Child, pid: Arc<AtomicI32>, mut stopped: watch::Receiver<bool>) {
    loop {
        let ended = child.wait().await;
        if *stopped.borrow() {
            return;
        }
        tracing::warn!(?ended, dir = %paths.dir.display(), "private containerd ended; starting it again");
        loop {
            let told = tokio::time::timeout(RESTART_PAUSE, stopped.wait_for(|stop| *stop)).await;
            if told.is_ok() {
                return;
            }
            match paths.spawn() {
                Ok(next) => {
                    pid.store(pid_of(&next), Ordering::SeqCst);
                    child = next;
                    break;
                }
                Err(error) => tracing::warn!(%error, "private containerd could not be started again; trying on"),
            }
        }
    }
}

fn pid_of(child: &Child) -> i32 {
    child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
}

fn terminate(pid: i32, signal: Signal) {
    if pid > 1
        && let Err(errno) = kill(Pid::from_raw(pid), signal)
    {
        tracing::debug!(pid, %errno, "containerd is gone already");
    }
}

async fn has_ended_within(pid: i32, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while crate::process::is_running(pid) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

fn remove_quietly(path: &Path) {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    if let Err(error) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_under_a_long_directory_put_the_socket_where_it_fits() {
        let short = Paths::under(Path::new("/tmp/x"));
        assert_eq!(short.socket, Path::new("/tmp/x/containerd/containerd.sock"));
        let long = Paths::under(&Path::new("/tmp").join("d".repeat(120)));
        assert!(long.socket.as_os_str().len() <= MAX_SOCKET_PATH, "{:?}", long.socket);
        assert!(long.socket.starts_with("/run/berth"));
    }

    #[test]
    fn toml_string_with_quotes_is_escaped() {
        assert_eq!(toml_string(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
