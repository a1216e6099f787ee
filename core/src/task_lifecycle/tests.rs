//! The lifecycle on hosts that do as they are told, and on some that do not.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    ContainerDependency, ContainerSpec, ContainerStatus, CpuUnits, DependencyCondition, HealthCheck, HealthStatus,
    MemoryMib, NetworkBinding, NetworkMode, StopCode, TaskId, TaskSpec, TaskStatus, TransportProtocol,
};

mod dependencies;
mod fence;
mod health;
mod restarts;

/// A spec of containers, each a name and whether it is essential.
pub(super) fn spec(containers: &[(&str, bool)]) -> TaskSpec {
    let container = |(name, essential): &(&str, bool)| ContainerSpec {
        name: (*name).to_owned(),
        image: "busybox".to_owned(),
        cpu: CpuUnits(0),
        memory: Some(MemoryMib(64)),
        memory_reservation: None,
        essential: *essential,
        entry_point: Vec::new(),
        command: Vec::new(),
        environment: Vec::new(),
        working_directory: None,
        user: None,
        port_mappings: Vec::new(),
        stop_timeout_secs: 30,
        docker_labels: BTreeMap::new(),
        restart_policy: None,
        health_check: None,
        depends_on: Vec::new(),
        start_timeout_secs: None,
    };
    TaskSpec {
        task: TaskId(7),
        task_arn: "arn:aws:ecs:us-east-1:123456789012:task/default/7".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        network_mode: NetworkMode::Bridge,
        cpu: None,
        memory: None,
        fargate: false,
        containers: containers.iter().map(container).collect(),
    }
}

/// A host on which everything that is asked for succeeds, and every second has a number.
struct Host {
    state: TaskState,
    now: Timestamp,
    /// Everything asked for, in order, as text that a reader can check.
    asked: Vec<String>,
    waiting: Vec<RuntimeAction>,
}

