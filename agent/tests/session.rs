//! The conversation of an agent with pretended containers and a controller that the test plays over real gRPC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use berth_agent::AgentError;
use berth_agent::runtime::{ContainerKey, Runtime as _, SimulatedRuntime};
use berth_core::model::{TaskId, TaskStatus};
use berth_proto::v1::{self, RefusalCode, from_agent, to_agent};
use common::{ARN, Controller, PATIENCE, SETTINGS, TestAgent, config, task, to_run, to_stop};

fn main_of(task: u128) -> ContainerKey {
    ContainerKey::new(TaskId(task), "main")
}

fn settings(heartbeat_interval_ms: u32) -> v1::HostSettings {
    v1::HostSettings {
        heartbeat_interval_ms,
        ..SETTINGS
    }
}

#[tokio::test]
async fn agent_registers_its_host_and_is_heard_regularly() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.session().await;
    assert_eq!(
        (session.register.account.as_str(), session.register.region.as_str()),
        ("123456789012", "us-east-1")
    );
    assert_eq!(session.register.cluster, "default");
    assert!(!session.register.agent_id.is_empty());
    let host = session.host();
    assert_eq!(host.attributes["ecs.availability-zone"].as_deref(), Some("us-east-1a"));
    assert_eq!(host.capacity.cpu.0, 2048);
    session.accept_with(ARN, 1, 1, settings(100)).await;
    for _ in 0..3 {
        assert!(matches!(session.receive_any().await, from_agent::Message::Heartbeat(_)));
        session.send(to_agent::Message::HostSettings(settings(100))).await;
    }
    let mut registration = agent.handle.registration();
    tokio::time::timeout(PATIENCE, registration.wait_for(|arn| arn.as_deref() == Some(ARN)))
        .await
        .unwrap()
        .unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn heartbeats_become_as_frequent_as_a_changed_setting_says() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.registered().await;
    assert!(matches!(session.receive_any().await, from_agent::Message::Heartbeat(_)));
    session.send(to_agent::Message::HostSettings(settings(100))).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert!(matches!(session.receive_any().await, from_agent::Message::Heartbeat(_)));
    }
    assert!(began.elapsed() < Duration::from_millis(u64::from(SETTINGS.heartbeat_interval_ms)));
    agent.stop().await;
}

#[tokio::test]
async fn report_that_was_not_recorded_is_sent_again_in_the_next_session() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    runtime.end(&main_of(1), 9).unwrap();
    let (_, lost) = session.reports().await;
    assert_eq!(lost[0].task, TaskId(1));
    drop(session);

    let mut session = controller.registered().await;
    assert_eq!(session.registered_reports().len(), 1);
    let report = session.until(TaskId(1), TaskStatus::Stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(9));
    agent.stop().await;
}

#[tokio::test]
async fn agent_whose_session_ends_keeps_its_tasks_and_reports_nothing_twice() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    let id = session.register.agent_id.clone();
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    // Once task 2 is reported, the record of task 1 has come through: one batch waits at a time.
    session.assign(3, false, vec![to_run(&task(2, &[]))]).await;
    session.until(TaskId(2), TaskStatus::Running).await;
    drop(session);

    let mut session = controller.registered().await;
    assert_eq!(session.register.agent_id, id, "the same agent");
    let statuses: Vec<_> = session.registered_reports().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [TaskStatus::Running; 2]);
    runtime.end(&main_of(1), 0).unwrap();
    assert_eq!(
        session.until(TaskId(1), TaskStatus::Stopped).await.containers[0].exit_code,
        Some(0)
    );
    agent.stop().await;
}

#[tokio::test]
async fn assignments_older_than_those_seen_are_ignored() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session.assign(5, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    // Were it taken, this would stop task 1 and start task 2.
    session.assign(4, true, vec![to_run(&task(2, &[]))]).await;
    session.assign(6, false, vec![to_run(&task(3, &[]))]).await;
    session.until(TaskId(3), TaskStatus::Running).await;
    let running: Vec<_> = runtime.list().await.unwrap().into_iter().map(|c| c.key).collect();
    assert_eq!(running, [main_of(1), main_of(3)]);
    agent.stop().await;
}

#[tokio::test]
async fn agent_restarted_ignores_assignments_older_than_those_seen_before() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let folder = tempfile::tempdir().unwrap();
    let config = || berth_agent::AgentConfig {
        data_dir: Some(folder.path().into()),
        ..config(&controller.endpoint)
    };
    let (first, second) = (config(), config());
    let agent = TestAgent::start(first, &runtime).await;
    let mut session = controller.registered().await;
    session.assign(50, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    drop(session);
    agent.stop().await;
    let agent = TestAgent::start(second, &runtime).await;
    let mut session = controller.registered().await;
    session.assign(49, true, vec![to_run(&task(2, &[]))]).await;
    session
        .assign(50, true, vec![to_run(&task(1, &[])), to_run(&task(3, &[]))])
        .await;
    session.until(TaskId(3), TaskStatus::Running).await;
    let running: Vec<_> = runtime.list().await.unwrap().into_iter().map(|c| c.key).collect();
    assert_eq!(running, [main_of(1), main_of(3)]);
    agent.stop().await;
}

