//! Properties of preemption: random services of random priorities on few hosts, while hosts come, go and change.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::model::*;
use crate::state::{ClusterState, Command, Taggable};

use super::world::{World, cluster};

const SERVICES: usize = 5;
const HOSTS: usize = 3;
const MINUTE_MS: i64 = 60_000;

#[derive(Clone, Debug)]
struct Given {
    cpu: u32,
    desired: u32,
    priority: u8,
    min: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Scale(usize, u32),
    Priority(usize, u8),
    Switch(bool),
    Protect(usize, i64),
    Redeploy(usize),
    HostsProceed,
    Cut(usize),
    Reconnect(usize),
    Standalone(u32, Option<u8>),
    Pass(i64),
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let one = (1u32..8, 0u32..8, 1u8..=100, prop::sample::select(vec![0, 50, 100]));
    let one = one.prop_map(|(eighths, desired, priority, min)| Given {
        cpu: eighths * 128,
        desired,
        priority,
        min,
    });
    proptest::collection::vec(one, SERVICES)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..SERVICES, 0u32..8).prop_map(|(service, desired)| Step::Scale(service, desired)),
        2 => (0..SERVICES, 1u8..=100).prop_map(|(service, priority)| Step::Priority(service, priority)),
        1 => any::<bool>().prop_map(Step::Switch),
        2 => (0..SERVICES, 1i64..60).prop_map(|(service, minutes)| Step::Protect(service, minutes)),
        1 => (0..SERVICES).prop_map(Step::Redeploy),
        3 => Just(Step::HostsProceed),
        1 => (0..HOSTS).prop_map(Step::Cut),
        2 => (0..HOSTS).prop_map(Step::Reconnect),
        1 => (1u32..8, prop::option::of(1u8..=100)).prop_map(|(eighths, priority)| Step::Standalone(eighths * 128, priority)),
        2 => (0i64..90_000).prop_map(Step::Pass),
    ]
}

fn name(service: usize) -> String {
    format!("s{service}")
}

fn host_name(host: usize) -> String {
    format!("h{host}")
}

fn add_host(world: &mut World, host: usize) {
    world.add_host(&host_name(host), "a", Resources::new(1024, 8192));
}

fn world(services: &[Given]) -> World {
    let mut world = World::new();
    (0..HOSTS).for_each(|host| add_host(&mut world, host));
    world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled");
    for (number, given) in services.iter().enumerate() {
        world.add_definition(&name(number), Resources::new(given.cpu, 64), None);
        world.add_service(&name(number), |service| {
            service.desired_count = given.desired;
            service.deployment_configuration.minimum_healthy_percent = given.min;
            service.tags = [(Priority::TAG.to_owned(), given.priority.to_string())].into();
        });
    }
    world
}

fn perform(world: &mut World, step: &Step) {
    match step {
        Step::Scale(service, desired) => world.update_service(&name(*service), Some(*desired), None),
        Step::Priority(service, priority) => {
            let service = cluster().service(&name(*service));
            world.tag(Taggable::Service(service), Priority::TAG, &priority.to_string());
        }
        Step::Switch(on) => {
            let value = if *on { "enabled" } else { "disabled" };
            world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, value);
        }
        Step::Protect(service, minutes) => {
            let service = cluster().service(&name(*service));
            let tasks: Vec<TaskId> = world
                .state
                .live_tasks_of_service(&service)
                .map(|task| task.id)
                .collect();
            let at = world.now;
            let command = Command::UpdateTaskProtection {
                tasks,
                protected_until: Some(at.plus_ms(minutes * MINUTE_MS)),
                at,
            };
            world.apply(command).expect("is always valid");
        }
        Step::Redeploy(service) => world.change_service(&name(*service), |update| update.force_new_deployment = true),
        Step::HostsProceed => _ = world.hosts_step(),
        Step::Cut(host) => {
            let id = world.host(&host_name(*host)).expect("a host");
            world.cut_off.insert(id);
            let at = world.now;
            let command = Command::RecordAgentDisconnected {
                container_instance: id,
                last_heard_at: at,
                at,
            };
            world.apply(command).expect("a host");
        }
        Step::Reconnect(host) => add_host(world, *host),
        Step::Standalone(cpu, priority) => run(world, *cpu, *priority),
        Step::Pass(ms) => world.pass_ms(*ms),
    }
}

/// Runs a task outside services on the first host that takes it, if one does.
fn run(world: &mut World, cpu: u32, priority: Option<u8>) {
    let family = format!("job-{cpu}");
    let revision = world.add_definition(&family, Resources::new(cpu, 64), None);
    let key = TaskDefinitionKey {
        scope: cluster().scope,
        family: family.as_str().into(),
        revision,
    };
    let definition = world.state.task_definition(&key).expect("registered").clone();
    let mut task = Task::new(cluster(), &definition, TaskOrigin::Standalone, world.now);
    task.id = world.ids.task_id();
    task.last_status = TaskStatus::Pending;
    let tag = priority.map(|priority| (Priority::TAG.to_owned(), priority.to_string()));
    task.blueprint_mut().tags.extend(tag);
    for host in 0..HOSTS {
        task.container_instance = world.host(&host_name(host));
        let command = Command::RunTasks {
            tasks: vec![task.clone()],
            client_token: None,
        };
        if world.apply(command).is_ok() {
            return;
        }
    }
}

/// What holds of every task that a command stops for another.
fn check(before: &ClusterState, world: &World, commands_seen: &mut usize) {
    let seen = world.log.len();
    if *commands_seen == seen {
        return;
    }
    *commands_seen = seen;
    let Some(Command::PreemptTasks { tasks, by, .. }) = world.log.last() else {
        return;
    };
    assert!(before.preempts(&by.cluster), "it is switched off");
    let hosts: BTreeSet<_> = tasks
        .iter()
        .filter_map(|id| before.task(*id)?.container_instance)
        .collect();
    assert_eq!(hosts.len(), 1, "tasks of several hosts stop for one task");
    for task in tasks.iter().map(|id| before.task(*id).expect("a task")) {
        assert!(!task.is_protected(world.now), "a protected task stops");
        let (high, low) = (before.priority_of_service(by), before.priority_of(task));
        assert!(high.may_preempt(low), "{high} has a task of {low} stopped");
        let says_priority = task.service().is_some() || Priority::said_by(&task.tags).is_some();
        assert!(says_priority, "a task outside services stops that says no priority");
    }
}

fn preemptions(commands: &[Command]) -> usize {
    let is_one = |command: &&Command| matches!(command, Command::PreemptTasks { .. });
    commands.iter().filter(is_one).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tasks_are_stopped_only_for_those_of_higher_priority_and_that_comes_to_rest(
        services in given(),
        steps in proptest::collection::vec(step(), 0..20),
    ) {
        let mut world = world(&services);
        let mut seen = 0;
        for step in &steps {
            perform(&mut world, step);
            world.reconcile_checking(|before, world| check(before, world, &mut seen));
        }
        // All that was cut off is back, and what was begun is seen through.
        (0..HOSTS).for_each(|host| add_host(&mut world, host));
        world.pass_ms(70 * MINUTE_MS);
        let at_rest = world.log.len();
        world.pass_ms(20 * MINUTE_MS);
        prop_assert_eq!(preemptions(&world.log[at_rest..]), 0, "tasks are stopped for each other in turns");
        for host in world.state.container_instances_of(&cluster()) {
            prop_assert!(world.state.allocation(host.id).makes_room_for().is_none(), "a host still makes room");
        }
    }
}
