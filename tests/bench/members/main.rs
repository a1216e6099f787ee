//! Three members of Berth against three of etcd: one client for both, and the member of Berth that it writes to.
//!
//! - `members-bench member FOLDER NUMBER LISTEN CLUSTER_LISTEN FOUNDER`: a member of Berth that takes etcd's writes at LISTEN
//! - `members-bench settled SECONDS ENDPOINT...`: waits until all members know one leader and have applied what is committed; prints which
//!   of the endpoints leads, counted from 0, and its term
//! - `members-bench load CLIENTS SECONDS ENDPOINT...`: writes of so many clients, one after the other each, each over a connection of its own
//! - `members-bench failover RATE PID LEADER ENDPOINT...`: kills the leader under so many writes a second, and prints the time until a
//!   write is acknowledged that began after that
#![allow(clippy::print_stdout, reason = "its output is its result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod failover;
mod load;
mod member;
mod wire;

use std::time::Duration;

use anyhow::{Result, bail};

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "usage: members-bench member FOLDER NUMBER LISTEN CLUSTER_LISTEN FOUNDER
       members-bench settled SECONDS ENDPOINT...
       members-bench load CLIENTS SECONDS ENDPOINT...
       members-bench failover RATE PID LEADER ENDPOINT...";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["member", folder, number, listen, cluster_listen, founder] => {
            member::run(member::Options {
                folder: (*folder).into(),
                number: number.parse()?,
                listen: listen.parse()?,
                cluster_listen: cluster_listen.parse()?,
                founder: (*founder).to_owned(),
            })
            .await
        }
        ["settled", seconds, endpoints @ ..] if !endpoints.is_empty() => {
            failover::settle(Duration::from_secs(seconds.parse()?), endpoints).await
        }
        ["load", clients, seconds, endpoints @ ..] if !endpoints.is_empty() => {
            load::run(clients.parse()?, Duration::from_secs(seconds.parse()?), endpoints).await
        }
        ["failover", rate, pid, leader, endpoints @ ..] if !endpoints.is_empty() => {
            failover::run(rate.parse()?, pid.parse()?, leader.parse()?, endpoints).await
        }
        _ => bail!(USAGE),
    }
}
