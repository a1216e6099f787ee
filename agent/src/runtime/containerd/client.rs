//! A connection to containerd, seen from one containerd namespace.
//!
//! Owns how requests carry the namespace, a lease and a deadline, and how containerd's answers are told apart: "no",
//! "it is there already", "it is not there", and "containerd is away". Knows nothing of tasks. Shell.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{CreateNamespaceRequest, Namespace, PluginsRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long one request may take. Unpacking a large layer is the slowest; it has its own bound.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// How long unpacking one layer may take.
const APPLY_DEADLINE: Duration = Duration::from_secs(900);
/// How long connecting, and asking for the version, may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer taken: lists grow with what is on the machine, and containerd itself sends at most 16 MiB.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Snapshotters to use, the best first.
const SNAPSHOTTERS: [&str; 2] = ["overlayfs", "native"];

/// A client of containerd in one namespace. Cheap to clone; reconnects by itself after containerd restarted.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    namespace: String,
    header: MetadataValue<Ascii>,
}

/// A lease: what is made under it is kept by containerd's garbage collector.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(crate) header: MetadataValue<Ascii>,
}

impl Client {
    /// A client over `channel` for the namespace `namespace`.
    ///
    /// # Errors
    /// If the namespace has characters that no namespace can have.
    pub fn new(channel: Channel, namespace: &str) -> Result<Self, Status> {
        let header = ascii(namespace)?;
        Ok(Self {
            channel,
            namespace: namespace.to_owned(),
            header,
        })
    }

    /// The same connection in another namespace.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn in_namespace(&self, namespace: &str) -> Result<Self, Status> {
        Self::new(self.channel.clone(), namespace)
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A request in this namespace, with the usual deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.unbounded(message);
        request.set_timeout(REQUEST_DEADLINE);
        request
    }

    /// A request in this namespace that may take as long as a container runs, or a transfer lasts.
    pub(crate) fn unbounded<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.header.clone());
        request
    }

    /// A request whose results the lease keeps.
    pub(crate) fn leased<T>(&self, message: T, lease: &Lease) -> Request<T> {
        let mut request = self.request(message);
        request.metadata_mut().insert("containerd-lease", lease.header.clone());
        request
    }

    /// A leased request with the deadline for unpacking.
    pub(crate) fn leased_apply<T>(&self, message: T, lease: &Lease) -> Request<T> {
        let mut request = self.leased(message, lease);
        request.set_timeout(APPLY_DEADLINE);
        request
    }

    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone())
    }

    pub(crate) fn diff(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
    }

    pub(crate) fn namespaces(&self) -> NamespacesClient<Channel> {
        NamespacesClient::new(self.channel.clone())
    }

    /// Makes the namespace exist.
    ///
    /// # Errors
    /// What containerd answers.
    pub async fn ensure_namespace(&self) -> Result<(), Status> {
        let namespace = Namespace {
            name: self.namespace.clone(),
            ..Default::default()
        };
        let made = self
            .namespaces()
            .create(self.request(CreateNamespaceRequest {
                namespace: Some(namespace),
            }))
            .await;
        unless_exists(made.map(drop))
    }

    /// The best snapshotter that works on this machine.
    ///
    /// # Errors
    /// `Unimplemented` if none of those that Berth can use is offered.
    pub async fn choose_snapshotter(&self) -> Result<String, Status> {
        let filters = vec!["type==io.containerd.snapshotter.v1".to_owned()];
        let plugins = IntrospectionClient::new(self.channel.clone())
            .plugins(self.request(PluginsRequest { filters }))
            .await?;
        let plugins = plugins.into_inner().plugins;
        let works = |name: &&&str| plugins.iter().any(|p| p.id == **name && p.init_err.is_none());
        let chosen = SNAPSHOTTERS.iter().find(works).map(|name| (*name).to_owned());
        chosen
            .ok_or_else(|| Status::unimplemented("containerd offers neither the overlayfs nor the native snapshotter"))
    }
}

/// Connects to the containerd that listens at `socket` and asks for its version.
///
/// # Errors
/// A sentence saying what happened.
pub(crate) async fn connect(socket: &Path) -> Result<(Channel, String), String> {
    let connecting = async {
        let channel = containerd_client::connect(socket).await.map_err(|e| error_chain(&e))?;
        let version = VersionClient::new(channel.clone())
            .version(())
            .await
            .map_err(|s| s.message().to_owned())?;
        Ok((channel, version.into_inner().version))
    };
    match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", CONNECT_DEADLINE.as_secs())),
    }
}

pub(crate) fn ascii(text: &str) -> Result<MetadataValue<Ascii>, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("{text:?} cannot be sent to containerd")))
}

/// Whether the status says nothing but that containerd could not be asked: it was made on this side, or the shim or
/// containerd was going away.
pub(crate) fn is_away(status: &Status) -> bool {
    use std::error::Error as _;
    status.source().is_some()
        || matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded
        )
}

/// Success also where the thing is there already.
pub(crate) fn unless_exists(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Success also where the thing is gone already.
pub(crate) fn unless_gone(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => other,
    }
}

/// The messages of an error and of what caused it.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}
