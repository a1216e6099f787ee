//! Explanations of a small world: what is said of each choice, and that every change that is named does what it is said to do.

use crate::model::{
    CapacityProviderStrategyItem, Cluster, ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, MoveStatus,
    PlacementConstraint, PlacementStrategy, Rebalance, RebalanceGoal, Resources, SchedulingStrategy, StopCode, Task,
    TaskId, TaskMove,
};
use crate::placement::{HostVerdict, PlacementProblem, Seed};
use crate::reconcile::{next_task, world::World, world::cluster};
use crate::state::{ClusterState, Command, FeatureLevel};

use super::*;

/// Two zones with two hosts each, all alike.
fn world() -> World {
    let mut world = World::new();
    for (name, zone) in [("h1", "a"), ("h2", "a"), ("h3", "b"), ("h4", "b")] {
        world.add_host(name, zone, Resources::new(1024, 1000));
    }
    world
}

fn add(world: &mut World, name: &str, needs: Resources, port: Option<u16>, tasks: u32) {
    world.add_definition(name, needs, port);
    world.add_service(name, |service| service.desired_count = tasks);
    world.quiesce();
}

fn tasks(world: &World, name: &str) -> Vec<Task> {
    let key = cluster().service(name);
    let tasks = world.state.live_tasks_of_service(&key);
    tasks.map(|task| Task::clone(task)).collect()
}

#[test]
fn task_says_how_many_hosts_each_filter_left_and_which_term_decided() {
    let mut world = world();
    let h1 = world.host("h1").expect("there");
    let drain = Command::UpdateContainerInstanceStatus {
        container_instance: h1,
        status: ContainerInstanceStatus::Draining,
        at: None,
    };
    world.apply(drain).expect("drains");
    add(&mut world, "web", Resources::new(128, 100), None, 2);
    for task in tasks(&world, "web") {
        let why = why(&world.state, &task).expect("recorded");
        assert_eq!(why.considered, 4);
        assert!(
            why.left_after.iter().all(|(_, left)| *left == 3),
            "{:?}",
            why.left_after
        );
        let names: Vec<&str> = why.chosen.terms.iter().map(|term| term.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "spread attribute:ecs.availability-zone",
                "spread instanceId",
                "fewest tasks on the host"
            ]
        );
        assert_eq!(Some(why.chosen.host), task.container_instance);
    }
    let in_second_zone = tasks(&world, "web")
        .into_iter()
        .map(|task| why(&world.state, &task).expect("recorded"));
    let decided: Vec<Why> = in_second_zone
        .filter(|why| why.decided_by == Some(DecidedBy::Term(0)))
        .collect();
    let [second] = &decided[..] else { panic!("{decided:?}") };
    let sentence = second.to_string();
    assert!(
        sentence.contains("by spread attribute:ecs.availability-zone: 0 tasks of service:web in "),
        "{sentence}"
    );
    assert!(sentence.contains(", against 1 task of service:web in "), "{sentence}");
}

#[test]
fn task_that_is_packed_says_what_was_free() {
    let mut world = world();
    world.add_definition("db", Resources::new(128, 100), None);
    world.add_service("db", |service| {
        service.desired_count = 2;
        service.placement_strategy = vec![PlacementStrategy::Binpack {
            resource: crate::model::BinpackResource::Memory,
        }];
    });
    world.quiesce();
    let sentences: Vec<String> = tasks(&world, "db")
        .iter()
        .map(|task| why(&world.state, task).expect("recorded").to_string())
        .collect();
    let packed = |text: &String| text.ends_with("by binpack memory: 900 MiB free, against 1000 MiB free.");
    assert!(sentences.iter().any(packed), "{sentences:?}");
}

#[test]
fn task_placed_before_records_were_kept_has_no_explanation() {
    let mut world = world();
    add(&mut world, "web", Resources::new(128, 100), None, 1);
    let task = Task {
        placement: None,
        ..tasks(&world, "web").remove(0)
    };
    assert_eq!(why(&world.state, &task), None);
}

