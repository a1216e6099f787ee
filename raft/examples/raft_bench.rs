//! Measures the Raft group on a real disk: proposals per second and their latency, at 1, 64 and 512 proposers, on
//! the leader and through another member; and how long nothing is acknowledged when the leader goes.
//!
//! `cargo run --release -p berth-raft --example raft_bench -- [SECONDS] [MEMBERS] [FOLDER]`: the stores go into
//! FOLDER, a new one under the temporary folder if none is given, and are left there only if it was given. All
//! members are in this process and share its disk.

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

#[path = "../tests/toy/mod.rs"]
mod toy;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_proto::record::{self, RecordKind};
use berth_raft::testing::Network;
use berth_raft::{Founding, MemberRecord, ProposeError, Raft, RaftOptions, Role};
use berth_storage::{Batch, SledStorage, Storage};
use tokio::task::JoinSet;
use toy::{Set, ToyMap};

/// Length of the value in each command: about that of a task's state change.
const VALUE_BYTES: usize = 300;

/// Keys that the commands go round.
const KEYS: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let members = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let given = arguments.next().map(PathBuf::from);
    let folder = given
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("berth-raft-bench-{}", std::process::id())));
    let result = run(&folder, Duration::from_secs(seconds), members);
    if given.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    result
}

fn run(folder: &Path, duration: Duration, members: u64) -> Result<(), Box<dyn Error>> {
    measure_codec()?;
    measure_store(&folder.join("store"), duration / 4)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure_group(folder, duration, members))
}

async fn measure_group(folder: &Path, duration: Duration, members: u64) -> Result<(), Box<dyn Error>> {
    let network = Network::default();
    let group = found_group(folder, &network, members).await?;
    let leader = leader_of(&group)?;
    let mut others = group.iter().filter(|raft| raft.identity() != leader.identity());
    for (name, raft) in [("the leader", Some(leader)), ("another member", others.next())] {
        let Some(raft) = raft else { continue };
        for proposers in [1, 64, 512] {
            report(
                &format!("propose on {name}, {proposers} at a time"),
                measure_proposals(raft, proposers, duration).await?,
            );
        }
        report(
            &format!("read on {name}, 1 at a time"),
            measure_reads(raft, duration / 4).await?,
        );
    }
    if members > 2 {
        report(
            "failover, the leader's connections broken",
            measure_failovers(&group, &network).await?,
        );
    }
    for raft in &group {
        println!("{:?}", raft.shutdown().await);
    }
    Ok(())
}

async fn found_group(folder: &Path, network: &Network, members: u64) -> Result<Vec<Raft<ToyMap>>, Box<dyn Error>> {
    let mut group: Vec<Raft<ToyMap>> = Vec::new();
    for id in 1..=members {
        let founding = match group.first() {
            Some(founder) => Founding::Join {
                cluster: founder.identity().cluster,
            },
            None => Founding::default(),
        };
        let options = RaftOptions {
            member_id: Some(id),
            founding,
            ..RaftOptions::default()
        };
        let store = Arc::new(SledStorage::open(&folder.join(format!("member-{id}")))?);
        let raft = Raft::start(store, ToyMap::default(), options, network.clone())?;
        network.connect(&raft);
        if let Some(founder) = group.first() {
            let record = MemberRecord {
                id,
                ..MemberRecord::default()
            };
            founder.add_member(record).await?;
            founder.promote(id, Duration::from_secs(30)).await?;
        } else {
            raft.read().await?;
        }
        group.push(raft);
    }
    Ok(group)
}

fn leader_of(group: &[Raft<ToyMap>]) -> Result<&Raft<ToyMap>, Box<dyn Error>> {
    let leads = |raft: &&Raft<ToyMap>| raft.status().role == Role::Leader;
    Ok(group.iter().find(leads).ok_or("nobody leads")?)
}

/// From the moment at which the leader's connections break until another member has acknowledged a proposal.
async fn measure_failovers(group: &[Raft<ToyMap>], network: &Network) -> Result<Figures, Box<dyn Error>> {
    const FAILOVERS: usize = 50;
    let started = Instant::now();
    let mut latencies = Vec::new();
    for round in 0..FAILOVERS {
        let leader = leader_of(group)?;
        let id = leader.identity().member_id;
        let survivor = group.iter().find(|raft| raft.identity().member_id != id);
        let survivor = survivor.ok_or("no member is left")?;
        network.disconnect(id, true);
        let before = Instant::now();
        survivor.propose(set(round)).await?;
        latencies.push(before.elapsed());
        network.connect(leader);
        leader.read().await?;
    }
    Ok(Figures {
        latencies,
        elapsed: started.elapsed(),
    })
}

/// What the envelope with its JSON document costs beside the document alone.
fn measure_codec() -> Result<(), Box<dyn Error>> {
    const ROUNDS: u32 = 200_000;
    let command = set(1);
    let bytes = record::encode(RecordKind::Command, &command)?;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(record::encode(RecordKind::Command, std::hint::black_box(&command))?);
    }
    let encode = started.elapsed() / ROUNDS;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(record::decode::<Set>(
            RecordKind::Command,
            std::hint::black_box(&bytes),
        )?);
    }
    let decode = started.elapsed() / ROUNDS;
    println!("record of {} bytes: encode {encode:?}, decode {decode:?}", bytes.len());
    Ok(())
}

/// The storage alone, a batch of one entry after the other.
fn measure_store(path: &Path, duration: Duration) -> Result<(), Box<dyn Error>> {
    let store = SledStorage::open(path)?;
    let started = Instant::now();
    let mut latencies = Vec::new();
    while started.elapsed() < duration {
        let before = Instant::now();
        let mut batch = Batch::default();
        batch.put((latencies.len() as u64).to_be_bytes().to_vec(), vec![7; VALUE_BYTES]);
        store.commit(batch)?;
        latencies.push(before.elapsed());
    }
    report(
        "storage commit of one value",
        Figures {
            latencies,
            elapsed: started.elapsed(),
        },
    );
    Ok(())
}

async fn measure_proposals(
    raft: &Raft<ToyMap>,
    proposers: usize,
    duration: Duration,
) -> Result<Figures, Box<dyn Error>> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for proposer in 0..proposers {
        let raft = raft.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < duration {
                let before = Instant::now();
                raft.propose(set(proposer + latencies.len() * proposers)).await?;
                latencies.push(before.elapsed());
            }
            Ok::<_, ProposeError>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(finished) = running.join_next().await {
        latencies.extend(finished??);
    }
    Ok(Figures {
        latencies,
        elapsed: started.elapsed(),
    })
}

async fn measure_reads(raft: &Raft<ToyMap>, duration: Duration) -> Result<Figures, Box<dyn Error>> {
    let started = Instant::now();
    let mut latencies = Vec::new();
    while started.elapsed() < duration {
        let before = Instant::now();
        raft.read().await?;
        latencies.push(before.elapsed());
    }
    Ok(Figures {
        latencies,
        elapsed: started.elapsed(),
    })
}

fn set(number: usize) -> Set {
    Set {
        value: "v".repeat(VALUE_BYTES),
        ..Set::numbered(number % KEYS)
    }
}

struct Figures {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

fn report(name: &str, mut figures: Figures) {
    figures.latencies.sort();
    let count = figures.latencies.len();
    let at = |percent: usize| {
        figures
            .latencies
            .get(count * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{name}: {:.0}/s, p50 {:?}, p99 {:?}, {count} in all",
        count as f64 / figures.elapsed.as_secs_f64(),
        at(50),
        at(99)
    );
}
