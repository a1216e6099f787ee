//! Answers from state: what ECS shows of each noun, with the members that it always shows. Pure.

pub(crate) mod cluster;
pub(crate) mod container_instance;

/// A count as ECS's integers hold it.
pub(crate) fn count(number: impl TryInto<i32>) -> Option<i32> {
    Some(number.try_into().unwrap_or(i32::MAX))
}
