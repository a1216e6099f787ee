//! What would become of a cluster, in words and tables. Pure.

use std::collections::BTreeMap;

use berth_aws::berth::{Headroom, HostRef, MoreTasks, PredictChangesResponse, ServiceOutlook, ZoneRoom};

use super::sentence;
use crate::cluster::last_part;
use crate::commands::why_not;
use crate::table::Table;

/// Rows of a table that are shown: what a person reads of it at once. `--format json` has all that the controller tells.
const MAX_ROWS: usize = 20;

/// Services that lack tasks of which is told what would help.
const MAX_SHORTFALLS: usize = 5;

/// Remedies that are told of each of them: the least costly.
const MAX_REMEDIES: usize = 3;

/// The whole answer.
pub(in crate::commands) fn text(answer: &PredictChangesResponse, loses_hosts: bool) -> String {
    let mut parts = vec![];
    // First what the rest is to be read by.
    parts.extend(sentence::on_hosts_not_given_up(answer, loses_hosts).map(str::to_owned));
    parts.push(sentence::of(answer));
    parts.extend(sentence::on_chance(answer));
    parts.extend(sentence::on_lost_hosts(answer).map(str::to_owned));
    parts.extend(shown(&["GROUP", "TASKS", "FROM", "TO"], moves(answer), "moves"));
    parts.extend(shortfalls(answer));
    let (before, after) = (
        answer.before.clone().unwrap_or_default(),
        answer.after.clone().unwrap_or_default(),
    );
    let same = unchanged(&before, &after);
    parts.extend(shown(&ZONE_HEADINGS, zones(&before, &after), "zones"));
    parts.extend(more_tasks(&before, &after));
    parts.extend(same);
    parts.join("\n\n")
}

/// A table of the first rows, and how many more there are; `None` if there is none.
fn shown(headings: &[&str], rows: Vec<Vec<String>>, what: &str) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let more = rows.len().saturating_sub(MAX_ROWS);
    let mut table = Table::new(headings);
    for row in rows.into_iter().take(MAX_ROWS) {
        table.row(row);
    }
    let mut text = table.render(None);
    if more > 0 {
        text.push_str(&format!("\nand {more} more {what}; --format json tells them"));
    }
    Some(text)
}

pub(in crate::commands) fn label(host: &HostRef) -> &str {
    let id = host.container_instance_arn.as_deref().map(last_part);
    host.host_name.as_deref().or(id).unwrap_or_default()
}

/// One row for those that read the same, such as tasks that may each be on one of the same hosts.
fn moves(answer: &PredictChangesResponse) -> Vec<Vec<String>> {
    let (mut rows, mut tasks) = (vec![], BTreeMap::<[String; 3], i32>::new());
    for found in answer.moves.iter().flatten() {
        let from = found.from.as_ref().map_or("(new)", label);
        let to = match (&found.to, found.one_of.as_deref().unwrap_or_default()) {
            (None, _) => "(gone)".to_owned(),
            (Some(to), []) => label(to).to_owned(),
            (Some(_), several) => {
                let names: Vec<&str> = several.iter().map(label).collect();
                format!("one of {}", names.join(", "))
            }
        };
        let row = [found.group.clone().unwrap_or_default(), from.to_owned(), to];
        if !tasks.contains_key(&row) {
            rows.push(row.clone());
        }
        *tasks.entry(row).or_default() += found.tasks.unwrap_or(0);
    }
    let with_tasks = |row: [String; 3]| {
        let count = tasks.get(&row).copied().unwrap_or(0).to_string();
        let [group, from, to] = row;
        vec![group, count, from, to]
    };
    rows.into_iter().map(with_tasks).collect()
}

