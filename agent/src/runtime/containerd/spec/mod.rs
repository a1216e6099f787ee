//! The OCI runtime specification of a container: the image's configuration and the task definition, merged as Docker
//! merges them.
//!
//! Owns every default that a container gets. Pure: paths, users and the machine's properties come in.

pub(super) mod linux;
mod mounts;
mod process;
mod seccomp;
pub(super) mod user;

use std::path::PathBuf;

use berth_core::model::{ContainerSpec, TaskSpec};
use oci_spec::OciSpecError;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{RootBuilder, Spec, SpecBuilder};

pub(super) use process::stop_signal;
use user::User;

/// What a container's specification is made of.
pub(super) struct Ingredients<'a> {
    pub(super) task: &'a TaskSpec,
    pub(super) container: &'a ContainerSpec,
    pub(super) image: &'a ImageConfiguration,
    pub(super) agent_environment: &'a [(String, String)],
    pub(super) user: User,
    /// Name that the container sees as the host's.
    pub(super) hostname: String,
    /// Network namespace to join; `None` is the host's.
    pub(super) network_namespace: Option<PathBuf>,
    /// Files mounted over those of the image: (file on the host, path in the container).
    pub(super) files: Vec<(PathBuf, &'static str)>,
    /// Whether the machine has cgroup v2 alone.
    pub(super) unified_cgroups: bool,
    /// Whether the kernel can filter system calls.
    pub(super) filters_calls: bool,
    /// Whether the container is a machine of its own, which is as large as its limits say, and the only one of its task.
    pub(super) is_machine: bool,
}

/// Why a container cannot be described.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpecError {
    /// Neither the task definition nor the image says what to run.
    #[error("no command specified: neither the container definition nor the image has an entryPoint or command")]
    NoCommand,
    /// The library that writes the specification refused.
    #[error("the container's specification cannot be written: {0}")]
    Library(#[from] OciSpecError),
}

