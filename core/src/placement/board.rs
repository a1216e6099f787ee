//! The hosts while a plan is made: what is free, how many tasks of each group are where, which expressions hold. Filters
//! and strategies read it; [`Board::reserve`] and [`Board::release`] change it and keep every count up to date. Pure.
//!
//! Names are resolved to indices when a request is first seen, so that asking about a host costs an array access. Hosts
//! are in the order of their ids, whatever the order in the problem.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::filter;
use super::fragmentation::{Measure, TypicalTasks};
use super::gpus::{FreeGpus, GpuKind, GpuSet};
use super::groups::{GroupIndex, Groups, LevelIndex};
use super::order::{Outline, Room, Scale};
use super::problem::{Holding, Host, Shape};
use super::query_language::{Expression, HostFacts, ParseError};
use super::refusal::Refusal;
use super::seed::Seed;
use crate::model::{CapacityProviderName, ContainerInstanceId, CpuUnits, MemoryMib, Ports, Resources};

/// A host of the board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostIndex(u32);

impl HostIndex {
    /// The host at this place.
    pub(super) fn at(position: usize) -> Self {
        Self(u32::try_from(position).expect("fewer hosts than fit into memory"))
    }

    /// Its place among all hosts.
    pub(super) fn position(self) -> usize {
        self.0 as usize
    }
}

/// An expression that the board has evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExpressionIndex(usize);

/// The hosts of a capacity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolIndex(u32);

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
pub(super) struct Board {
    hosts: Vec<Slot>,
    /// Models of GPUs, each once.
    models: Vec<String>,
    /// Capacity providers of hosts and of requests, each once.
    pools: Vec<CapacityProviderName>,
    largest: Largest,
    scale: Scale,
    seed: Seed,
    /// What tasks usually take.
    typical: TypicalTasks,
    fragmentation: Option<Fragmentation>,
    groups: Groups,
    expressions: Vec<Evaluated>,
    expression_indices: BTreeMap<Arc<str>, ExpressionIndex>,
    /// The host of each change so far.
    changes: Vec<HostIndex>,
}

struct Slot {
    /// Asked for with every decision, as is whether it takes tasks.
    id: ContainerInstanceId,
    is_available: bool,
    host: Arc<Host>,
    free: Free,
    model: ModelIndex,
    pool: Option<PoolIndex>,
    gpu_tasks: BTreeMap<GpuKind, u32>,
    used_ports: Ports,
    tasks: u32,
}

impl Slot {
    fn new(host: Arc<Host>, model: ModelIndex, pool: Option<PoolIndex>) -> Self {
        Self {
            id: host.id,
            is_available: filter::is_available(&host),
            free: Free {
                resources: host.free,
                gpus: FreeGpus::of(&host.gpus),
            },
            model,
            pool,
            gpu_tasks: host.gpus.tasks.clone(),
            used_ports: host.used_ports.clone(),
            tasks: host.tasks_by_group.values().sum(),
            host,
        }
    }
}

impl AsRef<Host> for Slot {
    fn as_ref(&self) -> &Host {
        &self.host
    }
}

struct Fragmentation {
    measure: Arc<Measure>,
    /// What is of no use, by host.
    fragments: Vec<u64>,
}

struct Evaluated {
    text: Arc<str>,
    parsed: Result<Expression, ParseError>,
    /// Whether it holds, by host.
    holds: Vec<bool>,
}

