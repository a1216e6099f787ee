//! One session, from the agent's first message to its end. Shell.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{
    ContainerInstanceId, ContainerInstanceStatus, HostSettings, Ports, PowerChange, PowerState, TaskId, Timestamp,
    TransportProtocol,
};
use berth_core::state::{Command, Feature};
use berth_proto::record::RecordError;
use berth_proto::v1::{
    FromAgent, Heartbeat, HostPort, NotAsleep, PortProtocol, RefusalCode, Refused, Register, ReportsRecorded,
    ShutdownNoted, ShuttingDown, Sleep, TaskReports, ToAgent, from_agent, to_agent,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::context::{Context, silence};
use super::logs::{LogCall, OpenCalls};
use super::opening::{self, Admitted};
use super::registry::{AgentKey, SessionState};
use super::{assignments, reports};
use berth_raft::ProposeError;
use berth_trust::identity::Identity;

/// How long an agent may take to introduce itself.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);

/// How long an agent may leave a message unread before its session ends.
const SEND_WITHIN: Duration = Duration::from_secs(10);

/// Difference between an agent's clock and this controller's that is worth a warning.
const CLOCK_WARNING_MS: u64 = 5_000;

/// How late this controller notices that an agent is silent before it takes itself for the one that stood still.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Ports that a host may tell of, as the conversation bounds them.
const MAX_FOREIGN_PORTS: usize = 64;

/// Messages that wait for the network.
pub(super) const SEND_QUEUE: usize = 16;

/// Where messages to the agent go. A queue keeps room for some dozen entries from its beginning, which are small therefore.
pub(super) type Outgoing = mpsc::Sender<Box<ToAgent>>;

/// A batch of reports on its way into the log.
type Recording = Pin<Box<dyn Future<Output = Result<(), ProposeError>> + Send>>;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the agent has ended it")]
    Left,
    #[error("the connection failed: {0}")]
    Connection(Box<Status>),
    #[error("nothing has come from the agent for {0:?}")]
    Silent(Duration),
    #[error("the agent does not read what it is sent")]
    Stuck,
    #[error("a newer session of the agent replaces it, or the state was reset")]
    Replaced,
    #[error("this controller no longer leads")]
    NotLeader,
    #[error("the controller is stopping")]
    Stopping,
    #[error("the host was deregistered")]
    Deregistered,
    #[error("the agent sent {0}, which is not part of the conversation here")]
    Unexpected(&'static str),
    #[error("a record cannot be read or written: {0}")]
    Record(#[from] RecordError),
    #[error("what it said could not be recorded: {0}")]
    NotRecorded(#[from] ProposeError),
}

/// Serves one agent for as long as it stays.
///
/// `identity` is who the agent is by the certificate of its connection, where that has one.
pub(super) async fn serve(
    context: Arc<Context>,
    identity: Option<Identity>,
    mut incoming: Streaming<FromAgent>,
    outgoing: Outgoing,
) {
    let (state, log_calls) = SessionState::new(context.stop.child_token());
    // What only the beginning, the end or a rare message needs is kept elsewhere meanwhile: a future is as large as the largest of what it
    // may wait for, and there are thousands of sessions.
    let Admitted {
        agent,
        host,
        term,
        settings,
        answer,
        tasks,
    } = match Box::pin(open(&context, identity.as_ref(), &mut incoming, &state)).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            tracing::info!(reason = refused.message, "refused an agent");
            // An agent that has gone meanwhile needs no answer.
            send(&outgoing, to_agent::Message::Refused(refused)).await.ok();
            return;
        }
    };
    let mut session = Session {
        context: Arc::clone(&context),
        agent,
        host,
        term,
        state: Arc::clone(&state),
        outgoing,
        incoming,
        log_calls,
        open_calls: OpenCalls::default(),
        recording: None,
        warned_of_clock: false,
        is_trusted: identity.is_some(),
        settings,
        told_to_sleep: false,
        tasks,
        last_heard_at: context.clock.now(),
    };
    tracing::info!(container_instance = %host, term, "an agent has a session");
    let end = match send(&session.outgoing, to_agent::Message::Registered(answer)).await {
        Ok(()) => session.run().await,
        Err(end) => end,
    };
    if matches!(end, SessionEnd::Deregistered) {
        let refused = to_agent::Message::Refused(opening::deregistered(host));
        // An agent that has gone meanwhile is told when it comes back.
        send(&session.outgoing, refused).await.ok();
    }
    tracing::info!(container_instance = %host, reason = %end, "the session of an agent ended");
    context.registry.remove(host, &state);
    Box::pin(session.leave()).await;
}

async fn open(
    context: &Context,
    identity: Option<&Identity>,
    incoming: &mut Streaming<FromAgent>,
    state: &Arc<SessionState>,
) -> Result<Admitted, Refused> {
    let register = first_message(incoming).await?;
    opening::hold_to_certificate(&register, identity)?;
    opening::admit(context, opening::read(&register)?, identity.is_some(), state).await
}

/// Proposes that the host's agent is disconnected, as the leader of the term in which it was missed: another leader has
/// to miss it itself. Where that fails, the look-out for absent agents tries again.
pub(super) async fn record_disconnected(
    context: &Context,
    term: u64,
    host: ContainerInstanceId,
    last_heard_at: Timestamp,
) {
    let command = Command::RecordAgentDisconnected {
        container_instance: host,
        last_heard_at,
        at: context.clock.now(),
    };
    if let Err(error) = context.group.propose_in_term(command, term).await {
        tracing::warn!(container_instance = %host, %error, "could not record that an agent is disconnected");
    }
}

/// Records that the agent of a host is disconnected, in the term of its session, unless a newer session of it is there.
pub(super) async fn leave(
    context: &Context,
    agent: &AgentKey,
    state: &Arc<SessionState>,
    (host, term): (ContainerInstanceId, u64),
    last_heard_at: Timestamp,
) {
    let mut slot = context.registry.hold_slot(agent).await;
    if slot.session().is_some_and(|session| Arc::ptr_eq(session, state)) {
        slot.replace(None);
        if !context.stop.is_cancelled() && context.led_term() == Some(term) {
            record_disconnected(context, term, host, last_heard_at).await;
        }
    }
}

/// Proposes which ports of the host foreign programs hold, as the leader of the term in which the agent said so: to another leader it says so
/// again, and what it says by then may be something else.
async fn record_foreign_ports(context: &Context, term: u64, host: ContainerInstanceId, ports: Ports) {
    let command = Command::RecordForeignPorts {
        container_instance: host,
        ports,
    };
    if let Err(error) = context.group.propose_in_term(command, term).await {
        tracing::warn!(container_instance = %host, %error, "could not record a host's ports");
    }
}

/// Proposes that a host is awake that was told to sleep, for the reason that its agent gives. If that is not recorded, the host sleeps the sooner.
async fn record_not_asleep(context: &Context, term: u64, host: ContainerInstanceId, reason: String) {
    tracing::warn!(container_instance = %host, reason, "a host that was told to sleep is awake");
    let command = Command::ChangePower {
        container_instance: host,
        change: PowerChange::NotAsleep { reason },
        at: context.clock.now(),
    };
    match tokio::time::timeout(SEND_WITHIN, context.group.propose_in_term(command, term)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(container_instance = %host, %error, "could not record that a host does not sleep");
        }
        Err(_) => tracing::warn!(container_instance = %host, "that a host does not sleep was not recorded in time"),
    }
}

