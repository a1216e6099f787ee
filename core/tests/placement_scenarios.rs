//! Golden scenarios of placement: each file in `placement/` is a transcript of commands, on lines that begin with `> `,
//! and what they answer. The test plays the commands again and compares the whole file; `BERTH_BLESS=1` writes
//! what came out instead.
//!
//! - `> host NAME [zone=Z] [cpu=N] [memory=N] [gpus=COUNTxMODEL] [used-port=N] [NAME=VALUE ...] [draining] [disconnected]`
//! - `> place COUNT GROUP [cpu=N] [memory=N] [gpu-share=MILLI] [gpus=COUNT] [model=A,B] [port=N] [distinct] [member-of=EXPR] [needs=ATTRIBUTE[:VALUE,...]] [only=A,B] [STRATEGY ...]`, where a strategy is
//!   `spread=FIELD`, `binpack=cpu`, `binpack=memory`, `binpack=berth:NAME`, `random` or `default`
//! - `> explain ...` as `place` with one task, without placing it
//! - `> stop COUNT GROUP [STRATEGY ...]`, `> event SERVICE [HOSTS]` for the last task without a host, `> drain HOST`, `> show GROUP`

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use berth_core::model::{
    BinpackResource, ContainerInstanceId, ContainerInstanceStatus, PlacementConstraint, PlacementExtension,
    PlacementStrategy, Resources, TaskId, TaskStatus, Timestamp, TransportProtocol,
};
use berth_core::placement::{
    Ask, FilterKind, GpuNeed, GpuSet, Gpus, Holding, Host, HostVerdict, Outcome, PlacementProblem, RefusedHost,
    ScaleIn, Seed, Shape, StopCandidate, TaskRequest, Unplaced, choose_to_stop, explain, place, service_default,
    unable_to_place,
};

const SEED: Seed = Seed(42);

#[derive(Default)]
struct World {
    hosts: Vec<Host>,
    tasks: Vec<(TaskRequest, ContainerInstanceId, GpuSet)>,
    next_task: u128,
    unplaced: Option<Unplaced>,
}

#[test]
fn placement_scenarios_give_the_answers_written_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/placement");
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the folder is there").collect();
    files.sort_by_key(|file| file.as_ref().expect("readable").path());
    assert!(!files.is_empty());
    for file in files {
        let path = file.expect("readable").path();
        let written = std::fs::read_to_string(&path).expect("readable");
        let played = play(&written);
        if std::env::var_os("BERTH_BLESS").is_some() {
            std::fs::write(&path, &played).expect("writable");
        } else {
            assert_eq!(played, written, "{} differs; BERTH_BLESS=1 accepts it", path.display());
        }
    }
}

fn play(transcript: &str) -> String {
    let (mut world, mut out) = (World::default(), String::new());
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            let answer = world.run(command);
            _ = writeln!(out, "{line}");
            out.push_str(&world.with_names(&answer));
        } else if line.is_empty() || line.starts_with('#') {
            _ = writeln!(out, "{line}");
        }
    }
    out
}

impl World {
    fn run(&mut self, command: &str) -> String {
        let words = words(command);
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        match words[0].as_str() {
            "host" => self.add_host(&args),
            "place" => self.place(&args),
            "explain" => self.explain(&args),
            "stop" => self.stop(&args),
            "event" => self.event(&args),
            "drain" => self.drain(args[0]),
            "show" => self.show(args[0]),
            other => panic!("unknown command {other}"),
        }
    }

    fn add_host(&mut self, args: &[&str]) -> String {
        let id = ContainerInstanceId(self.hosts.len() as u128 + 1);
        let mut host = Host::idle(id, args[0], Resources::new(1024, 2048));
        for arg in &args[1..] {
            match arg.split_once('=') {
                Some(("cpu", n)) => host.registered.cpu.0 = number(n),
                Some(("memory", n)) => host.registered.memory.0 = number(n),
                Some(("pool", name)) => host.capacity_provider = Some(name.into()),
                Some(("gpus", gpus)) => {
                    let (count, model) = gpus.split_once('x').expect("COUNTxMODEL");
                    host.gpus = Gpus::idle(model, count.parse().expect("a count"));
                }
                Some(("used-port", n)) => _ = host.used_ports.insert(tcp(n)),
                Some(("zone", zone)) => {
                    let name = "ecs.availability-zone".to_owned();
                    host.attributes.insert(name, Some(zone.to_owned()));
                }
                Some((name, value)) => _ = host.attributes.insert(name.to_owned(), Some(value.to_owned())),
                None if *arg == "draining" => host.status = ContainerInstanceStatus::Draining,
                None if *arg == "disconnected" => host.agent_connected = false,
                None => panic!("unknown argument {arg}"),
            }
        }
        host.free = host.registered;
        self.hosts.push(host);
        String::new()
    }

