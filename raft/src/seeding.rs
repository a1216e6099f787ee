//! A new group that begins with a state from elsewhere, such as a backup. Shell.
//!
//! Owns how an empty storage becomes the store of such a group's first member. It must not know where the state comes from.

use std::sync::atomic::AtomicBool;

use berth_proto::record::RecordKind;
use berth_proto::v1;
use berth_storage::{Batch, Storage};

use super::driver::random_seed;
use super::engine::{AppliedProposals, Draws};
use super::error::RaftFault;
use super::founding::{Identity, new_cluster_id, put_identity, put_message};
use super::handle::Published;
use super::membership::{Configuration, MemberRecord};
use super::options::{Founding, RaftOptions};
use super::state_machine::StateMachine;
use super::{keys, snapshot};

/// Founds a group whose first snapshot is the state, and whose only member is the one that the options bootstrap. The group's
/// first leader has a higher term than `state`, and its first entry a higher index. Until it returns, the storage is that of no
/// group. Proposals that the state's old group had under way are not known to the new one.
///
/// # Errors
/// [`RaftFault`] if the storage is not empty or fails, or the options say to join another group.
pub fn seed<M: StateMachine>(
    store: &dyn Storage,
    options: &RaftOptions,
    state: &Published<M::View>,
) -> Result<Identity, RaftFault> {
    if let Some(item) = store.scan(Vec::new()..vec![u8::MAX]).next() {
        item?;
        return Err(RaftFault::damaged("a group can only begin in an empty store"));
    }
    let Founding::Bootstrap { name, details } = &options.founding else {
        return Err(RaftFault::damaged("a group that begins with a state joins no other"));
    };
    let mut draws = Draws::new(random_seed()?);
    let identity = Identity {
        cluster: new_cluster_id(&mut draws),
        member_id: options.member_id.unwrap_or_else(|| draws.id()),
    };
    let first = MemberRecord {
        id: identity.member_id,
        name: name.clone(),
        details: details.clone(),
    };
    let membership = Configuration::founding(state.index, first).to_record();
    let meta = v1::SnapshotMeta {
        index: state.index,
        term: state.term,
        membership: Some(membership.clone()),
        slot: state.index,
        ..v1::SnapshotMeta::default()
    };
    let (proposals, never) = (AppliedProposals::default(), AtomicBool::new(false));
    let Some(meta) = snapshot::write::<M>(store, &state.view, &proposals, meta, &never)? else {
        return Err(RaftFault::damaged("writing the first snapshot was given up"));
    };
    let hard_state = v1::HardState {
        term: state.term,
        vote: 0,
        commit: state.index,
    };
    // In one batch: a member is there with all that it needs, or not at all.
    let mut batch = Batch::default();
    put_message(&mut batch, keys::SNAPSHOT, RecordKind::SnapshotMeta, &meta);
    put_message(&mut batch, keys::MEMBERSHIP, RecordKind::Membership, &membership);
    put_message(&mut batch, keys::HARD_STATE, RecordKind::HardState, &hard_state);
    put_identity(&mut batch, identity);
    store.commit(batch)?;
    Ok(identity)
}
