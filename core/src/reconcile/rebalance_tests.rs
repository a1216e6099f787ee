//! Moves as they are carried out in the small world: what was planned is what happens, within the limits of services.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::limits::Limits;
use super::world::{World, cluster};
use crate::model::*;
use crate::rebalance::{Proposal, Wish, propose};
use crate::state::{ClusterState, Command};

const MINUTE_MS: i64 = 60_000;

fn wish(goal: RebalanceGoal) -> Wish {
    Wish {
        goal,
        services: BTreeSet::new(),
        max_moves: 100,
    }
}

fn begin(world: &mut World, goal: RebalanceGoal, proposal: &Proposal, drain: bool, at_a_time: u32) {
    let rebalance = Rebalance {
        cluster: cluster(),
        id: "r1".to_owned(),
        goal,
        at_a_time,
        moves: proposal.plan.to_make(),
        drain: if drain { proposal.plan.emptied() } else { vec![] },
        drained: vec![],
        deadline: world.now.plus_ms(60 * MINUTE_MS),
        stopped: false,
        started_at: world.now,
        ended_at: None,
    };
    world
        .apply(Command::BeginRebalance(Box::new(rebalance)))
        .expect("begins");
}

fn now_moving(world: &World) -> &Rebalance {
    world.state.rebalance(&cluster()).expect("begun")
}

/// Where the tasks of each service are that are wanted.
fn places(state: &ClusterState) -> BTreeMap<(String, ContainerInstanceId), i64> {
    let mut places = BTreeMap::new();
    for task in state
        .tasks_of_cluster(&cluster())
        .filter(|t| t.desired_status == DesiredStatus::Running)
    {
        let host = task.container_instance.expect("placed");
        *places.entry((task.group.clone(), host)).or_default() += 1;
    }
    places
}

fn after(state: &ClusterState, proposal: &Proposal) -> BTreeMap<(String, ContainerInstanceId), i64> {
    let mut places = places(state);
    for found in &proposal.plan.moves {
        *places.get_mut(&(found.group.clone(), found.from)).expect("was there") -= 1;
        *places.entry((found.group.clone(), found.to)).or_default() += 1;
    }
    places.retain(|_, tasks| *tasks > 0);
    places
}

/// Services in zone a alone, since the other zones' hosts came later.
fn lopsided(min: u32, max: u32) -> World {
    let mut world = World::new();
    world.add_host("h0", "a", Resources::new(4096, 4096));
    for (name, tasks) in [("api", 3), ("web", 6)] {
        world.add_definition(name, Resources::new(100, 100), None);
        world.add_service(name, |service| {
            service.desired_count = tasks;
            service.deployment_configuration.minimum_healthy_percent = min;
            service.deployment_configuration.maximum_percent = max;
        });
    }
    world.pass_ms(MINUTE_MS);
    for (name, zone) in [("h1", "b"), ("h2", "c")] {
        world.add_host(name, zone, Resources::new(4096, 4096));
    }
    world.pass_ms(MINUTE_MS);
    world
}

/// Hosts that are half empty, since the services were larger.
fn thin() -> World {
    let mut world = World::new();
    for number in 0..6 {
        world.add_host(
            &format!("h{number}"),
            ["a", "b", "c"][number % 3],
            Resources::new(1000, 1000),
        );
    }
    for name in ["api", "web"] {
        world.add_definition(name, Resources::new(100, 100), None);
        world.add_service(name, |service| service.desired_count = 18);
    }
    world.pass_ms(MINUTE_MS);
    world.update_service("api", Some(6), None);
    world.update_service("web", Some(6), None);
    world.pass_ms(MINUTE_MS);
    world
}

/// What has to hold after every command.
fn check(before: &ClusterState, world: &World, at_a_time: usize) {
    for service in world.state.services_of(&cluster()) {
        let running = |state: &ClusterState| {
            let tasks = state.live_tasks_of_service(&service.key);
            let runs = |t: &&std::sync::Arc<Task>| {
                t.desired_status == DesiredStatus::Running && t.last_status == TaskStatus::Running
            };
            tasks.filter(runs).count()
        };
        let occupying = |state: &ClusterState| {
            let tasks = state.live_tasks_of_service(&service.key);
            tasks.filter(|t| t.last_status <= TaskStatus::Running).count()
        };
        let limits = Limits::of(service);
        if running(&world.state) < running(before) {
            assert!(running(&world.state) >= limits.lower, "{}", service.key.name);
        }
        if occupying(&world.state) > occupying(before) {
            assert!(occupying(&world.state) <= limits.upper, "{}", service.key.name);
        }
        assert!(world.state.moves_under_way(&service.key).count() <= at_a_time);
    }
}

