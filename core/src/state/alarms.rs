//! Commands on alarms, and which deployments they end. Nothing here evaluates metrics: an alarm says what it was last set to. Pure.

use std::sync::Arc;

use crate::model::{
    Alarm, AlarmKey, AlarmName, AlarmState, DeploymentAlarms, MonitoredAlarms, Scope, Service, ServiceDeployment,
    Timestamp,
};

use super::{ClusterState, Event, MAX_TAGS, Rejection, services};

/// Alarms in an account and region (CloudWatch's quota).
pub const MAX_ALARMS: usize = 5_000;

/// Longest definition of an alarm, so that as many as there may be fit into memory.
pub const MAX_ALARM_DEFINITION_BYTES: usize = 16 * 1024;

/// For how many minutes a deployment that alarms are to roll back bakes at most, where nobody said for how long: it is Berth's rule; ECS says "less than 5 minutes" of its own, and not how it computes them.
const LONGEST_DEFAULT_BAKE_MINUTES: u32 = 5;

/// Makes an alarm, or writes anew what one is meant to watch, which keeps its state and its tags (CloudWatch's rule).
pub(super) fn put(state: &mut ClusterState, alarm: &Alarm) -> Result<Vec<Event>, Rejection> {
    let key = alarm.key.clone();
    if alarm.definition.len() > MAX_ALARM_DEFINITION_BYTES {
        return Err(Rejection::AlarmTooLarge(key));
    }
    let put = match state.alarms.get(&key) {
        Some(known) => Alarm {
            definition: alarm.definition.clone(),
            found_after_secs: alarm.found_after_secs,
            configured_at: alarm.configured_at,
            ..Alarm::clone(known)
        },
        None if state.alarms(&key.scope).count() >= MAX_ALARMS => return Err(Rejection::TooManyAlarms),
        None if alarm.tags.len() > MAX_TAGS => return Err(Rejection::TooManyTags),
        None => alarm.clone(),
    };
    state.alarms.insert(key.clone(), Arc::new(put));
    Ok(vec![Event::AlarmChanged(key)])
}

pub(super) fn delete(state: &mut ClusterState, keys: &[AlarmKey]) -> Vec<Event> {
    let gone = keys.iter().filter(|key| state.alarms.remove(*key).is_some());
    gone.cloned().map(Event::AlarmChanged).collect()
}

/// Sets the state of an alarm; where it goes off, every deployment on its way that monitors it remembers that, however soon it is well again.
pub(super) fn set_state(
    state: &mut ClusterState,
    key: &AlarmKey,
    value: AlarmState,
    reason: &str,
    reason_data: Option<&str>,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let known = state.existing_alarm(key)?;
    let changes = known.state != value;
    let alarm = Alarm {
        state: value,
        state_reason: reason.to_owned(),
        state_reason_data: reason_data.map(str::to_owned),
        state_updated_at: at,
        state_changed_at: if changes { at } else { known.state_changed_at },
        ..Alarm::clone(known)
    };
    state.alarms.insert(key.clone(), Arc::new(alarm));
    let mut events = vec![Event::AlarmChanged(key.clone())];
    if value == AlarmState::Alarm {
        events.extend(trigger(state, key, at));
    }
    Ok(events)
}

fn trigger(state: &mut ClusterState, key: &AlarmKey, at: Timestamp) -> Vec<Event> {
    let from = key.scope.cluster("").service("");
    let services = state.services.range(from..).map(|(_, service)| service);
    let services = services.take_while(|service| service.key.cluster.scope == key.scope);
    let watching: Vec<Service> = services
        .filter(|service| minds(service, &key.name))
        .map(|service| Service::clone(service))
        .collect();
    let mut events = vec![];
    for mut service in watching {
        if let Some(current) = service.service_deployments.front_mut() {
            let current = Arc::make_mut(current);
            let monitored = current.alarms.iter_mut();
            monitored.for_each(|monitored| monitored.triggered.push(key.name.clone()));
            current.updated_at = at;
        }
        events.extend(services::put(state, service));
    }
    events
}

/// Whether an alarm that goes off now is news to what is deployed of a service.
fn minds(service: &Service, name: &AlarmName) -> bool {
    let Some(current) = service.service_deployment_under_way() else {
        return false;
    };
    let names = current.configuration.alarms.iter().flat_map(|alarms| &alarms.names);
    current.status.is_forward()
        && current
            .alarms
            .as_ref()
            .is_some_and(|monitored| !monitored.triggered.contains(name))
        && names.into_iter().any(|known| known == name)
}

/// Begins to monitor the alarms of a deployment that begins, unless one of them is off already: then none is, so that what caused it can be
/// mended (ECS's rule).
pub(super) fn monitor(state: &ClusterState, scope: &Scope, begun: &mut ServiceDeployment) {
    let Some(alarms) = begun.configuration.alarms.as_ref().filter(|alarms| alarms.enable) else {
        return;
    };
    let known: Vec<&Arc<Alarm>> = known(state, scope, alarms).collect();
    if known.iter().any(|alarm| alarm.state == AlarmState::Alarm) {
        return;
    }
    begun.alarms = Some(MonitoredAlarms::default());
    let found_after = known.iter().map(|alarm| alarm.found_after_secs).max();
    let (says, rolls_back) = (begun.configuration.says_bake_time(), alarms.rollback);
    if let Some(seconds) = found_after.filter(|_| rolls_back && !says) {
        begun.configuration.bake_minutes = seconds.div_ceil(60).clamp(1, LONGEST_DEFAULT_BAKE_MINUTES);
    }
}

fn known<'s>(
    state: &'s ClusterState,
    scope: &'s Scope,
    alarms: &'s DeploymentAlarms,
) -> impl Iterator<Item = &'s Arc<Alarm>> {
    alarms
        .names
        .iter()
        .filter_map(|name| state.alarm(&scope.alarm(name.as_str())))
}

/// Whether all alarms exist that are to be minded.
pub(super) fn check_exist(
    state: &ClusterState,
    scope: &Scope,
    alarms: Option<&DeploymentAlarms>,
) -> Result<(), Rejection> {
    let names = alarms.filter(|alarms| alarms.enable);
    for name in names.iter().flat_map(|alarms| &alarms.names) {
        state.existing_alarm(&scope.alarm(name.as_str()))?;
    }
    Ok(())
}

impl ClusterState {
    /// Alarms of an account and region, in name order.
    pub fn alarms(&self, scope: &Scope) -> impl Iterator<Item = &Arc<Alarm>> + use<'_> {
        let (from, scope) = (scope.alarm(""), scope.clone());
        let alarms = self.alarms.range(from..).map(|(_, alarm)| alarm);
        alarms.take_while(move |alarm| alarm.key.scope == scope)
    }

    /// An alarm.
    #[must_use]
    pub fn alarm(&self, key: &AlarmKey) -> Option<&Arc<Alarm>> {
        self.alarms.get(key)
    }

    pub(super) fn existing_alarm(&self, key: &AlarmKey) -> Result<&Arc<Alarm>, Rejection> {
        self.alarm(key).ok_or_else(|| Rejection::AlarmNotFound(key.clone()))
    }
}
