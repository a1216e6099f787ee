//! Predictions against what then happens in a world whose hosts take their time, with other ids.

use std::collections::BTreeMap;

use crate::ids::IdSource;
use crate::model::{
    Attributes, BinpackResource, Cluster, ContainerInstanceStatus, DesiredStatus, MoveStatus, PlacementStrategy,
    Rebalance, RebalanceGoal, Resources, SchedulingStrategy, TaskMove,
};
use crate::reconcile::world::{World, cluster};
use crate::state::Command;

use super::*;

const ZONES: [&str; 3] = ["a", "b", "c"];

/// Six hosts in three zones, and services of several strategies that leave not much room.
pub(super) fn world() -> World {
    let mut world = World::new();
    for (number, memory) in (0..6).zip((1000..).step_by(100)) {
        world.add_host(&format!("h{number}"), ZONES[number % 3], Resources::new(1024, memory));
    }
    let packed = vec![PlacementStrategy::Binpack {
        resource: BinpackResource::Memory,
    }];
    for (name, needs, port, tasks, strategy) in [
        ("web", Resources::new(64, 100), None, 12, vec![]),
        ("api", Resources::new(128, 90), None, 7, packed),
        ("edge", Resources::new(32, 40), Some(8080), 5, vec![]),
    ] {
        world.add_definition(name, needs, port);
        world.add_service(name, |service| {
            service.desired_count = tasks;
            service.placement_strategy = strategy;
        });
    }
    world.pass_ms(60_000);
    world
}

pub(super) type Places = BTreeMap<(String, String), usize>;

/// Tasks that are wanted, by group and host.
pub(super) fn places(world: &World) -> Places {
    let mut places = Places::new();
    for task in world
        .state
        .tasks_of_cluster(&cluster())
        .filter(|t| t.desired_status == DesiredStatus::Running)
    {
        let host = task
            .container_instance
            .and_then(|id| world.state.container_instance(id));
        let host = host.expect("placed").host.host_name.clone();
        *places.entry((task.group.clone(), host)).or_default() += 1;
    }
    places
}

/// What a prediction makes of where tasks are.
pub(super) fn predicted(before: &Places, outlook: &Outlook) -> Places {
    let mut places = before.clone();
    for found in &outlook.moves {
        if let Some(from) = &found.from {
            *places
                .get_mut(&(found.group.clone(), from.name.clone()))
                .expect("was there") -= found.tasks;
        }
        if let Some(to) = &found.to {
            *places.entry((found.group.clone(), to.name.clone())).or_default() += found.tasks;
        }
    }
    places.retain(|_, tasks| *tasks > 0);
    places
}

pub(super) fn ask(world: &World, changes: &[Change]) -> Outlook {
    predict(&world.state, &cluster(), changes, world.now, IdSource::from_seed(99)).expect("can be made")
}

#[test]
fn loss_of_any_host_leads_to_what_was_predicted() {
    for number in 0..6 {
        let mut world = world();
        let name = format!("h{number}");
        let host = world.host(&name).expect("there");
        let outlook = ask(&world, &[Change::LoseHost(host)]);
        assert!(outlook.settled);
        assert_eq!(
            outlook
                .given_up
                .iter()
                .map(|host| host.name.as_str())
                .collect::<Vec<_>>(),
            [name.as_str()]
        );
        let wanted = predicted(&places(&world), &outlook);
        world.cut_off.insert(host);
        let at = world.now;
        let away = Command::RecordAgentDisconnected {
            container_instance: host,
            last_heard_at: at,
            at,
        };
        world.apply(away).expect("recorded");
        world.pass_ms(60_000);
        assert_eq!(places(&world), wanted, "without {name}: {outlook:#?}");
        let short: Vec<_> = outlook
            .services
            .iter()
            .map(|s| (s.service.as_str().to_owned(), s.misses()))
            .collect();
        for (service, misses) in short {
            let there: usize = places(&world)
                .iter()
                .filter(|((group, _), _)| *group == format!("service:{service}"))
                .map(|(_, tasks)| tasks)
                .sum();
            assert_eq!(world.service(&service).desired_count as usize - there, misses);
        }
    }
}

