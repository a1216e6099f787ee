//! Lengths of time as people read them. Pure, but for [`now`].

use berth_aws::Timestamp;

/// Seconds in a minute, an hour and a day.
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// The time from `then` to `now`, with two units while the second one still tells something: `45s`, `7m12s`, `26h`, `9d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    // The clock of the controller may be a little ahead of ours.
    let seconds = now.0.saturating_sub(then.0).max(0) / 1000;
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| match seconds % large / small {
        0 => format!("{}{large_unit}", seconds / large),
        rest => format!("{}{large_unit}{rest}{small_unit}", seconds / large),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, 'm', 1, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, 'h', MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, 'd', HOUR, 'h'),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_shows_at_most_two_units() {
        let of = |seconds: i64| age(Timestamp(1_000), Timestamp(1_000 + seconds * 1000));
        let found: Vec<String> = [0, 119, 120, 432, 600, 10_799, 10_800, 12_000, 93_600, 180_000, 800_000]
            .map(of)
            .to_vec();
        assert_eq!(
            found,
            [
                "0s", "119s", "2m", "7m12s", "10m", "179m", "3h", "3h20m", "26h", "2d2h", "9d"
            ]
        );
    }

    #[test]
    fn age_of_what_lies_ahead_is_nothing() {
        assert_eq!(age(Timestamp(5_000), Timestamp(1_000)), "0s");
    }
}
