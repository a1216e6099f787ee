//! Which events a command brings about. Each rule is of the pages "Amazon ECS task state change events", "... container instance state change
//! events", "... service action events", "... service deployment state change events" and "... service deployment hook state change events" of
//! ECS's developer guide; those of daemons are in `daemon.rs`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::touched::{self, Resource, Touched};
use super::{Announcement, Position, Subject, daemon, service};
use crate::decisions::time_of;
use crate::model::{ContainerInstanceId, LogIndex, Service, ServiceKey, TaskStatus, Timestamp};
use crate::state::{ClusterState, Command, Event, TaskChange};

/// What of the state before a command has to be known to tell what it brings about.
#[derive(Debug, Default)]
pub struct Witness {
    service: Option<Arc<Service>>,
    /// Hosts and tasks that the command names, by ids which do not tell their clusters.
    named: BTreeSet<Resource>,
}

impl Witness {
    /// Looks at the state before `command` is applied.
    #[must_use]
    pub fn before(state: &ClusterState, command: &Command) -> Self {
        let service = subject_of(command).and_then(|key| state.service(key)).cloned();
        Self {
            service,
            named: touched::named(state, command),
        }
    }

    /// The events that the command at `index` of the log brought about: `state` is as it is after it, and `events` are what applying it gave.
    #[must_use]
    pub fn announce(
        &self,
        state: &ClusterState,
        index: LogIndex,
        command: &Command,
        events: &[Event],
    ) -> Vec<Announcement> {
        let mut found = Found {
            state,
            command,
            subjects: vec![],
            hosts: BTreeMap::new(),
        };
        for event in events {
            match event {
                Event::TaskChanged(change) => found.task(change),
                Event::ContainerInstanceRegistered { id, .. }
                | Event::ContainerInstanceChanged { id, .. }
                | Event::ContainerInstanceDeregistered { id, .. } => found.host(*id),
                Event::ServiceCreated(key) | Event::ServiceUpdated(key) => self.service(&mut found, key),
                _ => {}
            }
        }
        found.in_order(index)
    }

    /// The resources that look other than before since the command was applied.
    #[must_use]
    pub fn touched(&self, command: &Command, events: &[Event]) -> Touched {
        touched::by(command, events, &self.named)
    }

    fn service(&self, found: &mut Found<'_>, key: &ServiceKey) {
        let Some(now) = found.state.service(key) else { return };
        // Of another one, only the failures that are counted have changed, which say nothing by themselves.
        if subject_of(found.command) != Some(key) {
            return;
        }
        let before = self.service.as_deref().filter(|before| before.key == *key);
        let at = time_of(found.command).unwrap_or(now.created_at);
        found.subjects.extend(match key.is_of_daemon() {
            true => daemon::changes(found.state, before, now, at),
            false => service::changes(before, now, at),
        });
    }
}

/// The service whose course a command changes.
fn subject_of(command: &Command) -> Option<&ServiceKey> {
    match command {
        Command::CreateService { service, .. } => Some(&service.key),
        Command::UpdateService(update) => Some(&update.service),
        Command::RecordServiceProgress(progress) => Some(&progress.service),
        Command::DeleteDaemon { daemon, .. } => Some(daemon),
        Command::DeleteService { service, .. }
        | Command::StopServiceDeployment { service, .. }
        | Command::ContinueServiceDeployment { service, .. } => Some(service),
        _ => None,
    }
}

/// What was found so far.
struct Found<'s> {
    state: &'s ClusterState,
    command: &'s Command,
    subjects: Vec<(Timestamp, Subject)>,
    /// Hosts to speak of once all else is told, each once.
    hosts: BTreeMap<ContainerInstanceId, Timestamp>,
}

impl Found<'_> {
    fn task(&mut self, change: &TaskChange) {
        // Protection is shown by another operation alone.
        let is_protection = matches!(
            self.command,
            Command::UpdateTaskProtection { .. } | Command::DeleteService { .. }
        );
        let Some(task) = self.state.task(change.task).filter(|_| !is_protection) else {
            return;
        };
        let at = self.time(change.container_instance).unwrap_or(task.created_at);
        self.subjects.push((
            at,
            Subject::Task {
                host: task
                    .container_instance
                    .and_then(|id| self.state.container_instance(id))
                    .cloned(),
                definition: self.state.task_definition(&task.task_definition).cloned(),
                task: Arc::clone(task),
            },
        ));
        let daemon = change.service.as_ref().filter(|service| service.is_of_daemon());
        if let Some(impaired) = daemon.and_then(|daemon| daemon::failed_to_run(daemon, task, change)) {
            self.subjects.push((at, impaired));
        }
        // What the host has left is another amount once a task is placed or over.
        let is_placed = change.from.is_none_or(|from| from == TaskStatus::Provisioning);
        let is_over = change.to == TaskStatus::Stopped && change.from != Some(TaskStatus::Stopped);
        if let Some(host) = change.container_instance.filter(|_| is_placed || is_over) {
            self.hosts.insert(host, at);
        }
    }

    fn host(&mut self, id: ContainerInstanceId) {
        // No attribute and no port of another program is among the reasons that ECS names.
        let is_reason = !matches!(
            self.command,
            Command::RecordForeignPorts { .. } | Command::PutAttributes { .. } | Command::DeleteAttributes { .. }
        );
        if let Some(host) = self.state.container_instance(id).filter(|_| is_reason) {
            let latest = host
                .connection_changed_at
                .max(host.last_heard_at)
                .max(host.registered_at);
            let at = self.time(Some(id)).unwrap_or(latest);
            self.hosts.insert(id, at);
        }
    }

    /// When the command came about, as far as it says; of what several hosts report, when this one's was heard.
    fn time(&self, host: Option<ContainerInstanceId>) -> Option<Timestamp> {
        match self.command {
            Command::RecordReportsOfHosts { hosts } => {
                let reported = hosts.iter().find(|reports| Some(reports.container_instance) == host);
                reported.map(|reports| reports.at)
            }
            command => time_of(command),
        }
    }

    /// Tasks and services in the order in which they changed, then hosts in that of their ids.
    fn in_order(self, index: LogIndex) -> Vec<Announcement> {
        let hosts = self.hosts.into_iter().filter_map(|(id, at)| {
            let host = self.state.container_instance(id)?;
            let subject = Subject::ContainerInstance {
                host: Arc::clone(host),
                allocation: self.state.allocation(id),
                status: self.state.shown_status(host),
            };
            Some((at, subject))
        });
        let all = self.subjects.into_iter().chain(hosts);
        let announced = (0..).zip(all).map(|(number, (at, subject))| Announcement {
            position: Position { index, number },
            at,
            subject,
        });
        announced.collect()
    }
}
