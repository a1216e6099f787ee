//! Priorities: which of the services that wait for room comes first, and which tasks may be stopped for another's. They are said by tags, which every
//! client of ECS can send; the numbers are those of Nomad (1 to 100, 50 where none is given, preemption by a margin of 10), the higher the earlier.

use serde::{Deserialize, Serialize};

use super::Tags;

/// How much the tasks of a service, or a task outside services, matter beside others of their cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

/// A value of a tag that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPriorityTag {
    /// No priority.
    #[error("The tag {tag} has the value '{0}', which is no whole number from 1 to 100.", tag = Priority::TAG)]
    Priority(String),
    /// Neither on nor off.
    #[error(
        "The tag {PREEMPTION_TAG} has the value '{0}', which is neither {PREEMPTION_ENABLED} nor {PREEMPTION_DISABLED}."
    )]
    Preemption(String),
}

/// The tag of a cluster that says whether tasks are stopped for others of higher priority.
pub const PREEMPTION_TAG: &str = "berth:preemption";

const PREEMPTION_ENABLED: &str = "enabled";
const PREEMPTION_DISABLED: &str = "disabled";

impl Priority {
    /// The tag that says it.
    pub const TAG: &'static str = "berth:priority";

    /// The one that gives way to all others.
    pub const LOWEST: Self = Self(1);

    /// The one that comes before all others.
    pub const HIGHEST: Self = Self(100);

    /// That of whatever says none.
    pub const DEFAULT: Self = Self(50);

    /// By how much a priority has to be above that of a task that is stopped for it: what nearly matters as much runs on.
    pub const MARGIN: u8 = 10;

    /// The priority that tags say; the default where they say none, or nothing that is one.
    #[must_use]
    pub fn of(tags: &Tags) -> Self {
        Self::said_by(tags).unwrap_or(Self::DEFAULT)
    }

    /// The priority that tags say, if they do.
    #[must_use]
    pub fn said_by(tags: &Tags) -> Option<Self> {
        Self::parse(tags.get(Self::TAG)?).ok()
    }

    /// Reads a value of the tag.
    ///
    /// # Errors
    /// `InvalidPriorityTag` for all but whole numbers from 1 to 100.
    pub fn parse(value: &str) -> Result<Self, InvalidPriorityTag> {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|_| is_number).map(Self);
        let number = number.filter(|number| (Self::LOWEST..=Self::HIGHEST).contains(number));
        number.ok_or_else(|| InvalidPriorityTag::Priority(value.to_owned()))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The highest priority of tasks that may be stopped for one of this priority, if there is any.
    #[must_use]
    pub fn highest_preempted(self) -> Option<Self> {
        self.0
            .checked_sub(Self::MARGIN)
            .filter(|number| *number >= Self::LOWEST.0)
            .map(Self)
    }

    /// Whether a task of priority `other` may be stopped for one of this priority.
    #[must_use]
    pub fn may_preempt(self, other: Self) -> bool {
        self.0 >= other.0 + Self::MARGIN
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether the tags of a cluster say that tasks are stopped for others of higher priority: only where they do.
#[must_use]
pub fn allows_preemption(tags: &Tags) -> bool {
    tags.get(PREEMPTION_TAG)
        .is_some_and(|value| read_preemption(value) == Ok(true))
}

/// Reads a value of the tag of a cluster.
///
/// # Errors
/// `InvalidPriorityTag` for all but `enabled` and `disabled`.
pub fn read_preemption(value: &str) -> Result<bool, InvalidPriorityTag> {
    match value {
        PREEMPTION_ENABLED => Ok(true),
        PREEMPTION_DISABLED => Ok(false),
        other => Err(InvalidPriorityTag::Preemption(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(key: &str, value: &str) -> Tags {
        [(key.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn priority_is_a_whole_number_from_1_to_100_and_50_where_none_is_said() {
        assert_eq!(Priority::of(&Tags::new()), Priority::DEFAULT);
        assert_eq!(Priority::of(&tags(Priority::TAG, "100")), Priority::HIGHEST);
        for value in ["", "0", "101", "-1", "+5", "5.0", "high", " 5", "300"] {
            assert!(Priority::parse(value).is_err(), "{value}");
            assert_eq!(Priority::of(&tags(Priority::TAG, value)), Priority::DEFAULT);
        }
        let said = Priority::parse("high").expect_err("no number").to_string();
        assert_eq!(
            said,
            "The tag berth:priority has the value 'high', which is no whole number from 1 to 100."
        );
    }

    #[test]
    fn priority_gives_way_to_one_that_is_higher_by_ten() {
        let priority = |value| Priority::parse(value).expect("a priority");
        assert!(priority("60").may_preempt(priority("50")));
        assert!(!priority("59").may_preempt(priority("50")));
        assert!(!priority("50").may_preempt(priority("50")));
        assert!(!priority("1").may_preempt(priority("100")));
        assert_eq!(priority("60").highest_preempted(), Some(priority("50")));
        assert_eq!(priority("10").highest_preempted(), None);
    }

    #[test]
    fn preemption_is_off_unless_it_is_enabled() {
        assert!(!allows_preemption(&Tags::new()));
        assert!(!allows_preemption(&tags(PREEMPTION_TAG, "disabled")));
        assert!(!allows_preemption(&tags(PREEMPTION_TAG, "yes")));
        assert!(allows_preemption(&tags(PREEMPTION_TAG, "enabled")));
        let said = read_preemption("yes").expect_err("neither").to_string();
        assert_eq!(
            said,
            "The tag berth:preemption has the value 'yes', which is neither enabled nor disabled."
        );
    }
}
