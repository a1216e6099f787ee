//! Reads the log of one task, page by page.
//!
//! Owns when a log is at its end, and what is tried again. Shell.

use std::time::Duration;

use anyhow::Result;
use berth_aws::berth::operations::GetTaskLogs;
use berth_aws::berth::{GetTaskLogsRequest, LogEvent};
use tokio::sync::mpsc;

use crate::client::ServiceError;
use crate::cluster::{Cluster, last_part};
use crate::{output, short_id};

/// How long the controller may wait for a line before it answers, when following.
const WAIT_MS: i32 = 10_000;

/// Pause before a host that could not be asked is asked again, when following: its agent may be about to come back.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

/// How often, which makes five minutes: an agent that restarts is back by then, and a host that is gone for longer may stay so.
const AGAIN_AT_MOST: u32 = 100;

/// What is read, the same for every task.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) cluster: Cluster,
    pub(super) container: Option<String>,
    pub(super) tail: Option<i32>,
    pub(super) follow: bool,
}

/// Lines of one task.
pub(super) struct Page {
    pub(super) task: String,
    pub(super) events: Vec<LogEvent>,
}

impl Reader {
    /// Reads the log of one task until its end; without following, until what is there now.
    pub(super) async fn read(&self, task: String, pages: mpsc::Sender<Page>) -> Result<()> {
        let mut next_token = None;
        let mut attempts = 0;
        loop {
            let request = GetTaskLogsRequest {
                cluster: self.cluster.named(),
                task: Some(task.clone()),
                container: self.container.clone(),
                tail: if next_token.is_none() { self.tail } else { None },
                wait_ms: self.follow.then_some(WAIT_MS),
                next_token: next_token.clone(),
            };
            let answer = match self.cluster.call::<GetTaskLogs>(&request).await {
                Ok(answer) => answer,
                Err(error) if self.follow && attempts < AGAIN_AT_MOST && is_worth_another(&error) => {
                    if attempts == 0 {
                        let id = short_id::shown(last_part(&task));
                        output::complain(&format!("berth: the log of task {id} breaks off for now: {error:#}"));
                    }
                    attempts += 1;
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN_AFTER) => continue,
                        () = pages.closed() => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            };
            attempts = 0;
            let events = answer.events.unwrap_or_default();
            let is_empty = events.is_empty();
            let is_over = answer.ended.unwrap_or(false) || (is_empty && !self.follow);
            let page = Page {
                task: last_part(&task).to_owned(),
                events,
            };
            if !is_empty && pages.send(page).await.is_err() {
                return Ok(());
            }
            next_token = answer.next_token;
            if is_over || next_token.is_none() {
                return Ok(());
            }
        }
    }
}

fn is_worth_another(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ServiceError>().is_some_and(is_away)
}

/// True if the controller says that the task's host cannot be asked now.
pub(super) fn is_away(refusal: &ServiceError) -> bool {
    let is_of_a_log = refusal.operation == "GetTaskLogs";
    is_of_a_log && matches!(refusal.code.as_str(), "ClientException" | "ServiceUnavailable")
}
