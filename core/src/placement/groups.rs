//! How many tasks of each group are where: on each host, and for each value of the fields that spreads level over. Pure.
//!
//! A group costs what it has: the hosts with tasks of it, and a count for each value of a field that is asked for. So thousands of
//! groups on thousands of hosts stay small, and beginning to count one costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::HostIndex;
use super::problem::Host;
use super::strategy::SpreadField;
use crate::model::ContainerInstanceStatus;

/// A group of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupIndex(u32);

impl GroupIndex {
    /// Its place among all groups.
    pub(super) fn position(self) -> usize {
        self.0 as usize
    }
}

/// An attribute whose values divide the hosts into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FieldIndex(usize);

/// A count of a group's tasks by the values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LevelIndex(usize);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Groups {
    indices: BTreeMap<Arc<str>, GroupIndex>,
    groups: Vec<Group>,
    /// By host, in no order.
    on_host: Vec<Vec<Present>>,
    /// By host: whether the tasks on it stay. They leave a host that drains.
    stays: Vec<bool>,
    fields: Vec<Field>,
    levels: Vec<Level>,
}

/// A group with tasks on a host.
#[derive(Clone, Copy, Debug)]
struct Present {
    group: GroupIndex,
    tasks: u32,
    /// The host's place among those of the group. Small, since whoever asks for the tasks of a group passes over these.
    place: u32,
}

#[derive(Debug)]
struct Group {
    name: Arc<str>,
    /// Those with tasks of it, in no order.
    hosts: Vec<HostIndex>,
    levels: Vec<LevelIndex>,
}

#[derive(Debug)]
struct Field {
    attribute: String,
    /// By host.
    bucket_of: Vec<u32>,
    buckets: usize,
}

#[derive(Debug)]
struct Level {
    field: FieldIndex,
    /// By bucket, those on hosts that drain left out.
    tasks: Vec<u32>,
}

impl Groups {
    /// The groups on these hosts.
    pub(super) fn on(hosts: &[Arc<Host>]) -> Self {
        let mut groups = Self {
            on_host: vec![Vec::new(); hosts.len()],
            stays: vec![true; hosts.len()],
            ..Self::default()
        };
        for (position, host) in hosts.iter().enumerate() {
            groups.set(HostIndex::at(position), host);
        }
        groups
    }

    /// Has the host have the tasks that it is described with.
    pub(super) fn set(&mut self, index: HostIndex, host: &Host) {
        while let Some(present) = self.on_host[index.position()].pop() {
            self.leave(present);
            self.relevel(index, present.group, |before| before.saturating_sub(present.tasks));
        }
        self.stays[index.position()] = host.status == ContainerInstanceStatus::Active;
        for (name, tasks) in host.tasks_by_group.iter().filter(|(_, tasks)| **tasks > 0) {
            let group = self.index(name);
            self.add(index, group, *tasks);
        }
    }

    /// The group of this name.
    pub(super) fn index(&mut self, name: &str) -> GroupIndex {
        if let Some(index) = self.indices.get(name) {
            return *index;
        }
        let index = GroupIndex(u32::try_from(self.groups.len()).expect("fewer groups than fit into memory"));
        let name: Arc<str> = Arc::from(name);
        self.groups.push(Group {
            name: Arc::clone(&name),
            hosts: Vec::new(),
            levels: Vec::new(),
        });
        self.indices.insert(name, index);
        index
    }

    /// Begins to count a group by the values of an attribute.
    pub(super) fn level(&mut self, attribute: &str, group: GroupIndex, hosts: &[impl AsRef<Host>]) -> LevelIndex {
        let field = self.field(attribute, hosts);
        let known = self.groups[group.position()].levels.iter().copied();
        if let Some(level) = known.into_iter().find(|level| self.levels[level.0].field == field) {
            return level;
        }
        let Field { bucket_of, buckets, .. } = &self.fields[field.0];
        let mut tasks = vec![0; *buckets];
        for host in &self.groups[group.position()].hosts {
            if self.stays[host.position()] {
                tasks[bucket_of[host.position()] as usize] += self.tasks_of(group, *host);
            }
        }
        let level = LevelIndex(self.levels.len());
        self.levels.push(Level { field, tasks });
        self.groups[group.position()].levels.push(level);
        level
    }

