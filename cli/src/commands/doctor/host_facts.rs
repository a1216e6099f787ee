//! Finds out how this host is. Changes nothing, but for a file in the data directory that is there while syncs are timed. Shell, blocking but
//! for containerd.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_agent::runtime::containerd::Containerd;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use super::host::{ClockSync, ControlGroups, Disk, Holder, HostFacts, Port, Roles};

const PROGRAMS: [&str; 3] = ["runc", "ip", "iptables"];
const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "firewall"];
const PLUGIN_DIRECTORIES: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// Programs that keep clocks, by the name that the kernel has of them, which is cut after 15 bytes.
const CLOCK_SERVICES: [&str; 5] = ["chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn"];
/// Syncs that are timed: enough for a middle and a tail, few enough for a slow disk.
const SYNCS: usize = 21;
/// How long a port may take to say who has it.
const PORT_DEADLINE: Duration = Duration::from_millis(500);

/// What to look at.
pub(super) struct Wanted<'a> {
    pub(super) roles: Roles,
    pub(super) data_dir: &'a Path,
    pub(super) containerd: &'a Path,
    /// Ports that berth would listen on, and for whom.
    pub(super) ports: &'a [(u16, &'static str)],
}

/// Looks.
pub(super) async fn collect(wanted: Wanted<'_>) -> HostFacts {
    let containerd = if wanted.roles.agent {
        let found = Containerd::connect(wanted.containerd).await;
        found
            .map(|found| found.version().to_owned())
            .map_err(|error| error.to_string())
    } else {
        Err("not looked for".to_owned())
    };
    let ports = wanted.ports.iter().map(|(number, what)| Port {
        number: *number,
        what,
        holder: holder(*number),
    });
    HostFacts {
        roles: wanted.roles,
        is_root: nix::unistd::geteuid().is_root(),
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        control_groups: control_groups(),
        containerd,
        programs: PROGRAMS
            .into_iter()
            .map(|program| (program, is_on_path(program)))
            .collect(),
        missing_plugins: PLUGINS.into_iter().filter(|plugin| !has_plugin(plugin)).collect(),
        forwards: read("/proc/sys/net/ipv4/ip_forward").map(|text| text == "1"),
        disk: disk(wanted.data_dir),
        clock: clock(),
        ports: ports.collect(),
        open_files: open_files(),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn control_groups() -> ControlGroups {
    if let Some(controllers) = read("/sys/fs/cgroup/cgroup.controllers") {
        return ControlGroups::V2(controllers.split_whitespace().map(str::to_owned).collect());
    }
    let mounts = read("/proc/mounts").unwrap_or_default();
    let mut controllers: Vec<String> = vec![];
    for line in mounts.lines() {
        let mut fields = line.split_whitespace().skip(2);
        if fields.next() == Some("cgroup")
            && let Some(options) = fields.next()
        {
            controllers.extend(options.split(',').map(str::to_owned));
        }
    }
    if controllers.is_empty() {
        return ControlGroups::Missing;
    }
    ControlGroups::V1(controllers)
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_plugin(plugin: &str) -> bool {
    let own = std::env::var_os("CNI_PATH").unwrap_or_default();
    let own: Vec<PathBuf> = std::env::split_paths(&own).collect();
    let usual = PLUGIN_DIRECTORIES.iter().map(PathBuf::from);
    own.into_iter().chain(usual).any(|folder| folder.join(plugin).is_file())
}

fn disk(data_dir: &Path) -> Result<Disk, String> {
    // A data directory that does not exist yet will be on the disk of what does.
    let existing = data_dir
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what} {}: {error}", existing.display());
    let space = statvfs(existing).map_err(|error| failed("measure", &error))?;
    let kind = statfs(existing).map_err(|error| failed("measure", &error))?;
    // Only a directory of berth's own is written to.
    let sync = if existing == data_dir {
        Some(time_syncs(existing).map_err(|error| failed("write to", &error))?)
    } else {
        None
    };
    Ok(Disk {
        path: existing.display().to_string(),
        free_bytes: space.blocks_available() * space.fragment_size(),
        total_bytes: space.blocks() * space.fragment_size(),
        sync,
        in_memory: kind.filesystem_type() == TMPFS_MAGIC,
    })
}

/// Writes 4 KiB and syncs, again and again: what a store does for each change.
fn time_syncs(directory: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = directory.join(format!(".berth-doctor-{}", std::process::id()));
    let mut file = File::create_new(&path)?;
    let mut measure = || {
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let began = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok((times[SYNCS / 2], times[SYNCS - 1]))
    };
    let measured = measure();
    std::fs::remove_file(&path)?;
    measured
}

fn clock() -> ClockSync {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return ClockSync::Synchronised;
    }
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
    let service = names
        .map(|name| name.trim().to_owned())
        .find(|name| CLOCK_SERVICES.contains(&name.as_str()));
    service.map_or(ClockSync::Nothing, ClockSync::Service)
}

/// Who answers on a port of loopback: berth says at `/healthz` that it lives, and its port for agents speaks HTTP/2 alone.
fn holder(port: u16) -> Holder {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PORT_DEADLINE) else {
        return Holder::Nobody;
    };
    let mut answer = vec![];
    let asked = stream
        .set_read_timeout(Some(PORT_DEADLINE))
        .and_then(|()| stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    if asked.is_err() {
        return Holder::Other;
    }
    // What was read until an error is what it said.
    stream.take(4096).read_to_end(&mut answer).ok();
    let lives = answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"ok\n");
    // The settings frame with which a gRPC server begins.
    let speaks_http2 = answer.get(3..5) == Some(&[4, 0]);
    if lives || speaks_http2 {
        Holder::Berth
    } else {
        Holder::Other
    }
}

fn open_files() -> Option<(u64, u64)> {
    let limits = read("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|text| match text {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn facts_of_this_machine_are_plausible_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("its address").port();
        let facts = collect(Wanted {
            roles: Roles {
                controller: true,
                agent: true,
            },
            data_dir: directory.path(),
            containerd: Path::new("/nonexistent.sock"),
            ports: &[(taken, "clients")],
        })
        .await;
        assert!(facts.containerd.is_err());
        assert_eq!(facts.ports[0].holder, Holder::Other);
        let disk = facts.disk.expect("measured");
        assert!(disk.total_bytes >= disk.free_bytes && disk.sync.is_some(), "{disk:?}");
        assert_ne!(facts.kernel, "unknown");
        assert!(facts.open_files.is_some());
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 0);
    }
}
