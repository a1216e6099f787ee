//! The files by which a container finds names: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.
//!
//! Each task has its own, written as Docker writes them: in host mode they say what the host's say, and a container that
//! writes to them changes nothing for the host. Shell; the texts are pure.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::runtime::TaskNetwork;

/// The host's names.
const HOST_HOSTS: &str = "/etc/hosts";
/// The host's resolver settings.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// The same where systemd-resolved answers on a loopback address, which a container cannot reach.
const RESOLVED_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// Servers where the host has none that a container can reach; Docker's choice.
const FALLBACK_SERVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// The files of one container: (file on the host, path in the container).
pub(crate) struct TaskFiles;

impl TaskFiles {
    /// Writes what is needed into `directory` and lists the files to mount.
    pub(crate) fn prepare(
        directory: &Path,
        network: &TaskNetwork,
        hostname: &str,
    ) -> std::io::Result<Vec<(PathBuf, &'static str)>> {
        std::fs::create_dir_all(directory)?;
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let resolver = read(HOST_RESOLV_CONF);
        let (hosts, resolver) = match network.namespace {
            // In the host's network, a server on loopback can be reached.
            None => (read(HOST_HOSTS), resolver),
            Some(_) => (
                hosts(hostname, network.address),
                resolv_conf(&resolver, &read(RESOLVED_RESOLV_CONF)),
            ),
        };
        let texts = [
            ("hosts", "/etc/hosts", hosts),
            ("hostname", "/etc/hostname", format!("{hostname}\n")),
            ("resolv.conf", "/etc/resolv.conf", resolver),
        ];
        let mut files = Vec::new();
        for (name, destination, text) in texts {
            let path = directory.join(name);
            // The other containers of the task have it mounted already: it must stay the same file.
            if !path.exists() {
                let draft = directory.join(format!("{name}.next"));
                std::fs::write(&draft, text)?;
                std::fs::rename(&draft, &path)?;
            }
            files.push((path, destination));
        }
        Ok(files)
    }
}

fn hosts(hostname: &str, address: Option<IpAddr>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    let own = address.map_or_else(|| "127.0.0.1".to_owned(), |a| a.to_string());
    text.push_str(&format!("{own}\t{hostname}\n"));
    text
}

/// The host's settings without servers on loopback; systemd-resolved's real ones if that leaves none.
fn resolv_conf(host: &str, resolved: &str) -> String {
    for text in [host, resolved] {
        let reachable = |line: &&str| match line.trim().strip_prefix("nameserver") {
            Some(server) => {
                let server = server.trim().split('%').next().unwrap_or_default();
                server.parse::<IpAddr>().is_ok_and(|a| !a.is_loopback())
            }
            None => true,
        };
        let kept: Vec<&str> = text.lines().filter(reachable).collect();
        if kept.iter().any(|line| line.trim().starts_with("nameserver")) {
            return kept.join("\n") + "\n";
        }
    }
    FALLBACK_SERVERS.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_with_loopback_servers_alone_takes_what_a_container_can_reach() {
        let stub = "nameserver 127.0.0.53\nsearch lan\n";
        assert_eq!(resolv_conf(stub, "nameserver 10.0.0.1\n"), "nameserver 10.0.0.1\n");
        assert_eq!(resolv_conf(stub, ""), FALLBACK_SERVERS);
        let mixed = "nameserver 127.0.0.1\nnameserver 10.0.0.2\nsearch lan\n";
        assert_eq!(resolv_conf(mixed, ""), "nameserver 10.0.0.2\nsearch lan\n");
    }

    #[test]
    fn hosts_of_a_task_name_its_own_address() {
        assert!(hosts("abc", Some(IpAddr::from([10, 177, 0, 2]))).ends_with("10.177.0.2\tabc\n"));
    }
}
