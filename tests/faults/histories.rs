//! Real API calls of several clients to several controllers, held against what a single correct one could have answered.
//!
//! `histories --histories N --operations N --rate N --clients N --seed N [--record FILE] ENDPOINT...`, with region and keys in the environment as `berth env`
//! prints them. A history goes over a few objects of its own: the tag of a cluster, which is written and read, and the family of a
//! task definition, whose revisions count up. What was not answered may have happened or not. At the end every object is read at every controller, so that
//! nothing acknowledged last is lost unseen. Exits with 1 if a history cannot be explained, or the search of an explanation was given up. Meanwhile
//! controllers may be killed, stopped and cut off.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use berth_aws::sigv4::Signer;
use berth_tests::linearizable::{Action, Operation, Verdict, check};
use berth_tests::requests::{ecs_request, signer_from_environment};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Registers of a history: tags of clusters.
const REGISTERS: u64 = 6;

/// Counters of a history: families of task definitions.
const COUNTERS: u64 = 2;

/// After this long an answer is not waited for any more.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);

/// How long an object may take to be made, or to be read at the end, whatever happens to the controllers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client stays with a controller for about so many calls, unless that one does not answer.
const CALLS_TO_ONE: u64 = 16;

/// Pause after a call that a controller refused to take.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Steps after which the search of an explanation is given up, for one object.
const MAX_STEPS: u64 = 20_000_000;

/// The tag that is written and read.
const TAG: &str = "value";

/// What the command line says.
struct Wanted {
    histories: u64,
    operations: usize,
    rate: u32,
    clients: u64,
    seed: u64,
    record: Option<String>,
    endpoints: Vec<http::Uri>,
}

/// Clients and controllers of all histories.
struct World {
    wanted: Wanted,
    signer: Signer,
    began: Instant,
}

/// What became of a call.
enum Outcome {
    /// It was answered.
    Answered(Value),
    /// It was refused, by this code, and changed nothing.
    Refused(String),
    /// It never reached a controller.
    NotSent,
    /// It may have happened, or may yet.
    Unknown,
}

/// An object and what was done to it.
type Record = (String, Operation);

#[tokio::main]
async fn main() -> Result<()> {
    let wanted = Wanted::from_arguments(std::env::args().skip(1))?;
    let world = Arc::new(World {
        wanted,
        signer: signer_from_environment()?,
        began: Instant::now(),
    });
    let mut faults = 0;
    for number in 0..world.wanted.histories {
        faults += usize::from(!world.clone().history(world.wanted.seed + number).await?);
    }
    ensure!(
        faults == 0,
        "{faults} of {} histories have no explanation",
        world.wanted.histories
    );
    Ok(())
}

impl Wanted {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut wanted = Self {
            histories: 1,
            operations: 1_000,
            rate: 200,
            clients: 8,
            seed: 0,
            record: None,
            endpoints: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix("--") else {
                wanted.endpoints.push(argument.parse()?);
                continue;
            };
            let value = arguments.next().with_context(|| format!("--{name} needs a value"))?;
            match name {
                "histories" => wanted.histories = value.parse()?,
                "operations" => wanted.operations = value.parse()?,
                "rate" => wanted.rate = value.parse()?,
                "clients" => wanted.clients = value.parse()?,
                "seed" => wanted.seed = value.parse()?,
                "record" => wanted.record = Some(value),
                _ => bail!("there is no option --{name}"),
            }
        }
        ensure!(!wanted.endpoints.is_empty(), "name at least one endpoint");
        ensure!(
            wanted.rate > 0 && wanted.clients > 0,
            "--rate and --clients are at least 1"
        );
        Ok(wanted)
    }
}

impl World {
    /// Makes one history and says whether it has an explanation.
    async fn history(self: Arc<Self>, seed: u64) -> Result<bool> {
        let objects = self.make_objects(seed).await?;
        let (clients, operations) = (self.wanted.clients, self.wanted.operations);
        let began = Instant::now();
        let mut running = JoinSet::new();
        for client in 0..clients {
            let share = operations / usize::try_from(clients)? + 1;
            running.spawn(self.clone().client(seed, client, share, objects.clone()));
        }
        let mut records: Vec<Record> = Vec::new();
        while let Some(client) = running.join_next().await {
            records.extend(client??);
        }
        let seconds = began.elapsed().as_secs_f64();
        let calls = records.len();
        records.extend(self.last_reads(&objects).await?);
        if let Some(file) = &self.wanted.record {
            std::fs::write(file, format!("{records:#?}")).with_context(|| format!("cannot write {file}"))?;
        }
        let lost = records
            .iter()
            .filter(|(_, operation)| operation.answered.is_none())
            .count();
        let faults = faults_of(&records);
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let per_second = calls as f64 / seconds;
        println!(
            "history seed={seed} operations={calls} per_second={per_second:.0} unanswered={lost} faults={}",
            faults.len()
        );
        faults.iter().for_each(|fault| println!("  {fault}"));
        Ok(faults.is_empty())
    }

