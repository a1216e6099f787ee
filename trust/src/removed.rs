//! Who is no longer let in although its certificate has not expired. Pure; data of the replicated state.
//!
//! Owns the list and when an entry may be forgotten. It must not know who decides to remove somebody.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::text;

/// Identities that are refused, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Removed {
    removed_at_s: BTreeMap<Identity, u64>,
}

impl Removed {
    /// Refuses an identity from now on.
    pub fn add(&mut self, identity: Identity, now: UnixTime) {
        self.removed_at_s.insert(identity, now.as_secs());
    }

    /// Lets an identity in again. Returns whether it was refused.
    pub fn forgive(&mut self, identity: &Identity) -> bool {
        self.removed_at_s.remove(identity).is_some()
    }

    /// Since when an identity is refused.
    #[must_use]
    pub fn since(&self, identity: &Identity) -> Option<UnixTime> {
        self.removed_at_s.get(identity).map(|seconds| text::at(*seconds))
    }

    /// Everyone who is refused, and since when.
    pub fn iter(&self) -> impl Iterator<Item = (&Identity, UnixTime)> {
        self.removed_at_s
            .iter()
            .map(|(identity, seconds)| (identity, text::at(*seconds)))
    }

    /// Forgets those whose last certificate has expired, which needs no list to be refused.
    ///
    /// `longest_lifetime` is that of the longest certificate which was ever signed for a holder.
    pub fn prune(&mut self, now: UnixTime, longest_lifetime: Duration) {
        let lifetime_s = longest_lifetime.as_secs();
        self.removed_at_s
            .retain(|_, removed_at_s| now.as_secs() <= removed_at_s.saturating_add(lifetime_s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_identity_is_kept_until_its_last_certificate_has_expired() {
        let identity: Identity = "berth://home/agent/a".parse().expect("an identity");
        let mut removed = Removed::default();
        removed.add(identity.clone(), text::at(1000));
        removed.prune(text::at(1100), Duration::from_secs(100));
        assert_eq!(removed.since(&identity), Some(text::at(1000)));
        removed.prune(text::at(1101), Duration::from_secs(100));
        assert_eq!(removed.since(&identity), None);
    }

    #[test]
    fn list_is_read_back_from_json() {
        let identity: Identity = "berth://home/agent/a".parse().expect("an identity");
        let mut removed = Removed::default();
        removed.add(identity, text::at(1000));
        let json = serde_json::to_string(&removed).expect("written");
        assert_eq!(json, r#"{"berth://home/agent/a":1000}"#);
        assert_eq!(serde_json::from_str::<Removed>(&json).expect("read"), removed);
    }
}
