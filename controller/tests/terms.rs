//! What a leader decided is void once another leads.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use berth_controller::replica::{ReplicatedState, StateGroup};
use berth_core::model::Resources;
use berth_raft::testing::Network;
use berth_raft::{Founding, MemberRecord, RaftOptions, Role};
use berth_storage::MemoryStorage;
use cluster::{TestCluster, options};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A controller of three, with its leader's loop.
fn start_member(network: &Network, id: u64, founding: Founding) -> TestCluster {
    let options = RaftOptions {
        member_id: Some(id),
        founding,
        ..options()
    };
    let store = Arc::new(MemoryStorage::default());
    let group = StateGroup::start_with(store, ReplicatedState::default(), options, network.clone()).expect("it starts");
    network.connect(&group);
    TestCluster::of(group)
}

async fn three_controllers(network: &Network) -> Vec<TestCluster> {
    let founder = start_member(network, 1, Founding::default());
    founder.group.read().await.expect("it leads");
    let mut members = vec![founder];
    for id in [2, 3] {
        let cluster = members[0].group.identity().cluster;
        members.push(start_member(network, id, Founding::Join { cluster }));
        let record = MemberRecord {
            id,
            ..MemberRecord::default()
        };
        members[0].group.add_member(record).await.expect("it is added");
        members[0].group.promote(id, PATIENCE).await.expect("it gets a vote");
    }
    members
}

/// Waits until a member that is not this one leads, and everything committed before is in its view.
async fn another_leader(members: &[TestCluster], but: usize) -> usize {
    let leads = |member: &TestCluster| member.group.status().role == Role::Leader;
    let waiting = async {
        loop {
            let leader = (0..members.len()).find(|index| *index != but && leads(&members[*index]));
            if let Some(leader) = leader {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let leader = tokio::time::timeout(PATIENCE, waiting).await.expect("another leads");
    members[leader].group.read().await.expect("it answers");
    leader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_placed_by_a_leader_that_was_cut_off_do_not_come_about_under_its_successor() {
    let network = Network::default();
    let members = three_controllers(&network).await;
    let first = &members[0];
    first.register_host(0, "a", Resources::new(4096, 4096)).await;
    first.define("job", Resources::new(128, 128)).await;
    // Whatever leads, its loop works once it has placed something.
    let before = first
        .leader
        .run_tasks(first.request("job", 1))
        .await
        .expect("an answer");
    assert_eq!(before.tasks.len(), 1);

    network.isolate(1);
    let request = first.request("job", 1);
    let (leader, asked) = (first.leader.clone(), request.clone());
    let cut_off = tokio::spawn(async move { leader.run_tasks(asked).await });
    // Ids are drawn from the first alone, so that no two are the same.
    let later = first.request("job", 2);
    let successor = &members[another_leader(&members, 0).await];
    let after = successor.leader.run_tasks(later).await.expect("an answer");
    assert_eq!(after.tasks.len(), 2);

    network.heal();
    let answer = tokio::time::timeout(PATIENCE, cut_off)
        .await
        .expect("an answer")
        .expect("no panic");
    let failure = answer.expect_err("it was cut off");
    assert!(failure.to_string().contains("does not lead"), "{failure}");
    let state = successor.group.read().await.expect("it answers");
    assert!(state.view.task(request.tasks[0].id).is_none());
    assert_eq!(state.view.tasks_of_cluster(&cluster::key()).count(), 3);
    for member in &members {
        network.disconnect(member.group.identity().member_id, false);
    }
    for member in &members {
        member.stop().await;
    }
}
