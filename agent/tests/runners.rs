//! A runtime that panics or gives no answer: what that does to the task whose order it was, and to the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_agent::runtime::{
    ContainerExit, ContainerKey, CreateContainer, FoundContainer, ProbeResult, ReadyImage, Runtime, RuntimeError,
    SimulatedRuntime, StartedContainer, TaskNetwork,
};
use berth_core::model::{Attributes, ContainerStatus, StopCode, TaskId, TaskSpec, TaskStatus, TransportProtocol};
use common::{Controller, TestAgent, config, task, to_run, to_stop};

/// The task at whose orders the runtime panics.
const UNLUCKY: TaskId = TaskId(1);

/// Pretended containers, and so many panics of the methods that start a container and wait for it.
struct Panicking {
    inner: SimulatedRuntime,
    at_start: AtomicU32,
    at_wait: AtomicU32,
    pulls_hang: bool,
}

impl Panicking {
    fn new(inner: &SimulatedRuntime, at_start: u32, at_wait: u32) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            at_start: at_start.into(),
            at_wait: at_wait.into(),
            pulls_hang: false,
        })
    }
}

fn perhaps_panic(left: &AtomicU32, key: &ContainerKey) {
    let one_less = |left: u32| left.checked_sub(1);
    if key.task == UNLUCKY && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
        panic!("a planted defect");
    }
}

#[async_trait]
impl Runtime for Panicking {
    fn offered(&self) -> Attributes {
        self.inner.offered()
    }

    async fn ensure_image(&self, image: &str) -> Result<ReadyImage, RuntimeError> {
        if self.pulls_hang {
            std::future::pending::<()>().await;
        }
        self.inner.ensure_image(image).await
    }
    async fn set_up_network(&self, task: &TaskSpec) -> Result<TaskNetwork, RuntimeError> {
        self.inner.set_up_network(task).await
    }
    async fn is_port_free(&self, protocol: TransportProtocol, port: u16) -> bool {
        self.inner.is_port_free(protocol, port).await
    }
    async fn create_container(&self, request: CreateContainer<'_>) -> Result<(), RuntimeError> {
        self.inner.create_container(request).await
    }
    async fn start_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        perhaps_panic(&self.at_start, key);
        self.inner.start_container(key).await
    }
    async fn restart_container(&self, key: &ContainerKey) -> Result<StartedContainer, RuntimeError> {
        self.inner.restart_container(key).await
    }
    async fn wait_container(&self, key: &ContainerKey) -> Result<ContainerExit, RuntimeError> {
        perhaps_panic(&self.at_wait, key);
        self.inner.wait_container(key).await
    }
    async fn probe_container(
        &self,
        key: &ContainerKey,
        arguments: &[String],
        within: Duration,
    ) -> Result<ProbeResult, RuntimeError> {
        self.inner.probe_container(key, arguments, within).await
    }
    async fn stop_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.inner.stop_container(key).await
    }
    async fn kill_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.inner.kill_container(key).await
    }
    async fn delete_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.inner.delete_container(key).await
    }
    async fn tear_down_network(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.inner.tear_down_network(task).await
    }
    async fn networks(&self) -> Result<Vec<TaskId>, RuntimeError> {
        self.inner.networks().await
    }
    async fn list(&self) -> Result<Vec<FoundContainer>, RuntimeError> {
        self.inner.list().await
    }
    async fn forget_logs(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.inner.forget_logs(task).await
    }
    fn log_directory(&self, key: &ContainerKey) -> Option<PathBuf> {
        self.inner.log_directory(key)
    }
}

#[tokio::test]
async fn task_whose_runner_panics_is_taken_up_again_with_the_containers_that_it_has() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let panicking = Panicking::new(&runtime, 0, 2);
    let agent = TestAgent::start_on(
        config(&controller.endpoint),
        panicking.clone(),
        Arc::new(runtime.clone()),
    )
    .await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(UNLUCKY.0, &[]))]).await;
    session.until(UNLUCKY, TaskStatus::Running).await;
    while panicking.at_wait.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    runtime.end(&ContainerKey::new(UNLUCKY, "main"), 7).unwrap();
    let stopped = session.until(UNLUCKY, TaskStatus::Stopped).await;
    assert_eq!(
        stopped.containers[0].exit_code,
        Some(7),
        "the container was watched to its end"
    );
    agent.stop().await;
}

