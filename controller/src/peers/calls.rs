//! Passes calls of the API on to the member that leads, and has those answered that others pass on. Shell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_proto::v1::ApiCall;
use berth_proto::v1::peers_client::PeersClient;
use berth_raft::Role;
use bytes::Bytes;
use http::Response;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

use super::ADDRESS;
use super::client::status_text;
use super::links::PeerNetwork;
use crate::api::passed_calls;
use crate::api::ports::{LeaderCalls, PortFuture, Unavailable};
use crate::replica::StateGroup;

/// How long it is waited for a leader that takes the call: some elections.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

/// Wait between two attempts.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Passes calls on.
#[derive(Clone, Debug)]
pub(crate) struct CallsToLeader {
    group: StateGroup,
    network: Option<PeerNetwork>,
    /// The connection to the leader of the last call.
    connection: Arc<Mutex<Option<Connection>>>,
}

#[derive(Clone, Debug)]
struct Connection {
    leader: u64,
    client: PeersClient<Channel>,
}

/// What became of an attempt.
enum Attempt {
    Answered(Result<Response<Bytes>, Unavailable>),
    /// Nothing happened, for this reason.
    Again(String),
    /// The leader is of a version in which every controller answers such calls by itself.
    LeftToUs,
}

impl CallsToLeader {
    /// Without a network there is nobody else.
    pub(crate) fn new(group: StateGroup, network: Option<PeerNetwork>) -> Self {
        Self {
            group,
            network,
            connection: Arc::default(),
        }
    }

    async fn pass(&self, network: &PeerNetwork, call: ApiCall) -> Option<Result<Response<Bytes>, Unavailable>> {
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let status = self.group.status();
            if status.role == Role::Leader {
                return None;
            }
            let attempt = match status.leader {
                Some(leader) => self.attempt(network, leader, call.clone()).await,
                None => Attempt::Again("the controllers have no leader at the moment".to_owned()),
            };
            match attempt {
                Attempt::Answered(answer) => return Some(answer),
                Attempt::LeftToUs => return None,
                Attempt::Again(reason) if Instant::now() >= until || status.has_stopped() => {
                    let text = format!("the controller that leads did not take the call: {reason}");
                    return Some(Err(Unavailable::NoAnswer(text)));
                }
                Attempt::Again(_) => tokio::time::sleep(RETRY_EVERY).await,
            }
        }
    }

    async fn attempt(&self, network: &PeerNetwork, leader: u64, call: ApiCall) -> Attempt {
        let mut client = match self.client(network, leader).await {
            Ok(client) => client,
            Err(reason) => return Attempt::Again(reason),
        };
        match client.call_api(call).await {
            Ok(answer) => {
                let response = passed_calls::decode(answer.into_inner());
                let unreadable = || Unavailable::NoAnswer("the answer of the leader cannot be read".to_owned());
                Attempt::Answered(response.ok_or_else(unreadable))
            }
            // It says of itself that it has done nothing.
            Err(status) if status.code() == Code::Unavailable && status.metadata().contains_key(NOTHING_DONE) => {
                Attempt::Again(status.message().to_owned())
            }
            Err(status) if status.code() == Code::Unimplemented => Attempt::LeftToUs,
            Err(status) => {
                self.forget(leader);
                Attempt::Answered(Err(Unavailable::NoAnswer(format!(
                    "the connection to the controller that leads broke while it served the call, which may or may not have taken effect: {}",
                    status_text(&status)
                ))))
            }
        }
    }

    async fn client(&self, network: &PeerNetwork, leader: u64) -> Result<PeersClient<Channel>, String> {
        let known = self.lock().clone().filter(|connection| connection.leader == leader);
        if let Some(connection) = known {
            return Ok(connection.client);
        }
        let members = self.group.members();
        let record = members.get(leader).map(|member| &member.record);
        let address = record.and_then(|record| record.details.get(ADDRESS));
        let address = address.ok_or("it is not known where the leader is")?;
        let tls = network.shown().ok_or("this controller has no certificate yet")?;
        let client = tls.connect(address, Some(leader)).await;
        let client = client.map_err(|error| error.to_string())?;
        *self.lock() = Some(Connection {
            leader,
            client: client.clone(),
        });
        Ok(client)
    }

    fn forget(&self, leader: u64) {
        let mut connection = self.lock();
        if connection.as_ref().is_some_and(|known| known.leader == leader) {
            *connection = None;
        }
    }

    /// Whole after every step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Metadata of a refusal by which the one who passed a call on knows that it may try again.
pub(super) const NOTHING_DONE: &str = "berth-nothing-done";

impl LeaderCalls for CallsToLeader {
    fn pass_on(&self, call: ApiCall) -> PortFuture<'_, Option<Result<Response<Bytes>, Unavailable>>> {
        Box::pin(async move {
            match &self.network {
                Some(network) => self.pass(network, call).await,
                None => None,
            }
        })
    }
}
