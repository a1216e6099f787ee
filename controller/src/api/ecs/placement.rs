//! Placement constraints and strategies between requests, state and answers. Pure.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{
    Failure, PlacementConstraint as AwsConstraint, PlacementConstraintType, PlacementStrategy as AwsStrategy,
    PlacementStrategyType, TaskDefinitionPlacementConstraint, TaskDefinitionPlacementConstraintType,
};
use berth_core::model::{BinpackResource, ClusterKey, PlacementConstraint, PlacementExtension, PlacementStrategy};
use berth_core::placement::query_language::Expression;
use berth_core::placement::{MAX_STRATEGIES, Refusal, SpreadField, Unplaced};
use berth_core::state::{ClusterState, Feature};

use crate::api::errors::{self, invalid};

/// Most constraints of a request (ECS: 10).
const MAX_CONSTRAINTS: usize = 10;

/// Failures in one answer; a cluster may have thousands of hosts.
const MAX_FAILURES: usize = 100;

/// The constraints of a request.
///
/// # Errors
/// `InvalidParameterException` for a constraint that is not complete, an expression that cannot be read, or too many.
pub(super) fn constraints(given: Vec<AwsConstraint>) -> Result<Vec<PlacementConstraint>, AwsError> {
    check_count("placement constraints", given.len(), MAX_CONSTRAINTS)?;
    given.into_iter().map(constraint).collect()
}

fn constraint(given: AwsConstraint) -> Result<PlacementConstraint, AwsError> {
    match given.r#type {
        Some(PlacementConstraintType::MemberOf) => member_of(given.expression),
        Some(PlacementConstraintType::DistinctInstance) if given.expression.as_deref().is_none_or(str::is_empty) => {
            Ok(PlacementConstraint::DistinctInstance)
        }
        Some(PlacementConstraintType::DistinctInstance) => Err(invalid(
            "The distinctInstance placement constraint takes no expression.",
        )),
        None => Err(invalid("A placement constraint must have a type.")),
    }
}

/// The constraints of a task definition, which can only be `memberOf`.
///
/// # Errors
/// As [`constraints`].
pub(super) fn of_definition(
    given: Vec<TaskDefinitionPlacementConstraint>,
) -> Result<Vec<PlacementConstraint>, AwsError> {
    check_count("placement constraints", given.len(), MAX_CONSTRAINTS)?;
    given.into_iter().map(|c| member_of(c.expression)).collect()
}

fn member_of(expression: Option<String>) -> Result<PlacementConstraint, AwsError> {
    let expression = expression.unwrap_or_default();
    expression.parse::<Expression>().map_err(|error| {
        invalid(format!(
            "Invalid expression '{expression}' of a memberOf constraint: {error}"
        ))
    })?;
    Ok(PlacementConstraint::MemberOf { expression })
}

/// The strategies of a request.
///
/// # Errors
/// `InvalidParameterException` for a strategy with a field that it does not take, for too many, and for those that not all controllers know.
pub(in crate::api) fn strategies(
    state: &ClusterState,
    given: Vec<AwsStrategy>,
) -> Result<Vec<PlacementStrategy>, AwsError> {
    check_count("placement strategies", given.len(), MAX_STRATEGIES)?;
    let strategies = given.into_iter().map(strategy).collect::<Result<Vec<_>, _>>()?;
    let beyond_ecs = |strategy: &PlacementStrategy| match strategy {
        PlacementStrategy::Extension { extension } => Some(extension.field()),
        _ => None,
    };
    if let Some(field) = strategies.iter().find_map(beyond_ecs) {
        let what = format!("The binpack placement strategy cannot use the field '{field}'");
        errors::check_upgraded(state.uses(Feature::PlacementExtensions), invalid, &what)?;
    }
    Ok(strategies)
}

fn strategy(given: AwsStrategy) -> Result<PlacementStrategy, AwsError> {
    let field = given.field.unwrap_or_default();
    match given.r#type {
        Some(PlacementStrategyType::Random) if field.is_empty() => Ok(PlacementStrategy::Random),
        Some(PlacementStrategyType::Random) => Err(invalid("The random placement strategy takes no field.")),
        Some(PlacementStrategyType::Spread) if SpreadField::parse(&field).is_some() => {
            Ok(PlacementStrategy::Spread { field })
        }
        Some(PlacementStrategyType::Spread) => Err(invalid(format!(
            "The spread placement strategy cannot use the field '{field}': use instanceId, host or attribute:NAME."
        ))),
        Some(PlacementStrategyType::Binpack) => match field.to_ascii_lowercase().as_str() {
            "cpu" => Ok(PlacementStrategy::Binpack {
                resource: BinpackResource::Cpu,
            }),
            "memory" => Ok(PlacementStrategy::Binpack {
                resource: BinpackResource::Memory,
            }),
            named => match PlacementExtension::from_field(named) {
                Some(extension) => Ok(PlacementStrategy::Extension { extension }),
                None => Err(invalid(format!(
                    "The binpack placement strategy cannot use the field '{field}': use cpu or memory, or one of Berth's own, which are {}.",
                    PlacementExtension::ALL.map(PlacementExtension::field).join(", ")
                ))),
            },
        },
        None => Err(invalid("A placement strategy must have a type.")),
    }
}

fn check_count(what: &str, count: usize, most: usize) -> Result<(), AwsError> {
    if count > most {
        return Err(invalid(format!("There can be at most {most} {what}, not {count}.")));
    }
    Ok(())
}

