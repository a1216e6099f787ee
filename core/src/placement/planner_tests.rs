//! Whichever way a host is found, it is the one that a pass over all hosts finds.

use super::*;
use crate::model::{
    Attributes, BinpackResource, ContainerInstanceStatus, Manner, PlacementExtension, PlacementStrategy, Resources,
    TaskId, TaskStatus, Timestamp,
};
use crate::placement::{Shape, StopCandidate, service_default};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Hosts of several sizes and zones, some away, some that hold a port.
fn hosts() -> Vec<Host> {
    let host = |number: u32| {
        let id = ContainerInstanceId(u128::from(number));
        Host {
            attributes: Attributes::from([(
                "ecs.availability-zone".to_owned(),
                (number % 4 != 3).then(|| format!("zone-{}", number % 4)),
            )]),
            free: Resources::new(128 + 64 * (number % 7), 1024),
            agent_connected: number % 11 != 5,
            missing_daemon: None,
            tasks_by_group: BTreeMap::from([("service:web".to_owned(), number % 3)]),
            ..Host::idle(id, format!("host-{number}"), Resources::new(1024, 1024))
        }
    };
    (0..40).map(host).collect()
}

fn requests() -> Vec<TaskRequest> {
    let spread = |field: &str| PlacementStrategy::Spread {
        field: field.to_owned(),
    };
    let binpack = |resource| PlacementStrategy::Binpack { resource };
    let (cpu, memory) = (binpack(BinpackResource::Cpu), binpack(BinpackResource::Memory));
    let tightest = PlacementStrategy::Extension {
        extension: PlacementExtension::Tightest,
    };
    let zones = || spread("attribute:ecs.availability-zone");
    let strategies = [
        service_default(),
        vec![cpu.clone()],
        vec![zones(), cpu.clone()],
        vec![zones(), tightest],
        vec![spread("host"), zones()],
        vec![zones(), spread("host"), memory.clone(), cpu.clone()],
        // No order that is shared has these.
        vec![memory.clone(), spread("host")],
        vec![],
    ];
    let member = PlacementConstraint::MemberOf {
        expression: "attribute:ecs.availability-zone != zone-1".to_owned(),
    };
    let distinct = PlacementConstraint::DistinctInstance;
    let constraints = [
        vec![],
        vec![distinct.clone()],
        vec![member.clone()],
        vec![distinct, member],
    ];
    let ask = |number: usize| Ask {
        group: ["service:web", "service:api"][number / 5 % 2].to_owned(),
        shape: Shape::of(Resources::new([64, 16, 128][number / 10 % 3], 32)),
        constraints: constraints[(number / 3).min(number % 11) % 4].clone(),
        strategies: strategies[number % strategies.len()].clone(),
        ..Ask::default()
    };
    let request = |number: usize| TaskRequest {
        id: TaskId(number as u128),
        ask: Arc::new(ask(number)),
        only_hosts: number
            .is_multiple_of(13)
            .then(|| BTreeSet::from([ContainerInstanceId(4)])),
    };
    (0..700).map(request).collect()
}

#[test]
fn orders_choose_what_a_pass_over_all_hosts_does() {
    let problem = PlacementProblem {
        hosts: hosts(),
        requests: requests(),
        typical: None,
    };
    let hosts = problem.hosts.iter().cloned().map(Arc::new);
    let mut planner = Planner::new(hosts, problem.typical_tasks(), Seed(5));
    let (mut shared, mut own, mut unplaced) = (0, 0, 0);
    for request in &problem.requests {
        let kind = planner.kind_of(request);
        let by_pass = planner.pass_over(&planner.needs[kind], request);
        assert_eq!(planner.choose(kind, request), by_pass, "{request:?}");
        shared += usize::from(matches!(planner.ways[kind].road, Road::Shared(_)));
        own += usize::from(planner.ways[kind].candidates.is_some());
        unplaced += usize::from(matches!(planner.decide(request), Outcome::Unplaced(_)));
    }
    assert!(shared > 400 && own > 50 && unplaced > 50, "{shared} {own} {unplaced}");
}