    fn place(&mut self, args: &[&str]) -> String {
        let count: usize = args[0].parse().expect("a count");
        let problem = self.problem(count, &args[1..]);
        let plan = place(&problem, SEED);
        let (mut out, mut unplaced) = (String::new(), 0);
        for (decision, request) in plan.decisions.iter().zip(problem.requests) {
            match &decision.outcome {
                Outcome::Placed(placement) => {
                    let devices: Vec<String> = placement.gpus.iter().map(|device| device.to_string()).collect();
                    let devices = match devices.is_empty() {
                        true => String::new(),
                        false => format!(" gpu {}", devices.join(",")),
                    };
                    _ = writeln!(out, "task {} -> {}{devices}", decision.task.0, placement.host());
                    self.put(request, placement.host(), placement.gpus);
                }
                Outcome::Unplaced(why) => {
                    unplaced += 1;
                    self.unplaced = Some(Unplaced::clone(why));
                }
            }
        }
        if let Some(why) = self.unplaced.as_ref().filter(|_| unplaced > 0) {
            _ = writeln!(out, "{unplaced} without a host");
            let left = FilterKind::ALL.map(|kind| format!("{kind:?} {}", why.funnel.left_after(kind)));
            _ = writeln!(out, "  hosts {}, left after {}", why.funnel.considered, left.join(", "));
            out.extend(why.hosts.iter().map(|refused| refusal_line(refused) + "\n"));
        }
        out
    }

    fn explain(&mut self, args: &[&str]) -> String {
        let problem = self.problem(1, args);
        self.next_task -= 1;
        let explanation = explain(&problem, SEED, problem.requests[0].id).expect("the task is in the problem");
        let mut out = String::new();
        for (host, verdict) in &explanation.hosts {
            let line = match verdict {
                HostVerdict::Chosen(score) => format!("  {host}: chosen, ranks {:?}", score.ranks),
                HostVerdict::Outranked(score) => format!("  {host}: would do, ranks {:?}", score.ranks),
                HostVerdict::Refused(refusals) => refusal_line(&RefusedHost {
                    host: *host,
                    name: String::new(),
                    refusals: refusals.clone(),
                }),
            };
            _ = writeln!(out, "{line}");
        }
        if explanation.not_considered > 0 {
            _ = writeln!(out, "  {} not considered", explanation.not_considered);
        }
        out
    }

    fn stop(&mut self, args: &[&str]) -> String {
        let mine = self.tasks.iter().filter(|(task, ..)| task.group == args[1]);
        let candidates: Vec<_> = mine
            .map(|(task, host, gpus)| StopCandidate {
                task: task.id,
                host: Some(*host),
                status: TaskStatus::Running,
                created_at: Timestamp(i64::try_from(task.id.0).expect("small")),
                holds: Holding {
                    shape: task.shape.clone(),
                    gpus: *gpus,
                },
            })
            .collect();
        let strategies: Vec<_> = args[2..].iter().flat_map(|arg| strategy(arg).expect(arg)).collect();
        let scale_in = ScaleIn {
            group: args[1],
            strategies: &strategies,
            candidates: &candidates,
            seed: SEED,
        };
        let stopped = choose_to_stop(&self.hosts, &scale_in, args[0].parse().expect("a count"));
        let mut out = String::new();
        for id in stopped {
            let at = self.tasks.iter().position(|(task, ..)| task.id == id).expect("known");
            let (task, host, gpus) = self.tasks.remove(at);
            _ = writeln!(out, "stop task {} on {host}", id.0);
            let host = self.hosts.iter_mut().find(|h| h.id == host).expect("known");
            let (free, held) = (host.free, task.shape.resources);
            host.free = Resources::new(free.cpu.0 + held.cpu.0, free.memory.0 + held.memory.0);
            for device in gpus.iter() {
                host.gpus.devices[device].free += task.shape.gpu.per_device();
            }
            *host.tasks_by_group.entry(task.group.clone()).or_default() -= 1;
        }
        out
    }

    fn event(&mut self, args: &[&str]) -> String {
        let why = self.unplaced.as_ref().expect("a task without a host");
        let shown = args.get(1).map_or(5, |n| n.parse().expect("a count"));
        unable_to_place(args[0], why, shown) + "\n"
    }

    fn drain(&mut self, name: &str) -> String {
        let host = self.hosts.iter_mut().find(|host| host.name == name).expect(name);
        host.status = ContainerInstanceStatus::Draining;
        String::new()
    }

    fn show(&mut self, group: &str) -> String {
        let line = |host: &Host| {
            let (tasks, free) = (host.tasks_by_group.get(group).unwrap_or(&0), host.free);
            let zone = host.attributes.get("ecs.availability-zone").cloned().flatten();
            let zone = zone.unwrap_or_else(|| "no zone".to_owned());
            let shares: Vec<String> = host.gpus.devices.iter().map(|gpu| gpu.free.to_string()).collect();
            let gpus = match shares.is_empty() {
                true => String::new(),
                false => format!(", GPUs {}", shares.join(" ")),
            };
            format!(
                "  {} in {zone}: {tasks}, free {} CPU units, {} MiB{gpus}\n",
                host.id, free.cpu.0, free.memory.0
            )
        };
        self.hosts.iter().map(line).collect()
    }

