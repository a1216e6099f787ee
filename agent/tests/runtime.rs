//! The containerd runtime on a real, private containerd: running, limiting, stopping and finding again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::{Duration, Instant};

use berth_agent::logs::reader;
use berth_agent::runtime::containerd::{Containerd, ContainerdOptions};
use berth_agent::runtime::{ContainerKey, CreateContainer, FoundStatus, Runtime, RuntimeError};
use berth_core::model::{CpuUnits, MemoryMib};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{can_run, host, script, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_with_settings_runs_as_they_say_and_reports_its_exit_code() {
    if !can_run() {
        return;
    }
    let host = host("settings").await;
    let mut task = script("id -u; id -g; id -G; pwd; echo $A $FROM_IMAGE; cat /proc/self/cgroup; exit 7");
    task.containers[0].user = Some("web".to_owned());
    task.containers[0].working_directory = Some("/www".to_owned());
    task.containers[0].environment = vec![("A".to_owned(), "b".to_owned())];
    let (exit, log) = host.run_to_end(&task).await;
    assert_eq!((exit.exit_code, exit.reason), (Some(7), None));
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..5], ["100", "101", "101 50", "/www", "b 1"], "{log}");
    assert!(log.contains(&format!("/berth/{}/main", task.task)), "{log}");

    let mut missing = script("");
    missing.containers[0].command = vec!["/no/such/program".to_owned()];
    let network = host.set_up(&missing).await;
    let request = CreateContainer {
        task: &missing,
        container: &missing.containers[0],
        network: &network,
        agent_environment: &[],
    };
    let error = host.runtime.create_container(request).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::CannotStartContainer(why) if why.contains("/no/such/program")),
        "{error}"
    );

    let mut nobody = script("true");
    nobody.containers[0].user = Some("nobody".to_owned());
    let request = CreateContainer {
        task: &nobody,
        container: &nobody.containers[0],
        network: &network,
        agent_environment: &[],
    };
    let error = host.runtime.create_container(request).await.unwrap_err().to_string();
    assert!(
        error.starts_with("CannotCreateContainerError: unable to find user nobody"),
        "{error}"
    );
    assert!(
        host.runtime.list().await.unwrap().is_empty(),
        "what failed leaves nothing behind"
    );
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_with_limits_is_held_to_them_and_an_out_of_memory_kill_is_named() {
    if !can_run() {
        return;
    }
    let host = host("limits").await;
    let mut task = script("sleep 1000");
    task.cpu = Some(CpuUnits(512));
    task.memory = Some(MemoryMib(128));
    task.containers[0].cpu = CpuUnits(256);
    task.containers[0].memory = Some(MemoryMib(64));
    task.containers[0].memory_reservation = Some(MemoryMib(32));
    let (key, _) = host.run(&task).await;
    let read = |controller: &str, path: &str| {
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let base = if unified {
            "/sys/fs/cgroup".to_owned()
        } else {
            format!("/sys/fs/cgroup/{controller}")
        };
        let (v1, v2) = path.split_once('|').unwrap();
        let file = format!("{base}/berth/{}", if unified { v2 } else { v1 });
        std::fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{file}: {e}"))
            .trim()
            .to_owned()
    };
    let id = task.task;
    let bytes = |mib: u64| (mib << 20).to_string();
    let hard = format!("{id}/main/memory.limit_in_bytes|{id}/main/memory.max");
    assert_eq!(read("memory", &hard), bytes(64));
    let soft = format!("{id}/main/memory.soft_limit_in_bytes|{id}/main/memory.low");
    assert_eq!(read("memory", &soft), bytes(32));
    assert_eq!(
        read("memory", &format!("{id}/memory.limit_in_bytes|{id}/memory.max")),
        bytes(128)
    );
    let quota = read("cpu", &format!("{id}/cpu.cfs_quota_us|{id}/cpu.max"));
    assert!(quota.starts_with("50000"), "{quota}");
    host.runtime.kill_container(&key).await.unwrap();
    assert_eq!(host.wait(&key).await.exit_code, Some(137));

    let mut hungry = script("dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo survived");
    hungry.containers[0].memory = Some(MemoryMib(16));
    hungry.containers[0].command = ["/bin/dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60"]
        .map(str::to_owned)
        .to_vec();
    let (exit, _) = host.run_to_end(&hungry).await;
    assert_eq!(exit.exit_code, Some(137));
    assert!(
        exit.reason
            .as_deref()
            .unwrap_or_default()
            .starts_with("OutOfMemoryError"),
        "{exit:?}"
    );
    host.runtime.delete_container(&key).await.unwrap();
    host.runtime.tear_down_network(id).await.unwrap();
    let memory = std::path::Path::new("/sys/fs/cgroup/memory/berth").join(id.to_string());
    assert!(!memory.exists(), "the task's control group is gone");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_asked_to_stop_gets_sigterm_and_one_that_ignores_it_can_be_killed() {
    if !can_run() {
        return;
    }
    let host = host("stop").await;
    let polite = script("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let stubborn = script("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    let (polite_key, _) = host.run(&polite).await;
    let (stubborn_key, started) = host.run(&stubborn).await;
    for key in [&polite_key, &stubborn_key] {
        let log = host.runtime.log_directory(key).unwrap();
        until("a log line", async || {
            berth_agent::logs::reader::tail(&log, 1, 1 << 20)
                .unwrap()
                .lines
                .pop()
                .filter(|l| l.line == "ready")
        })
        .await;
        host.runtime.stop_container(key).await.unwrap();
    }
    assert_eq!(host.wait(&polite_key).await.exit_code, Some(3));
    let pid = Pid::from_raw(i32::try_from(started.pid).unwrap());
    assert!(kill(pid, None).is_ok(), "the stubborn one still runs");
    host.runtime.kill_container(&stubborn_key).await.unwrap();
    assert_eq!(host.wait(&stubborn_key).await.exit_code, Some(137));

    // Every order can be repeated, also for what never was.
    let never = ContainerKey::new(script("").task, "never");
    for key in [&polite_key, &stubborn_key, &never] {
        host.runtime.stop_container(key).await.unwrap();
        host.runtime.kill_container(key).await.unwrap();
        host.runtime.delete_container(key).await.unwrap();
        host.runtime.delete_container(key).await.unwrap();
    }
    let gone = within("an answer", host.runtime.wait_container(&never)).await;
    assert!(matches!(gone, Err(RuntimeError::NoSuchContainer(_))), "{gone:?}");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_is_found_again_by_a_restarted_agent_and_through_a_killed_containerd() {
    if !can_run() {
        return;
    }
    let host = host("again").await;
    let task = script("while [ ! -e /tmp/end ]; do sleep 0.05; done; echo ended; exit 5");
    let network = host.set_up(&task).await;
    let request = || CreateContainer {
        task: &task,
        container: &task.containers[0],
        network: &network,
        agent_environment: &[],
    };
    let key = request().key();
    host.runtime.create_container(request()).await.unwrap();
    host.runtime.create_container(request()).await.unwrap();
    assert_eq!(host.runtime.list().await.unwrap()[0].status, FoundStatus::Created);
    let started = host.runtime.start_container(&key).await.unwrap();
    assert_eq!(
        host.runtime.start_container(&key).await.unwrap(),
        started,
        "starting again changes nothing"
    );

    let restarted = host.reopen().await;
    let found = restarted.list().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].key, &found[0].status),
        (&key, &FoundStatus::Running(started.pid))
    );

    let waiting = tokio::spawn({
        let key = key.clone();
        async move { restarted.wait_container(&key).await }
    });
    let pid = host.containerd.private_pid().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    std::fs::write(format!("/proc/{}/root/tmp/end", started.pid), "").unwrap();
    let exit = within("the end through containerd's restart", waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((exit.exit_code, exit.reason), (Some(5), None));
    assert_ne!(host.containerd.private_pid(), Some(pid), "containerd was started again");
    let log = berth_agent::logs::reader::tail(&host.runtime.log_directory(&key).unwrap(), 1, 1 << 20).unwrap();
    assert_eq!(log.lines[0].line, "ended", "the log outlived containerd");

    // A watcher that died takes the exit code with it, and that is said.
    let (lost, running) = host.run(&script("sleep 1000")).await;
    let shim = parent_of(running.pid);
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    let exit = host.wait(&lost).await;
    assert!(exit.exit_code.is_none_or(|code| code == 137), "{exit:?}");
    host.end().await;
}

fn parent_of(pid: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_host_cleaned_up_leave_nothing_on_the_machine() {
    if !can_run() {
        return;
    }
    let host = host("clean").await;
    let mut pids = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let task = script("sleep 1000");
        pids.push(host.run(&task).await.1.pid);
        tasks.push(task.task);
    }
    let shims: Vec<i32> = pids.iter().map(|pid| parent_of(*pid)).collect();
    let began = Instant::now();
    host.end().await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "cleaning up took {:?}",
        began.elapsed()
    );
    for pid in pids.iter().map(|p| i32::try_from(*p).unwrap()).chain(shims) {
        until("the process's end", async || {
            kill(Pid::from_raw(pid), None).is_err().then_some(())
        })
        .await;
    }
    for task in tasks {
        assert!(
            !std::path::Path::new("/sys/fs/cgroup/memory/berth")
                .join(task.to_string())
                .exists()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_that_writes_much_keeps_its_newest_lines_in_rotated_files() {
    if !can_run() {
        return;
    }
    let host = host("logs").await;
    // 500,000 lines of about 80 bytes each as records: 40 MB, of which three files of 10 MiB stay.
    let task = script("seq 1 500000; echo complaint >&2; head -c 100000 /dev/zero; printf 'no line end'");
    let (key, _) = host.run(&task).await;
    assert_eq!(host.wait(&key).await.exit_code, Some(0));
    host.runtime.delete_container(&key).await.unwrap();
    let directory = host.runtime.log_directory(&key).unwrap();
    let sizes: Vec<u64> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|f| f.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(
        sizes.iter().all(|s| *s <= berth_agent::logs::MAX_FILE_BYTES),
        "{sizes:?}"
    );
    let page = berth_agent::logs::reader::tail(&directory, 100_000, 1 << 24).unwrap();
    let lines: Vec<&str> = page.lines.iter().map(|l| l.line.as_str()).collect();
    assert!(lines.contains(&"500000") && lines.contains(&"complaint"));
    assert!(lines.last().unwrap().ends_with("no line end"));
    assert!(
        page.lines.iter().any(|l| l.partial),
        "a line longer than the bound is split"
    );
    host.runtime.tear_down_network(task.task).await.unwrap();
    host.runtime.forget_logs(task.task).await.unwrap();
    assert!(!directory.exists());
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_started_again_has_its_files_its_name_and_its_log() {
    if !can_run() {
        return;
    }
    let host = host("again").await;
    let task = script(
        "echo run >> /tmp/runs; cat /tmp/runs; [ \"$(cat /tmp/runs)\" != \"$(printf 'run\\nrun\\nrun')\" ] || sleep 1000; exit 5",
    );
    let (key, first) = host.run(&task).await;
    for _ in 0..2 {
        assert_eq!(host.wait(&key).await.exit_code, Some(5));
        let again = host.runtime.restart_container(&key).await.unwrap();
        assert_eq!(again.runtime_id, first.runtime_id);
    }
    let running = async || {
        let found = host.runtime.list().await.unwrap();
        let FoundStatus::Running(pid) = found[0].status else {
            return None;
        };
        Some(pid)
    };
    let pid = until("the third run", running).await;
    let same = host.runtime.restart_container(&key).await.unwrap();
    assert_eq!(same.pid, pid, "what runs is left as it is");
    until("the log of all runs", async || {
        let log = reader::tail(&host.runtime.log_directory(&key).unwrap(), 100, 1 << 16).unwrap();
        (log.lines.len() == 6).then_some(())
    })
    .await;
    host.runtime.kill_container(&key).await.unwrap();
    host.wait(&key).await;
    host.runtime.delete_container(&key).await.unwrap();
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn container_makes_the_calls_of_programs_and_is_refused_those_that_reach_beyond_it() {
    if !can_run() {
        return;
    }
    let host = host("calls").await;
    let text = "grep ^Seccomp: /proc/self/status; chroot / /bin/true && echo chroot; unshare -U true || echo refused; \
                (sleep 0; echo child) | cat; httpd -h /www -p 127.0.0.1:0 && echo socket";
    let mut task = script(text);
    task.network_mode = berth_core::model::NetworkMode::None;
    let (exit, log) = host.run_to_end(&task).await;
    assert_eq!(exit.exit_code, Some(0), "{log}");
    let said: Vec<&str> = log.lines().filter(|line| !line.starts_with("unshare:")).collect();
    assert_eq!(said, ["Seccomp:\t2", "chroot", "refused", "child", "socket"], "{log}");
    assert!(log.contains("Operation not permitted"), "{log}");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_waits_for_the_containerd_that_has_its_containers_and_starts_no_other() {
    if !can_run() {
        return;
    }
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut machine = ContainerdOptions::under(theirs.path());
    machine.always_private = true;
    let running = Containerd::connect_or_start(&machine).await.unwrap();
    let options = ContainerdOptions {
        socket: running.socket().to_owned(),
        ..ContainerdOptions::under(ours.path())
    };
    let first = Containerd::of_host(&options).await.unwrap();
    assert!(!first.is_private());
    running.shut_down().await;
    // The machine boots: the agent is there before containerd is.
    let (again, back) = tokio::join!(Containerd::of_host(&options), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Containerd::connect_or_start(&machine).await.unwrap()
    });
    assert!(!again.unwrap().is_private());
    assert!(!options.has_been_used());
    back.shut_down().await;

    // A host that began with a private one stays with it.
    let options = ContainerdOptions {
        socket: theirs.path().join("none.sock"),
        ..ContainerdOptions::under(ours.path())
    };
    let private = Containerd::of_host(&options).await.unwrap();
    assert!(private.is_private());
    private.shut_down().await;
    std::os::unix::net::UnixListener::bind(&options.socket).unwrap();
    let private = Containerd::of_host(&options).await.unwrap();
    assert!(private.is_private());
    private.shut_down().await;
}
