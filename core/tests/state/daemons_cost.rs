//! What it costs to apply what happens to a managed daemon of many hosts: as much as changes, not as much as there is.

use berth_core::model::{
    ContainerInstanceId, HostReports, LogIndex, ServiceEvent, TaskDefinitionKey, TaskReport, TaskStatus, Timestamp,
};
use berth_core::state::{ClusterState, Command, ServiceProgress, apply};

use super::capacity_providers::{capacity_provider, put_providers};
use super::daemons::{POOL, create, logs, register_in_pool, task_of_daemon};
use super::given::{cluster, definition, report};

const HOSTS: u128 = 10_000;
/// How often a daemon says something.
const FINDINGS: u32 = 100;

/// A daemon that serves on every host.
fn serving() -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    let definition_of = |key: TaskDefinitionKey| Command::RegisterTaskDefinition(definition(&key));
    let begin = [
        register_in_pool(0),
        definition_of(logs()),
        Command::CreateCapacityProvider(capacity_provider(POOL)),
        put_providers(&[POOL]),
    ];
    begin.iter().for_each(|command| tell(&mut state, command));
    (1..HOSTS).for_each(|host| tell(&mut state, &register_in_pool(host)));
    tell(&mut state, &create(true));
    (0..HOSTS).for_each(|host| tell(&mut state, &task_of_daemon(host, host)));
    let all = Command::RecordReportsOfHosts {
        hosts: (0..HOSTS).map(|host| says(host, TaskStatus::Running, 10)).collect(),
    };
    tell(&mut state, &all);
    state
}

fn tell(state: &mut ClusterState, command: &Command) {
    let index = LogIndex(state.applied().0 + 1);
    apply(state, index, command).expect("accepted");
}

/// What the host of a task says of it; both have the same number.
fn says(number: u128, status: TaskStatus, at: i64) -> HostReports {
    let reports: Vec<TaskReport> = vec![report(number, status)];
    HostReports {
        container_instance: ContainerInstanceId(number),
        reports,
        at: Timestamp(at),
    }
}

fn finding(number: u32) -> Command {
    let at = Timestamp(1_000 + i64::from(number));
    let mut progress = ServiceProgress::nothing_new(cluster().daemon("logs"), at);
    progress.events.push(ServiceEvent {
        id: number.to_string(),
        created_at: at,
        message: "(service daemon:logs) says something.".to_owned(),
    });
    Command::RecordServiceProgress(Box::new(progress))
}

#[test]
#[ignore = "a measurement: cargo test --release -p berth-core --test state daemons_cost -- --ignored --nocapture"]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures time and prints it"
)]
fn changes_of_a_daemon_of_many_hosts_are_timed() {
    let mut state = serving();
    let begun = std::time::Instant::now();
    (0..FINDINGS).for_each(|number| tell(&mut state, &finding(number)));
    let each = begun.elapsed() / FINDINGS;
    println!("{HOSTS} hosts: {each:?} for each of {FINDINGS} things that the daemon says");
    for (what, status, at) in [
        ("ends", TaskStatus::Deactivating, 20_000),
        ("is over", TaskStatus::Stopped, 20_001),
    ] {
        let begun = std::time::Instant::now();
        for host in 0..HOSTS {
            let hosts = vec![says(host, status, at)];
            tell(&mut state, &Command::RecordReportsOfHosts { hosts });
        }
        println!("{HOSTS} hosts: {:?} until the task of each {what}", begun.elapsed());
    }
}