/// Changes of a host: which, what is free there, whether its agent is connected, whether it drains, its tasks.
type Change = (usize, u32, bool, bool, u32);

fn change(host: &mut Host, (_, free, connected, drains, tasks): Change) {
    host.free.cpu.0 = free;
    host.agent_connected = connected;
    host.status = if drains {
        ContainerInstanceStatus::Draining
    } else {
        ContainerInstanceStatus::Active
    };
    host.tasks_by_group = BTreeMap::from([("service:api".to_owned(), tasks)]);
}

/// A task on each host that has some of the group.
fn candidates(hosts: &[Arc<Host>]) -> Vec<StopCandidate> {
    let has_some = |host: &&Arc<Host>| host.tasks_by_group.get("service:api").is_some_and(|tasks| *tasks > 0);
    let candidate = |host: &Arc<Host>| StopCandidate {
        task: TaskId(host.id.0),
        host: Some(host.id),
        status: TaskStatus::Running,
        created_at: Timestamp(0),
        holds: Holding {
            shape: Shape::of(Resources::new(1, 1)),
            ..Holding::default()
        },
    };
    hosts.iter().filter(has_some).map(candidate).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planner_brought_up_to_other_hosts_decides_as_one_made_anew(
        rounds in proptest::collection::vec(
            (proptest::collection::vec((0usize..40, 0u32..1024, any::<bool>(), any::<bool>(), 0u32..3), 0..8), 0usize..680),
            1..8,
        ),
        another_machine in proptest::option::of((0usize..8, 0usize..40)),
        gone in proptest::option::of((0usize..8, 0usize..40)),
    ) {
        let mut hosts: Vec<Arc<Host>> = hosts().into_iter().map(Arc::new).collect();
        let planner_for = |hosts: &[Arc<Host>], seed| Planner::new(hosts.iter().cloned(), TypicalTasks::default(), seed);
        let mut kept = planner_for(&hosts, Seed(0));
        let requests = requests();
        for (round, (changes, from)) in rounds.into_iter().enumerate() {
            let seed = Seed(round as u64);
            let mut changed = BTreeSet::new();
            for one in changes {
                let host = one.0 % hosts.len();
                change(Arc::make_mut(&mut hosts[host]), one);
                changed.insert(HostIndex::at(host));
            }
            match another_machine {
                Some((at, host)) if at == round => {
                    let host = host % hosts.len();
                    changed.insert(HostIndex::at(host));
                    let zone = Some("zone-9".to_owned());
                    Arc::make_mut(&mut hosts[host]).attributes.insert("ecs.availability-zone".to_owned(), zone);
                }
                _ => {}
            }
            match gone {
                Some((at, host)) if at == round => {
                    hosts.remove(host % hosts.len());
                    kept = planner_for(&hosts, seed);
                }
                _ => kept = kept.brought_up_to(&hosts, changed, TypicalTasks::default(), seed),
            }
            let mut anew = planner_for(&hosts, seed);
            let (candidates, strategies) = (candidates(&hosts), service_default());
            let scale_in = ScaleIn { group: "service:api", strategies: &strategies, candidates: &candidates, seed };
            prop_assert_eq!(kept.choose_to_stop(&scale_in, 3), anew.choose_to_stop(&scale_in, 3), "round {}", round);
            let requests = &requests[from..from + 20];
            let manner = [Manner::OneByOne, Manner::Together, Manner::InTurns][from % 3];
            prop_assert_eq!(kept.plan(requests, manner), anew.plan(requests, manner), "round {} {:?}", round, manner);
        }
    }
}

/// How often hosts are drawn.
fn cases() -> u32 {
    let wanted = std::env::var("BERTH_CASES").ok();
    wanted.map_or(100, |text| text.parse().expect("a number"))
}
