//! The wall clock, as core writes time, and the clock of this boot, which nobody sets. Shell.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_core::model::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The time now; the epoch itself on a machine whose clock is before it.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is until `at`; nothing if that has passed.
pub(crate) fn until(at: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.ms_since(now())).unwrap_or(0))
}

/// Milliseconds since this machine was booted, those in which it slept included. The same for every process of the boot.
pub(crate) fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had this clock since 2.6.39");
    u64::try_from(Duration::from(time).as_millis()).unwrap_or(u64::MAX)
}

/// What tells this boot of the machine from every other.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}