    fn problem(&mut self, count: usize, args: &[&str]) -> PlacementProblem {
        let mut only_hosts = None;
        let mut ask = Ask {
            group: args[0].to_owned(),
            shape: Shape::of(Resources::new(256, 512)),
            ..Ask::default()
        };
        for arg in &args[1..] {
            match arg.split_once('=') {
                Some(("cpu", n)) => ask.shape.resources.cpu.0 = number(n),
                Some(("memory", n)) => ask.shape.resources.memory.0 = number(n),
                Some(("gpu-share", n)) => ask.shape.gpu = GpuNeed::Share(n.parse().expect("thousandths")),
                Some(("gpus", n)) => ask.shape.gpu = GpuNeed::Devices(n.parse().expect("a count")),
                Some(("model", names)) => ask.shape.gpu_models = names.split(',').map(str::to_owned).collect(),
                Some(("port", n)) => _ = ask.host_ports.insert(tcp(n)),
                Some(("pool", name)) => ask.capacity_provider = Some(name.into()),
                Some(("member-of", expression)) => ask.constraints.push(PlacementConstraint::MemberOf {
                    expression: expression.to_owned(),
                }),
                Some(("needs", attribute)) => {
                    let (name, values) = attribute.split_once(':').unwrap_or((attribute, ""));
                    let values = values.split(',').filter(|value| !value.is_empty());
                    ask.constraints.push(PlacementConstraint::Attribute {
                        name: name.to_owned(),
                        values: values.map(str::to_owned).collect(),
                    });
                }
                Some(("only", names)) => {
                    let named = self
                        .hosts
                        .iter()
                        .filter(|h| names.split(',').any(|name| name == h.name));
                    only_hosts = Some(named.map(|host| host.id).collect());
                }
                None if *arg == "distinct" => ask.constraints.push(PlacementConstraint::DistinctInstance),
                _ => ask.strategies.extend(strategy(arg).expect(arg)),
            }
        }
        let ask = Arc::new(ask);
        let requests = (0..count).map(|_| {
            self.next_task += 1;
            TaskRequest {
                id: TaskId(self.next_task),
                ask: Arc::clone(&ask),
                only_hosts: only_hosts.clone(),
            }
        });
        PlacementProblem {
            requests: requests.collect(),
            hosts: self.hosts.clone(),
            typical: None,
        }
    }

    fn put(&mut self, request: TaskRequest, id: ContainerInstanceId, gpus: GpuSet) {
        let host = self.hosts.iter_mut().find(|host| host.id == id).expect("known");
        host.free = host.free.checked_sub(request.shape.resources).expect("it fits");
        host.used_ports.extend(&request.host_ports);
        *host.tasks_by_group.entry(request.group.clone()).or_default() += 1;
        for device in gpus.iter() {
            host.gpus.devices[device].free -= request.shape.gpu.per_device();
        }
        if let Some(kind) = request.shape.gpu.kind() {
            *host.gpus.tasks.entry(kind).or_default() += 1;
        }
        self.tasks.push((request, id, gpus));
    }

    /// Ids of hosts as their names, which are easier to read. The short ids of the scenarios' hosts are all the same and say nothing.
    fn with_names(&self, text: &str) -> String {
        let text = &text.replace(" (00000000)", "");
        let name = |text: String, host: &Host| text.replace(&host.id.to_string(), &host.name);
        self.hosts.iter().fold(text.to_owned(), name)
    }
}

fn refusal_line(refused: &RefusedHost) -> String {
    let why: Vec<String> = refused.refusals.iter().map(ToString::to_string).collect();
    format!("  {}: {} [{}]", refused.host, why.join(" and "), refused.ecs_reason())
}

fn strategy(arg: &str) -> Option<Vec<PlacementStrategy>> {
    Some(match arg.split_once('=') {
        None if arg == "default" => service_default(),
        None if arg == "random" => vec![PlacementStrategy::Random],
        Some(("spread", field)) => vec![PlacementStrategy::Spread {
            field: field.to_owned(),
        }],
        Some(("binpack", "cpu")) => vec![PlacementStrategy::Binpack {
            resource: BinpackResource::Cpu,
        }],
        Some(("binpack", "memory")) => vec![PlacementStrategy::Binpack {
            resource: BinpackResource::Memory,
        }],
        Some(("binpack", field)) => vec![PlacementStrategy::Extension {
            extension: PlacementExtension::from_field(field)?,
        }],
        _ => return None,
    })
}

fn number(text: &str) -> u32 {
    text.parse().expect(text)
}

fn tcp(port: &str) -> (TransportProtocol, u16) {
    (TransportProtocol::Tcp, port.parse().expect(port))
}

/// Words between spaces; quotes hold spaces together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("one at least").push(c),
        }
    }
    words
}
