//! Why a host does not take a task: as data, as ECS's failure reason, and as words with numbers. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::filter::FilterKind;
use super::gpus::WHOLE_GPU;
use super::query_language::ParseError;
use crate::model::{CapacityProviderName, ContainerInstanceStatus, Ports, ServiceName, attribute_names};

/// A reason for which a host does not take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The host is draining or deregistered.
    NotActive(ContainerInstanceStatus),
    /// The host's agent has no session.
    AgentDisconnected,
    /// The host sleeps, and takes the task once it was called and is there.
    Asleep,
    /// The host was called, and is not there yet.
    Waking,
    /// Tasks on it are being stopped so that one of this service fits, and are not over.
    MakesRoom(ServiceName),
    /// This daemon is to serve on the host before other tasks come, and does not.
    MissesDaemon(String),
    /// The task was given to a capacity provider, and the host is of another or of none.
    CapacityProvider {
        /// The capacity provider of the task.
        needs: CapacityProviderName,
        /// That of the host.
        has: Option<CapacityProviderName>,
    },
    /// Too few CPU units are free.
    Cpu(Shortage),
    /// Too little memory is free, in MiB.
    Memory(Shortage),
    /// These ports are taken or reserved.
    Ports(Ports),
    /// Programs that are no tasks hold these ports, as the host found when a task wanted them.
    ForeignPorts(Ports),
    /// Too little of its GPUs is free.
    Gpu(GpuShortage),
    /// Its GPUs are of a model that the task may not run on.
    GpuModel {
        /// The models that the task may run on.
        needs: BTreeSet<String>,
        /// The model of the host's.
        has: String,
    },
    /// `distinctInstance`: the host already has tasks of the group.
    DistinctInstance {
        /// How many.
        tasks: u32,
    },
    /// The host does not say of itself what the task's definition needs.
    Attribute {
        /// The attribute by which it would.
        name: String,
        /// The values that will do; any where there are none.
        needs: Vec<String>,
        /// The value that it has, if any.
        has: Option<String>,
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

/// How much of a host's GPUs was asked for and is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuShortage {
    /// A share of one device, in thousandths.
    Share {
        /// What the task needs.
        needs: u16,
        /// What is free of the device with the most free; less than `needs`.
        most_free: u16,
        /// Devices of the host.
        devices: usize,
    },
    /// Whole devices.
    Devices {
        /// How many the task needs.
        needs: usize,
        /// Of how many nothing is taken; fewer than `needs`.
        idle: usize,
        /// Devices of the host.
        devices: usize,
    },
}

impl GpuShortage {
    /// What is missing, in thousandths of a GPU.
    #[must_use]
    pub fn short_by(self) -> u32 {
        match self {
            Self::Share { needs, most_free, .. } => u32::from(needs.saturating_sub(most_free)),
            Self::Devices { needs, idle, .. } => {
                let devices = u32::try_from(needs.saturating_sub(idle)).unwrap_or(u32::MAX);
                devices.saturating_mul(u32::from(WHOLE_GPU))
            }
        }
    }
}

impl fmt::Display for GpuShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        match *self {
            Self::Share { devices: 0, .. } | Self::Devices { devices: 0, .. } => f.write_str("has no GPU"),
            Self::Share {
                needs,
                most_free,
                devices,
            } => write!(
                f,
                "needs {needs} thousandths of one GPU, at most {most_free} are free on any of {devices}, short by {}",
                self.short_by()
            ),
            Self::Devices { needs, idle, devices } => write!(
                f,
                "needs {needs} whole GPU{}, free {idle} of {devices}, short by {}",
                plural(needs),
                needs.saturating_sub(idle)
            ),
        }
    }
}

impl Refusal {
    /// The filter that refuses so.
    #[must_use]
    pub fn filter(&self) -> FilterKind {
        match self {
            Self::NotActive(_)
            | Self::AgentDisconnected
            | Self::Asleep
            | Self::Waking
            | Self::MissesDaemon(_)
            | Self::MakesRoom(_) => FilterKind::Agent,
            Self::CapacityProvider { .. } => FilterKind::CapacityProvider,
            Self::Cpu(_) => FilterKind::Cpu,
            Self::Memory(_) => FilterKind::Memory,
            Self::Ports(_) | Self::ForeignPorts(_) => FilterKind::Ports,
            Self::Gpu(_) | Self::GpuModel { .. } => FilterKind::Gpu,
            Self::DistinctInstance { .. } => FilterKind::DistinctInstance,
            Self::Attribute { .. } | Self::MemberOf { .. } | Self::UnreadableExpression { .. } => FilterKind::MemberOf,
        }
    }

