//! Images on a real, private containerd: pulled from a real registry on loopback, imported, shared.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_agent::runtime::containerd::ContainerdRuntime;
use berth_agent::runtime::{Runtime, RuntimeError};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use sha2::{Digest, Sha256};
use support::{can_run, host, script, until};

struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    async fn start(dir: &Path) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.join("registry").display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install docker-registry");
        let registry = Self { process, port };
        until("the registry", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .await;
        registry
    }

    async fn push(&self, rootfs: &Path, name: &str) {
        self.push_saying(rootfs, name, "pulled").await;
    }

    /// An image whose container says this.
    async fn push_saying(&self, rootfs: &Path, name: &str, word: &str) {
        let layer = std::fs::read(rootfs).unwrap();
        let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
        let config = serde_json::json!({
            "architecture": oci_spec::image::Arch::default(), "os": "linux",
            "config": { "Entrypoint": ["/bin/echo"], "Cmd": [word] },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let client = oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..Default::default()
        });
        let layer = ImageLayer::new(layer, "application/vnd.oci.image.layer.v1.tar".to_owned(), None);
        let config = Config::oci_v1(config.to_string().into_bytes(), None);
        client
            .push(&name.parse().unwrap(), &[layer], config, &RegistryAuth::Anonymous, None)
            .await
            .unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_in_a_registry_is_pulled_once_and_run_without_it_afterwards() {
    if !can_run() {
        return;
    }
    let host = host("pull").await;
    let registry = Registry::start(host.dir.path()).await;
    let name = format!("127.0.0.1:{}/team/app:v1", registry.port);
    registry.push(&host.dir.path().join("image/rootfs.tar"), &name).await;

    let (first, second) = tokio::join!(host.runtime.ensure_image(&name), host.runtime.ensure_image(&name));
    let ready = first.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ready, second.unwrap());
    assert!(ready.digest.starts_with("sha256:") && ready.name == name, "{ready:?}");

    let missing = format!("127.0.0.1:{}/team/app:v2", registry.port);
    let error = host.runtime.ensure_image(&missing).await.unwrap_err().to_string();
    assert!(
        error.starts_with("CannotPullContainerError: ") && error.contains(&missing),
        "{error}"
    );
    assert!(
        error.to_lowercase().contains("manifest unknown"),
        "the registry's own words: {error}"
    );
    assert!(
        error.ends_with(&format!("`berth image import FILE --name {missing}`")),
        "what to do about it: {error}"
    );

    drop(registry);
    let mut task = script("");
    task.containers[0].image = name;
    task.containers[0].command.clear();
    let (exit, log) = host.run_to_end(&task).await;
    assert_eq!((exit.exit_code, log.as_str()), (Some(0), "pulled\n"));
    let reopened = host.reopen().await;
    assert_eq!(
        reopened.ensure_image(&task.containers[0].image).await.unwrap(),
        ready,
        "no registry is needed"
    );
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_of_a_neighbour_or_a_layout_is_taken_over_and_a_damaged_one_refused() {
    if !can_run() {
        return;
    }
    let host = host("share").await;
    let mut options = host.options.clone();
    options.agent.push_str("-b");
    options.namespace.push_str("-b");
    options.data_dir = host.dir.path().join("host-b");
    let neighbour = ContainerdRuntime::open(&host.containerd, options).await.unwrap();
    let shared = neighbour
        .ensure_image(support::IMAGE)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(shared, host.runtime.ensure_image(support::IMAGE).await.unwrap());

    let layout = host.dir.path().join("layout");
    write_layout(&layout, &host.dir.path().join("image/rootfs.tar"));
    let imported = neighbour
        .images()
        .import(&layout, "from/layout:1")
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        neighbour.ensure_image("from/layout:1").await.unwrap().digest,
        imported.digest
    );

    let layer = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let largest = layer.max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    neighbour.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
    host.runtime.clean_up().await.unwrap_or_else(|e| panic!("{e}"));
    let again = host.reopen().await;
    let error = again.images().import(&layout, "from/layout:2").await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    let error = again
        .images()
        .import(Path::new("/nonexistent"), "x")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent") && error.contains("rootfs.tar"),
        "{error}"
    );

    let mut task = script("");
    task.containers[0].image = "Not A Name".to_owned();
    let error = again.ensure_image(&task.containers[0].image).await.unwrap_err();
    assert!(matches!(error, RuntimeError::CannotPullContainer(_)), "{error}");
    host.end().await;
}

