//! The CNI plugins of bridge networks: `bridge` with `host-local` addresses, `portmap` for ports, and `firewall` where
//! the machine forwards nothing by default.
//!
//! Owns their configuration and how they are run. Shell.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use berth_core::model::TaskId;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{NetworkError, NetworkOptions, Subnet, namespace, reservations, subnet};
use crate::process::{find_program, run, run_with_input};
use crate::runtime::ContainerBinding;

/// Where distributions and the CNI project put plugins.
const DIRECTORIES: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// Version of the protocol: the newest that Debian 12's plugins and older ones all speak.
const CNI_VERSION: &str = "0.4.0";
/// The interface inside a task's namespace.
const INTERFACE: &str = "eth0";
/// Chains that the portmap plugin makes for all its users.
const PORT_CHAINS: [&str; 3] = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"];

/// portmap checks for its common chains and makes them in two steps: two at once make them twice, and one that removes
/// them would surprise another.
static PORT_CHAINS_TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub(super) struct Plugins {
    directory: PathBuf,
    bridge: String,
    searched: Vec<PathBuf>,
    given_subnet: Option<Subnet>,
    bind_address: Ipv4Addr,
    settled: OnceCell<Settled>,
}

/// What a namespace has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connected {
    pub(super) address: Ipv4Addr,
    /// The MAC address, where the plugin says it.
    pub(super) mac: Option<String>,
}

/// What is found out at the first use.
#[derive(Clone, Debug)]
struct Settled {
    subnet: Subnet,
    /// Whether the machine drops what it forwards unless told otherwise, as Docker sets it up.
    forwards_by_exception: bool,
}

impl Plugins {
    pub(super) fn new(tag: &str, directory: PathBuf, options: &NetworkOptions) -> Self {
        let path = std::env::var_os("CNI_PATH").unwrap_or_default();
        let from_environment = std::env::split_paths(&path).filter(|p| !p.as_os_str().is_empty());
        let usual = DIRECTORIES.iter().map(PathBuf::from);
        Self {
            directory,
            bridge: format!("berth-{tag}"),
            searched: options
                .plugin_directories
                .iter()
                .cloned()
                .chain(from_environment)
                .chain(usual)
                .collect(),
            given_subnet: options.subnet,
            bind_address: options.bind_address,
            settled: OnceCell::new(),
        }
    }

    /// Finds out what connecting takes; an error where it is not on this machine.
    pub(super) async fn settle(&self) -> Result<(), NetworkError> {
        self.settled().await.map(drop)
    }

    /// Whether all that connecting takes is on this machine.
    pub(super) fn check(&self) -> Result<(), NetworkError> {
        for (program, package) in [("ip", "iproute2"), ("iptables", "iptables")] {
            if find_program(program).is_none() {
                return Err(NetworkError::ProgramMissing { program, package });
            }
        }
        let mut needed = ["bridge", "host-local", "portmap"].into_iter();
        needed.try_for_each(|plugin| self.find(plugin).map(drop))
    }

    /// Gives addresses back that are reserved for no task of `tasks`: what a power cut has left of others, whose records it took.
    pub(super) fn release_others(&self, tasks: &[TaskId]) {
        reservations::release_others(&self.directory.join("addresses").join(&self.bridge), tasks);
    }

    /// Connects a namespace to the bridge and maps its ports.
    pub(super) async fn add(
        &self,
        id: &str,
        namespace: &str,
        bindings: &[ContainerBinding],
    ) -> Result<Connected, NetworkError> {
        let settled = self.settled().await?;
        let mut result = Value::Null;
        for config in self.chain(settled, bindings) {
            result = self.invoke("ADD", id, namespace, with_result(config, &result)).await?;
        }
        let address = address_of(&result).ok_or_else(|| NetworkError::Plugin {
            plugin: "bridge".to_owned(),
            command: "ADD",
            why: format!("its answer has no IPv4 address: {result}"),
        })?;
        let mac = mac_of(&result);
        Ok(Connected { address, mac })
    }

    /// Undoes [`Plugins::add`]; no error if there is nothing to undo.
    pub(super) async fn delete(
        &self,
        id: &str,
        namespace: &str,
        bindings: &[ContainerBinding],
    ) -> Result<(), NetworkError> {
        let settled = self.settled().await?;
        let mut outcomes = Vec::new();
        for config in self.chain(settled, bindings).into_iter().rev() {
            outcomes.push(self.invoke("DEL", id, namespace, config).await.map(drop));
        }
        if !namespace::exists(namespace) {
            remove_masquerade(id).await;
        }
        NetworkError::joined(outcomes)
    }

