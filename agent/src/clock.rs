//! The wall clock, as core writes time. Shell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_core::model::Timestamp;

/// The time now; the epoch itself on a machine whose clock is before it.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is until `at`; nothing if that has passed.
pub(crate) fn until(at: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.ms_since(now())).unwrap_or(0))
}