#[test]
fn draining_a_host_leads_to_what_was_predicted() {
    let mut world = world();
    let host = world.host("h1").expect("there");
    let outlook = ask(&world, &[Change::DrainHost(host)]);
    let wanted = predicted(&places(&world), &outlook);
    let drain = Command::UpdateContainerInstanceStatus {
        container_instance: host,
        status: ContainerInstanceStatus::Draining,
        at: None,
    };
    world.apply(drain).expect("drains");
    world.pass_ms(120_000);
    assert_eq!(places(&world), wanted);
    assert!(outlook.given_up.is_empty());
}

#[test]
fn protected_tasks_stay_as_was_predicted() {
    let mut world = world();
    let web = cluster().service("web");
    let host = world.host("h1").expect("there");
    let tasks = world.state.live_tasks_of_service(&web);
    let (there, elsewhere): (Vec<_>, Vec<_>) = tasks
        .map(|task| (task.id, task.container_instance))
        .partition(|(_, at)| *at == Some(host));
    let protected: Vec<_> = there
        .iter()
        .chain(elsewhere.iter().take(3))
        .map(|(id, _)| *id)
        .collect();
    let at = world.now;
    let protect = Command::UpdateTaskProtection {
        tasks: protected.clone(),
        protected_until: Some(at.plus_ms(3_600_000)),
        at,
    };
    world.apply(protect).expect("is always valid");
    let scale = Change::UpdateService {
        service: web.clone(),
        desired_count: Some(1),
        placement_strategy: None,
    };
    let outlook = ask(&world, &[Change::DrainHost(host), scale]);
    assert!(outlook.settled);
    let drain = Command::UpdateContainerInstanceStatus {
        container_instance: host,
        status: ContainerInstanceStatus::Draining,
        at: None,
    };
    let wanted = predicted(&places(&world), &outlook);
    world.apply(drain).expect("drains");
    world.update_service("web", Some(1), None);
    world.pass_ms(120_000);
    assert_eq!(places(&world), wanted);
    let is_wanted = |id: &crate::model::TaskId| {
        let task = world.state.task(*id);
        task.is_some_and(|task| task.desired_status == DesiredStatus::Running)
    };
    assert!(protected.iter().all(is_wanted));
}

#[test]
fn what_finds_no_host_is_explained_and_fits_once_there_is_another() {
    let mut world = world();
    world.update_service("web", Some(100), None);
    world.pass_ms(60_000);
    let outlook = ask(&world, &[]);
    assert!(outlook.moves.is_empty(), "{:?}", outlook.moves);
    let web = outlook
        .services
        .iter()
        .find(|s| s.service.as_str() == "web")
        .expect("it lacks tasks");
    let lacks = web.lacks.as_ref().expect("explained");
    assert_eq!((lacks.fitting(), lacks.hosts.len()), (0, 6));
    let more = Change::AddHost(NewHost {
        name: "h6".to_owned(),
        capacity: Resources::new(8192, 16384),
        zone: Some("a".to_owned()),
        capacity_provider: None,
        attributes: Attributes::new(),
    });
    let with_more = ask(&world, &[more]);
    assert_eq!(with_more.services[0].misses(), 0, "{:?}", with_more.services);
    let come: usize = with_more
        .moves
        .iter()
        .filter(|m| m.from.is_none())
        .map(|m| m.tasks)
        .sum();
    assert_eq!(come, web.misses());
    assert!(
        with_more
            .moves
            .iter()
            .all(|m| m.to.as_ref().is_some_and(|host| host.name == "h6"))
    );
}

