//! Who belongs to the cluster: its authorities, its join tokens, the holders of certificates and those who were removed, as documents of
//! the replicated state; and this member's own certificate.
//!
//! Owns those documents and every change of them: each is proposed on what was read, and committed before anybody is answered. How
//! certificates are made and checked is `trust`'s. It must not know what is said over connections. Shell.

mod account;
mod changes;
mod documents;
mod holders;
mod joining;
mod news;
mod own_certificate;
mod tokens;

pub use account::OtherAccount;
pub(crate) use account::check as check_account;
pub use changes::{Registrar, RegistrarError};
pub use documents::{DocumentError, Holder, RemovedHolder, RootKey, authorities, holders, removed, root_key, tokens};
pub(crate) use holders::removal_of_controllers;
pub use joining::JoiningService;
pub(crate) use news::{controllers, news_version, uri};
pub use own_certificate::{OwnCertificate, Shown};
pub use tokens::NewToken;
