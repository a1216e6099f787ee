//! What becomes of hosts that sleep beside what scenarios show: without a wake command, and among many.

use crate::model::*;
use crate::state::Command;

use super::world::{World, cluster};
use super::{Agenda, MASS_LOSS_WINDOW_MS, hosts_given_up_at_once};

const MINUTE: i64 = 60 * 1_000;

/// A pool of hosts that can sleep.
fn world(hosts: usize) -> World {
    let mut world = World::new();
    world.add_capacity_providers(&["metal"]);
    let scaling = ManagedScalingChanges {
        enabled: Some(true),
        ..ManagedScalingChanges::default()
    };
    world.scale_pool("metal", scaling, |_| {});
    for number in 0..hosts {
        let name = format!("h{number}");
        let capacity = Resources::new(1024, 1024);
        world.add_host_offering(&name, "a", capacity, Some("metal"), &[attribute_names::SLEEP]);
    }
    world
}

fn power_of(world: &World, name: &str) -> (ContainerInstanceStatus, PowerState, u32) {
    let host = world.host(name).and_then(|id| world.state.container_instance(id));
    let host = host.expect("it is there");
    (host.status, host.power.state, host.power.calls)
}

fn cut(world: &mut World, name: &str) {
    let id = world.host(name).expect("it is there");
    world.cut_off.insert(id);
    let command = Command::RecordAgentDisconnected {
        container_instance: id,
        last_heard_at: world.now,
        at: world.now,
    };
    world.apply(command).expect("it is there");
}

fn fall_asleep(world: &mut World, name: &str) {
    world.change_power(name, PowerChange::Sleep);
    cut(world, name);
}

#[test]
fn leader_that_can_wake_no_host_has_none_sleep_and_calls_none() {
    let mut world = world(3);
    world.change_power("h0", PowerChange::Empty);
    fall_asleep(&mut world, "h1");
    world.change_power("h1", PowerChange::Call);
    let h1 = world.host("h1").expect("it is there");
    world.sound_sleepers.insert(h1);
    fall_asleep(&mut world, "h2");
    world.agenda = Agenda::everything(&world.state);
    world.pass_ms(72 * 60 * MINUTE);
    use ContainerInstanceStatus::Active;
    assert_eq!(power_of(&world, "h0"), (Active, PowerState::Awake, 0));
    assert_eq!(power_of(&world, "h1"), (Active, PowerState::Waking, 1));
    assert_eq!(power_of(&world, "h2"), (Active, PowerState::Asleep, 0));
    // The next one can.
    world.agenda = Agenda::everything(&world.state).waking_hosts(true);
    world.pass_ms(MINUTE);
    assert_eq!(power_of(&world, "h1"), (Active, PowerState::Waking, 2));
}

#[test]
fn new_leader_hears_what_services_wait_for_before_it_puts_any_host_to_sleep() {
    let mut world = world(2);
    world.add_definition("web", Resources::new(1024, 1024), None);
    world.add_service("web", |service| {
        service.desired_count = 0;
        service.capacity_provider_strategy = vec![CapacityProviderStrategyItem {
            capacity_provider: "metal".into(),
            weight: 1,
            base: 0,
        }];
    });
    world.pass_ms(MINUTE);
    // Both hosts are due to sleep, and one empties already.
    world.now = world.now.plus_ms(30 * MINUTE);
    world.change_power("h1", PowerChange::Empty);
    world.update_service("web", Some(2), None);
    world.agenda = Agenda::everything(&world.state).waking_hosts(true);
    let from = world.log.len();
    world.pass_ms(MINUTE);
    let steps = world.log[from..].iter().filter_map(|command| match command {
        Command::ChangePower { change, .. } => Some(change.clone()),
        _ => None,
    });
    assert_eq!(steps.collect::<Vec<_>>(), [PowerChange::Stay]);
    assert_eq!(world.state.live_tasks_of_service(&cluster().service("web")).count(), 2);
}

#[test]
fn hosts_that_sleep_are_none_that_can_be_lost() {
    let (all, asleep) = (300, 240);
    assert!(hosts_given_up_at_once(all) > hosts_given_up_at_once(all - asleep));
    let mut world = world(all);
    for number in 0..asleep {
        fall_asleep(&mut world, &format!("h{number}"));
    }
    world.add_definition("logs", Resources::new(100, 100), None);
    world.add_service("logs", |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.deployment_configuration = DeploymentConfiguration::default_of(SchedulingStrategy::Daemon);
    });
    world.pass_ms(MINUTE);
    for number in asleep..all - 1 {
        cut(&mut world, &format!("h{number}"));
    }
    let from = world.log.len();
    world.pass_ms(30 * MINUTE);
    let lost_at: Vec<Timestamp> = world.log[from..]
        .iter()
        .filter_map(|command| match command {
            Command::DeclareHostLost { at, .. } => Some(*at),
            _ => None,
        })
        .collect();
    assert_eq!(lost_at.len(), all - 1 - asleep);
    for first in &lost_at {
        let together = lost_at
            .iter()
            .filter(|at| (0..MASS_LOSS_WINDOW_MS).contains(&at.ms_since(*first)));
        assert!(together.count() <= hosts_given_up_at_once(all - asleep));
    }
}
