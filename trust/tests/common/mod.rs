//! A cluster's trust without its servers, and handshakes between any two of it, in memory.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_trust::ca::{Authority, Grant, MIN_LIFETIME};
use berth_trust::credentials::Credentials;
use berth_trust::identity::{Identity, Role};
use berth_trust::removed::Removed;
use berth_trust::request::{HolderKey, SigningRequest};
use berth_trust::rotation::Authorities;
use berth_trust::tls::{
    Acceptor, Clients, Connection, Connector, Expected, HandshakeError, LiveCredentials, LiveTrust, Protocol, Trust,
};
use berth_trust::{ServerName, TimeProvider, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// When tests begin.
pub(crate) const START: u64 = 1_800_000_000;

/// Lifetime of the tests' certificates.
pub(crate) const LIFETIME: Duration = MIN_LIFETIME;

/// A clock that tests set.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> UnixTime {
        at(self.0.load(Ordering::SeqCst))
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// A cluster: its authorities, who was removed, and its clock.
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) authorities: Authorities,
    pub(crate) removed: Removed,
    pub(crate) clock: Arc<TestClock>,
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        Self::since(name, START)
    }

    /// A cluster whose clock shows the true time, for other programs that know no other.
    pub(crate) fn now(name: &str) -> Self {
        Self::since(name, UnixTime::now().as_secs())
    }

    fn since(name: &str, start: u64) -> Self {
        let first = Authority::create(&name.parse().expect("an id"), at(start)).expect("an authority");
        Self {
            name: name.to_owned(),
            authorities: Authorities::new(&first),
            removed: Removed::default(),
            clock: Arc::new(TestClock(AtomicU64::new(start))),
        }
    }

    pub(crate) fn identity(&self, rest: &str) -> Identity {
        format!("berth://{}/{rest}", self.name).parse().expect("an identity")
    }

    /// A certificate for `rest`, such as `agent/a`, signed now.
    pub(crate) fn credentials(&self, rest: &str) -> Credentials {
        self.credentials_for(rest, &[])
    }

    pub(crate) fn credentials_for(&self, rest: &str, names: &[&str]) -> Credentials {
        let key = HolderKey::draw().expect("a key");
        let request = SigningRequest::from_der(&key.request().expect("a request")).expect("read");
        let grant = Grant {
            identity: self.identity(rest),
            names: names.iter().map(|name| server_name(name)).collect(),
        };
        let signer = self.authorities.signer().expect("a signer");
        let chain = signer
            .issue(&request, &grant, self.clock.now(), LIFETIME)
            .expect("signed");
        Credentials::new(key, chain).expect("credentials")
    }

    pub(crate) fn shown(&self, rest: &str) -> LiveCredentials {
        LiveCredentials::new(&self.credentials(rest))
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::new(self.authorities.bundle().expect("a bundle"), self.removed.clone())
    }

    pub(crate) fn live_trust(&self) -> LiveTrust {
        LiveTrust::new(self.trust())
    }

    /// A port of member 1 for holders of these roles.
    pub(crate) fn port(&self, roles: &[Role]) -> Acceptor {
        self.port_of("controller/1", Clients::Required(self.live_trust(), roles.to_vec()))
    }

    pub(crate) fn port_of(&self, rest: &str, clients: Clients) -> Acceptor {
        Acceptor::new(self.shown(rest), clients, Protocol::Http2, self.clock.clone())
    }

    /// Somebody who calls controllers.
    pub(crate) fn caller(&self, rest: &str) -> Connector {
        self.caller_expecting(rest, Expected::Roles(vec![Role::Controller]))
    }

    pub(crate) fn caller_expecting(&self, rest: &str, expected: Expected) -> Connector {
        self.caller_showing(Some(self.shown(rest)), expected)
    }

    pub(crate) fn caller_showing(&self, own: Option<LiveCredentials>, expected: Expected) -> Connector {
        Connector::new(own, self.live_trust(), expected, Protocol::Http2, self.clock.clone())
    }
}

pub(crate) fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).expect("a name")
}

pub(crate) type Memory = Connection<DuplexStream>;

/// What became of the server's and of the client's end. The client's is known once it has read what the server says.
pub(crate) struct Ends {
    pub(crate) server: Result<Memory, HandshakeError>,
    pub(crate) client: Result<Memory, String>,
}

impl Ends {
    /// Both ends, which talk to each other.
    pub(crate) fn connected(self) -> (Memory, Memory) {
        let server = self.server.expect("the server accepts");
        (server, self.client.expect("the client accepts"))
    }

    /// Why the server did not accept, and what the client learnt of it.
    pub(crate) fn refused_by_server(self) -> (String, String) {
        let server = self.server.expect_err("the server refuses");
        (server.to_string(), self.client.expect_err("the client is refused"))
    }
}

/// Connects, and lets the server say a word.
pub(crate) async fn handshake(client: &Connector, server: &Acceptor) -> Ends {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = async {
        let mut connection = server.accept(far).await?;
        connection.write_all(b"welcome").await.map_err(HandshakeError::Io)?;
        connection.flush().await.map_err(HandshakeError::Io)?;
        Ok(connection)
    };
    let calling = async {
        let mut connection = client.connect(near).await.map_err(|error| error.to_string())?;
        let mut word = [0; 7];
        match connection.read_exact(&mut word).await {
            Ok(_) => Ok(connection),
            Err(error) => Err(error.to_string()),
        }
    };
    let (server, client) = tokio::join!(serving, calling);
    Ends { server, client }
}

/// Whether what one end says still reaches the other.
pub(crate) async fn talks(from: &mut Memory, to: &mut Memory) -> bool {
    let mut word = [0; 4];
    let says = async {
        from.write_all(b"ping").await?;
        from.flush().await
    };
    let (said, heard) = tokio::join!(says, to.read_exact(&mut word));
    said.is_ok() && heard.is_ok() && &word == b"ping"
}
