//! Properties of placement that hold for every problem, checked against rules written down here a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::model::{
    BinpackResource, ContainerInstanceId, ContainerInstanceStatus, PlacementConstraint, PlacementExtension,
    PlacementStrategy, Resources, TaskId, TaskStatus, Timestamp, TransportProtocol,
};
use berth_core::placement::query_language::Expression;
use berth_core::placement::{
    Ask, GpuDevice, GpuNeed, GpuSet, Gpus, Holding, Host, HostVerdict, Outcome, PlacementProblem, ScaleIn, Seed, Shape,
    StopCandidate, TaskRequest, WHOLE_GPU, choose_to_stop, explain, place, place_together, service_default,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Problems that are drawn for each property, unless this variable says how many.
const CASES: u32 = 400;
const CASES_VARIABLE: &str = "BERTH_CASES";

fn cases() -> u32 {
    let wanted = std::env::var(CASES_VARIABLE).ok();
    wanted.map_or(CASES, |text| text.parse().expect("a number"))
}

const ZONE: &str = "ecs.availability-zone";
const POOLS: [Option<&str>; 3] = [None, Some("plain"), Some("gpu")];
const GROUPS: [&str; 3] = ["service:web", "service:db", "family:batch"];

fn host(id: u128, zone: Option<&str>, registered: Resources) -> Host {
    Host {
        attributes: zone
            .map(|z| (ZONE.to_owned(), Some(z.to_owned())))
            .into_iter()
            .collect(),
        ..Host::idle(ContainerInstanceId(id), format!("host-{id}"), registered)
    }
}

prop_compose! {
    fn any_host()(
        zone in select(vec![None, Some("a"), Some("b"), Some("c")]),
        disk in select(vec![None, Some("ssd"), Some("hdd")]),
        pool in select(POOLS.to_vec()),
        registered in (0u32..3, 0u32..3),
        free in (0u32..=100, 0u32..=100),
        port in proptest::option::of(80u16..83),
        (active, connected) in (proptest::bool::weighted(0.85), proptest::bool::weighted(0.85)),
        tasks in proptest::collection::btree_map(select(GROUPS.to_vec()), 0u32..3, 0..3),
        (model, gpus) in (select(vec!["T4", "A10"]), proptest::collection::vec(select(vec![0u16, 200, 500, 1000]), 0..4)),
    ) -> Host {
        let registered = Resources::new(registered.0 * 512, registered.1 * 1024);
        let mut host = host(0, zone, registered);
        host.capacity_provider = pool.map(Into::into);
        host.free = Resources::new(registered.cpu.0 * free.0 / 100, registered.memory.0 * free.1 / 100);
        host.attributes.extend(disk.map(|d| ("disk".to_owned(), Some(d.to_owned()))));
        host.used_ports = port.map(|p| (TransportProtocol::Tcp, p)).into_iter().collect();
        host.gpus = Gpus {
            devices: gpus.into_iter().map(|free| GpuDevice { registered: WHOLE_GPU, free }).collect(),
            ..Gpus::idle(model, 0)
        };
        host.agent_connected = connected;
        host.tasks_by_group = tasks.into_iter().map(|(group, n)| (group.to_owned(), n)).collect();
        if !active {
            host.status = ContainerInstanceStatus::Draining;
        }
        host
    }
}

fn any_strategy() -> impl Strategy<Value = PlacementStrategy> {
    let spread = |field: &str| PlacementStrategy::Spread {
        field: field.to_owned(),
    };
    let beyond = PlacementExtension::ALL.map(|extension| PlacementStrategy::Extension { extension });
    let of_ecs = vec![
        PlacementStrategy::Random,
        spread("instanceId"),
        spread("attribute:ecs.availability-zone"),
        spread("attribute:disk"),
        PlacementStrategy::Binpack {
            resource: BinpackResource::Cpu,
        },
        PlacementStrategy::Binpack {
            resource: BinpackResource::Memory,
        },
    ];
    prop_oneof![select(of_ecs), select(beyond.to_vec())]
}

fn any_constraints() -> impl Strategy<Value = Vec<PlacementConstraint>> {
    let member_of = |text: &str| PlacementConstraint::MemberOf {
        expression: text.to_owned(),
    };
    let all = vec![
        PlacementConstraint::DistinctInstance,
        member_of("attribute:disk == ssd"),
        member_of("attribute:ecs.availability-zone in [a, b] or attribute:disk !exists"),
        member_of("task:group == service:web"),
        member_of("not(task:group == service:db)"),
        PlacementConstraint::Attribute {
            name: "disk".to_owned(),
            values: vec!["ssd".to_owned()],
        },
    ];
    prop_oneof![2 => Just(vec![]), 3 => subsequence(all, 1..3)]
}

prop_compose! {
    fn any_request()(
        group in select(GROUPS.to_vec()),
        resources in (select(vec![0u32, 64, 200, 513]), select(vec![0u32, 100, 300, 1025])),
        port in proptest::option::weighted(0.3, 80u16..83),
        pool in proptest::option::weighted(0.4, select(POOLS.to_vec())),
        constraints in any_constraints(),
        strategies in proptest::collection::vec(any_strategy(), 0..4),
        (gpu, models) in (
            select(vec![GpuNeed::None, GpuNeed::None, GpuNeed::Share(300), GpuNeed::Devices(1), GpuNeed::Devices(2)]),
            proptest::option::weighted(0.3, select(vec!["T4", "A10"])),
        ),
        only in proptest::option::weighted(0.15, proptest::collection::btree_set(0u128..12, 0..4)),
    ) -> TaskRequest {
        let ask = Ask {
            group: group.to_owned(),
            shape: Shape {
                resources: Resources::new(resources.0, resources.1),
                gpu,
                gpu_models: models.into_iter().map(str::to_owned).collect(),
            },
            host_ports: port.map(|p| (TransportProtocol::Tcp, p)).into_iter().collect(),
            capacity_provider: pool.flatten().map(Into::into),
            constraints,
            strategies,
        };
        TaskRequest {
            only_hosts: only.map(|ids| ids.into_iter().map(ContainerInstanceId).collect()),
            ..TaskRequest::new(TaskId(0), ask)
        }
    }
}

fn any_problem() -> impl Strategy<Value = PlacementProblem> {
    let hosts = proptest::collection::vec(any_host(), 0..10);
    let kinds = proptest::collection::vec((any_request(), 1usize..6), 0..8);
    (hosts, kinds, any::<bool>()).prop_map(|(mut hosts, kinds, interleaved)| {
        for (id, host) in hosts.iter_mut().enumerate() {
            host.id = ContainerInstanceId(id as u128);
        }
        let mut requests: Vec<TaskRequest> = if interleaved {
            let round = |n: usize| {
                kinds
                    .iter()
                    .filter(move |(_, count)| *count > n)
                    .map(|(kind, _)| kind.clone())
            };
            (0..6).flat_map(round).collect()
        } else {
            kinds.into_iter().flat_map(|(kind, count)| vec![kind; count]).collect()
        };
        for (id, request) in requests.iter_mut().enumerate() {
            request.id = TaskId(id as u128);
        }
        PlacementProblem {
            hosts,
            requests,
            typical: None,
        }
    })
}

/// Whether the host may take the task, by the book.
fn may_take(host: &Host, request: &TaskRequest) -> bool {
    let allowed = |constraint: &PlacementConstraint| match constraint {
        PlacementConstraint::DistinctInstance => host.tasks_by_group.get(&request.group).is_none_or(|n| *n == 0),
        PlacementConstraint::MemberOf { .. } | PlacementConstraint::Attribute { .. } => constraint
            .expression()
            .expect("one")
            .parse::<Expression>()
            .expect("an expression")
            .holds_for(&host.facts()),
    };
    let need = request.shape.gpu;
    let devices = host
        .gpus
        .devices
        .iter()
        .filter(|gpu| gpu.free >= need.per_device())
        .count();
    let named = &request.shape.gpu_models;
    let has_gpus =
        need == GpuNeed::None || devices >= need.devices() && (named.is_empty() || named.contains(&host.gpus.model));
    host.status == ContainerInstanceStatus::Active
        && has_gpus
        && host.agent_connected
        && (request.capacity_provider.is_none() || host.capacity_provider == request.capacity_provider)
        && host.free.checked_sub(request.shape.resources).is_some()
        && host.used_ports.is_disjoint(&request.host_ports)
        && request.only_hosts.as_ref().is_none_or(|only| only.contains(&host.id))
        && request.constraints.iter().all(allowed)
}

fn put(host: &mut Host, request: &TaskRequest, gpus: GpuSet) {
    host.free = host.free.checked_sub(request.shape.resources).expect("it fits");
    assert_eq!(gpus.iter().count(), request.shape.gpu.devices());
    for device in gpus.iter() {
        let free = &mut host.gpus.devices[device].free;
        *free = free.checked_sub(request.shape.gpu.per_device()).expect("it fits");
    }
    host.used_ports.extend(&request.host_ports);
    *host.tasks_by_group.entry(request.group.clone()).or_default() += 1;
}

fn zone_of(host: &Host) -> String {
    host.attributes.get(ZONE).cloned().flatten().unwrap_or_default()
}

/// The largest difference between zones in their tasks of the group.
fn skew(hosts: &[Host], group: &str) -> u32 {
    let mut zones = BTreeMap::<String, u32>::new();
    for host in hosts {
        *zones.entry(zone_of(host)).or_default() += host.tasks_by_group.get(group).copied().unwrap_or(0);
    }
    zones.values().max().unwrap_or(&0) - zones.values().min().unwrap_or(&0)
}

fn service_requests(count: usize, group: &str) -> Vec<TaskRequest> {
    let ask = Arc::new(Ask {
        group: group.to_owned(),
        shape: Shape::of(Resources::new(1, 1)),
        strategies: service_default(),
        ..Ask::default()
    });
    let request = |id| TaskRequest::new(TaskId(id as u128), Arc::clone(&ask));
    (0..count).map(request).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plan_of_any_problem_keeps_to_capacity_and_constraints_and_places_what_it_can(
        problem in any_problem(), seed: u64,
    ) {
        let plan = place(&problem, Seed(seed));
        let mut hosts = problem.hosts.clone();
        prop_assert_eq!(plan.decisions.len(), problem.requests.len());
        for (decision, request) in plan.decisions.iter().zip(&problem.requests) {
            prop_assert_eq!(decision.task, request.id);
            match &decision.outcome {
                Outcome::Placed(placement) => {
                    let host = hosts.iter_mut().find(|host| host.id == placement.host()).expect("known");
                    prop_assert!(may_take(host, request), "task {} on {:?}", request.id.0, host);
                    put(host, request, placement.gpus);
                }
                Outcome::Unplaced(why) => {
                    let fitting = hosts.iter().find(|host| may_take(host, request));
                    prop_assert!(fitting.is_none(), "task {} fits {:?}", request.id.0, fitting);
                    let only = |host: &&Host| request.only_hosts.as_ref().is_none_or(|o| o.contains(&host.id));
                    prop_assert_eq!(why.hosts.len() + why.others, hosts.iter().filter(only).count());
                    prop_assert!(why.hosts.iter().all(|host| !host.refusals.is_empty()));
                }
            }
        }
    }

    #[test]
    fn plan_made_together_keeps_to_capacity_and_places_what_it_can(problem in any_problem(), seed: u64) {
        let plan = place_together(&problem, Seed(seed));
        prop_assert_eq!(&place_together(&problem, Seed(seed)), &plan);
        let reversed = PlacementProblem { hosts: problem.hosts.iter().rev().cloned().collect(), ..problem.clone() };
        prop_assert_eq!(&place_together(&reversed, Seed(seed)), &plan);
        let mut hosts = problem.hosts.clone();
        // What others do to constraints depends on who came first, which a plan does not say.
        let minds_no_others = |request: &TaskRequest| request.constraints.is_empty();
        for (decision, request) in plan.decisions.iter().zip(&problem.requests) {
            prop_assert_eq!(decision.task, request.id);
            if let Outcome::Placed(placement) = &decision.outcome {
                let host = hosts.iter_mut().find(|host| host.id == placement.host()).expect("known");
                let ask = Ask { constraints: vec![], ..Ask::clone(request) };
                let bound = TaskRequest { ask: ask.into(), ..request.clone() };
                prop_assert!(may_take(host, &bound), "task {} on {:?}", request.id.0, host);
                put(host, request, placement.gpus);
            }
        }
        for (decision, request) in plan.decisions.iter().zip(&problem.requests) {
            if matches!(decision.outcome, Outcome::Unplaced(_)) && minds_no_others(request) {
                let fitting = hosts.iter().find(|host| may_take(host, request));
                prop_assert!(fitting.is_none(), "task {} fits {:?}", request.id.0, fitting);
            }
        }
    }

    #[test]
    fn plan_of_a_problem_does_not_depend_on_the_order_of_its_hosts(
        (problem, shuffled) in any_problem().prop_flat_map(|p| (Just(p.clone()), Just(p.hosts).prop_shuffle())),
        seed: u64,
    ) {
        let plan = place(&problem, Seed(seed));
        prop_assert_eq!(&place(&problem, Seed(seed)), &plan);
        let shuffled = PlacementProblem { hosts: shuffled, requests: problem.requests, typical: None };
        prop_assert_eq!(&place(&shuffled, Seed(seed)), &plan);
    }

    #[test]
    fn explanation_of_a_decision_agrees_with_the_plan(problem in any_problem(), seed: u64) {
        for decision in place(&problem, Seed(seed)).decisions {
            let explanation = explain(&problem, Seed(seed), decision.task).expect("the task is in the problem");
            prop_assert_eq!(explanation.hosts.len() + explanation.not_considered, problem.hosts.len());
            let chosen = explanation.hosts.first().filter(|(_, v)| matches!(v, HostVerdict::Chosen(_)));
            let runner_up = explanation.hosts.iter().find_map(|(_, verdict)| match verdict {
                HostVerdict::Outranked(score) => Some(*score),
                _ => None,
            });
            match decision.outcome {
                Outcome::Placed(placement) => {
                    prop_assert_eq!(chosen, Some(&(placement.host(), HostVerdict::Chosen(placement.score))));
                    prop_assert_eq!(runner_up, placement.runner_up);
                }
                Outcome::Unplaced(why) => {
                    prop_assert_eq!(chosen, None);
                    let told: BTreeSet<_> = why.hosts.iter().map(|host| host.host).collect();
                    let all: BTreeSet<_> = explanation.hosts.iter().map(|(host, _)| *host).collect();
                    prop_assert_eq!(told, all);
                }
            }
        }
    }

    #[test]
    fn service_with_room_everywhere_is_level_over_zones_and_stays_so_when_it_shrinks(
        zones in proptest::collection::vec(select(vec!["a", "b", "c", "d"]), 1..12),
        count in 0usize..40, stopped in 0usize..40, seed: u64,
    ) {
        let room = Resources::new(1000, 1000);
        let mut hosts: Vec<Host> = zones.iter().zip(1..).map(|(zone, id)| host(id, Some(zone), room)).collect();
        let requests = service_requests(count, "service:web");
        let problem = PlacementProblem { hosts: hosts.clone(), requests, typical: None };
        let placements: Vec<_> = place(&problem, Seed(seed)).placements().collect();
        prop_assert_eq!(placements.len(), count);
        for (task, id) in &placements {
            let at = hosts.iter().position(|host| host.id == *id).expect("known");
            put(&mut hosts[at], &problem.requests[usize::try_from(task.0).expect("small")], GpuSet::default());
        }
        prop_assert!(skew(&hosts, "service:web") <= 1);
        for zone in zones.iter().collect::<BTreeSet<_>>() {
            let tasks = hosts.iter().filter(|h| zone_of(h) == *zone).map(|h| h.tasks_by_group.get("service:web").unwrap_or(&0));
            let (least, most) = (tasks.clone().min(), tasks.max());
            prop_assert!(most <= least.map(|n| n + 1).as_ref(), "hosts of a zone are level as well");
        }
        let candidates: Vec<_> = placements.iter().map(|(task, host)| StopCandidate {
            task: *task,
            host: Some(*host),
            status: TaskStatus::Running,
            created_at: Timestamp(0),
            holds: Holding { shape: Shape::of(Resources::new(1, 1)), ..Holding::default() },
        }).collect();
        let strategies = service_default();
        let scale_in = ScaleIn {
            group: "service:web", strategies: &strategies, candidates: &candidates, seed: Seed(seed),
        };
        let chosen = choose_to_stop(&hosts, &scale_in, stopped);
        prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), stopped.min(count));
        for task in &chosen {
            let (_, id) = placements.iter().find(|(placed, _)| placed == task).expect("a candidate");
            let at = hosts.iter().position(|host| host.id == *id).expect("known");
            *hosts[at].tasks_by_group.get_mut("service:web").expect("counted") -= 1;
        }
        prop_assert!(skew(&hosts, "service:web") <= 1);
    }

    #[test]
    fn expression_of_any_text_is_read_or_refused_at_a_column_within_it(
        words in proptest::collection::vec(select(vec![
            "attribute:a", "runningTasksCount", "registeredAt", "task:group", "==", "!=", "=~", "!~", "in", "!in", "[",
            "]", ",", "(", ")", "and", "or", "not", "!", "exists", "5", "x.*", "'q", "\"", "é", " ", "&", "|", "\\",
        ]), 0..14),
    ) {
        let text = words.join(" ");
        if let Err(error) = text.parse::<Expression>() {
            let message = error.to_string();
            prop_assert!(message.starts_with("Invalid expression: expected "), "{}", message);
            let column = message.split(" at column ").nth(1).expect("a column");
            let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
            let column: usize = digits.parse().expect("a number");
            prop_assert!((1..=text.chars().count() + 1).contains(&column), "{}: {}", text, message);
        }
    }
}

