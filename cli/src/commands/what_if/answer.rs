//! What would become of a cluster, in words and tables. Pure.

use std::collections::BTreeMap;

use berth_aws::berth::{Headroom, HostRef, PredictChangesResponse, ServiceOutlook, TaskMove};

use crate::cluster::last_part;
use crate::commands::why_not;
use crate::table::Table;

/// The whole answer.
pub(super) fn text(answer: &PredictChangesResponse, loses_hosts: bool) -> String {
    let mut parts = vec![sentence(answer)];
    parts.extend(on_lost_hosts(answer, loses_hosts).map(str::to_owned));
    let moves = answer.moves.as_deref().unwrap_or_default();
    if !moves.is_empty() {
        parts.push(table(moves).render(None));
    }
    let services = answer.services.as_deref().unwrap_or_default();
    parts.extend(services.iter().filter_map(shortfall));
    let (before, after) = (
        answer.before.clone().unwrap_or_default(),
        answer.after.clone().unwrap_or_default(),
    );
    parts.push(zones(&before, &after).render(None));
    if after.services.as_ref().is_some_and(|services| !services.is_empty()) {
        parts.push(more_tasks(&before, &after).render(None));
    }
    parts.join("\n\n")
}

/// What is not to be read from the rest, if hosts are lost.
fn on_lost_hosts(answer: &PredictChangesResponse, loses_hosts: bool) -> Option<&'static str> {
    match answer.hosts_given_up.as_deref().unwrap_or_default().len() {
        0 if loses_hosts => Some(
            "No host is given up as lost: no agent of the cluster would be connected, so that the controller cannot tell who is away. Tasks on these hosts \
             count as running, and nothing replaces them until an agent is back.",
        ),
        0 | 1 => None,
        _ => Some(
            "Hosts are given up a few at a time, in the order in which they went. Where they went one after the other, and their tasks compete for room, other hosts may get \
             some of them.",
        ),
    }
}

fn sentence(answer: &PredictChangesResponse) -> String {
    let count = |holds: fn(&TaskMove) -> bool| -> i32 {
        let moves = answer.moves.iter().flatten().filter(|found| holds(found));
        moves.filter_map(|found| found.tasks).sum()
    };
    let same = |found: &TaskMove| found.from.is_some() && found.from == found.to;
    let moved = count(|found| found.from.is_some() && found.to.is_some() && found.from != found.to);
    let missing: i32 = answer
        .services
        .iter()
        .flatten()
        .filter_map(|service| service.missing)
        .sum();
    let mut words = vec![];
    let given_up: Vec<&str> = answer.hosts_given_up.iter().flatten().map(label).collect();
    if !given_up.is_empty() {
        words.push(format!("Lost: {}.", given_up.join(", ")));
    }
    words.push(match moved {
        0 => "No task moves.".to_owned(),
        1 => "1 task moves.".to_owned(),
        moved => format!("{moved} tasks move."),
    });
    let (replaced, more, gone) = (
        answer
            .moves
            .iter()
            .flatten()
            .filter(|found| same(found))
            .filter_map(|found| found.tasks)
            .sum::<i32>(),
        count(|found| found.from.is_none()),
        count(|found| found.to.is_none()),
    );
    for (number, what) in [
        (replaced, "replaced where they are"),
        (more, "more than before"),
        (gone, "gone, and nothing in their place"),
    ] {
        if number > 0 {
            words.push(format!("{number} {what}."));
        }
    }
    let stay: i32 = answer
        .services
        .iter()
        .flatten()
        .filter_map(|service| service.not_replaced)
        .sum();
    let why = match answer.services.iter().flatten().filter(lacks_tasks).all(finds_no_host) {
        true => ", for which there is no host",
        false => "",
    };
    words.push(match (missing, stay) {
        (0, 0) => "Every service has what it wants.".to_owned(),
        (missing, 0) => format!("{missing} missing{why}."),
        (0, stay) => format!("{stay} still to be replaced{why}."),
        (missing, stay) => format!("{missing} missing and {stay} still to be replaced{why}."),
    });
    let after_secs = answer.settled_after_ms.unwrap_or(0) / 1_000;
    words.push(match answer.settled {
        Some(false) => "The cluster does not come to rest: this is how far it was followed.".to_owned(),
        _ => format!("That is so after {after_secs} s, and as long as hosts take to start and stop tasks."),
    });
    words.join(" ")
}

