//! The laboratory gives the figures that others published for the openb trace. Its tables are found in the folder that `BERTH_TRACES` names; without
//! it there is nothing to test. All policies and seeds take their time: `berth sim published` compares them, on every core.

use std::path::PathBuf;

use berth_core::placement::GpuNeed;
use berth_sim::laboratory::{PUBLISHED, Policy, SEEDS, Workload, inflate, pack};

/// What one experiment may differ from the mean of ten.
const TOLERANCE: f64 = 1.0;

fn trace() -> Option<Workload> {
    let folder = PathBuf::from(std::env::var_os("BERTH_TRACES")?);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the trace is in the folder");
    Some(Workload {
        hosts: Workload::read_hosts(&read("openb_node_list_gpu_node.csv")).expect("hosts"),
        tasks: Workload::read_tasks(&read("openb_pod_list_default.csv")).expect("tasks"),
    })
}

#[test]
fn openb_trace_has_the_hosts_and_tasks_that_its_authors_count() {
    let Some(trace) = trace() else { return };
    assert_eq!((trace.hosts.len(), trace.tasks.len()), (1213, 8152));
    assert_eq!(trace.capacity().gpu, 6_212_000);
    assert_eq!(trace.capacity().cpu, 107_018 * 1024);
}

#[test]
fn best_fit_of_one_seed_allocates_about_what_was_published() {
    let Some(trace) = trace() else { return };
    let published = PUBLISHED
        .iter()
        .find(|row| row.policy == "best-fit")
        .expect("published");
    let policy: Policy = published.policy.parse().expect("a policy");
    let curve = inflate(&trace, &policy, 130, SEEDS.start);
    let allocated = curve.allocated_at(130).expect("so much was asked for");
    assert!((allocated - published.allocated[2]).abs() < TOLERANCE, "{allocated}");
}

#[test]
fn own_policy_without_gpus_needs_at_most_a_twentieth_more_hosts_than_the_best_known() {
    let Some(mut trace) = trace() else { return };
    for task in &mut trace.tasks {
        task.shape.gpu = GpuNeed::None;
    }
    // The commonest host.
    let host = trace.hosts.iter().find(|host| host.gpus.model == "G2").expect("one");
    // A quarter of the tasks, which the slow heuristics pack in little time.
    let tasks = &trace.tasks[..trace.tasks.len() / 4];
    let packed = pack(tasks, host.registered, &"tightest".parse().expect("a policy"), 1);
    let (own, best) = (packed.policy.len(), packed.best_known());
    assert!(own * 100 <= best * 105, "{own} hosts instead of {best}");
}
