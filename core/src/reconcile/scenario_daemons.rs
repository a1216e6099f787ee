//! Steps of scenarios that concern managed daemons, which are services that are called `daemon:NAME`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Stage;
use crate::model::*;
use crate::reconcile::world::cluster;
use crate::state::{Command, UpdateService};

/// Makes a service a daemon of the capacity providers that the words of the step name, if they do.
pub(super) fn make_managed(service: &mut Service, args: &[&str], options: &BTreeMap<&str, &str>) {
    let Some(pools) = options.get("pools") else { return };
    service.capacity_provider_strategy = strategy(pools);
    service.desired_count = 0;
    service.deployment_configuration = configuration(options);
    service.managed_daemon = Some(Box::new(ManagedDaemon {
        settings: settings(args, options),
    }));
}

fn strategy(pools: &str) -> CapacityProviderStrategy {
    let item = |pool: &str| CapacityProviderStrategyItem {
        capacity_provider: pool.into(),
        weight: 1,
        base: 0,
    };
    pools.split(',').map(item).collect()
}

fn settings(args: &[&str], options: &BTreeMap<&str, &str>) -> DaemonSettings {
    let drain = options
        .get("drain")
        .map_or(25.0, |percent| percent.parse().expect("a percentage"));
    DaemonSettings {
        critical: !args.contains(&"uncritical"),
        drain: Scale::of_percent(drain).expect("a share"),
    }
}

fn configuration(options: &BTreeMap<&str, &str>) -> DeploymentConfiguration {
    let bake = options
        .get("bake")
        .map_or(0, |minutes| minutes.parse().expect("minutes"));
    DeploymentConfiguration::of_daemon(bake)
}

impl Stage {
    pub(super) fn update_daemon(&mut self, name: &str, args: &[&str], options: &BTreeMap<&str, &str>) {
        let key = cluster().service(name);
        let revision = options["revision"].parse().expect("a revision");
        let configuration = configuration(options);
        let update = UpdateService {
            task_definition: Some(TaskDefinitionKey {
                scope: key.cluster.scope.clone(),
                family: name.into(),
                revision,
            }),
            force_new_deployment: true,
            capacity_provider_strategy: Some(strategy(options["pools"])),
            deployment_configuration: DeploymentConfigurationChanges {
                bake_minutes: Some(configuration.bake_minutes),
                ..Default::default()
            },
            daemon_settings: Some(settings(args, options)),
            ..UpdateService::blank(key, self.world.ids.deployment_id(), self.world.now)
        };
        self.world
            .apply(Command::UpdateService(Box::new(update)))
            .expect("updates the daemon");
    }

    pub(super) fn delete_daemon(&mut self, name: &str) {
        let command = Command::DeleteDaemon {
            daemon: cluster().service(name),
            deployment: self.world.ids.deployment_id(),
            at: self.world.now,
        };
        self.world.apply(command).expect("deletes the daemon");
    }

    /// Runs a task outside services on a host, which need not take it.
    pub(super) fn run(&mut self, family: &str, host: &str) {
        let scope = cluster().scope;
        let definition = self.world.state.latest_task_definition(&scope, &family.into());
        let definition = definition.expect("it is defined").clone();
        let task = Task {
            id: self.world.ids.task_id(),
            container_instance: self.world.host(host),
            last_status: TaskStatus::Pending,
            ..Task::new(cluster(), &definition, TaskOrigin::Standalone, self.world.now)
        };
        let tasks = vec![task];
        let client_token = None;
        let taken = self.world.apply(Command::RunTasks { tasks, client_token });
        self.refused = taken.err().map(|why| why.to_string());
    }

    /// Has somebody stop what a host runs of no service.
    pub(super) fn stop_alone(&mut self, host: &str) {
        let host = self.world.host(host).expect("a host");
        let tasks = self.world.state.tasks_of_instance(host);
        let command = Command::StopTasks {
            tasks: tasks
                .filter(|task| task.service().is_none())
                .map(|task| task.id)
                .collect(),
            stop_code: StopCode::UserInitiated,
            reason: "enough".to_owned(),
            at: self.world.now,
        };
        self.world.apply(command).expect("is always valid");
    }

    /// What hosts run of no service, and which daemons they miss, where there are daemons.
    pub(super) fn show_hosts_of_daemons(&mut self, text: &mut String) -> std::fmt::Result {
        let state = &self.world.state;
        if state.daemons_of(&cluster()).next().is_none() {
            return Ok(());
        }
        if let Some(refused) = self.refused.take() {
            writeln!(text, "  refused: {refused}")?;
        }
        for host in state.container_instances_of(&cluster()) {
            let tasks = state.tasks_of_instance(host.id).filter(|task| !task.is_stopped());
            let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
            for task in tasks {
                *groups.entry(&task.group).or_default() += 1;
            }
            let groups: Vec<String> = groups.iter().map(|(group, count)| format!("{count} {group}")).collect();
            let has = if groups.is_empty() {
                "nothing".to_owned()
            } else {
                groups.join(", ")
            };
            write!(text, "  {}: {has}", host.host.host_name)?;
            if let Some(missing) = state.missing_daemon(host.id) {
                let how = if missing.has_left { "was left by" } else { "waits for" };
                write!(text, "; {how} {}", missing.name)?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}