#[test]
fn service_of_2000_tasks_on_200_hosts_in_3_zones_is_level() {
    let zones = ["a", "b", "c"];
    let mut hosts: Vec<Host> = (0u8..200)
        .map(|id| {
            host(
                u128::from(id),
                Some(zones[usize::from(id) % 3]),
                Resources::new(1024, 1024),
            )
        })
        .collect();
    let problem = PlacementProblem {
        hosts: hosts.clone(),
        requests: service_requests(2000, "service:web"),
        typical: None,
    };
    for ((_, id), request) in place(&problem, Seed(1)).placements().zip(&problem.requests) {
        put(
            &mut hosts[usize::try_from(id.0).expect("small")],
            request,
            GpuSet::default(),
        );
    }
    assert_eq!(
        hosts.iter().flat_map(|host| host.tasks_by_group.values()).sum::<u32>(),
        2000
    );
    assert!(skew(&hosts, "service:web") <= 1);
}

#[test]
fn plan_for_2000_tasks_without_a_host_among_10000_keeps_their_reasons_once() {
    let hosts = (0u32..10_000)
        .map(|id| host(u128::from(id), Some("a"), Resources::new(0, 0)))
        .collect();
    let problem = PlacementProblem {
        hosts,
        requests: service_requests(2000, "service:web"),
        typical: None,
    };
    let plan = place(&problem, Seed(1));
    let reasons: BTreeSet<_> = plan.unplaced().map(|(_, why)| std::ptr::from_ref(why)).collect();
    assert_eq!((plan.unplaced().count(), reasons.len()), (2000, 1));
    let why = plan.unplaced().next().expect("one").1;
    assert_eq!((why.hosts.len(), why.others), (100, 9_900));
}
