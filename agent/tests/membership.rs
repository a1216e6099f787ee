//! A host that joins a cluster which the test plays over TLS, and stays part of it until it is removed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use berth_agent::runtime::{Runtime as _, SimulatedRuntime};
use berth_agent::{Agent, AgentConfig, AgentError, MembershipConfig};
use berth_core::model::{TaskId, TaskStatus};
use berth_proto::v1::{self, RefusalCode, to_agent};
use berth_trust::UnixTime;
use berth_trust::ca::Authority;
use berth_trust::identity::Role;
use cluster::{Cluster, seconds_ago};
use common::{ARN, Controller, ControllerSession, PATIENCE, SETTINGS, TestAgent, config, task, to_run};
use tokio_util::sync::CancellationToken;

/// An agent in a folder, started with this token and these controllers.
fn member(folder: &Path, token: Option<&str>, peers: &[&Controller]) -> AgentConfig {
    AgentConfig {
        data_dir: Some(folder.join("ledger")),
        controllers: peers.iter().map(|peer| peer.endpoint.clone()).collect(),
        membership: Some(MembershipConfig {
            folder: folder.join("identity"),
            token: token.map(str::to_owned),
        }),
        ..config("")
    }
}

/// Has a host join with a new token, and stop again. Its id.
async fn join_and_stop(cluster: &Cluster, controller: &mut Controller, folder: &Path) -> String {
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let config = member(folder, Some(&token), &[controller]);
    let agent = TestAgent::start(config, &SimulatedRuntime::new()).await;
    let id = controller.registered().await.register.agent_id.clone();
    agent.stop().await;
    id
}

async fn refused(config: AgentConfig) -> String {
    let runtime = std::sync::Arc::new(SimulatedRuntime::new());
    let started = Agent::start(config, runtime.clone(), runtime, CancellationToken::new()).await;
    started.expect_err("the agent does not start").to_string()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("in time: {what}"));
}

fn identity(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("identity/identity.pem")).unwrap()
}

/// Tells the agent that there are news, as the answers to its heartbeats do.
async fn speak_of_news(session: &ControllerSession, news_version: u64) {
    let settings = v1::HostSettings {
        news_version,
        ..SETTINGS
    };
    session.send(to_agent::Message::HostSettings(settings)).await;
}

#[tokio::test]
async fn host_joins_with_a_token_once_and_is_the_same_after_a_restart() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let agent = TestAgent::start(
        member(folder.path(), Some(&token), &[&controller]),
        &SimulatedRuntime::new(),
    )
    .await;
    let session = controller.registered().await;
    let id = session.register.agent_id.clone();
    assert!(cluster.with(|office| office.joined == [id.as_str()]));
    agent.stop().await;
    for (file, mode) in [("identity", 0o700), ("identity/identity.pem", 0o600)] {
        let found = std::fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
    // Units keep their flags: the token is still there, and used up.
    for token in [Some(token.as_str()), None] {
        let agent = TestAgent::start(member(folder.path(), token, &[&controller]), &SimulatedRuntime::new()).await;
        assert_eq!(controller.registered().await.register.agent_id, id);
        agent.stop().await;
    }
    assert_eq!(cluster.with(|office| office.joined.len()), 1);

    let plain = AgentConfig {
        controllers: vec!["http://127.0.0.1:7481".to_owned()],
        ..member(folder.path(), None, &[])
    };
    let message = refused(plain).await;
    assert!(message.contains("start it with --peer HOST:PORT"), "{message}");
}

#[tokio::test]
async fn token_that_is_no_good_is_refused_with_the_reason() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let controller = cluster.controller().await;
    let foreign = Cluster::new("home").token(Role::Agent, Duration::ZERO);
    let used = cluster.token(Role::Agent, Duration::ZERO);
    let other = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(
        member(other.path(), Some(&used), &[&controller]),
        &SimulatedRuntime::new(),
    )
    .await;
    agent.stop().await;
    let expired = cluster.token(Role::Agent, Duration::from_secs(120));
    let for_a_controller = cluster.token(Role::Controller, Duration::ZERO);
    for (token, why) in [
        (used.as_str(), "is used up: make a new one"),
        (&expired, "expired at"),
        (&for_a_controller, "this join token is for the role controller"),
        (&foreign, "the server does not show authority"),
        ("berth-join.v1", "does not have six parts"),
    ] {
        let message = refused(member(folder.path(), Some(token), &[&controller])).await;
        let message = format!("{message}: {}", causes(token, folder.path(), &controller).await);
        assert!(message.contains(why), "{message}");
    }
    assert!(!folder.path().join("identity").exists());
}