#[test]
fn scaling_and_another_strategy_lead_to_what_was_predicted() {
    let mut world = world();
    let update = |desired_count, placement_strategy| Change::UpdateService {
        service: cluster().service("web"),
        desired_count,
        placement_strategy,
    };
    let outlook = ask(&world, &[update(Some(15), None)]);
    let wanted = predicted(&places(&world), &outlook);
    assert_eq!((outlook.services[0].before, outlook.services[0].after), (12, 15));
    world.update_service("web", Some(15), None);
    world.pass_ms(60_000);
    assert_eq!(places(&world), wanted);
    let random = ask(&world, &[update(None, Some(vec![PlacementStrategy::Random]))]);
    let moved = random
        .moves
        .iter()
        .filter(|m| m.group == "service:web" && m.to.is_some());
    assert!(
        moved.clone().count() > 0 && moved.into_iter().all(|m| m.one_of.len() > 1),
        "{random:#?}"
    );
}

#[test]
fn tasks_that_cannot_be_replaced_are_told_and_why() {
    let mut world = World::new();
    world.add_host("h1", "a", Resources::new(1024, 1000));
    world.add_definition("web", Resources::new(100, 600), None);
    world.add_service("web", |service| service.desired_count = 1);
    world.pass_ms(30_000);
    let another = Change::UpdateService {
        service: cluster().service("web"),
        desired_count: None,
        placement_strategy: Some(vec![PlacementStrategy::Random]),
    };
    let outlook = ask(&world, &[another]);
    let web = &outlook.services[0];
    assert_eq!((web.misses(), web.after), (0, 1), "{web:?}");
    assert_eq!(web.not_replaced, 1);
    let lacks = web.lacks.as_ref().expect("explained");
    assert_eq!(lacks.fitting(), 0);
    let host = world.host("h1").expect("there");
    let drained = ask(&world, &[Change::DrainHost(host)]);
    assert_eq!((drained.services[0].not_replaced, drained.moves.len()), (1, 0));
}

#[test]
fn headroom_counts_more_tasks_of_a_service_and_what_is_free_by_zone() {
    let mut world = World::new();
    for (name, zone) in [("h1", "a"), ("h2", "b")] {
        world.add_host(name, zone, Resources::new(1024, 1000));
    }
    for (name, port) in [("web", None), ("edge", Some(8080))] {
        world.add_definition(name, Resources::new(100, 300), port);
        world.add_service(name, |service| service.desired_count = 1);
    }
    world.pass_ms(30_000);
    let host = world.host("h2").expect("there");
    let outlook = ask(&world, &[Change::LoseHost(host)]);
    let zone = |headroom: &Headroom, zone: &str| {
        let found = headroom
            .zones
            .iter()
            .find(|z| z.zone.as_deref() == Some(zone))
            .expect("there");
        (found.hosts, found.free_memory)
    };
    let more = |headroom: &Headroom| {
        headroom
            .services
            .iter()
            .map(|s| (s.service.as_str().to_owned(), s.tasks))
            .collect::<Vec<_>>()
    };
    let services = |edge, web| [("edge".to_owned(), edge), ("web".to_owned(), web)];
    assert_eq!(more(&outlook.before), services(1, 4));
    assert_eq!(zone(&outlook.after, "b"), (0, 0));
    assert_eq!(zone(&outlook.after, "a"), (1, 400));
    assert_eq!(more(&outlook.after), services(0, 1));
}

#[test]
fn loss_of_all_hosts_gives_none_up_since_the_network_is_likelier_to_have_failed() {
    let world = world();
    let key = cluster();
    let all = world
        .state
        .container_instances_of(&key)
        .map(|host| Change::LoseHost(host.id));
    let outlook = ask(&world, &all.collect::<Vec<_>>());
    assert!(
        outlook.settled && outlook.given_up.is_empty() && outlook.moves.is_empty(),
        "{outlook:#?}"
    );
}

