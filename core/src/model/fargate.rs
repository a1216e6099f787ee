//! The launch type `FARGATE`: which tasks are of it, by which of ECS's own capacity providers, and the platform that they ask for.

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderName, CapacityProviderStrategyItem, PlacementConstraint, Service, ServiceRevision, TaskSet,
    attribute_names,
};

/// The launch type of tasks that go to hosts which offer it alone.
pub const FARGATE: &str = "FARGATE";

/// A capacity provider that every account has, and nobody creates or deletes: hosts that offer themselves to tasks of the launch type
/// `FARGATE`. With [`Feature::FargatePlatform`](crate::state::Feature) alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredefinedCapacityProvider {
    /// Hosts that take them for as long as they want.
    Fargate,
    /// Hosts that may go any day.
    FargateSpot,
}

impl PredefinedCapacityProvider {
    /// Both, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Fargate, Self::FargateSpot];

    /// ECS's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fargate => FARGATE,
            Self::FargateSpot => "FARGATE_SPOT",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn of(name: &CapacityProviderName) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name.as_str())
    }

    /// What hosts of it say of themselves.
    #[must_use]
    pub fn required_attribute(self) -> PlacementConstraint {
        let name = match self {
            Self::Fargate => attribute_names::FARGATE,
            Self::FargateSpot => attribute_names::FARGATE_SPOT,
        };
        PlacementConstraint::Attribute {
            name: name.to_owned(),
            values: vec![],
        }
    }
}

/// The launch type of tasks that were asked for with a launch type or a strategy; nothing stands for `EC2`.
#[must_use]
pub fn launch_type_of<'a>(strategy: &[CapacityProviderStrategyItem], launch_type: Option<&'a str>) -> Option<&'a str> {
    let is_predefined =
        |item: &CapacityProviderStrategyItem| PredefinedCapacityProvider::of(&item.capacity_provider).is_some();
    match strategy.iter().any(is_predefined) {
        true => Some(FARGATE),
        false => launch_type,
    }
}

impl Service {
    /// The launch type of its tasks; nothing stands for `EC2`.
    #[must_use]
    pub fn launches_on(&self) -> Option<&str> {
        launch_type_of(&self.capacity_provider_strategy, self.launch_type.as_deref())
    }
}

impl TaskSet {
    /// The launch type of its tasks; nothing stands for `EC2`.
    #[must_use]
    pub fn launches_on(&self) -> Option<&str> {
        launch_type_of(&self.capacity_provider_strategy, self.launch_type.as_deref())
    }
}

impl ServiceRevision {
    /// The launch type of its tasks; nothing stands for `EC2`.
    #[must_use]
    pub fn launches_on(&self) -> Option<&str> {
        launch_type_of(&self.capacity_provider_strategy, self.launch_type.as_deref())
    }
}

/// The version of the platform that tasks of the launch type `FARGATE` are asked to run on. There is one, so that all that differs is how it was
/// asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlatformVersion {
    /// The newest.
    #[default]
    #[serde(rename = "LATEST")]
    Latest,
    /// The one that there is, by its number. With [`Feature::FargatePlatform`](crate::state::Feature) alone.
    #[serde(rename = "1.4.0")]
    V1_4_0,
}

impl PlatformVersion {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "LATEST",
            Self::V1_4_0 => "1.4.0",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Latest, Self::V1_4_0]
            .into_iter()
            .find(|version| version.as_str() == name)
    }

    /// The version that it comes to.
    #[must_use]
    pub fn resolved(self) -> Self {
        Self::V1_4_0
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        *self == Self::Latest
    }
}

/// The processor architecture that a task definition is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuArchitecture {
    /// x86 with 64 bits.
    #[serde(rename = "X86_64")]
    X86_64,
    /// Arm with 64 bits.
    #[serde(rename = "ARM64")]
    Arm64,
}

impl CpuArchitecture {
    /// The value of the attribute `ecs.cpu-architecture` of hosts that have it.
    #[must_use]
    pub fn of_hosts(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// The platform that a task definition is made for, as far as it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimePlatform {
    /// The architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_architecture: Option<CpuArchitecture>,
    /// Whether it says that its operating system is Linux, the one that hosts have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linux: bool,
}

impl RuntimePlatform {
    /// What hosts of the platform say of themselves.
    #[must_use]
    pub fn required_attributes(self) -> Vec<PlacementConstraint> {
        let needs = |name: &str, value: &str| PlacementConstraint::Attribute {
            name: name.to_owned(),
            values: vec![value.to_owned()],
        };
        let architecture = self
            .cpu_architecture
            .map(|architecture| needs(attribute_names::CPU_ARCHITECTURE, architecture.of_hosts()));
        let system = self.linux.then(|| needs(attribute_names::OS_TYPE, "linux"));
        architecture.into_iter().chain(system).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> CapacityProviderStrategyItem {
        CapacityProviderStrategyItem {
            capacity_provider: name.into(),
            weight: 1,
            base: 0,
        }
    }

    #[test]
    fn launch_type_follows_from_the_strategy_where_it_names_capacity_providers_of_ecs() {
        assert_eq!(launch_type_of(&[item("FARGATE_SPOT")], None), Some(FARGATE));
        assert_eq!(launch_type_of(&[item("gpu")], None), None);
        assert_eq!(launch_type_of(&[], Some(FARGATE)), Some(FARGATE));
        assert_eq!(launch_type_of(&[], Some("EC2")), Some("EC2"));
        assert_eq!(PredefinedCapacityProvider::of(&"fargate".into()), None);
    }

    #[test]
    fn platform_versions_have_the_names_of_ecs_and_come_to_one() {
        for (name, version) in [("LATEST", PlatformVersion::Latest), ("1.4.0", PlatformVersion::V1_4_0)] {
            assert_eq!(PlatformVersion::of(name), Some(version));
            assert_eq!(version.resolved().as_str(), "1.4.0");
            let kept = serde_json::to_string(&version).expect("serializes");
            assert_eq!(kept, format!("\"{name}\""));
        }
        assert_eq!(PlatformVersion::of("1.3.0"), None);
    }

    #[test]
    fn platform_needs_what_it_says_and_nothing_else() {
        let names = |platform: RuntimePlatform| -> Vec<String> {
            let needed = platform.required_attributes();
            needed
                .iter()
                .filter_map(|needs| needs.expression().map(|text| text.into_owned()))
                .collect()
        };
        let arm = RuntimePlatform {
            cpu_architecture: Some(CpuArchitecture::Arm64),
            linux: true,
        };
        assert_eq!(
            names(arm),
            [
                "attribute:ecs.cpu-architecture in [arm64]",
                "attribute:ecs.os-type in [linux]"
            ]
        );
        assert_eq!(names(RuntimePlatform::default()), Vec::<String>::new());
    }
}
