//! An agent with real containers, against a controller that the test plays over real gRPC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod support;

use std::path::Path;
use std::sync::Arc;

use berth_agent::runtime::{FoundStatus, Runtime};
use berth_agent::{AgentConfig, FileLogs};
use berth_core::model::{StopCode, TaskStatus};
use berth_proto::v1::{self, from_agent, to_agent};
use common::{Controller, ControllerSession, TestAgent, to_run, to_stop};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Host, script, with_port};

/// An agent as after a start of its process: nothing of an earlier one is left in memory.
async fn start(controller: &Controller, host: &Host, data_dir: &Path) -> (TestAgent, Arc<dyn Runtime>) {
    let runtime: Arc<dyn Runtime> = Arc::new(host.reopen().await);
    let config = AgentConfig {
        data_dir: Some(data_dir.to_owned()),
        ..common::config(&controller.endpoint)
    };
    let logs = Arc::new(FileLogs::new(Arc::clone(&runtime)));
    (TestAgent::start_on(config, Arc::clone(&runtime), logs).await, runtime)
}

async fn pid(runtime: &dyn Runtime) -> u32 {
    let found = runtime.list().await.unwrap();
    match found.as_slice() {
        [container] => match container.status {
            FoundStatus::Running(pid) => pid,
            ref other => panic!("the container is {other:?}"),
        },
        others => panic!("expected one container, found {others:?}"),
    }
}

async fn log_of(session: &mut ControllerSession, task: &str) -> String {
    let request = v1::LogRequest {
        request_id: 1,
        task_id: task.to_owned(),
        container: "main".to_owned(),
        position: String::new(),
        tail: 5,
        max_bytes: 1 << 16,
        wait_ms: 10_000,
    };
    session.send(to_agent::Message::LogRequest(request)).await;
    match session.receive().await {
        from_agent::Message::LogReply(reply) => {
            assert_eq!(reply.error, "");
            let lines = reply.lines.iter();
            lines
                .map(|line| String::from_utf8_lossy(&line.message).into_owned())
                .collect()
        }
        other => panic!("expected a log reply, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn task_on_containerd_outlives_its_agent_and_its_end_is_told_with_its_code() {
    if !support::can_run() {
        return;
    }
    let host = support::host("agent").await;
    let data_dir = host.dir.path().join("agent");
    let mut controller = Controller::start().await;
    let (agent, runtime) = start(&controller, &host, &data_dir).await;
    let mut session = controller.registered().await;
    let spec = with_port(script("echo hello from the task; exec sleep 600"), 80, None);
    session.assign(2, true, vec![to_run(&spec)]).await;
    let running = session.until(spec.task, TaskStatus::Running).await;
    assert_eq!(running.containers[0].network_bindings[0].container_port, 80);
    assert!(running.containers[0].runtime_id.is_some() && running.containers[0].image_digest.is_some());
    assert_eq!(
        log_of(&mut session, &spec.task.to_string()).await,
        "hello from the task"
    );
    let before = pid(&*runtime).await;
    drop((session, runtime));
    agent.stop().await;

    let (agent, runtime) = start(&controller, &host, &data_dir).await;
    let mut session = controller.registered().await;
    assert_eq!(session.registered_reports()[0].status, TaskStatus::Running);
    session.assign(2, true, vec![to_run(&spec)]).await;
    assert_eq!(pid(&*runtime).await, before, "the container was not restarted");
    kill(Pid::from_raw(i32::try_from(before).unwrap()), Signal::SIGKILL).unwrap();
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::EssentialContainerExited));
    let reason = stopped.stopped_reason.unwrap();
    assert_eq!(reason, "Essential container in task exited (exit code 137)");
    assert!(runtime.list().await.unwrap().is_empty());
    assert_eq!(
        log_of(&mut session, &spec.task.to_string()).await,
        "hello from the task",
        "logs outlive the task"
    );
    drop((session, runtime));
    agent.stop().await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn task_on_containerd_that_ends_while_its_agent_is_away_is_told_with_its_code() {
    if !support::can_run() {
        return;
    }
    let host = support::host("away").await;
    let data_dir = host.dir.path().join("agent");
    let mut controller = Controller::start().await;
    let (agent, runtime) = start(&controller, &host, &data_dir).await;
    let mut session = controller.registered().await;
    let spec = script("trap 'exit 5' TERM; while true; do sleep 0.1; done");
    session.assign(2, true, vec![to_run(&spec)]).await;
    session.until(spec.task, TaskStatus::Running).await;
    let process = pid(&*runtime).await;
    drop((session, runtime));
    agent.stop().await;
    kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGTERM).unwrap();
    support::until("the end of the container's process", async || {
        (!Path::new(&format!("/proc/{process}")).exists()).then_some(())
    })
    .await;

    let (agent, runtime) = start(&controller, &host, &data_dir).await;
    let mut session = controller.registered().await;
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(5));
    drop((session, runtime));
    agent.stop().await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn task_on_containerd_is_stopped_and_one_without_an_image_fails_to_start() {
    if !support::can_run() {
        return;
    }
    let host = support::host("stops").await;
    let mut controller = Controller::start().await;
    let (agent, runtime) = start(&controller, &host, &host.dir.path().join("agent")).await;
    let mut session = controller.registered().await;
    let spec = script("trap 'exit 7' TERM; while true; do sleep 0.1; done");
    let mut no_image = script("true");
    no_image.containers[0].image = "127.0.0.1:1/nothing:here".to_owned();
    session.assign(2, true, vec![to_run(&spec), to_run(&no_image)]).await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 2 {
        let (sequence, reports) = session.reports().await;
        session.record(sequence).await;
        for report in reports {
            if [TaskStatus::Running, TaskStatus::Stopped].contains(&report.status) {
                seen.insert(report.task, report);
            }
        }
    }
    assert_eq!(seen[&spec.task].status, TaskStatus::Running);
    let failed = &seen[&no_image.task];
    assert_eq!(failed.stop_code, Some(StopCode::TaskFailedToStart));
    let reason = failed.stopped_reason.clone().unwrap();
    assert!(
        reason.starts_with("Task failed to start: CannotPullContainerError: "),
        "{reason}"
    );
    session.assign(3, false, vec![to_stop(&spec)]).await;
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(7));
    drop((session, runtime));
    agent.stop().await;
    host.end().await;
}
