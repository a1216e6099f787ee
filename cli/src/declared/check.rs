//! Is every member one that ECS has, and every value of its type?
//!
//! Owns the check of what files say against the shapes of requests, with a place for everything that is wrong. Where ECS wants a text, a
//! number or a truth value stands for the text that was written, as in `cpu: 512` of a task definition. Pure.

use berth_aws::model::{Kind, Member, Shape};
use serde_json::{Map, Number, Value};

use super::document::{Content, Key, Node, truth};

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line of the member.
    pub(crate) line: usize,
    /// The member, as in `containerDefinitions[0].memory`.
    pub(crate) member: String,
    /// What is wrong.
    pub(crate) reason: String,
}

/// The value that a request of this shape carries, without the members that have no value; and what is wrong with it.
pub(crate) fn check(shape: &Shape, node: &Node) -> (Value, Vec<Fault>) {
    let mut walk = Walk { faults: vec![] };
    let value = walk.value(shape, node, "");
    (value.unwrap_or_default(), walk.faults)
}

/// The name nearest to `given`, if one is near; for `did you mean`.
pub(crate) fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = given.to_lowercase();
    let distances = names.into_iter().map(|name| {
        let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        (distance, name)
    });
    let most = (given.chars().count() / 3).clamp(1, 4);
    let near = distances.filter(|(distance, _)| *distance <= most);
    near.min().map(|(_, name)| name)
}

struct Walk {
    faults: Vec<Fault>,
}

impl Walk {
    fn value(&mut self, shape: &Shape, node: &Node, path: &str) -> Option<Value> {
        if node.is_null() {
            return None;
        }
        match (&shape.kind, &node.content) {
            (Kind::Structure { members, union }, Content::Map(given)) => {
                Some(self.structure(shape, members, *union, given, node.line, path))
            }
            (Kind::Map { value, .. }, Content::Map(given)) => {
                let entries = given.iter().filter_map(|(key, node)| {
                    let value = self.value(value, node, &format!("{path}[{:?}]", key.text))?;
                    Some((key.text.clone(), value))
                });
                Some(Value::Object(entries.collect()))
            }
            (Kind::List { element, .. }, Content::List(given)) => {
                let elements = given.iter().enumerate().map(|(index, node)| {
                    let at = format!("{path}[{index}]");
                    if node.is_null() {
                        self.fault(
                            node.line,
                            &at,
                            "nothing stands here; remove the element, or write \"\" for an empty text",
                        );
                    }
                    self.value(element, node, &at).unwrap_or_default()
                });
                Some(Value::Array(elements.collect()))
            }
            (kind, Content::Scalar { text, plain }) => self.scalar(kind, text, *plain, node, path),
            (kind, _) => self.wrong(kind, node, path),
        }
    }

    fn structure(
        &mut self,
        shape: &Shape,
        members: &'static [Member],
        union: bool,
        given: &[(Key, Node)],
        line: usize,
        path: &str,
    ) -> Value {
        let mut values = Map::new();
        for (key, node) in given {
            let at = within(path, &key.text);
            let Some(member) = members.iter().find(|member| member.name == key.text) else {
                let near = nearest(&key.text, members.iter().map(|member| member.name));
                let hint = near.map_or_else(String::new, |name| format!("; did you mean {name}?"));
                self.fault(
                    key.line,
                    &at,
                    format!("{} has no member of this name{hint}", shape.name),
                );
                continue;
            };
            if let Some(value) = self.value(member.shape, node, &at) {
                values.insert(key.text.clone(), value);
            }
        }
        for member in members.iter().filter(|member| member.required) {
            let is_there = given
                .iter()
                .any(|(key, node)| key.text == member.name && !node.is_null());
            if !is_there {
                self.fault(line, &within(path, member.name), "is missing");
            }
        }
        if union && values.len() != 1 {
            self.fault(line, path, format!("a {} has exactly one member", shape.name));
        }
        Value::Object(values)
    }

    fn scalar(&mut self, kind: &Kind, text: &str, plain: bool, node: &Node, path: &str) -> Option<Value> {
        match kind {
            Kind::String { values, .. } => {
                if !values.is_empty() && !values.contains(&text) {
                    let near = nearest(text, values.iter().copied());
                    let hint = near.map_or_else(String::new, |value| format!("; did you mean {value}?"));
                    self.fault(
                        node.line,
                        path,
                        format!("{text:?} is none of {}{hint}", values.join(", ")),
                    );
                }
                Some(Value::String(text.to_owned()))
            }
            Kind::Blob => Some(Value::String(text.to_owned())),
            Kind::Boolean if plain && truth(text).is_some() => truth(text).map(Value::Bool),
            Kind::Integer(_) | Kind::Long(_) if plain && text.parse::<i64>().is_ok() => {
                text.parse::<i64>().ok().map(Value::from)
            }
            Kind::Double(_) | Kind::Timestamp if plain && text.parse::<f64>().is_ok() => {
                let number = text.parse::<f64>().ok().and_then(Number::from_f64);
                number.map(Value::Number)
            }
            Kind::Document => Some(document(text, plain)),
            _ => self.wrong(kind, node, path),
        }
    }

