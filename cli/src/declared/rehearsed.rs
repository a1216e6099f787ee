//! The calls of a plan as questions to the controllers: what would become of the tasks of each cluster if they were made.
//!
//! Owns which calls matter to tasks, and in which order they are told. Pure.

use std::collections::BTreeSet;

use anyhow::Result;
use berth_aws::berth::{RehearsedOperation, RehearsedRequest};
use serde_json::{Value, json};

use super::plan::{Mutation, Plan, Step, Verb};
use super::resource::{Kind, Resource};
use crate::client::ServiceError;
use crate::cluster::last_part;

/// What is asked about one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The cluster.
    pub(crate) cluster: String,
    /// Whether it is there; one that is to be made has no hosts yet.
    pub(crate) is_there: bool,
    /// The requests, in the order in which they are made.
    pub(crate) requests: Vec<RehearsedRequest>,
    /// The services that they make, change or delete.
    pub(crate) services: Vec<String>,
    /// What stands in the files of each request.
    origins: Vec<Resource>,
}

/// One question for each cluster of which a service is made or changed, or that is changed itself.
pub(crate) fn of_plan(plan: &Plan) -> Vec<Question> {
    let touched =
        |step: &&Step| step.resource.kind == Kind::Service && step.calls.iter().any(|call| is_of_tasks(call.operation));
    let services: Vec<&Step> = plan.steps.iter().filter(touched).collect();
    let changed_clusters = plan.steps.iter().filter(|step| {
        step.resource.kind == Kind::Cluster && step.calls.iter().any(|call| operation(call.operation).is_some())
    });
    let new: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| step.resource.kind == Kind::Cluster && step.verb == Verb::Create)
        .map(|step| step.resource.name.as_str())
        .collect();
    let changed_clusters = changed_clusters.map(|step| step.resource.name.as_str());
    let clusters: BTreeSet<&str> = services
        .iter()
        .filter_map(|step| step.cluster.as_deref())
        .chain(changed_clusters.filter(|cluster| !new.contains(cluster)))
        .collect();
    let question = |cluster: &str| {
        let mut question = Question::about(cluster, !new.contains(cluster));
        for step in &plan.steps {
            let is_of_another = step.cluster.as_deref().is_some_and(|of| of != cluster);
            for call in step.calls.iter().filter(|_| !is_of_another) {
                let named = call.input.get("cluster").and_then(Value::as_str);
                let is_here = named.is_none_or(|named| last_part(named) == cluster);
                if let Some(operation) = operation(call.operation).filter(|_| is_here) {
                    question.add(operation, call.input.clone(), &step.resource);
                }
            }
        }
        question
    };
    clusters.into_iter().map(question).collect()
}

/// One question for each cluster of which services are deleted.
pub(crate) fn of_deletion(services: &[(String, Resource)]) -> Vec<Question> {
    let clusters: BTreeSet<&str> = services.iter().map(|(cluster, _)| cluster.as_str()).collect();
    let question = |cluster: &str| {
        let mut question = Question::about(cluster, true);
        for (_, service) in services.iter().filter(|(of, _)| of == cluster) {
            let input = json!({"cluster": cluster, "service": service.name, "force": true});
            question.add(RehearsedOperation::DeleteService, input, service);
        }
        question
    };
    clusters.into_iter().map(question).collect()
}

impl Question {
    fn about(cluster: &str, is_there: bool) -> Self {
        Self {
            cluster: cluster.to_owned(),
            is_there,
            requests: vec![],
            services: vec![],
            origins: vec![],
        }
    }

    fn add(&mut self, operation: RehearsedOperation, input: Value, origin: &Resource) {
        self.requests.push(RehearsedRequest {
            operation: Some(operation),
            input: Some(input),
        });
        if origin.kind == Kind::Service {
            self.services.push(origin.name.clone());
        }
        self.origins.push(origin.clone());
    }

    /// A refusal of one of the requests, with the place in the file.
    pub(crate) fn placed(&self, error: anyhow::Error) -> anyhow::Error {
        let refusal = error.downcast_ref::<ServiceError>();
        let Some((number, message)) = refusal.and_then(|refusal| numbered(&refusal.message)) else {
            return error;
        };
        let origin = number.checked_sub(1).and_then(|place| self.origins.get(place));
        match origin {
            Some(resource) => {
                let member = resource.named_in(message);
                let problem = resource.problem(&member, "would not be accepted").to_string();
                error.context(problem)
            }
            None => error,
        }
    }

    /// How many tasks are to be in a cluster that has no hosts yet.
    pub(crate) fn tasks_wanted(&self) -> i64 {
        let inputs = self.requests.iter().filter_map(|request| request.input.as_ref());
        inputs.filter_map(|input| input["desiredCount"].as_i64()).sum()
    }
}

/// The number of the request that a message is about, and the rest.
fn numbered(message: &str) -> Option<(usize, &str)> {
    let rest = message.strip_prefix("Request ")?;
    let (number, rest) = rest.split_once([',', ':'])?;
    Some((number.parse().ok()?, rest))
}

fn is_of_tasks(operation: Mutation) -> bool {
    matches!(operation, Mutation::CreateService | Mutation::UpdateService)
}

/// The operation as a question names it; nothing for those that no task depends on.
fn operation(mutation: Mutation) -> Option<RehearsedOperation> {
    Some(match mutation {
        Mutation::CreateCapacityProvider => RehearsedOperation::CreateCapacityProvider,
        Mutation::UpdateCapacityProvider => RehearsedOperation::UpdateCapacityProvider,
        Mutation::PutClusterCapacityProviders => RehearsedOperation::PutClusterCapacityProviders,
        Mutation::RegisterTaskDefinition => RehearsedOperation::RegisterTaskDefinition,
        Mutation::CreateService => RehearsedOperation::CreateService,
        Mutation::UpdateService => RehearsedOperation::UpdateService,
        Mutation::PutMetricAlarm => RehearsedOperation::PutMetricAlarm,
        // What daemons do is not foreseen, which `berth plan` says.
        Mutation::RegisterDaemonTaskDefinition | Mutation::CreateDaemon | Mutation::UpdateDaemon => return None,
        Mutation::CreateCluster
        | Mutation::UpdateCluster
        | Mutation::TagResource
        | Mutation::UntagResource
        | Mutation::TagAlarm
        | Mutation::UntagAlarm => return None,
    })
}

/// The services of files that are there and not being deleted yet, with their clusters.
///
/// # Errors
/// If the controller cannot be asked.
pub(crate) async fn services_there(
    live: &super::live::Live,
    services: Vec<Resource>,
    default: &str,
) -> Result<Vec<(String, Resource)>> {
    let mut there = vec![];
    for service in services {
        let cluster = last_part(service.cluster().unwrap_or(default)).to_owned();
        let found = live.service(&cluster, &service.name).await?;
        if found.is_some_and(|found| found["status"] != "DRAINING") {
            there.push((cluster, service));
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_tells_which_request_it_is_about() {
        assert_eq!(
            numbered("Request 2, CreateService: desiredCount must be given."),
            Some((2, " CreateService: desiredCount must be given."))
        );
        assert_eq!(numbered("Cluster not found."), None);
    }
}
