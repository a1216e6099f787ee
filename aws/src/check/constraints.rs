//! Do the values keep what the model asks of them: required members, lengths, ranges, patterns, enums?
//!
//! Owns the second check of a request and AWS's wording for what breaks it. Expects a value that has passed the first. Pure.

use serde_json::{Map, Value};

use crate::error::AwsError;
use crate::model::{Bounds, Kind, Member, Service, Shape};

/// So many violations are reported at most: a person reads no more, and an answer stays small.
const MAX_REPORTED: usize = 50;
/// So many characters of a value are repeated in a message.
const MAX_SHOWN: usize = 512;

/// Checks every constraint of `shape` on `value`.
///
/// # Errors
/// The service's validation error, which lists all violations in AWS's words.
pub(crate) fn check(service: &Service, shape: &Shape, value: &Value) -> Result<(), AwsError> {
    let mut walk = Walk {
        path: Vec::new(),
        violations: Vec::new(),
    };
    walk.value(shape, value);
    let count = walk.violations.len();
    if count == 0 {
        return Ok(());
    }
    walk.violations.truncate(MAX_REPORTED);
    let plural = if count == 1 { "" } else { "s" };
    Err(service.validation.error(format!(
        "{count} validation error{plural} detected: {}",
        walk.violations.join("; ")
    )))
}

struct Walk {
    path: Vec<String>,
    violations: Vec<String>,
}

impl Walk {
    fn value(&mut self, shape: &Shape, value: &Value) {
        for broken in broken_by_itself(shape, value) {
            self.report(shape, Some(value), &broken);
        }
        match (&shape.kind, value) {
            (Kind::Structure { members, .. }, Value::Object(object)) => self.structure(members, object),
            (Kind::List { element, .. }, Value::Array(elements)) => self.list(shape, element, elements, value),
            (
                Kind::Map {
                    key,
                    value: shape_of_value,
                    ..
                },
                Value::Object(entries),
            ) => {
                let keys = entries
                    .keys()
                    .flat_map(|name| broken_by_itself(key, &Value::String(name.clone())));
                if let Some(broken) = keys.into_iter().next() {
                    self.report(
                        shape,
                        Some(value),
                        &format!("Map keys must satisfy constraint: [{broken}]"),
                    );
                }
                for (name, entry) in entries {
                    self.within(&format!("{name}.member"), |walk| walk.value(shape_of_value, entry));
                }
            }
            _ => {}
        }
    }

    fn structure(&mut self, members: &[Member], object: &Map<String, Value>) {
        for member in members {
            let value = object.get(member.name);
            if value.is_none() && !member.required {
                continue;
            }
            self.within(&lower_first(member.name), |walk| match value {
                Some(value) => walk.value(member.shape, value),
                None => walk.report(member.shape, None, "Member must not be null"),
            });
        }
    }

    fn list(&mut self, shape: &Shape, element: &Shape, elements: &[Value], list: &Value) {
        if matches!(
            element.kind,
            Kind::Structure { .. } | Kind::List { .. } | Kind::Map { .. }
        ) {
            for (at, value) in elements.iter().enumerate() {
                self.within(&format!("{}.member", at + 1), |walk| walk.value(element, value));
            }
            return;
        }
        // AWS reports a list of scalars as one value, with the constraints that any of its elements breaks.
        let broken: Vec<String> = elements
            .iter()
            .map(|value| broken_by_itself(element, value))
            .find(|broken| !broken.is_empty())
            .unwrap_or_default();
        if !broken.is_empty() {
            self.report(
                shape,
                Some(list),
                &format!("Member must satisfy constraint: [{}]", broken.join(", ")),
            );
        }
    }

    fn within(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        self.path.push(step.to_owned());
        look(self);
        self.path.pop();
    }

    fn report(&mut self, shape: &Shape, value: Option<&Value>, broken: &str) {
        let shown = match value {
            None => "Value null at ".to_owned(),
            Some(_) if matches!(shape.kind, Kind::String { sensitive: true, .. }) => "Value at ".to_owned(),
            Some(value) => format!("Value '{}' at ", shorten(show(value))),
        };
        self.violations.push(format!(
            "{shown}'{}' failed to satisfy constraint: {broken}",
            self.path.join(".")
        ));
    }
}

/// The constraints of the shape itself that the value breaks, without its members or elements.
fn broken_by_itself(shape: &Shape, value: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    match (&shape.kind, value) {
        (
            Kind::String {
                length,
                pattern,
                values,
                ..
            },
            Value::String(text),
        ) => {
            broken.extend(outside(*length, text.chars().count(), "length"));
            if let Some(pattern) = pattern.filter(|pattern| !pattern.matches(text)) {
                broken.push(format!(
                    "Member must satisfy regular expression pattern: {}",
                    pattern.text()
                ));
            }
            if !values.is_empty() && !values.contains(&text.as_str()) {
                broken.push(format!("Member must satisfy enum value set: [{}]", values.join(", ")));
            }
        }
        (Kind::List { length, .. }, Value::Array(elements)) => {
            broken.extend(outside(*length, elements.len(), "length"))
        }
        (Kind::Map { length, .. }, Value::Object(entries)) => broken.extend(outside(*length, entries.len(), "length")),
        (Kind::Integer(range) | Kind::Long(range), Value::Number(number)) => {
            let number = number.as_i64().unwrap_or_default();
            broken.extend(beyond(*range, "value", number.cmp_bounds(*range)));
        }
        (Kind::Double(range), Value::Number(number)) => {
            let number = number.as_f64().unwrap_or_default();
            broken.extend(beyond(*range, "value", number.cmp_bounds(*range)));
        }
        _ => {}
    }
    broken
}

fn outside(bounds: Bounds, length: usize, what: &str) -> Option<String> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    beyond(bounds, what, length.cmp_bounds(bounds))
}

/// Where a number lies with respect to bounds: below, within or above.
trait CmpBounds: Copy {
    fn below(self, bound: i64) -> bool;
    fn above(self, bound: i64) -> bool;

    fn cmp_bounds(self, bounds: Bounds) -> std::cmp::Ordering {
        if bounds.min.is_some_and(|min| self.below(min)) {
            std::cmp::Ordering::Less
        } else if bounds.max.is_some_and(|max| self.above(max)) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    }
}

impl CmpBounds for i64 {
    fn below(self, bound: i64) -> bool {
        self < bound
    }

    fn above(self, bound: i64) -> bool {
        self > bound
    }
}

#[expect(clippy::cast_precision_loss, reason = "bounds in the models are small")]
impl CmpBounds for f64 {
    fn below(self, bound: i64) -> bool {
        self < bound as f64
    }

    fn above(self, bound: i64) -> bool {
        self > bound as f64
    }
}

fn beyond(bounds: Bounds, what: &str, place: std::cmp::Ordering) -> Option<String> {
    let (word, bound) = match place {
        std::cmp::Ordering::Less => ("greater", bounds.min?),
        std::cmp::Ordering::Greater => ("less", bounds.max?),
        std::cmp::Ordering::Equal => return None,
    };
    Some(format!("Member must have {what} {word} than or equal to {bound}"))
}

/// AWS names members as its Java beans do, with a small first letter.
fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(letters)
        .collect()
}

/// A value as AWS writes it into messages: strings bare, lists and structures in brackets.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, value)| format!("{name}={}", show(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
