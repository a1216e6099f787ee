//! A cluster of one controller that a test plays over TLS: its authorities, its join tokens, and who was removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_proto::v1::joining_server::{Joining, JoiningServer};
use berth_proto::v1::{ClusterNews, JoinAnswer, JoinRequest, RenewAnswer, RenewRequest, TrustReport};
use berth_trust::ca::{Authority, Grant, MIN_LIFETIME};
use berth_trust::credentials::Credentials;
use berth_trust::identity::{Identity, Role};
use berth_trust::join;
use berth_trust::removed::Removed;
use berth_trust::request::{HolderKey, SigningRequest};
use berth_trust::rotation::Authorities;
use berth_trust::tls::{Acceptor, Clients, LiveCredentials, LiveTrust, Peer, Protocol, Trust};
use berth_trust::token::{JoinToken, MIN_TOKEN_LIFETIME, TokenError, TokenTerms};
use berth_trust::token_record::TokenRecord;
use berth_trust::{DefaultTimeProvider, UnixTime};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::common::Controller;

/// What the cluster knows.
pub(crate) struct Office {
    name: String,
    pub(crate) authorities: Authorities,
    removed: Removed,
    tokens: BTreeMap<String, TokenRecord>,
    /// Where the controllers are said to be.
    pub(crate) controllers: Vec<String>,
    pub(crate) version: u64,
    /// How old certificates are when they are made.
    pub(crate) made_ago: Duration,
    /// Whether those who were let in get no answer.
    pub(crate) loses_answers: bool,
    /// Who has joined, renewed, and reported how many authorities.
    pub(crate) joined: Vec<String>,
    pub(crate) renewed: usize,
    pub(crate) reports: Vec<usize>,
    trust: LiveTrust,
}

/// A cluster that the test plays. Clones are the same.
#[derive(Clone)]
pub(crate) struct Cluster(pub(crate) Arc<Mutex<Office>>);

pub(crate) fn seconds_ago(ago: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) - ago)
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        let day = Duration::from_secs(86_400);
        let first = Authority::create(&name.parse().unwrap(), seconds_ago(day)).unwrap();
        let authorities = Authorities::new(&first);
        let trust = Trust::new(authorities.bundle().unwrap(), Removed::default());
        Self(Arc::new(Mutex::new(Office {
            name: name.to_owned(),
            authorities,
            removed: Removed::default(),
            tokens: BTreeMap::new(),
            controllers: vec![],
            version: 1,
            made_ago: Duration::ZERO,
            loses_answers: false,
            joined: vec![],
            renewed: 0,
            reports: vec![],
            trust: LiveTrust::new(trust),
        })))
    }

    /// A controller of it.
    pub(crate) async fn controller(&self) -> Controller {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let (own, trust) = {
            let office = self.0.lock().unwrap();
            (office.credentials("controller/1"), office.trust.clone())
        };
        let clients = Clients::Optional(trust, vec![Role::Controller, Role::Agent]);
        let acceptor = Acceptor::new(
            LiveCredentials::new(&own),
            clients,
            Protocol::Http2,
            Arc::new(DefaultTimeProvider),
        );
        let (service, sessions) = Controller::service();
        let joining = JoiningServer::new(self.clone());
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .add_service(joining)
                .serve_with_incoming(acceptor.incoming(listener))
                .await
                .unwrap();
        });
        Controller::of(endpoint, sessions, server)
    }

    /// A token for one use, made so long ago.
    pub(crate) fn token(&self, role: Role, made_ago: Duration) -> String {
        let mut office = self.0.lock().unwrap();
        let terms = TokenTerms {
            role,
            lifetime: MIN_TOKEN_LIFETIME,
            uses: 1,
            created_by: "test".to_owned(),
        };
        let digest = office.authorities.bundle().unwrap().authorities()[0].digest();
        let (token, record) = JoinToken::mint(terms, digest, seconds_ago(made_ago)).unwrap();
        office.tokens.insert(token.id().to_string(), record);
        token.to_secret_text()
    }

    /// Changes the authorities and tells controllers.
    pub(crate) fn rotate(&self, step: impl FnOnce(&Authorities) -> Authorities) {
        let mut office = self.0.lock().unwrap();
        office.authorities = step(&office.authorities);
        office.version += 1;
        office.replace_trust();
    }

    pub(crate) fn remove(&self, agent: &str) {
        let mut office = self.0.lock().unwrap();
        let identity = office.identity(&format!("agent/{agent}"));
        office.removed.add(identity, UnixTime::now());
        office.replace_trust();
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Office) -> T) -> T {
        look(&self.0.lock().unwrap())
    }
}

