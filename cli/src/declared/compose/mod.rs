//! Docker Compose files as resources: each service becomes an ECS service and a task definition of one container.
//!
//! Owns what of a Compose file means something to ECS; all else is refused by the name that it has there. What ECS knows and Berth does not
//! honour yet is refused like any member of a request, by the Compose file's name for it. Reads `env_file`s; else pure.

mod environment;
mod ports;
mod service;
mod values;
mod variables;

use std::path::Path;

pub(crate) use variables::Variables;

use super::check;
use super::document::{Content, Key, Node};
use super::problem::{Place, Problem};
use super::resource::{Kind, Resource};
use service::Translator;

/// Members at the top of a Compose file that mean something here; `version` has meant nothing to Compose for long.
const KNOWN: [&str; 3] = ["name", "services", "version"];

/// The resources that a Compose file declares, services behind those that they depend on.
///
/// # Errors
/// Everything that is wrong with it, or means nothing to ECS.
pub(crate) fn read(
    file: &str,
    folder: &Path,
    variables: &Variables,
    node: &Node,
) -> Result<Vec<Resource>, Vec<Problem>> {
    let mut faults = Faults::of(file);
    let node = expanded(node, variables, "", &mut faults);
    for key in keys(&node) {
        let is_extension = key.text.starts_with("x-");
        if !is_extension && !KNOWN.contains(&key.text.as_str()) {
            let reason = "means nothing to ECS; remove it, or what uses it";
            let near =
                check::nearest(&key.text, KNOWN).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            faults.add(key.line, &key.text, format!("{reason}{near}"));
        }
    }
    let project = project(&node, folder);
    let mut resources = vec![];
    let services = node.get("services").map(members).unwrap_or_default();
    if services.is_empty() {
        faults.add(node.line, "services", "has no service");
    }
    for (key, service) in services {
        let translator = Translator {
            project: &project,
            folder,
            variables,
            file,
            key,
            names: services.iter().map(|(key, _)| key.text.as_str()).collect(),
        };
        match translator.resources(service) {
            Ok(found) => resources.extend(found),
            Err(found) => faults.problems.extend(found),
        }
    }
    if faults.problems.is_empty() {
        in_order(resources).map_err(|problem| vec![problem])
    } else {
        Err(faults.problems)
    }
}

/// The name of the project: that of the file, else of its folder, as Compose writes it.
fn project(node: &Node, folder: &Path) -> String {
    let given = node.get("name").and_then(Node::scalar).map(str::to_owned);
    let name = given.or_else(|| Some(folder.file_name()?.to_string_lossy().into_owned()));
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_' || *c == '-';
    let name: String = name
        .unwrap_or_default()
        .to_ascii_lowercase()
        .chars()
        .filter(allowed)
        .collect();
    match name.trim_start_matches(['_', '-']) {
        "" => "default".to_owned(),
        name => name.to_owned(),
    }
}

/// Resources with each service behind those that it depends on.
fn in_order(mut waiting: Vec<Resource>) -> Result<Vec<Resource>, Problem> {
    let mut ordered: Vec<Resource> = vec![];
    while !waiting.is_empty() {
        let is_waiting = |name: &String| {
            let mut others = waiting.iter().filter(|other| other.kind == Kind::Service);
            others.any(|other| other.name == *name)
        };
        let free = waiting
            .iter()
            .position(|resource| !resource.after.iter().any(is_waiting));
        let Some(free) = free else {
            let names: Vec<&str> = waiting.iter().map(|resource| resource.name.as_str()).collect();
            return Err(waiting[0].problem("", format!("{} wait for each other by depends_on", names.join(", "))));
        };
        ordered.push(waiting.remove(free));
    }
    Ok(ordered)
}

