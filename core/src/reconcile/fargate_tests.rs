//! Services over ECS's own capacity providers in the small world: where their tasks are, and what becomes of them as a host drains.

use crate::model::*;
use crate::rebalance::{self, Wish};
use crate::state::Command;

use super::scenario_words::strategy_of;
use super::world::{World, cluster};

const ROOM: Resources = Resources {
    cpu: CpuUnits(4096),
    memory: MemoryMib(4096),
};

/// Hosts that offer one of the two, one that offers both, and one that offers none; a service over both.
fn world(desired: u32) -> World {
    let mut world = World::new();
    for (name, offers) in [
        ("steady", &["berth.fargate"] as &[&str]),
        ("spot", &["berth.fargate-spot"]),
        ("both", &["berth.fargate", "berth.fargate-spot"]),
        ("none", &[]),
    ] {
        world.add_host_offering(name, "a", ROOM, None, offers);
    }
    world.put_capacity_providers(&["FARGATE", "FARGATE_SPOT"]);
    world.add_definition("web", Resources::new(256, 256), None);
    world.add_service("web", |service| {
        service.desired_count = desired;
        service.capacity_provider_strategy = strategy_of("FARGATE:1,FARGATE_SPOT:1");
    });
    world.pass_ms(60_000);
    world
}

/// Of each task of the service that is wanted: its capacity provider, and the name of its host.
fn places(world: &World) -> Vec<(String, String)> {
    let web = cluster().service("web");
    let tasks = world.state.live_tasks_of_service(&web);
    let wanted = tasks.filter(|task| task.desired_status == DesiredStatus::Running);
    let place = |task: &std::sync::Arc<Task>| {
        let host = task
            .container_instance
            .and_then(|id| world.state.container_instance(id));
        let provider = task.capacity_provider.as_ref().map(ToString::to_string);
        (
            provider.unwrap_or_default(),
            host.expect("placed").host.host_name.clone(),
        )
    };
    wanted.map(place).collect()
}

fn drain(world: &mut World, name: &str) {
    let command = Command::UpdateContainerInstanceStatus {
        container_instance: world.host(name).expect("there"),
        status: ContainerInstanceStatus::Draining,
        at: Some(world.now),
    };
    world.apply(command).expect("drains");
}

#[test]
fn tasks_go_to_hosts_that_offer_their_capacity_provider_and_are_of_the_launch_type_fargate() {
    let world = world(8);
    let places = places(&world);
    for (provider, host) in &places {
        let fits = match provider.as_str() {
            "FARGATE" => ["steady", "both"].contains(&host.as_str()),
            _ => ["spot", "both"].contains(&host.as_str()),
        };
        assert!(fits, "{places:?}");
    }
    assert_eq!(places.iter().filter(|(provider, _)| provider == "FARGATE").count(), 4);
    let web = cluster().service("web");
    let mut tasks = world.state.live_tasks_of_service(&web);
    assert!(tasks.all(|task| task.launch_type.as_deref() == Some(FARGATE)));
}

#[test]
fn drained_host_interrupts_its_spot_tasks_even_protected_ones_and_no_others_and_no_failure_is_counted() {
    let mut world = world(8);
    let both = world.host("both").expect("there");
    let on_both: Vec<_> = world.state.tasks_of_instance(both).cloned().collect();
    let (spot, steady): (Vec<_>, Vec<_>) = on_both
        .into_iter()
        .partition(|task| task.capacity_provider == Some("FARGATE_SPOT".into()));
    assert!(!spot.is_empty() && !steady.is_empty());
    let protect = Command::UpdateTaskProtection {
        tasks: spot.iter().map(|task| task.id).collect(),
        protected_until: Some(world.now.plus_ms(3_600_000)),
        at: world.now,
    };
    world.apply(protect).expect("protects");
    drain(&mut world, "both");
    world.reconcile();
    for task in &spot {
        let task = world.state.task(task.id).expect("remembered");
        assert_eq!(
            (task.desired_status, task.stop_code),
            (DesiredStatus::Stopped, Some(StopCode::SpotInterruption))
        );
        assert_eq!(task.stopped_reason.as_deref(), Some("Your Spot Task was interrupted."));
    }
    for task in &steady {
        let task = world.state.task(task.id).expect("remembered");
        assert_eq!(task.desired_status, DesiredStatus::Running, "moves as others do");
    }
    world.pass_ms(600_000);
    let places = places(&world);
    assert_eq!(places.len(), 8);
    assert!(places.iter().all(|(_, host)| host != "both"), "{places:?}");
    assert_eq!(world.service("web").deployments[0].failed_tasks, 0);
}

#[test]
fn strategy_that_ends_leaves_the_launch_type_that_its_capacity_providers_had() {
    let mut world = world(2);
    world.change_service("web", |update| {
        update.capacity_provider_strategy = Some(vec![]);
        update.force_new_deployment = true;
    });
    let service = world.service("web");
    assert_eq!(
        (service.launch_type.as_deref(), service.capacity_provider_strategy.len()),
        (Some(FARGATE), 0)
    );
    world.pass_ms(600_000);
    let hosts: Vec<String> = places(&world).into_iter().map(|(_, host)| host).collect();
    assert!(hosts.iter().all(|host| host != "none" && host != "spot"), "{hosts:?}");
}

#[test]
fn task_is_not_moved_to_a_host_that_does_not_offer_its_capacity_provider() {
    let mut world = World::new();
    for (name, offers) in [("steady", "berth.fargate"), ("spot", "berth.fargate-spot")] {
        world.add_host_offering(name, "a", ROOM, None, &[offers]);
    }
    world.put_capacity_providers(&["FARGATE", "FARGATE_SPOT"]);
    world.add_definition("web", Resources::new(256, 256), None);
    world.add_service("web", |service| {
        service.desired_count = 4;
        service.capacity_provider_strategy = strategy_of("FARGATE:3,FARGATE_SPOT:1");
    });
    world.pass_ms(600_000);
    let wish = Wish {
        goal: RebalanceGoal::Defragment,
        services: Default::default(),
        max_moves: 10,
    };
    assert_eq!(rebalance::moves(&world.state, &cluster(), &wish, world.now), []);
}
