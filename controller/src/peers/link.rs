//! The way to one other member: keeps a stream open to it, and says when one broke. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use berth_proto::v1::PeerMessage;
use berth_proto::v1::peers_client::PeersClient;

use super::ADDRESS_METADATA;
use super::client::{PeerTls, says_removed, status_text};
use super::queue::Queue;

/// First wait after an attempt to connect that failed: a member that restarts is back in the time of an election.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Longest wait between attempts: short beside what a person waits for a member to come back.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// How often it is logged again that a member cannot be reached.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How long a stream must have lived for the next attempt to be made at once: a peer that takes connections and breaks them is not
/// to be asked all the time.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// What every link works with.
pub(super) struct LinkContext {
    /// What this member shows; known once it has a certificate.
    pub(super) tls: watch::Receiver<Option<PeerTls>>,
    /// Where this member is reached.
    pub(super) own_address: Option<MetadataValue<Ascii>>,
    /// Told that a connection to a member broke.
    pub(super) on_break: Arc<dyn Fn(u64) + Send + Sync>,
    /// Told that another member refuses this one, since it was removed.
    pub(super) removed: watch::Sender<bool>,
}

/// The way to one other member; it ends when this is dropped.
pub(super) struct Link {
    pub(super) queue: Queue,
    address: watch::Sender<String>,
    is_open: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Begins to connect, on the runtime of the handle.
    pub(super) fn open(
        runtime: &tokio::runtime::Handle,
        context: Arc<LinkContext>,
        member: u64,
        address: String,
    ) -> Self {
        let queue = Queue::default();
        let (sender, addresses) = watch::channel(address);
        let is_open = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            context,
            member,
            addresses,
            queue: queue.clone(),
            is_open: Arc::clone(&is_open),
            failures: 0,
            logged: None,
        };
        Self {
            queue,
            address: sender,
            is_open,
            task: runtime.spawn(keeper.run()),
        }
    }

    /// Whether there is a connection to the member.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Connects there from the next time on, at once if there is no connection.
    pub(super) fn redirect(&self, address: &str) {
        self.address.send_if_modified(|current| {
            let differs = current != address;
            if differs {
                address.clone_into(current);
            }
            differs
        });
    }
}

struct Keeper {
    context: Arc<LinkContext>,
    member: u64,
    addresses: watch::Receiver<String>,
    queue: Queue,
    is_open: Arc<AtomicBool>,
    failures: u32,
    logged: Option<tokio::time::Instant>,
}

impl Keeper {
    async fn run(mut self) {
        let mut tls = self.context.tls.clone();
        loop {
            let Ok(tls) = tls.wait_for(Option::is_some).await.map(|tls| tls.clone()) else {
                return;
            };
            let Some(tls) = tls else { continue };
            let address = self.addresses.borrow_and_update().clone();
            match tls.connect(&address, Some(self.member)).await {
                Ok(client) => {
                    self.is_open.store(true, Ordering::Relaxed);
                    self.talk(client, &address).await;
                    self.is_open.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    self.complain(&address, &error.to_string());
                }
            }
            self.queue.clear();
            self.pause().await;
        }
    }

    /// Sends what there is to send until the stream ends.
    async fn talk(&mut self, mut client: PeersClient<tonic::transport::Channel>, address: &str) {
        tracing::info!(member = self.member, address, "connected to a member");
        let began = tokio::time::Instant::now();
        let mut request = Request::new(self.outgoing());
        if let Some(own_address) = &self.context.own_address {
            request.metadata_mut().insert(ADDRESS_METADATA, own_address.clone());
        }
        let ended = client.exchange(request).await;
        (self.context.on_break)(self.member);
        let why = match &ended {
            Ok(_) => "the member stops".to_owned(),
            Err(status) => status_text(status),
        };
        self.note_removal(&why);
        tracing::warn!(member = self.member, address, why, "the connection to a member ended");
        self.logged = Some(tokio::time::Instant::now());
        self.failures = if began.elapsed() >= SETTLED_AFTER {
            0
        } else {
            self.failures.saturating_add(1)
        };
    }

    fn outgoing(&self) -> impl Stream<Item = PeerMessage> + Send + 'static {
        self.queue.reader()
    }

    /// Waits longer after each failure in a row, but not once the member is said to be elsewhere.
    async fn pause(&mut self) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
        tokio::select! {
            () = tokio::time::sleep(doubled.min(LONGEST_RETRY)) => {}
            _ = self.addresses.changed() => {}
        }
    }

    fn note_removal(&self, why: &str) {
        if says_removed(why) {
            self.context.removed.send_replace(true);
        }
    }

    fn complain(&mut self, address: &str, why: &str) {
        self.note_removal(why);
        let now = tokio::time::Instant::now();
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_EVERY) {
            return;
        }
        self.logged = Some(now);
        let dropped = self.queue.take_dropped();
        tracing::warn!(
            member = self.member,
            address,
            why,
            dropped,
            "a member cannot be reached"
        );
    }
}
