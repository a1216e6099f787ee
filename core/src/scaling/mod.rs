//! Which hosts of a pool to wake, and which to put to sleep: as managed scaling of ECS does with the instances of a capacity provider. Pure: [`plan`]
//! is a function of a [`Pool`].
//!
//! ECS's measure is M / N * 100, the part of the hosts that is needed, held at `targetCapacity`. N counts the hosts that are awake, and those that are
//! about to be. M counts those of them that have tasks, those that tasks which wait would go to, and those that have to be woken for the rest. Which these are
//! placement says, so that what keeps a task from a host here is what keeps it from there later; tasks that wait are packed, whatever their strategy, since that
//! takes the fewest hosts. Tasks of daemons keep no host awake, and take their part of those that are woken.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    BinpackResource, ContainerInstanceId, ContainerInstanceStatus, ManagedScaling, PlacementStrategy, TaskId, Timestamp,
};
use crate::placement::{Ask, Host, Outcome, PlacementProblem, Seed, TaskRequest, place};

/// Tasks that wait of which as many are looked at: what more there are, the next plan sees.
const MAX_WAITING: usize = 4_096;

/// A pool of hosts, and what is wanted of it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its hosts, each once; those on which nobody can count are left out.
    pub hosts: Vec<PoolHost>,
    /// Tasks that wait for one of them.
    pub waiting: Vec<Demand>,
    /// Tasks that daemons would have on hosts that are not there yet, each for one of them alone.
    pub daemons: Vec<TaskRequest>,
    /// How it is scaled.
    pub scaling: ManagedScaling,
    /// Now.
    pub now: Timestamp,
}

/// A host of the pool.
#[derive(Clone, Debug)]
pub struct PoolHost {
    /// As placement sees it.
    pub host: Host,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there and has tasks.
    Busy,
    /// It is there and has none but those of daemons.
    Idle {
        /// Since when.
        since: Timestamp,
        /// From when on it may be put to sleep, if at all.
        sleeps_from: Option<Timestamp>,
    },
    /// It is there, takes no tasks, and is about to sleep.
    Emptying,
    /// It is about to be there.
    Waking,
    /// It would be there if it were called.
    Asleep {
        /// Since when it sleeps.
        since: Timestamp,
    },
}

/// Tasks that wait and are alike.
#[derive(Clone, Debug)]
pub struct Demand {
    /// What each asks for.
    pub ask: Arc<Ask>,
    /// How many.
    pub count: usize,
}

/// What to do with the hosts of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Hosts that empty and are to stay.
    pub stay: Vec<ContainerInstanceId>,
    /// Hosts to call.
    pub wake: Vec<ContainerInstanceId>,
    /// Hosts to put to sleep.
    pub sleep: Vec<ContainerInstanceId>,
    /// When more could be put to sleep although nothing may have changed.
    pub again_at: Option<Timestamp>,
    /// Hosts that are needed: ECS's M.
    pub needed: usize,
    /// Hosts that are there or about to be: ECS's N.
    pub present: usize,
}

/// What to do with the hosts of a pool now.
#[must_use]
pub fn plan(pool: &Pool) -> Plan {
    let of = |is: fn(&Standing) -> bool| -> Vec<&PoolHost> {
        let hosts = pool.hosts.iter();
        hosts.filter(|host| is(&host.standing)).collect()
    };
    let busy = of(|standing| *standing == Standing::Busy);
    let free = of(|standing| matches!(standing, Standing::Idle { .. } | Standing::Waking));
    let emptying = of(|standing| *standing == Standing::Emptying);
    let away = of(|standing| matches!(standing, Standing::Asleep { .. }));
    let waking = of(|standing| *standing == Standing::Waking).len();
    // What costs least first: hosts in use, then those that are there for it, and those that have to be called last.
    let (_, left) = fit(pool, &busy, &pool.waiting);
    let (used, left) = fit(pool, &free, &left);
    let (kept, left) = fit(pool, &emptying, &left);
    let (called, _) = fit(pool, &away, &left);
    let needed = busy.len() + used.len() + kept.len() + called.len();
    let present = busy.len() + free.len();
    let percent = usize::try_from(pool.scaling.target_capacity).unwrap_or(100).max(1);
    let target = (needed * 100).div_ceil(percent);

    let mut stay: Vec<ContainerInstanceId> = kept.keys().copied().collect();
    let beyond = target.saturating_sub(present + stay.len() + called.len());
    let spare = emptying.iter().map(|host| host.host.id);
    stay.extend(spare.filter(|id| !kept.contains_key(id)).take(beyond));
    let missing = target.saturating_sub(present + stay.len()).max(called.len());
    let wake = to_wake(pool, &away, &called, missing, waking);

    let mut plan = Plan {
        stay,
        wake,
        needed,
        present,
        ..Plan::default()
    };
    if plan.wake.is_empty() && plan.stay.is_empty() {
        let idle = free.iter().filter(|host| !used.contains_key(&host.host.id));
        put_to_sleep(pool, idle, present.saturating_sub(target), &mut plan);
    }
    plan
}

