//! One session with one controller, from connecting to its end. Shell.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_core::model::LogPosition;
use berth_proto::v1::agent_sessions_client::AgentSessionsClient;
use berth_proto::v1::{self, FromAgent, ToAgent, from_agent, to_agent};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::log_replies::LogReplies;
use super::{Session, SessionError, documents};
use crate::clock;
use crate::dialer::refusal_in;
use crate::ledger::SeenPosition;
use crate::reports::Posting;
use crate::supervisor::Order;

/// How long a controller may take to answer a registration.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a controller may take to commit a batch; past it, another one may do better.
const RECORD_WITHIN: Duration = Duration::from_secs(30);

/// Messages that wait for the network.
const SEND_QUEUE: usize = 16;

/// Pieces of logs that wait for it: up to a MiB each, which everything else goes ahead of.
const LOG_QUEUE: usize = 1;

/// Largest message taken: a full set of assignments, at some hundreds of bytes per task.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Reports in a batch, as the conversation bounds it.
const MAX_BATCH: usize = 500;

/// How long changes are gathered before they are sent: a task's start makes several within milliseconds.
const GATHER: Duration = Duration::from_millis(20);

/// Intervals without a word from the controller, which answers every heartbeat, after which another may do better.
const MISSED_INTERVALS: u32 = 3;

/// Bounds of what a controller may ask for.
const HEARTBEAT_BOUNDS_MS: (u32, u32) = (50, 60_000);

/// The open ends of a session.
struct Wire {
    outgoing: mpsc::Sender<FromAgent>,
    logs: mpsc::Sender<FromAgent>,
    incoming: Streaming<ToAgent>,
}

/// The batch of reports that waits to be recorded.
struct Batch {
    sequence: u64,
    postings: Vec<Posting>,
    deadline: Instant,
}

