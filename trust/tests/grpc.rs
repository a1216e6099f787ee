//! gRPC over these connections, on loopback: tonic's server and channel, as controllers and agents use them.

mod common;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_trust::identity::Role;
use berth_trust::tls::{Clients, HandshakeError, Peer};
use common::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Answers with who the caller is.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl UnaryService<String> for WhoAmI {
    type Response = String;
    type Future = Ready<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().expect("who is at the other end");
        let identity = peer
            .identity
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), ToString::to_string);
        assert!(peer.address.is_some_and(|address| address.ip().is_loopback()));
        ready(Ok(Response::new(identity)))
    }
}

impl tower::Service<http::Request<Body>> for WhoAmI {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
        })
    }
}

/// Serves until the test ends; returns the address.
async fn serve(cluster: &Cluster, clients: Clients) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let incoming = cluster.port_of("controller/1", clients).incoming(listener);
    let address = incoming.local_addr().expect("an address");
    tokio::spawn(Server::builder().add_service(WhoAmI).serve_with_incoming(incoming));
    format!("http://{address}")
}

async fn connect(cluster: &Cluster, who: &str, address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address");
    endpoint.connect_with_connector(cluster.caller(who)).await
}

async fn who_am_i(channel: &Channel) -> Result<String, Status> {
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    let path = PathAndQuery::from_static("/test.WhoAmI/Ask");
    let answer = client
        .unary(
            Request::new(String::new()),
            path,
            ProstCodec::<String, String>::default(),
        )
        .await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn service_knows_who_calls() {
    let cluster = Cluster::new("home");
    let address = serve(&cluster, Clients::Required(cluster.live_trust(), vec![Role::Agent])).await;
    let channel = connect(&cluster, "agent/a", &address).await.expect("connected");
    for _ in 0..3 {
        assert_eq!(who_am_i(&channel).await.expect("answered"), "berth://home/agent/a");
    }
}

#[tokio::test]
async fn caller_that_is_refused_learns_why() {
    let cluster = Cluster::new("home");
    let address = serve(
        &cluster,
        Clients::Required(cluster.live_trust(), vec![Role::Controller]),
    )
    .await;
    // Whether connecting or the first call fails depends on which the answer of the server reaches.
    let error: Box<dyn std::error::Error> = match connect(&cluster, "agent/a", &address).await {
        Err(error) => error.into(),
        Ok(channel) => who_am_i(&channel).await.expect_err("refused").into(),
    };
    let found = HandshakeError::reason_in(&*error).unwrap_or_else(|| panic!("no reason in {error:?}"));
    assert!(found.contains("its role may not use that port"), "{found}");
}

#[tokio::test]
async fn call_that_waits_ends_when_its_caller_is_removed_and_it_cannot_come_back() {
    let mut cluster = Cluster::new("home");
    let trust = cluster.live_trust();
    let address = serve(&cluster, Clients::Required(trust.clone(), vec![Role::Agent])).await;
    let removed = connect(&cluster, "agent/a", &address).await.expect("connected");
    let kept = connect(&cluster, "agent/b", &address).await.expect("connected");
    who_am_i(&removed).await.expect("answered");
    who_am_i(&kept).await.expect("answered");
    cluster.removed.add(cluster.identity("agent/a"), cluster.clock.now());
    trust.replace(cluster.trust());
    tokio::time::timeout(Duration::from_secs(5), who_am_i(&removed))
        .await
        .expect("at once")
        .expect_err("refused");
    who_am_i(&kept).await.expect("answered");
}

#[tokio::test]
async fn plain_grpc_is_refused_and_the_port_serves_on() {
    let cluster = Cluster::new("home");
    let address = serve(&cluster, Clients::Required(cluster.live_trust(), vec![Role::Agent])).await;
    let plain = Endpoint::from_shared(address.clone())
        .expect("an address")
        .connect()
        .await;
    match plain {
        Err(_) => {}
        Ok(channel) => drop(who_am_i(&channel).await.expect_err("refused")),
    }
    let mut socket = TcpStream::connect(address.trim_start_matches("http://"))
        .await
        .expect("connected");
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok();
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");
    let channel = connect(&cluster, "agent/a", &address).await.expect("connected");
    who_am_i(&channel).await.expect("answered");
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_from_being_served() {
    let cluster = Cluster::new("home");
    let address = serve(&cluster, Clients::Required(cluster.live_trust(), vec![Role::Agent])).await;
    let host = address.trim_start_matches("http://");
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(host).await.expect("connected"));
    }
    let cluster = Arc::new(cluster);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (cluster, address) = (Arc::clone(&cluster), address.clone());
        callers.spawn(async move {
            let who = format!("agent/{number}");
            let channel = connect(&cluster, &who, &address).await.expect("connected");
            assert_eq!(
                who_am_i(&channel).await.expect("answered"),
                format!("berth://home/{who}")
            );
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(9), callers.join_all());
    all.await.expect("served before the silent ones are given up");
}
