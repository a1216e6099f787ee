//! What every operation is given: the controller's parts, and who calls. Shell.

use std::sync::{Arc, Mutex, PoisonError};

use berth_aws::AwsError;
use berth_core::ids::IdSource;
use berth_core::model::{Scope, Timestamp};
use berth_core::reconcile::StandaloneRequest;
use berth_core::state::{ClusterState, Command, Event, Feature};

use super::credentials::RootCredentials;
use super::errors;
use super::ports::{
    Administration, Backups, ContainerLogs, DecisionRecordings, EcsAgents, LeaderCalls, ProposeFailure, RanTasks,
    Replica, TaskRunner,
};
use crate::clock::Clock;
use crate::events::EventMemory;
use crate::monitoring::Metrics;

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Who may call.
    pub root: RootCredentials,
    /// Whether `POST /_berth/reset` empties the state.
    pub testing: bool,
    /// Whether hosts that were put to sleep can be woken.
    pub wakes_hosts: bool,
}

/// The parts of the controller that the API stands on.
pub struct ApiParts {
    /// The replicated state.
    pub replica: Arc<dyn Replica>,
    /// What places tasks outside services.
    pub runner: Arc<dyn TaskRunner>,
    /// What the agents can say of their containers' logs.
    pub logs: Arc<dyn ContainerLogs>,
    /// The agents that speak ECS's own API.
    pub ecs_agents: Arc<dyn EcsAgents>,
    /// What hands out backups.
    pub backups: Arc<dyn Backups>,
    /// What hands out recordings of placement decisions.
    pub decisions: Arc<dyn DecisionRecordings>,
    /// What was announced, and which resources changed.
    pub(crate) events: EventMemory,
    /// The way to the member that leads.
    pub leader_calls: Arc<dyn LeaderCalls>,
    /// What operators decide about the cluster itself.
    pub administration: Arc<dyn Administration>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids; must be seeded by the operating system, since ids must not repeat.
    pub ids: IdSource,
    /// Where requests are counted.
    pub metrics: Metrics,
}

/// What operations work with.
pub struct Api {
    pub(super) options: ApiOptions,
    replica: Arc<dyn Replica>,
    runner: Arc<dyn TaskRunner>,
    logs: Arc<dyn ContainerLogs>,
    ecs_agents: Arc<dyn EcsAgents>,
    backups: Arc<dyn Backups>,
    decisions: Arc<dyn DecisionRecordings>,
    events: EventMemory,
    leader_calls: Arc<dyn LeaderCalls>,
    administration: Arc<dyn Administration>,
    clock: Arc<dyn Clock>,
    ids: Mutex<IdSource>,
    pub(super) metrics: Metrics,
}

impl Api {
    /// An API over the controller's parts.
    #[must_use]
    pub fn new(options: ApiOptions, parts: ApiParts) -> Self {
        Self {
            options,
            replica: parts.replica,
            runner: parts.runner,
            logs: parts.logs,
            ecs_agents: parts.ecs_agents,
            backups: parts.backups,
            decisions: parts.decisions,
            events: parts.events,
            leader_calls: parts.leader_calls,
            administration: parts.administration,
            clock: parts.clock,
            ids: Mutex::new(parts.ids),
            metrics: parts.metrics,
        }
    }

    /// The same API over another state.
    pub(super) fn over(&self, replica: Arc<dyn Replica>) -> Self {
        let seed = self.with_ids(IdSource::next_u64);
        Self {
            options: self.options.clone(),
            replica,
            runner: Arc::clone(&self.runner),
            logs: Arc::clone(&self.logs),
            ecs_agents: Arc::clone(&self.ecs_agents),
            backups: Arc::clone(&self.backups),
            decisions: Arc::clone(&self.decisions),
            events: self.events.clone(),
            leader_calls: Arc::clone(&self.leader_calls),
            administration: Arc::clone(&self.administration),
            clock: Arc::clone(&self.clock),
            ids: Mutex::new(IdSource::from_seed(seed)),
            metrics: self.metrics.clone(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Draws ids.
    pub(super) fn with_ids<T>(&self, draw: impl FnOnce(&mut IdSource) -> T) -> T {
        // The source is valid after every step, so a panic elsewhere leaves nothing half done.
        draw(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether hosts that were put to sleep can be woken.
    pub(super) fn wakes_hosts(&self) -> bool {
        self.options.wakes_hosts
    }

    /// What the agents can say of their containers' logs.
    pub(super) fn logs(&self) -> &Arc<dyn ContainerLogs> {
        &self.logs
    }

    /// The agents that speak ECS's own API.
    pub(super) fn ecs_agents(&self) -> &dyn EcsAgents {
        &*self.ecs_agents
    }

    /// What hands out backups.
    pub(super) fn backups(&self) -> &Arc<dyn Backups> {
        &self.backups
    }

    /// What hands out recordings of placement decisions.
    pub(super) fn decisions(&self) -> &Arc<dyn DecisionRecordings> {
        &self.decisions
    }

    /// What was announced, and which resources changed.
    pub(super) fn events(&self) -> &EventMemory {
        &self.events
    }

    /// The way to the member that leads.
    pub(super) fn leader_calls(&self) -> &dyn LeaderCalls {
        &*self.leader_calls
    }

    /// What operators decide about the cluster itself.
    pub(super) fn administration(&self) -> &dyn Administration {
        &*self.administration
    }

    /// The state with everything that was answered before this call.
    pub(super) async fn read(&self) -> Result<Arc<ClusterState>, AwsError> {
        self.replica.read().await.map_err(|error| errors::unavailable(&error))
    }

    /// Whether a feature may be used in what is proposed now: it may once every member knows it.
    pub(super) fn uses(&self, feature: Feature) -> bool {
        self.replica.seen().uses(feature)
    }

    /// The feature level that the group has agreed on.
    pub(super) fn feature_level(&self) -> u32 {
        self.replica.seen().feature_level()
    }

    /// Proposes a command; a rejection becomes the AWS error for it.
    pub(super) async fn propose(&self, command: Command) -> Result<Vec<Event>, AwsError> {
        self.try_propose(command).await.map_err(|error| errors::failure(&error))
    }

    /// Proposes a command, for callers that do something about some rejections.
    pub(super) async fn try_propose(&self, command: Command) -> Result<Vec<Event>, ProposeFailure> {
        self.replica.propose(command).await
    }

    /// Places tasks outside services, and waits until those that found a host are committed.
    pub(super) async fn run_tasks(&self, request: StandaloneRequest) -> Result<RanTasks, AwsError> {
        let ran = self.runner.run_tasks(request).await;
        ran.map_err(|error| errors::failure(&error))
    }
}

/// One authenticated request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Account of the key and region of the signature: what the request can see.
    pub(crate) scope: Scope,
    /// ARN of the caller.
    pub(crate) caller_arn: String,
    /// Id of the request, a UUID.
    pub(crate) request_id: String,
    /// When it came.
    pub(crate) now: Timestamp,
}