/// What stands behind the refusal of a token.
async fn causes(token: &str, folder: &Path, controller: &Controller) -> String {
    let runtime = std::sync::Arc::new(SimulatedRuntime::new());
    let config = member(folder, Some(token), &[controller]);
    let started = Agent::start(config, runtime.clone(), runtime, CancellationToken::new()).await;
    let error = started.expect_err("the agent does not start");
    let first: &dyn std::error::Error = &error;
    let chain = std::iter::successors(Some(first), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn plain_text_goes_to_this_machine_alone() {
    let mut elsewhere = config("http://10.0.0.1:7481");
    let message = refused(elsewhere.clone()).await;
    assert!(message.contains("over TLS alone"), "{message}");
    elsewhere.controllers = vec!["https://127.0.0.1:7481".to_owned()];
    assert!(refused(elsewhere).await.contains("expected one like http://127.0.0.1"));
}

#[tokio::test]
async fn certificate_is_renewed_when_it_is_time() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    // Certificates live for an hour here.
    cluster.0.lock().unwrap().made_ago = Duration::from_secs(50 * 60);
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let agent = TestAgent::start(
        member(folder.path(), Some(&token), &[&controller]),
        &SimulatedRuntime::new(),
    )
    .await;
    let _session = controller.registered().await;
    // The agent reports whom it trusts once it has kept its new certificate.
    until("a renewal", || {
        cluster.with(|office| office.renewed > 0 && !office.reports.is_empty())
    })
    .await;
    agent.stop().await;
    let before = identity(folder.path());
    let agent = TestAgent::start(member(folder.path(), None, &[&controller]), &SimulatedRuntime::new()).await;
    let _session = controller.registered().await;
    agent.stop().await;
    assert_eq!(identity(folder.path()), before, "what was renewed was kept");
    assert_eq!(cluster.with(|office| office.renewed), 1);
}

#[tokio::test]
async fn rotation_of_the_authority_is_followed_without_a_new_session() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let agent = TestAgent::start(
        member(folder.path(), Some(&token), &[&controller]),
        &SimulatedRuntime::new(),
    )
    .await;
    let mut session = controller.registered().await;
    let next = Authority::create(&"home".parse().unwrap(), seconds_ago(Duration::from_secs(60))).unwrap();
    cluster.rotate(|authorities| authorities.introduce(&next, UnixTime::now()).unwrap());
    speak_of_news(&session, 2).await;
    until("a report that both are trusted", || {
        cluster.with(|office| office.reports.last() == Some(&2))
    })
    .await;
    cluster.rotate(|authorities| authorities.switch(0).unwrap());
    speak_of_news(&session, 3).await;
    until("a certificate of the new authority", || {
        cluster.with(|office| office.renewed) == 1
    })
    .await;
    cluster.rotate(|authorities| authorities.retire(0).unwrap());
    speak_of_news(&session, 4).await;
    until("a report that one is trusted", || {
        cluster.with(|office| office.reports.last() == Some(&1))
    })
    .await;
    session.assign(101, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    agent.stop().await;
}

#[tokio::test]
async fn host_removed_stops_its_tasks_and_ends_and_joins_again_with_a_new_token() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let runtime = SimulatedRuntime::new();
    let agent = TestAgent::start(member(folder.path(), Some(&token), &[&controller]), &runtime).await;
    let mut session = controller.registered().await;
    let id = session.register.agent_id.clone();
    session.assign(101, true, vec![to_run(&task(1, &[]))]).await;
    session.until(TaskId(1), TaskStatus::Running).await;
    cluster.remove(&id);
    let ended = tokio::time::timeout(PATIENCE, agent.handle.join())
        .await
        .expect("in time");
    let error = ended.expect_err("it was removed");
    assert!(matches!(error, AgentError::Removed(_)), "{error}");
    assert!(error.to_string().contains("it was removed from the cluster"), "{error}");
    assert!(runtime.list().await.unwrap().is_empty(), "its task is stopped");

    let new = cluster.token(Role::Agent, Duration::ZERO);
    let agent = TestAgent::start(member(folder.path(), Some(&new), &[&controller]), &runtime).await;
    let session = loop {
        let session = controller.session().await;
        if session.register.agent_id != id {
            break session;
        }
    };
    session.accept(ARN, 1, 200).await;
    agent.stop().await;
}

