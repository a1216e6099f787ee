//! The port for members, agents and those who want to join: who may do what there, over real connections on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_controller::api::RootCredentials;
use berth_controller::node::{ApiTls, ClusterOptions, ClusterStart, Controller, ControllerOptions};
use berth_proto::v1::agent_sessions_client::AgentSessionsClient;
use berth_proto::v1::joining_client::JoiningClient;
use berth_proto::v1::peers_client::PeersClient;
use berth_proto::v1::{self, FromAgent, PeerMessage, from_agent, to_agent};
use berth_trust::credentials::Credentials;
use berth_trust::identity::Role;
use berth_trust::join::{JoinResponse, Joiner};
use berth_trust::keeper::Kept;
use berth_trust::removed::Removed;
use berth_trust::request::HolderKey;
use berth_trust::tls::{Connector, Expected, LiveCredentials, LiveTrust, Protocol, Trust};
use berth_trust::token::TokenTerms;
use berth_trust::{DefaultTimeProvider, TimeProvider, UnixTime};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(30);

async fn controller(data_dir: &Path) -> Controller {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let root = RootCredentials {
        account: "123456789012".into(),
        access_key_id: "AKIAEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
    };
    let options = ControllerOptions {
        data_dir: data_dir.to_owned(),
        listen: anywhere,
        agent_listen: None,
        cluster: Some(ClusterOptions {
            listen: anywhere,
            advertise: None,
            name: "first".to_owned(),
            start: ClusterStart::Bootstrap { root: Some(root) },
        }),
        root: None,
        api_tls: ApiTls::Plain,
        testing: false,
        wake_command: None,
        backups: None,
    };
    Controller::start(options).await.expect("the controller starts")
}

fn time() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}

fn endpoint(controller: &Controller) -> Endpoint {
    let address = controller.cluster_listen().expect("a port for members");
    Endpoint::from_shared(format!("http://{address}")).expect("an address")
}

async fn token(controller: &Controller, role: Role) -> String {
    let terms = TokenTerms {
        role,
        lifetime: Duration::from_secs(600),
        uses: 1,
        created_by: "a test".to_owned(),
    };
    let made = controller.registrar().create_token(terms).await.expect("a token");
    made.token.to_secret_text()
}

/// A joiner, and the connection on which it trusts the authority of its token alone.
async fn joiner(controller: &Controller, token: &str) -> (Joiner, JoiningClient<Channel>) {
    let joiner = Joiner::new(token).expect("a joiner");
    let connector = Connector::pinned(joiner.token().authority(), time());
    let channel = endpoint(controller).connect_with_connector(connector).await;
    (joiner, JoiningClient::new(channel.expect("connected")))
}

async fn ask_to_join(client: &mut JoiningClient<Channel>, joiner: &Joiner, id: &str) -> Result<v1::JoinAnswer, Status> {
    let request = joiner.request().expect("a request");
    let request = v1::JoinRequest {
        token: request.token,
        request: request.request,
        id: id.to_owned(),
        account: String::new(),
    };
    client.join(request).await.map(tonic::Response::into_inner)
}

/// Joins as an agent of that id.
async fn join(controller: &Controller, id: &str) -> Kept {
    let (joiner, mut client) = joiner(controller, &token(controller, Role::Agent).await).await;
    let answer = ask_to_join(&mut client, &joiner, id).await.expect("let in");
    let news = answer.news.expect("news of the cluster");
    assert_eq!(news.controllers.len(), 1);
    let response = JoinResponse {
        chain: answer.chain,
        authorities: news.authorities,
    };
    let server = "controller/1".to_owned();
    let server = format!("berth://{}/{server}", cluster_of(&response));
    let kept = joiner.complete(&response, &server.parse().expect("an identity"), UnixTime::now());
    kept.expect("a certificate")
}

fn cluster_of(response: &JoinResponse) -> String {
    let bundle = berth_trust::bundle::Bundle::from_pem(&response.authorities).expect("authorities");
    bundle.cluster().to_string()
}

/// A connection that shows what an agent has, or nothing.
async fn connect(controller: &Controller, kept: &Kept, shows: bool) -> Result<Channel, tonic::transport::Error> {
    let trust = LiveTrust::new(Trust::new(kept.authorities.clone(), Removed::default()));
    let own = shows.then(|| LiveCredentials::new(&kept.credentials));
    let expected = Expected::Roles(vec![Role::Controller]);
    let connector = Connector::new(own, trust, expected, Protocol::Http2, time());
    endpoint(controller).connect_with_connector(connector).await
}

fn nothing<T>() -> impl tokio_stream::Stream<Item = T> + Send + 'static
where
    T: Send + 'static,
{
    tokio_stream::empty()
}

fn registration(agent_id: &str) -> FromAgent {
    FromAgent {
        message: Some(from_agent::Message::Register(v1::Register {
            protocol_version: v1::ProtocolVersion::ProtocolVersion1.into(),
            agent_id: agent_id.to_owned(),
            ..v1::Register::default()
        })),
    }
}