    fn wrong(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Value> {
        let wanted = match kind {
            Kind::Structure { .. } | Kind::Map { .. } => "a structure",
            Kind::List { .. } => "a list",
            Kind::String { .. } | Kind::Blob => "a text",
            Kind::Integer(_) | Kind::Long(_) => "a whole number",
            Kind::Double(_) | Kind::Timestamp => "a number",
            Kind::Boolean => "true or false",
            Kind::Document => "any value",
        };
        let mut reason = format!("is {}, and should be {wanted}", node.what());
        if let Content::Scalar { text, plain: false } = &node.content
            && matches!(kind, Kind::Integer(_) | Kind::Long(_) | Kind::Boolean)
        {
            reason.push_str(&format!(": write {text} without quotes"));
        }
        self.fault(node.line, path, reason);
        None
    }

    fn fault(&mut self, line: usize, member: &str, reason: impl Into<String>) {
        self.faults.push(Fault {
            line,
            member: member.to_owned(),
            reason: reason.into(),
        });
    }
}

/// A scalar where any value may stand.
fn document(text: &str, plain: bool) -> Value {
    if !plain {
        return Value::String(text.to_owned());
    }
    let number = text.parse::<i64>().ok().map(Value::from);
    let value = truth(text).map(Value::Bool).or(number);
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn within(path: &str, member: &str) -> String {
    match path {
        "" => member.to_owned(),
        path => format!("{path}.{member}"),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::Operation;
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition};
    use serde_json::json;

    use super::super::document;
    use super::*;

    fn checked<O: Operation>(text: &str) -> (Value, Vec<String>) {
        let nodes = document::read(text).expect("readable");
        let (value, faults) = check(O::MODEL.input, &nodes[0]);
        let faults = faults
            .iter()
            .map(|fault| format!("{}: {}: {}", fault.line, fault.member, fault.reason));
        (value, faults.collect())
    }

    #[test]
    fn numbers_and_truth_values_stand_for_texts_where_ecs_wants_texts() {
        let (value, faults) = checked::<RegisterTaskDefinition>(
            "family: web\ncpu: 512\ncontainerDefinitions:\n- name: web\n  memory: 64\n  essential: true\n  \
             environment: [{name: PORT, value: 8080}, {name: DEBUG, value: true}, {name: MODE, value: 0640}]\n  user:\n",
        );
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            value,
            json!({"family": "web", "cpu": "512", "containerDefinitions": [{"name": "web", "memory": 64, "essential": true,
                "environment": [{"name": "PORT", "value": "8080"}, {"name": "DEBUG", "value": "true"}, {"name": "MODE", "value": "0640"}]}]})
        );
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_line_and_what_was_meant() {
        let (_, faults) = checked::<RegisterTaskDefinition>(
            "famly: web\ncontainerDefinitions:\n- name: web\n  memry: 64\n  cpu: \"10\"\n  essential: yes\n  portMappings: {containerPort: 80}\n  \
             environment:\n  - name: A\n    value: [1]\n  command: [a, ~]\nnetworkMode: brige\n",
        );
        assert_eq!(
            faults,
            [
                "1: famly: RegisterTaskDefinitionRequest has no member of this name; did you mean family?",
                "4: containerDefinitions[0].memry: ContainerDefinition has no member of this name; did you mean memory?",
                "5: containerDefinitions[0].cpu: is a text in quotes, and should be a whole number: write 10 without quotes",
                "6: containerDefinitions[0].essential: is a text, and should be true or false",
                "7: containerDefinitions[0].portMappings: is a structure, and should be a list",
                "10: containerDefinitions[0].environment[0].value: is a list, and should be a text",
                "11: containerDefinitions[0].command[1]: nothing stands here; remove the element, or write \"\" for an empty text",
                "12: networkMode: \"brige\" is none of bridge, host, awsvpc, none; did you mean bridge?",
                "1: family: is missing",
            ]
        );
    }

    #[test]
    fn required_members_of_inner_structures_are_missed_where_they_should_be() {
        let (_, faults) = checked::<CreateService>(
            "serviceName: web\ndeploymentConfiguration:\n  deploymentCircuitBreaker:\n    enable: true\n",
        );
        assert_eq!(
            faults,
            ["4: deploymentConfiguration.deploymentCircuitBreaker.rollback: is missing"]
        );
    }

    #[test]
    fn name_that_is_far_from_all_others_brings_no_suggestion() {
        assert_eq!(nearest("replicas", ["desiredCount", "taskDefinition"]), None);
        assert_eq!(
            nearest("desiredcount", ["desiredCount", "taskDefinition"]),
            Some("desiredCount")
        );
        assert_eq!(
            nearest("contanerDefinitions", ["containerDefinitions"]),
            Some("containerDefinitions")
        );
    }
}
