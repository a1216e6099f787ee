//! Health checks in real containers, on a private containerd.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use berth_agent::runtime::{ContainerKey, ProbeResult, Runtime, RuntimeError};
use support::{Host, can_run, host, script, within};

const LONG: Duration = Duration::from_secs(30);

async fn probe(host: &Host, key: &ContainerKey, line: &str, limit: Duration) -> Result<ProbeResult, RuntimeError> {
    let arguments = ["/bin/sh", "-c", line].map(str::to_owned);
    within("a probe", host.runtime.probe_container(key, &arguments, limit)).await
}

/// Processes of this machine with this command line.
fn processes(line: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let wanted = format!("{}\0", line.replace(' ', "\0"));
    let matches =
        |path: std::path::PathBuf| std::fs::read_to_string(path.join("cmdline")).is_ok_and(|text| text == wanted);
    entries.filter(|entry| matches(entry.path())).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_runs_as_the_containers_process_does_and_tells_its_exit_code() {
    if !can_run() {
        return;
    }
    let host = host("probes").await;
    let mut task = script("exec sleep 1000");
    task.containers[0].user = Some("web".to_owned());
    task.containers[0].working_directory = Some("/www".to_owned());
    task.containers[0].environment = vec![("A".to_owned(), "b".to_owned())];
    let (key, _) = host.run(&task).await;
    let same = "/bin/busybox test \"$(id -u) $(pwd) $A $FROM_IMAGE\" = '100 /www b 1' || exit 9";
    assert_eq!(probe(&host, &key, same, LONG).await, Ok(ProbeResult::Exited(0)));
    assert_eq!(probe(&host, &key, "exit 3", LONG).await, Ok(ProbeResult::Exited(3)));
    // More than any buffer holds, which nobody reads.
    let noisy = "dd if=/dev/zero bs=1000000 count=20 2>&1";
    assert_eq!(probe(&host, &key, noisy, LONG).await, Ok(ProbeResult::Exited(0)));
    let missing = ["/no/such/program".to_owned()];
    let cannot = host.runtime.probe_container(&key, &missing, LONG).await;
    assert!(
        matches!(&cannot, Ok(ProbeResult::CannotRun(why)) if why.contains("/no/such/program")),
        "{cannot:?}"
    );
    host.runtime.kill_container(&key).await.unwrap();
    host.wait(&key).await;
    let gone = probe(&host, &key, "true", LONG).await;
    assert_eq!(gone, Err(RuntimeError::NoSuchContainer(key.to_string())));
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_that_does_not_end_is_killed_with_what_it_started() {
    if !can_run() {
        return;
    }
    let host = host("hangs").await;
    let (key, _) = host.run(&script("exec sleep 1000")).await;
    for _ in 0..2 {
        let hung = probe(&host, &key, "sleep 7654; true", Duration::from_secs(1)).await;
        assert_eq!(hung, Ok(ProbeResult::TimedOut));
        assert_eq!(processes("sleep 7654"), 0);
    }
    assert_eq!(probe(&host, &key, "true", LONG).await, Ok(ProbeResult::Exited(0)));
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_that_an_agent_left_behind_is_removed_by_the_next() {
    if !can_run() {
        return;
    }
    let host = host("left").await;
    let (key, _) = host.run(&script("exec sleep 1000")).await;
    let left = tokio::time::timeout(Duration::from_secs(1), probe(&host, &key, "sleep 6543; true", LONG)).await;
    assert!(left.is_err(), "whoever waited is gone");
    assert_eq!(processes("sleep 6543"), 1);
    assert_eq!(probe(&host, &key, "exit 4", LONG).await, Ok(ProbeResult::Exited(4)));
    assert_eq!(processes("sleep 6543"), 0);
    // One more is left, and goes with its container.
    let left = tokio::time::timeout(Duration::from_secs(1), probe(&host, &key, "sleep 6543; true", LONG)).await;
    assert!(left.is_err());
    host.runtime.delete_container(&key).await.unwrap();
    assert_eq!(processes("sleep 6543"), 0);
    host.end().await;
}
