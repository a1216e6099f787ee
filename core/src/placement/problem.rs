//! What there is to place and where it could go: plain data, whatever it was taken from. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use super::fragmentation::TypicalTasks;
use super::gpus::{GpuNeed, GpuSet, Gpus};
use super::query_language::HostFacts;
use crate::model::{
    Attributes, CapacityProviderName, ContainerInstanceId, ContainerInstanceStatus, CpuUnits, MemoryMib,
    PlacementConstraint, PlacementStrategy, Ports, PowerState, Resources, ServiceName, TaskId, Timestamp,
};

/// Hosts of one cluster and tasks that want one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementProblem {
    /// The hosts, each once, in any order.
    pub hosts: Vec<Host>,
    /// The tasks, in the order in which they are served.
    pub requests: Vec<TaskRequest>,
    /// What tasks usually take, for strategies that keep hosts fit for them; `None` where that is what the requests take.
    pub typical: Option<TypicalTasks>,
}

impl PlacementProblem {
    /// What tasks usually take.
    pub(super) fn typical_tasks(&self) -> TypicalTasks {
        self.typical.clone().unwrap_or_else(|| typical_of(&self.requests))
    }
}

/// What the requests take, if any of them has a strategy that may ask for it.
pub(super) fn typical_of(requests: &[TaskRequest]) -> TypicalTasks {
    let may_ask = |strategy: &PlacementStrategy| matches!(strategy, PlacementStrategy::Extension { .. });
    let mut strategies = requests.iter().flat_map(|request| &request.strategies);
    if strategies.any(may_ask) {
        TypicalTasks::of(requests.iter().map(|request| &request.shape))
    } else {
        TypicalTasks::default()
    }
}

/// What a task takes of its host. Requests of one kind have one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// CPU and memory.
    pub resources: Resources,
    /// GPUs.
    pub gpu: GpuNeed,
    /// Models of GPUs that it may run on; none are named where any will do.
    pub gpu_models: BTreeSet<String>,
}

impl Shape {
    /// Nothing at all.
    pub(super) const NOTHING: Self = Self {
        resources: Resources {
            cpu: CpuUnits(0),
            memory: MemoryMib(0),
        },
        gpu: GpuNeed::None,
        gpu_models: BTreeSet::new(),
    };

    /// CPU and memory alone.
    #[must_use]
    pub fn of(resources: Resources) -> Self {
        Self {
            resources,
            ..Self::default()
        }
    }
}

/// What a task holds on its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// What it took.
    pub shape: Shape,
    /// Of which devices.
    pub gpus: GpuSet,
}

/// A host as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: ContainerInstanceId,
    /// Its name, `ec2InstanceId` in expressions.
    pub name: String,
    /// Attributes, those of users over those of the agent.
    pub attributes: Attributes,
    /// The capacity provider whose pool it is in, if any.
    pub capacity_provider: Option<CapacityProviderName>,
    /// All that it offers to tasks.
    pub registered: Resources,
    /// What no task holds.
    pub free: Resources,
    /// Its GPUs.
    pub gpus: Gpus,
    /// Host ports that are taken or reserved.
    pub used_ports: Ports,
    /// Host ports that programs which are no tasks hold.
    pub foreign_ports: Ports,
    /// Whether it takes tasks.
    pub status: ContainerInstanceStatus,
    /// Whether its agent has a session now.
    pub agent_connected: bool,
    /// Where it is between being awake and asleep.
    pub power: PowerState,
    /// The service for whose task others on it are being stopped, if any are: it takes no task before they are over.
    pub makes_room_for: Option<ServiceName>,
    /// The daemon without which it takes no other tasks, where that does not serve there.
    pub missing_daemon: Option<String>,
    /// Version of its agent.
    pub agent_version: String,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Tasks on it that are `RUNNING`.
    pub running_tasks: u32,
    /// Tasks on it by group, of those that are wanted to run, whether or not they do yet.
    pub tasks_by_group: BTreeMap<String, u32>,
}

impl Host {
    /// A host with nothing on it that takes tasks.
    #[must_use]
    pub fn idle(id: ContainerInstanceId, name: impl Into<String>, registered: Resources) -> Self {
        Self {
            id,
            name: name.into(),
            attributes: Attributes::new(),
            capacity_provider: None,
            registered,
            free: registered,
            gpus: Gpus::default(),
            used_ports: Ports::new(),
            foreign_ports: Ports::new(),
            status: ContainerInstanceStatus::Active,
            agent_connected: true,
            power: PowerState::Awake,
            makes_room_for: None,
            missing_daemon: None,
            agent_version: String::new(),
            registered_at: Timestamp(0),
            running_tasks: 0,
            tasks_by_group: BTreeMap::new(),
        }
    }

    /// The host as expressions see it.
    #[must_use]
    pub fn facts(&self) -> HostFacts<'_> {
        HostFacts {
            attributes: &self.attributes,
            ec2_instance_id: &self.name,
            agent_connected: self.agent_connected,
            agent_version: &self.agent_version,
            registered_at: self.registered_at,
            running_tasks: self.running_tasks,
            task_groups: self
                .tasks_by_group
                .iter()
                .filter(|(_, tasks)| **tasks > 0)
                .map(|(group, _)| group.as_str())
                .collect(),
        }
    }
}

/// What tasks that are alike ask for: all but which task it is, and the hosts it is restricted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The group, within which `spread` levels and `distinctInstance` separates.
    pub group: String,
    /// What each takes of its host.
    pub shape: Shape,
    /// Fixed host ports that each takes.
    pub host_ports: Ports,
    /// The capacity provider to whose hosts alone each goes, if any.
    pub capacity_provider: Option<CapacityProviderName>,
    /// Rules that bind.
    pub constraints: Vec<PlacementConstraint>,
    /// Preferences, the first weighing most; [`super::MAX_STRATEGIES`] at most are followed.
    pub strategies: Vec<PlacementStrategy>,
}

/// A task that wants a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRequest {
    /// Its id.
    pub id: TaskId,
    /// What it asks for. Planning is fastest where requests that are alike share one.
    pub ask: Arc<Ask>,
    /// The only hosts that it may go to, as for `StartTask` and for daemon services; `None` means any.
    pub only_hosts: Option<BTreeSet<ContainerInstanceId>>,
}

impl Deref for TaskRequest {
    type Target = Ask;

    fn deref(&self) -> &Ask {
        &self.ask
    }
}

impl TaskRequest {
    /// A task that may go to any host.
    #[must_use]
    pub fn new(id: TaskId, ask: impl Into<Arc<Ask>>) -> Self {
        Self {
            id,
            ask: ask.into(),
            only_hosts: None,
        }
    }
}
