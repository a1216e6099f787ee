//! A host takes new tasks only while it is `ACTIVE`, awake and its agent is connected (ECS: `AGENT`), and while no task on it is being stopped for one that is to come:
//! what becomes free bit by bit would otherwise go to smaller tasks. Nor does it while a daemon does not
//! serve on it that it is not to be without; only daemons come before. Pure.

use super::Filter;
use crate::model::{ContainerInstanceStatus, PowerState};
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::problem::Host;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct Agent;

impl Filter for Agent {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let found = reason(board.host(host))?;
        let comes_first = need.is_of_daemon() && matches!(found, Refusal::MissesDaemon(_));
        (!comes_first).then_some(found)
    }
}

/// Why a host takes no task, whichever it is.
pub(super) fn reason(host: &Host) -> Option<Refusal> {
    if host.status != ContainerInstanceStatus::Active {
        Some(Refusal::NotActive(host.status))
    } else if !host.agent_connected {
        Some(match host.power {
            PowerState::Asleep => Refusal::Asleep,
            PowerState::Waking => Refusal::Waking,
            PowerState::Awake | PowerState::Emptying | PowerState::FallingAsleep | PowerState::ShuttingDown => {
                Refusal::AgentDisconnected
            }
        })
    } else {
        host.makes_room_for
            .clone()
            .map(Refusal::MakesRoom)
            .or_else(|| host.missing_daemon.clone().map(Refusal::MissesDaemon))
    }
}
