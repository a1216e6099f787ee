//! Steps of scenarios that concern hosts that are put to sleep and woken.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Stage;
use crate::model::*;
use crate::placement::Seed;
use crate::reconcile::world::cluster;
use crate::reconcile::{StandalonePlan, StandaloneRequest, plan_standalone};
use crate::state::Command;

impl Stage {
    /// Has the hosts of a pool put to sleep and woken from now on, or not any more.
    pub(super) fn scale_pool(&mut self, name: &str, args: &[&str], options: &BTreeMap<&str, &str>) {
        let number = |key: &str| options.get(key).map(|number| number.parse::<u32>().expect("a number"));
        let scaling = ManagedScalingChanges {
            enabled: Some(!args.contains(&"off")),
            target_capacity: number("target"),
            minimum_step: number("min-step"),
            maximum_step: number("max-step"),
            warmup_secs: number("warmup"),
        };
        self.world.scale_pool(name, scaling, |update| {
            update.managed_draining = args.contains(&"undrained").then_some(false);
        });
    }

    /// Has a host never come when it is called, or come again when it is.
    pub(super) fn set_wakes(&mut self, name: &str, wakes: bool) {
        let host = self.world.host(name).expect("a host");
        if wakes {
            self.world.sound_sleepers.remove(&host);
        } else {
            self.world.sound_sleepers.insert(host);
        }
    }

    /// Has the command that wakes hosts fail for one that is called.
    pub(super) fn fail_call(&mut self, name: &str) {
        let host = self.world.host(name).expect("a host");
        let call = self.world.state.container_instance(host).expect("there").power.calls;
        self.world.change_power(
            name,
            PowerChange::NotCalled {
                call,
                reason: "no such board".to_owned(),
            },
        );
    }

    /// Has the agent of a host say that it could not put it to sleep.
    pub(super) fn fail_sleep(&mut self, name: &str) {
        let reason = "the lid is open".to_owned();
        self.world.change_power(name, PowerChange::NotAsleep { reason });
    }

    /// Has somebody put a host to sleep.
    pub(super) fn sleep_by_hand(&mut self, name: &str) {
        self.world.change_power(name, PowerChange::SleepByHand { force: false });
    }

    /// Has somebody wake a host.
    pub(super) fn wake_by_hand(&mut self, name: &str) {
        self.world.change_power(name, PowerChange::WakeByHand);
    }

    /// Runs tasks outside services, of a capacity provider, as `RunTask` does.
    pub(super) fn run_tasks(&mut self, family: &str, options: &BTreeMap<&str, &str>) {
        let scope = cluster().scope;
        let definition = self.world.state.latest_task_definition(&scope, &family.into());
        let definition = definition.expect("it is defined").clone();
        let mut prototype = Task::new(cluster(), &definition, TaskOrigin::Standalone, self.world.now);
        prototype.capacity_provider = options.get("pool").map(|pool| (*pool).into());
        if let Some(priority) = options.get("priority") {
            let tag = (Priority::TAG.to_owned(), (*priority).to_owned());
            prototype.blueprint_mut().tags.extend([tag]);
        }
        let count = options.get("count").map_or(1, |count| count.parse().expect("a number"));
        let tasks = (0..count).map(|_| Task {
            id: self.world.ids.task_id(),
            ..prototype.clone()
        });
        let request = StandaloneRequest {
            tasks: tasks.collect(),
            ..StandaloneRequest::default()
        };
        let world = &mut self.world;
        let plan = plan_standalone(&world.state, &mut world.agenda, &[request], Seed(1), world.now).remove(0);
        let unplaced = match plan {
            StandalonePlan::Run { command, unplaced } => {
                world.apply(command).expect("it was just planned");
                unplaced
            }
            StandalonePlan::NoRoom(unplaced) => unplaced,
            other => panic!("{other:?}"),
        };
        self.failures = unplaced.first().map(|(_, why)| {
            let hosts = why.hosts.iter().map(|host| {
                let refusals: Vec<String> = host.refusals.iter().map(ToString::to_string).collect();
                format!("{} on {}: {}", host.ecs_reason(), host.name, refusals.join(", "))
            });
            hosts.collect::<Vec<_>>().join("; ")
        });
    }

    /// Has somebody stop all tasks of a family that are of no service.
    pub(super) fn stop_tasks(&mut self, family: &str) {
        let group = format!("family:{family}");
        let cluster = cluster();
        let tasks = self.world.state.tasks_of_cluster(&cluster);
        let command = Command::StopTasks {
            tasks: tasks.filter(|task| task.group == group).map(|task| task.id).collect(),
            stop_code: StopCode::UserInitiated,
            reason: "enough".to_owned(),
            at: self.world.now,
        };
        self.world.apply(command).expect("is always valid");
    }

    /// Tasks outside services that were given to a capacity provider, in the order in which they were run, and why the last found no host.
    pub(super) fn show_tasks_of_pools(&mut self, text: &mut String) -> std::fmt::Result {
        if let Some(failures) = self.failures.take() {
            writeln!(text, "  failures: {failures}")?;
        }
        let state = &self.world.state;
        let cluster = cluster();
        let tasks = state.tasks_of_cluster(&cluster);
        let mut tasks: Vec<_> = tasks
            .filter(|task| task.service().is_none() && task.capacity_provider.is_some())
            .collect();
        tasks.sort_by_key(|task| (task.created_at, task.id));
        for task in tasks {
            write!(
                text,
                "  {} (task {}) {}",
                task.group,
                task.id,
                task.last_status.as_str()
            )?;
            if let Some(host) = task.container_instance.and_then(|id| state.container_instance(id)) {
                write!(text, " on {}", host.host.host_name)?;
            }
            if let Some(code) = task.stop_code {
                let reason = task.stopped_reason.as_deref().unwrap_or_default();
                write!(text, " {}: {reason}", code.as_str())?;
            }
            writeln!(text)?;
        }
        Ok(())
    }

    /// How hosts are, where some can sleep.
    pub(super) fn show_power(&self, text: &mut String) -> std::fmt::Result {
        let state = &self.world.state;
        let hosts: Vec<_> = state.container_instances_of(&cluster()).collect();
        if hosts.iter().all(|host| !host.offers_sleep()) {
            return Ok(());
        }
        for host in hosts {
            let tasks = state
                .tasks_of_instance(host.id)
                .filter(|task| !task.is_stopped())
                .count();
            let (name, power) = (&host.host.host_name, &host.power);
            write!(text, "  {name} {} {}", host.status.as_str(), power.state.as_str())?;
            if power.calls > 1 {
                write!(text, ", called {} times", power.calls)?;
            }
            if power.by_hand {
                write!(text, " by hand")?;
            }
            if let Some(trouble) = &power.trouble {
                write!(text, " ({trouble})")?;
            }
            writeln!(text, ": {tasks} tasks")?;
        }
        Ok(())
    }
}
