//! The addresses that `host-local` has given out: a file for each, named by the address, whose first line is the task. Shell.

use std::net::Ipv4Addr;
use std::path::Path;

use berth_core::model::TaskId;

/// Gives back what is reserved for no task of `tasks`.
pub(super) fn release_others(directory: &Path, tasks: &[TaskId]) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_address = entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.parse::<Ipv4Addr>().is_ok());
        if !is_address {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let owner = text.lines().next().and_then(|line| line.trim().parse::<TaskId>().ok());
        if owner.is_some_and(|task| tasks.contains(&task)) {
            continue;
        }
        let address = entry.file_name();
        match std::fs::remove_file(entry.path()) {
            Ok(()) => tracing::info!(?address, "an address that no task has is free again"),
            Err(error) => tracing::warn!(?address, %error, "an address that no task has cannot be freed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_tasks_that_are_not_known_are_given_back_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for (name, text) in [
            ("10.177.0.2", format!("{}\r\neth0", TaskId(1))),
            ("10.177.0.3", format!("{}\r\neth0", TaskId(2))),
            ("10.177.0.4", String::new()),
            ("last_reserved_ip.0", "10.177.0.4".to_owned()),
            ("lock", String::new()),
        ] {
            std::fs::write(file(name), text).unwrap();
        }
        release_others(folder.path(), &[TaskId(1)]);
        for (name, is_there) in [
            ("10.177.0.2", true),
            ("10.177.0.3", false),
            ("10.177.0.4", false),
            ("last_reserved_ip.0", true),
            ("lock", true),
        ] {
            assert_eq!(file(name).exists(), is_there, "{name}");
        }
        release_others(&file("nowhere"), &[]);
    }
}
