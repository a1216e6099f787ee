//! TLS 1.3 between the parts of a cluster: both ends show certificates, and each is held to what it may be. Shell.
//!
//! Owns the checks of a handshake ([`verify`]), what is swapped while connections live ([`live`]), the connection that ends when its
//! other end is removed from the cluster ([`connection`]), and both ends' ways to one ([`accept`], [`connect`]). It must not know what
//! is said over a connection.
//!
//! Each handshake is configured anew from what is trusted and shown at that moment: so a renewed certificate, a new authority and a
//! removal hold from the next handshake on, and established connections stay. There is no resumption, which would skip the checks.

pub mod accept;
pub mod connect;
pub mod connection;
mod error;
pub mod live;
pub mod verify;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use accept::{Acceptor, Clients, Incoming};
pub use connect::Connector;
pub use connection::{Connection, Peer};
pub use error::{HandshakeError, Refusal};
pub use live::{LiveCredentials, LiveTrust, Trust};
pub use verify::{Expected, verify_chain};

/// How long a handshake may take: three round trips, and the queue in front of a controller to which all hosts return at once.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: HTTP/2 alone.
    Http2,
    /// AWS clients: HTTP/1.1.
    Http1,
}

impl Protocol {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// The algorithms: TLS 1.3's alone, with the key exchange that also withstands quantum computers first.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::{cipher_suite, kx_group};
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}
