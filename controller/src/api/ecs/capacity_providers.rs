//! Capacity providers in requests: their names, the pool of hosts behind each, and strategies over them. Pure.
//!
//! Berth has no Auto Scaling groups. The pool behind a capacity provider is the hosts whose agents were started with its name, so that
//! `autoScalingGroupArn` has to name the same: by the name alone, or by an ARN that ends in it.

use berth_aws::AwsError;
use berth_aws::ecs::{
    AutoScalingGroupProvider, CapacityProviderStrategyItem as Given, LaunchType, ManagedDraining,
    ManagedScaling as GivenScaling, ManagedScalingStatus, ManagedTerminationProtection,
};
use berth_core::model::{
    ArnResource, CapacityProviderName, CapacityProviderStrategy, CapacityProviderStrategyItem, Cluster,
    ManagedScalingChanges, PredefinedCapacityProvider, Scope,
};
use berth_core::state::{ClusterState, Feature};

use super::references;
use crate::api::context::Api;
use crate::api::errors::{self, client, invalid};
use crate::api::members::Honoured;

/// Most capacity providers of a cluster and of a strategy (ECS: 20).
const MAX_PROVIDERS: usize = 20;
/// Largest weight (ECS: 1,000).
const MAX_WEIGHT: i32 = 1_000;
/// Largest base (ECS: 100,000).
const MAX_BASE: i32 = 100_000;

/// What Berth honours of `autoScalingGroupProvider`.
pub(super) const GROUP: Honoured = Honoured::Members(&[
    ("autoScalingGroupArn", Honoured::All),
    (
        "managedScaling",
        Honoured::Members(&[
            ("status", Honoured::Only(&["ENABLED", "DISABLED"])),
            ("targetCapacity", Honoured::All),
            ("minimumScalingStepSize", Honoured::All),
            ("maximumScalingStepSize", Honoured::All),
            ("instanceWarmupPeriod", Honoured::All),
        ]),
    ),
    ("managedTerminationProtection", Honoured::Only(&["ENABLED", "DISABLED"])),
    ("managedDraining", Honoured::Only(&["ENABLED", "DISABLED"])),
]);

/// What a request says of how hosts are woken and put to sleep; whether it contradicts itself is checked where it is applied.
pub(super) struct Managed {
    /// Managed scaling.
    pub(super) scaling: Option<ManagedScalingChanges>,
    /// Managed termination protection.
    pub(super) termination_protection: Option<bool>,
    /// Managed draining.
    pub(super) draining: Option<bool>,
}

impl Managed {
    /// Reads a request.
    pub(super) fn of(
        scaling: Option<&GivenScaling>,
        protection: Option<&ManagedTerminationProtection>,
        draining: Option<&ManagedDraining>,
    ) -> Self {
        // The model admits no other numbers.
        let number = |given: Option<i32>| given.and_then(|number| u32::try_from(number).ok());
        let scaling = scaling.map(|given| ManagedScalingChanges {
            enabled: given
                .status
                .as_ref()
                .map(|status| *status == ManagedScalingStatus::Enabled),
            target_capacity: number(given.target_capacity),
            minimum_step: number(given.minimum_scaling_step_size),
            maximum_step: number(given.maximum_scaling_step_size),
            warmup_secs: number(given.instance_warmup_period),
        });
        Self {
            scaling,
            termination_protection: protection.map(|given| *given == ManagedTerminationProtection::Enabled),
            draining: draining.map(|given| *given == ManagedDraining::Enabled),
        }
    }

    /// Refuses what this controller cannot do, or others do not know yet. Whatever asks for nothing that is managed is taken.
    ///
    /// # Errors
    /// `ClientException` where hosts cannot be woken, `InvalidParameterException` while controllers are upgraded.
    pub(super) fn check(&self, api: &Api) -> Result<(), AwsError> {
        let is_scaled = self.scaling.and_then(|scaling| scaling.enabled) == Some(true);
        if is_scaled && !api.wakes_hosts() {
            return Err(client(
                "The value ENABLED of managedScaling.status needs a command by which hosts are woken that were put to sleep. Start every controller \
                 with --wake-command, and try again.",
            ));
        }
        let is_readable = !self.asks_for_something() || api.uses(Feature::ManagedScaling);
        errors::check_upgraded(
            is_readable,
            invalid,
            "Managed scaling, termination protection and draining are not supported",
        )
    }