#[tokio::test]
async fn controllers_that_the_cluster_tells_of_are_gone_to_and_remembered() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controllers = [cluster.controller().await, cluster.controller().await];
    // Those that are told of are gone to in the order of their addresses.
    controllers.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    let [mut first, mut second] = controllers;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    cluster.0.lock().unwrap().controllers = vec![first.endpoint.clone(), second.endpoint.clone()];
    let agent = TestAgent::start(member(folder.path(), Some(&token), &[&first]), &SimulatedRuntime::new()).await;
    let session = first.session().await;
    let refusal = v1::Refused {
        code: RefusalCode::NotLeader.into(),
        message: "another controller leads".to_owned(),
        retry_after_ms: 60_000,
        leader_endpoint: second.endpoint.clone(),
    };
    session.send(to_agent::Message::Refused(refusal)).await;
    // At once, whatever the controller said of trying again.
    drop(second.registered().await);
    agent.stop().await;
    // The first one is gone for good, and nobody names the second.
    drop(first);
    let agent = TestAgent::start(member(folder.path(), None, &[]), &SimulatedRuntime::new()).await;
    let _session = second.registered().await;
    agent.stop().await;
}

#[tokio::test]
async fn host_that_stopped_before_it_had_its_answer_joins_with_the_same_token_when_it_starts_again() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    cluster.0.lock().unwrap().loses_answers = true;
    let runtime = std::sync::Arc::new(SimulatedRuntime::new());
    let config = member(folder.path(), Some(&token), &[&controller]);
    tokio::select! {
        _ = Agent::start(config, runtime.clone(), runtime, CancellationToken::new()) => panic!("it has no answer"),
        () = until("it was let in", || cluster.with(|office| !office.joined.is_empty())) => {}
    }
    cluster.0.lock().unwrap().loses_answers = false;
    let config = member(folder.path(), Some(&token), &[&controller]);
    let agent = TestAgent::start(config, &SimulatedRuntime::new()).await;
    let id = controller.registered().await.register.agent_id.clone();
    assert!(
        cluster.with(|office| office.joined.iter().all(|joined| *joined == id)),
        "it is one host"
    );
    assert!(!folder.path().join("identity/joining.pem").exists());
    agent.stop().await;
}

#[tokio::test]
async fn host_joins_although_somebody_else_answers_at_one_of_the_addresses() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let stranger = Cluster::new("elsewhere").controller().await;
    let token = cluster.token(Role::Agent, Duration::ZERO);
    let config = member(folder.path(), Some(&token), &[&stranger, &controller]);
    let agent = TestAgent::start(config, &SimulatedRuntime::new()).await;
    drop(controller.registered().await);
    agent.stop().await;
}

#[tokio::test]
async fn host_whose_old_id_was_removed_joins_under_another_one() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let id = join_and_stop(&cluster, &mut controller, folder.path()).await;
    cluster.remove(&id);
    // The ledger knows the id still.
    std::fs::remove_dir_all(folder.path().join("identity")).unwrap();
    assert_ne!(join_and_stop(&cluster, &mut controller, folder.path()).await, id);
}

#[tokio::test]
async fn host_whose_clock_is_behind_its_certificate_is_told_so_and_may_try_again() {
    let (cluster, folder) = (Cluster::new("home"), tempfile::tempdir().unwrap());
    let mut controller = cluster.controller().await;
    let id = join_and_stop(&cluster, &mut controller, folder.path()).await;
    let day = Duration::from_secs(86_400);
    let tomorrow = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + day);
    let credentials = cluster.with(|office| office.credentials_from(&format!("agent/{id}"), tomorrow));
    let keeper = berth_trust::keeper::Keeper::new(&folder.path().join("identity"));
    keeper.keep_credentials(&credentials).unwrap();
    let runtime = std::sync::Arc::new(SimulatedRuntime::new());
    let config = member(folder.path(), None, &[&controller]);
    let started = Agent::start(config, runtime.clone(), runtime, CancellationToken::new()).await;
    match started.expect_err("not now") {
        AgentError::Membership(error) => {
            assert!(!error.is_final(), "{error}");
            assert!(error.to_string().contains("check the clocks"), "{error}");
        }
        error => panic!("{error}"),
    }
}
