//! What has to hold, checked at every step. Pure.
//!
//! The reference is the log as the first controller that applies an entry finds it, and core's state with that log
//! applied once, in order. Whatever any controller applies, shows or answers later is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use berth_core::model::{ContainerInstanceId, LogIndex, LogPosition, Task, TaskId, TransportProtocol};
use berth_core::state::{ClusterState, Command, Event, apply};
use berth_proto::record::{self, RecordKind};

use crate::conversation::AgentNumber;
use crate::hosts;
use crate::machine::{Entry, View};

/// What was violated, if anything.
pub(crate) type Checked = Result<(), String>;

/// A number that stands for a command; those of clients never repeat.
pub(crate) type Digest = u64;

pub(crate) fn digest(command: &Command) -> Digest {
    let mut hasher = DefaultHasher::new();
    record::encode(RecordKind::Command, command)
        .expect("a command has a JSON form")
        .hash(&mut hasher);
    hasher.finish()
}

/// What tasks hold of a host.
struct Held {
    cpu: u32,
    memory: u32,
    ports: Vec<(TransportProtocol, u16)>,
}

impl Held {
    fn by<'t>(tasks: impl Iterator<Item = &'t Task>) -> Self {
        let mut held = Self {
            cpu: 0,
            memory: 0,
            ports: vec![],
        };
        for task in tasks {
            held.cpu += task.reservation.cpu.0;
            held.memory += task.reservation.memory.0;
            held.ports.extend(&task.host_ports);
        }
        held
    }

    fn fits(&self) -> bool {
        let has = hosts::capacity();
        let distinct: BTreeSet<_> = self.ports.iter().collect();
        self.cpu <= has.cpu.0 && self.memory <= has.memory.0 && distinct.len() == self.ports.len()
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (has, Self { cpu, memory, ports }) = (hosts::capacity(), self);
        write!(
            f,
            "{cpu} of {} cpu units, {memory} of {} MiB, ports {ports:?}",
            has.cpu.0, has.memory.0
        )
    }
}

#[derive(Default)]
pub(crate) struct Checks {
    /// The commands that were applied, each with its index.
    #[cfg(test)]
    pub(crate) commands: Vec<(u64, Command)>,
    /// What stands at each index.
    log: BTreeMap<u64, Digest>,
    /// The state after each index.
    states: BTreeMap<u64, View>,
    state: ClusterState,
    /// How often each command was applied.
    applied: BTreeMap<Digest, u32>,
    acknowledged: BTreeSet<Digest>,
    refused: BTreeSet<Digest>,
    /// The newest index that any client knows of.
    known: u64,
    /// The index of the state that each controller showed last.
    compared: BTreeMap<u64, u64>,
    /// Members and recognised proposals at some indexes, as a digest.
    replicated: BTreeMap<u64, u64>,
    accepted: BTreeMap<(AgentNumber, ContainerInstanceId), LogPosition>,
    started: BTreeSet<TaskId>,
}

impl Checks {
    pub(crate) fn new() -> Self {
        Self {
            state: ClusterState::at_newest_level(),
            ..Self::default()
        }
    }

    /// The state with all that any controller has applied.
    pub(crate) fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The newest index that any client knows of: what a read that begins now has to show.
    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    /// A controller applied an entry: the same as all others at that index.
    pub(crate) fn applied(&mut self, controller: u64, entry: Entry) -> Checked {
        let Entry { index, command } = entry;
        let digest = digest(&command);
        if let Some(known) = self.log.get(&index) {
            if *known != digest {
                return Err(format!(
                    "controller {controller} applied another command at index {index}: {command:?}"
                ));
            }
            return Ok(());
        }
        if let Some((last, _)) = self.log.last_key_value().filter(|(last, _)| **last > index) {
            let what = format!("controller {controller} applied a command at index {index}, where others had none");
            return Err(format!("{what} when they applied {last}: {command:?}"));
        }
        self.log.insert(index, digest);
        let times = self.applied.entry(digest).or_default();
        *times += 1;
        let is_client_s = self.acknowledged.contains(&digest) || self.refused.contains(&digest);
        if *times > 1 && is_client_s {
            return Err(format!(
                "a client's command was applied again at index {index}: {command:?}"
            ));
        }
        if self.refused.contains(&digest) {
            return Err(format!(
                "a client's command was refused, and is applied at index {index}: {command:?}"
            ));
        }
        let events = apply(&mut self.state, LogIndex(index), &command).unwrap_or_default();
        self.states.insert(index, Arc::new(self.state.clone()));
        #[cfg(test)]
        self.commands.push((index, command));
        self.check_hosts(index, &events)
    }

    /// No host is promised more than it has, whatever the state says that it has.
    fn check_hosts(&self, index: u64, events: &[Event]) -> Checked {
        let touched = events.iter().filter_map(|event| match event {
            Event::TaskChanged(change) => change.container_instance,
            _ => None,
        });
        for host in touched.collect::<BTreeSet<_>>() {
            let held = Held::by(self.tasks_on(host));
            if !held.fits() {
                return Err(format!("host {host} is over-reserved at index {index}: {held}"));
            }
        }
        Ok(())
    }

    /// Whether some host has room for one more task like this one.
    fn has_room_for(&self, task: &Task) -> bool {
        let cluster = hosts::cluster();
        let mut hosts = self.state.container_instances_of(&cluster);
        hosts.any(|host| Held::by(self.tasks_on(host.id).chain([task])).fits())
    }

    fn tasks_on(&self, host: ContainerInstanceId) -> impl Iterator<Item = &Task> {
        let tasks = self.state.tasks_of_instance(host).map(AsRef::as_ref);
        tasks.filter(|task: &&Task| !task.is_stopped())
    }

