//! Hosts that are put to sleep where their capacity provider does not need them, and woken where it does. Which, says [`crate::scaling`]; here is what it is
//! asked, and each host's way from one state to the next. Pure.

use std::sync::Arc;

use crate::model::{
    CapacityProvider, CapacityProviderName, ClusterKey, ContainerInstance, ContainerInstanceId,
    ContainerInstanceStatus as Status, MAX_CALLS, PowerChange, PowerState, SchedulingStrategy, ServiceKey,
    ServiceStatus, Task, Timestamp,
};
use crate::placement::{Host, TaskRequest};
use crate::scaling::{Demand, Pool, PoolHost, Standing, plan};
use crate::state::{Command, Feature};

use super::agenda::Subject;
use super::pass::Pass;
use super::starting;

/// How long a host may take to fall asleep once its agent is told: suspending takes seconds, and what hinders it has been waited for before.
const ASLEEP_WITHIN_MS: i64 = 2 * 60 * 1_000;

/// How long a host sleeps at a stretch: its certificate lives for a week, and it renews it while it is awake, once it is nearly five days old.
const SLEEPS_AT_MOST_MS: i64 = 2 * 24 * 60 * 60 * 1_000;

/// Sleeping hosts that are considered at once.
const MAX_ASLEEP: usize = 1_000;

/// Looks at all pools of a cluster.
pub(super) fn reconcile(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    let scaled = pools(pass, cluster);
    let on_their_way = hosts(pass, cluster, |host| host.power.state != PowerState::Awake);
    let is_concerned = !scaled.is_empty() || !on_their_way.is_empty();
    if pass.agenda.scaled.set(cluster, is_concerned) {
        // What waits has not said yet for how many tasks.
        pass.agenda.enqueue_unplaced(cluster);
    }
    if !is_concerned {
        return;
    }
    if let Some(at) = pass.agenda.scaled.not_before(cluster, pass.now) {
        return look_at(pass, cluster, at);
    }
    for host in on_their_way {
        follow(pass, &host, scaled.iter().any(|pool| is_of(&host, pool)));
    }
    if pass.agenda.scaled.can_wake {
        for pool in &scaled {
            scale(pass, cluster, pool);
        }
    }
}

/// Remembers that tasks like `prototype` wait for room in their pool.
pub(super) fn note_demand(pass: &mut Pass<'_>, service: &ServiceKey, prototype: &Task, count: usize) {
    let Some(pool) = prototype.capacity_provider.clone() else {
        return;
    };
    if count == 0 || !pass.agenda.scaled.has(&service.cluster) {
        return;
    }
    let ask = TaskRequest::of(prototype).ask;
    pass.agenda.scaled.wants(service, pool, Demand { ask, count });
    pass.agenda.enqueue(Subject::Pools(service.cluster.clone()));
}

/// Whether hosts of the pool that a task waits for are about to be there, or could be.
pub(super) fn may_have_more(pass: &Pass<'_>, task: &Task) -> bool {
    let Some(pool) = &task.capacity_provider else {
        return false;
    };
    let mut scaled = pools(pass, &task.cluster).into_iter();
    pass.agenda.scaled.can_wake
        && scaled.any(|provider| provider.key.name == *pool)
        && pass.state.container_instances_of(&task.cluster).any(|host| {
            let standing = standing(pass, host);
            host.host.capacity_provider.as_ref() == Some(pool)
                && matches!(
                    standing,
                    Some(Standing::Waking | Standing::Asleep { .. } | Standing::Emptying)
                )
        })
}

/// The capacity providers of a cluster whose hosts are put to sleep and woken.
fn pools(pass: &Pass<'_>, cluster: &ClusterKey) -> Vec<Arc<CapacityProvider>> {
    if !pass.state.uses(Feature::ManagedScaling) {
        return vec![];
    }
    let Ok(known) = pass.state.active_cluster(cluster) else {
        return vec![];
    };
    let names = known.capacity_providers.iter();
    let found = names.filter_map(|name| {
        let provider = pass
            .state
            .capacity_provider(&cluster.scope.capacity_provider(name.as_str()))?;
        provider.scaling().is_some().then(|| Arc::clone(provider))
    });
    found.collect()
}