/// Lets time pass, and checks after every command.
fn pass_checking(world: &mut World, ms: i64, at_a_time: usize) {
    let end = world.now.plus_ms(ms);
    loop {
        while {
            world.reconcile_checking(|before, world| check(before, world, at_a_time));
            world.hosts_step()
        } {}
        match world.agenda.next_wake().filter(|wake| *wake <= end) {
            Some(wake) => world.now = world.now.max(wake),
            None => break,
        }
    }
    world.now = end;
}

#[test]
fn moves_are_made_as_planned_whichever_limits_services_have_and_how_many_go_at_a_time() {
    for (min, max) in [(100, 200), (50, 100), (100, 150), (0, 100), (66, 117)] {
        for at_a_time in [1, 2, 5] {
            let mut world = lopsided(min, max);
            let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Zones), world.now);
            assert_eq!(proposal.plan.moves.len(), 6, "{proposal:#?}");
            let wanted = after(&world.state, &proposal);
            begin(&mut world, RebalanceGoal::Zones, &proposal, false, at_a_time);
            pass_checking(&mut world, 20 * MINUTE_MS, usize::try_from(at_a_time).expect("small"));
            let moved = now_moving(&world);
            assert!(moved.ended_at.is_some(), "{min} {max} {at_a_time}: {moved:#?}");
            for found in &moved.moves {
                let MoveStatus::Moved { replacement, .. } = found.status else {
                    panic!("{min} {max} {at_a_time}: {found:?}");
                };
                let replacement = world.state.task(replacement).expect("there");
                assert_eq!(replacement.container_instance, Some(found.to));
                assert!(world.state.task(found.task).is_none_or(|task| task.is_stopped()));
            }
            assert_eq!(places(&world.state), wanted);
            assert!(world.service("web").steady);
        }
    }
}

#[test]
fn moves_are_told_by_the_service_as_ecs_tells_them() {
    let mut world = lopsided(100, 200);
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Zones), world.now);
    begin(&mut world, RebalanceGoal::Zones, &proposal, false, 1);
    world.pass_ms(20 * MINUTE_MS);
    let said: Vec<&str> = world.service("web").events.iter().map(|e| e.message.as_str()).collect();
    let count = |text: &str| said.iter().filter(|message| message.contains(text)).count();
    assert_eq!(count("has started 1 tasks in b to AZ Rebalance: (task "), 2);
    assert_eq!(
        count("has stopped 1 running tasks in a due to AZ rebalancing: (task "),
        4
    );
}

#[test]
fn hosts_are_emptied_as_planned_and_drained_where_that_was_asked_for() {
    for drain in [false, true] {
        let mut world = thin();
        let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Defragment), world.now);
        let emptied = proposal.plan.emptied();
        assert_eq!(emptied.len(), 3, "{proposal:#?}");
        assert_eq!(proposal.plan.after.largest, Resources::new(1000, 1000));
        let wanted = after(&world.state, &proposal);
        begin(&mut world, RebalanceGoal::Defragment, &proposal, drain, 2);
        pass_checking(&mut world, 30 * MINUTE_MS, 2);
        let rebalance = now_moving(&world);
        assert!(rebalance.ended_at.is_some());
        assert_eq!(places(&world.state), wanted);
        for host in &emptied {
            assert_eq!(world.state.is_draining(*host), drain);
            assert!(world.state.tasks_of_instance(*host).all(|task| task.is_stopped()));
        }
        assert_eq!(rebalance.drained.len(), if drain { 3 } else { 0 });
        let again = propose(&world.state, &cluster(), &wish(RebalanceGoal::Defragment), world.now);
        assert_eq!(again.plan.moves, []);
    }
}

#[test]
fn headroom_after_a_plan_is_that_of_the_state_after_its_moves() {
    let mut world = thin();
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Defragment), world.now);
    begin(&mut world, RebalanceGoal::Defragment, &proposal, false, 3);
    world.pass_ms(30 * MINUTE_MS);
    let now = propose(&world.state, &cluster(), &wish(RebalanceGoal::Defragment), world.now);
    assert_eq!(now.before, proposal.after);
    assert_eq!(now.plan.before, proposal.plan.after);
}

