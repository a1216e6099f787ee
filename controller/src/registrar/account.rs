//! Of which account a host must be: that of the cluster. Under another one nobody could list it, and nobody remove it. Pure.

/// The account of a host is not the cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account of the cluster is {cluster}, and this host says {said}: start it with --account-id {cluster}")]
pub struct OtherAccount {
    cluster: String,
    said: String,
}

/// Checks what a host says.
///
/// # Errors
/// [`OtherAccount`]
pub(crate) fn check(cluster: &str, said: &str) -> Result<(), OtherAccount> {
    if cluster == said {
        return Ok(());
    }
    Err(OtherAccount {
        cluster: cluster.to_owned(),
        said: said.to_owned(),
    })
}
