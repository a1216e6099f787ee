//! When a container's health is probed, and what the outcomes come to. Pure.
//!
//! Owns what n outcomes make of a container, by the rules of Docker, which ECS's agents leave it to: probes begin an interval after the
//! container's start and then after the end of the one before; the first that passes makes it healthy; as many in a row as it has retries
//! that fail make it unhealthy; until one has passed, failures within the start period do not count. It must not know how a probe is carried out.
//!
//! None of this is written down but what is told: whoever runs a task keeps a [`HealthWatch`] beside its [`TaskState`], and begins anew with
//! the health that was told last when the agent has restarted.

use std::collections::BTreeMap;

use super::Observation;
use super::state::{ContainerPhase, TaskState};
use crate::model::{HealthCheck, HealthStatus, TaskSpec, Timestamp};

/// A change that follows the one before within this time belongs to the same flapping.
const CALM_AFTER_MS: i64 = 10 * 60 * 1_000;

/// Pauses between the changes that are told of a container whose health flaps: the first, and the longest, to which they grow. So what is told
/// is never older than a minute, and a container that flaps for ever costs the log one entry a minute.
const FIRST_PAUSE_MS: i64 = 10_000;
pub(super) const LONGEST_PAUSE_MS: i64 = 60_000;

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The command ended with exit code 0 in time.
    Passed,
    /// It ended otherwise, not in time, or could not be started in the container.
    Failed,
    /// It could not be run, for a reason that says nothing of the container.
    NotRun,
}

/// The health that probes make of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is known.
    pub status: HealthStatus,
    /// Failures in a row that count.
    pub failures: u32,
}

/// The standing after one more outcome, of a container that was started at `began_at`.
#[must_use]
pub fn judge(
    check: &HealthCheck,
    before: Standing,
    outcome: ProbeOutcome,
    began_at: Timestamp,
    now: Timestamp,
) -> Standing {
    match outcome {
        ProbeOutcome::NotRun => before,
        ProbeOutcome::Passed => Standing {
            status: HealthStatus::Healthy,
            failures: 0,
        },
        ProbeOutcome::Failed => {
            let start_period_ms = i64::from(check.start_period_secs.unwrap_or(0)) * 1_000;
            let is_starting = before.status == HealthStatus::Unknown && now.ms_since(began_at) < start_period_ms;
            if is_starting {
                return before;
            }
            let failures = before.failures.saturating_add(1);
            let is_unhealthy = failures >= check.retries.max(1);
            Standing {
                status: if is_unhealthy {
                    HealthStatus::Unhealthy
                } else {
                    before.status
                },
                failures,
            }
        }
    }
}

/// The health checks of one task's containers.
#[derive(Debug, Default)]
pub struct HealthWatch {
    /// By container, those that run.
    monitors: BTreeMap<String, Monitor>,
}

/// The health check of one run of a container.
#[derive(Debug)]
struct Monitor {
    check: HealthCheck,
    began_at: Timestamp,
    standing: Standing,
    next_at: Timestamp,
    is_probing: bool,
    told: Told,
}

/// What was told of a container's health.
#[derive(Clone, Copy, Debug)]
struct Told {
    status: HealthStatus,
    at: Option<Timestamp>,
    /// How long nothing more is told from then on.
    pause_ms: i64,
}

/// Which run of a container is probed: the outcome of a probe says nothing of a later run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The container.
    pub container: String,
    began_at: Timestamp,
}