fn lacks_tasks(service: &&ServiceOutlook) -> bool {
    service.missing.unwrap_or(0) > 0 || service.not_replaced.unwrap_or(0) > 0
}

/// Tasks are missing for other reasons too: a deployment that failed starts none, and a cluster may not have come to rest.
/// And a daemon service whose hosts each have a task asks none.
fn finds_no_host(service: &ServiceOutlook) -> bool {
    let has_asked = |asked: Option<i32>| asked != Some(0) || service.missing.unwrap_or(0) > 0;
    let fit = service.fit.as_ref();
    fit.is_some_and(|fit| fit.hosts_that_fit == Some(0) && has_asked(fit.hosts_asked))
}

fn label(host: &HostRef) -> &str {
    let id = host.container_instance_arn.as_deref().map(last_part);
    host.host_name.as_deref().or(id).unwrap_or_default()
}

fn table(moves: &[TaskMove]) -> Table {
    let mut table = Table::new(&["GROUP", "TASKS", "FROM", "TO"]);
    for found in moves {
        let from = found.from.as_ref().map_or("(new)", label);
        let to = match (&found.to, found.one_of.as_deref().unwrap_or_default()) {
            (None, _) => "(gone)".to_owned(),
            (Some(to), []) => label(to).to_owned(),
            (Some(_), several) => {
                let names: Vec<&str> = several.iter().map(label).collect();
                format!("one of {}", names.join(", "))
            }
        };
        table.row([
            found.group.clone().unwrap_or_default(),
            found.tasks.unwrap_or(0).to_string(),
            from.to_owned(),
            to,
        ]);
    }
    table
}

/// What a service lacks, and what would help.
fn shortfall(service: &ServiceOutlook) -> Option<String> {
    let fit = service.fit.as_ref()?;
    let name = service.service_name.as_deref().unwrap_or_default();
    let (missing, desired) = (service.missing.unwrap_or(0), service.desired_count.unwrap_or(0));
    let needs = fit.needs.as_ref().map(why_not::amounts).unwrap_or_default();
    let sentence = fit.sentence.as_deref().unwrap_or_default();
    let lacks = match (missing, service.not_replaced.unwrap_or(0)) {
        (missing, 0) => format!("lacks {missing} of {desired} tasks"),
        (0, stay) => format!("has {stay} of its tasks still to be replaced"),
        (missing, stay) => format!("lacks {missing} of {desired} tasks, and has {stay} still to be replaced"),
    };
    let mut text = format!("Service {name} {lacks}. A task needs {needs}. {sentence}");
    let remedies = fit.remedies.as_deref().unwrap_or_default();
    if !remedies.is_empty() {
        text.push_str(&format!(" What would make one fit:\n{}", why_not::list(remedies)));
    }
    Some(text)
}

/// One number, or what it becomes.
fn change(before: Option<i64>, after: Option<i64>) -> String {
    let (before, after) = (before.unwrap_or(0), after.unwrap_or(0));
    match before == after {
        true => before.to_string(),
        false => format!("{before} -> {after}"),
    }
}

fn zones(before: &Headroom, after: &Headroom) -> Table {
    let mut table = Table::new(&["ZONE", "HOSTS", "CPU FREE", "MIB FREE"]);
    let by_zone = |headroom: &Headroom| -> BTreeMap<Option<String>, _> {
        let zones = headroom.zones.iter().flatten().cloned();
        zones.map(|zone| (zone.availability_zone.clone(), zone)).collect()
    };
    let (before, mut all) = (by_zone(before), by_zone(after));
    for zone in before.keys() {
        all.entry(zone.clone()).or_default();
    }
    for (zone, after) in all {
        let before = before.get(&zone).cloned().unwrap_or_default();
        table.row([
            zone.unwrap_or_default(),
            change(before.hosts.map(i64::from), after.hosts.map(i64::from)),
            change(before.free_cpu, after.free_cpu),
            change(before.free_memory, after.free_memory),
        ]);
    }
    table
}

