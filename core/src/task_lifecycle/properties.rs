//! What holds whatever happens, in whatever order.

use proptest::prelude::*;

use super::tests::{spec, success};
use super::*;
use crate::model::{
    ContainerDependency, ContainerStatus, DependencyCondition, HealthCheck, HealthStatus, RestartPolicy, TaskSpec,
    TaskStatus,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn any_spec() -> impl Strategy<Value = TaskSpec> {
    proptest::collection::vec(any::<bool>(), 1..=3).prop_map(|essential| {
        let containers: Vec<_> = essential
            .iter()
            .enumerate()
            .map(|(i, &essential)| (NAMES[i], essential || i == 0))
            .collect();
        spec(&containers)
    })
}

/// Containers that are started again however short they ran, have health checks, and depend on each other, be it in circles.
fn any_spec_with_restarts() -> impl Strategy<Value = TaskSpec> {
    let conditions = [
        DependencyCondition::Start,
        DependencyCondition::Complete,
        DependencyCondition::Success,
        DependencyCondition::Healthy,
    ];
    let dependency = (0..3usize, 0..3usize, proptest::sample::select(conditions.to_vec()));
    let dependencies = proptest::collection::vec(dependency, 0..3);
    (any_spec(), any::<bool>(), dependencies).prop_map(|(mut spec, enabled, dependencies)| {
        for (of, on, condition) in dependencies {
            if let Some(container) = spec.containers.get_mut(of) {
                container.depends_on.push(ContainerDependency {
                    container_name: NAMES[on].to_owned(),
                    condition,
                });
                container.start_timeout_secs = Some(30);
            }
        }
        for container in &mut spec.containers {
            container.restart_policy = Some(RestartPolicy {
                enabled,
                ignored_exit_codes: vec![0],
                attempt_period_secs: Some(0),
            });
            container.health_check = enabled.then(|| HealthCheck {
                command: vec!["CMD".to_owned(), "true".to_owned()],
                interval_secs: 5,
                timeout_secs: 2,
                retries: 1,
                start_period_secs: None,
            });
        }
        spec
    })
}

fn any_found() -> impl Strategy<Value = FoundContainer> {
    let state = prop_oneof![
        Just(FoundState::Created),
        Just(FoundState::Running),
        (proptest::option::of(0..=255i32), 0..100_000i64).prop_map(|(exit_code, at)| FoundState::Exited {
            exit_code,
            reason: None,
            at: Timestamp(at)
        }),
    ];
    (proptest::sample::select(&NAMES[..]), state).prop_map(|(name, state)| FoundContainer {
        name: name.to_owned(),
        runtime_id: "id".to_owned(),
        state,
    })
}

fn any_health() -> impl Strategy<Value = HealthStatus> {
    proptest::sample::select(&[HealthStatus::Healthy, HealthStatus::Unknown, HealthStatus::Unhealthy][..])
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let name = || proptest::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let reason = || Just("SomeError: it did not work".to_owned());
    prop_oneof![
        3 => Just(Observation::Assigned(DesiredStatus::Running)),
        1 => Just(Observation::Assigned(DesiredStatus::Stopped)),
        1 => (5_000..100_000u32).prop_map(|after_ms| Observation::Fenced { after_ms }),
        6 => name().prop_map(|container| Observation::ImagePulled { container, digest: "sha256:1".to_owned() }),
        1 => (name(), reason()).prop_map(|(container, reason)| Observation::ImagePullFailed { container, reason }),
        6 => Just(Observation::NetworkReady { bindings: Vec::new(), interface: None }),
        1 => reason().prop_map(|reason| Observation::NetworkFailed { reason }),
        6 => name().prop_map(|container| Observation::ContainerCreated { container }),
        6 => name().prop_map(|container| Observation::ContainerStarted { container, runtime_id: "id".to_owned() }),
        1 => (name(), reason()).prop_map(|(container, reason)| Observation::ContainerFailed { container, reason }),
        2 => (name(), proptest::option::of(0..=255i32)).prop_map(|(container, exit_code)| {
            Observation::ContainerExited { container, exit_code, reason: None, at: Timestamp(5) }
        }),
        1 => (name(), any_health()).prop_map(|(container, status)| Observation::HealthChanged { container, status }),
        1 => (name(), reason()).prop_map(|(container, reason)| Observation::StopFailed { container, reason }),
        2 => name().prop_map(|container| Observation::ContainerRemoved { container }),
        1 => (name(), reason()).prop_map(|(container, reason)| Observation::RemoveFailed { container, reason }),
        1 => Just(Observation::NetworkTornDown),
        1 => reason().prop_map(|reason| Observation::TearDownFailed { reason }),
        3 => Just(Observation::Tick),
        1 => proptest::collection::vec(any_found(), 0..=3).prop_map(|containers| Observation::Recovered { containers }),
    ]
}

/// Answers everything that is or was asked for; processes end when they are told to. Bounded, or it is no end.
fn drain(mut state: TaskState, mut asked: Vec<RuntimeAction>, mut now: Timestamp) -> TaskState {
    for _ in 0..200 {
        if state.is_stopped() {
            break;
        }
        let observation = if asked.is_empty() {
            now = state.wake_at().unwrap_or(now).max(now);
            Observation::Tick
        } else {
            match asked.remove(0) {
                RuntimeAction::StopContainer { container } | RuntimeAction::KillContainer { container } => {
                    Observation::ContainerExited {
                        container,
                        exit_code: Some(143),
                        reason: None,
                        at: now,
                    }
                }
                action => match success(&action) {
                    Some(outcome) => outcome,
                    None => continue,
                },
            }
        };
        now = now.plus_ms(10);
        let (next, actions) = step(&state, &observation, now);
        state = next;
        asked.extend(actions);
    }
    state
}

proptest! {
    #[test]
    fn any_observations_then_a_stop_end_stopped_and_statuses_never_go_back(
        spec in any_spec_with_restarts(),
        observations in proptest::collection::vec((any_observation(), 0..40_000i64), 0..60),
    ) {
        let (mut state, mut asked, mut now) = (TaskState::new(&spec), Vec::new(), Timestamp(0));
        for (observation, later_ms) in &observations {
            now = now.plus_ms(*later_ms);
            let (next, actions) = step(&state, observation, now);
            prop_assert!(next.status() >= state.status());
            if state.is_stopped() {
                prop_assert!(actions.is_empty(), "a stopped task was asked for {actions:?}");
                prop_assert_eq!(&next, &state);
            }
            if matches!(observation, Observation::Recovered { .. }) {
                asked.clear();
            }
            state = next;
            asked.extend(actions);
        }
        let (state, actions) = step(&state, &Observation::Assigned(DesiredStatus::Stopped), now);
        asked.extend(actions);
        let state = drain(state, asked, now);
        prop_assert_eq!(state.status(), TaskStatus::Stopped);
        let report = state.report();
        prop_assert!(report.containers.iter().all(|c| c.status == ContainerStatus::Stopped));
        prop_assert!(report.stopped_at.is_some() && report.execution_stopped_at.is_some());
        prop_assert_eq!(state.wake_at(), None);
    }

    #[test]
    fn exit_code_of_an_essential_container_ends_in_the_report(spec in any_spec(), code in 0..=255i32) {
        let (state, asked) = step(
            &TaskState::new(&spec),
            &Observation::Assigned(DesiredStatus::Running),
            Timestamp(0),
        );
        let (mut state, mut asked) = (state, asked);
        while !asked.is_empty() {
            if let Some(outcome) = success(&asked.remove(0)) {
                let (next, actions) = step(&state, &outcome, Timestamp(1));
                state = next;
                asked.extend(actions);
            }
        }
        prop_assert_eq!(state.status(), TaskStatus::Running);
        let exit = Observation::ContainerExited {
            container: "a".to_owned(),
            exit_code: Some(code),
            reason: None,
            at: Timestamp(2),
        };
        let (state, asked) = step(&state, &exit, Timestamp(3));
        let report = drain(state, asked, Timestamp(3)).report();
        prop_assert_eq!(report.status, TaskStatus::Stopped);
        prop_assert_eq!(report.containers[0].exit_code, Some(code));
        let expected = format!("Essential container in task exited (exit code {code})");
        prop_assert_eq!(report.stopped_reason, Some(expected));
    }
}