/// Proposes that a host is drained since its machine shuts down, where its capacity provider says so; whether it is.
///
/// # Errors
/// If it is not known. The session is to end then: the agent asks again in its next one, perhaps another leader.
async fn record_shutdown(context: &Context, term: u64, host: ContainerInstanceId) -> Result<bool, SessionEnd> {
    let view = context.group.view();
    let known = view.view.container_instance(host);
    let drains = known.is_some_and(|host| view.view.drains_at_shutdown(host));
    if !drains || !view.view.uses(Feature::ManagedScaling) {
        return Ok(false);
    }
    tracing::info!(container_instance = %host, "the machine of a host shuts down: its tasks leave it first");
    let command = Command::ChangePower {
        container_instance: host,
        change: PowerChange::ShutDown,
        at: context.clock.now(),
    };
    let proposed = tokio::time::timeout(SEND_WITHIN, context.group.propose_in_term(command, term)).await;
    let applied = proposed.unwrap_or(Err(ProposeError::Timeout { after: SEND_WITHIN }))?;
    Ok(applied.outcome.is_ok())
}

async fn first_message(incoming: &mut Streaming<FromAgent>) -> Result<Register, Refused> {
    let invalid = |message: String| opening::refused(RefusalCode::Invalid, message);
    let message = tokio::time::timeout(REGISTER_WITHIN, incoming.message())
        .await
        .map_err(|_| invalid(format!("the agent did not register within {REGISTER_WITHIN:?}")))?
        .map_err(|status| invalid(format!("the registration cannot be read: {}", status.message())))?;
    match message.and_then(|m| m.message) {
        Some(from_agent::Message::Register(register)) => Ok(register),
        _ => Err(invalid("a session begins with Register".to_owned())),
    }
}

