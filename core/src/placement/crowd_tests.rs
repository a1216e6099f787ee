//! Which hosts are closest, found by what is alike of them, is what a look at every host finds.

use super::*;
use crate::model::{
    Attributes, ContainerInstanceId, ContainerInstanceStatus, PlacementConstraint, Resources, TaskId, TransportProtocol,
};
use crate::placement::distance::Distance;
use crate::placement::plan::{Outcome, RefusedHost, Unplaced};
use crate::placement::planner::Planner;
use crate::placement::{Ask, GpuNeed, Gpus, Host, Seed, Shape, TaskRequest, TypicalTasks};
use std::sync::Arc;

const HOSTS: u32 = 900;

/// Hosts without room for most, of many sorts: some drain, are away, make room, wait for a daemon, hold a port, have GPUs or are of another pool.
fn hosts(sorts: u32) -> Vec<Arc<Host>> {
    let host = |number: u32| {
        let sort = number * 7 % sorts;
        Arc::new(Host {
            attributes: Attributes::from([("disk".to_owned(), (number % 3 != 1).then(|| format!("d{}", number % 5)))]),
            capacity_provider: (number % 4 == 2).then(|| "spot".into()),
            free: Resources::new(sort % 40, 60 + sort % 23),
            gpus: Gpus::idle(["T4", "A10"][number as usize % 2], usize::from(number % 6 == 5)),
            used_ports: (number % 8 == 1)
                .then_some((TransportProtocol::Tcp, 80))
                .into_iter()
                .collect(),
            foreign_ports: (number % 9 == 1)
                .then_some((TransportProtocol::Tcp, 80))
                .into_iter()
                .collect(),
            status: match number % 31 {
                0 => ContainerInstanceStatus::Draining,
                _ => ContainerInstanceStatus::Active,
            },
            agent_connected: number % 29 != 3,
            makes_room_for: (number % 13 == 4).then(|| ["web", "db"][number as usize % 2].into()),
            missing_daemon: (number % 17 == 6).then(|| "logs".to_owned()),
            tasks_by_group: [("service:web".to_owned(), number % 2)].into(),
            ..Host::idle(
                ContainerInstanceId(u128::from(number)),
                format!("host-{number}"),
                Resources::new(100, 100),
            )
        })
    };
    (0..HOSTS).map(host).collect()
}

/// What no host takes.
fn requests() -> Vec<TaskRequest> {
    let of = |group: &str, cpu: u32, memory: u32| Ask {
        group: group.to_owned(),
        shape: Shape::of(Resources::new(cpu, memory)),
        ..Ask::default()
    };
    let member = |expression: &str| PlacementConstraint::MemberOf {
        expression: expression.to_owned(),
    };
    let web = of("service:web", 50, 10);
    let asks = [
        web.clone(),
        of("service:db", 10, 90),
        of("service:other", 60, 95),
        of("daemon:logs", 45, 70),
        Ask {
            capacity_provider: Some("spot".into()),
            ..web.clone()
        },
        Ask {
            capacity_provider: Some("nobody".into()),
            ..of("service:web", 1, 1)
        },
        Ask {
            host_ports: [(TransportProtocol::Tcp, 80)].into(),
            ..web.clone()
        },
        Ask {
            constraints: vec![PlacementConstraint::DistinctInstance, member("attribute:disk == d1")],
            ..web.clone()
        },
        Ask {
            constraints: vec![member("attribute:disk == nowhere")],
            ..of("family:batch", 1, 1)
        },
        Ask {
            constraints: vec![member("not an expression")],
            ..of("family:batch", 1, 1)
        },
        Ask {
            constraints: vec![PlacementConstraint::Attribute {
                name: "disk".to_owned(),
                values: vec!["d2".to_owned()],
            }],
            ..web.clone()
        },
        Ask {
            shape: Shape {
                gpu: GpuNeed::Devices(1),
                gpu_models: ["A10".to_owned()].into(),
                ..web.shape.clone()
            },
            ..web
        },
    ];
    let request = |(number, ask)| TaskRequest::new(TaskId(number as u128), ask);
    let any = asks.into_iter().enumerate().map(request);
    let any: Vec<TaskRequest> = any.collect();
    let some = any.iter().map(|request| TaskRequest {
        only_hosts: Some((0..300).step_by(2).map(ContainerInstanceId).collect()),
        ..request.clone()
    });
    any.iter().cloned().chain(some).collect()
}

