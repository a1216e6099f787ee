//! The lines of a recording: each is a JSON object with one member, whose name says what the line is. Pure data.
//!
//! Hosts, requests and tasks have numbers, from 0 in the order in which a recording names them first, so that nothing long is said twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words;
use crate::model::{
    Attributes, CapacityProviderName, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, LogIndex,
    Manner, RecordedPlacement, ServiceName, TaskId, Timestamp,
};
use crate::placement::{FilterKind, TaskRequest};

/// The version of the format that is written now.
pub const VERSION: u32 = 2;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// What the recording is of; the first line.
    Recording(Header),
    /// A host that there is, or that is otherwise than it was.
    Host(HostLine),
    /// What tasks ask for, before the first that does.
    Request(RequestLine),
    /// A task that was on a host when the recording begins.
    Task(TaskLine),
    /// An entry of the log; what follows came of it.
    Entry(EntryLine),
    /// A task was put on a host.
    Placed(PlacedLine),
    /// A task runs, or is no longer to.
    Changed(ChangedLine),
    /// A task holds nothing any more.
    Gone(GoneLine),
    /// Tasks of a service found no host.
    Unplaced(UnplacedLine),
    /// A host was given up, since its agent stayed away.
    Lost(HostNumberLine),
    /// A host left the cluster.
    Left(HostNumberLine),
    /// The last line.
    End(EndLine),
}

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// ARN of the cluster.
    pub cluster: String,
    /// The first entry of the log that may be in it: hosts and tasks at its beginning are as they were before that one.
    pub from_index: LogIndex,
    /// The version of Berth that wrote it.
    pub berth: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostLine {
    /// Its number.
    pub host: u32,
    /// Its id.
    pub id: ContainerInstanceId,
    /// Its name.
    pub name: String,
    /// The capacity provider whose pool it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<CapacityProviderName>,
    /// CPU units that it offers.
    pub cpu: u32,
    /// MiB that it offers.
    pub memory: u32,
    /// Attributes, those of users over those of the agent; `null` for one without a value.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// `ACTIVE` or `DRAINING`.
    pub status: HostStatus,
    /// Whether its agent was connected.
    pub connected: bool,
    /// The service for whose task others on it are being stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub makes_room_for: Option<ServiceName>,
    /// Version of its agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    /// When it registered, in milliseconds since 1970.
    pub registered_at: Timestamp,
    /// Ports that programs which are no tasks hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_ports: Vec<String>,
}

/// Whether a host takes tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HostStatus {
    /// It does.
    Active,
    /// Its tasks are to move away.
    Draining,
}

/// What tasks ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestLine {
    /// Its number.
    pub request: u32,
    /// The group that such tasks are of.
    pub group: String,
    /// The capacity provider to whose hosts alone they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<CapacityProviderName>,
    /// CPU units.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
    /// Host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// `distinctInstance`, or `memberOf=` and an expression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Strategies in order: `random`, or `spread=` or `binpack=` and a field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<String>,
}

/// A task that was there at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskLine {
    /// Its number.
    pub task: u32,
    /// What it asked for.
    pub request: u32,
    /// The host that it is on.
    pub host: u32,
    /// Whether it is wanted to run.
    pub wanted: bool,
    /// Whether it runs.
    pub running: bool,
    /// Ports that its host gave it beyond those that it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryLine {
    /// Its index.
    pub index: LogIndex,
    /// The newest time that an entry up to it names, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// A task that was put on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlacedLine {
    /// Its number.
    pub task: u32,
    /// Its id, by which `random` draws.
    pub id: TaskId,
    /// What it asks for.
    pub request: u32,
    /// The host.
    pub host: u32,
    /// Whether it could go to no other host: a task of a daemon service, or one of `StartTask`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_host: bool,
    /// How the host was chosen; absent if that was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionLine>,
}

