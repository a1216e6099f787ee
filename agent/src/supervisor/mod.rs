//! Keeps one runner per task of the host, and gives it what the controllers want.
//!
//! Owns which tasks the host has: those that are assigned, those that are being forgotten; and that none is left without
//! a runner when its own has panicked. It must not know what a task goes through (the runner asks core), nor how
//! assignments arrive. Shell.

mod carry_out;
mod failure;
mod recovery;
mod runner;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use berth_core::model::{DesiredStatus, TaskId, TaskSpec};
use berth_core::task_lifecycle::{Observation, TaskState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tracing::Instrument as _;

use crate::clock;
use crate::foreign_ports::ForeignPorts;
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
    /// End every task: the host has been cut off from the controllers for this long.
    Fence {
        /// What the cluster's settings say, in milliseconds.
        after_ms: u32,
    },
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
    pub(crate) foreign_ports: Arc<ForeignPorts>,
}

/// Keeps the runners.
pub(crate) struct Supervisor {
    tools: Tools,
    tasks: BTreeMap<TaskId, Entry>,
    /// Runners, and what is done about those that have failed.
    work: JoinSet<Done>,
    /// The task of each piece of work: all that is known of one that has panicked is its id.
    whose: HashMap<Id, TaskId>,
    is_stopping: bool,
}

/// A task of the host.
struct Entry {
    spec: Arc<TaskSpec>,
    /// The task as the ledger has it.
    state: watch::Receiver<TaskState>,
    /// Where to reach its runner; `None` while one that has failed is being replaced.
    runner: Option<mpsc::Sender<Message>>,
    /// What is wanted of it, for a runner that replaces another.
    wish: Wish,
    /// How many of its runners have panicked.
    failures: u32,
}

/// What is wanted of a task. The later ones are final, so a wish never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Run,
    Fence { after_ms: u32 },
    Stop,
    Forget,
}

/// A piece of work that has ended.
enum Done {
    /// A runner, since its task is forgotten or its agent stops.
    Ended(TaskId),
    /// A runner has failed, and this is what the runtime has of its task.
    Found(TaskId, Vec<FoundContainer>),
    /// A task has been given up for this reason, and the runtime has nothing of it any more.
    Cleared(TaskId, String),
}

impl From<DesiredStatus> for Wish {
    fn from(desired: DesiredStatus) -> Self {
        match desired {
            DesiredStatus::Running => Self::Run,
            DesiredStatus::Stopped => Self::Stop,
        }
    }
}

impl Wish {
    fn message(self) -> Message {
        match self {
            Self::Run => Message::Observe(Observation::Assigned(DesiredStatus::Running)),
            Self::Fence { after_ms } => Message::Observe(Observation::Fenced { after_ms }),
            Self::Stop => Message::Observe(Observation::Assigned(DesiredStatus::Stopped)),
            Self::Forget => Message::Forget,
        }
    }
}

impl Supervisor {
    /// Takes up the tasks that the ledger had, each with its containers among those that were found; containers of no
    /// task are removed.
    pub(crate) async fn recover(tools: Tools, tasks: BTreeMap<TaskId, LedgerTask>) -> Self {
        let mut found = recovery::find_containers(&*tools.runtime, !tasks.is_empty()).await;
        let mut supervisor = Self {
            tools,
            tasks: BTreeMap::new(),
            work: JoinSet::new(),
            whose: HashMap::new(),
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
        let is_needed = |task: TaskId| {
            let entry = supervisor.tasks.get(&task);
            entry.is_some_and(|entry| !entry.state.borrow().is_stopped())
        };
        recovery::tear_down_leftovers(&*supervisor.tools.runtime, is_needed).await;
        supervisor
    }

    async fn resume(&mut self, spec: Arc<TaskSpec>, state: TaskState, containers: Vec<FoundContainer>) {
        self.tools.board.post(state.report());
        let task = spec.task;
        self.begin_runner(spec, state);
        self.send(task, recovery::recovered(containers)).await;
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
                    Some(Order::Fence { after_ms }) => self.tell_all(Wish::Fence { after_ms }).await,
                    Some(Order::StopAll { told }) => {
                        self.is_stopping = true;
                        self.tell_all(Wish::Stop).await;
                        // Whoever asked may have given up.
                        told.send(()).ok();
                    }
                    None => return,
                },
                Some(ended) = self.work.join_next_with_id() => {
                    if self.take_ended(ended).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn assign(&mut self, assignments: Assignments) -> Result<(), LedgerError> {
        let gone: Vec<TaskId> = match assignments.full {
            true => {
                let kept: BTreeSet<TaskId> = assignments.tasks.iter().map(|assigned| assigned.task).collect();
                self.tasks.keys().filter(|task| !kept.contains(task)).copied().collect()
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
            self.begin_runner(spec, state);
        }
        for AssignedTask { task, desired, .. } in assignments.tasks {
            self.tell(task, desired.into()).await;
        }
        for task in gone {
            self.tell(task, Wish::Forget).await;
        }
        Ok(())
    }

    /// The beginning of a task that the host does not have, if it is to have it.
    fn begin(&self, assigned: &AssignedTask) -> Option<LedgerTask> {
        let task = assigned.task;
        let spec = assigned.spec.clone().filter(|_| !self.tasks.contains_key(&task))?;
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

    async fn tell_all(&mut self, wish: Wish) {
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for task in tasks {
            self.tell(task, wish).await;
        }
    }

    /// Notes what is wanted of a task, and tells its runner.
    async fn tell(&mut self, task: TaskId, wish: Wish) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.wish = entry.wish.max(wish);
            self.send(task, wish.message()).await;
        }
    }

    async fn send(&self, task: TaskId, message: Message) {
        if let Some(runner) = self.tasks.get(&task).and_then(|entry| entry.runner.as_ref()) {
            // A runner that has ended has forgotten its task, which is what there is to know of it; one that has
            // panicked is replaced by one that is told again.
            runner.send(message).await.ok();
        }
    }

    /// Begins with a task that had no runner.
    fn begin_runner(&mut self, spec: Arc<TaskSpec>, state: TaskState) {
        let (task, wish, failures) = (spec.task, Wish::Run, 0);
        let (runner, state) = self.spawn_runner(spec.clone(), state);
        let entry = Entry {
            spec,
            state,
            runner: Some(runner),
            wish,
            failures,
        };
        self.tasks.insert(task, entry);
    }

    fn spawn_runner(
        &mut self,
        spec: Arc<TaskSpec>,
        state: TaskState,
    ) -> (mpsc::Sender<Message>, watch::Receiver<TaskState>) {
        let (sender, messages) = mpsc::channel(MESSAGE_QUEUE);
        let (state, seen) = watch::channel(state);
        let task = spec.task;
        let runner = Runner::new(self.tools.clone(), spec, state, messages);
        self.spawn(task, async move {
            runner.run().await;
            Done::Ended(task)
        });
        (sender, seen)
    }

    fn spawn(&mut self, task: TaskId, work: impl Future<Output = Done> + Send + 'static) {
        let span = tracing::info_span!("task", %task);
        let handle = self.work.spawn(work.instrument(span));
        self.whose.insert(handle.id(), task);
    }
}
