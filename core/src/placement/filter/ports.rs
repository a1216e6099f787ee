//! The fixed host ports of a task must be neither taken nor reserved (ECS: `RESOURCE:PORTS`), nor be held by a program that is no task. Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct Ports;

impl Filter for Ports {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        if need.host_ports.is_empty() {
            return None;
        }
        let used = board.used_ports(host);
        let taken: crate::model::Ports = need.host_ports.iter().filter(|p| used.contains(p)).copied().collect();
        if !taken.is_empty() {
            return Some(Refusal::Ports(taken));
        }
        let foreign = &board.host(host).foreign_ports;
        let held: crate::model::Ports = need
            .host_ports
            .iter()
            .filter(|p| foreign.contains(p))
            .copied()
            .collect();
        (!held.is_empty()).then_some(Refusal::ForeignPorts(held))
    }
}
