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
    /// `daemon/CLUSTER/NAME`
    Daemon {
        /// Cluster name.
        cluster: String,
        /// Name of the daemon.
        daemon: String,
    },
    /// `daemon-deployment/CLUSTER/DAEMON/ID`
    DaemonDeployment {
        /// Cluster name.
        cluster: String,
        /// Name of the daemon.
        daemon: String,
        /// Its number.
        id: String,
    },
    /// `daemon-revision/CLUSTER/DAEMON/ID`
    DaemonRevision {
        /// Cluster name.
        cluster: String,
        /// Name of the daemon.
        daemon: String,
        /// Its number.
        id: String,
    },
    /// `daemon-task-definition/FAMILY:REVISION`
    DaemonTaskDefinition {
        /// Family.
        family: String,
        /// Revision.
        revision: u32,
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
            // What is called so is kept apart from services.
            "service" if !last.contains(':') => ArnResource::Service { cluster, service: last },
            "daemon" => ArnResource::Daemon {
                cluster: cluster?,
                daemon: last,
            },
            "task" => ArnResource::Task { cluster, id: last },
            "container-instance" => ArnResource::ContainerInstance { cluster, id: last },
            "task-definition" | "daemon-task-definition" if cluster.is_none() => {
                let (family, revision) = last.split_once(':')?;
                let (family, revision) = (family.to_owned(), revision.parse().ok()?);
                match kind {
                    "task-definition" => ArnResource::TaskDefinition { family, revision },
                    _ => ArnResource::DaemonTaskDefinition { family, revision },
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
    // A name with a colon is kept apart from those of services and daemons.
    if service.is_empty() || service.contains(':') || !is_its_own {
        return None;
    }
    let (service, id) = (service.to_owned(), id.to_owned());
    match kind {
        "task-set" => Some(ArnResource::TaskSet { cluster, service, id }),
        "service-deployment" => Some(ArnResource::ServiceDeployment { cluster, service, id }),
        "service-revision" => Some(ArnResource::ServiceRevision { cluster, service, id }),
        "daemon-deployment" => Some(ArnResource::DaemonDeployment {
            cluster,
            daemon: service,
            id,
        }),
        "daemon-revision" => Some(ArnResource::DaemonRevision {
            cluster,
            daemon: service,
            id,
        }),
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
    /// The service's ARN, in the long form, or that of the daemon.
    #[must_use]
    pub fn arn(&self) -> String {
        let (kind, name) = self.kind_and_name();
        write(&self.cluster.scope, format_args!("{kind}/{}/{name}", self.cluster.name))
    }

    /// The ARN of one of its service deployments or daemon deployments.
    #[must_use]
    pub fn service_deployment_arn(&self, id: &DeploymentId) -> String {
        self.arn_of("deployment", id)
    }

    /// The ARN of one of its revisions.
    #[must_use]
    pub fn service_revision_arn(&self, id: &DeploymentId) -> String {
        self.arn_of("revision", id)
    }

    /// The ARN of one of its task sets.
    #[must_use]
    pub fn task_set_arn(&self, id: &DeploymentId) -> String {
        let (cluster, service) = (&self.cluster.name, &self.name);
        write(&self.cluster.scope, format_args!("task-set/{cluster}/{service}/{id}"))
    }

    fn arn_of(&self, part: &str, id: &DeploymentId) -> String {
        let (kind, name) = self.kind_and_name();
        let (cluster, id) = (&self.cluster.name, id.number());
        write(&self.cluster.scope, format_args!("{kind}-{part}/{cluster}/{name}/{id}"))
    }

    fn kind_and_name(&self) -> (&'static str, &str) {
        match self.name.of_daemon() {
            Some(name) => ("daemon", name),
            None => ("service", self.name.as_str()),
        }
    }
}

impl TaskDefinitionKey {
    /// The ARN of this revision.
    #[must_use]
    pub fn arn(&self) -> String {
        let (kind, family) = match self.family.of_daemons() {
            Some(family) => ("daemon-task-definition", family),
            None => ("task-definition", self.family.as_str()),
        };
        write(&self.scope, format_args!("{kind}/{family}:{}", self.revision))
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
    fn arns_of_a_daemon_say_so_and_none_of_a_service_names_one() {
        let scope = Scope::new("123456789012", "eu-west-1");
        let logs = scope.cluster("shop").daemon("logs");
        let prefix = "arn:aws:ecs:eu-west-1:123456789012";
        let id = DeploymentId::from("ecs-svc/1234");
        let definition = TaskDefinitionKey {
            scope,
            family: super::super::Family::for_daemons("agent"),
            revision: 3,
        };
        let (cluster, daemon, id_of) = ("shop".to_owned(), "logs".to_owned(), "1234".to_owned());
        for (arn, text, resource) in [
            (
                logs.arn(),
                "daemon/shop/logs",
                ArnResource::Daemon {
                    cluster: cluster.clone(),
                    daemon: daemon.clone(),
                },
            ),
            (
                logs.service_deployment_arn(&id),
                "daemon-deployment/shop/logs/1234",
                ArnResource::DaemonDeployment {
                    cluster: cluster.clone(),
                    daemon: daemon.clone(),
                    id: id_of.clone(),
                },
            ),
            (
                logs.service_revision_arn(&id),
                "daemon-revision/shop/logs/1234",
                ArnResource::DaemonRevision {
                    cluster,
                    daemon,
                    id: id_of,
                },
            ),
            (
                definition.arn(),
                "daemon-task-definition/agent:3",
                ArnResource::DaemonTaskDefinition {
                    family: "agent".into(),
                    revision: 3,
                },
            ),
        ] {
            assert_eq!(arn, format!("{prefix}:{text}"));
            assert_eq!(Arn::parse(&arn).expect("parses").resource, resource);
        }
        assert_eq!(Arn::parse(&format!("{prefix}:service/shop/daemon:logs")), None);
        assert_eq!(
            Arn::parse(&format!("{prefix}:service-deployment/shop/daemon:logs/1")),
            None
        );
        assert_eq!(Arn::parse(&format!("{prefix}:daemon/logs")), None);
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
