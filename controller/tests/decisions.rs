//! Recordings of placement decisions: from a controller that serves, and from a data directory.

mod cluster;

use std::sync::Arc;

use berth_controller::api::ports::{DecisionRecordings, PartFailure, RecordingFailure};
use berth_controller::decisions::{DecisionStreams, DecisionsError, Edge, Span, write_offline};
use berth_controller::replica::{ReplicatedState, StateGroup};
use berth_core::decisions::{Happening, Reader, Recording};
use berth_core::model::*;
use berth_raft::RaftOptions;
use berth_storage::SledStorage;
use cluster::{TestCluster, key};

fn read(bytes: &[u8]) -> Recording {
    let text = std::str::from_utf8(bytes).expect("text");
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line).expect("sound");
    }
    reader.end().expect("whole")
}

fn placed(recording: &Recording) -> usize {
    let happenings = recording.entries.iter().flat_map(|entry| &entry.happenings);
    happenings.filter(|one| matches!(one, Happening::Placed(_))).count()
}

async fn fetch(streams: &DecisionStreams, id: &str, span: Span) -> Result<Recording, PartFailure> {
    streams.begin(id.to_owned(), key(), span).await.expect("begun");
    let mut bytes = vec![];
    for number in 0.. {
        let part = streams.part(id, number).await?;
        bytes.extend(part.data);
        if part.is_last {
            break;
        }
    }
    Ok(read(&bytes))
}

/// Three hosts, and tasks on them.
async fn begin(cluster: &TestCluster, tasks: usize) {
    for number in 0..3 {
        let zone = ["a", "b", "a"][number];
        cluster.register_host(number, zone, Resources::new(4096, 4096)).await;
    }
    cluster.define("job", Resources::new(100, 100)).await;
    run(cluster, tasks).await;
}

async fn run(cluster: &TestCluster, tasks: usize) {
    let ran = cluster.leader.run_tasks(cluster.request("job", tasks)).await;
    assert_eq!(ran.expect("an answer").tasks.len(), tasks);
}

fn from(index: u64) -> Span {
    Span {
        from: Some(Edge::Index(index)),
        to: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_of_a_span_has_what_was_placed_in_it_and_what_there_was_before() {
    let cluster = TestCluster::start();
    begin(&cluster, 6).await;
    let streams = DecisionStreams::new(cluster.group.clone());
    let whole = fetch(&streams, "one", Span::default()).await.expect("whole");
    assert_eq!((placed(&whole), whole.start.hosts().count()), (6, 0));
    let later = whole.last_index.0 + 1;
    run(&cluster, 2).await;
    let span = fetch(&streams, "two", from(later)).await.expect("a span");
    let there = (span.start.hosts().count(), span.start.task_count());
    assert_eq!((placed(&span), there), (2, (3, 6)));
    let until = Span {
        from: None,
        to: Some(Edge::Index(later - 1)),
    };
    let until = fetch(&streams, "three", until).await.expect("a span");
    assert_eq!(placed(&until), 6);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn span_that_is_forgotten_or_not_there_yet_is_refused_with_what_there_is() {
    let options = RaftOptions {
        snapshot_after_entries: 20,
        ..cluster::options()
    };
    let cluster = TestCluster::start_on(Arc::default(), options);
    begin(&cluster, 3).await;
    for _ in 0..40 {
        run(&cluster, 1).await;
    }
    let mut status = cluster.group.watch_status();
    status.wait_for(|status| status.snapshot > 20).await.expect("it runs");
    let streams = DecisionStreams::new(cluster.group.clone());
    let refused = |span: Span| {
        let begun = streams.begin("refused".to_owned(), key(), span);
        async move {
            match begun.await {
                Err(RecordingFailure::Refused(why)) => why,
                other => panic!("{other:?}"),
            }
        }
    };
    let first = cluster.group.status().snapshot + 1;
    let why = refused(from(2)).await;
    assert!(
        why.contains(&format!("entry {first}")) || why.contains("can begin with is"),
        "{why}"
    );
    assert!(
        refused(from(1_000_000))
            .await
            .contains("no entry 1000000 in the log yet")
    );
    let backwards = Span {
        from: Some(Edge::Index(90)),
        to: Some(Edge::Index(80)),
    };
    assert!(refused(backwards).await.contains("ends before it begins"));
    let time = |time: i64| Span {
        from: Some(Edge::Time(Timestamp(time))),
        to: None,
    };
    let early = fetch(&streams, "early", time(1000)).await.expect_err("refused");
    assert!(
        matches!(&early, PartFailure::Refused(why) if why.contains("written 20")),
        "{early}"
    );
    let late = fetch(&streams, "late", time(i64::MAX)).await.expect_err("refused");
    assert!(late.to_string().contains("nothing was decided"), "{late}");
    let held = fetch(&streams, "held", Span::default()).await.expect("what is held");
    assert!(placed(&held) < 43 && held.start.hosts().count() == 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recording_is_made_at_a_time_and_the_next_after_it() {
    let cluster = TestCluster::start();
    begin(&cluster, 1).await;
    let streams = DecisionStreams::new(cluster.group.clone());
    streams
        .begin("one".to_owned(), key(), Span::default())
        .await
        .expect("begun");
    let second = streams.begin("two".to_owned(), key(), Span::default()).await;
    assert!(matches!(second, Err(RecordingFailure::Unavailable(_))), "{second:?}");
    for number in 0.. {
        if streams.part("one", number).await.expect("a part").is_last {
            break;
        }
    }
    fetch(&streams, "two", Span::default()).await.expect("the next");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_from_a_data_directory_is_that_of_the_controller_that_used_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SledStorage::open(&directory.path().join("store")).expect("the store opens");
    let group = StateGroup::start(Arc::new(store), ReplicatedState::default(), cluster::options());
    let cluster = TestCluster::of(group.expect("the group starts"));
    begin(&cluster, 5).await;
    let streams = DecisionStreams::new(cluster.group.clone());
    let served = fetch(&streams, "one", Span::default()).await.expect("whole");
    let in_use = write_offline(directory.path(), &Span::default(), None, vec![]).expect_err("in use");
    assert!(matches!(in_use, DecisionsError::Store(_)), "{in_use}");
    cluster.stop().await;
    let mut bytes = vec![];
    let exported = write_offline(directory.path(), &Span::default(), None, &mut bytes).expect("written");
    let written = read(&bytes);
    assert_eq!((placed(&written), exported.placed), (5, 5));
    assert!(written.last_index >= served.last_index);
    let other = write_offline(directory.path(), &Span::default(), Some("shop"), vec![]).expect_err("no such cluster");
    assert!(
        other.to_string().contains("no cluster shop") && other.to_string().contains("cluster/default"),
        "{other}"
    );
    let nothing = write_offline(&directory.path().join("else"), &Span::default(), None, vec![]).expect_err("nothing");
    assert!(matches!(nothing, DecisionsError::NoStore(_)), "{nothing}");
}
