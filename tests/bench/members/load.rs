//! Clients that write one after the other, and what they get: writes a second and latencies. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::wire::{Client, PutRequest};

/// Length of a value.
const VALUE_BYTES: usize = 256;

/// Keys that are written.
const KEYS: u64 = 10_000;

/// How long the clients write before it counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Writes, none of which has the value of another.
#[derive(Default)]
pub(crate) struct Writes {
    next: AtomicU64,
}

impl Writes {
    pub(crate) fn next(&self) -> PutRequest {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Keys in no order, as different clients would have them.
        let key = number.wrapping_mul(7919) % KEYS;
        let number = format!("{number:016x}");
        PutRequest {
            key: format!("key-{key:08}").into_bytes(),
            value: number.repeat(VALUE_BYTES / number.len()).into_bytes(),
        }
    }
}

/// Measures so many clients, spread over the endpoints.
pub(crate) async fn run(clients: usize, duration: Duration, endpoints: &[&str]) -> Result<()> {
    let writes = Arc::new(Writes::default());
    let mut connected = vec![];
    for endpoint in endpoints.iter().cycle().take(clients) {
        let client = Client::connect(endpoint).await;
        connected.push(client.with_context(|| format!("no connection to {endpoint}"))?);
    }
    let counts_from = Instant::now() + WARM_UP;
    let until = counts_from + duration;
    let mut all = JoinSet::new();
    for client in connected {
        all.spawn(write_until(client, Arc::clone(&writes), counts_from, until));
    }
    let mut latencies = vec![];
    while let Some(done) = all.join_next().await {
        latencies.extend(done??);
    }
    ensure!(!latencies.is_empty(), "no write was acknowledged within {duration:?}");
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "clients={clients} endpoints={} writes={} per_second={:.0} p50_ms={:.3} p99_ms={:.3}",
        endpoints.len(),
        latencies.len(),
        latencies.len() as f64 / duration.as_secs_f64(),
        at(50),
        at(99),
    );
    Ok(())
}

/// Latencies of the writes that were acknowledged between two moments.
async fn write_until(
    mut client: Client,
    writes: Arc<Writes>,
    counts_from: Instant,
    until: Instant,
) -> Result<Vec<Duration>> {
    let mut latencies = vec![];
    loop {
        let began = Instant::now();
        client.put(writes.next()).await?;
        let now = Instant::now();
        if now >= until {
            return Ok(latencies);
        }
        if now >= counts_from {
            latencies.push(now - began);
        }
    }
}
