//! Random documents to every operation, through the front door: never a panic, never a 5xx, and what is refused changes nothing.
//!
//! Owns how documents are made: from the model's shapes, with names that exist in the state, then broken in places. Built for tests
//! alone.

use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition, RunTask};
use berth_aws::model::{Bounds, Kind, Member, Shape};
use berth_core::ids::IdSource;
use berth_core::state::SnapshotRecord;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::dispatch::{ROUTES, Route};
use super::testing::Harness;

/// Requests of one case, one after the other on the same state.
const REQUESTS: usize = 120;
/// Deepest structure of a document; deeper members are left out.
const MAX_DEPTH: usize = 6;
/// Longest wait that a document asks for, so that the test does not.
const MAX_WAIT_MS: i64 = 5;

/// Makes documents; equal seeds make equal ones.
struct Maker {
    random: IdSource,
    /// Names and ARNs, most of which are in the state.
    names: Vec<String>,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64() % bound as u64).expect("smaller than a usize")
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn document(&mut self, route: &Route) -> Bytes {
        let mut value = self.value("", route.operation.input, 0);
        if self.one_in(2) {
            for _ in 0..=self.below(3) {
                self.break_somewhere(&mut value);
            }
        }
        if value
            .get("waitMs")
            .and_then(Value::as_i64)
            .is_some_and(|ms| (MAX_WAIT_MS..=20_000).contains(&ms))
        {
            value["waitMs"] = json!(MAX_WAIT_MS);
        }
        let mut text = value.to_string().into_bytes();
        if self.one_in(20) {
            text.truncate(self.below(text.len()));
        }
        text.into()
    }

    fn value(&mut self, member: &str, shape: &Shape, depth: usize) -> Value {
        match &shape.kind {
            Kind::Structure { members, union } => self.structure(members, *union, depth),
            Kind::List { element, .. } => {
                let length = if depth > MAX_DEPTH { 0 } else { self.below(4) };
                (0..length).map(|_| self.value(member, element, depth + 1)).collect()
            }
            Kind::Map { value, .. } => {
                let length = self.below(3);
                let entries = (0..length).map(|n| (format!("key{n}"), self.value(member, value, depth + 1)));
                Value::Object(entries.collect())
            }
            Kind::String { values: [], .. } => json!(self.text(member)),
            Kind::String { values, .. } => json!(self.pick(values)),
            Kind::Integer(bounds) => json!(i32::try_from(self.number(*bounds)).unwrap_or(i32::MAX)),
            Kind::Long(bounds) => json!(self.number(*bounds)),
            Kind::Double(bounds) => json!(i32::try_from(self.number(*bounds)).map_or(0.5, f64::from)),
            Kind::Boolean => json!(self.one_in(2)),
            Kind::Timestamp => json!(1_700_000_000),
            Kind::Blob => json!("AAAA"),
            Kind::Document => self.anything(),
        }
    }

    fn structure(&mut self, members: &[Member], union: bool, depth: usize) -> Value {
        let mut object = Map::new();
        let only = self.below(members.len().max(1));
        for (index, member) in members.iter().enumerate() {
            let wanted = match union {
                true => index == only,
                false => member.required || (depth <= MAX_DEPTH && self.one_in(2 + 2 * depth)),
            };
            if wanted {
                object.insert(member.name.to_owned(), self.value(member.name, member.shape, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn text(&mut self, member: &str) -> String {
        let usual: &[&str] = match member {
            "cluster" | "clusters" => &["default"],
            "taskDefinition" | "family" => &["f", "f:1"],
            "service" | "services" | "serviceName" => &["web"],
            "cpu" => &["128", "256", "1024"],
            "memory" => &["64", "512", "1 GB"],
            "networkMode" => &["bridge", "none", "host"],
            "nextToken" => &["", "abc", "TGlzdENsdXN0ZXJzCmE"],
            "filter" | "expression" => &["attribute:x == y", "not (runningTasksCount > 1)", "((("],
            "image" | "name" | "key" | "containerName" => &["c", "a", "containerInsights"],
            _ => &[],
        };
        if !usual.is_empty() && !self.one_in(5) {
            return self.pick(usual).to_owned();
        }
        let odd = [
            "",
            "x",
            "\u{0}",
            "../..",
            "名前",
            "arn:aws:ecs:::",
            "4294967296",
            "-1",
            "a:b:c",
        ];
        match self.below(10) {
            0 => "long".repeat(self.below(200)),
            1..4 => self.pick(&odd).to_owned(),
            _ => {
                let index = self.below(self.names.len());
                self.names[index].clone()
            }
        }
    }

    fn number(&mut self, bounds: Bounds) -> i64 {
        let edges = [
            0,
            1,
            2,
            3,
            10,
            80,
            128,
            65_535,
            65_536,
            i64::from(i32::MAX),
            -1,
            i64::from(i32::MIN),
        ];
        let harmless = 7;
        let choices = if self.one_in(4) { edges.len() } else { harmless };
        let edge = edges[self.below(choices)];
        match self.below(8) {
            0 => bounds.max.unwrap_or(edge),
            1 => bounds.min.unwrap_or(edge),
            _ => edge,
        }
    }

    fn anything(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!(self.one_in(2)),
            2 => json!(self.random.next_u64()),
            3 => json!(-1.5),
            4 => json!([]),
            5 => json!({"unknown": [1, {"a": null}]}),
            6 => json!(1e300),
            _ => json!(self.text("")),
        }
    }

    /// Replaces, removes or adds something at a random place.
    fn break_somewhere(&mut self, value: &mut Value) {
        let stops_here = self.one_in(3);
        match value {
            Value::Object(members) if !members.is_empty() && !stops_here => {
                let index = self.below(members.len());
                let name = members.keys().nth(index).cloned().unwrap_or_default();
                match self.below(6) {
                    0 => drop(members.remove(&name)),
                    1 => drop(members.insert("unknownMember".to_owned(), self.anything())),
                    _ => self.break_somewhere(&mut members[&name]),
                }
            }
            Value::Array(elements) if !elements.is_empty() && !stops_here => {
                let index = self.below(elements.len());
                match self.below(4) {
                    0 => elements.push(elements[index].clone()),
                    _ => self.break_somewhere(&mut elements[index]),
                }
            }
            _ => *value = self.anything(),
        }
    }
}

/// A cluster with a host, a service and a task; and the names of all that.
async fn furnished() -> (Harness, Vec<String>) {
    let harness = Harness::new();
    let host = harness.add_host(1, "z");
    let container = json!({"name": "c", "image": "i", "memory": 64});
    let definition = json!({"family": "f", "containerDefinitions": [container]});
    harness
        .call::<RegisterTaskDefinition>(definition)
        .await
        .expect("registered");
    let service = json!({"serviceName": "web", "taskDefinition": "f", "desiredCount": 1});
    harness.call::<CreateService>(service).await.expect("created");
    let ran = harness
        .call::<RunTask>(json!({"taskDefinition": "f"}))
        .await
        .expect("ran");
    let task = ran["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned();
    let cluster = harness.cluster("default");
    let id = task.rsplit('/').next().expect("an id").to_owned();
    let names = vec![
        cluster.arn(),
        cluster.service("web").arn(),
        cluster.container_instance_arn(host),
        host.to_string(),
        task,
        id,
        "arn:aws:ecs:us-east-1:123456789012:task-definition/f:1".to_owned(),
        "arn:aws:ecs:eu-west-1:123456789012:cluster/default".to_owned(),
        "default".to_owned(),
        "f".to_owned(),
        "web".to_owned(),
        "c".to_owned(),
    ];
    (harness, names)
}

/// What there is, without the position in the log, which moves with refused commands too.
fn contents(harness: &Harness) -> Vec<SnapshotRecord> {
    harness.state.state().snapshot().skip(1).collect()
}

/// Sends documents made from `seed` and says how many were accepted.
async fn send_all(seed: u64) -> usize {
    let (harness, names) = furnished().await;
    let mut maker = Maker {
        random: IdSource::from_seed(seed),
        names,
    };
    let routes: Vec<&Route> = ROUTES
        .iter()
        .filter(|route| !route.service.target_prefix.is_empty())
        .collect();
    let mut accepted = 0;
    for _ in 0..REQUESTS {
        let route = routes[maker.below(routes.len())];
        let document = maker.document(route);
        let before = contents(&harness);
        let response = harness.send_document(route, document.clone()).await;
        let what = || {
            let answer = String::from_utf8_lossy(response.body()).into_owned();
            format!(
                "{} {}: {answer}",
                route.operation.name,
                String::from_utf8_lossy(&document)
            )
        };
        match response.status().as_u16() {
            200 => accepted += 1,
            400 | 404 => assert!(contents(&harness) == before, "refused with an effect: {}", what()),
            status => panic!("{status} to {}", what()),
        }
        assert!(
            serde_json::from_slice::<Value>(response.body()).is_ok(),
            "not JSON: {}",
            what()
        );
    }
    accepted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operation_given_any_document_answers_and_changes_nothing_it_refuses(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let accepted = runtime.block_on(send_all(seed));
        prop_assert!(accepted > 0, "none of the documents was accepted: they test nothing");
    }
}
