//! What a cluster holds, asked for through the API: every page of a list, and descriptions in as many calls as it takes.
//!
//! Owns the limits of those calls, and the words for a cluster that does not exist. Shell.

use anyhow::{Result, anyhow, bail};
use berth_aws::Operation;
use berth_aws::berth::operations::DescribeHosts;
use berth_aws::berth::{DescribeHostsRequest, Host};
use berth_aws::ecs::operations::{
    DescribeContainerInstances, DescribeServices, DescribeTasks, ListClusters, ListContainerInstances, ListServices,
    ListTasks,
};
use berth_aws::ecs::{
    ContainerInstance, Deployment, DescribeContainerInstancesRequest, DescribeServicesRequest, DescribeTasksRequest,
    DesiredStatus, LaunchType, ListClustersRequest, ListContainerInstancesRequest, ListServicesRequest,
    ListTasksRequest, Service, Task,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, ServiceError};
use crate::daemons;
use crate::target::Target;

/// Tasks or container instances that ECS describes in one call, and services.
const DESCRIBE_LIMIT: usize = 100;
const DESCRIBE_SERVICES_LIMIT: usize = 10;

/// Pages of one list: ten times the 100,000 tasks that a cluster may be thought to have, at 100 a page. A list that goes on
/// beyond is a fault of the server, which must not hold a command forever.
const MAX_PAGES: usize = 10_000;

/// There is no cluster of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no cluster {name} in region {region}; {}", self.what_there_is())]
pub(crate) struct NoCluster {
    /// The name that was asked for.
    pub(crate) name: String,
    /// Where.
    pub(crate) region: String,
    /// Names of those that there are.
    pub(crate) others: Vec<String>,
}

impl NoCluster {
    fn what_there_is(&self) -> String {
        match self.others.as_slice() {
            [] => "there is none yet; `berth aws ecs create-cluster` makes one".to_owned(),
            names => format!("there are {}; choose with --cluster", names.join(", ")),
        }
    }
}

/// A cluster and the client that asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    client: Client,
    name: String,
    region: String,
}

impl Cluster {
    /// The cluster that a command means.
    ///
    /// # Errors
    /// If the endpoint is no plain HTTP address.
    pub(crate) fn of(target: &Target) -> Result<Self> {
        Ok(Self {
            client: target.client()?,
            name: target.cluster.clone(),
            region: target.region.clone(),
        })
    }

    /// A cluster of the controller that a client asks.
    pub(crate) fn over(client: &Client, name: &str) -> Self {
        Self {
            client: client.clone(),
            name: name.to_owned(),
            region: client.region().to_owned(),
        }
    }

    /// Another cluster of the same controller.
    pub(crate) fn beside(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name as requests carry it.
    pub(crate) fn named(&self) -> Option<String> {
        Some(self.name.clone())
    }

    /// Calls an operation on the cluster.
    ///
    /// # Errors
    /// As [`Client::call`]; if the cluster does not exist, with the names of those that do.
    pub(crate) async fn call<O>(&self, input: &O::Input) -> Result<O::Output>
    where
        O: Operation,
        O::Input: Serialize,
        O::Output: DeserializeOwned,
    {
        match self.client.call::<O>(input).await {
            Err(error) if is_refusal(&error, "ClusterNotFoundException") => Err(self.missing().await.into()),
            outcome => outcome,
        }
    }

    async fn missing(&self) -> NoCluster {
        let listed = self.client.call::<ListClusters>(&ListClustersRequest::default()).await;
        let arns = listed.ok().and_then(|page| page.cluster_arns).unwrap_or_default();
        NoCluster {
            name: self.name.clone(),
            region: self.region.clone(),
            others: arns.iter().map(|arn| last_part(arn).to_owned()).collect(),
        }
    }

    /// ARNs of its tasks, or of those of one of its services or daemons, of which this is wanted.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn task_arns(&self, service: Option<&str>, wanted: DesiredStatus) -> Result<Vec<String>> {
        let daemon = service.and_then(daemons::named);
        let request = ListTasksRequest {
            service_name: service.filter(|_| daemon.is_none()).map(str::to_owned),
            daemon_name: daemon.map(str::to_owned),
            desired_status: Some(wanted),
            ..Default::default()
        };
        let listed = self.list_tasks(request).await;
        listed.map_err(|error| self.explain_service(error, service))
    }