impl Office {
    fn identity(&self, rest: &str) -> Identity {
        format!("berth://{}/{rest}", self.name).parse().unwrap()
    }

    fn replace_trust(&self) {
        let bundle = self.authorities.bundle().unwrap();
        self.trust.replace(Trust::new(bundle, self.removed.clone()));
    }

    fn grant(&self, rest: &str) -> Grant {
        Grant {
            identity: self.identity(rest),
            names: vec![],
        }
    }

    fn credentials(&self, rest: &str) -> Credentials {
        self.credentials_from(rest, UnixTime::now())
    }

    /// Credentials that are valid from a time on.
    pub(crate) fn credentials_from(&self, rest: &str, began: UnixTime) -> Credentials {
        let key = HolderKey::draw().unwrap();
        let request = SigningRequest::from_der(&key.request().unwrap()).unwrap();
        let signer = self.authorities.signer().unwrap();
        let chain = signer.issue(&request, &self.grant(rest), began, MIN_LIFETIME).unwrap();
        Credentials::new(key, chain).unwrap()
    }

    fn news(&self) -> ClusterNews {
        ClusterNews {
            authorities: self.authorities.bundle().unwrap().to_pem(),
            controllers: self.controllers.clone(),
            version: self.version,
        }
    }
}

fn caller<T>(request: &Request<T>) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>();
    let identity = peer.and_then(|peer| peer.identity.clone());
    identity.ok_or_else(|| Status::unauthenticated("no certificate"))
}

#[tonic::async_trait]
impl Joining for Cluster {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinAnswer>, Status> {
        let JoinRequest { token, request, id, .. } = request.into_inner();
        let mut office = self.0.lock().unwrap();
        let refused = |error: &dyn std::error::Error| Status::permission_denied(error.to_string());
        let token: JoinToken = token.parse().map_err(|error: TokenError| refused(&error))?;
        let record = office.tokens.get(&token.id().to_string()).cloned();
        let record = record.ok_or_else(|| Status::permission_denied("the cluster has no such join token"))?;
        let signer = office.authorities.signer().unwrap();
        let grant = office.grant(&format!("agent/{id}"));
        // Whether a token is good is told by the time now, and not by the time at which the certificate begins.
        record
            .redeem(
                &token,
                Role::Agent,
                SigningRequest::from_der(&request).unwrap().key_digest(),
                UnixTime::now(),
            )
            .map_err(|error| refused(&error))?;
        if office.removed.since(&grant.identity).is_some() {
            return Err(Status::already_exists("it was removed: join under another id"));
        }
        let began = seconds_ago(office.made_ago);
        let admission = join::admit(&token, &request, &record, &signer, &grant, began, MIN_LIFETIME)
            .map_err(|error| refused(&error))?;
        office.tokens.insert(token.id().to_string(), admission.record);
        office.joined.push(id);
        if office.loses_answers {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(JoinAnswer {
            chain: admission.response.chain,
            news: Some(office.news()),
            raft_cluster_id: vec![],
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewAnswer>, Status> {
        let identity = caller(&request)?;
        let request = SigningRequest::from_der(&request.into_inner().request).unwrap();
        let mut office = self.0.lock().unwrap();
        let grant = Grant {
            identity,
            names: vec![],
        };
        let signer = office.authorities.signer().unwrap();
        let chain = signer.issue(&request, &grant, UnixTime::now(), MIN_LIFETIME).unwrap();
        office.renewed += 1;
        Ok(Response::new(RenewAnswer {
            chain: chain.iter().map(|one| one.to_vec()).collect(),
            news: Some(office.news()),
        }))
    }

    async fn report_trust(&self, request: Request<TrustReport>) -> Result<Response<ClusterNews>, Status> {
        caller(&request)?;
        let mut office = self.0.lock().unwrap();
        office.reports.push(request.into_inner().authorities.len());
        Ok(Response::new(office.news()))
    }
}
