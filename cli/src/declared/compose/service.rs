//! One service of a Compose file: its members as those of a task definition and of a service of ECS. Pure but for `env_file`.

use std::path::Path;

use berth_core::model::DEPENDS_ON_TAG;

use super::super::check::nearest;
use super::super::document::{Content, Key, Node, truth};
use super::super::problem::Problem;
use super::super::resource::{Kind, Resource};
use super::variables::Variables;
use super::{Faults, environment, members, ports, values};

/// Members of a service that mean something to ECS. All others are refused, also those that a member listed here makes senseless.
const KNOWN: [&str; 23] = [
    "command",
    "cpus",
    "depends_on",
    "deploy",
    "entrypoint",
    "env_file",
    "environment",
    "healthcheck",
    "hostname",
    "image",
    "labels",
    "mem_limit",
    "mem_reservation",
    "network_mode",
    "ports",
    "privileged",
    "read_only",
    "restart",
    "scale",
    "stop_grace_period",
    "user",
    "volumes",
    "working_dir",
];

/// Members of Compose files that are met often, and what to do instead.
const INSTEAD: [(&str, &str); 6] = [
    (
        "build",
        "build the image, bring it to the hosts or a registry, and name it with image",
    ),
    (
        "container_name",
        "tasks get names of their own, since there may be many",
    ),
    ("expose", "a port that is only to be known needs no member"),
    ("links", "services find each other by host ports"),
    ("networks", "each task has its host's bridge, or what network_mode says"),
    ("profiles", "put what is not always wanted into a file of its own"),
];

/// Turns one service into resources.
pub(super) struct Translator<'c> {
    pub(super) project: &'c str,
    pub(super) folder: &'c Path,
    pub(super) variables: &'c Variables,
    pub(super) file: &'c str,
    pub(super) key: &'c Key,
    /// The names of all services of the file.
    pub(super) names: Vec<&'c str>,
}