/// What the controller answers to an agent that calls itself `agent_id`.
async fn refusal(channel: Channel, agent_id: &str) -> v1::Refused {
    let messages = tokio_stream::once(registration(agent_id)).chain(tokio_stream::pending());
    let answer = AgentSessionsClient::new(channel).session(messages).await;
    let first = answer.expect("a session").into_inner().message().await;
    match first.expect("an answer").and_then(|answer| answer.message) {
        Some(to_agent::Message::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn service_is_for_its_role_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let kept = join(&controller, "host-1").await;
    let agent = connect(&controller, &kept, true).await.expect("connected");
    let stranger = connect(&controller, &kept, false).await.expect("connected");

    let mut peers = PeersClient::new(agent.clone());
    let refused = peers.exchange(nothing::<PeerMessage>()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("/agent/host-1 may not call this"),
        "{refused:?}"
    );
    let refused = peers.announce(v1::Announcement::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = peers.call_api(v1::ApiCall::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let mut peers = PeersClient::new(stranger.clone());
    let refused = peers.exchange(nothing::<PeerMessage>()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut sessions = AgentSessionsClient::new(stranger.clone());
    let refused = sessions.session(nothing::<FromAgent>()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut joining = JoiningClient::new(stranger);
    let refused = joining.renew(v1::RenewRequest::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = joining
        .report_trust(v1::TrustReport::default())
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    controller.stop().await;
}

#[tokio::test]
async fn agent_speaks_for_itself_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let kept = join(&controller, "host-1").await;
    let agent = connect(&controller, &kept, true).await.expect("connected");
    let as_another = refusal(agent.clone(), "host-2").await;
    assert!(
        as_another.message.contains("its certificate is for"),
        "{}",
        as_another.message
    );
    let as_itself = refusal(agent, "host-1").await;
    assert!(
        as_itself.message.contains("account has 0 bytes"),
        "{}",
        as_itself.message
    );
    controller.stop().await;
}

#[tokio::test]
async fn token_lets_in_as_many_as_it_says_and_one_that_asks_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let token = token(&controller, Role::Agent).await;
    let (first, mut client) = joiner(&controller, &token).await;
    let answer = ask_to_join(&mut client, &first, "host-1").await.expect("let in");
    let again = ask_to_join(&mut client, &first, "host-1")
        .await
        .expect("its answer did not arrive");
    assert_ne!(answer.chain, again.chain);
    let (second, mut client) = joiner(&controller, &token).await;
    let refused = ask_to_join(&mut client, &second, "host-2").await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("used up"), "{refused:?}");
    let refused = ask_to_join(&mut client, &second, "no id").await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    controller.stop().await;
}

#[tokio::test]
async fn certificate_is_renewed_until_its_holder_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let kept = join(&controller, "host-1").await;
    let channel = connect(&controller, &kept, true).await.expect("connected");
    let mut joining = JoiningClient::new(channel.clone());
    let key = HolderKey::draw().expect("a key");
    let request = v1::RenewRequest {
        request: key.request().expect("a request"),
    };
    let renewed = joining.renew(request.clone()).await.expect("renewed").into_inner();
    let chain = renewed.chain.into_iter().map(Into::into).collect();
    let renewed = Credentials::new(key, chain).expect("a certificate");
    assert_eq!(renewed.identity(), kept.credentials.identity());

    // A call that waits ends at once, and nothing is signed any more.
    let waiting = tokio::spawn(async move {
        let silent = Request::new(tokio_stream::pending::<FromAgent>());
        let mut session = AgentSessionsClient::new(channel).session(silent).await?.into_inner();
        session.message().await
    });
    controller
        .registrar()
        .remove(renewed.identity())
        .await
        .expect("removed");
    let ended = tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("at once")
        .expect("no panic");
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    assert!(joining.renew(request).await.is_err());
    match connect(&controller, &kept, true).await {
        Err(_) => {}
        Ok(channel) => drop(
            JoiningClient::new(channel)
                .report_trust(v1::TrustReport::default())
                .await
                .expect_err("refused"),
        ),
    }
    let token = token(&controller, Role::Agent).await;
    let (back, mut client) = joiner(&controller, &token).await;
    let refused = ask_to_join(&mut client, &back, "host-1").await.expect_err("refused");
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("under a new one"), "{refused:?}");
    match connect(&controller, &kept, true).await {
        Err(_) => {}
        Ok(channel) => drop(
            JoiningClient::new(channel)
                .report_trust(v1::TrustReport::default())
                .await
                .expect_err("the old key is let in by no token"),
        ),
    }
    let back = join(&controller, "host-2").await;
    let channel = connect(&controller, &back, true).await.expect("connected");
    let news = JoiningClient::new(channel)
        .report_trust(v1::TrustReport::default())
        .await;
    assert!(news.expect("it is back").into_inner().version > 0);
    controller.stop().await;
}

#[tokio::test]
async fn strangers_who_hold_every_place_that_there_is_for_them_keep_no_agent_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let kept = join(&controller, "host-1").await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        let stranger = connect(&controller, &kept, false).await;
        strangers.extend(stranger);
    }
    let mut served = 0;
    for stranger in &strangers {
        let answer = JoiningClient::new(stranger.clone())
            .join(v1::JoinRequest::default())
            .await;
        served += usize::from(answer.expect_err("no token").code() == Code::InvalidArgument);
    }
    assert!((1..=256).contains(&served), "{served} strangers were served");
    let agent = connect(&controller, &kept, true).await.expect("connected");
    let news = JoiningClient::new(agent).report_trust(v1::TrustReport::default()).await;
    news.expect("an agent is served");
    controller.stop().await;
}

#[tokio::test]
async fn stranger_who_goes_on_asking_to_join_is_cut_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = controller(directory.path()).await;
    let token = token(&controller, Role::Agent).await;
    let (mut asked, (_, mut client)) = (0, joiner(&controller, &token).await);
    let cut_off = loop {
        let status = client.join(v1::JoinRequest::default()).await.expect_err("no token");
        if status.code() != Code::InvalidArgument {
            break status;
        }
        asked += 1;
        assert!(asked < 2_000, "it is answered without end");
    };
    assert!(asked > 2, "{cut_off:?}");
    let (second, mut client) = joiner(&controller, &token).await;
    ask_to_join(&mut client, &second, "host-1").await.expect("others join");
    controller.stop().await;
}
