//! Containers that are started again in place.

use super::*;
use crate::model::RestartPolicy;

/// Seconds that a container has to run before it is started again.
const PERIOD: i64 = 60;

fn spec_with_restarts(containers: &[(&str, bool)]) -> TaskSpec {
    let mut spec = spec(containers);
    for container in &mut spec.containers {
        container.restart_policy = Some(RestartPolicy {
            enabled: true,
            ignored_exit_codes: vec![42],
            attempt_period_secs: Some(60),
        });
    }
    spec
}

fn pass(host: &mut Host, secs: i64) {
    host.now = host.now.plus_ms(secs * 1_000);
}

fn found(state: FoundState) -> Observation {
    let containers = vec![FoundContainer {
        name: "a".to_owned(),
        runtime_id: "id-a".to_owned(),
        state,
    }];
    Observation::Recovered { containers }
}

fn exited(exit_code: Option<i32>, at: Timestamp) -> FoundState {
    let reason = None;
    FoundState::Exited { exit_code, reason, at }
}

#[test]
fn container_that_ran_long_enough_is_started_again_and_its_task_runs_on() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
    let before = host.state.report();
    for _ in 0..3 {
        pass(&mut host, PERIOD);
        host.exit("a", Some(1), None);
        assert_eq!(host.asked(), ["restart a"]);
        assert_eq!(host.state.report(), before, "nothing to tell the controllers");
        host.carry_out();
        assert_eq!(host.asked(), ["watch a"]);
    }
    assert_eq!(host.state.report(), before);
    assert_eq!(host.state.containers[0].restarts, 3);
}

#[test]
fn container_that_ends_too_early_or_with_an_ignored_code_takes_its_task_along() {
    for (secs, code) in [(PERIOD - 10, 1), (PERIOD, 42)] {
        let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
        pass(&mut host, secs);
        host.exit("a", Some(code), None);
        host.carry_out();
        let report = host.state.report();
        assert_eq!(report.status, TaskStatus::Stopped);
        assert_eq!(report.containers[0].exit_code, Some(code));
        assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    }
}

#[test]
fn period_counts_from_the_last_restart() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
    pass(&mut host, PERIOD);
    host.exit("a", Some(1), None);
    host.carry_out();
    pass(&mut host, PERIOD - 10);
    host.exit("a", Some(1), None);
    host.carry_out();
    assert_eq!(host.state.status(), TaskStatus::Stopped);
}

#[test]
fn container_that_cannot_be_started_again_has_ended_as_it_did() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true), ("b", false)]));
    pass(&mut host, PERIOD);
    host.exit("b", Some(3), None);
    host.observe(Observation::ContainerFailed {
        container: "b".to_owned(),
        reason: "CannotStartContainerError: no".to_owned(),
    });
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Running, "b is not essential");
    assert_eq!(report.containers[1].exit_code, Some(3));
    let reason = report.containers[1].reason.as_deref();
    assert_eq!(
        reason,
        Some("it could not be started again: CannotStartContainerError: no")
    );
}

#[test]
fn container_is_not_started_again_while_its_task_stops() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
    pass(&mut host, PERIOD);
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    host.exit("a", Some(143), None);
    host.carry_out();
    assert!(!host.asked().contains(&"restart a".to_owned()));
    assert_eq!(host.state.status(), TaskStatus::Stopped);
}

#[test]
fn task_that_is_to_stop_during_a_restart_stops_what_was_started_again() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
    pass(&mut host, PERIOD);
    host.exit("a", Some(1), None);
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    assert_eq!(host.asked(), ["restart a"]);
    host.carry_out();
    assert_eq!(host.asked(), ["watch a", "stop a"]);
    host.exit("a", Some(143), None);
    host.carry_out();
    assert_eq!(host.state.status(), TaskStatus::Stopped);
}

#[test]
fn container_that_ended_while_the_agent_was_away_is_started_again() {
    let mut host = Host::with_running(&spec_with_restarts(&[("a", true)]));
    pass(&mut host, PERIOD);
    let at = host.now;
    host.observe(found(exited(Some(1), at)));
    assert_eq!(host.asked(), ["restart a"]);
}

#[test]
fn restart_that_an_agents_end_cut_short_is_done_again_or_found_done() {
    let mut cut = Host::with_running(&spec_with_restarts(&[("a", true)]));
    pass(&mut cut, PERIOD);
    cut.exit("a", Some(1), None);
    cut.waiting.clear();
    cut.asked.clear();
    let (state, now) = (cut.state, cut.now);
    let again = |found: Observation| {
        let mut host = Host {
            state: state.clone(),
            now,
            asked: vec![],
            waiting: vec![],
        };
        host.observe(found);
        host
    };
    assert_eq!(again(found(exited(Some(1), now))).asked(), ["restart a"]);
    assert_eq!(again(found(FoundState::Created)).asked(), ["restart a"]);
    let mut running = again(found(FoundState::Running));
    assert_eq!(running.asked(), ["watch a"]);
    pass(&mut running, PERIOD);
    running.exit("a", Some(1), None);
    assert_eq!(
        running.asked(),
        ["restart a"],
        "it ran for its period since the restart"
    );
    let lost = again(Observation::Recovered { containers: vec![] });
    assert!(lost.state.report().stopped_reason.is_some());
}
