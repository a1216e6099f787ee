//! A cluster's authority is rotated while everybody talks: no connection ends, and in every phase everybody can connect, whichever
//! certificate and whichever bundle they have by then.

mod common;

use berth_trust::ca::Authority;
use berth_trust::identity::Role;
use berth_trust::join::Joiner;
use berth_trust::renew;
use berth_trust::tls::{Acceptor, Clients, Connector, Expected, LiveCredentials, LiveTrust, Protocol};
use berth_trust::token::{DEFAULT_TOKEN_LIFETIME, JoinToken, TokenTerms};
use common::{Cluster, Memory, handshake, talks};

/// A host or member with what it has of the cluster's trust.
struct Holder {
    name: &'static str,
    shown: LiveCredentials,
    trust: LiveTrust,
}

impl Holder {
    fn new(cluster: &Cluster, name: &'static str) -> Self {
        Self {
            name,
            shown: cluster.shown(name),
            trust: cluster.live_trust(),
        }
    }

    fn renew(&self, cluster: &Cluster) {
        self.shown.replace(&cluster.credentials(self.name));
    }

    fn learn(&self, cluster: &Cluster) {
        self.trust.replace(cluster.trust());
    }

    fn port(&self, cluster: &Cluster) -> Acceptor {
        let clients = Clients::Required(self.trust.clone(), vec![Role::Controller, Role::Agent]);
        Acceptor::new(self.shown.clone(), clients, Protocol::Http2, cluster.clock.clone())
    }

    fn caller(&self, cluster: &Cluster) -> Connector {
        let expected = Expected::Roles(vec![Role::Controller]);
        let own = Some(self.shown.clone());
        Connector::new(
            own,
            self.trust.clone(),
            expected,
            Protocol::Http2,
            cluster.clock.clone(),
        )
    }
}

struct Everyone {
    holders: [Holder; 4],
    talking: Vec<(Memory, Memory)>,
}

impl Everyone {
    /// Connects everybody anew with each controller, and hears whether the connections of all earlier phases still work.
    async fn connect_and_talk(&mut self, cluster: &Cluster, phase: &str) {
        for server in &self.holders[..2] {
            for client in &self.holders {
                let ends = handshake(&client.caller(cluster), &server.port(cluster)).await;
                let what = format!("{} with {} when {phase}", client.name, server.name);
                if let Err(error) = &ends.server {
                    panic!("{what}: {error}");
                }
                if let Err(error) = &ends.client {
                    panic!("{what}: {error}");
                }
                self.talking.push(ends.connected());
            }
        }
        for (number, (server, client)) in self.talking.iter_mut().enumerate() {
            assert!(talks(client, server).await, "connection {number} ended when {phase}");
            assert!(talks(server, client).await, "connection {number} ended when {phase}");
        }
    }
}

#[tokio::test]
async fn authority_is_rotated_with_connections_in_every_phase() {
    let mut cluster = Cluster::new("home");
    let names = ["controller/1", "controller/2", "agent/a", "agent/b"];
    let mut everyone = Everyone {
        holders: names.map(|name| Holder::new(&cluster, name)),
        talking: Vec::new(),
    };
    everyone.connect_and_talk(&cluster, "settled").await;

    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    cluster.authorities = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    for index in 0..everyone.holders.len() {
        everyone.holders[index].learn(&cluster);
        everyone.connect_and_talk(&cluster, "some trust both").await;
    }

    cluster.authorities = cluster.authorities.switch(0).expect("switched");
    for index in 0..everyone.holders.len() {
        everyone.holders[index].renew(&cluster);
        everyone.connect_and_talk(&cluster, "some have renewed").await;
        everyone.holders[index].learn(&cluster);
    }

    cluster.authorities = cluster.authorities.retire(0).expect("retired");
    for index in 0..everyone.holders.len() {
        everyone.holders[index].learn(&cluster);
        everyone.connect_and_talk(&cluster, "some trust the new one only").await;
    }
    assert!(
        everyone.talking.len() >= 8 * 13,
        "{} connections",
        everyone.talking.len()
    );
}

