//! A cluster whose controllers were all off for longer than their certificates live.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use berth_controller::api::RootCredentials;
use berth_controller::node::{ApiTls, ClusterOptions, ClusterStart, Controller, ControllerOptions};
use berth_trust::UnixTime;
use berth_trust::ca::{Grant, MIN_LIFETIME};
use berth_trust::credentials::Credentials;
use berth_trust::identity::Role;
use berth_trust::keeper::Keeper;
use berth_trust::request::{HolderKey, SigningRequest};
use berth_trust::rotation::Authorities;
use berth_trust::token::TokenTerms;

const PATIENCE: Duration = Duration::from_secs(90);

fn options(data_dir: &Path, listen: SocketAddr, start: ClusterStart) -> ControllerOptions {
    ControllerOptions {
        data_dir: data_dir.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        agent_listen: None,
        cluster: Some(ClusterOptions {
            listen,
            advertise: None,
            name: "one".to_owned(),
            start,
        }),
        root: None,
        api_tls: ApiTls::Plain,
        testing: false,
        wake_command: None,
        backups: None,
    }
}

async fn authorities(controller: &Controller) -> Authorities {
    let read = controller
        .registrar()
        .rotate(|now, _, _| Ok((now.clone(), now.clone())));
    read.await.unwrap()
}

fn not_after(folder: &Path) -> u64 {
    let kept = Keeper::new(&folder.join("identity")).load().unwrap().unwrap();
    kept.credentials.not_after().as_secs()
}

/// Puts a certificate into the folder that ended an hour ago.
fn expire(folder: &Path, authorities: &Authorities) {
    let keeper = Keeper::new(&folder.join("identity"));
    let kept = keeper.load().unwrap().unwrap();
    let key = HolderKey::draw().unwrap();
    let request = SigningRequest::from_der(&key.request().unwrap()).unwrap();
    let grant = Grant {
        identity: kept.credentials.identity().clone(),
        names: vec![],
    };
    let began = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) - 2 * MIN_LIFETIME);
    let signer = authorities.signer().unwrap();
    let chain = signer.issue(&request, &grant, began, MIN_LIFETIME).unwrap();
    keeper.keep_credentials(&Credentials::new(key, chain).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_whose_certificates_have_all_expired_come_back_together() {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let root = Some(RootCredentials {
        account: "123456789012".into(),
        access_key_id: "AKIAEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
    });
    let bootstrap = ClusterStart::Bootstrap { root };
    let first = Controller::start(options(folders[0].path(), anywhere, bootstrap))
        .await
        .unwrap();
    let authorities = authorities(&first).await;
    let peer = first.cluster_listen().unwrap().to_string();
    let mut members = vec![first];
    for folder in &folders[1..] {
        let terms = TokenTerms {
            role: Role::Controller,
            lifetime: Duration::from_secs(600),
            uses: 1,
            created_by: "a test".to_owned(),
        };
        let token = members[0]
            .registrar()
            .create_token(terms)
            .await
            .unwrap()
            .token
            .to_secret_text();
        let join = ClusterStart::Join {
            token,
            peer: peer.clone(),
        };
        let joined = Controller::start(options(folder.path(), anywhere, join)).await;
        members.push(joined.unwrap());
    }
    let addresses: Vec<SocketAddr> = members.iter().map(|member| member.cluster_listen().unwrap()).collect();
    for member in members {
        member.stop().await;
    }
    for folder in &folders {
        expire(folder.path(), &authorities);
    }
    let start = |number: usize| {
        let options = options(folders[number].path(), addresses[number], ClusterStart::Resume);
        Controller::start(options)
    };
    let started = async { tokio::join!(start(0), start(1), start(2)) };
    let (one, two, three) = tokio::time::timeout(PATIENCE, started)
        .await
        .expect("they find each other again");
    let members = [one.unwrap(), two.unwrap(), three.unwrap()];
    for folder in &folders {
        assert!(
            not_after(folder.path()) > UnixTime::now().as_secs(),
            "its certificate is kept"
        );
    }
    for member in members {
        member.stop().await;
    }
}
