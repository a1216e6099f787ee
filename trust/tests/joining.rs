//! A new host gets its first certificate with a token, and nobody else does.

mod common;

use std::collections::BTreeMap;

use berth_trust::UnixTime;
use berth_trust::ca::Grant;
use berth_trust::identity::{Identity, Role};
use berth_trust::join::{Admission, JoinError, JoinRequest, JoinResponse, Joiner, admit};
use berth_trust::keeper::Keeper;
use berth_trust::tls::{Clients, Connector, Refusal};
use berth_trust::token::{DEFAULT_TOKEN_LIFETIME, JoinToken, TokenError, TokenId, TokenTerms};
use berth_trust::token_record::TokenRecord;
use common::{Cluster, LIFETIME, START, handshake};
use rcgen::{CertificateParams, KeyPair, SanType};

/// The cluster with the records of its tokens: what a controller does with them.
struct Office {
    cluster: Cluster,
    records: BTreeMap<TokenId, TokenRecord>,
}

impl Office {
    fn new(name: &str) -> Self {
        Self {
            cluster: Cluster::new(name),
            records: BTreeMap::new(),
        }
    }

    fn mint(&mut self, role: Role, uses: u32) -> String {
        let terms = TokenTerms {
            role,
            lifetime: DEFAULT_TOKEN_LIFETIME,
            uses,
            created_by: "anna".to_owned(),
        };
        let digest = self
            .cluster
            .authorities
            .signer()
            .expect("a signer")
            .authority()
            .digest();
        let (token, record) = JoinToken::mint(terms, digest, self.cluster.clock.now()).expect("a token");
        self.records.insert(record.id.clone(), record);
        token.to_secret_text()
    }

    /// Lets one in as `rest`, whatever its request says.
    fn admit_as(&mut self, rest: &str, asked: &JoinRequest) -> Result<JoinResponse, JoinError> {
        let token: JoinToken = asked.token.parse()?;
        let unknown = || TokenError::Unknown { id: token.id().clone() };
        let record = self.records.get(token.id()).ok_or_else(unknown)?;
        let grant = Grant {
            identity: self.cluster.identity(rest),
            names: Vec::new(),
        };
        let signer = self.cluster.authorities.signer().expect("a signer");
        let now = self.cluster.clock.now();
        let Admission { record, response } = admit(&token, &asked.request, record, &signer, &grant, now, LIFETIME)?;
        self.records.insert(record.id.clone(), record);
        Ok(response)
    }

    fn server(&self) -> Identity {
        self.cluster.identity("controller/1")
    }

    fn now(&self) -> UnixTime {
        self.cluster.clock.now()
    }
}

fn joiner(token: &str) -> (Joiner, JoinRequest) {
    let joiner = Joiner::new(token).expect("a joiner");
    let request = joiner.request().expect("a request");
    (joiner, request)
}

#[tokio::test]
async fn host_with_a_token_joins_and_is_let_in() {
    let mut office = Office::new("home");
    let token = office.mint(Role::Agent, 1);
    let (joiner, request) = joiner(&token);

    let port = office.cluster.port_of(
        "controller/1",
        Clients::Optional(office.cluster.live_trust(), vec![Role::Agent]),
    );
    let pinned = Connector::pinned(joiner.token().authority(), office.cluster.clock.clone());
    let (server, client) = handshake(&pinned, &port).await.connected();
    assert_eq!(server.peer().identity, None);
    let controller = client.peer().identity.clone().expect("a controller");

    let response = office.admit_as("agent/a", &request).expect("let in");
    let kept = joiner.complete(&response, &controller, office.now()).expect("complete");
    assert_eq!(kept.credentials.identity(), &office.cluster.identity("agent/a"));

    let directory = tempfile::tempdir().expect("a directory");
    let keeper = Keeper::new(&directory.path().join("trust"));
    keeper.keep(&kept).expect("kept");
    let kept = keeper.load().expect("read").expect("there");
    let own = berth_trust::tls::LiveCredentials::new(&kept.credentials);
    let trust = berth_trust::tls::LiveTrust::new(berth_trust::tls::Trust::new(kept.authorities, Default::default()));
    let expected = berth_trust::tls::Expected::Roles(vec![Role::Controller]);
    let protocol = berth_trust::tls::Protocol::Http2;
    let agent = Connector::new(Some(own), trust, expected, protocol, office.cluster.clock.clone());
    let (server, _) = handshake(&agent, &port).await.connected();
    assert_eq!(server.peer().identity, Some(office.cluster.identity("agent/a")));
}

