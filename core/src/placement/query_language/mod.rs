//! ECS's cluster query language: text such as `attribute:disk == ssd and task:group != service:db` as a predicate
//! over hosts. Used by the `memberOf` constraint and by the `filter` of `ListContainerInstances`. Pure; it knows
//! hosts as [`HostFacts`] alone.
//!
//! Subjects and the operators that each takes are ECS's (developer guide, "cluster query language"):
//!
//! | subject | operators |
//! | --- | --- |
//! | `attribute:NAME` | all |
//! | `agentConnected`, `ec2InstanceId`, `task:group` | `==` `!=` `in` `!in` `=~` `!~` |
//! | `agentVersion`, `registeredAt`, `runningTasksCount` | `==` `!=` `>` `>=` `<` `<=` |
//!
//! Operators also go by their names (`equals`, `not_equals`, `greater_than`, `greater_than_equal`, `less_than`,
//! `less_than_equal`, `in`, `not_in`, `exists`, `not_exists`, `matches`, `not_matches`); conditions are joined with
//! `and`/`&&`, `or`/`||` (which binds less), `not`/`!` and parentheses.
//!
//! Where ECS leaves room, Berth decides: `!=`, `!in`, `!~` and `!exists` are the exact opposites of `==`, `in`, `=~` and
//! `exists`, so they hold for a host that lacks the attribute; a pattern must match the whole value, as Java's
//! `String.matches` does; `<` and its kin compare attributes as whole numbers where both are, else as text;
//! `task:group` speaks of the groups of all tasks on the host; `ec2InstanceId` is the host's name.

mod ast;
mod evaluate;
mod lexer;
mod moment;
mod parser;

pub use ast::{Comparison, Condition, Expression, Literal, Pattern, Subject, Test, Version};
pub use evaluate::HostFacts;
pub use parser::{MAX_EXPRESSION_CHARS, ParseError};
