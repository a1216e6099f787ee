//! A host on a private containerd with a small image, for tests.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of tests may fail them"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_agent::logs::reader;
use berth_agent::runtime::containerd::{Containerd, ContainerdOptions, ContainerdRuntime, HostOptions};
use berth_agent::runtime::{ContainerExit, ContainerKey, CreateContainer, Runtime, StartedContainer, TaskNetwork};
use berth_core::model::{ContainerSpec, CpuUnits, NetworkMode, PortMapping, TaskId, TaskSpec, TransportProtocol};
use tempfile::TempDir;

/// Name of the image that every host has.
pub(crate) const IMAGE: &str = "test/busybox:1";
/// No test waits longer for one thing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

static TASKS: AtomicU64 = AtomicU64::new(1);

/// Whether the test can run: without root there are no containers. All else that is missing fails the test.
pub(crate) fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not run: containers take root");
    }
    root
}

/// A directory, a private containerd in it, and a host on that.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
    pub(crate) containerd: Containerd,
    pub(crate) options: HostOptions,
    pub(crate) runtime: ContainerdRuntime,
}

pub(crate) async fn host(agent: &str) -> Host {
    host_with(agent, |_| {}).await
}

pub(crate) async fn host_with(agent: &str, adjust: impl FnOnce(&mut HostOptions)) -> Host {
    let dir = tempfile::Builder::new().prefix("berth-test-").tempdir().unwrap();
    let mut wanted = ContainerdOptions::under(dir.path());
    wanted.always_private = true;
    let containerd = Containerd::connect_or_start(&wanted)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let mut options = HostOptions::new(&format!("{agent}-{}", std::process::id()), &dir.path().join("host"));
    options.log_program = Some(log_program());
    adjust(&mut options);
    let runtime = ContainerdRuntime::open(&containerd, options.clone()).await.unwrap();
    let image = image_directory(dir.path());
    runtime.images().import(&image, IMAGE).await.unwrap();
    Host {
        dir,
        containerd,
        options,
        runtime,
    }
}

impl Host {
    /// A second runtime on the same host, as after a restart of the agent.
    pub(crate) async fn reopen(&self) -> ContainerdRuntime {
        ContainerdRuntime::open(&self.containerd, self.options.clone())
            .await
            .unwrap()
    }

    pub(crate) async fn set_up(&self, task: &TaskSpec) -> TaskNetwork {
        self.runtime
            .set_up_network(task)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Creates and starts the first container.
    pub(crate) async fn run(&self, task: &TaskSpec) -> (ContainerKey, StartedContainer) {
        let network = self.set_up(task).await;
        let request = CreateContainer {
            task,
            container: &task.containers[0],
            network: &network,
            agent_environment: &[],
        };
        let key = request.key();
        self.runtime
            .create_container(request)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let started = self
            .runtime
            .start_container(&key)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        (key, started)
    }

    pub(crate) async fn wait(&self, key: &ContainerKey) -> ContainerExit {
        within("the container's end", self.runtime.wait_container(key))
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs the first container to its end; its exit and what it wrote.
    pub(crate) async fn run_to_end(&self, task: &TaskSpec) -> (ContainerExit, String) {
        let (key, _) = self.run(task).await;
        let exit = self.wait(&key).await;
        self.runtime.delete_container(&key).await.unwrap();
        let log = reader::tail(&self.runtime.log_directory(&key).unwrap(), 10_000, 1 << 24).unwrap();
        (exit, log.lines.iter().map(|l| format!("{}\n", l.line)).collect())
    }

    /// Removes everything and ends containerd; what is left is named.
    pub(crate) async fn end(self) {
        self.runtime.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
        self.containerd.shut_down().await;
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let dir = self.dir.path().display().to_string();
        let left: Vec<&str> = mounts.lines().filter(|l| l.contains(&dir)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
    }
}

/// Fails the test if `future` takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than {DEADLINE:?}"))
}

/// Asks again until the answer is there.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// A task of one container that runs a shell script in the host's network.
pub(crate) fn script(text: &str) -> TaskSpec {
    let container = ContainerSpec {
        name: "main".to_owned(),
        image: IMAGE.to_owned(),
        cpu: CpuUnits(64),
        memory: None,
        memory_reservation: None,
        essential: true,
        entry_point: vec![],
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
        environment: vec![],
        working_directory: None,
        user: None,
        port_mappings: vec![],
        stop_timeout_secs: 30,
        docker_labels: BTreeMap::new(),
        restart_policy: None,
        health_check: None,
        depends_on: vec![],
        start_timeout_secs: None,
    };
    let unique = (u128::from(std::process::id()) << 64) | u128::from(TASKS.fetch_add(1, Ordering::SeqCst));
    TaskSpec {
        task: TaskId(unique),
        task_arn: format!("arn:aws:ecs:us-east-1:123456789012:task/test/{}", TaskId(unique)),
        cluster: "test".to_owned(),
        family: "test".to_owned(),
        revision: 1,
        network_mode: NetworkMode::Host,
        cpu: None,
        memory: None,
        fargate: false,
        containers: vec![container],
    }
}

/// The task in bridge mode with one port.
pub(crate) fn with_port(mut task: TaskSpec, container_port: u16, host_port: Option<u16>) -> TaskSpec {
    task.network_mode = NetworkMode::Bridge;
    let protocol = TransportProtocol::Tcp;
    task.containers[0].port_mappings.push(PortMapping {
        container_port,
        host_port,
        protocol,
        name: None,
    });
    task
}

/// A directory with a root file system of busybox, as `berth image import` takes it.
pub(crate) fn image_directory(parent: &Path) -> PathBuf {
    let directory = parent.join("image");
    let root = directory.join("rootfs");
    for sub in ["bin", "etc", "tmp", "www", "proc", "dev", "sys"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).is_file());
    std::fs::copy(busybox.expect("install busybox-static"), root.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "sleep", "cat", "id", "pwd", "echo", "httpd", "dd", "env", "true", "hostname", "seq", "wget", "unshare",
        "grep", "chroot",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\nweb:x:100:101:web:/www:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:101:\nlogs:x:50:web\n").unwrap();
    std::fs::write(root.join("www/index.html"), "hello from a container\n").unwrap();
    std::fs::write(
        directory.join("config.json"),
        r#"{"Cmd":["/bin/sleep","1000"],"Env":["FROM_IMAGE=1"]}"#,
    )
    .unwrap();
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(directory.join("rootfs.tar"))
        .arg(".")
        .status();
    assert!(packed.unwrap().success(), "tar failed");
    directory
}

/// The log writer, which cargo builds as an example before it runs tests.
fn log_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/container_log");
    assert!(
        program.is_file(),
        "build the log writer first: cargo build -p berth-agent --examples"
    );
    program
}
