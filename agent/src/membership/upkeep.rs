//! The next certificates of a host, and what the cluster tells: whom to trust, and where the controllers are. Shell.
//!
//! Any controller is asked, whether it leads or not. That none answers is no harm until the certificate expires: it is renewed
//! after two thirds of its lifetime, and the rest is for trying again.

use std::time::Duration;

use berth_proto::v1::joining_client::JoiningClient;
use berth_proto::v1::{ClusterNews, RenewRequest, TrustReport};
use berth_trust::bundle::{Bundle, BundleError};
use berth_trust::credentials::{Credentials, CredentialsError};
use berth_trust::keeper::KeeperError;
use berth_trust::request::{HolderKey, RequestError};
use berth_trust::tls::{Refusal, verify_chain};
use berth_trust::{CertificateDer, UnixTime, renew};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::{Membership, blocking};
use crate::controllers::Controllers;
use crate::dialer::{Dialer, LinkError, refusal_in};
use crate::ledger::LedgerError;

/// How long a controller may take to accept a connection, and to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Longest wait until the clock is looked at again: it may have been set, and timers stand still while a machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Reports in a row: one says whom this host trusts, the next one that it trusts those of the answer.
const MAX_REPORTS: usize = 3;

/// Why a controller's help came to nothing.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("it did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Deadline,
    #[error("it refused: {0}")]
    Status(String),
    #[error("its certificate for this host is of no use")]
    Credentials(#[from] CredentialsError),
    #[error("its certificate for this host is for {0}")]
    OtherIdentity(String),
    #[error("its certificate for this host is of no use: {0}")]
    Refusal(#[from] Refusal),
    #[error("the authorities that it tells of cannot be read")]
    Bundle(#[from] BundleError),
    #[error("the authorities that it tells of are of another cluster: {0}")]
    OtherCluster(String),
    #[error("no request for a certificate can be made")]
    Request(#[from] RequestError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Renews the certificate and asks for news when it is time, for as long as the agent runs.
pub(crate) async fn keep_up(membership: Membership, controllers: Controllers) {
    let dialer = Dialer::Tls(Box::new(membership.connector()));
    let mut spoken_of = membership.spoken_of.subscribe();
    let seed = getrandom::u64().unwrap_or(0);
    let (mut known, mut failures) = (0, 0);
    loop {
        let newest = *spoken_of.borrow_and_update();
        let due = is_renewal_due(&membership, seed);
        if !due && newest == known {
            tokio::select! {
                _ = spoken_of.changed() => {}
                () = tokio::time::sleep(until_renewal(&membership, seed).min(LOOK_EVERY)) => {}
            }
            continue;
        }
        match catch_up(&membership, &controllers, &dialer, due).await {
            Ok(version) => {
                // News that a controller spoke of and that another does not have yet are asked for again when they are spoken of again.
                known = if newest > version { newest } else { version.max(newest) };
                if !is_renewal_due(&membership, seed) {
                    failures = 0;
                    continue;
                }
                failures += 1;
                tracing::warn!("this host's new certificate is to be renewed already: check its clock");
                tokio::time::sleep(renew::retry_after(failures, seed)).await;
            }
            Err(reason) => {
                failures += 1;
                let pause = renew::retry_after(failures, seed);
                let expires = membership.kept().credentials.not_after().as_secs();
                tracing::warn!(
                    due,
                    reason,
                    expires_in_s = expires.saturating_sub(UnixTime::now().as_secs()),
                    again_in_ms = pause.as_millis(),
                    "no controller renews this host's certificate or tells the cluster's news"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn is_renewal_due(membership: &Membership, seed: u64) -> bool {
    until_renewal(membership, seed).is_zero()
}

fn until_renewal(membership: &Membership, seed: u64) -> Duration {
    let kept = membership.kept();
    let at = renew::due_at(&kept.credentials, &kept.authorities, seed);
    Duration::from_secs(at.as_secs().saturating_sub(UnixTime::now().as_secs()))
}

/// Asks the controllers in turn, until one has helped; returns the version of its news, or what the last one said.
async fn catch_up(
    membership: &Membership,
    controllers: &Controllers,
    dialer: &Dialer,
    renews: bool,
) -> Result<u64, String> {
    let mut last = "no controller is known".to_owned();
    for controller in controllers.all() {
        let asking = async {
            let channel = dialer.connect(&controller, CONNECT_WITHIN).await?;
            let mut client = JoiningClient::new(channel);
            if renews {
                self::renew(membership, &mut client, controllers).await?;
            }
            report(membership, &mut client, controllers).await
        };
        match asking.await {
            Ok(version) => return Ok(version),
            Err(error) => {
                let reason = crate::dialer::chain(&error);
                tracing::debug!(
                    controller,
                    reason,
                    "a controller could not be asked about certificate and news"
                );
                last = format!("{controller}: {reason}");
            }
        }
    }
    Err(last)
}

async fn renew(
    membership: &Membership,
    client: &mut JoiningClient<Channel>,
    controllers: &Controllers,
) -> Result<(), UpkeepError> {
    let key = HolderKey::draw()?;
    let request = key.request()?;
    let answer = answered(client.renew(RenewRequest { request })).await?;
    let news = answer.news.unwrap_or_default();
    take_news(membership, &news, controllers).await?;
    let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
    let credentials = Credentials::new(key, chain)?;
    let kept = membership.kept();
    if credentials.identity() != kept.credentials.identity() {
        return Err(UpkeepError::OtherIdentity(credentials.identity().to_string()));
    }
    verify_chain(credentials.chain(), &kept.authorities, UnixTime::now())?;
    let membership = membership.clone();
    blocking(move || membership.take_credentials(credentials)).await?;
    tracing::info!("this host has a new certificate");
    Ok(())
}

/// Says whom this host trusts, and takes what the cluster says, until the two agree.
async fn report(
    membership: &Membership,
    client: &mut JoiningClient<Channel>,
    controllers: &Controllers,
) -> Result<u64, UpkeepError> {
    let mut version = 0;
    for _ in 0..MAX_REPORTS {
        let trusted = membership.kept().authorities;
        let authorities = trusted.authorities().iter().map(|one| one.digest().to_string());
        let authorities = authorities.collect();
        let news = answered(client.report_trust(TrustReport { authorities })).await?;
        version = news.version;
        take_news(membership, &news, controllers).await?;
        if membership.kept().authorities == trusted {
            break;
        }
    }
    Ok(version)
}

async fn take_news(membership: &Membership, news: &ClusterNews, controllers: &Controllers) -> Result<(), UpkeepError> {
    let told = Bundle::from_pem(&news.authorities)?;
    let kept = membership.kept();
    if told.cluster() != kept.credentials.identity().cluster() {
        return Err(UpkeepError::OtherCluster(told.cluster().to_string()));
    }
    if told != kept.authorities {
        let membership = membership.clone();
        blocking(move || membership.take_authorities(told)).await?;
        tracing::info!("this host trusts other authorities, as its cluster says");
    }
    controllers.tell(news.controllers.clone()).await?;
    Ok(())
}

async fn answered<T>(call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, UpkeepError> {
    match timeout(ANSWER_WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            Err(refusal_in(&status).map_or_else(|| UpkeepError::Status(status.message().to_owned()), UpkeepError::Link))
        }
        Err(_) => Err(UpkeepError::Deadline),
    }
}
