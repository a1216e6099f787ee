//! [`Recorder`]: tells what commands did to the hosts and tasks of a cluster, in lines. What it looks at is the state after each command, so
//! that a recording says what became of it and not what was asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{
    ChangedLine, DecisionLine, EndLine, EntryLine, GoneLine, Header, HostLine, HostNumberLine, Line, PlacedLine,
    RequestLine, TaskLine, UnplacedLine, VERSION,
};
use super::words;
use crate::model::{
    ClusterKey, ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, LogIndex, SchedulingStrategy, Task,
    TaskId, TaskStatus, Timestamp,
};
use crate::placement::{TaskRequest, is_unable_to_place};
use crate::reconcile::next_task;
use crate::state::{ClusterState, Command, Event, ServiceProgress};

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    cluster: ClusterKey,
    /// Hosts as they were told, those that have left included.
    hosts: BTreeMap<ContainerInstanceId, HostLine>,
    /// Those that have not.
    present: BTreeSet<ContainerInstanceId>,
    /// Tasks that hold something, as they were told.
    tasks: BTreeMap<TaskId, ChangedLine>,
    /// By what they ask for, written as number 0.
    requests: BTreeMap<String, u32>,
    next_task: u32,
    /// The newest time that a command named.
    time: Option<Timestamp>,
    lines: u64,
}

/// What takes the lines.
type Out<'o, E> = &'o mut dyn FnMut(&Line) -> Result<(), E>;

impl Recorder {
    /// Begins with the hosts and tasks of a cluster as they are in a state; `from` is the entry after it.
    ///
    /// # Errors
    /// That of `out`.
    pub fn begin<E>(
        state: &ClusterState,
        cluster: &ClusterKey,
        from: LogIndex,
        berth: &str,
        out: Out<'_, E>,
    ) -> Result<Self, E> {
        let mut recorder = Self {
            cluster: cluster.clone(),
            hosts: BTreeMap::new(),
            present: BTreeSet::new(),
            tasks: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_task: 0,
            time: None,
            lines: 0,
        };
        let header = Header {
            version: VERSION,
            cluster: cluster.arn(),
            from_index: from,
            berth: berth.to_owned(),
        };
        recorder.say(Line::Recording(header), out)?;
        for instance in state.container_instances_of(cluster) {
            recorder.note_host(state, instance.id, out)?;
        }
        for task in state.tasks_of_cluster(cluster).filter(|task| !task.is_stopped()) {
            recorder.tell_task(task, out)?;
        }
        Ok(recorder)
    }