/// What services lack, and what would help. Those that lack no more than before are told in a line: of them nothing is new.
fn shortfalls(answer: &PredictChangesResponse) -> Vec<String> {
    let lacking = answer.services.iter().flatten().filter(|service| service.fit.is_some());
    let (newly, as_before): (Vec<&ServiceOutlook>, Vec<&ServiceOutlook>) =
        lacking.partition(|service| lacks_more(service));
    let mut parts: Vec<String> = newly
        .iter()
        .take(MAX_SHORTFALLS)
        .filter_map(|service| shortfall(service))
        .collect();
    if newly.len() > MAX_SHORTFALLS {
        let more = newly.len() - MAX_SHORTFALLS;
        parts.push(format!("{more} services more lack tasks; --format json tells which"));
    }
    let shown = as_before.iter().take(MAX_ROWS);
    let mut lines: Vec<String> = shown.map(|service| lack_as_before(service)).collect();
    if as_before.len() > MAX_ROWS {
        let more = as_before.len() - MAX_ROWS;
        lines.push(format!("and {more} services more; --format json tells which"));
    }
    if !lines.is_empty() {
        parts.push(lines.join("\n"));
    }
    parts
}

fn lacks_more(service: &ServiceOutlook) -> bool {
    let (missing, before) = (service.missing.unwrap_or(0), service.missing_before.unwrap_or(0));
    missing > before || service.not_replaced.unwrap_or(0) > 0
}

fn lack_as_before(service: &ServiceOutlook) -> String {
    let name = service.service_name.as_deref().unwrap_or_default();
    let (missing, desired) = (service.missing.unwrap_or(0), service.desired_count.unwrap_or(0));
    let before = match service.missing_before.unwrap_or(0) {
        before if before == missing => "as before".to_owned(),
        before => format!("{before} before"),
    };
    format!("Service {name} lacks {missing} of {desired} tasks, {before}; `berth why-not {name}` says why.")
}