    /// Whether it says anything but that nothing is managed.
    pub(super) fn asks_for_something(&self) -> bool {
        let nothing = ManagedScalingChanges {
            enabled: Some(false),
            ..ManagedScalingChanges::default()
        };
        self.scaling
            .is_some_and(|scaling| scaling != nothing && scaling != ManagedScalingChanges::default())
            || self.termination_protection == Some(true)
            || self.draining == Some(true)
    }
}

/// Refuses capacity providers while there may be controllers that do not know them.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(
        state.uses(Feature::CapacityProviders),
        invalid,
        "Capacity providers are not supported",
    )
}

/// The name of a capacity provider to create.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(super) fn new_name(name: &str) -> Result<CapacityProviderName, AwsError> {
    if !CapacityProviderName::is_allowed(name) {
        return Err(client(
            "The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters (upper and lowercase), \
             numbers, underscores, and hyphens. The name cannot be prefixed with \"aws\", \"ecs\", or \"fargate\". Specify a valid name and \
             try again.",
        ));
    }
    Ok(name.into())
}

/// What is written as `autoScalingGroupArn` of the capacity provider `name`.
///
/// # Errors
/// `ClientException` where it is missing or names another pool.
pub(super) fn group_of(
    name: &CapacityProviderName,
    given: Option<&AutoScalingGroupProvider>,
) -> Result<String, AwsError> {
    let arn = given
        .and_then(|group| group.auto_scaling_group_arn.clone())
        .unwrap_or_default();
    let is_arn_of = |arn: &str| {
        let group = arn
            .strip_prefix("arn:")
            .and_then(|rest| rest.rsplit_once("autoScalingGroupName/"));
        group.is_some_and(|(_, group)| group == name.as_str())
    };
    if arn == name.as_str() || is_arn_of(&arn) {
        return Ok(arn);
    }
    Err(client(format!(
        "autoScalingGroupProvider.autoScalingGroupArn must be {name}, or an ARN that ends in autoScalingGroupName/{name}. Berth has no Auto \
         Scaling groups: the hosts of capacity provider {name} are those whose agents were started with --capacity-provider {name}."
    )))
}

/// The capacity provider that a name or ARN means; it need not exist.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another account or region.
pub(super) fn name_of(scope: &Scope, given: Option<&str>) -> Result<CapacityProviderName, AwsError> {
    let text = given.unwrap_or_default();
    let name = match references::arn_in(scope, text)? {
        None => text.to_owned(),
        Some(ArnResource::CapacityProvider(name)) => name,
        Some(_) => {
            return Err(invalid(format!(
                "Invalid identifier: {text} is not a capacity provider."
            )));
        }
    };
    Ok(name.as_str().into())
}

/// Refuses to have one of ECS's own capacity providers changed.
///
/// # Errors
/// `ClientException`.
pub(super) fn check_not_predefined(name: &CapacityProviderName, done: &str) -> Result<(), AwsError> {
    match PredefinedCapacityProvider::of(name) {
        None => Ok(()),
        Some(_) => Err(client(format!(
            "The capacity provider {name} is reserved and cannot be {done}. PutClusterCapacityProviders says which clusters have it."
        ))),
    }
}

/// The capacity providers that a cluster is to have.
///
/// # Errors
/// As [`name_of`], and `InvalidParameterException` for too many or one that is named twice.
pub(super) fn of_cluster(scope: &Scope, given: &[String]) -> Result<Vec<CapacityProviderName>, AwsError> {
    let mut all = vec![];
    for text in given {
        let name = name_of(scope, Some(text))?;
        if all.contains(&name) {
            return Err(invalid(format!("The capacity provider {name} is given twice.")));
        }
        all.push(name);
    }
    if all.len() > MAX_PROVIDERS {
        return Err(invalid(
            "The maximum number of capacity providers per cluster has been exceeded.",
        ));
    }
    Ok(all)
}

