//! When a holder asks for its next certificate. Pure.
//!
//! Owns the times; it must not know how one asks.

use std::time::Duration;

use rustls::pki_types::UnixTime;

use crate::bundle::Bundle;
use crate::credentials::Credentials;
use crate::text;

/// Part of the lifetime after which a certificate is renewed: the rest is for a cluster that cannot be reached for a while.
const RENEWED_AFTER: (u64, u64) = (2, 3);

/// Part of the lifetime over which holders are spread that got their certificates at the same time, half of it before and half
/// after two thirds of the lifetime.
const SPREAD: (u64, u64) = (1, 10);

/// First wait after an attempt that failed.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest wait between attempts: short against what is left of even the shortest lifetime, a third of an hour.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// When a certificate is to be renewed: after two thirds of its lifetime, give or take a twentieth by the seed.
#[must_use]
pub fn renew_at(not_before: UnixTime, not_after: UnixTime, seed: u64) -> UnixTime {
    let lifetime_s = not_after.as_secs().saturating_sub(not_before.as_secs());
    let spread_s = part(lifetime_s, SPREAD);
    let offset_s = mixed(seed) % spread_s.saturating_add(1);
    let after_s = part(lifetime_s, RENEWED_AFTER) - spread_s / 2 + offset_s;
    text::at(not_before.as_secs().saturating_add(after_s))
}

/// When a holder is to renew, given what the cluster trusts: at once if its certificate is not of the authority that signs now.
#[must_use]
pub fn due_at(credentials: &Credentials, bundle: &Bundle, seed: u64) -> UnixTime {
    if credentials.is_signed_by(&bundle.authorities()[0]) {
        renew_at(credentials.not_before(), credentials.not_after(), seed)
    } else {
        text::at(0)
    }
}

/// How long to wait after so many attempts in a row that failed: doubling, between half of it and all of it by the seed.
#[must_use]
pub fn retry_after(failures: u32, seed: u64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let wait = doubled.min(LONGEST_RETRY);
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(wait_ms / 2 + mixed(seed ^ u64::from(failures)) % (wait_ms / 2 + 1))
}

fn part(whole: u64, (numerator, denominator): (u64, u64)) -> u64 {
    whole / denominator * numerator + whole % denominator * numerator / denominator
}

/// Spreads seeds that differ little (splitmix64).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    fn after(lifetime_s: u64, seed: u64) -> u64 {
        renew_at(text::at(START), text::at(START + lifetime_s), seed).as_secs() - START
    }

    #[test]
    fn renewal_is_near_two_thirds_of_the_lifetime_and_spread_over_a_tenth() {
        let times: Vec<u64> = (0..1000).map(|seed| after(30_000, seed)).collect();
        let (first, last) = (times.iter().min(), times.iter().max());
        assert!(
            times.iter().all(|time| (18_500..=21_500).contains(time)),
            "{first:?} to {last:?}"
        );
        let busiest = (0..10).map(|tenth| {
            let start = 18_500 + tenth * 300;
            times.iter().filter(|time| (start..start + 300).contains(*time)).count()
        });
        assert!(
            busiest.max() < Some(150),
            "a tenth of the time has far more than a tenth of the renewals"
        );
    }

    #[test]
    fn renewal_with_the_same_seed_is_at_the_same_time() {
        assert_eq!(after(604_800, 42), after(604_800, 42));
    }

    #[test]
    fn renewal_of_a_certificate_that_is_never_valid_is_at_once() {
        assert_eq!(renew_at(text::at(START), text::at(START - 5), 7), text::at(START));
    }

    #[test]
    fn retries_wait_longer_and_longer_up_to_the_bound() {
        for seed in 0..100 {
            assert!(retry_after(1, seed) <= FIRST_RETRY && retry_after(1, seed) >= FIRST_RETRY / 2);
            for failures in 20..40 {
                let wait = retry_after(failures, seed);
                assert!(wait <= LONGEST_RETRY && wait >= LONGEST_RETRY / 2, "{wait:?}");
            }
        }
        assert!(retry_after(u32::MAX, 1) <= LONGEST_RETRY);
    }
}
