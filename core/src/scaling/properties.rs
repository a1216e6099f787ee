//! What holds of every plan.

use proptest::prelude::*;

use super::tests::{demand, host, pool};
use super::*;

fn standing() -> impl Strategy<Value = Standing> {
    let time = 0..2_000i64;
    prop_oneof![
        3 => Just(Standing::Busy),
        3 => (time.clone(), prop::option::of(time.clone())).prop_map(|(since, from)| Standing::Idle {
            since: Timestamp(since),
            sleeps_from: from.map(Timestamp),
        }),
        1 => Just(Standing::Emptying),
        1 => Just(Standing::Waking),
        4 => time.prop_map(|since| Standing::Asleep { since: Timestamp(since) }),
    ]
}

fn pools() -> impl Strategy<Value = Pool> {
    let hosts = prop::collection::vec((prop::sample::select(vec![512, 1024, 2048]), standing()), 0..24);
    let waiting = prop::collection::vec((prop::sample::select(vec![100, 500, 1000, 3000]), 0..12usize), 0..4);
    let scaling = (1..=100u32, 1..6u32, 0..10u32).prop_map(|(target_capacity, minimum_step, more)| ManagedScaling {
        enabled: true,
        target_capacity,
        minimum_step,
        maximum_step: minimum_step + more,
        warmup_secs: 0,
    });
    (hosts, waiting, scaling).prop_map(|(hosts, waiting, scaling)| {
        let hosts = (0..)
            .zip(hosts)
            .map(|(number, (memory, standing))| host(number, memory, standing));
        let waiting = waiting.into_iter().map(|(memory, count)| demand(memory, count));
        Pool {
            scaling,
            ..pool(hosts.collect(), waiting.collect())
        }
    })
}

fn standing_of(pool: &Pool, id: ContainerInstanceId) -> Standing {
    let found = pool.hosts.iter().find(|host| host.host.id == id);
    found.expect("it is one of the pool").standing
}

/// The pool as it is once the plan has come about, as far as hosts do what they are told.
fn carried_out(pool: &Pool, plan: &Plan) -> Pool {
    let mut after = pool.clone();
    for host in &mut after.hosts {
        let idle = Standing::Idle {
            since: pool.now,
            sleeps_from: None,
        };
        let id = host.host.id;
        if plan.wake.contains(&id) || plan.stay.contains(&id) {
            host.standing = idle;
        } else if plan.sleep.contains(&id) {
            host.standing = Standing::Asleep { since: pool.now };
        }
    }
    after
}

proptest! {
    #![proptest_config(crate::reconcile::world::cases(256))]

    #[test]
    fn only_hosts_without_tasks_that_may_sleep_are_put_to_sleep_and_only_sleeping_ones_are_called(pool in pools()) {
        let plan = plan(&pool);
        for id in &plan.sleep {
            let may = matches!(standing_of(&pool, *id), Standing::Idle { sleeps_from: Some(from), .. } if from <= pool.now);
            prop_assert!(may);
        }
        for id in &plan.wake {
            let is_asleep = matches!(standing_of(&pool, *id), Standing::Asleep { .. });
            prop_assert!(is_asleep);
        }
        for id in &plan.stay {
            prop_assert_eq!(standing_of(&pool, *id), Standing::Emptying);
        }
        prop_assert!(plan.sleep.is_empty() || plan.wake.is_empty(), "at cross purposes");
    }

    #[test]
    fn no_more_hosts_are_woken_than_are_needed_and_no_fewer_than_there_are(pool in pools()) {
        let plan = plan(&pool);
        let count = |of: fn(&Standing) -> bool| pool.hosts.iter().filter(|host| of(&host.standing)).count();
        let asleep = count(|standing| matches!(standing, Standing::Asleep { .. }));
        let waking = count(|standing| *standing == Standing::Waking);
        let target = (plan.needed * 100).div_ceil(pool.scaling.target_capacity as usize);
        let least = if waking == 0 { pool.scaling.minimum_step as usize } else { 1 };
        let most = (pool.scaling.maximum_step as usize).saturating_sub(waking);
        prop_assert!(plan.wake.len() <= most);
        // Beyond the target only to fill a step, or for tasks that fit on none of the idle hosts.
        let tasks: usize = pool.waiting.iter().map(|demand| demand.count).sum();
        let lacking = target.saturating_sub(plan.present + plan.stay.len());
        prop_assert!(plan.wake.len() <= lacking.max(tasks).max(least));
        prop_assert!(tasks > 0 || plan.wake.len() <= lacking.max(least));
        if lacking == 0 && tasks == 0 {
            prop_assert!(plan.wake.is_empty());
        }
        prop_assert!(plan.wake.len() >= lacking.min(asleep).min(most));
    }

    #[test]
    fn where_nothing_waits_it_is_enough_to_know_where_hosts_stand(pool in pools()) {
        let pool = Pool { waiting: vec![], ..pool };
        let mut bare = pool.clone();
        for host in &mut bare.hosts {
            host.host = Host::idle(host.host.id, "", crate::model::Resources::new(0, 0));
        }
        prop_assert_eq!(plan(&pool), plan(&bare));
    }

    #[test]
    fn a_pool_of_equal_hosts_that_has_what_it_needs_is_left_alone(pool in pools()) {
        let mut pool = pool;
        for host in &mut pool.hosts {
            let id = host.host.id;
            host.host = super::tests::host(id.0, 1024, Standing::Busy).host;
        }
        // Every step may be as large as it has to be, and the smallest one is no larger.
        pool.scaling.minimum_step = 1;
        pool.scaling.maximum_step = 10_000;
        let first = plan(&pool);
        let second = plan(&carried_out(&pool, &first));
        prop_assert!(second.wake.is_empty(), "{:?} and then {:?}", first, second);
        prop_assert!(second.stay.is_empty(), "{:?} and then {:?}", first, second);
    }
}
