//! What a document of a file declares: a kind, and the request by which ECS, or CloudWatch, makes such a thing.
//!
//! Owns the kinds and the check of one document, with all that can be told without asking a controller. Pure.

use berth_aws::cloudwatch::operations::PutMetricAlarm;
use berth_aws::ecs::operations::{
    CreateCapacityProvider, CreateCluster, CreateDaemon, CreateService, RegisterDaemonTaskDefinition,
    RegisterTaskDefinition,
};
use berth_aws::model::Shape;
use berth_aws::{AwsError, Operation, protocol};
use berth_controller::api::preview;
use serde_json::{Map, Value};

use super::check;
use super::document::{Content, Node};
use super::problem::{Place, Problem};

/// The member that names the kind, and is no member of any request.
pub(super) const KIND: &str = "kind";

/// The member by which one request is told from another.
const CLIENT_TOKEN: &str = "clientToken";

/// What refusals of members say that Berth does not have.
const NOT_SUPPORTED: &str = "is not supported by Berth yet";

/// What files declare, in the order in which it is made: each may name those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `CreateCapacityProvider`.
    CapacityProvider,
    /// `CreateCluster`.
    Cluster,
    /// `RegisterTaskDefinition`.
    TaskDefinition,
    /// `PutMetricAlarm`, of CloudWatch.
    Alarm,
    /// `RegisterDaemonTaskDefinition`.
    DaemonTaskDefinition,
    /// `CreateDaemon`. Before services, since hosts take no other task before daemons that are critical.
    Daemon,
    /// `CreateService`.
    Service,
}

/// One thing that a file declares.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name: of a task definition the family.
    pub(crate) name: String,
    /// The members of the request that makes it, as the file has them.
    pub(crate) request: Map<String, Value>,
    /// What a task definition or an alarm is shown as with what is given of it, but for what each revision has of its own and for tags; of other kinds null.
    pub(crate) shown: Value,
    /// Where it stands.
    pub(crate) place: Place,
    /// What stands there.
    node: Node,
    /// The members of a Compose file that became members of the request, by those.
    origins: Vec<(String, String)>,
    /// Names of services that are to be stable before this one is made or changed.
    pub(crate) after: Vec<String>,
    /// The family that belongs to the service, if it is one of a Compose file.
    pub(crate) project_family: Option<String>,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::Cluster,
        Self::CapacityProvider,
        Self::TaskDefinition,
        Self::Alarm,
        Self::Service,
        Self::DaemonTaskDefinition,
        Self::Daemon,
    ];

    /// As files write it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::CapacityProvider => "CapacityProvider",
            Self::Cluster => "Cluster",
            Self::TaskDefinition => "TaskDefinition",
            Self::Alarm => "Alarm",
            Self::DaemonTaskDefinition => "DaemonTaskDefinition",
            Self::Daemon => "Daemon",
            Self::Service => "Service",
        }
    }

    /// In sentences.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::CapacityProvider => "capacity provider",
            Self::Cluster => "cluster",
            Self::TaskDefinition => "task definition",
            Self::Alarm => "alarm",
            Self::DaemonTaskDefinition => "daemon task definition",
            Self::Daemon => "daemon",
            Self::Service => "service",
        }
    }

    /// The member of the request that says its cluster, of what belongs to one.
    pub(super) fn cluster_member(self) -> &'static str {
        match self {
            Self::Daemon => "clusterArn",
            _ => "cluster",
        }
    }

    /// The kind of what it runs, and the member of the request that says it.
    pub(super) fn runs(self) -> (Self, &'static str) {
        match self {
            Self::Daemon => (Self::DaemonTaskDefinition, "daemonTaskDefinitionArn"),
            _ => (Self::TaskDefinition, "taskDefinition"),
        }
    }

    /// The member of the request that names it.
    fn named_by(self) -> &'static str {
        match self {
            Self::CapacityProvider => "name",
            Self::Cluster => "clusterName",
            Self::Alarm => "AlarmName",
            Self::TaskDefinition | Self::DaemonTaskDefinition => "family",
            Self::Daemon => "daemonName",
            Self::Service => "serviceName",
        }
    }

    fn shape(self) -> &'static Shape {
        match self {
            Self::CapacityProvider => CreateCapacityProvider::MODEL.input,
            Self::Cluster => CreateCluster::MODEL.input,
            Self::TaskDefinition => RegisterTaskDefinition::MODEL.input,
            Self::Alarm => PutMetricAlarm::MODEL.input,
            Self::DaemonTaskDefinition => RegisterDaemonTaskDefinition::MODEL.input,
            Self::Daemon => CreateDaemon::MODEL.input,
            Self::Service => CreateService::MODEL.input,
        }
    }

    /// The kind of a document that does not say it, from the member that only this kind must have.
    fn guess(node: &Node) -> Option<Self> {
        let telling = [
            ("containerDefinitions", Self::TaskDefinition),
            ("serviceName", Self::Service),
            ("daemonName", Self::Daemon),
            ("clusterName", Self::Cluster),
            ("autoScalingGroupProvider", Self::CapacityProvider),
            ("AlarmName", Self::Alarm),
        ];
        let found = telling.iter().find(|(member, _)| node.get(member).is_some());
        found.map(|(_, kind)| *kind)
    }
}

