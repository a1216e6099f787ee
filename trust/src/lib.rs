//! Who may speak to whom in a Berth cluster, and how each proves it.
//!
//! Owns the cluster's certificate authorities and their rotation ([`ca`], [`rotation`], [`bundle`]), what a certificate says about
//! its holder ([`identity`], [`request`], [`credentials`]), who is no longer let in ([`removed`]), how a host gets its first
//! certificate ([`token`], [`token_record`], [`join`]) and its next one ([`renew`], [`keeper`]), and TLS 1.3 connections that hold to all that
//! ([`tls`]). It must not know what is said over those connections, nor where the replicated state is kept. Everything but
//! [`keeper`] and [`tls`] is told the time and reads or writes nothing; randomness is used for keys, serial numbers and secrets.
//!
//! A Berth cluster here is the controllers and hosts under one authority; ECS's clusters live inside it.

pub mod bundle;
pub mod ca;
pub mod credentials;
pub mod identity;
pub mod join;
pub mod keeper;
mod pem;
pub mod removed;
pub mod renew;
pub mod request;
pub mod rotation;
mod text;
pub mod tls;
pub mod token;
pub mod token_record;

pub use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
pub use rustls::sign::CertifiedKey;
pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
