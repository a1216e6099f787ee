//! Feature levels: what belongs to one has no effect below it, and what ran before it was raised goes on as it was.

use berth_core::model::{ContainerInstanceId, LogIndex, Service, TaskId, TaskReport, TaskStatus, Timestamp};
use berth_core::state::{ClusterState, Command, FeatureLevel, Rejection, SnapshotRecord, apply};

use super::given::{register, report, task};
use super::services::{failures, state_with_a_service_task, state_with_a_service_task_in, tell};

/// Commands as a build of level 1 wrote them into its log, one a line, and the state that it had of them, one record a line.
const LOG: &str = include_str!("level_1_log.jsonl");
const STATE: &str = include_str!("level_1_state.jsonl");

fn replayed() -> ClusterState {
    let mut state = ClusterState::default();
    for (index, line) in (1..).zip(LOG.lines()) {
        let command: Command = serde_json::from_str(line).expect("a command");
        _ = apply(&mut state, LogIndex(index), &command).is_err();
    }
    state
}

fn lines(state: &ClusterState) -> Vec<String> {
    let records = state.snapshot().map(|record| serde_json::to_string(&record));
    records.collect::<Result<_, _>>().expect("JSON")
}

#[test]
fn log_of_level_1_gives_the_state_that_it_gave() {
    assert_eq!(lines(&replayed()), STATE.lines().collect::<Vec<_>>());
}

#[test]
fn commands_and_records_of_level_1_are_written_as_level_1_wrote_them() {
    for line in LOG.lines() {
        let command: Command = serde_json::from_str(line).expect("a command");
        assert_eq!(serde_json::to_string(&command).expect("JSON"), line);
    }
    for line in STATE.lines() {
        let record: SnapshotRecord = serde_json::from_str(line).expect("a record");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), line);
    }
}

#[test]
fn field_that_nobody_knows_is_refused_wherever_it_stands() {
    for line in LOG.lines().chain(STATE.lines()) {
        for (place, _) in line.match_indices("{\"") {
            let (before, after) = line.split_at(place + 1);
            let more = format!("{before}\"from_the_future\":\"x\",{after}");
            // Maps from names to values take any name.
            let is_map = ["\"tags\":{", "\"attributes\":{"]
                .iter()
                .any(|map| before.ends_with(map));
            let is_read =
                serde_json::from_str::<Command>(&more).is_ok() || serde_json::from_str::<SnapshotRecord>(&more).is_ok();
            let here = &before[before.len().saturating_sub(60)..];
            assert_eq!(is_read, is_map, "after {here}");
        }
    }
}

fn raise(state: &mut ClusterState) {
    let command = Command::RaiseFeatureLevel(FeatureLevel::newest("0.2.0"));
    apply(state, LogIndex(90), &command).expect("raised");
}

fn delete(state: &mut ClusterState, service: &Service) -> Result<(), Rejection> {
    let command = Command::DeleteService {
        service: service.key.clone(),
        force: true,
        at: Timestamp(1),
    };
    apply(state, LogIndex(91), &command).map(drop)
}

#[test]
fn service_deleted_again_is_refused_until_the_level_is_raised() {
    let (mut state, service) = state_with_a_service_task_in(ClusterState::default());
    delete(&mut state, &service).expect("deletes");
    let again = delete(&mut state, &service);
    assert_eq!(again, Err(Rejection::ServiceNotActive(service.key.clone())));
    raise(&mut state);
    assert_eq!(delete(&mut state, &service), Ok(()));
}

#[test]
fn task_that_runs_since_before_the_level_was_raised_has_stayed_up_when_it_ends_after_it() {
    let began = 1_000;
    for (ended, failed) in [(began + 9_000, 1), (began + 3_600_000, 0)] {
        let (mut state, service) = state_with_a_service_task_in(ClusterState::default());
        let running = TaskReport {
            started_at: Some(Timestamp(began)),
            ..report(1, TaskStatus::Running)
        };
        tell(&mut state, running, began);
        raise(&mut state);
        tell(&mut state, report(1, TaskStatus::Deactivating), ended);
        assert_eq!(failures(&state, &service), failed, "ended at {ended}");
    }
}

#[test]
fn times_of_a_host_are_taken_as_told_until_the_level_is_raised() {
    let told = |state: &mut ClusterState| {
        let stopped = TaskReport {
            pull_started_at: Some(Timestamp(7_000)),
            stopped_at: Some(Timestamp(8_000)),
            ..report(1, TaskStatus::Stopped)
        };
        tell(state, stopped, 5_000);
        let task = state.task(TaskId(1)).expect("remembered");
        [task.pull_started_at, task.stopped_at].map(|time| time.map(|time| time.0))
    };
    let (mut before, _) = state_with_a_service_task_in(ClusterState::default());
    assert_eq!(told(&mut before), [Some(7_000), Some(8_000)]);
    let (mut after, _) = state_with_a_service_task();
    assert_eq!(told(&mut after), [Some(5_000), Some(5_000)]);
}

#[test]
fn version_of_a_host_counts_its_tasks_once_the_level_is_raised() {
    let versions = |mut state: ClusterState| {
        let mut seen = vec![];
        let mut apply = |command: Command| {
            apply(&mut state, LogIndex(1), &command).expect("applied");
            seen.push(state.container_instance(ContainerInstanceId(1)).expect("there").version);
        };
        apply(register(1, 0));
        apply(Command::RunTasks {
            tasks: vec![task(1, 1, 10, 10, None), task(2, 1, 10, 10, None)],
            client_token: None,
        });
        for (id, status) in [
            (1, TaskStatus::Running),
            (1, TaskStatus::Stopped),
            (2, TaskStatus::Stopped),
        ] {
            apply(Command::RecordTaskReports {
                container_instance: ContainerInstanceId(1),
                reports: vec![report(id, status)],
                at: Timestamp(5),
            });
        }
        seen
    };
    assert_eq!(versions(ClusterState::default()), [1, 1, 1, 1, 1]);
    assert_eq!(versions(ClusterState::at_newest_level()), [1, 3, 3, 4, 5]);
}
