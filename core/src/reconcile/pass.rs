//! One run of the reconcilers: a copy of the state on which each command takes effect as it is decided, so that what
//! is planned later counts with what was planned before. Pure.

use std::collections::BTreeSet;

use crate::ids::IdSource;
use crate::model::{ServiceKey, Timestamp};
use crate::state::{ClusterState, Command, Event, TaskChange, apply};

use super::agenda::{Agenda, Subject};
use super::outlines::Outlines;
use super::together::Together;
use super::waiting::{Turn, Waiter};

/// What it takes to look at a service or a host, at one of a service's tasks, and to find the tasks of a host that are missed least, in looks: one is that of
/// placement at a sort of hosts, or at one host, which takes some nanoseconds.
const LOOKS_AT_A_SERVICE: usize = 500;
const LOOKS_AT_A_TASK: usize = 10;
const LOOKS_TO_WEIGH_A_HOST: usize = 400;

pub(super) struct Pass<'a> {
    /// The state, with the commands decided so far applied.
    pub(super) state: ClusterState,
    pub(super) agenda: &'a mut Agenda,
    pub(super) now: Timestamp,
    pub(super) ids: &'a mut IdSource,
    /// What was decided, in order.
    pub(super) commands: Vec<Command>,
    /// Hosts that services were found together, and that they have not put tasks on yet.
    pub(super) together: Together,
    /// Hosts as those see them who look for tasks to be stopped.
    pub(super) outlines: Outlines,
    /// Who waited for room and was put before others of lower priority: once, since room only becomes less in a pass.
    pub(super) gave_way_to: BTreeSet<Waiter>,
    /// Where whoever is being looked at stood among those that wait, if it has got nothing since.
    pub(super) turn: Option<Turn>,
    /// How much was looked at, but for what placement and those looked at who look for tasks to be stopped.
    looks: usize,
    /// What placement had looked at before.
    looks_of_placement_before: usize,
    /// How much is looked at in a pass, and where this one ends.
    looks_per_pass: usize,
    most_looks: usize,
}

impl<'a> Pass<'a> {
    /// One that ends once it has looked at so much.
    pub(super) fn new(
        state: &ClusterState,
        agenda: &'a mut Agenda,
        now: Timestamp,
        ids: &'a mut IdSource,
        looks_per_pass: usize,
    ) -> Self {
        let looks_of_placement_before = agenda.hosts.looks();
        Self {
            state: state.clone(),
            agenda,
            now,
            ids,
            commands: vec![],
            together: Together::default(),
            outlines: Outlines::default(),
            gave_way_to: BTreeSet::new(),
            turn: None,
            looks: 0,
            looks_of_placement_before,
            looks_per_pass,
            most_looks: looks_per_pass,
        }
    }

    /// Decides on `command`, if the state as it will be takes it. Its events are not noted: once it is applied they
    /// come back from the log, as those of anybody's commands do.
    pub(super) fn decide(&mut self, command: Command) -> bool {
        let index = self.state.applied();
        let Ok(events) = apply(&mut self.state, index, &command) else {
            return false;
        };
        let preempts = matches!(command, Command::PreemptTasks { .. });
        for event in events {
            if let Event::TaskChanged(change) = event {
                self.outline_anew(&change, preempts);
            }
        }
        self.commands.push(command);
        true
    }

    /// Has what is known of a host and a service be what it is now that a task of theirs has changed.
    fn outline_anew(&mut self, change: &TaskChange, preempts: bool) {
        if let Some(host) = change.container_instance {
            self.outlines.forget(host);
        }
        let Some(service) = &change.service else { return };
        match self.state.task(change.task).filter(|_| preempts) {
            Some(task) => self.outlines.count_stopped(service, task),
            None => self.outlines.forget_service(service),
        }
    }

    /// Counts how much there was to look at.
    pub(super) fn look_at(&mut self, subject: &Subject) {
        let state = &self.state;
        self.looks += match subject {
            Subject::Service(key) => LOOKS_AT_A_SERVICE + LOOKS_AT_A_TASK * state.live_tasks_of_service(key).count(),
            Subject::Host(_) | Subject::AwayHost(_) => LOOKS_AT_A_SERVICE,
            Subject::HostsOf(cluster) | Subject::AwayHostsOf(cluster) | Subject::Pools(cluster) => {
                LOOKS_AT_A_SERVICE + state.host_count(cluster)
            }
            Subject::Provisioning(cluster) | Subject::Tasks(cluster, _) => {
                let tasks = LOOKS_AT_A_TASK * state.provisioning_count(cluster);
                LOOKS_AT_A_SERVICE + state.host_count(cluster) + tasks
            }
            Subject::Rebalance(_) | Subject::Zones(_) | Subject::Retention => LOOKS_AT_A_SERVICE,
        };
    }

    /// Whether so much was looked at that what is left of the agenda waits for the next pass.
    pub(super) fn is_long(&self) -> bool {
        self.looks_so_far() >= self.most_looks
    }

    /// Services were planned together: goes on for so long that many of them are looked at, since they are planned anew where they are not.
    pub(super) fn go_on_for_those_planned(&mut self) {
        self.most_looks = self.most_looks.max(self.looks_so_far() + self.looks_per_pass / 2);
    }

    fn looks_so_far(&self) -> usize {
        let by_placement = self.agenda.hosts.looks() - self.looks_of_placement_before;
        self.looks + by_placement + LOOKS_TO_WEIGH_A_HOST * self.outlines.weighed
    }

    /// Looks at a service again at the latest at `at`.
    pub(super) fn wake_service(&mut self, service: &ServiceKey, at: Timestamp) {
        self.agenda.wake(Subject::Service(service.clone()), at);
    }
}
