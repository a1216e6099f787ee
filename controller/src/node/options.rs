//! What a controller is started with, and why it does not start. Pure.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use berth_raft::RaftFault;
use berth_storage::StorageError;
use berth_trust::identity::Identity;
use berth_trust::keeper::KeeperError;

use super::api_certificate::ApiCertificateError;
use super::first_certificate::FirstCertificateError;
use super::member_file::MemberFileError;
use crate::agents::AgentsError;
use crate::api::{RootCredentials, ServeError};
use crate::backup::{BackupError, ScheduleOptions};
use crate::registrar::RegistrarError;

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// Where its state is kept.
    pub data_dir: PathBuf,
    /// Where clients reach the AWS-compatible API.
    pub listen: SocketAddr,
    /// Where agents reach it without TLS; a loopback address, since they do not authenticate themselves there.
    pub agent_listen: Option<SocketAddr>,
    /// How it is a member of a cluster; a controller by itself is none.
    pub cluster: Option<ClusterOptions>,
    /// The root user's key. A member of a cluster takes it from the cluster, and refuses to start if this is another one.
    pub root: Option<RootCredentials>,
    /// How clients' connections are secured.
    pub api_tls: ApiTls,
    /// Whether `POST /_berth/reset` empties the state.
    pub testing: bool,
    /// The command by which hosts are woken, where there is one.
    pub wake_command: Option<String>,
    /// When backups are written by themselves, if at all.
    pub backups: Option<ScheduleOptions>,
}

/// How the connections of clients are secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiTls {
    /// Not at all: for a loopback address.
    Plain,
    /// With a certificate of somebody else's making, in PEM; files that change are read again.
    Files {
        /// The certificate, and those above.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// With a certificate of the cluster's authority.
    FromAuthority {
        /// Names and addresses by which clients reach the controller.
        names: Vec<String>,
    },
}

/// How a controller is a member of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where members, agents and those who want to join reach it.
    pub listen: SocketAddr,
    /// The address by which they reach it, HOST:PORT; that of `listen` where that is no wildcard, and without either the one that it had
    /// before.
    pub advertise: Option<String>,
    /// Its name, for people.
    pub name: String,
    /// How it becomes a member, unless its data directory is one's.
    pub start: ClusterStart,
}

/// How a controller becomes a member of a cluster.
#[derive(Clone, Debug)]
pub enum ClusterStart {
    /// As the first one of a new cluster.
    Bootstrap {
        /// The key of its root user, unless the state has one.
        root: Option<RootCredentials>,
    },
    /// With a token, through a member that is reached at HOST:PORT.
    Join {
        /// The text of the token.
        token: String,
        /// Where a member is.
        peer: String,
    },
    /// It was one before.
    Resume,
}