#[test]
fn task_that_could_go_to_one_host_alone_says_why() {
    let mut world = World::new();
    world.add_host("h1", "a", Resources::new(1024, 1000));
    add(&mut world, "web", Resources::new(128, 100), None, 1);
    world.add_definition("agent", Resources::new(64, 64), None);
    world.add_service("agent", |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.deployment_configuration.maximum_percent = 100;
        service.deployment_configuration.minimum_healthy_percent = 0;
    });
    world.add_host("h2", "a", Resources::new(1024, 1000));
    world.pass_ms(60_000);
    let said = |world: &World, task: &Task| why(&world.state, task).expect("recorded").to_string();
    let moved = tasks(&world, "web").remove(0);
    let first = said(&world, &moved);
    assert!(
        first.starts_with("h1 was the only host that it could go to: the cluster had no other, or "),
        "{first}"
    );
    let daemons = tasks(&world, "agent");
    assert_eq!(daemons.len(), 2);
    for task in &daemons {
        let said = said(&world, task);
        assert!(
            said.ends_with(" its service is a daemon service, with a task on each host."),
            "{said}"
        );
    }
    let wanted = TaskMove {
        task: moved.id,
        service: "web".into(),
        from: world.host("h1").expect("there"),
        to: world.host("h2").expect("there"),
        status: MoveStatus::Waiting,
    };
    let begin = Command::BeginRebalance(Box::new(Rebalance {
        cluster: cluster(),
        id: "r".to_owned(),
        goal: RebalanceGoal::Zones,
        at_a_time: 1,
        moves: vec![wanted],
        drain: vec![],
        drained: vec![],
        deadline: world.now.plus_ms(600_000),
        stopped: false,
        started_at: world.now,
        ended_at: None,
    }));
    world.apply(begin).expect("begins");
    world.pass_ms(120_000);
    let replacement = tasks(&world, "web").remove(0);
    let expected = format!(
        "h2 was the only host that it could go to: a rebalancing moved task {} there from h1, and this is its replacement.",
        moved.id
    );
    assert_eq!(said(&world, &replacement), expected);
}

#[test]
fn choice_is_recorded_once_all_members_know_how_and_survives_a_snapshot() {
    let mut world = World::new();
    world.state = ClusterState::default();
    let create = Command::CreateCluster(Cluster::new(cluster(), world.now));
    world.apply(create).expect("creates");
    world.add_host("h1", "a", Resources::new(1024, 1000));
    add(&mut world, "web", Resources::new(128, 100), None, 1);
    assert_eq!(tasks(&world, "web")[0].placement, None);
    let raise = Command::RaiseFeatureLevel(FeatureLevel::newest("0.2.0"));
    world.apply(raise).expect("raised");
    add(&mut world, "api", Resources::new(128, 100), None, 1);
    let record = tasks(&world, "api")[0].placement.clone();
    assert!(record.is_some());
    world.state = ClusterState::from_snapshot(world.state.snapshot()).expect("whole");
    assert_eq!(tasks(&world, "api")[0].placement, record);
}

