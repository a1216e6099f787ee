//! What a store says of its own content: how many commits made it, and a digest of all keys and values. Pure.
//!
//! sled recovers from damaged files by leaving out what it cannot read, without a word. So each commit carries the
//! tally of the content that it leaves, and whoever opens the store counts again.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::Operation;

/// The key under which a store keeps its tally, behind all keys that callers use.
pub(crate) const TALLY_KEY: &[u8] = b"\xff\xfftally";

/// Length of an encoded tally.
pub(crate) const TALLY_BYTES: usize = 8 + 16;

/// The content of a store in two numbers.
///
/// The digest is the sum of one hash for each key with its value. So a commit changes it at the cost of what it writes, whatever
/// else there is, and the order of the commits does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Number of commits so far.
    pub(crate) commits: u64,
    digest: u128,
}

/// What a batch leaves of each key that it names: a value, or nothing.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The changes that a batch makes: of several for one key the last counts.
pub(crate) fn changes(operations: Vec<Operation>) -> Changes {
    let pairs = operations.into_iter().map(|operation| match operation {
        Operation::Put { key, value } => (key, Some(value)),
        Operation::Delete { key } => (key, None),
    });
    pairs.collect()
}

impl Tally {
    /// The tally of such a content.
    pub(crate) fn of<E>(commits: u64, content: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), E>>) -> Result<Self, E> {
        let mut tally = Self { commits, digest: 0 };
        for item in content {
            let (key, value) = item?;
            tally.add(&key, &value);
        }
        Ok(tally)
    }

    /// Counts a key in with its value.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_add(hash(key, value));
    }

    /// Takes out a key with the value that it had.
    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_sub(hash(key, value));
    }

    pub(crate) fn encode(self) -> [u8; TALLY_BYTES] {
        let mut bytes = [0; TALLY_BYTES];
        bytes[..8].copy_from_slice(&self.commits.to_be_bytes());
        bytes[8..].copy_from_slice(&self.digest.to_be_bytes());
        bytes
    }

    /// The tally that the bytes stand for, unless they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (commits, digest) = bytes.split_first_chunk()?;
        Some(Self {
            commits: u64::from_be_bytes(*commits),
            digest: u128::from_be_bytes(digest.try_into().ok()?),
        })
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Sha256::new();
    // So that no byte can move from a key into its value.
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    let hash: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_changed_step_by_step_is_that_of_the_content() {
        let mut tally = Tally::default();
        tally.add(b"a", b"1");
        tally.add(b"b", b"2");
        tally.remove(b"a", b"1");
        tally.add(b"a", b"3");
        let content = [(b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"3".to_vec())];
        assert_eq!(Tally::of::<()>(0, content.into_iter().map(Ok)), Ok(tally));
        assert_eq!(Tally::decode(&tally.encode()), Some(tally));
    }

    #[test]
    fn tally_of_bytes_moved_between_key_and_value_is_another() {
        let (mut first, mut second) = (Tally::default(), Tally::default());
        first.add(b"ab", b"c");
        second.add(b"a", b"bc");
        assert_ne!(first, second);
    }

    #[test]
    fn tally_of_other_bytes_is_none() {
        assert_eq!(Tally::decode(&[1; TALLY_BYTES - 1]), None);
        assert_eq!(Tally::decode(&[1; TALLY_BYTES + 1]), None);
    }
}