#[tokio::test]
async fn joiner_shows_its_token_to_no_other_cluster() {
    let (mut office, impostor) = (Office::new("home"), Cluster::new("home"));
    let (joiner, _) = joiner(&office.mint(Role::Agent, 1));
    let pinned = Connector::pinned(joiner.token().authority(), office.cluster.clock.clone());
    let ends = handshake(&pinned, &impostor.port_of("controller/1", Clients::Anyone)).await;
    let error = ends.client.expect_err("refused");
    assert!(error.contains("the server does not show authority"), "{error}");
}

#[tokio::test]
async fn joiner_trusts_no_server_that_shows_the_authority_without_being_of_it() {
    let (mut office, impostor) = (Office::new("home"), Cluster::new("home"));
    let (joiner, _) = joiner(&office.mint(Role::Agent, 1));
    // The impostor's own certificate, with the true authority's certificate below it: that one is no secret.
    let true_one = office.cluster.authorities.bundle().expect("a bundle").authorities()[0]
        .der()
        .clone();
    let key = KeyPair::generate().expect("a key");
    let chain = [
        impostor.credentials("controller/1").chain()[0].clone(),
        true_one.clone(),
    ];
    let certified = rustls::sign::CertifiedKey::new(chain.to_vec(), any_key(&key));
    let error = connect_pinned(&office, &joiner, certified).await;
    assert!(error.contains("is signed by no authority"), "{error}");
    // The true controller's certificates, without its key.
    let chain = office.cluster.credentials("controller/1").chain().to_vec();
    let certified = rustls::sign::CertifiedKey::new(chain, any_key(&key));
    connect_pinned(&office, &joiner, certified).await;
    // An agent's certificate, which is of the true authority.
    let agent = office.cluster.port_of("agent/a", Clients::Anyone);
    let pinned = Connector::pinned(joiner.token().authority(), office.cluster.clock.clone());
    let error = handshake(&pinned, &agent).await.client.expect_err("refused");
    assert!(error.contains("agent/a cannot be used"), "{error}");
    // An API server's too, which may serve.
    let api = office.cluster.port_of("api/1", Clients::Anyone);
    let error = handshake(&pinned, &api).await.client.expect_err("refused");
    assert!(
        error.contains("api/1 has no business here, where only controller may be"),
        "{error}"
    );
}

fn any_key(key: &KeyPair) -> std::sync::Arc<dyn rustls::sign::SigningKey> {
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).expect("a key")
}

async fn connect_pinned(office: &Office, joiner: &Joiner, shown: rustls::sign::CertifiedKey) -> String {
    let port = berth_trust::tls::Acceptor::new(
        berth_trust::tls::LiveCredentials::of_key(shown.into()),
        Clients::Anyone,
        berth_trust::tls::Protocol::Http2,
        office.cluster.clock.clone(),
    );
    let pinned = Connector::pinned(joiner.token().authority(), office.cluster.clock.clone());
    handshake(&pinned, &port).await.client.expect_err("refused")
}

#[test]
fn token_for_one_host_lets_in_one() {
    let mut office = Office::new("home");
    let token = office.mint(Role::Agent, 1);
    office.admit_as("agent/a", &joiner(&token).1).expect("the first");
    let error = office.admit_as("agent/b", &joiner(&token).1).expect_err("the second");
    assert!(matches!(error, JoinError::Token(TokenError::UsedUp { .. })), "{error}");
}

#[test]
fn host_that_got_no_answer_asks_again_and_gets_one_that_works() {
    let mut office = Office::new("home");
    let (joiner, request) = joiner(&office.mint(Role::Agent, 1));
    office.admit_as("agent/a", &request).expect("the answer is lost");
    let again = joiner.request().expect("a request");
    let response = office.admit_as("agent/a", &again).expect("the second answer");
    joiner
        .complete(&response, &office.server(), office.now())
        .expect("complete");
}