/// The world after what a remedy says, and the task that the service starts then.
fn carried_out(world: &World, service: &str, remedy: &Remedy) -> (World, Task) {
    let key = cluster().service(service);
    let service = world.state.service(&key).expect("there");
    let mut task = next_task(&world.state, service, world.now).expect("a definition");
    let mut after = World::new();
    after.state = world.state.clone();
    (after.now, after.ids) = (world.now, world.ids.clone());
    let stop = |after: &mut World, ids: Vec<TaskId>| {
        let command = Command::StopTasks {
            tasks: ids,
            stop_code: StopCode::UserInitiated,
            reason: "to make room".to_owned(),
            at: after.now,
        };
        after.apply(command).expect("stops");
        after.hosts_finish();
    };
    for change in &remedy.changes {
        match change {
            Change::Await { .. } => after.hosts_finish(),
            Change::Activate => {
                let command = Command::UpdateContainerInstanceStatus {
                    container_instance: remedy.host.as_ref().expect("a host").0,
                    status: ContainerInstanceStatus::Active,
                    at: None,
                };
                after.apply(command).expect("activates");
            }
            Change::LowerTask { cpu, memory } => {
                let blueprint = task.blueprint_mut();
                blueprint.reservation = Resources::new(
                    blueprint.reservation.cpu.0 - cpu,
                    blueprint.reservation.memory.0 - memory,
                );
            }
            Change::StopOneOf { tasks } => stop(&mut after, vec![tasks.last().expect("one").task]),
            Change::StopAll { tasks } => stop(&mut after, tasks.iter().map(|task| task.task).collect()),
            Change::FreePorts { .. } => {
                let command = Command::RecordForeignPorts {
                    container_instance: remedy.host.as_ref().expect("a host").0,
                    ports: [].into(),
                };
                after.apply(command).expect("recorded");
            }
            Change::UseOtherPorts { ports } => {
                task.blueprint_mut().host_ports.retain(|port| !ports.contains(port));
            }
            Change::LiftConstraint(constraint) => {
                task.blueprint_mut().placement_constraints.retain(|c| c != constraint);
            }
            Change::JoinCapacityProvider(name) => {
                let (id, host) = remedy.host.as_ref().expect("a host");
                let has = after.state.container_instance(*id).expect("there").host.capacity;
                after.add_host_of(host, "b", has, Some(name.as_str()));
            }
            Change::AddHost {
                cpu,
                memory,
                capacity_provider,
                ..
            } => {
                let pool = capacity_provider.as_ref().map(|name| name.as_str());
                after.add_host_of("new", "c", Resources::new(*cpu, *memory), pool);
            }
            Change::ConnectAgent | Change::Wake | Change::AwaitWaking => {
                let (name, host) = (remedy.host.as_ref().expect("a host").1.clone(), remedy.host.as_ref());
                let capacity = after
                    .state
                    .container_instance(host.expect("a host").0)
                    .expect("there")
                    .host
                    .capacity;
                after.add_host(&name, "b", capacity);
            }
        }
    }
    (after, task)
}

fn takes(world: &World, task: &Task, host: Option<ContainerInstanceId>) -> bool {
    let problem = PlacementProblem::from_state(&world.state, &cluster(), [task]);
    let explanation = crate::placement::explain(&problem, Seed(1), task.id).expect("asked");
    let takes = |(id, verdict): &(ContainerInstanceId, HostVerdict)| {
        host.is_none_or(|host| host == *id) && !matches!(verdict, HostVerdict::Refused(_))
    };
    explanation.hosts.iter().any(takes)
}

/// Asks why no host takes a task of the service, and holds every answer to what then happens.
fn held_to(world: &World, service: &str) -> WhyNot {
    let found = world.state.service(&cluster().service(service)).expect("there");
    let answer = why_not(&world.state, found, None, world.now).expect("a definition");
    assert_eq!(answer.fitting(), 0, "{answer:?}");
    assert!(!answer.remedies.is_empty());
    for remedy in &answer.remedies {
        let (after, task) = carried_out(world, service, remedy);
        let host = remedy.host.as_ref().map(|(id, _)| *id);
        assert!(takes(&after, &task, host), "{remedy}: {remedy:?}");
    }
    answer
}

#[test]
fn service_on_hosts_that_its_own_tasks_fill_is_told_of_a_new_host_alone() {
    let mut world = world();
    add(&mut world, "big", Resources::new(900, 900), None, 5);
    let texts: Vec<String> = held_to(&world, "big").remedies.iter().map(Remedy::to_string).collect();
    assert_eq!(texts, ["add a host with at least 900 CPU units and 900 MiB"]);
}

#[test]
fn task_of_a_service_that_is_to_give_way_is_said_to_come_back_unless_fewer_are_wanted() {
    let mut world = world();
    add(&mut world, "web", Resources::new(600, 300), None, 4);
    add(&mut world, "big", Resources::new(900, 500), None, 1);
    let answer = held_to(&world, "big");
    let sentence = answer.remedies[0].to_string();
    assert!(
        sentence.contains("; a service must want fewer as well, or it starts another"),
        "{sentence}"
    );
}

#[test]
fn task_too_large_for_every_host_fits_once_it_needs_less_or_others_give_way() {
    let mut world = world();
    add(&mut world, "web", Resources::new(256, 300), None, 4);
    add(&mut world, "api", Resources::new(512, 400), None, 4);
    add(&mut world, "big", Resources::new(300, 500), None, 1);
    let answer = held_to(&world, "big");
    assert_eq!(answer.hosts.len(), 4);
    let first = answer.remedies[0].to_string();
    assert_eq!(
        first,
        "on h1: lower the task's cpu by 44 CPU units and its memory by 200 MiB"
    );
    assert!(
        answer
            .remedies
            .iter()
            .any(|remedy| remedy.to_string().contains("stop one of these tasks: ")),
        "{answer:?}"
    );
    let last = answer.remedies.last().expect("some").to_string();
    assert_eq!(last, "add a host with at least 300 CPU units and 500 MiB");
}

