//! Which cluster a command talks to: endpoint, region, credentials and cluster name.
//!
//! Owns the choice between flags, the environment that AWS tools use, and the development clusters of this machine. Shell.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::Args;

use crate::address;
use crate::client::Client;
use crate::running::{self, RunningCluster};

/// The flag that names one of the development clusters of this machine.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ListenArgument {
    /// The `berth dev` that listens there; needed only where several run
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address::parse)]
    listen: Option<SocketAddr>,
}

/// Flags of every command that talks to a cluster.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TargetArguments {
    #[command(flatten)]
    running: ListenArgument,
    /// URL of a controller's endpoint; the keys are then taken from the environment
    #[arg(long, env = "AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    endpoint: Option<String>,
    /// Region [default: that of the `berth dev` found, else AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Cluster [default: that of the `berth dev` found, else `default`]
    #[arg(long, env = "BERTH_CLUSTER", hide_env_values = true, value_name = "NAME")]
    cluster: Option<String>,
}

/// Whose words led to a cluster, for messages that say what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file of a `berth dev` that runs on this machine.
    Running,
    /// `--endpoint` or the variables of AWS tools.
    Environment,
}

/// A cluster to talk to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// URL of the endpoint.
    pub(crate) endpoint: String,
    /// Region.
    pub(crate) region: String,
    /// Id of the access key.
    pub(crate) access_key_id: String,
    /// Secret of the access key.
    pub(crate) secret_access_key: String,
    /// Token of temporary credentials.
    pub(crate) session_token: Option<String>,
    /// The cluster meant.
    pub(crate) cluster: String,
    /// How it was found.
    pub(crate) origin: Origin,
}

impl Target {
    /// A client for it.
    ///
    /// # Errors
    /// If the endpoint is no plain HTTP address.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(self)
    }

    /// The variables by which AWS tools find it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.clone()),
        ];
        variables.extend(self.session_token.clone().map(|token| ("AWS_SESSION_TOKEN", token)));
        variables
    }
}

impl From<RunningCluster> for Target {
    fn from(found: RunningCluster) -> Self {
        Self {
            endpoint: found.endpoint,
            region: found.region,
            access_key_id: found.access_key_id,
            secret_access_key: found.secret_access_key,
            session_token: None,
            cluster: found.cluster,
            origin: Origin::Running,
        }
    }
}

impl ListenArgument {
    /// Finds the development cluster that `--listen` names, else the one whose endpoint the environment names, else the only one that runs.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub(crate) fn find(&self) -> Result<RunningCluster> {
        let clusters = running::list()?;
        let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
        let named = clusters
            .iter()
            .position(|cluster| cluster.endpoint == endpoint.trim_end_matches('/'));
        match named.filter(|_| self.listen.is_none()) {
            Some(place) => choose(clusters.into_iter().skip(place).take(1).collect(), None),
            None => choose(clusters, self.listen),
        }
    }

    /// True if the flag was given.
    pub(crate) fn is_given(&self) -> bool {
        self.listen.is_some()
    }
}

impl TargetArguments {
    /// The cluster that a flag or the environment names, if one does.
    pub(crate) fn cluster_given(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// As if no flag had been given.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self {
            endpoint: variable("AWS_ENDPOINT_URL"),
            cluster: variable("BERTH_CLUSTER"),
            ..Self::default()
        }
    }

    /// With the flag that names a development cluster.
    pub(crate) fn with(self, running: ListenArgument) -> Self {
        Self { running, ..self }
    }

    /// Finds the cluster: the one that `--listen` names; else the endpoint of the flag or environment, with the environment's
    /// credentials; else the only development cluster that runs.
    ///
    /// # Errors
    /// If there is none, or more than one, or credentials are missing.
    pub(crate) fn find(&self) -> Result<Target> {
        let endpoint = self.endpoint.as_deref().filter(|url| !url.is_empty());
        let mut target = match endpoint {
            Some(endpoint) if !self.running.is_given() => from_environment(endpoint)?,
            _ => Target::from(self.running.find()?),
        };
        if let Some(region) = &self.region {
            target.region.clone_from(region);
        }
        if let Some(cluster) = self.cluster.as_ref().filter(|name| !name.is_empty()) {
            target.cluster.clone_from(cluster);
        }
        Ok(target)
    }
}

