//! Recordings of random histories, read again and held against the states that they are of; and recordings that are broken.

use std::collections::BTreeSet;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::model::{
    CapacityProviderStrategyItem, ContainerInstanceStatus, LogIndex, PREEMPTION_TAG, PlacementStrategy, Priority,
    Resources, TaskReport, TaskStatus,
};
use crate::placement::{FollowedHosts, Outcome, PlacementProblem, Seed, TaskRequest};
use crate::reconcile::world::{World, cluster};
use crate::state::{ClusterState, Command, Taggable, apply};

const HOSTS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Scale(bool, u32),
    Work,
    End(usize),
    Drain(usize, bool),
    Cut(usize),
    Back(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 0u32..16).prop_map(|(web, count)| Step::Scale(web, count)),
        2 => Just(Step::Work),
        1 => (0usize..20).prop_map(Step::End),
        1 => (0..HOSTS, any::<bool>()).prop_map(|(host, drained)| Step::Drain(host, drained)),
        1 => (0..HOSTS).prop_map(Step::Cut),
        1 => (0..HOSTS).prop_map(Step::Back),
        2 => (0i64..40_000).prop_map(Step::Pass),
    ]
}

fn name(host: usize) -> String {
    format!("h{host}")
}

fn add_host(world: &mut World, host: usize) {
    let pool = ["plain", "gpu"][host % 2];
    let zone = ["a", "b", "c"][host % 3];
    world.add_host_of(&name(host), zone, Resources::new(2048, 2048), Some(pool));
}

/// A service that is spread over pools and fits well, and one that is drawn at random and soon finds no room.
fn world() -> World {
    let mut world = World::new();
    world.add_capacity_providers(&["plain", "gpu"]);
    (0..HOSTS).for_each(|host| add_host(&mut world, host));
    for (name, needs, port) in [("web", 128, None), ("big", 900, Some(8080))] {
        world.add_definition(name, Resources::new(needs, needs), port);
        world.add_service(name, |service| {
            service.desired_count = 3;
            if port.is_some() {
                service.placement_strategy = vec![PlacementStrategy::Random];
            } else {
                let pools = [("plain", 1), ("gpu", 2)];
                let pools = pools.map(|(pool, weight)| CapacityProviderStrategyItem {
                    capacity_provider: pool.into(),
                    weight,
                    base: 0,
                });
                service.capacity_provider_strategy = pools.into();
            }
        });
    }
    world.pass_ms(1000);
    world
}

/// The same, and the second has tasks of the first stopped.
fn world_with_preemption() -> World {
    let mut world = world();
    world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled");
    world.tag(Taggable::Service(cluster().service("big")), Priority::TAG, "90");
    world
}

fn perform(world: &mut World, step: &Step) {
    let host = |world: &World, host: usize| world.host(&name(host)).expect("a host");
    let at = world.now;
    match step {
        Step::Scale(web, count) => world.update_service(if *web { "web" } else { "big" }, Some(*count), None),
        Step::Work => _ = world.hosts_step(),
        Step::End(nth) => {
            let of = cluster();
            let running = world.state.tasks_of_cluster(&of);
            let running = running.filter(|task| task.last_status == TaskStatus::Running).cloned();
            let running: Vec<_> = running.collect();
            if let Some(task) = running.get(*nth) {
                let reports: Vec<TaskReport> = vec![world.report_of(task.id, TaskStatus::Stopped)];
                let container_instance = task.container_instance.expect("it runs");
                let command = Command::RecordTaskReports {
                    container_instance,
                    reports,
                    at,
                };
                world.apply(command).expect("a host");
            }
        }
        Step::Drain(nth, drained) => {
            let status = match drained {
                true => ContainerInstanceStatus::Draining,
                false => ContainerInstanceStatus::Active,
            };
            let container_instance = host(world, *nth);
            let command = Command::UpdateContainerInstanceStatus {
                container_instance,
                status,
                at: None,
            };
            world.apply(command).expect("a host");
        }
        Step::Cut(nth) => {
            let container_instance = host(world, *nth);
            world.cut_off.insert(container_instance);
            let command = Command::RecordAgentDisconnected {
                container_instance,
                last_heard_at: at,
                at,
            };
            world.apply(command).expect("a host");
        }
        Step::Back(nth) => add_host(world, *nth),
        Step::Pass(ms) => world.pass_ms(*ms),
    }
}

