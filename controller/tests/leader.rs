//! The leader's loop over a real group in memory: services come to their hosts, and racing requests never take more than
//! there is.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{DesiredStatus, HostSettingsChange, Resources, TaskStatus};
use berth_core::state::Command;
use berth_raft::{RaftOptions, Role};
use berth_storage::MemoryStorage;
use cluster::{TestCluster, options, service_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_created_on_three_zones_gets_two_tasks_in_each() {
    let cluster = TestCluster::start();
    for host in 0..3 {
        cluster
            .register_host(host, ["a", "b", "c"][host], Resources::new(4096, 8192))
            .await;
    }
    cluster.define("web", Resources::new(256, 256)).await;
    cluster.propose(service_of("web", 6)).await;
    let hosts = cluster
        .until("six tasks have hosts", |state| {
            let tasks: Vec<_> = state.tasks_of_cluster(&cluster::key()).collect();
            (tasks.len() == 6).then(|| tasks.iter().filter_map(|t| t.container_instance).collect::<Vec<_>>())
        })
        .await;
    for host in hosts.iter() {
        assert_eq!(hosts.iter().filter(|h| *h == host).count(), 2);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_task_called_a_thousand_times_at_once_fills_the_hosts_and_no_more() {
    let cluster = TestCluster::start();
    for host in 0..10 {
        cluster.register_host(host, "a", Resources::new(4096, 4096)).await;
    }
    cluster.define("job", Resources::new(128, 100)).await;
    let calls = (0..1_000).map(|_| {
        let (leader, request) = (cluster.leader.clone(), cluster.request("job", 1));
        tokio::spawn(async move { leader.run_tasks(request).await.expect("an answer") })
    });
    let calls: Vec<_> = calls.collect();
    let (mut placed, mut refused) = (0, 0);
    for call in calls {
        let ran = call.await.expect("no panic");
        placed += ran.tasks.len();
        refused += ran.unplaced.len();
    }
    // 4096 CPU units hold 32 tasks of 128 each; memory would hold 40.
    assert_eq!((placed, refused), (320, 680));
    let state = cluster.state();
    for host in state.container_instances_of(&cluster::key()) {
        let tasks = state.tasks_of_instance(host.id).filter(|t| !t.is_stopped());
        assert_eq!(tasks.map(|t| t.reservation.cpu.0).sum::<u32>(), 4096);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_task_with_one_token_sent_many_times_at_once_runs_once() {
    let cluster = TestCluster::start();
    cluster.register_host(0, "a", Resources::new(4096, 4096)).await;
    cluster.define("job", Resources::new(128, 100)).await;
    let mut answers = vec![];
    for _ in 0..20 {
        let (leader, mut request) = (cluster.leader.clone(), cluster.request("job", 2));
        request.client_token = Some(cluster::token("once"));
        answers.push(tokio::spawn(async move {
            leader.run_tasks(request).await.expect("an answer").tasks
        }));
    }
    let mut tasks = std::collections::BTreeSet::new();
    for answer in answers {
        tasks.insert(answer.await.expect("no panic"));
    }
    assert_eq!(tasks.len(), 1, "all callers are told of the same tasks");
    assert_eq!(cluster.state().tasks_of_cluster(&cluster::key()).count(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_task_beside_a_service_that_wants_the_same_room_leaves_neither_over_reserved() {
    let cluster = TestCluster::start();
    for host in 0..4 {
        cluster.register_host(host, "a", Resources::new(2048, 2048)).await;
    }
    cluster.define("web", Resources::new(128, 128)).await;
    cluster.define("job", Resources::new(128, 128)).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (leader, request) = (cluster.leader.clone(), cluster.request("job", 1));
            tokio::spawn(async move { leader.run_tasks(request).await.expect("an answer").tasks.len() })
        })
        .collect();
    cluster.propose(service_of("web", 64)).await;
    let mut ran = 0;
    for call in calls {
        ran += call.await.expect("no panic");
    }
    let filled = cluster
        .until("the hosts are full", |state| {
            let key = cluster::key();
            let tasks = state.tasks_of_cluster(&key);
            let held = tasks.filter(|t| t.desired_status == DesiredStatus::Running).count();
            (held == 64).then_some(held)
        })
        .await;
    assert!(ran <= filled);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_task_on_one_host_beside_run_task_is_answered_with_what_fits() {
    let cluster = TestCluster::start();
    let mut hosts = vec![];
    for host in 0..4 {
        hosts.push(cluster.register_host(host, "a", Resources::new(1024, 1024)).await);
    }
    cluster.define("job", Resources::new(128, 128)).await;
    let calls: Vec<_> = (0..80)
        .map(|call| {
            let mut request = cluster.request("job", 1);
            if call % 2 == 0 {
                request.only_host = request.tasks.iter().map(|task| (task.id, hosts[0])).collect();
            }
            let leader = cluster.leader.clone();
            tokio::spawn(async move { leader.run_tasks(request).await.expect("an answer").tasks.len() })
        })
        .collect();
    let mut placed = 0;
    for call in calls {
        placed += call.await.expect("no panic");
    }
    assert_eq!(placed, 32, "eight on each of four hosts");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_that_ends_is_replaced_by_another() {
    let cluster = TestCluster::start();
    let host = cluster.register_host(0, "a", Resources::new(2048, 2048)).await;
    cluster.define("web", Resources::new(128, 128)).await;
    cluster.propose(service_of("web", 1)).await;
    let first = cluster
        .until("a task", |s| s.tasks_of_cluster(&cluster::key()).next().map(|t| t.id))
        .await;
    let reports = vec![cluster::report(first, TaskStatus::Stopped)];
    let at = cluster.now();
    cluster
        .propose(Command::RecordTaskReports {
            container_instance: host,
            reports,
            at,
        })
        .await;
    let second = cluster
        .until("another task", |s| {
            s.tasks_of_cluster(&cluster::key())
                .find(|t| !t.is_stopped())
                .map(|t| t.id)
        })
        .await;
    assert_ne!(first, second);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_found_lost_while_the_disk_is_full_is_given_up_once_there_is_room() {
    let storage = Arc::new(MemoryStorage::default());
    let options = RaftOptions {
        required_free_bytes: 1,
        ..options()
    };
    let cluster = TestCluster::start_on(Arc::clone(&storage), options);
    let host = cluster.register_host(0, "a", Resources::new(2048, 2048)).await;
    cluster.define("web", Resources::new(128, 128)).await;
    cluster.propose(service_of("web", 1)).await;
    let task = cluster
        .until("a task", |s| s.tasks_of_cluster(&cluster::key()).next().map(|t| t.id))
        .await;
    let hasty = HostSettingsChange {
        heartbeat_interval_ms: Some(200),
        host_lost_after_ms: Some(700),
        ..HostSettingsChange::default()
    };
    cluster.change_host_settings(hasty).await;
    // While no agent is connected, no host is given up.
    cluster.register_host(1, "b", Resources::new(2048, 2048)).await;
    let at = cluster.now();
    cluster
        .propose(Command::RecordAgentDisconnected {
            container_instance: host,
            last_heard_at: at,
            at,
        })
        .await;
    storage.set_free_bytes(0);
    // The time comes, and what was decided cannot be written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!cluster.state().task(task).expect("kept").is_stopped());
    storage.set_free_bytes(u64::MAX);
    cluster
        .until("the host is given up", |s| {
            s.task(task).is_some_and(|t| t.is_stopped()).then_some(())
        })
        .await;
    cluster.stop().await;
}

/// Time of a processor that this thread has used.
fn used_by_this_thread() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says");
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    Duration::from_nanos(nanoseconds)
}

/// On one thread, so that what the loop uses of the processor is what the thread uses.
#[tokio::test]
async fn run_task_while_the_leader_cannot_read_yet_waits_until_it_can_without_spinning() {
    // The group answers no read while it commits, and each commit takes ten times as long as a read may.
    let storage = MemoryStorage::with_commit_delay(Duration::from_secs(1));
    let options = RaftOptions {
        read_deadline: Duration::from_millis(100),
        ..options()
    };
    let group = cluster::start_group(Arc::new(storage), options);
    let mut status = group.watch_status();
    let led = status.wait_for(|s| s.role == Role::Leader);
    led.await.expect("the group runs");
    let committing = tokio::spawn({
        let group = group.clone();
        async move { group.propose(Command::Reset).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let cluster = TestCluster::of(group);
    let used_before = used_by_this_thread();
    let refused = cluster.leader.run_tasks(cluster.request_without_cluster()).await;
    let used = used_by_this_thread() - used_before;
    assert!(committing.await.expect("no panic").is_ok());
    let refused = refused.expect_err("there is no such cluster").to_string();
    assert_eq!(refused, "cluster default not found");
    assert!(used < Duration::from_millis(400), "used {used:?} to wait for a second");
    cluster.stop().await;
}
