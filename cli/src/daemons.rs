//! Managed daemons: how commands name them, and what the API says of one. Shell, but for the names, which are pure.

use anyhow::{Result, anyhow, bail};
use berth_aws::ecs::operations::{DescribeDaemon, DescribeDaemonDeployments, ListDaemons};
use berth_aws::ecs::{
    DaemonDeployment, DaemonDetail, DescribeDaemonDeploymentsRequest, DescribeDaemonRequest, ListDaemonsRequest,
};

use crate::cluster::{Cluster, is_refusal, last_part};

/// What their names begin with where a service could be meant too, as the groups of their tasks do.
const PREFIX: &str = "daemon:";

/// Pages of the daemons of one cluster: at 100 a page, many more than one has.
const MAX_PAGES: usize = 1_000;

/// The name of the daemon that is meant by `daemon:NAME` or an ARN; `None` if it is none.
pub(crate) fn named(text: &str) -> Option<&str> {
    match text.strip_prefix(PREFIX) {
        Some(name) => Some(name),
        None => (text.starts_with("arn:") && text.contains(":daemon/")).then(|| last_part(text)),
    }
}

/// A service or daemon in sentences: `service web`, `daemon logs`.
pub(crate) fn subject(text: &str) -> String {
    match named(text) {
        Some(name) => format!("daemon {name}"),
        None => format!("service {}", last_part(text)),
    }
}

impl Cluster {
    /// A daemon, `None` if there is none of the name.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn daemon(&self, name: &str) -> Result<Option<DaemonDetail>> {
        let Some(arn) = self.daemon_arn(name).await? else {
            return Ok(None);
        };
        let request = DescribeDaemonRequest { daemon_arn: Some(arn) };
        match self.call::<DescribeDaemon>(&request).await {
            Err(error) if is_refusal(&error, "DaemonNotFoundException") => Ok(None),
            answer => Ok(answer?.daemon),
        }
    }

    /// The ARN of a daemon, which only the controller knows whole.
    async fn daemon_arn(&self, name: &str) -> Result<Option<String>> {
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let request = ListDaemonsRequest {
                cluster_arn: self.named(),
                next_token,
                ..Default::default()
            };
            let page = self.call::<ListDaemons>(&request).await?;
            let mut arns = page
                .daemon_summaries_list
                .into_iter()
                .flatten()
                .filter_map(|daemon| daemon.daemon_arn);
            if let Some(arn) = arns.find(|arn| last_part(arn) == name) {
                return Ok(Some(arn));
            }
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(None);
            }
        }
        bail!("the list of daemons does not end")
    }

    /// A deployment of a daemon, `None` if it is forgotten.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn daemon_deployment(&self, arn: &str) -> Result<Option<DaemonDeployment>> {
        let request = DescribeDaemonDeploymentsRequest {
            daemon_deployment_arns: Some(vec![arn.to_owned()]),
        };
        let answer = self.call::<DescribeDaemonDeployments>(&request).await?;
        Ok(answer.daemon_deployments.into_iter().flatten().next())
    }

    /// That there is no such daemon.
    pub(crate) fn no_daemon(&self, name: &str) -> anyhow::Error {
        anyhow!(
            "cluster {} has no daemon {name}; `berth aws ecs list-daemons --cluster-arn {}` lists those that it has",
            self.name(),
            self.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_is_told_from_a_service_by_the_name_that_no_service_has_or_by_its_arn() {
        let arn = |kind: &str| format!("arn:aws:ecs:us-east-1:123456789012:{kind}/shop/logs");
        assert_eq!(named("daemon:logs"), Some("logs"));
        assert_eq!(named(&arn("daemon")), Some("logs"));
        assert_eq!((named("logs"), named(&arn("service"))), (None, None));
        assert_eq!(
            (subject("daemon:logs"), subject(&arn("service"))),
            ("daemon logs".into(), "service logs".into())
        );
    }
}