    /// A controller showed a state: that of its index.
    pub(crate) fn shown(&mut self, controller: u64, index: u64, view: &View) -> Checked {
        if self.compared.insert(controller, index) == Some(index) {
            return Ok(());
        }
        let is_as_expected = match self.states.range(..=index).next_back() {
            Some((_, expected)) => expected == view,
            None => **view == ClusterState::at_newest_level(),
        };
        if is_as_expected {
            return Ok(());
        }
        Err(format!(
            "controller {controller} has another state at index {index} than the log gives"
        ))
    }

    /// A controller has these members and recognised proposals at an index: the same as all others.
    pub(crate) fn replicated(&mut self, controller: u64, (index, digest): (u64, u64)) -> Checked {
        if *self.replicated.entry(index).or_insert(digest) == digest {
            return Ok(());
        }
        let what = "has other members, or recognises other proposals";
        Err(format!(
            "controller {controller} {what} at index {index} than another had there"
        ))
    }

    /// A client's command took effect at an index, as it was told.
    pub(crate) fn acknowledged(&mut self, digest: Digest, index: u64) -> Checked {
        self.acknowledged.insert(digest);
        self.known = self.known.max(index);
        match self.log.get(&index) {
            Some(at_index) if *at_index == digest => Ok(()),
            _ => Err(format!(
                "a write was acknowledged at index {index}, where the log has something else"
            )),
        }
    }

    /// A client was told that its command took effect, and not where.
    pub(crate) fn acknowledged_somewhere(&mut self, digest: Digest) {
        self.acknowledged.insert(digest);
    }

    /// A client was told that nothing came of its command.
    pub(crate) fn refused(&mut self, digest: Digest) -> Checked {
        self.refused.insert(digest);
        if self.applied.contains_key(&digest) {
            return Err("a write was refused although it is applied".to_owned());
        }
        Ok(())
    }

    /// A read that had to show an index showed another.
    pub(crate) fn read(&mut self, controller: u64, wanted: u64, index: u64) -> Checked {
        self.known = self.known.max(index);
        if index < wanted {
            return Err(format!(
                "a read on controller {controller} showed index {index}, although index {wanted} was known before it began"
            ));
        }
        Ok(())
    }

    /// A client was told that its tasks run.
    pub(crate) fn ran(&self, tasks: &[TaskId]) -> Checked {
        match tasks.iter().find(|task| self.state.task(**task).is_none()) {
            Some(task) => Err(format!("task {task} was acknowledged, and does not exist")),
            None => Ok(()),
        }
    }

    /// An agent took over assignments of a position.
    pub(crate) fn accepted(&mut self, agent: AgentNumber, host: ContainerInstanceId, position: LogPosition) -> Checked {
        let last = self.accepted.insert((agent, host), position);
        if let Some(last) = last.filter(|last| *last > position) {
            return Err(format!(
                "agent {agent} took over assignments of {position:?} after those of {last:?}"
            ));
        }
        Ok(())
    }

    /// A host started a task.
    pub(crate) fn started(&mut self, agent: AgentNumber, task: TaskId) -> Checked {
        if !self.started.insert(task) {
            return Err(format!("host {agent} started task {task}, which was started before"));
        }
        Ok(())
    }

    /// At the end of a run: everything that was acknowledged is in the log, once.
    pub(crate) fn all_acknowledged_is_there(&self) -> Checked {
        for digest in &self.acknowledged {
            let times = self.applied.get(digest).copied().unwrap_or_default();
            if times != 1 {
                return Err(format!("a write that was acknowledged is {times} times in the log"));
            }
        }
        Ok(())
    }

    /// Whether every service has what it wants or what the hosts have room for, and nothing else runs on the hosts; if not, what is missing.
    pub(crate) fn at_rest(&self, running: &BTreeMap<AgentNumber, BTreeSet<TaskId>>) -> Checked {
        use berth_core::model::{DesiredStatus, TaskStatus};
        let cluster = hosts::cluster();
        for service in self.state.services_of(&cluster) {
            let tasks = self
                .state
                .tasks_of_service(&service.key)
                .filter(|task| task.last_status == TaskStatus::Running);
            let tasks: Vec<_> = tasks
                .filter(|task| task.desired_status == DesiredStatus::Running)
                .collect();
            let (count, wanted) = (
                tasks.len(),
                usize::try_from(service.desired_count).unwrap_or(usize::MAX),
            );
            // Other tasks may have filled a host that each task of this one needs for itself.
            let is_full = count < wanted && tasks.first().is_some_and(|task| !self.has_room_for(task));
            if (count != wanted && !is_full) || service.deployments.len() > 1 {
                return Err(format!(
                    "service {} wants {} tasks and has {count}, with {} deployments",
                    service.key.name,
                    service.desired_count,
                    service.deployments.len()
                ));
            }
        }
        for host in self.state.container_instances_of(&cluster) {
            if !host.agent_connected {
                return Err(format!("{} does not count as connected", host.agent));
            }
            let wanted = self
                .state
                .tasks_of_instance(host.id)
                .filter(|task| !task.is_stopped())
                .map(|task| task.id);
            let wanted: BTreeSet<TaskId> = wanted.collect();
            let number = hosts::agent_number(host.agent.as_str()).unwrap_or_default();
            let runs = running.get(&number).cloned().unwrap_or_default();
            if runs != wanted {
                return Err(format!("{} runs {runs:?}, and {wanted:?} are to be there", host.agent));
            }
        }
        Ok(())
    }
}
