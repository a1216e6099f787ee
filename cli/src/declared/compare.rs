//! What is different between a thing as it is and as a file wants it.
//!
//! Owns which lists have no order and by what their elements are known, so that a difference is said where it is:
//! `containerDefinitions[web].environment[LOG]`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// Lists without order, and the members by which their elements are known.
const KEYED: &[(&str, &[&str])] = &[
    ("capacityProviderStrategy", &["capacityProvider"]),
    ("containerDefinitions", &["name"]),
    ("defaultCapacityProviderStrategy", &["capacityProvider"]),
    ("dependsOn", &["containerName"]),
    ("Dimensions", &["Name"]),
    ("environment", &["name"]),
    ("extraHosts", &["hostname"]),
    ("Metrics", &["Id"]),
    ("mountPoints", &["containerPath"]),
    ("portMappings", &["containerPort", "protocol", "hostPort"]),
    ("secrets", &["name"]),
    ("settings", &["name"]),
    ("systemControls", &["namespace"]),
    ("tags", &["key"]),
    ("Tags", &["Key"]),
    ("ulimits", &["name"]),
    ("volumes", &["name"]),
    ("volumesFrom", &["sourceContainer"]),
];

/// Lists without order whose elements are nothing but themselves.
const SETS: &[&str] = &[
    "capacityProviderArns",
    "capacityProviders",
    "compatibilities",
    "placementConstraints",
    "requiresCompatibilities",
    "securityGroups",
    "subnets",
];

/// Numbers that are 0 where they are not given.
const ZERO_BY_DEFAULT: [&str; 3] = ["base", "healthCheckGracePeriodSeconds", "weight"];

/// What is not what it would be without it, though `false`.
const TRUE_BY_DEFAULT: [&str; 2] = ["essential", "resetOnHealthyTask"];

/// Characters of a value that are shown at most.
const MAX_SHOWN: usize = 200;

/// How much of a thing a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All: what it does not name is not to be there.
    Whole,
    /// Members that it does not name are left as they are.
    Named,
}

/// One member that is different; `None` where it is not there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// The member.
    pub(crate) path: String,
    /// As it is.
    pub(crate) old: Option<Value>,
    /// As it is wanted.
    pub(crate) new: Option<Value>,
}

/// The differences, by path.
pub(crate) fn differences(old: Option<&Value>, new: Option<&Value>, extent: Extent) -> Vec<Difference> {
    let mut found = vec![];
    compare("", old, new, extent, &mut found);
    found
}

/// Whether a member has the value that it would have if it were not there.
fn is_default(path: &str, value: &Value) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default();
    let is_zero = ZERO_BY_DEFAULT.contains(&name) && value.as_i64() == Some(0);
    is_zero || (asks_for_nothing(value) && !TRUE_BY_DEFAULT.contains(&name))
}

/// Whether a value asks for nothing, whatever it is the value of.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.values().all(asks_for_nothing),
    }
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, extent: Extent, found: &mut Vec<Difference>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => members(path, old, new, extent, found),
        (Some(Value::Object(old)), None) => members(path, old, &Map::new(), Extent::Whole, found),
        (None, Some(Value::Object(new))) => members(path, &Map::new(), new, extent, found),
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(path, old, new, found),
        (Some(Value::Array(old)), None) => lists(path, old, &[], found),
        (None, Some(Value::Array(new))) => lists(path, &[], new, found),
        _ if old == new => {}
        _ if [old, new].into_iter().flatten().all(|value| is_default(path, value)) => {}
        _ => found.push(Difference::new(path, old.cloned(), new.cloned())),
    }
}

fn members(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    extent: Extent,
    found: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = match extent {
        Extent::Whole => old.keys().chain(new.keys()).collect(),
        Extent::Named => new.keys().collect(),
    };
    for name in names {
        let at = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        compare(&at, old.get(name), new.get(name), extent, found);
    }
}

fn lists(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Difference>) {
    let name = path.rsplit('.').next().unwrap_or_default();
    let known_by = KEYED.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    if let Some((old, new)) = known_by.and_then(|key| Some((by_key(old, key)?, by_key(new, key)?))) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let at = format!("{path}[{key}]");
            elements(&at, old.get(key).copied(), new.get(key).copied(), found);
        }
        return;
    }
    if SETS.contains(&name) {
        for gone in old.iter().filter(|element| !new.contains(element)) {
            found.push(Difference::new(path, Some(gone.clone()), None));
        }
        for added in new.iter().filter(|element| !old.contains(element)) {
            found.push(Difference::new(path, None, Some(added.clone())));
        }
        return;
    }
    if old != new {
        let there = |list: &[Value]| (!list.is_empty()).then(|| Value::Array(list.to_vec()));
        found.push(Difference::new(path, there(old), there(new)));
    }
}

/// Elements that are known by the same key. One that is there is something even if it asks for nothing, as an empty variable does.
fn elements(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    if [old, new].into_iter().flatten().all(is_pair) {
        let value = |element: &Value| element.get("value").or(element.get("Value")).cloned();
        let (was, is) = (old.and_then(value), new.and_then(value));
        if was != is {
            found.push(Difference::new(path, was, is));
        }
        return;
    }
    let before = found.len();
    compare(path, old, new, Extent::Whole, found);
    if found.len() == before && old.is_some() != new.is_some() {
        found.push(Difference::new(path, old.cloned(), new.cloned()));
    }
}

/// Whether an element is a name with a value, and nothing else.
fn is_pair(element: &Value) -> bool {
    let has = |member| element.get(member).is_some();
    let members = element.as_object().map_or(0, Map::len);
    let of_ecs = has("value") && (has("name") || has("key"));
    members == 2 && (of_ecs || has("Value") && (has("Name") || has("Key")))
}