impl Board {
    /// The board of these hosts. `typical` is what tasks usually take.
    ///
    /// # Panics
    /// If a host is given twice.
    pub(super) fn new(hosts: impl Iterator<Item = Arc<Host>>, typical: TypicalTasks, seed: Seed) -> Self {
        let mut by_id: Vec<Arc<Host>> = hosts.collect();
        by_id.sort_unstable_by_key(|host| host.id);
        assert!(
            by_id.windows(2).all(|two| two[0].id < two[1].id),
            "a host is given once"
        );
        let (mut models, mut pools) = (Vec::new(), Vec::new());
        let mut largest = Largest::default();
        for host in &by_id {
            largest.cpu = largest.cpu.max(host.registered.cpu.0);
            largest.memory = largest.memory.max(host.registered.memory.0);
            largest.gpu = largest.gpu.max(host.gpus.registered());
        }
        let groups = Groups::on(&by_id);
        let slot = |host: Arc<Host>| {
            let model = model_among(&mut models, &host.gpus.model);
            let pool = host.capacity_provider.as_ref();
            let pool = pool.map(|name| pool_among(&mut pools, name));
            Slot::new(host, model, pool)
        };
        Self {
            hosts: by_id.into_iter().map(slot).collect(),
            models,
            pools,
            largest,
            scale: Scale::by(Room {
                cpu: largest.cpu,
                memory: largest.memory,
            }),
            seed,
            typical,
            fragmentation: None,
            groups,
            expressions: Vec::new(),
            expression_indices: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Takes in that some of the same hosts, in the order of their ids, are described otherwise than before, or are no longer as described. Whether
    /// that could be: not if one is another machine now.
    pub(super) fn describe_anew(
        &mut self,
        hosts: &[Arc<Host>],
        changed: &BTreeSet<HostIndex>,
        typical: &TypicalTasks,
        seed: Seed,
    ) -> bool {
        let is_the_same =
            |host: &HostIndex| is_same_machine(&self.hosts[host.position()].host, &hosts[host.position()]);
        let are_the_same = changed.iter().all(is_the_same);
        // What is typical matters only where there are GPUs.
        if !are_the_same || (self.largest.gpu > 0 && self.typical != *typical) {
            return false;
        }
        self.seed = seed;
        for host in changed.iter().copied() {
            let slot = &mut self.hosts[host.position()];
            *slot = Slot::new(Arc::clone(&hosts[host.position()]), slot.model, slot.pool);
            self.groups.set(host, &hosts[host.position()]);
            self.note_change(host, |_| true);
        }
        true
    }

    /// All hosts, in the order of their ids.
    pub(super) fn indices(&self) -> impl DoubleEndedIterator<Item = HostIndex> + use<> {
        (0..self.hosts.len()).map(HostIndex::at)
    }

    /// What it has of that in all.
    pub(super) fn registered(&self, host: HostIndex) -> Room {
        let registered = self.hosts[host.position()].host.registered;
        Room {
            cpu: registered.cpu.0,
            memory: registered.memory.0,
        }
    }

    /// The same, to be compared with that of several hosts.
    pub(super) fn outline(&self, room: Room) -> Outline {
        Outline::of(room, self.scale)
    }

    /// How many there are.
    pub(super) fn host_count(&self) -> u32 {
        u32::try_from(self.hosts.len()).expect("fewer hosts than fit into memory")
    }

    /// The host with this id.
    pub(super) fn index_of(&self, id: ContainerInstanceId) -> Option<HostIndex> {
        self.hosts
            .binary_search_by_key(&id, |slot| slot.host.id)
            .ok()
            .map(HostIndex::at)
    }

    /// The host as it was in the problem.
    pub(super) fn host(&self, host: HostIndex) -> &Host {
        &self.hosts[host.position()].host
    }

    /// Its id.
    pub(super) fn id(&self, host: HostIndex) -> ContainerInstanceId {
        self.hosts[host.position()].id
    }

    /// Whether it takes tasks at all.
    pub(super) fn is_available(&self, host: HostIndex) -> bool {
        self.hosts[host.position()].is_available
    }

    /// What tasks usually take.
    pub(super) fn typical(&self) -> &TypicalTasks {
        &self.typical
    }

    /// What is drawn at random comes of it.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// What it has free of all that is counted.
    pub(super) fn room(&self, host: HostIndex) -> Room {
        let free = &self.hosts[host.position()].free;
        Room {
            cpu: free.resources.cpu.0,
            memory: free.resources.memory.0,
        }
    }

    /// What no task holds, those of this plan included.
    pub(super) fn free(&self, host: HostIndex) -> Resources {
        self.hosts[host.position()].free.resources
    }

    /// The same with GPUs.
    pub(super) fn all_free(&self, host: HostIndex) -> &Free {
        &self.hosts[host.position()].free
    }

    /// The model of the host's GPUs.
    pub(super) fn model(&self, host: HostIndex) -> ModelIndex {
        self.hosts[host.position()].model
    }

    /// The pool that the host is in.
    pub(super) fn pool(&self, host: HostIndex) -> Option<PoolIndex> {
        self.hosts[host.position()].pool
    }

    /// The capacity provider of a pool.
    pub(super) fn pool_name(&self, pool: PoolIndex) -> &CapacityProviderName {
        &self.pools[pool.0 as usize]
    }

    /// The pool of a capacity provider, which may have no host.
    pub(super) fn watch_pool(&mut self, name: &CapacityProviderName) -> PoolIndex {
        pool_among(&mut self.pools, name)
    }

    /// Tasks on the host that hold GPUs, by how much they need.
    pub(super) fn gpu_tasks(&self, host: HostIndex) -> &BTreeMap<GpuKind, u32> {
        &self.hosts[host.position()].gpu_tasks
    }

    /// The most that any host has registered of each resource.
    pub(super) fn largest(&self) -> Largest {
        self.largest
    }

    /// What is of no use to typical tasks of what the host has free, in the measure's unit. Its measure must be watched.
    pub(super) fn fragments(&self, host: HostIndex) -> u64 {
        let fragmentation = self.fragmentation.as_ref();
        fragmentation.map_or(0, |counted| counted.fragments[host.position()])
    }

    /// Ports that are taken or reserved.
    pub(super) fn used_ports(&self, host: HostIndex) -> &Ports {
        &self.hosts[host.position()].used_ports
    }

    /// Tasks of all groups on the host.
    pub(super) fn tasks(&self, host: HostIndex) -> u32 {
        self.hosts[host.position()].tasks
    }

    /// Tasks of a group on the host.
    pub(super) fn tasks_of(&self, group: GroupIndex, host: HostIndex) -> u32 {
        self.groups.tasks_of(group, host)
    }

    /// Where tasks of which group are.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Tasks of the level's group that share the host's value of the level's field.
    pub(super) fn tasks_level_with(&self, level: LevelIndex, host: HostIndex) -> u32 {
        let bucket = self.groups.bucket(self.groups.field_of(level), host);
        self.groups.tasks_in(level, bucket)
    }

    /// Whether the expression holds for the host.
    pub(super) fn holds(&self, expression: ExpressionIndex, host: HostIndex) -> bool {
        self.expressions[expression.0].holds[host.position()]
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

    /// How many expressions it has evaluated.
    pub(super) fn expressions(&self) -> usize {
        self.expressions.len()
    }

    /// Counts the changes so far.
    pub(super) fn revision(&self) -> usize {
        self.changes.len()
    }

    /// The hosts that changed after that revision, each as often as it did; all of them once if that is less.
    pub(super) fn changed_since(&self, revision: usize) -> Cow<'_, [HostIndex]> {
        let changes = &self.changes[revision..];
        if changes.len() > self.hosts.len() {
            self.indices().collect()
        } else {
            Cow::Borrowed(changes)
        }
    }

    /// Finds the hosts' models among those that a shape names.
    pub(super) fn allowed_models(&self, named: &BTreeSet<String>) -> AllowedModels {
        let allowed = || self.models.iter().map(|model| named.contains(model)).collect();
        AllowedModels((!named.is_empty()).then(allowed))
    }

    /// Begins to count what is of no use to typical tasks.
    pub(super) fn watch_fragmentation(&mut self) -> Arc<Measure> {
        if let Some(counted) = &self.fragmentation {
            return Arc::clone(&counted.measure);
        }
        let measure = Arc::new(Measure::new(&self.typical, |named| self.allowed_models(named)));
        let fragments = |slot: &Slot| measure.fragments(&slot.free, slot.model);
        self.fragmentation = Some(Fragmentation {
            fragments: self.hosts.iter().map(fragments).collect(),
            measure: Arc::clone(&measure),
        });
        measure
    }

    /// Begins to count a group.
    pub(super) fn watch_group(&mut self, name: &str) -> GroupIndex {
        self.groups.index(name)
    }

    /// Begins to count a group by the values of an attribute.
    pub(super) fn watch_level(&mut self, attribute: &str, group: GroupIndex) -> LevelIndex {
        self.groups.level(attribute, group, &self.hosts)
    }

    /// Parses an expression and evaluates it for every host.
    pub(super) fn watch_expression(&mut self, text: &str) -> ExpressionIndex {
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
        let text: Arc<str> = Arc::from(text);
        self.expressions.push(Evaluated {
            text: Arc::clone(&text),
            parsed,
            holds,
        });
        self.expression_indices.insert(text, index);
        index
    }

    /// Puts a task on a host that has room for it.
    pub(super) fn reserve(&mut self, host: HostIndex, group: GroupIndex, shape: &Shape, gpus: GpuSet, ports: &Ports) {
        let slot = &mut self.hosts[host.position()];
        slot.free = slot.free.without(shape, gpus);
        slot.used_ports.extend(ports);
        if let Some(kind) = shape.gpu.kind() {
            *slot.gpu_tasks.entry(kind).or_default() += 1;
        }
        slot.tasks += 1;
        self.groups.add(host, group, 1);
        self.note_change(host, Expression::depends_on_tasks);
    }

    /// Takes a task off a host that is not draining, and gives back these of its ports.
    pub(super) fn release(&mut self, host: HostIndex, group: GroupIndex, held: &Holding, ports: &Ports) {
        let slot = &mut self.hosts[host.position()];
        slot.free = slot.free.with(held);
        slot.used_ports.retain(|port| !ports.contains(port));
        if let Some(kind) = held.shape.gpu.kind() {
            forget_one(&mut slot.gpu_tasks, kind);
        }
        slot.tasks = slot.tasks.saturating_sub(1);
        self.groups.subtract(host, group, 1);
        self.note_change(host, Expression::depends_on_tasks);
    }

    /// Finds out anew what depends on a host that changed: of the expressions those that may answer otherwise.
    fn note_change(&mut self, host: HostIndex, may_change: fn(&Expression) -> bool) {
        self.changes.push(host);
        if let Some(counted) = &mut self.fragmentation {
            let slot = &self.hosts[host.position()];
            counted.fragments[host.position()] = counted.measure.fragments(&slot.free, slot.model);
        }
        let may_change = |evaluated: &Evaluated| evaluated.parsed.as_ref().is_ok_and(may_change);
        if !self.expressions.iter().any(may_change) {
            return;
        }
        let facts = self.facts(host);
        let answers = self.expressions.iter().map(|evaluated| match &evaluated.parsed {
            Ok(expression) if may_change(evaluated) => expression.holds_for(&facts),
            _ => evaluated.holds[host.position()],
        });
        let answers: Vec<bool> = answers.collect();
        for (evaluated, holds) in self.expressions.iter_mut().zip(answers) {
            evaluated.holds[host.position()] = holds;
        }
    }

    fn facts(&self, host: HostIndex) -> HostFacts<'_> {
        let mut facts = self.host(host).facts();
        facts.task_groups = self.groups.names_on(host).collect();
        facts
    }
}

/// Whether nothing differs but what is on the host and whether it takes tasks.
fn is_same_machine(one: &Host, other: &Host) -> bool {
    let devices = |host: &Host| -> Vec<u16> { host.gpus.devices.iter().map(|device| device.registered).collect() };
    one.id == other.id
        && one.name == other.name
        && one.attributes == other.attributes
        && one.capacity_provider == other.capacity_provider
        && one.registered == other.registered
        && one.gpus.model == other.gpus.model
        && devices(one) == devices(other)
        && one.agent_version == other.agent_version
        && one.registered_at == other.registered_at
}

fn pool_among(pools: &mut Vec<CapacityProviderName>, name: &CapacityProviderName) -> PoolIndex {
    let known = pools.iter().position(|known| known == name);
    let place = known.unwrap_or_else(|| {
        pools.push(name.clone());
        pools.len() - 1
    });
    PoolIndex(u32::try_from(place).expect("fewer pools than fit into memory"))
}

fn model_among(models: &mut Vec<String>, model: &str) -> ModelIndex {
    let known = models.iter().position(|known| known == model);
    ModelIndex(known.unwrap_or_else(|| {
        models.push(model.to_owned());
        models.len() - 1
    }))
}

fn forget_one(tasks: &mut BTreeMap<GpuKind, u32>, kind: GpuKind) {
    if let Some(count) = tasks.get_mut(&kind) {
        *count = count.saturating_sub(1);
        tasks.retain(|_, count| *count > 0);
    }
}