fn hosts(
    pass: &Pass<'_>,
    cluster: &ClusterKey,
    of: impl Fn(&ContainerInstance) -> bool,
) -> Vec<Arc<ContainerInstance>> {
    let hosts = pass.state.container_instances_of(cluster);
    hosts.filter(|host| of(host)).cloned().collect()
}

fn is_of(host: &ContainerInstance, pool: &CapacityProvider) -> bool {
    host.host.capacity_provider.as_ref() == Some(&pool.key.name)
}

fn look_at(pass: &mut Pass<'_>, cluster: &ClusterKey, at: Timestamp) {
    pass.agenda.wake(Subject::Pools(cluster.clone()), at);
}

fn change(pass: &mut Pass<'_>, host: ContainerInstanceId, change: PowerChange) -> bool {
    let at = pass.now;
    pass.decide(Command::ChangePower {
        container_instance: host,
        change,
        at,
    })
}

/// Takes a host on that is on its way to sleep or to wake.
fn follow(pass: &mut Pass<'_>, host: &ContainerInstance, is_scaled: bool) {
    let since = host.power.since.unwrap_or(host.registered_at);
    match host.power.state {
        PowerState::Awake => {}
        PowerState::Asleep => {
            let rested = host.power.rests_until.unwrap_or(since);
            // What nobody puts to sleep any more is not to stay so.
            let slept_out = if is_scaled {
                since.plus_ms(SLEEPS_AT_MOST_MS)
            } else {
                since
            };
            let due = slept_out.max(rested);
            if due > pass.now {
                look_at(pass, &host.cluster, due);
            } else if pass.agenda.scaled.can_wake && host.status == Status::Active {
                change(pass, host.id, PowerChange::Call);
            }
        }
        PowerState::Emptying if !is_scaled => _ = change(pass, host.id, PowerChange::Stay),
        PowerState::Emptying => {
            if pass.state.tasks_of_instance(host.id).all(|task| task.is_stopped()) {
                change(pass, host.id, PowerChange::Sleep);
            }
        }
        PowerState::FallingAsleep => {
            let due = since.plus_ms(ASLEEP_WITHIN_MS);
            if due > pass.now {
                look_at(pass, &host.cluster, due);
            } else {
                let secs = ASLEEP_WITHIN_MS / 1_000;
                let reason = format!("its agent was told to put it to sleep and is still there after {secs} s");
                change(pass, host.id, PowerChange::NotAsleep { reason });
            }
        }
        PowerState::Waking => {
            let within_ms = pass.state.host_settings(&host.cluster).wake_within_ms;
            let due = host.power.is_due_at(within_ms).unwrap_or(pass.now);
            if due > pass.now {
                look_at(pass, &host.cluster, due);
            } else if host.power.calls < MAX_CALLS {
                change(pass, host.id, PowerChange::Call);
            } else {
                change(pass, host.id, PowerChange::GiveUp);
            }
        }
    }
}

/// Puts hosts of a pool to sleep or wakes them, as it needs.
fn scale(pass: &mut Pass<'_>, cluster: &ClusterKey, provider: &CapacityProvider) {
    let Some(scaling) = provider.scaling().copied() else {
        return;
    };
    let found = hosts(pass, cluster, |host| is_of(host, provider));
    let mut standing: Vec<(Arc<ContainerInstance>, Standing)> = vec![];
    for host in found {
        if let Some(at) = standing_in(pass, &host, scaling.warmup_secs) {
            standing.push((host, at));
        }
    }
    let mut asleep = 0;
    standing.retain(|(_, at)| {
        asleep += usize::from(matches!(at, Standing::Asleep { .. }));
        !matches!(at, Standing::Asleep { .. }) || asleep <= MAX_ASLEEP
    });
    let waiting = pass.agenda.scaled.wanted_of(cluster, &provider.key.name);
    let pool = Pool {
        waiting: waiting.cloned().collect(),
        daemons: daemons(pass, cluster, &standing),
        hosts: standing
            .iter()
            .map(|(host, at)| PoolHost {
                host: Host::from_state(&pass.state, host),
                standing: *at,
            })
            .collect(),
        scaling,
        now: pass.now,
    };
    let plan = plan(&pool);
    for host in plan.stay {
        change(pass, host, PowerChange::Stay);
    }
    for host in plan.wake {
        change(pass, host, PowerChange::Call);
    }
    for host in plan.sleep {
        let first = match provider.managed_draining {
            true => PowerChange::Empty,
            false => PowerChange::Sleep,
        };
        change(pass, host, first);
    }
    if let Some(at) = plan.again_at {
        look_at(pass, cluster, at);
    }
}

