//! One run: the cluster is founded, lives through faults, and has to come to rest. Pure, but for what it simulates.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use berth_raft::{Founding, MemberRecord, MemberRole, MembershipChange};

use crate::bug::{Bug, Bugs};
use crate::checks::Checked;
use crate::clients::{self, CLIENTS};
use crate::controller::{Ask, Asker, Input};
use crate::hosts;
use crate::world::{Event, World};

/// Hosts of the cluster.
const HOSTS: usize = 5;

/// Virtual time with faults.
const FAULTY_MS: u64 = 60_000;

/// Virtual time within which a cluster is founded.
const FOUNDING_MS: u64 = 60_000;

/// Virtual time after the faults within which everything has to come to rest: longer than services back off.
const CALM_MS: u64 = 20 * 60_000;

/// A run that showed that something does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {at_ms} ms after the beginning: {what}")]
pub struct Violation {
    /// The run, which can be made again.
    pub seed: u64,
    /// Virtual time.
    pub at_ms: u64,
    /// What did not hold.
    pub what: String,
}

/// What happened in a run in which everything held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What happened, and how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// Virtual time that passed.
    pub virtual_ms: u64,
}

/// Makes the run of a seed. The same seed gives the same run.
///
/// # Errors
/// [`Violation`], at the first step after which something does not hold.
pub fn run(seed: u64) -> Result<Report, Violation> {
    run_with(seed, None)
}

/// Makes the run of a seed with a mistake planted, or with none.
///
/// # Errors
/// [`Violation`], at the first step after which something does not hold.
pub fn run_with(seed: u64, bug: Option<Bug>) -> Result<Report, Violation> {
    let mut world = World::new(seed, HOSTS, Bugs(bug));
    // What is simulated holds on to its own invariants, and panics where one is broken: that is found too.
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    match lived.unwrap_or_else(|panic| Err(format!("a panic: {}", message_of(&*panic)))) {
        Ok(()) => {
            let mut counts = world.counts;
            counts.insert("writes acknowledged", world.clients.writes);
            counts.insert("reads answered", world.clients.reads);
            counts.insert("tasks run", world.clients.runs);
            Ok(Report {
                counts,
                virtual_ms: world.schedule.now_ms(),
            })
        }
        Err(what) => Err(Violation {
            seed,
            at_ms: world.schedule.now_ms(),
            what,
        }),
    }
}

/// The commands of the run of a seed, each with its index.
#[cfg(test)]
pub(crate) fn commands_of(seed: u64) -> Vec<(u64, berth_core::state::Command)> {
    let mut world = World::new(seed, HOSTS, Bugs(None));
    live(&mut world).expect("it holds");
    std::mem::take(&mut world.checks.commands)
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without a message".to_owned())
}

fn live(world: &mut World) -> Checked {
    let members = if world.draws.chance(700) { 3 } else { 5 };
    found(world, members)?;
    furnish(world)?;
    world.busy = true;
    (0..CLIENTS).for_each(|client| world.schedule.after(1, Event::Client(client)));
    world.schedule.after(1, Event::Fault);
    world.pass_until(world.schedule.now_ms() + FAULTY_MS)?;
    come_to_rest(world)?;
    world.checks.all_acknowledged_is_there()?;
    clients::each_request_ran_once(world.checks.state())
}

/// Founds a group of so many voters.
fn found(world: &mut World, members: u64) -> Checked {
    world.add_machine(1, Founding::default());
    world.start(1)?;
    let deadline_ms = world.schedule.now_ms() + FOUNDING_MS;
    loop {
        world.pass_until(world.schedule.now_ms() + 100)?;
        let Some(founder) = &world.machines[&1].controller else {
            return Err("the founder is gone".to_owned());
        };
        let (cluster, known) = (founder.identity().cluster, founder.membership().members);
        let learner = known
            .iter()
            .find(|member| member.role == MemberRole::Learner)
            .map(|member| member.record.id);
        let change = match learner {
            Some(member) => MembershipChange::Promote { member, forced: false },
            None if known.len() as u64 == members => return Ok(()),
            None => {
                let id = known.len() as u64 + 1;
                if !world.machines.contains_key(&id) {
                    world.add_machine(id, Founding::Join { cluster });
                    world.start(id)?;
                }
                MembershipChange::Add(MemberRecord {
                    id,
                    ..MemberRecord::default()
                })
            }
        };
        world.step(1, Input::ChangeMembership(change))?;
        if world.schedule.now_ms() > deadline_ms {
            return Err("the group is not founded in time".to_owned());
        }
    }
}

/// Gives the cluster its services, once all hosts are there.
fn furnish(world: &mut World) -> Checked {
    let deadline_ms = world.schedule.now_ms() + FOUNDING_MS;
    while world.checks.state().host_count(&hosts::cluster()) < HOSTS {
        world.pass_until(world.schedule.now_ms() + 100)?;
        if world.schedule.now_ms() > deadline_ms {
            return Err("the hosts are not there in time".to_owned());
        }
    }
    let at = world.clock();
    let definitions = hosts::FAMILIES.map(|family| hosts::definition(family, at));
    let services = hosts::FAMILIES.map(|family| hosts::service(family, 3, &mut world.ids, at));
    for command in definitions.into_iter().chain(services) {
        let by = Asker::Client(0);
        world.step(
            1,
            Input::Ask(Ask::Propose {
                command,
                term: None,
                by,
            }),
        )?;
    }
    Ok(())
}

/// Ends all faults, and waits until every service has what it wants and nothing else runs.
fn come_to_rest(world: &mut World) -> Checked {
    world.busy = false;
    world.network.heal();
    for id in world.machines.keys().copied().collect::<Vec<u64>>() {
        world.start(id)?;
        let machine = world.machines.get_mut(&id).ok_or("machines stay")?;
        machine.disk.repair();
        machine.clock_ahead_ms = 0;
    }
    let deadline_ms = world.schedule.now_ms() + CALM_MS;
    loop {
        world.pass_until(world.schedule.now_ms() + 1_000)?;
        let agents_run = world.agents.iter().all(|agent| agent.is_running());
        let rest = world.checks.at_rest(&world.containers());
        match rest {
            Ok(()) if agents_run && all_agree(world) => return Ok(()),
            _ if world.schedule.now_ms() < deadline_ms => {}
            rest => {
                rest?;
                return Err("controllers or agents do not come back".to_owned());
            }
        }
    }
}

/// Whether all members have applied the same. One whose addition was not agreed on, or that does not know yet that it was
/// removed, is none.
fn all_agree(world: &World) -> bool {
    let Some(leader) = world.leader().and_then(|id| world.machines[&id].controller.as_ref()) else {
        return false;
    };
    let applied = leader.status().applied;
    leader.membership().members.iter().all(|member| {
        let controller = world
            .machines
            .get(&member.record.id)
            .and_then(|machine| machine.controller.as_ref());
        controller.is_some_and(|controller| controller.status().applied == applied)
    })
}
