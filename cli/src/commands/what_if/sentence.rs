//! What would become of a cluster, in sentences. Pure.

use berth_aws::berth::{PredictChangesResponse, ServiceOutlook, TaskMove};

use super::answer::label;

/// That hosts which are lost are not found to be.
pub(super) fn on_hosts_not_given_up(answer: &PredictChangesResponse, loses_hosts: bool) -> Option<&'static str> {
    let gives_none_up = answer.hosts_given_up.as_deref().unwrap_or_default().is_empty();
    (loses_hosts && gives_none_up).then_some(
        "No host is given up as lost: it sleeps or is being woken, so that nobody misses its agent, or no agent of the cluster would be connected, so that the \
         controller cannot tell who is away. Tasks on these hosts count as running, and nothing replaces them until an agent is back.",
    )
}

/// What is not to be read from the rest, if several hosts are given up.
pub(super) fn on_lost_hosts(answer: &PredictChangesResponse) -> Option<&'static str> {
    let several = answer.hosts_given_up.as_deref().unwrap_or_default().len() > 1;
    several.then_some(
        "Hosts are given up a few at a time, in the order in which they went. Where they went one after the other, and their tasks compete for room, other hosts may get \
         some of them.",
    )
}

/// The first lines.
pub(super) fn of(answer: &PredictChangesResponse) -> String {
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
    let already = already_missing(answer);
    words.push(match (missing, stay) {
        (0, 0) => "Every service has what it wants.".to_owned(),
        (missing, 0) => format!("{missing} missing{already}{why}."),
        (0, stay) => format!("{stay} still to be replaced{why}."),
        (missing, stay) => format!("{missing} missing{already} and {stay} still to be replaced{why}."),
    });
    let after_secs = answer.settled_after_ms.unwrap_or(0) / 1_000;
    words.push(match answer.settled {
        Some(false) => "The cluster does not come to rest: this is how far it was followed.".to_owned(),
        _ => format!("That is so after {after_secs} s, and as long as hosts take to start and stop tasks."),
    });
    words.join(" ")
}

/// How many of the tasks that are missing were so before the change.
fn already_missing(answer: &PredictChangesResponse) -> String {
    let counts = answer.services.iter().flatten().map(|service| {
        let (missing, before) = (service.missing.unwrap_or(0), service.missing_before.unwrap_or(0));
        (missing, before, missing.min(before))
    });
    let (missing, before, common) = counts.fold((0, 0, 0), |(a, b, c), (x, y, z)| (a + x, b + y, c + z));
    match (before, common) {
        (_, 0) => String::new(),
        (before, common) if before == missing && common == missing => " (as before)".to_owned(),
        (before, common) if common == missing => format!(" ({before} were before)"),
        (_, common) => format!(" ({common} of them before too)"),
    }
}

/// Of what the rest is one possible outcome.
pub(super) fn on_chance(answer: &PredictChangesResponse) -> Option<String> {
    let groups = answer.left_to_chance.as_deref().unwrap_or_default();
    (!groups.is_empty()).then(|| {
        format!(
            "Hosts for tasks of {} are drawn: where these go is one possible outcome, and so is what is missing or free because of it. Ask again for another.",
            groups.join(", ")
        )
    })
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

#[cfg(test)]
mod tests {
    use berth_aws::berth::ServiceFit;

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
            assert!(of(&answer).contains(said), "{}", of(&answer));
        }
    }

    #[test]
    fn tasks_that_were_missing_before_are_told_from_those_that_the_change_makes_missing() {
        let lacking = |before, missing| ServiceOutlook {
            missing: Some(missing),
            missing_before: Some(before),
            ..Default::default()
        };
        for (services, said) in [
            (vec![lacking(0, 2)], " 2 missing. "),
            (vec![lacking(2, 2)], " 2 missing (as before). "),
            (vec![lacking(5, 2), lacking(1, 1)], " 3 missing (6 were before). "),
            (
                vec![lacking(2, 3), lacking(4, 1)],
                " 4 missing (3 of them before too). ",
            ),
            (vec![lacking(2, 0)], " Every service has what it wants. "),
        ] {
            let answer = PredictChangesResponse {
                services: Some(services),
                ..Default::default()
            };
            assert!(of(&answer).contains(said), "{}", of(&answer));
        }
    }

    #[test]
    fn groups_whose_hosts_are_drawn_are_named() {
        let answer = |groups: &[&str]| PredictChangesResponse {
            left_to_chance: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
            ..Default::default()
        };
        assert_eq!(on_chance(&answer(&[])), None);
        let said = on_chance(&answer(&["service:api", "service:web"])).expect("said");
        assert!(
            said.starts_with("Hosts for tasks of service:api, service:web are drawn"),
            "{said}"
        );
    }
}
