//! Finds a containerd to work with: the one that runs on the machine, or a private one started here.
//!
//! Owns the private containerd's process, configuration and directories; keeps it running until shut down. Knows
//! nothing of namespaces or tasks. Shell.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
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
/// First and longest pause before a private containerd that died is started again; doubled each time.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// One that ran for so long has come up well, and the first pause is enough again.
const RAN_WELL: Duration = Duration::from_secs(60);
/// Size at which its log is put aside, and how often that is looked at.
const MAX_LOG_BYTES: u64 = 8 << 20;
const LOOK_AT_LOG_EVERY: Duration = Duration::from_secs(60);
/// How long the containerd that this host has used before is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one is waited for at the first start, if there is a socket.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Where it is written down which one it was.
const REMEMBERED: &str = "containerd.json";
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
    /// The containerd that has this host's containers does not answer.
    #[error(
        "no containerd answers at {socket} within {} s: {why}. The containers of this host are there: start it again (systemctl status \
         containerd). If they are to be given up, remove {remembered}, and the next start looks for a containerd anew",
        PATIENCE.as_secs()
    )]
    NotBack {
        /// Its socket.
        socket: String,
        /// Why it did not answer.
        why: String,
        /// The file in which it is written down.
        remembered: String,
    },
    /// It cannot be written down or read which containerd has this host's containers.
    #[error("{path}: {why}")]
    Remembered {
        /// The file.
        path: String,
        /// What is wrong.
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

    /// Uses the containerd that has this host's containers, and waits for it if it does not answer yet. At the first start, and when
    /// another socket is named than before, that is the one at the socket if it answers, else a private one; it is written down.
    ///
    /// # Errors
    /// [`LaunchError`], saying what is missing.
    pub async fn of_host(options: &ContainerdOptions) -> Result<Self, LaunchError> {
        let remembered = Remembered::load(&options.data_dir)?;
        let found = match remembered.filter(|remembered| remembered.socket == options.socket) {
            Some(Remembered { is_private: true, .. }) => {
                let private = ContainerdOptions {
                    always_private: true,
                    ..options.clone()
                };
                return Self::connect_or_start(&private).await;
            }
            Some(_) => {
                let answer = connect_within(&options.socket, PATIENCE).await;
                let (channel, version) = answer.map_err(|why| LaunchError::NotBack {
                    socket: options.socket.display().to_string(),
                    why,
                    remembered: Remembered::path(&options.data_dir).display().to_string(),
                })?;
                return Ok(Self::running(channel, version, &options.socket));
            }
            None => {
                if options.socket.exists()
                    && let Err(why) = connect_within(&options.socket, FIRST_PATIENCE).await
                {
                    tracing::warn!(socket = %options.socket.display(), why, "no containerd answers there");
                }
                Self::connect_or_start(options).await?
            }
        };
        let remembered = Remembered {
            socket: options.socket.clone(),
            is_private: found.is_private(),
        };
        remembered.save(&options.data_dir)?;
        Ok(found)
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

/// Which containerd has a host's containers: another one would know nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    /// The socket that was named.
    socket: PathBuf,
    /// Whether none answered there, and a private one was started.
    is_private: bool,
}

impl Remembered {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(REMEMBERED)
    }

    fn load(data_dir: &Path) -> Result<Option<Self>, LaunchError> {
        let path = Self::path(data_dir);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| Self::failed(&path, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Self::failed(&path, &error)),
        }
    }

    fn save(&self, data_dir: &Path) -> Result<(), LaunchError> {
        let path = Self::path(data_dir);
        let written = serde_json::to_vec(self).map_err(std::io::Error::from).and_then(|text| {
            std::fs::create_dir_all(data_dir)?;
            let draft = path.with_extension("next");
            let mut file = std::fs::File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)
        });
        written.map_err(|error| Self::failed(&path, &error))
    }

    fn failed(path: &Path, why: &dyn std::error::Error) -> LaunchError {
        LaunchError::Remembered {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}

/// Asks for a while whether a containerd answers at the socket.
async fn connect_within(socket: &Path, limit: Duration) -> Result<(Channel, String), String> {
    let until = Instant::now() + limit;
    let mut told = false;
    loop {
        let why = match connect(socket).await {
            Ok(answer) => return Ok(answer),
            Err(why) => why,
        };
        if Instant::now() >= until {
            return Err(why);
        }
        if !told {
            told = true;
            tracing::warn!(socket = %socket.display(), why, "waiting for containerd");
        }
        tokio::time::sleep(LOOK_EVERY).await;
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

    /// Puts a log aside that has become long. containerd goes on writing where the file then ends, as it appends.
    fn put_log_aside(&self) {
        let log = self.log();
        if std::fs::metadata(&log).map_or(0, |about| about.len()) <= MAX_LOG_BYTES {
            return;
        }
        let aside = std::fs::copy(&log, self.dir.join("containerd.log.1"));
        let aside = aside.and_then(|_| std::fs::OpenOptions::new().write(true).open(&log)?.set_len(0));
        if let Err(error) = aside {
            tracing::warn!(log = %log.display(), %error, "the log of the private containerd cannot be put aside");
        }
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

/// Starts the private containerd again whenever it dies, until told to stop. Containers outlive it meanwhile.
async fn keep_running(paths: Paths, mut child: Child, pid: Arc<AtomicI32>, mut stopped: watch::Receiver<bool>) {
    let mut pause = RESTART_PAUSE.0;
    loop {
        let began = Instant::now();
        let ended = loop {
            match tokio::time::timeout(LOOK_AT_LOG_EVERY, child.wait()).await {
                Ok(ended) => break ended,
                Err(_) => paths.put_log_aside(),
            }
        };
        if *stopped.borrow() {
            return;
        }
        if began.elapsed() >= RAN_WELL {
            pause = RESTART_PAUSE.0;
        }
        tracing::warn!(
            ?ended, dir = %paths.dir.display(), again_in_ms = pause.as_millis(),
            "private containerd ended; starting it again"
        );
        loop {
            let told = tokio::time::timeout(pause, stopped.wait_for(|stop| *stop)).await;
            if told.is_ok() {
                return;
            }
            pause = (pause * 2).min(RESTART_PAUSE.1);
            paths.put_log_aside();
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
    fn log_that_has_become_long_is_put_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        std::fs::create_dir_all(&paths.dir).unwrap();
        std::fs::write(paths.log(), "short").unwrap();
        paths.put_log_aside();
        assert_eq!(std::fs::read(paths.log()).unwrap(), b"short");
        let long = vec![b'x'; usize::try_from(MAX_LOG_BYTES).unwrap() + 1];
        std::fs::write(paths.log(), &long).unwrap();
        paths.put_log_aside();
        assert_eq!(std::fs::read(paths.log()).unwrap(), b"");
        assert_eq!(std::fs::read(paths.dir.join("containerd.log.1")).unwrap(), long);
    }

    #[tokio::test]
    async fn host_whose_containerd_is_away_starts_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let options = ContainerdOptions {
            socket: dir.path().join("containerd.sock"),
            ..ContainerdOptions::under(&dir.path().join("data"))
        };
        let remembered = Remembered {
            socket: options.socket.clone(),
            is_private: false,
        };
        remembered.save(&options.data_dir).unwrap();
        assert_eq!(Remembered::load(&options.data_dir), Ok(Some(remembered)));
        let waiting = tokio::time::timeout(Duration::from_millis(700), Containerd::of_host(&options)).await;
        assert!(waiting.is_err(), "it waits");
        assert!(!options.has_been_used(), "no private one was begun");
    }

    #[test]
    fn toml_string_with_quotes_is_escaped() {
        assert_eq!(toml_string(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
