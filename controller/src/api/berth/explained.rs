//! Explanations in the shapes of the API. Pure.

use berth_aws::Timestamp;
use berth_aws::berth::{
    FilterStep, HostFit, HostRefusal, PlacementCandidate, Remedy, RemedyChange, RemedyType, ResourceAmounts, ScoreTerm,
    ServiceFit, TaskPlacement,
};
use berth_core::explain::{self, Candidate, Change, DecidedBy, HeldBy, HostAnswer, Why, WhyNot};
use berth_core::model::{
    ClusterKey, PlacementConstraint, Ports, Resources, Service, Task, TransportProtocol, attribute_names,
};
use berth_core::placement::{FilterKind, Refusal};
use berth_core::state::ClusterState;

/// Most hosts of an answer: who asks for more asks for one at a time.
const MAX_HOSTS: usize = 100;

/// Why a task is where it is.
pub(super) fn placement(task: &Task, why: &Why) -> TaskPlacement {
    let cluster = &task.cluster;
    let decided_by = why.decided_by.map(|decided_by| match decided_by {
        DecidedBy::Term(place) => why.chosen.terms.get(place).map_or("", |term| &term.name).to_owned(),
        DecidedBy::Id => "id".to_owned(),
        DecidedBy::Together(_) => "together".to_owned(),
    });
    TaskPlacement {
        task_arn: Some(task.arn()),
        placed_at: Some(Timestamp(task.placed_at.unwrap_or(task.created_at).0)),
        sentence: Some(match &task.preempted_by {
            Some(by) => format!(
                "{why} It was stopped so that a task of (service {by}), whose priority is higher, has its room."
            ),
            None => why.to_string(),
        }),
        hosts_considered: number(why.considered),
        filters: Some(
            why.left_after
                .iter()
                .map(|(filter, left)| step(*filter, *left))
                .collect(),
        ),
        chosen: Some(candidate(cluster, &why.chosen)),
        runner_up: why.runner_up.as_ref().map(|second| candidate(cluster, second)),
        decided_by,
        seed: Some(format!("{:016x}", why.seed)),
    }
}

fn step(filter: FilterKind, left: u32) -> FilterStep {
    FilterStep {
        filter: Some(filter.as_str().to_owned()),
        hosts_left: number(left),
    }
}

fn candidate(cluster: &ClusterKey, candidate: &Candidate) -> PlacementCandidate {
    let terms = candidate.terms.iter().map(|term| ScoreTerm {
        name: Some(term.name.clone()),
        value: Some(term.value.to_string()),
        meaning: Some(term.meaning.clone()),
    });
    PlacementCandidate {
        container_instance_arn: Some(cluster.container_instance_arn(candidate.host)),
        host_name: named(&candidate.name),
        terms: Some(terms.collect()),
    }
}

/// What hosts say to a service's next task.
pub(super) fn fit(state: &ClusterState, service: &Service, answer: &WhyNot) -> ServiceFit {
    let cluster = &service.key.cluster;
    let wanted = state
        .live_tasks_of_service(&service.key)
        .filter(|task| task.desired_status == berth_core::model::DesiredStatus::Running);
    let definition = service
        .starting_deployment()
        .map(|deployment| deployment.task_definition.arn());
    ServiceFit {
        service_arn: Some(service.key.arn()),
        task_definition_arn: definition,
        desired_count: number(service.desired_count),
        wanted_tasks: count(wanted.count()),
        ..answered(cluster, answer)
    }
}

/// What hosts say to a task that waits for one.
pub(super) fn fit_of_task(task: &Task, answer: &WhyNot) -> ServiceFit {
    ServiceFit {
        task_arn: Some(task.arn()),
        task_definition_arn: Some(task.task_definition.arn()),
        ..answered(&task.cluster, answer)
    }
}

/// The answers themselves, whatever was asked about.
fn answered(cluster: &ClusterKey, answer: &WhyNot) -> ServiceFit {
    let left_after = answer.left_after();
    ServiceFit {
        needs: Some(amounts(answer.request.shape.resources)),
        host_ports: Some(ports(&answer.request.host_ports)),
        sentence: Some(answer.to_string()),
        hosts_asked: count(answer.hosts.len()),
        hosts_that_fit: count(answer.fitting()),
        filters: Some(
            left_after
                .iter()
                .map(|(filter, left)| step(*filter, saturated(*left)))
                .collect(),
        ),
        hosts: Some(
            answer
                .hosts
                .iter()
                .take(MAX_HOSTS)
                .map(|host| host_fit(cluster, host))
                .collect(),
        ),
        remedies: Some(answer.remedies.iter().map(|found| remedy(cluster, found)).collect()),
        ..Default::default()
    }
}

