//! The root credentials of an installation: whose they are, and what they sign with. Pure.

use berth_core::model::AccountId;

/// The access key of the account's root user.
#[derive(Clone)]
pub struct RootCredentials {
    /// The account that the key belongs to.
    pub account: AccountId,
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl RootCredentials {
    /// ARN of the root user.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:root", self.account)
    }
}

impl std::fmt::Debug for RootCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RootCredentials")
            .field("account", &self.account)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}
