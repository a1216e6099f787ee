//! ARNs in ECS's long form: written from keys, and parsed back into account, region and resource.

use std::fmt;

use super::names::{ClusterKey, ContainerInstanceId, DeploymentId, Scope, ServiceKey, TaskDefinitionKey, TaskId};

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
    /// `service-deployment/CLUSTER/SERVICE/ID`
    ServiceDeployment {
        /// Cluster name.
        cluster: String,
        /// Service name.
        service: String,
        /// Its number.
        id: String,
    },
    /// `service-revision/CLUSTER/SERVICE/ID`
    ServiceRevision {
        /// Cluster name.
        cluster: String,
        /// Service name.
        service: String,
        /// Its number.
        id: String,
    },
    /// `task-set/CLUSTER/SERVICE/ecs-svc/NUMBER`
    TaskSet {
        /// Cluster name.
        cluster: String,
        /// Service name.
        service: String,
        /// Its id, with `ecs-svc/`.
        id: String,
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
        let scope = Scope::new(account, region);
        if let Some((service, id)) = last.split_once('/') {
            let resource = of_service(kind, cluster?, service, id)?;
            return Some(Self { scope, resource });
        }
        if last.is_empty() {
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
        Some(Self { scope, resource })
    }
}

/// What belongs to a service and has a part of its own in an ARN.
fn of_service(kind: &str, cluster: String, service: &str, id: &str) -> Option<ArnResource> {
    let is_number = |number: &str| !number.is_empty() && !number.contains('/');
    let is_its_own = match kind {
        "task-set" => id.strip_prefix("ecs-svc/").is_some_and(is_number),
        _ => is_number(id),
    };
    if service.is_empty() || !is_its_own {
        return None;
    }
    let (service, id) = (service.to_owned(), id.to_owned());
    match kind {
        "task-set" => Some(ArnResource::TaskSet { cluster, service, id }),
        "service-deployment" => Some(ArnResource::ServiceDeployment { cluster, service, id }),
        "service-revision" => Some(ArnResource::ServiceRevision { cluster, service, id }),
        _ => None,
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

    /// The ARN of one of its service deployments.
    #[must_use]
    pub fn service_deployment_arn(&self, id: &DeploymentId) -> String {
        self.arn_of("service-deployment", id.number())
    }

    /// The ARN of one of its revisions.
    #[must_use]
    pub fn service_revision_arn(&self, id: &DeploymentId) -> String {
        self.arn_of("service-revision", id.number())
    }

    /// The ARN of one of its task sets.
    #[must_use]
    pub fn task_set_arn(&self, id: &DeploymentId) -> String {
        self.arn_of("task-set", id.as_str())
    }

    fn arn_of(&self, kind: &str, id: &str) -> String {
        let (cluster, service) = (&self.cluster.name, &self.name);
        write(&self.cluster.scope, format_args!("{kind}/{cluster}/{service}/{id}"))
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
    fn arn_of_a_service_deployment_or_revision_has_the_number_of_its_deployment() {
        let web = Scope::new("123456789012", "eu-west-1").cluster("shop").service("web");
        let id = DeploymentId::from("ecs-svc/1234");
        let prefix = "arn:aws:ecs:eu-west-1:123456789012";
        let (deployment, revision) = (web.service_deployment_arn(&id), web.service_revision_arn(&id));
        assert_eq!(deployment, format!("{prefix}:service-deployment/shop/web/1234"));
        assert_eq!(revision, format!("{prefix}:service-revision/shop/web/1234"));
        let (cluster, service, id) = ("shop".to_owned(), "web".to_owned(), "1234".to_owned());
        let parsed = Arn::parse(&revision).expect("parses").resource;
        assert_eq!(parsed, ArnResource::ServiceRevision { cluster, service, id });
    }

    #[test]
    fn arn_of_a_task_set_has_its_whole_id() {
        let web = Scope::new("123456789012", "eu-west-1").cluster("shop").service("web");
        let arn = web.task_set_arn(&DeploymentId::from("ecs-svc/1234"));
        assert_eq!(arn, "arn:aws:ecs:eu-west-1:123456789012:task-set/shop/web/ecs-svc/1234");
        let (cluster, service, id) = ("shop".to_owned(), "web".to_owned(), "ecs-svc/1234".to_owned());
        let parsed = Arn::parse(&arn).expect("parses").resource;
        assert_eq!(parsed, ArnResource::TaskSet { cluster, service, id });
    }

    #[test]
    fn arn_of_another_service_or_shape_is_refused() {
        for text in [
            "",
            "shop",
            "arn:aws:s3:::bucket",
            "arn:aws:ecs:r:a:cluster/a/b",
            "arn:aws:ecs:r:a:task-definition/x",
            "arn:aws:ecs:r:a:task/a/b/c",
            "arn:aws:ecs:r:a:service-revision/a/b",
            "arn:aws:ecs:r:a:service-revision/a/b/c/d",
            "arn:aws:ecs:r:a:task-set/a/b/1",
            "arn:aws:ecs:r:a:task-set/a/b/ecs-svc/",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