/// Why a controller cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Something else has the port, or the address is not this machine's.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// Who would connect there.
        what: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The port for agents would be open to other machines.
    #[error(
        "--agent-listen {0} is not a loopback address: agents do not authenticate themselves there, so that port must not be \
         reachable from other machines; members of a cluster serve them at --cluster-listen, over TLS"
    )]
    AgentPortNotLoopback(SocketAddr),
    /// Everybody could read what clients say.
    #[error(
        "clients on other machines would reach {0} without TLS: give --tls-certificate and --tls-key, or make this controller a member of a \
         cluster, whose authority makes it a certificate; plain HTTP is for loopback addresses"
    )]
    ClientPortNotSecured(SocketAddr),
    /// There is no place for scheduled backups.
    #[error("scheduled backups could not be written")]
    Backups(#[source] BackupError),
    /// The certificate for clients is no good.
    #[error(transparent)]
    ApiCertificate(#[from] ApiCertificateError),
    /// Nobody would find the member.
    #[error(
        "others cannot be told to reach this controller at {0}, which is every address of this machine: say with --advertise HOST:PORT \
         where they reach it"
    )]
    NoAddress(SocketAddr),
    /// Nothing to go on from.
    #[error(
        "{0} is no member of a cluster yet: start it once with --bootstrap, which founds a new cluster, or with --join-file FILE --peer \
         HOST:PORT, which joins one"
    )]
    NoMember(PathBuf),
    /// The store is gone, and with it what the member promised.
    #[error(
        "the store of member {member} in {data_dir} is gone, and a member that has forgotten what it promised must not come back under its \
         id: remove it with `berth members remove {member}` at another controller, move {data_dir} away, and join again with a new token"
    )]
    StoreGone {
        /// Which member.
        member: u64,
        /// Where it was.
        data_dir: PathBuf,
    },
    /// The store of a member does not open.
    #[error(
        "the store of member {member} in {data_dir} cannot be used. If the cluster has other members: remove this one with `berth members \
         remove {member}` at another controller, move {data_dir} away, and join again with a new token; its id is not used again. If it was \
         the only one, restore a backup"
    )]
    StoreUnusable {
        /// Which member.
        member: u64,
        /// Where it is.
        data_dir: PathBuf,
        /// Why not.
        #[source]
        source: Box<ControllerError>,
    },
    /// The state of a cluster, without the way to its other members.
    #[error(
        "{data_dir} holds the state of a cluster with {members} members, but no identity of one of them: move it away, and join again with a \
         new token"
    )]
    NoIdentity {
        /// Where it is.
        data_dir: PathBuf,
        /// How many.
        members: usize,
    },
    /// Hosts would not find it.
    #[error(
        "{0} holds the state of a cluster whose hosts speak TLS: start it with --bootstrap, as after a backup was restored, so that they find \
         it again"
    )]
    StateOfCluster(PathBuf),
    /// Its certificate is another's.
    #[error(
        "the certificate in {folder} is for {identity}, and this controller is member {member} of its cluster: something else has written it \
         there, such as an agent that was started on {data_dir}; stop that. If the cluster has other members: remove this one with `berth \
         members remove {member}` at another controller, move {data_dir} away, and join again with a new token. If it is the only one: move \
         {folder} and {file} away, and start it with --bootstrap, which makes it a new certificate"
    )]
    OtherIdentity {
        /// Where the certificate is.
        folder: PathBuf,
        /// Whose it is.
        identity: Box<Identity>,
        /// Which member has it.
        member: u64,
        /// The directory of that member.
        data_dir: PathBuf,
        /// What it wrote about itself.
        file: PathBuf,
    },
    /// The directory is somebody else's.
    #[error(
        "the certificate in {folder} is for {identity}, which is no controller: give this controller a directory of its own with --data-dir"
    )]
    IdentityOfNoController {
        /// Where the certificate is.
        folder: PathBuf,
        /// Whose it is.
        identity: Box<Identity>,
    },
    /// The caller's root key is another one.
    #[error(
        "the root access key given is {given}, and that of the cluster is {cluster}: leave BERTH_ROOT_ACCESS_KEY_ID and \
         BERTH_ROOT_SECRET_ACCESS_KEY away, or set them to the cluster's"
    )]
    OtherRootKey {
        /// Its id.
        given: String,
        /// The id of the cluster's.
        cluster: String,
    },
    /// No key of the root user.
    #[error("there is no access key of the root user, neither given nor in the state of the cluster")]
    NoRootKey,
    /// It is no member any more.
    #[error(
        "this member was removed from its cluster, and its data is of no use any more: move {0} away; to make this machine a member \
         again, join with a new token"
    )]
    MemberRemoved(PathBuf),
    /// The others do not let it in.
    #[error("the cluster does not let this member in: {0}")]
    NotLetIn(String),
    /// It got no certificate.
    #[error(transparent)]
    FirstCertificate(#[from] FirstCertificateError),
    /// What it wrote about itself is damaged.
    #[error(transparent)]
    MemberFile(#[from] MemberFileError),
    /// Its certificate cannot be kept or read.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The cluster's documents cannot be read or made.
    #[error(transparent)]
    Registrar(#[from] RegistrarError),
    /// It could not make its own certificate.
    #[error("this controller's certificate could not be made: {0}")]
    Certificate(String),
    /// The store does not open.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The stored state cannot be used.
    #[error("cannot start from the stored state")]
    Raft(#[from] RaftFault),
    /// The operating system gave no random bytes, which ids are drawn from.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
    /// The API server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Agents cannot be served.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// The port for members and agents ended.
    #[error("the server for members and agents failed")]
    ClusterPort(#[source] tonic::transport::Error),
    /// The system gave no thread for members and agents, or for the leader's loop.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A part ended that should run for as long as the controller.
    #[error("{0}")]
    Ended(String),
}

impl ControllerError {
    /// Whether starting the controller again, as it is, changes nothing: somebody has to do what the error says.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoMember(_)
            | Self::StoreGone { .. }
            | Self::StoreUnusable { .. }
            | Self::NoIdentity { .. }
            | Self::StateOfCluster(_)
            | Self::OtherIdentity { .. }
            | Self::IdentityOfNoController { .. }
            | Self::OtherRootKey { .. }
            | Self::NoRootKey
            | Self::MemberRemoved(_)
            | Self::NotLetIn(_) => true,
            Self::FirstCertificate(error) => error.is_final(),
            Self::Raft(fault) => fault.is_of_another_version(),
            _ => false,
        }
    }

    /// Whether it says that the store is not what it was.
    pub(super) fn is_damage(&self) -> bool {
        let is_damaged =
            |error: &StorageError| matches!(error, StorageError::Open { .. } | StorageError::Damaged { .. });
        match self {
            Self::Storage(error) | Self::Raft(RaftFault::Storage(error)) => is_damaged(error),
            Self::Raft(RaftFault::Damaged { .. }) => true,
            _ => false,
        }
    }
}