fn from_environment(endpoint: &str) -> Result<Target> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(access_key_id), Some(secret_access_key)) =
        (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    else {
        bail!(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set to talk to {endpoint}; for a running `berth dev` use --listen, or eval \"$(berth env)\""
        );
    };
    // The environment has no word for the cluster; if the endpoint is of a `berth dev`, its own is meant.
    let running = running::list().unwrap_or_default();
    let same = running
        .into_iter()
        .find(|cluster| cluster.endpoint == endpoint.trim_end_matches('/'));
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    Ok(Target {
        endpoint: endpoint.to_owned(),
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id,
        secret_access_key,
        session_token: variable("AWS_SESSION_TOKEN"),
        cluster: same.map_or_else(|| "default".to_owned(), |cluster| cluster.cluster),
        origin: Origin::Environment,
    })
}

fn choose(clusters: Vec<RunningCluster>, listen: Option<SocketAddr>) -> Result<RunningCluster> {
    let addresses: Vec<String> = clusters.iter().map(|cluster| cluster.listen.to_string()).collect();
    let mut fitting = clusters
        .into_iter()
        .filter(|cluster| listen.is_none_or(|wanted| is_reached_by(cluster.listen, wanted)));
    match (fitting.next(), fitting.next(), listen) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => bail!(
            "several `berth dev` run on this machine: {}; name one with --listen",
            addresses.join(", ")
        ),
        (None, _, Some(wanted)) if !addresses.is_empty() => {
            bail!(
                "no `berth dev` of this user listens on {wanted}; there are {}",
                addresses.join(", ")
            )
        }
        (None, ..) => bail!(
            "no `berth dev` of this user runs on this machine; start one with `berth dev`, or set AWS_ENDPOINT_URL"
        ),
    }
}

/// Whether a client of this machine that connects to `wanted` meets who listens on `listen`.
fn is_reached_by(listen: SocketAddr, wanted: SocketAddr) -> bool {
    listen == wanted || (listen.ip().is_unspecified() && listen.port() == wanted.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(port: u16) -> RunningCluster {
        RunningCluster {
            endpoint: format!("http://127.0.0.1:{port}"),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
            cluster: "default".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            pid: 1,
            data_dir: "/nonexistent".into(),
            containerd: None,
        }
    }

    #[test]
    fn choice_with_one_cluster_takes_it() {
        assert_eq!(choose(vec![cluster(1)], None).expect("found"), cluster(1));
    }

    #[test]
    fn choice_with_two_clusters_needs_an_address() {
        let error = choose(vec![cluster(1), cluster(2)], None).expect_err("ambiguous");
        assert!(error.to_string().contains("127.0.0.1:1, 127.0.0.1:2"), "{error}");
        assert_eq!(
            choose(vec![cluster(1), cluster(2)], Some(cluster(2).listen)).expect("found"),
            cluster(2)
        );
    }

    #[test]
    fn choice_of_a_cluster_on_every_address_takes_any_with_its_port() {
        let mut everywhere = cluster(7480);
        everywhere.listen = SocketAddr::from(([0, 0, 0, 0], 7480));
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(choose(vec![everywhere.clone()], local(7480)).is_ok());
        assert!(choose(vec![everywhere], local(7481)).is_err());
    }

    #[test]
    fn choice_without_clusters_says_how_to_start_one() {
        let error = choose(Vec::new(), None).expect_err("none");
        assert!(error.to_string().contains("`berth dev`"), "{error}");
    }
}
