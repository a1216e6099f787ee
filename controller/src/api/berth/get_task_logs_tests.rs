//! What a reader of logs sees: merged lines, pages, waiting, and the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_aws::berth::operations::GetTaskLogs;
use berth_aws::ecs::operations::{RegisterTaskDefinition, RunTask, StopTask};
use berth_core::model::{ContainerInstanceId, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::ports::{ContainerLogs, LogFailure, LogLine, LogPiece, LogRequest, LogStart, PortFuture};
use crate::api::testing::Harness;

/// The logs of a host, kept in memory. A container without an entry has no log.
struct HostLogs {
    logs: watch::Sender<BTreeMap<String, Log>>,
    asked: Mutex<Vec<LogRequest>>,
}

#[derive(Clone, Default)]
struct Log {
    lines: Vec<(i64, String)>,
    ended: bool,
}

impl HostLogs {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            logs: watch::Sender::new(BTreeMap::new()),
            asked: Mutex::default(),
        })
    }

    fn write(&self, container: &str, at: i64, line: &str) {
        self.logs.send_modify(|logs| {
            let log = logs.entry(container.to_owned()).or_default();
            log.lines.push((at, line.to_owned()));
        });
    }

    fn end(&self, container: &str) {
        self.logs
            .send_modify(|logs| logs.entry(container.to_owned()).or_default().ended = true);
    }

    fn piece(&self, request: &LogRequest) -> Result<LogPiece, LogFailure> {
        let logs = self.logs.borrow();
        let Some(log) = logs.get(&request.container) else {
            return Err(LogFailure::Refused("there is no such log".to_owned()));
        };
        let from = match &request.start {
            LogStart::First => 0,
            LogStart::Tail(lines) => log.lines.len().saturating_sub(*lines as usize),
            LogStart::At(position) => position.parse().expect("a position that was given out"),
        };
        let line = |(at, text): &(i64, String)| LogLine {
            at: Timestamp(*at),
            stderr: text.starts_with('!'),
            message: text.clone().into_bytes(),
            partial: text.ends_with('…'),
        };
        Ok(LogPiece {
            lines: log.lines[from..].iter().map(line).collect(),
            next_position: log.lines.len().to_string(),
            ended: log.ended,
        })
    }
}

impl ContainerLogs for HostLogs {
    fn fetch_logs(
        &self,
        host: ContainerInstanceId,
        request: LogRequest,
    ) -> PortFuture<'_, Result<LogPiece, LogFailure>> {
        Box::pin(async move {
            if host != ContainerInstanceId(1) {
                return Err(LogFailure::NotConnected(host));
            }
            self.asked.lock().expect("no panic").push(request.clone());
            let mut changes = self.logs.subscribe();
            let has_news =
                |_: &_| !matches!(self.piece(&request), Ok(LogPiece { lines, ended: false, .. }) if lines.is_empty());
            let waiting = async { changes.wait_for(has_news).await.map(|_| ()) };
            // Without a line in time the answer is empty, so how the wait ended does not matter.
            let _waited = tokio::time::timeout(request.wait, waiting).await;
            self.piece(&request)
        })
    }
}

/// A task of two containers, `web` and `db`, on a host with these logs; and its id.
async fn task(logs: &Arc<HostLogs>, host: u128) -> (Harness, String) {
    let harness = Harness::with_logs(Arc::clone(logs) as Arc<dyn ContainerLogs>);
    harness.add_host(host, "z");
    let container = |name: &str| json!({"name": name, "image": "i", "memory": 64});
    let definition = json!({"family": "f", "containerDefinitions": [container("web"), container("db")]});
    harness
        .call::<RegisterTaskDefinition>(definition)
        .await
        .expect("registered");
    let ran = harness
        .call::<RunTask>(json!({"taskDefinition": "f"}))
        .await
        .expect("ran");
    let arn = ran["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned();
    (harness, arn)
}

async fn read(harness: &Harness, task: &str, mut input: Value) -> Value {
    input["task"] = json!(task);
    harness.call::<GetTaskLogs>(input).await.expect("read")
}

fn messages(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().expect("a list");
    events.iter().map(|e| e["message"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn lines_of_all_containers_come_in_order_of_time_and_once() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "a");
    logs.write("db", 2, "!b");
    logs.write("web", 3, "c");
    let first = read(&harness, &task, json!({})).await;
    assert_eq!(messages(&first), ["a", "!b", "c"]);
    assert_eq!(
        first["events"][1],
        json!({"timestamp": 0.002, "container": "db", "stream": "stderr", "message": "!b"})
    );
    logs.write("db", 4, "d");
    let second = read(&harness, &task, json!({"nextToken": first["nextToken"]})).await;
    assert_eq!(messages(&second), ["d"]);
    assert_eq!(second["ended"], false);
    let of_one = read(&harness, &task, json!({"container": "web"})).await;
    assert_eq!(messages(&of_one), ["a", "c"]);
}

#[tokio::test]
async fn tail_begins_with_the_newest_lines_of_the_task() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    for at in 0..5 {
        logs.write("web", 2 * at, &format!("web {at}"));
        logs.write("db", 2 * at + 1, &format!("db {at}"));
    }
    let newest = read(&harness, &task, json!({"tail": 3})).await;
    assert_eq!(messages(&newest), ["db 3", "web 4", "db 4"]);
    let none = read(&harness, &task, json!({"tail": 0})).await;
    assert_eq!(messages(&none), Vec::<&str>::new());
    logs.write("web", 20, "new");
    let after = read(&harness, &task, json!({"nextToken": none["nextToken"]})).await;
    assert_eq!(messages(&after), ["new"]);
}

#[tokio::test]
async fn reader_that_waits_gets_the_next_line_as_soon_as_it_is_written() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "old");
    logs.write("db", 1, "old");
    let begun = read(&harness, &task, json!({})).await;
    let input = json!({"task": task, "nextToken": begun["nextToken"], "waitMs": 20_000});
    let writer = async {
        // The line is written once the reader waits for it.
        while !logs.asked.lock().expect("no panic").iter().any(|r| !r.wait.is_zero()) {
            tokio::task::yield_now().await;
        }
        logs.write("db", 2, "new");
    };
    let both = async { tokio::join!(harness.call::<GetTaskLogs>(input), writer) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .expect("answered in time");
    assert_eq!(messages(&answer.expect("read")), ["new"]);
}

