//! `environment` and `env_file`. Reads files; else pure.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::document::{Content, Node};
use super::variables::{self, Variables};
use super::{Faults, members};

/// A variable of a container, and the line and member that give it.
pub(super) struct Variable {
    pub(super) value: String,
    pub(super) line: usize,
}

/// The variables of a service, by name: those of `environment` win over those of `env_file`, and of these the last wins.
pub(super) fn variables(
    service: &Node,
    path: &str,
    folder: &Path,
    known: &Variables,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    if let Some(node) = service.get("env_file").filter(|node| !node.is_null()) {
        let at = format!("{path}.env_file");
        let nodes = match &node.content {
            Content::List(nodes) => nodes.iter().collect(),
            _ => vec![node],
        };
        for node in nodes {
            from_file(node, &at, folder, known, &mut found, faults);
        }
    }
    if let Some(node) = service.get("environment").filter(|node| !node.is_null()) {
        from_environment(node, &format!("{path}.environment"), known, &mut found, faults);
    }
    found
}

fn from_file(
    node: &Node,
    path: &str,
    folder: &Path,
    known: &Variables,
    found: &mut BTreeMap<String, Variable>,
    faults: &mut Faults<'_>,
) {
    let allowed = ["path", "required"];
    for (key, _) in members(node) {
        if !allowed.contains(&key.text.as_str()) {
            faults.add(key.line, &format!("{path}.{}", key.text), "means nothing here");
        }
    }
    let name = node.scalar().or_else(|| node.get("path").and_then(Node::scalar));
    let Some(name) = name else {
        return faults.add(node.line, path, "should name a file");
    };
    let is_required = node.get("required").and_then(Node::scalar) != Some("false");
    let file = folder.join(name);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_required => return,
        Err(error) => return faults.add(node.line, path, format!("cannot read {}: {error}", file.display())),
    };
    match variables::file(&text, known) {
        Ok(variables) => {
            for (name, value) in variables {
                let value = value.or_else(|| known.get(&name).map(str::to_owned));
                let variable = |value| Variable { value, line: node.line };
                found.extend(value.map(|value| (name, variable(value))));
            }
        }
        Err(error) => faults.add(node.line, path, format!("{}:{error}", file.display())),
    }
}

/// A variable without a value has that of the environment of the command, and is not there if that has none, as with Compose.
fn from_environment(
    node: &Node,
    path: &str,
    known: &Variables,
    found: &mut BTreeMap<String, Variable>,
    faults: &mut Faults<'_>,
) {
    let mut set = |name: &str, value: Option<&str>, line: usize| {
        match value.or_else(|| known.get(name)) {
            Some(value) => found.insert(
                name.to_owned(),
                Variable {
                    value: value.to_owned(),
                    line,
                },
            ),
            None => found.remove(name),
        };
    };
    match &node.content {
        Content::Map(members) => {
            for (key, value) in members {
                match value.scalar() {
                    Some(text) => set(&key.text, Some(text), key.line),
                    None if value.is_null() => set(&key.text, None, key.line),
                    None => faults.add(key.line, &format!("{path}.{}", key.text), "should be a text"),
                }
            }
        }
        Content::List(elements) => {
            for element in elements {
                match element.scalar() {
                    Some(text) => match text.split_once('=') {
                        Some((name, value)) => set(name, Some(value), element.line),
                        None => set(text, None, element.line),
                    },
                    None => faults.add(element.line, path, "should be NAME=VALUE"),
                }
            }
        }
        Content::Scalar { .. } => faults.add(node.line, path, "should be a list or a map of variables"),
    }
}
