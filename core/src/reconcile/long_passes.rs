//! A pass ends once it has looked at much, whatever there is left, and the next one goes on where it ended: whoever waits is looked at in the same order.

use std::collections::BTreeSet;

use super::world::{World, cluster};
use super::{MAX_LOOKS_PER_PASS, reconcile, reconcile_for};
use crate::model::{DesiredStatus, PREEMPTION_TAG, Priority, Resources, ServiceKey};
use crate::placement::MAX_LACKING_ROOM;
use crate::state::{Command, Taggable};

/// Hosts full of tasks of `filling`, which has this priority, and services of one task each that find no room there, of high priority.
fn crowded(hosts: usize, priority: &str, services: usize) -> World {
    let mut world = World::new();
    let tag = |service: &mut crate::model::Service, priority: &str| {
        service.tags = [(Priority::TAG.to_owned(), priority.to_owned())].into();
    };
    for host in 0..hosts {
        world.add_host(&format!("h{host}"), "a", Resources::new(1_024, 8_192));
    }
    world.add_definition("filling", Resources::new(256, 64), None);
    world.add_service("filling", |service| {
        service.desired_count = u32::try_from(hosts * 4).expect("few");
        tag(service, priority);
    });
    world.pass_ms(20_000);
    world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled");
    for number in 0..services {
        let more = u32::try_from(number).expect("few");
        let name = name(number);
        world.add_definition(&name, Resources::new(300, 64 + more), None);
        world.add_service(&name, |service| {
            service.desired_count = 1;
            tag(service, "90");
        });
    }
    world
}

fn name(number: usize) -> String {
    format!("w{number:03}")
}

/// The services that something was decided for, in the order in which that was.
fn concerned(commands: &[Command]) -> Vec<ServiceKey> {
    let mut known = BTreeSet::new();
    let service = |command: &Command| match command {
        Command::RecordServiceProgress(progress) => Some(progress.service.clone()),
        Command::PreemptTasks { by, .. } => Some(by.clone()),
        _ => None,
    };
    let services = commands.iter().filter_map(service);
    let waiting = services.filter(|service| service.name.as_str().starts_with('w'));
    waiting.filter(|service| known.insert(service.clone())).collect()
}

/// Passes that look at so much each, until nothing is left to do; what each decided.
fn passes(world: &mut World, looks: usize) -> Vec<Vec<Command>> {
    let mut passes = vec![];
    while world.agenda.has_work() {
        let commands = reconcile_for(looks, &world.state, &mut world.agenda, world.now, &mut world.ids);
        for command in &commands {
            world.apply(command.clone()).expect("a decided command is accepted");
        }
        passes.push(commands);
        assert!(passes.len() < 1_000, "it comes to an end");
    }
    passes
}

fn stopped(world: &World) -> usize {
    let cluster = cluster();
    let tasks = world.state.tasks_of_cluster(&cluster);
    tasks
        .filter(|task| task.desired_status == DesiredStatus::Stopped)
        .count()
}

#[test]
fn services_that_find_no_room_are_all_looked_at_in_their_order_however_short_passes_are() {
    let all = |looks| {
        let mut world = crowded(30, "90", 40);
        let passes = passes(&mut world, looks);
        (concerned(&passes.concat()), passes.len())
    };
    let (in_few, few) = all(MAX_LOOKS_PER_PASS);
    let (in_many, many) = all(1);
    let expected: Vec<ServiceKey> = (0..40).map(|number| cluster().service(&name(number))).collect();
    assert_eq!((&in_few, &in_many), (&expected, &expected));
    assert!(few <= 2 && many >= 40, "{few} {many}");
}

#[test]
fn first_look_of_services_that_find_no_room_costs_no_more_where_there_are_more_hosts_that_are_alike() {
    let looks = |hosts| {
        let mut world = crowded(hosts, "90", 60);
        let before = world.agenda.hosts.looks();
        let decided = reconcile(&world.state, &mut world.agenda, world.now, &mut world.ids);
        assert_eq!(concerned(&decided).len(), 60);
        world.agenda.hosts.looks() - before
    };
    let (few, many) = (looks(250), looks(500));
    // Beside one pass over all, before it is known that others ask for the same.
    assert!(many <= few + 2 * 250, "{few} {many}");
    assert!(many <= 60 * 2 * (MAX_LACKING_ROOM + 100), "{many}");
}

#[test]
fn tasks_are_stopped_for_as_many_services_in_one_pass_as_hosts_may_be_weighed_and_for_the_others_in_the_next() {
    let services = 40;
    let stops = |commands: &Vec<Command>| {
        let stops = commands
            .iter()
            .filter(|command| matches!(command, Command::PreemptTasks { .. }));
        stops.count()
    };
    let mut short = crowded(60, "10", services);
    // Sixty hosts are weighed for each.
    let passes = passes(&mut short, 400 * 60 * 8);
    let most = passes.iter().map(stops).max().expect("some");
    // Where hosts make room already, fewer are weighed.
    assert!((4..=16).contains(&most), "{most}");
    assert_eq!(passes.iter().map(stops).sum::<usize>(), services);
    let mut long = crowded(60, "10", services);
    long.reconcile();
    assert_eq!(stopped(&short), stopped(&long));
    short.quiesce();
    let is_served = |number| {
        let service = cluster().service(&name(number));
        short.state.live_tasks_of_service(&service).next().is_some()
    };
    assert!((0..services).all(is_served));
}
