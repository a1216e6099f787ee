//! Moves of tasks to other hosts: each begins when its turn comes, goes on as its service's limits allow, and is made or dropped. Pure.
//!
//! Moves begin in their order, so that room that one makes is there for those after it. A replacement starts on the host that the move names before
//! the task stops; only where `maximumPercent` does not allow one more does the task stop first, if `minimumHealthyPercent` allows one fewer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ClusterKey, ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, MoveStatus, Rebalance, RebalanceGoal,
    SchedulingStrategy, Service, ServiceKey, Task, TaskId, TaskMove, TaskStatus,
};
use crate::state::{Command, Feature, MoveTask, RebalanceProgress};

use super::agenda::Subject;
use super::limits::Limits;
use super::moving::{Unready, unready};
use super::pass::Pass;
use super::placing::{self, OnHost};
use super::service::nothing_new;
use super::tally::{Tally, has_settled, is_running};
use super::{deployment, events, starting, stopping, zone_balance};

/// Why a task stops that was moved, to follow ECS's sentence.
const SINCE_MOVED: &str = ": it moves to another host";

/// Why a replacement stops whose move was dropped.
const SINCE_DROPPED: &str = ": the task that it was to replace stays";

/// Why a move is dropped of a task that may not be stopped.
const PROTECTED: &str = "The task is protected by now.";

/// Looks at the moves of a cluster.
pub(super) fn reconcile(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    let mut moving = Moving {
        pass,
        cluster: cluster.clone(),
        said: BTreeMap::new(),
    };
    let is_under_way = moving.rebalance().is_some();
    moving.pass.agenda.set_rebalancing(cluster, is_under_way);
    if is_under_way {
        moving.end_moves();
        moving.continue_moves();
        moving.begin_moves();
        moving.drain_emptied();
        moving.conclude();
    }
}

/// What becomes of a move whose turn it may be.
enum Turn {
    Begun,
    Dropped(String),
    Waits,
}

struct Moving<'p, 'a> {
    pass: &'p mut Pass<'a>,
    cluster: ClusterKey,
    /// Sentences to say, by service.
    said: BTreeMap<ServiceKey, Vec<String>>,
}

impl Moving<'_, '_> {
    fn rebalance(&self) -> Option<Arc<Rebalance>> {
        let found = self.pass.state.rebalance(&self.cluster);
        found.filter(|r| r.is_under_way()).cloned()
    }

    fn key(&self, found: &TaskMove) -> ServiceKey {
        self.cluster.service(found.service.as_str())
    }

    fn service(&self, found: &TaskMove) -> Option<Arc<Service>> {
        self.pass.state.service(&self.key(found)).cloned()
    }

    fn task(&self, id: TaskId) -> Option<Arc<Task>> {
        self.pass.state.task(id).cloned()
    }

    fn is_late(&self, rebalance: &Rebalance) -> bool {
        rebalance.deadline <= self.pass.now
    }

    fn say(&mut self, found: &TaskMove, sentence: String) {
        let key = self.key(found);
        self.said.entry(key).or_default().push(sentence);
    }

    /// Records what became of a move; returns whether that took effect.
    fn record(&mut self, rebalance: &Rebalance, number: usize, status: MoveStatus) -> bool {
        let mut progress = self.progress(rebalance);
        progress.moves = vec![(place(number), status)];
        self.pass.decide(Command::RecordRebalance(Box::new(progress)))
    }

    fn progress(&self, rebalance: &Rebalance) -> RebalanceProgress {
        RebalanceProgress {
            cluster: self.cluster.clone(),
            rebalance: rebalance.id.clone(),
            moves: vec![],
            drained: vec![],
            ended: false,
            at: self.pass.now,
        }
    }

    fn drop_move(&mut self, rebalance: &Rebalance, number: usize, reason: String) {
        let Some(found) = rebalance.moves.get(number) else {
            return;
        };
        let status = MoveStatus::Dropped {
            reason: reason.clone(),
            at: self.pass.now,
        };
        if !self.record(rebalance, number, status) {
            return;
        }
        let to = host_name(self.pass, found.to);
        self.say(found, events::not_moved(&found.service, found.task, &to, &reason));
        if let MoveStatus::Begun { replacement: Some(id) } = found.status {
            self.stop_replacement(found, id);
        }
        let service = self.key(found);
        self.pass.agenda.enqueue(Subject::Service(service));
    }

