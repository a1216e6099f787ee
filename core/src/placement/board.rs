//! The hosts while a plan is made: what is free, how many tasks of each group are where, which expressions hold. Filters
//! and strategies read it; [`Board::reserve`] and [`Board::release`] change it and keep every count up to date. Pure.
//!
//! Names are resolved to indices when a request is first seen, so that asking about a host costs an array access. Hosts
//! are in the order of their ids, whatever the order in the problem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fragmentation::{Measure, TypicalTasks};
use super::gpus::{FreeGpus, GpuKind, GpuSet};
use super::problem::{Holding, Host, Shape};
use super::query_language::{Expression, HostFacts, ParseError};
use super::refusal::Refusal;
use super::strategy::SpreadField;
use crate::model::{ContainerInstanceId, ContainerInstanceStatus, CpuUnits, MemoryMib, Ports, Resources};

/// A host of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostIndex(usize);

impl HostIndex {
    /// Its place among all hosts.
    pub(super) fn position(self) -> usize {
        self.0
    }
}

/// A group of tasks that the board counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupIndex(usize);

/// A count of a group's tasks by the values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LevelIndex(usize);

/// An expression that the board has evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExpressionIndex(usize);

/// A model of GPUs that hosts of the board have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelIndex(usize);

/// Models of GPUs that a task may run on.
#[derive(Clone, Debug)]
pub(super) struct AllowedModels(Option<Vec<bool>>);

impl AllowedModels {
    pub(super) fn allow(&self, model: ModelIndex) -> bool {
        self.0.as_ref().is_none_or(|allowed| allowed[model.0])
    }
}

/// What a host has free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) resources: Resources,
    pub(super) gpus: FreeGpus,
}

impl Free {
    /// Without what a task takes, which there is room for.
    pub(super) fn without(self, shape: &Shape, gpus: GpuSet) -> Self {
        let resources = self.resources.checked_sub(shape.resources);
        Self {
            resources: resources.expect("filters let a task through only where it fits"),
            gpus: self.gpus.without(shape.gpu, gpus),
        }
    }

    /// With what a task gives back.
    pub(super) fn with(self, held: &Holding) -> Self {
        let (free, back) = (self.resources, held.shape.resources);
        Self {
            resources: Resources {
                cpu: CpuUnits(free.cpu.0.saturating_add(back.cpu.0)),
                memory: MemoryMib(free.memory.0.saturating_add(back.memory.0)),
            },
            gpus: self.gpus.with(held.shape.gpu, held.gpus),
        }
    }
}

/// The most that any host has registered of each resource.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Largest {
    pub(super) cpu: u32,
    pub(super) memory: u32,
    /// In thousandths of a GPU.
    pub(super) gpu: u32,
}

/// See the module.
pub(super) struct Board<'p> {
    hosts: Vec<Slot<'p>>,
    /// Models of GPUs, each once.
    models: Vec<&'p str>,
    largest: Largest,
    /// What tasks usually take.
    typical: TypicalTasks,
    fragmentation: Option<Fragmentation>,
    groups: Vec<Group<'p>>,
    group_indices: BTreeMap<&'p str, GroupIndex>,
    levels: Vec<Level>,
    level_indices: BTreeMap<(SpreadField<'p>, GroupIndex), LevelIndex>,
    expressions: Vec<Evaluated>,
    expression_indices: BTreeMap<&'p str, ExpressionIndex>,
    /// The host of each reservation and release so far.
    changes: Vec<HostIndex>,
}

struct Slot<'p> {
    host: &'p Host,
    free: Free,
    model: ModelIndex,
    gpu_tasks: BTreeMap<GpuKind, u32>,
    used_ports: Ports,
    tasks: u32,
}

struct Fragmentation {
    measure: Arc<Measure>,
    /// What is of no use, by host.
    fragments: Vec<u64>,
}

struct Group<'p> {
    name: &'p str,
    /// Tasks by host.
    tasks: Vec<u32>,
}

struct Level {
    group: GroupIndex,
    /// Which bucket each host is in.
    bucket_of: Vec<usize>,
    /// Tasks of the group by bucket, those on draining hosts left out.
    tasks: Vec<u32>,
}

