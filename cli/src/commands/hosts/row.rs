//! A host as `berth hosts` shows it, in a table or as JSON. Pure.

use berth_aws::Timestamp;
use berth_aws::berth::Host;
use berth_aws::ecs::{ContainerInstance, Resource};
use serde::Serialize;

use crate::age::age;
use crate::{host_names, short_id};

/// One host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    name: String,
    pub(super) id: String,
    container_instance_arn: Option<String>,
    availability_zone: Option<String>,
    capacity_provider: Option<String>,
    fargate: Option<String>,
    fargate_spot: Option<String>,
    status: Option<String>,
    agent_connected: bool,
    agent_connection_changed_at: Option<String>,
    power: Option<String>,
    power_changed_at: Option<String>,
    power_trouble: Option<String>,
    sleeps_by_hand: bool,
    foreign_ports: Vec<String>,
    cpu: Amount,
    memory_mib: Amount,
    running_tasks: i32,
    pending_tasks: i32,
    registered_at: Option<String>,
    agent_version: Option<String>,
    runtime_version: Option<String>,
    #[serde(skip)]
    registered: Option<Timestamp>,
    #[serde(skip)]
    connection_changed: Option<Timestamp>,
    #[serde(skip)]
    power_changed: Option<Timestamp>,
}

/// What tasks reserve, of what there is.
#[derive(Debug, Serialize)]
struct Amount {
    used: i32,
    total: i32,
}

impl Row {
    pub(super) fn of(host: &ContainerInstance, details: Option<&Host>) -> Self {
        let connection_changed = details.and_then(|details| details.connection_changed_at);
        let version = host.version_info.as_ref();
        Self {
            name: host_names::name(host),
            id: host_names::id(host).to_owned(),
            container_instance_arn: host.container_instance_arn.clone(),
            availability_zone: attribute(host, "ecs.availability-zone"),
            capacity_provider: host.capacity_provider_name.clone(),
            fargate: attribute(host, "berth.fargate"),
            fargate_spot: attribute(host, "berth.fargate-spot"),
            status: host.status.clone(),
            agent_connected: host.agent_connected.unwrap_or(false),
            agent_connection_changed_at: connection_changed.map(Timestamp::iso8601),
            power: details.and_then(|details| details.power.clone()),
            power_changed_at: details
                .and_then(|details| details.power_changed_at)
                .map(Timestamp::iso8601),
            power_trouble: details.and_then(|details| details.power_trouble.clone()),
            sleeps_by_hand: details.and_then(|details| details.sleeps_by_hand) == Some(true),
            foreign_ports: details
                .and_then(|details| details.foreign_ports.clone())
                .unwrap_or_default(),
            cpu: amount(host, "CPU"),
            memory_mib: amount(host, "MEMORY"),
            running_tasks: host.running_tasks_count.unwrap_or(0),
            pending_tasks: host.pending_tasks_count.unwrap_or(0),
            registered_at: host.registered_at.map(Timestamp::iso8601),
            agent_version: version.and_then(|version| said(&version.agent_version)),
            runtime_version: version.and_then(|version| said(&version.docker_version)),
            registered: host.registered_at,
            connection_changed,
            power_changed: details.and_then(|details| details.power_changed_at),
        }
    }

    /// What rows are sorted by.
    pub(super) fn order(&self) -> ((&str, u64), &str) {
        (host_names::order(&self.name), &self.id)
    }

    /// What it offers to tasks of the launch type FARGATE: what runs them, and whether it may go any day.
    pub(super) fn fargate(&self) -> String {
        match (&self.fargate, &self.fargate_spot) {
            (Some(runs), None) => runs.clone(),
            (Some(runs), Some(_)) => format!("{runs}, spot"),
            (None, Some(runs)) => format!("{runs}, spot alone"),
            (None, None) => String::new(),
        }
    }

    pub(super) fn cells(&self, id_length: usize, now: Timestamp) -> [String; 11] {
        let agent = self.agent(now);
        let version = [&self.agent_version, &self.runtime_version];
        let version: Vec<&str> = version.into_iter().flatten().map(String::as_str).collect();
        let tasks = match self.pending_tasks {
            0 => self.running_tasks.to_string(),
            pending => format!("{}+{pending}", self.running_tasks),
        };
        [
            self.name.clone(),
            short_id::cut(&self.id, id_length).to_owned(),
            self.availability_zone.clone().unwrap_or_default(),
            self.capacity_provider.clone().unwrap_or_default(),
            self.status.clone().unwrap_or_default(),
            agent,
            format!("{}/{}", self.cpu.used, self.cpu.total),
            format!("{}/{}MiB", self.memory_mib.used, self.memory_mib.total),
            tasks,
            self.registered.map(|at| age(at, now)).unwrap_or_default(),
            version.join(", "),
        ]
    }
}

