//! Tasks that wait for a host, beside what scenarios show: which may, whom they leave room, and what a pool is asked for on their account.

use crate::model::*;
use crate::placement::Seed;
use crate::state::{ClusterState, Command, Taggable};

use super::provisioning::PROVISION_WITHIN_MS;
use super::world::{World, cluster};
use super::{Agenda, StandalonePlan, StandaloneRequest, plan_standalone};

const SECOND: i64 = 1_000;

/// A pool of hosts that can sleep, all of which do, and one host of no pool that is full.
fn asleep(hosts: usize) -> World {
    let mut world = World::new();
    world.add_capacity_providers(&["metal", "plain"]);
    world.scale_pool("metal", enabled(true), |_| {});
    for number in 0..hosts {
        let name = format!("h{number}");
        let zone = ["a", "b"][number % 2];
        let capacity = Resources::new(1024, 1024);
        world.add_host_offering(&name, zone, capacity, Some("metal"), &[attribute_names::SLEEP]);
    }
    world.add_host_of("steady", "a", Resources::new(64, 64), Some("plain"));
    world.pass_ms(1_000 * SECOND);
    let not_awake = world.state.hosts_not_awake(&cluster()).count();
    assert_eq!(not_awake, hosts);
    world
}

fn enabled(enabled: bool) -> ManagedScalingChanges {
    ManagedScalingChanges {
        enabled: Some(enabled),
        ..ManagedScalingChanges::default()
    }
}

/// A task of the pool.
fn task(world: &mut World, needs: (u32, u32), port: Option<u16>) -> Task {
    let revision = world.add_definition("job", Resources::new(needs.0, needs.1), port);
    let key = super::world::definition("job", revision);
    let definition = world.state.task_definition(&key).expect("registered").clone();
    let mut task = Task::new(cluster(), &definition, TaskOrigin::Standalone, world.now);
    task.capacity_provider = Some("metal".into());
    task
}

fn request(world: &mut World, prototype: &Task, count: usize) -> StandaloneRequest {
    let tasks = (0..count).map(|_| Task {
        id: world.ids.task_id(),
        ..prototype.clone()
    });
    StandaloneRequest {
        tasks: tasks.collect(),
        ..StandaloneRequest::default()
    }
}

fn plan(world: &mut World, request: StandaloneRequest) -> StandalonePlan {
    plan_standalone(&world.state, &mut world.agenda, &[request], Seed(1), world.now).remove(0)
}

/// Runs tasks; how many wait for a host, and ECS's reason of the closest host if any found none and does not wait.
fn run(world: &mut World, prototype: &Task, count: usize) -> (usize, Option<&'static str>) {
    let request = request(world, prototype, count);
    let (taken, unplaced) = match plan(world, request) {
        StandalonePlan::Run { command, unplaced } => {
            let before = world.state.provisioning_count(&cluster());
            world.apply(command).expect("it was just planned");
            (world.state.provisioning_count(&cluster()) - before, unplaced)
        }
        StandalonePlan::NoRoom(unplaced) => (0, unplaced),
        other => panic!("{other:?}"),
    };
    (taken, unplaced.first().map(|(_, why)| why.hosts[0].ecs_reason()))
}

