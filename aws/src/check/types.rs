//! Are the values of the types that the model says?
//!
//! Owns the first check of a request, which also brings it into one form: absent instead of null, integers without fraction.
//! Pure.

use serde_json::{Map, Number, Value};

use crate::error::{AwsError, common};
use crate::model::{Kind, Member, Service, Shape};
use crate::scalar::is_base64;

/// Checks the types in `value` and brings it into the form that the Rust types read.
///
/// # Errors
/// `SerializationException` for a value of a wrong type; the service's validation error for a member that the shape does not have.
/// Both name the place.
pub(crate) fn normalise(service: &Service, shape: &Shape, value: &mut Value) -> Result<(), AwsError> {
    Walk {
        service,
        path: Vec::new(),
    }
    .value(shape, value)
}

struct Walk<'a> {
    service: &'a Service,
    path: Vec<Step>,
}

enum Step {
    Member(&'static str),
    Index(usize),
    Key(String),
}

impl Walk<'_> {
    fn value(&mut self, shape: &Shape, value: &mut Value) -> Result<(), AwsError> {
        match (&shape.kind, value) {
            (Kind::Structure { members, union }, Value::Object(object)) => {
                self.structure(shape, members, *union, object)
            }
            (Kind::List { element, .. }, Value::Array(elements)) => self.list(element, elements),
            (Kind::Map { value: shape, .. }, Value::Object(entries)) => self.map(shape, entries),
            (Kind::String { .. }, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::Document, _) => Ok(()),
            (Kind::Double(_) | Kind::Timestamp, Value::Number(_)) => Ok(()),
            (Kind::Blob, Value::String(text)) if is_base64(text) => Ok(()),
            (Kind::Blob, Value::String(_)) => Err(self.wrong("STRING_VALUE is not valid base64")),
            (Kind::Integer(_), Value::Number(number)) => {
                self.integer(number, i32::MIN.into(), i32::MAX.into(), "Integer")
            }
            (Kind::Long(_), Value::Number(number)) => self.integer(number, i64::MIN, i64::MAX, "Long"),
            (kind, value) => Err(self.wrong(&format!("{} can not be converted to {}", found(value), expected(kind)))),
        }
    }

    fn structure(
        &mut self,
        shape: &Shape,
        members: &'static [Member],
        union: bool,
        object: &mut Map<String, Value>,
    ) -> Result<(), AwsError> {
        object.retain(|_, value| !value.is_null());
        for (name, value) in object.iter_mut() {
            let Some(member) = members.iter().find(|member| member.name == name) else {
                return Err(self.unknown_member(shape, name));
            };
            self.path.push(Step::Member(member.name));
            self.value(member.shape, value)?;
            self.path.pop();
        }
        if union && object.len() != 1 {
            return Err(self.wrong(&format!(
                "a {} must have exactly one member, not {}",
                shape.name,
                object.len()
            )));
        }
        Ok(())
    }

    fn list(&mut self, element: &Shape, elements: &mut [Value]) -> Result<(), AwsError> {
        for (index, value) in elements.iter_mut().enumerate() {
            self.path.push(Step::Index(index));
            self.value(element, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, shape: &Shape, entries: &mut Map<String, Value>) -> Result<(), AwsError> {
        entries.retain(|_, value| !value.is_null());
        for (key, value) in entries.iter_mut() {
            self.path.push(Step::Key(key.clone()));
            self.value(shape, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn integer(&self, number: &mut Number, min: i64, max: i64, name: &str) -> Result<(), AwsError> {
        let whole = number.as_i64().or_else(|| number.as_f64().and_then(exact_integer));
        match whole {
            Some(whole) if (min..=max).contains(&whole) => {
                *number = whole.into();
                Ok(())
            }
            _ => Err(self.wrong(&format!("NUMBER_VALUE {number} can not be converted to {name}"))),
        }
    }

    fn wrong(&self, what: &str) -> AwsError {
        let place = self.place();
        common::SERIALIZATION.error(if place.is_empty() {
            what.to_owned()
        } else {
            format!("{place}: {what}")
        })
    }

    fn unknown_member(&self, shape: &Shape, name: &str) -> AwsError {
        let place = self.place();
        let full = if place.is_empty() {
            name.to_owned()
        } else {
            format!("{place}.{name}")
        };
        self.service.validation.error(format!(
            "Unknown member '{full}': {} has no member of this name",
            shape.name
        ))
    }

    /// The current place, as in `containerDefinitions[0].memory`.
    fn place(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Member(name) if text.is_empty() => text.push_str(name),
                Step::Member(name) => text.extend([".", name]),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
                Step::Key(key) => text.push_str(&format!("[{key:?}]")),
            }
        }
        text
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the round trip is what is tested"
)]
fn exact_integer(number: f64) -> Option<i64> {
    let whole = number as i64;
    (number.abs() < 9.0e15 && whole as f64 == number).then_some(whole)
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Structure { .. } => "a structure",
        Kind::List { .. } => "a list",
        Kind::Map { .. } => "a map",
        Kind::String { .. } => "String",
        Kind::Integer(_) => "Integer",
        Kind::Long(_) => "Long",
        Kind::Double(_) => "Double",
        Kind::Boolean => "Boolean",
        Kind::Timestamp => "Timestamp",
        Kind::Blob => "Blob",
        Kind::Document => "Document",
    }
}
