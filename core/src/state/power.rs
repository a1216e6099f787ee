//! Hosts that sleep: how they come to, and how they wake. Pure.
//!
//! What a host does follows from what its agent does: one that was told to sleep is asleep once its agent has gone, and any host is awake whose agent is
//! there.

use std::collections::BTreeSet;

use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus as Status, PowerChange, PowerRefusal,
    PowerState, REST_MS, SchedulingStrategy, Task, TaskStatus, Timestamp,
};

use super::container_instances::put_changed;
use super::{ClusterState, Event, Feature, Rejection, tasks};

/// Longest reason that is kept.
const MAX_TROUBLE_BYTES: usize = 500;

pub(super) fn change(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    change: &PowerChange,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut host = ContainerInstance::clone(state.live_instance(id)?);
    let by_hand = match change {
        PowerChange::SleepByHand { force } => Some(sleep_by_hand(state, &mut host, *force, at)),
        PowerChange::WakeByHand => Some(wake_by_hand(&mut host, at)),
        _ => None,
    };
    if let Some(wished) = by_hand {
        match wished {
            Ok(true) => {}
            Ok(false) => return Ok(vec![]),
            Err(why) => {
                let host = host.host.host_name.into();
                return Err(Rejection::PowerByHand { host, why });
            }
        }
    } else if !step(state, &mut host, change, at) {
        let state = host.power.state.as_str();
        return Err(Rejection::Stale(format!("host {id} is {state} and cannot {change:?}")));
    }
    let cluster = host.cluster.clone();
    Ok(vec![put_changed(state, host), Event::PowerChanged { id, cluster }])
}

/// Takes the step, if the host can.
fn step(state: &ClusterState, host: &mut ContainerInstance, change: &PowerChange, at: Timestamp) -> bool {
    use PowerState as S;
    let is_there = host.agent_connected && host.offers_sleep();
    let is_ready = is_there && host.power.state == S::Awake && host.status == Status::Active;
    match (change, host.power.state) {
        (PowerChange::Empty, S::Awake) if is_ready => leave(host, S::Emptying, at),
        (PowerChange::Sleep, S::Awake) if is_ready && state.is_empty_host(host.id) => {
            leave(host, S::FallingAsleep, at);
        }
        (PowerChange::Sleep, S::Emptying) if is_there && state.is_empty_host(host.id) => {
            leave(host, S::FallingAsleep, at);
        }
        // What somebody wished counts, also where it came between a plan and this.
        (PowerChange::Stay, S::Emptying) if !host.power.by_hand => wake(host, at),
        (PowerChange::NotAsleep { reason }, S::Awake | S::FallingAsleep) => {
            if host.power.state == S::FallingAsleep {
                wake(host, at);
            }
            host.power.trouble = Some(shortened(reason));
            host.power.rests_until = Some(at.plus_ms(REST_MS));
        }
        (PowerChange::ShutDown, S::Awake | S::Emptying) if state.drains_at_shutdown(host) => {
            let drained = match host.power.state {
                S::Awake => host.status == Status::Draining,
                _ => host.power.drained,
            };
            leave(host, S::ShuttingDown, at);
            host.power.drained = drained;
            host.power.by_hand = false;
        }
        (PowerChange::Call, S::Asleep | S::Waking) if !host.power.by_hand => call(host, at),
        (PowerChange::NotCalled { call, reason }, S::Waking) if *call == host.power.calls => {
            host.power.trouble = Some(shortened(reason));
        }
        (PowerChange::GiveUp, S::Waking) => {
            let calls = host.power.calls;
            enter(host, S::Asleep, at);
            let why = host.power.trouble.take();
            let why = why.unwrap_or_else(|| "nothing was heard of it".to_owned());
            host.power.trouble = Some(shortened(&format!(
                "it was called {calls} times and did not wake: {why}"
            )));
            host.power.rests_until = Some(at.plus_ms(REST_MS));
        }
        _ => return false,
    }
    true
}