fn on_hosts(state: &ClusterState) -> Vec<&str> {
    let cluster = cluster();
    let tasks = state.tasks_of_cluster(&cluster).filter(|task| task.service().is_none());
    let hosts = tasks.filter_map(|task| state.container_instance(task.container_instance?));
    let mut names: Vec<&str> = hosts.map(|host| host.host.host_name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn task_waits_where_a_host_of_its_pool_would_take_it_once_it_is_there_and_has_room() {
    let expression = |text: &str| PlacementConstraint::MemberOf {
        expression: text.into(),
    };
    let zone_b = expression("attribute:ecs.availability-zone == b");
    for (needs, port, constraint, waits) in [
        ((1024, 1024), None, None, true),
        ((1025, 10), None, None, false),
        ((10, 10), Some(8080), None, true),
        ((10, 10), Some(22), None, false),
        ((10, 10), None, Some(zone_b), true),
        ((10, 10), None, Some(expression("attribute:disk == ssd")), false),
        ((10, 10), None, Some(expression("runningTasksCount == 0")), true),
        ((10, 10), None, Some(PlacementConstraint::DistinctInstance), true),
    ] {
        let mut world = asleep(2);
        let mut task = task(&mut world, needs, port);
        task.blueprint_mut().placement_constraints.extend(constraint.clone());
        let (taken, reason) = run(&mut world, &task, 1);
        assert_eq!(taken == 1, waits, "{needs:?} {port:?} {constraint:?}: {reason:?}");
        assert_eq!(reason.is_none(), waits);
        // What waits gets a host, and what does not wakes none.
        world.pass_ms(20 * SECOND);
        assert_eq!(on_hosts(&world.state).len(), taken, "{needs:?} {port:?} {constraint:?}");
        let asleep = world.state.hosts_not_awake(&cluster()).count();
        assert_eq!(asleep, 2 - taken);
    }
}

#[test]
fn task_that_is_too_large_is_told_what_it_lacks_and_not_that_hosts_sleep() {
    let mut world = asleep(2);
    let large = task(&mut world, (10, 2048), None);
    assert_eq!(run(&mut world, &large, 3), (0, Some("RESOURCE:MEMORY")));
}

#[test]
fn only_tasks_of_a_pool_that_is_scaled_wait_and_none_that_is_for_one_host() {
    let mut world = asleep(2);
    let job = task(&mut world, (512, 512), None);
    let host = world.host("h0").expect("there");
    let mut started = request(&mut world, &job, 1);
    started.only_host = [(started.tasks[0].id, host)].into();
    assert!(matches!(plan(&mut world, started), StandalonePlan::NoRoom(_)));
    for pool in [None, Some("plain")] {
        let elsewhere = Task {
            capacity_provider: pool.map(Into::into),
            ..job.clone()
        };
        assert_eq!(run(&mut world, &elsewhere, 1).0, 0, "{pool:?}");
    }
    world.scale_pool("metal", enabled(false), |_| {});
    assert_eq!(run(&mut world, &job, 1).0, 0, "managed scaling is off");
}

#[test]
fn tasks_that_wait_keep_the_hosts_that_they_need_and_call_no_more() {
    let mut world = asleep(6);
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 5), (5, None));
    world.pass_ms(SECOND);
    world.pass_ms(20 * SECOND);
    assert_eq!(world.state.hosts_not_awake(&cluster()).count(), 3);
    let hosts = on_hosts(&world.state);
    assert_eq!(hosts.len(), 5);
    let cluster = cluster();
    let mut tasks = world.state.tasks_of_cluster(&cluster);
    assert!(tasks.all(|task| task.last_status == TaskStatus::Running));
}

#[test]
fn constraints_and_strategy_of_the_request_hold_when_the_hosts_have_come() {
    let mut world = asleep(4);
    let mut job = task(&mut world, (100, 100), None);
    job.blueprint_mut()
        .placement_constraints
        .push(PlacementConstraint::DistinctInstance);
    assert_eq!(run(&mut world, &job, 3), (3, None));
    world.pass_ms(20 * SECOND);
    let mut hosts = on_hosts(&world.state);
    hosts.dedup();
    assert_eq!(hosts.len(), 3);
}

#[test]
fn room_that_ends_a_wait_goes_to_the_task_that_has_waited_longest() {
    let mut world = World::new();
    world.add_capacity_providers(&["metal"]);
    world.scale_pool("metal", enabled(true), |_| {});
    world.add_host_of("h1", "a", Resources::new(1024, 1024), Some("metal"));
    let job = task(&mut world, (1024, 1024), None);
    let mut ids = vec![];
    for _ in 0..4 {
        let now = Task {
            created_at: world.now,
            ..job.clone()
        };
        let asked = request(&mut world, &now, 1);
        ids.push(asked.tasks[0].id);
        let StandalonePlan::Run { command, .. } = plan(&mut world, asked) else {
            panic!("it waits")
        };
        world.apply(command).expect("taken");
        world.pass_ms(10 * SECOND);
    }
    for id in ids {
        let task = world.state.task(id).expect("there");
        assert_eq!(task.last_status, TaskStatus::Running);
        let stop = Command::StopTasks {
            tasks: vec![id],
            stop_code: StopCode::UserInitiated,
            reason: "enough".to_owned(),
            at: world.now,
        };
        world.apply(stop).expect("always valid");
        world.pass_ms(10 * SECOND);
    }
}