struct Evaluated {
    text: Arc<str>,
    parsed: Result<Expression, ParseError>,
    /// Whether it holds, by host.
    holds: Vec<bool>,
}

impl<'p> Board<'p> {
    pub(super) fn new(hosts: impl Iterator<Item = &'p Host>, typical: TypicalTasks) -> Self {
        let mut by_id: Vec<&Host> = hosts.collect();
        by_id.sort_unstable_by_key(|host| host.id);
        assert!(
            by_id.windows(2).all(|two| two[0].id < two[1].id),
            "a host is given once"
        );
        let mut models = Vec::new();
        let mut largest = Largest::default();
        let slot = |host: &'p Host| Slot {
            host,
            free: Free {
                resources: host.free,
                gpus: FreeGpus::of(&host.gpus),
            },
            model: model_among(&mut models, &host.gpus.model),
            gpu_tasks: host.gpus.tasks.clone(),
            used_ports: host.used_ports.clone(),
            tasks: host.tasks_by_group.values().sum(),
        };
        for host in &by_id {
            largest.cpu = largest.cpu.max(host.registered.cpu.0);
            largest.memory = largest.memory.max(host.registered.memory.0);
            largest.gpu = largest.gpu.max(host.gpus.registered());
        }
        Self {
            hosts: by_id.into_iter().map(slot).collect(),
            models,
            largest,
            typical,
            fragmentation: None,
            groups: Vec::new(),
            group_indices: BTreeMap::new(),
            levels: Vec::new(),
            level_indices: BTreeMap::new(),
            expressions: Vec::new(),
            expression_indices: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// All hosts, in the order of their ids.
    pub(super) fn indices(&self) -> impl Iterator<Item = HostIndex> + use<> {
        (0..self.hosts.len()).map(HostIndex)
    }

    /// The host with this id.
    pub(super) fn index_of(&self, id: ContainerInstanceId) -> Option<HostIndex> {
        self.hosts
            .binary_search_by_key(&id, |slot| slot.host.id)
            .ok()
            .map(HostIndex)
    }

    /// The host as it was in the problem.
    pub(super) fn host(&self, host: HostIndex) -> &'p Host {
        self.hosts[host.0].host
    }

    /// What no task holds, those of this plan included.
    pub(super) fn free(&self, host: HostIndex) -> Resources {
        self.hosts[host.0].free.resources
    }

    /// The same with GPUs.
    pub(super) fn all_free(&self, host: HostIndex) -> &Free {
        &self.hosts[host.0].free
    }

    /// The model of the host's GPUs.
    pub(super) fn model(&self, host: HostIndex) -> ModelIndex {
        self.hosts[host.0].model
    }

    /// Tasks on the host that hold GPUs, by how much they need.
    pub(super) fn gpu_tasks(&self, host: HostIndex) -> &BTreeMap<GpuKind, u32> {
        &self.hosts[host.0].gpu_tasks
    }

    /// The most that any host has registered of each resource.
    pub(super) fn largest(&self) -> Largest {
        self.largest
    }

    /// What is of no use to typical tasks of what the host has free, in the measure's unit. Its measure must be watched.
    pub(super) fn fragments(&self, host: HostIndex) -> u64 {
        let fragmentation = self.fragmentation.as_ref();
        fragmentation.map_or(0, |counted| counted.fragments[host.0])
    }

    /// Ports that are taken or reserved.
    pub(super) fn used_ports(&self, host: HostIndex) -> &Ports {
        &self.hosts[host.0].used_ports
    }

    /// Tasks of all groups on the host.
    pub(super) fn tasks(&self, host: HostIndex) -> u32 {
        self.hosts[host.0].tasks
    }

    /// Tasks of a group on the host.
    pub(super) fn tasks_of(&self, group: GroupIndex, host: HostIndex) -> u32 {
        self.groups[group.0].tasks[host.0]
    }

    /// Tasks of the level's group that share the host's value of the level's field.
    pub(super) fn tasks_level_with(&self, level: LevelIndex, host: HostIndex) -> u32 {
        let level = &self.levels[level.0];
        level.tasks[level.bucket_of[host.0]]
    }