/// What a world did.
fn lived(steps: &[Step]) -> Vec<Command> {
    lived_in(world(), steps)
}

fn lived_in(mut world: World, steps: &[Step]) -> Vec<Command> {
    for step in steps {
        perform(&mut world, step);
        world.reconcile();
    }
    world.log
}

/// The lines of a span that begins behind `skip` commands, and the state after each command of it.
fn record(log: &[Command], skip: usize) -> (Vec<String>, Vec<ClusterState>) {
    let (mut state, mut states, mut lines) = (ClusterState::at_newest_level(), vec![], vec![]);
    let mut out = |line: &Line| {
        lines.push(serde_json::to_string(line).expect("written"));
        Ok::<_, Infallible>(())
    };
    let mut recorder = None;
    for (index, command) in (1u64..).zip(log) {
        if index > skip as u64 && recorder.is_none() {
            let Ok(begun) = Recorder::begin(&state, &cluster(), LogIndex(index), "0.0.0", &mut out);
            recorder = Some(begun);
        }
        let events = apply(&mut state, LogIndex(index), command).unwrap_or_default();
        if let Some(recorder) = &mut recorder {
            let Ok(()) = recorder.note(&state, command, &events, &mut out);
            states.push(state.clone());
        }
    }
    if let Some(recorder) = recorder {
        let Ok(()) = recorder.end(state.applied(), &mut out);
    }
    (lines, states)
}

fn read(lines: &[impl AsRef<str>]) -> Result<Recording, RecordingError> {
    let mut reader = Reader::default();
    lines.iter().try_for_each(|line| reader.line(line.as_ref()))?;
    reader.end()
}

fn placed(happening: &Happening) -> Option<&PlacedTask> {
    match happening {
        Happening::Placed(placed) => Some(placed),
        _ => None,
    }
}

/// What was planned at once has the same.
fn seed(placed: &PlacedTask) -> u64 {
    placed.decision.as_ref().expect("recorded").seed
}

fn assert_same_hosts(scene: &Scene, state: &ClusterState) {
    let known = PlacementProblem::from_state(state, &cluster(), []).hosts;
    let told: Vec<_> = scene.hosts().map(|host| (**host).clone()).collect();
    assert_eq!(told, known);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn recording_of_any_span_tells_the_hosts_as_the_state_has_them_after_every_entry(
        steps in proptest::collection::vec(step(), 1..25),
        skip in 0usize..40,
        preempts in any::<bool>(),
    ) {
        let log = lived_in(if preempts { world_with_preemption() } else { world() }, &steps);
        let skip = skip.min(log.len() - 1);
        let (lines, states) = record(&log, skip);
        let recording = read(&lines).expect("sound");
        let mut scene = recording.start.clone();
        let mut entries = recording.entries.iter().peekable();
        for state in &states {
            if let Some(entry) = entries.next_if(|entry| entry.index == state.applied()) {
                entry.happenings.iter().for_each(|happening| recording.follow(&mut scene, happening));
            }
            assert_same_hosts(&scene, state);
        }
        prop_assert!(entries.next().is_none());
    }

    #[test]
    fn tasks_of_a_recording_placed_again_as_they_were_planned_go_where_they_went(
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        let (lines, _) = record(&lived(&steps), 0);
        let recording = read(&lines).expect("sound");
        let (mut scene, mut known, mut planned) = (recording.start.clone(), FollowedHosts::default(), BTreeSet::new());
        let placed: Vec<&PlacedTask> = recording.entries.iter().flat_map(|entry| &entry.happenings).filter_map(placed).collect();
        for happening in recording.entries.iter().flat_map(|entry| &entry.happenings) {
            let seed = self::placed(happening).map(seed);
            if let Some(seed) = seed.filter(|seed| planned.insert(*seed)) {
                let decision = |task: &&PlacedTask| task.decision.clone().expect("recorded");
                let mut tasks: Vec<&PlacedTask> = placed.iter().copied().filter(|task| self::seed(task) == seed).collect();
                tasks.sort_by_key(|task| decision(task).position);
                let requests: Vec<TaskRequest> = tasks
                    .iter()
                    .map(|task| TaskRequest::new(task.id, recording.request(task.request).clone()))
                    .collect();
                let manner = decision(&tasks[0]).manner;
                let plan = known.place(scene.hosts().cloned().collect(), &requests, manner, Seed(seed));
                let number = |id| recording.hosts.iter().position(|known| *known == id).and_then(|n| u32::try_from(n).ok());
                for ((task, request), again) in tasks.iter().zip(&requests).zip(plan.decisions) {
                    let Outcome::Placed(found) = &again.outcome else { panic!("{task:?}") };
                    let position = usize::try_from(decision(task).position).expect("small");
                    let record = found.record(request, Seed(seed), manner, position);
                    prop_assert_eq!((found.host(), DecisionLine::of(&record.read(), number)), (task.host, decision(task)));
                }
            }
            recording.follow(&mut scene, happening);
        }
        prop_assert!(placed.len() >= 6);
    }

    #[test]
    fn recording_that_is_broken_anywhere_is_refused_with_the_line_or_read_as_another(
        line in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        what in 0..6,
        byte in any::<char>(),
    ) {
        let steps = [Step::Scale(false, 12), Step::Pass(5000), Step::Cut(1), Step::Pass(60_000), Step::Scale(true, 1)];
        let (mut lines, _) = record(&lived(&steps), 3);
        let line = line.index(lines.len());
        let chars: Vec<char> = lines[line].chars().collect();
        let at = at.index(chars.len());
        match what {
            0 => lines[line] = chars[..at].iter().collect(),
            1 => lines[line] = chars[..at].iter().chain([&byte]).chain(&chars[at + 1..]).collect(),
            2 => _ = lines.remove(line),
            3 => lines.insert(line, lines[line].clone()),
            4 => lines.swap(line, at % line.max(1)),
            _ => lines.truncate(line),
        }
        if let Err(error) = read(&lines) {
            let told = error.to_string();
            prop_assert!(told.starts_with("line ") || told.contains("cut off after line"), "{told}");
        }
    }
}

