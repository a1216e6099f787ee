//! Tasks of a host that is cut off.

use super::*;

#[test]
fn task_of_a_host_that_is_fenced_stops_with_the_reason_and_a_later_wish_changes_nothing() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Fenced { after_ms: 30_000 });
    assert_eq!(host.asked(), ["stop a"]);
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    host.exit("a", Some(143), None);
    host.carry_out();
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Stopped);
    assert_eq!(report.stop_code, Some(StopCode::TerminationNotice));
    let reason = report.stopped_reason.expect("a reason");
    assert!(
        reason.starts_with("Host was cut off from every controller for 30 s:"),
        "{reason}"
    );
}

#[test]
fn task_that_is_to_stop_when_its_host_is_fenced_keeps_the_controllers_reason() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    host.observe(Observation::Fenced { after_ms: 30_000 });
    assert_eq!(host.state.report().stopped_reason, None);
}