impl Session {
    /// Holds one session; says why it ended.
    pub(super) async fn converse(&mut self, endpoint: &str, connect_within: Duration) -> SessionError {
        match self.hold(endpoint, connect_within).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn hold(
        &mut self,
        endpoint: &str,
        connect_within: Duration,
    ) -> Result<std::convert::Infallible, SessionError> {
        let began_at_ms = clock::since_boot_ms();
        let channel = self.dialer.connect(endpoint, connect_within).await?;
        let mut wire = within(ANSWER_WITHIN, self.open(channel)).await?;
        let registered = within(ANSWER_WITHIN, wire.registration()).await?;
        self.take_registration(&registered, endpoint).await?;
        let settings = registered.host_settings.unwrap_or_default();
        self.fence.heard(began_at_ms, &settings);
        self.hear_of_news(&settings);
        self.exchange(wire, settings, registered.container_instance_arn).await
    }

    async fn open(&self, channel: Channel) -> Result<Wire, SessionError> {
        let mut client = AgentSessionsClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (outgoing, queue) = mpsc::channel(SEND_QUEUE);
        let (logs, log_queue) = mpsc::channel(LOG_QUEUE);
        let register = documents::register(self)?;
        send(&outgoing, from_agent::Message::Register(register)).await?;
        let incoming = client
            .session(Outgoing { queue, log_queue })
            .await
            .map_err(status)?
            .into_inner();
        Ok(Wire {
            outgoing,
            logs,
            incoming,
        })
    }

    /// Checks that the controller is no older than what was seen, unless its history is another one.
    async fn take_registration(&mut self, registered: &v1::Registered, endpoint: &str) -> Result<(), SessionError> {
        let theirs = documents::position(registered.term, registered.index);
        let arn = &registered.container_instance_arn;
        match &self.seen {
            Some(seen) if seen.container_instance_arn == *arn => {
                if theirs < seen.position {
                    let (theirs, seen) = (
                        documents::position_text(theirs),
                        documents::position_text(seen.position),
                    );
                    return Err(SessionError::Behind { theirs, seen });
                }
            }
            _ => {
                self.see(arn, LogPosition::default()).await?;
                self.board.mark_all_unrecorded();
            }
        }
        tracing::info!(
            cluster = self.cluster.name.as_str(),
            container_instance = arn,
            endpoint,
            host = self.host.host_name,
            "registered with the controllers"
        );
        self.was = Some(arn.clone());
        self.controllers.tell(registered.controllers.clone()).await?;
        if self.withhold_sleep() {
            return Err(SessionError::SleepWithheld);
        }
        self.registration.send_replace(Some(arn.clone()));
        Ok(())
    }

    async fn see(&mut self, container_instance_arn: &str, position: LogPosition) -> Result<(), SessionError> {
        let seen = SeenPosition {
            container_instance_arn: container_instance_arn.to_owned(),
            position,
        };
        self.ledger.put_seen(&seen).await?;
        self.seen = Some(seen);
        Ok(())
    }

    /// Everything after the registration.
    async fn exchange(
        &mut self,
        mut wire: Wire,
        mut known: v1::HostSettings,
        arn: String,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut heartbeat = heartbeat(&known);
        let mut log_replies = LogReplies::new(self.logs.clone(), self.board.clone());
        // One that waits for a place in the queue, which no heartbeat is to wait for.
        let mut log_reply: Option<v1::LogReply> = None;
        let mut changes = self.board.changes();
        let mut waiting: Option<Batch> = None;
        let mut sequence = 0;
        let mut unanswered = VecDeque::new();
        self.say_not_asleep(&wire.outgoing).await?;
        let mut foreign_ports = self.foreign_ports.clone();
        let mut departure = self.departure.begun();
        if *departure.borrow_and_update() {
            say_shutting_down(&wire.outgoing).await?;
        }
        changes.mark_changed();
        let mut heard = Instant::now();
        loop {
            let silence = heartbeat.period() * MISSED_INTERVALS;
            let deadline = waiting.as_ref().map(|batch| batch.deadline);
            tokio::select! {
                message = wire.incoming.message() => match heard_now(&mut heard, message)? {
                    Some(to_agent::Message::Assignments(assignments)) => self.take_assignments(assignments, &arn).await?,
                    Some(to_agent::Message::ReportsRecorded(recorded)) => {
                        if let Some(batch) = waiting.take_if(|batch| batch.sequence <= recorded.sequence) {
                            self.board.mark_recorded(&batch.postings);
                            changes.mark_changed();
                        }
                    }
                    Some(to_agent::Message::HostSettings(settings)) => {
                        if let Some(sent_at_ms) = unanswered.pop_front() {
                            self.fence.heard(sent_at_ms, &settings);
                        }
                        self.hear_of_news(&settings);
                        tell_changes(&mut known, settings);
                        if self::heartbeat(&settings).period() != heartbeat.period() {
                            heartbeat = self::heartbeat(&settings);
                        }
                    }
                    Some(to_agent::Message::LogRequest(request)) => if let Some(refused) = log_replies.begin(request) {
                        // A few words, as short as a heartbeat.
                        send(&wire.outgoing, from_agent::Message::LogReply(refused)).await?;
                    },
                    Some(to_agent::Message::Sleep(_)) if self.sleep_command.is_some() => return Err(SessionError::ToldToSleep),
                    Some(to_agent::Message::Sleep(_)) => return Err(SessionError::Unexpected("Sleep to an agent that cannot")),
                    Some(to_agent::Message::ShutdownNoted(noted)) => self.departure.note(noted.drains),
                    Some(to_agent::Message::Registered(_)) => return Err(SessionError::Unexpected("a second Registered")),
                    Some(to_agent::Message::Refused(refused)) => return Err(SessionError::Refused(refused)),
                    None => tracing::debug!("ignored a message of a kind that this agent does not know"),
                },
                _ = heartbeat.tick() => {
                    // No more than fit into the silence after which the session ends.
                    unanswered.push_back(clock::since_boot_ms());
                    let sent_at_ms = clock::now().0;
                    let foreign_ports = documents::host_ports(&foreign_ports.borrow_and_update());
                    let message = v1::Heartbeat { sent_at_ms, foreign_ports };
                    send(&wire.outgoing, from_agent::Message::Heartbeat(message)).await?;
                }
                Ok(()) = foreign_ports.changed() => heartbeat.reset_immediately(),
                Ok(()) = departure.changed() => say_shutting_down(&wire.outgoing).await?,
                reply = log_replies.next(), if log_reply.is_none() => log_reply = Some(reply),
                place = wire.logs.reserve(), if log_reply.is_some() => {
                    let message = log_reply.take().map(from_agent::Message::LogReply);
                    place.map_err(|_| SessionError::Ended)?.send(FromAgent { message });
                }
                changed = gathered(&mut changes), if waiting.is_none() => {
                    changed?;
                    waiting = self.send_reports(&wire.outgoing, &mut sequence).await?;
                }
                () = until(deadline) => return Err(SessionError::Silent(RECORD_WITHIN)),
                () = tokio::time::sleep_until(heard + silence) => return Err(SessionError::Silent(silence)),
            }
        }
    }

    /// Says why the host is awake that was told to sleep, once; or why it is not to sleep.
    async fn say_not_asleep(&mut self, outgoing: &mpsc::Sender<FromAgent>) -> Result<(), SessionError> {
        let Some(reason) = self.not_asleep.clone().or_else(|| self.withheld.clone()) else {
            return Ok(());
        };
        let message = v1::NotAsleep { reason };
        send(outgoing, from_agent::Message::NotAsleep(message)).await?;
        self.not_asleep = None;
        Ok(())
    }

    fn hear_of_news(&self, settings: &v1::HostSettings) {
        if let Some(membership) = &self.membership {
            membership.hear_of_news(settings.news_version);
        }
    }

    async fn take_assignments(&mut self, message: v1::Assignments, arn: &str) -> Result<(), SessionError> {
        let position = documents::position(message.term, message.index);
        let seen = self.seen.as_ref().map(|seen| seen.position).unwrap_or_default();
        if position < seen {
            tracing::warn!(
                theirs = documents::position_text(position),
                seen = documents::position_text(seen),
                "ignored assignments that are older than those seen before"
            );
            return Ok(());
        }
        let assignments = documents::assignments(message)?;
        if position > seen {
            self.see(arn, position).await?;
        }
        self.orders
            .send(Order::Assign(assignments))
            .await
            .map_err(|_| SessionError::Stopping)
    }

    /// Sends what has not been recorded, if anything.
    async fn send_reports(
        &self,
        outgoing: &mpsc::Sender<FromAgent>,
        sequence: &mut u64,
    ) -> Result<Option<Batch>, SessionError> {
        let unrecorded = self.board.unrecorded(MAX_BATCH);
        if unrecorded.is_empty() {
            return Ok(None);
        }
        let mut reports = Vec::with_capacity(unrecorded.len());
        let mut postings = Vec::with_capacity(unrecorded.len());
        for (posting, report) in &unrecorded {
            reports.push(documents::report(report)?);
            postings.push(*posting);
        }
        *sequence += 1;
        let message = v1::TaskReports {
            sequence: *sequence,
            reports,
        };
        send(outgoing, from_agent::Message::TaskReports(message)).await?;
        Ok(Some(Batch {
            sequence: *sequence,
            postings,
            deadline: Instant::now() + RECORD_WITHIN,
        }))
    }
}

/// What the agent says: pieces of logs only when it has nothing else to say, so that its heartbeats are not late for them.
struct Outgoing {
    queue: mpsc::Receiver<FromAgent>,
    log_queue: mpsc::Receiver<FromAgent>,
}

impl Stream for Outgoing {
    type Item = FromAgent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FromAgent>> {
        match self.queue.poll_recv(cx) {
            Poll::Pending => match self.log_queue.poll_recv(cx) {
                Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
                // The session ends with the other queue.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
            ready => ready,
        }
    }
}

impl Wire {
    /// The controller's answer to the registration.
    async fn registration(&mut self) -> Result<v1::Registered, SessionError> {
        let message = self
            .incoming
            .message()
            .await
            .map_err(status)?
            .ok_or(SessionError::Ended)?;
        match message.message {
            Some(to_agent::Message::Registered(registered)) => Ok(registered),
            Some(to_agent::Message::Refused(refused)) => Err(SessionError::Refused(refused)),
            _ => Err(SessionError::Unexpected(
                "something else than an answer to the registration",
            )),
        }
    }
}

/// Waits for a change, and then for those that come with it. Safe to be dropped halfway: what it has seen is marked
/// only at its end.
async fn gathered(changes: &mut tokio::sync::watch::Receiver<u64>) -> Result<(), SessionError> {
    let mut gathering = changes.clone();
    gathering.changed().await.map_err(|_| SessionError::Stopping)?;
    tokio::time::sleep(GATHER).await;
    changes.mark_unchanged();
    Ok(())
}

/// Says in the log that the settings of the cluster have changed.
fn tell_changes(known: &mut v1::HostSettings, settings: v1::HostSettings) {
    let said = |of: &v1::HostSettings| (of.heartbeat_interval_ms, of.fence_after_ms);
    if said(known) != said(&settings) {
        tracing::info!(
            heartbeat_interval_ms = settings.heartbeat_interval_ms,
            fence_after_ms = settings.fence_after_ms,
            "the cluster has new settings for its hosts"
        );
    }
    *known = settings;
}

/// Ticks as often as the settings say.
fn heartbeat(settings: &v1::HostSettings) -> Interval {
    let (lowest, highest) = HEARTBEAT_BOUNDS_MS;
    let beat = Duration::from_millis(u64::from(settings.heartbeat_interval_ms.clamp(lowest, highest)));
    let mut heartbeat = tokio::time::interval(beat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// What the controller sent, as a sign of its life.
fn heard_now(
    heard: &mut Instant,
    message: Result<Option<ToAgent>, tonic::Status>,
) -> Result<Option<to_agent::Message>, SessionError> {
    let message = message.map_err(status)?.ok_or(SessionError::Ended)?;
    *heard = Instant::now();
    Ok(message.message)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn send(outgoing: &mpsc::Sender<FromAgent>, message: from_agent::Message) -> Result<(), SessionError> {
    outgoing
        .send(FromAgent { message: Some(message) })
        .await
        .map_err(|_| SessionError::Ended)
}

async fn say_shutting_down(outgoing: &mpsc::Sender<FromAgent>) -> Result<(), SessionError> {
    send(outgoing, from_agent::Message::ShuttingDown(v1::ShuttingDown {})).await
}

fn status(status: tonic::Status) -> SessionError {
    if let Some(refusal) = refusal_in(&status) {
        return SessionError::Link(refusal);
    }
    SessionError::Status(Box::new(status))
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| SessionError::Silent(limit))?
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn heartbeat_goes_ahead_of_a_log_that_was_there_before_it() {
        let (outgoing, queue) = mpsc::channel(SEND_QUEUE);
        let (logs, log_queue) = mpsc::channel(LOG_QUEUE);
        let log = from_agent::Message::LogReply(v1::LogReply::default());
        send(&logs, log.clone()).await.unwrap();
        let heartbeat = from_agent::Message::Heartbeat(v1::Heartbeat::default());
        send(&outgoing, heartbeat.clone()).await.unwrap();
        drop(outgoing);
        let mut said = Outgoing { queue, log_queue };
        assert_eq!(said.next().await.unwrap().message, Some(heartbeat));
        assert!(said.next().await.is_none(), "the session has ended");
    }
}
