//! What a host must be like to run a controller or an agent, checked over facts that were collected. Pure.

use std::time::Duration;

use super::finding::Finding;

/// What this machine is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) controller: bool,
    pub(super) agent: bool,
}

/// What was found out about a host.
#[derive(Clone, Debug)]
pub(super) struct HostFacts {
    pub(super) roles: Roles,
    pub(super) is_root: bool,
    /// Release of the kernel, such as `6.1.0-18-amd64`.
    pub(super) kernel: String,
    pub(super) control_groups: ControlGroups,
    /// Version of the containerd that answers at the socket, or why there is none.
    pub(super) containerd: Result<String, String>,
    /// Programs that were looked for, each with whether it is there.
    pub(super) programs: Vec<(&'static str, bool)>,
    /// CNI plugins that are missing.
    pub(super) missing_plugins: Vec<&'static str>,
    /// Whether the kernel forwards packets, if it says.
    pub(super) forwards: Option<bool>,
    pub(super) disk: Result<Disk, String>,
    pub(super) clock: ClockSync,
    pub(super) ports: Vec<Port>,
    /// Files that a process may have open: the soft and the hard limit.
    pub(super) open_files: Option<(u64, u64)>,
}

/// Which control groups the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlGroups {
    /// Version 2, with these controllers.
    V2(Vec<String>),
    /// Version 1 or both, with these controllers of version 1.
    V1(Vec<String>),
    Missing,
}

/// The disk of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) path: String,
    pub(super) free_bytes: u64,
    pub(super) total_bytes: u64,
    /// How long small writes with a sync took: the middle one and the longest.
    pub(super) sync: Option<(Duration, Duration)>,
    pub(super) in_memory: bool,
}

/// What says that the clock is kept right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClockSync {
    /// The kernel or a service says so.
    Synchronised,
    /// A service runs that does it.
    Service(String),
    Nothing,
}

/// A port that berth would listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) number: u16,
    pub(super) what: &'static str,
    pub(super) holder: Holder,
}

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Berth,
    Other,
}

/// The oldest kernel that is tested: Debian 11's.
const OLDEST_KERNEL: (u32, u32) = (5, 10);
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Below this a controller refuses changes.
const LEAST_FREE_BYTES: u64 = 256 * 1024 * 1024;
const GOOD_FREE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// A sync that takes longer makes every change feel slow, and one of an election's length loses the leadership.
const SLOW_SYNC: Duration = Duration::from_millis(25);
const UNUSABLE_SYNC: Duration = Duration::from_millis(500);
/// A session with an agent is a socket, and a container's log is a file.
const GOOD_OPEN_FILES: u64 = 65_536;
const LEAST_OPEN_FILES: u64 = 4_096;

/// Every finding about a host.
pub(super) fn check(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![kernel(&facts.kernel)];
    if facts.roles.agent {
        findings.push(root(facts.is_root));
        findings.push(control_groups(&facts.control_groups));
        findings.push(containerd(&facts.containerd));
        findings.extend(
            facts
                .programs
                .iter()
                .map(|(program, found)| program_finding(program, *found)),
        );
        findings.push(plugins(&facts.missing_plugins));
        findings.push(forwarding(facts.forwards));
    }
    findings.extend(disk(&facts.disk, facts.roles));
    findings.push(clock(&facts.clock));
    findings.extend(facts.ports.iter().map(port));
    findings.extend(facts.open_files.map(open_files));
    findings
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST_KERNEL => Finding::ok("kernel", release),
        _ => Finding::warning(
            "kernel",
            format!("{release} is older than what berth is tested with"),
            format!("use a kernel from {}.{} on", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
        ),
    }
}

fn root(is_root: bool) -> Finding {
    if is_root {
        return Finding::ok("user", "root, as an agent needs to be");
    }
    Finding::problem(
        "user",
        "not root: an agent makes namespaces, mounts and control groups, and not all could be looked at here",
        "run this and the agent as root",
    )
}

fn control_groups(found: &ControlGroups) -> Finding {
    let (version, controllers) = match found {
        ControlGroups::V2(controllers) => ("version 2", controllers),
        ControlGroups::V1(controllers) => ("version 1", controllers),
        ControlGroups::Missing => {
            return Finding::problem(
                "control groups",
                "there are none at /sys/fs/cgroup",
                "mount them; every distribution with systemd does",
            );
        }
    };
    let missing: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|name| !controllers.iter().any(|c| c == name))
        .collect();
    if missing.is_empty() {
        return Finding::ok("control groups", format!("{version} with {}", CONTROLLERS.join(", ")));
    }
    Finding::problem(
        "control groups",
        format!("{version} without {}", missing.join(", ")),
        "limits of tasks cannot be enforced: enable them on the kernel's command line (cgroup_enable=memory) or delegate them to this host",
    )
}

