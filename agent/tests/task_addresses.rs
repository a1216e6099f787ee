//! Tasks that have an address of their own, on a real, private containerd: who reaches them there, and what is left of them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::net::IpAddr;
use std::path::PathBuf;

use berth_agent::network::DEFAULT_SUBNET_ID;
use berth_agent::runtime::containerd::ContainerdRuntime;
use berth_agent::runtime::{CreateContainer, Runtime, TaskNetwork};
use berth_core::model::{NetworkInterface, NetworkMode, TaskSpec};
use support::{Host, can_run, host, script, until, with_port};

/// A server and, beside it, a client that asks it over the loopback until it answers.
fn task() -> TaskSpec {
    let mut task = with_port(script("exec httpd -f -p 80 -h /www"), 80, None);
    task.network_mode = NetworkMode::Awsvpc;
    let mut client = script(
        "until wget -q -O /tmp/page http://127.0.0.1:80/; do sleep 0.1; done; cat /tmp/page; hostname; grep ip- /etc/hosts; exec sleep 1000",
    )
    .containers
    .remove(0);
    client.name = "client".to_owned();
    task.containers.push(client);
    task
}

async fn start(runtime: &ContainerdRuntime, task: &TaskSpec) -> TaskNetwork {
    let network = runtime.set_up_network(task).await.unwrap_or_else(|e| panic!("{e}"));
    for container in &task.containers {
        runtime.ensure_image(&container.image).await.unwrap();
        let request = CreateContainer {
            task,
            container,
            network: &network,
            agent_environment: &[],
        };
        let key = request.key();
        runtime
            .create_container(request)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        runtime.start_container(&key).await.unwrap_or_else(|e| panic!("{e}"));
    }
    network
}

async fn remove(host: &Host, task: &TaskSpec) {
    for container in &task.containers {
        let key = berth_agent::runtime::ContainerKey::new(task.task, &container.name);
        host.runtime.delete_container(&key).await.unwrap();
    }
    host.runtime
        .tear_down_network(task.task)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
}

fn interface(network: &TaskNetwork) -> NetworkInterface {
    network.interface.clone().expect("an interface of its own")
}

/// What the client of a task has written by the time that it knows its name.
async fn heard(host: &Host, task: &TaskSpec) -> String {
    let key = berth_agent::runtime::ContainerKey::new(task.task, "client");
    until("the page over the loopback", async || {
        let directory = host.runtime.log_directory(&key).unwrap();
        let log = berth_agent::logs::reader::tail(&directory, 100, 1 << 20).ok()?;
        let text: String = log.lines.iter().map(|l| format!("{}\n", l.line)).collect();
        (text.lines().count() >= 3).then_some(text)
    })
    .await
}

async fn answers(address: &str) {
    let address: IpAddr = address.parse().unwrap();
    until("an answer at the task's address", async || {
        tokio::net::TcpStream::connect((address, 80)).await.ok()
    })
    .await;
}

fn reservation(host: &Host, address: &str) -> PathBuf {
    let addresses = host.options.data_dir.join("network/addresses");
    let bridges = std::fs::read_dir(addresses).unwrap();
    bridges
        .map(|bridge| bridge.unwrap().path().join(address))
        .next()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_with_one_port_are_reached_each_at_its_address_and_within_over_the_loopback() {
    if !can_run() {
        return;
    }
    let host = host("addresses").await;
    assert_eq!(
        host.runtime.offered()["ecs.subnet-id"].as_deref(),
        Some(DEFAULT_SUBNET_ID)
    );
    assert!(host.runtime.offered().contains_key("ecs.capability.task-eni"));
    let (first, second) = (task(), task());
    let networks = [start(&host.runtime, &first).await, start(&host.runtime, &second).await];
    let [one, other] = networks.each_ref().map(interface);
    assert_ne!(one.private_ipv4_address, other.private_ipv4_address);
    assert_ne!(one.mac_address, other.mac_address);
    assert_eq!(one.mac_address.split(':').count(), 6, "{one:?}");
    assert!(networks[0].bindings.is_empty(), "no host port is taken");
    for (task, interface) in [(&first, &one), (&second, &other)] {
        answers(&interface.private_ipv4_address).await;
        let log = heard(&host, task).await;
        let mut lines = log.lines();
        assert_eq!(lines.next(), Some("hello from a container"));
        assert_eq!(lines.next(), Some(interface.private_dns_name.as_str()));
        assert!(log.contains(&format!("{}\t", interface.private_ipv4_address)), "{log}");
    }

    // After a restart of the agent it is the same address, and the next task gets another.
    let Host {
        dir,
        containerd,
        options,
        runtime,
    } = host;
    drop(runtime);
    let runtime = ContainerdRuntime::open(&containerd, options.clone()).await.unwrap();
    assert_eq!(runtime.set_up_network(&first).await.unwrap(), networks[0]);
    answers(&one.private_ipv4_address).await;
    let third = task();
    let network = start(&runtime, &third).await;
    let third_address = interface(&network).private_ipv4_address;
    assert!(![&one.private_ipv4_address, &other.private_ipv4_address].contains(&&third_address));

    let host = Host {
        dir,
        containerd,
        options,
        runtime,
    };
    assert!(reservation(&host, &one.private_ipv4_address).exists());
    for task in [&first, &second, &third] {
        remove(&host, task).await;
    }
    assert!(!reservation(&host, &one.private_ipv4_address).exists());
    for network in networks {
        let namespace = network.namespace.unwrap();
        assert!(!namespace.exists(), "{}", namespace.display());
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_tasks_that_a_reboot_ended_or_whose_records_it_took_are_free_again() {
    if !can_run() {
        return;
    }
    let host = host("reboot").await;
    let tasks = [task(), task(), task()];
    let mut addresses = vec![];
    for task in &tasks {
        addresses.push(interface(&host.set_up(task).await).private_ipv4_address);
    }
    let record = |task: &TaskSpec| {
        let name = format!("network/tasks/{}.json", task.task);
        host.options.data_dir.join(name)
    };
    // The namespaces are gone as after a reboot; of one record nothing is left, and of another one not its content.
    for task in &tasks {
        let namespace = host.set_up(task).await.namespace.unwrap();
        let mut delete = std::process::Command::new("ip");
        let deleted = delete.args(["netns", "delete"]).arg(namespace.file_name().unwrap());
        assert!(deleted.status().unwrap().success());
    }
    std::fs::remove_file(record(&tasks[0])).unwrap();
    std::fs::write(record(&tasks[1]), "").unwrap();
    let runtime = host.reopen().await;
    for address in &addresses {
        let left = reservation(&host, address);
        assert!(!left.exists(), "{}", left.display());
    }
    assert!(tasks.iter().all(|task| !record(task).exists()));
    drop(runtime);
    host.end().await;
}
