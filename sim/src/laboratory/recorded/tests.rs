//! Recordings that can be checked by eye, and those of simulated clusters that lived through faults.

use std::convert::Infallible;

use berth_core::decisions::{Line, Reader, Recorder, Recording};
use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, Command, apply};

use super::*;
use crate::draws::Draws;
use crate::laboratory::Policy;
use crate::run::commands_of;

fn read<'l>(lines: impl IntoIterator<Item = &'l str>) -> Recording {
    let mut reader = Reader::default();
    for line in lines {
        reader.line(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    reader.end().expect("whole")
}

fn policy(name: &str) -> Policy {
    name.parse().expect("a policy")
}

/// What a simulated cluster did.
fn lines_of(commands: &[(u64, Command)]) -> Vec<String> {
    let (mut state, mut lines) = (ClusterState::at_newest_level(), vec![]);
    let mut out = |line: &Line| {
        lines.push(serde_json::to_string(line).expect("written"));
        Ok::<_, Infallible>(())
    };
    let mut recorder = None;
    for (index, command) in commands {
        let events = apply(&mut state, LogIndex(*index), command).unwrap_or_default();
        let key = state.all_clusters().next().map(|cluster| cluster.key.clone());
        if let (None, Some(key)) = (&recorder, key) {
            let Ok(begun) = Recorder::begin(&state, &key, LogIndex(index + 1), "0.0.0", &mut out);
            recorder = Some(begun);
        } else if let Some(recorder) = &mut recorder {
            let Ok(()) = recorder.note(&state, command, &events, &mut out);
        }
    }
    let Ok(()) = recorder.expect("there is a cluster").end(state.applied(), &mut out);
    lines
}

/// Three hosts of 1000 CPU units in two zones; tasks of 300 came one after the other and were spread over them. The first two are gone in the end.
const SPREAD: &str = r#"{"recording":{"version":2,"cluster":"arn:aws:ecs:us-east-1:123456789012:cluster/shop","fromIndex":2,"berth":"0.2.0"}}
{"host":{"host":0,"id":"00000000000000000000000000000001","name":"h1","cpu":1000,"memory":1000,"attributes":{"ecs.availability-zone":"a"},"status":"ACTIVE","connected":true,"registeredAt":0}}
{"host":{"host":1,"id":"00000000000000000000000000000002","name":"h2","cpu":1000,"memory":1000,"attributes":{"ecs.availability-zone":"b"},"status":"ACTIVE","connected":true,"registeredAt":0}}
{"host":{"host":2,"id":"00000000000000000000000000000003","name":"h3","cpu":1000,"memory":1000,"attributes":{"ecs.availability-zone":"b"},"status":"ACTIVE","connected":true,"registeredAt":0}}
{"request":{"request":0,"group":"service:web","cpu":300,"memory":100,"strategies":["spread=instanceId"]}}
{"request":{"request":1,"group":"service:big","cpu":1000,"memory":100}}
{"entry":{"index":5,"at":1000}}
{"placed":{"task":0,"id":"00000000000000000000000000000010","request":0,"host":0,"decision":{"seed":5,"considered":3,"ranks":[0],"tasks":0,"runnerUp":{"host":1,"ranks":[0],"tasks":0}}}}
{"placed":{"task":1,"id":"00000000000000000000000000000011","request":0,"host":1,"decision":{"seed":5,"position":1,"considered":3,"ranks":[0],"tasks":0,"runnerUp":{"host":2,"ranks":[0],"tasks":0}}}}
{"placed":{"task":2,"id":"00000000000000000000000000000012","request":0,"host":2,"decision":{"seed":5,"position":2,"considered":3,"ranks":[0],"tasks":0,"runnerUp":{"host":0,"ranks":[1],"tasks":1}}}}
{"entry":{"index":7,"at":2000}}
{"unplaced":{"request":1,"tasks":1,"reason":"(service big) was unable to place a task because no container instance met all of its requirements."}}
{"entry":{"index":9,"at":3000}}
{"gone":{"task":0}}
{"gone":{"task":1}}
{"end":{"index":9,"lines":15}}"#;

#[test]
fn decisions_made_again_with_the_strategy_recorded_are_the_same() {
    let judgement = judge(&read(SPREAD.lines()));
    let expected = Judgement {
        decisions: 3,
        same: 3,
        ..Judgement::default()
    };
    assert_eq!(judgement, expected);
}

#[test]
fn decision_that_the_engine_would_not_make_is_told() {
    let other = SPREAD.replacen("\"host\":0,\"decision\"", "\"host\":2,\"decision\"", 1);
    let judgement = judge(&read(other.lines()));
    assert_eq!((judgement.decisions, judgement.same), (3, 2));
    let [difference] = &judgement.differences[..] else {
        panic!("{judgement:?}")
    };
    assert_eq!((difference.index, difference.recorded.0), (LogIndex(5), 3));
    assert_eq!(difference.now.as_ref().map(|(host, _)| host.0), Some(1));
}

#[test]
fn tasks_that_were_spread_would_have_been_packed_on_one_host_and_left_room_for_a_large_one() {
    let recording = read(SPREAD.lines());
    let (spread, packed) = (
        course(&recording, None),
        course(&recording, Some(&policy("binpack=cpu"))),
    );
    let of = |course: &Course| {
        let (figures, end) = (&course.figures, course.figures.end());
        (
            figures.hosts_used_most,
            end.hosts_used,
            end.free_cpu,
            figures.elsewhere,
            figures.with_room,
        )
    };
    // All three of 300 fit on the first host; a task of 1000 has room on the others, where it had none. In the end one of them is left.
    assert_eq!(of(&spread), (3, 1, 1000, 0, 0));
    assert_eq!(of(&packed), (1, 1, 1000, 2, 1));
    assert_eq!((spread.figures.shortages, packed.figures.shortages), (1, 1));
    let skews = |course: &Course| {
        course
            .figures
            .looks
            .iter()
            .map(|look| look.zone_skew)
            .collect::<Vec<_>>()
    };
    assert_eq!((skews(&spread), skews(&packed)), (vec![1, 1, 1], vec![3, 3, 1]));
    let same = course(&recording, Some(&policy("spread=instanceId")));
    assert_eq!((same.figures.elsewhere, same.figures.looks), (0, spread.figures.looks));
}

#[test]
fn task_that_finds_no_host_under_a_strategy_waits_for_one_and_those_of_a_lost_host_move() {
    // Packed, the third task of 400 finds its host full when it may go to no other zone; the host is lost later.
    let lines = SPREAD
        .replace("\"cpu\":300,\"memory\":100,\"strategies\":[\"spread=instanceId\"]", "\"cpu\":500,\"memory\":100")
        .replace("{\"gone\":{\"task\":1}}", "{\"host\":{\"host\":1,\"id\":\"00000000000000000000000000000002\",\"name\":\"h2\",\"cpu\":1000,\"memory\":1000,\"status\":\"ACTIVE\",\"connected\":false,\"registeredAt\":0}}\n{\"lost\":{\"host\":1}}\n{\"gone\":{\"task\":1}}")
        .replace("\"lines\":15", "\"lines\":17");
    let third = lines.replace(
        "\"id\":\"00000000000000000000000000000012\",\"request\":0,\"host\":2,",
        "\"id\":\"00000000000000000000000000000012\",\"request\":0,\"host\":0,\"onlyHost\":true,",
    );
    let recording = read(third.lines());
    // Two of 500 fill the first host, where the third alone may go: it waits until the first is gone.
    let packed = course(&recording, Some(&policy("binpack=cpu"))).figures;
    assert_eq!(
        (packed.waited, packed.never_placed, packed.longest_wait_ms),
        (1, 0, 2000)
    );
    assert_eq!((packed.moved, packed.end().waiting), (0, 0));
    // Spread, the second is on the host that is lost, as it was recorded, and goes with it.
    let spread = course(&recording, Some(&policy("spread=host"))).figures;
    assert_eq!((spread.waited, spread.moved, spread.elsewhere), (0, 0, 0));
    // The last host is lost instead, on which another strategy has put none.
    let other = lines.replace("\"host\":1,\"id\":\"00000000000000000000000000000002\",\"name\":\"h2\",\"cpu\":1000,\"memory\":1000,\"status\"", "\"host\":0,\"id\":\"00000000000000000000000000000001\",\"name\":\"h1\",\"cpu\":1000,\"memory\":1000,\"status\"").replace("{\"lost\":{\"host\":1}}", "{\"lost\":{\"host\":0}}");
    let packed = course(&read(other.lines()), Some(&policy("binpack=cpu"))).figures;
    // Both tasks on the first host: one goes as recorded, the other had been recorded elsewhere and goes too; none is left to move.
    assert_eq!((packed.moved, packed.end().hosts_used), (0, 1));
}

/// A line with one of its numbers, names or signs replaced.
fn broken(line: &str, draws: &mut Draws) -> String {
    let numbers = [
        "0",
        "1",
        "2",
        "7",
        "65536",
        "4294967295",
        "18446744073709551615",
        "-1",
        "1.5",
        "null",
        "true",
        "\"x\"",
        "[]",
    ];
    let is_digit = |at: &usize| line.as_bytes()[*at].is_ascii_digit();
    let digits: Vec<usize> = (0..line.len()).filter(is_digit).collect();
    // One that was broken before may have no number left.
    let Some(at) = draws.pick(&digits) else {
        return line.to_owned();
    };
    let begins = line[..at]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |before| before + 1);
    let ends = line[at..]
        .find(|c: char| !c.is_ascii_digit())
        .map_or(line.len(), |length| at + length);
    let number = draws.pick(&numbers).expect("there are some");
    format!("{}{number}{}", &line[..begins], &line[ends..])
}

#[test]
fn recordings_that_are_broken_are_refused_or_say_something_else_and_never_end_the_program() {
    let recorded = lines_of(&commands_of(2));
    let mut draws = Draws::new(1);
    let (mut refused, mut read_anyway) = (0, 0);
    for _ in 0..400 {
        let mut lines: Vec<String> = SPREAD.lines().map(str::to_owned).collect();
        if draws.chance(200) {
            lines.clone_from(&recorded);
        }
        for _ in 0..=draws.below(3) {
            let all: Vec<usize> = (0..lines.len()).collect();
            let line = draws.pick(&all).expect("there are lines");
            lines[line] = broken(&lines[line], &mut draws);
        }
        let mut reader = Reader::default();
        let taken = lines.iter().try_for_each(|line| reader.line(line));
        match taken.and_then(|()| reader.end()) {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().starts_with("line "), "{error}");
            }
            Ok(recording) => {
                read_anyway += 1;
                let judgement = judge(&recording);
                assert_eq!(judgement.decisions, judgement.same + judgement.differences.len());
                for name in ["binpack=cpu", "default", "tightest", "dot-product"] {
                    let courses = [course(&recording, None), course(&recording, Some(&policy(name)))];
                    assert!(comparison_rows(&courses).len() > 10);
                }
            }
        }
    }
    assert!(refused > 50 && read_anyway > 50, "{refused} {read_anyway}");
}