#[test]
fn task_that_gets_no_host_says_what_each_host_of_the_pool_lacked() {
    let mut world = asleep(2);
    for name in ["h0", "h1"] {
        let id = world.host(name).expect("there");
        world.sound_sleepers.insert(id);
    }
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 2), (2, None));
    world.pass_ms(PROVISION_WITHIN_MS - SECOND);
    assert_eq!(world.state.provisioning_count(&cluster()), 2);
    world.pass_ms(2 * SECOND);
    assert_eq!(world.state.provisioning_count(&cluster()), 0);
    let cluster = cluster();
    for task in world.state.tasks_of_cluster(&cluster) {
        assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
        let reason = task.stopped_reason.as_deref().expect("it says why");
        assert!(
            reason.starts_with(
                "TaskFailedToStart: AGENT. No host of capacity provider metal took it within 30 minutes: "
            ),
            "{reason}"
        );
        assert!(
            reason.contains("h0 (") && reason.contains("h1 (") && !reason.contains("steady"),
            "{reason}"
        );
    }
}

#[test]
fn many_tasks_that_get_no_host_in_time_all_end_some_in_each_pass() {
    let mut world = asleep(2);
    for name in ["h0", "h1"] {
        let id = world.host(name).expect("there");
        world.sound_sleepers.insert(id);
    }
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 45), (45, None));
    world.pass_ms(PROVISION_WITHIN_MS + SECOND);
    assert_eq!(world.state.provisioning_count(&cluster()), 0);
}

#[test]
fn task_waits_for_hosts_of_its_own_cluster_whatever_another_has() {
    let mut world = asleep(1);
    let other = cluster().scope.cluster("other");
    world
        .apply(Command::CreateCluster(Cluster::new(other.clone(), world.now)))
        .expect("it is new");
    let here = task(&mut world, (512, 512), None);
    let definition = world
        .state
        .task_definition(&here.task_definition)
        .expect("registered")
        .clone();
    let mut there = Task::new(other, &definition, TaskOrigin::Standalone, world.now);
    there.capacity_provider = here.capacity_provider.clone();
    let requests = [request(&mut world, &here, 1), request(&mut world, &there, 1)];
    let plans = plan_standalone(&world.state, &mut world.agenda, &requests, Seed(1), world.now);
    assert!(
        matches!(plans[..], [StandalonePlan::Run { .. }, StandalonePlan::NoRoom(_)]),
        "{plans:?}"
    );
}

#[test]
fn task_whose_pool_has_lost_its_hosts_says_so() {
    let mut world = asleep(1);
    let id = world.host("h0").expect("there");
    world.sound_sleepers.insert(id);
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 1), (1, None));
    let deregister = Command::DeregisterContainerInstance {
        container_instance: id,
        force: true,
        at: world.now,
    };
    world.apply(deregister).expect("it is there");
    world.pass_ms(PROVISION_WITHIN_MS + SECOND);
    let cluster = cluster();
    let over = world.state.tasks_of_cluster(&cluster).next().expect("remembered");
    assert_eq!(
        over.stopped_reason.as_deref(),
        Some("TaskFailedToStart: EMPTY CAPACITY PROVIDER. Capacity provider metal has no hosts.")
    );
}

#[test]
fn task_whose_priority_changes_while_it_waits_gets_its_host() {
    let mut world = asleep(1);
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 1), (1, None));
    world.reconcile();
    let cluster_key = cluster();
    let id = world
        .state
        .provisioning_tasks(&cluster_key)
        .next()
        .expect("it waits")
        .id;
    world.tag(Taggable::Task(id), Priority::TAG, "90");
    world.pass_ms(20 * SECOND);
    assert_eq!(on_hosts(&world.state), ["h0"]);
}

#[test]
fn placement_that_the_state_did_not_take_is_planned_again() {
    let mut world = asleep(1);
    let job = task(&mut world, (512, 512), None);
    assert_eq!(run(&mut world, &job, 1), (1, None));
    let cluster = cluster();
    let id = world.state.provisioning_tasks(&cluster).next().expect("it waits").id;
    let mut agenda = Agenda::new().waking_hosts(true);
    let lost = Command::PlaceTasks {
        placements: vec![crate::state::PlaceTask {
            task: id,
            container_instance: world.host("h0").expect("there"),
            placement: None,
        }],
        at: world.now,
    };
    agenda.revisit(&world.state, &lost);
    assert!(agenda.has_work());
    world.agenda = agenda;
    world.reconcile();
    world.agenda = Agenda::everything(&world.state).waking_hosts(true);
    world.pass_ms(20 * SECOND);
    assert_eq!(on_hosts(&world.state), ["h0"]);
}