impl HealthWatch {
    /// Takes up containers that have begun to run and drops those that do not any more, or are about to be stopped.
    pub fn follow(&mut self, state: &TaskState, spec: &TaskSpec, now: Timestamp) {
        let runs = |name: &str| {
            let found = state.containers.iter().find(|c| c.name == name);
            let found = found.filter(|c| state.stop.is_none() && c.phase == ContainerPhase::Running);
            found.and_then(|c| Some((c.began_at?, c.health?)))
        };
        for container in &spec.containers {
            let running = runs(&container.name).zip(container.health_check.as_ref());
            let Some(((began_at, health), check)) = running else {
                self.monitors.remove(&container.name);
                continue;
            };
            let known = self.monitors.get(&container.name);
            if known.is_none_or(|known| known.began_at != began_at) {
                let monitor = Monitor::new(check.clone(), began_at, health, now);
                self.monitors.insert(container.name.clone(), monitor);
            }
        }
    }

    /// The probes that are to begin now; none of a container whose last one has not ended.
    pub fn due(&mut self, now: Timestamp) -> Vec<Probe> {
        let due = self.monitors.iter_mut().filter_map(|(name, monitor)| {
            monitor.bound_wait(now);
            (!monitor.is_probing && monitor.next_at <= now).then(|| {
                monitor.is_probing = true;
                Probe {
                    container: name.clone(),
                    began_at: monitor.began_at,
                }
            })
        });
        due.collect()
    }

    /// Takes note of what became of a probe.
    pub fn take(&mut self, probe: &Probe, outcome: ProbeOutcome, now: Timestamp) {
        let Some(monitor) = self.monitors.get_mut(&probe.container) else {
            return;
        };
        if monitor.began_at == probe.began_at {
            monitor.is_probing = false;
            monitor.next_at = now.plus_ms(monitor.check.interval_ms());
            monitor.standing = judge(&monitor.check, monitor.standing, outcome, monitor.began_at, now);
        }
    }

    /// What probes have made of a container that runs and has a health check.
    #[must_use]
    pub fn status(&self, container: &str) -> Option<HealthStatus> {
        self.monitors.get(container).map(|monitor| monitor.standing.status)
    }

    /// What there is to tell now: containers whose health is another than was told last.
    pub fn news(&mut self, now: Timestamp) -> Vec<Observation> {
        let news = self.monitors.iter_mut().filter_map(|(name, monitor)| {
            let status = monitor.standing.status;
            let may_tell = status != monitor.told.status && monitor.told.until(now) <= now;
            may_tell.then(|| {
                monitor.told = monitor.told.then(status, now);
                Observation::HealthChanged {
                    container: name.clone(),
                    status,
                }
            })
        });
        news.collect()
    }

    /// When there is something to do, if there will be.
    #[must_use]
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.monitors.values().flat_map(|monitor| {
            let probe = (!monitor.is_probing).then_some(monitor.next_at);
            let has_news = monitor.standing.status != monitor.told.status;
            [probe, has_news.then(|| monitor.told.until(now))]
        });
        times.flatten().min()
    }
}

impl Monitor {
    fn new(check: HealthCheck, began_at: Timestamp, health: HealthStatus, now: Timestamp) -> Self {
        Self {
            began_at,
            standing: Standing {
                status: health,
                failures: 0,
            },
            next_at: now.plus_ms(check.interval_ms()),
            is_probing: false,
            told: Told {
                status: health,
                at: None,
                pause_ms: 0,
            },
            check,
        }
    }

    /// No wait is longer from now than when it began: on a host whose clock was set back it would not end for as long as that.
    fn bound_wait(&mut self, now: Timestamp) {
        self.next_at = self.next_at.min(now.plus_ms(self.check.interval_ms()));
    }
}

impl Told {
    /// From when on something else may be told.
    fn until(self, now: Timestamp) -> Timestamp {
        let at = self.at.map_or(now, |at| at.plus_ms(self.pause_ms));
        at.min(now.plus_ms(self.pause_ms))
    }

    fn then(self, status: HealthStatus, now: Timestamp) -> Self {
        let flaps = self.at.is_some_and(|at| now.ms_since(at) < CALM_AFTER_MS);
        let pause_ms = if flaps {
            (self.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
        } else {
            0
        };
        Self {
            status,
            at: Some(now),
            pause_ms,
        }
    }
}