#[test]
fn change_that_cannot_be_made_is_refused() {
    let world = world();
    let changes = [Change::UpdateService {
        service: cluster().service("nothing"),
        desired_count: Some(1),
        placement_strategy: None,
    }];
    assert!(predict(&world.state, &cluster(), &changes, world.now, IdSource::from_seed(1)).is_err());
}

#[test]
fn other_clusters_are_not_played() {
    let mut world = world();
    world.update_service("web", Some(13), None);
    let other = cluster().scope.cluster("other");
    let create = Command::CreateCluster(Cluster::new(other.clone(), world.now));
    world.apply(create).expect("created");
    let tasks = |state: &ClusterState| state.tasks_of_cluster(&cluster()).count();
    let mut rehearsal = Rehearsal::of(&world.state, &other, world.now, IdSource::from_seed(99));
    assert!(rehearsal.settle());
    assert_eq!(tasks(rehearsal.state()), tasks(&world.state));
    assert_eq!(rehearsal.changed_at(), world.now);
}

#[test]
fn daemon_services_have_no_room_for_more_tasks() {
    let mut world = World::new();
    world.add_host("h1", "a", Resources::new(1024, 1000));
    world.add_definition("logs", Resources::new(64, 64), None);
    world.add_service("logs", |service| {
        service.scheduling_strategy = SchedulingStrategy::Daemon;
        service.deployment_configuration.maximum_percent = 100;
        service.deployment_configuration.minimum_healthy_percent = 0;
    });
    world.pass_ms(30_000);
    assert_eq!(ask(&world, &[]).after.services, []);
}

#[test]
fn groups_whose_hosts_are_drawn_are_left_to_chance() {
    let mut world = world();
    let lost = world.host("h1").expect("there");
    assert_eq!(
        ask(&world, &[Change::LoseHost(lost)]).left_to_chance,
        Vec::<String>::new()
    );
    world.add_definition("any", Resources::new(16, 16), None);
    world.add_service("any", |service| {
        service.desired_count = 12;
        service.placement_strategy = vec![PlacementStrategy::Random];
    });
    world.pass_ms(60_000);
    let update = |desired_count| Change::UpdateService {
        service: cluster().service("any"),
        desired_count: Some(desired_count),
        placement_strategy: None,
    };
    for (changes, drawn) in [
        (vec![update(20)], true),
        (vec![update(6)], true),
        (vec![update(0)], false),
        (vec![], false),
    ] {
        let outlook = ask(&world, &changes);
        let expected: &[&str] = if drawn { &["service:any"] } else { &[] };
        assert_eq!(outlook.left_to_chance, expected, "{changes:?}");
    }
}

#[test]
fn choice_between_a_host_and_one_that_joins_and_is_as_good_is_left_to_chance() {
    let mut world = World::new();
    world.add_host("h0", "a", Resources::new(1000, 1000));
    world.add_definition("web", Resources::new(100, 100), None);
    world.add_service("web", |service| service.desired_count = 0);
    let new = |cpu, memory| {
        Change::AddHost(NewHost {
            name: "h1".to_owned(),
            capacity: Resources::new(cpu, memory),
            zone: Some("a".to_owned()),
            capacity_provider: None,
            attributes: Attributes::new(),
        })
    };
    let scale = |desired_count| Change::UpdateService {
        service: cluster().service("web"),
        desired_count: Some(desired_count),
        placement_strategy: None,
    };
    let drawn = |changes: &[Change]| ask(&world, changes).left_to_chance;
    assert_eq!(drawn(&[scale(1), new(1000, 1000)]), ["service:web"]);
    assert_eq!(drawn(&[scale(1), new(50, 50)]), Vec::<String>::new());
    assert_eq!(drawn(&[scale(1)]), Vec::<String>::new());
}