/// An OCI image layout of one layer.
fn write_layout(directory: &Path, rootfs: &Path) {
    std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = hex::encode(Sha256::digest(bytes));
        std::fs::write(directory.join("blobs/sha256").join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let layer = put(&std::fs::read(rootfs).unwrap());
    let config = serde_json::json!({
        "architecture": oci_spec::image::Arch::default(), "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.0] },
    });
    let config = put(config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.0, "size": layer.1 }],
    });
    let manifest = put(manifest.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest.0, "size": manifest.1 }],
    });
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

async fn said(host: &support::Host, image: &str) -> String {
    host.runtime.ensure_image(image).await.unwrap_or_else(|e| panic!("{e}"));
    let mut task = script("");
    task.containers[0].image = image.to_owned();
    task.containers[0].command.clear();
    host.run_to_end(&task).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tag_that_is_pushed_again_is_pulled_again_and_the_copy_serves_without_the_registry() {
    if !can_run() {
        return;
    }
    let host = host("again").await;
    let registry = Registry::start(host.dir.path()).await;
    let name = format!("127.0.0.1:{}/team/app:latest", registry.port);
    let rootfs = host.dir.path().join("image/rootfs.tar");
    for word in ["first", "second"] {
        registry.push_saying(&rootfs, &name, word).await;
        assert_eq!(said(&host, &name).await, format!("{word}\n"));
    }
    drop(registry);
    assert_eq!(said(&host, &name).await, "second\n");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_that_is_imported_again_is_taken_up_and_wins_over_a_registry() {
    if !can_run() {
        return;
    }
    let host = host("import").await;
    let registry = Registry::start(host.dir.path()).await;
    let name = format!("127.0.0.1:{}/team/app:latest", registry.port);
    let rootfs = host.dir.path().join("image/rootfs.tar");
    registry.push_saying(&rootfs, &name, "pulled").await;
    assert_eq!(said(&host, &name).await, "pulled\n");
    // As `berth image import` does: for all hosts of the machine.
    let shared = host.containerd.client(berth_agent::image::SHARED_NAMESPACE).unwrap();
    shared.ensure_namespace().await.unwrap();
    let shared = berth_agent::image::ImageStore::new(shared, host.runtime.snapshotter(), Default::default());
    for word in ["one", "two"] {
        let config = format!(r#"{{"Cmd":["/bin/echo","{word}"]}}"#);
        std::fs::write(host.dir.path().join("image/config.json"), config).unwrap();
        shared.import(&host.dir.path().join("image"), &name).await.unwrap();
        assert_eq!(said(&host, &name).await, format!("{word}\n"));
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_that_no_container_uses_is_removed_after_a_while_unless_it_was_imported() {
    if !can_run() {
        return;
    }
    let host = host("unused").await;
    let registry = Registry::start(host.dir.path()).await;
    let name = format!("127.0.0.1:{}/team/app:latest", registry.port);
    registry.push(&host.dir.path().join("image/rootfs.tar"), &name).await;
    host.runtime.ensure_image(&name).await.unwrap_or_else(|e| panic!("{e}"));
    let mut task = script("");
    task.containers[0].image.clone_from(&name);
    let (key, _) = host.run(&task).await;
    let remove = async |age| {
        host.runtime
            .remove_unused_images(age)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    };
    assert_eq!(remove(Duration::ZERO).await, Vec::<String>::new(), "a container has it");
    host.runtime.delete_container(&key).await.unwrap();
    assert_eq!(
        remove(Duration::from_secs(3600)).await,
        Vec::<String>::new(),
        "it was used a moment ago"
    );
    assert_eq!(remove(Duration::ZERO).await, *std::slice::from_ref(&name));
    drop(registry);
    assert!(host.runtime.ensure_image(&name).await.is_err(), "it is gone");
    host.runtime
        .ensure_image(support::IMAGE)
        .await
        .expect("what was imported stays");
    host.end().await;
}
