//! What a running `berth dev` does when it is told to add or kill a host.
//!
//! Owns which host is meant, and what has to be known of it before it starts. Shell.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use berth_aws::berth::RemoveHostRequest;
use berth_aws::berth::operations::RemoveHost;
use berth_core::model::{CapacityProviderName, Resources};

use super::control::Order;
use super::engine::Engine;
use super::hosts::{HostSettings, Hosts};
use super::leftovers::Claim;
use super::plan::{self, PlannedHost};
use crate::running::{Announcement, RunningCluster};
use crate::target::Target;

/// Most hosts that one `berth dev` has, as its flag says.
const MAX_HOSTS: usize = 1000;

/// A cluster that runs, as far as its hosts matter.
pub(super) struct Changeable<'a> {
    pub(super) engine: &'a Engine,
    pub(super) hosts: &'a mut Hosts,
    pub(super) settings: HostSettings,
    pub(super) planned: Vec<PlannedHost>,
    pub(super) claim: &'a mut Claim,
    pub(super) cluster: RunningCluster,
    pub(super) announcement: Announcement,
}

impl Changeable<'_> {
    /// Carries out an order; returns what was done.
    ///
    /// # Errors
    /// What kept it from being done.
    pub(super) async fn carry_out(&mut self, order: Order) -> Result<String> {
        match order {
            Order::Kill { name } => self.kill(&name).await,
            Order::Add {
                name,
                zone,
                capacity_provider,
                vcpus,
                memory_mib,
            } => {
                let name = name.unwrap_or_else(|| self.free_name());
                let zone = zone.unwrap_or_else(|| self.zone_for(&name));
                let usual = usual_capacity(&self.planned, &name, self.settings.capacity);
                let capacity = plan::capacity(Some(usual), vcpus, memory_mib);
                let capacity_provider = capacity_provider.or_else(|| self.capacity_provider_of(&name));
                let host = PlannedHost {
                    name,
                    zone,
                    capacity_provider,
                    capacity: Some(capacity),
                };
                self.add(host, capacity).await
            }
        }
    }

    async fn kill(&mut self, name: &str) -> Result<String> {
        let is_known = self.planned.iter().any(|host| host.name == name);
        ensure!(
            is_known,
            "there is no host {name}; {}",
            those_that_run(&self.hosts.names())
        );
        let options = self.settings.options(self.engine, name);
        self.hosts.kill(name, options).await?;
        Ok(format!(
            "{name} is gone as if its power were cut; `berth dev host add {name}` brings it back"
        ))
    }

    async fn add(&mut self, host: PlannedHost, capacity: Resources) -> Result<String> {
        check_name(&host.name)?;
        ensure!(
            !self.hosts.names().contains(&host.name),
            "there is a host {} already",
            host.name
        );
        ensure!(
            has_room(&self.planned, &host.name),
            "there are {MAX_HOSTS} hosts already"
        );
        if let Some(arn) = self.hosts.killed(&host.name)
            && !self.settings.keeps_ledgers
        {
            // Without a ledger it does not know who it was, and comes as another host.
            self.remove(&arn).await?;
        }
        if !self.settings.names.hosts.contains(&host.name) {
            self.settings.names.hosts.push(host.name.clone());
            self.note().await?;
        }
        self.planned.retain(|planned| planned.name != host.name);
        self.planned.push(host.clone());
        self.hosts.add(self.engine, &host, capacity, &self.settings).await?;
        Ok(format!(
            "{} is there, in {}, with {} vCPUs and {} MiB",
            host.name,
            host.zone,
            capacity.cpu.0 / 1024,
            capacity.memory.0
        ))
    }

    /// Writes down what there will be, so that it is found if this process is killed, and where images for it go.
    async fn note(&mut self) -> Result<()> {
        let containerd = match self.engine {
            Engine::Simulated => None,
            Engine::Containerd(containerd) => Some(containerd.as_ref()),
        };
        let file = self.announcement.path().to_owned();
        self.claim.note(containerd, self.settings.names.clone(), file).await?;
        if let Some(containerd) = &mut self.cluster.containerd {
            containerd.namespaces = self.settings.names.namespaces();
            self.announcement.rewrite(&self.cluster)?;
        }
        Ok(())
    }

    async fn remove(&self, arn: &str) -> Result<()> {
        let request = RemoveHostRequest {
            cluster: Some(self.cluster.cluster.clone()),
            container_instance: Some(arn.to_owned()),
            force: Some(true),
        };
        let client = Target::from(self.cluster.clone()).client()?;
        client.call::<RemoveHost>(&request).await?;
        Ok(())
    }

    fn free_name(&self) -> String {
        let is_free = |name: &String| self.planned.iter().all(|host| host.name != *name);
        let names = (1..).map(|number| format!("host-{number}"));
        names.into_iter().find(is_free).unwrap_or_default()
    }

    /// The capacity provider that the host had.
    fn capacity_provider_of(&self, name: &str) -> Option<CapacityProviderName> {
        let known = self.planned.iter().find(|host| host.name == name)?;
        known.capacity_provider.clone()
    }

    /// The zone that the host had, else the one with the fewest hosts.
    fn zone_for(&self, name: &str) -> String {
        if let Some(known) = self.planned.iter().find(|host| host.name == name) {
            return known.zone.clone();
        }
        let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
        for host in &self.planned {
            *hosts.entry(&host.zone).or_default() += 1;
        }
        let fewest = hosts.iter().min_by_key(|(zone, hosts)| (**hosts, **zone));
        fewest.map_or_else(|| format!("{}a", self.cluster.region), |(zone, _)| (*zone).to_owned())
    }
}