/// Somebody has a host put to sleep; whether that is news.
fn sleep_by_hand(
    state: &ClusterState,
    host: &mut ContainerInstance,
    force: bool,
    at: Timestamp,
) -> Result<bool, PowerRefusal> {
    use PowerState as S;
    match host.power.state {
        S::Waking => return Err(PowerRefusal::Waking),
        S::ShuttingDown => return Err(PowerRefusal::ShuttingDown),
        S::Asleep if host.power.by_hand => return Err(PowerRefusal::Already),
        S::Emptying | S::FallingAsleep if host.power.by_hand => return Ok(false),
        // Its pool has begun.
        S::FallingAsleep | S::Asleep => {
            host.power.by_hand = true;
            return Ok(true);
        }
        S::Awake | S::Emptying => {}
    }
    if !host.offers_sleep() {
        return Err(PowerRefusal::NoSleepCommand);
    }
    if !host.agent_connected {
        return Err(PowerRefusal::AgentAway);
    }
    let tasks = state.tasks_of_instance(host.id).filter(|task| !task.is_stopped());
    let protected = tasks.filter(|task| task.is_protected(at));
    let ends: Vec<Timestamp> = protected.filter_map(|task| task.protected_until).collect();
    if let Some(until) = ends.iter().max().copied().filter(|_| !force) {
        let count = ends.len();
        return Err(PowerRefusal::Protected { count, until });
    }
    if host.power.state == S::Awake {
        let drained = host.status == Status::Draining;
        leave(host, S::Emptying, at);
        host.power.drained = drained;
    }
    host.power.by_hand = true;
    Ok(true)
}

/// Somebody has a host woken, or stay awake; whether that is news.
fn wake_by_hand(host: &mut ContainerInstance, at: Timestamp) -> Result<bool, PowerRefusal> {
    match host.power.state {
        PowerState::Awake if !host.agent_connected => return Err(PowerRefusal::AwayAndAwake),
        PowerState::Awake | PowerState::Waking => return Ok(false),
        PowerState::FallingAsleep => return Err(PowerRefusal::FallingAsleep),
        PowerState::ShuttingDown => return Err(PowerRefusal::ShuttingDown),
        PowerState::Emptying => wake(host, at),
        PowerState::Asleep => {
            host.power.by_hand = false;
            call(host, at);
        }
    }
    Ok(true)
}

/// Is called, for the first time since it sleeps or again.
fn call(host: &mut ContainerInstance, at: Timestamp) {
    if host.power.state == PowerState::Asleep {
        enter(host, PowerState::Waking, at);
        host.power.trouble = None;
        host.power.rests_until = None;
    }
    host.power.calls += 1;
    host.power.called_at = Some(at);
}

/// Takes no tasks from now on.
fn leave(host: &mut ContainerInstance, state: PowerState, at: Timestamp) {
    host.status = Status::Draining;
    enter(host, state, at);
    host.power.trouble = None;
    host.power.rests_until = None;
}

fn enter(host: &mut ContainerInstance, state: PowerState, at: Timestamp) {
    host.power.state = state;
    host.power.since = Some(at);
    host.power.calls = 0;
    host.power.called_at = None;
}

/// Is awake from now on, and not tired for a while.
fn wake(host: &mut ContainerInstance, at: Timestamp) {
    use PowerState::{Emptying, FallingAsleep, ShuttingDown};
    let took_no_tasks = matches!(host.power.state, Emptying | FallingAsleep | ShuttingDown);
    if took_no_tasks && !host.power.drained {
        host.status = Status::Active;
    }
    enter(host, PowerState::Awake, at);
    host.power.drained = false;
    host.power.by_hand = false;
    host.power.emptied_at = Some(at);
}

/// Its agent is there.
pub(super) fn registered(host: &mut ContainerInstance, at: Timestamp) {
    let is_new = match host.power.state {
        PowerState::Awake => false,
        PowerState::Emptying => !host.offers_sleep(),
        PowerState::FallingAsleep | PowerState::Asleep | PowerState::Waking | PowerState::ShuttingDown => true,
    };
    if is_new {
        wake(host, at);
    }
    // What kept one that cannot sleep from it is over, or its agent says so again.
    if is_new || !host.offers_sleep() {
        host.power.trouble = None;
        host.power.rests_until = None;
    }
}

/// Its agent has gone: a host that was told to sleep sleeps, and what ran there has ended.
pub(super) fn disconnected(state: &mut ClusterState, mut host: ContainerInstance, at: Timestamp) -> Vec<Event> {
    if host.power.state != PowerState::FallingAsleep {
        return vec![put_changed(state, host)];
    }
    if !host.power.drained {
        host.status = Status::Active;
    }
    enter(&mut host, PowerState::Asleep, at);
    host.power.drained = false;
    let reason = format!(
        "Host {} (container instance {}) was put to sleep.",
        host.host.host_name, host.id
    );
    let (id, cluster) = (host.id, host.cluster.clone());
    let mut events = vec![put_changed(state, host), Event::PowerChanged { id, cluster }];
    events.extend(tasks::end_all_of_instance(state, id, &reason, at));
    events
}