#[test]
fn task_of_a_capacity_provider_without_a_host_fits_once_one_joins_it() {
    let mut world = world();
    world.add_capacity_providers(&["gpu"]);
    world.add_host_of("h9", "a", Resources::new(1024, 1000), Some("plain"));
    add(&mut world, "web", Resources::new(64, 64), None, 0);
    let strategy = vec![CapacityProviderStrategyItem {
        capacity_provider: "gpu".into(),
        weight: 1,
        base: 0,
    }];
    world.change_service("web", |update| {
        update.capacity_provider_strategy = Some(strategy);
        update.force_new_deployment = true;
        update.desired_count = Some(1);
    });
    let answer = held_to(&world, "web");
    let texts: Vec<String> = answer.remedies.iter().map(Remedy::to_string).collect();
    assert_eq!(texts[0], "on h1: start its agent again with --capacity-provider gpu");
    let last = texts.last().expect("some");
    assert_eq!(
        last,
        "add a host with at least 64 CPU units and 64 MiB in capacity provider gpu"
    );
    let refusals: Vec<String> = answer
        .hosts
        .iter()
        .flat_map(|host| &host.refusals)
        .map(|r| r.to_string())
        .collect();
    assert!(
        refusals.iter().any(|text| text == "is not in capacity provider gpu"),
        "{refusals:?}"
    );
    assert!(
        refusals
            .iter()
            .any(|text| text == "is not in capacity provider gpu, but in plain"),
        "{refusals:?}"
    );
}

#[test]
fn task_whose_port_is_held_fits_once_its_holder_stops_or_the_port_is_another() {
    let mut world = world();
    add(&mut world, "web", Resources::new(64, 64), Some(8080), 4);
    add(&mut world, "other", Resources::new(64, 64), Some(8080), 1);
    let answer = held_to(&world, "other");
    let texts: Vec<String> = answer.remedies.iter().map(Remedy::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("have the task use other host ports than 8080/tcp")),
        "{texts:?}"
    );
    assert!(texts.iter().any(|text| text.contains("of service:web")), "{texts:?}");
}

#[test]
fn task_fits_once_a_host_is_back_from_draining_or_its_agent_is() {
    let mut world = world();
    add(&mut world, "web", Resources::new(64, 64), None, 0);
    for name in ["h1", "h2", "h3", "h4"] {
        let host = world.host(name).expect("there");
        let command = match name {
            "h4" => Command::RecordAgentDisconnected {
                container_instance: host,
                last_heard_at: world.now,
                at: world.now,
            },
            _ => Command::UpdateContainerInstanceStatus {
                container_instance: host,
                status: ContainerInstanceStatus::Draining,
                at: None,
            },
        };
        world.apply(command).expect("applied");
    }
    let answer = held_to(&world, "web");
    assert_eq!(answer.remedies[0].to_string(), "on h1: take it back from draining");
    assert!(
        answer
            .remedies
            .iter()
            .any(|r| r.to_string() == "on h4: bring its agent back")
    );
}

#[test]
fn task_with_constraints_names_those_that_fail() {
    let mut world = world();
    world.add_definition("web", Resources::new(64, 64), None);
    world.add_service("web", |service| {
        let member_of = |expression: &str| PlacementConstraint::MemberOf {
            expression: expression.to_owned(),
        };
        service.desired_count = 0;
        service.placement_constraints = vec![
            member_of("attribute:ecs.availability-zone == c"),
            member_of("attribute:ecs.availability-zone in [a, b]"),
            member_of("attribute:rack exists"),
        ];
    });
    let answer = held_to_without_new_hosts(&world, "web");
    assert_eq!(
        answer.remedies[1].to_string(),
        "on h1: lift the constraint memberOf 'attribute:ecs.availability-zone == c', or have it hold, and lift the constraint memberOf \
         'attribute:rack exists', or have it hold"
    );
}

