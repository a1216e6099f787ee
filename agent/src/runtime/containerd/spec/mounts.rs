//! What is mounted into every container. Pure.

use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

use super::Ingredients;

/// (destination, type, source, options), as Docker mounts them.
const DEFAULT_MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

pub(super) fn mounts(ingredients: &Ingredients<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let strings = |options: &[&str]| options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>();
    let mut mounts = DEFAULT_MOUNTS
        .iter()
        .map(|(destination, kind, source, options)| {
            MountBuilder::default()
                .destination(*destination)
                .typ(*kind)
                .source(*source)
                .options(strings(options))
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    for (source, destination) in &ingredients.files {
        let mount = MountBuilder::default()
            .destination(*destination)
            .typ("bind")
            .source(source.clone())
            .options(strings(&["rbind", "rprivate", "rw"]))
            .build()?;
        mounts.push(mount);
    }
    Ok(mounts)
}
