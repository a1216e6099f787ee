//! What has to be done so that managed daemons are as files say: as `UpdateDaemon`, a file says all of one, and what it leaves out has its default
//! (ECS). Asks, and changes nothing. Shell, but for the defaults, which are pure.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::compare::{Difference, Extent, differences};
use super::plan::{Call, Mutation, Planner, Step, changed, created};
use super::resource::Resource;
use super::revision::Revision;
use crate::cluster::last_part;

/// Members of a daemon that are not compared like the others: they name it, or are looked at by themselves.
const APART: [&str; 4] = ["daemonName", "clusterArn", "tags", "daemonTaskDefinitionArn"];

impl Planner<'_> {
    pub(super) async fn daemon(&mut self, resource: Resource, default: &str) -> Result<Option<Step>> {
        let Some(cluster) = self.cluster_of(&resource, default).await? else {
            return Ok(None);
        };
        let Some(definition) = self.definition_of(&resource).await? else {
            return Ok(None);
        };
        let Some(there) = self.live.daemon(&cluster, &resource.name).await? else {
            return Ok(Some(new_daemon(resource, cluster, &definition)));
        };
        if there["status"] == "DELETE_IN_PROGRESS" {
            let reason = format!("is being deleted from cluster {cluster}; try again once its tasks have stopped");
            self.problems.push(resource.problem("", reason));
            return Ok(None);
        }
        let (found, calls) = update(&resource, &there, &definition);
        let tags = resource.request.get("tags").cloned();
        let step = changed(resource, Some(cluster), found, calls);
        Ok(Some(step.with_tags(&there, "daemonArn", tags)))
    }
}

fn new_daemon(resource: Resource, cluster: String, definition: &Revision) -> Step {
    let mut step = created(resource, Some(cluster.clone()), Mutation::CreateDaemon);
    let input = &mut step.calls[0].input;
    input["clusterArn"] = cluster.into();
    input["daemonTaskDefinitionArn"] = definition.in_request(&step.resource).into();
    let mut found = step.differences.iter_mut();
    if let Some(difference) = found.find(|difference| difference.path == "daemonTaskDefinitionArn") {
        difference.new = Some(definition.in_words(&step.resource).into());
    }
    step
}

/// What is different of a daemon that is there, and the call that changes it.
fn update(resource: &Resource, there: &Value, definition: &Revision) -> (Vec<Difference>, Vec<Call>) {
    let wanted = whole(&resource.request);
    let mut known = there.as_object().cloned().unwrap_or_default();
    known.retain(|member, _| wanted.contains_key(member));
    let mut input = wanted.clone();
    let (known, wanted) = (Value::Object(known), Value::Object(wanted));
    let mut found = differences(Some(&known), Some(&wanted), Extent::Whole);
    let runs = there["daemonTaskDefinitionArn"].as_str().unwrap_or_default();
    if *definition != Revision::Active(runs.to_owned()) {
        found.push(Difference::new(
            "daemonTaskDefinitionArn",
            Some(runs.into()),
            Some(definition.in_words(resource).into()),
        ));
    }
    if found.is_empty() {
        return (found, vec![]);
    }
    input.insert("daemonArn".to_owned(), there["daemonArn"].clone());
    input.insert(
        "daemonTaskDefinitionArn".to_owned(),
        definition.in_request(resource).into(),
    );
    (found, vec![Call::new(Mutation::UpdateDaemon, Value::Object(input))])
}

/// All that a request says of a daemon, with the defaults of ECS.
fn whole(request: &Map<String, Value>) -> Map<String, Value> {
    let defaults = json!({
        "critical": true,
        "deploymentConfiguration": {"drainPercent": 25.0, "bakeTimeInMinutes": 0},
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
    });
    let mut whole = defaults.as_object().cloned().unwrap_or_default();
    for (member, value) in request.iter().filter(|(member, _)| !APART.contains(&member.as_str())) {
        match (whole.get_mut(member).and_then(Value::as_object_mut), value.as_object()) {
            (Some(known), Some(given)) => known.extend(given.clone()),
            _ => drop(whole.insert(member.clone(), value.clone())),
        }
    }
    let pools = whole.get_mut("capacityProviderArns").and_then(Value::as_array_mut);
    for pool in pools.into_iter().flatten() {
        *pool = last_part(pool.as_str().unwrap_or_default()).into();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    const FILE: &str = "kind: Daemon\ndaemonName: logs\ndaemonTaskDefinitionArn: agent\ncapacityProviderArns: [gpu, plain]\n\
                        deploymentConfiguration: {drainPercent: 10}\n";

    fn resource(text: &str) -> Resource {
        let node = document::read(text).expect("readable").remove(0);
        Resource::of_document("f.yaml", node).expect("a daemon")
    }

    fn there() -> Value {
        json!({
            "daemonArn": "arn:aws:ecs:us-east-1:123456789012:daemon/shop/logs", "status": "ACTIVE",
            "daemonTaskDefinitionArn": "agent:1", "capacityProviderArns": ["plain", "gpu"],
            "deploymentConfiguration": {"drainPercent": 10.0, "bakeTimeInMinutes": 0},
            "propagateTags": "NONE", "enableECSManagedTags": false, "critical": true, "tags": [],
        })
    }

    #[test]
    fn daemon_that_is_as_its_file_and_the_defaults_say_is_left_alone() {
        let active = Revision::Active("agent:1".to_owned());
        assert_eq!(update(&resource(FILE), &there(), &active), (vec![], vec![]));
    }

    #[test]
    fn what_the_file_leaves_out_returns_to_its_default_and_the_request_says_all() {
        let mut there = there();
        there["critical"] = false.into();
        let (found, calls) = update(&resource(FILE), &there, &Revision::ToBeRegistered);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "~ critical: false -> true",
                "~ daemonTaskDefinitionArn: \"agent:1\" -> \"agent (its new revision)\""
            ]
        );
        assert_eq!(calls[0].operation, Mutation::UpdateDaemon);
        assert_eq!(
            calls[0].input,
            json!({
                "daemonArn": there["daemonArn"], "daemonTaskDefinitionArn": "agent", "capacityProviderArns": ["gpu", "plain"],
                "deploymentConfiguration": {"drainPercent": 10.0, "bakeTimeInMinutes": 0},
                "propagateTags": "NONE", "enableECSManagedTags": false, "critical": true,
            })
        );
    }
}