#[test]
fn move_whose_host_drains_or_whose_service_is_deployed_is_dropped_and_it_is_said_why() {
    let mut world = lopsided(100, 200);
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Zones), world.now);
    let drain = Command::UpdateContainerInstanceStatus {
        container_instance: world.host("h2").expect("there"),
        status: ContainerInstanceStatus::Draining,
        at: None,
    };
    world.apply(drain).expect("drains");
    world.update_service("api", None, None);
    let revision = world.add_definition("api", Resources::new(100, 100), None);
    world.update_service("api", None, Some(revision));
    begin(&mut world, RebalanceGoal::Zones, &proposal, false, 1);
    world.pass_ms(20 * MINUTE_MS);
    let rebalance = now_moving(&world).clone();
    assert!(rebalance.ended_at.is_some());
    for found in &rebalance.moves {
        let to_h2 = Some(found.to) == world.host("h2");
        match &found.status {
            MoveStatus::Dropped { reason, .. } if found.service.as_str() == "api" => {
                let deploying = "It cannot be moved any more: the service's last deployment is not completed.";
                assert!(
                    [deploying, "The task has ended."].contains(&reason.as_str()),
                    "{reason}"
                );
            }
            MoveStatus::Dropped { reason, .. } => {
                assert!(to_h2);
                assert_eq!(reason, "Host h2 does not take it: is DRAINING.");
            }
            MoveStatus::Moved { .. } => assert!(!to_h2 && found.service.as_str() == "web"),
            other => panic!("{other:?}"),
        }
    }
    let dropped = |e: &&ServiceEvent| e.message.contains("to h2. Host h2 does not take it: is DRAINING.");
    assert_eq!(world.service("web").events.iter().filter(dropped).count(), 2);
}

#[test]
fn rebalancing_that_is_stopped_leaves_tasks_where_they_are_that_had_no_replacement_that_serves() {
    let mut world = lopsided(100, 200);
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Zones), world.now);
    begin(&mut world, RebalanceGoal::Zones, &proposal, false, 1);
    world.quiesce();
    assert_eq!(
        now_moving(&world)
            .moves
            .iter()
            .filter(|found| found.status.is_under_way())
            .count(),
        1
    );
    let begun = now_moving(&world).moves.iter().find_map(|found| match found.status {
        MoveStatus::Begun { replacement } => replacement,
        _ => None,
    });
    let taken_back = format!(
        "The rebalancing was stopped before its replacement {} took over.",
        begun.expect("a replacement")
    );
    let before = places(&lopsided(100, 200).state).len();
    let stop = Command::StopRebalance {
        cluster: cluster(),
        at: world.now,
    };
    world.apply(stop.clone()).expect("stops");
    world.pass_ms(MINUTE_MS);
    let rebalance = now_moving(&world);
    assert!(rebalance.ended_at.is_some());
    let reasons = rebalance.moves.iter().map(|found| match &found.status {
        MoveStatus::Dropped { reason, .. } => reason.as_str(),
        other => panic!("{other:?}"),
    });
    let (begun, waiting): (Vec<&str>, Vec<&str>) = reasons.partition(|reason| *reason == taken_back);
    assert_eq!(begun.len(), 1, "{rebalance:#?}");
    assert!(
        waiting.iter().all(|reason| *reason == "The rebalancing was stopped."),
        "{rebalance:#?}"
    );
    assert_eq!(places(&world.state).len(), before, "the replacement is gone");
    assert!(world.apply(stop).is_err(), "there is nothing left to stop");
    let web = world.service("web");
    assert_eq!(world.state.live_tasks_of_service(&web.key).count(), 6);
}

#[test]
fn replacement_that_fails_has_its_move_dropped_and_the_task_stay() {
    let mut world = lopsided(100, 200);
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Zones), world.now);
    begin(&mut world, RebalanceGoal::Zones, &proposal, false, 1);
    world.reconcile();
    let begun = now_moving(&world).moves[0].clone();
    let MoveStatus::Begun {
        replacement: Some(replacement),
    } = begun.status
    else {
        panic!("{begun:?}")
    };
    let report = world.report_of(replacement, TaskStatus::Stopped);
    let at = world.now;
    world
        .apply(Command::RecordTaskReports {
            container_instance: begun.to,
            reports: vec![report],
            at,
        })
        .expect("recorded");
    world.pass_ms(20 * MINUTE_MS);
    let first = &now_moving(&world).moves[0];
    let MoveStatus::Dropped { reason, .. } = &first.status else {
        panic!("{first:?}")
    };
    let said = format!("Its replacement {replacement} ended: Essential container in task exited.");
    assert_eq!(*reason, said);
    assert!(
        world
            .state
            .task(first.task)
            .is_some_and(|task| task.last_status == TaskStatus::Running)
    );
    assert_eq!(
        now_moving(&world)
            .moves
            .iter()
            .filter(|m| matches!(m.status, MoveStatus::Moved { .. }))
            .count(),
        5
    );
}

#[test]
fn new_leader_goes_on_where_the_one_before_was() {
    let mut world = thin();
    let proposal = propose(&world.state, &cluster(), &wish(RebalanceGoal::Defragment), world.now);
    let wanted = after(&world.state, &proposal);
    begin(&mut world, RebalanceGoal::Defragment, &proposal, false, 1);
    for _ in 0..120 {
        world.agenda = super::Agenda::everything(&world.state);
        pass_checking(&mut world, 7_000, 1);
        let restored = ClusterState::from_snapshot(world.state.snapshot()).expect("whole");
        assert_eq!(restored, world.state);
    }
    assert!(now_moving(&world).ended_at.is_some());
    assert_eq!(places(&world.state), wanted);
}