#[tokio::test]
async fn log_is_over_once_every_container_has_ended_and_all_was_read() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "last words");
    logs.end("web");
    logs.write("db", 1, "goes on");
    let first = read(&harness, &task, json!({})).await;
    assert_eq!(first["ended"], false);
    logs.end("db");
    let second = read(
        &harness,
        &task,
        json!({"nextToken": first["nextToken"], "waitMs": 20_000}),
    )
    .await;
    assert_eq!((messages(&second), &second["ended"]), (vec![], &json!(true)));
}

#[tokio::test]
async fn container_that_has_not_started_has_no_lines_yet() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    let answer = read(&harness, &task, json!({"waitMs": 10})).await;
    assert_eq!((messages(&answer), &answer["ended"]), (vec![], &json!(false)));
    logs.write("web", 1, "first");
    let then = read(&harness, &task, json!({"nextToken": answer["nextToken"]})).await;
    assert_eq!(messages(&then), ["first"]);
}

#[tokio::test]
async fn log_on_a_host_that_is_not_connected_cannot_be_read() {
    let (harness, task) = task(&HostLogs::new(), 7).await;
    let error = harness
        .call::<GetTaskLogs>(json!({"task": task}))
        .await
        .expect_err("refused");
    assert_eq!(error.kind.code, "ClientException");
    assert!(error.message.contains("is not connected"), "{}", error.message);
}

#[tokio::test]
async fn request_that_makes_no_sense_is_refused() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "a");
    let token = read(&harness, &task, json!({})).await["nextToken"].clone();
    let ghost = "0".repeat(32);
    for (input, code) in [
        (json!({"task": ghost}), "ResourceNotFoundException"),
        (json!({"task": task, "cluster": "none"}), "ClusterNotFoundException"),
        (json!({"task": task, "container": "cache"}), "InvalidParameterException"),
        (
            json!({"task": task, "nextToken": "nonsense"}),
            "InvalidParameterException",
        ),
        (
            json!({"task": task, "nextToken": token, "tail": 1}),
            "InvalidParameterException",
        ),
        (
            json!({"task": task, "nextToken": token, "container": "web"}),
            "InvalidParameterException",
        ),
        (json!({"task": task, "waitMs": 20_001}), "InvalidParameterException"),
    ] {
        let error = harness.call::<GetTaskLogs>(input.clone()).await.expect_err("refused");
        assert_eq!(error.kind.code, code, "{input}: {}", error.message);
    }
}

#[tokio::test]
async fn token_goes_on_after_the_task_was_told_to_stop() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "a");
    logs.write("db", 1, "b");
    let first = read(&harness, &task, json!({})).await;
    harness.call::<StopTask>(json!({"task": task})).await.expect("stops");
    logs.write("web", 2, "bye");
    let second = read(&harness, &task, json!({"nextToken": first["nextToken"]})).await;
    assert_eq!(messages(&second), ["bye"]);
}

#[tokio::test]
async fn line_that_came_in_pieces_says_which_goes_on() {
    let logs = HostLogs::new();
    let (harness, task) = task(&logs, 1).await;
    logs.write("web", 1, "a long line…");
    logs.write("web", 1, "and its end");
    let answer = read(&harness, &task, json!({"container": "web"})).await;
    assert_eq!(messages(&answer), ["a long line…", "and its end"]);
    let partial: Vec<_> = [0, 1].map(|n| answer["events"][n].get("partial")).into();
    assert_eq!(partial, [Some(&json!(true)), None]);
}
