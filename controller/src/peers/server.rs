//! What this member offers to the others: it takes in what they say, and lets them into the group. Shell.

use berth_proto::v1::peers_server::Peers;
use berth_proto::v1::{Announced, Announcement, ApiAnswer, ApiCall, ExchangeEnd, PeerMessage};
use berth_raft::{MAX_PEER_MESSAGE_BYTES, MemberRecord, MembershipChange, MembershipError, Raft, ReceiveError, Role};
use berth_trust::tls::Peer;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::calls::NOTHING_DONE;
use super::links::PeerNetwork;
use super::{ADDRESS, ADDRESS_METADATA};
use crate::api::passed_calls;
use crate::features;
use crate::replica::ReplicatedState;

/// The service for other members.
#[derive(Clone, Debug)]
pub struct PeersService {
    network: PeerNetwork,
    stop: CancellationToken,
    /// Where calls of the API are answered.
    runtime: Handle,
}

impl PeersService {
    /// The service of the group that the network delivers to; calls of the API that others pass on are answered on this runtime. Streams
    /// end when `stop` is cancelled.
    #[must_use]
    pub fn new(network: PeerNetwork, runtime: Handle, stop: CancellationToken) -> Self {
        Self { network, stop, runtime }
    }

    /// The largest message that it takes.
    pub const MAX_MESSAGE_BYTES: usize = MAX_PEER_MESSAGE_BYTES;
}

#[tonic::async_trait]
impl Peers for PeersService {
    async fn exchange(&self, request: Request<Streaming<PeerMessage>>) -> Result<Response<ExchangeEnd>, Status> {
        let member = caller(&request)?;
        let address = request.metadata().get(ADDRESS_METADATA);
        let address = address.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let _hearing = self.network.heard(member, address.as_deref());
        let mut incoming = request.into_inner();
        loop {
            let message = tokio::select! {
                message = incoming.message() => message?,
                () = self.stop.cancelled() => None,
            };
            let Some(message) = message else {
                return Ok(Response::new(ExchangeEnd {}));
            };
            if message.from != member {
                let text = format!(
                    "a message from member {}, over a connection of member {member}: a member speaks for itself alone",
                    message.from
                );
                tracing::error!(member, claimed = message.from, "a member spoke for another");
                return Err(Status::permission_denied(text));
            }
            let Some(group) = self.network.group() else { continue };
            match group.receive(message) {
                // The sender sends again what matters.
                Ok(()) | Err(ReceiveError::Overloaded) => {}
                Err(ReceiveError::Stopped) => return Ok(Response::new(ExchangeEnd {})),
                Err(error @ (ReceiveError::WrongCluster { .. } | ReceiveError::WrongMember { .. })) => {
                    return Err(Status::failed_precondition(error.to_string()));
                }
            }
        }
    }

    async fn announce(&self, request: Request<Announcement>) -> Result<Response<Announced>, Status> {
        let caller = caller(&request)?;
        let record = request.into_inner().member.map(MemberRecord::from);
        let record =
            record.ok_or_else(|| Status::invalid_argument("an announcement needs the record of the member"))?;
        if record.id != caller {
            let text = format!("member {caller} cannot announce member {}", record.id);
            return Err(Status::permission_denied(text));
        }
        if !record.details.contains_key(ADDRESS) {
            return Err(Status::invalid_argument("the record of a member needs its address"));
        }
        let group = self.network.group();
        let group = group.ok_or_else(|| Status::unavailable("the controller has not started yet"))?;
        // So that a membership that is out of date here is not taken for the newest.
        group
            .read()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let members = group.members();
        let is_new = members.get(caller).is_none();
        if let Some(why) = features::too_old(&group.view().view, &record).filter(|_| is_new) {
            return Err(Status::failed_precondition(why));
        }
        let change = match members.get(caller) {
            Some(known) if known.record == record => {
                return Ok(Response::new(Announced { index: members.index }));
            }
            Some(_) => MembershipChange::Update(record),
            None => MembershipChange::Add(record),
        };
        tracing::info!(member = caller, ?change, "a member announces itself");
        match group.change_membership(change).await {
            Ok(index) => Ok(Response::new(Announced { index })),
            Err(error) => Err(not_let_in(&error)),
        }
    }

    async fn call_api(&self, request: Request<ApiCall>) -> Result<Response<ApiAnswer>, Status> {
        caller(&request)?;
        let leads = |group: Raft<ReplicatedState>| group.status().role == Role::Leader;
        let is_leader = self.network.group().is_some_and(leads);
        let Some(api) = self.network.api().filter(|_| is_leader && !self.stop.is_cancelled()) else {
            return Err(nothing_done("this controller does not lead, or does not serve yet"));
        };
        let call = request.into_inner();
        let answering = self.runtime.spawn(async move { passed_calls::answer(api, call).await });
        let answer = answering.await.map_err(|error| Status::internal(error.to_string()))?;
        let unknown = || Status::unimplemented("this operation is not passed on");
        answer.map(Response::new).ok_or_else(unknown)
    }
}

/// A refusal after which the call may be passed on again.
fn nothing_done(text: &str) -> Status {
    let mut status = Status::unavailable(text);
    status
        .metadata_mut()
        .insert(NOTHING_DONE, MetadataValue::from_static("1"));
    status
}

fn not_let_in(error: &MembershipError) -> Status {
    let text = error.to_string();
    match error {
        MembershipError::IdUsed { .. } => Status::permission_denied(text),
        MembershipError::TooManyMembers { .. } => {
            Status::failed_precondition(format!("{text}: remove one that is gone with `berth members remove`"))
        }
        MembershipError::RecordTooLarge { .. } => Status::invalid_argument(text),
        _ => Status::unavailable(text),
    }
}

/// The member at the other end, as its certificate says.
fn caller<T>(request: &Request<T>) -> Result<u64, Status> {
    let peer = request.extensions().get::<Peer>();
    let identity = peer.and_then(|peer| peer.identity.as_ref());
    let member = identity.and_then(berth_trust::identity::Identity::member_id);
    member.ok_or_else(|| Status::permission_denied("only controllers of the cluster may call this"))
}