fn host_fit(cluster: &ClusterKey, answer: &HostAnswer) -> HostFit {
    let host = &answer.host;
    let zone = host.attributes.get(attribute_names::AVAILABILITY_ZONE);
    let reserved = Resources::new(
        host.registered.cpu.0.saturating_sub(host.free.cpu.0),
        host.registered.memory.0.saturating_sub(host.free.memory.0),
    );
    HostFit {
        container_instance_arn: Some(cluster.container_instance_arn(host.id)),
        host_name: named(&host.name),
        availability_zone: zone.cloned().flatten(),
        fits: Some(answer.takes_it()),
        registered: Some(amounts(host.registered)),
        reserved: Some(amounts(reserved)),
        free: Some(amounts(host.free)),
        refusals: Some(answer.refusals.iter().map(refusal).collect()),
    }
}

fn refusal(refusal: &Refusal) -> HostRefusal {
    let shortage = match refusal {
        Refusal::Cpu(shortage) | Refusal::Memory(shortage) => Some(*shortage),
        _ => None,
    };
    HostRefusal {
        filter: Some(refusal.filter().as_str().to_owned()),
        reason: Some(refusal.ecs_reason().to_owned()),
        sentence: Some(refusal.to_string()),
        needs: shortage.and_then(|s| number(s.needs)),
        free: shortage.and_then(|s| number(s.free)),
        reserved: shortage.and_then(|s| number(s.registered.saturating_sub(s.free))),
        short_by: shortage.and_then(|s| number(s.short_by())),
    }
}

/// What would make a host take a task.
pub(super) fn remedy(cluster: &ClusterKey, found: &explain::Remedy) -> Remedy {
    let host = found.host.as_ref();
    Remedy {
        container_instance_arn: host.map(|(id, _)| cluster.container_instance_arn(*id)),
        host_name: host.and_then(|(_, name)| named(name)),
        sentence: Some(found.to_string()),
        changes: Some(found.changes.iter().map(|change| step_of(cluster, change)).collect()),
    }
}

fn step_of(cluster: &ClusterKey, change: &Change) -> RemedyChange {
    let of = |r#type| RemedyChange {
        r#type: Some(r#type),
        ..Default::default()
    };
    let tasks = |r#type, tasks: &[HeldBy]| RemedyChange {
        task_arns: Some(tasks.iter().map(|held| cluster.task_arn(held.task)).collect()),
        ..of(r#type)
    };
    let with_ports = |r#type, held: &Ports| RemedyChange {
        host_ports: Some(ports(held)),
        ..of(r#type)
    };
    match change {
        Change::Await { tasks: held } => tasks(RemedyType::AwaitStopping, held),
        Change::Activate => of(RemedyType::ActivateHost),
        Change::AwaitWaking => of(RemedyType::AwaitWaking),
        Change::Wake => of(RemedyType::WakeHost),
        Change::ConnectAgent => of(RemedyType::ConnectAgent),
        Change::LowerTask { cpu, memory } => RemedyChange {
            cpu: number(*cpu),
            memory: number(*memory),
            ..of(RemedyType::LowerTask)
        },
        Change::StopOneOf { tasks: held } => tasks(RemedyType::StopOneOf, held),
        Change::StopAll { tasks: held } => tasks(RemedyType::StopAll, held),
        Change::FreePorts { ports } => with_ports(RemedyType::FreePorts, ports),
        Change::UseOtherPorts { ports } => with_ports(RemedyType::UseOtherPorts, ports),
        Change::LiftConstraint(PlacementConstraint::DistinctInstance) => of(RemedyType::LiftDistinctInstance),
        Change::LiftConstraint(
            constraint @ (PlacementConstraint::MemberOf { .. } | PlacementConstraint::Attribute { .. }),
        ) => RemedyChange {
            expressions: constraint.expression().map(|expression| vec![expression.into_owned()]),
            ..of(RemedyType::LiftMemberOf)
        },
        Change::JoinCapacityProvider(name) => RemedyChange {
            capacity_provider: Some(name.to_string()),
            ..of(RemedyType::JoinCapacityProvider)
        },
        Change::AddHost {
            cpu,
            memory,
            capacity_provider,
            expressions,
        } => RemedyChange {
            cpu: number(*cpu),
            memory: number(*memory),
            capacity_provider: capacity_provider.as_ref().map(ToString::to_string),
            expressions: Some(expressions.clone()),
            ..of(RemedyType::AddHost)
        },
    }
}

fn ports(ports: &Ports) -> Vec<String> {
    let port = |(protocol, port): &(TransportProtocol, u16)| match protocol {
        TransportProtocol::Tcp => format!("{port}/tcp"),
        TransportProtocol::Udp => format!("{port}/udp"),
    };
    ports.iter().map(port).collect()
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

pub(super) fn amounts(resources: Resources) -> ResourceAmounts {
    ResourceAmounts {
        cpu: number(resources.cpu.0),
        memory: number(resources.memory.0),
    }
}

pub(super) fn number(number: u32) -> Option<i32> {
    Some(i32::try_from(number).unwrap_or(i32::MAX))
}

pub(super) fn count(count: usize) -> Option<i32> {
    number(saturated(count))
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
