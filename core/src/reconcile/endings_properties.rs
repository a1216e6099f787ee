//! Properties of how things end, whatever happened on the way: a revision that cannot run is given up by its circuit breaker, and a service is level
//! over zones again.

use proptest::prelude::*;

use crate::model::*;

use super::properties::{HOSTS, HOUR_MS, Step, check, is_held_by_configuration, perform, step, world};
use super::world::{World, cases, cluster, definition};

/// Starts that fail are repeated ever more slowly, at last every quarter of an hour.
const HOURS: usize = 12;

/// Tasks that must fail before a circuit breaker acts, at least.
const FAILURES: usize = 3;

/// A service one revision of which has completed, and that has begun another whose tasks end as soon as they run.
fn world_with_a_broken_revision(desired: u32, limits: (u32, u32), rollback: bool) -> World {
    let mut world = world(desired, limits.0, limits.1);
    world.pass_ms(HOUR_MS);
    let breaker = CircuitBreaker {
        enable: true,
        rollback,
        ..CircuitBreaker::default()
    };
    world.change_service("web", |update| {
        update.deployment_configuration.circuit_breaker = Some(breaker)
    });
    let revision = world.add_definition("web", Resources::new(256, 256), None);
    world.broken.insert(("web".to_owned(), revision));
    world.update_service("web", None, Some(revision));
    world
}

/// Brings every host back, and lets time pass until nothing is left to happen.
fn come_to_rest(world: &mut World) {
    for host in 0..HOSTS {
        perform(world, &Step::Reconnect(host));
        perform(world, &Step::Activate(host));
    }
    for _ in 0..HOURS {
        world.pass_ms(HOUR_MS);
    }
}

/// What happens beside the deployment, which is never replaced by another. A task on a host that is cut off would look as if it ran on.
fn other_step() -> impl Strategy<Value = Step> {
    step().prop_filter(
        "no other revision, tasks that are wanted, and hosts that tell of them",
        |step| !matches!(step, Step::NewRevision | Step::Scale(0) | Step::Cut(_)),
    )
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn revision_that_cannot_run_is_given_up_and_what_ran_before_runs(
        steps in proptest::collection::vec(other_step(), 0..30),
        desired in 1u32..14,
        limits in prop_oneof![Just((100, 200)), Just((50, 100)), Just((50, 200)), Just((0, 100)), Just((75, 150))],
        rollback in any::<bool>(),
    ) {
        let mut world = world_with_a_broken_revision(desired, limits, rollback);
        for step in &steps {
            if matches!(step, Step::Pass(_)) {
                // Tasks that end as soon as they run have ended by then.
                world.quiesce();
            }
            perform(&mut world, step);
            world.reconcile_checking(check);
        }
        come_to_rest(&mut world);
        let service = world.service("web");
        if is_held_by_configuration(service) {
            return Ok(());
        }
        let ended = service.service_deployments.front().expect("a deployment");
        // Whoever kills as many tasks of what is returned to as the circuit breaker allows ends that too.
        let killed = steps.iter().filter(|step| matches!(step, Step::Kill(..))).count();
        if rollback && killed >= FAILURES && ended.status == ServiceDeploymentStatus::RollbackFailed {
            return Ok(());
        }
        let expected = match rollback {
            true => ServiceDeploymentStatus::RollbackSuccessful,
            false => ServiceDeploymentStatus::Stopped,
        };
        prop_assert_eq!(ended.status, expected, "{:?}", service.events.back());
        if rollback {
            let tasks: Vec<_> = world.state.live_tasks_of_service(&service.key).collect();
            prop_assert_eq!(tasks.len(), usize::try_from(service.desired_count).expect("small"));
            prop_assert!(tasks.iter().all(|task| task.task_definition == definition("web", 1)));
            prop_assert!(service.steady);
        }
    }

    #[test]
    fn service_is_level_over_zones_some_time_after_whatever_happened(
        steps in proptest::collection::vec(step(), 1..30),
        desired in 0u32..14,
        limits in prop_oneof![Just((100, 200)), Just((50, 200)), Just((75, 150))],
    ) {
        let mut world = world(desired, limits.0, limits.1);
        world.change_service("web", |update| update.zone_rebalancing = Some(true));
        for step in &steps {
            perform(&mut world, step);
            world.reconcile_checking(check);
        }
        come_to_rest(&mut world);
        let zones = world.by_zone("web");
        let counts = ["a", "b", "c"].map(|zone| zones.get(zone).copied().unwrap_or(0));
        let skew = counts.iter().max().expect("zones") - counts.iter().min().expect("zones");
        let web = cluster().service("web");
        let is_protected = world.state.live_tasks_of_service(&web).any(|task| task.is_protected(world.now));
        prop_assert!(skew <= 1 || is_protected, "{counts:?}, {:?}", world.service("web").events.back());
    }
}
