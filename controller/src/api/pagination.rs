//! Pages of lists: `maxResults` in, `nextToken` in and out.
//!
//! A token holds the list's name and the last key given out, so that pages stay right while the list changes: nothing is given twice, and
//! nothing that was there all the time is left out. Pure.

use std::cmp::Reverse;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_aws::AwsError;
use berth_core::model::{ContainerInstanceId, TaskId, Timestamp};

use super::errors::invalid;

/// Most elements of one page (ECS's bound).
pub(crate) const MAX_RESULTS: i32 = 100;

/// What a list is ordered by.
pub(crate) trait PageKey: Ord + Sized {
    /// The key as text.
    fn encode(&self) -> String;
    /// The key that this text stands for.
    fn decode(text: &str) -> Option<Self>;
}

/// Which page of a list is wanted.
#[derive(Debug)]
pub(crate) struct Page<K> {
    list: &'static str,
    after: Option<K>,
    limit: usize,
}

impl<K: PageKey> Page<K> {
    /// Reads the page from a request for the list called `list`; a request without `maxResults` gets `default_size`.
    ///
    /// # Errors
    /// `InvalidParameterException` for a token of another list or none of ours, and for a size out of range.
    pub(crate) fn parse(
        list: &'static str,
        next_token: Option<&str>,
        max_results: Option<i32>,
        default_size: i32,
    ) -> Result<Self, AwsError> {
        let size = max_results.unwrap_or(default_size);
        if !(1..=MAX_RESULTS).contains(&size) {
            return Err(invalid(format!("maxResults must be between 1 and {MAX_RESULTS}.")));
        }
        let after = match next_token.filter(|token| !token.is_empty()) {
            Some(token) => Some(decode(list, token).ok_or_else(|| invalid("Invalid token."))?),
            None => None,
        };
        let limit = usize::try_from(size).unwrap_or(1);
        Ok(Self { list, after, limit })
    }

    /// Takes the page from all elements, which must come in ascending order of their keys, and says how to go on.
    pub(crate) fn take<T>(&self, all: impl Iterator<Item = (K, T)>) -> (Vec<T>, Option<String>) {
        let mut rest = all.skip_while(|(key, _)| self.after.as_ref().is_some_and(|after| key <= after));
        let (mut taken, mut last) = (vec![], None);
        for (key, element) in rest.by_ref().take(self.limit) {
            taken.push(element);
            last = Some(key);
        }
        let next = rest.next().and(last).map(|key| encode(self.list, &key));
        (taken, next)
    }
}

fn encode(list: &str, key: &impl PageKey) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}\n{}", key.encode()))
}

fn decode<K: PageKey>(list: &str, token: &str) -> Option<K> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (of, key) = text.split_once('\n')?;
    if of == list { K::decode(key) } else { None }
}

impl PageKey for String {
    fn encode(&self) -> String {
        self.clone()
    }

    fn decode(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl PageKey for TaskId {
    fn encode(&self) -> String {
        self.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl PageKey for ContainerInstanceId {
    fn encode(&self) -> String {
        self.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A name and a number, such as family and revision.
impl PageKey for (String, u32) {
    fn encode(&self) -> String {
        format!("{}:{}", self.0, self.1)
    }

    fn decode(text: &str) -> Option<Self> {
        let (name, number) = text.rsplit_once(':')?;
        Some((name.to_owned(), number.parse().ok()?))
    }
}

impl PageKey for Timestamp {
    fn encode(&self) -> String {
        self.0.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A host and something on it, such as an attribute.
impl PageKey for (ContainerInstanceId, String) {
    fn encode(&self) -> String {
        format!("{}:{}", self.0, self.1)
    }

    fn decode(text: &str) -> Option<Self> {
        let (id, name) = text.split_once(':')?;
        Some((id.parse().ok()?, name.to_owned()))
    }
}

/// A list in descending order.
impl<K: PageKey> PageKey for Reverse<K> {
    fn encode(&self) -> String {
        self.0.encode()
    }

    fn decode(text: &str) -> Option<Self> {
        K::decode(text).map(Reverse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(of: &[&str], token: Option<&str>, size: i32) -> (Vec<String>, Option<String>) {
        let page = Page::<String>::parse("Things", token, Some(size), 100).expect("valid");
        page.take(of.iter().map(|t| ((*t).to_owned(), (*t).to_owned())))
    }

    #[test]
    fn page_of_a_list_that_changes_gives_each_element_once() {
        let (first, token) = page(&["a", "b", "c", "d"], None, 2);
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(&["a", "a2", "c", "d", "e"], token.as_deref(), 2);
        assert_eq!(second, ["c", "d"]);
        let (third, token) = page(&["a", "e"], token.as_deref(), 2);
        assert_eq!((third, token), (vec!["e".to_owned()], None));
    }

    #[test]
    fn page_that_ends_with_the_list_has_no_token() {
        assert_eq!(page(&["a", "b"], None, 2).1, None);
    }

    #[test]
    fn token_of_another_list_or_of_nobody_is_refused() {
        let token = page(&["a", "b"], None, 1).1.expect("more");
        let other = Page::<String>::parse("Others", Some(&token), None, 100).expect_err("refused");
        assert_eq!(other.message, "Invalid token.");
        assert!(Page::<String>::parse("Things", Some("???"), None, 100).is_err());
    }

    #[test]
    fn page_size_out_of_range_is_refused() {
        for size in [0, -1, 101] {
            let error = Page::<String>::parse("Things", None, Some(size), 100).expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
        }
    }
}
