//! Tags between requests, state and answers. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::Tag;
use berth_core::model::{DEPENDS_ON_TAG, PREEMPTION_TAG, Priority, Tags, read_dependencies, read_preemption};
use berth_core::state::{ClusterState, MAX_TAGS, Taggable};

use crate::api::errors::invalid;

/// A kind of resource that carries tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Alarm,
    CapacityProvider,
    Cluster,
    ContainerInstance,
    DaemonTaskDefinition,
    ManagedDaemon,
    Service,
    Task,
    TaskDefinition,
    TaskSet,
}

impl Carrier {
    /// The kind of a resource that there is.
    pub(crate) fn of(state: &ClusterState, resource: &Taggable) -> Self {
        match resource {
            Taggable::Alarm(_) => Self::Alarm,
            Taggable::CapacityProvider(_) => Self::CapacityProvider,
            Taggable::Cluster(_) => Self::Cluster,
            Taggable::ContainerInstance(_) => Self::ContainerInstance,
            Taggable::Service(key) if state.service(key).is_some_and(|service| service.is_managed_daemon()) => {
                Self::ManagedDaemon
            }
            Taggable::Service(_) => Self::Service,
            Taggable::Task(_) => Self::Task,
            Taggable::TaskDefinition(key) if key.family.of_daemons().is_some() => Self::DaemonTaskDefinition,
            Taggable::TaskDefinition(_) => Self::TaskDefinition,
        }
    }

    /// In sentences, with its article.
    fn spoken(self) -> &'static str {
        match self {
            Self::Alarm => "an alarm",
            Self::CapacityProvider => "a capacity provider",
            Self::Cluster => "a cluster",
            Self::ContainerInstance => "a container instance",
            Self::DaemonTaskDefinition => "a daemon task definition",
            Self::ManagedDaemon => "a managed daemon",
            Self::Service => "a service",
            Self::Task => "a task",
            Self::TaskDefinition => "a task definition",
            Self::TaskSet => "a task set",
        }
    }
}

/// A tag that means something to Berth.
struct OwnTag {
    key: &'static str,
    /// On what it does; tasks may have it from their definition.
    on: &'static [Carrier],
    read: fn(&str) -> Result<(), String>,
}

const OWN: [OwnTag; 3] = [
    OwnTag {
        key: DEPENDS_ON_TAG,
        on: &[Carrier::Service],
        read: |value| read_dependencies(value).map(drop).map_err(|why| why.to_string()),
    },
    OwnTag {
        key: PREEMPTION_TAG,
        on: &[Carrier::Cluster],
        read: |value| read_preemption(value).map(drop).map_err(|why| why.to_string()),
    },
    OwnTag {
        key: Priority::TAG,
        on: &[
            Carrier::Service,
            Carrier::ManagedDaemon,
            Carrier::Task,
            Carrier::TaskDefinition,
        ],
        read: |value| Priority::parse(value).map(drop).map_err(|why| why.to_string()),
    },
];

/// The tags of a request for a resource of a kind.
///
/// # Errors
/// `InvalidParameterException` for a key that is missing, empty, repeated or AWS's own, for one of Berth's that it does not know, whose value says nothing, or
/// that means nothing on such a resource, and for too many tags.
pub(crate) fn from_request(of: Carrier, tags: Option<Vec<Tag>>) -> Result<Tags, AwsError> {
    let mut result = Tags::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        check_key(&key)?;
        let value = tag.value.unwrap_or_default();
        check_own(of, &key, &value)?;
        if result.insert(key.clone(), value).is_some() {
            return Err(invalid(format!("Duplicate tag key {key}.")));
        }
    }
    if result.len() > MAX_TAGS {
        return Err(invalid(format!("A resource can have at most {MAX_TAGS} tags.")));
    }
    Ok(result)
}

/// Refuses a key that no caller can set.
///
/// # Errors
/// `InvalidParameterException` for a key that is empty or AWS's own.
pub(crate) fn check_key(key: &str) -> Result<(), AwsError> {
    if key.is_empty() {
        return Err(invalid("Tag key must not be null or empty."));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid(format!(
            "The tag key {key} is reserved: keys cannot start with aws:."
        )));
    }
    Ok(())
}

