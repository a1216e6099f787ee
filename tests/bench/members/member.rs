//! A controller as a member of three that also takes etcd's writes: each is proposed as a document of the replicated state. Shell.
//!
//! Apart from that port it is what `berth controller` runs: the same store, connections to the others, and loops of the leader.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_controller::api::RootCredentials;
use berth_controller::node::{ApiTls, ClusterOptions, ClusterStart, Controller, ControllerOptions, is_member};
use berth_controller::replica::StateGroup;
use berth_core::state::{Command, DocumentChange, Expected};
use berth_trust::identity::Role;
use berth_trust::token::TokenTerms;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, async_trait};

use super::wire::{KvService, MaintenanceService, Member, PutRequest, PutResponse, ResponseHeader, StatusResponse};

/// How long others may join.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// How many may.
const TOKEN_USES: u32 = 8;

/// Which member a process is.
pub(crate) struct Options {
    /// Where all members keep what they have.
    pub(crate) folder: PathBuf,
    /// Its number; the first founds the group.
    pub(crate) number: u32,
    /// Where it takes writes.
    pub(crate) listen: SocketAddr,
    /// Where other members reach it.
    pub(crate) cluster_listen: SocketAddr,
    /// Where the first member is reached by others.
    pub(crate) founder: String,
}

/// Runs a member until it is killed.
pub(crate) async fn run(options: Options) -> Result<()> {
    let data_dir = options.folder.join(format!("member-{}", options.number));
    let token_file = options.folder.join("token");
    let founds = options.number == 1 && !is_member(&data_dir);
    let start = if founds {
        ClusterStart::Bootstrap { root: Some(root()) }
    } else if is_member(&data_dir) {
        ClusterStart::Resume
    } else {
        ClusterStart::Join {
            token: read(&token_file)?,
            peer: options.founder,
        }
    };
    let controller = Controller::start(ControllerOptions {
        data_dir,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        agent_listen: None,
        cluster: Some(ClusterOptions {
            listen: options.cluster_listen,
            advertise: None,
            name: format!("member-{}", options.number),
            start,
        }),
        root: None,
        api_tls: ApiTls::Plain,
        testing: false,
        wake_command: None,
        backups: None,
    });
    let mut controller = controller.await?;
    if founds {
        let terms = TokenTerms {
            role: Role::Controller,
            lifetime: TOKEN_LIFETIME,
            uses: TOKEN_USES,
            created_by: "benchmark".to_owned(),
        };
        let token = controller.registrar().create_token(terms).await?.token;
        std::fs::write(&token_file, token.to_secret_text())?;
    }
    let member = Arc::new(GroupMember(controller.group().clone()));
    let listener = TcpListener::bind(options.listen).await?;
    println!("Ready");
    let serving = tonic::transport::Server::builder()
        .add_service(KvService(Arc::clone(&member)))
        .add_service(MaintenanceService(member))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::select! {
        ended = serving => bail!("the port for writes ended: {ended:?}"),
        error = controller.failed() => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("{} is not there: the first member founds the group", path.display()))
}

fn root() -> RootCredentials {
    RootCredentials {
        account: "123456789012".into(),
        access_key_id: "AKIABENCHMARK0000000".to_owned(),
        secret_access_key: "benchmark".repeat(4),
    }
}

struct GroupMember(StateGroup);

impl GroupMember {
    fn header(&self) -> ResponseHeader {
        let status = self.0.status();
        ResponseHeader {
            member_id: status.member_id,
            revision: i64::try_from(status.applied).unwrap_or(i64::MAX),
            raft_term: status.term,
        }
    }
}

#[async_trait]
impl Member for GroupMember {
    async fn put(&self, request: PutRequest) -> Result<PutResponse, Status> {
        let text = |bytes| String::from_utf8(bytes).map_err(|error| Status::invalid_argument(error.to_string()));
        let change = DocumentChange {
            name: format!("benchmark/{}", text(request.key)?),
            expected: Expected::Any,
            content: Some(text(request.value)?),
        };
        let command = Command::ChangeDocuments { changes: vec![change] };
        let applied = self.0.propose(command).await;
        let applied = applied.map_err(|error| Status::unavailable(error.to_string()))?;
        applied
            .outcome
            .map_err(|rejection| Status::failed_precondition(rejection.to_string()))?;
        Ok(PutResponse {
            header: Some(self.header()),
        })
    }

    async fn status(&self) -> StatusResponse {
        let status = self.0.status();
        StatusResponse {
            header: Some(self.header()),
            leader: status.leader.unwrap_or(0),
            raft_index: status.commit,
            raft_term: status.term,
            raft_applied_index: status.applied,
        }
    }
}
