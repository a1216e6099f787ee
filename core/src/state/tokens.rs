//! Client tokens: which requests were seen before, so that a retried one takes effect once.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::model::{Scope, TaskId, Timestamp};

use super::{ClientToken, Rejection};

/// How long a token is remembered (ECS: up to 24 hours).
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;

/// Account and region, operation, token.
pub type TokenKey = (Scope, String, String);

/// A request that came with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The request that came with this token before, if any.
    pub(super) fn seen(&self, token: &ClientToken) -> Result<Option<&RememberedRequest>, Rejection> {
        let Some(request) = self.requests.get(&key(token)) else {
            return Ok(None);
        };
        let expired = token.at.ms_since(request.at) > REMEMBERED_MS;
        match request.request_digest == token.request_digest {
            _ if expired => Ok(None),
            true => Ok(Some(request)),
            false => Err(Rejection::ClientTokenReused),
        }
    }

    /// Remembers the request, and forgets those that are older than a day.
    pub(super) fn remember(&mut self, token: &ClientToken, tasks: Vec<TaskId>) {
        while let Some(oldest) = self.by_age.get_min().cloned() {
            if token.at.ms_since(oldest.0) <= REMEMBERED_MS {
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
