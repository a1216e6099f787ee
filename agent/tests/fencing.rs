//! An agent that is cut off from its controllers, with pretended containers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use berth_agent::runtime::{Runtime as _, SimulatedRuntime};
use berth_agent::{AgentConfig, AgentHandle};
use berth_core::model::{StopCode, TaskId, TaskStatus};
use berth_proto::v1::{self, from_agent, to_agent};
use common::{ARN, Controller, ControllerSession, PATIENCE, SETTINGS, TestAgent, config, task, to_run};

fn settings(heartbeat_interval_ms: u32, fence_after_ms: u32) -> v1::HostSettings {
    v1::HostSettings {
        heartbeat_interval_ms,
        fence_after_ms,
        ..SETTINGS
    }
}

async fn running_task(controller: &mut Controller, settings: v1::HostSettings) -> ControllerSession {
    let mut session = controller.session().await;
    session.accept_with(ARN, 1, 1, settings).await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    session
}

async fn until_nothing_runs(runtime: &SimulatedRuntime) {
    let nothing_runs = async {
        while !runtime.list().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, nothing_runs)
        .await
        .expect("the host stops its task");
}

async fn until_cut_off(handle: &AgentHandle) {
    let mut registration = handle.registration();
    let cut_off = registration.wait_for(Option::is_none);
    tokio::time::timeout(PATIENCE, cut_off).await.expect("in time").unwrap();
}

#[tokio::test]
async fn host_cut_off_for_as_long_as_the_fence_says_stops_its_tasks_and_says_why_when_it_is_back() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let began = Instant::now();
    drop(running_task(&mut controller, settings(5_000, 3_000)).await);
    // Whoever comes meanwhile is heard by nobody.
    until_nothing_runs(&runtime).await;
    assert!(began.elapsed() >= Duration::from_secs(3));

    let mut session = controller.registered().await;
    let stopped = session.until(TaskId(1), TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::TerminationNotice));
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.starts_with("Host was cut off from every controller for 3 s"),
        "{reason}"
    );
    session.assign(102, false, vec![to_run(&task(2, &[]))]).await;
    session.until(TaskId(2), TaskStatus::Running).await;
    agent.stop().await;
}

#[tokio::test]
async fn host_cut_off_without_a_fence_lets_its_tasks_run_on() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    drop(running_task(&mut controller, settings(5_000, 0)).await);
    until_cut_off(&agent.handle).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(runtime.list().await.unwrap().len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn host_whose_heartbeats_are_answered_is_not_fenced_and_learns_of_a_fence_by_the_answers() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(config(&controller.endpoint), &runtime).await;
    let mut session = running_task(&mut controller, settings(50, 0)).await;
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        if let from_agent::Message::Heartbeat(_) = session.receive_any().await {
            session.send(to_agent::Message::HostSettings(settings(50, 4_000))).await;
        }
    }
    assert_eq!(runtime.list().await.unwrap().len(), 1, "it was heard all the time");
    drop(session);
    until_nothing_runs(&runtime).await;
    agent.stop().await;
}

#[tokio::test]
async fn agent_restarted_while_it_is_cut_off_is_fenced_all_the_same() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let folder = tempfile::tempdir().unwrap();
    let config = || AgentConfig {
        data_dir: Some(folder.path().into()),
        ..config(&controller.endpoint)
    };
    let (first, second, third) = (config(), config(), config());
    let agent = TestAgent::start(first, &runtime).await;
    drop(running_task(&mut controller, settings(5_000, 3_000)).await);
    agent.stop().await;
    // The fence is due by the end of this start's grace, and a further start gets no other.
    let agent = TestAgent::start(second, &runtime).await;
    assert_eq!(
        runtime.list().await.unwrap().len(),
        1,
        "it may look for a controller first"
    );
    agent.stop().await;
    let agent = TestAgent::start(third, &runtime).await;
    until_nothing_runs(&runtime).await;
    agent.stop().await;
}
