//! Carries out a plan, step by step.
//!
//! Owns which revision a family stands for once it is registered, and what is said of each step. Shell.

use std::collections::BTreeMap;

use anyhow::Result;
use berth_aws::cloudwatch::operations::{self as cloudwatch, PutMetricAlarm};
use berth_aws::ecs::operations::{
    CreateCapacityProvider, CreateCluster, CreateDaemon, CreateService, PutClusterCapacityProviders,
    RegisterDaemonTaskDefinition, RegisterTaskDefinition, TagResource, UntagResource, UpdateCapacityProvider,
    UpdateCluster, UpdateDaemon, UpdateService,
};
use serde_json::Value;

use super::live::Live;
use super::plan::{Call, Mutation, Step, Verb};
use super::resource::Kind;
use crate::client::ServiceError;
use crate::cluster::last_part;

/// What carries out steps.
#[derive(Debug)]
pub(crate) struct Worker<'l> {
    live: &'l Live,
    /// `family:revision` of the families that were registered.
    registered: BTreeMap<(Kind, String), String>,
}

impl<'l> Worker<'l> {
    /// Calls over `live`.
    pub(crate) fn new(live: &'l Live) -> Self {
        Self {
            live,
            registered: BTreeMap::new(),
        }
    }

    /// Does what a step says, and says in a line what has been done.
    ///
    /// # Errors
    /// If the controller refuses, with the place in the file.
    pub(crate) async fn carry_out(&mut self, step: &Step) -> Result<String> {
        for call in &step.calls {
            let answer = self.send(call).await;
            let answer = answer.map_err(|error| {
                let refusal = error.downcast_ref::<ServiceError>();
                let member = refusal.map(|refusal| step.resource.named_in(&refusal.message));
                error.context(
                    step.resource
                        .problem(&member.unwrap_or_default(), "was not accepted")
                        .to_string(),
                )
            })?;
            let arn = match call.operation {
                Mutation::RegisterTaskDefinition => &answer["taskDefinition"]["taskDefinitionArn"],
                Mutation::RegisterDaemonTaskDefinition => &answer["daemonTaskDefinitionArn"],
                _ => continue,
            };
            let revision = last_part(arn.as_str().unwrap_or_default()).to_owned();
            let family = (step.resource.kind, step.resource.name.clone());
            self.registered.insert(family, revision);
        }
        Ok(self.done(step))
    }

    /// The revision that a service was given, as `family:revision`, if a step gave it one.
    pub(crate) fn revision_given(&self, step: &Step) -> Option<String> {
        let mut named = step
            .calls
            .iter()
            .filter_map(|call| call.input.get("taskDefinition")?.as_str());
        let named = last_part(named.next()?);
        let registered = self.registered.get(&(Kind::TaskDefinition, named.to_owned()));
        Some(registered.map_or_else(|| named.to_owned(), Clone::clone))
    }

    fn done(&self, step: &Step) -> String {
        let registered = self.registered.get(&(step.resource.kind, step.resource.name.clone()));
        let what = match (step.verb, step.resource.kind, registered) {
            (Verb::Leave, ..) => "as it is".to_owned(),
            (_, _, Some(revision)) => format!("registered as {revision}"),
            (Verb::Create, ..) => "created".to_owned(),
            (Verb::Change, ..) => "changed".to_owned(),
        };
        format!("{}: {what}", step.subject())
    }

    async fn send(&self, call: &Call) -> Result<Value> {
        let (live, mut input) = (self.live, call.input.clone());
        for (kind, member) in [Kind::Service.runs(), Kind::Daemon.runs()] {
            let family = input.get(member).and_then(Value::as_str).map(str::to_owned);
            if let Some(revision) = family.and_then(|family| self.registered.get(&(kind, family))) {
                input[member] = revision.clone().into();
            }
        }
        match call.operation {
            Mutation::CreateCapacityProvider => live.call::<CreateCapacityProvider>(&input).await,
            Mutation::UpdateCapacityProvider => live.call::<UpdateCapacityProvider>(&input).await,
            Mutation::CreateCluster => live.call::<CreateCluster>(&input).await,
            Mutation::UpdateCluster => live.call::<UpdateCluster>(&input).await,
            Mutation::PutClusterCapacityProviders => live.call::<PutClusterCapacityProviders>(&input).await,
            Mutation::RegisterTaskDefinition => live.call::<RegisterTaskDefinition>(&input).await,
            Mutation::RegisterDaemonTaskDefinition => live.call::<RegisterDaemonTaskDefinition>(&input).await,
            Mutation::CreateDaemon => live.call::<CreateDaemon>(&input).await,
            Mutation::UpdateDaemon => live.call::<UpdateDaemon>(&input).await,
            Mutation::CreateService => live.call::<CreateService>(&input).await,
            Mutation::UpdateService => live.call::<UpdateService>(&input).await,
            Mutation::TagResource => live.call::<TagResource>(&input).await,
            Mutation::UntagResource => live.call::<UntagResource>(&input).await,
            Mutation::PutMetricAlarm => live.call::<PutMetricAlarm>(&input).await,
            Mutation::TagAlarm => live.call::<cloudwatch::TagResource>(&input).await,
            Mutation::UntagAlarm => live.call::<cloudwatch::UntagResource>(&input).await,
        }
    }
}
