//! What has to be done so that a cluster is as files say.
//!
//! Owns the decision for each thing: make it, change it, or leave it; everything that can be told to fail is told here, before the first call
//! that changes something. Asks, and changes nothing. Shell.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use berth_aws::Operation;
use berth_aws::ecs::operations::UpdateService;
use berth_aws::model;
use serde_json::{Map, Value, json};

use super::compare::{Difference, Extent, differences};
use super::files::Declared;
use super::live::Live;
use super::problem::{Place, Problem, Problems};
use super::resource::{Kind, Resource};
use super::revision::Revision;
use super::shown;
use crate::cluster::last_part;

/// What is done with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It is as it should be.
    Leave,
    /// There is none yet; of a task definition no active revision.
    Create,
    /// It is different.
    Change,
}

/// A call that changes something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// The operation.
    pub(crate) operation: Mutation,
    /// Its input.
    pub(crate) input: Value,
}

/// Operations by which things are made and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    CreateCapacityProvider,
    UpdateCapacityProvider,
    CreateCluster,
    UpdateCluster,
    PutClusterCapacityProviders,
    RegisterTaskDefinition,
    RegisterDaemonTaskDefinition,
    CreateDaemon,
    UpdateDaemon,
    CreateService,
    UpdateService,
    TagResource,
    UntagResource,
    PutMetricAlarm,
    TagAlarm,
    UntagAlarm,
}

/// One thing, and what is to be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What the file says.
    pub(crate) resource: Resource,
    /// The cluster of a service or daemon.
    pub(crate) cluster: Option<String>,
    /// What is done.
    pub(crate) verb: Verb,
    /// What is different.
    pub(crate) differences: Vec<Difference>,
    /// How it is done.
    pub(crate) calls: Vec<Call>,
}

/// What is done with everything, in order.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The steps, those that leave a thing alone too.
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// Compares what is declared with what there is. Services and daemons that name no cluster go to `cluster`.
    ///
    /// # Errors
    /// [`Problems`] if something cannot become as a file says; others if the controller cannot be asked.
    pub(crate) async fn make(live: &Live, declared: Declared, cluster: &str) -> Result<Self> {
        let mut planner = Planner {
            live,
            clusters: BTreeSet::new(),
            services: BTreeMap::new(),
            revisions: BTreeMap::new(),
            problems: vec![],
        };
        let mut steps = vec![];
        for resource in declared.resources {
            let step = match resource.kind {
                Kind::CapacityProvider => Some(planner.capacity_provider(resource).await?),
                Kind::Cluster => Some(planner.cluster(resource).await?),
                Kind::TaskDefinition | Kind::DaemonTaskDefinition => Some(planner.task_definition(resource).await?),
                Kind::Alarm => Some(planner.alarm(resource).await?),
                Kind::Daemon => planner.daemon(resource, cluster).await?,
                Kind::Service => planner.service(resource, cluster).await?,
            };
            steps.extend(step);
        }
        match planner.problems.is_empty() {
            true => Ok(Self { steps }),
            false => Err(Problems(planner.problems).into()),
        }
    }

    /// Whether something is to be done.
    pub(crate) fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| step.verb != Verb::Leave)
    }
}

pub(super) struct Planner<'l> {
    pub(super) live: &'l Live,
    /// Clusters that there are, or will be.
    clusters: BTreeSet<String>,
    /// Where services and daemons are declared, by cluster and name.
    services: BTreeMap<(Kind, String, String), Place>,
    /// What families stand for that have been looked up, or are declared.
    revisions: BTreeMap<(Kind, String), Option<Revision>>,
    pub(super) problems: Vec<Problem>,
}

