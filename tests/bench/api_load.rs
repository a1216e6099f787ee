//! Sends signed ECS requests over C connections for S seconds, or N of them, and prints requests a second and latencies.
//! `api-load OPERATION BODY CONNECTIONS SECONDS|Nx [ENDPOINT...]`, with `AWS_ENDPOINT_URL`, `AWS_REGION` and keys in the environment as
//! `berth env` prints them. Several endpoints share the connections. `{n}` in the body becomes a number that no other request has.
#![allow(clippy::print_stdout, reason = "its output is its result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use berth_aws::sigv4::Signer;
use berth_tests::requests::{ecs_request, environment, signer_from_environment};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

struct Load {
    endpoints: Vec<http::Uri>,
    signer: Signer,
    operation: String,
    body: String,
    next: AtomicU64,
    until: Instant,
    /// Requests that are sent at most.
    most: u64,
}

/// How long as many requests may take as were asked for.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, body, connections, length, endpoints @ ..] = arguments.as_slice() else {
        bail!("usage: api-load OPERATION BODY CONNECTIONS SECONDS|Nx [ENDPOINT...]");
    };
    let endpoints = match endpoints {
        [] => vec![environment("AWS_ENDPOINT_URL")?],
        given => given.to_vec(),
    };
    let (most, time) = match length.strip_suffix('x') {
        Some(count) => (count.parse()?, PATIENCE),
        None => (u64::MAX, Duration::from_secs(length.parse()?)),
    };
    let began = Instant::now();
    let load = Arc::new(Load {
        endpoints: endpoints
            .iter()
            .map(|endpoint| endpoint.parse())
            .collect::<Result<_, _>>()?,
        signer: signer_from_environment()?,
        operation: operation.clone(),
        body: body.clone(),
        next: AtomicU64::new(0),
        until: began + time,
        most,
    });
    let mut all = tokio::task::JoinSet::new();
    for number in 0..connections.parse::<usize>()? {
        all.spawn(load.clone().send_until_done(number % load.endpoints.len()));
    }
    let mut latencies = vec![];
    while let Some(done) = all.join_next().await {
        latencies.extend(done??);
    }
    let took = began.elapsed().as_secs_f64();
    ensure!(!latencies.is_empty(), "no request was answered within {time:?}");
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{operation} connections={connections} requests={} per_second={:.0} p50_ms={:.2} p99_ms={:.2} max_ms={:.2}",
        latencies.len(),
        latencies.len() as f64 / took,
        at(50),
        at(99),
        at(100),
    );
    Ok(())
}

impl Load {
    async fn send_until_done(self: Arc<Self>, endpoint: usize) -> anyhow::Result<Vec<Duration>> {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut latencies = vec![];
        while Instant::now() < self.until {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.most {
                break;
            }
            let began = Instant::now();
            let answer = client.request(self.request(endpoint, number)?).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
            latencies.push(began.elapsed());
        }
        Ok(latencies)
    }

    fn request(&self, endpoint: usize, number: u64) -> anyhow::Result<http::Request<Full<Bytes>>> {
        let body = self.body.replace("{n}", &number.to_string());
        ecs_request(&self.endpoints[endpoint], &self.signer, &self.operation, body)
    }
}
