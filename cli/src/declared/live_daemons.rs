//! What there is of managed daemons and their task definitions, in the form of the requests that make them. Shell.

use anyhow::Result;
use berth_aws::ecs::operations::{
    DescribeDaemonRevisions, DescribeDaemonTaskDefinition, ListDaemonTaskDefinitions, ListTagsForResource,
};
use berth_aws::ecs::{
    DaemonDeployment, DaemonDetail, DaemonRevision, DaemonTaskDefinitionStatusFilter, DescribeDaemonRevisionsRequest,
    DescribeDaemonTaskDefinitionRequest, ListDaemonTaskDefinitionsRequest, ListTagsForResourceRequest, SortOrder,
};
use serde_json::{Value, json};

use super::live::{Live, MAX_PAGES};
use crate::cluster::{Cluster, is_refusal, last_part};

impl Live {
    /// A daemon that is not gone, with its tags: the members of `CreateDaemon`, and `daemonArn` and `status`. What it is to be is what its newest
    /// deployment brings, or returns to.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn daemon(&self, cluster: &str, name: &str) -> Result<Option<Value>> {
        let of = Cluster::over(self.client(), cluster);
        let daemon = match of.daemon(name).await {
            Err(error) if error.is::<crate::cluster::NoCluster>() => return Ok(None),
            daemon => daemon?,
        };
        let Some(daemon) = daemon else { return Ok(None) };
        let deployment = match daemon.deployment_arn.as_deref() {
            Some(arn) => of.daemon_deployment(arn).await?,
            None => None,
        };
        let target = deployment.as_ref().and_then(target_of);
        let revision = match target {
            Some(arn) => self.daemon_revision(arn).await?,
            None => None,
        };
        let mut shown = shown(&daemon, deployment.as_ref(), revision.as_ref());
        shown["tags"] = self.tags(daemon.daemon_arn.as_deref()).await?;
        Ok(Some(shown))
    }

    async fn daemon_revision(&self, arn: &str) -> Result<Option<DaemonRevision>> {
        let request = DescribeDaemonRevisionsRequest {
            daemon_revision_arns: Some(vec![arn.to_owned()]),
        };
        let answer = self.client().call::<DescribeDaemonRevisions>(&request).await?;
        Ok(answer.daemon_revisions.into_iter().flatten().next())
    }

    /// The newest active revision of a family of daemon task definitions, with its tags as a member.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn newest_daemon_revision(&self, family: &str) -> Result<Option<Value>> {
        let Some(newest) = self.daemon_revisions(family).await?.into_iter().next() else {
            return Ok(None);
        };
        let request = DescribeDaemonTaskDefinitionRequest {
            daemon_task_definition: Some(newest),
        };
        let described = self.client().call::<DescribeDaemonTaskDefinition>(&request).await?;
        let mut definition = serde_json::to_value(described.daemon_task_definition)?;
        definition["tags"] = self.tags(definition["daemonTaskDefinitionArn"].as_str()).await?;
        Ok(Some(definition))
    }

    /// Whether there is this revision of a daemon task definition, given as `family:revision`.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn has_daemon_revision(&self, revision: &str) -> Result<bool> {
        let request = DescribeDaemonTaskDefinitionRequest {
            daemon_task_definition: Some(revision.to_owned()),
        };
        match self.client().call::<DescribeDaemonTaskDefinition>(&request).await {
            Err(error) if is_refusal(&error, "ClientException") => Ok(false),
            answer => Ok(answer.map(|_| true)?),
        }
    }

    /// The active revisions of a family of daemon task definitions, as `family:revision`, the newest first.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn daemon_revisions(&self, family: &str) -> Result<Vec<String>> {
        let (mut revisions, mut next_token) = (vec![], None);
        for _ in 0..MAX_PAGES {
            let request = ListDaemonTaskDefinitionsRequest {
                family: Some(family.to_owned()),
                status: Some(DaemonTaskDefinitionStatusFilter::Active),
                sort: Some(SortOrder::Desc),
                next_token,
                ..Default::default()
            };
            let page = self.client().call::<ListDaemonTaskDefinitions>(&request).await?;
            let summaries = page.daemon_task_definitions.unwrap_or_default();
            let arns = summaries.iter().filter_map(|summary| summary.arn.as_deref());
            revisions.extend(arns.map(|arn| last_part(arn).to_owned()));
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(revisions);
            }
        }
        anyhow::bail!("the list of daemon task definitions does not end")
    }

    async fn tags(&self, arn: Option<&str>) -> Result<Value> {
        let request = ListTagsForResourceRequest {
            resource_arn: arn.map(str::to_owned),
        };
        let answer = self.client().call::<ListTagsForResource>(&request).await?;
        Ok(serde_json::to_value(answer.tags.unwrap_or_default())?)
    }
}

/// The ARN of the revision that a deployment brings, or to which it returns.
fn target_of(deployment: &DaemonDeployment) -> Option<&str> {
    let rollback = deployment.rollback.as_ref();
    let returns_to = rollback.and_then(|rollback| rollback.rollback_target_daemon_revision_arn.as_deref());
    let target = deployment.target_daemon_revision.as_ref();
    returns_to.or(target.and_then(|target| target.arn.as_deref()))
}

/// A daemon as its request would say it.
fn shown(daemon: &DaemonDetail, deployment: Option<&DaemonDeployment>, revision: Option<&DaemonRevision>) -> Value {
    let arn = revision.and_then(|revision| revision.daemon_revision_arn.as_deref());
    let mut current = daemon.current_revisions.iter().flatten();
    let current = current.find(|current| current.arn.as_deref() == arn);
    let pools = current.and_then(|current| current.capacity_providers.as_ref());
    let pools = pools.into_iter().flatten().filter_map(|pool| pool.arn.as_deref());
    let pools: Vec<&str> = pools.map(last_part).collect();
    let definition = revision.and_then(|revision| revision.daemon_task_definition_arn.as_deref());
    let configuration = deployment.and_then(|deployment| deployment.deployment_configuration.as_ref());
    json!({
        "daemonArn": daemon.daemon_arn,
        "status": daemon.status,
        "daemonTaskDefinitionArn": definition.map(last_part),
        "capacityProviderArns": pools,
        "deploymentConfiguration": {
            "drainPercent": configuration.and_then(|given| given.drain_percent),
            "bakeTimeInMinutes": configuration.and_then(|given| given.bake_time_in_minutes),
        },
        "propagateTags": revision.and_then(|revision| revision.propagate_tags),
        "enableECSManagedTags": revision.and_then(|revision| revision.enable_ecs_managed_tags),
        "critical": revision.and_then(|revision| revision.critical),
    })
}
