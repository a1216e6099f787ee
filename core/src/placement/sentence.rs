//! The sentence of a service event that says why a task has no host: ECS's own words first, since people search for them,
//! then the numbers of each host. ECS's words name the closest host by its whole id, as its API does; after that, hosts go by what
//! people call them. Pure.

use std::fmt::Write;

use super::plan::{RefusedHost, Unplaced};
use super::refusal::Refusal;

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
    let more = unplaced.hosts.len() - shown.len();
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

/// Whether a sentence of a service is one of [`unable_to_place`].
#[must_use]
pub fn is_unable_to_place(sentence: &str) -> bool {
    sentence.starts_with("(service ") && sentence.contains(") was unable to place a task because ")
}

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
    match refused.refusals.first() {
        Some(Refusal::Cpu(_)) => "has insufficient CPU units available".to_owned(),
        Some(Refusal::Memory(_)) => "has insufficient memory available".to_owned(),
        Some(Refusal::Gpu(_) | Refusal::GpuModel { .. }) => "has insufficient GPU resource available".to_owned(),
        Some(Refusal::Ports(_) | Refusal::ForeignPorts(_)) => {
            "is already using a port required by your task".to_owned()
        }
        _ => format!("encountered error \"{}\"", refused.ecs_reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerInstanceId, ContainerInstanceStatus};
    use crate::placement::Funnel;

    fn draining(id: u128, name: &str) -> RefusedHost {
        RefusedHost {
            host: ContainerInstanceId(id),
            name: name.to_owned(),
            refusals: vec![Refusal::NotActive(ContainerInstanceStatus::Draining)],
        }
    }

    #[test]
    fn sentence_names_the_closest_host_as_ecs_does_and_all_by_name_and_short_id() {
        let unplaced = Unplaced {
            funnel: Funnel::default(),
            hosts: vec![draining(0xabcd_ef01 << 96, "rack-7"), draining(7, "")],
        };
        assert_eq!(
            unable_to_place("web", &unplaced, HOSTS_PER_SENTENCE),
            "(service web) was unable to place a task because no container instance met all of its requirements. \
             The closest matching (container-instance abcdef01000000000000000000000000) encountered error \"AGENT\". \
             rack-7 (abcdef01): is DRAINING; 00000000000000000000000000000007: is DRAINING."
        );
    }
}
