//! `memberOf`: an expression of the cluster query language holds for the host; and what the task's definition needs of it, which is one too. The board evaluates each expression once for
//! each host, and again only where a reservation can have changed the answer. Pure.

use super::Filter;
use crate::model::PlacementConstraint;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct MemberOf;

impl Filter for MemberOf {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let failed = need.member_of.iter().find(|e| !board.holds(**e, host))?;
        let refusal = board.expression_refusal(*failed);
        let needed = match &refusal {
            Refusal::MemberOf { expression } => need.needed_attribute(expression),
            _ => None,
        };
        match needed {
            Some(PlacementConstraint::Attribute { name, values }) => Some(Refusal::Attribute {
                name: name.clone(),
                needs: values.clone(),
                has: board.host(host).attributes.get(name).cloned().flatten(),
            }),
            _ => Some(refusal),
        }
    }

    fn refuses(&self, board: &Board, need: &Need, host: HostIndex) -> bool {
        need.member_of.iter().any(|expression| !board.holds(*expression, host))
    }
}
