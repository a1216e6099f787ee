//! Runs one task: brings observations to core's `step`, writes its answer down, has its actions carried out.
//!
//! Owns the order of these three, and the task's timer. Everything that is decided is decided in core. A panic in one of the
//! actions is the runner's own: without an outcome the task would wait for ever, so the supervisor begins it again. Shell.

use std::sync::Arc;

use berth_core::model::{DesiredStatus, TaskSpec, Timestamp};
use berth_core::task_lifecycle::{HealthWatch, Observation, ProbeOutcome, TaskState, step};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::Tools;
use super::carry_out::{Hands, Probed};
use crate::clock;
use crate::ledger::LedgerError;

/// What a runner is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Something was observed.
    Observe(Observation),
    /// End the task; once it has ended, forget it and its logs.
    Forget,
}

/// Runs one task.
pub(super) struct Runner {
    tools: Tools,
    spec: Arc<TaskSpec>,
    /// What the ledger has, for the supervisor to begin again with.
    state: watch::Sender<TaskState>,
    is_to_be_forgotten: bool,
    messages: mpsc::Receiver<Message>,
    hands: Hands,
    /// Actions that are being carried out.
    actions: JoinSet<Option<Observation>>,
    health: HealthWatch,
    /// Probes that are being carried out, one of each container at most.
    probes: JoinSet<Probed>,
}

/// Something that has happened to a task.
enum Happened {
    Observed(Observation),
    Probed(Probed),
    /// The time has come for a probe, or to tell what probes have come to.
    HealthDue,
}

impl Runner {
    pub(super) fn new(
        tools: Tools,
        spec: Arc<TaskSpec>,
        state: watch::Sender<TaskState>,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        let hands = Hands::new(tools.runtime.clone(), spec.clone(), tools.foreign_ports.clone());
        Self {
            tools,
            spec,
            state,
            is_to_be_forgotten: false,
            messages,
            hands,
            actions: JoinSet::new(),
            health: HealthWatch::default(),
            probes: JoinSet::new(),
        }
    }

    /// Runs the task until it is forgotten, the supervisor goes, or the ledger fails.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.live().await {
            // The ledger's thread has said why, and the agent is about to stop.
            tracing::debug!(%error, "the task is left to itself");
        }
    }

    async fn live(&mut self) -> Result<(), LedgerError> {
        while let Some(happened) = self.next().await {
            match happened {
                Happened::Observed(observation) => self.take(&observation).await?,
                Happened::Probed(probed) => self.take_probed(&probed),
                Happened::HealthDue => {}
            }
            self.mind_health().await?;
            if self.is_to_be_forgotten && self.state.borrow().is_stopped() {
                return self.forget().await;
            }
        }
        Ok(())
    }

    /// Waits for something to happen; `None` once the supervisor is gone.
    async fn next(&mut self) -> Option<Happened> {
        loop {
            let timer = sleep_until(self.state.borrow().wake_at());
            let health_due = sleep_until(self.health.wake_at(clock::now()));
            tokio::select! {
                message = self.messages.recv() => match message? {
                    Message::Observe(observation) => return Some(Happened::Observed(observation)),
                    Message::Forget => {
                        self.is_to_be_forgotten = true;
                        return Some(Happened::Observed(Observation::Assigned(DesiredStatus::Stopped)));
                    }
                },
                Some(done) = self.actions.join_next() => match done {
                    Ok(Some(observation)) => return Some(Happened::Observed(observation)),
                    Ok(None) => {}
                    Err(error) => pass_on_panic(error),
                },
                Some(done) = self.probes.join_next() => match done {
                    Ok(probed) => return Some(Happened::Probed(probed)),
                    Err(error) => pass_on_panic(error),
                },
                () = timer => return Some(Happened::Observed(Observation::Tick)),
                () = health_due => return Some(Happened::HealthDue),
            }
        }
    }

    /// One step: what follows is in the ledger before it is done or told to anyone.
    async fn take(&mut self, observation: &Observation) -> Result<(), LedgerError> {
        let state = self.state.borrow().clone();
        let (next, actions) = step(&state, observation, clock::now());
        let is_stopped = next.is_stopped();
        if next != state {
            self.tools.ledger.put_state(&next).await?;
            let report = next.report();
            if report.status != state.status() {
                tracing::info!(
                    reason = report.stopped_reason,
                    "the task is now {}",
                    report.status.as_str()
                );
            }
            self.state.send_replace(next);
            self.tools.board.post(report);
        }
        for action in actions {
            self.actions.spawn(self.hands.clone().carry_out(action));
        }
        if is_stopped {
            // A pull that nobody waits for.
            self.actions.abort_all();
            self.probes.abort_all();
        }
        Ok(())
    }

    fn take_probed(&mut self, (probe, outcome, why): &Probed) {
        if *outcome != ProbeOutcome::Passed {
            tracing::debug!(
                container = probe.container,
                why,
                "the health check of a container has not passed"
            );
        }
        let before = self.health.status(&probe.container);
        self.health.take(probe, *outcome, clock::now());
        let status = self
            .health
            .status(&probe.container)
            .filter(|status| before != Some(*status));
        if let Some(status) = status {
            let container = &probe.container;
            tracing::info!(container, why, "the container is now {}", status.as_str());
        }
    }

    /// Probes what is due, and tells what probes have come to.
    async fn mind_health(&mut self) -> Result<(), LedgerError> {
        let now = clock::now();
        self.health.follow(&self.state.borrow(), &self.spec, now);
        for probe in self.health.due(now) {
            self.probes.spawn(self.hands.clone().probe(probe));
        }
        for news in self.health.news(now) {
            self.take(&news).await?;
        }
        Ok(())
    }

    async fn forget(&mut self) -> Result<(), LedgerError> {
        let task = self.spec.task;
        let runtime = self.tools.runtime.clone();
        // Apart from the runner, which could not be begun again for a task that is over.
        match tokio::spawn(async move { runtime.forget_logs(task).await }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the logs of a task that is forgotten stay on the disk"),
            Err(error) => tracing::error!(%error, "the logs of a task that is forgotten stay on the disk"),
        }
        self.tools.ledger.forget_task(task).await?;
        self.tools.board.forget(task);
        Ok(())
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(clock::until(at)).await,
        None => std::future::pending().await,
    }
}

/// What was not a panic was aborted: nobody waits for its outcome.
fn pass_on_panic(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}
