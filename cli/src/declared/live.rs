//! What there is of the things that files declare, as ECS describes it. Shell.

use anyhow::Result;
use berth_aws::Operation;
use berth_aws::cloudwatch::operations::{DescribeAlarms, ListTagsForResource};
use berth_aws::cloudwatch::{DescribeAlarmsInput, ListTagsForResourceInput};
use berth_aws::ecs::operations::{
    DescribeCapacityProviders, DescribeClusters, DescribeServices, DescribeTaskDefinition, ListTaskDefinitions,
};
use berth_aws::ecs::{
    CapacityProviderField, ClusterField, DescribeCapacityProvidersRequest, DescribeClustersRequest,
    DescribeServicesRequest, DescribeTaskDefinitionRequest, ListTaskDefinitionsRequest, ServiceField, SortOrder,
    TaskDefinitionField,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::Client;
use crate::cluster::{is_refusal, last_part};

/// Pages of the revisions of one family: at 100 a page, many more than one keeps.
pub(super) const MAX_PAGES: usize = 1_000;

/// Asks for what there is.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    client: Client,
}

impl Live {
    /// Asks over this client.
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// What asks.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Calls an operation with an input that has been made as JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call<O>(&self, input: &Value) -> Result<Value>
    where
        O: Operation,
        O::Input: Serialize + DeserializeOwned,
        O::Output: Serialize + DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input.clone())?;
        Ok(serde_json::to_value(self.client.call::<O>(&input).await?)?)
    }

    /// A cluster that is active, with its settings and tags.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn cluster(&self, name: &str) -> Result<Option<Value>> {
        let request = DescribeClustersRequest {
            clusters: Some(vec![name.to_owned()]),
            include: Some(vec![ClusterField::Settings, ClusterField::Tags]),
        };
        let answer = self.client.call::<DescribeClusters>(&request).await?;
        let mut clusters = answer.clusters.unwrap_or_default().into_iter();
        let active = clusters.find(|cluster| cluster.status.as_deref() == Some("ACTIVE"));
        Ok(active.map(serde_json::to_value).transpose()?)
    }

    /// A capacity provider, with its tags.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn capacity_provider(&self, name: &str) -> Result<Option<Value>> {
        let request = DescribeCapacityProvidersRequest {
            capacity_providers: Some(vec![name.to_owned()]),
            include: Some(vec![CapacityProviderField::Tags]),
            ..Default::default()
        };
        let answer = self.client.call::<DescribeCapacityProviders>(&request).await?;
        let mut providers = answer.capacity_providers.unwrap_or_default().into_iter();
        Ok(providers.next().map(serde_json::to_value).transpose()?)
    }

    /// An alarm, with its tags as a member.
    ///
    /// # Errors
    /// If the controller cannot be asked, or there is none of its kind yet that knows alarms.
    pub(crate) async fn alarm(&self, name: &str) -> Result<Option<Value>> {
        let request = DescribeAlarmsInput {
            alarm_names: Some(vec![name.to_owned()]),
            ..Default::default()
        };
        let described = self.client.call::<DescribeAlarms>(&request).await?;
        let Some(alarm) = described.metric_alarms.unwrap_or_default().into_iter().next() else {
            return Ok(None);
        };
        let request = ListTagsForResourceInput {
            resource_arn: alarm.alarm_arn.clone(),
        };
        let listed = self.client.call::<ListTagsForResource>(&request).await?;
        let mut alarm = serde_json::to_value(alarm)?;
        alarm["Tags"] = serde_json::to_value(listed.tags.unwrap_or_default())?;
        Ok(Some(alarm))
    }

    /// The newest active revision of a family, with its tags as a member.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn newest_revision(&self, family: &str) -> Result<Option<Value>> {
        let request = revisions_of(family, Some(1), None);
        let listed = self.client.call::<ListTaskDefinitions>(&request).await?;
        let Some(arn) = listed.task_definition_arns.unwrap_or_default().into_iter().next() else {
            return Ok(None);
        };
        let request = DescribeTaskDefinitionRequest {
            task_definition: Some(arn),
            include: Some(vec![TaskDefinitionField::Tags]),
        };
        let described = self.client.call::<DescribeTaskDefinition>(&request).await?;
        let mut definition = serde_json::to_value(described.task_definition)?;
        definition["tags"] = serde_json::to_value(described.tags.unwrap_or_default())?;
        Ok(Some(definition))
    }

    /// Whether there is this revision, given as `family:revision`.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn has_revision(&self, revision: &str) -> Result<bool> {
        let request = DescribeTaskDefinitionRequest {
            task_definition: Some(revision.to_owned()),
            include: None,
        };
        match self.client.call::<DescribeTaskDefinition>(&request).await {
            Err(error) if is_refusal(&error, "ClientException") => Ok(false),
            answer => Ok(answer.map(|_| true)?),
        }
    }

    /// The active revisions of a family, as `family:revision`, the newest first.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn revisions(&self, family: &str) -> Result<Vec<String>> {
        let (mut revisions, mut next_token) = (vec![], None);
        for _ in 0..MAX_PAGES {
            let request = revisions_of(family, None, next_token);
            let page = self.client.call::<ListTaskDefinitions>(&request).await?;
            let arns = page.task_definition_arns.unwrap_or_default();
            revisions.extend(arns.iter().map(|arn| last_part(arn).to_owned()));
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(revisions);
            }
        }
        anyhow::bail!("the list of task definitions does not end")
    }

    /// A service that is not gone, with its tags; `None` too if its cluster is not there.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub(crate) async fn service(&self, cluster: &str, name: &str) -> Result<Option<Value>> {
        let request = DescribeServicesRequest {
            cluster: Some(cluster.to_owned()),
            services: Some(vec![name.to_owned()]),
            include: Some(vec![ServiceField::Tags]),
        };
        let answer = match self.client.call::<DescribeServices>(&request).await {
            Err(error) if is_refusal(&error, "ClusterNotFoundException") => return Ok(None),
            answer => answer?,
        };
        let mut services = answer.services.unwrap_or_default().into_iter();
        let there = services.find(|service| service.status.as_deref() != Some("INACTIVE"));
        Ok(there.map(serde_json::to_value).transpose()?)
    }
}

fn revisions_of(family: &str, max_results: Option<i32>, next_token: Option<String>) -> ListTaskDefinitionsRequest {
    ListTaskDefinitionsRequest {
        family_prefix: Some(family.to_owned()),
        sort: Some(SortOrder::Desc),
        max_results,
        next_token,
        ..Default::default()
    }
}
