//! An agent with several controllers, which the test plays: which it goes to, and when.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use berth_agent::runtime::{ContainerKey, SimulatedRuntime};
use berth_core::model::{TaskId, TaskStatus};
use berth_proto::v1::{self, RefusalCode, from_agent, to_agent};
use common::{ARN, Controller, PATIENCE, SETTINGS, TestAgent, config, task, to_run};

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
async fn agent_sent_to_the_leader_registers_there() {
    let (mut follower, mut leader) = (Controller::start().await, Controller::start().await);
    let agent = TestAgent::start(config(&follower.endpoint), &SimulatedRuntime::new()).await;
    let refusal = v1::Refused {
        code: RefusalCode::NotLeader.into(),
        message: "another controller leads".to_owned(),
        retry_after_ms: 0,
        leader_endpoint: leader.endpoint.clone(),
    };
    follower.session().await.send(to_agent::Message::Refused(refusal)).await;
    leader.registered().await;
    agent.stop().await;
}

#[tokio::test]
async fn controller_that_answers_no_heartbeat_is_left_for_another() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let silent = controller.session().await;
    silent.accept_with(ARN, 1, 1, settings(100)).await;
    let mut next = controller.registered().await;
    assert!(matches!(next.receive_any().await, from_agent::Message::Heartbeat(_)));
    agent.stop().await;
}

#[tokio::test]
async fn controller_behind_what_was_seen_is_left_and_another_history_is_taken() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let session = controller.registered().await;
    session.assign(9, true, vec![to_run(&task(1, &[]))]).await;
    let mut session = session;
    session.until(TaskId(1), TaskStatus::Running).await;
    drop(session);

    controller.session().await.accept(ARN, 1, 8).await;
    let mut session = controller.session().await;
    session
        .accept("arn:aws:ecs:us-east-1:123456789012:container-instance/default/2", 1, 2)
        .await;
    session.assign(2, true, vec![to_run(&task(2, &[]))]).await;
    session.until(TaskId(2), TaskStatus::Running).await;
    agent.stop().await;
}

#[tokio::test]
async fn agent_whose_controller_is_gone_goes_to_another_and_reports_nothing_twice() {
    let (mut first, mut second) = (Controller::start().await, Controller::start().await);
    let runtime = SimulatedRuntime::new();
    let mut config = config(&first.endpoint);
    config.controllers.push(second.endpoint.clone());
    let agent = TestAgent::start(config, &runtime).await;
    let mut session = first.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    // Once task 2 is reported, the record of task 1 has come through.
    session.assign(3, false, vec![to_run(&task(2, &[]))]).await;
    session.until(TaskId(2), TaskStatus::Running).await;
    let gone = Instant::now();
    drop((session, first));
    let mut session = second.registered().await;
    assert!(gone.elapsed() < PATIENCE / 2);
    runtime.end(&main_of(1), 0).unwrap();
    let (_, reports) = session.reports().await;
    let tasks: Vec<TaskId> = reports.iter().map(|report| report.task).collect();
    assert_eq!(tasks, [TaskId(1)], "task 2 is known to run");
    agent.stop().await;
}

#[tokio::test]
async fn agent_refused_tries_again_after_the_time_it_was_told() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let refusal = v1::Refused {
        code: RefusalCode::ClusterNotFound.into(),
        message: "create it first".to_owned(),
        retry_after_ms: 300,
        leader_endpoint: String::new(),
    };
    controller
        .session()
        .await
        .send(to_agent::Message::Refused(refusal))
        .await;
    let refused_at = std::time::Instant::now();
    let session = controller.session().await;
    assert!(refused_at.elapsed() >= Duration::from_millis(290));
    session.accept(ARN, 1, 1).await;
    agent.stop().await;
}