/// How a host was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionLine {
    /// The seed of the plan: what was decided at once has the same.
    pub seed: u64,
    /// In what manner the tasks of the plan were placed; absent if one by one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub manner: Manner,
    /// The task's place among those of the plan; absent if it is the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub position: u32,
    /// Hosts that it could go to at all.
    pub considered: u32,
    /// Hosts that each filter refused and none before it did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u32>,
    /// What each strategy said of the host; lower is better.
    pub ranks: Vec<u64>,
    /// Tasks that were on the host.
    pub tasks: u32,
    /// The next best host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUpLine>,
}

/// The next best host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunnerUpLine {
    /// Which.
    pub host: u32,
    /// What each strategy said of it.
    pub ranks: Vec<u64>,
    /// Tasks that were on it.
    pub tasks: u32,
}

/// A task that is otherwise than it was. It repeats members of [`TaskLine`]: lines that shared them could not refuse members that they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangedLine {
    /// Which.
    pub task: u32,
    /// Whether it is wanted to run: it counts in its group while it is.
    pub wanted: bool,
    /// Whether it runs.
    pub running: bool,
    /// Ports that its host gave it beyond those that it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
}

/// A task that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GoneLine {
    /// Which.
    pub task: u32,
}

/// Tasks that found no host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnplacedLine {
    /// What they ask for.
    pub request: u32,
    /// How many the service lacked.
    pub tasks: u32,
    /// What the service said of it.
    pub reason: String,
}

/// A host by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostNumberLine {
    /// Which.
    pub host: u32,
}

/// The end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndLine {
    /// The last entry of the log that may be in the recording.
    pub index: LogIndex,
    /// Lines before this one.
    pub lines: u64,
}

impl HostLine {
    /// A host that misses a daemon takes no tasks, like one that drains, but those of daemons, where no strategy decides.
    pub(super) fn of(
        number: u32,
        instance: &ContainerInstance,
        makes_room_for: Option<ServiceName>,
        misses_daemon: bool,
    ) -> Self {
        Self {
            host: number,
            id: instance.id,
            name: instance.host.host_name.clone(),
            capacity_provider: instance.host.capacity_provider.clone(),
            cpu: instance.host.capacity.cpu.0,
            memory: instance.host.capacity.memory.0,
            attributes: instance.all_attributes(),
            status: match instance.status {
                ContainerInstanceStatus::Active if !misses_daemon => HostStatus::Active,
                ContainerInstanceStatus::Active
                | ContainerInstanceStatus::Draining
                | ContainerInstanceStatus::Inactive => HostStatus::Draining,
            },
            connected: instance.agent_connected,
            makes_room_for,
            agent_version: instance.host.agent_version.clone(),
            registered_at: instance.registered_at,
            foreign_ports: words::of_ports(&instance.foreign_ports),
        }
    }
}

impl RequestLine {
    pub(super) fn of(number: u32, request: &TaskRequest) -> Self {
        Self {
            request: number,
            group: request.group.clone(),
            capacity_provider: request.capacity_provider.clone(),
            cpu: request.shape.resources.cpu.0,
            memory: request.shape.resources.memory.0,
            ports: words::of_ports(&request.host_ports),
            constraints: request.constraints.iter().map(words::of_constraint).collect(),
            strategies: request.strategies.iter().map(words::of_strategy).collect(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl DecisionLine {
    /// A placement as a recording has it, where hosts have these numbers. A next best host that has none is left out.
    #[must_use]
    pub fn of(placement: &RecordedPlacement, number: impl Fn(ContainerInstanceId) -> Option<u32>) -> Self {
        let filter =
            |code: u8| FilterKind::of_code(code).map_or_else(|| format!("filter {code}"), |f| f.as_str().into());
        let runner_up = placement.runner_up.as_ref().and_then(|(host, score)| {
            Some(RunnerUpLine {
                host: number(*host)?,
                ranks: score.ranks.clone(),
                tasks: score.tasks,
            })
        });
        let refused = placement.refused.iter();
        Self {
            seed: placement.seed,
            manner: placement.manner,
            position: placement.position,
            considered: placement.considered,
            refused: refused.map(|(code, hosts)| (filter(*code), *hosts)).collect(),
            ranks: placement.chosen.ranks.clone(),
            tasks: placement.chosen.tasks,
            runner_up,
        }
    }
}
