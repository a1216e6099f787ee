//! Hosts that sleep: what takes them there and back.

use berth_core::model::*;
use berth_core::state::{ClusterState, Command, Event, Rejection, UpdateCapacityProvider, apply};

use super::capacity_providers::capacity_provider;
use super::given::{cluster, register, report, task};

const HOST: ContainerInstanceId = ContainerInstanceId(0);

/// The host, with an agent that can put it to sleep.
pub(crate) fn register_sleepy(number: u128, at: i64) -> Command {
    let mut command = register(number, at);
    if let Command::RegisterContainerInstance { host, .. } = &mut command {
        host.attributes.insert(attribute_names::SLEEP.to_owned(), None);
    }
    command
}

pub(crate) fn power(number: u128, change: PowerChange, at: i64) -> Command {
    Command::ChangePower {
        container_instance: ContainerInstanceId(number),
        change,
        at: Timestamp(at),
    }
}

fn gone(at: i64) -> Command {
    Command::RecordAgentDisconnected {
        container_instance: HOST,
        last_heard_at: Timestamp(at),
        at: Timestamp(at),
    }
}

fn set(status: ContainerInstanceStatus, at: i64) -> Command {
    Command::UpdateContainerInstanceStatus {
        container_instance: HOST,
        status,
        at: Some(Timestamp(at)),
    }
}

struct Given {
    state: ClusterState,
    index: u64,
}

impl Given {
    fn new(commands: &[Command]) -> Self {
        let state = ClusterState::at_newest_level();
        let mut given = Self { state, index: 0 };
        given.all(commands);
        given
    }

    fn all(&mut self, commands: &[Command]) -> Vec<Event> {
        let mut events = vec![];
        for command in commands {
            events.extend(self.one(command).unwrap_or_else(|why| panic!("{command:?}: {why}")));
        }
        events
    }

    fn one(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        self.index += 1;
        let outcome = apply(&mut self.state, LogIndex(self.index), command);
        let restored = ClusterState::from_snapshot(self.state.snapshot()).expect("whole");
        assert_eq!(restored, self.state);
        outcome
    }

    fn host(&self) -> &ContainerInstance {
        self.state.container_instance(HOST).expect("registered")
    }

    fn is(&self) -> (ContainerInstanceStatus, PowerState, bool) {
        let host = self.host();
        (host.status, host.power.state, host.agent_connected)
    }
}