struct Session {
    context: Arc<Context>,
    agent: AgentKey,
    host: ContainerInstanceId,
    /// The term in which this controller leads while it serves the agent.
    term: u64,
    state: Arc<SessionState>,
    outgoing: Outgoing,
    incoming: Streaming<FromAgent>,
    log_calls: mpsc::Receiver<Box<LogCall>>,
    open_calls: OpenCalls,
    /// The batch that is being committed, and its sequence; the agent sends the next one after it.
    recording: Option<(u64, Recording)>,
    warned_of_clock: bool,
    /// Whether the agent has shown a certificate.
    is_trusted: bool,
    /// The settings that the agent was told last.
    settings: HostSettings,
    last_heard_at: Timestamp,
    /// Whether the agent was told to put its host to sleep.
    told_to_sleep: bool,
    /// Tasks that the agent had when it registered, and so knows the specs of.
    tasks: BTreeSet<TaskId>,
}

impl Session {
    /// Serves the agent until something ends the session.
    async fn run(&mut self) -> SessionEnd {
        match self.exchange().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Records that the agent is disconnected, unless a newer session of it is there.
    async fn leave(self) {
        let of = (self.host, self.term);
        leave(&self.context, &self.agent, &self.state, of, self.last_heard_at).await;
    }

    async fn exchange(&mut self) -> Result<std::convert::Infallible, SessionEnd> {
        let mut led_term = self.context.group.watch_led_term();
        let mut heard = Instant::now();
        loop {
            let patience = silence(&self.settings);
            let silent_at = heard + patience;
            // In this order: what ends the session, then what the agent has said, so that no message which is there already is missed
            // for what else there is to do, and silence last.
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return Err(SessionEnd::Stopping),
                () = self.state.end.cancelled() => return Err(SessionEnd::Replaced),
                () = deposed(&mut led_term, self.term) => return Err(SessionEnd::NotLeader),
                message = self.incoming.message() => {
                    (heard, self.last_heard_at) = (Instant::now(), self.context.clock.now());
                    match message {
                        Ok(Some(message)) => self.take(message).await?,
                        Ok(None) => return Err(SessionEnd::Left),
                        Err(status) => return Err(SessionEnd::Connection(Box::new(status))),
                    }
                }
                () = self.state.changed.notified() => self.tell_changes().await?,
                (sequence, recorded) = recorded(&mut self.recording) => {
                    self.recording = None;
                    recorded?;
                    send(&self.outgoing, to_agent::Message::ReportsRecorded(ReportsRecorded { sequence })).await?;
                }
                Some(call) = self.log_calls.recv() => {
                    if let Some(request) = self.open_calls.open(*call) {
                        send(&self.outgoing, to_agent::Message::LogRequest(request)).await?;
                    }
                }
                () = tokio::time::sleep_until(silent_at) => {
                    if !stood_still(silent_at) {
                        return Err(SessionEnd::Silent(patience));
                    }
                    heard = Instant::now();
                }
            }
        }
    }