#[test]
fn token_that_expired_was_revoked_or_is_for_another_role_is_refused() {
    let mut office = Office::new("home");
    let token = office.mint(Role::Agent, 1);
    let error = office
        .admit_as("controller/2", &joiner(&token).1)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("is for agent, not for controller: make one with `berth token create --role controller`"),
        "{error}"
    );
    office.cluster.clock.set(START + DEFAULT_TOKEN_LIFETIME.as_secs() + 1);
    let error = office
        .admit_as("agent/a", &joiner(&token).1)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("expired at 2027-01-15T09:00:00Z"), "{error}");

    let token = office.mint(Role::Agent, 1);
    let id = token.parse::<JoinToken>().expect("a token").id().clone();
    let revoked = office.records[&id].revoke(office.now());
    office.records.insert(id, revoked);
    let error = office
        .admit_as("agent/a", &joiner(&token).1)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("was revoked at 2027-01-15T09:00:01Z"), "{error}");
}

#[test]
fn token_of_another_cluster_is_unknown() {
    let (mut office, mut other) = (Office::new("home"), Office::new("other"));
    let token = other.mint(Role::Agent, 1);
    let error = office.admit_as("agent/a", &joiner(&token).1).expect_err("refused");
    assert!(matches!(error, JoinError::Token(TokenError::Unknown { .. })), "{error}");
}

#[test]
fn request_that_asks_for_another_identity_gets_the_one_that_the_signer_decides() {
    let mut office = Office::new("home");
    let token = office.mint(Role::Agent, 1);
    let key = KeyPair::generate().expect("a key");
    let mut greedy = CertificateParams::new(vec!["ecs.home.example".to_owned()]).expect("parameters");
    let wanted = "berth://home/controller/1".try_into().expect("a URI");
    greedy.subject_alt_names.push(SanType::URI(wanted));
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.insert_extended_key_usage(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let request = greedy.serialize_request(&key).expect("a request").der().to_vec();
    let response = office
        .admit_as("agent/a", &JoinRequest { token, request })
        .expect("let in");
    let own = rustls::pki_types::CertificateDer::from(response.chain[0].clone());
    assert_eq!(
        Identity::of_certificate(&own).expect("one"),
        office.cluster.identity("agent/a")
    );
    let (_, parsed) = x509_parser::parse_x509_certificate(&own).expect("read");
    assert!(!parsed.is_ca());
    let names = parsed.subject_alternative_name().expect("read").expect("there");
    assert_eq!(names.value.general_names.len(), 1, "{:?}", names.value);
    let usage = parsed.extended_key_usage().expect("read").expect("there").value;
    assert!(usage.client_auth && !usage.server_auth);
}

#[test]
fn answer_that_is_not_what_the_token_promised_is_refused_by_the_joiner() {
    let mut office = Office::new("home");
    let token = office.mint(Role::Agent, 10);
    let answer = |office: &mut Office| {
        let (joiner, request) = joiner(&token);
        let response = office.admit_as("agent/a", &request).expect("let in");
        (joiner, response)
    };
    let mut other = Office::new("home");
    let elsewhere = other.cluster.authorities.bundle().expect("a bundle").to_pem();

    let (one, mut response) = answer(&mut office);
    response.authorities = elsewhere.clone();
    let error = one
        .complete(&response, &office.server(), office.now())
        .expect_err("refused");
    assert!(matches!(error, JoinError::OtherAuthority { .. }), "{error}");

    let (one, response) = answer(&mut office);
    let error = one.complete(
        &response,
        &"berth://away/controller/1".parse().expect("one"),
        office.now(),
    );
    assert!(matches!(error, Err(JoinError::OtherCluster { .. })), "{error:?}");

    let (one, _) = answer(&mut office);
    let (_, response) = answer(&mut office);
    let error = one
        .complete(&response, &office.server(), office.now())
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("answered with a certificate that cannot be used"),
        "{error}"
    );

    // Signed by another authority than the one that is in the bundle.
    let (one, request) = joiner(&token);
    let record = office.records.values().next().expect("a record").clone();
    other.records.insert(record.id.clone(), record);
    let mut response = other.admit_as("agent/a", &request).expect("let in elsewhere");
    response.authorities = office.cluster.authorities.bundle().expect("a bundle").to_pem();
    let error = one
        .complete(&response, &office.server(), office.now())
        .expect_err("refused");
    assert!(
        matches!(error, JoinError::Refused(Refusal::UnknownAuthority { .. })),
        "{error}"
    );
}
