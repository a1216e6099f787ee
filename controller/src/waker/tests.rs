//! Calls of hosts by commands: each once, and what keeps them from being made.

use berth_core::model::{Attributes, Cluster, HostDescription, PowerState, Resources, Scope, Timestamp};

use super::*;
use crate::agents::testing::leading_group;
use crate::clock::SystemClock;

async fn apply(group: &StateGroup, command: Command) {
    group.propose(command).await.unwrap().outcome.unwrap();
}

/// A host that was put to sleep and called.
async fn waking(group: &StateGroup) -> ContainerInstanceId {
    let cluster = Scope::new("123456789012", "us-east-1").cluster("shop");
    apply(
        group,
        Command::RaiseFeatureLevel(berth_core::state::FeatureLevel::newest("0.1.0")),
    )
    .await;
    apply(group, Command::CreateCluster(Cluster::new(cluster, Timestamp(0)))).await;
    let id = ContainerInstanceId(7);
    asleep_and_called(group, id).await;
    id
}

async fn asleep_and_called(group: &StateGroup, id: ContainerInstanceId) {
    let cluster = Scope::new("123456789012", "us-east-1").cluster("shop");
    let attributes = [
        (attribute_names::SLEEP, None),
        (attribute_names::MAC_ADDRESSES, Some("aa:bb:cc:dd:ee:ff".to_owned())),
        ("rack-row", Some("7".to_owned())),
    ];
    let host = HostDescription {
        host_name: "h1".to_owned(),
        capacity: Resources::new(1024, 1024),
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Attributes>(),
        agent_version: "0.1.0".to_owned(),
        runtime_version: "simulated".to_owned(),
        capacity_provider: Some("pool".into()),
        ecs_agent: None,
    };
    apply(
        group,
        Command::RegisterContainerInstance {
            id,
            previous: None,
            cluster,
            agent: id.to_string().as_str().into(),
            host,
            at: Timestamp(0),
        },
    )
    .await;
    let change = |change, at| Command::ChangePower {
        container_instance: id,
        change,
        at: Timestamp(at),
    };
    apply(group, change(PowerChange::Sleep, 1)).await;
    let gone = Command::RecordAgentDisconnected {
        container_instance: id,
        last_heard_at: Timestamp(2),
        at: Timestamp(2),
    };
    apply(group, gone).await;
    apply(group, change(PowerChange::Call, 3)).await;
}

fn host(group: &StateGroup, id: ContainerInstanceId) -> Arc<ContainerInstance> {
    Arc::clone(group.view().view.container_instance(id).unwrap())
}

async fn wait_for(what: impl Fn() -> bool) {
    let patience = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience)
        .await
        .expect("in time");
}

#[tokio::test]
async fn host_that_is_to_wake_is_called_once_for_each_call_with_what_it_is() {
    let group = leading_group().await;
    let id = waking(&group).await;
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let command = format!(
        "echo $BERTH_CALL $BERTH_HOST_NAME $BERTH_MAC_ADDRESSES $BERTH_CAPACITY_PROVIDER $BERTH_CLUSTER $BERTH_ATTRIBUTE_RACK_ROW >> {}",
        said.display()
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(Waker::new(group.clone(), Arc::new(SystemClock), command).run(stop.clone()));
    let lines = || std::fs::read_to_string(&said).unwrap_or_default().lines().count();
    wait_for(|| lines() == 1).await;
    tokio::time::sleep(LOOK_EVERY * 3).await;
    let again = Command::ChangePower {
        container_instance: id,
        change: PowerChange::Call,
        at: Timestamp(4),
    };
    apply(&group, again).await;
    wait_for(|| lines() == 2).await;
    assert_eq!(
        std::fs::read_to_string(&said).unwrap(),
        "1 h1 aa:bb:cc:dd:ee:ff pool shop 7\n2 h1 aa:bb:cc:dd:ee:ff pool shop 7\n"
    );
    assert_eq!(host(&group, id).power.trouble, None);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn call_that_cannot_be_made_is_recorded_with_what_the_command_said() {
    let group = leading_group().await;
    let id = waking(&group).await;
    let stop = CancellationToken::new();
    let command = "echo no such board >&2; exit 1".to_owned();
    let running = tokio::spawn(Waker::new(group.clone(), Arc::new(SystemClock), command).run(stop.clone()));
    wait_for(|| host(&group, id).power.trouble.is_some()).await;
    let power = host(&group, id).power.clone();
    assert_eq!((power.state, power.calls), (PowerState::Waking, 1));
    let trouble = power.trouble.unwrap();
    assert!(trouble.ends_with(": no such board"), "{trouble}");
    assert!(
        !trouble.contains("echo"),
        "users see it, and the command is the operator's: {trouble}"
    );
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn hosts_that_were_called_less_often_are_called_before_others_are_called_again() {
    let group = leading_group().await;
    let first = waking(&group).await;
    for number in [8, 9, 10] {
        asleep_and_called(&group, ContainerInstanceId(number)).await;
    }
    let again = Command::ChangePower {
        container_instance: first,
        change: PowerChange::Call,
        at: Timestamp(4),
    };
    apply(&group, again).await;
    let view = group.view();
    let ids = |made: &[u128], room| {
        let made = made.iter().map(|number| ContainerInstanceId(*number));
        let made = made.map(|id| (id, call_of(&host(&group, id)))).collect();
        let due = due(view.view.waking_hosts(), &made, room);
        due.iter().map(|host| host.id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[], 8), [8, 9, 10, 7]);
    assert_eq!(ids(&[8], 2), [9, 10]);
    assert_eq!(ids(&[8, 9, 10, 7], 8), []);
    assert_eq!(ids(&[], 0), []);
}
