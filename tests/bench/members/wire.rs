//! The part of etcd's public gRPC interface that the benchmark speaks: a write, and how a member stands. Both ends of it, so that one
//! client measures etcd and Berth alike. Shell.
//!
//! Messages hold the fields that are used; the numbers are etcd's.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const PUT: &str = "/etcdserverpb.KV/Put";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Who answered, and where its log was.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) raft_term: u64,
}

/// Sets a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// That a key is set, on the disks of a majority.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
}

/// Asks a member how it stands.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StatusRequest {}

/// How a member stands.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    /// The member that leads; 0 if none is known.
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
    /// The newest index that is committed.
    #[prost(uint64, tag = "5")]
    pub(crate) raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) raft_term: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raft_applied_index: u64,
}

/// One connection to a member.
#[derive(Clone)]
pub(crate) struct Client(Grpc<Channel>);

impl Client {
    /// Connects to HOST:PORT.
    pub(crate) async fn connect(address: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true);
        Ok(Self(Grpc::new(endpoint.connect().await?)))
    }

    pub(crate) async fn put(&mut self, request: PutRequest) -> Result<PutResponse, Status> {
        self.call(PUT, request).await
    }

    pub(crate) async fn status(&mut self) -> Result<StatusResponse, Status> {
        self.call(STATUS, StatusRequest {}).await
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = self
            .0
            .unary(Request::new(request), PathAndQuery::from_static(path), codec);
        answer.await.map(Response::into_inner)
    }
}

/// What a member answers.
#[tonic::async_trait]
pub(crate) trait Member: Send + Sync + 'static {
    async fn put(&self, request: PutRequest) -> Result<PutResponse, Status>;
    async fn status(&self) -> StatusResponse;
}

/// Serves writes.
pub(crate) struct KvService<M>(pub(crate) Arc<M>);

/// Serves questions of how the member stands.
pub(crate) struct MaintenanceService<M>(pub(crate) Arc<M>);

impl<M> Clone for KvService<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Clone for MaintenanceService<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> NamedService for KvService<M> {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl<M> NamedService for MaintenanceService<M> {
    const NAME: &'static str = "etcdserverpb.Maintenance";
}

impl<M: Member> UnaryService<PutRequest> for KvService<M> {
    type Response = PutResponse;
    type Future = BoxFuture<Response<PutResponse>, Status>;

    fn call(&mut self, request: Request<PutRequest>) -> Self::Future {
        let member = Arc::clone(&self.0);
        Box::pin(async move { member.put(request.into_inner()).await.map(Response::new) })
    }
}

impl<M: Member> UnaryService<StatusRequest> for MaintenanceService<M> {
    type Response = StatusResponse;
    type Future = BoxFuture<Response<StatusResponse>, Status>;

    fn call(&mut self, _request: Request<StatusRequest>) -> Self::Future {
        let member = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(member.status().await)) })
    }
}

impl<M: Member> Service<http::Request<Body>> for KvService<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        answer(request, PUT, self.clone())
    }
}

impl<M: Member> Service<http::Request<Body>> for MaintenanceService<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        answer(request, STATUS, self.clone())
    }
}

/// Has the one method of a service answer.
fn answer<Q, S>(
    request: http::Request<Body>,
    path: &'static str,
    service: S,
) -> BoxFuture<http::Response<Body>, Infallible>
where
    Q: Message + Default + 'static,
    S: UnaryService<Q, Response: Message + Default, Future: Send> + Send + 'static,
{
    Box::pin(async move {
        if request.uri().path() != path {
            return Ok(Status::unimplemented("the benchmark does not call this").into_http());
        }
        let codec: ProstCodec<S::Response, Q> = ProstCodec::default();
        Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
    })
}