fn containerd(found: &Result<String, String>) -> Finding {
    match found {
        Ok(version) if major_minor(version) >= Some((1, 6)) => Finding::ok("containerd", version.clone()),
        Ok(version) => Finding::warning(
            "containerd",
            format!("{version} is older than 1.6"),
            "use containerd 1.6 or newer",
        ),
        Err(why) => Finding::problem(
            "containerd",
            why.clone(),
            "install it (apt-get install containerd) and start it (systemctl start containerd), or name its socket with --containerd",
        ),
    }
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn program_finding(program: &str, found: bool) -> Finding {
    if found {
        return Finding::ok(program, "is on the PATH");
    }
    let package = if program == "ip" { "iproute2" } else { program };
    Finding::problem(
        program,
        "is not on the PATH",
        format!("install it: apt-get install {package}"),
    )
}

fn plugins(missing: &[&str]) -> Finding {
    if missing.is_empty() {
        return Finding::ok("CNI plugins", "all that bridge networks need");
    }
    Finding::problem(
        "CNI plugins",
        format!("missing in /opt/cni/bin and /usr/lib/cni: {}", missing.join(", ")),
        "tasks in bridge networks cannot start: apt-get install containernetworking-plugins",
    )
}

fn forwarding(forwards: Option<bool>) -> Finding {
    match forwards {
        Some(true) => Finding::ok("forwarding", "net.ipv4.ip_forward is 1"),
        _ => Finding::warning(
            "forwarding",
            "net.ipv4.ip_forward is not 1: containers in bridge networks reach no other machine until it is",
            "the agent sets it when the first such task starts; to keep it: echo net.ipv4.ip_forward=1 > /etc/sysctl.d/99-berth.conf",
        ),
    }
}

fn disk(found: &Result<Disk, String>, roles: Roles) -> Vec<Finding> {
    let disk = match found {
        Ok(disk) => disk,
        Err(why) => {
            return vec![Finding::problem(
                "disk",
                why.clone(),
                "name a directory that can be written with --data-dir",
            )];
        }
    };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let space = format!(
        "{} MiB of {} MiB free at {}",
        mib(disk.free_bytes),
        mib(disk.total_bytes),
        disk.path
    );
    let mut findings = vec![match disk.free_bytes {
        free if free < LEAST_FREE_BYTES => Finding::problem(
            "disk space",
            space,
            format!(
                "free some: below {} MiB a controller refuses changes",
                mib(LEAST_FREE_BYTES)
            ),
        ),
        free if free < GOOD_FREE_BYTES => Finding::warning("disk space", space, "free some before it runs out"),
        _ => Finding::ok("disk space", space),
    }];
    if disk.in_memory {
        findings.push(Finding::problem(
            "disk",
            format!("{} is in memory: it is empty after a restart", disk.path),
            "name a directory on a disk with --data-dir",
        ));
    }
    if let Some((median, longest)) = disk.sync {
        let text = format!("{:.1} ms in the middle, {:.1} ms at worst", ms(median), ms(longest));
        findings.push(match median {
            m if m >= UNUSABLE_SYNC => Finding::problem(
                "disk sync",
                text,
                "use another disk: elections would take place under load",
            ),
            m if m >= SLOW_SYNC && roles.controller => Finding::warning(
                "disk sync",
                text,
                "every change waits for a sync: use an SSD, or a disk that nothing else writes to",
            ),
            _ => Finding::ok("disk sync", text),
        });
    }
    findings
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn clock(found: &ClockSync) -> Finding {
    match found {
        ClockSync::Synchronised => Finding::ok("clock", "is synchronised"),
        ClockSync::Service(name) => Finding::ok("clock", format!("{name} keeps it")),
        ClockSync::Nothing => Finding::warning(
            "clock",
            "nothing is seen to keep it right; certificates, signatures and times in events depend on it",
            "install chrony or enable systemd-timesyncd (in a container, its host does this)",
        ),
    }
}

fn port(port: &Port) -> Finding {
    let subject = format!("port {}", port.number);
    match port.holder {
        Holder::Nobody => Finding::ok(&subject, format!("free, for {}", port.what)),
        Holder::Berth => Finding::ok(&subject, format!("in use by berth, for {}", port.what)),
        Holder::Other => Finding::problem(
            &subject,
            format!("in use by another program, where berth would listen for {}", port.what),
            format!(
                "`ss -ltnp 'sport = :{}'` shows which; stop it, or choose another port",
                port.number
            ),
        ),
    }
}

fn open_files((soft, hard): (u64, u64)) -> Finding {
    let text = format!("{soft}, and {hard} at most");
    match hard {
        hard if hard < LEAST_OPEN_FILES => Finding::problem(
            "open files",
            text,
            "raise the limit: LimitNOFILE=1048576 in the unit, or ulimit -n",
        ),
        _ if soft < GOOD_OPEN_FILES => Finding::warning(
            "open files",
            text,
            "the limit of this shell is low for hundreds of hosts or tasks; berth's units set LimitNOFILE themselves",
        ),
        _ => Finding::ok("open files", text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn good() -> HostFacts {
        HostFacts {
            roles: Roles {
                controller: true,
                agent: true,
            },
            is_root: true,
            kernel: "6.1.0-18-amd64".to_owned(),
            control_groups: ControlGroups::V2(["cpu", "io", "memory", "pids"].map(str::to_owned).to_vec()),
            containerd: Ok("1.6.20".to_owned()),
            programs: vec![("runc", true), ("ip", true), ("iptables", true)],
            missing_plugins: vec![],
            forwards: Some(true),
            disk: Ok(Disk {
                path: "/var/lib/berth".to_owned(),
                free_bytes: 10 << 30,
                total_bytes: 20 << 30,
                sync: Some((Duration::from_millis(1), Duration::from_millis(9))),
                in_memory: false,
            }),
            clock: ClockSync::Synchronised,
            ports: vec![Port {
                number: 7480,
                what: "clients",
                holder: Holder::Berth,
            }],
            open_files: Some((1_048_576, 1_048_576)),
        }
    }

    /// Subjects with this level.
    fn at(level: Level, facts: &HostFacts) -> Vec<String> {
        let findings = check(facts).into_iter().filter(|finding| finding.level == level);
        findings.map(|finding| finding.subject).collect()
    }

    #[test]
    fn host_as_it_should_be_has_nothing_to_do() {
        let findings = check(&good());
        assert!(
            findings.iter().all(|f| f.level == Level::Ok && f.advice.is_empty()),
            "{findings:#?}"
        );
    }

    #[test]
    fn host_without_what_containers_need_is_told_what_to_install() {
        let bad = HostFacts {
            is_root: false,
            control_groups: ControlGroups::V1(vec!["cpu".to_owned()]),
            containerd: Err("nothing answers".to_owned()),
            programs: vec![("runc", false), ("ip", false)],
            missing_plugins: vec!["portmap"],
            ..good()
        };
        let problems = at(Level::Problem, &bad);
        assert_eq!(
            problems,
            ["user", "control groups", "containerd", "runc", "ip", "CNI plugins"]
        );
        let advice: Vec<String> = check(&bad).into_iter().map(|finding| finding.advice).collect();
        assert!(advice.iter().any(|a| a.contains("iproute2")), "{advice:?}");
    }

    #[test]
    fn host_of_a_controller_alone_needs_no_containers() {
        let mut bad = good();
        bad.roles.agent = false;
        bad.containerd = Err("nothing answers".to_owned());
        assert_eq!(at(Level::Problem, &bad), Vec::<String>::new());
    }

    #[test]
    fn disk_that_is_full_slow_or_in_memory_is_a_finding() {
        let with = |change: fn(&mut Disk)| {
            let mut facts = good();
            if let Ok(disk) = &mut facts.disk {
                change(disk);
            }
            facts
        };
        assert_eq!(at(Level::Problem, &with(|d| d.free_bytes = 1 << 20)), ["disk space"]);
        assert_eq!(at(Level::Warning, &with(|d| d.free_bytes = 1 << 30)), ["disk space"]);
        assert_eq!(at(Level::Problem, &with(|d| d.in_memory = true)), ["disk"]);
        let slow = with(|d| d.sync = Some((Duration::from_millis(40), Duration::from_secs(1))));
        assert_eq!(at(Level::Warning, &slow), ["disk sync"]);
        let unusable = with(|d| d.sync = Some((Duration::from_millis(700), Duration::from_secs(1))));
        assert_eq!(at(Level::Problem, &unusable), ["disk sync"]);
    }

    #[test]
    fn port_of_another_program_and_an_old_kernel_are_findings() {
        let mut facts = good();
        facts.ports[0].holder = Holder::Other;
        facts.kernel = "4.19.0".to_owned();
        facts.open_files = Some((1024, 524_288));
        facts.clock = ClockSync::Nothing;
        facts.forwards = Some(false);
        assert_eq!(at(Level::Problem, &facts), ["port 7480"]);
        assert_eq!(
            at(Level::Warning, &facts),
            ["kernel", "forwarding", "clock", "open files"]
        );
    }
}
