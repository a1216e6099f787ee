//! A task as `berth ps` shows it, in a table or as JSON. Pure.

use berth_aws::Timestamp;
use berth_aws::ecs::{Connectivity, HealthStatus, LaunchType, NetworkBinding, Task};
use serde::Serialize;

use crate::age::age;
use crate::cluster::last_part;
use crate::host_names::HostNames;
use crate::short_id;

/// One task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) task_id: String,
    task_arn: Option<String>,
    pub(super) group: Option<String>,
    service: Option<String>,
    task_definition: Option<String>,
    last_status: Option<String>,
    desired_status: Option<String>,
    health_status: Option<String>,
    pub(super) host: Option<String>,
    container_instance_arn: Option<String>,
    pub(super) availability_zone: Option<String>,
    ports: Vec<Port>,
    /// The address that it has of its own, if it has one.
    private_ipv4_address: Option<String>,
    created_at: Option<String>,
    started_at: Option<String>,
    stopped_at: Option<String>,
    /// Why it stopped or is to stop, or why it does not run yet.
    pub(super) reason: Option<String>,
    #[serde(skip)]
    created: Option<Timestamp>,
    #[serde(skip)]
    stopped: Option<Timestamp>,
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    container: Option<String>,
    address: String,
    host_port: i32,
    container_port: i32,
    protocol: String,
}

impl Row {
    pub(super) fn of(task: &Task, hosts: &HostNames, now: Timestamp) -> Self {
        let part = |text: &Option<String>| text.as_deref().map(|arn| last_part(arn).to_owned());
        let time = |at: Option<Timestamp>| at.map(Timestamp::iso8601);
        let host = task.container_instance_arn.as_ref();
        Self {
            task_id: part(&task.task_arn).unwrap_or_default(),
            task_arn: task.task_arn.clone(),
            service: task
                .group
                .as_deref()
                .and_then(|group| group.strip_prefix("service:"))
                .map(str::to_owned),
            group: task.group.clone(),
            task_definition: part(&task.task_definition_arn),
            last_status: task.last_status.clone(),
            desired_status: task.desired_status.clone(),
            health_status: task.health_status.as_ref().map(|status| status.as_str().to_owned()),
            host: host.map(|arn| hosts.get(arn).cloned().unwrap_or_else(|| last_part(arn).to_owned())),
            container_instance_arn: host.cloned(),
            availability_zone: task.availability_zone.clone(),
            ports: if is_stopped(task) { Vec::new() } else { ports(task) },
            private_ipv4_address: own_address(task).filter(|_| !is_stopped(task)),
            created_at: time(task.created_at),
            started_at: time(task.started_at),
            stopped_at: time(task.stopped_at),
            reason: reason(task, now).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
            created: task.created_at,
            stopped: task.stopped_at,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.last_status.as_deref() == Some("STOPPED")
    }

    pub(super) fn stopped_ms(&self) -> Option<i64> {
        self.stopped.map(|at| at.0)
    }

    /// Whether health checks have said anything of the task.
    pub(super) fn has_health(&self) -> bool {
        self.health_status
            .as_deref()
            .is_some_and(|status| status != HealthStatus::Unknown.as_str())
    }

    /// All cells but the reason; the id is cut to `id_length`, and the health left out unless it is to be shown.
    pub(super) fn cells(&self, id_length: usize, with_health: bool, now: Timestamp) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut cells = vec![
            short_id::cut(&self.task_id, id_length).to_owned(),
            self.service.clone().unwrap_or_else(|| text(&self.group)),
            text(&self.task_definition),
            self.status(),
        ];
        cells.extend(with_health.then(|| text(&self.health_status)));
        cells.extend([
            text(&self.host),
            text(&self.availability_zone),
            self.created.map(|at| age(at, now)).unwrap_or_default(),
            match &self.private_ipv4_address {
                Some(address) => address.clone(),
                None => self.ports.iter().map(Port::text).collect::<Vec<_>>().join(","),
            },
        ]);
        cells
    }

    /// When it stopped, if it has, and why.
    pub(super) fn reason_cell(&self, now: Timestamp) -> String {
        let reason = self.reason.clone().unwrap_or_default();
        match self.stopped {
            Some(at) => format!("{} ago: {reason}", age(at, now)),
            None => reason,
        }
    }

    /// The last status, and the desired one if the task is on its way to its end.
    fn status(&self) -> String {
        let last = self.last_status.clone().unwrap_or_default();
        match self.desired_status.as_deref() {
            Some("STOPPED") if !self.is_stopped() => format!("{last}->STOPPED"),
            _ => last,
        }
    }
}

impl Port {
    fn text(&self) -> String {
        let address = match self.address.contains(':') {
            true => format!("[{}]", self.address),
            false => self.address.clone(),
        };
        format!(
            "{address}:{}->{}/{}",
            self.host_port, self.container_port, self.protocol
        )
    }
}

fn is_stopped(task: &Task) -> bool {
    task.last_status.as_deref() == Some("STOPPED")
}