    fn field(&mut self, attribute: &str, hosts: &[impl AsRef<Host>]) -> FieldIndex {
        if let Some(known) = self.fields.iter().position(|field| field.attribute == attribute) {
            return FieldIndex(known);
        }
        let mut buckets = BTreeMap::new();
        let mut bucket_of = Vec::with_capacity(hosts.len());
        for host in hosts {
            let next = u32::try_from(buckets.len()).expect("fewer values than hosts");
            let value = SpreadField::Attribute(attribute).value_of(host.as_ref());
            bucket_of.push(*buckets.entry(value).or_insert(next));
        }
        self.fields.push(Field {
            attribute: attribute.to_owned(),
            bucket_of,
            buckets: buckets.len(),
        });
        FieldIndex(self.fields.len() - 1)
    }

    /// Tasks of a group on a host.
    pub(super) fn tasks_of(&self, group: GroupIndex, host: HostIndex) -> u32 {
        let on_host = &self.on_host[host.position()];
        let present = on_host.iter().find(|present| present.group == group);
        present.map_or(0, |present| present.tasks)
    }

    /// Tasks of a group on all hosts.
    pub(super) fn all_of(&self, group: GroupIndex) -> u64 {
        let hosts = self.hosts_of(group).iter();
        hosts.map(|host| u64::from(self.tasks_of(group, *host))).sum()
    }

    /// The hosts with tasks of a group, in no order.
    pub(super) fn hosts_of(&self, group: GroupIndex) -> &[HostIndex] {
        &self.groups[group.position()].hosts
    }

    /// The names of the groups with tasks on a host, in no order.
    pub(super) fn names_on(&self, host: HostIndex) -> impl Iterator<Item = &str> {
        let on_host = self.on_host[host.position()].iter();
        on_host.map(|present| &*self.groups[present.group.position()].name)
    }

    /// Tasks of the level's group that share a bucket of its field.
    pub(super) fn tasks_in(&self, level: LevelIndex, bucket: u32) -> u32 {
        self.levels[level.0].tasks[bucket as usize]
    }

    /// The field that a level counts by.
    pub(super) fn field_of(&self, level: LevelIndex) -> FieldIndex {
        self.levels[level.0].field
    }

    /// How many values of a field hosts have.
    pub(super) fn values_of(&self, field: FieldIndex) -> usize {
        self.fields[field.0].buckets
    }

    /// Hosts with equal buckets have the same value of a field.
    pub(super) fn bucket(&self, field: FieldIndex, host: HostIndex) -> u32 {
        self.fields[field.0].bucket_of[host.position()]
    }

    /// Counts tasks that a host gets.
    pub(super) fn add(&mut self, host: HostIndex, group: GroupIndex, tasks: u32) {
        let on_host = &mut self.on_host[host.position()];
        match on_host.iter_mut().find(|present| present.group == group) {
            Some(present) => present.tasks += tasks,
            None => {
                let hosts = &mut self.groups[group.position()].hosts;
                let place = u32::try_from(hosts.len()).expect("fewer hosts than fit into memory");
                on_host.push(Present { group, tasks, place });
                hosts.push(host);
            }
        }
        self.relevel(host, group, |before| before + tasks);
    }

    /// Counts tasks that leave a host.
    pub(super) fn subtract(&mut self, host: HostIndex, group: GroupIndex, tasks: u32) {
        let on_host = &mut self.on_host[host.position()];
        if let Some(at) = on_host.iter().position(|present| present.group == group) {
            let left = on_host[at].tasks.saturating_sub(tasks);
            on_host[at].tasks = left;
            if left == 0 {
                let present = on_host.swap_remove(at);
                self.leave(present);
            }
        }
        self.relevel(host, group, |before| before.saturating_sub(tasks));
    }

    /// Takes a host, which has forgotten the group already, out of those of the group; the last of them takes its place.
    fn leave(&mut self, Present { group, place, .. }: Present) {
        let hosts = &mut self.groups[group.position()].hosts;
        hosts.swap_remove(place as usize);
        if let Some(moved) = hosts.get(place as usize) {
            let on_host = &mut self.on_host[moved.position()];
            if let Some(present) = on_host.iter_mut().find(|present| present.group == group) {
                present.place = place;
            }
        }
    }

    fn relevel(&mut self, host: HostIndex, group: GroupIndex, change: impl Fn(u32) -> u32) {
        if !self.stays[host.position()] {
            return;
        }
        for level in &self.groups[group.position()].levels {
            let Level { field, tasks } = &mut self.levels[level.0];
            let bucket = self.fields[field.0].bucket_of[host.position()];
            let tasks = &mut tasks[bucket as usize];
            *tasks = change(*tasks);
        }
    }
}
