//! Whichever way a host is found, it is the one that a pass over all hosts finds.

use super::*;
use crate::model::{
    Attributes, BinpackResource, ContainerInstanceStatus, PlacementExtension, PlacementStrategy, Resources, TaskId,
    Timestamp,
};
use crate::placement::{Gpus, service_default};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts of several sizes and zones, some away, some that hold a port.
fn hosts() -> Vec<Host> {
    let host = |number: u32| Host {
        id: ContainerInstanceId(u128::from(number)),
        name: format!("host-{number}"),
        attributes: Attributes::from([(
            "ecs.availability-zone".to_owned(),
            (number % 4 != 3).then(|| format!("zone-{}", number % 4)),
        )]),
        registered: Resources::new(1024, 1024),
        free: Resources::new(128 + 64 * (number % 7), 1024),
        gpus: Gpus::default(),
        used_ports: Ports::new(),
        foreign_ports: Ports::new(),
        status: ContainerInstanceStatus::Active,
        agent_connected: number % 11 != 5,
        agent_version: String::new(),
        registered_at: Timestamp(0),
        running_tasks: 0,
        tasks_by_group: BTreeMap::from([("service:web".to_owned(), number % 3)]),
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
    let request = |number: usize| TaskRequest {
        id: TaskId(number as u128),
        group: ["service:web", "service:api"][number / 5 % 2].to_owned(),
        shape: Shape::of(Resources::new([64, 16, 128][number / 10 % 3], 32)),
        host_ports: Ports::new(),
        constraints: constraints[(number / 3).min(number % 11) % 4].clone(),
        strategies: strategies[number % strategies.len()].clone(),
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

#[test]
fn planner_brought_up_to_other_hosts_decides_as_one_made_anew() {
    let mut hosts: Vec<Arc<Host>> = hosts().into_iter().map(Arc::new).collect();
    let mut kept = Planner::new(hosts.iter().cloned(), TypicalTasks::default(), Seed(0));
    let requests = requests();
    for (round, requests) in (0_u32..).zip(requests.chunks(50)) {
        for (number, host) in (0_u32..)
            .zip(&mut hosts)
            .filter(|(number, _)| (number + round) % 7 == 0)
        {
            let changed = Arc::make_mut(host);
            changed.free.cpu.0 = 64 * (number + round) % 1024;
            changed.agent_connected = (number + round) % 5 != 0;
            changed.tasks_by_group = BTreeMap::from([("service:api".to_owned(), round % 3)]);
            if number % 3 == 0 {
                changed.status = match changed.status {
                    ContainerInstanceStatus::Active => ContainerInstanceStatus::Draining,
                    _ => ContainerInstanceStatus::Active,
                };
            }
        }
        if round == 8 {
            // Another machine under the same id.
            let changed = Arc::make_mut(&mut hosts[6]);
            changed
                .attributes
                .insert("ecs.availability-zone".to_owned(), Some("zone-9".to_owned()));
        }
        if round == 10 {
            hosts.remove(4);
        }
        let seed = Seed(u64::from(round));
        kept = kept.brought_up_to(&hosts, TypicalTasks::default(), seed);
        let anew = Planner::new(hosts.iter().cloned(), TypicalTasks::default(), seed).plan(requests);
        assert_eq!(kept.plan(requests), anew, "round {round}");
    }
}