    /// Stops the replacement of a task that stays, unless something else of the service has stopped since the replacement was there.
    fn stop_replacement(&mut self, found: &TaskMove, replacement: TaskId) {
        let (Some(replacement), Some(service)) = (self.task(replacement), self.service(found)) else {
            return;
        };
        let tally = Tally::of(&self.pass.state, &service);
        let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
        let running = tally.current.iter().filter(|task| is_running(task)).count();
        let is_free = !replacement.is_protected(self.pass.now);
        let is_spare = is_free && tally.current.len() > desired && (!is_running(&replacement) || running > desired);
        if is_spare && self.task(found.task).is_some_and(|task| is_wanted(&task)) {
            stopping::stop_since(self.pass, &service, &[replacement], SINCE_DROPPED);
        }
    }

    /// Ends the moves that are made, and those of which nothing can come any more.
    fn end_moves(&mut self) {
        let Some(rebalance) = self.rebalance() else { return };
        for (number, found) in rebalance.moves.iter().enumerate() {
            let MoveStatus::Begun { replacement } = found.status else {
                continue;
            };
            let (task, replacement) = (self.task(found.task), replacement.and_then(|id| self.task(id)));
            let is_over = task.as_ref().is_none_or(|task| task.is_stopped());
            if let Some(reason) = self.why_dropped(&rebalance, found, task.as_deref(), replacement.as_deref()) {
                self.drop_move(&rebalance, number, reason);
            } else if let Some(replacement) = replacement
                && is_over
                && (replacement.last_status == TaskStatus::Running || self.is_late(&rebalance))
            {
                let (replacement, at) = (replacement.id, self.pass.now);
                self.record(&rebalance, number, MoveStatus::Moved { replacement, at });
            }
        }
    }

    fn why_dropped(
        &self,
        rebalance: &Rebalance,
        found: &TaskMove,
        task: Option<&Task>,
        replacement: Option<&Task>,
    ) -> Option<String> {
        if let MoveStatus::Begun { replacement: Some(id) } = found.status {
            let is_there = replacement.is_some_and(is_wanted);
            let why = replacement.and_then(|task| task.stopped_reason.as_deref());
            if !is_there {
                return Some(format!(
                    "Its replacement {id} ended: {}.",
                    trimmed(why.unwrap_or("it is gone"))
                ));
            }
        }
        if task.is_some_and(|task| task.is_protected(self.pass.now)) {
            return Some(PROTECTED.to_owned());
        }
        let task_is_wanted = task.is_some_and(is_wanted);
        if !task_is_wanted && replacement.is_some() {
            return None;
        }
        let service = self.pass.state.service(&self.key(found));
        let permanent = match service.map(|service| (service, unready(&self.pass.state, service, self.pass.now))) {
            None => Some(Unready::Deleted),
            Some((service, None | Some(Unready::Incomplete))) if has_surplus(&self.pass.state, service) => {
                return Some("The service wants fewer tasks by now.".to_owned());
            }
            Some((_, why)) => why.filter(|why| !why.passes()),
        };
        match permanent {
            Some(why) => Some(format!("It cannot be moved any more: {why}.")),
            None if self.is_late(rebalance) => Some(taken_back(rebalance, found)),
            None => None,
        }
    }

    /// Stops tasks whose replacements serve, and starts replacements of those that had to stop first.
    fn continue_moves(&mut self) {
        let Some(rebalance) = self.rebalance() else { return };
        for (number, found) in rebalance.moves.iter().enumerate() {
            let (Some(service), true) = (self.service(found), found.status.is_under_way()) else {
                continue;
            };
            let task = self.task(found.task).filter(|task| is_wanted(task));
            match (&found.status, task) {
                (MoveStatus::Begun { replacement: Some(id) }, Some(task)) => {
                    self.stop_replaced(&rebalance, &service, &task, *id);
                }
                (MoveStatus::Begun { replacement: None }, None) => self.start_awaited(&rebalance, number, &service),
                _ => {}
            }
        }
    }

