//! The socket on which a running `berth dev` takes orders about its hosts: one line of JSON each way.
//!
//! Owns the socket and what goes over it, at both ends. Shell.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use berth_core::model::CapacityProviderName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::running;

/// Longest line either way.
const MAX_LINE: u64 = 64 * 1024;

/// How long whoever connects may take to say what is wanted.
const ORDER_DEADLINE: Duration = Duration::from_secs(2);

/// How long to wait for an answer: a host registers in a moment, and real containers take their time to end.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// What is wanted of a running cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Order {
    /// Start a host, a new one or one that was killed.
    Add {
        /// Its name; one that is free if absent.
        name: Option<String>,
        /// Its zone; that which it had, or the one with the fewest hosts, if absent.
        zone: Option<String>,
        /// Its capacity provider; that which it had, if any, if absent.
        capacity_provider: Option<CapacityProviderName>,
        /// vCPUs; what it had, else as the others, if absent.
        vcpus: Option<u32>,
        /// MiB; what it had, else as the others, if absent.
        memory_mib: Option<u32>,
    },
    /// Have a host be gone as if its power were cut.
    Kill {
        /// Its name.
        name: String,
    },
}

/// What came of an order: what was done, or why not.
type Answer = Result<String, String>;

/// The end of the running cluster; the socket goes with it.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// An order, and who waits for the answer.
pub(super) struct Asked {
    pub(super) order: Order,
    stream: UnixStream,
}

impl Control {
    /// Takes orders for the cluster that listens there. Only its user can reach the socket: it is in a directory of theirs.
    ///
    /// # Errors
    /// If there is no place for the socket.
    pub(super) fn open(listen: SocketAddr) -> Result<Self> {
        let path = socket_of(listen)?;
        // One that was left by a cluster that was killed: this one holds the lock of the same name.
        std::fs::remove_file(&path).ok();
        let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { listener, path })
    }

    /// The next order.
    pub(super) async fn next(&self) -> Asked {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let read = tokio::time::timeout(ORDER_DEADLINE, read_line(&mut stream)).await;
            let text = read.unwrap_or_else(|_| Err(anyhow!("nothing was asked in time")));
            let order = text.and_then(|text| Ok(serde_json::from_str(&text)?));
            match order {
                Ok(order) => return Asked { order, stream },
                Err(error) => answer(&mut stream, &Err(format!("the order was not understood: {error:#}"))).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

impl Asked {
    /// Says what came of the order.
    pub(super) async fn answer(mut self, outcome: Result<String>) {
        answer(&mut self.stream, &outcome.map_err(|error| format!("{error:#}"))).await;
    }
}

/// Whoever asked may have gone; then nobody is to be told.
async fn answer(stream: &mut UnixStream, answer: &Answer) {
    let line = serde_json::to_string(answer).unwrap_or_default();
    stream.write_all(format!("{line}\n").as_bytes()).await.ok();
}

/// Has the running cluster that listens there carry out an order.
///
/// # Errors
/// If it cannot be reached, or says why it did not.
pub(super) async fn send(listen: SocketAddr, order: &Order) -> Result<String> {
    let path = socket_of(listen)?;
    let asked = tokio::time::timeout(ANSWER_DEADLINE, ask(&path, order)).await;
    let answer: Answer = asked.with_context(|| {
        format!(
            "the `berth dev` on {listen} did not answer within {} s",
            ANSWER_DEADLINE.as_secs()
        )
    })??;
    answer.map_err(|why| anyhow!(why))
}

async fn ask(path: &Path, order: &Order) -> Result<Answer> {
    let connected = UnixStream::connect(path).await;
    let mut stream = connected.with_context(|| format!("cannot reach the `berth dev` behind {}", path.display()))?;
    stream
        .write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())
        .await?;
    Ok(serde_json::from_str(&read_line(&mut stream).await?)?)
}

async fn read_line(stream: &mut UnixStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await?;
    Ok(line)
}

fn socket_of(listen: SocketAddr) -> Result<PathBuf> {
    Ok(running::socket_beside(&running::announcement(listen)?))
}
