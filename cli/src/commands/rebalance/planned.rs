//! What would be moved, in words and tables. Pure.

use std::collections::BTreeMap;

use berth_aws::berth::{
    HostRef, NotMoved, PlanRebalanceResponse, PlannedMove, RebalanceMeasure, ResourceAmounts, ServiceSpread,
};

use crate::cluster::last_part;
use crate::commands::what_if;
use crate::short_id;
use crate::table::Table;

/// The whole plan.
pub(super) fn text(plan: &PlanRebalanceResponse) -> String {
    let moves = plan.moves.as_deref().unwrap_or_default();
    let (before, after) = (
        plan.before.clone().unwrap_or_default(),
        plan.after.clone().unwrap_or_default(),
    );
    let mut parts = vec![sentence(plan, &before, &after)];
    if !moves.is_empty() {
        parts.push(table(moves).render(None));
    }
    parts.extend(spreads(&before, &after));
    if !moves.is_empty() {
        let headroom = |measure: &RebalanceMeasure| measure.headroom.clone().unwrap_or_default();
        parts.extend(what_if::more_tasks(&headroom(&before), &headroom(&after)));
    }
    let not_moved = plan.not_moved.as_deref().unwrap_or_default();
    if !not_moved.is_empty() {
        parts.push(stuck(not_moved));
    }
    parts.join("\n\n")
}

fn sentence(plan: &PlanRebalanceResponse, before: &RebalanceMeasure, after: &RebalanceMeasure) -> String {
    let mut words = vec![match plan.moves.as_deref().unwrap_or_default().len() {
        0 => "There is nothing to move.".to_owned(),
        1 => "1 task moves.".to_owned(),
        moves => format!("{moves} tasks move."),
    }];
    let emptied: Vec<&str> = plan.hosts_emptied.iter().flatten().map(label).collect();
    if !emptied.is_empty() {
        words.push(format!("They leave without tasks: {}.", emptied.join(", ")));
    }
    words.push(format!(
        "ACTIVE hosts without tasks: {}.",
        change(before.empty_hosts, after.empty_hosts)
    ));
    let (small, large) = (room(before.largest_task.as_ref()), room(after.largest_task.as_ref()));
    words.push(match small == large {
        true => format!("The largest task that fits has {small}."),
        false => format!("The largest task that fits has {large} then, and {small} now."),
    });
    words.join(" ")
}

fn room(amounts: Option<&ResourceAmounts>) -> String {
    let amount = |amount: Option<i32>| amount.unwrap_or(0);
    format!(
        "{} CPU units and {} MiB",
        amount(amounts.and_then(|amounts| amounts.cpu)),
        amount(amounts.and_then(|amounts| amounts.memory))
    )
}

fn change(before: Option<i32>, after: Option<i32>) -> String {
    let (before, after) = (before.unwrap_or(0), after.unwrap_or(0));
    match before == after {
        true => before.to_string(),
        false => format!("{before} -> {after}"),
    }
}

pub(super) fn label(host: &HostRef) -> &str {
    let arn = host.container_instance_arn.as_deref().map(last_part);
    host.host_name.as_deref().or(arn).unwrap_or("")
}

