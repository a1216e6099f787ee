//! Join tokens as the API shows them. Pure.

use berth_aws::Timestamp;
use berth_aws::berth::{JoinRole, JoinToken, JoinTokenStatus};
use berth_core::model;
use berth_trust::UnixTime;
use berth_trust::identity::Role;
use berth_trust::token_record::TokenRecord;

/// A record as the API shows it.
pub(super) fn render(record: &TokenRecord, now: model::Timestamp) -> JoinToken {
    let now_s = u64::try_from(now.0 / 1000).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
    let status = match record {
        _ if record.is_usable(now) => JoinTokenStatus::Usable,
        _ if record.revoked_at_s.is_some() => JoinTokenStatus::Revoked,
        _ if record.uses_left == 0 => JoinTokenStatus::Used,
        _ => JoinTokenStatus::Expired,
    };
    JoinToken {
        token_id: Some(record.id.to_string()),
        role: Some(match record.role {
            Role::Controller => JoinRole::Controller,
            // There are tokens for no others.
            _ => JoinRole::Agent,
        }),
        uses_left: i32::try_from(record.uses_left).ok(),
        created_by: Some(record.created_by.clone()),
        created_at: Some(moment(record.created_at_s)),
        expires_at: Some(moment(record.expires_at_s)),
        revoked_at: record.revoked_at_s.map(moment),
        status: Some(status),
    }
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
}