    /// Whether it is about what tasks hold, so that it is over once enough of them are.
    #[must_use]
    pub fn is_of_room(&self) -> bool {
        matches!(self, Self::Cpu(_) | Self::Memory(_) | Self::Ports(_))
    }

    /// Whether it is over once the host has woken.
    #[must_use]
    pub fn is_sleep(&self) -> bool {
        matches!(self, Self::Asleep | Self::Waking)
    }

    /// The reason as ECS writes it in `failures[]` of `RunTask` and `StartTask`.
    #[must_use]
    pub fn ecs_reason(&self) -> &'static str {
        match self {
            Self::NotActive(ContainerInstanceStatus::Inactive) => "INACTIVE",
            Self::NotActive(_) | Self::AgentDisconnected | Self::Asleep | Self::Waking | Self::MissesDaemon(_) => {
                "AGENT"
            }
            // ECS stops no task for another, and so has no reason of its own.
            Self::MakesRoom(_) => "RESOURCE:PREEMPTION",
            // ECS starts hosts for such a task, and so has no reason of its own.
            Self::CapacityProvider { .. } => "CapacityProvider placement constraint unsatisfied.",
            Self::Cpu(_) => "RESOURCE:CPU",
            Self::Memory(_) => "RESOURCE:MEMORY",
            Self::Ports(_) | Self::ForeignPorts(_) => "RESOURCE:PORTS",
            Self::Gpu(_) | Self::GpuModel { .. } => "RESOURCE:GPU",
            Self::DistinctInstance { .. } => "DistinctInstance placement constraint unsatisfied.",
            Self::Attribute { .. } => "ATTRIBUTE",
            Self::MemberOf { .. } | Self::UnreadableExpression { .. } => "MemberOf placement constraint unsatisfied.",
        }
    }
}

/// How a host comes to an attribute that its agent says by a flag alone.
fn said_with(attribute: &str) -> Option<&'static str> {
    match attribute {
        attribute_names::FARGATE => Some("agents say it with --fargate"),
        attribute_names::FARGATE_SPOT => Some("agents say it with --fargate-spot"),
        attribute_names::FARGATE_SIDECARS => Some(
            "a task of several containers needs a host where they can share a network, as with runc: agents say it with --fargate-runtime runc",
        ),
        _ => None,
    }
}

/// What a reader of a service event wants to know of one host, to be put after the host's id.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotActive(status) => write!(f, "is {}", status.as_str()),
            Self::AgentDisconnected => f.write_str("its agent is not connected"),
            Self::Asleep => f.write_str("is asleep"),
            Self::Waking => f.write_str("is being woken"),
            Self::MakesRoom(service) => write!(f, "makes room for a task of (service {service})"),
            Self::MissesDaemon(daemon) => write!(f, "waits for daemon {daemon}"),
            Self::CapacityProvider { needs, has: None } => write!(f, "is not in capacity provider {needs}"),
            Self::CapacityProvider { needs, has: Some(has) } => {
                write!(f, "is not in capacity provider {needs}, but in {has}")
            }
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
            Self::Gpu(shortage) => write!(f, "{shortage}"),
            Self::GpuModel { needs, has } => {
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                write!(f, "needs a GPU of model {}, has {has}", needs.join(" or "))
            }
            Self::DistinctInstance { tasks: 1 } => f.write_str("already has 1 task of the group (distinctInstance)"),
            Self::DistinctInstance { tasks } => write!(f, "already has {tasks} tasks of the group (distinctInstance)"),
            Self::Attribute { name, needs, .. } if needs.is_empty() => {
                write!(f, "does not have the attribute {name}, which the task needs")?;
                said_with(name).map_or(Ok(()), |how| write!(f, " ({how})"))
            }
            Self::Attribute { name, needs, has } => {
                write!(f, "needs the attribute {name} to be {}, ", needs.join(" or "))?;
                match has {
                    Some(has) => write!(f, "has {has}"),
                    None => f.write_str("and does not have it"),
                }
            }
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
        let names: Vec<String> = self.0.iter().map(|(protocol, port)| protocol.port(*port)).collect();
        let (noun, verb) = if names.len() == 1 {
            ("port", "is")
        } else {
            ("ports", "are")
        };
        write!(f, "host {noun} {} {verb}", names.join(", "))
    }
}
