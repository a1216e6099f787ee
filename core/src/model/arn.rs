//! ARNs in ECS's long form: written from keys, and parsed back into account, region and resource.

use std::fmt;

use super::names::{ClusterKey, ContainerInstanceId, Scope, ServiceKey, TaskDefinitionKey, TaskId};

/// An ARN of service `ecs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// Account and region.
    pub scope: Scope,
    /// What it names.
    pub resource: ArnResource,
}

/// What an ECS ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArnResource {
    /// `cluster/NAME`
    Cluster(String),
    /// `service/CLUSTER/NAME`, or the short form without cluster.
    Service {
        /// Cluster name; absent in the short form.
        cluster: Option<String>,
        /// Service name.
        service: String,
    },
    /// `task/CLUSTER/ID`, or the short form without cluster.
    Task {
        /// Cluster name; absent in the short form.
        cluster: Option<String>,
        /// Task id.
        id: String,
    },
    /// `container-instance/CLUSTER/ID`, or the short form without cluster.
    ContainerInstance {
        /// Cluster name; absent in the short form.
        cluster: Option<String>,
        /// Container instance id.
        id: String,
    },
    /// `capacity-provider/NAME`
    CapacityProvider(String),
    /// `task-definition/FAMILY:REVISION`
    TaskDefinition {
        /// Family.
        family: String,
        /// Revision.
        revision: u32,
    },
}

impl Arn {
    /// Reads an ECS ARN; `None` where the text is no ARN of a resource known here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" || !parts.next()?.starts_with("aws") || parts.next()? != "ecs" {
            return None;
        }
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let (kind, path) = resource.split_once('/')?;
        let (cluster, last) = match path.split_once('/') {
            Some((cluster, last)) => (Some(cluster.to_owned()), last.to_owned()),
            None => (None, path.to_owned()),
        };
        if last.is_empty() || last.contains('/') {
            return None;
        }
        let resource = match kind {
            "cluster" if cluster.is_none() => ArnResource::Cluster(last),
            "capacity-provider" if cluster.is_none() => ArnResource::CapacityProvider(last),
            "service" => ArnResource::Service { cluster, service: last },
            "task" => ArnResource::Task { cluster, id: last },
            "container-instance" => ArnResource::ContainerInstance { cluster, id: last },
            "task-definition" if cluster.is_none() => {
                let (family, revision) = last.split_once(':')?;
                ArnResource::TaskDefinition {
                    family: family.to_owned(),
                    revision: revision.parse().ok()?,
                }
            }
            _ => return None,
        };
        Some(Self {
            scope: Scope::new(account, region),
            resource,
        })
    }
}

fn write(scope: &Scope, resource: fmt::Arguments<'_>) -> String {
    format!("arn:aws:ecs:{}:{}:{resource}", scope.region, scope.account)
}

impl ClusterKey {
    /// The cluster's ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        write(&self.scope, format_args!("cluster/{}", self.name))
    }

    /// The ARN of a task in this cluster.
    #[must_use]
    pub fn task_arn(&self, id: TaskId) -> String {
        self.arn_of("task", id)
    }

    /// The ARN of a container instance in this cluster.
    #[must_use]
    pub fn container_instance_arn(&self, id: ContainerInstanceId) -> String {
        self.arn_of("container-instance", id)
    }

    /// The ARN of what a caller names in this cluster, or of a part of something in it, whether or not it exists.
    #[must_use]
    pub fn arn_of(&self, kind: &str, id: impl fmt::Display) -> String {
        write(&self.scope, format_args!("{kind}/{}/{id}", self.name))
    }
}

impl ServiceKey {
    /// The service's ARN, in the long form.
    #[must_use]
    pub fn arn(&self) -> String {
        write(
            &self.cluster.scope,
            format_args!("service/{}/{}", self.cluster.name, self.name),
        )
    }
}

impl TaskDefinitionKey {
    /// The ARN of this revision.
    #[must_use]
    pub fn arn(&self) -> String {
        write(
            &self.scope,
            format_args!("task-definition/{}:{}", self.family, self.revision),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_written_from_a_key_parses_back() {
        let cluster = Scope::new("123456789012", "eu-west-1").cluster("shop");
        let arn = Arn::parse(&cluster.task_arn(TaskId(5))).expect("parses");
        assert_eq!(arn.scope, cluster.scope);
        assert_eq!(
            arn.resource,
            ArnResource::Task {
                cluster: Some("shop".into()),
                id: TaskId(5).to_string()
            }
        );
        let arn = Arn::parse(&cluster.service("web").arn()).expect("parses");
        assert_eq!(
            arn.resource,
            ArnResource::Service {
                cluster: Some("shop".into()),
                service: "web".into()
            }
        );
    }

    #[test]
    fn arn_of_another_service_or_shape_is_refused() {
        for text in [
            "",
            "shop",
            "arn:aws:s3:::bucket",
            "arn:aws:ecs:r:a:cluster/a/b",
            "arn:aws:ecs:r:a:task-definition/x",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
