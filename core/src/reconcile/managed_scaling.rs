//! Hosts that are put to sleep where their capacity provider does not need them, and woken where it does. Which, says [`crate::scaling`]; here is what it is
//! asked, and each host's way from one state to the next. Pure.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    CapacityProvider, CapacityProviderName, ClusterKey, ContainerInstance, ContainerInstanceId,
    ContainerInstanceStatus as Status, MAX_CALLS, ManagedScaling, PowerChange, PowerState, SchedulingStrategy, Service,
    ServiceKey, ServiceStatus, Task, Timestamp,
};
use crate::placement::{Ask, Host, TaskRequest};
use crate::scaling::{Demand, Pool, PoolHost, Standing, fits, plan};
use crate::state::{Command, Feature};

use super::agenda::Subject;
use super::pass::Pass;
use super::{provisioning, starting};

/// How long a host may take to fall asleep once its agent is told: suspending takes seconds, and what hinders it has been waited for before.
const ASLEEP_WITHIN_MS: i64 = 2 * 60 * 1_000;

/// How long a host sleeps at a stretch: its certificate lives for a week, and it renews it while it is awake, once it is nearly five days old.
const SLEEPS_AT_MOST_MS: i64 = 2 * 24 * 60 * 60 * 1_000;

/// Sleeping hosts that are considered at once.
const MAX_ASLEEP: usize = 1_000;

/// Hosts that are thought of at once where it is asked whether a task would fit on one.
pub(super) const HOSTS_AT_ONCE: usize = 50;

