//! Containers that wait for others.

use super::*;

/// A container: its name, whether it is essential, and what it waits for.
type Given<'a> = (&'a str, bool, &'a [(&'a str, DependencyCondition)]);

fn spec_of(containers: &[Given<'_>]) -> TaskSpec {
    let names: Vec<(&str, bool)> = containers
        .iter()
        .map(|(name, essential, _)| (*name, *essential))
        .collect();
    let mut spec = spec(&names);
    for (container, (_, _, others)) in spec.containers.iter_mut().zip(containers) {
        let dependency = |(name, condition): &(&str, DependencyCondition)| ContainerDependency {
            container_name: (*name).to_owned(),
            condition: *condition,
        };
        container.depends_on = others.iter().map(dependency).collect();
        container.health_check = Some(HealthCheck {
            command: vec!["CMD".to_owned(), "true".to_owned()],
            interval_secs: 5,
            timeout_secs: 2,
            retries: 1,
            start_period_secs: None,
        });
    }
    spec
}

/// A host that has begun with the task and done what it was asked for, but for what it waits for.
fn begun(spec: &TaskSpec) -> Host {
    let mut host = Host::given(spec);
    host.observe(Observation::Assigned(DesiredStatus::Running));
    host.carry_out();
    host
}

/// What was asked for of containers to have them run.
fn starts(host: &mut Host) -> Vec<String> {
    let asked = host.asked();
    asked.into_iter().filter(|text| text.starts_with("start ")).collect()
}

fn healthy(host: &mut Host, container: &str) {
    host.observe(Observation::HealthChanged {
        container: container.to_owned(),
        status: HealthStatus::Healthy,
    });
    host.carry_out();
}

#[test]
fn container_starts_after_those_that_it_depends_on_wherever_it_stands_in_the_definition() {
    use DependencyCondition::Start;
    let spec = spec_of(&[("app", true, &[("db", Start)]), ("db", true, &[]), ("side", false, &[])]);
    let mut host = begun(&spec);
    assert_eq!(starts(&mut host), ["start db", "start app", "start side"]);
    assert_eq!(host.state.status(), TaskStatus::Running);
}

#[test]
fn container_waits_until_another_is_healthy_and_its_task_does_not_run_before() {
    use DependencyCondition::Healthy;
    let spec = spec_of(&[("app", true, &[("db", Healthy)]), ("db", true, &[])]);
    let mut host = begun(&spec);
    assert_eq!(starts(&mut host), ["start db"]);
    assert_eq!(host.state.status(), TaskStatus::Activating);
    healthy(&mut host, "db");
    assert_eq!(starts(&mut host), ["start app"]);
    assert_eq!(host.state.status(), TaskStatus::Running);
    host.observe(Observation::HealthChanged {
        container: "db".to_owned(),
        status: HealthStatus::Unhealthy,
    });
    assert_eq!(
        host.state.status(),
        TaskStatus::Running,
        "it is looked at when the task starts only"
    );
}

#[test]
fn container_waits_for_the_end_of_another() {
    use DependencyCondition::{Complete, Success};
    for (condition, code, starts_then) in [(Complete, 3, true), (Success, 0, true), (Success, 3, false)] {
        let spec = spec_of(&[("init", false, &[]), ("app", true, &[("init", condition)])]);
        let mut host = begun(&spec);
        assert_eq!(starts(&mut host), ["start init"]);
        host.exit("init", Some(code), None);
        host.carry_out();
        if starts_then {
            assert_eq!(starts(&mut host), ["start app"]);
            assert_eq!(host.state.status(), TaskStatus::Running);
            continue;
        }
        let report = host.state.report();
        assert_eq!(
            (report.status, report.stop_code),
            (TaskStatus::Stopped, Some(StopCode::TaskFailedToStart))
        );
        let reason = "CannotStartContainerError: container app depends on container init being SUCCESS: it ended with exit code 3";
        assert_eq!(report.stopped_reason, Some(format!("Task failed to start: {reason}")));
        assert_eq!(report.containers[1].reason.as_deref(), Some(reason));
    }
}

#[test]
fn container_that_is_not_what_others_wait_for_within_its_start_timeout_ends_the_task() {
    use DependencyCondition::Healthy;
    let mut spec = spec_of(&[("db", true, &[]), ("side", false, &[("db", Healthy)])]);
    spec.containers[0].start_timeout_secs = Some(60);
    let mut host = begun(&spec);
    let at = host.state.wake_at().expect("it gives up");
    host.now = at.plus_ms(-2_000);
    host.observe(Observation::Tick);
    assert_eq!(host.state.status(), TaskStatus::Activating);
    host.now = at;
    host.observe(Observation::Tick);
    let report = host.state.report();
    assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
    let reason = report.stopped_reason.expect("a reason");
    assert!(
        reason.ends_with("being HEALTHY: it was not within its startTimeout of 60 s"),
        "{reason}"
    );
}

#[test]
fn containers_stop_in_the_reverse_of_the_order_in_which_they_start() {
    use DependencyCondition::Start;
    let spec = spec_of(&[
        ("db", true, &[]),
        ("app", true, &[("db", Start)]),
        ("front", true, &[("app", Start)]),
    ]);
    let mut host = begun(&spec);
    host.asked();
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    for (container, next) in [("front", "stop app"), ("app", "stop db")] {
        assert_eq!(host.asked().len(), 1, "one at a time");
        host.exit(container, Some(143), None);
        assert_eq!(host.asked.last().map(String::as_str), Some(next));
    }
    host.exit("db", Some(143), None);
    host.carry_out();
    assert_eq!(host.state.status(), TaskStatus::Stopped);
}

#[test]
fn agent_that_comes_back_goes_on_waiting() {
    use DependencyCondition::Healthy;
    let spec = spec_of(&[("db", true, &[]), ("app", true, &[("db", Healthy)])]);
    let mut host = begun(&spec);
    host.asked();
    let found = FoundContainer {
        name: "db".to_owned(),
        runtime_id: "id-db".to_owned(),
        state: FoundState::Running,
    };
    host.observe(Observation::Recovered {
        containers: vec![found],
    });
    host.carry_out();
    assert_eq!(starts(&mut host), Vec::<String>::new());
    healthy(&mut host, "db");
    assert_eq!(starts(&mut host), ["start app"]);
}
