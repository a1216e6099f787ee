//! Keeps one runner per task of the host, and gives it what the controllers want.
//!
//! Owns which tasks the host has: those that are assigned, those that are being forgotten. It must not know what a task
//! goes through (the runner asks core), nor how assignments arrive. Shell.

mod carry_out;
mod recovery;
mod runner;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::model::{DesiredStatus, TaskId, TaskSpec};
use berth_core::task_lifecycle::{Observation, TaskState};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::clock;
use crate::ledger::{Ledger, LedgerError, LedgerTask};
use crate::reports::ReportBoard;
use crate::runtime::{FoundContainer, Runtime};
use runner::{Message, Runner};

/// Orders that wait for the supervisor: it only hands them on, so few suffice.
pub(crate) const ORDER_QUEUE: usize = 16;

/// Messages that wait for a runner: it carries out actions beside taking messages, so few suffice.
const MESSAGE_QUEUE: usize = 16;

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// The controllers want this.
    Assign(Assignments),
    /// End every task and take no more: the host is about to go.
    StopAll {
        /// Answered once every task has been told.
        told: oneshot::Sender<()>,
    },
}

/// What the controllers want of the host's tasks.
#[derive(Debug)]
pub(crate) struct Assignments {
    /// Whether tasks that are not among them are to be forgotten.
    pub(crate) full: bool,
    pub(crate) tasks: Vec<AssignedTask>,
    pub(crate) removed: Vec<TaskId>,
}

/// A task and what the controllers want of it.
#[derive(Debug)]
pub(crate) struct AssignedTask {
    pub(crate) task: TaskId,
    pub(crate) desired: DesiredStatus,
    /// `None` where the controllers know the task to be over.
    pub(crate) spec: Option<Arc<TaskSpec>>,
    /// Whether this host has begun with it before, as far as the controllers know.
    pub(crate) begun: bool,
}

/// What every runner works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) ledger: Ledger,
    pub(crate) board: Arc<ReportBoard>,
}

/// Keeps the runners.
pub(crate) struct Supervisor {
    tools: Tools,
    /// Where to reach the runner of each task.
    runners: BTreeMap<TaskId, mpsc::Sender<Message>>,
    running: JoinSet<TaskId>,
    is_stopping: bool,
}

impl Supervisor {
    /// Takes up the tasks that the ledger had, each with its containers among those that were found; containers of no
    /// task are removed.
    pub(crate) async fn recover(tools: Tools, tasks: BTreeMap<TaskId, LedgerTask>) -> Self {
        let mut found = recovery::find_containers(&*tools.runtime, !tasks.is_empty()).await;
        let mut supervisor = Self {
            tools,
            runners: BTreeMap::new(),
            running: JoinSet::new(),
            is_stopping: false,
        };
        for (task, LedgerTask { spec, state }) in tasks {
            let mut containers = found.remove(&task).unwrap_or_default();
            if state.is_stopped() && !containers.is_empty() {
                recovery::remove_leftovers(&*supervisor.tools.runtime, task, &containers).await;
                containers.clear();
            }
            supervisor.resume(spec, state, containers).await;
        }
        for (task, containers) in found {
            recovery::remove_leftovers(&*supervisor.tools.runtime, task, &containers).await;
        }
        supervisor
    }

    async fn resume(&mut self, spec: Arc<TaskSpec>, state: TaskState, containers: Vec<FoundContainer>) {
        self.tools.board.post(state.report());
        let messages = self.spawn(spec, state);
        let recovered = Observation::Recovered {
            containers: containers.into_iter().map(recovery::in_core).collect(),
        };
        // The queue of a new runner has room.
        messages.send(Message::Observe(recovered)).await.ok();
    }

    /// Takes orders until there are no more; dropping the supervisor then leaves the containers as they are.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Assign(assignments)) => {
                        if self.assign(assignments).await.is_err() {
                            // The ledger's thread has said why, and the agent is about to stop.
                            return;
                        }
                    }
                    Some(Order::StopAll { told }) => {
                        self.stop_all().await;
                        // Whoever asked may have given up.
                        told.send(()).ok();
                    }
                    None => return,
                },
                Some(ended) = self.running.join_next() => match ended {
                    Ok(task) => {
                        self.runners.remove(&task);
                    }
                    Err(error) => tracing::error!(%error, "the runner of a task has failed; its containers run on"),
                },
            }
        }
    }

    async fn assign(&mut self, assignments: Assignments) -> Result<(), LedgerError> {
        let gone: Vec<TaskId> = match assignments.full {
            true => {
                let kept: BTreeSet<TaskId> = assignments.tasks.iter().map(|assigned| assigned.task).collect();
                self.runners
                    .keys()
                    .filter(|task| !kept.contains(task))
                    .copied()
                    .collect()
            }
            false => assignments.removed,
        };
        let new: Vec<LedgerTask> = assignments
            .tasks
            .iter()
            .filter_map(|assigned| self.begin(assigned))
            .collect();
        self.tools.ledger.put_tasks(&new).await?;
        for LedgerTask { spec, state } in new {
            self.tools.board.post(state.report());
            self.spawn(spec, state);
        }
        for AssignedTask { task, desired, .. } in assignments.tasks {
            self.tell(task, Message::Observe(Observation::Assigned(desired))).await;
        }
        for task in gone {
            self.tell(task, Message::Forget).await;
        }
        Ok(())
    }

    /// The beginning of a task that the host does not have, if it is to have it.
    fn begin(&self, assigned: &AssignedTask) -> Option<LedgerTask> {
        let task = assigned.task;
        let spec = assigned.spec.clone().filter(|_| !self.runners.contains_key(&task))?;
        if self.is_stopping && assigned.desired == DesiredStatus::Running {
            tracing::info!(%task, "a task was assigned while this host is stopping; it is not started");
            return None;
        }
        if assigned.begun {
            tracing::error!(%task, "the ledger has lost a task that this host has begun; it is reported as stopped");
            return Some(LedgerTask {
                state: TaskState::lost(&spec, clock::now()),
                spec,
            });
        }
        Some(LedgerTask {
            state: TaskState::new(&spec),
            spec,
        })
    }

    async fn stop_all(&mut self) {
        self.is_stopping = true;
        let tasks: Vec<TaskId> = self.runners.keys().copied().collect();
        for task in tasks {
            self.tell(task, Message::Observe(Observation::Assigned(DesiredStatus::Stopped)))
                .await;
        }
    }

    async fn tell(&mut self, task: TaskId, message: Message) {
        if let Some(runner) = self.runners.get(&task) {
            // A runner that has ended has forgotten its task, which is what there is to know of it.
            runner.send(message).await.ok();
        }
    }

    fn spawn(&mut self, spec: Arc<TaskSpec>, state: TaskState) -> mpsc::Sender<Message> {
        let (sender, messages) = mpsc::channel(MESSAGE_QUEUE);
        let task = spec.task;
        let runner = Runner::new(self.tools.clone(), spec, state, messages);
        let span = tracing::info_span!("task", %task);
        self.running.spawn(async move { runner.run().await }.instrument(span));
        self.runners.insert(task, sender.clone());
        sender
    }
}