    fn stop_replaced(&mut self, rebalance: &Rebalance, service: &Service, task: &Arc<Task>, replacement: TaskId) {
        let (tally, now) = (Tally::of(&self.pass.state, service), self.pass.now);
        self.wake_when_settled(&tally);
        let serves = self.task(replacement).is_some_and(|task| has_settled(&task, now));
        let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
        if !serves || tally.healthy(now) <= Limits::of(service).lower.max(desired) {
            return;
        }
        let stopped = stopping::stop_since(self.pass, service, &[Arc::clone(task)], SINCE_MOVED);
        let place = self.place_of(rebalance.goal, task.container_instance);
        let said = events::stopped_to_rebalance(&service.key.name, rebalance.goal, &stopped, &place);
        self.said.entry(service.key.clone()).or_default().extend(said);
    }

    fn start_awaited(&mut self, rebalance: &Rebalance, number: usize, service: &Service) {
        let tally = Tally::of(&self.pass.state, service);
        if tally.occupying >= Limits::of(service).upper {
            return;
        }
        if let Turn::Dropped(reason) = self.start(rebalance, number, service) {
            self.drop_move(rebalance, number, reason);
        }
    }

    /// Begins moves in their order, until one has to wait.
    fn begin_moves(&mut self) {
        let Some(rebalance) = self.rebalance() else { return };
        for (number, found) in rebalance.moves.iter().enumerate() {
            if found.status != MoveStatus::Waiting {
                continue;
            }
            match self.turn(&rebalance, number, found) {
                Turn::Begun => {}
                Turn::Dropped(reason) => self.drop_move(&rebalance, number, reason),
                Turn::Waits => return,
            }
        }
    }

    fn turn(&mut self, rebalance: &Rebalance, number: usize, found: &TaskMove) -> Turn {
        if self.is_late(rebalance) {
            return Turn::Dropped(too_late(rebalance));
        }
        match self.task(found.task).filter(|task| is_wanted(task)) {
            None => return Turn::Dropped("The task has ended.".to_owned()),
            Some(task) if task.is_protected(self.pass.now) => return Turn::Dropped(PROTECTED.to_owned()),
            Some(_) => {}
        }
        let Some(service) = self.service(found) else {
            return Turn::Dropped(format!("It cannot be moved any more: {}.", Unready::Deleted));
        };
        match unready(&self.pass.state, &service, self.pass.now) {
            None => {}
            Some(why) if why.passes() => {
                self.wake_after_backoff(&service);
                return Turn::Waits;
            }
            Some(why) => return Turn::Dropped(format!("It cannot be moved any more: {why}.")),
        }
        let begun = self.pass.state.moves_under_way(&service.key).count();
        if begun >= usize::try_from(rebalance.at_a_time).unwrap_or(usize::MAX).max(1) {
            return Turn::Waits;
        }
        let (tally, limits) = (Tally::of(&self.pass.state, &service), Limits::of(&service));
        if tally.occupying < limits.upper {
            self.start(rebalance, number, &service)
        } else if tally.healthy(self.pass.now) > limits.lower {
            self.stop_first(rebalance, number, &service)
        } else {
            self.wake_when_settled(&tally);
            Turn::Waits
        }
    }

    fn wake_when_settled(&mut self, tally: &Tally) {
        if let Some(at) = tally.next_to_settle(self.pass.now) {
            self.pass.agenda.wake(Subject::Rebalance(self.cluster.clone()), at);
        }
    }

    fn wake_after_backoff(&mut self, service: &Service) {
        let not_before = service.primary().map(|primary| primary.backoff.not_before);
        if let Some(at) = not_before.filter(|at| *at > self.pass.now) {
            self.pass.agenda.wake(Subject::Rebalance(self.cluster.clone()), at);
        }
    }

