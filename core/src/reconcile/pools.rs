//! Services over capacity providers in the small world: where their tasks are, and that they stay divided whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::model::*;
use crate::state::Command;

use super::world::{World, cluster};

const POOLS: [&str; 2] = ["plain", "gpu"];

fn strategy(items: &[(&str, u32, u32)]) -> CapacityProviderStrategy {
    let item = |(name, base, weight): &(&str, u32, u32)| CapacityProviderStrategyItem {
        capacity_provider: (*name).into(),
        weight: *weight,
        base: *base,
    };
    items.iter().map(item).collect()
}

/// Hosts of each pool, one of none, and a service over the pools.
fn world(hosts: usize, strategy: CapacityProviderStrategy, desired: u32) -> World {
    let mut world = World::new();
    world.add_capacity_providers(&POOLS);
    for pool in POOLS {
        for number in 0..hosts {
            let zone = ["a", "b"][number % 2];
            world.add_host_of(
                &format!("{pool}-{number}"),
                zone,
                Resources::new(2048, 2048),
                Some(pool),
            );
        }
    }
    world.add_host("none", "a", Resources::new(8192, 8192));
    world.add_definition("web", Resources::new(256, 256), None);
    world.add_service("web", |service| {
        service.desired_count = desired;
        service.capacity_provider_strategy = strategy;
    });
    world.pass_ms(60_000);
    world
}

/// Tasks of the service that are wanted, by capacity provider; each must be on a host of it.
fn by_pool(world: &World) -> [usize; 2] {
    let mut counts = BTreeMap::<String, usize>::new();
    for task in world.state.live_tasks_of_service(&cluster().service("web")) {
        let host = task
            .container_instance
            .and_then(|id| world.state.container_instance(id));
        assert_eq!(task.capacity_provider, host.expect("placed").host.capacity_provider);
        if task.desired_status == DesiredStatus::Running {
            let pool = task.capacity_provider.as_ref().map(ToString::to_string);
            *counts.entry(pool.unwrap_or_default()).or_default() += 1;
        }
    }
    POOLS.map(|pool| counts.remove(pool).unwrap_or(0))
}

fn scale(world: &mut World, desired: u32) {
    world.update_service("web", Some(desired), None);
    world.pass_ms(60_000);
}

#[test]
fn service_over_two_pools_has_its_base_first_and_keeps_its_proportion_as_it_grows_and_shrinks() {
    let mut world = world(3, strategy(&[("plain", 2, 1), ("gpu", 0, 3)]), 1);
    let mut seen = vec![by_pool(&world)];
    for desired in [2, 6, 10, 6, 3, 2, 0] {
        scale(&mut world, desired);
        seen.push(by_pool(&world));
    }
    assert_eq!(seen, [[1, 0], [2, 0], [3, 3], [4, 6], [3, 3], [2, 1], [2, 0], [0, 0]]);
}

#[test]
fn pool_without_room_leaves_its_tasks_missing_until_there_is_and_says_so() {
    let mut world = world(1, strategy(&[("plain", 0, 1), ("gpu", 0, 1)]), 20);
    assert_eq!(
        by_pool(&world),
        [8, 8],
        "a pool does not take over what another has no room for"
    );
    let said = &world.service("web").events[0].message;
    assert!(said.contains("was unable to place a task"), "{said}");
    world.add_host_of("gpu-more", "a", Resources::new(2048, 2048), Some("gpu"));
    world.pass_ms(600_000);
    assert_eq!(by_pool(&world), [8, 10]);
    assert!(
        world
            .state
            .allocation(world.host("none").expect("there"))
            .groups()
            .next()
            .is_none()
    );
}

#[test]
fn other_strategy_moves_the_tasks_with_its_deployment() {
    let mut world = world(3, strategy(&[("plain", 0, 1)]), 4);
    assert_eq!(by_pool(&world), [4, 0]);
    world.change_service("web", |update| {
        update.capacity_provider_strategy = Some(strategy(&[("plain", 1, 0), ("gpu", 0, 1)]));
        update.force_new_deployment = true;
    });
    world.pass_ms(600_000);
    assert_eq!(by_pool(&world), [1, 3]);
    assert_eq!(world.service("web").deployments.len(), 1);
}

#[test]
fn host_that_changes_its_pool_keeps_its_tasks() {
    let mut world = world(1, strategy(&[("gpu", 0, 1)]), 2);
    let host = world.host("gpu-0").expect("there");
    world.add_host_of("gpu-0", "a", Resources::new(2048, 2048), Some("plain"));
    world.pass_ms(60_000);
    let web = cluster().service("web");
    let tasks = world.state.live_tasks_of_service(&web);
    let on: Vec<_> = tasks
        .map(|task| (task.container_instance, task.capacity_provider.clone()))
        .collect();
    assert_eq!(on, vec![(Some(host), Some("gpu".into())); 2]);
    world.update_service("web", Some(3), None);
    world.pass_ms(60_000);
    let said = &world.service("web").events[0].message;
    assert!(said.contains("is not in capacity provider gpu"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn service_over_pools_is_within_a_task_of_its_shares_whatever_happened(
        (base, weights) in (0..4u32, (1..5u32, 1..5u32)),
        steps in prop::collection::vec((0..20u32, prop::option::of(0..4usize), any::<bool>()), 1..8)
    ) {
        let mut world = world(3, strategy(&[("plain", base, weights.0), ("gpu", 0, weights.1)]), 4);
        for (desired, stopped, redeploys) in steps {
            let tasks: Vec<TaskId> = world.state.live_tasks_of_service(&cluster().service("web")).map(|t| t.id).collect();
            if let Some(task) = stopped.and_then(|nth| tasks.get(nth)) {
                let stop = Command::StopTasks {
                    tasks: vec![*task],
                    stop_code: StopCode::UserInitiated,
                    reason: String::new(),
                    at: world.now,
                };
                world.apply(stop).expect("stops");
                world.pass_ms(600_000);
            }
            world.change_service("web", |update| {
                update.desired_count = Some(desired);
                update.force_new_deployment = redeploys;
            });
            world.pass_ms(600_000);
            let [plain, gpu] = by_pool(&world).map(|count| count as i64);
            prop_assert_eq!(plain + gpu, i64::from(desired));
            let rest = i64::from(desired.saturating_sub(base));
            let (all, weight) = (i64::from(weights.0 + weights.1), i64::from(weights.1));
            prop_assert!((gpu * all - rest * weight).abs() < all, "{} of {} by {:?} and {}", gpu, desired, weights, base);
        }
    }
}
