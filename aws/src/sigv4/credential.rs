//! Access keys, secrets and credential scopes.
//!
//! Pure.

use std::fmt;

use subtle::ConstantTimeEq;

/// A secret that is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares with a text in a time that depends on its length only.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// What a client signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key's id.
    pub access_key: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// What the server knows of an access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key's secret.
    pub secret: Secret,
    /// The token that requests must carry if the key is temporary.
    pub session_token: Option<Secret>,
}

/// Finds what is known of an access key.
pub trait KeyLookup {
    /// The key with this id, or `None` if there is none that is active.
    fn find(&self, access_key: &str) -> Option<Key>;
}

/// Who signed a request, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The access key's id.
    pub access_key: String,
    /// The region that the request is for.
    pub region: String,
    /// The signing name of the service that the request is for.
    pub service: String,
}

/// A credential scope: `AKID/20260131/us-east-1/ecs/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The access key's id.
    pub access_key: String,
    /// The day, as `YYYYMMDD`.
    pub date: String,
    /// The region.
    pub region: String,
    /// The signing name of the service.
    pub service: String,
}

impl Scope {
    /// Reads the text of a credential; an access key has no slash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let (access_key, date, region, service) = (next()?, next()?, next()?, next()?);
        let complete = next()? == "aws4_request" && parts.next().is_none();
        complete.then_some(Self {
            access_key,
            date,
            region,
            service,
        })
    }

    /// The scope without the access key, as it is signed.
    #[must_use]
    pub fn signed(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    /// The whole credential.
    #[must_use]
    pub fn credential(&self) -> String {
        format!("{}/{}", self.access_key, self.signed())
    }
}