/// The node with what variables stand for.
fn expanded(node: &Node, variables: &Variables, path: &str, faults: &mut Faults<'_>) -> Node {
    let content = match &node.content {
        Content::Scalar { text, plain } => {
            let expanded = variables.expand(text);
            let text = expanded.unwrap_or_else(|reason| {
                faults.add(node.line, path, reason);
                text.clone()
            });
            Content::Scalar { text, plain: *plain }
        }
        Content::List(elements) => {
            let elements = elements.iter().enumerate();
            Content::List(
                elements
                    .map(|(index, node)| expanded(node, variables, &format!("{path}[{index}]"), faults))
                    .collect(),
            )
        }
        Content::Map(members) => {
            let expand = |(key, node): &(Key, Node)| {
                let at = if path.is_empty() {
                    key.text.clone()
                } else {
                    format!("{path}.{}", key.text)
                };
                (key.clone(), expanded(node, variables, &at, faults))
            };
            Content::Map(members.iter().map(expand).collect())
        }
    };
    Node {
        line: node.line,
        content,
    }
}

/// The members of a map; none if it is something else.
fn members(node: &Node) -> &[(Key, Node)] {
    match &node.content {
        Content::Map(members) => members,
        _ => &[],
    }
}

fn keys(node: &Node) -> impl Iterator<Item = &Key> {
    members(node).iter().map(|(key, _)| key)
}

/// What is wrong with a file.
struct Faults<'f> {
    file: &'f str,
    problems: Vec<Problem>,
}

impl<'f> Faults<'f> {
    fn of(file: &'f str) -> Self {
        Self { file, problems: vec![] }
    }

    fn add(&mut self, line: usize, member: &str, reason: impl Into<String>) {
        self.problems.push(Problem {
            place: Place {
                file: self.file.to_owned(),
                line,
            },
            subject: String::new(),
            member: member.to_owned(),
            reason: reason.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::document;
    use super::*;

    fn translated(text: &str) -> Result<Vec<Resource>, Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("web.env"), "LOG=file\nFROM_FILE=1\n").expect("written");
        let variables = Variables::exactly(&[("TAG", "2"), ("HOME_PAGE", "https://example.org")]);
        let node = document::read(text).expect("readable").remove(0);
        let resources = read("compose.yaml", folder.path(), &variables, &node);
        resources.map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    fn named<'r>(resources: &'r [Resource], kind: Kind, name: &str) -> &'r Resource {
        let mut found = resources
            .iter()
            .filter(|resource| resource.kind == kind && resource.name == name);
        found.next().expect("there")
    }

    #[test]
    fn service_becomes_a_service_and_a_definition_of_one_container() {
        let text = "
name: Shop
x-common: &common
  user: \"1000:1000\"
services:
  web:
    <<: *common
    image: registry.example.org/web:${TAG}
    entrypoint: [serve]
    command: sh -c 'exec \"$$0\"'
    working_dir: /srv
    env_file: web.env
    environment: [LOG=debug, HOME_PAGE, NOT_SET]
    ports: [\"8080:80\", 53/udp]
    stop_grace_period: 1m30s
    restart: unless-stopped
    labels: {team: shop}
    deploy:
      replicas: 3
      resources:
        limits: {cpus: '0.5', memory: 128M}
        reservations: {cpus: '0.25', memory: 64M}
";
        let resources = translated(text).expect("translated");
        let definition = Value::Object(named(&resources, Kind::TaskDefinition, "shop-web").request.clone());
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        assert_eq!(
            definition,
            json!({"family": "shop-web", "cpu": "512", "containerDefinitions": [{
                "name": "web", "image": "registry.example.org/web:2", "entryPoint": ["serve"], "command": ["sh", "-c", "exec \"$0\""],
                "workingDirectory": "/srv", "user": "1000:1000", "stopTimeout": 90, "dockerLabels": {"team": "shop"},
                "cpu": 256, "memory": 128, "memoryReservation": 64,
                "environment": [variable("FROM_FILE", "1"), variable("HOME_PAGE", "https://example.org"), variable("LOG", "debug")],
                "portMappings": [{"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}, {"containerPort": 53, "hostPort": 0, "protocol": "udp"}]
            }]})
        );
        let service = Value::Object(named(&resources, Kind::Service, "web").request.clone());
        assert_eq!(
            service,
            json!({"serviceName": "web", "taskDefinition": "shop-web", "desiredCount": 3})
        );
    }

    #[test]
    fn what_means_nothing_to_ecs_is_refused_by_its_name_and_line() {
        let text = "
services:
  web:
    image: web
    mem_limit: 64M
    build: .
    containr_name: x
    comand: x
    restart: on-failure
    volumes: [data:/data]
    deploy:
      update_config: {parallelism: 2}
    depends_on:
      db: {condition: service_completed_successfully}
volumes:
  data:
";
        let problems = translated(text).expect_err("refused");
        for expected in [
            "compose.yaml:15: volumes: means nothing to ECS; remove it, or what uses it",
            "compose.yaml:6: services.web.build: is not translated to ECS: build the image,",
            "compose.yaml:8: services.web.comand: is not translated to ECS; did you mean command?",
            "compose.yaml:9: services.web.restart: a service replaces every task that ends",
            "compose.yaml:10: services.web.volumes: only folders and files of the host",
            "compose.yaml:12: services.web.deploy.update_config: is not translated to ECS",
            "compose.yaml:14: services.web.depends_on.db: the file has no such service",
            "compose.yaml:14: services.web.depends_on.db.condition: a service of ECS starts",
        ] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(expected)),
                "{expected}: {problems:#?}"
            );
        }
    }