impl Planner<'_> {
    async fn capacity_provider(&mut self, resource: Resource) -> Result<Step> {
        let Some(there) = self.live.capacity_provider(&resource.name).await? else {
            return Ok(created(resource, None, Mutation::CreateCapacityProvider));
        };
        let (tags, wanted) = apart(&resource.request, "tags");
        let found = differences(Some(&there), Some(&Value::Object(wanted.clone())), Extent::Named);
        let is_managed = |difference: &Difference| difference.path.starts_with(MANAGED_OF_POOL);
        let (found, fixed): (Vec<_>, Vec<_>) = found.into_iter().partition(is_managed);
        for difference in fixed {
            self.unchangeable(&resource, &difference);
        }
        let mut calls = vec![];
        if let Some(group) = wanted.get("autoScalingGroupProvider").filter(|_| !found.is_empty()) {
            let mut group = group.clone();
            group
                .as_object_mut()
                .and_then(|group| group.remove("autoScalingGroupArn"));
            let input = json!({"name": resource.name, "autoScalingGroupProvider": group});
            calls.push(Call::new(Mutation::UpdateCapacityProvider, input));
        }
        Ok(changed(resource, None, found, calls).with_tags(&there, "capacityProviderArn", tags))
    }

    async fn cluster(&mut self, resource: Resource) -> Result<Step> {
        self.clusters.insert(resource.name.clone());
        let Some(there) = self.live.cluster(&resource.name).await? else {
            return Ok(created(resource, None, Mutation::CreateCluster));
        };
        let (tags, wanted) = apart(&resource.request, "tags");
        let wanted = Value::Object(wanted);
        let found = differences(Some(&there), Some(&wanted), Extent::Named);
        let mut calls = vec![];
        if found.iter().any(|difference| difference.top() == "settings") {
            let input = json!({"cluster": resource.name, "settings": wanted["settings"]});
            calls.push(Call::new(Mutation::UpdateCluster, input));
        }
        let pools = ["capacityProviders", "defaultCapacityProviderStrategy"];
        if found.iter().any(|difference| pools.contains(&difference.top())) {
            let mut input = json!({"cluster": resource.name});
            for member in pools {
                input[member] = wanted.get(member).or(there.get(member)).cloned().unwrap_or(json!([]));
            }
            calls.push(Call::new(Mutation::PutClusterCapacityProviders, input));
        }
        Ok(changed(resource, None, found, calls).with_tags(&there, "clusterArn", tags))
    }

    async fn task_definition(&mut self, resource: Resource) -> Result<Step> {
        let (register, arn) = match resource.kind {
            Kind::DaemonTaskDefinition => (Mutation::RegisterDaemonTaskDefinition, "daemonTaskDefinitionArn"),
            _ => (Mutation::RegisterTaskDefinition, "taskDefinitionArn"),
        };
        let family = (resource.kind, resource.name.clone());
        let newest = self.newest_revision(resource.kind, &resource.name).await?;
        let Some(there) = newest else {
            self.revisions.insert(family, Some(Revision::ToBeRegistered));
            return Ok(created(resource, None, register));
        };
        let revision = Revision::active(&there);
        let found = differences(Some(&shown::of_family(&there)), Some(&resource.shown), Extent::Whole);
        if found.is_empty() {
            self.revisions.insert(family, Some(revision));
            let tags = resource.request.get("tags").cloned();
            return Ok(changed(resource, None, vec![], vec![]).with_tags(&there, arn, tags));
        }
        self.revisions.insert(family, Some(Revision::ToBeRegistered));
        let input = Value::Object(resource.request.clone());
        let calls = vec![Call::new(register, input)];
        Ok(changed(resource, None, found, calls))
    }

    /// An alarm is written whole; its state and its tags stay.
    async fn alarm(&mut self, resource: Resource) -> Result<Step> {
        let Some(there) = self.live.alarm(&resource.name).await? else {
            return Ok(created(resource, None, Mutation::PutMetricAlarm));
        };
        let (tags, input) = apart(&resource.request, "Tags");
        let found = differences(Some(&shown::of_alarm(&there)), Some(&resource.shown), Extent::Whole);
        let calls = match found.is_empty() {
            true => vec![],
            false => vec![Call::new(Mutation::PutMetricAlarm, Value::Object(input))],
        };
        let step = changed(resource, None, found, calls);
        Ok(step.with_tags_of(&TAGS_OF_ALARMS, &there, "AlarmArn", tags))
    }

    async fn newest_revision(&self, kind: Kind, family: &str) -> Result<Option<Value>> {
        match kind {
            Kind::DaemonTaskDefinition => self.live.newest_daemon_revision(family).await,
            _ => self.live.newest_revision(family).await,
        }
    }

    /// The cluster of a service or daemon; `None` if there is none, or it has been declared there before.
    pub(super) async fn cluster_of(&mut self, resource: &Resource, default: &str) -> Result<Option<String>> {
        let cluster = last_part(resource.cluster().unwrap_or(default)).to_owned();
        if !self.is_cluster(&cluster).await? {
            let reason = format!(
                "there is no cluster {cluster}; declare it in a document of kind Cluster, or choose one for {}s that name none with --cluster",
                resource.kind.noun()
            );
            self.problems
                .push(resource.problem(resource.kind.cluster_member(), reason));
            return Ok(None);
        }
        let declared = (resource.kind, cluster.clone(), resource.name.clone());
        if let Some(first) = self.services.insert(declared, resource.place.clone()) {
            let reason = format!("is declared twice in cluster {cluster}, first in {first}");
            self.problems.push(resource.problem("", reason));
            return Ok(None);
        }
        Ok(Some(cluster))
    }

    async fn service(&mut self, resource: Resource, default: &str) -> Result<Option<Step>> {
        let Some(cluster) = self.cluster_of(&resource, default).await? else {
            return Ok(None);
        };
        let definition = self.definition_of(&resource).await?;
        let Some(there) = self.live.service(&cluster, &resource.name).await? else {
            return Ok(self.new_service(resource, cluster, definition));
        };
        if there["status"] == "DRAINING" {
            let reason = format!("is being deleted from cluster {cluster}; try again once its tasks have stopped");
            self.problems.push(resource.problem("", reason));
            return Ok(None);
        }
        self.check_project(&resource, &there);
        let (found, calls) = self.update(&resource, &there, &cluster, definition);
        let tags = resource.request.get("tags").cloned();
        let step = changed(resource, Some(cluster), found, calls);
        Ok(Some(step.with_tags(&there, "serviceArn", tags)))
    }

    /// What is different of a service that is there, and the call that changes it.
    fn update(
        &mut self,
        resource: &Resource,
        there: &Value,
        cluster: &str,
        definition: Option<Revision>,
    ) -> (Vec<Difference>, Vec<Call>) {
        let mut wanted = resource.request.clone();
        wanted.retain(|member, _| !APART.contains(&member.as_str()));
        let wanted = shown::as_service(Value::Object(wanted));
        let mut found = differences(Some(there), Some(&wanted), Extent::Named);
        let mut input = Map::new();
        for difference in &found {
            let member = difference.top();
            if UPDATABLE.iter().any(|known| known.name == member) {
                let merged = merged(there.get(member), wanted.get(member));
                input.insert(member.to_owned(), merged);
            } else {
                self.unchangeable(resource, difference);
            }
        }
        if input.contains_key("capacityProviderStrategy") {
            input.insert("forceNewDeployment".to_owned(), true.into());
        }
        let runs = last_part(there["taskDefinition"].as_str().unwrap_or_default());
        if let Some(definition) = definition.filter(|definition| *definition != Revision::Active(runs.to_owned())) {
            let becomes = definition.in_words(resource);
            found.push(Difference::new(
                "taskDefinition",
                Some(runs.into()),
                Some(becomes.into()),
            ));
            input.insert("taskDefinition".to_owned(), definition.in_request(resource).into());
        }
        if input.is_empty() {
            return (found, vec![]);
        }
        input.insert("cluster".to_owned(), cluster.into());
        input.insert("service".to_owned(), resource.name.clone().into());
        (found, vec![Call::new(Mutation::UpdateService, Value::Object(input))])
    }

    fn new_service(&mut self, resource: Resource, cluster: String, definition: Option<Revision>) -> Option<Step> {
        let is_daemon = resource.text("schedulingStrategy") == Some("DAEMON");
        if !is_daemon && !resource.request.contains_key("desiredCount") {
            let reason = "is missing: the service does not exist yet, and how many tasks it is to have must be said";
            self.problems.push(resource.problem("desiredCount", reason));
            return None;
        }
        if resource.text("taskDefinition").is_none() {
            self.problems
                .push(resource.problem("taskDefinition", "is missing, and the service does not exist yet"));
            return None;
        }
        let mut step = created(resource, Some(cluster.clone()), Mutation::CreateService);
        let definition = definition?;
        let input = &mut step.calls[0].input;
        input["cluster"] = cluster.into();
        input["taskDefinition"] = definition.in_request(&step.resource).into();
        let shown_definition = step
            .differences
            .iter_mut()
            .find(|difference| difference.path == "taskDefinition");
        if let Some(difference) = shown_definition {
            difference.new = Some(definition.in_words(&step.resource).into());
        }
        Some(step)
    }

    /// A Compose file's service has the family of its project: another project's service of the same name is not taken over.
    fn check_project(&mut self, resource: &Resource, there: &Value) {
        let Some(family) = &resource.project_family else { return };
        let runs = last_part(there["taskDefinition"].as_str().unwrap_or_default());
        let other = runs.split(':').next().unwrap_or_default();
        if other != family {
            let reason = format!(
                "the cluster has a service of this name that is not of this project: it runs the task definition {other}, and would run {family}"
            );
            self.problems.push(resource.problem("", reason));
        }
    }

    async fn is_cluster(&mut self, name: &str) -> Result<bool> {
        if !self.clusters.contains(name) && self.live.cluster(name).await?.is_some() {
            self.clusters.insert(name.to_owned());
        }
        Ok(self.clusters.contains(name))
    }

    /// What the task definition of a service or daemon stands for; `None` if it names none, or one that is not there.
    pub(super) async fn definition_of(&mut self, resource: &Resource) -> Result<Option<Revision>> {
        let (kind, member) = resource.kind.runs();
        let Some(named) = resource.text(member) else {
            return Ok(None);
        };
        let name = last_part(named);
        if name.contains(':') {
            let is_there = match kind {
                Kind::DaemonTaskDefinition => self.live.has_daemon_revision(name).await?,
                _ => self.live.has_revision(name).await?,
            };
            if !is_there {
                let reason = format!("there is no {} {name}", kind.noun());
                self.problems.push(resource.problem(member, reason));
            }
            return Ok(is_there.then(|| Revision::Active(name.to_owned())));
        }
        let family = (kind, name.to_owned());
        if !self.revisions.contains_key(&family) {
            let newest = self.newest_revision(kind, name).await?;
            let revision = newest.map(|there| Revision::active(&there));
            self.revisions.insert(family.clone(), revision);
        }
        let revision = self.revisions.get(&family).cloned().flatten();
        if revision.is_none() {
            let reason = format!(
                "there is no {} of the family {name}, in the files or active on the controller",
                kind.noun()
            );
            self.problems.push(resource.problem(member, reason));
        }
        Ok(revision)
    }

    fn unchangeable(&mut self, resource: &Resource, difference: &Difference) {
        let is = difference
            .old
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), Value::to_string);
        let reason = format!(
            "is {is}, and cannot be changed; delete the {} and make it again, or let the file say what is so",
            resource.kind.noun()
        );
        self.problems.push(resource.problem(difference.top(), reason));
    }
}