#[tokio::test]
async fn certificate_of_the_retired_authority_is_refused() {
    let mut cluster = Cluster::new("home");
    let late = cluster.shown("agent/late");
    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    let introduced = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    let switched = introduced.switch(0).expect("switched");
    cluster.authorities = switched.retire(0).expect("retired");
    let caller = cluster.caller_showing(Some(late), Expected::Roles(vec![Role::Controller]));
    let (server, client) = handshake(&caller, &cluster.port(&[Role::Agent]))
        .await
        .refused_by_server();
    assert!(
        server.contains("berth://home/agent/late is signed by no authority"),
        "{server}"
    );
    assert!(client.contains("an authority that is trusted no longer"), "{client}");
}

#[tokio::test]
async fn one_who_trusts_only_the_old_authority_trusts_certificates_of_the_new_one_until_that_is_retired() {
    let mut cluster = Cluster::new("home");
    // Was given a file of authorities before the rotation, as AWS clients are, and nobody tells it of another one.
    let offline = Holder::new(&cluster, "agent/offline");
    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    let introduced = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    cluster.authorities = introduced.switch(0).expect("switched");
    handshake(&offline.caller(&cluster), &cluster.port(&[Role::Agent]))
        .await
        .connected();
    cluster.authorities = cluster.authorities.retire(0).expect("retired");
    let ends = handshake(&offline.caller(&cluster), &cluster.port(&[Role::Agent])).await;
    ends.client.expect_err("refused");
}

#[tokio::test]
async fn tokens_of_both_authorities_find_the_cluster_while_the_old_one_is_trusted() {
    let mut cluster = Cluster::new("home");
    let token = |cluster: &Cluster| {
        let terms = TokenTerms {
            role: Role::Agent,
            lifetime: DEFAULT_TOKEN_LIFETIME,
            uses: 1,
            created_by: "anna".to_owned(),
        };
        let digest = cluster.authorities.signer().expect("a signer").authority().digest();
        let (token, _) = JoinToken::mint(terms, digest, cluster.clock.now()).expect("a token");
        Joiner::new(&token.to_secret_text()).expect("a joiner")
    };
    let port = |cluster: &Cluster| cluster.port_of("controller/1", Clients::Anyone);
    let old = token(&cluster);
    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    let introduced = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    cluster.authorities = introduced.switch(0).expect("switched");
    let new = token(&cluster);
    for joiner in [&old, &new] {
        let connector = Connector::pinned(joiner.token().authority(), cluster.clock.clone());
        handshake(&connector, &port(&cluster)).await.connected();
    }
    cluster.authorities = cluster.authorities.retire(0).expect("retired");
    let connector = Connector::pinned(new.token().authority(), cluster.clock.clone());
    handshake(&connector, &port(&cluster)).await.connected();
    let connector = Connector::pinned(old.token().authority(), cluster.clock.clone());
    let error = handshake(&connector, &port(&cluster))
        .await
        .client
        .expect_err("refused");
    assert!(error.contains("was rotated since the token was made"), "{error}");
}

#[test]
fn holder_renews_at_once_when_another_authority_signs_and_not_before() {
    let mut cluster = Cluster::new("home");
    let credentials = cluster.credentials("agent/a");
    let due = |cluster: &Cluster, credentials| {
        let bundle = cluster.authorities.bundle().expect("a bundle");
        renew::due_at(credentials, &bundle, 7) <= cluster.clock.now()
    };
    assert!(!due(&cluster, &credentials));
    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    cluster.authorities = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    assert!(!due(&cluster, &credentials));
    cluster.authorities = cluster.authorities.switch(0).expect("switched");
    assert!(due(&cluster, &credentials));
    assert!(!due(&cluster, &cluster.credentials("agent/a")));
}
