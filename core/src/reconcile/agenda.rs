//! What the reconcilers have to look at: subjects that changed, and subjects whose time has come. It holds nothing
//! that could not be found again from the state, so a new leader begins with [`Agenda::everything`]. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{ClusterKey, ContainerInstanceId, Priority, ServiceKey, Task, TaskStatus, Timestamp};
use crate::placement::KnownHosts;
use crate::state::{ClusterState, Command, Event, Taggable};

use super::dependencies::Dependents;
use super::kept_room::KeptRoom;
use super::room::Room;
use super::scaled::Scaled;
use super::waiting::{Waiter, Waiting};

/// Something that a reconciler looks at as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// One host, and the services with tasks on it.
    Host(ContainerInstanceId),
    /// Whether one host whose agent is away is to be given up.
    AwayHost(ContainerInstanceId),
    /// Whether any host of a cluster whose agent is away is to be given up, since that may be due at another time than before.
    AwayHostsOf(ClusterKey),
    /// What a change of any host of a cluster means to its services.
    HostsOf(ClusterKey),
    /// One service.
    Service(ServiceKey),
    /// Which of the tasks outside services of a cluster wait for a host.
    Provisioning(ClusterKey),
    /// Those of them that have this priority.
    Tasks(ClusterKey, Priority),
    /// The moves of a cluster's tasks.
    Rebalance(ClusterKey),
    /// Whether services of a cluster are to be brought back to evenness over availability zones.
    Zones(ClusterKey),
    /// Which hosts of a cluster sleep, and which are woken.
    Pools(ClusterKey),
    /// What is over and still remembered: stopped tasks, task definitions that are being deleted, deleted clusters.
    Retention,
}

impl From<Waiter> for Subject {
    fn from(waiter: Waiter) -> Self {
        match waiter {
            Waiter::Service(service) => Self::Service(service),
            Waiter::Tasks(cluster, priority) => Self::Tasks(cluster, priority),
        }
    }
}

/// What there is to look at, first come first served, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    queue: VecDeque<Subject>,
    queued: BTreeSet<Subject>,
    wakes: BTreeMap<Subject, Timestamp>,
    by_time: BTreeSet<(Timestamp, Subject)>,
    /// Services with a task that found no host, and tasks outside services that wait for one.
    pub(super) waiting: Waiting,
    /// Services that wait for others.
    pub(super) dependents: Dependents,
    /// Hosts whose room is kept for a service.
    pub(super) kept_room: KeptRoom,
    /// Where tasks ended since the last pass, and who is to be looked at for that alone.
    pub(super) room: Room,
    /// Hosts as placement saw them last.
    pub(super) hosts: KnownHosts,
    /// Clusters whose hosts are put to sleep and woken.
    pub(super) scaled: Scaled,
    /// Clusters none of whose agents is connected, with hosts that would be given up otherwise.
    out_of_touch: BTreeSet<ClusterKey>,
    /// Clusters whose tasks are being moved.
    rebalancing: BTreeSet<ClusterKey>,
    /// Clusters whose hosts change, since when: their zones are looked at once that is over.
    restless: BTreeMap<ClusterKey, Timestamp>,
    /// Services that are uneven over zones and could not be made even, and until when nobody tries that again unless hosts change.
    uneven: BTreeMap<ServiceKey, Timestamp>,
}

impl Agenda {
    /// An agenda with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what has changed of hosts, where there is time for that: the next tasks are placed the sooner.
    pub fn keep_up(&mut self, state: &ClusterState) {
        self.hosts.keep_up(state);
    }

    /// Everything there is, for a leader that knows nothing of what happened before.
    #[must_use]
    pub fn everything(state: &ClusterState) -> Self {
        let mut agenda = Self::new();
        agenda.kept_room = KeptRoom::of(state);
        for host in state.all_container_instances() {
            agenda.enqueue(Subject::Host(host.id));
        }
        // Before services, so that they say what they wait for.
        for cluster in state.all_clusters() {
            agenda.enqueue(Subject::Pools(cluster.key.clone()));
        }
        for service in state.all_services() {
            agenda.enqueue(Subject::Service(service.key.clone()));
        }
        for cluster in state.clusters_that_provision() {
            agenda.enqueue(Subject::Provisioning(cluster.clone()));
        }
        for rebalance in state.all_rebalances() {
            agenda.enqueue(Subject::Rebalance(rebalance.cluster.clone()));
        }
        agenda.enqueue(Subject::Retention);
        agenda
    }