#[test]
fn recording_says_what_was_lacking_and_which_host_was_given_up() {
    let steps = [
        Step::Scale(false, 30),
        Step::Pass(2000),
        Step::Cut(1),
        Step::Pass(120_000),
    ];
    let (lines, _) = record(&lived(&steps), 0);
    let has = |beginning: &str| lines.iter().any(|line| line.starts_with(beginning));
    assert!(has("{\"unplaced\":{\"request\":2,\"tasks\":"), "{lines:#?}");
    assert!(
        has("{\"lost\":{\"host\":1}}") && has("{\"gone\":{\"task\":"),
        "{lines:#?}"
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("{\"request\"")).count(), 3);
}

#[test]
fn recording_that_is_wrong_is_refused_with_the_line_and_the_reason() {
    let (lines, _) = record(&lived(&[Step::Scale(true, 5)]), 0);
    let refused = |lines: &[String]| read(lines).expect_err("refused").to_string();
    let newer = lines[0].replace(
        &format!("\"version\":{VERSION}"),
        &format!("\"version\":{}", VERSION + 1),
    );
    assert!(refused(&[newer]).starts_with(&format!("line 1: the recording has version {}", VERSION + 1)));
    assert!(refused(&["a,b".to_owned()]).contains("does not begin as one"));
    assert!(refused(&lines[..4]).contains("cut off after line 4"));
    let placed = lines
        .iter()
        .position(|line| line.starts_with("{\"placed\""))
        .expect("one");
    let mut other = lines.clone();
    other[placed] = other[placed].replace("\"host\":", "\"host\":7");
    let told = refused(&other);
    assert!(
        told.starts_with(&format!("line {}: there is no host 7", placed + 1)),
        "{told}"
    );
    other[placed] = lines[placed].replace("\"task\":0", "\"colour\":0");
    let told = refused(&other);
    assert!(
        told.contains("unknown field `colour`") && !told.contains("line 1 "),
        "{told}"
    );
    let mut longer = lines.clone();
    longer.push(lines[1].clone());
    assert!(refused(&longer).contains("goes on after its end"));
    longer.remove(1);
    assert!(refused(&longer).starts_with("line "));
}