/// The same by a look at every host.
fn by_all(planner: &mut Planner, request: &TaskRequest) -> (Vec<RefusedHost>, usize, Vec<ContainerInstanceId>) {
    let considered = planner.considered(request);
    let (need, board) = planner.need_of(request);
    let refused = considered.into_iter().map(|host| RefusedHost {
        host: board.id(host),
        name: board.host(host).name.clone(),
        refusals: filter::refusals(board, need, host),
    });
    let mut refused: Vec<RefusedHost> = refused.collect();
    assert!(refused.iter().all(|host| !host.refusals.is_empty()), "{request:?}");
    refused.sort_by_cached_key(Distance::of);
    let makes_room = |refusal: &Refusal| matches!(refusal, Refusal::MakesRoom(by) if by.as_str() == need.service());
    let lack_room = |host: &&RefusedHost| host.refusals.iter().all(|r| r.is_of_room() || makes_room(r));
    let (making, lacking): (Vec<_>, Vec<_>) = refused
        .iter()
        .filter(lack_room)
        .partition(|host| host.refusals.iter().any(makes_room));
    let lack_room = making.into_iter().chain(lacking.into_iter().take(MAX_LACKING_ROOM));
    let lack_room = lack_room.map(|host| host.host).collect();
    let others = refused.len().saturating_sub(MAX_CLOSEST);
    refused.truncate(MAX_CLOSEST);
    (refused, others, lack_room)
}

fn unplaced(planner: &mut Planner, request: &TaskRequest) -> Arc<Unplaced> {
    match planner.decide(request) {
        Outcome::Unplaced(why) => why,
        Outcome::Placed(placement) => panic!("{request:?} fits on {}", placement.host()),
    }
}

#[test]
fn hosts_that_are_told_of_are_those_that_a_look_at_every_host_finds_closest() {
    for sorts in [3, 50, HOSTS] {
        let mut planner = Planner::new(hosts(sorts).into_iter(), TypicalTasks::default(), Seed(1));
        let (mut cut, mut making) = (0, 0);
        for request in requests() {
            let by_all = by_all(&mut planner, &request);
            let why = unplaced(&mut planner, &request);
            assert_eq!(
                (&why.hosts, why.others, &why.lack_room),
                (&by_all.0, by_all.1, &by_all.2),
                "{request:?}"
            );
            cut += usize::from(why.others > 0);
            making += usize::from(why.lack_room.len() > MAX_LACKING_ROOM);
        }
        assert!(cut >= 20 && making >= 2, "{cut} {making}");
    }
}

#[test]
fn hosts_that_are_alike_are_looked_at_once_however_many_there_are() {
    let full = |count: u128| {
        let host = |id| Host {
            free: Resources::new(10, u32::try_from(id % 3).expect("small")),
            ..Host::idle(
                ContainerInstanceId(id),
                format!("host-{id}"),
                Resources::new(1_000, 1_000),
            )
        };
        (0..count).map(move |id| Arc::new(host(id)))
    };
    let looks = |count: u128| {
        let mut planner = Planner::new(full(count), TypicalTasks::default(), Seed(1));
        let ask = |number: u32| Ask {
            group: format!("service:{number}"),
            shape: Shape::of(Resources::new(100 + number, 100)),
            ..Ask::default()
        };
        let mut requests = (0..100).map(|number| TaskRequest::new(TaskId(u128::from(number)), ask(number)));
        // Of the first it is not known that there are others.
        unplaced(&mut planner, &requests.next().expect("one"));
        planner.take_looks();
        for request in requests {
            assert!(!planner.has_host_for(&request));
            unplaced(&mut planner, &request);
        }
        planner.take_looks()
    };
    let few = looks(1_000);
    assert!(few < 99 * 800, "{few}");
    assert_eq!(looks(4_000), few, "nothing more for more hosts");
}