/// Somebody says whether it takes tasks: that is what counts, unless it cannot be kept any more.
pub(super) fn status_set(host: &mut ContainerInstance, status: Status, at: Option<Timestamp>) {
    match host.power.state {
        PowerState::FallingAsleep | PowerState::ShuttingDown => host.power.drained = status == Status::Draining,
        PowerState::Emptying => {
            enter(
                host,
                PowerState::Awake,
                at.or(host.power.since).unwrap_or(host.registered_at),
            );
            host.power.emptied_at = host.power.since;
            host.power.drained = false;
            host.power.by_hand = false;
            host.status = status;
        }
        PowerState::Awake | PowerState::Asleep | PowerState::Waking => host.status = status,
    }
}

/// Notes of hosts that can sleep when they became empty.
pub(super) fn settle(state: &mut ClusterState, events: &[Event]) {
    if !state.uses(Feature::ManagedScaling) {
        return;
    }
    let ended = events.iter().filter_map(|event| match event {
        Event::TaskChanged(change) if change.to == TaskStatus::Stopped && change.from != Some(TaskStatus::Stopped) => {
            change.container_instance.map(|host| (host, change.task))
        }
        _ => None,
    });
    let ended: BTreeSet<_> = ended.collect();
    for (id, task) in ended {
        let stopped_at = state.task(task).filter(|task| !state.is_daemon(task));
        let Some(stopped_at) = stopped_at.and_then(|task| task.stopped_at) else {
            continue;
        };
        let sleeps = |host: &&std::sync::Arc<ContainerInstance>| host.offers_sleep();
        let Some(host) = state.container_instance(id).filter(sleeps) else {
            continue;
        };
        if state.is_empty_host(id) && host.power.emptied_at.is_none_or(|known| known < stopped_at) {
            let mut host = ContainerInstance::clone(host);
            host.power.emptied_at = Some(stopped_at);
            state.put_instance(host);
        }
    }
}

fn shortened(reason: &str) -> String {
    let fits = |(place, letter): &(usize, char)| place + letter.len_utf8() <= MAX_TROUBLE_BYTES;
    reason
        .char_indices()
        .take_while(fits)
        .map(|(_, letter)| letter)
        .collect()
}

impl ClusterState {
    /// Whether the task is one of those that hosts have by themselves, and which keep none awake.
    #[must_use]
    pub fn is_daemon(&self, task: &Task) -> bool {
        let service = task.service().and_then(|key| self.service(key));
        task.is_of_daemon() || service.is_some_and(|service| service.scheduling_strategy == SchedulingStrategy::Daemon)
    }

    /// Whether a host has no tasks but those of daemons.
    #[must_use]
    pub fn is_empty_host(&self, id: ContainerInstanceId) -> bool {
        // Most hosts without a task that is not over hold nothing at all.
        if !self.index.allocations.contains_key(&id) {
            return true;
        }
        let mut tasks = self.tasks_of_instance(id).filter(|task| !task.is_stopped());
        tasks.all(|task| self.is_daemon(task))
    }

    /// Whether the tasks of a host leave it before its machine shuts down: its capacity provider, which the cluster has, says so.
    #[must_use]
    pub fn drains_at_shutdown(&self, host: &ContainerInstance) -> bool {
        let Some(pool) = &host.host.capacity_provider else {
            return false;
        };
        let cluster = self.active_cluster(&host.cluster);
        let key = host.cluster.scope.capacity_provider(pool.as_str());
        cluster.is_ok_and(|cluster| cluster.capacity_providers.contains(pool))
            && self
                .capacity_provider(&key)
                .is_some_and(|provider| provider.managed_draining)
    }

    /// Hosts of a cluster that are not awake, deregistered ones left out, in the order of their ids.
    pub fn hosts_not_awake<'s>(
        &'s self,
        cluster: &'s ClusterKey,
    ) -> impl Iterator<Item = &'s std::sync::Arc<ContainerInstance>> {
        let from = self.index.not_awake.range((cluster.clone(), ContainerInstanceId(0))..);
        let own = from.take_while(move |(of, _)| of == cluster);
        own.filter_map(|(_, id)| self.container_instance(*id))
    }

    /// How many hosts of a cluster sleep, or are called and have not come.
    #[must_use]
    pub fn sleeper_count(&self, cluster: &ClusterKey) -> usize {
        self.index.sleeper_counts.get(cluster).copied().unwrap_or_default()
    }

    /// Hosts that are called and have not come, in the order of their ids.
    pub fn waking_hosts(&self) -> impl Iterator<Item = &std::sync::Arc<ContainerInstance>> {
        let ids = self.index.waking.iter();
        ids.filter_map(|id| self.container_instance(*id))
    }
}