/// What a service lacks, and what would help.
fn shortfall(service: &ServiceOutlook) -> Option<String> {
    let fit = service.fit.as_ref()?;
    let name = service.service_name.as_deref().unwrap_or_default();
    let (missing, desired) = (service.missing.unwrap_or(0), service.desired_count.unwrap_or(0));
    let needs = fit.needs.as_ref().map(why_not::amounts).unwrap_or_default();
    let sentence = fit.sentence.as_deref().unwrap_or_default();
    let already = match service.missing_before.unwrap_or(0) {
        0 => String::new(),
        before => format!(", {} before", before.min(missing)),
    };
    let lacks = match (missing, service.not_replaced.unwrap_or(0)) {
        (missing, 0) => format!("lacks {missing} of {desired} tasks{already}"),
        (0, stay) => format!("has {stay} of its tasks still to be replaced"),
        (missing, stay) => format!("lacks {missing} of {desired} tasks{already}, and has {stay} still to be replaced"),
    };
    let mut text = format!("Service {name} {lacks}. A task needs {needs}. {sentence}");
    let remedies = fit.remedies.as_deref().unwrap_or_default();
    if !remedies.is_empty() {
        let told = &remedies[..remedies.len().min(MAX_REMEDIES)];
        text.push_str(&format!(" What would make one fit:\n{}", why_not::list(told)));
        if remedies.len() > told.len() {
            text.push_str(&format!(
                "\n  and {} more; --format json tells them",
                remedies.len() - told.len()
            ));
        }
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

const ZONE_HEADINGS: [&str; 4] = ["ZONE", "HOSTS", "CPU FREE", "MIB FREE"];

/// Zones in which something changes.
fn zones(before: &Headroom, after: &Headroom) -> Vec<Vec<String>> {
    let by_zone = |headroom: &Headroom| -> BTreeMap<Option<String>, ZoneRoom> {
        let zones = headroom.zones.iter().flatten().cloned();
        zones.map(|zone| (zone.availability_zone.clone(), zone)).collect()
    };
    let (before, mut all) = (by_zone(before), by_zone(after));
    for zone in before.keys() {
        all.entry(zone.clone()).or_default();
    }
    let changed = all.into_iter().filter_map(|(zone, after)| {
        let before = before.get(&zone).cloned().unwrap_or_default();
        let numbers = |zone: &ZoneRoom| [zone.hosts.map(i64::from), zone.free_cpu, zone.free_memory];
        let pairs = numbers(&before).into_iter().zip(numbers(&after));
        (numbers(&before) != numbers(&after)).then(|| {
            let cells = pairs.map(|(before, after)| change(before, after));
            std::iter::once(zone.unwrap_or_default()).chain(cells).collect()
        })
    });
    changed.collect()
}

const MORE_TASKS_HEADINGS: [&str; 2] = ["SERVICE", "MORE TASKS THAT FIT"];

/// How many more tasks of services fit, where that is another number than before; `None` if it is the same for all.
pub(in crate::commands) fn more_tasks(before: &Headroom, after: &Headroom) -> Option<String> {
    shown(&MORE_TASKS_HEADINGS, more_tasks_changed(before, after), "services")
}

fn more_tasks_changed(before: &Headroom, after: &Headroom) -> Vec<Vec<String>> {
    let changed = more(before, after)
        .into_iter()
        .filter(|(_, before, after)| before != after);
    changed
        .map(|(service, before, after)| match before {
            Some(_) => vec![service, change(before, after)],
            // One that is yet to be made had no room to count.
            None => vec![service, after.unwrap_or(0).to_string()],
        })
        .collect()
}

type More = (String, Option<i64>, Option<i64>);

fn more(before: &Headroom, after: &Headroom) -> Vec<More> {
    let services = after.services.iter().flatten().map(|service| {
        let same = |other: &&MoreTasks| other.service_name == service.service_name;
        let known = before.services.iter().flatten().find(same);
        (
            service.service_name.clone().unwrap_or_default(),
            known.and_then(|known| known.tasks).map(i64::from),
            service.tasks.map(i64::from),
        )
    });
    services.collect()
}

/// Of what the tables say nothing, since it stays as it is.
fn unchanged(before: &Headroom, after: &Headroom) -> Option<String> {
    let zones = after
        .zones
        .as_ref()
        .map_or(0, Vec::len)
        .saturating_sub(zones(before, after).len());
    let services = more(before, after).len() - more_tasks_changed(before, after).len();
    let counted = [(zones, "in", "zone"), (services, "for", "service")];
    let words: Vec<String> = counted
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, is, noun)| format!("{is} {number} {noun}{}", if number == 1 { "" } else { "s" }))
        .collect();
    (!words.is_empty()).then(|| format!("Room is as before {}.", words.join(" and ")))
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::{Remedy, ServiceFit, TaskMove};

    use super::*;

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
                found(Some("host-3"), 2, &["host-2", "host-3"]),
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
                "Lost: host-1. 5 tasks move. 1 gone, and nothing in their place. Every service has what it wants. That is so after 20 s, and as \
                 long as hosts take to start and stop tasks.",
                "",
                "GROUP        TASKS  FROM    TO",
                "service:web  2      host-1  host-2",
                "service:web  3      host-1  one of host-2, host-3",
                "service:web  1      host-1  (gone)",
                "",
                "ZONE  HOSTS   CPU FREE  MIB FREE",
                "a     2 -> 1  512       1000",
                "",
                "Room is as before for 1 service.",
            ]
        );
    }

    #[test]
    fn long_answer_is_cut_and_says_where_the_rest_is() {
        let lacking = |name: &str, before| ServiceOutlook {
            service_name: Some(name.to_owned()),
            desired_count: Some(9),
            missing: Some(4),
            missing_before: Some(before),
            fit: Some(ServiceFit {
                sentence: Some("None of 2 hosts would take a task now.".to_owned()),
                remedies: Some(vec![Remedy::default(); 5]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let numbered = |number: i32| TaskMove {
            group: Some(format!("service:{number}")),
            ..Default::default()
        };
        let answer = PredictChangesResponse {
            moves: Some((0..30).map(numbered).collect()),
            services: Some(vec![lacking("api", 1), lacking("big", 4), lacking("web", 4)]),
            ..Default::default()
        };
        let text = text(&answer, false);
        for said in [
            "12 missing (9 of them before too)",
            "and 10 more moves; --format json tells them",
            "Service api lacks 4 of 9 tasks, 1 before. A task needs",
            "and 2 more; --format json tells them",
            "Service big lacks 4 of 9 tasks, as before; `berth why-not big` says why.\nService web lacks",
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        assert_eq!(text.lines().count(), 1 + 1 + 22 + 1 + 5 + 1 + 2, "{text}");
    }
}
