//! What a plan comes to, in small pools.

use super::*;
use crate::model::Resources;

pub(super) fn host(number: u128, memory: u32, standing: Standing) -> PoolHost {
    let capacity = Resources::new(memory, memory);
    PoolHost {
        host: Host::idle(ContainerInstanceId(number), format!("h{number}"), capacity),
        standing,
    }
}

pub(super) fn demand(memory: u32, count: usize) -> Demand {
    let shape = crate::placement::Shape::of(Resources::new(1, memory));
    let ask = Ask {
        group: format!("service:{memory}"),
        shape,
        ..Ask::default()
    };
    Demand {
        ask: Arc::new(ask),
        count,
    }
}

pub(super) fn pool(hosts: Vec<PoolHost>, waiting: Vec<Demand>) -> Pool {
    Pool {
        hosts,
        waiting,
        daemons: vec![],
        scaling: ManagedScaling {
            enabled: true,
            ..ManagedScaling::default()
        },
        now: Timestamp(1_000),
    }
}

const ASLEEP: Standing = Standing::Asleep { since: Timestamp(0) };

fn idle(since: i64, from: i64) -> Standing {
    Standing::Idle {
        since: Timestamp(since),
        sleeps_from: Some(Timestamp(from)),
    }
}

fn ids(of: &[ContainerInstanceId]) -> Vec<u128> {
    of.iter().map(|id| id.0).collect()
}

/// A host of 1,024 MiB that has no room left.
fn full(number: u128) -> PoolHost {
    let mut full = host(number, 1024, Standing::Busy);
    full.host.free = Resources::new(0, 0);
    full
}

#[test]
fn as_many_hosts_are_woken_as_tasks_that_wait_fill() {
    let hosts = vec![
        full(1),
        host(2, 1024, ASLEEP),
        host(3, 1024, ASLEEP),
        host(4, 1024, ASLEEP),
    ];
    for (tasks, woken) in [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (50, 3)] {
        let plan = plan(&pool(hosts.clone(), vec![demand(512, tasks)]));
        assert_eq!(plan.wake.len(), woken, "{tasks} tasks");
        assert_eq!((plan.needed, plan.present), (1 + woken, 1));
    }
}

#[test]
fn room_on_hosts_that_are_there_or_about_to_be_is_used_before_one_is_woken() {
    let hosts = vec![
        host(1, 1024, idle(0, 0)),
        host(2, 1024, Standing::Waking),
        host(3, 1024, Standing::Emptying),
        host(4, 1024, ASLEEP),
    ];
    let stay = |tasks| {
        let plan = plan(&pool(hosts.clone(), vec![demand(1024, tasks)]));
        (ids(&plan.stay), ids(&plan.wake))
    };
    assert_eq!(stay(3), (vec![3], vec![]));
    assert_eq!(stay(4), (vec![3], vec![4]));
}

#[test]
fn host_on_which_a_task_would_not_fit_is_not_woken_for_it() {
    let hosts = vec![full(1), host(2, 512, ASLEEP), host(3, 2048, ASLEEP)];
    let one = plan(&pool(hosts.clone(), vec![demand(1024, 1)]));
    assert_eq!(ids(&one.wake), [3]);
    let none = plan(&pool(hosts, vec![demand(4096, 1)]));
    assert_eq!(
        none,
        Plan {
            needed: 1,
            present: 1,
            ..Plan::default()
        }
    );
}

#[test]
fn daemons_have_their_part_of_a_host_before_it_is_thought_to_have_room() {
    let mut pool = pool(
        vec![full(1), host(2, 1024, ASLEEP), host(3, 2048, ASLEEP)],
        vec![demand(1024, 1)],
    );
    pool.daemons = [2, 3]
        .map(|number| TaskRequest {
            only_hosts: Some([ContainerInstanceId(number)].into()),
            ..TaskRequest::new(TaskId(0), Arc::clone(&demand(64, 1).ask))
        })
        .into();
    assert_eq!(ids(&plan(&pool).wake), [3]);
}

