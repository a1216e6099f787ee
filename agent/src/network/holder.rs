//! Who holds a port, for the error message that says so. Reads `/proc`; a guess is better than nothing. Shell.

use berth_core::model::TransportProtocol;

/// A phrase naming the program that has the port, if it shows.
pub(super) fn describe(protocol: TransportProtocol, port: u16) -> String {
    let inodes = inodes_of(protocol, port);
    match inodes.iter().find_map(|inode| process_of(inode)) {
        Some((pid, name)) => format!("held by {name}, process {pid}"),
        None => "held by another task on this machine or by a program that does not listen on it".to_owned(),
    }
}

/// Inodes of the sockets that are bound to the port and listen, or receive datagrams.
fn inodes_of(protocol: TransportProtocol, port: u16) -> Vec<String> {
    let (files, state) = match protocol {
        TransportProtocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], "0A"),
        TransportProtocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], "07"),
    };
    let mut inodes = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(found), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
                continue;
            };
            let here = local
                .rsplit_once(':')
                .and_then(|(_, p)| u16::from_str_radix(p, 16).ok())
                == Some(port);
            if here && *found == state {
                inodes.push((*inode).to_owned());
            }
        }
    }
    inodes
}

fn process_of(inode: &str) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let descriptors = std::fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for descriptor in descriptors {
            if std::fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some((pid, name.trim().to_owned()));
            }
        }
    }
    None
}
