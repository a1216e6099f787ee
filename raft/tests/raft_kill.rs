//! A controller's Raft group on a real disk, killed with SIGKILL in the middle of writing, with and without a power cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../storage/tests/damages/mod.rs"]
mod damages;
mod power_cut;
mod toy;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use berth_raft::{NoPeers, Raft, RaftOptions};
use berth_storage::SledStorage;
use damages::Draws;
use power_cut::Disk;
use tokio::task::JoinSet;
use toy::{Set, ToyMap, options};

/// Tells this test binary to be the process that is killed, and where its store is.
const STORE_VARIABLE: &str = "BERTH_TEST_KILLED_STORE";

/// Proposals that the killed process would make.
const PROPOSALS: usize = 1_000;

/// Those that propose at the same time.
const PROPOSERS: usize = 8;

/// Power cuts, each at another moment, unless this variable says how many.
const POWER_CUTS: u64 = 20;
const POWER_CUTS_VARIABLE: &str = "BERTH_POWER_CUTS";

/// What the killed process writes in front of the number of an acknowledged proposal.
const ACKNOWLEDGED: &str = "acknowledged ";

fn start(path: &Path) -> Raft<ToyMap> {
    // Snapshots are taken all the time, so that kills hit them as well.
    let options = RaftOptions {
        snapshot_after_entries: 60,
        ..options()
    };
    Raft::start(
        Arc::new(SledStorage::open(path).unwrap()),
        ToyMap::default(),
        options,
        NoPeers,
    )
    .unwrap()
}

/// The process that is killed; as a test of its own it does nothing.
#[tokio::test]
async fn killed_process() {
    let Some(path) = std::env::var_os(STORE_VARIABLE) else {
        return;
    };
    let raft = start(&PathBuf::from(path));
    raft.read().await.unwrap();
    let mut proposers = JoinSet::new();
    for proposer in 0..PROPOSERS {
        let raft = raft.clone();
        proposers.spawn(async move {
            for number in (proposer..PROPOSALS).step_by(PROPOSERS) {
                raft.propose(Set::numbered(number)).await.unwrap();
                writeln!(std::io::stdout(), "\n{ACKNOWLEDGED}{number}").unwrap();
            }
        });
    }
    proposers.join_all().await;
}

fn killed_process_on(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "killed_process", "--nocapture"])
        .env(STORE_VARIABLE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Kills the process once it has acknowledged so many; returns all that it acknowledged before it died.
fn kill_after(mut child: Child, count: usize) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix(ACKNOWLEDGED).and_then(|number| number.parse().ok()) else {
            continue;
        };
        acknowledged.push(number);
        if acknowledged.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[tokio::test]
async fn group_killed_while_writing_has_every_acknowledged_proposal() {
    for kill_at in [1, 50, 333, 700, 990] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("raft");
        let killed = killed_process_on(&store).spawn().unwrap();
        let acknowledged = kill_after(killed, kill_at);
        assert_all_there(&store, &acknowledged, &format!("killed at {kill_at}")).await;
    }
}

#[tokio::test]
async fn group_without_power_while_writing_has_every_acknowledged_proposal() {
    let wanted = std::env::var(POWER_CUTS_VARIABLE).ok();
    let power_cuts = wanted.map_or(POWER_CUTS, |text| text.parse().unwrap());
    let mut in_doubt = 0;
    for seed in 0..power_cuts {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("raft");
        let disk = Disk::new(&store, folder.path().join("disk.log"));
        let mut draws = Draws(seed);
        let kill_at = usize::try_from(draws.below(PROPOSALS as u64)).unwrap().max(1);
        let mut command = killed_process_on(&store);
        disk.equip(&mut command);
        let acknowledged = kill_after(command.spawn().unwrap(), kill_at);
        in_doubt += disk.cut(|bound| draws.below(bound));
        assert_all_there(&store, &acknowledged, &format!("power cut {seed} at {kill_at}")).await;
    }
    assert!(in_doubt > 0, "every write was synced: the cuts took nothing back");
}

async fn assert_all_there(store: &Path, acknowledged: &[usize], what: &str) {
    assert!(!acknowledged.is_empty(), "{what}: nothing was acknowledged");
    let raft = start(store);
    let view = raft.read().await.unwrap();
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|number| !view.view.contains_key(&Set::numbered(**number).key))
        .collect();
    assert!(missing.is_empty(), "{what}: {missing:?} were acknowledged and are gone");
    raft.propose(Set::numbered(PROPOSALS)).await.unwrap();
    raft.shutdown().await;
}