    async fn take(&mut self, message: FromAgent) -> Result<(), SessionEnd> {
        match message.message {
            Some(from_agent::Message::Heartbeat(heartbeat)) => {
                self.check_clock(heartbeat.sent_at_ms);
                self.note_foreign_ports(&heartbeat).await;
                self.answer_heartbeat().await?;
            }
            Some(from_agent::Message::TaskReports(batch)) => self.record(&batch)?,
            Some(from_agent::Message::LogReply(reply)) => self.open_calls.answer(reply),
            Some(from_agent::Message::NotAsleep(NotAsleep { reason })) => {
                Box::pin(record_not_asleep(&self.context, self.term, self.host, reason)).await;
            }
            Some(from_agent::Message::ShuttingDown(ShuttingDown {})) => {
                let drains = Box::pin(record_shutdown(&self.context, self.term, self.host)).await?;
                if drains {
                    // What was placed there before is to leave as well: the agent is to know of it before it asks what is left.
                    self.tell_assignments(true, &BTreeSet::new()).await?;
                }
                let noted = ShutdownNoted { drains };
                send(&self.outgoing, to_agent::Message::ShutdownNoted(noted)).await?;
            }
            Some(from_agent::Message::Register(_)) => return Err(SessionEnd::Unexpected("a second Register")),
            None => tracing::debug!(container_instance = %self.host, "ignored a message of a kind unknown here"),
        }
        Ok(())
    }

    /// Answers a heartbeat, which shows the agent that it is still heard, with the settings as they are now.
    async fn answer_heartbeat(&mut self) -> Result<(), SessionEnd> {
        self.settings = self.context.settings(&self.agent.0);
        let message = to_agent::Message::HostSettings(opening::settings_message(
            &self.settings,
            self.context.news_version(self.is_trusted),
        ));
        send(&self.outgoing, message).await
    }

    /// Records which ports of the host foreign programs hold, where that has changed. Before what follows it from the agent: a task that failed
    /// for want of the port is not to be replaced there. If it cannot be recorded now, the next heartbeat says the same.
    async fn note_foreign_ports(&mut self, heartbeat: &Heartbeat) {
        let ports = foreign_ports(heartbeat);
        let view = self.context.group.view();
        let known = view.view.container_instance(self.host);
        if known.is_none_or(|host| host.foreign_ports == ports) {
            return;
        }
        tracing::info!(container_instance = %self.host, ?ports, "ports of a host are held by programs that are no tasks");
        let recorded = Box::pin(record_foreign_ports(&self.context, self.term, self.host, ports));
        if tokio::time::timeout(SEND_WITHIN, recorded).await.is_err() {
            tracing::warn!(container_instance = %self.host, "a host's ports were not recorded in time");
        }
    }

    fn check_clock(&mut self, sent_at_ms: i64) {
        let now = self.context.clock.now().0;
        if now.abs_diff(sent_at_ms) > CLOCK_WARNING_MS && !self.warned_of_clock {
            self.warned_of_clock = true;
            let ahead_ms = sent_at_ms.saturating_sub(now);
            tracing::warn!(container_instance = %self.host, ahead_ms, "the clock of a host is off: synchronize it");
        }
    }

    fn record(&mut self, batch: &TaskReports) -> Result<(), SessionEnd> {
        if self.recording.is_some() {
            return Err(SessionEnd::Unexpected("reports before the last ones were recorded"));
        }
        let parts = reports::read(&batch.reports)?;
        let (recorder, at) = (self.context.recorder.clone(), self.context.clock.now());
        self.recording = Some((
            batch.sequence,
            Box::pin(recorder.commit(self.term, self.host, parts, at)),
        ));
        Ok(())
    }

    async fn tell_changes(&mut self) -> Result<(), SessionEnd> {
        let (all, changed) = self.state.take_changes();
        if all || !changed.is_empty() {
            self.tell_assignments(all, &changed).await?;
        }
        self.tell_to_sleep().await
    }

    /// Has the agent put its host to sleep, where that is due. It is told once: it ends the session.
    async fn tell_to_sleep(&mut self) -> Result<(), SessionEnd> {
        let view = self.context.group.view();
        let host = view.view.container_instance(self.host);
        let is_due = host.is_some_and(|host| host.power.state == PowerState::FallingAsleep);
        if !is_due || self.told_to_sleep {
            return Ok(());
        }
        self.told_to_sleep = true;
        tracing::info!(container_instance = %self.host, "telling an agent to put its host to sleep");
        send(&self.outgoing, to_agent::Message::Sleep(Sleep {})).await
    }