    /// ARNs of the tasks of the launch type FARGATE on a host, of which this is wanted.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn fargate_task_arns(&self, host: &str, wanted: DesiredStatus) -> Result<Vec<String>> {
        let request = ListTasksRequest {
            container_instance: Some(host.to_owned()),
            launch_type: Some(LaunchType::Fargate),
            desired_status: Some(wanted),
            ..Default::default()
        };
        self.list_tasks(request).await
    }

    /// All that a request lists, whatever page it is on.
    async fn list_tasks(&self, mut request: ListTasksRequest) -> Result<Vec<String>> {
        request.cluster = self.named();
        let mut arns = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.call::<ListTasks>(&request).await?;
            arns.extend(page.task_arns.unwrap_or_default());
            request.next_token = page.next_token.filter(|token| !token.is_empty());
            if request.next_token.is_none() {
                return Ok(arns);
            }
        }
        bail!("the list of tasks does not end")
    }

    /// ARNs of all its tasks, or of those of one service: first those that are to run, then those that are to stop or have.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn all_task_arns(&self, service: Option<&str>) -> Result<Vec<String>> {
        let mut arns = self.task_arns(service, DesiredStatus::Running).await?;
        arns.extend(self.task_arns(service, DesiredStatus::Stopped).await?);
        // A task that was told to stop in between is in both lists.
        let mut seen = std::collections::BTreeSet::new();
        arns.retain(|arn| seen.insert(arn.clone()));
        Ok(arns)
    }

    fn explain_service(&self, error: anyhow::Error, service: Option<&str>) -> anyhow::Error {
        match service {
            Some(service) if is_refusal(&error, "ServiceNotFoundException") => self.no_service(service),
            Some(service) => match daemons::named(service) {
                Some(daemon) if is_refusal(&error, "InvalidParameterException") => self.no_daemon(daemon),
                _ => error,
            },
            None => error,
        }
    }

    /// That there is no such service, or daemon.
    pub(crate) fn no_service(&self, service: &str) -> anyhow::Error {
        if let Some(daemon) = daemons::named(service) {
            return self.no_daemon(daemon);
        }
        anyhow!(
            "cluster {} has no service {}; `berth aws ecs list-services --cluster {}` lists those that it has",
            self.name,
            last_part(service),
            self.name
        )
    }

    /// Descriptions of tasks; those that are forgotten by now are left out.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn tasks(&self, arns: &[String]) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for arns in arns.chunks(DESCRIBE_LIMIT) {
            let request = DescribeTasksRequest {
                cluster: self.named(),
                tasks: Some(arns.to_vec()),
                ..Default::default()
            };
            tasks.extend(self.call::<DescribeTasks>(&request).await?.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    /// ARNs of its container instances.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn host_arns(&self) -> Result<Vec<String>> {
        let mut arns = Vec::new();
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let request = ListContainerInstancesRequest {
                cluster: self.named(),
                next_token,
                ..Default::default()
            };
            let page = self.call::<ListContainerInstances>(&request).await?;
            arns.extend(page.container_instance_arns.unwrap_or_default());
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(arns);
            }
        }
        bail!("the list of container instances does not end")
    }

    /// Descriptions of container instances.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn hosts(&self, arns: &[String]) -> Result<Vec<ContainerInstance>> {
        let mut hosts = Vec::new();
        for arns in arns.chunks(DESCRIBE_LIMIT) {
            let request = DescribeContainerInstancesRequest {
                cluster: self.named(),
                container_instances: Some(arns.to_vec()),
                ..Default::default()
            };
            let answer = self.call::<DescribeContainerInstances>(&request).await?;
            hosts.extend(answer.container_instances.unwrap_or_default());
        }
        Ok(hosts)
    }

    /// What Berth knows of these hosts beyond ECS's descriptions.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn host_details(&self, arns: &[String]) -> Result<Vec<Host>> {
        let mut hosts = Vec::new();
        for arns in arns.chunks(DESCRIBE_LIMIT) {
            let request = DescribeHostsRequest {
                cluster: self.named(),
                container_instances: Some(arns.to_vec()),
            };
            let answer = self.call::<DescribeHosts>(&request).await?;
            hosts.extend(answer.hosts.unwrap_or_default());
        }
        Ok(hosts)
    }

    /// ARNs of its services, the first `limit` of them.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn service_arns(&self, limit: usize) -> Result<Vec<String>> {
        let mut arns = Vec::new();
        let mut next_token = None;
        while arns.len() < limit {
            let request = ListServicesRequest {
                cluster: self.named(),
                max_results: Some(100),
                next_token,
                ..Default::default()
            };
            let page = self.call::<ListServices>(&request).await?;
            let found = page.service_arns.unwrap_or_default();
            next_token = page.next_token.filter(|token| !token.is_empty() && !found.is_empty());
            arns.extend(found);
            if next_token.is_none() {
                break;
            }
        }
        arns.truncate(limit);
        Ok(arns)
    }

    /// Descriptions of services, by name or ARN; those that do not exist are left out.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn services(&self, named: &[String]) -> Result<Vec<Service>> {
        let mut services = Vec::new();
        for named in named.chunks(DESCRIBE_SERVICES_LIMIT) {
            let request = DescribeServicesRequest {
                cluster: self.named(),
                services: Some(named.to_vec()),
                ..Default::default()
            };
            let answer = self.call::<DescribeServices>(&request).await?;
            services.extend(answer.services.unwrap_or_default());
        }
        Ok(services)
    }

    /// A service, `None` if there is none of the name or it was deleted.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub(crate) async fn service(&self, named: &str) -> Result<Option<Service>> {
        let found = self.services(&[named.to_owned()]).await?;
        Ok(found
            .into_iter()
            .find(|service| service.status.as_deref() != Some("INACTIVE")))
    }
}

/// True if the controller answered with this error.
pub(crate) fn is_refusal(error: &anyhow::Error, code: &str) -> bool {
    error
        .downcast_ref::<ServiceError>()
        .is_some_and(|refusal| refusal.code == code)
}

/// The deployment of a service that says what it should be.
pub(crate) fn primary(service: &Service) -> Option<&Deployment> {
    let mut deployments = service.deployments.iter().flatten();
    deployments.find(|deployment| deployment.status.as_deref() == Some("PRIMARY"))
}

/// What stands after the last slash of an ARN.
pub(crate) fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