/// Refuses what would be a tag of Berth's and says nothing: one that is misspelt or in the wrong place would have no effect.
///
/// # Errors
/// `InvalidParameterException` that names the tag.
pub(crate) fn check_own(of: Carrier, key: &str, value: &str) -> Result<(), AwsError> {
    if !key.to_ascii_lowercase().starts_with("berth:") {
        return Ok(());
    }
    let Some(own) = OWN.iter().find(|own| own.key == key) else {
        let known = OWN.map(|own| own.key).join(", ");
        return Err(invalid(format!(
            "The tag key {key} is reserved: keys that start with berth: are those that Berth knows, which are {known}."
        )));
    };
    if !own.on.contains(&of) {
        let on: Vec<&str> = own.on.iter().map(|carrier| carrier.spoken()).collect();
        return Err(invalid(format!(
            "The tag {key} has no meaning on {}. It has one on {}.",
            of.spoken(),
            on.join(", ")
        )));
    }
    (own.read)(value).map_err(invalid)
}

/// The tags of an answer, sorted by key as ECS returns them.
pub(crate) fn render(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str) -> Tag {
        Tag {
            key: Some(key.into()),
            value: Some("v".into()),
        }
    }

    #[test]
    fn tags_come_back_sorted_by_key() {
        let tags = from_request(Carrier::Cluster, Some(vec![tag("b"), tag("a")])).expect("valid");
        let keys: Vec<_> = render(&tags).into_iter().filter_map(|t| t.key).collect();
        assert_eq!(keys, ["a", "b"]);
    }

    fn refusal(of: Carrier, key: &str, value: &str) -> Option<String> {
        let tag = Tag {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let read = from_request(of, Some(vec![tag]));
        read.err().map(|error| error.message)
    }

    #[test]
    fn tags_of_berths_own_are_refused_where_they_say_nothing() {
        for (of, key, value, part) in [
            (Carrier::Task, "berth:priority", "high", "no whole number from 1 to 100"),
            (
                Carrier::Cluster,
                "berth:preemption",
                "on",
                "neither enabled nor disabled",
            ),
            (Carrier::Service, "berth:depends-on", "a,b", "separated by spaces"),
            (
                Carrier::Service,
                "berth:Priority",
                "90",
                "which are berth:depends-on, berth:preemption",
            ),
        ] {
            let message = refusal(of, key, value).expect("refused");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn tags_of_berths_own_are_refused_on_what_they_mean_nothing_on() {
        let all = [
            Carrier::Alarm,
            Carrier::CapacityProvider,
            Carrier::Cluster,
            Carrier::ContainerInstance,
            Carrier::DaemonTaskDefinition,
            Carrier::ManagedDaemon,
            Carrier::Service,
            Carrier::Task,
            Carrier::TaskDefinition,
            Carrier::TaskSet,
        ];
        for (key, value, on) in [
            ("berth:depends-on", "db", vec![Carrier::Service]),
            ("berth:preemption", "enabled", vec![Carrier::Cluster]),
            (
                "berth:priority",
                "90",
                vec![
                    Carrier::ManagedDaemon,
                    Carrier::Service,
                    Carrier::Task,
                    Carrier::TaskDefinition,
                ],
            ),
        ] {
            let taken: Vec<Carrier> = all
                .into_iter()
                .filter(|of| refusal(*of, key, value).is_none())
                .collect();
            assert_eq!(taken, on, "{key}");
        }
        assert_eq!(
            refusal(Carrier::Service, "berth:preemption", "enabled").expect("refused"),
            "The tag berth:preemption has no meaning on a service. It has one on a cluster."
        );
        assert_eq!(
            refusal(Carrier::TaskSet, "berth:priority", "90").expect("refused"),
            "The tag berth:priority has no meaning on a task set. It has one on a service, a managed daemon, a task, a task definition."
        );
    }

    #[test]
    fn tags_reserved_repeated_or_too_many_are_refused() {
        assert!(from_request(Carrier::Task, Some(vec![tag("aws:x")])).is_err());
        assert!(from_request(Carrier::Task, Some(vec![tag("a"), tag("a")])).is_err());
        assert!(from_request(Carrier::Task, Some((0..51).map(|n| tag(&n.to_string())).collect())).is_err());
    }
}
