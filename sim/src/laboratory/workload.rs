//! The hosts and tasks of an experiment. Pure.

use berth_core::model::{Attributes, ContainerInstanceId, PlacementStrategy, Resources, TaskId, attribute_names};
use berth_core::placement::{Ask, Gpus, Host, MAX_GPUS, Shape, TaskRequest, TypicalTasks};
use thiserror::Error;

use super::csv::{CsvError, Table};
use super::{berth_csv, openb};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The hosts, idle, with ids in their order.
    pub hosts: Vec<Host>,
    /// The tasks, in the order in which they come.
    pub tasks: Vec<LabTask>,
}

/// A task of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabTask {
    /// What it is called.
    pub name: String,
    /// Its group, within which strategies spread.
    pub group: String,
    /// What it takes.
    pub shape: Shape,
    /// When it comes, in seconds from the beginning.
    pub arrives_s: u64,
    /// How long it runs once it has a host, in seconds; `None` where it stays.
    pub lasts_s: Option<u64>,
}

/// Why hosts or tasks are not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkloadError {
    /// The text is no such table.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// There is nothing.
    #[error("there are no {0}: the table has no row")]
    Nothing(&'static str),
    /// More hosts or tasks have a name.
    #[error("two {what} are called '{name}'")]
    Twice {
        /// Hosts or tasks.
        what: &'static str,
        /// The name.
        name: String,
    },
}

impl Workload {
    /// Reads hosts and tasks, each a table of the openb trace or of Berth's own form, which are told apart by their headings.
    ///
    /// # Errors
    /// If the text of the hosts is not understood.
    pub fn read_hosts(text: &str) -> Result<Vec<Host>, WorkloadError> {
        let table = Table::parse(text)?;
        let hosts = match table.has(openb::HOST_HEADING) {
            true => openb::hosts(&table)?,
            false => berth_csv::hosts(&table)?,
        };
        unique("hosts", hosts.iter().map(|host| host.name.as_str()))?;
        Ok(hosts)
    }

    /// The same for the tasks, which come back in the order in which they arrive.
    ///
    /// # Errors
    /// If the text of the tasks is not understood.
    pub fn read_tasks(text: &str) -> Result<Vec<LabTask>, WorkloadError> {
        let table = Table::parse(text)?;
        let mut tasks = match table.has(openb::TASK_HEADING) {
            true => openb::tasks(&table)?,
            false => berth_csv::tasks(&table)?,
        };
        unique("tasks", tasks.iter().map(|task| task.name.as_str()))?;
        tasks.sort_by_key(|task| task.arrives_s);
        Ok(tasks)
    }

    /// What is typical of its tasks.
    #[must_use]
    pub fn typical(&self) -> TypicalTasks {
        TypicalTasks::of(self.tasks.iter().map(|task| &task.shape))
    }

    /// What the hosts have in all.
    #[must_use]
    pub fn capacity(&self) -> Amounts {
        let of = |host: &Host| Amounts::new(host.registered, host.gpus.registered());
        self.hosts.iter().map(of).fold(Amounts::default(), Amounts::plus)
    }
}

fn unique<'n>(what: &'static str, names: impl Iterator<Item = &'n str>) -> Result<(), WorkloadError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let name = name.to_owned();
            return Err(WorkloadError::Twice { what, name });
        }
    }
    match seen.is_empty() {
        true => Err(WorkloadError::Nothing(what)),
        false => Ok(()),
    }
}

/// Amounts of each resource, of many hosts or tasks together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU units.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// Thousandths of a GPU.
    pub gpu: u64,
}

impl Amounts {
    /// Of one host or task.
    #[must_use]
    pub fn new(resources: Resources, gpu: u32) -> Self {
        Self {
            cpu: u64::from(resources.cpu.0),
            memory: u64::from(resources.memory.0),
            gpu: u64::from(gpu),
        }
    }

    /// Of a task.
    #[must_use]
    pub fn of(shape: &Shape) -> Self {
        Self::new(shape.resources, shape.gpu.total())
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            gpu: self.gpu + other.gpu,
        }
    }

    /// Without the other, which is in it.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu - other.cpu,
            memory: self.memory - other.memory,
            gpu: self.gpu - other.gpu,
        }
    }

    /// The amount of what is scarce: GPUs where there are any, and CPU where not.
    #[must_use]
    pub fn scarce(self, capacity: Self) -> u64 {
        if capacity.gpu > 0 { self.gpu } else { self.cpu }
    }
}

/// An idle host.
pub(super) fn host(number: usize, name: &str, registered: Resources, gpus: Gpus, zone: Option<&str>) -> Host {
    let zone = zone.map(|zone| (attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone.to_owned())));
    debug_assert!(gpus.devices.len() <= MAX_GPUS);
    Host {
        attributes: zone.into_iter().collect::<Attributes>(),
        gpus,
        ..Host::idle(ContainerInstanceId(number as u128), name, registered)
    }
}

/// What asks the engine for a host for a task.
pub(super) fn request(number: usize, task: &LabTask, strategies: &[PlacementStrategy]) -> TaskRequest {
    let ask = Ask {
        group: task.group.clone(),
        shape: task.shape.clone(),
        strategies: strategies.to_vec(),
        ..Ask::default()
    };
    TaskRequest::new(TaskId(number as u128), ask)
}
