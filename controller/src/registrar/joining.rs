//! The service by which hosts join and stay part of the cluster, as `proto/berth/v1/joining.proto` describes it. Shell.

use berth_proto::v1::joining_server::Joining;
use berth_proto::v1::{ClusterNews, JoinAnswer, JoinRequest, RenewAnswer, RenewRequest, TrustReport};
use berth_trust::bundle::CaDigest;
use berth_trust::identity::{Identity, Role};
use berth_trust::tls::Peer;
use tonic::{Request, Response, Status};

use super::changes::{Registrar, RegistrarError};
use super::news::news;

/// The service for those who join or have joined.
#[derive(Clone, Debug)]
pub struct JoiningService {
    registrar: Registrar,
}

impl JoiningService {
    /// A service of this registrar.
    #[must_use]
    pub fn new(registrar: Registrar) -> Self {
        Self { registrar }
    }

    /// The largest message that it takes: a token, a key and an id, several times over.
    pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

    fn news(&self) -> Result<ClusterNews, Status> {
        let group = &self.registrar.group;
        news(&group.view().view, &group.members()).map_err(|error| refusal(&error))
    }
}

#[tonic::async_trait]
impl Joining for JoiningService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinAnswer>, Status> {
        let address = request.extensions().get::<Peer>().and_then(|peer| peer.address);
        let JoinRequest {
            token,
            request,
            id,
            account,
        } = request.into_inner();
        let account = Some(account.as_str()).filter(|account| !account.is_empty());
        match self.registrar.join(&token, &request, &id, account).await {
            Ok((identity, response)) => {
                tracing::info!(%identity, ?address, "joined");
                Ok(Response::new(JoinAnswer {
                    chain: response.chain,
                    news: Some(self.news()?),
                    raft_cluster_id: self.registrar.group.identity().cluster.0.to_vec(),
                }))
            }
            Err(error) => {
                tracing::warn!(%error, ?address, "refused to let somebody join");
                Err(refusal(&error))
            }
        }
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewAnswer>, Status> {
        let identity = caller(&request)?;
        let renewed = self.registrar.renew(&identity, &request.into_inner().request).await;
        let chain = renewed.map_err(|error| refusal(&error))?;
        tracing::info!(%identity, "renewed a certificate");
        Ok(Response::new(RenewAnswer {
            chain,
            news: Some(self.news()?),
        }))
    }

    async fn report_trust(&self, request: Request<TrustReport>) -> Result<Response<ClusterNews>, Status> {
        let identity = caller(&request)?;
        let digests = request.into_inner().authorities;
        let digests: Result<Vec<CaDigest>, _> = digests.iter().map(|digest| digest.parse()).collect();
        let digests = digests.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let reported = self.registrar.report_trust(&identity, &digests).await;
        reported.map_err(|error| refusal(&error))?;
        Ok(Response::new(self.news()?))
    }
}

/// A holder of a certificate that is renewed by asking.
fn caller<T>(request: &Request<T>) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>();
    let identity = peer.and_then(|peer| peer.identity.clone());
    let identity = identity.ok_or_else(|| {
        Status::unauthenticated("this needs the certificate that the caller has, and the connection shows none")
    })?;
    match identity.role() {
        Role::Agent | Role::Controller => Ok(identity),
        other => Err(Status::permission_denied(format!(
            "certificates for {other} are not renewed here"
        ))),
    }
}

fn refusal(error: &RegistrarError) -> Status {
    let text = crate::errors::chain(error);
    match error {
        RegistrarError::Token(berth_trust::token::TokenError::Malformed(_))
        | RegistrarError::Request(_)
        | RegistrarError::Identity(_) => Status::invalid_argument(text),
        RegistrarError::Token(_) | RegistrarError::Removed(_) | RegistrarError::OtherAccount(_) => {
            Status::permission_denied(text)
        }
        RegistrarError::MemberExists(_) | RegistrarError::IdOfRemoved(_) => Status::already_exists(text),
        RegistrarError::NoAuthorities => Status::failed_precondition(text),
        RegistrarError::Document(_)
        | RegistrarError::Sign(_)
        | RegistrarError::Credentials(_)
        | RegistrarError::Rotation(_) => Status::internal(text),
        RegistrarError::Rejected(_)
        | RegistrarError::Contention
        | RegistrarError::Read(_)
        | RegistrarError::Propose(_) => Status::unavailable(text),
    }
}