/// The elements by their keys; `None` if some have no key, or the same one.
fn by_key<'v>(list: &'v [Value], key: &[&str]) -> Option<BTreeMap<String, &'v Value>> {
    let mut by_key = BTreeMap::new();
    for element in list {
        let parts = key.iter().filter_map(|member| match element.get(member)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let text = parts.collect::<Vec<_>>().join("/");
        if text.is_empty() || by_key.insert(text, element).is_some() {
            return None;
        }
    }
    Some(by_key)
}

impl Difference {
    /// A member that is different.
    pub(crate) fn new(path: &str, old: Option<Value>, new: Option<Value>) -> Self {
        Self {
            path: path.to_owned(),
            old,
            new,
        }
    }

    /// The member of the request that it is in.
    pub(crate) fn top(&self) -> &str {
        self.path.split(['.', '[']).next().unwrap_or_default()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "~ {}: {} -> {}", self.path, shown(old), shown(new)),
            (Some(old), None) => write!(f, "- {}: {}", self.path, shown(old)),
            (None, new) => write!(f, "+ {}: {}", self.path, new.as_ref().map(shown).unwrap_or_default()),
        }
    }
}

fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((at, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(old: Value, new: Value, extent: Extent) -> Vec<String> {
        let found = differences(Some(&old), Some(&new), extent);
        found.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn order_that_means_nothing_and_defaults_are_no_differences() {
        let old = json!({
            "containerDefinitions": [{"name": "a", "environment": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}], "command": []},
                {"name": "b", "privileged": false}],
            "capacityProviderStrategy": [{"capacityProvider": "gpu", "weight": 0, "base": 0}],
            "requiresCompatibilities": ["EC2", "EXTERNAL"], "volumes": []
        });
        let new = json!({
            "containerDefinitions": [{"name": "b"},
                {"name": "a", "environment": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "user": ""}],
            "capacityProviderStrategy": [{"capacityProvider": "gpu"}], "requiresCompatibilities": ["EXTERNAL", "EC2"]
        });
        assert_eq!(text(old, new, Extent::Whole), Vec::<String>::new());
    }

    #[test]
    fn difference_is_said_of_the_member_in_which_it_is() {
        let old = json!({"containerDefinitions": [{"name": "a", "memory": 64, "command": ["x", "y"], "essential": true,
            "environment": [{"name": "GONE", "value": ""}, {"name": "LOG", "value": "info"}],
            "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}]}]});
        let new = json!({"containerDefinitions": [{"name": "a", "memory": 128, "command": ["y", "x"], "essential": false,
            "environment": [{"name": "LOG", "value": "debug"}, {"name": "NEW", "value": ""}],
            "portMappings": []}, {"name": "b", "image": "i"}]});
        assert_eq!(
            text(old, new, Extent::Whole),
            [
                "~ containerDefinitions[a].command: [\"x\",\"y\"] -> [\"y\",\"x\"]",
                "- containerDefinitions[a].environment[GONE]: \"\"",
                "~ containerDefinitions[a].environment[LOG]: \"info\" -> \"debug\"",
                "+ containerDefinitions[a].environment[NEW]: \"\"",
                "~ containerDefinitions[a].essential: true -> false",
                "~ containerDefinitions[a].memory: 64 -> 128",
                "- containerDefinitions[a].portMappings[80/tcp/0].containerPort: 80",
                "- containerDefinitions[a].portMappings[80/tcp/0].hostPort: 0",
                "- containerDefinitions[a].portMappings[80/tcp/0].protocol: \"tcp\"",
                "+ containerDefinitions[b].image: \"i\"",
                "+ containerDefinitions[b].name: \"b\"",
            ]
        );
    }

    #[test]
    fn members_that_are_not_named_are_left_alone_where_that_is_meant() {
        let old = json!({"desiredCount": 2, "propagateTags": "NONE", "deploymentConfiguration": {"maximumPercent": 200, "strategy": "ROLLING"}});
        let new = json!({"desiredCount": 3, "deploymentConfiguration": {"maximumPercent": 150}});
        assert_eq!(
            text(old, new, Extent::Named),
            [
                "~ deploymentConfiguration.maximumPercent: 200 -> 150",
                "~ desiredCount: 2 -> 3"
            ]
        );
    }

    #[test]
    fn tags_and_dimensions_of_alarms_are_known_by_their_names_too() {
        let of = |team: &str| {
            json!({"Dimensions": [{"Name": "service", "Value": "web"}, {"Name": "zone", "Value": "a"}],
                "Tags": [{"Key": "team", "Value": team}], "Threshold": 10.0})
        };
        let mut other = of("web");
        other["Dimensions"] = json!([{"Name": "zone", "Value": "b"}, {"Name": "service", "Value": "web"}]);
        assert_eq!(
            text(of("shop"), other, Extent::Whole),
            [
                "~ Dimensions[zone]: \"a\" -> \"b\"",
                "~ Tags[team]: \"shop\" -> \"web\""
            ]
        );
    }

    #[test]
    fn variable_that_is_given_twice_makes_the_list_one_with_order() {
        let twice = |first: &str, second: &str| json!({"environment": [{"name": "A", "value": first}, {"name": "A", "value": second}]});
        assert_eq!(text(twice("1", "2"), twice("1", "2"), Extent::Whole).len(), 0);
        assert_eq!(text(twice("1", "2"), twice("2", "1"), Extent::Whole).len(), 1);
    }
}