#[derive(Clone, Debug)]
enum Step {
    Scale(u32),
    NewRevision,
    Drain(usize),
    Activate(usize),
    Cut(usize),
    HostsProceed,
    Pass(i64),
    Begin(bool, u32),
    Stop,
    NewLeader,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0u32..9).prop_map(Step::Scale),
        1 => Just(Step::NewRevision),
        1 => (0usize..6).prop_map(Step::Drain),
        1 => (0usize..6).prop_map(Step::Activate),
        1 => (0usize..6).prop_map(Step::Cut),
        3 => Just(Step::HostsProceed),
        3 => (0i64..20_000).prop_map(Step::Pass),
        3 => (any::<bool>(), 1u32..4).prop_map(|(zones, at_a_time)| Step::Begin(zones, at_a_time)),
        1 => Just(Step::Stop),
        1 => Just(Step::NewLeader),
    ]
}

fn perform(world: &mut World, step: &Step) {
    let name = |host: usize| format!("h{host}");
    match step {
        Step::Scale(desired) => world.update_service("web", Some(*desired), None),
        Step::NewRevision => {
            let revision = world.add_definition("web", Resources::new(100, 100), None);
            world.update_service("web", None, Some(revision));
        }
        Step::Drain(host) | Step::Activate(host) => {
            let status = match step {
                Step::Drain(_) => ContainerInstanceStatus::Draining,
                _ => ContainerInstanceStatus::Active,
            };
            let container_instance = world.host(&name(*host)).expect("there");
            world
                .apply(Command::UpdateContainerInstanceStatus {
                    container_instance,
                    status,
                    at: None,
                })
                .expect("set");
        }
        Step::Cut(host) => {
            let container_instance = world.host(&name(*host)).expect("there");
            world.cut_off.insert(container_instance);
            let at = world.now;
            world
                .apply(Command::RecordAgentDisconnected {
                    container_instance,
                    last_heard_at: at,
                    at,
                })
                .expect("recorded");
        }
        Step::HostsProceed => _ = world.hosts_step(),
        Step::Pass(ms) => world.now = world.now.plus_ms(*ms),
        Step::Begin(zones, at_a_time) => {
            let goal = if *zones {
                RebalanceGoal::Zones
            } else {
                RebalanceGoal::Defragment
            };
            let proposal = propose(&world.state, &cluster(), &wish(goal), world.now);
            if world.state.rebalance(&cluster()).is_none_or(|r| r.ended_at.is_some()) {
                begin(world, goal, &proposal, true, *at_a_time);
            }
        }
        Step::Stop => {
            let (cluster, at) = (cluster(), world.now);
            // Refused where there is nothing to stop.
            world.apply(Command::StopRebalance { cluster, at }).ok();
        }
        Step::NewLeader => world.agenda = super::Agenda::everything(&world.state),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn moves_in_any_history_end_and_services_have_what_they_want_within_their_limits(
        steps in prop::collection::vec(step(), 1..40),
        (min, max) in prop_oneof![Just((100, 200)), Just((50, 100)), Just((50, 200)), Just((0, 100)), Just((75, 150))],
    ) {
        let mut world = thin();
        for name in ["api", "web"] {
            world.change_service(name, |update| {
                update.deployment_configuration = DeploymentConfigurationChanges {
                    maximum_percent: Some(max),
                    minimum_healthy_percent: Some(min),
                    ..Default::default()
                };
            });
        }
        for step in &steps {
            perform(&mut world, step);
            world.reconcile_checking(check_limits);
        }
        for host in 0..6 {
            let name = format!("h{host}");
            world.add_host(&name, ["a", "b", "c"][host % 3], Resources::new(1000, 1000));
            perform(&mut world, &Step::Activate(host));
        }
        for _ in 0..8 {
            world.pass_ms(60 * MINUTE_MS);
        }
        prop_assert!(world.state.all_rebalances().all(|rebalance| rebalance.ended_at.is_some()));
        for name in ["api", "web"] {
            let service = world.service(name);
            let stuck = service.events.iter().any(|e| e.message.contains("Update the minimumHealthyPercent"));
            let live = world.state.live_tasks_of_service(&service.key).count();
            prop_assert!(stuck || live == usize::try_from(service.desired_count).expect("small"), "{name}: {live}");
        }
    }
}

/// As [`check`], but that hosts may be lost and services scaled meanwhile.
fn check_limits(before: &ClusterState, world: &World) {
    let lost = before
        .tasks_of_cluster(&cluster())
        .any(|t| !t.is_stopped() && world.state.task(t.id).is_some_and(|now| now.is_stopped()));
    if !lost {
        check(before, world, 3);
    }
}