    async fn tell_assignments(&mut self, all: bool, changed: &BTreeSet<TaskId>) -> Result<(), SessionEnd> {
        // Taken after the changes, so that it contains them.
        let view = self.context.group.view();
        let instance = view.view.container_instance(self.host);
        if instance.is_some_and(|host| host.status == ContainerInstanceStatus::Inactive) {
            return Err(SessionEnd::Deregistered);
        }
        let news = if all {
            assignments::full(&view, self.host, &self.tasks)?
        } else {
            assignments::diff(&view, self.host, changed, &self.state.known(changed))?
        };
        if news.is_empty() {
            return Ok(());
        }
        self.state.remember(&news);
        send(&self.outgoing, to_agent::Message::Assignments(news.message)).await
    }
}

/// Whether a moment that was waited for has been missed by so much that it was this controller that did nothing meanwhile: what the agent has
/// sent may be there, and not read yet.
fn stood_still(waited_for: Instant) -> bool {
    waited_for.elapsed() >= STOOD_STILL
}

/// The ports that a heartbeat tells of. What is none is left out: it would match nothing.
fn foreign_ports(heartbeat: &Heartbeat) -> Ports {
    let read = |port: &HostPort| {
        let protocol = match port.protocol() {
            PortProtocol::Tcp => TransportProtocol::Tcp,
            PortProtocol::Udp => TransportProtocol::Udp,
            PortProtocol::Unspecified => return None,
        };
        Some((protocol, u16::try_from(port.port).ok()?))
    };
    let ports = heartbeat.foreign_ports.iter().filter_map(read);
    ports.take(MAX_FOREIGN_PORTS).collect()
}

/// Waits until the batch is committed; for ever where there is none.
async fn recorded(recording: &mut Option<(u64, Recording)>) -> (u64, Result<(), ProposeError>) {
    match recording {
        Some((sequence, committing)) => (*sequence, committing.await),
        None => std::future::pending().await,
    }
}

/// Waits until this controller no longer leads in this term, or its group has stopped.
pub(super) async fn deposed(led_term: &mut watch::Receiver<Option<u64>>, term: u64) {
    _ = led_term.wait_for(|led| *led != Some(term)).await;
}

async fn send(outgoing: &Outgoing, message: to_agent::Message) -> Result<(), SessionEnd> {
    let message = Box::new(ToAgent { message: Some(message) });
    match tokio::time::timeout(SEND_WITHIN, outgoing.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(SessionEnd::Left),
        Err(_) => Err(SessionEnd::Stuck),
    }
}

#[cfg(test)]
mod tests {
    use super::super::opening::testing::{applicant, leading_context};
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn session_that_waits_takes_little_memory() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 3_072, "each of ten thousand hosts costs {bytes} bytes");
    }
    use berth_core::model::Cluster;

    #[tokio::test]
    async fn host_stays_as_it_is_whatever_was_found_in_another_term() {
        let context = leading_context().await;
        let agent = applicant("agent-1");
        let cluster = Command::CreateCluster(Cluster::new(agent.agent.0.clone(), Timestamp(0)));
        context.group.propose(cluster).await.unwrap().outcome.unwrap();
        let (session, _calls) = SessionState::new(context.stop.child_token());
        let Admitted { host, term, .. } = opening::admit(&context, agent, false, &session).await.unwrap();
        assert_eq!(Some(term), context.led_term());
        let connected = || {
            context
                .group
                .view()
                .view
                .container_instance(host)
                .map(|host| host.agent_connected)
        };
        let ports = Ports::from([(TransportProtocol::Tcp, 9_000)]);
        let held = || {
            let host = context.group.view().view.container_instance(host).cloned();
            host.map(|host| host.foreign_ports.clone())
        };
        record_foreign_ports(&context, term - 1, host, ports.clone()).await;
        assert_eq!(held(), Some(Ports::new()), "decided in a term that is over");
        record_foreign_ports(&context, term, host, ports.clone()).await;
        assert_eq!(held(), Some(ports));
        record_disconnected(&context, term - 1, host, Timestamp(0)).await;
        assert_eq!(connected(), Some(true), "another leader may have heard it since");
        record_disconnected(&context, term, host, Timestamp(0)).await;
        assert_eq!(connected(), Some(false));
    }
}
