//! The sentence of a service event that says why a task has no host: ECS's own words first, since people search for them,
//! then the numbers of each host. ECS's words name the closest host by its whole id, as its API does; after that, hosts go by what
//! people call them. Pure.

use std::fmt::Write;

use super::plan::{RefusedHost, Unplaced};
use super::refusal::Refusal;
use crate::model::ContainerInstanceId;

/// Hosts named in an event before the rest is only counted: what a person reads, and what fits a terminal.
pub const HOSTS_PER_SENTENCE: usize = 5;

/// Digits of an id that tell two hosts apart: as many as `berth hosts` shows.
const SHORT_ID: usize = 8;

/// Why no host takes a task of the service: the closest match in ECS's words, then at most `hosts_shown` hosts with what
/// they lack, the closest first.
#[must_use]
pub fn unable_to_place(service: &str, unplaced: &Unplaced, hosts_shown: usize) -> String {
    let mut text = format!(
        "(service {service}) was unable to place a task because no container instance met all of its requirements."
    );
    let Some(closest) = unplaced.hosts.first() else {
        text.push_str(" Reason: No Container Instances were found in your cluster.");
        return text;
    };
    let shown = unplaced.hosts.iter().take(hosts_shown).map(numbers);
    let shown: Vec<String> = shown.collect();
    let more = unplaced.hosts.len() - shown.len() + unplaced.others;
    // Writing to a String cannot fail.
    _ = write!(
        text,
        " The closest matching (container-instance {}) {}.",
        closest.host,
        in_ecs_words(closest)
    );
    if !shown.is_empty() {
        _ = write!(text, " {}", shown.join("; "));
        text.push_str(&if more > 0 {
            format!("; and {more} more.")
        } else {
            ".".to_owned()
        });
    }
    text
}

/// Why a task of a capacity provider was stopped that waited for a host, where only hosts of that were asked: in ECS's words (page "Amazon ECS API failure reasons"),
/// then at most `hosts_shown` of them with what they lack, the closest first.
#[must_use]
pub fn failed_to_provision(pool: &str, minutes: i64, unplaced: &Unplaced, hosts_shown: usize) -> String {
    let hosts = &unplaced.hosts;
    let Some(closest) = hosts.first() else {
        return format!("TaskFailedToStart: EMPTY CAPACITY PROVIDER. Capacity provider {pool} has no hosts.");
    };
    let is_active = |host: &RefusedHost| !matches!(host.refusals.first(), Some(Refusal::NotActive(_)));
    let code = match hosts.iter().any(is_active) {
        true => closest.ecs_reason().trim_end_matches('.'),
        false => "NO ACTIVE INSTANCES",
    };
    let shown: Vec<String> = hosts.iter().take(hosts_shown).map(numbers).collect();
    let more = match hosts.len() - shown.len() + unplaced.others {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let shown = shown.join("; ");
    format!(
        "TaskFailedToStart: {code}. No host of capacity provider {pool} took it within {minutes} minutes: {shown}{more}."
    )
}

/// Whether a sentence of a service is one of [`unable_to_place`].
#[must_use]
pub fn is_unable_to_place(sentence: &str) -> bool {
    sentence.starts_with("(service ") && sentence.contains(") was unable to place a task because ")
}

/// The host that lacks least, and what it lacks in ECS's words, as a sentence of [`unable_to_place`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    /// The host; `None` if the cluster has none.
    pub host: Option<ContainerInstanceId>,
    /// What it lacks, as `failures[].reason` says it; in words where there is no host.
    pub reason: String,
}

/// What a sentence of [`unable_to_place`] tells of the closest host; `None` for other sentences.
#[must_use]
pub fn closest_of(sentence: &str) -> Option<Closest> {
    if !is_unable_to_place(sentence) {
        return None;
    }
    let Some((_, rest)) = sentence.split_once("(container-instance ") else {
        let reason = sentence.split_once(" Reason: ").map_or(sentence, |(_, reason)| reason);
        return Some(Closest {
            host: None,
            reason: reason.to_owned(),
        });
    };
    let (id, words) = rest.split_once(") ")?;
    let known = WORDS.iter().find(|(said, _)| words.starts_with(said));
    let code = known.map(|(_, code)| *code).or_else(|| {
        let quoted = words.strip_prefix("encountered error \"")?;
        quoted.split('"').next()
    })?;
    Some(Closest {
        host: id.parse().ok(),
        reason: code.to_owned(),
    })
}