/// The strategy of a request; whether the cluster has what it names is checked where the request is applied.
///
/// # Errors
/// As [`name_of`], and `InvalidParameterException` for numbers that ECS does not take.
pub(super) fn strategy(scope: &Scope, given: Vec<Given>) -> Result<CapacityProviderStrategy, AwsError> {
    if given.len() > MAX_PROVIDERS {
        return Err(invalid(format!(
            "A capacity provider strategy can contain at most {MAX_PROVIDERS} capacity providers, not {}.",
            given.len()
        )));
    }
    let mut strategy: CapacityProviderStrategy = vec![];
    for item in given {
        let item = CapacityProviderStrategyItem {
            capacity_provider: name_of(scope, item.capacity_provider.as_deref())?,
            weight: within("weight", item.weight, MAX_WEIGHT)?,
            base: within("base", item.base, MAX_BASE)?,
        };
        let same = |known: &CapacityProviderStrategyItem| known.capacity_provider == item.capacity_provider;
        if strategy.iter().any(same) {
            return Err(invalid(format!(
                "The capacity provider {} is twice in the capacity provider strategy.",
                item.capacity_provider
            )));
        }
        strategy.push(item);
    }
    let is_predefined =
        |item: &&CapacityProviderStrategyItem| PredefinedCapacityProvider::of(&item.capacity_provider).is_some();
    let predefined = strategy.iter().filter(is_predefined).count();
    if predefined > 0 && predefined < strategy.len() {
        return Err(invalid(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers. Specify one \
             or the other and try again.",
        ));
    }
    if strategy.iter().filter(|item| item.base > 0).count() > 1 {
        return Err(invalid(
            "Only one capacity provider in a capacity provider strategy can have a base defined.",
        ));
    }
    Ok(strategy)
}

fn within(member: &str, given: Option<i32>, most: i32) -> Result<u32, AwsError> {
    let number = given.unwrap_or(0);
    match u32::try_from(number) {
        Ok(valid) if number <= most => Ok(valid),
        _ => Err(invalid(format!(
            "The {member} of a capacity provider must be between 0 and {most}, not {number}."
        ))),
    }
}

/// How the tasks of a request are divided, which names a launch type, a strategy or neither; they may go to any host where the answer is empty.
///
/// # Errors
/// As [`strategy`], and `InvalidParameterException` for a request that names both, for capacity providers that the cluster does not have, and
/// for a strategy without any weight.
pub(super) fn of_request(
    cluster: &Cluster,
    launch_type: Option<&LaunchType>,
    given: Option<Vec<Given>>,
) -> Result<CapacityProviderStrategy, AwsError> {
    let given = strategy(&cluster.key.scope, given.unwrap_or_default())?;
    match (launch_type, given.is_empty()) {
        (Some(_), false) => Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        )),
        (Some(_), true) => Ok(vec![]),
        (None, false) => {
            check_usable(&given)?;
            let key = |item: &CapacityProviderStrategyItem| {
                cluster.key.scope.capacity_provider(item.capacity_provider.as_str())
            };
            let unknown =
                |item: &&CapacityProviderStrategyItem| !cluster.capacity_providers.contains(&item.capacity_provider);
            match given.iter().find(unknown) {
                Some(item) => {
                    let why = berth_core::state::Rejection::CapacityProviderNotAssociated(key(item));
                    Err(crate::api::errors::rejection(&why))
                }
                None => Ok(given),
            }
        }
        (None, true) => {
            let default = &cluster.default_capacity_provider_strategy;
            if !default.is_empty() && !has_weight(default) {
                return Err(invalid(
                    "There are no capacity providers with a weight value greater than zero defined in the default capacity provider strategy. \
                     At least one capacity provider must have a weight value greater than zero specified. Update the cluster's default capacity \
                     provider strategy or specify a valid capacity provider strategy and try again.",
                ));
            }
            Ok(default.clone())
        }
    }
}

/// Refuses a strategy by which no task beyond the base could go anywhere.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_usable(strategy: &[CapacityProviderStrategyItem]) -> Result<(), AwsError> {
    match strategy.is_empty() || has_weight(strategy) {
        true => Ok(()),
        false => Err(invalid(
            "There are no capacity providers with a weight value greater than zero defined in the capacity provider strategy. At least one \
             capacity provider must have a weight value greater than zero specified. Specify a valid capacity provider strategy and try again.",
        )),
    }
}

fn has_weight(strategy: &[CapacityProviderStrategyItem]) -> bool {
    strategy.iter().any(|item| item.weight > 0)
}