#[test]
fn tasks_that_were_missing_before_are_counted_by_themselves() {
    let mut world = World::new();
    for name in ["h1", "h2"] {
        world.add_host(name, "a", Resources::new(1000, 1000));
    }
    world.add_definition("web", Resources::new(100, 400), None);
    world.add_service("web", |service| service.desired_count = 5);
    world.pass_ms(30_000);
    let host = world.host("h2").expect("there");
    let web = &ask(&world, &[Change::LoseHost(host)]).services[0];
    assert_eq!((web.missed_before, web.misses()), (1, 3));
}

#[test]
fn tasks_that_are_being_moved_are_where_they_are_moved_to_before_anything_changes() {
    let mut world = World::new();
    for (name, zone) in [("h1", "a"), ("h2", "b")] {
        world.add_host(name, zone, Resources::new(1000, 1000));
    }
    world.add_definition("web", Resources::new(100, 300), None);
    world.add_service("web", |service| service.desired_count = 2);
    world.pass_ms(60_000);
    let (from, to) = (world.host("h1").expect("there"), world.host("h2").expect("there"));
    let task = world.state.tasks_of_instance(from).next().expect("on each one").id;
    let begin = Command::BeginRebalance(Box::new(Rebalance {
        cluster: cluster(),
        id: "r1".to_owned(),
        goal: RebalanceGoal::Defragment,
        at_a_time: 1,
        moves: vec![TaskMove {
            task,
            service: "web".into(),
            from,
            to,
            status: MoveStatus::Waiting,
        }],
        drain: vec![],
        drained: vec![],
        deadline: world.now.plus_ms(600_000),
        stopped: false,
        started_at: world.now,
        ended_at: None,
    }));
    world.apply(begin).expect("begun");
    let nothing = ask(&world, &[]);
    assert!(nothing.moves.is_empty(), "{nothing:#?}");
    assert_eq!(ask(&world, &[Change::LoseHost(from)]).moves, []);
    let lost = ask(&world, &[Change::LoseHost(to)]);
    let moved: Vec<_> = lost
        .moves
        .iter()
        .map(|found| (found.from.as_ref(), found.tasks))
        .collect();
    assert_eq!(
        moved,
        [(
            Some(&HostName {
                name: "h2".to_owned(),
                id: to
            }),
            2
        )]
    );
}

/// A cluster of 10,000 hosts in three zones, at rest with 100,000 tasks.
fn large() -> ClusterState {
    let mut world = World::new();
    for number in 0..10_000 {
        world.add_host(&format!("h{number}"), ZONES[number % 3], Resources::new(16_384, 65_536));
    }
    for number in 0..25 {
        let name = format!("service-{number}");
        world.add_definition(&name, Resources::new(64, 64), None);
        world.add_service(&name, |service| service.desired_count = 4_000);
    }
    let mut rehearsal = Rehearsal::of(&world.state, &cluster(), world.now, IdSource::from_seed(1));
    assert!(rehearsal.settle());
    rehearsal.state().clone()
}

#[test]
#[ignore = "a measurement: cargo test --release -p berth-core --lib what_if -- --ignored --nocapture"]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures time and prints it"
)]
fn predictions_on_a_large_cluster_take_so_long() {
    let state = large();
    let now = state
        .tasks_of_cluster(&cluster())
        .map(|task| task.created_at)
        .max()
        .expect("tasks")
        .plus_ms(120_000);
    let hosts: Vec<_> = state.container_instances_of(&cluster()).collect();
    let one = vec![Change::LoseHost(hosts[0].id)];
    let zone = hosts.iter().filter(|host| host.availability_zone() == Some("a"));
    let zone: Vec<Change> = zone.map(|host| Change::LoseHost(host.id)).collect();
    for (what, changes) in [("nothing", vec![]), ("a lost host", one), ("a lost zone", zone)] {
        let began = std::time::Instant::now();
        let outlook = predict(&state, &cluster(), &changes, now, IdSource::from_seed(7)).expect("can be made");
        println!(
            "{what}: {:.2} s, {} moves",
            began.elapsed().as_secs_f64(),
            outlook.moves.len()
        );
    }
}
