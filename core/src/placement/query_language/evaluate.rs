//! Whether an expression holds for a host. Pure.

use std::collections::BTreeSet;

use super::ast::{Comparison, Condition, Expression, Literal, Subject, Test, Version};
use crate::model::{Attributes, Timestamp};

/// What expressions can ask about a host.
#[derive(Clone, Debug)]
pub struct HostFacts<'a> {
    /// Attributes, those of users over those of the agent.
    pub attributes: &'a Attributes,
    /// The host's name.
    pub ec2_instance_id: &'a str,
    /// Whether its agent has a session now.
    pub agent_connected: bool,
    /// Version of its agent.
    pub agent_version: &'a str,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Number of its tasks that are `RUNNING`.
    pub running_tasks: u32,
    /// Groups of the tasks on it.
    pub task_groups: BTreeSet<&'a str>,
}

impl Expression {
    /// Whether the expression holds for the host.
    #[must_use]
    pub fn holds_for(&self, host: &HostFacts<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds_for(host)),
            Self::Any(parts) => parts.iter().any(|part| part.holds_for(host)),
            Self::Not(part) => !part.holds_for(host),
            Self::Condition(condition) => condition.holds_for(host),
        }
    }
}

impl Condition {
    fn holds_for(&self, host: &HostFacts<'_>) -> bool {
        let passes = match &self.subject {
            Subject::AgentConnected => self.test.on_text(if host.agent_connected { "true" } else { "false" }),
            Subject::AgentVersion => self.test.on_version(host.agent_version),
            Subject::Attribute(name) => match host.attributes.get(name) {
                Some(value) => self.test == Test::Exists || value.as_deref().is_some_and(|v| self.test.on_text(v)),
                None => false,
            },
            Subject::Ec2InstanceId => self.test.on_text(host.ec2_instance_id),
            Subject::RegisteredAt => self.test.on_ordered(&Literal::Moment(host.registered_at)),
            Subject::RunningTasksCount => self.test.on_ordered(&Literal::Number(i64::from(host.running_tasks))),
            Subject::TaskGroup => host.task_groups.iter().any(|group| self.test.on_text(group)),
        };
        passes != self.negated
    }
}

impl Test {
    fn on_text(&self, value: &str) -> bool {
        let equals = |literal: &Literal| matches!(literal, Literal::Text(text) if text == value);
        match self {
            Self::Exists => true,
            Self::Equals(literal) => equals(literal),
            Self::In(literals) => literals.iter().any(equals),
            Self::Matches(pattern) => pattern.matches(value),
            Self::Compares(comparison, Literal::Text(text)) => compares_text(*comparison, value, text),
            Self::Compares(..) => false,
        }
    }

    fn on_version(&self, version: &str) -> bool {
        Version::parse(version).is_some_and(|version| self.on_ordered(&Literal::Version(version)))
    }

    fn on_ordered(&self, value: &Literal) -> bool {
        match self {
            Self::Equals(literal) => literal == value,
            Self::Compares(comparison, literal) => {
                let ordering = match (value, literal) {
                    (Literal::Number(a), Literal::Number(b)) => a.cmp(b),
                    (Literal::Moment(a), Literal::Moment(b)) => a.cmp(b),
                    (Literal::Version(a), Literal::Version(b)) => a.cmp(b),
                    _ => return false,
                };
                comparison.accepts(ordering)
            }
            Self::Exists | Self::In(_) | Self::Matches(_) => false,
        }
    }
}

fn compares_text(comparison: Comparison, value: &str, argument: &str) -> bool {
    match (value.parse::<i64>(), argument.parse::<i64>()) {
        (Ok(value), Ok(argument)) => comparison.accepts(value.cmp(&argument)),
        _ => comparison.accepts(value.cmp(argument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let attributes = Attributes::from([
            ("ecs.availability-zone".to_owned(), Some("eu-1a".to_owned())),
            ("type".to_owned(), Some("t2.micro".to_owned())),
            ("disks".to_owned(), Some("10".to_owned())),
            ("gpu".to_owned(), None),
        ]);
        let facts = HostFacts {
            attributes: &attributes,
            ec2_instance_id: "host-7",
            agent_connected: true,
            agent_version: "1.14.2",
            registered_at: Timestamp(1_529_360_908_000),
            running_tasks: 3,
            task_groups: BTreeSet::from(["service:web", "family:batch"]),
        };
        text.parse::<Expression>().expect(text).holds_for(&facts)
    }

    #[test]
    fn expression_that_describes_the_host_holds() {
        for text in [
            "attribute:ecs.availability-zone in [eu-1a, eu-1b]",
            "attribute:ecs.availability-zone != eu-1c and attribute:type =~ t2.*",
            "attribute:type =~ '(t2|m5)\\.[a-z]+'",
            "attribute:type !~ t2",
            "attribute:gpu exists",
            "attribute:fpga !exists",
            "attribute:disks > 9 and attribute:disks <= 10",
            "attribute:fpga != big",
            "ec2InstanceId in ['host-6', 'host-7']",
            "agentConnected == true",
            "agentVersion >= 1.9 && agentVersion < 2",
            "registeredAt < 2018-06-19 and registeredAt == 2018-06-18T22:28:28Z",
            "runningTasksCount >= 3 and !(runningTasksCount > 3)",
            "task:group == service:web and task:group == family:batch",
            "not(task:group == database) && task:group =~ service:.*",
            "(attribute:fpga exists or (attribute:gpu exists))",
        ] {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn expression_that_describes_another_host_does_not_hold() {
        for text in [
            "attribute:fpga == big",
            "attribute:fpga exists",
            "attribute:gpu == yes",
            "attribute:gpu > 0",
            "attribute:type =~ t2",
            "task:group != service:web",
            "task:group !in [family:batch]",
            "agentConnected in [false]",
            "ec2InstanceId !~ host-.*",
            "runningTasksCount < 3 or agentVersion > 1.14.2",
            "not attribute:type exists",
        ] {
            assert!(!holds(text), "{text}");
        }
    }
}
