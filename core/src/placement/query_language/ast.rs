//! What an expression means, once read. Pure data.

use std::cmp::Ordering;

use regex_lite::Regex;

use crate::model::Timestamp;

/// A predicate over hosts. Made with `text.parse::<Expression>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Every part holds.
    All(Vec<Expression>),
    /// At least one part holds.
    Any(Vec<Expression>),
    /// The part does not hold.
    Not(Box<Expression>),
    /// One condition.
    Condition(Condition),
}

impl Expression {
    /// Whether placing a task can change the answer for its host.
    #[must_use]
    pub fn depends_on_tasks(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::depends_on_tasks),
            Self::Not(part) => part.depends_on_tasks(),
            Self::Condition(condition) => condition.subject == Subject::TaskGroup,
        }
    }
}

/// `subject operator argument`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at.
    pub subject: Subject,
    /// What is asked of it.
    pub test: Test,
    /// Whether the opposite is asked, as with `!=`.
    pub negated: bool,
}

/// A property of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whether its agent is connected: `true` or `false`.
    AgentConnected,
    /// Version of its agent.
    AgentVersion,
    /// An attribute.
    Attribute(String),
    /// Its name.
    Ec2InstanceId,
    /// When it registered.
    RegisteredAt,
    /// Number of its running tasks.
    RunningTasksCount,
    /// Groups of the tasks on it.
    TaskGroup,
}

/// What a condition asks of its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is there.
    Exists,
    /// It equals the value.
    Equals(Literal),
    /// It is one of the values.
    In(Vec<Literal>),
    /// All of it matches.
    Matches(Pattern),
    /// It is larger or smaller than the value.
    Compares(Comparison, Literal),
}

/// An order between a subject and an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl Comparison {
    /// Whether a subject that stands in `ordering` to the argument passes.
    #[must_use]
    pub fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

/// An argument, typed by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A moment.
    Moment(Timestamp),
    /// A version.
    Version(Version),
}

/// Numbers with dots between them; a missing part counts as 0, so 1.2 equals 1.2.0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// Reads `1.2.3`, with or without a leading `v`; what follows `-` or `+` is left out. `None` where a part is no number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next()?;
        let mut parts = core
            .split('.')
            .map(|part| part.parse::<u64>().ok())
            .collect::<Option<Vec<_>>>()?;
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self(parts))
    }
}

/// A regular expression that must match the whole of a value. Matching takes time linear in the value.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    whole: Regex,
}

/// Largest compiled pattern: far more than an expression of ECS's length compiles to, unless it repeats repetitions.
const MAX_COMPILED_PATTERN_BYTES: usize = 256 * 1024;

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the pattern.
    pub fn new(source: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            regex_lite::RegexBuilder::new(text)
                .size_limit(MAX_COMPILED_PATTERN_BYTES)
                .build()
                .map_err(|error| error.to_string())
        };
        compile(source)?;
        Ok(Self {
            source: source.to_owned(),
            whole: compile(&format!("^(?:{source})$"))?,
        })
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_with_more_digits_is_larger_than_one_with_fewer() {
        assert!(Version::parse("1.14.0") > Version::parse("1.9"));
        assert_eq!(Version::parse("v1.2"), Version::parse("1.2.0"));
        assert_eq!(Version::parse("one"), None);
    }

    #[test]
    fn pattern_that_matches_only_a_part_does_not_match() {
        let pattern = Pattern::new("t2|m5.*").expect("compiles");
        assert!(pattern.matches("t2") && pattern.matches("m5.large"));
        assert!(!pattern.matches("t2.micro"));
    }

    #[test]
    fn pattern_that_would_compile_too_large_is_refused() {
        assert!(Pattern::new("((((a{99}){99}){99}){99})").is_err());
    }

    #[test]
    fn pattern_that_closes_the_group_around_it_is_refused() {
        assert!(Pattern::new("a)|(?:b").is_err());
    }
}