/// Why somebody's wish is refused.
fn refusal(given: &mut Given, wish: PowerChange) -> PowerRefusal {
    match given.one(&power(0, wish, 5)) {
        Err(Rejection::PowerByHand { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

use ContainerInstanceStatus::{Active, Draining};
use PowerState::{Asleep, Awake, Emptying, FallingAsleep, Waking};

#[test]
fn host_goes_to_sleep_step_by_step_and_comes_back_as_it_was() {
    let mut given = Given::new(&[register_sleepy(0, 1)]);
    for (command, status, state, connected) in [
        (power(0, PowerChange::Empty, 2), Draining, Emptying, true),
        (power(0, PowerChange::Sleep, 3), Draining, FallingAsleep, true),
        (gone(4), Active, Asleep, false),
        (power(0, PowerChange::Call, 5), Active, Waking, false),
        (power(0, PowerChange::Call, 6), Active, Waking, false),
        (register_sleepy(0, 7), Active, Awake, true),
    ] {
        let events = given.all(std::slice::from_ref(&command));
        let is_told = |event: &Event| matches!(event, Event::PowerChanged { id, .. } if *id == HOST);
        assert!(events.iter().any(is_told), "{command:?}");
        assert_eq!(given.is(), (status, state, connected), "{command:?}");
        assert_eq!(given.state.waking_hosts().count(), usize::from(state == Waking));
    }
    let power = &given.host().power;
    assert_eq!(
        (power.since, power.calls, power.emptied_at),
        (Some(Timestamp(7)), 0, Some(Timestamp(7)))
    );
    assert_eq!(given.host().lost_at, None);
}

#[test]
fn only_hosts_that_offer_it_are_there_and_have_no_tasks_are_told_to_sleep() {
    let mut cannot = Given::new(&[register(0, 1)]);
    let sleep = power(0, PowerChange::Sleep, 2);
    assert!(matches!(cannot.one(&sleep), Err(Rejection::Stale(_))));
    let mut away = Given::new(&[register_sleepy(0, 1), gone(2)]);
    assert!(matches!(away.one(&sleep), Err(Rejection::Stale(_))));
    let run = Command::RunTasks {
        tasks: vec![task(7, 0, 10, 10, None)],
        client_token: None,
    };
    let mut busy = Given::new(&[register_sleepy(0, 1), run, power(0, PowerChange::Empty, 2)]);
    assert!(matches!(busy.one(&sleep), Err(Rejection::Stale(_))));
    let over = Command::RecordTaskReports {
        container_instance: HOST,
        reports: vec![report(7, TaskStatus::Stopped)],
        at: Timestamp(6),
    };
    busy.all(&[over]);
    assert_eq!(
        busy.host().power.emptied_at,
        Some(Timestamp(6)),
        "as its last task ended"
    );
    busy.all(&[sleep]);
}

#[test]
fn host_that_empties_stays_if_it_is_needed_or_somebody_says_so() {
    let given = [register_sleepy(0, 1), power(0, PowerChange::Empty, 2)];
    let mut needed = Given::new(&given);
    needed.all(&[power(0, PowerChange::Stay, 3)]);
    assert_eq!(needed.is(), (Active, Awake, true));
    for status in [Active, Draining] {
        let mut told = Given::new(&given);
        told.all(&[set(status, 3)]);
        assert_eq!(told.is(), (status, Awake, true));
        assert_eq!(
            told.host().power.emptied_at,
            Some(Timestamp(3)),
            "and is not chosen again at once"
        );
    }
    // One whose agent was started again without the offer.
    let mut changed = Given::new(&given);
    changed.all(&[register(0, 3)]);
    assert_eq!(changed.is(), (Active, Awake, true));
    let mut same = Given::new(&given);
    same.all(&[register_sleepy(0, 3)]);
    assert_eq!(same.is(), (Draining, Emptying, true));
}

#[test]
fn host_that_was_drained_while_it_fell_asleep_comes_back_drained() {
    let mut given = Given::new(&[register_sleepy(0, 1), power(0, PowerChange::Sleep, 2), set(Draining, 3)]);
    assert_eq!(given.is(), (Draining, FallingAsleep, true));
    given.all(&[gone(4)]);
    assert_eq!(given.is(), (Draining, Asleep, false));
    given.all(&[register_sleepy(0, 5)]);
    assert_eq!(given.is(), (Draining, Awake, true));
    let mut asleep = Given::new(&[
        register_sleepy(0, 1),
        power(0, PowerChange::Sleep, 2),
        gone(3),
        set(Draining, 4),
    ]);
    assert_eq!(asleep.is(), (Draining, Asleep, false));
    asleep.all(&[register_sleepy(0, 5)]);
    assert_eq!(asleep.is(), (Draining, Awake, true));
}

#[test]
fn host_that_cannot_sleep_or_does_not_wake_says_why_and_rests() {
    let mut given = Given::new(&[
        register_sleepy(0, 1),
        power(0, PowerChange::Sleep, 2),
        gone(3),
        register_sleepy(0, 4),
    ]);
    let reason = "the lid is open".to_owned();
    given.all(&[power(0, PowerChange::NotAsleep { reason }, 5)]);
    assert_eq!(given.is(), (Active, Awake, true));
    assert_eq!(given.host().power.trouble.as_deref(), Some("the lid is open"));
    assert!(given.host().power.rests(Timestamp(6)) && !given.host().power.rests(Timestamp(5 + REST_MS)));

    let mut given = Given::new(&[register_sleepy(0, 1), power(0, PowerChange::Sleep, 2), gone(3)]);
    given.all(&[power(0, PowerChange::Call, 4), power(0, PowerChange::Call, 5)]);
    let not_called = |call| PowerChange::NotCalled {
        call,
        reason: "no such board".to_owned(),
    };
    assert!(given.one(&power(0, not_called(1), 6)).is_err(), "that was another call");
    given.all(&[power(0, not_called(2), 6), power(0, PowerChange::GiveUp, 7)]);
    assert_eq!(given.is(), (Active, Asleep, false));
    let trouble = given.host().power.trouble.clone().expect("said");
    assert_eq!(trouble, "it was called 2 times and did not wake: no such board");
    given.all(&[register_sleepy(0, 8)]);
    assert_eq!(given.host().power.trouble, None);
}

#[test]
fn host_that_was_removed_is_called_by_nobody() {
    let asleep = [register_sleepy(0, 1), power(0, PowerChange::Sleep, 2), gone(3)];
    let mut given = Given::new(&asleep);
    let found = |given: &Given| {
        let state = &given.state;
        let hosts = state.hosts_not_awake(&cluster()).count();
        (hosts, state.waking_hosts().count(), state.sleeper_count(&cluster()))
    };
    assert_eq!(found(&given), (1, 0, 1));
    given.all(&[power(0, PowerChange::Call, 4)]);
    assert_eq!(found(&given), (1, 1, 1));
    given.all(&[Command::DeregisterContainerInstance {
        container_instance: HOST,
        force: true,
        at: Timestamp(5),
    }]);
    assert_eq!(found(&given), (0, 0, 0));
    given.state = ClusterState::from_snapshot(given.state.snapshot()).expect("whole");
    assert_eq!(found(&given), (0, 0, 0), "nor by whoever leads next");
    assert!(given.one(&power(0, PowerChange::Call, 6)).is_err());
}

#[test]
fn what_ran_on_a_host_that_was_put_to_sleep_has_ended() {
    let mut daemon = task(7, 0, 10, 10, None);
    let key = cluster().service("logs");
    let mut service = super::given::service(&daemon.task_definition);
    service.key = key.clone();
    service.scheduling_strategy = SchedulingStrategy::Daemon;
    service.deployment_configuration = DeploymentConfiguration::default_of(SchedulingStrategy::Daemon);
    daemon.blueprint_mut().origin = TaskOrigin::Service {
        service: key,
        deployment: service.deployments[0].id.clone(),
    };
    let definition = super::given::definition(&daemon.task_definition);
    let mut given = Given::new(&[
        register_sleepy(0, 1),
        Command::RegisterTaskDefinition(definition),
        Command::CreateService {
            service: Box::new(service),
            client_token: None,
        },
        Command::CreateTasks { tasks: vec![daemon] },
        power(0, PowerChange::Sleep, 2),
        gone(3),
    ]);
    assert_eq!(given.is(), (Active, Asleep, false));
    let task = given.state.task(TaskId(7)).expect("remembered");
    assert!(task.is_stopped());
    let reason = task.stopped_reason.as_deref().expect("said");
    assert!(reason.ends_with("was put to sleep."), "{reason}");
    given.all(&[register_sleepy(0, 4)]);
}

#[test]
fn settings_that_contradict_each_other_are_refused_and_others_are_merged() {
    let mut given = Given::new(&[Command::CreateCapacityProvider(capacity_provider("gpu"))]);
    let key = cluster().scope.capacity_provider("gpu");
    let update = |scaling: ManagedScalingChanges, protection: Option<bool>, draining: Option<bool>| {
        Command::UpdateCapacityProvider(UpdateCapacityProvider {
            capacity_provider: key.clone(),
            managed_scaling: Some(scaling),
            managed_termination_protection: protection,
            managed_draining: draining,
        })
    };
    let none = ManagedScalingChanges::default();
    let enabled = |enabled| ManagedScalingChanges {
        enabled: Some(enabled),
        ..none
    };
    let steps = ManagedScalingChanges {
        minimum_step: Some(5),
        maximum_step: Some(4),
        ..none
    };
    for refused in [update(steps, None, None), update(none, Some(true), None)] {
        let before = given.state.clone();
        let outcome = given.one(&refused);
        assert!(matches!(outcome, Err(Rejection::ManagedScaling(_))), "{outcome:?}");
        assert_eq!(given.state.capacity_provider(&key), before.capacity_provider(&key));
    }
    let provider = |given: &Given| CapacityProvider::clone(given.state.capacity_provider(&key).expect("there"));
    given.all(&[update(enabled(true), Some(true), None)]);
    assert!(
        provider(&given).managed_draining,
        "as on ECS, where nobody says otherwise"
    );
    let target = ManagedScalingChanges {
        target_capacity: Some(80),
        ..none
    };
    given.all(&[update(target, None, Some(false))]);
    let scaling = ManagedScaling {
        enabled: true,
        target_capacity: 80,
        ..ManagedScaling::default()
    };
    let now = provider(&given);
    assert_eq!(now.managed_scaling, Some(scaling));
    assert_eq!(
        (now.managed_termination_protection, now.managed_draining),
        (true, false)
    );
    given.all(&[update(enabled(false), None, None)]);
    let now = provider(&given);
    assert_eq!(
        (now.managed_termination_protection, now.managed_draining),
        (false, false)
    );
    given.all(&[update(enabled(true), None, None)]);
    assert!(provider(&given).managed_draining);
    given.all(&[update(enabled(false), None, None)]);
    assert!(provider(&given).managed_draining, "machines shut down all the same");
    given.all(&[
        update(enabled(false), None, Some(false)),
        update(none, None, Some(true)),
    ]);
    assert!(provider(&given).managed_draining, "which needs no managed scaling");
}

#[test]
fn host_whose_machine_shuts_down_is_drained_where_its_capacity_provider_says_so_and_takes_tasks_once_it_is_back() {
    let of_pool = |at| {
        let mut command = register(0, at);
        if let Command::RegisterContainerInstance { host, .. } = &mut command {
            host.capacity_provider = Some("gpu".into());
        }
        command
    };
    let mut provider = capacity_provider("gpu");
    provider.managed_draining = true;
    let put = |names: &[&str]| Command::PutClusterCapacityProviders {
        cluster: cluster(),
        capacity_providers: names.iter().map(|name| (*name).into()).collect(),
        default_strategy: vec![],
    };
    let shuts_down = power(0, PowerChange::ShutDown, 3);
    let mut given = Given::new(&[of_pool(1), Command::CreateCapacityProvider(provider)]);
    assert!(given.one(&shuts_down).is_err(), "the cluster does not have it");
    for (status, wished) in [
        (Active, None),
        (Draining, None),
        (Active, Some(Draining)),
        (Draining, Some(Active)),
    ] {
        given.all(&[put(&["gpu"]), set(status, 2), shuts_down.clone()]);
        assert_eq!(given.is(), (Draining, PowerState::ShuttingDown, true));
        assert_eq!(refusal(&mut given, PowerChange::WakeByHand), PowerRefusal::ShuttingDown);
        given.all(&wished.map(|status| set(status, 4)).into_iter().collect::<Vec<_>>());
        given.all(&[gone(5)]);
        assert_eq!(given.is(), (Draining, PowerState::ShuttingDown, false));
        given.all(&[of_pool(6)]);
        assert_eq!(given.is(), (wished.unwrap_or(status), Awake, true));
    }
    let mut other = Given::new(&[
        register(0, 1),
        Command::CreateCapacityProvider(capacity_provider("gpu")),
        put(&["gpu"]),
    ]);
    assert!(other.one(&shuts_down).is_err(), "it is of no pool");
    other.all(&[of_pool(2)]);
    assert!(other.one(&shuts_down).is_err(), "its pool drains none");
}

#[test]
fn host_that_somebody_puts_to_sleep_is_called_by_nobody_else() {
    let by_hand = PowerChange::SleepByHand { force: false };
    let mut given = Given::new(&[
        register_sleepy(0, 1),
        power(0, by_hand.clone(), 2),
        power(0, PowerChange::Sleep, 3),
        gone(4),
    ]);
    assert_eq!(given.is(), (Active, Asleep, false));
    for refused in [PowerChange::Call, PowerChange::Empty, PowerChange::Stay] {
        assert!(matches!(given.one(&power(0, refused, 5)), Err(Rejection::Stale(_))));
    }
    assert_eq!(refusal(&mut given, by_hand.clone()), PowerRefusal::Already);
    given.all(&[power(0, PowerChange::WakeByHand, 6)]);
    assert_eq!(given.is(), (Active, Waking, false));
    assert_eq!(given.host().power.calls, 1);
    given.all(&[power(0, PowerChange::WakeByHand, 7)]);
    assert_eq!(given.host().power.calls, 1, "it is on its way");
    assert_eq!(refusal(&mut given, by_hand.clone()), PowerRefusal::Waking);
    given.all(&[register_sleepy(0, 8), power(0, PowerChange::WakeByHand, 9)]);
    assert_eq!(given.is(), (Active, Awake, true));
    // Somebody switches it on.
    given.all(&[
        power(0, by_hand, 10),
        power(0, PowerChange::Sleep, 11),
        gone(12),
        register_sleepy(0, 13),
    ]);
    assert_eq!((given.is(), given.host().power.by_hand), ((Active, Awake, true), false));
}

#[test]
fn host_that_empties_by_hand_stays_only_if_somebody_says_so_and_comes_back_drained_if_it_was() {
    let by_hand = || power(0, PowerChange::SleepByHand { force: false }, 3);
    for status in [Active, Draining] {
        let mut given = Given::new(&[register_sleepy(0, 1), set(status, 2), by_hand()]);
        assert_eq!(given.is(), (Draining, Emptying, true));
        assert!(
            given.one(&power(0, PowerChange::Stay, 4)).is_err(),
            "whatever its pool needs"
        );
        let mut woken = Given::new(&[register_sleepy(0, 1), set(status, 2), by_hand()]);
        woken.all(&[power(0, PowerChange::WakeByHand, 4)]);
        assert_eq!(woken.is(), (status, Awake, true));
        for wanted in [Active, Draining] {
            let mut told = Given::new(&[register_sleepy(0, 1), set(status, 2), by_hand(), set(wanted, 4)]);
            assert_eq!(told.is(), (wanted, Awake, true));
            assert!(!told.host().power.by_hand && !told.host().power.drained);
            told.all(&[by_hand()]);
        }
        given.all(&[power(0, PowerChange::Sleep, 4)]);
        assert_eq!(
            refusal(&mut given, PowerChange::WakeByHand),
            PowerRefusal::FallingAsleep
        );
        given.all(&[gone(5)]);
        assert_eq!(given.is(), (status, Asleep, false));
        given.all(&[power(0, PowerChange::WakeByHand, 6), register_sleepy(0, 7)]);
        assert_eq!(given.is(), (status, Awake, true));
    }
}

#[test]
fn somebody_may_keep_a_host_asleep_that_its_pool_puts_to_sleep() {
    let begun = [register_sleepy(0, 1), power(0, PowerChange::Empty, 2)];
    let steps = [power(0, PowerChange::Sleep, 3), gone(4)];
    for done in 0..=steps.len() {
        let mut given = Given::new(&begun);
        given.all(&steps[..done]);
        given.all(&[power(0, PowerChange::SleepByHand { force: false }, 5)]);
        given.all(&steps[done..]);
        assert_eq!(
            (given.is(), given.host().power.by_hand),
            ((Active, Asleep, false), true)
        );
    }
}

#[test]
fn host_that_cannot_sleep_or_has_protected_tasks_is_not_put_to_sleep_by_hand() {
    let by_hand = |force| PowerChange::SleepByHand { force };
    let mut cannot = Given::new(&[register(0, 1)]);
    assert_eq!(refusal(&mut cannot, by_hand(true)), PowerRefusal::NoSleepCommand);
    let mut away = Given::new(&[register_sleepy(0, 1), gone(2)]);
    assert_eq!(refusal(&mut away, by_hand(true)), PowerRefusal::AgentAway);
    assert_eq!(refusal(&mut away, PowerChange::WakeByHand), PowerRefusal::AwayAndAwake);

    let mut task = task(7, 0, 10, 10, None);
    let service = super::given::service(&task.task_definition);
    task.blueprint_mut().origin = TaskOrigin::Service {
        service: service.key.clone(),
        deployment: service.deployments[0].id.clone(),
    };
    let definition = super::given::definition(&task.task_definition);
    let mut busy = Given::new(&[
        register_sleepy(0, 1),
        Command::RegisterTaskDefinition(definition),
        Command::CreateService {
            service: Box::new(service),
            client_token: None,
        },
        Command::CreateTasks { tasks: vec![task] },
        Command::UpdateTaskProtection {
            tasks: vec![TaskId(7)],
            protected_until: Some(Timestamp(60)),
            at: Timestamp(2),
        },
    ]);
    let (count, until) = (1, Timestamp(60));
    assert_eq!(
        refusal(&mut busy, by_hand(false)),
        PowerRefusal::Protected { count, until }
    );
    assert_eq!(busy.is(), (Active, Awake, true));
    busy.all(&[power(0, by_hand(true), 3)]);
    assert_eq!(busy.is(), (Draining, Emptying, true));
}

#[test]
fn what_kept_a_host_from_sleeping_is_forgotten_once_it_does_not_offer_it() {
    let reason = "the controller is on this machine".to_owned();
    let mut given = Given::new(&[register_sleepy(0, 1), power(0, PowerChange::NotAsleep { reason }, 2)]);
    given.all(&[register_sleepy(0, 3)]);
    assert!(given.host().power.trouble.is_some(), "it is tried again in time");
    given.all(&[register(0, 4)]);
    assert_eq!(given.host().power.trouble, None);
}
