//! Who is let in and who is not, in real handshakes: each refusal says whom it concerns, why, and what to do; and the other end is told.

mod common;

use std::sync::Arc;
use std::time::Duration;

use berth_trust::identity::Role;
use berth_trust::tls::{Clients, Expected, HandshakeError, LiveCredentials, Protocol};
use common::{Cluster, LIFETIME, START, handshake, server_name, talks};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn controllers_and_agents_of_a_cluster_know_each_other() {
    let cluster = Cluster::new("home");
    let port = cluster.port(&[Role::Controller, Role::Agent]);
    for caller in ["controller/2", "agent/a"] {
        let (server, client) = handshake(&cluster.caller(caller), &port).await.connected();
        assert_eq!(server.peer().identity, Some(cluster.identity(caller)));
        assert_eq!(client.peer().identity, Some(cluster.identity("controller/1")));
    }
}

#[tokio::test]
async fn plain_text_is_refused() {
    let cluster = Cluster::new("home");
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let error = cluster.port(&[Role::Agent]).accept(far).await.expect_err("refused");
    assert!(matches!(error, HandshakeError::NotTls), "{error}");
    assert!(error.to_string().contains("use https"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_refused_after_the_deadline() {
    let cluster = Cluster::new("home");
    let (_near, far) = tokio::io::duplex(1024);
    let error = cluster.port(&[Role::Agent]).accept(far).await.expect_err("refused");
    assert!(matches!(error, HandshakeError::Deadline), "{error}");
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let cluster = Cluster::new("home");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut incoming = cluster.port(&[Role::Agent]).incoming(listener).at_most(4);
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(tokio::net::TcpStream::connect(address).await.expect("connected"));
    }
    let caller = cluster.caller("agent/a");
    let uri = format!("http://{address}").parse().expect("an address");
    let meeting = async { tokio::join!(incoming.accept(), caller.connect_to(&uri)) };
    // Each of the silent ones has ten seconds for its handshake if nobody waits.
    let met = tokio::time::timeout(Duration::from_secs(9), meeting).await;
    let (server, client) = met.expect("before the silent ones have had their time");
    assert_eq!(server.peer().identity, Some(cluster.identity("agent/a")));
    client.expect("let in");
}

#[tokio::test]
async fn caller_without_a_certificate_is_refused_where_one_is_required() {
    let cluster = Cluster::new("home");
    let stranger = cluster.caller_showing(None, Expected::Roles(vec![Role::Controller]));
    let (server, client) = handshake(&stranger, &cluster.port(&[Role::Agent]))
        .await
        .refused_by_server();
    assert!(server.contains("showed no certificate"), "{server}");
    assert!(client.contains("join the cluster first"), "{client}");
}

#[tokio::test]
async fn caller_without_a_certificate_is_nobody_where_none_is_required() {
    let cluster = Cluster::new("home");
    let port = cluster.port_of(
        "controller/1",
        Clients::Optional(cluster.live_trust(), vec![Role::Agent]),
    );
    let stranger = cluster.caller_showing(None, Expected::Roles(vec![Role::Controller]));
    let (server, _client) = handshake(&stranger, &port).await.connected();
    assert_eq!(server.peer().identity, None);
    let (server, _client) = handshake(&cluster.caller("agent/a"), &port).await.connected();
    assert_eq!(server.peer().identity, Some(cluster.identity("agent/a")));
    // A certificate that is no good does not make its holder a stranger.
    let (server, _) = handshake(&cluster.caller("operator/o"), &port)
        .await
        .refused_by_server();
    assert!(server.contains("where only agent may be"), "{server}");
}

#[tokio::test]
async fn caller_of_another_authority_is_refused_even_if_its_cluster_has_the_same_id() {
    let (cluster, impostor) = (Cluster::new("home"), Cluster::new("home"));
    let caller = cluster.caller_showing(Some(impostor.shown("agent/a")), Expected::Roles(vec![Role::Controller]));
    let (server, client) = handshake(&caller, &cluster.port(&[Role::Agent]))
        .await
        .refused_by_server();
    assert!(
        server.contains("berth://home/agent/a is signed by no authority that is trusted here"),
        "{server}"
    );
    assert!(client.contains("join again with a new token"), "{client}");
}

#[tokio::test]
async fn server_of_another_authority_is_refused_by_the_caller() {
    let (cluster, impostor) = (Cluster::new("home"), Cluster::new("home"));
    let port = impostor.port_of("controller/1", Clients::Anyone);
    let ends = handshake(&cluster.caller("agent/a"), &port).await;
    let client = ends.client.expect_err("the client refuses");
    assert!(
        client.contains("berth://home/controller/1 is signed by no authority"),
        "{client}"
    );
    assert!(matches!(ends.server, Err(HandshakeError::RefusedByPeer { .. })));
}

#[tokio::test]
async fn expired_certificate_is_refused_with_the_times() {
    let cluster = Cluster::new("home");
    let (caller, port) = (cluster.caller("agent/a"), cluster.port(&[Role::Agent]));
    cluster.clock.set(START + LIFETIME.as_secs());
    handshake(&caller, &port).await.connected();
    cluster.clock.set(START + LIFETIME.as_secs() + 1);
    // The server's has expired too: a caller that trusts its clock refuses first.
    let client = handshake(&caller, &port).await.client.expect_err("refused");
    assert!(
        client.contains("berth://home/controller/1 expired at 2027-01-15T09:00:00Z"),
        "{client}"
    );
    let renewed = cluster.port(&[Role::Agent]);
    let (server, client) = handshake(&caller, &renewed).await.refused_by_server();
    assert!(
        server.contains("berth://home/agent/a expired at 2027-01-15T09:00:00Z"),
        "{server}"
    );
    assert!(server.contains("and it is 2027-01-15T09:00:01Z here"), "{server}");
    assert!(client.contains("it expired or is not valid yet"), "{client}");
}

#[tokio::test]
async fn certificate_that_is_not_valid_yet_is_refused_beyond_the_tolerance_for_clocks() {
    let cluster = Cluster::new("home");
    let port = cluster.port(&[Role::Agent]);
    cluster.clock.set(START + 1000);
    let caller = cluster.caller("agent/a");
    cluster.clock.set(START + 700);
    handshake(&caller, &port).await.connected();
    cluster.clock.set(START + 699);
    let (server, _) = handshake(&caller, &port).await.refused_by_server();
    assert!(server.contains("berth://home/agent/a is valid from"), "{server}");
    assert!(server.contains("check the clocks"), "{server}");
}

#[tokio::test]
async fn agents_certificate_is_refused_at_the_controllers_port() {
    let cluster = Cluster::new("home");
    let port = cluster.port(&[Role::Controller]);
    let (server, client) = handshake(&cluster.caller("agent/a"), &port).await.refused_by_server();
    assert!(
        server.contains("berth://home/agent/a has no business here, where only controller may be"),
        "{server}"
    );
    assert!(client.contains("its role may not use that port"), "{client}");
}

#[tokio::test]
async fn agents_certificate_does_not_make_a_server() {
    let cluster = Cluster::new("home");
    let port = cluster.port_of("agent/a", Clients::Anyone);
    let client = handshake(&cluster.caller("agent/b"), &port)
        .await
        .client
        .expect_err("refused");
    assert!(client.contains("berth://home/agent/a cannot be used"), "{client}");
}

#[tokio::test]
async fn member_that_answers_for_another_is_refused() {
    let cluster = Cluster::new("home");
    let port = cluster.port(&[Role::Controller]);
    let two = Expected::Exactly(cluster.identity("controller/2"));
    let ends = handshake(&cluster.caller_expecting("controller/3", two), &port).await;
    let client = ends.client.expect_err("refused");
    assert!(
        client.contains("controller/1 answered where berth://home/controller/2 was expected"),
        "{client}"
    );
    let one = Expected::Exactly(cluster.identity("controller/1"));
    handshake(&cluster.caller_expecting("controller/3", one), &port)
        .await
        .connected();
}

#[tokio::test]
async fn removed_host_is_refused_at_once_and_its_connection_ends() {
    let mut cluster = Cluster::new("home");
    let trust = cluster.live_trust();
    let port = cluster.port_of("controller/1", Clients::Required(trust.clone(), vec![Role::Agent]));
    let (removed, kept) = (cluster.caller("agent/a"), cluster.caller("agent/b"));
    let (mut server, _client) = handshake(&removed, &port).await.connected();
    let (mut other_server, mut other_client) = handshake(&kept, &port).await.connected();

    // The server waits for its client to say something, as servers do.
    let reading = tokio::spawn(async move { server.read_u8().await });
    tokio::task::yield_now().await;
    cluster.removed.add(cluster.identity("agent/a"), cluster.clock.now());
    trust.replace(cluster.trust());

    let ended = tokio::time::timeout(Duration::from_secs(1), reading)
        .await
        .expect("at once")
        .expect("not panicked");
    let error = ended.expect_err("ended");
    let found = HandshakeError::reason_in(&error).expect("a reason");
    assert!(
        found.contains("berth://home/agent/a was removed from the cluster at 2027-01-15T08:00:00Z"),
        "{found}"
    );
    assert!(talks(&mut other_client, &mut other_server).await);
    let (server, client) = handshake(&removed, &port).await.refused_by_server();
    assert!(server.contains("join it again with a new token"), "{server}");
    assert!(client.contains("it was removed from the cluster"), "{client}");
}

#[tokio::test]
async fn connection_to_a_removed_controller_ends_at_the_callers_end_too() {
    let mut cluster = Cluster::new("home");
    let trust = cluster.live_trust();
    let port = cluster.port(&[Role::Agent]);
    let caller = berth_trust::tls::Connector::new(
        Some(cluster.shown("agent/a")),
        trust.clone(),
        Expected::Roles(vec![Role::Controller]),
        Protocol::Http2,
        cluster.clock.clone(),
    );
    let (_server, mut client) = handshake(&caller, &port).await.connected();
    cluster
        .removed
        .add(cluster.identity("controller/1"), cluster.clock.now());
    trust.replace(cluster.trust());
    client.write_all(b"x").await.expect_err("ended");
}

#[tokio::test]
async fn renewed_certificate_is_shown_from_the_next_handshake_on_and_connections_stay() {
    let cluster = Cluster::new("home");
    let shown = cluster.shown("agent/a");
    let caller = cluster.caller_showing(Some(shown.clone()), Expected::Roles(vec![Role::Controller]));
    let (mut server, mut client) = handshake(&caller, &cluster.port(&[Role::Agent])).await.connected();
    cluster.clock.set(START + LIFETIME.as_secs() + 1);
    let port = cluster.port(&[Role::Agent]);
    handshake(&caller, &port).await.refused_by_server();
    shown.replace(&cluster.credentials("agent/a"));
    handshake(&caller, &port).await.connected();
    assert!(talks(&mut client, &mut server).await);
}

#[tokio::test]
async fn api_is_known_by_its_name_to_clients_who_look_for_that() {
    let cluster = Cluster::new("home");
    let credentials = cluster.credentials_for("api/1", &["ecs.home.example", "10.0.0.1"]);
    let port = berth_trust::tls::Acceptor::new(
        LiveCredentials::new(&credentials),
        Clients::Anyone,
        Protocol::Http1,
        cluster.clock.clone(),
    );
    let client = |name: &str| {
        berth_trust::tls::Connector::new(
            None,
            cluster.live_trust(),
            Expected::Named(Role::Api, server_name(name)),
            Protocol::Http1,
            cluster.clock.clone(),
        )
    };
    for name in ["ecs.home.example", "10.0.0.1"] {
        handshake(&client(name), &port).await.connected();
    }
    for name in ["other.example", "10.0.0.2"] {
        let error = handshake(&client(name), &port).await.client.expect_err("refused");
        assert!(
            error.contains(&format!("berth://home/api/1 is not for {name}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let cluster = Cluster::new("home");
    let port = cluster.port_of("controller/1", Clients::Anyone);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2, which other crates of the workspace bring")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let old = TlsConnector::from(Arc::new(config));
    let (server, client) = tokio::join!(port.accept(far), old.connect(server_name("home.example"), near));
    let error = server.expect_err("refused");
    assert!(matches!(error, HandshakeError::Incompatible(_)), "{error}");
    client.expect_err("refused");
}

#[tokio::test]
async fn session_cannot_be_resumed_past_the_checks() {
    let mut cluster = Cluster::new("home");
    let trust = cluster.live_trust();
    let port = cluster.port_of("controller/1", Clients::Required(trust.clone(), vec![Role::Agent]));
    let credentials = cluster.credentials("agent/a");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(Arc::new(LiveCredentials::new(&credentials)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // One client with a memory for sessions, as a foreign client would have it.
    let eager = TlsConnector::from(Arc::new(config));
    let connect = |port: berth_trust::tls::Acceptor| {
        let eager = eager.clone();
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let serving = async {
                let mut connection = port.accept(far).await?;
                connection.write_all(b"x").await.map_err(HandshakeError::Io)?;
                Ok::<_, HandshakeError>(())
            };
            let calling = async {
                let mut stream = eager
                    .connect(server_name("home.example"), near)
                    .await
                    .expect("its own part");
                stream.read_u8().await.ok();
                stream.get_ref().1.handshake_kind()
            };
            tokio::join!(serving, calling)
        }
    };
    for _ in 0..2 {
        let (server, kind) = connect(port.clone()).await;
        server.expect("accepted");
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
    cluster.removed.add(cluster.identity("agent/a"), cluster.clock.now());
    trust.replace(cluster.trust());
    connect(port).await.0.expect_err("refused");
}

/// A client that takes any server: what is tested is the server.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