fn held_to_without_new_hosts(world: &World, service: &str) -> WhyNot {
    let found = world.state.service(&cluster().service(service)).expect("there");
    let answer = why_not(&world.state, found, None, world.now).expect("a definition");
    for remedy in answer.remedies.iter().filter(|remedy| remedy.host.is_some()) {
        let (after, task) = carried_out(world, service, remedy);
        assert!(
            takes(&after, &task, remedy.host.as_ref().map(|(id, _)| *id)),
            "{remedy}"
        );
    }
    answer
}

#[test]
fn task_waits_for_what_is_stopping() {
    let mut world = world();
    add(&mut world, "web", Resources::new(1024, 900), None, 4);
    let ids = tasks(&world, "web").iter().map(|task| task.id).take(1).collect();
    world.update_service("web", Some(3), None);
    let stop = Command::StopTasks {
        tasks: ids,
        stop_code: StopCode::UserInitiated,
        reason: "no longer needed".to_owned(),
        at: world.now,
    };
    world.apply(stop).expect("stops");
    assert_eq!(
        tasks(&world, "web")
            .iter()
            .filter(|t| t.desired_status == DesiredStatus::Stopped)
            .count(),
        1
    );
    add_without_waiting(&mut world);
    let answer = held_to(&world, "next");
    assert!(
        answer.remedies[0]
            .to_string()
            .contains("wait until a task that is stopping has ended"),
        "{}",
        answer.remedies[0]
    );
}

fn add_without_waiting(world: &mut World) {
    world.add_definition("next", Resources::new(512, 512), None);
    world.add_service("next", |service| service.desired_count = 0);
}

#[test]
fn only_the_host_that_is_asked_for_answers() {
    let mut world = world();
    add(&mut world, "web", Resources::new(64, 64), None, 1);
    let host = world.host("h3").expect("there");
    let service = world.service("web").clone();
    let answer = why_not(&world.state, &service, Some(host), world.now).expect("a definition");
    assert_eq!(answer.hosts.len(), 1);
    assert_eq!(
        (answer.fitting(), answer.to_string().as_str()),
        (1, "The host would take a task now.")
    );
}

#[test]
fn new_host_is_no_remedy_for_a_port_that_is_kept_or_an_expression_that_cannot_be_read() {
    let mut world = world();
    world.add_definition("ssh", Resources::new(64, 64), Some(22));
    world.add_definition("web", Resources::new(64, 64), None);
    world.add_service("ssh", |service| service.desired_count = 0);
    world.add_service("web", |service| {
        service.desired_count = 0;
        service.placement_constraints = vec![PlacementConstraint::MemberOf {
            expression: "attribute:rack =".to_owned(),
        }];
    });
    for service in ["ssh", "web"] {
        let found = world.service(service).clone();
        let answer = why_not(&world.state, &found, None, world.now).expect("a definition");
        assert_eq!(answer.fitting(), 0, "{answer:?}");
        let of_a_host = |remedy: &Remedy| remedy.host.is_some();
        assert!(answer.remedies.iter().all(of_a_host), "{:?}", answer.remedies);
    }
}

#[test]
fn daemon_service_asks_the_hosts_that_have_no_task_of_it() {
    let mut world = world();
    world.add_definition("logs", Resources::new(64, 400), None);
    world.add_service("logs", |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.deployment_configuration.maximum_percent = 100;
        service.deployment_configuration.minimum_healthy_percent = 0;
    });
    world.quiesce();
    let ask = |world: &World, only| {
        let service = world.service("logs").clone();
        why_not(&world.state, &service, only, world.now).expect("a definition")
    };
    let h1 = world.host("h1");
    for only in [None, h1] {
        let all_have_one = ask(&world, only);
        assert_eq!((all_have_one.hosts.len(), all_have_one.remedies.len()), (0, 0));
        assert_eq!(
            all_have_one.to_string(),
            "Every host asked about has a task of it already."
        );
    }
    let small = world.add_host("h5", "b", Resources::new(1024, 300));
    let answer = ask(&world, None);
    let asked: Vec<ContainerInstanceId> = answer.hosts.iter().map(|host| host.host.id).collect();
    assert_eq!((asked, answer.fitting(), answer.served), (vec![small], 0, 4));
    let texts: Vec<String> = answer.remedies.iter().map(Remedy::to_string).collect();
    assert_eq!(texts, ["on h5: lower the task's memory by 100 MiB"]);
}