/// What ECS says of the closest host, by the code of what it lacks.
const WORDS: [(&str, &str); 4] = [
    ("has insufficient CPU units available", "RESOURCE:CPU"),
    ("has insufficient memory available", "RESOURCE:MEMORY"),
    ("has insufficient GPU resource available", "RESOURCE:GPU"),
    ("is already using a port required by your task", "RESOURCE:PORTS"),
];

fn numbers(refused: &RefusedHost) -> String {
    let reasons: Vec<String> = refused.refusals.iter().map(Refusal::to_string).collect();
    format!("{}: {}", label(refused), reasons.join(" and "))
}

/// The host's name with the beginning of its id, since two hosts may have one name.
fn label(refused: &RefusedHost) -> String {
    let id = refused.host.to_string();
    match refused.name.as_str() {
        "" => id,
        name => format!("{name} ({})", id.get(..SHORT_ID).unwrap_or(&id)),
    }
}

fn in_ecs_words(refused: &RefusedHost) -> String {
    let code = refused.ecs_reason();
    match WORDS.iter().find(|(_, of)| *of == code) {
        Some((words, _)) => (*words).to_owned(),
        None => format!("encountered error \"{code}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerInstanceId, ContainerInstanceStatus};
    use crate::placement::refusal::Shortage;

    fn draining(id: u128, name: &str) -> RefusedHost {
        RefusedHost {
            host: ContainerInstanceId(id),
            name: name.to_owned(),
            refusals: vec![Refusal::NotActive(ContainerInstanceStatus::Draining)],
        }
    }

    #[test]
    fn closest_host_is_read_out_of_the_sentence_with_the_reason_that_the_api_gives() {
        let short = |refusal| Unplaced {
            hosts: vec![RefusedHost {
                refusals: vec![refusal],
                ..draining(7, "rack-7")
            }],
            ..Unplaced::default()
        };
        let shortage = Shortage {
            needs: 2,
            free: 1,
            registered: 4,
        };
        let refusals = [
            Refusal::Cpu(shortage),
            Refusal::Memory(shortage),
            Refusal::Ports(Default::default()),
            Refusal::AgentDisconnected,
            Refusal::DistinctInstance { tasks: 1 },
        ];
        for refusal in refusals {
            let unplaced = short(refusal.clone());
            let sentence = unable_to_place("web", &unplaced, HOSTS_PER_SENTENCE);
            let closest = closest_of(&sentence).expect("of such a sentence");
            assert_eq!(closest.host, Some(ContainerInstanceId(7)));
            assert_eq!(closest.reason, refusal.ecs_reason());
        }
        let nobody = Unplaced::default();
        let closest = closest_of(&unable_to_place("web", &nobody, HOSTS_PER_SENTENCE)).expect("of such a sentence");
        let said = "No Container Instances were found in your cluster.";
        assert_eq!((closest.host, closest.reason.as_str()), (None, said));
        assert_eq!(closest_of("(service web) has reached a steady state."), None);
    }

    #[test]
    fn sentence_names_the_closest_host_as_ecs_does_and_all_by_name_and_short_id() {
        let unplaced = Unplaced {
            hosts: vec![draining(0xabcd_ef01 << 96, "rack-7"), draining(7, "")],
            ..Unplaced::default()
        };
        assert_eq!(
            unable_to_place("web", &unplaced, HOSTS_PER_SENTENCE),
            "(service web) was unable to place a task because no container instance met all of its requirements. \
             The closest matching (container-instance abcdef01000000000000000000000000) encountered error \"AGENT\". \
             rack-7 (abcdef01): is DRAINING; 00000000000000000000000000000007: is DRAINING."
        );
    }

    #[test]
    fn sentence_counts_the_hosts_that_it_does_not_name_whether_they_are_told_of_or_not() {
        let unplaced = Unplaced {
            hosts: (1..=7).map(|id| draining(id, "rack")).collect(),
            others: 9_993,
            ..Unplaced::default()
        };
        let sentence = unable_to_place("web", &unplaced, HOSTS_PER_SENTENCE);
        assert!(sentence.ends_with("; and 9995 more."), "{sentence}");
    }
}
