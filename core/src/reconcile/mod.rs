//! The reconcilers: what has to change so that the state becomes what its users asked for.
//!
//! Owns how services reach their desired count, how deployments roll, how tasks are moved, which hosts sleep, when hosts count as lost and when what is over
//! is forgotten. Level-triggered: a reconciler looks at what is, never at how it came to be, so a new leader needs no
//! catch-up, and a second run on the same state finds nothing to do. It must not know who proposes its commands, nor
//! how hosts run tasks. Pure.

mod agenda;
mod causes;
mod daemon;
mod dependencies;
mod deployment;
mod division;
mod early_success;
#[cfg(test)]
mod endings_properties;
mod events;
mod health;
mod hosts;
mod kept_room;
mod leaving;
mod limits;
mod managed_daemons;
mod managed_scaling;
mod moving;
mod outlines;
mod pass;
mod placing;
mod preemption;
mod protection;
mod provisioning;
mod rebalance;
mod replica;
mod retention;
mod revisions;
mod room;
mod scaled;
mod service;
mod stages;
mod standalone;
mod starting;
mod stopping;
mod tally;
mod task_sets;
mod together;
mod turns;
mod waiting;
mod zone_balance;

#[cfg(test)]
mod daemon_properties;
#[cfg(test)]
mod fargate_tests;
#[cfg(test)]
mod long_passes;
#[cfg(test)]
mod managed_scaling_tests;
#[cfg(test)]
mod pools;
#[cfg(test)]
mod preemption_properties;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod provisioning_tests;
#[cfg(test)]
mod rebalance_tests;
#[cfg(test)]
mod scaling_properties;
#[cfg(test)]
mod scenario_words;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod stages_properties;
#[cfg(test)]
pub(crate) mod world;

pub use agenda::Agenda;
pub use dependencies::circle as dependency_circle;
pub(crate) use dependencies::waits_for as waits_for_services;
pub use division::at_once as divide_at_once;
pub use events::{is_steady_state, is_unable_to_start};
pub use hosts::{MASS_LOSS_WINDOW_MS, hosts_given_up_at_once};
pub use leaving::{Leaving, Staying, Stays};
pub use moving::{Unready, unready};
pub(crate) use preemption::proposal as preemption_proposal;
pub use provisioning::PROVISION_WITHIN_MS;
pub use retention::{MAX_STOPPED_TASKS_PER_CLUSTER, RETAIN_MS};
pub use standalone::{StandalonePlan, StandaloneRequest, UnplacedTasks, plan_standalone};
pub use starting::next_task;
pub(crate) use tally::has_settled;

use crate::ids::IdSource;
use crate::model::Timestamp;
use crate::state::{ClusterState, Command};

use agenda::Subject;
use pass::Pass;

/// Commands after which a pass ends, so that they can be proposed before more are planned; the rest of the agenda
/// waits for the next pass. Services that were planned together get what was found for them first.
const MAX_COMMANDS_PER_PASS: usize = 256;

/// Looks after which a pass ends, so that what comes meanwhile, such as a task that ends or a request to run one, does not wait for long: some tens of
/// milliseconds. What is left of the agenda comes first in the next pass.
const MAX_LOOKS_PER_PASS: usize = 3_000_000;

/// Looks at everything on the agenda that is due at `now` and returns what has to change, in an order in which every
/// command is valid. The commands for one service build on each other: when one is rejected, those after it for that
/// service are void. Where there is much to look at, the next call goes on with it: the agenda has work then, also if nothing was decided.
pub fn reconcile(state: &ClusterState, agenda: &mut Agenda, now: Timestamp, ids: &mut IdSource) -> Vec<Command> {
    reconcile_for(MAX_LOOKS_PER_PASS, state, agenda, now, ids)
}

fn reconcile_for(
    looks: usize,
    state: &ClusterState,
    agenda: &mut Agenda,
    now: Timestamp,
    ids: &mut IdSource,
) -> Vec<Command> {
    let mut pass = Pass::new(state, agenda, now, ids, looks);
    room::spare_vain_looks(&mut pass);
    while !pass.is_long()
        && (pass.commands.len() < MAX_COMMANDS_PER_PASS || pass.together.is_under_way())
        && let Some(subject) = pass.agenda.pop(now)
    {
        pass.look_at(&subject);
        match subject {
            Subject::Host(id) => hosts::reconcile(&mut pass, id),
            Subject::AwayHost(id) => hosts::reconcile_away(&mut pass, id),
            Subject::AwayHostsOf(cluster) => hosts::reconcile_all_away(&mut pass, &cluster),
            Subject::HostsOf(cluster) => hosts::reconcile_all(&mut pass, &cluster),
            Subject::Service(key) if turns::give_way(&mut pass, &key) => {}
            Subject::Service(key) => {
                together::plan(&mut pass, &key);
                service::reconcile(&mut pass, &key);
                pass.agenda.kept_room.looked_at(&pass.state, &key);
            }
            Subject::Provisioning(cluster) => provisioning::reconcile(&mut pass, &cluster),
            Subject::Tasks(cluster, priority) if turns::tasks_give_way(&mut pass, &cluster, priority) => {}
            Subject::Tasks(cluster, priority) => provisioning::place_waiting(&mut pass, &cluster, priority),
            Subject::Rebalance(cluster) => rebalance::reconcile(&mut pass, &cluster),
            Subject::Zones(cluster) => zone_balance::reconcile(&mut pass, &cluster),
            Subject::Pools(cluster) => managed_scaling::reconcile(&mut pass, &cluster),
            Subject::Retention => retention::reconcile(&mut pass),
        }
    }
    pass.commands
}