/// What an agent says of itself; one that speaks ECS's API may say nothing.
fn said(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

impl Row {
    /// How its agent is, or where the host is on its way to sleep and back.
    fn agent(&self, now: Timestamp) -> String {
        let power = self.power.as_deref().filter(|power| *power != "awake");
        let (what, since) = match power {
            Some(power) => (power, self.power_changed),
            None if self.agent_connected => ("connected", self.connection_changed),
            None => ("away", self.connection_changed),
        };
        let mut said = match since {
            Some(since) => format!("{what} {}", age(since, now)),
            None => what.to_owned(),
        };
        if self.sleeps_by_hand {
            said.push_str(" by hand");
        }
        match self.power_trouble {
            Some(_) => format!("{said} (!)"),
            None => said,
        }
    }
}

fn attribute(host: &ContainerInstance, name: &str) -> Option<String> {
    let mut attributes = host.attributes.iter().flatten();
    attributes
        .find(|attribute| attribute.name.as_deref() == Some(name))?
        .value
        .clone()
}

fn amount(host: &ContainerInstance, of: &str) -> Amount {
    let value = |resources: &Option<Vec<Resource>>| {
        let mut resources = resources.iter().flatten();
        let found = resources.find(|resource| resource.name.as_deref() == Some(of));
        found.and_then(|resource| resource.integer_value).unwrap_or(0)
    };
    let total = value(&host.registered_resources);
    Amount {
        used: total - value(&host.remaining_resources),
        total,
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::{Attribute, VersionInfo};

    use super::*;

    fn named(name: &str) -> ContainerInstance {
        let resource = |name: &str, value| Resource {
            name: Some(name.to_owned()),
            integer_value: Some(value),
            ..Default::default()
        };
        ContainerInstance {
            container_instance_arn: Some(
                "arn:aws:ecs:us-east-1:123456789012:container-instance/shop/0123456789".to_owned(),
            ),
            ec2_instance_id: Some(name.to_owned()),
            capacity_provider_name: Some("gpu".to_owned()),
            status: Some("ACTIVE".to_owned()),
            agent_connected: Some(true),
            registered_resources: Some(vec![resource("CPU", 4096), resource("MEMORY", 16384)]),
            remaining_resources: Some(vec![resource("CPU", 4000), resource("MEMORY", 16000)]),
            running_tasks_count: Some(2),
            pending_tasks_count: Some(1),
            registered_at: Some(Timestamp(0)),
            attributes: Some(vec![Attribute {
                name: Some("ecs.availability-zone".to_owned()),
                value: Some("us-east-1a".to_owned()),
                ..Default::default()
            }]),
            version_info: Some(VersionInfo {
                agent_version: Some("0.1.0".to_owned()),
                docker_version: Some("containerd 1.6".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn row_of_a_host_shows_what_is_used_of_what_there_is() {
        let details = Host {
            agent_connected: Some(true),
            connection_changed_at: Some(Timestamp(30_000)),
            ..Default::default()
        };
        assert_eq!(
            Row::of(&named("host-1"), Some(&details)).cells(8, Timestamp(60_000)),
            [
                "host-1",
                "01234567",
                "us-east-1a",
                "gpu",
                "ACTIVE",
                "connected 30s",
                "96/4096",
                "384/16384MiB",
                "2+1",
                "60s",
                "0.1.0, containerd 1.6"
            ]
        );
    }

    #[test]
    fn host_that_somebody_put_to_sleep_says_so() {
        let details = |by_hand| Host {
            power: Some("asleep".to_owned()),
            power_changed_at: Some(Timestamp(0)),
            sleeps_by_hand: Some(by_hand),
            ..Default::default()
        };
        let agent = |by_hand| Row::of(&named("host-1"), Some(&details(by_hand))).agent(Timestamp(30_000));
        assert_eq!(
            (agent(false).as_str(), agent(true).as_str()),
            ("asleep 30s", "asleep 30s by hand")
        );
    }

    #[test]
    fn host_whose_agent_says_no_versions_shows_none() {
        let silent = ContainerInstance {
            version_info: Some(VersionInfo {
                agent_version: Some(String::new()),
                docker_version: Some(String::new()),
                ..Default::default()
            }),
            ..named("host-1")
        };
        let row = Row::of(&silent, None);
        assert_eq!(row.cells(8, Timestamp(0))[10], "");
        assert_eq!((row.agent_version, row.runtime_version), (None, None));
    }

    #[test]
    fn rows_of_numbered_hosts_are_in_the_order_of_their_numbers() {
        let mut rows: Vec<Row> = ["host-10", "host-9", "edge", "host-1"]
            .map(|name| Row::of(&named(name), None))
            .into();
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["edge", "host-1", "host-9", "host-10"]);
    }
}