    /// Starts the replacement on the host that the move names.
    fn start(&mut self, rebalance: &Rebalance, number: usize, service: &Service) -> Turn {
        let Some(found) = rebalance.moves.get(number) else {
            return Turn::Waits;
        };
        let Some(prototype) = starting::replacement(&self.pass.state, service, found.task, self.pass.now) else {
            return Turn::Dropped("The service's task definition is gone.".to_owned());
        };
        let placed = match self.ask(found, &prototype) {
            Ok(placed) => placed,
            Err(_) if self.is_being_left(found.to) => return Turn::Waits,
            Err(refusal) => return Turn::Dropped(refusal),
        };
        let replacement = starting::task(&prototype, &placed);
        let id = replacement.id;
        if !self.step(rebalance, number, Some(replacement)) {
            return Turn::Waits;
        }
        let place = self.place_of(rebalance.goal, Some(found.to));
        let from = host_name(self.pass, found.from);
        let sentence = events::started_to_rebalance(&found.service, rebalance.goal, id, &place, &from);
        self.say(found, sentence);
        Turn::Begun
    }

    /// Stops the task before its replacement starts, if the host takes one.
    fn stop_first(&mut self, rebalance: &Rebalance, number: usize, service: &Service) -> Turn {
        let Some(found) = rebalance.moves.get(number) else {
            return Turn::Waits;
        };
        let Some(prototype) = starting::replacement(&self.pass.state, service, found.task, self.pass.now) else {
            return Turn::Dropped("The service's task definition is gone.".to_owned());
        };
        match self.ask(found, &prototype) {
            Ok(_) => {}
            Err(_) if self.is_being_left(found.to) => return Turn::Waits,
            Err(refusal) => return Turn::Dropped(refusal),
        }
        if !self.step(rebalance, number, None) {
            return Turn::Waits;
        }
        let place = self.place_of(rebalance.goal, Some(found.from));
        let said = events::stopped_to_rebalance(&found.service, rebalance.goal, &[found.task], &place);
        self.said.entry(service.key.clone()).or_default().extend(said);
        Turn::Begun
    }

    fn ask(&mut self, found: &TaskMove, prototype: &Task) -> Result<placing::Placed, String> {
        let name = host_name(self.pass, found.to);
        match placing::one_on_each(self.pass, prototype, &[found.to]).pop() {
            Some(OnHost::Takes(placed)) => Ok(placed),
            Some(OnHost::Refuses(why)) if !why.hosts.is_empty() => {
                let refusals = why.hosts.iter().flat_map(|host| &host.refusals);
                let refusals: Vec<String> = refusals.map(ToString::to_string).collect();
                Err(format!("Host {name} does not take it: {}.", refusals.join("; ")))
            }
            _ => Err(format!("Host {name} is gone.")),
        }
    }

    /// Whether tasks are about to leave the host, so that it may take what it refuses now.
    fn is_being_left(&self, host: ContainerInstanceId) -> bool {
        let moves = self.rebalance().is_some_and(|rebalance| {
            let mut moves = rebalance.moves.iter();
            moves.any(|other| other.from == host && other.status.is_under_way())
        });
        let mut tasks = self.pass.state.tasks_of_instance(host);
        moves || tasks.any(|task| !task.is_stopped() && !is_wanted(task))
    }

    fn step(&mut self, rebalance: &Rebalance, number: usize, replacement: Option<Task>) -> bool {
        let by = self.rebalance().and_then(|r| self.service(r.moves.get(number)?));
        let by = by.and_then(|service| service.primary().map(|primary| primary.id.to_string()));
        let by = by.unwrap_or_else(|| "none".to_owned());
        let command = Command::MoveTask(Box::new(MoveTask {
            cluster: self.cluster.clone(),
            rebalance: rebalance.id.clone(),
            number: place(number),
            replacement,
            reason: format!("Scaling activity initiated by (deployment {by}){SINCE_MOVED}"),
            at: self.pass.now,
        }));
        self.pass.decide(command)
    }

    /// What a sentence says of where a task is: its zone where zones are what matters, else its host.
    fn place_of(&self, goal: RebalanceGoal, host: Option<ContainerInstanceId>) -> String {
        let known = host.and_then(|id| self.pass.state.container_instance(id));
        let zone = known.and_then(|host| host.availability_zone());
        match (goal, zone, host) {
            (RebalanceGoal::Zones, Some(zone), _) => zone.to_owned(),
            (_, _, Some(host)) => host_name(self.pass, host),
            _ => "a host that is gone".to_owned(),
        }
    }