/// Where a host stands, whatever its pool says of warming up; `None` where nobody can count on it.
fn standing(pass: &Pass<'_>, host: &ContainerInstance) -> Option<Standing> {
    standing_in(pass, host, 0)
}

fn standing_in(pass: &Pass<'_>, host: &ContainerInstance, warmup_secs: u32) -> Option<Standing> {
    let power = &host.power;
    match power.state {
        PowerState::Awake if host.status != Status::Active || !host.agent_connected => None,
        PowerState::Awake if !pass.state.is_empty_host(host.id) => Some(Standing::Busy),
        PowerState::Awake => {
            let woke_at = power.since.unwrap_or(host.registered_at);
            let since = power.emptied_at.unwrap_or(woke_at).max(woke_at);
            let sleep_after_ms = pass.state.host_settings(&host.cluster).sleep_after_ms;
            let warm_at = woke_at.plus_ms(i64::from(warmup_secs) * 1_000);
            let from = since.plus_ms(i64::from(sleep_after_ms)).max(warm_at);
            let from = power.rests_until.map_or(from, |until| from.max(until));
            Some(Standing::Idle {
                since,
                sleeps_from: host.offers_sleep().then_some(from),
            })
        }
        PowerState::Emptying => host.agent_connected.then_some(Standing::Emptying),
        PowerState::FallingAsleep => None,
        // One that did not come when it was called is not waited for.
        PowerState::Waking => (power.calls <= 1).then_some(Standing::Waking),
        PowerState::Asleep if host.status != Status::Active || power.rests(pass.now) => None,
        PowerState::Asleep => Some(Standing::Asleep {
            since: power.since.unwrap_or(host.registered_at),
        }),
    }
}

/// The tasks that daemons will have on hosts that are not there yet.
fn daemons(pass: &Pass<'_>, cluster: &ClusterKey, standing: &[(Arc<ContainerInstance>, Standing)]) -> Vec<TaskRequest> {
    let absent = |at: &Standing| matches!(at, Standing::Waking | Standing::Asleep { .. });
    let absent: Vec<&ContainerInstance> = standing
        .iter()
        .filter(|(_, at)| absent(at))
        .map(|(host, _)| &**host)
        .collect();
    if absent.is_empty() {
        return vec![];
    }
    let mut requests = vec![];
    for service in pass.state.services_and_daemons_of(cluster) {
        if service.scheduling_strategy != SchedulingStrategy::Daemon || service.status != ServiceStatus::Active {
            continue;
        }
        let Some(deployment) = service.starting_deployment() else {
            continue;
        };
        let Some(definition) = starting::definition_of(&pass.state, deployment) else {
            continue;
        };
        let prototype = starting::prototype(service, deployment, &definition, pass.now);
        for host in &absent {
            let pool: Option<CapacityProviderName> = service.pool_of(host);
            if service.is_managed_daemon() && pool.is_none() {
                continue;
            }
            let task = Task {
                capacity_provider: pool.filter(|_| service.is_managed_daemon()),
                ..prototype.clone()
            };
            requests.push(TaskRequest {
                only_hosts: Some([host.id].into()),
                ..TaskRequest::of(&task)
            });
        }
    }
    requests
}
