//! One run of the reconcilers: a copy of the state on which each command takes effect as it is decided, so that what
//! is planned later counts with what was planned before. Pure.

use std::collections::BTreeSet;

use crate::ids::IdSource;
use crate::model::{ServiceKey, Timestamp};
use crate::state::{ClusterState, Command, Event, apply};

use super::agenda::{Agenda, Subject};
use super::outlines::Outlines;
use super::together::Together;
use super::waiting::Turn;

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
    /// Services that waited for room and were put before others of lower priority: once, since room only becomes less in a pass.
    pub(super) gave_way_to: BTreeSet<ServiceKey>,
    /// Where the service that is being looked at stood among those that wait, if it has got nothing since.
    pub(super) turn: Option<Turn>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(state: &ClusterState, agenda: &'a mut Agenda, now: Timestamp, ids: &'a mut IdSource) -> Self {
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
        }
    }

    /// Decides on `command`, if the state as it will be takes it. Its events are not noted: once it is applied they
    /// come back from the log, as those of anybody's commands do.
    pub(super) fn decide(&mut self, command: Command) -> bool {
        let index = self.state.applied();
        let Ok(events) = apply(&mut self.state, index, &command) else {
            return false;
        };
        for event in events {
            if let Event::TaskChanged(change) = event
                && let Some(host) = change.container_instance
            {
                self.outlines.forget(host);
            }
        }
        self.commands.push(command);
        true
    }

    /// Looks at a service again at the latest at `at`.
    pub(super) fn wake_service(&mut self, service: &ServiceKey, at: Timestamp) {
        self.agenda.wake(Subject::Service(service.clone()), at);
    }
}
