//! The tables that describe a service: its operations, shapes, constraints and errors.
//!
//! Owns the types that generated code fills in as statics. Pure data: protocols and checks walk these tables, so no code is
//! generated per shape but its struct. Knows neither HTTP nor any one service.

use std::sync::OnceLock;

use regex::Regex;

use crate::error::ErrorKind;
use crate::protocol::Protocol;

/// One AWS service as clients address it.
#[derive(Debug)]
pub struct Service {
    /// Short name, as in the service's module, e.g. `ecs`.
    pub name: &'static str,
    /// Name in the credential scope of a signature, e.g. `ecs`.
    pub signing_name: &'static str,
    /// The wire protocol that the service speaks.
    pub protocol: Protocol,
    /// What `X-Amz-Target` starts with, before the dot; empty for protocols without targets.
    pub target_prefix: &'static str,
    /// API version, e.g. `2014-11-13`; query clients send it as `Version`.
    pub api_version: &'static str,
    /// XML namespace of answers; empty for JSON services.
    pub xml_namespace: &'static str,
    /// True if clients of a service that speaks JSON may speak the query protocol as well, which they did before: they know errors by the codes of that, whatever
    /// they speak.
    pub also_query: bool,
    /// The error for input that breaks a constraint of the model.
    pub validation: &'static ErrorKind,
    /// Every operation, sorted by name.
    pub operations: &'static [&'static OperationModel],
    /// Every error that the service declares, sorted by code.
    pub errors: &'static [&'static ErrorKind],
}

impl Service {
    /// The operation of this name, if the service has it.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&'static OperationModel> {
        let at = self
            .operations
            .binary_search_by(|operation| operation.name.cmp(name))
            .ok()?;
        Some(self.operations[at])
    }
}

/// One operation of a service.
#[derive(Debug)]
pub struct OperationModel {
    /// The operation's name, e.g. `CreateCluster`.
    pub name: &'static str,
    /// Shape of the request.
    pub input: &'static Shape,
    /// Shape of the answer.
    pub output: &'static Shape,
    /// Element around the answer in query protocols; empty if there is none.
    pub result_wrapper: &'static str,
    /// The errors that the model declares for the operation.
    pub errors: &'static [&'static ErrorKind],
    /// True if the model says that the operation changes nothing.
    pub read_only: bool,
}

/// A named shape: what a value may look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The shape's name in the model.
    pub name: &'static str,
    /// Its type and constraints.
    pub kind: Kind,
}

/// The type of a shape, with its constraints.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A structure; in a union exactly one member is set.
    Structure {
        /// The members, in the model's order.
        members: &'static [Member],
        /// True if exactly one member must be set.
        union: bool,
    },
    /// A list.
    List {
        /// Shape of each element.
        element: &'static Shape,
        /// Name of each element in XML and forms.
        element_name: &'static str,
        /// True if XML and forms leave out the element around the list.
        flattened: bool,
        /// Bounds of the number of elements.
        length: Bounds,
    },
    /// A map with string keys.
    Map {
        /// Shape of the keys.
        key: &'static Shape,
        /// Shape of the values.
        value: &'static Shape,
        /// Bounds of the number of entries.
        length: Bounds,
    },
    /// A string, or an enum if `values` is not empty.
    String {
        /// Bounds of the number of characters.
        length: Bounds,
        /// A pattern that the whole string must match.
        pattern: Option<&'static Pattern>,
        /// The allowed values of an enum.
        values: &'static [&'static str],
        /// True if the value must not be repeated in messages.
        sensitive: bool,
    },
    /// A 32-bit integer.
    Integer(Bounds),
    /// A 64-bit integer.
    Long(Bounds),
    /// A floating-point number.
    Double(Bounds),
    /// True or false.
    Boolean,
    /// A point in time.
    Timestamp,
    /// Bytes, in base64 on the wire.
    Blob,
    /// Any JSON value.
    Document,
}

/// One member of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The member's name on the wire.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: &'static Shape,
    /// True if a request must have it.
    pub required: bool,
}

/// Inclusive bounds of a length or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least allowed value.
    pub min: Option<i64>,
    /// The greatest allowed value.
    pub max: Option<i64>,
}

/// A regular expression of the model, compiled when it is first needed.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern as the model writes it.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            regex: OnceLock::new(),
        }
    }

    /// The pattern as the model writes it.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// True if the whole of `value` matches. The generator has tried that every pattern compiles; one that does not matches nothing.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let regex = self
            .regex
            .get_or_init(|| Regex::new(&format!("^(?:{})$", self.text)).ok());
        regex.as_ref().is_some_and(|regex| regex.is_match(value))
    }
}

