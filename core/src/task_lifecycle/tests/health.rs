//! Probes, and the health that they come to.

use super::super::health::LONGEST_PAUSE_MS;
use super::*;
use HealthStatus::{Healthy, Unhealthy, Unknown};
use ProbeOutcome::{Failed, NotRun, Passed};

const SECOND: i64 = 1_000;

fn check(start_period_secs: Option<u32>) -> HealthCheck {
    HealthCheck {
        command: vec!["CMD".to_owned(), "true".to_owned()],
        interval_secs: 10,
        timeout_secs: 5,
        retries: 3,
        start_period_secs,
    }
}

fn spec_with_check(containers: &[(&str, bool)], start_period_secs: Option<u32>) -> TaskSpec {
    let mut spec = spec(containers);
    for container in &mut spec.containers {
        container.health_check = Some(check(start_period_secs));
    }
    spec
}

/// What these outcomes, one each ten seconds, make of a container, one after the other.
fn standings(start_period_secs: Option<u32>, outcomes: &[ProbeOutcome]) -> Vec<HealthStatus> {
    let (check, began_at) = (check(start_period_secs), Timestamp(0));
    let mut standing = Standing {
        status: Unknown,
        failures: 0,
    };
    let mut now = began_at;
    let each = outcomes.iter().map(|outcome| {
        now = now.plus_ms(10 * SECOND);
        standing = judge(&check, standing, *outcome, began_at, now);
        standing.status
    });
    each.collect()
}

#[test]
fn container_is_healthy_with_the_first_probe_that_passes_and_unhealthy_with_the_last_retry_that_fails() {
    assert_eq!(
        standings(None, &[Failed, Failed, Failed]),
        [Unknown, Unknown, Unhealthy]
    );
    assert_eq!(standings(None, &[Failed, Failed, Passed]), [Unknown, Unknown, Healthy]);
    assert_eq!(
        standings(None, &[Passed, Failed, Failed, Passed, Failed, Failed, Failed, Passed]),
        [Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Healthy]
    );
}

#[test]
fn probe_that_could_not_be_run_says_nothing() {
    assert_eq!(
        standings(None, &[Failed, NotRun, Failed, NotRun, Failed]),
        [Unknown, Unknown, Unknown, Unknown, Unhealthy]
    );
}

#[test]
fn failures_in_the_start_period_do_not_count_until_a_probe_has_passed() {
    assert_eq!(
        standings(Some(35), &[Failed, Failed, Failed, Failed, Failed, Failed]),
        [Unknown, Unknown, Unknown, Unknown, Unknown, Unhealthy]
    );
    assert_eq!(
        standings(Some(300), &[Passed, Failed, Failed, Failed]),
        [Healthy, Healthy, Healthy, Unhealthy]
    );
}

/// A task that runs, and its health checks.
struct Watched {
    host: Host,
    spec: TaskSpec,
    watch: HealthWatch,
}

impl Watched {
    fn new(spec: TaskSpec) -> Self {
        let mut watched = Self {
            host: Host::with_running(&spec),
            spec,
            watch: HealthWatch::default(),
        };
        watched.follow();
        watched
    }

    fn follow(&mut self) {
        self.watch.follow(&self.host.state, &self.spec, self.host.now);
    }

    /// Lets time pass until the next probe is due, and answers those that are.
    fn probe(&mut self, outcome: ProbeOutcome) -> Vec<String> {
        let at = self.watch.wake_at(self.host.now).expect("a probe");
        self.host.now = self.host.now.max(at);
        let due = self.watch.due(self.host.now);
        for probe in &due {
            self.watch.take(probe, outcome, self.host.now);
        }
        self.tell();
        due.into_iter().map(|probe| probe.container).collect()
    }

    fn tell(&mut self) {
        for news in self.watch.news(self.host.now) {
            let now = self.host.now;
            self.host.observe(news);
            self.host.now = now;
        }
    }

    fn health(&self) -> Option<HealthStatus> {
        self.host.state.report().health
    }
}

#[test]
fn container_is_probed_an_interval_after_its_start_and_after_each_probe() {
    let mut watched = Watched::new(spec_with_check(&[("a", true)], None));
    let started = watched.host.now;
    assert_eq!(watched.watch.wake_at(started), Some(started.plus_ms(10 * SECOND)));
    assert_eq!(watched.watch.due(started), []);
    watched.host.now = started.plus_ms(10 * SECOND);
    let due = watched.watch.due(watched.host.now);
    assert_eq!(due.len(), 1);
    assert_eq!(watched.watch.due(watched.host.now), [], "the first has not ended");
    assert_eq!(watched.watch.wake_at(watched.host.now), None);
    watched.host.now = started.plus_ms(14 * SECOND);
    watched.watch.take(&due[0], Passed, watched.host.now);
    watched.tell();
    assert_eq!(watched.health(), Some(Healthy));
    assert_eq!(
        watched.watch.wake_at(watched.host.now),
        Some(started.plus_ms(24 * SECOND))
    );
}