#[test]
fn comparison_says_what_each_strategy_would_have_made_of_it_and_by_how_much_that_differs() {
    let recording = read(SPREAD.lines());
    let courses = [
        course(&recording, None),
        course(&recording, Some(&policy("binpack=cpu"))),
    ];
    assert_eq!(
        comparison_columns(&courses),
        ["measure", "recorded", "binpack=cpu", "difference"]
    );
    let rows = comparison_rows(&courses);
    let row = |name: &str| rows.iter().find(|row| row[0] == name).expect("there").join(" ");
    assert_eq!(row("hosts used at most"), "hosts used at most 3 1 -2");
    assert_eq!(row("hosts used on average"), "hosts used on average 2.33 1 -1.33");
    assert_eq!(row("hosts used at the end"), "hosts used at the end 1 1 0");
    assert_eq!(comparison_points(&courses).lines().count(), 1 + 2 * 3);
    let page = comparison_report(&courses, "x").page;
    assert_eq!(
        (page.matches("<polyline").count(), page.matches("<tr>").count()),
        (10, 18)
    );
    assert!(!page.contains("http") && !page.contains("NaN"));
}

#[test]
fn decisions_of_clusters_that_lived_through_faults_come_out_the_same_but_for_what_was_never_written() {
    let (mut decisions, mut same, mut earlier) = (0, 0, 0);
    for seed in 1..6 {
        let lines = lines_of(&commands_of(seed));
        let recording = read(lines.iter().map(String::as_str));
        let judgement = judge(&recording);
        decisions += judgement.decisions;
        same += judgement.same;
        earlier += judgement.same_as_seen;
        for name in ["binpack=memory", "random", "tightest"] {
            let course = course(&recording, Some(&policy(name)));
            assert_eq!(course.figures.tasks, judgement.decisions + judgement.not_recorded);
        }
    }
    eprintln!("{same} of {decisions} decisions are the same, {earlier} of them as the leader saw the hosts");
    // A leader that is about to lose its place also plans with what it decided before and nobody ever wrote; then other figures were seen than any in the log.
    assert!(
        decisions > 200 && (decisions - same) * 100 <= decisions,
        "{same} of {decisions}"
    );
}