    /// Removes the bridge, its addresses' records, and the common chains if nobody else uses them.
    pub(super) async fn remove_bridge(&self) -> Result<(), NetworkError> {
        // Asked of the kernel: below /sys may be mounted what another network namespace has.
        let exists = nix::net::if_::if_nametoindex(self.bridge.as_str()).is_ok();
        let was_used = exists || self.settled.initialized();
        if exists {
            let removed = run("ip", ["link", "delete", &self.bridge]).await;
            removed.map_err(|why| NetworkError::Namespace {
                name: self.bridge.clone(),
                action: "removed",
                why,
            })?;
        }
        drop(std::fs::remove_dir_all(self.directory.join("addresses")));
        if was_used {
            remove_unused_chains().await;
        }
        subnet::release(&self.directory);
        Ok(())
    }

    async fn settled(&self) -> Result<&Settled, NetworkError> {
        let settle = || async {
            self.check()?;
            let subnet = match self.given_subnet {
                Some(subnet) => subnet,
                None => subnet::reserve(&self.bridge, &self.directory).await?,
            };
            let forward = run("iptables", ["-w", "-S", "FORWARD"]).await.unwrap_or_default();
            let forwards_by_exception = forward.starts_with("-P FORWARD DROP") && self.find("firewall").is_ok();
            Ok(Settled {
                subnet,
                forwards_by_exception,
            })
        };
        self.settled.get_or_try_init(settle).await
    }

    fn find(&self, plugin: &'static str) -> Result<PathBuf, NetworkError> {
        let found = self.searched.iter().map(|d| d.join(plugin)).find(|p| p.is_file());
        found.ok_or_else(|| {
            let searched: Vec<String> = self.searched.iter().map(|d| d.display().to_string()).collect();
            NetworkError::PluginMissing {
                plugin,
                searched: searched.join(", "),
            }
        })
    }

    /// The configurations of the plugins, in the order in which they are added.
    fn chain(&self, settled: &Settled, bindings: &[ContainerBinding]) -> Vec<Value> {
        let mut chain = vec![json!({
            "cniVersion": CNI_VERSION,
            "name": self.bridge,
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": settled.subnet.to_string() }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
                "dataDir": self.directory.join("addresses"),
            },
        })];
        if !bindings.is_empty() {
            let mappings: Vec<Value> = bindings.iter().map(|b| self.mapping(b)).collect();
            chain.push(json!({
                "cniVersion": CNI_VERSION,
                "name": self.bridge,
                "type": "portmap",
                "snat": true,
                "capabilities": { "portMappings": true },
                "runtimeConfig": { "portMappings": mappings },
            }));
        }
        if settled.forwards_by_exception {
            chain.push(json!({ "cniVersion": CNI_VERSION, "name": self.bridge, "type": "firewall" }));
        }
        chain
    }

    fn mapping(&self, binding: &ContainerBinding) -> Value {
        let mut mapping = json!({
            "hostPort": binding.binding.host_port,
            "containerPort": binding.binding.container_port,
            "protocol": binding.binding.protocol.as_str(),
        });
        if !self.bind_address.is_unspecified() {
            mapping["hostIP"] = json!(self.bind_address);
        }
        mapping
    }

    async fn invoke(&self, command: &'static str, id: &str, name: &str, config: Value) -> Result<Value, NetworkError> {
        let plugin = config
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let failed = |why: String| NetworkError::Plugin {
            plugin: plugin.clone(),
            command,
            why,
        };
        let path = self.searched.iter().map(|d| d.join(&plugin)).find(|p| p.is_file());
        let path = path.ok_or_else(|| failed("it is not installed any more".to_owned()))?;
        let _turn = if plugin == "portmap" {
            Some(PORT_CHAINS_TURN.lock().await)
        } else {
            None
        };
        let directories = std::env::join_paths(&self.searched).map_err(|e| failed(e.to_string()))?;
        // The specification lets DEL go without the namespace once that is gone.
        let pinned = if command == "ADD" || namespace::exists(name) {
            namespace::path(name)
        } else {
            PathBuf::new()
        };
        let mut process = tokio::process::Command::new(path);
        process
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", pinned)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_PATH", directories);
        let output = run_with_input(process, config.to_string().as_bytes())
            .await
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        Err(failed(complaint(&output)))
    }
}

/// A plugin's own words: the message in its JSON error, or whatever it printed.
fn complaint(output: &std::process::Output) -> String {
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let said = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let words = [said("msg"), said("details")]
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    if !words.is_empty() {
        return words;
    }
    let printed = [&output.stderr[..], &output.stdout[..]].concat();
    format!("{} ({})", String::from_utf8_lossy(&printed).trim(), output.status)
}

fn with_result(mut config: Value, result: &Value) -> Value {
    if !result.is_null() {
        config["prevResult"] = result.clone();
    }
    config
}