/// How the members of a capacity provider begin that `UpdateCapacityProvider` changes.
const MANAGED_OF_POOL: &str = "autoScalingGroupProvider.managed";

/// Members of a service that are not compared like the others: they name it, or are looked at by themselves.
const APART: [&str; 5] = ["clientToken", "cluster", "serviceName", "tags", "taskDefinition"];

/// The members that `UpdateService` has; all others stay as the service was made.
static UPDATABLE: std::sync::LazyLock<&'static [model::Member]> =
    std::sync::LazyLock::new(|| match UpdateService::MODEL.input.kind {
        model::Kind::Structure { members, .. } => members,
        _ => &[],
    });

/// How the operations on tags of a service call what they need.
struct TagWords {
    tags: &'static str,
    key: &'static str,
    arn: &'static str,
    keys: &'static str,
    tag: Mutation,
    untag: Mutation,
}

const TAGS: TagWords = TagWords {
    tags: "tags",
    key: "key",
    arn: "resourceArn",
    keys: "tagKeys",
    tag: Mutation::TagResource,
    untag: Mutation::UntagResource,
};

const TAGS_OF_ALARMS: TagWords = TagWords {
    tags: "Tags",
    key: "Key",
    arn: "ResourceARN",
    keys: "TagKeys",
    tag: Mutation::TagAlarm,
    untag: Mutation::UntagAlarm,
};