    /// Registers are named by the ARN of their cluster, counters by their family.
    async fn make_objects(&self, seed: u64) -> Result<Vec<String>> {
        let began = Instant::now();
        let mut objects = Vec::new();
        let client = client();
        for number in 0..REGISTERS {
            let name = format!("history-{seed}-{number}");
            let arn = loop {
                let endpoint = &self.wanted.endpoints[usize::try_from(number)? % self.wanted.endpoints.len()];
                let outcome = self
                    .call(&client, endpoint, "CreateCluster", &json!({"clusterName": name}))
                    .await?;
                if let Outcome::Answered(answer) = outcome {
                    break answer["cluster"]["clusterArn"].as_str().context("no ARN")?.to_owned();
                }
                ensure!(began.elapsed() < PATIENCE, "no cluster can be made at {endpoint}");
                tokio::time::sleep(REFUSED_PAUSE).await;
            };
            objects.push(arn);
        }
        objects.extend((0..COUNTERS).map(|number| format!("history-{seed}-{number}")));
        Ok(objects)
    }

    async fn client(
        self: Arc<Self>,
        seed: u64,
        number: u64,
        share: usize,
        objects: Vec<String>,
    ) -> Result<Vec<Record>> {
        let mut draws = Draws(seed << 16 | number);
        let client = client();
        let pause = Duration::from_secs(self.wanted.clients) / self.wanted.rate;
        let mut next = tokio::time::interval(pause);
        let mut records = Vec::new();
        let mut endpoint = draws.of(&self.wanted.endpoints);
        let mut answers = true;
        for turn in 0..share {
            next.tick().await;
            let object = draws.of(&objects);
            if draws.below(CALLS_TO_ONE) == 0 || !answers {
                endpoint = draws.of(&self.wanted.endpoints);
            }
            // A value that nobody else writes.
            let value = (number << 32) + turn as u64 + 1;
            let writes = draws.below(2) == 0;
            let called = self.now()?;
            let (operation, body) = request(object, writes.then_some(value));
            let outcome = self.call(&client, endpoint, operation, &body).await?;
            answers = matches!(outcome, Outcome::Answered(_) | Outcome::Refused(_));
            let answered = self.now()?;
            let record = |answered, action| {
                let operation = Operation {
                    called,
                    answered,
                    action,
                };
                (object.clone(), operation)
            };
            match outcome {
                Outcome::Answered(answer) => records.push(record(
                    Some(answered),
                    action(object, writes.then_some(value), &answer)?,
                )),
                Outcome::Refused(code) => match (operation, code.as_str()) {
                    // The family has no revision yet.
                    ("DescribeTaskDefinition", "ClientException") => {
                        records.push(record(Some(answered), Action::Read(0)))
                    }
                    _ => tokio::time::sleep(REFUSED_PAUSE).await,
                },
                Outcome::NotSent => tokio::time::sleep(REFUSED_PAUSE).await,
                Outcome::Unknown if writes => {
                    let lost = if is_register(object) {
                        Action::Write(value)
                    } else {
                        Action::Increment(None)
                    };
                    records.push(record(None, lost));
                }
                Outcome::Unknown => {}
            }
        }
        Ok(records)
    }