    /// Says whether hosts can be woken. Where they cannot, which is so unless it is said, none is put to sleep.
    #[must_use]
    pub fn waking_hosts(mut self, can_wake: bool) -> Self {
        self.scaled.can_wake = can_wake;
        self
    }

    /// An agenda with nothing on it that knows what this one was told.
    fn anew(&self) -> Self {
        Self {
            scaled: self.scaled.forgetful(),
            ..Self::default()
        }
    }

    /// Everything there is in one cluster, and what is over in all of them.
    pub(crate) fn of_cluster(state: &ClusterState, cluster: &ClusterKey) -> Self {
        let mut agenda = Self::new();
        for host in state.container_instances_of(cluster) {
            agenda.enqueue(Subject::Host(host.id));
        }
        for service in state.services_and_daemons_of(cluster) {
            agenda.enqueue(Subject::Service(service.key.clone()));
        }
        agenda.enqueue(Subject::Provisioning(cluster.clone()));
        agenda.enqueue(Subject::Rebalance(cluster.clone()));
        agenda.enqueue(Subject::Retention);
        agenda
    }

    /// Takes note of something that changed.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::ServiceCreated(key) | Event::ServiceUpdated(key) => {
                self.enqueue_moves(&key.cluster);
                self.enqueue(Subject::Service(key.clone()));
                let dependents: Vec<ServiceKey> = self.dependents.of(key).cloned().collect();
                self.enqueue_services(&dependents);
            }
            Event::TaskChanged(change) => {
                self.enqueue_moves(&change.cluster);
                if let Some(service) = &change.service {
                    self.enqueue(Subject::Service(service.clone()));
                }
                if change.to == TaskStatus::Provisioning {
                    self.enqueue(Subject::Provisioning(change.cluster.clone()));
                }
                if change.to == TaskStatus::Stopped {
                    self.enqueue_pools(&change.cluster);
                    self.enqueue_for_room(&change.cluster, change.container_instance);
                    let kept_for = change.container_instance.and_then(|host| self.kept_room.for_whom(host));
                    if let Some(service) = kept_for.cloned() {
                        self.enqueue(Subject::Service(service));
                    }
                    if !self.wakes.contains_key(&Subject::Retention) {
                        self.enqueue(Subject::Retention);
                    }
                }
            }
            Event::TaskDefinitionDeleted(_) => self.enqueue(Subject::Retention),
            Event::ContainerInstanceRegistered { id, cluster }
            | Event::ContainerInstanceChanged { id, cluster }
            | Event::ContainerInstanceDeregistered { id, cluster } => {
                self.enqueue(Subject::Host(*id));
                self.enqueue(Subject::HostsOf(cluster.clone()));
                self.enqueue_moves(cluster);
                self.enqueue_pools(cluster);
            }
            Event::PowerChanged { cluster, .. } => self.enqueue(Subject::Pools(cluster.clone())),
            Event::RebalanceChanged(cluster) => self.enqueue(Subject::Rebalance(cluster.clone())),
            Event::ClusterDeleted(cluster) => {
                self.hosts.forget(cluster);
                self.enqueue(Subject::Retention);
            }
            // They may say other priorities, and whether tasks are stopped for others.
            Event::TagsChanged(Taggable::Service(key)) => {
                self.enqueue(Subject::Service(key.clone()));
                self.enqueue_unplaced(&key.cluster);
            }
            Event::TagsChanged(Taggable::Cluster(cluster)) => self.enqueue_unplaced(cluster),
            Event::TagsChanged(Taggable::Task(_)) => {
                for cluster in self.waiting.clusters_with_tasks() {
                    self.enqueue(Subject::Provisioning(cluster));
                }
            }
            Event::TagsChanged(_) => {}
            Event::ClusterUpdated(cluster) => {
                self.enqueue(Subject::AwayHostsOf(cluster.clone()));
                self.enqueue(Subject::Pools(cluster.clone()));
            }
            Event::StateReset => *self = self.anew(),
            Event::ClusterCreated(_)
            | Event::CapacityProviderCreated(_)
            | Event::CapacityProviderUpdated(_)
            | Event::CapacityProviderDeleted(_)
            | Event::TaskDefinitionRegistered(_)
            | Event::TaskDefinitionDeregistered(_)
            | Event::TaskForgotten { .. }
            | Event::DocumentChanged(_)
            | Event::AlarmChanged(_)
            | Event::FeatureLevelRaised(_)
            | Event::RequestRepeated { .. } => {}
        }
    }

    /// Looks again at what `command` was decided for, since it did not take effect.
    pub fn revisit(&mut self, state: &ClusterState, command: &Command) {
        match command {
            Command::CreateTasks { tasks } => self.enqueue_services(tasks.iter().filter_map(Task::service)),
            Command::RecordServiceProgress(progress) => self.enqueue(Subject::Service(progress.service.clone())),
            Command::PreemptTasks { by, .. } => self.enqueue(Subject::Service(by.clone())),
            Command::StopTasks { tasks, .. } | Command::RecordFailedHealthChecks { tasks, .. } => {
                let tasks = tasks.iter().filter_map(|id| state.task(*id));
                self.enqueue_services(tasks.clone().filter_map(|task| task.service()));
                let waiting = tasks.filter(|task| task.is_provisioning());
                waiting.for_each(|task| self.enqueue(Subject::Provisioning(task.cluster.clone())));
            }
            Command::PlaceTasks { placements, .. } => {
                let tasks = placements.iter().filter_map(|placement| state.task(placement.task));
                tasks.for_each(|task| self.enqueue(Subject::Provisioning(task.cluster.clone())));
            }
            Command::DeclareHostLost { container_instance, .. } => self.enqueue(Subject::Host(*container_instance)),
            Command::ForgetTaskDefinitions { .. } => self.enqueue(Subject::Retention),
            Command::BeginRebalance(rebalance) => self.enqueue(Subject::Zones(rebalance.cluster.clone())),
            Command::MoveTask(step) => self.enqueue(Subject::Rebalance(step.cluster.clone())),
            Command::RecordRebalance(progress) => self.enqueue(Subject::Rebalance(progress.cluster.clone())),
            Command::ChangePower { container_instance, .. } => {
                if let Some(host) = state.container_instance(*container_instance) {
                    self.enqueue(Subject::Pools(host.cluster.clone()));
                }
            }
            Command::UpdateContainerInstanceStatus { container_instance, .. } => {
                if let Some(host) = state.container_instance(*container_instance) {
                    self.enqueue(Subject::Rebalance(host.cluster.clone()));
                }
            }
            Command::Forget {
                tasks,
                services,
                container_instances,
                clusters,
            } => {
                if !tasks.is_empty() || !clusters.is_empty() {
                    self.enqueue(Subject::Retention);
                }
                self.enqueue_services(services);
                let hosts = container_instances.iter().copied().map(Subject::Host);
                hosts.for_each(|host| self.enqueue(host));
            }
            // No reconciler decides on these today; one that does is looked after by looking at everything.
            _ => *self = Self::everything(state).waking_hosts(self.scaled.can_wake),
        }
    }

    fn enqueue_services<'k>(&mut self, services: impl IntoIterator<Item = &'k ServiceKey>) {
        for service in services {
            self.enqueue(Subject::Service(service.clone()));
        }
    }

    /// Whether there is something to look at without waiting for a time.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When to look again although nothing may have changed; `None` if never.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// When to look again at a service although nothing may have changed.
    #[cfg(test)]
    pub(super) fn next_wake_of_service(&self, service: &ServiceKey) -> Option<Timestamp> {
        self.wakes.get(&Subject::Service(service.clone())).copied()
    }

    /// The next subject; its wake-up time is dropped, since whoever looks at it finds out anew.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Subject> {
        while let Some((at, subject)) = self.by_time.first().cloned()
            && at <= now
        {
            self.clear_wake(&subject);
            self.enqueue(subject);
        }
        // Where it stood before it was put first, it is not any more.
        let subject = std::iter::from_fn(|| self.queue.pop_front()).find(|subject| self.queued.remove(subject))?;
        self.clear_wake(&subject);
        Some(subject)
    }

    /// Whether something is to be looked at without waiting for a time.
    pub(super) fn is_due(&self, subject: &Subject) -> bool {
        self.queued.contains(subject)
    }

    /// The services of a cluster that come next, until something else comes.
    pub(super) fn next_services<'a>(&'a self, cluster: &'a ClusterKey) -> impl Iterator<Item = &'a ServiceKey> {
        self.queue.iter().map_while(move |subject| match subject {
            Subject::Service(key) if key.cluster == *cluster => Some(key),
            _ => None,
        })
    }

    /// Has these looked at before anything else, in this order. Those that stood first anyway stand there once.
    pub(super) fn put_first(&mut self, subjects: Vec<Subject>) {
        let moved: BTreeSet<&Subject> = subjects.iter().collect();
        while self.queue.front().is_some_and(|subject| moved.contains(subject)) {
            self.queue.pop_front();
        }
        for subject in subjects.into_iter().rev() {
            self.queued.insert(subject.clone());
            self.queue.push_front(subject);
        }
    }

    pub(super) fn enqueue(&mut self, subject: Subject) {
        if let Subject::Service(key) = &subject {
            self.room.is_not_all(key);
        }
        self.put_last(subject);
    }

    fn put_last(&mut self, subject: Subject) {
        if self.queued.insert(subject.clone()) {
            self.queue.push_back(subject);
        }
    }

    /// Looks at `subject` at the latest at `at`.
    pub(super) fn wake(&mut self, subject: Subject, at: Timestamp) {
        if self.wakes.get(&subject).is_some_and(|known| *known <= at) {
            return;
        }
        self.clear_wake(&subject);
        self.wakes.insert(subject.clone(), at);
        self.by_time.insert((at, subject));
    }

    /// Looks at `subject` at `at`, and not before.
    pub(super) fn put_off(&mut self, subject: Subject, at: Timestamp) {
        self.clear_wake(&subject);
        self.wake(subject, at);
    }

    /// A host of a cluster has changed, so that its services may be made even again; returns since when its hosts have.
    pub(super) fn note_restless(&mut self, cluster: &ClusterKey, now: Timestamp) -> Timestamp {
        self.uneven.retain(|service, _| service.cluster != *cluster);
        *self.restless.entry(cluster.clone()).or_insert(now)
    }

    pub(super) fn set_calm(&mut self, cluster: &ClusterKey) {
        self.restless.remove(cluster);
    }

    /// Remembers that a service cannot be made even for now.
    pub(super) fn set_cannot_be_even(&mut self, service: ServiceKey, until: Timestamp) {
        self.uneven.insert(service, until);
    }

    pub(super) fn cannot_be_even(&self, service: &ServiceKey, now: Timestamp) -> bool {
        self.uneven.get(service).is_some_and(|until| *until > now)
    }

    fn clear_wake(&mut self, subject: &Subject) {
        if let Some(at) = self.wakes.remove(subject) {
            self.by_time.remove(&(at, subject.clone()));
        }
    }

    /// Remembers that hosts of a cluster wait for the first of its agents to be connected, before they can be given up.
    pub(super) fn set_out_of_touch(&mut self, cluster: &ClusterKey) {
        self.out_of_touch.insert(cluster.clone());
    }

    /// An agent of `cluster` is connected: looks at the hosts that waited for it.
    pub(super) fn set_in_touch(&mut self, cluster: &ClusterKey) {
        if self.out_of_touch.remove(cluster) {
            self.enqueue(Subject::AwayHostsOf(cluster.clone()));
        }
    }

    /// Remembers whether tasks of a cluster are being moved, so that whatever happens there brings it back.
    pub(super) fn set_rebalancing(&mut self, cluster: &ClusterKey, rebalancing: bool) {
        if rebalancing {
            self.rebalancing.insert(cluster.clone());
        } else {
            self.rebalancing.remove(cluster);
        }
    }

    fn enqueue_moves(&mut self, cluster: &ClusterKey) {
        if self.rebalancing.contains(cluster) {
            self.enqueue(Subject::Rebalance(cluster.clone()));
        }
    }

    /// A task ended on a host: looks at who waits for room, in their turns, as far as that may be of use.
    fn enqueue_for_room(&mut self, cluster: &ClusterKey, host: Option<ContainerInstanceId>) {
        // One that waited for a host held nothing.
        let Some(host) = host else { return };
        self.room.made(cluster, host);
        let waiting: Vec<Waiter> = self.waiting.of(cluster).cloned().collect();
        for waiter in waiting {
            let subject = Subject::from(waiter.clone());
            if !self.queued.contains(&subject) {
                if let Waiter::Service(service) = waiter {
                    self.room.concerns(service);
                }
                self.put_last(subject);
            }
        }
    }

    /// Takes services off that need not be looked at now.
    pub(super) fn take_off(&mut self, services: &BTreeSet<ServiceKey>) {
        if services.is_empty() {
            return;
        }
        let is_off = |subject: &Subject| matches!(subject, Subject::Service(key) if services.contains(key));
        self.queue.retain(|subject| !is_off(subject));
        self.queued.retain(|subject| !is_off(subject));
    }

    fn enqueue_pools(&mut self, cluster: &ClusterKey) {
        if self.scaled.has(cluster) {
            self.enqueue(Subject::Pools(cluster.clone()));
        }
    }

    /// There may be room in `cluster`: looks at who waits for it, in their turns.
    pub(super) fn enqueue_unplaced(&mut self, cluster: &ClusterKey) {
        let waiting: Vec<Waiter> = self.waiting.of(cluster).cloned().collect();
        waiting.into_iter().for_each(|waiter| self.enqueue(waiter.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    fn service(name: &str) -> ServiceKey {
        Scope::new("123456789012", "us-east-1").cluster("shop").service(name)
    }

    #[test]
    fn agenda_goes_from_thread_to_thread_as_the_leaders_loop_does() {
        fn goes<T: Send + Clone>(_: &T) {}
        goes(&Agenda::new());
    }

    #[test]
    fn agenda_with_a_subject_noted_twice_holds_it_once() {
        let mut agenda = Agenda::new();
        agenda.note(&Event::ServiceUpdated(service("web")));
        agenda.note(&Event::ServiceUpdated(service("web")));
        assert_eq!(agenda.pop(Timestamp(0)), Some(Subject::Service(service("web"))));
        assert_eq!(agenda.pop(Timestamp(0)), None);
        assert!(!agenda.has_work());
    }

    #[test]
    fn agenda_wakes_a_subject_at_the_earliest_time_asked_for() {
        let mut agenda = Agenda::new();
        let subject = Subject::Service(service("web"));
        agenda.wake(subject.clone(), Timestamp(50));
        agenda.wake(subject.clone(), Timestamp(30));
        agenda.wake(subject.clone(), Timestamp(70));
        assert_eq!(agenda.next_wake(), Some(Timestamp(30)));
        assert_eq!(agenda.pop(Timestamp(29)), None);
        assert_eq!(agenda.pop(Timestamp(30)), Some(subject));
        assert_eq!(agenda.next_wake(), None);
    }

    #[test]
    fn agenda_after_a_command_that_failed_holds_what_it_was_decided_for() {
        let state = ClusterState::default();
        let (host, at) = (ContainerInstanceId(1), Timestamp(0));
        let lost = Command::DeclareHostLost {
            container_instance: host,
            reason: "lost".to_owned(),
            at,
        };
        let forget = Command::Forget {
            tasks: vec![crate::model::TaskId(1)],
            services: vec![service("web")],
            container_instances: vec![host],
            clusters: vec![],
        };
        let definitions = Command::ForgetTaskDefinitions {
            task_definitions: vec![],
        };
        let (host, web) = (Subject::Host(host), Subject::Service(service("web")));
        for (command, subjects) in [
            (lost, vec![host.clone()]),
            (forget, vec![Subject::Retention, web, host]),
            (definitions, vec![Subject::Retention]),
            (Command::Reset, vec![Subject::Retention]),
        ] {
            let mut agenda = Agenda::new();
            agenda.revisit(&state, &command);
            assert_eq!(
                std::iter::from_fn(|| agenda.pop(at)).collect::<Vec<_>>(),
                subjects,
                "{command:?}"
            );
        }
    }

    #[test]
    fn agenda_with_room_in_a_cluster_brings_back_the_services_that_wait_there() {
        let mut agenda = Agenda::new();
        let waiter = Waiter::Service(service("web"));
        agenda.waiting.join(waiter, Priority::DEFAULT, None);
        agenda.enqueue_unplaced(&Scope::new("123456789012", "us-east-1").cluster("other"));
        assert!(!agenda.has_work());
        agenda.enqueue_unplaced(&service("web").cluster);
        assert!(agenda.has_work());
    }
}
