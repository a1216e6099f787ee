//! Calls hosts that are to wake, by a command of the operator, while this controller leads. Shell.
//!
//! Level-triggered: whoever comes to lead calls those that are called and have not come. When one is called again, or no more, the state says; here is
//! each call made, and what kept it from being made is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{ContainerInstance, ContainerInstanceId, PowerChange, PowerState, attribute_names};
use berth_core::state::Command;
use berth_hooks::Hook;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::monitoring::Metrics;
use crate::replica::StateGroup;

/// Time between two looks: short beside what a machine takes to start.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long one call may take: it sends a packet, or asks a board that manages the machine.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// Calls at the same time: enough for a rack, few enough for the machine of a controller.
const MAX_AT_ONCE: usize = 8;

/// Attributes of a host that are told of: what agents and users may put on one is less.
const MAX_ATTRIBUTES: usize = 64;

/// What tells one call of a host from another: since when it is to wake, and how often it was called.
type Call = (ContainerInstanceId, Option<berth_core::model::Timestamp>, u32);

/// See the module.
#[derive(Clone)]
pub(crate) struct Waker {
    group: StateGroup,
    clock: Arc<dyn Clock>,
    command: String,
    metrics: Metrics,
}

impl Waker {
    pub(crate) fn new(group: StateGroup, clock: Arc<dyn Clock>, command: String) -> Self {
        let metrics = group.metrics().clone();
        Self {
            group,
            clock,
            command,
            metrics,
        }
    }

    /// Calls hosts until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leads = self.group.watch_led_term();
        let (mut term, mut made, mut under_way) = (None, BTreeMap::new(), JoinSet::new());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(ended) = under_way.join_next() => log_panic(ended),
                () = stop.cancelled() => return,
            }
            let led = *leads.borrow();
            if led != term {
                term = led;
                made.clear();
            }
            if let Some(term) = led {
                self.look(term, &mut made, &mut under_way);
            }
        }
    }

    /// Makes the calls that were not made yet, as many as may be under way.
    fn look(&self, term: u64, made: &mut BTreeMap<ContainerInstanceId, Call>, under_way: &mut JoinSet<()>) {
        let view = self.group.view();
        let host = |id: ContainerInstanceId| view.view.container_instance(id);
        made.retain(|id, _| host(*id).is_some_and(|host| host.power.state == PowerState::Waking));
        for host in due(
            view.view.waking_hosts(),
            made,
            MAX_AT_ONCE.saturating_sub(under_way.len()),
        ) {
            made.insert(host.id, call_of(host));
            under_way.spawn(self.clone().call(Arc::clone(host), term));
        }
    }

    async fn call(self, host: Arc<ContainerInstance>, term: u64) {
        let (id, call) = (host.id, host.power.calls);
        tracing::info!(container_instance = %id, host = host.host.host_name, call, "calling a host that is to wake");
        let outcome = Hook::new("wake command", self.command.as_str(), CALL_WITHIN)
            .run(variables(&host))
            .await;
        self.metrics.host_called(outcome.is_ok());
        let Err(error) = outcome else { return };
        tracing::warn!(container_instance = %id, host = host.host.host_name, call, %error, "a host could not be called");
        let command = Command::ChangePower {
            container_instance: id,
            change: PowerChange::NotCalled {
                call,
                reason: error.to_string(),
            },
            at: self.clock.now(),
        };
        if let Err(error) = self.group.propose_in_term(command, term).await {
            tracing::warn!(container_instance = %id, %error, "could not record that a host could not be called");
        }
    }
}

fn call_of(host: &ContainerInstance) -> Call {
    (host.id, host.power.since, host.power.calls)
}

/// The hosts to call next of those that are to wake, no more than there is room for: those first that were called less often, and of these who waits
/// the longest. Each call has to be answered within a time that the state counts, so that none may wait behind those that are called again.
fn due<'a>(
    waking: impl Iterator<Item = &'a Arc<ContainerInstance>>,
    made: &BTreeMap<ContainerInstanceId, Call>,
    room: usize,
) -> Vec<&'a Arc<ContainerInstance>> {
    if room == 0 {
        return vec![];
    }
    let mut open: Vec<_> = waking
        .filter(|host| made.get(&host.id) != Some(&call_of(host)))
        .collect();
    open.sort_unstable_by_key(|host| (host.power.calls, host.power.called_at, host.id));
    open.truncate(room);
    open
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        tracing::error!(%panic, "calling a host panicked: it is called again in time");
    }
}

/// What the command is told of a host.
fn variables(host: &ContainerInstance) -> Vec<(String, String)> {
    let told = |name: &str, value: &str| (format!("BERTH_{name}"), value.to_owned());
    let pool = host.host.capacity_provider.as_ref().map(ToString::to_string);
    // Only of the agent: what users put on a host must not have another one called.
    let addresses = host.host.attributes.get(attribute_names::MAC_ADDRESSES);
    let addresses = addresses.and_then(Option::as_deref).unwrap_or_default();
    let mut all = vec![
        told("HOST_NAME", &host.host.host_name),
        told("CONTAINER_INSTANCE_ARN", &host.arn()),
        told("CLUSTER", host.cluster.name.as_str()),
        told("CAPACITY_PROVIDER", &pool.unwrap_or_default()),
        told("MAC_ADDRESSES", addresses),
        told("CALL", &host.power.calls.to_string()),
    ];
    let attributes = host.all_attributes().into_iter().take(MAX_ATTRIBUTES);
    all.extend(attributes.map(|(name, value)| {
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        let name: String = name.chars().map(letter).collect();
        told(&format!("ATTRIBUTE_{name}"), value.as_deref().unwrap_or_default())
    }));
    all
}

#[cfg(test)]
mod tests;