/// Looks at all pools of a cluster.
pub(super) fn reconcile(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    let scaled = pools(pass, cluster);
    let is_concerned = !scaled.is_empty() || pass.state.hosts_not_awake(cluster).next().is_some();
    if pass.agenda.scaled.set(cluster, is_concerned) {
        // What waits has not said yet for how many tasks: all that is to be looked at already comes first.
        pass.agenda.enqueue_unplaced(cluster);
        pass.agenda.enqueue(Subject::Pools(cluster.clone()));
        return;
    }
    if !is_concerned {
        return;
    }
    if let Some(at) = pass.agenda.scaled.not_before(cluster, pass.now) {
        return look_at(pass, cluster, at);
    }
    let on_their_way: Vec<ContainerInstanceId> = pass.state.hosts_not_awake(cluster).map(|host| host.id).collect();
    // First, so that a host that is needed is kept before it sleeps, and called before those that nothing needs.
    if pass.agenda.scaled.can_wake && !scaled.is_empty() {
        let mut hosts = hosts_by_pool(pass, cluster, &scaled);
        for pool in &scaled {
            let own = hosts.remove(&pool.key.name).unwrap_or_default();
            scale(pass, cluster, pool, own);
        }
    }
    let mut ways = Ways::of(pass, cluster, &scaled);
    for id in on_their_way {
        if let Some(host) = pass.state.container_instance(id).cloned() {
            follow(pass, &host, &mut ways);
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

/// Whether a host of the pool that a task of a service waits for is about to be there, or could be, and has room for it.
pub(super) fn may_have_more(pass: &mut Pass<'_>, service: &Service, task: &Task) -> bool {
    // What is to be on each host waits for no other one.
    let is_daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
    let Some(pool) = task.capacity_provider.as_ref().filter(|_| !is_daemon) else {
        return false;
    };
    let mut scaled = pools(pass, &task.cluster).into_iter();
    let provider = scaled.find(|provider| provider.key.name == *pool);
    let scaling = provider.as_ref().and_then(|provider| provider.scaling().copied());
    let (Some(provider), Some(scaling)) = (provider, scaling.filter(|_| pass.agenda.scaled.can_wake)) else {
        return false;
    };
    let asked = Asked {
        ask: TaskRequest::of(task).ask,
        cluster: &task.cluster,
        scaling,
        daemons: OnceCell::new(),
    };
    let not_awake = pass.state.hosts_not_awake(&task.cluster);
    let not_awake = asked.candidates(pass, &provider, not_awake);
    let patience_ms = i64::from(pass.state.host_settings(&task.cluster).wake_within_ms);
    let due = |host: &ContainerInstance| host.connection_changed_at.plus_ms(patience_ms);
    let registering = pass.state.hosts_that_wait_for_daemons(&task.cluster);
    let registering = asked.candidates(pass, &provider, registering);
    let (soon, late): (Vec<_>, Vec<_>) = registering.into_iter().partition(|(host, _)| due(host) > pass.now);
    if asked.would_fit(pass, &soon) {
        if let Some(until) = soon.iter().map(|(host, _)| due(host)).min() {
            pass.wake_service(&service.key, until);
        }
        return true;
    }
    // Where it would go to a host that is late, none is called for it.
    !asked.would_fit(pass, &late) && asked.would_fit(pass, &not_awake)
}

/// A task of which it is asked where it would fit.
struct Asked<'a> {
    ask: Arc<Ask>,
    cluster: &'a ClusterKey,
    scaling: ManagedScaling,
    daemons: OnceCell<Daemons>,
}

impl Asked<'_> {
    /// Those of `hosts` that are in the pool, may come to be there and are large enough.
    fn candidates<'h>(
        &self,
        pass: &Pass<'_>,
        pool: &CapacityProvider,
        hosts: impl Iterator<Item = &'h Arc<ContainerInstance>>,
    ) -> Vec<(Arc<ContainerInstance>, Standing)> {
        let needs = self.ask.shape.resources;
        let large = hosts.filter(|host| is_of(host, pool) && host.host.capacity.checked_sub(needs).is_some());
        let known = large.filter_map(|host| Some((Arc::clone(host), standing(pass, host)?)));
        known.take(MAX_ASLEEP).collect()
    }

    /// Whether it fits on one of these hosts once that takes tasks.
    fn would_fit(&self, pass: &Pass<'_>, hosts: &[(Arc<ContainerInstance>, Standing)]) -> bool {
        hosts.chunks(HOSTS_AT_ONCE).any(|hosts| {
            fits(&Pool {
                hosts: hosts.iter().map(|(host, at)| seen(pass, host, *at)).collect(),
                waiting: vec![Demand {
                    ask: Arc::clone(&self.ask),
                    count: 1,
                }],
                daemons: self
                    .daemons
                    .get_or_init(|| Daemons::of(pass, self.cluster))
                    .on(pass, hosts),
                scaling: self.scaling,
                now: pass.now,
            })
        })
    }
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

/// The hosts of these pools, by one look at all hosts of the cluster.
fn hosts_by_pool(
    pass: &Pass<'_>,
    cluster: &ClusterKey,
    pools: &[Arc<CapacityProvider>],
) -> BTreeMap<CapacityProviderName, Vec<Arc<ContainerInstance>>> {
    let names = pools.iter().map(|pool| (pool.key.name.clone(), vec![]));
    let mut found: BTreeMap<_, Vec<_>> = names.collect();
    for host in pass.state.container_instances_of(cluster) {
        let pool = host.host.capacity_provider.as_ref();
        if let Some(own) = pool.and_then(|pool| found.get_mut(pool)) {
            own.push(Arc::clone(host));
        }
    }
    found
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

/// What there is to know of each pool whose hosts sleep or are on their way.
#[derive(Default)]
struct Ways(BTreeMap<Option<CapacityProviderName>, Way>);

/// How hosts of a pool may go.
struct Way {
    is_scaled: bool,
    /// Hosts that are called.
    calls: u32,
    /// Hosts that may be at once.
    most: u32,
}

impl Ways {
    fn of(pass: &Pass<'_>, cluster: &ClusterKey, scaled: &[Arc<CapacityProvider>]) -> Self {
        let mut ways = Self::default();
        for host in pass.state.hosts_not_awake(cluster) {
            let pool = host.host.capacity_provider.as_ref();
            let way = ways.0.entry(pool.cloned()).or_insert_with(|| {
                let key = pool.map(|pool| cluster.scope.capacity_provider(pool.as_str()));
                let provider = key.and_then(|key| pass.state.capacity_provider(&key));
                // Also of a pool that was switched off.
                let scaling = provider.and_then(|provider| provider.managed_scaling);
                Way {
                    is_scaled: scaled.iter().any(|pool| is_of(host, pool)),
                    calls: 0,
                    most: scaling.unwrap_or_default().maximum_step,
                }
            });
            way.calls += u32::from(standing(pass, host) == Some(Standing::Waking));
        }
        ways
    }

    fn is_scaled(&self, host: &ContainerInstance) -> bool {
        let way = self.0.get(&host.host.capacity_provider);
        way.is_some_and(|way| way.is_scaled)
    }

    /// Takes note of another call, if one may be made. Where it may not, the host is looked at again once one has come or is not expected any more.
    fn take(&mut self, host: &ContainerInstance) -> bool {
        let way = self.0.get_mut(&host.host.capacity_provider);
        way.is_some_and(|way| {
            let may = way.calls < way.most;
            way.calls += u32::from(may);
            may
        })
    }
}

/// Takes a host on that is on its way to sleep or to wake.
fn follow(pass: &mut Pass<'_>, host: &ContainerInstance, ways: &mut Ways) {
    let (can_wake, is_scaled) = (pass.agenda.scaled.can_wake, ways.is_scaled(host));
    let since = host.power.since.unwrap_or(host.registered_at);
    match host.power.state {
        PowerState::Awake | PowerState::ShuttingDown => {}
        // Whoever put it to sleep wakes it.
        PowerState::Asleep if host.power.by_hand => {}
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
            } else if can_wake && host.status == Status::Active && ways.take(host) {
                change(pass, host.id, PowerChange::Call);
            }
        }
        // Nobody could wake it again.
        PowerState::Emptying if !host.power.by_hand && (!is_scaled || !can_wake) => {
            _ = change(pass, host.id, PowerChange::Stay)
        }
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
        // Whoever can call it does so.
        PowerState::Waking if !can_wake => {}
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
fn scale(pass: &mut Pass<'_>, cluster: &ClusterKey, provider: &CapacityProvider, found: Vec<Arc<ContainerInstance>>) {
    let Some(scaling) = provider.scaling().copied() else {
        return;
    };
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
    let wanted = pass.agenda.scaled.wanted_of(cluster, &provider.key.name);
    let mut waiting: Vec<Demand> = wanted.cloned().collect();
    waiting.extend(provisioning::demands(&pass.state, cluster, &provider.key.name));
    let hosts = standing.iter();
    let (hosts, daemons) = if waiting.is_empty() {
        // Nothing is placed then: where hosts stand is enough.
        (hosts.map(|(host, at)| bare(host, *at)).collect(), vec![])
    } else {
        let hosts = hosts.map(|(host, at)| seen(pass, host, *at));
        (hosts.collect(), Daemons::of(pass, cluster).on(pass, &standing))
    };
    let pool = Pool {
        waiting,
        daemons,
        hosts,
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

fn bare(host: &ContainerInstance, standing: Standing) -> PoolHost {
    PoolHost {
        host: Host::idle(host.id, "", host.host.capacity),
        standing,
    }
}

/// A host as placement sees it. One that waits for a daemon is about to take tasks, as one that wakes is.
fn seen(pass: &Pass<'_>, host: &ContainerInstance, standing: Standing) -> PoolHost {
    let mut known = Host::from_state(&pass.state, host);
    if pass.state.waits_for_daemon(host) {
        known.missing_daemon = None;
    }
    PoolHost { host: known, standing }
}

/// Where a host stands, whatever its pool says of warming up; `None` where nobody can count on it.
fn standing(pass: &Pass<'_>, host: &ContainerInstance) -> Option<Standing> {
    standing_in(pass, host, 0)
}

fn standing_in(pass: &Pass<'_>, host: &ContainerInstance, warmup_secs: u32) -> Option<Standing> {
    let power = &host.power;
    match power.state {
        // It is there for nobody before somebody wakes it.
        PowerState::Emptying | PowerState::Asleep if power.by_hand => None,
        PowerState::Awake if host.status != Status::Active || !host.agent_connected => None,
        PowerState::Awake if !pass.state.is_empty_host(host.id) => Some(Standing::Busy),
        PowerState::Awake => {
            // It may have been off, by hand, or its agent have been another.
            let woke_at = power.since.unwrap_or(host.registered_at);
            let woke_at = woke_at.max(host.connection_changed_at);
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
        PowerState::FallingAsleep | PowerState::ShuttingDown => None,
        // One that did not come when it was called, or could not be called, is not waited for.
        PowerState::Waking => (power.calls <= 1 && power.trouble.is_none()).then_some(Standing::Waking),
        PowerState::Asleep if host.status != Status::Active || power.rests(pass.now) => None,
        PowerState::Asleep => Some(Standing::Asleep {
            since: power.since.unwrap_or(host.registered_at),
        }),
    }
}

/// Tasks of daemons of a cluster, each as one of it would start next.
struct Daemons(Vec<(Arc<Service>, Task)>);

impl Daemons {
    fn of(pass: &Pass<'_>, cluster: &ClusterKey) -> Self {
        let services = pass.state.services_and_daemons_of(cluster);
        let starting = services.filter(|service| {
            service.scheduling_strategy == SchedulingStrategy::Daemon && service.status == ServiceStatus::Active
        });
        let prototypes = starting.filter_map(|service| {
            let deployment = service.starting_deployment()?;
            let definition = starting::definition_of(&pass.state, deployment)?;
            let prototype = starting::prototype(service, deployment, &definition, pass.now);
            Some((Arc::clone(service), prototype))
        });
        Self(prototypes.collect())
    }

    /// Those that will come to these hosts where they are not there yet, or that some of them wait for.
    fn on(&self, pass: &Pass<'_>, standing: &[(Arc<ContainerInstance>, Standing)]) -> Vec<TaskRequest> {
        let is_absent = |at: &Standing| matches!(at, Standing::Waking | Standing::Asleep { .. });
        let absent = standing
            .iter()
            .filter(|(host, at)| is_absent(at) || pass.state.waits_for_daemon(host));
        let mut requests = vec![];
        for (host, _) in absent {
            let tasks = pass.state.tasks_of_instance(host.id).filter(|task| !task.is_stopped());
            let there: Vec<_> = tasks.filter_map(|task| task.service()).collect();
            for (service, prototype) in &self.0 {
                let pool = service.pool_of(host);
                if there.contains(&&service.key) || (service.is_managed_daemon() && pool.is_none()) {
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
}
