//! Client tokens: which requests were seen before, so that a retried one takes effect once.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::model::{Scope, TaskId, Timestamp};

use super::ClientToken;

/// How long a token is remembered (ECS: up to 24 hours).
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most tokens remembered, the oldest forgotten first: some 20 MB of the state and of every snapshot. A retry comes within
/// minutes, and even 100 requests a second with tokens are remembered for eight of them.
const MAX_REMEMBERED: usize = 50_000;

/// Account and region, operation, token.
pub type TokenKey = (Scope, String, String);

/// A request that came with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedRequest {
    /// Digest of the request without the token.
    pub request_digest: String,
    /// Tasks that it made.
    pub tasks: Vec<TaskId>,
    /// When it came.
    pub at: Timestamp,
}

/// Requests by their tokens, the older ones forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tokens {
    pub(super) requests: OrdMap<TokenKey, RememberedRequest>,
    by_age: OrdSet<(Timestamp, TokenKey)>,
}

impl Tokens {
    /// The request that came with this token before, if any, whatever it was.
    pub(super) fn seen(&self, token: &ClientToken) -> Option<&RememberedRequest> {
        let request = self.requests.get(&key(token))?;
        let expired = token.at.ms_since(request.at) > REMEMBERED_MS;
        (!expired).then_some(request)
    }

    /// Remembers the request, and forgets those that are older than a day or too many.
    pub(super) fn remember(&mut self, token: &ClientToken, tasks: Vec<TaskId>) {
        while let Some(oldest) = self.by_age.get_min().cloned() {
            let is_recent = token.at.ms_since(oldest.0) <= REMEMBERED_MS;
            if is_recent && self.requests.len() < MAX_REMEMBERED {
                break;
            }
            self.by_age.remove(&oldest);
            self.requests.remove(&oldest.1);
        }
        let request = RememberedRequest {
            request_digest: token.request_digest.clone(),
            tasks,
            at: token.at,
        };
        self.restore(key(token), request);
    }

    /// Puts back what a snapshot held.
    pub(super) fn restore(&mut self, key: TokenKey, request: RememberedRequest) {
        self.by_age.insert((request.at, key.clone()));
        self.requests.insert(key, request);
    }
}

fn key(token: &ClientToken) -> TokenKey {
    (token.scope.clone(), token.operation.clone(), token.token.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize, at: i64) -> ClientToken {
        ClientToken {
            scope: Scope::new("123456789012", "us-east-1"),
            operation: "RunTask".to_owned(),
            token: format!("token-{number}"),
            request_digest: "same".to_owned(),
            at: Timestamp(at),
        }
    }

    #[test]
    fn token_beyond_the_most_that_are_remembered_makes_the_oldest_forgotten() {
        let mut tokens = Tokens::default();
        for (number, at) in (0..=MAX_REMEMBERED).zip(0..) {
            tokens.remember(&token(number, at), vec![]);
        }
        assert_eq!(
            (tokens.requests.len(), tokens.by_age.len()),
            (MAX_REMEMBERED, MAX_REMEMBERED)
        );
        let is_remembered = |number| tokens.seen(&token(number, 0)).is_some();
        assert_eq!([0, 1, MAX_REMEMBERED].map(is_remembered), [false, true, true]);
    }

    #[test]
    fn token_of_yesterday_is_forgotten_and_can_come_again() {
        let mut tokens = Tokens::default();
        tokens.remember(&token(1, 0), vec![]);
        let again = token(1, REMEMBERED_MS + 1);
        assert_eq!(tokens.seen(&again), None);
        tokens.remember(&again, vec![]);
        tokens.remember(&token(2, again.at.0 + 1), vec![]);
        assert!(tokens.seen(&again).is_some());
        assert_eq!(tokens.by_age.len(), 2);
    }
}
