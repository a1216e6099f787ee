//! What becomes of tasks on an agent with pretended containers, against a controller that the test plays over real gRPC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use berth_agent::runtime::{ContainerKey, FoundStatus, Runtime as _, SimulatedRuntime};
use berth_core::model::{
    ContainerStatus, HealthCheck, HealthStatus, PortMapping, Ports, RestartPolicy, StopCode, TaskId, TaskStatus,
    TransportProtocol,
};
use berth_proto::v1::{from_agent, to_agent};
use common::{Controller, PATIENCE, SETTINGS, TestAgent, config, task, to_run, to_stop};

fn main_of(task: u128) -> ContainerKey {
    ContainerKey::new(TaskId(task), "main")
}

#[tokio::test]
async fn task_assigned_runs_and_stops_when_that_is_wanted() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    let spec = task(1, &[]);
    session.assign(2, true, vec![to_run(&spec)]).await;
    let running = session.until(spec.task, TaskStatus::Running).await;
    assert_eq!(running.containers[0].status, ContainerStatus::Running);
    assert!(
        running.containers[0]
            .image_digest
            .as_ref()
            .is_some_and(|d| d.starts_with("sha256:"))
    );
    assert!(running.pull_started_at <= running.pull_stopped_at && running.pull_stopped_at <= running.started_at);
    session.assign(3, false, vec![to_stop(&spec)]).await;
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(143));
    assert_eq!(
        (stopped.stop_code, stopped.stopped_reason),
        (None, None),
        "the controllers' own reason stands"
    );
    assert!(runtime.list().await.unwrap().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn task_of_two_hundred_on_one_host_all_run() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.registered().await;
    session
        .assign(2, true, (1..=200).map(|id| to_run(&task(id, &[]))).collect())
        .await;
    let mut running = std::collections::BTreeSet::new();
    while running.len() < 200 {
        let (sequence, reports) = session.reports().await;
        session.record(sequence).await;
        running.extend(
            reports
                .iter()
                .filter(|r| r.status == TaskStatus::Running)
                .map(|r| r.task),
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn essential_container_killed_is_reported_with_its_exit_code() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    runtime.end(&main_of(1), 137).unwrap();
    let stopped = session.until(TaskId(1), TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(
        stopped.stopped_reason.as_deref(),
        Some("Essential container in task exited (exit code 137)")
    );
    agent.stop().await;
}

#[tokio::test]
async fn container_is_started_again_as_its_policy_says_without_a_controller() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    let mut spec = task(1, &[]);
    spec.containers[0].restart_policy = Some(RestartPolicy {
        enabled: true,
        ignored_exit_codes: vec![9],
        attempt_period_secs: Some(0),
    });
    session.assign(2, true, vec![to_run(&spec)]).await;
    session.until(spec.task, TaskStatus::Running).await;
    drop(session);
    for _ in 0..3 {
        runtime.end(&main_of(1), 1).unwrap();
        wait_until_running(&runtime, 1).await;
    }
    let mut session = controller.registered().await;
    assert_eq!(session.registered_reports()[0].status, TaskStatus::Running);
    runtime.end(&main_of(1), 9).unwrap();
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(9));
    agent.stop().await;
}

#[tokio::test]
async fn port_that_a_foreign_program_holds_is_told_before_its_task_has_failed_and_until_it_is_free() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    runtime.hold_ports([(TransportProtocol::Tcp, 80)].into());
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    let mut spec = task(1, &[]);
    spec.containers[0].port_mappings = vec![PortMapping {
        container_port: 8080,
        host_port: Some(80),
        protocol: TransportProtocol::Tcp,
        name: None,
    }];
    session.assign(2, true, vec![to_run(&spec)]).await;
    let told = loop {
        match session.receive_any().await {
            from_agent::Message::Heartbeat(heartbeat) if !heartbeat.foreign_ports.is_empty() => break heartbeat,
            from_agent::Message::TaskReports(batch) => {
                assert!(
                    batch
                        .reports
                        .iter()
                        .all(|bytes| common::report(bytes).status < TaskStatus::Stopped)
                );
                session.record(batch.sequence).await;
            }
            _ => {}
        }
    };
    assert_eq!(told.foreign_ports[0].port, 80);
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert!(stopped.stopped_reason.unwrap().contains("held by a program"));
    runtime.hold_ports(Ports::new());
    loop {
        if let from_agent::Message::Heartbeat(heartbeat) = session.receive_any().await {
            session.send(to_agent::Message::HostSettings(SETTINGS)).await;
            if heartbeat.foreign_ports.is_empty() {
                break;
            }
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn container_that_cannot_start_fails_its_task_with_the_reason() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.registered().await;
    session
        .assign(
            2,
            true,
            vec![to_run(&task(1, &[("BERTH_SIM_START_ERROR", "no such file")]))],
        )
        .await;
    let stopped = session.until(TaskId(1), TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::TaskFailedToStart));
    let reason = stopped.stopped_reason.unwrap();
    assert_eq!(reason, "Task failed to start: CannotStartContainerError: no such file");
    agent.stop().await;
}

#[tokio::test]
async fn container_that_ignores_its_stop_signal_is_killed_after_its_timeout() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.registered().await;
    let spec = task(1, &[("BERTH_SIM_IGNORE_STOP", "1")]);
    session.assign(2, true, vec![to_run(&spec)]).await;
    session.until(spec.task, TaskStatus::Running).await;
    session.assign(3, false, vec![to_stop(&spec)]).await;
    let stopped = session.until(spec.task, TaskStatus::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(137));
    agent.stop().await;
}