    #[test]
    fn memory_is_needed_because_ecs_places_by_it() {
        let problems = translated("services:\n  web:\n    image: web\n").expect_err("refused");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with(
            "compose.yaml:2: services.web.deploy.resources: limits.memory or reservations.memory is missing"
        ));
    }

    #[test]
    fn rule_of_ecs_that_is_broken_is_told_of_the_member_of_the_compose_file() {
        let text = "services:\n  web:\n    image: web\n    mem_limit: 64M\n    deploy: {replicas: many}\n";
        let problems = translated(text).expect_err("refused");
        assert!(
            problems[0].starts_with("compose.yaml:5: service web: services.web.deploy.replicas: is a text"),
            "{problems:?}"
        );
        let text = "services:\n  web:\n    image: web\n    mem_limit: 64M\n    privileged: true\n";
        let problems = translated(text).expect_err("refused");
        assert!(
            problems[0].starts_with("compose.yaml:5: task definition "),
            "{problems:?}"
        );
        assert!(problems[0].contains(": services.web.privileged: "), "{problems:?}");
    }

    #[test]
    fn services_come_behind_those_that_they_depend_on() {
        let service = |on: &str| format!("{{image: i, mem_limit: 64M, depends_on: {on}}}");
        let text = format!(
            "services:\n  a: {}\n  b: {}\n  c: {}\n",
            service("{b: {condition: service_healthy}}"),
            service("[c]"),
            service("[]")
        );
        let resources = translated(&text).expect("translated");
        let services = resources.iter().filter(|resource| resource.kind == Kind::Service);
        assert_eq!(
            services.map(|service| service.name.as_str()).collect::<Vec<_>>(),
            ["c", "b", "a"]
        );
        let tag = |on: &str| json!([{"key": "berth:depends-on", "value": on}]);
        assert_eq!(named(&resources, Kind::Service, "a").request["tags"], tag("b"));
        assert!(named(&resources, Kind::Service, "c").request.get("tags").is_none());
        let circle = format!("services:\n  a: {}\n  b: {}\n", service("[b]"), service("[a]"));
        let problems = translated(&circle).expect_err("refused");
        assert!(
            problems[0].contains("a, b wait for each other by depends_on"),
            "{problems:?}"
        );
    }

    #[test]
    fn health_check_is_that_of_ecs_or_refused_by_its_name() {
        let text = "services:\n  web:\n    image: web\n    mem_limit: 64M\n    healthcheck: {test: wget -q localhost, interval: 10s, retries: 3}\n";
        match translated(text) {
            Ok(resources) => {
                let definition = &named(&resources, Kind::TaskDefinition, &resources[0].name).request;
                assert_eq!(
                    definition["containerDefinitions"][0]["healthCheck"],
                    json!({"command": ["CMD-SHELL", "wget -q localhost"], "interval": 10, "retries": 3})
                );
            }
            Err(problems) => assert!(problems[0].contains(": services.web.healthcheck: "), "{problems:?}"),
        }
    }
}
