//! Short forms of the 32 hexadecimal digits of ids: cut when shown, completed when given.
//!
//! Owns how short is too short. Pure.

use anyhow::{Result, bail};

/// Digits that are shown, more where that many do not tell two ids apart: as Docker and git do.
const SHOWN: usize = 8;
/// Digits that are the least to name something by: with fewer, a name of something else is likelier.
const LEAST: usize = 4;
/// Digits of a whole id.
const WHOLE: usize = 32;

/// How many digits tell these ids apart, at least 8.
pub(crate) fn length(ids: &[&str]) -> usize {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let common = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    let longest = sorted.windows(2).map(common).max().unwrap_or(0);
    SHOWN.max(longest + 1)
}

/// The first digits of an id.
pub(crate) fn cut(id: &str, length: usize) -> &str {
    id.get(..length).unwrap_or(id)
}

/// An id as it is shown where no other is beside it.
pub(crate) fn shown(id: &str) -> &str {
    cut(id, SHOWN)
}

/// True for text that can be an id or the beginning of one.
pub(crate) fn is_prefix(text: &str) -> bool {
    (LEAST..=WHOLE).contains(&text.len()) && is_hex(text)
}

/// True for text that can only be an id: a service of that name is not to be expected.
pub(crate) fn is_whole(text: &str) -> bool {
    text.len() == WHOLE && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The one id that begins with `prefix`, `None` if none does.
///
/// # Errors
/// If several do; they are named.
pub(crate) fn complete<'a>(prefix: &str, ids: impl IntoIterator<Item = &'a str>) -> Result<Option<&'a str>> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found: Vec<&str> = ids.into_iter().filter(|id| id.starts_with(&prefix)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        several => {
            let length = length(several);
            let names: Vec<&str> = several.iter().map(|id| cut(id, length)).collect();
            bail!(
                "`{prefix}` is the beginning of {} ids: {}; give more of it",
                names.len(),
                names.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["0123456789abcdef", "0123456799abcdef", "fedcba9876543210"];

    #[test]
    fn length_for_ids_that_begin_alike_tells_them_apart() {
        assert_eq!(length(&IDS), 9);
        assert_eq!(length(&IDS[1..]), 8);
        assert_eq!(length(&[]), 8);
    }

    #[test]
    fn prefix_of_one_id_is_completed() {
        assert_eq!(complete("FEDC", IDS).expect("one"), Some(IDS[2]));
        assert_eq!(complete("abcd", IDS).expect("none"), None);
    }

    #[test]
    fn prefix_of_several_ids_is_refused_with_the_matches() {
        let error = complete("0123", IDS).expect_err("ambiguous").to_string();
        assert_eq!(
            error,
            "`0123` is the beginning of 2 ids: 012345678, 012345679; give more of it"
        );
    }

    #[test]
    fn text_too_short_or_not_hexadecimal_is_no_prefix() {
        assert!(is_prefix("cafe") && is_prefix(&"a".repeat(32)));
        assert!(!is_prefix("abc") && !is_prefix("webs") && !is_prefix(&"a".repeat(33)));
    }
}