fn own_address(task: &Task) -> Option<String> {
    let mut interfaces = task
        .containers
        .iter()
        .flatten()
        .flat_map(|c| c.network_interfaces.iter().flatten());
    interfaces.find_map(|interface| interface.private_ipv4_address.clone())
}

fn ports(task: &Task) -> Vec<Port> {
    let containers = task.containers.as_deref().unwrap_or_default();
    let bindings = containers.iter().flat_map(|container| {
        let bindings = container.network_bindings.as_deref().unwrap_or_default();
        bindings
            .iter()
            .filter_map(|binding| port(container.name.as_ref(), binding))
    });
    bindings.collect()
}

fn port(container: Option<&String>, binding: &NetworkBinding) -> Option<Port> {
    Some(Port {
        container: container.cloned(),
        address: binding.bind_ip.clone().unwrap_or_default(),
        host_port: binding.host_port?,
        container_port: binding.container_port?,
        protocol: binding
            .protocol
            .as_ref()
            .map_or("tcp", |protocol| protocol.as_str())
            .to_owned(),
    })
}

/// Why the task stopped or is to stop; else what keeps it from running, as far as it can be told.
fn reason(task: &Task, now: Timestamp) -> Option<String> {
    if task.desired_status.as_deref() == Some("STOPPED") || is_stopped(task) {
        return task.stopped_reason.clone();
    }
    if task.connectivity == Some(Connectivity::Disconnected) {
        let since = task.connectivity_at.map(|at| format!(" for {}", age(at, now)));
        return Some(format!(
            "the agent of its host is not connected{}",
            since.unwrap_or_default()
        ));
    }
    if task.last_status.as_deref() == Some("RUNNING") || task.last_status.is_none() {
        return unhealthy(task);
    }
    let said = task
        .containers
        .iter()
        .flatten()
        .find_map(|container| container.reason.clone());
    said.or_else(|| match (task.pull_started_at, task.pull_stopped_at) {
        (Some(at), None) => Some(format!("fetching images for {}", age(at, now))),
        _ if task.container_instance_arn.is_none() && task.launch_type != Some(LaunchType::Fargate) => {
            Some(match &task.capacity_provider_name {
                Some(pool) => format!("waits for a host of capacity provider {pool}"),
                None => "has no host yet".to_owned(),
            })
        }
        (None, None) => Some("its host has not begun yet".to_owned()),
        _ => None,
    })
}

/// Which containers fail their health checks.
fn unhealthy(task: &Task) -> Option<String> {
    let containers = task.containers.iter().flatten();
    let unhealthy = containers.filter(|container| container.health_status == Some(HealthStatus::Unhealthy));
    let names: Vec<&str> = unhealthy.filter_map(|container| container.name.as_deref()).collect();
    (!names.is_empty()).then(|| format!("health checks fail: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::Container;

    use super::*;

    const NOW: Timestamp = Timestamp(100_000);

    fn pending() -> Task {
        Task {
            desired_status: Some("RUNNING".to_owned()),
            last_status: Some("PENDING".to_owned()),
            container_instance_arn: Some("host".to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn reason_of_a_pending_task_is_what_it_waits_for() {
        assert_eq!(reason(&pending(), NOW).as_deref(), Some("its host has not begun yet"));
        let pulling = Task {
            pull_started_at: Some(Timestamp(40_000)),
            ..pending()
        };
        assert_eq!(reason(&pulling, NOW).as_deref(), Some("fetching images for 60s"));
        let waiting = Task {
            last_status: Some("PROVISIONING".to_owned()),
            container_instance_arn: None,
            capacity_provider_name: Some("gpu".to_owned()),
            ..pending()
        };
        assert_eq!(
            reason(&waiting, NOW).as_deref(),
            Some("waits for a host of capacity provider gpu")
        );
        let cut_off = Task {
            connectivity: Some(Connectivity::Disconnected),
            connectivity_at: Some(Timestamp(90_000)),
            ..pending()
        };
        assert_eq!(
            reason(&cut_off, NOW).as_deref(),
            Some("the agent of its host is not connected for 10s")
        );
    }

    #[test]
    fn reason_of_a_running_task_is_which_containers_are_unhealthy() {
        let container = |name: &str, status| Container {
            name: Some(name.to_owned()),
            health_status: Some(status),
            ..Default::default()
        };
        let running = |of_app| Task {
            last_status: Some("RUNNING".to_owned()),
            containers: Some(vec![container("app", of_app), container("side", HealthStatus::Unknown)]),
            ..pending()
        };
        assert_eq!(reason(&running(HealthStatus::Healthy), NOW), None);
        let unhealthy = reason(&running(HealthStatus::Unhealthy), NOW);
        assert_eq!(unhealthy.as_deref(), Some("health checks fail: app"));
    }

    #[test]
    fn port_on_an_ipv6_address_is_readable() {
        let port = Port {
            container: None,
            address: "::1".to_owned(),
            host_port: 80,
            container_port: 8080,
            protocol: "tcp".to_owned(),
        };
        assert_eq!(port.text(), "[::1]:80->8080/tcp");
    }
}