    /// Whether the expression holds for the host.
    pub(super) fn holds(&self, expression: ExpressionIndex, host: HostIndex) -> bool {
        self.expressions[expression.0].holds[host.0]
    }

    /// How a host refuses for which the expression does not hold.
    pub(super) fn expression_refusal(&self, expression: ExpressionIndex) -> Refusal {
        let Evaluated { text, parsed, .. } = &self.expressions[expression.0];
        let expression = Arc::clone(text);
        match parsed {
            Ok(_) => Refusal::MemberOf { expression },
            Err(error) => Refusal::UnreadableExpression {
                expression,
                error: error.clone(),
            },
        }
    }

    /// Whether a reservation can change the expression's answer.
    pub(super) fn depends_on_tasks(&self, expression: ExpressionIndex) -> bool {
        let parsed = &self.expressions[expression.0].parsed;
        parsed.as_ref().is_ok_and(Expression::depends_on_tasks)
    }

    /// Counts the reservations and releases so far.
    pub(super) fn revision(&self) -> usize {
        self.changes.len()
    }

    /// The hosts that changed after that revision, each as often as it did.
    pub(super) fn changed_since(&self, revision: usize) -> &[HostIndex] {
        &self.changes[revision..]
    }

    /// Hosts with equal buckets are level with each other whatever the plan does.
    pub(super) fn bucket(&self, level: LevelIndex, host: HostIndex) -> usize {
        self.levels[level.0].bucket_of[host.0]
    }

    /// Finds the hosts' models among those that a shape names.
    pub(super) fn allowed_models(&self, named: &BTreeSet<String>) -> AllowedModels {
        let allowed = || self.models.iter().map(|model| named.contains(*model)).collect();
        AllowedModels((!named.is_empty()).then(allowed))
    }

    /// Begins to count what is of no use to typical tasks.
    pub(super) fn watch_fragmentation(&mut self) -> Arc<Measure> {
        if let Some(counted) = &self.fragmentation {
            return Arc::clone(&counted.measure);
        }
        let measure = Arc::new(Measure::new(&self.typical, |named| self.allowed_models(named)));
        let fragments = |slot: &Slot<'_>| measure.fragments(&slot.free, slot.model);
        self.fragmentation = Some(Fragmentation {
            fragments: self.hosts.iter().map(fragments).collect(),
            measure: Arc::clone(&measure),
        });
        measure
    }

    /// Begins to count a group.
    pub(super) fn watch_group(&mut self, name: &'p str) -> GroupIndex {
        if let Some(index) = self.group_indices.get(name) {
            return *index;
        }
        let tasks_on = |slot: &Slot<'_>| slot.host.tasks_by_group.get(name).copied().unwrap_or(0);
        let index = GroupIndex(self.groups.len());
        self.groups.push(Group {
            name,
            tasks: self.hosts.iter().map(tasks_on).collect(),
        });
        self.group_indices.insert(name, index);
        index
    }

    /// Begins to count a group by the values of a field.
    pub(super) fn watch_level(&mut self, field: SpreadField<'p>, group: GroupIndex) -> LevelIndex {
        if let Some(index) = self.level_indices.get(&(field, group)) {
            return *index;
        }
        let mut buckets = BTreeMap::new();
        let mut level = Level {
            group,
            bucket_of: Vec::with_capacity(self.hosts.len()),
            tasks: Vec::new(),
        };
        for (slot, tasks) in self.hosts.iter().zip(&self.groups[group.0].tasks) {
            let bucket = *buckets.entry(field.value_of(slot.host)).or_insert(level.tasks.len());
            if bucket == level.tasks.len() {
                level.tasks.push(0);
            }
            level.bucket_of.push(bucket);
            level.tasks[bucket] += if slot.stays() { *tasks } else { 0 };
        }
        let index = LevelIndex(self.levels.len());
        self.levels.push(level);
        self.level_indices.insert((field, group), index);
        index
    }

