//! Clients that are slow, silent or strangers, and what those notice of them who have something to say.

use std::time::Instant;

use berth_aws::Timestamp as AwsTimestamp;
use berth_aws::sigv4::{Credentials, Secret, Signer};
use berth_core::ids::IdSource;
use http::request::Parts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::testing::{ACCESS_KEY, Harness, NOW, REGION, SECRET};
use super::*;

/// What a client who has done nothing wrong waits at most, on a busy machine.
const PROMPT: Duration = Duration::from_secs(3);

const FEW: Bounds = Bounds {
    connections: 8,
    requests: 4,
    body_bytes: 1000,
};

/// Has everything already.
fn open() -> Opening {
    let opening = Opening::new(IdSource::from_seed(1));
    opening.secure(None);
    opening.serve(Arc::clone(&Harness::new().api));
    opening
}

struct Running {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let stop = CancellationToken::new();
        let server = Server::new(open(), bounds);
        let serving = tokio::spawn(serve_with(server, listener, Router::new(), stop.clone()));
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends the beginning of a request and keeps the connection open.
    async fn begin(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    async fn is_answered(&self) {
        let mut stream = self.connect().await;
        call(&mut stream).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("no panic").expect("served");
    }
}

/// A signed request for the clusters, with blanks after its document so that it has so many bytes.
fn request(secret: &str, bytes: usize) -> (String, String) {
    let body = format!("{:<bytes$}", "{}");
    let request = Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters")
        .body(());
    let (mut parts, ()) = request.expect("a valid request").into_parts();
    let signer = Signer {
        credentials: Credentials {
            access_key: ACCESS_KEY.into(),
            secret: Secret::new(secret),
            session_token: None,
        },
        region: REGION.into(),
        service: "ecs".into(),
    };
    signer
        .sign(&mut parts, body.as_bytes(), AwsTimestamp(NOW.0))
        .expect("the request can be signed");
    (head(&parts, bytes), body)
}

fn head(parts: &Parts, bytes: usize) -> String {
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")));
    format!(
        "POST / HTTP/1.1\r\n{}content-length: {bytes}\r\n\r\n",
        headers.collect::<String>()
    )
}

/// What the server answers, up to the end of its document.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !text.contains("\r\n\r\n") || !text.ends_with('}') {
            let count = stream.read(&mut buffer).await.expect("the connection holds");
            assert_ne!(count, 0, "the server has closed the connection after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        }
    };
    tokio::time::timeout(PROMPT, reading).await.expect("an answer in time");
    text
}

/// A request that is in order, on a connection of its own or a used one.
async fn call(stream: &mut TcpStream) {
    let (head, body) = request(SECRET, 400);
    stream.write_all((head + &body).as_bytes()).await.expect("sent");
    let text = answer(stream).await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK") && text.contains("clusterArns"),
        "{text}"
    );
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn request_is_answered_while_three_hundred_clients_owe_their_bodies() {
    let server = Running::start(BOUNDS).await;
    let mut slow = vec![];
    for _ in 0..300 {
        // Of a known key and up to date, so that the server has to wait for the body.
        slow.push(server.begin(&request("not the secret", 1000).0).await);
    }
    server.is_answered().await;
    for stream in &slow {
        assert!(stream.try_read(&mut [0; 64]).is_err(), "they are waited for meanwhile");
    }
    drop(slow);
    server.stop().await;
}

#[tokio::test]
async fn request_is_answered_while_more_clients_than_there_is_room_for_say_nothing() {
    let server = Running::start(FEW).await;
    let mut known = server.connect().await;
    call(&mut known).await;
    let mut silent = vec![];
    for number in 0..40 {
        silent.push(server.begin(["", "POST / HTTP/1.1\r\nhost: "][number % 2]).await);
        if number % 10 == 0 {
            server.is_answered().await;
        }
    }
    server.is_answered().await;
    call(&mut known).await;
    assert!(is_closed(&mut silent[0]).await, "the oldest made room");
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < DRAIN_DEADLINE, "silent clients hold up the end");
}

#[tokio::test]
async fn request_is_answered_while_slow_bodies_take_all_the_room_for_bodies() {
    let server = Running::start(FEW).await;
    let mut slow = vec![];
    for _ in 0..5 {
        let (head, body) = request("not the secret", 300);
        slow.push(server.begin(&(head + &body[..200])).await);
    }
    server.is_answered().await;
    assert!(is_closed(&mut slow[0]).await, "the oldest made room");
    server.stop().await;
}

#[tokio::test]
async fn request_that_is_not_signed_or_by_a_key_unknown_is_refused_before_its_body_has_come() {
    let server = Running::start(FEW).await;
    let unsigned =
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 99\r\n\r\n";
    let mut stream = server.begin(unsigned).await;
    let text = answer(&mut stream).await;
    assert!(text.contains("MissingAuthenticationTokenException"), "{text}");
    let unknown = request(SECRET, 400).0.replace(ACCESS_KEY, "AKIASOMEBODY");
    let text = answer(&mut server.begin(&unknown).await).await;
    assert!(text.contains("UnrecognizedClientException"), "{text}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn connection_whose_head_does_not_come_is_closed_and_a_body_that_does_not_is_answered_so() {
    let server = Server::new(open(), FEW);
    let begin = |text: String| {
        let (client, theirs) = tokio::io::duplex(1 << 16);
        let (router, place) = (
            server.router(Router::new()),
            server.enter(CancellationToken::new()).expect("room"),
        );
        tokio::spawn(converse(theirs, router, place, CancellationToken::new()));
        async move {
            let (mut client, begun) = (client, tokio::time::Instant::now());
            client.write_all(text.as_bytes()).await.expect("sent");
            let mut answered = String::new();
            client.read_to_string(&mut answered).await.expect("text");
            (answered, begun.elapsed())
        }
    };
    let (answered, after) = begin("POST / HTTP/1.1\r\nhost: ".to_owned()).await;
    assert!(
        answered.is_empty() && after <= HEAD_DEADLINE + Duration::from_secs(1),
        "{answered:?} {after:?}"
    );
    let (answered, after) = begin(request(SECRET, 400).0).await;
    assert!(answered.contains("did not arrive within 20 s"), "{answered}");
    assert!(after <= Duration::from_secs(21), "{after:?}");
}

#[tokio::test]
async fn controller_that_starts_says_so_at_once_and_serves_the_same_connection_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (opening, stop) = (Opening::new(IdSource::from_seed(1)), CancellationToken::new());
    let others = Router::new().route("/healthz", axum::routing::get(|| async { "{}" }));
    let serving = tokio::spawn(serve(listener, opening.clone(), others, stop.clone()));

    let mut early = TcpStream::connect(address).await.expect("connected");
    assert_eq!(
        early.read(&mut [0]).await.unwrap_or(0),
        0,
        "closed, since nobody knows how to secure it"
    );
    opening.secure(None);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("sent");
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    let (head, body) = request(SECRET, 10);
    stream.write_all((head + &body).as_bytes()).await.expect("sent");
    let text = answer(&mut stream).await;
    assert!(text.contains("503") && text.contains("does not serve yet"), "{text}");
    opening.serve(Arc::clone(&Harness::new().api));
    call(&mut stream).await;
    stop.cancel();
    serving.await.expect("no panic").expect("served");
}