impl Host {
    fn given(spec: &TaskSpec) -> Self {
        Self {
            state: TaskState::new(spec),
            now: Timestamp(0),
            asked: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// A host that has brought the task as far as it goes.
    fn with_running(spec: &TaskSpec) -> Self {
        let mut host = Self::given(spec);
        host.observe(Observation::Assigned(DesiredStatus::Running));
        host.carry_out();
        assert_eq!(host.state.status(), TaskStatus::Running);
        host.asked.clear();
        host
    }

    fn observe(&mut self, observation: Observation) {
        self.now = self.now.plus_ms(1000);
        let (state, actions) = step(&self.state, &observation, self.now);
        self.state = state;
        self.asked.extend(actions.iter().map(text));
        self.waiting.extend(actions);
    }

    fn carry_out(&mut self) {
        while !self.waiting.is_empty() {
            let action = self.waiting.remove(0);
            if let Some(outcome) = success(&action) {
                self.observe(outcome);
            }
        }
    }

    fn exit(&mut self, container: &str, exit_code: Option<i32>, reason: Option<&str>) {
        self.observe(Observation::ContainerExited {
            container: container.to_owned(),
            exit_code,
            reason: reason.map(str::to_owned),
            at: self.now,
        });
    }

    fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }
}

fn text(action: &RuntimeAction) -> String {
    match action {
        RuntimeAction::PullImage { container } => format!("pull {container}"),
        RuntimeAction::SetUpNetwork => "network up".to_owned(),
        RuntimeAction::CreateContainer { container } => format!("create {container}"),
        RuntimeAction::StartContainer { container } => format!("start {container}"),
        RuntimeAction::RestartContainer { container } => format!("restart {container}"),
        RuntimeAction::WatchContainer { container } => format!("watch {container}"),
        RuntimeAction::StopContainer { container } => format!("stop {container}"),
        RuntimeAction::KillContainer { container } => format!("kill {container}"),
        RuntimeAction::RemoveContainer { container } => format!("remove {container}"),
        RuntimeAction::TearDownNetwork => "network down".to_owned(),
    }
}

/// The outcome of an action that succeeds; nothing for those that wait for the container.
pub(super) fn success(action: &RuntimeAction) -> Option<Observation> {
    Some(match action.clone() {
        RuntimeAction::PullImage { container } => Observation::ImagePulled {
            container,
            digest: "sha256:1".to_owned(),
        },
        RuntimeAction::SetUpNetwork => Observation::NetworkReady {
            bindings: Vec::new(),
            interface: None,
        },
        RuntimeAction::CreateContainer { container } => Observation::ContainerCreated { container },
        RuntimeAction::StartContainer { container } | RuntimeAction::RestartContainer { container } => {
            Observation::ContainerStarted {
                runtime_id: format!("id-{container}"),
                container,
            }
        }
        RuntimeAction::RemoveContainer { container } => Observation::ContainerRemoved { container },
        RuntimeAction::TearDownNetwork => Observation::NetworkTornDown,
        RuntimeAction::WatchContainer { .. }
        | RuntimeAction::StopContainer { .. }
        | RuntimeAction::KillContainer { .. } => return None,
    })
}

#[test]
fn task_assigned_pulls_then_networks_then_starts_in_order() {
    let mut host = Host::given(&spec(&[("a", true), ("b", false)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    assert_eq!(host.state.status(), TaskStatus::Pending);
    host.carry_out();
    let expected = [
        "pull a",
        "pull b",
        "network up",
        "create a",
        "start a",
        "watch a",
        "create b",
        "start b",
        "watch b",
    ];
    assert_eq!(host.asked(), expected);
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Running);
    assert_eq!(report.pull_started_at, Some(Timestamp(1000)));
    assert_eq!(report.pull_stopped_at, Some(Timestamp(3000)));
    assert_eq!(report.started_at, Some(host.now));
    assert_eq!(report.containers[1].runtime_id.as_deref(), Some("id-b"));
    assert_eq!(report.containers[0].image_digest.as_deref(), Some("sha256:1"));
}

#[test]
fn network_ready_gives_each_container_its_own_ports() {
    let mut host = Host::given(&spec(&[("a", true), ("b", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    for container in ["a", "b"] {
        host.observe(Observation::ImagePulled {
            container: container.to_owned(),
            digest: "sha256:1".to_owned(),
        });
    }
    let binding = NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: 80,
        host_port: 32768,
        protocol: TransportProtocol::Tcp,
    };
    host.observe(Observation::NetworkReady {
        bindings: vec![("b".to_owned(), binding.clone())],
        interface: None,
    });
    let report = host.state.report();
    assert!(report.containers[0].network_bindings.is_empty());
    assert_eq!(report.containers[1].network_bindings, [binding]);
}

#[test]
fn essential_container_killed_stops_the_others_and_its_code_is_in_the_reason() {
    let mut host = Host::with_running(&spec(&[("a", true), ("b", false)]));
    host.exit(
        "a",
        Some(137),
        Some("OutOfMemoryError: Container killed due to memory usage"),
    );
    assert_eq!(host.state.status(), TaskStatus::Stopping);
    assert_eq!(host.asked(), ["stop b"]);
    host.exit("b", Some(143), None);
    let ended_at = host.now;
    host.carry_out();
    assert_eq!(host.asked(), ["remove a", "remove b", "network down"]);
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Stopped);
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(
        report.stopped_reason.as_deref(),
        Some("Essential container in task exited (exit code 137)")
    );
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert_eq!(
        report.containers[0].reason.as_deref(),
        Some("OutOfMemoryError: Container killed due to memory usage")
    );
    assert_eq!(report.containers[1].exit_code, Some(143));
    assert_eq!(report.execution_stopped_at, Some(Timestamp(ended_at.0 - 1000)));
    assert_eq!(report.stopped_at, Some(host.now));
}

#[test]
fn non_essential_container_exited_leaves_the_task_running() {
    let mut host = Host::with_running(&spec(&[("a", true), ("b", false)]));
    host.exit("b", Some(0), None);
    assert!(host.asked().is_empty());
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Running);
    assert_eq!(report.containers[1].status, ContainerStatus::Stopped);
    assert_eq!(report.containers[1].exit_code, Some(0));
}

#[test]
fn container_that_outlives_its_stop_timeout_is_killed_and_killed_again() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    assert_eq!(host.asked(), ["stop a"]);
    let kill_at = host.now.plus_ms(30_000);
    assert_eq!(host.state.wake_at(), Some(kill_at));
    host.observe(Observation::Tick);
    assert!(host.asked().is_empty(), "no SIGKILL before the timeout");
    host.now = kill_at;
    host.observe(Observation::Tick);
    assert_eq!(host.asked(), ["kill a"]);
    host.now = host.state.wake_at().expect("a timer");
    host.observe(Observation::Tick);
    assert_eq!(host.asked(), ["kill a"]);
    host.exit("a", Some(137), None);
    host.waiting
        .retain(|a| !matches!(a, RuntimeAction::KillContainer { .. }));
    host.carry_out();
    assert!(host.state.is_stopped());
    assert_eq!(host.state.wake_at(), None);
}

#[test]
fn container_on_a_host_whose_clock_was_set_back_is_killed_one_timeout_later() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.now = Timestamp(3_600_000);
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    assert_eq!(host.asked(), ["stop a"]);
    host.now = Timestamp(0);
    host.observe(Observation::Tick);
    assert_eq!(host.state.wake_at(), Some(host.now.plus_ms(30_000)));
    host.now = host.now.plus_ms(30_000);
    host.observe(Observation::Tick);
    assert_eq!(host.asked(), ["kill a"]);
}

#[test]
fn stop_wished_by_the_controllers_leaves_their_reason_alone() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    host.exit("a", Some(143), None);
    host.carry_out();
    let report = host.state.report();
    assert_eq!(
        (report.status, report.stop_code, report.stopped_reason),
        (TaskStatus::Stopped, None, None)
    );
    assert_eq!(report.containers[0].exit_code, Some(143));
}

#[test]
fn stop_wished_during_a_pull_does_not_wait_for_it() {
    let mut host = Host::given(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    assert!(host.state.is_stopped());
    assert_eq!(host.asked(), ["pull a"]);
}

#[test]
fn stop_wished_while_a_container_starts_stops_it_once_it_has() {
    let mut host = Host::given(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    while !host.asked.contains(&"start a".to_owned()) {
        let outcome = success(&host.waiting.remove(0)).expect("an outcome");
        host.observe(outcome);
    }
    host.asked.clear();
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    assert!(host.asked().is_empty());
    host.observe(Observation::ContainerStarted {
        container: "a".to_owned(),
        runtime_id: "x".to_owned(),
    });
    assert_eq!(host.asked(), ["watch a", "stop a"]);
}

#[test]
fn image_of_an_essential_container_that_cannot_be_pulled_fails_the_start() {
    let mut host = Host::given(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    let reason = "CannotPullContainerError: pull access denied for nothing";
    host.observe(Observation::ImagePullFailed {
        container: "a".to_owned(),
        reason: reason.to_owned(),
    });
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Stopped);
    assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
    assert_eq!(report.stopped_reason, Some(format!("Task failed to start: {reason}")));
    assert_eq!(report.containers[0].reason.as_deref(), Some(reason));
}

#[test]
fn image_of_a_non_essential_container_that_cannot_be_pulled_leaves_the_others_to_run() {
    let mut host = Host::given(&spec(&[("a", true), ("b", false)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    host.waiting.retain(|action| text(action) != "pull b");
    let reason = "CannotPullContainerError: manifest unknown".to_owned();
    host.observe(Observation::ImagePullFailed {
        container: "b".to_owned(),
        reason,
    });
    host.carry_out();
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Running);
    assert_eq!(report.containers[1].status, ContainerStatus::Stopped);
}

#[test]
fn network_that_cannot_be_set_up_fails_the_start_and_is_torn_down() {
    let mut host = Host::given(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Running));
    host.observe(Observation::ImagePulled {
        container: "a".to_owned(),
        digest: "sha256:1".to_owned(),
    });
    host.waiting.clear();
    host.asked.clear();
    let reason = "ResourceInitializationError: port 80 is taken".to_owned();
    host.observe(Observation::NetworkFailed { reason });
    host.carry_out();
    assert_eq!(host.asked(), ["network down"]);
    let reason = host.state.report().stopped_reason.expect("a reason");
    assert_eq!(
        reason,
        "Task failed to start: ResourceInitializationError: port 80 is taken"
    );
}

#[test]
fn removal_that_keeps_failing_is_given_up_after_its_attempts() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.exit("a", Some(1), None);
    host.waiting.clear();
    let mut attempts = 0;
    while host.state.status() == TaskStatus::Deprovisioning && host.asked().contains(&"remove a".to_owned()) {
        attempts += 1;
        let (container, reason) = ("a".to_owned(), "CannotRemoveContainerError: busy".to_owned());
        host.observe(Observation::RemoveFailed { container, reason });
        if let Some(at) = host.state.wake_at() {
            host.now = at;
            host.observe(Observation::Tick);
        }
    }
    assert_eq!(attempts, 5);
    host.observe(Observation::NetworkTornDown);
    assert!(host.state.is_stopped());
    assert_eq!(
        host.state.report().containers[0].reason.as_deref(),
        Some("CannotRemoveContainerError: busy")
    );
}

fn found(name: &str, state: FoundState) -> FoundContainer {
    FoundContainer {
        name: name.to_owned(),
        runtime_id: format!("id-{name}"),
        state,
    }
}

#[test]
fn running_container_found_again_stays_running_and_is_watched() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    let before = host.state.clone();
    host.observe(Observation::Recovered {
        containers: vec![found("a", FoundState::Running)],
    });
    assert_eq!(host.asked(), ["watch a"]);
    assert_eq!(host.state, before);
}

#[test]
fn container_that_ended_while_the_agent_was_away_yields_its_exit_code() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    let state = FoundState::Exited {
        exit_code: Some(3),
        reason: None,
        at: Timestamp(5500),
    };
    host.observe(Observation::Recovered {
        containers: vec![found("a", state)],
    });
    host.carry_out();
    let report = host.state.report();
    assert_eq!(report.containers[0].exit_code, Some(3));
    assert_eq!(report.execution_stopped_at, Some(Timestamp(5500)));
    assert_eq!(
        report.stopped_reason.as_deref(),
        Some("Essential container in task exited (exit code 3)")
    );
}

#[test]
fn container_that_vanished_while_the_agent_was_away_says_that_its_exit_is_unknown() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Recovered { containers: Vec::new() });
    host.carry_out();
    let report = host.state.report();
    assert_eq!(report.status, TaskStatus::Stopped);
    assert_eq!(report.containers[0].exit_code, None);
    assert_eq!(
        report.stopped_reason.as_deref(),
        Some(
            "Essential container in task exited (exit code unknown: the container was gone when its agent came back; \
             how it ended is not known)"
        )
    );
}

