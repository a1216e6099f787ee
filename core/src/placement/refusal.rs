//! Why a host does not take a task: as data, as ECS's failure reason, and as words with numbers. Pure.

use std::fmt;
use std::sync::Arc;

use super::query_language::ParseError;
use crate::model::{ContainerInstanceStatus, Ports, TransportProtocol};

/// A reason for which a host does not take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The host is draining or deregistered.
    NotActive(ContainerInstanceStatus),
    /// The host's agent has no session.
    AgentDisconnected,
    /// Too few CPU units are free.
    Cpu(Shortage),
    /// Too little memory is free, in MiB.
    Memory(Shortage),
    /// These ports are taken or reserved.
    Ports(Ports),
    /// Programs that are no tasks hold these ports, as the host found when a task wanted them.
    ForeignPorts(Ports),
    /// `distinctInstance`: the host already has tasks of the group.
    DistinctInstance {
        /// How many.
        tasks: u32,
    },
    /// `memberOf`: the expression does not hold.
    MemberOf {
        /// The expression.
        expression: Arc<str>,
    },
    /// `memberOf`: the text is no expression, so that it holds nowhere.
    UnreadableExpression {
        /// The text.
        expression: Arc<str>,
        /// What is wrong with it.
        error: ParseError,
    },
}

/// How much of a resource was asked for and is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What the task needs.
    pub needs: u32,
    /// What is free; less than `needs`.
    pub free: u32,
    /// What the host has in all.
    pub registered: u32,
}

impl Shortage {
    /// What is missing.
    #[must_use]
    pub fn short_by(self) -> u32 {
        self.needs.saturating_sub(self.free)
    }
}

impl Refusal {
    /// The reason as ECS writes it in `failures[]` of `RunTask` and `StartTask`.
    #[must_use]
    pub fn ecs_reason(&self) -> &'static str {
        match self {
            Self::NotActive(ContainerInstanceStatus::Inactive) => "INACTIVE",
            Self::NotActive(_) | Self::AgentDisconnected => "AGENT",
            Self::Cpu(_) => "RESOURCE:CPU",
            Self::Memory(_) => "RESOURCE:MEMORY",
            Self::Ports(_) | Self::ForeignPorts(_) => "RESOURCE:PORTS",
            Self::DistinctInstance { .. } => "DistinctInstance placement constraint unsatisfied.",
            Self::MemberOf { .. } | Self::UnreadableExpression { .. } => "MemberOf placement constraint unsatisfied.",
        }
    }
}

/// What a reader of a service event wants to know of one host, to be put after the host's id.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotActive(status) => write!(f, "is {}", status.as_str()),
            Self::AgentDisconnected => f.write_str("its agent is not connected"),
            Self::Cpu(s) => {
                let (needs, free, registered, short) = (s.needs, s.free, s.registered, s.short_by());
                write!(
                    f,
                    "needs {needs} CPU units, free {free} of {registered}, short by {short}"
                )
            }
            Self::Memory(s) => {
                let (needs, free, registered, short) = (s.needs, s.free, s.registered, s.short_by());
                write!(
                    f,
                    "needs {needs} MiB, free {free} of {registered} MiB, short by {short} MiB"
                )
            }
            Self::Ports(ports) => write!(f, "{} in use", Named(ports)),
            Self::ForeignPorts(ports) => write!(f, "{} held by a program that is no task", Named(ports)),
            Self::DistinctInstance { tasks: 1 } => f.write_str("already has 1 task of the group (distinctInstance)"),
            Self::DistinctInstance { tasks } => write!(f, "already has {tasks} tasks of the group (distinctInstance)"),
            Self::MemberOf { expression } => write!(f, "is not a member of '{expression}'"),
            Self::UnreadableExpression { expression, error } => {
                write!(f, "is not a member of '{expression}' ({error})")
            }
        }
    }
}

/// Ports with their verb.
struct Named<'p>(&'p Ports);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |(protocol, port): &(_, u16)| format!("{port}/{}", protocol_name(*protocol));
        let names: Vec<String> = self.0.iter().map(name).collect();
        let (noun, verb) = if names.len() == 1 {
            ("port", "is")
        } else {
            ("ports", "are")
        };
        write!(f, "host {noun} {} {verb}", names.join(", "))
    }
}

fn protocol_name(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}
