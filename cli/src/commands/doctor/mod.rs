//! `berth doctor`: looks at this host and at a cluster, and says what is wrong and what to do.
//!
//! Owns what is looked at and how it is printed. Facts are collected in `host_facts` and `cluster_facts`; what they mean is in `host` and `cluster`,
//! which are pure. Shell.

mod cluster;
mod cluster_facts;
mod finding;
mod host;
mod host_facts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::finding::{Finding, Level};
use self::host::Roles;
use self::host_facts::Wanted;
use crate::output;
use crate::target::TargetArguments;

/// The data directories that the units use.
const CONTROLLER_DIR: &str = "/var/lib/berth/controller";
const AGENT_DIR: &str = "/var/lib/berth/agent";

/// Ports of a controller, unless it is told otherwise.
const PORTS: [(u16, &str); 2] = [(7480, "clients"), (7481, "agents")];

/// Flags of `berth doctor`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// What to look at
    #[arg(long, value_enum, default_value_t = Scope::All)]
    only: Scope,
    /// What this machine is to run
    #[arg(long, value_enum, default_value_t = Role::Both)]
    role: Role,
    /// The data directory whose disk is looked at [default: that of the systemd unit]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Socket of the containerd to look at
    #[arg(long, default_value = "/run/containerd/containerd.sock", value_name = "SOCKET")]
    containerd: PathBuf,
    /// As one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// This host, and a cluster if one is named or runs here
    All,
    /// This host
    Host,
    /// A cluster
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Controller,
    Agent,
    Both,
}

/// Looks, and prints what was found; the exit code is 1 if there is a problem.
///
/// # Errors
/// If a cluster was asked for and none can be found, or nothing can be printed.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut groups: Vec<(&str, Vec<Finding>)> = vec![];
    if arguments.only != Scope::Cluster {
        groups.push(("Host", look_at_host(&arguments).await));
    }
    if arguments.only != Scope::Host {
        match arguments.target.find() {
            Ok(target) => groups.push(("Cluster", cluster::check(&cluster_facts::collect(&target).await))),
            Err(error) if arguments.only == Scope::Cluster => return Err(error),
            Err(error) => tracing::debug!(error = %format!("{error:#}"), "no cluster to look at"),
        }
    }
    if arguments.json {
        let groups: serde_json::Map<String, serde_json::Value> = groups
            .iter()
            .map(|(heading, findings)| Ok((heading.to_lowercase(), serde_json::to_value(findings)?)))
            .collect::<Result<_>>()?;
        output::line(&format!("{:#}", serde_json::Value::Object(groups)))?;
    } else {
        output::line(&finding::render(&groups))?;
    }
    Ok(match finding::worst(&groups) {
        Level::Problem => ExitCode::FAILURE,
        Level::Ok | Level::Warning => ExitCode::SUCCESS,
    })
}

async fn look_at_host(arguments: &Arguments) -> Vec<Finding> {
    let roles = Roles {
        controller: arguments.role != Role::Agent,
        agent: arguments.role != Role::Controller,
    };
    let usual = if roles.controller { CONTROLLER_DIR } else { AGENT_DIR };
    let wanted = Wanted {
        roles,
        data_dir: arguments.data_dir.as_deref().unwrap_or(Path::new(usual)),
        containerd: &arguments.containerd,
        ports: if roles.controller { &PORTS } else { &[] },
    };
    host::check(&host_facts::collect(wanted).await)
}
