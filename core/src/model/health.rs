//! Health of containers and tasks: ECS's `healthCheck` of a container definition, and what its probes make of a task.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The shell of `CMD-SHELL`, as Docker has it.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A container's `healthCheck`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `CMD` and arguments, `CMD-SHELL` and a line for the shell, or `NONE`.
    pub command: Vec<String>,
    /// Seconds from the end of a probe, or the container's start, to the next one.
    pub interval_secs: u32,
    /// Seconds after which a probe that has not ended has failed.
    pub timeout_secs: u32,
    /// Probes that have to fail in a row.
    pub retries: u32,
    /// Seconds from the container's start in which failures do not count until a probe has passed; `None` means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period_secs: Option<u32>,
}

impl HealthCheck {
    /// Of which command there is no check at all.
    pub const NONE: &str = "NONE";
    /// What a command begins with whose arguments are run as they are.
    pub const CMD: &str = "CMD";
    /// What a command begins with that a shell runs.
    pub const CMD_SHELL: &str = "CMD-SHELL";

    /// What a probe runs in the container; `None` if nothing is to be probed.
    #[must_use]
    pub fn arguments(&self) -> Option<Vec<String>> {
        let (kind, rest) = self.command.split_first()?;
        let shell = SHELL.iter().map(|part| (*part).to_owned());
        match kind.as_str() {
            Self::CMD => Some(rest.to_vec()),
            Self::CMD_SHELL => Some(shell.chain(rest.iter().cloned()).collect()),
            _ => None,
        }
    }

    /// The interval in milliseconds.
    #[must_use]
    pub fn interval_ms(&self) -> i64 {
        i64::from(self.interval_secs) * 1_000
    }
}

/// What is known of the health of a container or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Its probes pass.
    Healthy,
    /// Its probes have not said yet.
    Unknown,
    /// Its probes fail.
    Unhealthy,
}

impl HealthStatus {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unknown => "UNKNOWN",
            Self::Unhealthy => "UNHEALTHY",
        }
    }

    /// The health of a task whose essential containers with a health check are these; `None` if it has no such container. The worst
    /// of them counts (ECS's rule).
    #[must_use]
    pub fn of_task(containers: impl IntoIterator<Item = Self>) -> Option<Self> {
        containers.into_iter().max()
    }
}

/// The health of a task that has essential containers with health checks, as its host reports it, by the clock of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskHealth {
    /// What was reported last.
    pub status: HealthStatus,
    /// When it was first heard that the task is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Timestamp>,
    /// When its service found that it is to be replaced since it is unhealthy; nothing once it is not unhealthy any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
}

impl TaskHealth {
    /// What is known once `status` was reported at `at`.
    #[must_use]
    pub fn after(before: Option<Self>, status: HealthStatus, at: Timestamp) -> Self {
        let heard = (status == HealthStatus::Healthy).then_some(at);
        Self {
            status,
            healthy_since: before.and_then(|before| before.healthy_since).or(heard),
            failed_at: before
                .and_then(|before| before.failed_at)
                .filter(|_| status == HealthStatus::Unhealthy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &[&str]) -> HealthCheck {
        HealthCheck {
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            interval_secs: 30,
            timeout_secs: 5,
            retries: 3,
            start_period_secs: None,
        }
    }

    #[test]
    fn command_is_run_as_it_is_or_by_a_shell_or_not_at_all() {
        let run = |command: &[&str]| check(command).arguments();
        assert_eq!(run(&["CMD", "curl", "-f"]), Some(vec!["curl".into(), "-f".into()]));
        assert_eq!(
            run(&["CMD-SHELL", "curl x || exit 1"]),
            Some(vec!["/bin/sh".into(), "-c".into(), "curl x || exit 1".into()])
        );
        assert_eq!(run(&["NONE"]), None);
    }

    #[test]
    fn task_is_as_healthy_as_the_worst_of_its_containers() {
        use HealthStatus::{Healthy, Unhealthy, Unknown};
        for (containers, task) in [
            (vec![Unhealthy, Unknown, Healthy], Some(Unhealthy)),
            (vec![Healthy, Unknown], Some(Unknown)),
            (vec![Healthy, Healthy], Some(Healthy)),
            (vec![], None),
        ] {
            assert_eq!(HealthStatus::of_task(containers), task);
        }
    }

    #[test]
    fn health_remembers_that_it_was_good_and_forgets_that_it_failed_once_it_is_not_bad_any_more() {
        let first = TaskHealth::after(None, HealthStatus::Healthy, Timestamp(5));
        assert_eq!(first.healthy_since, Some(Timestamp(5)));
        let failed = TaskHealth {
            failed_at: Some(Timestamp(9)),
            ..TaskHealth::after(Some(first), HealthStatus::Unhealthy, Timestamp(8))
        };
        let still = TaskHealth::after(Some(failed), HealthStatus::Unhealthy, Timestamp(10));
        assert_eq!(still, failed);
        let again = TaskHealth::after(Some(failed), HealthStatus::Healthy, Timestamp(11));
        assert_eq!((again.healthy_since, again.failed_at), (Some(Timestamp(5)), None));
    }
}