fn address_of(result: &Value) -> Option<Ipv4Addr> {
    let addresses = result.get("ips")?.as_array()?.iter();
    let mut texts = addresses.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next());
    texts.find_map(|text| text.parse().ok())
}

/// The MAC address of the interface inside the namespace.
fn mac_of(result: &Value) -> Option<String> {
    let interfaces = result.get("interfaces")?.as_array()?.iter();
    let text = |interface: &Value, key: &str| interface.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut inside =
        interfaces.filter(|i| text(i, "name").as_deref() == Some(INTERFACE) && text(i, "sandbox").is_some());
    inside.find_map(|interface| text(interface, "mac"))
}

/// Removes portmap's common chains if they hold no mapping: with the last task, the machine is as it was before.
async fn remove_unused_chains() {
    let _turn = PORT_CHAINS_TURN.lock().await;
    let [mappings, ..] = PORT_CHAINS;
    let Ok(rules) = run("iptables", ["-w", "-t", "nat", "-S", mappings]).await else {
        return;
    };
    if rules.lines().any(|line| line.starts_with("-A")) {
        return;
    }
    let table = run("iptables", ["-w", "-t", "nat", "-S"]).await.unwrap_or_default();
    let jumps = table
        .lines()
        .filter(|line| line.starts_with("-A") && PORT_CHAINS.iter().any(|c| line.ends_with(&format!("-j {c}"))));
    for jump in jumps {
        let rule: Vec<String> = words(jump).into_iter().skip(1).collect();
        let arguments = ["-w", "-t", "nat", "-D"].iter().map(|a| (*a).to_owned()).chain(rule);
        if let Err(why) = run("iptables", arguments).await {
            tracing::debug!(why, "a jump to portmap's chains could not be removed");
        }
    }
    for chain in PORT_CHAINS {
        for action in ["-F", "-X"] {
            if let Err(why) = run("iptables", ["-w", "-t", "nat", action, chain]).await {
                tracing::debug!(why, chain, "portmap's chain could not be removed");
            }
        }
    }
}

/// Removes the address translation of one task. The bridge plugin does so itself, unless the namespace, which it asks for
/// the address, is gone already.
async fn remove_masquerade(id: &str) {
    let rules = run("iptables", ["-w", "-t", "nat", "-S", "POSTROUTING"])
        .await
        .unwrap_or_default();
    for rule in rules.lines().map(words).filter(|rule| belongs_to(rule, id)) {
        let Some(chain) = rule.last().cloned() else { continue };
        let delete = ["-w", "-t", "nat", "-D"].iter().map(|a| (*a).to_owned());
        let delete: Vec<String> = delete.chain(rule.into_iter().skip(1)).collect();
        let on_chain = |action: &str| ["-w", "-t", "nat", action, &chain].map(str::to_owned).to_vec();
        for arguments in [delete, on_chain("-F"), on_chain("-X")] {
            if let Err(why) = run("iptables", arguments).await {
                tracing::debug!(why, id, "a task's address translation could not be removed");
            }
        }
    }
}

/// Whether the rule's comment is the one that CNI plugins put on what they make for a container.
fn belongs_to(rule: &[String], id: &str) -> bool {
    rule.iter().any(|word| word.ends_with(&format!("id: \"{id}\"")))
}

/// Splits a rule as iptables prints it: words, some of them in double quotes, with quotes in them after a backslash.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_plugins_answer_is_the_first_of_version_four() {
        let result = json!({"ips": [{"address": "fd00::2/64"}, {"address": "10.177.0.2/24"}]});
        assert_eq!(address_of(&result), Some(Ipv4Addr::new(10, 177, 0, 2)));
        assert_eq!(address_of(&json!({})), None);
    }

    #[test]
    fn mac_of_a_plugins_answer_is_that_of_the_interface_inside() {
        let result = json!({"interfaces": [
            {"name": "berth-1", "mac": "aa:00:00:00:00:01"},
            {"name": "eth0", "mac": "aa:00:00:00:00:02", "sandbox": "/run/netns/x"},
        ]});
        assert_eq!(mac_of(&result).as_deref(), Some("aa:00:00:00:00:02"));
        assert_eq!(mac_of(&json!({"ips": []})), None);
    }

    #[test]
    fn words_of_a_rule_with_a_quoted_comment_are_split_as_they_were_given() {
        let rule = r#"-A POSTROUTING -m comment --comment "name: \"b\" id: \"t1\"" -j CNI-1"#;
        let rule = words(rule);
        assert_eq!(
            rule,
            [
                "-A",
                "POSTROUTING",
                "-m",
                "comment",
                "--comment",
                r#"name: "b" id: "t1""#,
                "-j",
                "CNI-1"
            ]
        );
        assert!(belongs_to(&rule, "t1") && !belongs_to(&rule, "1"));
    }
}
