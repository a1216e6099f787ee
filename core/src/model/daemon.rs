//! Managed daemons: one task on each host of some capacity providers (ECS Managed Daemons).
//!
//! A daemon is a daemon service with other rules, and is kept, deployed and rolled back as one. So are its task definitions. Both have names
//! of their own, apart from those of services and task definitions: they are kept under `daemon:NAME`, which no service and no family can be
//! called.

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderName, CircuitBreaker, ClusterKey, ContainerInstance, DeploymentConfiguration, Family,
    PropagateTags, Scale, SchedulingStrategy, Service, ServiceKey, ServiceName, ServiceStatus, Task, Timestamp,
};

/// What the names of daemons and of their task definitions begin with where they are kept, and the groups of their tasks.
const DAEMON: &str = "daemon:";

/// Whether a group is one of tasks of a daemon.
#[must_use]
pub fn is_group_of_daemon(group: &str) -> bool {
    group.starts_with(DAEMON)
}

impl ClusterKey {
    /// The key of the daemon `name` in this cluster.
    #[must_use]
    pub fn daemon(&self, name: &str) -> ServiceKey {
        self.service(&format!("{DAEMON}{name}"))
    }
}

impl ServiceName {
    /// The daemon's own name, if it is one of a daemon.
    #[must_use]
    pub fn of_daemon(&self) -> Option<&str> {
        self.as_str().strip_prefix(DAEMON)
    }
}

impl ServiceKey {
    /// Whether it is one of a daemon.
    #[must_use]
    pub fn is_of_daemon(&self) -> bool {
        self.name.of_daemon().is_some()
    }
}

impl Family {
    /// The family of daemon task definitions that is called `name`.
    #[must_use]
    pub fn for_daemons(name: &str) -> Self {
        Self::from(format!("{DAEMON}{name}"))
    }

    /// What users call it, be it one of daemon task definitions or not.
    #[must_use]
    pub fn own_name(&self) -> &str {
        self.of_daemons().unwrap_or(self.as_str())
    }

    /// The family's own name, if it is one of daemon task definitions.
    #[must_use]
    pub fn of_daemons(&self) -> Option<&str> {
        self.as_str().strip_prefix(DAEMON)
    }
}

/// What a daemon has that a service has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedDaemon {
    /// What its requests say.
    pub settings: DaemonSettings,
}

/// That a critical daemon's task served on a host and ended although it was wanted, and none has served there since, or not for long enough
/// to be sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonAbsence {
    /// Since when.
    pub since: Timestamp,
    /// Whether its next task was waited for long enough, so that other tasks are to leave the host too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

/// What the requests for a daemon say of it beyond what those for services do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonSettings {
    /// Whether hosts are to have its task before others, and not without it.
    pub critical: bool,
    /// On which share of its hosts a deployment replaces tasks at the same time.
    pub drain: Scale,
}

impl DaemonSettings {
    /// On how many of so many hosts a deployment replaces tasks at the same time: no more than the share, but one at least.
    #[must_use]
    pub fn hosts_at_once(&self, hosts: u32) -> u32 {
        self.drain.rounded_down(hosts).max(1)
    }
}

/// What a revision of a daemon says beyond what one of a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonRevision {
    /// As its request said.
    pub settings: DaemonSettings,
    /// Whether its tasks get the daemon's tags.
    pub propagate_tags: PropagateTags,
    /// Whether its tasks get managed tags.
    pub enable_ecs_managed_tags: bool,
}

impl DeploymentConfiguration {
    /// How deployments of a daemon proceed: all failures of one count, and too many have the daemon return to what it was (ECS).
    #[must_use]
    pub fn of_daemon(bake_minutes: u32) -> Self {
        Self {
            circuit_breaker: CircuitBreaker {
                enable: true,
                rollback: true,
                reset_on_healthy_task: Some(false),
                threshold: None,
            },
            bake_minutes,
            ..Self::default_of(SchedulingStrategy::Daemon)
        }
    }
}

impl Service {
    /// Whether it is a managed daemon.
    #[must_use]
    pub fn is_managed_daemon(&self) -> bool {
        self.managed_daemon.is_some()
    }

    /// Whether hosts are to have its task before others, and not without it.
    #[must_use]
    pub fn is_critical_daemon(&self) -> bool {
        self.managed_daemon
            .as_ref()
            .is_some_and(|daemon| daemon.settings.critical)
    }

    /// Whether hosts are to have its task before others now: it is critical, and not being deleted.
    #[must_use]
    pub fn is_to_be_on_hosts(&self) -> bool {
        self.is_critical_daemon() && self.status == ServiceStatus::Active
    }

    /// The capacity provider by which a host is one of its own, where it is a managed daemon.
    #[must_use]
    pub fn pool_of(&self, host: &ContainerInstance) -> Option<CapacityProviderName> {
        let pool = host.host.capacity_provider.as_ref()?;
        let mut items = self.capacity_provider_strategy.iter();
        items.any(|item| item.capacity_provider == *pool).then(|| pool.clone())
    }

    /// What its revision says as one of a daemon, where it is one.
    #[must_use]
    pub fn daemon_revision(&self) -> Option<DaemonRevision> {
        self.managed_daemon.as_ref().map(|daemon| DaemonRevision {
            settings: daemon.settings,
            propagate_tags: self.propagate_tags,
            enable_ecs_managed_tags: self.enable_ecs_managed_tags,
        })
    }

    /// Takes over what a revision says of a daemon. On how many hosts at once it is deployed stays: that is up to who deploys.
    pub(super) fn take_daemon_revision(&mut self, revision: &DaemonRevision) {
        if let Some(daemon) = &mut self.managed_daemon {
            daemon.settings.critical = revision.settings.critical;
        }
        self.propagate_tags = revision.propagate_tags;
        self.enable_ecs_managed_tags = revision.enable_ecs_managed_tags;
    }
}

impl Task {
    /// Whether it is one of a managed daemon.
    #[must_use]
    pub fn is_of_daemon(&self) -> bool {
        self.service().is_some_and(ServiceKey::is_of_daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    #[test]
    fn names_of_daemons_and_of_services_are_never_the_same() {
        let cluster = Scope::new("123456789012", "us-east-1").cluster("shop");
        let (daemon, service) = (cluster.daemon("logs"), cluster.service("logs"));
        assert_ne!(daemon, service);
        assert_eq!(
            (daemon.name.of_daemon(), service.name.of_daemon()),
            (Some("logs"), None)
        );
        assert_eq!(Family::for_daemons("logs").of_daemons(), Some("logs"));
        assert_eq!(Family::from("logs").of_daemons(), None);
    }

    #[test]
    fn deployment_replaces_tasks_on_its_share_of_the_hosts_and_on_one_at_least() {
        let at_once = |percent, hosts| {
            let drain = Scale::of_percent(percent).expect("a share");
            let settings = DaemonSettings { critical: true, drain };
            settings.hosts_at_once(hosts)
        };
        assert_eq!((at_once(25.0, 3), at_once(25.0, 4), at_once(25.0, 9)), (1, 1, 2));
        assert_eq!((at_once(0.0, 5), at_once(100.0, 5), at_once(50.0, 0)), (1, 5, 1));
    }
}