impl Call {
    pub(super) fn new(operation: Mutation, input: Value) -> Self {
        Self { operation, input }
    }
}

impl Step {
    /// What it is about, such as `service web in cluster shop`.
    pub(crate) fn subject(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!("{} in cluster {cluster}", self.resource.subject()),
            None => self.resource.subject(),
        }
    }

    /// With the calls that bring the tags of what is `there` to those that the file names; a file that names none leaves them alone.
    pub(super) fn with_tags(self, there: &Value, arn: &str, wanted: Option<Value>) -> Self {
        self.with_tags_of(&TAGS, there, arn, wanted)
    }

    fn with_tags_of(mut self, words: &TagWords, there: &Value, arn: &str, wanted: Option<Value>) -> Self {
        let Some(wanted) = wanted else { return self };
        let there_are = &there[words.tags];
        let (old, new) = (json!({words.tags: there_are}), json!({words.tags: wanted}));
        let found = differences(Some(&old), Some(&new), Extent::Named);
        if found.is_empty() {
            return self;
        }
        let keys = |tags: &Value| -> BTreeSet<String> {
            let tags = tags.as_array().into_iter().flatten();
            tags.filter_map(|tag| Some(tag[words.key].as_str()?.to_owned()))
                .collect()
        };
        let gone: Vec<String> = keys(there_are).difference(&keys(&wanted)).cloned().collect();
        let arn = &there[arn];
        if !gone.is_empty() {
            let input = json!({words.arn: arn, words.keys: gone});
            self.calls.push(Call::new(words.untag, input));
        }
        if found.iter().any(|difference| difference.new.is_some()) {
            let input = json!({words.arn: arn, words.tags: wanted});
            self.calls.push(Call::new(words.tag, input));
        }
        self.verb = Verb::Change;
        self.differences.extend(found);
        self
    }
}