    /// Reads every object at every controller.
    async fn last_reads(&self, objects: &[String]) -> Result<Vec<Record>> {
        let client = client();
        let mut records = Vec::new();
        for endpoint in &self.wanted.endpoints {
            for object in objects {
                let (operation, body) = request(object, None);
                let began = Instant::now();
                let record = loop {
                    let called = self.now()?;
                    let read = match self.call(&client, endpoint, operation, &body).await? {
                        Outcome::Answered(answer) => Some(action(object, None, &answer)?),
                        // The family never got a revision.
                        Outcome::Refused(code) if !is_register(object) && code == "ClientException" => {
                            Some(Action::Read(0))
                        }
                        Outcome::Refused(_) | Outcome::NotSent | Outcome::Unknown => None,
                    };
                    if let Some(action) = read {
                        let answered = Some(self.now()?);
                        break Operation {
                            called,
                            answered,
                            action,
                        };
                    }
                    ensure!(began.elapsed() < PATIENCE, "{object} cannot be read at {endpoint}");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                };
                records.push((object.clone(), record));
            }
        }
        Ok(records)
    }

    fn now(&self) -> Result<u64> {
        Ok(u64::try_from(self.began.elapsed().as_nanos())?)
    }

    async fn call(&self, client: &HttpClient, endpoint: &http::Uri, operation: &str, body: &Value) -> Result<Outcome> {
        let request = ecs_request(endpoint, &self.signer, operation, body.to_string())?;
        let answered = tokio::time::timeout(ANSWER_DEADLINE, async {
            let answer = client.request(request).await?;
            let status = answer.status();
            Ok::<_, CallError>((status, answer.into_body().collect().await?.to_bytes()))
        });
        let (status, bytes) = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(CallError::Client(error))) if error.is_connect() => return Ok(Outcome::NotSent),
            Ok(Err(_)) | Err(_) => return Ok(Outcome::Unknown),
        };
        if status.is_server_error() {
            return Ok(Outcome::Unknown);
        }
        let answer: Value = serde_json::from_slice(&bytes).with_context(|| format!("{operation}: not JSON"))?;
        Ok(if status.is_success() {
            Outcome::Answered(answer)
        } else {
            let code = answer["__type"].as_str().unwrap_or_default();
            Outcome::Refused(code.rsplit('#').next().unwrap_or_default().to_owned())
        })
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Why a call has no answer.
#[derive(Debug)]
enum CallError {
    Client(hyper_util::client::legacy::Error),
    Body,
}

impl From<hyper_util::client::legacy::Error> for CallError {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        Self::Client(error)
    }
}

impl From<hyper::Error> for CallError {
    fn from(_: hyper::Error) -> Self {
        Self::Body
    }
}

/// A client that never sends a request a second time.
fn client() -> HttpClient {
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .build_http()
}

fn is_register(object: &str) -> bool {
    object.starts_with("arn:")
}

/// The operation that writes a value to an object, or reads it, with its input.
fn request(object: &str, value: Option<u64>) -> (&'static str, Value) {
    match (is_register(object), value) {
        (true, Some(value)) => {
            let tags = json!([{"key": TAG, "value": value.to_string()}]);
            ("TagResource", json!({"resourceArn": object, "tags": tags}))
        }
        (true, None) => ("ListTagsForResource", json!({"resourceArn": object})),
        (false, Some(_)) => {
            let container = json!({"name": "main", "image": "none", "memory": 64});
            (
                "RegisterTaskDefinition",
                json!({"family": object, "containerDefinitions": [container]}),
            )
        }
        (false, None) => ("DescribeTaskDefinition", json!({"taskDefinition": object})),
    }
}

/// What an answer says that was done.
fn action(object: &str, written: Option<u64>, answer: &Value) -> Result<Action> {
    let revision = || answer["taskDefinition"]["revision"].as_u64().context("no revision");
    Ok(match (is_register(object), written) {
        (true, Some(value)) => Action::Write(value),
        (true, None) => {
            let tags = answer["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            let tag = tags.iter().find(|tag| tag["key"] == TAG);
            let value = tag.and_then(|tag| tag["value"].as_str()).unwrap_or("0");
            Action::Read(value.parse()?)
        }
        (false, Some(_)) => Action::Increment(Some(revision()?)),
        (false, None) => Action::Read(revision()?),
    })
}

/// What is wrong with the history of each object.
fn faults_of(records: &[Record]) -> Vec<String> {
    let mut objects: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for (object, operation) in records {
        objects.entry(object).or_default().push(*operation);
    }
    let verdicts = objects
        .into_iter()
        .map(|(object, operations)| (object, check(&operations, MAX_STEPS)));
    let faults = verdicts.filter(|(_, verdict)| *verdict != Verdict::Linearizable);
    faults
        .map(|(object, verdict)| format!("{object}: {verdict:?}"))
        .collect()
}

/// Numbers that look random and come from one seed (SplitMix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }
}