#[tokio::test]
async fn full_set_without_a_task_stops_and_forgets_it() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session
        .assign(2, true, vec![to_run(&task(1, &[])), to_run(&task(2, &[]))])
        .await;
    session.until(TaskId(1), TaskStatus::Running).await;
    session.assign(3, true, vec![to_run(&task(2, &[]))]).await;
    tokio::time::timeout(PATIENCE, async {
        while runtime.list().await.unwrap().iter().any(|c| c.key == main_of(1)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("task 1 is removed");
    drop(session);
    // Forgetting follows the removal; a later session no longer speaks of the task.
    tokio::time::timeout(PATIENCE, async {
        loop {
            let session = controller.registered().await;
            if session.registered_reports().iter().all(|r| r.task == TaskId(2)) {
                break;
            }
        }
    })
    .await
    .expect("task 1 is forgotten");
    agent.stop().await;
}

#[tokio::test]
async fn task_known_to_the_controllers_but_not_to_the_agent_is_reported_as_stopped() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    let begun = v1::AssignedTask {
        begun: true,
        ..to_run(&task(1, &[]))
    };
    session.assign(2, true, vec![begun, to_stop(&task(2, &[]))]).await;
    let mut reports = Vec::new();
    while reports.len() < 2 {
        let (sequence, batch) = session.reports().await;
        session.record(sequence).await;
        reports.extend(batch.into_iter().filter(|r| r.status == TaskStatus::Stopped));
    }
    let lost = reports.iter().find(|r| r.task == TaskId(1)).unwrap();
    assert!(
        lost.stopped_reason.as_ref().unwrap().contains("lost its record"),
        "{lost:?}"
    );
    assert!(runtime.list().await.unwrap().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn agent_of_a_deregistered_host_stops_its_tasks_and_stays_away_until_it_is_started_anew() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    assert_eq!(session.register.container_instance_arn, "");
    let spec = task(1, &[]);
    session.assign(101, true, vec![to_run(&spec)]).await;
    session.until(spec.task, TaskStatus::Running).await;
    drop(session);
    let session = controller.session().await;
    assert_eq!(session.register.container_instance_arn, ARN);
    let refusal = v1::Refused {
        code: RefusalCode::Deregistered.into(),
        message: "restart its agent".to_owned(),
        retry_after_ms: 0,
        leader_endpoint: String::new(),
    };
    session.send(to_agent::Message::Refused(refusal)).await;
    drop(session);
    let no_container = async {
        while !runtime.list().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, no_container)
        .await
        .expect("the task ends");
    let comes_back = tokio::time::timeout(Duration::from_secs(1), controller.session()).await;
    assert!(comes_back.is_err(), "a deregistered agent came back");
    agent.stop().await;
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    assert_eq!(controller.session().await.register.container_instance_arn, "");
    agent.stop().await;
}

#[tokio::test]
async fn agent_of_another_account_ends_with_the_reason_and_its_tasks_run_on() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    drop(session);
    let session = controller.session().await;
    let refusal = v1::Refused {
        code: RefusalCode::OtherAccount.into(),
        message: "start it with --account-id 999999999999".to_owned(),
        retry_after_ms: 0,
        leader_endpoint: String::new(),
    };
    session.send(to_agent::Message::Refused(refusal)).await;
    let ended = tokio::time::timeout(PATIENCE, agent.handle.join()).await;
    let error = ended.expect("in time").expect_err("it is not taken");
    assert!(matches!(error, AgentError::OtherAccount(_)), "{error}");
    assert!(error.to_string().contains("start it with --account-id"), "{error}");
    assert_eq!(runtime.list().await.unwrap().len(), 1, "its task runs on");
}

#[tokio::test]
async fn log_of_a_container_is_read_through_the_session() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    let request = |request_id, container: &str| v1::LogRequest {
        request_id,
        task_id: TaskId(1).to_string(),
        container: container.to_owned(),
        position: String::new(),
        tail: 10,
        max_bytes: 1 << 16,
        wait_ms: 0,
    };
    session.send(to_agent::Message::LogRequest(request(7, "main"))).await;
    let from_agent::Message::LogReply(reply) = session.receive().await else {
        panic!("expected a log reply")
    };
    assert_eq!((reply.request_id, reply.end), (7, false));
    assert!(String::from_utf8_lossy(&reply.lines[0].message).contains("simulated container main"));
    session.send(to_agent::Message::LogRequest(request(8, "other"))).await;
    let from_agent::Message::LogReply(reply) = session.receive().await else {
        panic!("expected a log reply")
    };
    assert_eq!(reply.request_id, 8);
    assert!(reply.error.contains("there is no container"), "{}", reply.error);

    runtime.end(&main_of(1), 0).unwrap();
    session.until(TaskId(1), TaskStatus::Stopped).await;
    let mut position = String::new();
    let mut lines = Vec::new();
    loop {
        let next = v1::LogRequest {
            position,
            ..request(9, "main")
        };
        session.send(to_agent::Message::LogRequest(next)).await;
        let from_agent::Message::LogReply(reply) = session.receive().await else {
            panic!("expected a log reply")
        };
        lines.extend(reply.lines);
        position = reply.next_position;
        if reply.end {
            break;
        }
    }
    assert_eq!(lines.len(), 2, "one when it started, one when it ended");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_agents_of_ten_tasks_each_run_in_one_process() {
    let mut controller = Controller::start().await;
    let mut agents = Vec::new();
    for _ in 0..200 {
        agents.push(TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await);
    }
    let mut hosts = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut session = controller.registered().await;
        hosts.spawn(async move {
            let ids = (0..10).map(|task| number * 10 + task);
            session
                .assign(2, true, ids.map(|id| to_run(&task(id, &[]))).collect())
                .await;
            let mut running = std::collections::BTreeSet::new();
            while running.len() < 10 {
                let (sequence, reports) = session.reports().await;
                session.record(sequence).await;
                running.extend(
                    reports
                        .iter()
                        .filter(|r| r.status == TaskStatus::Running)
                        .map(|r| r.task),
                );
            }
            session
        });
    }
    let sessions = hosts.join_all().await;
    assert_eq!(sessions.len(), 200);
    for agent in agents {
        agent.stop().await;
    }
}