    /// Takes in a command that was applied, the state after it, and its events.
    ///
    /// # Errors
    /// That of `out`.
    pub fn note<E>(
        &mut self,
        state: &ClusterState,
        command: &Command,
        events: &[Event],
        out: Out<'_, E>,
    ) -> Result<(), E> {
        self.time = self.time.max(time_of(command));
        let mut lines = vec![];
        let into: Out<'_, std::convert::Infallible> = &mut |line: &Line| {
            lines.push(line.clone());
            Ok(())
        };
        let Ok(()) = self.note_all(state, command, events, into);
        if lines.is_empty() {
            return Ok(());
        }
        let entry = EntryLine {
            index: state.applied(),
            at: self.time,
        };
        self.say(Line::Entry(entry), out)?;
        lines.iter().try_for_each(out)
    }

    /// Ends the recording, of which the entry at `index` is the last.
    ///
    /// # Errors
    /// That of `out`.
    pub fn end<E>(mut self, index: LogIndex, out: Out<'_, E>) -> Result<(), E> {
        let lines = self.lines;
        self.say(Line::End(EndLine { index, lines }), out)
    }

    fn say<E>(&mut self, line: Line, out: Out<'_, E>) -> Result<(), E> {
        self.lines += 1;
        out(&line)
    }

    fn note_all<E>(
        &mut self,
        state: &ClusterState,
        command: &Command,
        events: &[Event],
        out: Out<'_, E>,
    ) -> Result<(), E> {
        for event in events {
            match event {
                Event::TaskChanged(change) if change.cluster == self.cluster => {
                    self.note_task(state, change.task, out)?;
                    let task = state.task(change.task);
                    let preempted = task.filter(|task| task.preempted_by.is_some());
                    if let Some(host) = preempted.and_then(|task| task.container_instance) {
                        self.note_host(state, host, out)?;
                    }
                }
                Event::TaskForgotten { task, .. } => self.note_task(state, *task, out)?,
                Event::ContainerInstanceRegistered { id, cluster }
                | Event::ContainerInstanceChanged { id, cluster }
                | Event::ContainerInstanceDeregistered { id, cluster }
                    if *cluster == self.cluster =>
                {
                    self.note_host(state, *id, out)?;
                    let known = self.hosts.get(id).map(|known| known.host);
                    if let (Command::DeclareHostLost { .. }, Some(host)) = (command, known) {
                        self.say(Line::Lost(HostNumberLine { host }), out)?;
                    }
                }
                Event::StateReset => self.forget_all(out)?,
                _ => {}
            }
        }
        match command {
            Command::RecordServiceProgress(progress) => self.note_shortage(state, progress, out),
            _ => Ok(()),
        }
    }

    fn note_host<E>(&mut self, state: &ClusterState, id: ContainerInstanceId, out: Out<'_, E>) -> Result<(), E> {
        let instance = state.container_instance(id);
        let Some(instance) = instance.filter(|known| known.status != ContainerInstanceStatus::Inactive) else {
            return self.say_left(id, out);
        };
        self.present.insert(id);
        let known = self.hosts.get(&id);
        let number = known.map_or_else(|| number(self.hosts.len()), |known| known.host);
        let makes_room_for = state.allocation(id).makes_room_for().cloned();
        let line = HostLine::of(number, instance, makes_room_for, state.missing_daemon(id).is_some());
        if known == Some(&line) {
            return Ok(());
        }
        self.hosts.insert(id, line.clone());
        self.say(Line::Host(line), out)
    }

    fn say_left<E>(&mut self, id: ContainerInstanceId, out: Out<'_, E>) -> Result<(), E> {
        let known = self.hosts.get(&id).map(|known| known.host);
        match known.filter(|_| self.present.remove(&id)) {
            Some(host) => self.say(Line::Left(HostNumberLine { host }), out),
            None => Ok(()),
        }
    }

    fn note_task<E>(&mut self, state: &ClusterState, id: TaskId, out: Out<'_, E>) -> Result<(), E> {
        let task = state.task(id).filter(|task| !task.is_stopped());
        let (Some(task), known) = (task, self.tasks.get(&id)) else {
            return match self.tasks.remove(&id) {
                Some(known) => self.say(Line::Gone(GoneLine { task: known.task }), out),
                None => Ok(()),
            };
        };
        match known {
            Some(known) => {
                let line = how_it_is(known.task, task);
                if *known == line {
                    return Ok(());
                }
                self.tasks.insert(id, line.clone());
                self.say(Line::Changed(line), out)
            }
            None => self.tell_placed(state, task, out),
        }
    }

    fn tell_task<E>(&mut self, task: &Task, out: Out<'_, E>) -> Result<(), E> {
        let Some(host) = self.host_of(task) else {
            return Ok(());
        };
        let request = self.number_of(&TaskRequest::of(task), out)?;
        let now = how_it_is(self.take_number(), task);
        self.tasks.insert(task.id, now.clone());
        let line = TaskLine {
            task: now.task,
            request,
            host,
            wanted: now.wanted,
            running: now.running,
            ports: now.ports,
        };
        self.say(Line::Task(line), out)
    }

    fn tell_placed<E>(&mut self, state: &ClusterState, task: &Task, out: Out<'_, E>) -> Result<(), E> {
        let Some(host) = self.host_of(task) else {
            return Ok(());
        };
        let request = self.number_of(&TaskRequest::of(task), out)?;
        let record = task.placement.as_ref().map(crate::model::PlacementRecord::read);
        let of_daemon = task.service().and_then(|key| state.service(key));
        let is_daemon = of_daemon.is_some_and(|service| service.scheduling_strategy == SchedulingStrategy::Daemon);
        let had_no_choice = record.as_ref().is_some_and(|record| record.considered == 1);
        let decision = record.map(|record| DecisionLine::of(&record, |id| self.hosts.get(&id).map(|known| known.host)));
        let now = how_it_is(self.take_number(), task);
        let line = PlacedLine {
            task: now.task,
            id: task.id,
            request,
            host,
            only_host: is_daemon || (had_no_choice && state.host_count(&self.cluster) > 1),
            decision,
        };
        // One that was applied anew begins as every other; what is more is told below.
        let begins = ChangedLine {
            wanted: true,
            running: false,
            ports: vec![],
            ..now.clone()
        };
        self.tasks.insert(task.id, now.clone());
        self.say(Line::Placed(line), out)?;
        if now == begins {
            return Ok(());
        }
        self.say(Line::Changed(now), out)
    }

    fn note_shortage<E>(&mut self, state: &ClusterState, progress: &ServiceProgress, out: Out<'_, E>) -> Result<(), E> {
        let said = progress.events.iter().find(|event| is_unable_to_place(&event.message));
        let service = state.service(&progress.service);
        let (Some(said), Some(service)) = (said, service.filter(|s| s.key.cluster == self.cluster)) else {
            return Ok(());
        };
        // Where a task of a daemon service goes no strategy decides.
        if service.scheduling_strategy == SchedulingStrategy::Daemon {
            return Ok(());
        }
        let Some(task) = next_task(state, service, progress.at) else {
            return Ok(());
        };
        let request = self.number_of(&TaskRequest::of(&task), out)?;
        let tasks = state.live_tasks_of_service(&service.key);
        let wanted = number(
            tasks
                .filter(|task| task.desired_status == DesiredStatus::Running)
                .count(),
        );
        let line = UnplacedLine {
            request,
            tasks: service.desired_count.saturating_sub(wanted).max(1),
            reason: said.message.clone(),
        };
        self.say(Line::Unplaced(line), out)
    }

    fn forget_all<E>(&mut self, out: Out<'_, E>) -> Result<(), E> {
        for (_, known) in std::mem::take(&mut self.tasks) {
            self.say(Line::Gone(GoneLine { task: known.task }), out)?;
        }
        let present = self.present.clone();
        present.into_iter().try_for_each(|host| self.say_left(host, out))
    }

    fn host_of(&self, task: &Task) -> Option<u32> {
        let id = task.container_instance?;
        self.hosts.get(&id).map(|known| known.host)
    }

    fn take_number(&mut self) -> u32 {
        self.next_task += 1;
        self.next_task - 1
    }

    /// The number of a request, which is told if it is new.
    fn number_of<E>(&mut self, request: &TaskRequest, out: Out<'_, E>) -> Result<u32, E> {
        let line = RequestLine::of(0, request);
        // Plain data; were it ever not written, equal requests would be told twice, and nothing else.
        let key = serde_json::to_string(&line).unwrap_or_default();
        if let Some(known) = self.requests.get(&key) {
            return Ok(*known);
        }
        let request = number(self.requests.len());
        self.requests.insert(key, request);
        self.say(Line::Request(RequestLine { request, ..line }), out)?;
        Ok(request)
    }
}