fn table(moves: &[PlannedMove]) -> Table {
    let ids: Vec<&str> = moves
        .iter()
        .filter_map(|found| found.task_arn.as_deref())
        .map(last_part)
        .collect();
    let length = short_id::length(&ids);
    let mut table = Table::new(&["MOVE", "SERVICE", "TASK", "FROM", "TO", "WHY"]);
    for (number, found) in (1..).zip(moves) {
        let task = found.task_arn.as_deref().map(last_part).unwrap_or_default();
        table.row([
            i32::to_string(&number),
            found.service_name.clone().unwrap_or_default(),
            short_id::cut(task, length).to_owned(),
            found.from.as_ref().map(label).unwrap_or_default().to_owned(),
            found.to.as_ref().map(label).unwrap_or_default().to_owned(),
            found.why.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// Services whose tasks are in other zones then, or uneven as before, and how many are neither.
fn spreads(before: &RebalanceMeasure, after: &RebalanceMeasure) -> Option<String> {
    let mut table = Table::new(&["SERVICE", "SKEW", "TASKS BY ZONE"]);
    let (mut shown, mut even) = (0, 0);
    let before: BTreeMap<_, &ServiceSpread> = before
        .spreads
        .iter()
        .flatten()
        .map(|spread| (spread.service_name.clone(), spread))
        .collect();
    for spread in after.spreads.iter().flatten() {
        let known = before.get(&spread.service_name);
        if known == Some(&spread) && spread.skew.unwrap_or(0) <= 1 {
            even += 1;
            continue;
        }
        shown += 1;
        let zones = spread.zones.iter().flatten().map(|zone| {
            let same = known.into_iter().flat_map(|known| known.zones.iter().flatten());
            let same = same.filter(|other| other.availability_zone == zone.availability_zone);
            let was = same.filter_map(|other| other.tasks).next();
            let name = zone.availability_zone.as_deref().unwrap_or_default();
            format!("{name} {}", change(was, zone.tasks))
        });
        table.row([
            spread.service_name.clone().unwrap_or_default(),
            change(known.and_then(|known| known.skew), spread.skew),
            zones.collect::<Vec<_>>().join(", "),
        ]);
    }
    let even = match even {
        0 => None,
        1 => Some("1 service is even over zones, and stays so.".to_owned()),
        even => Some(format!("{even} services are even over zones, and stay so.")),
    };
    let table = (shown > 0).then(|| table.render(None));
    let parts: Vec<String> = table.into_iter().chain(even).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn stuck(not_moved: &[NotMoved]) -> String {
    let lines = not_moved.iter().map(|found| {
        let reason = found.reason.as_deref().unwrap_or_default();
        match (&found.service_name, &found.host) {
            (Some(service), _) => format!("  zones of {service} stay uneven: {reason}"),
            (None, host) => format!(
                "  {} keeps its tasks: {reason}",
                host.as_ref().map(label).unwrap_or_default()
            ),
        }
    });
    let lines: Vec<String> = lines.collect();
    format!("What stays as it is:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::{Headroom, MoreTasks, ZoneTasks};

    use super::*;

    fn host(name: &str) -> HostRef {
        HostRef {
            host_name: Some(name.to_owned()),
            container_instance_arn: None,
        }
    }

    fn measure(empty: i32, skew: i32, zones: [i32; 2], room: i32) -> RebalanceMeasure {
        let zone = |name: &str, tasks| ZoneTasks {
            availability_zone: Some(name.to_owned()),
            tasks: Some(tasks),
        };
        RebalanceMeasure {
            empty_hosts: Some(empty),
            largest_task: Some(ResourceAmounts {
                cpu: Some(room),
                memory: Some(room),
            }),
            spreads: Some(vec![ServiceSpread {
                service_name: Some("web".to_owned()),
                skew: Some(skew),
                zones: Some(vec![zone("a", zones[0]), zone("b", zones[1])]),
            }]),
            headroom: Some(Headroom {
                zones: None,
                services: Some(vec![MoreTasks {
                    service_name: Some("web".to_owned()),
                    tasks: Some(3),
                }]),
            }),
        }
    }

    #[test]
    fn plan_says_what_moves_what_that_brings_and_what_stays() {
        let plan = PlanRebalanceResponse {
            moves: Some(vec![PlannedMove {
                task_arn: Some("arn:aws:ecs:us-east-1:1:task/shop/0123456789abcdef0123456789abcdef".to_owned()),
                service_name: Some("web".to_owned()),
                from: Some(host("host-1")),
                to: Some(host("host-2")),
                why: Some("a has 3 and b has 1".to_owned()),
            }]),
            hosts_emptied: Some(vec![host("host-1")]),
            before: Some(measure(0, 2, [3, 1], 300)),
            after: Some(measure(1, 0, [2, 2], 900)),
            not_moved: Some(vec![NotMoved {
                service_name: None,
                host: Some(host("host-3")),
                reason: Some("it takes tasks of hosts that are emptied".to_owned()),
            }]),
        };
        assert_eq!(
            text(&plan).lines().collect::<Vec<_>>(),
            [
                "1 task moves. They leave without tasks: host-1. ACTIVE hosts without tasks: 0 -> 1. The largest task that fits has 900 CPU units \
                 and 900 MiB then, and 300 CPU units and 300 MiB now.",
                "",
                "MOVE  SERVICE  TASK      FROM    TO      WHY",
                "1     web      01234567  host-1  host-2  a has 3 and b has 1",
                "",
                "SERVICE  SKEW    TASKS BY ZONE",
                "web      2 -> 0  a 3 -> 2, b 1 -> 2",
                "",
                "What stays as it is:",
                "  host-3 keeps its tasks: it takes tasks of hosts that are emptied",
            ]
        );
    }
}