/// The members that have been made so far, and what they come from.
struct Made<'c> {
    path: String,
    container: Vec<(&'static str, Node)>,
    definition: Vec<(&'static str, Node)>,
    service: Vec<(&'static str, Node)>,
    origins: Vec<(String, String)>,
    after: Vec<String>,
    faults: Faults<'c>,
}

impl Translator<'_> {
    /// The task definition and the service.
    ///
    /// # Errors
    /// Everything that is wrong, or means nothing to ECS.
    pub(super) fn resources(&self, node: &Node) -> Result<Vec<Resource>, Vec<Problem>> {
        let (name, line) = (self.key.text.as_str(), self.key.line);
        let mut made = Made {
            path: format!("services.{name}"),
            container: vec![("name", Node::text(line, name))],
            definition: vec![],
            service: vec![],
            origins: vec![],
            after: vec![],
            faults: Faults::of(self.file),
        };
        for (key, value) in members(node).iter().filter(|(_, value)| !value.is_null()) {
            self.member(key, value, &mut made);
        }
        let variables = environment::variables(node, &made.path, self.folder, self.variables, &mut made.faults);
        if !variables.is_empty() {
            let pair = |(name, variable): (String, environment::Variable)| {
                let line = variable.line;
                Node::map(
                    line,
                    [
                        ("name", Node::text(line, name)),
                        ("value", Node::text(line, variable.value)),
                    ],
                )
            };
            let list = Node::list(line, variables.into_iter().map(pair).collect());
            made.container("environment", list, "environment");
        }
        if node.get("image").is_none_or(Node::is_null) {
            made.fault(line, "image", "is missing");
        }
        let has_memory = made
            .container
            .iter()
            .any(|(member, _)| matches!(*member, "memory" | "memoryReservation"));
        if !has_memory {
            let reason =
                "limits.memory or reservations.memory is missing: a task goes to a host that has so much memory left";
            made.fault(line, "deploy.resources", reason);
        }
        if !made.faults.problems.is_empty() {
            return Err(made.faults.problems);
        }
        self.finish(made)
    }

    fn finish(&self, made: Made<'_>) -> Result<Vec<Resource>, Vec<Problem>> {
        let (name, line) = (self.key.text.as_str(), self.key.line);
        let family = format!("{}-{name}", self.project);
        let mut definition = made.definition;
        definition.push(("family", Node::text(line, &family)));
        definition.push((
            "containerDefinitions",
            Node::list(line, vec![Node::map(line, made.container)]),
        ));
        let mut service = made.service;
        if !made.after.is_empty() {
            let names = made.after.join(" ");
            let tag = Node::map(
                line,
                [
                    ("key", Node::text(line, DEPENDS_ON_TAG)),
                    ("value", Node::text(line, names)),
                ],
            );
            service.push(("tags", Node::list(line, vec![tag])));
        }
        let is_daemon = service.iter().any(|(member, _)| *member == "schedulingStrategy");
        if !is_daemon && !service.iter().any(|(member, _)| *member == "desiredCount") {
            service.push(("desiredCount", Node::plain(line, 1)));
        }
        // A service that names no cluster goes where all do that name none.
        for (member, text) in [("serviceName", name), ("taskDefinition", &family)] {
            service.push((member, Node::text(line, text)));
        }
        let mut origins = made.origins;
        // What none of the members says is of the service as a whole.
        origins.extend(
            ["containerDefinitions", "family", "serviceName", "cluster"]
                .map(|member| (member.to_owned(), made.path.clone())),
        );
        let definition = Resource::new(
            Kind::TaskDefinition,
            self.file,
            Node::map(line, definition),
            origins.clone(),
        )?;
        let mut service = Resource::new(Kind::Service, self.file, Node::map(line, service), origins)?;
        service.after = made.after;
        service.project_family = Some(family);
        Ok(vec![definition, service])
    }

    fn member(&self, key: &Key, node: &Node, made: &mut Made<'_>) {
        match key.text.as_str() {
            "image" => made.container("image", node.clone(), "image"),
            "user" => made.container("user", node.clone(), "user"),
            "working_dir" => made.container("workingDirectory", node.clone(), "working_dir"),
            "hostname" => made.container("hostname", node.clone(), "hostname"),
            "privileged" => made.container("privileged", node.clone(), "privileged"),
            "read_only" => made.container("readonlyRootFilesystem", node.clone(), "read_only"),
            "command" => made.words("command", node, "command"),
            "entrypoint" => made.words("entryPoint", node, "entrypoint"),
            "labels" => made.labels(node),
            "stop_grace_period" => made.seconds("stopTimeout", node, "stop_grace_period"),
            "network_mode" => made.network_mode(node),
            "ports" => made.ports(node),
            "volumes" => made.volumes(node, self.folder),
            "healthcheck" => made.health_check(node),
            "restart" => made.restart(node),
            "scale" => made.service.push(("desiredCount", node.clone())),
            "mem_limit" => made.memory("memory", node, "mem_limit"),
            "mem_reservation" => made.memory("memoryReservation", node, "mem_reservation"),
            "cpus" => made.task_cpu(node, "cpus"),
            "deploy" => made.deploy(node),
            "depends_on" => made.depends_on(node, &self.names),
            // Both are read together.
            "env_file" | "environment" => {}
            other if other.starts_with("x-") => {}
            other => made.unknown(
                key,
                "",
                &KNOWN,
                INSTEAD
                    .iter()
                    .find(|(member, _)| *member == other)
                    .map(|(_, hint)| *hint),
            ),
        }
    }
}

impl Made<'_> {
    fn fault(&mut self, line: usize, member: &str, reason: impl Into<String>) {
        let at = format!("{}.{member}", self.path);
        self.faults.add(line, &at, reason);
    }

    /// Adds a member of the container that comes from this member of the Compose service.
    fn container(&mut self, member: &'static str, node: Node, from: &str) {
        self.origins.push((
            format!("containerDefinitions[0].{member}"),
            format!("{}.{from}", self.path),
        ));
        self.container.push((member, node));
    }

    /// Adds a member of the task definition.
    fn definition(&mut self, member: &'static str, node: Node, from: &str) {
        self.origins.push((member.to_owned(), format!("{}.{from}", self.path)));
        self.definition.push((member, node));
    }

    fn unknown(&mut self, key: &Key, within: &str, known: &[&str], instead: Option<&str>) {
        let mut reason = "is not translated to ECS".to_owned();
        if let Some(instead) = instead {
            reason.push_str(&format!(": {instead}"));
        } else if let Some(near) = nearest(&key.text, known.iter().copied()) {
            reason.push_str(&format!("; did you mean {near}?"));
        }
        self.fault(key.line, &format!("{within}{}", key.text), reason);
    }

    /// Refuses what a structure has beyond these members.
    fn only(&mut self, node: &Node, within: &str, known: &[&str]) {
        for (key, _) in members(node) {
            if !known.contains(&key.text.as_str()) && !key.text.starts_with("x-") {
                self.unknown(key, &format!("{within}."), known, None);
            }
        }
    }

    /// A scalar, read by `read`, as a number.
    fn number(&mut self, node: &Node, from: &str, read: fn(&str) -> Result<u64, String>) -> Option<Node> {
        match read(node.scalar().unwrap_or_default()) {
            Ok(number) => Some(Node::plain(node.line, number)),
            Err(reason) => {
                self.fault(node.line, from, reason);
                None
            }
        }
    }

    fn seconds(&mut self, member: &'static str, node: &Node, from: &str) {
        if let Some(number) = self.number(node, from, values::seconds) {
            self.container(member, number, from);
        }
    }

    fn memory(&mut self, member: &'static str, node: &Node, from: &str) {
        if let Some(number) = self.number(node, from, values::mebibytes) {
            self.container(member, number, from);
        }
    }

    /// A limit of CPUs is one of the task, since that of a container is only its share.
    fn task_cpu(&mut self, node: &Node, from: &str) {
        if let Some(number) = self.number(node, from, values::cpu_units) {
            self.definition("cpu", number, from);
        }
    }

    /// A command line, or a list of its words.
    fn words(&mut self, member: &'static str, node: &Node, from: &str) {
        let list = match &node.content {
            Content::Scalar { text, .. } => match values::words(text) {
                Ok(words) => words.iter().map(|word| Node::text(node.line, word)).collect(),
                Err(reason) => return self.fault(node.line, from, reason),
            },
            Content::List(elements) => elements.clone(),
            Content::Map(_) => return self.fault(node.line, from, "should be a command line, or a list of its words"),
        };
        match list.is_empty() {
            true => self.fault(
                node.line,
                from,
                "is empty, and ECS cannot take away what the image has; remove it",
            ),
            false => self.container(member, Node::list(node.line, list), from),
        }
    }

    fn labels(&mut self, node: &Node) {
        let Content::List(elements) = &node.content else {
            return self.container("dockerLabels", node.clone(), "labels");
        };
        let mut labels = vec![];
        for element in elements {
            let text = element.scalar().unwrap_or_default();
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let key = Key {
                text: name.to_owned(),
                line: element.line,
            };
            labels.push((key, Node::text(element.line, value)));
        }
        let map = Node {
            line: node.line,
            content: Content::Map(labels),
        };
        self.container("dockerLabels", map, "labels");
    }

    fn network_mode(&mut self, node: &Node) {
        match node.scalar() {
            Some("bridge" | "host" | "none") => self.definition("networkMode", node.clone(), "network_mode"),
            _ => self.fault(node.line, "network_mode", "should be bridge, host or none"),
        }
    }

    fn ports(&mut self, node: &Node) {
        let Content::List(elements) = &node.content else {
            return self.fault(node.line, "ports", "should be a list");
        };
        let mut found = vec![];
        for element in elements {
            match ports::mappings(element) {
                Ok(mappings) => found.extend(mappings.into_iter().map(|mapping| {
                    let line = element.line;
                    let members = [
                        ("containerPort", Node::plain(line, mapping.container_port)),
                        ("hostPort", Node::plain(line, mapping.host_port)),
                        ("protocol", Node::text(line, mapping.protocol)),
                    ];
                    Node::map(line, members)
                })),
                Err(reason) => self.fault(element.line, "ports", reason),
            }
        }
        self.container("portMappings", Node::list(node.line, found), "ports");
    }

    fn volumes(&mut self, node: &Node, folder: &Path) {
        let Content::List(elements) = &node.content else {
            return self.fault(node.line, "volumes", "should be a list");
        };
        let (mut volumes, mut mounts) = (vec![], vec![]);
        for (index, element) in elements.iter().enumerate() {
            let line = element.line;
            let Some((source, target, read_only)) = self.bind(element) else {
                continue;
            };
            let source = folder.join(source).to_string_lossy().into_owned();
            let name = format!("bind-{}", index + 1);
            let host = Node::map(line, [("sourcePath", Node::text(line, source))]);
            volumes.push(Node::map(line, [("name", Node::text(line, &name)), ("host", host)]));
            let mount = [
                ("sourceVolume", Node::text(line, &name)),
                ("containerPath", Node::text(line, target)),
                ("readOnly", Node::plain(line, read_only)),
            ];
            mounts.push(Node::map(line, mount));
        }
        self.definition("volumes", Node::list(node.line, volumes), "volumes");
        self.container("mountPoints", Node::list(node.line, mounts), "volumes");
    }

    /// A path of the host, where it is seen, and whether it can only be read.
    fn bind(&mut self, node: &Node) -> Option<(String, String, bool)> {
        let named = "only folders and files of the host can be mounted: a path that begins with / or .";
        if let Some(text) = node.scalar() {
            let parts: Vec<&str> = text.split(':').collect();
            let (source, target, options) = match parts.as_slice() {
                [source, target] => (*source, *target, "rw"),
                [source, target, options] => (*source, *target, *options),
                _ => ("", "", ""),
            };
            let read_only = match options {
                "rw" | "" => false,
                "ro" => true,
                other => {
                    self.fault(
                        node.line,
                        "volumes",
                        format!("the option {other} is not translated to ECS; ro and rw are"),
                    );
                    return None;
                }
            };
            if !source.starts_with(['/', '.']) {
                self.fault(node.line, "volumes", named);
                return None;
            }
            return Some((source.to_owned(), target.to_owned(), read_only));
        }
        self.only(node, "volumes", &["type", "source", "target", "read_only"]);
        let text = |member: &str| node.get(member).and_then(Node::scalar).map(str::to_owned);
        match (text("type").as_deref(), text("source"), text("target")) {
            (Some("bind"), Some(source), Some(target)) => Some((
                source,
                target,
                text("read_only").is_some_and(|text| truth(&text) == Some(true)),
            )),
            _ => {
                self.fault(node.line, "volumes", named);
                None
            }
        }
    }

    fn health_check(&mut self, node: &Node) {
        self.only(
            node,
            "healthcheck",
            &["test", "interval", "timeout", "retries", "start_period", "disable"],
        );
        let line = node.line;
        let is_disabled = node.get("disable").and_then(Node::scalar).and_then(truth) == Some(true);
        let command = match node.get("test").map(|test| &test.content) {
            _ if is_disabled => vec![Node::text(line, "NONE")],
            Some(Content::List(words)) => words.clone(),
            Some(Content::Scalar { text, .. }) => vec![Node::text(line, "CMD-SHELL"), Node::text(line, text)],
            _ => {
                return self.fault(
                    line,
                    "healthcheck.test",
                    "is missing: ECS has no health checks of images",
                );
            }
        };
        let mut check = vec![("command", Node::list(line, command))];
        for (from, member) in [
            ("interval", "interval"),
            ("timeout", "timeout"),
            ("start_period", "startPeriod"),
        ] {
            if let Some(given) = node.get(from) {
                let number = self.number(given, &format!("healthcheck.{from}"), values::seconds);
                check.extend(number.map(|number| (member, number)));
            }
        }
        check.extend(node.get("retries").map(|retries| ("retries", retries.clone())));
        self.container("healthCheck", Node::map(line, check), "healthcheck");
    }

    /// A service of ECS has always what it wants: a task that ends is replaced, however it ended.
    fn restart(&mut self, node: &Node) {
        match node.scalar() {
            Some("always" | "unless-stopped") => {}
            _ => self.fault(
                node.line,
                "restart",
                "a service replaces every task that ends, which is always; for a task that is to end there is `aws ecs run-task`",
            ),
        }
    }

    fn deploy(&mut self, node: &Node) {
        self.only(node, "deploy", &["mode", "replicas", "resources", "restart_policy"]);
        if let Some(replicas) = node.get("replicas") {
            self.service.push(("desiredCount", replicas.clone()));
            self.origins
                .push(("desiredCount".to_owned(), format!("{}.deploy.replicas", self.path)));
        }
        match node.get("mode").map(|mode| (mode.line, mode.scalar())) {
            None | Some((_, Some("replicated"))) => {}
            Some((line, Some("global"))) => self.service.push(("schedulingStrategy", Node::text(line, "DAEMON"))),
            Some((line, _)) => self.fault(line, "deploy.mode", "should be replicated or global"),
        }
        if let Some(policy) = node.get("restart_policy") {
            self.only(policy, "deploy.restart_policy", &["condition"]);
            if policy
                .get("condition")
                .and_then(Node::scalar)
                .is_some_and(|condition| condition != "any")
            {
                self.fault(
                    policy.line,
                    "deploy.restart_policy.condition",
                    "a service replaces every task that ends, which is any",
                );
            }
        }
        let Some(resources) = node.get("resources") else { return };
        self.only(resources, "deploy.resources", &["limits", "reservations"]);
        for (kind, memory) in [("limits", "memory"), ("reservations", "memoryReservation")] {
            let at = format!("deploy.resources.{kind}");
            let Some(amounts) = resources.get(kind) else { continue };
            self.only(amounts, &at, &["cpus", "memory"]);
            if let Some(given) = amounts.get("memory") {
                self.memory(memory, given, &format!("{at}.memory"));
            }
            match (amounts.get("cpus"), kind) {
                (Some(given), "limits") => self.task_cpu(given, &format!("{at}.cpus")),
                (Some(given), _) => {
                    let from = format!("{at}.cpus");
                    if let Some(units) = self.number(given, &from, values::cpu_units) {
                        self.container("cpu", units, &from);
                    }
                }
                (None, _) => {}
            }
        }
    }

    fn depends_on(&mut self, node: &Node, names: &[&str]) {
        let on: Vec<(Key, Option<&Node>)> = match &node.content {
            Content::List(elements) => {
                let key = |element: &Node| Key {
                    text: element.scalar().unwrap_or_default().to_owned(),
                    line: element.line,
                };
                elements.iter().map(|element| (key(element), None)).collect()
            }
            Content::Map(entries) => entries.iter().map(|(key, node)| (key.clone(), Some(node))).collect(),
            Content::Scalar { .. } => {
                return self.fault(node.line, "depends_on", "should be a list or a map of services");
            }
        };
        for (key, conditions) in on {
            let at = format!("depends_on.{}", key.text);
            if !names.contains(&key.text.as_str()) {
                self.fault(key.line, &at, "the file has no such service");
            }
            if let Some(conditions) = conditions {
                self.only(conditions, &at, &["condition"]);
                match conditions.get("condition").and_then(Node::scalar) {
                    None | Some("service_started" | "service_healthy") => {}
                    Some(_) => self.fault(
                        conditions.line,
                        &format!("{at}.condition"),
                        "a service of ECS starts and becomes healthy, and never completes: service_started and service_healthy can be waited for",
                    ),
                }
            }
            self.after.push(key.text);
        }
    }
}
