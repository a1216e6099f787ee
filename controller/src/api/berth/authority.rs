//! The cluster's authority as the API shows it. Pure.

use berth_aws::berth::{Authority, RotationPhase};
use berth_trust::identity::Identity;
use berth_trust::rotation::Phase;

use crate::api::ports::AuthorityStatus;

/// Identities that one answer names; the rest is counted.
const MAX_NAMED: usize = 100;

/// How far a rotation is, as the API shows it.
pub(super) fn render(status: &AuthorityStatus) -> Authority {
    let phase = match status.phase {
        Phase::Settled => RotationPhase::Settled,
        Phase::Introduced { .. } => RotationPhase::Introduced,
        Phase::Switched { .. } => RotationPhase::Switched,
    };
    let trusted: Vec<String> = status.trusted.iter().map(ToString::to_string).collect();
    Authority {
        phase: Some(phase),
        signing: trusted.first().cloned(),
        trusted: Some(trusted),
        waiting_for: Some(status.waiting.iter().take(MAX_NAMED).map(Identity::to_string).collect()),
        waiting_count: i32::try_from(status.waiting.len()).ok(),
    }
}
