//! Tasks' networks on a real, private containerd: bridge, ports, namespaces, and what is left of them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_agent::runtime::containerd::ContainerdRuntime;
use berth_agent::runtime::{CreateContainer, Runtime};
use berth_core::model::{NetworkMode, TaskSpec};
use support::{Host, can_run, host, host_with, script, until, with_port};

const SERVE: &str = "exec httpd -f -p 80 -h /www";
const PAGE: &str = "hello from a container";

fn fetch(address: Ipv4Addr, port: u16) -> Option<String> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

async fn run_on(runtime: &ContainerdRuntime, task: &TaskSpec) -> u16 {
    runtime
        .ensure_image(&task.containers[0].image)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let network = runtime.set_up_network(task).await.unwrap_or_else(|e| panic!("{e}"));
    let request = CreateContainer {
        task,
        container: &task.containers[0],
        network: &network,
        agent_environment: &[],
    };
    let key = request.key();
    runtime
        .create_container(request)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    runtime.start_container(&key).await.unwrap_or_else(|e| panic!("{e}"));
    network.bindings[0].binding.host_port
}

async fn page(address: Ipv4Addr, port: u16) -> String {
    until("the page", async || {
        fetch(address, port).filter(|answer| answer.contains(PAGE))
    })
    .await
}