pub(super) fn created(resource: Resource, cluster: Option<String>, operation: Mutation) -> Step {
    let input = Value::Object(resource.request.clone());
    Step {
        cluster,
        verb: Verb::Create,
        differences: differences(None, Some(&input), Extent::Whole),
        calls: vec![Call::new(operation, input)],
        resource,
    }
}

pub(super) fn changed(
    resource: Resource,
    cluster: Option<String>,
    differences: Vec<Difference>,
    calls: Vec<Call>,
) -> Step {
    Step {
        resource,
        cluster,
        verb: if differences.is_empty() {
            Verb::Leave
        } else {
            Verb::Change
        },
        differences,
        calls,
    }
}

/// A member of a request, and the others.
fn apart(request: &Map<String, Value>, member: &str) -> (Option<Value>, Map<String, Value>) {
    let mut others = request.clone();
    (others.remove(member), others)
}

/// What is there, with the members that a file names instead: `UpdateService` takes structures whole.
fn merged(there: Option<&Value>, wanted: Option<&Value>) -> Value {
    match (there, wanted) {
        (Some(Value::Object(there)), Some(Value::Object(wanted))) => {
            let mut whole = there.clone();
            for (name, value) in wanted {
                let member = merged(there.get(name), Some(value));
                whole.insert(name.clone(), member);
            }
            Value::Object(whole)
        }
        (there, wanted) => wanted.or(there).cloned().unwrap_or_default(),
    }
}