/// What a host offers of which nothing else is said: what it offered before, else what the others do.
fn usual_capacity(planned: &[PlannedHost], name: &str, others: Resources) -> Resources {
    let known = planned.iter().find(|host| host.name == name);
    known.and_then(|host| host.capacity).unwrap_or(others)
}

/// Whether there may be a host of the name: one that was killed keeps its place.
fn has_room(planned: &[PlannedHost], name: &str) -> bool {
    planned.len() < MAX_HOSTS || planned.iter().any(|host| host.name == name)
}

fn those_that_run(names: &[String]) -> String {
    match names {
        [] => "none runs, and `berth dev host add` starts one".to_owned(),
        names => format!("there are {}", names.join(", ")),
    }
}

/// Host names are parts of file names and of containerd's namespaces here.
fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=40).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-') {
        return Ok(());
    }
    bail!("a host's name here has lower-case letters, digits and hyphens, 40 at most, not {name:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_that_was_killed_may_come_back_when_there_are_as_many_as_there_may_be() {
        let host = |number| PlannedHost {
            name: format!("host-{number}"),
            zone: "us-east-1a".to_owned(),
            capacity_provider: None,
            capacity: None,
        };
        let planned: Vec<PlannedHost> = (1..=MAX_HOSTS).map(host).collect();
        assert!(has_room(&planned, "host-7"));
        assert!(!has_room(&planned, "host-1001"));
        assert!(has_room(&planned[1..], "host-1001"));
    }

    #[test]
    fn host_that_comes_back_offers_what_it_did_unless_flags_say_otherwise() {
        let host = |name: &str, capacity| PlannedHost {
            name: name.to_owned(),
            zone: "us-east-1a".to_owned(),
            capacity_provider: None,
            capacity,
        };
        let own = Resources::new(2048, 4096);
        let planned = [host("host-1", None), host("host-2", Some(own))];
        let others = Resources::new(4096, 16384);
        let usual = |name| usual_capacity(&planned, name, others);
        assert_eq!(
            (usual("host-1"), usual("host-2"), usual("host-3")),
            (others, own, others)
        );
        let more_memory = plan::capacity(Some(usual("host-2")), None, Some(8192));
        assert_eq!(more_memory, Resources::new(2048, 8192));
    }

    #[test]
    fn hosts_that_run_are_named_and_so_is_what_starts_one_if_none_does() {
        assert_eq!(those_that_run(&["a".to_owned(), "b".to_owned()]), "there are a, b");
        assert!(those_that_run(&[]).contains("`berth dev host add`"));
    }
}
