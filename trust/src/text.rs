//! Times and digests in messages, and the time in the forms of the libraries. Pure.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

/// `2026-11-25T21:37:20Z`.
pub(crate) fn moment(time: UnixTime) -> String {
    let date = calendar(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

/// The time as a date; the last second of year 9999 if it is later than that.
pub(crate) fn calendar(time: UnixTime) -> OffsetDateTime {
    /// 9999-12-31T23:59:59Z, the end of X.509's time.
    const LAST_SECOND: i64 = 253_402_300_799;
    let seconds = i64::try_from(time.as_secs()).unwrap_or(LAST_SECOND).min(LAST_SECOND);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The time so many seconds after 1970.
pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_is_written_as_rfc_3339_has_it() {
        assert_eq!(moment(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(moment(at(1_795_642_640)), "2026-11-25T21:37:20Z");
        assert_eq!(moment(at(u64::MAX)), "9999-12-31T23:59:59Z");
    }
}
