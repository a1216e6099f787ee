//! What an empty store becomes, and whose a store is. Shell.
//!
//! Owns the identity of a member. A new group begins with a snapshot at index 1 instead of an empty log:
//! whoever joins later therefore always gets a snapshot first, with the members as they are by then.

use std::sync::Arc;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;

use super::engine::Draws;
use super::error::RaftFault;
use super::keys;
use super::membership::{ClusterId, Configuration, MemberRecord};
use super::options::{Founding, RaftOptions};
use berth_storage::{Batch, Storage};

/// Index of the snapshot that a group begins with.
pub(super) const FOUNDING_INDEX: u64 = 1;

/// Term of that snapshot; the first leader has the next.
const FOUNDING_TERM: u64 = 1;

/// Who a member is, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its group.
    pub cluster: ClusterId,
    /// Its id.
    pub member_id: u64,
}

/// Reads whose store it is, or founds it.
pub(super) fn open(store: &Arc<dyn Storage>, options: &RaftOptions, draws: &mut Draws) -> Result<Identity, RaftFault> {
    let stored = read_message::<v1::MemberIdentity>(&**store, keys::IDENTITY, RecordKind::MemberIdentity)?;
    let Some(stored) = stored else {
        return found(&**store, options, draws);
    };
    if let Some(expected) = options.member_id
        && stored.member_id != expected
    {
        return Err(RaftFault::WrongMember {
            expected,
            found: stored.member_id,
        });
    }
    let cluster = match <[u8; 16]>::try_from(stored.cluster_id.as_slice()) {
        Ok(bytes) => ClusterId(bytes),
        Err(_) => adopt_cluster_id(&**store, stored.member_id, draws)?,
    };
    if let Founding::Join { cluster: expected } = options.founding
        && expected != cluster
    {
        return Err(RaftFault::WrongCluster {
            expected,
            found: cluster,
        });
    }
    Ok(Identity {
        cluster,
        member_id: stored.member_id,
    })
}

fn found(store: &dyn Storage, options: &RaftOptions, draws: &mut Draws) -> Result<Identity, RaftFault> {
    if let Some(item) = store.scan(Vec::new()..vec![u8::MAX]).next() {
        let key = String::from_utf8_lossy(&item?.0).into_owned();
        return Err(RaftFault::damaged(format!(
            "the store has no member identity, but a key {key:?}"
        )));
    }
    let member_id = options.member_id.unwrap_or_else(|| draws.id());
    let mut batch = Batch::default();
    let (cluster, hard_state, membership) = match &options.founding {
        Founding::Join { cluster } => (*cluster, v1::HardState::default(), v1::Membership::default()),
        Founding::Bootstrap { name, details } => {
            let first = MemberRecord {
                id: member_id,
                name: name.clone(),
                details: details.clone(),
            };
            let membership = Configuration::founding(FOUNDING_INDEX, first).to_record();
            let snapshot = v1::SnapshotMeta {
                index: FOUNDING_INDEX,
                term: FOUNDING_TERM,
                membership: Some(membership.clone()),
                ..v1::SnapshotMeta::default()
            };
            put_message(&mut batch, keys::SNAPSHOT, RecordKind::SnapshotMeta, &snapshot);
            let hard_state = v1::HardState {
                term: FOUNDING_TERM,
                vote: 0,
                commit: FOUNDING_INDEX,
            };
            (new_cluster_id(draws), hard_state, membership)
        }
    };
    let identity = Identity { cluster, member_id };
    put_identity(&mut batch, identity);
    put_message(&mut batch, keys::MEMBERSHIP, RecordKind::Membership, &membership);
    put_message(&mut batch, keys::HARD_STATE, RecordKind::HardState, &hard_state);
    store.commit(batch)?;
    Ok(identity)
}

/// Gives a group an id that was founded before groups had one; it has one member.
fn adopt_cluster_id(store: &dyn Storage, member_id: u64, draws: &mut Draws) -> Result<ClusterId, RaftFault> {
    let cluster = new_cluster_id(draws);
    let mut batch = Batch::default();
    put_identity(&mut batch, Identity { cluster, member_id });
    store.commit(batch)?;
    Ok(cluster)
}

pub(super) fn new_cluster_id(draws: &mut Draws) -> ClusterId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&draws.next().to_be_bytes());
    bytes[8..].copy_from_slice(&draws.next().to_be_bytes());
    ClusterId(bytes)
}

pub(super) fn put_identity(batch: &mut Batch, identity: Identity) {
    let record = v1::MemberIdentity {
        member_id: identity.member_id,
        cluster_id: identity.cluster.0.to_vec(),
    };
    put_message(batch, keys::IDENTITY, RecordKind::MemberIdentity, &record);
}

/// Adds a message to a batch, as a record.
pub(super) fn put_message<M: prost::Message>(batch: &mut Batch, key: &[u8], kind: RecordKind, message: &M) {
    batch.put(key.to_vec(), record::encode_message(kind, message));
}

/// Reads a message that may be missing.
pub(super) fn read_message<M: prost::Message + Default>(
    store: &dyn Storage,
    key: &[u8],
    kind: RecordKind,
) -> Result<Option<M>, RaftFault> {
    let Some(bytes) = store.get(key)? else { return Ok(None) };
    let name = String::from_utf8_lossy(key).into_owned();
    record::decode_message(kind, &bytes)
        .map(Some)
        .map_err(RaftFault::record(name))
}

/// Reads a message that must be there.
pub(super) fn require<M: prost::Message + Default>(
    store: &dyn Storage,
    key: &[u8],
    kind: RecordKind,
) -> Result<M, RaftFault> {
    read_message(store, key, kind)?
        .ok_or_else(|| RaftFault::damaged(format!("the {} is missing", String::from_utf8_lossy(key))))
}
