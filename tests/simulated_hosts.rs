//! Controller and agents together, over real sessions; only the containers are simulated.

#[path = "../controller/tests/cluster/mod.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_agent::runtime::{ContainerKey, SimulatedRuntime};
use berth_agent::{Agent, AgentConfig};
use berth_controller::agents;
use berth_controller::clock::SystemClock;
use berth_core::ids::IdSource;
use berth_core::model::{Attributes, Resources, RolloutState, Service, TaskStatus};
use berth_core::state::ClusterState;
use cluster::{TestCluster, service_of};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ZONES: [&str; 3] = ["a", "b", "c"];

struct Fleet {
    cluster: TestCluster,
    runtimes: Vec<SimulatedRuntime>,
    stop: CancellationToken,
}

impl Fleet {
    async fn start(hosts: usize) -> Self {
        let cluster = TestCluster::start();
        cluster.group.read().await.expect("the group has a leader");
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let controllers = vec![format!("http://{}", listener.local_addr().expect("an address"))];
        let (group, clock, ids) = (cluster.group.clone(), Arc::new(SystemClock), IdSource::from_seed(3));
        agents::start(listener, group, clock, ids, stop.clone()).expect("a loopback address");
        let mut runtimes = vec![];
        for number in 0..hosts {
            let runtime = SimulatedRuntime::new();
            let config = AgentConfig {
                data_dir: None,
                controllers: controllers.clone(),
                membership: None,
                cluster: cluster::key(),
                host_name: format!("host-{number}"),
                availability_zone: Some(ZONES[number % ZONES.len()].to_owned()),
                capacity_provider: None,
                attributes: Attributes::new(),
                capacity: Resources::new(4096, 8192),
                sleep_command: None,
                runtime_version: "simulated".to_owned(),
            };
            let (logs, shutdown) = (Arc::new(runtime.clone()), stop.clone());
            Agent::start(config, Arc::new(runtime.clone()), logs, shutdown)
                .await
                .expect("the agent starts");
            runtimes.push(runtime);
        }
        let all = |s: &ClusterState| (s.container_instances_of(&cluster::key()).count() == hosts).then_some(());
        cluster.until("every host has registered", all).await;
        Self {
            cluster,
            runtimes,
            stop,
        }
    }

    async fn until_running(&self, service: &str, count: usize) {
        let key = cluster::key().service(service);
        let look = |s: &ClusterState| {
            let running = s
                .tasks_of_service(&key)
                .filter(|t| t.last_status == TaskStatus::Running)
                .count();
            (running == count).then_some(())
        };
        self.cluster.until(&format!("{count} tasks run"), look).await;
    }

    async fn until_steady(&self, service: &str) -> Arc<Service> {
        let key = cluster::key().service(service);
        self.cluster
            .until("the service is steady", |s| {
                s.service(&key).filter(|s| s.steady).cloned()
            })
            .await
    }

    fn by_zone(&self) -> BTreeMap<String, usize> {
        let state = self.cluster.state();
        let mut zones = BTreeMap::new();
        for task in state.tasks_of_cluster(&cluster::key()).filter(|t| !t.is_stopped()) {
            let host = task
                .container_instance
                .and_then(|id| state.container_instance(id))
                .expect("has a host");
            *zones
                .entry(host.availability_zone().expect("has a zone").to_owned())
                .or_default() += 1;
        }
        zones
    }

    async fn close(self) {
        self.stop.cancel();
        self.cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_of_six_becomes_steady_over_three_zones_and_replaces_a_task_that_is_killed() {
    let fleet = Fleet::start(6).await;
    fleet.cluster.define("web", Resources::new(256, 256)).await;
    fleet.cluster.propose(service_of("web", 6)).await;
    let service = fleet.until_steady("web").await;
    assert_eq!(
        service.primary().map(|d| d.rollout_state),
        Some(RolloutState::Completed)
    );
    assert!(
        fleet.by_zone().values().all(|count| *count == 2),
        "{:?}",
        fleet.by_zone()
    );
    let state = fleet.cluster.state();
    let victim = state.tasks_of_service(&service.key).next().expect("a task").id;
    let key = ContainerKey {
        task: victim,
        name: "main".to_owned(),
    };
    let killed = fleet.runtimes.iter().filter(|runtime| runtime.end(&key, 137).is_ok());
    assert_eq!(killed.count(), 1);
    let gone = |s: &ClusterState| s.task(victim).filter(|t| t.is_stopped()).cloned();
    let ended = fleet.cluster.until("the task that was killed has stopped", gone).await;
    assert_eq!(ended.containers.first().and_then(|c| c.exit_code), Some(137));
    fleet.until_running("web", 6).await;
    assert!(
        fleet.by_zone().values().all(|count| *count == 2),
        "{:?}",
        fleet.by_zone()
    );
    fleet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_of_2000_on_200_hosts_runs_with_zones_level() {
    let began = Instant::now();
    let fleet = Fleet::start(200).await;
    fleet.cluster.define("web", Resources::new(128, 128)).await;
    fleet.cluster.propose(service_of("web", 2_000)).await;
    fleet.until_running("web", 2_000).await;
    let zones = fleet.by_zone();
    let (least, most) = (zones.values().min(), zones.values().max());
    assert!(
        most.zip(least).is_some_and(|(most, least)| most - least <= 1),
        "{zones:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(120));
    fleet.close().await;
}