/// A count as the next number.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn how_it_is(number: u32, task: &Task) -> ChangedLine {
    let bound = task.containers.iter().flat_map(|container| &container.network_bindings);
    let bound = bound.map(|binding| (binding.protocol, binding.host_port));
    let beyond = bound.filter(|port| !task.host_ports.contains(port));
    ChangedLine {
        task: number,
        wanted: task.desired_status == DesiredStatus::Running,
        running: task.last_status == TaskStatus::Running,
        ports: words::of_ports(&beyond.collect()),
    }
}

/// The time that a command names, where it names one.
#[must_use]
pub fn time_of(command: &Command) -> Option<Timestamp> {
    match command {
        Command::RunTasks { tasks, .. } | Command::CreateTasks { tasks } => tasks.iter().map(|t| t.created_at).max(),
        Command::RecordReportsOfHosts { hosts } => hosts.iter().map(|host| host.at).max(),
        Command::CreateService { service, .. } => Some(service.created_at),
        Command::UpdateService(update) => Some(update.at),
        Command::CreateTaskSet { task_set, .. } => Some(task_set.created_at),
        Command::RecordServiceProgress(progress) => Some(progress.at),
        Command::RegisterTaskDefinition(definition) => Some(definition.registered_at),
        Command::BeginRebalance(rebalance) => Some(rebalance.started_at),
        Command::MoveTask(step) => Some(step.at),
        Command::RecordRebalance(progress) => Some(progress.at),
        Command::SubmitStateChange(change) => Some(change.at),
        Command::DeleteCluster { at, .. } | Command::UpdateContainerInstanceStatus { at, .. } => *at,
        Command::DeregisterTaskDefinition { at, .. }
        | Command::DeleteDaemonTaskDefinition { at, .. }
        | Command::DeleteDaemon { at, .. }
        | Command::DeleteService { at, .. }
        | Command::StopServiceDeployment { at, .. }
        | Command::UpdateTaskSet { at, .. }
        | Command::UpdateServicePrimaryTaskSet { at, .. }
        | Command::DeleteTaskSet { at, .. }
        | Command::ContinueServiceDeployment { at, .. }
        | Command::SetAlarmState { at, .. }
        | Command::StopTasks { at, .. }
        | Command::PlaceTasks { at, .. }
        | Command::PreemptTasks { at, .. }
        | Command::RecordFailedHealthChecks { at, .. }
        | Command::UpdateTaskProtection { at, .. }
        | Command::RecordTaskReports { at, .. }
        | Command::RegisterContainerInstance { at, .. }
        | Command::RecordAgentDisconnected { at, .. }
        | Command::DeclareHostLost { at, .. }
        | Command::ChangePower { at, .. }
        | Command::DeregisterContainerInstance { at, .. }
        | Command::StopRebalance { at, .. } => Some(*at),
        Command::CreateCapacityProvider(provider) => Some(provider.created_at),
        Command::PutAlarm(alarm) => Some(alarm.configured_at),
        Command::CreateCluster(_)
        | Command::UpdateCapacityProvider(_)
        | Command::DeleteCapacityProvider { .. }
        | Command::DeleteAlarms { .. }
        | Command::PutClusterCapacityProviders { .. }
        | Command::UpdateCluster(_)
        | Command::DeleteTaskDefinition { .. }
        | Command::ForgetTaskDefinitions { .. }
        | Command::RecordForeignPorts { .. }
        | Command::Forget { .. }
        | Command::PutAttributes { .. }
        | Command::DeleteAttributes { .. }
        | Command::TagResource { .. }
        | Command::UntagResource { .. }
        | Command::ChangeDocuments { .. }
        | Command::RaiseFeatureLevel(_)
        | Command::Reset => None,
    }
}
