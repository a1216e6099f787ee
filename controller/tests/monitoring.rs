//! What operators are told of a controller, over HTTP, and that the page which lists the metrics is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use berth_controller::api::RootCredentials;
use berth_controller::node::{ApiTls, Controller, ControllerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn controller(data_dir: &Path) -> Controller {
    let root = RootCredentials {
        account: "123456789012".into(),
        access_key_id: "AKIAEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
    };
    let options = ControllerOptions {
        data_dir: data_dir.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        agent_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        cluster: None,
        root: Some(root),
        api_tls: ApiTls::Plain,
        testing: false,
        wake_command: None,
        backups: None,
    };
    Controller::start(options).await.expect("the controller starts")
}

/// The status line and the body of the answer.
async fn get(controller: &Controller, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(controller.listen()).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// Type, labels and meaning of each metric, by name.
type Metrics = BTreeMap<String, (String, BTreeSet<String>, String)>;

fn served(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            metrics.entry(name.to_owned()).or_default().2 = help.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            metrics.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((sample, labels)) = line.split_once('{') {
            let suffixes = ["_bucket", "_sum", "_count", "_total"];
            let name = suffixes.iter().find_map(|s| sample.strip_suffix(s)).unwrap_or(sample);
            let labels = labels.split('}').next().unwrap_or_default().split(',');
            let labels = labels.filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()));
            let known = metrics.get_mut(name).expect("described before its samples");
            known.1.extend(labels.filter(|label| label != "le"));
        }
    }
    let with_suffix = |(name, what): (String, (String, BTreeSet<String>, String))| match what.0.as_str() {
        "counter" => (format!("{name}_total"), what),
        _ => (name, what),
    };
    metrics.into_iter().map(with_suffix).collect()
}

fn documented(page: &str) -> Metrics {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, help] = cells[..] else {
            panic!("four columns in {row}")
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned);
        (
            name.trim_matches('`').to_owned(),
            (kind.to_owned(), labels.collect(), help.to_owned()),
        )
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_page_and_what_is_served_list_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    // A request, so that the metrics of requests have a sample.
    let (status, _) = get(&controller, "/").await;
    assert!(status.contains("400") || status.contains("403"), "{status}");
    let (status, text) = get(&controller, "/metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let served = served(&text);
    let page = include_str!("../../docs/metrics.md");
    assert_eq!(served, documented(page));
    assert!(text.contains("berth_raft_role{role=\"leader\"} 1"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_that_serves_is_alive_and_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let ok = "HTTP/1.1 200 OK".to_owned();
    assert_eq!(get(&controller, "/healthz").await, (ok.clone(), "ok\n".to_owned()));
    assert_eq!(get(&controller, "/readyz").await, (ok, "ready\n".to_owned()));
    controller.stop().await;
}
