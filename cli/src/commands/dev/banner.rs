//! What `berth dev` prints once everything runs.
//!
//! Owns the text. Pure.

use berth_core::model::Resources;

use super::plan::PlannedHost;
use crate::commands::env;
use crate::running::RunningCluster;
use crate::target::Target;

/// Hosts that are listed one by one; of more only the first and last are named.
const LISTED_HOSTS: usize = 12;

/// What was started, the variables for AWS tools, and what to try.
pub(crate) fn text(
    cluster: &RunningCluster,
    agents: &str,
    hosts: &[PlannedHost],
    size: Resources,
    keeps_state: bool,
) -> String {
    let mut lines = vec![format!(
        "Controller: {} for clients, {agents} for agents; account {}, region {}",
        cluster.endpoint, cluster.account_id, cluster.region
    )];
    let share = format!("{} CPU units and {} MiB", size.cpu.0, size.memory.0);
    match hosts {
        [] => lines.push("Hosts: none; start some with `berth agent`".to_owned()),
        [only] => lines.push(format!(
            "Host in cluster {}: {} in {}, with {share}",
            cluster.cluster, only.name, only.zone
        )),
        several => lines.push(format!(
            "Hosts in cluster {}: {}, each with {share}",
            cluster.cluster,
            several.len()
        )),
    }
    match hosts {
        [_, _, ..] if hosts.len() <= LISTED_HOSTS => {
            lines.extend(hosts.iter().map(|host| format!("  {} in {}", host.name, host.zone)))
        }
        [first, .., last] => lines.push(format!(
            "  {} in {} to {} in {}",
            first.name, first.zone, last.name, last.zone
        )),
        _ => {}
    }
    let fate = if keeps_state {
        "kept when this ends"
    } else {
        "removed when this ends"
    };
    lines.push(format!("State: {}, {fate}", cluster.data_dir.display()));
    lines.push(String::new());
    lines.push(env::shell(&Target::from(cluster.clone())));
    lines.push(String::new());
    lines.push("Try in another terminal:".to_owned());
    lines.push("  eval \"$(berth env)\"".to_owned());
    let option = if cluster.cluster == "default" {
        String::new()
    } else {
        format!(" --cluster {}", cluster.cluster)
    };
    lines.push(format!("  aws ecs list-container-instances{option}"));
    lines.push("  berth ps".to_owned());
    lines.push(String::new());
    lines.push("Ready. Ctrl-C stops everything that was started here.".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn cluster() -> RunningCluster {
        RunningCluster {
            endpoint: "http://127.0.0.1:7480".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7480)),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
            cluster: "shop".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            pid: 1,
            data_dir: "/var/lib/berth".into(),
            containerd: None,
        }
    }

    fn host(number: usize) -> PlannedHost {
        PlannedHost {
            capacity_provider: None,
            capacity: None,
            name: format!("host-{number}"),
            zone: "us-east-1a".to_owned(),
        }
    }

    #[test]
    fn banner_of_few_hosts_lists_them_and_the_exports() {
        let text = text(
            &cluster(),
            "http://127.0.0.1:7481",
            &[host(1), host(2)],
            Resources::new(512, 1024),
            true,
        );
        for part in [
            "host-2 in us-east-1a",
            "export AWS_ENDPOINT_URL=http://127.0.0.1:7480",
            "kept when this ends",
            "--cluster shop",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(
            text.lines().last().is_some_and(|line| line.starts_with("Ready.")),
            "{text}"
        );
    }

    #[test]
    fn banner_of_many_hosts_names_the_first_and_last() {
        let hosts: Vec<PlannedHost> = (1..=200).map(host).collect();
        let text = text(
            &cluster(),
            "http://127.0.0.1:7481",
            &hosts,
            Resources::new(512, 1024),
            false,
        );
        assert!(
            text.contains("host-1 in us-east-1a to host-200 in us-east-1a"),
            "{text}"
        );
        assert!(!text.contains("host-100"), "{text}");
    }
}
