//! Kills the leader while clients write, and measures until when nothing is acknowledged. Shell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::load::Writes;
use super::wire::{Client, StatusResponse};

/// How long clients write before the leader is killed, at least.
const WARM_UP: Duration = Duration::from_millis(700);

/// Before the leader is killed, a write must have been acknowledged this recently.
const RECENTLY: Duration = Duration::from_millis(100);

/// After this long without an acknowledgement it is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Pause between two looks at the members.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long one member may take to say how it stands.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A write that was acknowledged.
struct Acknowledged {
    began: Instant,
    at: Instant,
}

/// Kills the process that leads, and prints how long nothing that began after that was acknowledged. Writes begin at a rate, whether earlier ones
/// are answered or not, so that those that die with the leader hold up no others; after the kill they go to the members that are left.
pub(crate) async fn run(rate: u32, pid: i32, leader: usize, endpoints: &[&str]) -> Result<()> {
    ensure!(
        endpoints.len() > 1 && leader < endpoints.len(),
        "the leader must be one of several endpoints"
    );
    ensure!(rate > 0, "there must be writes");
    let mut clients = vec![];
    for endpoint in endpoints {
        let client = Client::connect(endpoint).await;
        clients.push(client.with_context(|| format!("no connection to {endpoint}"))?);
    }
    let writes = Arc::new(Writes::default());
    let (acknowledge, mut acknowledged) = mpsc::unbounded_channel();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let (mut killed, mut last): (Option<Instant>, Option<Instant>) = (None, None);
    let mut turn = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let mut client = clients[turn % clients.len()].clone();
                turn += 1;
                let (acknowledge, request) = (acknowledge.clone(), writes.next());
                tokio::spawn(async move {
                    let began = Instant::now();
                    if client.put(request).await.is_ok() {
                        // The receiver is gone once the figure is known.
                        acknowledge.send(Acknowledged { began, at: Instant::now() }).ok();
                    }
                });
            }
            Some(write) = acknowledged.recv() => {
                last = Some(write.at);
                if let Some(killed) = killed.filter(|killed| write.began > *killed) {
                    println!("{:.1}", (write.at - killed).as_secs_f64() * 1e3);
                    return Ok(());
                }
            }
        }
        let is_written = last.is_some_and(|at| at.elapsed() < RECENTLY);
        if killed.is_none() && is_written && began.elapsed() >= WARM_UP {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            killed = Some(Instant::now());
            clients.remove(leader);
        }
        ensure!(
            began.elapsed() < GIVE_UP_AFTER,
            "nothing was acknowledged within {GIVE_UP_AFTER:?}"
        );
    }
}

/// Waits until all members know one leader and have applied what is committed.
pub(crate) async fn settle(within: Duration, endpoints: &[&str]) -> Result<()> {
    let until = Instant::now() + within;
    loop {
        let found = look(endpoints).await;
        if let Ok(members) = &found
            && let Some((leader, term)) = settled(members)
        {
            println!("{leader} {term}");
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("the members did not settle within {within:?}: {found:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(endpoints: &[&str]) -> Result<Vec<StatusResponse>> {
    let mut members = vec![];
    for endpoint in endpoints {
        let asked = async { anyhow::Ok(Client::connect(endpoint).await?.status().await?) };
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        members.push(answer.with_context(|| format!("no answer from {endpoint}"))??);
    }
    Ok(members)
}

/// Which of the members leads, and in which term, if all agree and none is behind.
fn settled(members: &[StatusResponse]) -> Option<(usize, u64)> {
    let id = |member: &StatusResponse| member.header.as_ref().map_or(0, |header| header.member_id);
    let first = members.first()?;
    let leader = members.iter().position(|member| id(member) == first.leader)?;
    let newest = members.iter().map(|member| member.raft_index).max()?;
    let agree = |member: &StatusResponse| {
        (member.leader, member.raft_term) == (first.leader, first.raft_term) && member.raft_applied_index >= newest
    };
    (first.leader != 0 && members.iter().all(agree)).then_some((leader, first.raft_term))
}