#[tokio::test]
async fn task_whose_runner_panics_every_time_is_stopped_with_the_reason_and_harms_no_other() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let panicking = Panicking::new(&runtime, u32::MAX, 0);
    let agent = TestAgent::start_on(config(&controller.endpoint), panicking, Arc::new(runtime.clone())).await;
    let mut session = controller.registered().await;
    let other = task(2, &[]);
    session
        .assign(2, true, vec![to_run(&task(UNLUCKY.0, &[])), to_run(&other)])
        .await;
    let stopped = session.until(UNLUCKY, TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::TaskFailedToStart));
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.starts_with(&format!(
            "Task failed to start: the agent failed 3 times at task {UNLUCKY}"
        )) && reason.contains("a planted defect"),
        "{reason}"
    );
    assert_eq!(stopped.containers[0].status, ContainerStatus::Stopped);
    let left = runtime.list().await.unwrap();
    assert!(left.iter().all(|found| found.key.task == other.task), "{left:?}");

    // The agent forgets the one like any task that is over, and does with the other as it is told.
    session.assign(3, true, vec![to_stop(&other)]).await;
    session.until(other.task, TaskStatus::Stopped).await;
    drop(session);
    let session = controller.registered().await;
    let known: Vec<TaskId> = session.registered_reports().iter().map(|report| report.task).collect();
    assert_eq!(known, [other.task]);
    agent.stop().await;
}

#[tokio::test]
async fn task_that_ran_before_its_runner_panicked_every_time_is_stopped_as_one_whose_end_is_not_known() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let panicking = Panicking::new(&runtime, 0, u32::MAX);
    let agent = TestAgent::start_on(config(&controller.endpoint), panicking, Arc::new(runtime.clone())).await;
    let mut session = controller.registered().await;
    session.assign(2, true, vec![to_run(&task(UNLUCKY.0, &[]))]).await;
    let stopped = session.until(UNLUCKY, TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::EssentialContainerExited));
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.contains("exit code unknown: the agent failed 3 times"),
        "{reason}"
    );
    assert!(runtime.list().await.unwrap().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn task_whose_runner_panics_while_it_is_to_stop_stops() {
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let panicking = Panicking::new(&runtime, 1, 0);
    let agent = TestAgent::start_on(config(&controller.endpoint), panicking, Arc::new(runtime.clone())).await;
    let mut session = controller.registered().await;
    let spec = task(UNLUCKY.0, &[]);
    session.assign(2, true, vec![to_run(&spec)]).await;
    session.assign(3, false, vec![to_stop(&spec)]).await;
    let stopped = session.until(UNLUCKY, TaskStatus::Stopped).await;
    assert_eq!(stopped.stopped_reason, None, "the controllers' own reason stands");
    assert!(runtime.list().await.unwrap().is_empty());
    agent.stop().await;
}

/// Takes what is logged as a warning or an error.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Complaints {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn task_stopped_while_it_pulls_stops_at_once_and_without_complaint() {
    let complaints = Complaints::default();
    // For this thread, which is all that this test runs on.
    let _guard = tracing::subscriber::set_default(complaints.clone());
    let mut controller = Controller::start().await;
    let runtime = SimulatedRuntime::new();
    let hanging = Arc::new(Panicking {
        inner: runtime.clone(),
        at_start: 0.into(),
        at_wait: 0.into(),
        pulls_hang: true,
    });
    let agent = TestAgent::start_on(config(&controller.endpoint), hanging, Arc::new(runtime)).await;
    let mut session = controller.registered().await;
    let spec = task(UNLUCKY.0, &[]);
    session.assign(2, true, vec![to_run(&spec)]).await;
    session.until(UNLUCKY, TaskStatus::Pending).await;
    session.assign(3, false, vec![to_stop(&spec)]).await;
    session.until(UNLUCKY, TaskStatus::Stopped).await;
    // What the runner makes of the pull that was cancelled comes right after; another task's report is later still.
    session.assign(4, false, vec![to_stop(&task(2, &[]))]).await;
    session.until(TaskId(2), TaskStatus::Stopped).await;
    assert_eq!(*complaints.0.lock().unwrap(), Vec::<String>::new());
    agent.stop().await;
}