/// The shape of an input or output without members.
pub static EMPTY: Shape = structure("Empty", &[]);

/// No bounds at all.
pub const UNBOUNDED: Bounds = Bounds { min: None, max: None };

/// A structure of these members.
#[must_use]
pub const fn structure(name: &'static str, members: &'static [Member]) -> Shape {
    Shape {
        name,
        kind: Kind::Structure { members, union: false },
    }
}

/// A structure of which exactly one member is set.
#[must_use]
pub const fn union(name: &'static str, members: &'static [Member]) -> Shape {
    Shape {
        name,
        kind: Kind::Structure { members, union: true },
    }
}

/// A member that may be absent.
#[must_use]
pub const fn member(name: &'static str, shape: &'static Shape) -> Member {
    Member {
        name,
        shape,
        required: false,
    }
}

/// A member that a request must have.
#[must_use]
pub const fn required(name: &'static str, shape: &'static Shape) -> Member {
    Member {
        name,
        shape,
        required: true,
    }
}

/// A list of `element`s.
#[must_use]
pub const fn list(name: &'static str, element: &'static Shape) -> Shape {
    Shape {
        name,
        kind: Kind::List {
            element,
            element_name: "member",
            flattened: false,
            length: UNBOUNDED,
        },
    }
}

/// A map from `key` to `value`.
#[must_use]
pub const fn map(name: &'static str, key: &'static Shape, value: &'static Shape) -> Shape {
    Shape {
        name,
        kind: Kind::Map {
            key,
            value,
            length: UNBOUNDED,
        },
    }
}

/// A string.
#[must_use]
pub const fn string(name: &'static str) -> Shape {
    Shape {
        name,
        kind: Kind::String {
            length: UNBOUNDED,
            pattern: None,
            values: &[],
            sensitive: false,
        },
    }
}

/// A shape without constraints of its own.
#[must_use]
pub const fn plain(name: &'static str, kind: Kind) -> Shape {
    Shape { name, kind }
}

impl Shape {
    /// The same shape with this least length or value.
    #[must_use]
    pub const fn min(self, min: i64) -> Self {
        let bounds = self.bounds();
        self.with_bounds(Bounds {
            min: Some(min),
            max: bounds.max,
        })
    }

    /// The same shape with this greatest length or value.
    #[must_use]
    pub const fn max(self, max: i64) -> Self {
        let bounds = self.bounds();
        self.with_bounds(Bounds {
            min: bounds.min,
            max: Some(max),
        })
    }

    /// The same string with a pattern.
    #[must_use]
    pub const fn pattern(mut self, text: &'static Pattern) -> Self {
        if let Kind::String { pattern, .. } = &mut self.kind {
            *pattern = Some(text);
        }
        self
    }

    /// The same string with the values that it may have.
    #[must_use]
    pub const fn values(mut self, allowed: &'static [&'static str]) -> Self {
        if let Kind::String { values, .. } = &mut self.kind {
            *values = allowed;
        }
        self
    }

    /// The same string, never repeated in messages.
    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        if let Kind::String { sensitive, .. } = &mut self.kind {
            *sensitive = true;
        }
        self
    }

    /// The same list with its elements named and placed so in XML and forms.
    #[must_use]
    pub const fn elements(mut self, name: &'static str, flat: bool) -> Self {
        if let Kind::List {
            element_name,
            flattened,
            ..
        } = &mut self.kind
        {
            *element_name = name;
            *flattened = flat;
        }
        self
    }

    const fn bounds(&self) -> Bounds {
        match self.kind {
            Kind::List { length, .. } | Kind::Map { length, .. } | Kind::String { length, .. } => length,
            Kind::Integer(range) | Kind::Long(range) | Kind::Double(range) => range,
            _ => UNBOUNDED,
        }
    }

    const fn with_bounds(mut self, bounds: Bounds) -> Self {
        match &mut self.kind {
            Kind::List { length, .. } | Kind::Map { length, .. } | Kind::String { length, .. } => *length = bounds,
            Kind::Integer(range) | Kind::Long(range) | Kind::Double(range) => *range = bounds,
            _ => {}
        }
        self
    }
}

/// Ties an operation's name and shapes to Rust types, so that a handler is written as `impl Handle<CreateCluster>`.
pub trait Operation: Send + Sync + 'static {
    /// The request.
    type Input: serde::Serialize + serde::de::DeserializeOwned + Send + 'static;
    /// The answer.
    type Output: serde::Serialize + serde::de::DeserializeOwned + Send + 'static;
    /// The operation's name, e.g. `CreateCluster`.
    const NAME: &'static str;
    /// The operation's table.
    const MODEL: &'static OperationModel;
    /// The service that it belongs to.
    const SERVICE: &'static Service;
}