/// The constraints of an answer.
pub(super) fn render_constraints(constraints: &[PlacementConstraint]) -> Vec<AwsConstraint> {
    let render = |constraint: &PlacementConstraint| match constraint {
        PlacementConstraint::DistinctInstance => Some(AwsConstraint {
            r#type: Some(PlacementConstraintType::DistinctInstance),
            expression: None,
        }),
        PlacementConstraint::MemberOf { expression } => Some(AwsConstraint {
            r#type: Some(PlacementConstraintType::MemberOf),
            expression: Some(expression.clone()),
        }),
        // Nobody asked for it as such.
        PlacementConstraint::Attribute { .. } => None,
    };
    constraints.iter().filter_map(render).collect()
}

/// The constraints of a task definition's answer.
pub(super) fn render_of_definition(constraints: &[PlacementConstraint]) -> Vec<TaskDefinitionPlacementConstraint> {
    let render = |constraint: &PlacementConstraint| match constraint {
        PlacementConstraint::DistinctInstance | PlacementConstraint::Attribute { .. } => None,
        PlacementConstraint::MemberOf { expression } => Some(TaskDefinitionPlacementConstraint {
            r#type: Some(TaskDefinitionPlacementConstraintType::MemberOf),
            expression: Some(expression.clone()),
        }),
    };
    constraints.iter().filter_map(render).collect()
}

/// The strategies of an answer: ECS returns binpack's field in upper case and `host` as `instanceId`.
pub(super) fn render_strategies(strategies: &[PlacementStrategy]) -> Vec<AwsStrategy> {
    let render = |strategy: &PlacementStrategy| {
        let (kind, field) = match strategy {
            PlacementStrategy::Random => (PlacementStrategyType::Random, None),
            PlacementStrategy::Spread { field } if field == "host" => {
                (PlacementStrategyType::Spread, Some("instanceId".to_owned()))
            }
            PlacementStrategy::Spread { field } => (PlacementStrategyType::Spread, Some(field.clone())),
            PlacementStrategy::Binpack {
                resource: BinpackResource::Cpu,
            } => (PlacementStrategyType::Binpack, Some("CPU".to_owned())),
            PlacementStrategy::Binpack {
                resource: BinpackResource::Memory,
            } => (PlacementStrategyType::Binpack, Some("MEMORY".to_owned())),
            PlacementStrategy::Extension { extension } => {
                (PlacementStrategyType::Binpack, Some(extension.field().to_owned()))
            }
        };
        AwsStrategy {
            r#type: Some(kind),
            field,
        }
    };
    strategies.iter().map(render).collect()
}

/// Why tasks found no host, as ECS says it: an entry for each host, with the numbers in its detail. Tasks that share a reason share its
/// entries.
pub(super) fn failures<'u>(
    cluster: &ClusterKey,
    unplaced: impl IntoIterator<Item = &'u Arc<Unplaced>>,
) -> Vec<Failure> {
    let (mut failures, mut told) = (vec![], Vec::<&Arc<Unplaced>>::new());
    for why in unplaced {
        if told.iter().any(|known| Arc::ptr_eq(known, why)) {
            continue;
        }
        told.push(why);
        failures.extend(why.hosts.iter().map(|refused| {
            let detail: Vec<String> = refused.refusals.iter().map(Refusal::to_string).collect();
            Failure {
                arn: Some(cluster.container_instance_arn(refused.host)),
                reason: Some(refused.ecs_reason().to_owned()),
                detail: Some(detail.join(", ")),
            }
        }));
    }
    failures.truncate(MAX_FAILURES);
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(kind: PlacementStrategyType, field: &str) -> Vec<AwsStrategy> {
        vec![AwsStrategy {
            r#type: Some(kind),
            field: Some(field.into()),
        }]
    }

    #[test]
    fn binpack_field_comes_back_in_upper_case() {
        let state = ClusterState::at_newest_level();
        let strategies = strategies(&state, given(PlacementStrategyType::Binpack, "memory")).expect("valid");
        assert_eq!(render_strategies(&strategies)[0].field.as_deref(), Some("MEMORY"));
    }

    #[test]
    fn strategy_with_a_field_it_does_not_take_is_refused() {
        let refused = |kind, field| strategies(&ClusterState::at_newest_level(), given(kind, field)).is_err();
        assert!(refused(PlacementStrategyType::Binpack, "disk"));
        assert!(refused(PlacementStrategyType::Binpack, "berth:worst-fit"));
        assert!(refused(PlacementStrategyType::Spread, "zone"));
        assert!(refused(PlacementStrategyType::Random, "cpu"));
    }

    #[test]
    fn strategy_beyond_ecs_is_taken_once_every_controller_knows_it_and_comes_back_as_it_was_named() {
        for extension in PlacementExtension::ALL {
            let named = || given(PlacementStrategyType::Binpack, extension.field());
            let taken = strategies(&ClusterState::at_newest_level(), named()).expect("valid");
            assert_eq!(taken, [PlacementStrategy::Extension { extension }]);
            assert_eq!(render_strategies(&taken)[0].field.as_deref(), Some(extension.field()));
            let refused = strategies(&ClusterState::default(), named()).expect_err("the upgrade is not finished");
            assert!(refused.to_string().contains("not every controller"), "{refused}");
        }
    }

    #[test]
    fn constraint_that_cannot_be_read_is_refused() {
        let given = AwsConstraint {
            r#type: Some(PlacementConstraintType::MemberOf),
            expression: Some("attribute:disk ==".into()),
        };
        let error = constraints(vec![given]).expect_err("refused");
        assert!(error.message.contains("attribute:disk =="), "{}", error.message);
    }
}