fn nat_rules() -> String {
    String::from_utf8(
        Command::new("iptables")
            .args(["-w", "-t", "nat", "-S"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap()
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
    host.runtime
        .tear_down_network(task.task)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_on_the_bridge_is_reached_by_its_host_port_until_it_is_torn_down() {
    if !can_run() {
        return;
    }
    let host = host("bridge").await;
    let task = with_port(script(SERVE), 80, None);
    let port = run_on(&host.runtime, &task).await;
    assert!((32768..=60999).contains(&port), "{port}");
    page(Ipv4Addr::LOCALHOST, port).await;
    let network = host.set_up(&task).await;
    assert_eq!(
        network,
        host.runtime.set_up_network(&task).await.unwrap(),
        "setting up again changes nothing"
    );
    let bindings = network.bindings_of("main");
    assert_eq!(
        (bindings[0].bind_ip.as_str(), bindings[0].container_port),
        ("0.0.0.0", 80)
    );

    // From another container, and so from outside: by the host's address on the bridge.
    let std::net::IpAddr::V4(address) = network.address.unwrap() else {
        panic!("an IPv4 address")
    };
    let [a, b, c, _] = address.octets();
    let mut client = script("hostname; cat /etc/hosts");
    client.network_mode = NetworkMode::Bridge;
    let (_, log) = host.run_to_end(&client).await;
    let name = log.lines().next().unwrap();
    assert!(
        log.lines().skip(1).any(|l| l.ends_with(name)),
        "its own name is in /etc/hosts: {log}"
    );
    let namespace = host.set_up(&client).await.namespace.unwrap();
    let namespace = namespace.file_name().unwrap();
    let get = format!("exec 3<>/dev/tcp/{a}.{b}.{c}.1/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let mut client_process = Command::new("timeout");
    client_process
        .args(["5", "ip", "netns", "exec"])
        .arg(namespace)
        .args(["bash", "-c", &get]);
    let seen = String::from_utf8(client_process.output().unwrap().stdout).unwrap();
    assert!(seen.contains(PAGE), "{seen}");

    // A restarted agent holds the port again, and another program cannot take it in between tasks.
    let Host {
        dir,
        containerd,
        options,
        runtime,
    } = host;
    drop(runtime);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    assert!(listener.is_ok(), "nobody holds the port while the agent is down");
    drop(listener);
    let runtime = ContainerdRuntime::open(&containerd, options.clone()).await.unwrap();
    assert!(
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err(),
        "the port is held again"
    );
    page(Ipv4Addr::LOCALHOST, port).await;

    let host = Host {
        dir,
        containerd,
        options,
        runtime,
    };
    remove(&host, &task).await;
    remove(&host, &client).await;
    assert!(
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok(),
        "the port is free again"
    );
    assert!(!nat_rules().contains(&task.task.to_string()), "{}", nat_rules());
    let namespace = network.namespace.unwrap();
    assert!(!namespace.exists(), "{}", namespace.display());
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_with_a_fixed_port_that_is_taken_is_refused_by_name_of_port_and_holder() {
    if !can_run() {
        return;
    }
    let host = host_with("fixed", |o| o.network.bind_address = Ipv4Addr::new(127, 0, 7, 1)).await;
    let other = TcpListener::bind((Ipv4Addr::new(127, 0, 7, 1), 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let first = with_port(script(SERVE), 80, Some(port));
    let error = host.runtime.set_up_network(&first).await.unwrap_err().to_string();
    let holder = format!("process {}", std::process::id());
    assert!(
        error.starts_with(&format!(
            "ResourceInitializationError: Bind for 127.0.7.1:{port} failed"
        )),
        "{error}"
    );
    assert!(
        error.contains("port is already allocated") && error.contains(&holder),
        "{error}"
    );
    drop(other);

    assert_eq!(run_on(&host.runtime, &first).await, port);
    page(Ipv4Addr::new(127, 0, 7, 1), port).await;
    let second = with_port(script(SERVE), 80, Some(port));
    let error = host.runtime.set_up_network(&second).await.unwrap_err().to_string();
    assert!(error.contains("port is already allocated"), "{error}");

    // Another host of this machine, with an address of its own, can use the same port, and finds the image beside it.
    let mut options = host.options.clone();
    options.agent.push_str("-b");
    options.namespace.push_str("-b");
    options.data_dir = host.dir.path().join("host-b");
    options.network.bind_address = Ipv4Addr::new(127, 0, 7, 2);
    let neighbour = ContainerdRuntime::open(&host.containerd, options).await.unwrap();
    assert_eq!(run_on(&neighbour, &second).await, port);
    page(Ipv4Addr::new(127, 0, 7, 2), port).await;
    page(Ipv4Addr::new(127, 0, 7, 1), port).await;
    neighbour.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
    page(Ipv4Addr::new(127, 0, 7, 1), port).await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_without_a_network_sees_its_loopback_alone() {
    if !can_run() {
        return;
    }
    let host = host("none").await;
    let mut task = script("cat /proc/net/dev");
    task.network_mode = NetworkMode::None;
    let (exit, log) = host.run_to_end(&task).await;
    assert_eq!(exit.exit_code, Some(0));
    let interfaces: Vec<&str> = log
        .lines()
        .skip(2)
        .filter_map(|l| l.split_once(':'))
        .map(|(n, _)| n.trim())
        .collect();
    assert_eq!(interfaces, ["lo"], "{log}");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_that_a_crash_left_half_made_are_gone_at_the_next_start() {
    if !can_run() {
        return;
    }
    let host = host("crash").await;
    let task = with_port(script(SERVE), 80, None);
    let network = host.set_up(&task).await;
    let record = host
        .options
        .data_dir
        .join("network/tasks")
        .join(format!("{}.json", task.task));
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"complete\":true", "\"complete\":false")).unwrap();
    let lost = with_port(script(SERVE), 80, None);
    let name = host.set_up(&lost).await.namespace.unwrap();
    let deleted = Command::new("ip")
        .args(["netns", "delete"])
        .arg(name.file_name().unwrap())
        .status();
    assert!(deleted.unwrap().success());
    let Host {
        dir,
        containerd,
        options,
        runtime,
    } = host;
    drop(runtime);
    let runtime = ContainerdRuntime::open(&containerd, options.clone()).await.unwrap();
    assert!(!record.exists() && !Path::new(network.namespace.as_ref().unwrap()).exists());
    for task in [&task, &lost] {
        assert!(!nat_rules().contains(&task.task.to_string()), "{}", nat_rules());
    }
    Host {
        dir,
        containerd,
        options,
        runtime,
    }
    .end()
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_set_up_together_on_two_hosts_get_ports_and_addresses_of_their_own() {
    if !can_run() {
        return;
    }
    let host = host("together").await;
    let mut options = host.options.clone();
    options.agent.push_str("-b");
    options.namespace.push_str("-b");
    options.data_dir = host.dir.path().join("host-b");
    let neighbour = ContainerdRuntime::open(&host.containerd, options).await.unwrap();
    let tasks: Vec<TaskSpec> = (0..4).map(|_| with_port(script(SERVE), 80, None)).collect();
    let on = |runtime: &'static ContainerdRuntime, task: TaskSpec| async move { runtime.set_up_network(&task).await };
    let (ours, theirs): (&'static _, &'static _) = (Box::leak(Box::new(host.runtime)), Box::leak(Box::new(neighbour)));
    let mut setting_up = tokio::task::JoinSet::new();
    for (i, task) in tasks.iter().enumerate() {
        setting_up.spawn(on(if i % 2 == 0 { ours } else { theirs }, task.clone()));
    }
    let networks = setting_up.join_all().await;
    let networks: Vec<_> = networks
        .into_iter()
        .map(|n| n.unwrap_or_else(|e| panic!("{e}")))
        .collect();
    let ports: std::collections::BTreeSet<u16> = networks.iter().map(|n| n.bindings[0].binding.host_port).collect();
    let addresses: std::collections::BTreeSet<_> = networks.iter().map(|n| n.address.unwrap()).collect();
    assert_eq!((ports.len(), addresses.len()), (4, 4), "{networks:?}");
    let rules = nat_rules();
    let jumps = rules
        .lines()
        .filter(|l| l.starts_with("-A PREROUTING") && l.ends_with("-j CNI-HOSTPORT-DNAT"));
    assert_eq!(jumps.count(), 1, "{rules}");
    ours.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
    theirs.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
    for task in &tasks {
        assert!(!nat_rules().contains(&task.task.to_string()), "{}", nat_rules());
    }
    host.containerd.shut_down().await;
}

/// A CNI plugin of this name that does what the script says, before those of the machine.
fn put_plugin(directory: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(directory).unwrap();
    let (path, draft) = (directory.join(name), directory.join(format!("{name}.next")));
    std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(draft, path).unwrap();
}

/// Waits until nobody has the port: a program that another test starts has copies of all sockets for a moment, until it is its own.
async fn wait_until_free(address: Ipv4Addr, port: u16) {
    for _ in 0..200 {
        if TcpListener::bind((address, port)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address}:{port} is not free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_that_cannot_be_set_up_leaves_nothing_and_its_port_is_free() {
    if !can_run() {
        return;
    }
    let address = Ipv4Addr::new(127, 0, 7, 3);
    let host = host_with("unable", |o| o.network.bind_address = address).await;
    let port = {
        let other = TcpListener::bind((address, 0)).unwrap();
        other.local_addr().unwrap().port()
    };
    // What bridges take cannot be found out: the subnet cannot be written down.
    let in_the_way = host.options.data_dir.join("network/subnet");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let task = with_port(script(SERVE), 80, Some(port));
    for _ in 0..2 {
        let error = host.runtime.set_up_network(&task).await.unwrap_err().to_string();
        assert!(error.contains("subnet"), "{error}");
        wait_until_free(address, port).await;
    }
    assert_eq!(host.runtime.networks().await.unwrap(), []);
    host.runtime.tear_down_network(task.task).await.unwrap();
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(run_on(&host.runtime, &task).await, port);
    page(address, port).await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_that_cannot_be_torn_down_now_is_torn_down_later_and_gives_free_what_it_can() {
    if !can_run() {
        return;
    }
    let plugins = tempfile::tempdir().unwrap();
    let host = host_with("later", |o| {
        o.network.plugin_directories = vec![plugins.path().to_owned()];
    })
    .await;
    let task = with_port(script(SERVE), 80, None);
    let namespace = host.set_up(&task).await.namespace.unwrap();
    put_plugin(
        plugins.path(),
        "portmap",
        "echo '{\"code\":7,\"msg\":\"no firewall today\"}'; exit 1",
    );
    put_plugin(
        plugins.path(),
        "bridge",
        "echo '{\"code\":7,\"msg\":\"no bridge today\"}'; exit 1",
    );
    let error = host.runtime.tear_down_network(task.task).await.unwrap_err().to_string();
    assert!(
        error.contains("no firewall today") && error.contains("no bridge today"),
        "everything that went wrong is told: {error}"
    );
    assert!(!namespace.exists(), "the namespace went all the same");
    assert_eq!(host.runtime.networks().await.unwrap(), [task.task], "and is remembered");
    for name in ["portmap", "bridge"] {
        std::fs::remove_file(plugins.path().join(name)).unwrap();
    }
    host.runtime.tear_down_network(task.task).await.unwrap();
    assert_eq!(host.runtime.networks().await.unwrap(), []);
    assert!(!nat_rules().contains(&task.task.to_string()), "{}", nat_rules());
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_in_the_hosts_network_has_files_of_its_own_that_say_what_the_hosts_say() {
    if !can_run() {
        return;
    }
    let host = host("files").await;
    let before = ["/etc/hosts", "/etc/resolv.conf"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let task =
        script("cat /etc/hosts /etc/resolv.conf; echo '6.6.6.6 elsewhere' >> /etc/hosts; echo >> /etc/resolv.conf");
    let (exit, log) = host.run_to_end(&task).await;
    assert_eq!(exit.exit_code, Some(0), "{log}");
    let written: Vec<&str> = before.iter().flat_map(|text| text.lines()).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), written);
    let after = ["/etc/hosts", "/etc/resolv.conf"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    assert_eq!(before, after, "the host's own are untouched");
    host.runtime.tear_down_network(task.task).await.unwrap();
    host.end().await;
}
