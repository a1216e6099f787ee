//! Many readers of one host's logs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use berth_agent::runtime::SimulatedRuntime;
use berth_core::model::{TaskId, TaskStatus};
use berth_proto::v1::{self, from_agent, to_agent};
use common::{Controller, ControllerSession, TestAgent, config, task, to_run};

/// As many as an agent takes.
const MAX_OPEN: u64 = 128;

fn request(request_id: u64, position: &str, wait: Duration) -> to_agent::Message {
    to_agent::Message::LogRequest(v1::LogRequest {
        request_id,
        task_id: TaskId(1).to_string(),
        container: "main".to_owned(),
        position: position.to_owned(),
        tail: 10,
        max_bytes: 1 << 16,
        wait_ms: u32::try_from(wait.as_millis()).unwrap(),
    })
}

async fn reply(session: &mut ControllerSession) -> v1::LogReply {
    loop {
        match session.receive().await {
            from_agent::Message::LogReply(reply) => return reply,
            _ => continue,
        }
    }
}

#[tokio::test]
async fn log_is_read_at_once_however_many_followers_wait_and_one_too_many_is_refused() {
    let mut controller = Controller::start().await;
    let agent = TestAgent::start(config(&controller.endpoint), &SimulatedRuntime::new()).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    session.send(request(0, "", Duration::ZERO)).await;
    let end = reply(&mut session).await.next_position;

    for follower in 1..MAX_OPEN {
        session.send(request(follower, &end, Duration::from_secs(30))).await;
    }
    let asked_at = Instant::now();
    session.send(request(1000, "", Duration::ZERO)).await;
    let piece = reply(&mut session).await;
    assert_eq!((piece.request_id, piece.error.as_str()), (1000, ""));
    assert!(
        asked_at.elapsed() < Duration::from_secs(5),
        "a reader waited for followers"
    );

    session.send(request(1001, &end, Duration::from_secs(30))).await;
    session.send(request(1002, "", Duration::ZERO)).await;
    let refused = reply(&mut session).await;
    assert_eq!(refused.request_id, 1002);
    assert!(
        refused.error.contains("128 requests for logs wait"),
        "{}",
        refused.error
    );
    agent.stop().await;
}