/// How many more tasks of each service fit, before and after.
pub(in crate::commands) fn more_tasks(before: &Headroom, after: &Headroom) -> Table {
    let mut table = Table::new(&["SERVICE", "MORE TASKS THAT FIT"]);
    for service in after.services.iter().flatten() {
        let same = |other: &&berth_aws::berth::MoreTasks| other.service_name == service.service_name;
        let known = before.services.iter().flatten().find(same);
        table.row([
            service.service_name.clone().unwrap_or_default(),
            change(
                known.and_then(|known| known.tasks).map(i64::from),
                service.tasks.map(i64::from),
            ),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::{MoreTasks, ServiceFit, ZoneRoom};

    use super::*;

    #[test]
    fn tasks_that_are_missing_lack_a_host_only_if_none_would_take_one() {
        let lacking = |fits| ServiceOutlook {
            missing: Some(2),
            fit: Some(ServiceFit {
                hosts_that_fit: Some(fits),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut daemon_on_all_hosts = ServiceOutlook {
            missing: Some(0),
            not_replaced: Some(1),
            ..lacking(0)
        };
        daemon_on_all_hosts.fit.as_mut().expect("given").hosts_asked = Some(0);
        for (services, said) in [
            (vec![lacking(0)], " 2 missing, for which there is no host. "),
            (vec![lacking(3)], " 2 missing. "),
            (vec![lacking(0), lacking(3)], " 4 missing. "),
            (vec![daemon_on_all_hosts], " 1 still to be replaced. "),
        ] {
            let answer = PredictChangesResponse {
                services: Some(services),
                ..Default::default()
            };
            assert!(sentence(&answer).contains(said), "{}", sentence(&answer));
        }
    }

    #[test]
    fn answer_says_what_moves_and_what_room_is_left() {
        let host = |name: &str| HostRef {
            host_name: Some(name.to_owned()),
            container_instance_arn: None,
        };
        let found = |to: Option<&str>, tasks, one_of: &[&str]| TaskMove {
            group: Some("service:web".to_owned()),
            from: Some(host("host-1")),
            to: to.map(host),
            tasks: Some(tasks),
            one_of: Some(one_of.iter().map(|name| host(name)).collect()),
        };
        let headroom = |hosts, tasks| Headroom {
            zones: Some(vec![ZoneRoom {
                availability_zone: Some("a".to_owned()),
                hosts: Some(hosts),
                free_cpu: Some(512),
                free_memory: Some(1000),
            }]),
            services: Some(vec![MoreTasks {
                service_name: Some("web".to_owned()),
                tasks: Some(tasks),
            }]),
        };
        let answer = PredictChangesResponse {
            settled: Some(true),
            settled_after_ms: Some(20_000),
            hosts_given_up: Some(vec![host("host-1")]),
            moves: Some(vec![
                found(Some("host-2"), 2, &[]),
                found(Some("host-2"), 1, &["host-2", "host-3"]),
                found(None, 1, &[]),
            ]),
            services: Some(vec![]),
            before: Some(headroom(2, 4)),
            after: Some(headroom(1, 4)),
            ..Default::default()
        };
        assert_eq!(
            text(&answer, false).lines().collect::<Vec<_>>(),
            [
                "Lost: host-1. 3 tasks move. 1 gone, and nothing in their place. Every service has what it wants. That is so after 20 s, and as \
                 long as hosts take to start and stop tasks.",
                "",
                "GROUP        TASKS  FROM    TO",
                "service:web  2      host-1  host-2",
                "service:web  1      host-1  one of host-2, host-3",
                "service:web  1      host-1  (gone)",
                "",
                "ZONE  HOSTS   CPU FREE  MIB FREE",
                "a     2 -> 1  512       1000",
                "",
                "SERVICE  MORE TASKS THAT FIT",
                "web      4",
            ]
        );
    }
}
