//! What confines a container: namespaces, control groups, hidden paths, and its system calls as `seccomp` says. Pure.

use berth_core::model::CpuUnits;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, LinuxResourcesBuilder,
};

use super::{Ingredients, seccomp};

/// The kernel's bounds of cpu shares, which are ECS's as well.
const CPU_SHARES: (u32, u32) = (2, 262_144);

/// The period of cpu quotas.
pub(in crate::runtime::containerd) const PERIOD_US: u64 = 100_000;
/// The smallest quota that the kernel takes.
const MIN_QUOTA_US: u64 = 1_000;

/// Paths that Docker hides.
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Paths that Docker makes read-only.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The CPU time in each period that is as many CPU units.
pub(in crate::runtime::containerd) fn quota_us(cpu: CpuUnits) -> u64 {
    (u64::from(cpu.0) * PERIOD_US / 1024).max(MIN_QUOTA_US)
}

/// The control group of a container; its task's is the parent.
pub(in crate::runtime::containerd) fn cgroup_path(task: &str, container: &str) -> String {
    format!("/berth/{task}/{container}")
}

pub(super) fn linux(ingredients: &Ingredients<'_>) -> Result<Linux, OciSpecError> {
    let strings = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let mut linux = LinuxBuilder::default();
    if ingredients.filters_calls {
        linux = linux.seccomp(seccomp::filter()?);
    }
    linux
        .cgroups_path(cgroup_path(
            &ingredients.task.task.to_string(),
            &ingredients.container.name,
        ))
        .namespaces(namespaces(ingredients)?)
        .resources(resources(ingredients)?)
        .masked_paths(strings(&MASKED_PATHS))
        .readonly_paths(strings(&READONLY_PATHS))
        .build()
}

fn namespaces(ingredients: &Ingredients<'_>) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
    ];
    if ingredients.unified_cgroups {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    let mut namespaces = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &ingredients.network_namespace {
        let network = LinuxNamespaceBuilder::default()
            .typ(LinuxNamespaceType::Network)
            .path(path.clone())
            .build()?;
        namespaces.push(network);
    }
    Ok(namespaces)
}

fn resources(ingredients: &Ingredients<'_>) -> Result<LinuxResources, OciSpecError> {
    let bytes = |mib: u32| i64::from(mib) << 20;
    let container = ingredients.container;
    let shares = container.cpu.0.clamp(CPU_SHARES.0, CPU_SHARES.1);
    let task = ingredients.is_machine.then_some(ingredients.task);
    let mut cpu = LinuxCpuBuilder::default().shares(u64::from(shares));
    if let Some(units) = task.and_then(|task| task.cpu) {
        cpu = cpu
            .quota(i64::try_from(quota_us(units)).unwrap_or(i64::MAX))
            .period(PERIOD_US);
    }
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = container.memory.or_else(|| task?.memory) {
        memory = memory.limit(bytes(limit.0));
    }
    if let Some(reservation) = container.memory_reservation {
        memory = memory.reservation(bytes(reservation.0));
    }
    LinuxResourcesBuilder::default()
        .devices(vec![
            LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?,
        ])
        .cpu(cpu.build()?)
        .memory(memory.build()?)
        .build()
}
