//! A member whose store was damaged while it was down: it says so or has lost nothing, and comes back as a new member.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../storage/tests/damages/mod.rs"]
mod damages;
mod group;
mod toy;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_raft::{RaftOptions, Status};
use berth_storage::{SledStorage, Storage};
use damages::{copy, damage, wait_until_released};
use group::{Group, options, wait};

/// Damages tried, unless this variable says how many.
const DAMAGES: u64 = 25;
const DAMAGES_VARIABLE: &str = "BERTH_DAMAGES";

fn disk(folder: &Path, id: u64) -> PathBuf {
    folder.join(id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn member_with_a_damaged_store_has_lost_nothing_or_rejoins_under_a_new_id() {
    let wanted = std::env::var(DAMAGES_VARIABLE).ok();
    let damages = wanted.map_or(DAMAGES, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (folder, older) = (folder.path(), folder.path().join("older"));
    let open = |id: u64| SledStorage::open(&disk(folder, id)).map(|store| Arc::new(store) as Arc<dyn Storage>);
    let small = RaftOptions {
        snapshot_after_entries: 40,
        retained_entries: 10,
        ..options()
    };
    let stores = (1..=3).map(|id| open(id).unwrap()).collect();
    let mut group = Group::on(stores, small).await;
    let (mut written, mut next_id, mut rejoined) = (0, 4, 0);
    for seed in 0..damages {
        let victim = group.follower().await;
        group.kill(victim, true).await;
        group.stores.remove(&victim);
        wait_until_released(&disk(folder, victim));
        let _absent = fs::remove_dir_all(&older);
        copy(&disk(folder, victim), &older);
        group.stores.insert(victim, open(victim).unwrap());
        group.start(victim);
        for _ in 0..20 {
            group.propose(victim, written).await;
            written += 1;
        }
        group.assert_equal().await;
        group.kill(victim, true).await;
        group.stores.remove(&victim);
        wait_until_released(&disk(folder, victim));

        let what = damage(&disk(folder, victim), &older, seed);
        let member = match open(victim) {
            Ok(store) => {
                group.stores.insert(victim, store);
                group.start(victim);
                victim
            }
            Err(_) => {
                fs::remove_dir_all(disk(folder, victim)).unwrap();
                let new = replace(&mut group, victim, next_id, open(next_id).unwrap()).await;
                (next_id, rejoined) = (next_id + 1, rejoined + 1);
                new
            }
        };
        assert_eq!(group.read(member).await, written, "seed {seed}: {what}");
        group.assert_equal().await;
    }
    assert!(rejoined > 0, "none of {damages} damages was noticed");
    group.shutdown().await;
}

/// Has a new member take the place of one that is gone.
async fn replace(group: &mut Group, gone: u64, new: u64, store: Arc<dyn Storage>) -> u64 {
    let leader = group.leader().await;
    group.raft(leader).remove_member(gone, false).await.unwrap();
    group.stores.insert(new, store);
    group.join(new).await;
    let applied = group.raft(leader).status().applied;
    wait(&mut group.raft(new).watch_status(), |status: &Status| {
        status.applied >= applied
    })
    .await;
    let leader = group.leader().await;
    group.raft(leader).promote(new, group::DEADLINE).await.unwrap();
    new
}