#[test]
fn agent_restarted_halfway_up_goes_on_from_what_it_finds() {
    let spec = spec(&[("a", true), ("b", true)]);
    let mut host = Host::given(&spec);
    host.observe(Observation::Assigned(DesiredStatus::Running));
    while !host.asked.contains(&"start a".to_owned()) {
        let outcome = success(&host.waiting.remove(0)).expect("an outcome");
        host.observe(outcome);
    }
    host.waiting.clear();
    host.asked.clear();
    host.observe(Observation::Recovered {
        containers: vec![found("a", FoundState::Running)],
    });
    host.carry_out();
    assert_eq!(host.asked(), ["watch a", "pull b", "create b", "start b", "watch b"]);
    assert_eq!(host.state.status(), TaskStatus::Running);
}

#[test]
fn agent_restarted_while_a_container_is_created_creates_it_again() {
    for reached in ["create a", "start a"] {
        let mut host = Host::given(&spec(&[("a", true)]));
        host.observe(Observation::Assigned(DesiredStatus::Running));
        while !host.asked.contains(&reached.to_owned()) {
            let outcome = success(&host.waiting.remove(0)).expect("an outcome");
            host.observe(outcome);
        }
        host.waiting.clear();
        host.asked.clear();
        // A record without a process.
        let state = FoundState::Exited {
            exit_code: None,
            reason: Some("exit code unknown".to_owned()),
            at: host.now,
        };
        host.observe(Observation::Recovered {
            containers: vec![found("a", state)],
        });
        host.carry_out();
        if reached == "create a" {
            assert_eq!(host.asked(), ["pull a", "create a", "start a", "watch a"]);
            assert_eq!(host.state.status(), TaskStatus::Running);
        } else {
            // Whether it has run is not known, so it must not run again.
            assert_eq!(host.state.status(), TaskStatus::Stopped);
        }
    }
}

#[test]
fn agent_restarted_during_a_stop_signals_again_and_keeps_the_deadline() {
    let mut host = Host::with_running(&spec(&[("a", true)]));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    let kill_at = host.state.wake_at();
    host.asked.clear();
    host.observe(Observation::Recovered {
        containers: vec![found("a", FoundState::Running)],
    });
    assert_eq!(host.asked(), ["watch a", "stop a"]);
    assert_eq!(host.state.wake_at(), kill_at);
}

#[test]
fn state_written_and_read_is_the_same() {
    let mut host = Host::with_running(&spec(&[("a", true), ("b", false)]));
    host.observe(Observation::Assigned(DesiredStatus::Stopped));
    let json = serde_json::to_string(&host.state).expect("serializes");
    assert_eq!(
        serde_json::from_str::<TaskState>(&json).expect("deserializes"),
        host.state
    );
}

#[test]
fn task_whose_record_was_lost_has_stopped_and_says_so() {
    let state = TaskState::lost(&spec(&[("a", true)]), Timestamp(9));
    assert!(state.is_stopped());
    let reason = state.report().stopped_reason.expect("a reason");
    assert!(reason.contains("lost its record of this task"), "{reason}");
}
