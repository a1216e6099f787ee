//! `memberOf`: an expression of the cluster query language holds for the host. The board evaluates each expression once for
//! each host, and again only where a reservation can have changed the answer. Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::planner::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct MemberOf;

impl Filter for MemberOf {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let failed = need.member_of.iter().find(|e| !board.holds(**e, host))?;
        Some(board.expression_refusal(*failed))
    }
}
