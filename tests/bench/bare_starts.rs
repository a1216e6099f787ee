//! The floor that Berth's starts are measured against: a bare loop over containerd that starts N copies of a container that runs, with its
//! very specification, at most C at a time, and nothing else. Prints the seconds from the first call until all run, then removes them.
//! `bare-starts SOCKET NAMESPACE CONTAINER COUNT CONCURRENCY`
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest};
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest,
    GetContainerRequest, KillRequest, StartRequest, WaitRequest,
};
use containerd_client::{Client, tonic, with_namespace};
use prost_types::Any;
use serde_json::Value;
use tokio::sync::Semaphore;
use tonic::Request;

struct Bare {
    client: Client,
    namespace: String,
    /// What is copied.
    original: Container,
    /// Its specification.
    spec: Value,
    /// The snapshot that its own is made from.
    parent: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, namespace, original, count, concurrency] = arguments.as_slice() else {
        bail!("usage: bare-starts SOCKET NAMESPACE CONTAINER COUNT CONCURRENCY");
    };
    let bare = Arc::new(Bare::like(socket, namespace, original).await?);
    let (count, permits) = (count.parse::<u32>()?, Arc::new(Semaphore::new(concurrency.parse()?)));
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
    async fn like(socket: &str, namespace: &str, id: &str) -> anyhow::Result<Self> {
        let client = Client::from_path(socket)
            .await
            .with_context(|| format!("cannot reach containerd at {socket}"))?;
        let get = GetContainerRequest { id: id.to_owned() };
        let answer = client.containers().get(with_namespace!(get, namespace)).await?;
        let original = answer.into_inner().container.context("containerd shows no container")?;
        let stat = StatSnapshotRequest {
            snapshotter: original.snapshotter.clone(),
            key: original.snapshot_key.clone(),
        };
        let answer = client.snapshots().stat(with_namespace!(stat, namespace)).await?;
        let parent = answer.into_inner().info.context("containerd shows no snapshot")?.parent;
        let spec = original.spec.as_ref().context("the container has no specification")?;
        Ok(Self {
            spec: serde_json::from_slice(&spec.value)?,
            namespace: namespace.to_owned(),
            client,
            original,
            parent,
        })
    }

    async fn start(&self, id: &str) -> anyhow::Result<()> {
        let prepare = PrepareSnapshotRequest {
            snapshotter: self.original.snapshotter.clone(),
            key: id.into(),
            parent: self.parent.clone(),
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
            spec: Some(self.spec_of(id)?),
            snapshot_key: id.into(),
            labels: HashMap::new(),
            ..self.original.clone()
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

    /// The original's, with a control group of its own.
    fn spec_of(&self, id: &str) -> anyhow::Result<Any> {
        let mut spec = self.spec.clone();
        let group = spec
            .pointer_mut("/linux/cgroupsPath")
            .context("the original has no control group")?;
        *group = format!("/berth-bare/{id}").into();
        Ok(Any {
            type_url: self.original.spec.clone().unwrap_or_default().type_url,
            value: serde_json::to_vec(&spec)?,
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
            snapshotter: self.original.snapshotter.clone(),
            key: id.into(),
        };
        self.client
            .snapshots()
            .remove(with_namespace!(remove, self.namespace))
            .await?;
        Ok(())
    }
}