/// The specification of a container.
pub(super) fn build(ingredients: &Ingredients<'_>) -> Result<Spec, SpecError> {
    let spec = SpecBuilder::default()
        .version("1.0.2")
        .process(process::process(ingredients)?)
        .root(RootBuilder::default().path("rootfs").readonly(false).build()?)
        .hostname(ingredients.hostname.clone())
        .mounts(mounts::mounts(ingredients)?)
        .linux(linux::linux(ingredients)?)
        .build()?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use berth_core::model::{CpuUnits, MemoryMib, NetworkMode, TaskId};
    use serde_json::Value;

    use super::*;

    fn container() -> ContainerSpec {
        ContainerSpec {
            name: "web".to_owned(),
            image: "busybox".to_owned(),
            cpu: CpuUnits(0),
            memory: None,
            memory_reservation: None,
            essential: true,
            entry_point: vec![],
            command: vec!["true".to_owned()],
            environment: vec![],
            working_directory: None,
            user: None,
            port_mappings: vec![],
            stop_timeout_secs: 30,
            docker_labels: BTreeMap::new(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        }
    }

    fn spec_of(container: &ContainerSpec, image: &str) -> Result<Value, SpecError> {
        spec_on(container, image, false)
    }

    /// The specification in a task with limits, of a container that is a machine of its own or not.
    fn spec_on(container: &ContainerSpec, image: &str, is_machine: bool) -> Result<Value, SpecError> {
        let task = TaskSpec {
            task: TaskId(1),
            task_arn: "arn".to_owned(),
            cluster: "c".to_owned(),
            family: "f".to_owned(),
            revision: 1,
            network_mode: NetworkMode::Host,
            cpu: Some(CpuUnits(512)),
            memory: Some(MemoryMib(1024)),
            fargate: is_machine,
            containers: vec![container.clone()],
        };
        let image = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{image},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let image = serde_json::from_str(&image).unwrap();
        let spec = build(&Ingredients {
            task: &task,
            container,
            image: &image,
            agent_environment: &[
                ("A".to_owned(), "agent".to_owned()),
                ("B".to_owned(), "agent".to_owned()),
            ],
            user: User::default(),
            hostname: "h".to_owned(),
            network_namespace: None,
            files: vec![],
            unified_cgroups: false,
            filters_calls: true,
            is_machine,
        })?;
        Ok(serde_json::to_value(spec).unwrap())
    }

    #[test]
    fn container_that_is_a_machine_is_as_large_as_its_task_and_others_have_limits_of_their_own_alone() {
        let resources = |is_machine, memory: Option<u32>| {
            let mut given = container();
            given.memory = memory.map(MemoryMib);
            spec_on(&given, "{}", is_machine).unwrap()["linux"]["resources"].clone()
        };
        let machine = resources(true, None);
        assert_eq!(machine["memory"]["limit"], 1024 << 20);
        assert_eq!(
            (&machine["cpu"]["quota"], &machine["cpu"]["period"]),
            (&50_000.into(), &100_000.into())
        );
        assert_eq!(resources(true, Some(64))["memory"]["limit"], 64 << 20);
        let other = resources(false, None);
        assert_eq!(
            (&other["memory"]["limit"], &other["cpu"]["quota"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn spec_command_follows_dockers_rules_of_overriding() {
        let image = r#"{"Entrypoint":["ie"],"Cmd":["ic"]}"#;
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["ie", "ic"]),
            (&[], &["c"], &["ie", "c"]),
            (&["e"], &[], &["e"]),
            (&["e"], &["c"], &["e", "c"]),
        ];
        for (entry_point, command, expected) in cases {
            let mut given = container();
            given.entry_point = entry_point.iter().map(|s| (*s).to_owned()).collect();
            given.command = command.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(
                spec_of(&given, image).unwrap()["process"]["args"],
                serde_json::json!(expected)
            );
        }
    }

    #[test]
    fn spec_without_any_command_is_refused() {
        let mut given = container();
        given.command.clear();
        assert!(matches!(spec_of(&given, "{}"), Err(SpecError::NoCommand)));
    }

    #[test]
    fn spec_environment_of_the_container_wins_over_agent_and_image() {
        let mut given = container();
        given.environment = vec![("A".to_owned(), "mine".to_owned()), ("C".to_owned(), "x=y".to_owned())];
        let spec = spec_of(&given, r#"{"Env":["PATH=/image","B=image","D=image"]}"#).unwrap();
        let env: Vec<&str> = spec["process"]["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        assert_eq!(
            env,
            ["PATH=/image", "HOSTNAME=h", "B=agent", "D=image", "A=mine", "C=x=y"]
        );
    }

    #[test]
    fn spec_limits_are_shares_hard_and_soft_memory() {
        let mut given = container();
        given.cpu = CpuUnits(256);
        given.memory = Some(MemoryMib(64));
        given.memory_reservation = Some(MemoryMib(32));
        let resources = spec_of(&given, "{}").unwrap()["linux"]["resources"].clone();
        assert_eq!(resources["cpu"]["shares"], 256);
        assert_eq!(resources["memory"]["limit"], 64 << 20);
        assert_eq!(resources["memory"]["reservation"], 32 << 20);
        assert_eq!(
            spec_of(&container(), "{}").unwrap()["linux"]["resources"]["cpu"]["shares"],
            2
        );
    }

    #[test]
    fn spec_by_default_drops_raw_sockets_and_hides_the_kernel() {
        let spec = spec_of(&container(), "{}").unwrap();
        let capabilities = spec["process"]["capabilities"]["bounding"].as_array().unwrap().clone();
        assert!(capabilities.contains(&"CAP_CHOWN".into()) && !capabilities.contains(&"CAP_NET_RAW".into()));
        assert_eq!(capabilities.len(), 13);
        assert!(
            spec["linux"]["maskedPaths"]
                .as_array()
                .unwrap()
                .contains(&"/proc/kcore".into())
        );
        assert_eq!(spec["linux"]["cgroupsPath"], format!("/berth/{}/web", TaskId(1)));
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap().clone();
        assert!(
            !namespaces.iter().any(|n| n["type"] == "network"),
            "the host's network is joined"
        );
    }

    #[test]
    fn spec_lets_a_container_make_the_calls_of_programs_and_no_others() {
        let spec = spec_of(&container(), "{}").unwrap();
        let filter = &spec["linux"]["seccomp"];
        assert_eq!(filter["defaultAction"], "SCMP_ACT_ERRNO");
        let allowed = |name: &str| {
            let calls = filter["syscalls"].as_array().unwrap().iter();
            let mut of_name = calls.filter(|call| call["names"].as_array().unwrap().contains(&name.into()));
            of_name.any(|call| call["action"] == "SCMP_ACT_ALLOW" && call.get("args").is_none())
        };
        for name in ["execve", "openat", "chroot", "ptrace"] {
            assert!(allowed(name), "{name}");
        }
        for name in [
            "mount",
            "unshare",
            "setns",
            "keyctl",
            "bpf",
            "init_module",
            "io_uring_setup",
            "clone",
            "clone3",
        ] {
            assert!(!allowed(name), "{name}");
        }
    }

    #[test]
    fn stop_signal_of_the_image_is_taken_by_name_or_number() {
        assert_eq!(stop_signal(Some("SIGQUIT")), 3);
        assert_eq!(stop_signal(Some("INT")), 2);
        assert_eq!(stop_signal(Some("10")), 10);
        assert_eq!(stop_signal(None), 15);
        assert_eq!(stop_signal(Some("nonsense")), 15);
    }
}
