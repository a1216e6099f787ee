//! The documents themselves: their names, and what is in them. Pure.

use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, DocumentChange, Expected};
use berth_trust::UnixTime;
use berth_trust::bundle::CaDigest;
use berth_trust::identity::Identity;
use berth_trust::removed::Removed;
use berth_trust::rotation::Authorities;
use berth_trust::token::TokenId;
use berth_trust::token_record::TokenRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const AUTHORITIES: &str = "trust/authorities";
const TOKENS: &str = "trust/tokens/";
const HOLDERS: &str = "trust/holders/";
const REMOVED: &str = "trust/removed/";
const ROOT_KEY: &str = "root-key";

/// A document that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the document {name} of the replicated state cannot be used: {reason}")]
pub struct DocumentError {
    name: String,
    reason: String,
}

/// One that has a certificate of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holder {
    /// Who it is.
    pub identity: Identity,
    /// The authority that signed its newest certificate.
    pub authority: CaDigest,
    /// The last second in which that is valid.
    pub not_after_s: u64,
    /// The authorities that it said it trusts.
    pub trusts: Vec<CaDigest>,
}

/// One that is refused although it has a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemovedHolder {
    /// Who it is.
    pub identity: Identity,
    /// Since when it is refused, in seconds since 1970.
    pub removed_at_s: u64,
    /// When its last certificate expires, and the entry is of no use any more.
    pub until_s: u64,
}

/// The access key of the installation's root user, which all controllers know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootKey {
    /// The account.
    pub account: String,
    /// The key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootKey({})", self.access_key_id)
    }
}

/// The authorities, and their version.
///
/// # Errors
/// [`DocumentError`]
pub fn authorities(state: &ClusterState) -> Result<Option<(LogIndex, Authorities)>, DocumentError> {
    read(state, AUTHORITIES)
}

/// The root user's key.
///
/// # Errors
/// [`DocumentError`]
pub fn root_key(state: &ClusterState) -> Result<Option<RootKey>, DocumentError> {
    Ok(read(state, ROOT_KEY)?.map(|(_, key)| key))
}

/// A join token, and the version of its record.
pub(super) fn token(state: &ClusterState, id: &TokenId) -> Result<Option<(LogIndex, TokenRecord)>, DocumentError> {
    read(state, &format!("{TOKENS}{id}"))
}

/// All join tokens that are remembered.
///
/// # Errors
/// [`DocumentError`]
pub fn tokens(state: &ClusterState) -> Result<Vec<TokenRecord>, DocumentError> {
    all(state, TOKENS)
}

/// What is known of a holder, and the version of that.
pub(super) fn holder(state: &ClusterState, identity: &Identity) -> Result<Option<(LogIndex, Holder)>, DocumentError> {
    read(state, &name_of(HOLDERS, identity))
}

/// All holders whose certificates have not been forgotten.
///
/// # Errors
/// [`DocumentError`]
pub fn holders(state: &ClusterState) -> Result<Vec<Holder>, DocumentError> {
    all(state, HOLDERS)
}

/// All that are refused.
pub(super) fn removed_holders(state: &ClusterState) -> Result<Vec<RemovedHolder>, DocumentError> {
    all(state, REMOVED)
}

/// Whether somebody is refused.
pub(super) fn is_removed(state: &ClusterState, identity: &Identity) -> bool {
    state.document(&name_of(REMOVED, identity)).is_some()
}

/// Who is refused, as TLS wants to know it.
///
/// # Errors
/// [`DocumentError`]
pub fn removed(state: &ClusterState) -> Result<Removed, DocumentError> {
    let mut removed = Removed::default();
    for one in removed_holders(state)? {
        removed.add(one.identity, at(one.removed_at_s));
    }
    Ok(removed)
}

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

pub(super) fn put_authorities(authorities: &Authorities, expected: Expected) -> Result<DocumentChange, DocumentError> {
    put(AUTHORITIES.to_owned(), authorities, expected)
}

pub(super) fn put_root_key(key: &RootKey) -> Result<DocumentChange, DocumentError> {
    put(ROOT_KEY.to_owned(), key, Expected::Absent)
}

pub(super) fn put_token(record: &TokenRecord, expected: Expected) -> Result<DocumentChange, DocumentError> {
    put(format!("{TOKENS}{}", record.id), record, expected)
}

pub(super) fn put_holder(holder: &Holder, expected: Expected) -> Result<DocumentChange, DocumentError> {
    put(name_of(HOLDERS, &holder.identity), holder, expected)
}

pub(super) fn put_removed(removed: &RemovedHolder) -> Result<DocumentChange, DocumentError> {
    put(name_of(REMOVED, &removed.identity), removed, Expected::Any)
}

/// Lets one in again; nothing if it was not refused.
pub(super) fn drop_removed(identity: &Identity) -> DocumentChange {
    drop_document(name_of(REMOVED, identity))
}

pub(super) fn drop_holder(identity: &Identity) -> DocumentChange {
    drop_document(name_of(HOLDERS, identity))
}

pub(super) fn drop_token(id: &TokenId) -> DocumentChange {
    drop_document(format!("{TOKENS}{id}"))
}

fn drop_document(name: String) -> DocumentChange {
    DocumentChange {
        name,
        expected: Expected::Any,
        content: None,
    }
}

fn name_of(prefix: &str, identity: &Identity) -> String {
    format!("{prefix}{}/{}", identity.role(), identity.id())
}

fn put(name: String, content: &impl Serialize, expected: Expected) -> Result<DocumentChange, DocumentError> {
    match serde_json::to_string(content) {
        Ok(content) => Ok(DocumentChange {
            name,
            expected,
            content: Some(content),
        }),
        Err(error) => Err(unusable(name, &error)),
    }
}

fn read<T: DeserializeOwned>(state: &ClusterState, name: &str) -> Result<Option<(LogIndex, T)>, DocumentError> {
    let Some(document) = state.document(name) else {
        return Ok(None);
    };
    let content = serde_json::from_str(&document.content).map_err(|error| unusable(name.to_owned(), &error))?;
    Ok(Some((document.version, content)))
}

fn all<T: DeserializeOwned>(state: &ClusterState, prefix: &str) -> Result<Vec<T>, DocumentError> {
    let documents = state.documents(prefix);
    documents
        .map(|(name, document)| {
            serde_json::from_str(&document.content).map_err(|error| unusable(name.to_owned(), &error))
        })
        .collect()
}

fn unusable(name: String, error: &serde_json::Error) -> DocumentError {
    DocumentError {
        name,
        reason: error.to_string(),
    }
}