/// Whether one of the tasks that wait would fit on a host of the pool, were they all there.
#[must_use]
pub fn fits(pool: &Pool) -> bool {
    let hosts: Vec<&PoolHost> = pool.hosts.iter().collect();
    let (used, _) = fit(pool, &hosts, &pool.waiting);
    !used.is_empty()
}

/// The hosts to call: those that tasks would go to, the most tasks first, and others up to `missing`, those that sleep longest first. `waking` are on their
/// way already.
fn to_wake(
    pool: &Pool,
    away: &[&PoolHost],
    called: &BTreeMap<ContainerInstanceId, usize>,
    missing: usize,
    waking: usize,
) -> Vec<ContainerInstanceId> {
    let step = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
    let least = if waking == 0 {
        step(pool.scaling.minimum_step)
    } else {
        0
    };
    let most = step(pool.scaling.maximum_step).saturating_sub(waking);
    if missing == 0 {
        return vec![];
    }
    let mut order: Vec<_> = away
        .iter()
        .map(|host| {
            let id = host.host.id;
            let since = match host.standing {
                Standing::Asleep { since } => since,
                _ => pool.now,
            };
            (std::cmp::Reverse(called.get(&id).copied()), since, id)
        })
        .collect();
    order.sort_unstable();
    let ids = order.into_iter().map(|(_, _, id)| id);
    ids.take(missing.max(least).min(most)).collect()
}

/// Chooses up to `surplus` of the idle hosts: those that have been empty longest, of those that may sleep now.
fn put_to_sleep<'h>(pool: &Pool, idle: impl Iterator<Item = &'h &'h PoolHost>, surplus: usize, plan: &mut Plan) {
    let candidates = idle.filter_map(|host| match host.standing {
        Standing::Idle {
            since,
            sleeps_from: Some(from),
        } => Some((since, host.host.id, from)),
        _ => None,
    });
    let mut candidates: Vec<_> = candidates.collect();
    candidates.sort_unstable();
    let (due, later): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(_, _, from)| *from <= pool.now);
    plan.sleep = due.into_iter().map(|(_, id, _)| id).take(surplus).collect();
    if plan.sleep.len() < surplus {
        plan.again_at = later.into_iter().map(|(_, _, from)| from).min();
    }
}

/// How many of the tasks that wait each of `hosts` would get, were they all there, and the tasks that are left over.
fn fit(pool: &Pool, hosts: &[&PoolHost], waiting: &[Demand]) -> (BTreeMap<ContainerInstanceId, usize>, Vec<Demand>) {
    let mut used = BTreeMap::new();
    if hosts.is_empty() || waiting.is_empty() {
        return (used, waiting.to_vec());
    }
    let ids: BTreeSet<ContainerInstanceId> = hosts.iter().map(|host| host.host.id).collect();
    let own = |request: &&TaskRequest| request.only_hosts.as_ref().is_some_and(|only| only.is_subset(&ids));
    let mut requests: Vec<TaskRequest> = pool.daemons.iter().filter(own).cloned().collect();
    let first = requests.len();
    let mut owners = vec![];
    for (place, demand) in waiting.iter().enumerate() {
        let packed = Arc::new(Ask {
            strategies: vec![PlacementStrategy::Binpack {
                resource: BinpackResource::Memory,
            }],
            ..Ask::clone(&demand.ask)
        });
        let room = MAX_WAITING.saturating_sub(owners.len());
        for _ in 0..demand.count.min(room) {
            owners.push(place);
            requests.push(TaskRequest::new(TaskId(0), Arc::clone(&packed)));
        }
    }
    for (number, request) in (0..).zip(&mut requests) {
        request.id = TaskId(number);
    }
    let problem = PlacementProblem {
        hosts: hosts.iter().map(|host| once_there(host)).collect(),
        requests,
        typical: None,
    };
    let mut left: Vec<Demand> = waiting.to_vec();
    let decisions = place(&problem, Seed(0)).decisions.into_iter().skip(first);
    for (owner, decision) in owners.into_iter().zip(decisions) {
        if let Outcome::Placed(placement) = decision.outcome {
            *used.entry(placement.host()).or_insert(0) += 1;
            if let Some(demand) = left.get_mut(owner) {
                demand.count -= 1;
            }
        }
    }
    left.retain(|demand| demand.count > 0);
    (used, left)
}

/// The host as it will be once it is there and takes tasks.
fn once_there(host: &PoolHost) -> Host {
    match host.standing {
        Standing::Busy | Standing::Idle { .. } => host.host.clone(),
        Standing::Emptying | Standing::Waking | Standing::Asleep { .. } => Host {
            status: ContainerInstanceStatus::Active,
            agent_connected: true,
            makes_room_for: None,
            missing_daemon: None,
            ..host.host.clone()
        },
    }
}