impl Resource {
    /// What a document declares.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn of_document(file: &str, node: Node) -> Result<Self, Vec<Problem>> {
        let kind = kind_of(file, &node).map_err(|problem| vec![problem])?;
        let Content::Map(members) = node.content else {
            return Err(vec![]);
        };
        let members = members.into_iter().filter(|(key, _)| key.text != KIND);
        let node = Node {
            line: node.line,
            content: Content::Map(members.collect()),
        };
        Self::new(kind, file, node, vec![])
    }

    /// What the members of a request declare; `origins` are those of a Compose file that they come from.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn new(
        kind: Kind,
        file: &str,
        node: Node,
        origins: Vec<(String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let name = node
            .get(kind.named_by())
            .and_then(Node::scalar)
            .unwrap_or_default()
            .to_owned();
        let (request, faults) = check::check(kind.shape(), &node);
        let place = Place {
            file: file.to_owned(),
            line: node.line,
        };
        let mut resource = Self {
            kind,
            name,
            request: request.as_object().cloned().unwrap_or_default(),
            shown: Value::Null,
            place,
            node,
            origins,
            after: vec![],
            project_family: None,
        };
        if !faults.is_empty() {
            let problem = |fault: &check::Fault| Problem {
                place: Place {
                    file: file.to_owned(),
                    line: fault.line,
                },
                subject: resource.subject(),
                member: resource.as_written(&fault.member),
                reason: fault.reason.clone(),
            };
            return Err(faults.iter().map(problem).collect());
        }
        if resource.name.is_empty() {
            return Err(vec![resource.problem(kind.named_by(), "is missing")]);
        }
        if resource.text(CLIENT_TOKEN).is_some() {
            let reason = "belongs to one request, and a file may be applied again and again; remove it";
            return Err(vec![resource.problem(CLIENT_TOKEN, reason)]);
        }
        resource.shown = resource.held_against_berth(request)?;
        Ok(resource)
    }

    /// What the request would show, or everything of it that is not supported, or the first of what else is wrong.
    fn held_against_berth(&self, mut request: Value) -> Result<Value, Vec<Problem>> {
        let mut problems = vec![];
        loop {
            let error = match self.preview(&request) {
                Ok(shown) if problems.is_empty() => return Ok(shown),
                Ok(_) => return Err(problems),
                Err(error) => error,
            };
            let member = self.named_in(&error.message);
            // Without the member the next one is found; what else is wrong then may be wrong for want of it.
            let goes_on = error.message.contains(NOT_SUPPORTED) && take_out(&mut request, &member);
            if goes_on || problems.is_empty() {
                problems.push(self.problem(&member, error.message));
            }
            if !goes_on {
                return Err(problems);
            }
        }
    }

    /// Holds the request against what the model and Berth demand of it.
    fn preview(&self, request: &Value) -> Result<Value, AwsError> {
        let body = request.to_string().into_bytes();
        match self.kind {
            Kind::CapacityProvider => preview::capacity_provider(&protocol::read::<CreateCapacityProvider>(&body)?)?,
            Kind::Cluster => preview::cluster(&protocol::read::<CreateCluster>(&body)?)?,
            Kind::Service => preview::service(&protocol::read::<CreateService>(&body)?)?,
            Kind::Daemon => preview::daemon(&protocol::read::<CreateDaemon>(&body)?)?,
            Kind::DaemonTaskDefinition => {
                let shown = preview::daemon_task_definition(&protocol::read::<RegisterDaemonTaskDefinition>(&body)?)?;
                return Ok(serde_json::to_value(shown).unwrap_or_default());
            }
            Kind::TaskDefinition => {
                let shown = preview::task_definition(protocol::read::<RegisterTaskDefinition>(&body)?)?;
                return Ok(serde_json::to_value(shown).unwrap_or_default());
            }
            Kind::Alarm => {
                let shown = preview::alarm(protocol::read::<PutMetricAlarm>(&body)?)?;
                return Ok(serde_json::to_value(shown).unwrap_or_default());
            }
        }
        Ok(Value::Null)
    }

    /// The kind and name, such as `service web`.
    pub(crate) fn subject(&self) -> String {
        match self.name.as_str() {
            "" => self.kind.noun().to_owned(),
            name => format!("{} {name}", self.kind.noun()),
        }
    }

    /// The cluster that a service or daemon says it belongs to.
    pub(crate) fn cluster(&self) -> Option<&str> {
        self.text(self.kind.cluster_member())
    }

    /// A text member of the request.
    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.request
            .get(member)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// That something is wrong with a member.
    pub(crate) fn problem(&self, member: &str, reason: impl Into<String>) -> Problem {
        Problem {
            place: Place {
                file: self.place.file.clone(),
                line: self.node.line_of(member).unwrap_or(self.place.line),
            },
            subject: self.subject(),
            member: self.as_written(member),
            reason: reason.into(),
        }
    }

    /// The member that a refusal names; empty if it names none of the file.
    pub(crate) fn named_in(&self, message: &str) -> String {
        let words = message
            .split_whitespace()
            .map(|word| word.trim_end_matches([',', ':', '.', ';']));
        let mut paths = words.map(|word| path_of(word.trim_matches('\'')));
        let named = paths.find(|path| {
            let is_path = path.contains(['.', '[']);
            is_path && self.node.line_of(path).is_some() || self.node.get(path).is_some()
        });
        named.unwrap_or_default()
    }

    /// The member as it stands in the file, which for Compose is another than in the request.
    fn as_written(&self, member: &str) -> String {
        let of = self.origins.iter().filter(|(ecs, _)| {
            let rest = member.strip_prefix(ecs.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        let nearest = of.max_by_key(|(ecs, _)| ecs.len());
        nearest.map_or_else(|| member.to_owned(), |(_, written)| written.clone())
    }
}

/// Takes a member out of a request, such as `containerDefinitions[0].secrets`; returns whether it was there.
fn take_out(request: &mut Value, path: &str) -> bool {
    let (holder, member) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer: String = holder
        .split(['.', '[', ']'])
        .filter(|step| !step.is_empty())
        .map(|step| format!("/{step}"))
        .collect();
    let holder = request.pointer_mut(&pointer).and_then(Value::as_object_mut);
    holder.is_some_and(|holder| holder.remove(member).is_some())
}

/// A path as it is written here; AWS's validation errors write `containerDefinitions.1.member.name` for `containerDefinitions[0].name`.
fn path_of(word: &str) -> String {
    let mut path = String::new();
    let mut steps = word.split('.').peekable();
    while let Some(step) = steps.next() {
        match step.parse::<usize>() {
            Ok(position) if steps.peek() == Some(&"member") => {
                steps.next();
                path.push_str(&format!("[{}]", position.saturating_sub(1)));
            }
            _ if path.is_empty() => path.push_str(step),
            _ => path.extend([".", step]),
        }
    }
    path
}

/// The kind that the document names.
fn kind_of(file: &str, node: &Node) -> Result<Kind, Problem> {
    let problem = |line: usize, reason: String| Problem {
        place: Place {
            file: file.to_owned(),
            line,
        },
        subject: String::new(),
        member: KIND.to_owned(),
        reason,
    };
    let kinds = Kind::ALL.map(Kind::word).join(", ");
    if !matches!(node.content, Content::Map(_)) {
        let reason = format!(
            "a document is a structure with the kind and the members of a request, and this is {}",
            node.what()
        );
        return Err(problem(node.line, reason));
    }
    match node.get(KIND) {
        None => {
            let hint = Kind::guess(node).map_or_else(
                || format!("the kinds are {kinds}; a Compose file has services"),
                |kind| format!("add `kind: {}`", kind.word()),
            );
            Err(problem(node.line, format!("is missing; {hint}")))
        }
        Some(given) => {
            let word = given.scalar().unwrap_or_default();
            let found = Kind::ALL.into_iter().find(|kind| kind.word() == word);
            found.ok_or_else(|| {
                let near = check::nearest(word, Kind::ALL.map(Kind::word));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                problem(given.line, format!("{word:?} is none of {kinds}{hint}"))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    fn declared(text: &str) -> Result<Resource, Vec<String>> {
        let node = document::read(text).expect("readable").remove(0);
        let resource = Resource::of_document("f.yaml", node);
        resource.map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn skeleton_of_the_aws_cli_needs_only_its_kind() {
        let skeleton = r#"{"serviceName": "web", "taskDefinition": "web", "desiredCount": 2, "launchType": "EC2", "clientToken": ""}"#;
        assert_eq!(
            declared(skeleton).expect_err("no kind"),
            ["f.yaml:1: kind: is missing; add `kind: Service`"]
        );
        let with_kind = skeleton.replacen('{', "{\"kind\": \"Service\", ", 1);
        let resource = declared(&with_kind).expect("a service");
        assert_eq!((resource.kind, resource.name.as_str()), (Kind::Service, "web"));
        assert_eq!(resource.request["desiredCount"], 2);
        assert!(!resource.request.contains_key(KIND));
    }

    #[test]
    fn everything_that_is_not_supported_is_told_at_once() {
        let definition = "kind: TaskDefinition\nfamily: web\ntaskRoleArn: arn:aws:iam::1:role/r\nexecutionRoleArn: arn:aws:iam::1:role/r\n\
                          containerDefinitions:\n- name: web\n  image: busybox\n  memory: 64\n  secrets: [{name: A, valueFrom: b}]\n";
        let said = declared(definition).expect_err("not supported");
        for (line, member) in [
            (3, "taskRoleArn"),
            (4, "executionRoleArn"),
            (9, "containerDefinitions[0].secrets"),
        ] {
            let begins = format!("f.yaml:{line}: task definition web: {member}: ");
            assert!(
                said.iter().any(|problem| problem.starts_with(&begins)),
                "{begins} in {said:?}"
            );
        }
        assert_eq!(said.len(), 3, "{said:?}");
    }

    #[test]
    fn what_is_no_kind_is_refused_with_the_kinds_that_there_are() {
        for (text, said) in [
            (
                "kind: Deployment",
                "f.yaml:1: kind: \"Deployment\" is none of Cluster, CapacityProvider, TaskDefinition, Alarm, Service",
            ),
            ("kind: service", "did you mean Service?"),
            ("a: b", "the kinds are Cluster"),
            ("[a]", "this is a list"),
        ] {
            let problems = declared(text).expect_err("refused");
            assert!(problems[0].contains(said), "{problems:?}");
        }
    }

    #[test]
    fn what_berth_does_not_honour_is_refused_in_the_line_of_the_member() {
        let text = "kind: TaskDefinition\nfamily: web\ncontainerDefinitions:\n- name: web\n  image: i\n  memory: 64\n  secrets:\n  - {name: A, valueFrom: b}\n";
        assert_eq!(
            declared(text).expect_err("refused"),
            [
                "f.yaml:7: task definition web: containerDefinitions[0].secrets: The member containerDefinitions[0].secrets is not supported by Berth yet. Leave it out, and give \
                 the values in environment."
            ]
        );
        let text = "kind: TaskDefinition\nfamily: web\nipcMode: host\ncontainerDefinitions:\n- {name: web, image: i, memory: 64}\n";
        let problems = declared(text).expect_err("refused");
        assert!(
            problems[0].starts_with("f.yaml:3: task definition web: ipcMode: "),
            "{problems:?}"
        );
    }

    #[test]
    fn alarm_is_shown_with_the_defaults_of_cloudwatch_and_held_to_what_berth_honours() {
        let text = "kind: Alarm\nAlarmName: errors\nThreshold: 10\nPeriod: 60\nEvaluationPeriods: 1\nTags: [{Key: a, Value: 1}]\n";
        let resource = declared(text).expect("valid");
        assert_eq!((resource.kind, resource.name.as_str()), (Kind::Alarm, "errors"));
        assert_eq!(resource.shown["Threshold"], 10.0);
        assert_eq!(resource.shown["ActionsEnabled"], true);
        assert!(resource.shown.get("Tags").is_none());
        let problems = declared(&format!(
            "{text}AlarmActions: [\"arn:aws:sns:us-east-1:123456789012:pager\"]\n"
        ));
        let problems = problems.expect_err("refused");
        assert!(
            problems[0].starts_with("f.yaml:7: alarm errors: AlarmActions: AlarmActions is not supported by Berth yet"),
            "{problems:?}"
        );
    }

    #[test]
    fn paths_of_validation_errors_count_from_one() {
        assert_eq!(
            path_of("containerDefinitions.2.member.memory"),
            "containerDefinitions[1].memory"
        );
        assert_eq!(path_of("serviceName"), "serviceName");
    }

    #[test]
    fn rule_that_a_container_breaks_is_told_before_anything_is_asked() {
        let text = "kind: TaskDefinition\nfamily: web\ncontainerDefinitions:\n- {name: web, image: i}\n";
        let problems = declared(text).expect_err("refused");
        assert!(
            problems[0].contains("At least one of 'memory' or 'memoryReservation'"),
            "{problems:?}"
        );
    }

    #[test]
    fn definition_is_shown_with_the_defaults_of_ecs() {
        let text = "kind: TaskDefinition\nfamily: web\ncontainerDefinitions:\n- {name: web, image: i, memory: 64}\n";
        let resource = declared(text).expect("valid");
        assert_eq!(resource.shown["containerDefinitions"][0]["essential"], true);
        assert!(resource.shown.get("revision").is_none());
    }
}
