//! What a pretended host does, as the agent sees it.

use std::collections::BTreeSet;

use berth_core::model::{PortMapping, TransportProtocol};

use super::*;
use crate::test_support::task_spec;

fn with_environment(id: u128, environment: &[(&str, &str)]) -> TaskSpec {
    let mut spec = task_spec(id, "busybox");
    spec.containers[0].environment = environment
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    spec
}

fn port(host_port: Option<u16>) -> PortMapping {
    PortMapping {
        container_port: 80,
        host_port,
        protocol: TransportProtocol::Tcp,
        name: None,
    }
}

async fn create(runtime: &SimulatedRuntime, spec: &TaskSpec) -> ContainerKey {
    let network = runtime.set_up_network(spec).await.unwrap();
    let container = &spec.containers[0];
    let request = CreateContainer {
        task: spec,
        container,
        network: &network,
        agent_environment: &[],
    };
    runtime.create_container(request.clone()).await.unwrap();
    request.key()
}

#[tokio::test]
async fn container_told_to_end_by_itself_ends_with_its_code() {
    let runtime = SimulatedRuntime::new();
    let spec = with_environment(1, &[("BERTH_SIM_EXIT_AFTER_MS", "20"), ("BERTH_SIM_EXIT_CODE", "3")]);
    let key = create(&runtime, &spec).await;
    runtime.start_container(&key).await.unwrap();
    assert!(matches!(
        runtime.list().await.unwrap()[0].status,
        FoundStatus::Running(_)
    ));
    assert_eq!(runtime.wait_container(&key).await.unwrap().exit_code, Some(3));
}

#[tokio::test]
async fn container_that_ignores_its_stop_signal_ends_when_killed() {
    let runtime = SimulatedRuntime::new();
    let key = create(&runtime, &with_environment(1, &[("BERTH_SIM_IGNORE_STOP", "1")])).await;
    runtime.start_container(&key).await.unwrap();
    runtime.stop_container(&key).await.unwrap();
    assert!(matches!(
        runtime.list().await.unwrap()[0].status,
        FoundStatus::Running(_)
    ));
    runtime.kill_container(&key).await.unwrap();
    assert_eq!(runtime.wait_container(&key).await.unwrap().exit_code, Some(137));
}

#[tokio::test]
async fn container_given_a_start_error_cannot_be_started() {
    let runtime = SimulatedRuntime::new();
    let key = create(
        &runtime,
        &with_environment(1, &[("BERTH_SIM_START_ERROR", "no such file")]),
    )
    .await;
    let error = runtime.start_container(&key).await.unwrap_err();
    assert_eq!(error.to_string(), "CannotStartContainerError: no such file");
}

#[tokio::test]
async fn fixed_port_of_two_tasks_is_refused_to_the_second_until_the_first_is_gone() {
    let runtime = SimulatedRuntime::new();
    let (mut first, mut second) = (task_spec(1, "busybox"), task_spec(2, "busybox"));
    first.containers[0].port_mappings = vec![port(Some(8080))];
    second.containers[0].port_mappings = vec![port(Some(8080))];
    let network = runtime.set_up_network(&first).await.unwrap();
    assert_eq!(network, runtime.set_up_network(&first).await.unwrap());
    let error = runtime.set_up_network(&second).await.unwrap_err();
    assert!(error.to_string().contains("8080"), "{error}");
    runtime.tear_down_network(first.task).await.unwrap();
    runtime.set_up_network(&second).await.unwrap();
}

#[tokio::test]
async fn dynamic_ports_of_two_tasks_differ() {
    let runtime = SimulatedRuntime::new();
    let mut bound = BTreeSet::new();
    for id in 1..=2 {
        let mut spec = task_spec(id, "busybox");
        spec.containers[0].port_mappings = vec![port(None)];
        let network = runtime.set_up_network(&spec).await.unwrap();
        bound.insert(network.bindings_of("main")[0].host_port);
    }
    assert_eq!(bound.len(), 2);
    assert!(bound.iter().all(|port| EPHEMERAL_PORTS.contains(port)));
}

#[tokio::test]
async fn log_followed_gives_each_line_once_and_outlives_its_container() {
    let runtime = SimulatedRuntime::new();
    let key = create(&runtime, &task_spec(1, "busybox")).await;
    let query = |position: Option<String>| LogQuery {
        container: key.clone(),
        position,
        tail: 10,
        max_bytes: 1000,
    };
    let texts = |chunk: &LogChunk| -> Vec<String> {
        chunk
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.message).into_owned())
            .collect()
    };
    assert!(runtime.read(query(None)).await.unwrap().lines.is_empty());
    runtime.start_container(&key).await.unwrap();
    let first = runtime.read(query(None)).await.unwrap();
    assert_eq!(
        texts(&first),
        ["simulated container main of image busybox started; nothing real runs in it"]
    );
    let nothing = runtime.read(query(Some(first.next_position.clone()))).await.unwrap();
    assert!(nothing.lines.is_empty());
    runtime.stop_container(&key).await.unwrap();
    let rest = runtime.read(query(Some(nothing.next_position))).await.unwrap();
    assert_eq!(texts(&rest), ["simulated container main ended with exit code 143"]);
    runtime.delete_container(&key).await.unwrap();
    assert_eq!(runtime.read(query(None)).await.unwrap().lines.len(), 2);
    runtime.forget_logs(key.task).await.unwrap();
    assert!(runtime.read(query(None)).await.unwrap().lines.is_empty());
}