#[test]
fn steps_are_no_smaller_and_no_larger_than_they_may_be() {
    let asleep = (2..12).map(|number| host(number, 1024, ASLEEP));
    let hosts: Vec<PoolHost> = std::iter::once(full(1)).chain(asleep).collect();
    let woken = |tasks: usize, more: Option<PoolHost>| {
        let mut pool = pool(hosts.iter().cloned().chain(more).collect(), vec![demand(1024, tasks)]);
        pool.scaling.minimum_step = 3;
        pool.scaling.maximum_step = 5;
        plan(&pool).wake.len()
    };
    assert_eq!([0, 1, 4, 9].map(|tasks| woken(tasks, None)), [0, 3, 4, 5]);
    // One is on its way already.
    let waking = || Some(host(20, 1024, Standing::Waking));
    assert_eq!([1, 2, 9].map(|tasks| woken(tasks, waking())), [0, 1, 4]);
}

#[test]
fn spare_hosts_are_kept_awake_as_the_target_says() {
    let hosts = |asleep: u128| -> Vec<PoolHost> {
        let asleep = (10..10 + asleep).map(|number| host(number, 1024, ASLEEP));
        [full(1), full(2), full(3)].into_iter().chain(asleep).collect()
    };
    for (target, woken) in [(100, 0), (90, 1), (75, 1), (60, 2), (50, 3), (1, 9)] {
        let mut pool = pool(hosts(9), vec![]);
        pool.scaling.target_capacity = target;
        assert_eq!(plan(&pool).wake.len(), woken, "{target} %");
    }
    // With nothing to do, nothing is needed.
    let mut pool = pool(vec![host(1, 1024, idle(0, 0)), host(2, 1024, ASLEEP)], vec![]);
    pool.scaling.target_capacity = 50;
    let none = plan(&pool);
    assert_eq!((ids(&none.sleep), ids(&none.wake)), (vec![1], vec![]));
}

#[test]
fn hosts_sleep_that_have_been_empty_longest_once_they_may() {
    let hosts = vec![
        full(1),
        host(2, 1024, idle(300, 900)),
        host(3, 1024, idle(200, 900)),
        host(4, 1024, idle(100, 2_000)),
        host(
            5,
            1024,
            Standing::Idle {
                since: Timestamp(0),
                sleeps_from: None,
            },
        ),
    ];
    let plan_at = |target| {
        let mut pool = pool(hosts.clone(), vec![]);
        pool.scaling.target_capacity = target;
        plan(&pool)
    };
    let all = plan_at(100);
    assert_eq!((ids(&all.sleep), all.again_at), (vec![3, 2], Some(Timestamp(2_000))));
    let one = plan_at(25);
    assert_eq!((ids(&one.sleep), one.again_at), (vec![3], None));
}

#[test]
fn idle_host_that_a_waiting_task_would_go_to_does_not_sleep() {
    let hosts = vec![host(1, 1024, idle(0, 0)), host(2, 1024, idle(0, 0))];
    assert_eq!(ids(&plan(&pool(hosts, vec![demand(512, 1)])).sleep).len(), 1);
}

#[test]
fn task_fits_where_a_host_has_room_for_it_beside_daemons() {
    let fits_on = |memory, asked| fits(&pool(vec![host(1, memory, ASLEEP)], vec![demand(asked, 1)]));
    assert!(fits_on(1024, 1024) && !fits_on(512, 1024));
    let mut with_daemon = pool(vec![host(1, 1024, ASLEEP)], vec![demand(1024, 1)]);
    with_daemon.daemons = vec![TaskRequest {
        only_hosts: Some([ContainerInstanceId(1)].into()),
        ..TaskRequest::new(TaskId(0), Arc::clone(&demand(64, 1).ask))
    }];
    assert!(!fits(&with_daemon));
}