    /// Drains hosts whose last task has moved, where that was asked for.
    fn drain_emptied(&mut self) {
        let Some(rebalance) = self.rebalance() else { return };
        for host in &rebalance.drain {
            let mut moves = rebalance.moves.iter().filter(|found| found.from == *host);
            let is_done = !rebalance.drained.contains(host) && moves.all(|found| found.status.is_over());
            if is_done && is_active(self.pass, *host) && self.is_empty(*host) {
                let status = ContainerInstanceStatus::Draining;
                let container_instance = *host;
                let at = self.pass.state.uses(Feature::HostVersions).then_some(self.pass.now);
                self.pass.decide(Command::UpdateContainerInstanceStatus {
                    container_instance,
                    status,
                    at,
                });
                let mut progress = self.progress(&rebalance);
                progress.drained = vec![*host];
                self.pass.decide(Command::RecordRebalance(Box::new(progress)));
            }
        }
    }

    /// Whether nothing is on the host but tasks that every host has.
    fn is_empty(&self, host: ContainerInstanceId) -> bool {
        let state = &self.pass.state;
        let of_daemon = |task: &Arc<Task>| {
            let service = task.service().and_then(|key| state.service(key));
            service.is_some_and(|service| service.scheduling_strategy == SchedulingStrategy::Daemon)
        };
        let mut live = state.tasks_of_instance(host).filter(|task| !task.is_stopped());
        live.all(of_daemon)
    }

    fn conclude(&mut self) {
        for (key, said) in std::mem::take(&mut self.said) {
            let Some(service) = self.pass.state.service(&key).cloned() else {
                continue;
            };
            let mut progress = nothing_new(self.pass, &service);
            progress.events = deployment::as_events(self.pass, said);
            self.pass.decide(Command::RecordServiceProgress(Box::new(progress)));
        }
        let Some(rebalance) = self.rebalance() else { return };
        if rebalance.moves.iter().all(|found| found.status.is_over()) {
            let mut progress = self.progress(&rebalance);
            progress.ended = true;
            self.pass.decide(Command::RecordRebalance(Box::new(progress)));
            self.pass.agenda.set_rebalancing(&self.cluster, false);
            zone_balance::look_again(self.pass, &rebalance);
        } else if !self.is_late(&rebalance) {
            let subject = Subject::Rebalance(self.cluster.clone());
            self.pass.agenda.wake(subject, rebalance.deadline);
        }
    }
}

fn place(number: usize) -> u32 {
    u32::try_from(number).expect("a rebalancing has few moves")
}

fn is_wanted(task: &Task) -> bool {
    task.desired_status == DesiredStatus::Running
}

fn is_active(pass: &Pass<'_>, host: ContainerInstanceId) -> bool {
    let host = pass.state.container_instance(host);
    host.is_some_and(|host| host.status == ContainerInstanceStatus::Active)
}

/// Whether the service has more tasks than it wants, beside those that are moved.
fn has_surplus(state: &crate::state::ClusterState, service: &Service) -> bool {
    let tally = Tally::of(state, service);
    let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
    tally.current.len() + tally.awaited > desired
}

fn host_name(pass: &Pass<'_>, id: ContainerInstanceId) -> String {
    let host = pass.state.container_instance(id);
    host.map_or_else(|| id.to_string(), |host| host.host.host_name.clone())
}

fn too_late(rebalance: &Rebalance) -> String {
    match rebalance.stopped {
        true => "The rebalancing was stopped.".to_owned(),
        false => "The deadline passed.".to_owned(),
    }
}

/// Why a move is dropped that had begun: its task goes on, and the replacement is named, since the move does not know it any more.
fn taken_back(rebalance: &Rebalance, found: &TaskMove) -> String {
    match found.status {
        MoveStatus::Begun { replacement: Some(id) } => {
            let sentence = too_late(rebalance);
            format!("{} before its replacement {id} took over.", trimmed(&sentence))
        }
        _ => too_late(rebalance),
    }
}

fn trimmed(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}
