//! Steps of scenarios that concern hosts that are put to sleep and woken.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Stage;
use crate::model::*;
use crate::reconcile::world::cluster;

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