#[test]
fn health_of_a_task_is_that_of_its_essential_containers() {
    let mut watched = Watched::new(spec_with_check(&[("a", true), ("side", false)], None));
    assert_eq!(watched.health(), Some(Unknown));
    watched.probe(Passed);
    assert_eq!(watched.health(), Some(Healthy));
    let status = Unhealthy;
    let container = "side".to_owned();
    watched.host.observe(Observation::HealthChanged { container, status });
    let report = watched.host.state.report();
    assert_eq!(
        (report.health, report.containers[1].health),
        (Some(Healthy), Some(Unhealthy))
    );
    let without = Host::with_running(&spec(&[("a", true)])).state.report();
    assert_eq!((without.health, without.containers[0].health), (None, None));
}

#[test]
fn container_that_is_started_again_is_unknown_and_what_its_last_run_was_probed_with_does_not_count() {
    let mut spec = spec_with_check(&[("a", true)], None);
    spec.containers[0].restart_policy = Some(crate::model::RestartPolicy {
        enabled: true,
        ignored_exit_codes: vec![],
        attempt_period_secs: Some(60),
    });
    let mut watched = Watched::new(spec);
    watched.probe(Passed);
    watched.host.now = watched.host.now.plus_ms(60 * SECOND);
    let late = watched.watch.due(watched.host.now);
    watched.host.exit("a", Some(1), None);
    watched.follow();
    assert_eq!(watched.watch.wake_at(watched.host.now), None, "nothing runs");
    watched.host.carry_out();
    watched.follow();
    assert_eq!(watched.health(), Some(Unknown));
    watched.watch.take(&late[0], Passed, watched.host.now);
    watched.tell();
    assert_eq!(watched.health(), Some(Unknown));
    watched.probe(Passed);
    assert_eq!(watched.health(), Some(Healthy));
}

#[test]
fn task_that_is_to_stop_is_not_probed_and_keeps_its_health() {
    let mut watched = Watched::new(spec_with_check(&[("a", true)], None));
    watched.probe(Passed);
    watched.host.observe(Observation::Assigned(DesiredStatus::Stopped));
    watched.follow();
    assert_eq!(watched.watch.wake_at(watched.host.now), None);
    watched.host.exit("a", Some(0), None);
    watched.host.carry_out();
    assert_eq!(watched.health(), Some(Healthy));
}

#[test]
fn health_that_flaps_is_told_once_a_minute_at_last() {
    let mut spec = spec_with_check(&[("a", true)], None);
    let check = spec.containers[0].health_check.as_mut().expect("a check");
    (check.interval_secs, check.retries) = (5, 1);
    let mut watched = Watched::new(spec);
    let mut told = vec![];
    let mut known = watched.health();
    for number in 0..400 {
        // A lone outcome of its kind now and then, lest flapping and pauses keep step.
        watched.probe(if (number / 3) % 2 == 0 { Passed } else { Failed });
        if watched.health() != known {
            known = watched.health();
            told.push(watched.host.now);
        }
    }
    let pauses: Vec<i64> = told.windows(2).map(|two| two[1].ms_since(two[0])).collect();
    assert!(
        pauses.len() > 10 && pauses.iter().skip(5).all(|ms| *ms >= LONGEST_PAUSE_MS),
        "{pauses:?}"
    );
}

#[test]
fn agent_that_comes_back_goes_on_from_the_health_that_was_told() {
    let mut watched = Watched::new(spec_with_check(&[("a", true)], None));
    watched.probe(Passed);
    watched.watch = HealthWatch::default();
    watched.follow();
    watched.probe(Failed);
    watched.probe(Failed);
    assert_eq!(watched.health(), Some(Healthy));
    watched.probe(Failed);
    assert_eq!(watched.health(), Some(Unhealthy));
}

#[test]
fn container_on_a_host_whose_clock_was_set_back_is_probed_an_interval_later() {
    let mut watched = Watched::new(spec_with_check(&[("a", true)], None));
    let back = Timestamp(watched.host.now.0 - 3_600_000);
    assert_eq!(watched.watch.due(back), []);
    assert_eq!(watched.watch.wake_at(back), Some(back.plus_ms(10 * SECOND)));
}
