//! Pools whose hosts sleep and wake, in the small world: what holds whatever happens to the services on them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::model::*;
use crate::placement::Seed;
use crate::state::Command;

use super::world::{World, cases, cluster};
use super::{StandalonePlan, StandaloneRequest, plan_standalone};

const HOURS: i64 = 60 * 60 * 1_000;
const MINUTE: i64 = 60 * 1_000;

/// A pool of hosts that sleep and of one that cannot, and services on it, one of them on each host.
fn world(hosts: usize, target: u32) -> World {
    let mut world = World::new();
    world.add_capacity_providers(&["metal"]);
    let scaling = ManagedScalingChanges {
        enabled: Some(true),
        target_capacity: Some(target),
        ..ManagedScalingChanges::default()
    };
    world.scale_pool("metal", scaling, |update| {
        update.managed_termination_protection = Some(true);
    });
    world.add_host_of("steady", "a", Resources::new(1024, 1024), Some("metal"));
    for number in 0..hosts {
        let zone = ["a", "b"][number % 2];
        world.add_host_offering(
            &format!("h{number}"),
            zone,
            Resources::new(1024, 1024),
            Some("metal"),
            &[attribute_names::SLEEP],
        );
    }
    for (name, memory) in [("small", 200), ("large", 700), ("logs", 100)] {
        world.add_definition(name, Resources::new(memory, memory), None);
        world.add_service(name, |service| {
            if name == "logs" {
                service.scheduling_strategy = SchedulingStrategy::Daemon;
                service.deployment_configuration = DeploymentConfiguration::default_of(SchedulingStrategy::Daemon);
                return;
            }
            service.desired_count = 0;
            service.capacity_provider_strategy = vec![CapacityProviderStrategyItem {
                capacity_provider: "metal".into(),
                weight: 1,
                base: 0,
            }];
        });
    }
    world
}

/// How often each host was told to go, and called, since the log had `from` commands.
fn steps(world: &World, from: usize) -> BTreeMap<ContainerInstanceId, (usize, usize)> {
    let mut steps: BTreeMap<ContainerInstanceId, (usize, usize)> = BTreeMap::new();
    for command in &world.log[from..] {
        if let Command::ChangePower {
            container_instance,
            change,
            ..
        } = command
        {
            let host = steps.entry(*container_instance).or_default();
            host.0 += usize::from(*change == PowerChange::Empty);
            host.1 += usize::from(*change == PowerChange::Call);
        }
    }
    steps
}

/// Runs tasks outside services on the pool, as large as those of the smaller service.
fn run(world: &mut World, count: usize) {
    let definition = world.service("small").deployments[0].task_definition.clone();
    let definition = world.state.task_definition(&definition).expect("registered").clone();
    let prototype = Task {
        capacity_provider: Some("metal".into()),
        ..Task::new(cluster(), &definition, TaskOrigin::Standalone, world.now)
    };
    let tasks = (0..count).map(|_| Task {
        id: world.ids.task_id(),
        ..prototype.clone()
    });
    let request = StandaloneRequest {
        tasks: tasks.collect(),
        ..StandaloneRequest::default()
    };
    let plan = plan_standalone(&world.state, &mut world.agenda, &[request], Seed(1), world.now).remove(0);
    if let StandalonePlan::Run { command, .. } = plan {
        world.apply(command).expect("it was just planned");
    }
}

fn running(world: &World, service: &str) -> usize {
    let key = cluster().service(service);
    let tasks = world.state.live_tasks_of_service(&key);
    tasks.filter(|task| task.last_status == TaskStatus::Running).count()
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn services_get_what_fits_and_hosts_sleep_and_wake_once_while_nothing_changes(
        target in prop::sample::select(vec![100, 80, 50]),
        counts in prop::collection::vec((0..8u32, 0..5u32, 0..3usize, 0..3 * HOURS), 1..5),
    ) {
        let mut world = world(5, target);
        world.pass_ms(HOURS);
        for (small, large, alone, wait) in counts {
            world.update_service("small", Some(small), None);
            world.update_service("large", Some(large), None);
            run(&mut world, alone);
            world.pass_ms(wait);
            let waiting = world.state.provisioning_count(&cluster());
            let all_awake = world.state.container_instances_of(&cluster()).all(|host| host.agent_connected);
            prop_assert!(wait < MINUTE || waiting == 0 || all_awake, "{} tasks wait beside a sleeping host", waiting);
        }
        let from = world.log.len();
        world.pass_ms(6 * HOURS);
        for (host, (told, called)) in steps(&world, from) {
            prop_assert!(told <= 1 && called <= 1, "{} slept {} times and was called {} times", host, told, called);
        }
        for (service, desired) in [("small", world.service("small").desired_count), ("large", world.service("large").desired_count)] {
            let missing = desired as usize - running(&world, service);
            let all_awake = world.state.container_instances_of(&cluster()).all(|host| host.agent_connected);
            prop_assert!(missing == 0 || all_awake, "{} tasks of {} wait beside a sleeping host", missing, service);
        }
        prop_assert_eq!(world.state.provisioning_count(&cluster()), 0, "they wait for ever");
        let quiet = world.log.len();
        world.pass_ms(6 * HOURS);
        prop_assert_eq!(steps(&world, quiet).len(), 0, "it goes on for ever");
    }

    #[test]
    fn hosts_that_do_not_wake_are_called_a_few_times_an_hour_and_others_instead(
        sound_sleepers in prop::collection::btree_set(0..5usize, 0..4),
        small in 1..12u32,
    ) {
        let mut world = world(5, 100);
        world.pass_ms(2 * HOURS);
        for number in &sound_sleepers {
            let id = world.host(&format!("h{number}")).expect("there");
            world.sound_sleepers.insert(id);
        }
        world.update_service("small", Some(small), None);
        let from = world.log.len();
        world.pass_ms(HOURS);
        let calls: usize = steps(&world, from).values().map(|(_, called)| called).sum();
        prop_assert!(calls <= 5 * MAX_CALLS as usize);
        // Four fit on each, beside the daemon.
        let hosts = 1 + 5 - sound_sleepers.len();
        prop_assert_eq!(running(&world, "small"), (small as usize).min(hosts * 4));
    }
}
