//! Dates and times as `registeredAt` takes them: `2018-06-18`, `2018-06-18T22:28:28`, the same with `Z` or an offset
//! such as `+02:00`; without one, UTC. Pure.

use crate::model::Timestamp;

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_DAY: i64 = 24 * 60 * MS_PER_MINUTE;

/// Reads a moment; `None` where the text is none.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let midnight = days_since_epoch(date)? * MS_PER_DAY;
    let Some(time) = time else {
        return Some(Timestamp(midnight));
    };
    let (clock, offset_ms) = split_offset(time)?;
    let [hour, minute, second] = numbers(clock, ':')?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Timestamp(
        midnight + (hour * 60 + minute) * MS_PER_MINUTE + second * 1000 - offset_ms,
    ))
}

fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let [hours, minutes] = numbers(&time[at + 1..], ':')?;
    let ms = (hours * 60 + minutes) * MS_PER_MINUTE;
    let offset = if time[at..].starts_with('-') { -ms } else { ms };
    (hours <= 18 && minutes <= 59).then_some((&time[..at], offset))
}

/// Exactly `N` numbers of digits alone.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut out = [0; N];
    let mut parts = text.split(separator);
    for slot in &mut out {
        let part = parts.next()?;
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *slot = digits.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(out)
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that a leap day comes last.
fn days_since_epoch(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_EPOCH: i64 = 719_468;
    Some(march_year * 365 + leap_days + day_of_year - TO_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_in_each_form_of_ecs_is_read() {
        let expected = Some(Timestamp(1_529_360_908_000));
        for text in [
            "2018-06-18T22:28:28+00:00",
            "2018-06-18T22:28:28Z",
            "2018-06-18T22:28:28",
            "2018-06-19T00:28:28+02:00",
            "2018-06-18T17:28:28-05:00",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("2018-06-18"), Some(Timestamp(1_529_280_000_000)));
        assert_eq!(parse("2024-02-29"), Some(Timestamp(1_709_164_800_000)));
        assert_eq!(parse("1970-01-01"), Some(Timestamp(0)));
    }

    #[test]
    fn moment_that_the_calendar_lacks_is_refused() {
        for text in [
            "2023-02-29",
            "2018-13-01",
            "2018-06",
            "today",
            "2018-06-18T25:00:00Z",
            "2018-06-18T",
            "1-1-+1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