#[tokio::test]
async fn agent_restarted_finds_its_containers_running() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let folder = tempfile::tempdir().unwrap();
    let config = || berth_agent::AgentConfig {
        data_dir: Some(folder.path().into()),
        ..config(&controller.endpoint)
    };
    let (first, second) = (config(), config());
    let agent = TestAgent::start(first, &runtime).await;
    let session = controller.registered().await;
    let id = session.register.agent_id.clone();
    session
        .assign(2, true, (1..=3).map(|id| to_run(&task(id, &[]))).collect())
        .await;
    for id in 1..=3 {
        wait_until_running(&runtime, id).await;
    }
    drop(session);
    agent.stop().await;
    // While the agent is away: 1 runs on, 2 ends, 3 vanishes.
    runtime.end(&main_of(2), 3).unwrap();
    runtime.lose(&main_of(3));

    let agent = TestAgent::start(second, &runtime).await;
    let mut session = controller.registered().await;
    assert_eq!(session.register.agent_id, id);
    session
        .assign(2, true, (1..=3).map(|id| to_run(&task(id, &[]))).collect())
        .await;
    let mut stopped = std::collections::BTreeMap::new();
    while stopped.len() < 2 {
        let (sequence, reports) = session.reports().await;
        session.record(sequence).await;
        assert!(
            reports
                .iter()
                .all(|r| r.task != TaskId(1) || r.status <= TaskStatus::Running)
        );
        stopped.extend(
            reports
                .into_iter()
                .filter(|r| r.status == TaskStatus::Stopped)
                .map(|r| (r.task.0, r)),
        );
    }
    assert_eq!(stopped[&2].containers[0].exit_code, Some(3));
    assert_eq!(stopped[&3].containers[0].exit_code, None);
    assert!(
        stopped[&3]
            .stopped_reason
            .as_ref()
            .unwrap()
            .contains("exit code unknown")
    );
    let left = runtime.list().await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].key == main_of(1) && matches!(left[0].status, FoundStatus::Running(_)));
    agent.stop().await;
}

async fn wait_until_running(runtime: &SimulatedRuntime, task: u128) {
    let is_running = async || {
        let found = runtime.list().await.unwrap();
        found
            .iter()
            .any(|c| c.key == main_of(task) && matches!(c.status, FoundStatus::Running(_)))
    };
    tokio::time::timeout(PATIENCE, async {
        while !is_running().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the container runs");
}

#[tokio::test]
async fn agent_told_to_stop_all_tasks_leaves_no_container_and_takes_no_more() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session
        .assign(2, true, vec![to_run(&task(1, &[])), to_run(&task(2, &[]))])
        .await;
    session.until(TaskId(1), TaskStatus::Running).await;
    assert_eq!(agent.handle.stop_tasks(PATIENCE).await, 0);
    assert!(runtime.list().await.unwrap().is_empty());
    session
        .assign(3, false, vec![to_run(&task(3, &[])), to_stop(&task(4, &[]))])
        .await;
    session.until(TaskId(4), TaskStatus::Stopped).await;
    assert!(runtime.list().await.unwrap().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn health_of_a_task_is_reported_when_it_changes_and_survives_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let mut settings = config(&controller.endpoint);
    settings.data_dir = Some(dir.path().to_owned());
    let agent = TestAgent::start(settings.clone(), &runtime).await;
    let mut session = controller.registered().await;
    let mut spec = task(
        1,
        &[
            ("BERTH_SIM_HEALTHY_AFTER_MS", "500"),
            ("BERTH_SIM_UNHEALTHY_AFTER_MS", "4500"),
        ],
    );
    spec.containers[0].health_check = Some(HealthCheck {
        command: vec!["CMD".to_owned(), "check".to_owned()],
        interval_secs: 1,
        timeout_secs: 1,
        retries: 2,
        start_period_secs: None,
    });
    session.assign(2, true, vec![to_run(&spec)]).await;
    let running = session.until(spec.task, TaskStatus::Running).await;
    assert_eq!(running.health, Some(HealthStatus::Unknown));
    let (sequence, reports) = session.reports().await;
    session.record(sequence).await;
    assert_eq!(
        (reports.len(), reports[0].health, reports[0].containers[0].health),
        (1, Some(HealthStatus::Healthy), Some(HealthStatus::Healthy))
    );
    agent.stop().await;
    let agent = TestAgent::start(settings, &runtime).await;
    let mut session = controller.registered().await;
    session.assign(3, true, vec![to_run(&spec)]).await;
    let mut known = vec![];
    while known.last() != Some(&Some(HealthStatus::Unhealthy)) {
        let (sequence, reports) = session.reports().await;
        session.record(sequence).await;
        known.extend(reports.iter().map(|report| report.health));
    }
    assert!(!known.contains(&Some(HealthStatus::Unknown)), "{known:?}");
    agent.stop().await;
}
