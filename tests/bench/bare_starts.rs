//! The floor that Berth's starts are measured against: a bare loop over containerd that starts N containers with the
//! host's network, at most C at a time, and nothing else. Prints the seconds from the first call until all run, then
//! removes them. `bare-starts SOCKET NAMESPACE IMAGE COUNT CONCURRENCY COMMAND...`
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, GetImageRequest,
    KillRequest, ReadContentRequest, StartRequest, WaitRequest,
};
use containerd_client::{Client, tonic, with_namespace};
use prost_types::Any;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tonic::Request;

const SNAPSHOTTER: &str = "overlayfs";
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

struct Bare {
    client: Client,
    namespace: String,
    image: String,
    chain: String,
    arguments: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, namespace, image, count, concurrency, command @ ..] = arguments.as_slice() else {
        bail!("usage: bare-starts SOCKET NAMESPACE IMAGE COUNT CONCURRENCY COMMAND...");
    };
    let client = Client::from_path(socket)
        .await
        .with_context(|| format!("cannot reach containerd at {socket}"))?;
    let mut bare = Bare {
        client,
        namespace: namespace.clone(),
        image: image.clone(),
        chain: String::new(),
        arguments: command.to_vec(),
    };
    bare.read_image().await?;
    let (bare, count, permits) = (
        Arc::new(bare),
        count.parse::<u32>()?,
        Arc::new(Semaphore::new(concurrency.parse()?)),
    );
    let began = Instant::now();
    each(&bare, count, &permits, |bare, id| async move { bare.start(&id).await }).await?;
    println!("{:.3}", began.elapsed().as_secs_f64());
    each(&bare, count, &permits, |bare, id| async move { bare.remove(&id).await }).await
}

async fn each<F>(
    bare: &Arc<Bare>,
    count: u32,
    permits: &Arc<Semaphore>,
    work: impl Fn(Arc<Bare>, String) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut all = tokio::task::JoinSet::new();
    for number in 0..count {
        let (permits, one) = (
            permits.clone(),
            work(bare.clone(), format!("bare-{}-{number}", std::process::id())),
        );
        all.spawn(async move {
            let _permit = permits.acquire().await?;
            one.await
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

impl Bare {
    async fn content(&self, digest: &str) -> anyhow::Result<Value> {
        let request = ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        };
        let mut stream = self
            .client
            .content()
            .read(with_namespace!(request, self.namespace))
            .await?
            .into_inner();
        let mut bytes = vec![];
        while let Some(part) = stream.message().await? {
            bytes.extend(part.data);
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn read_image(&mut self) -> anyhow::Result<()> {
        let request = GetImageRequest {
            name: self.image.clone(),
        };
        let image = self
            .client
            .images()
            .get(with_namespace!(request, self.namespace))
            .await?
            .into_inner()
            .image;
        let target = image.and_then(|i| i.target).context("the image has no target")?;
        let manifest = self.content(&target.digest).await?;
        let config = self
            .content(manifest["config"]["digest"].as_str().context("no config digest")?)
            .await?;
        let layers = config["rootfs"]["diff_ids"].as_array().context("no layers")?;
        for layer in layers.iter().filter_map(Value::as_str) {
            self.chain = match self.chain.as_str() {
                "" => layer.to_owned(),
                parent => format!("sha256:{}", hex::encode(Sha256::digest(format!("{parent} {layer}")))),
            };
        }
        Ok(())
    }

    async fn start(&self, id: &str) -> anyhow::Result<()> {
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.into(),
            parent: self.chain.clone(),
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "now".to_owned())]),
        };
        let mounts = self
            .client
            .snapshots()
            .prepare(with_namespace!(prepare, self.namespace))
            .await?
            .into_inner()
            .mounts;
        let container = Container {
            id: id.into(),
            image: self.image.clone(),
            runtime: Some(Runtime {
                name: "io.containerd.runc.v2".into(),
                options: None,
            }),
            spec: Some(Any {
                type_url: SPEC_TYPE.into(),
                value: serde_json::to_vec(&self.spec(id))?,
            }),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: id.into(),
            ..Default::default()
        };
        let create = CreateContainerRequest {
            container: Some(container),
        };
        self.client
            .containers()
            .create(with_namespace!(create, self.namespace))
            .await?;
        let create = CreateTaskRequest {
            container_id: id.into(),
            rootfs: mounts,
            ..Default::default()
        };
        self.client
            .tasks()
            .create(with_namespace!(create, self.namespace))
            .await?;
        let start = StartRequest {
            container_id: id.into(),
            exec_id: String::new(),
        };
        self.client
            .tasks()
            .start(with_namespace!(start, self.namespace))
            .await?;
        Ok(())
    }

    fn spec(&self, id: &str) -> Value {
        let capabilities = json!([
            "CAP_CHOWN",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_NET_BIND_SERVICE",
            "CAP_KILL"
        ]);
        let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
        json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": self.arguments, "env": ["PATH=/bin:/usr/bin"], "cwd": "/",
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}},
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            ],
            "linux": {
                "cgroupsPath": format!("/berth-bare/{id}"),
                "resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 64 << 20}},
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            },
        })
    }

    async fn remove(&self, id: &str) -> anyhow::Result<()> {
        let kill = KillRequest {
            container_id: id.into(),
            signal: 9,
            ..Default::default()
        };
        self.client.tasks().kill(with_namespace!(kill, self.namespace)).await?;
        let wait = WaitRequest {
            container_id: id.into(),
            exec_id: String::new(),
        };
        self.client.tasks().wait(with_namespace!(wait, self.namespace)).await?;
        let delete = DeleteTaskRequest {
            container_id: id.into(),
        };
        self.client
            .tasks()
            .delete(with_namespace!(delete, self.namespace))
            .await?;
        let delete = DeleteContainerRequest { id: id.into() };
        self.client
            .containers()
            .delete(with_namespace!(delete, self.namespace))
            .await?;
        let remove = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.into(),
        };
        self.client
            .snapshots()
            .remove(with_namespace!(remove, self.namespace))
            .await?;
        Ok(())
    }
}