    /// Parses an expression and evaluates it for every host.
    pub(super) fn watch_expression(&mut self, text: &'p str) -> ExpressionIndex {
        if let Some(index) = self.expression_indices.get(text) {
            return *index;
        }
        let parsed = text.parse::<Expression>();
        let holds = match &parsed {
            Ok(expression) => self
                .indices()
                .map(|host| expression.holds_for(&self.facts(host)))
                .collect(),
            Err(_) => vec![false; self.hosts.len()],
        };
        let index = ExpressionIndex(self.expressions.len());
        self.expressions.push(Evaluated {
            text: Arc::from(text),
            parsed,
            holds,
        });
        self.expression_indices.insert(text, index);
        index
    }

    /// Puts a task on a host that has room for it.
    pub(super) fn reserve(&mut self, host: HostIndex, group: GroupIndex, shape: &Shape, gpus: GpuSet, ports: &Ports) {
        let slot = &mut self.hosts[host.0];
        slot.free = slot.free.without(shape, gpus);
        slot.used_ports.extend(ports);
        if let Some(kind) = shape.gpu.kind() {
            *slot.gpu_tasks.entry(kind).or_default() += 1;
        }
        slot.tasks += 1;
        self.groups[group.0].tasks[host.0] += 1;
        self.relevel(host, group, |tasks| tasks + 1);
        self.reevaluate(host);
    }

    /// Takes a task off a host that is not draining, and gives back these of its ports.
    pub(super) fn release(&mut self, host: HostIndex, group: GroupIndex, held: &Holding, ports: &Ports) {
        let slot = &mut self.hosts[host.0];
        slot.free = slot.free.with(held);
        slot.used_ports.retain(|port| !ports.contains(port));
        if let Some(kind) = held.shape.gpu.kind() {
            forget_one(&mut slot.gpu_tasks, kind);
        }
        slot.tasks = slot.tasks.saturating_sub(1);
        let tasks = &mut self.groups[group.0].tasks[host.0];
        *tasks = tasks.saturating_sub(1);
        self.relevel(host, group, |tasks| tasks.saturating_sub(1));
        self.reevaluate(host);
    }

    fn relevel(&mut self, host: HostIndex, group: GroupIndex, change: fn(u32) -> u32) {
        for level in self.levels.iter_mut().filter(|level| level.group == group) {
            let tasks = &mut level.tasks[level.bucket_of[host.0]];
            *tasks = change(*tasks);
        }
    }

    fn reevaluate(&mut self, host: HostIndex) {
        self.changes.push(host);
        if let Some(counted) = &mut self.fragmentation {
            let slot = &self.hosts[host.0];
            counted.fragments[host.0] = counted.measure.fragments(&slot.free, slot.model);
        }
        for index in 0..self.expressions.len() {
            if let Ok(expression) = &self.expressions[index].parsed
                && expression.depends_on_tasks()
            {
                self.expressions[index].holds[host.0] = expression.holds_for(&self.facts(host));
            }
        }
    }

    fn facts(&self, host: HostIndex) -> HostFacts<'p> {
        let mut facts = self.host(host).facts();
        let here: BTreeSet<&'p str> = self
            .groups
            .iter()
            .filter(|group| group.tasks[host.0] > 0)
            .map(|group| group.name)
            .collect();
        facts.task_groups.retain(|name| !self.group_indices.contains_key(name));
        facts.task_groups.extend(here);
        facts
    }
}

fn model_among<'p>(models: &mut Vec<&'p str>, model: &'p str) -> ModelIndex {
    let known = models.iter().position(|known| *known == model);
    ModelIndex(known.unwrap_or_else(|| {
        models.push(model);
        models.len() - 1
    }))
}

fn forget_one(tasks: &mut BTreeMap<GpuKind, u32>, kind: GpuKind) {
    if let Some(count) = tasks.get_mut(&kind) {
        *count = count.saturating_sub(1);
        tasks.retain(|_, count| *count > 0);
    }
}

impl Slot<'_> {
    /// Whether the tasks on it stay: they leave a host that drains.
    fn stays(&self) -> bool {
        self.host.status == ContainerInstanceStatus::Active
    }
}
