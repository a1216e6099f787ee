//! A controller as a member of a cluster: founds one, joins one, or goes on, and then serves the port where it is reached.
//!
//! Owns the order of these steps, so that a crash between two leaves a directory that the next start understands. Shell.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use berth_raft::{Founding, RaftOptions};
use berth_trust::identity::{ClusterId as TrustClusterId, Role};
use berth_trust::keeper::Keeper;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client_port::ClientPort;
use super::member_file::{IDENTITY_FOLDER, MEMBER_FILE, MemberFile};
use super::options::{ClusterOptions, ClusterStart, ControllerError, ControllerOptions};
use super::own_thread::OwnThread;
use super::{address, bind, caught_up, first_certificate, ids, open_group};
use crate::agents::{self, AgentsHandle};
use crate::api::RootCredentials;
use crate::clock::Clock;
use crate::cluster_port::{self, Services};
use crate::errors::chain;
use crate::members;
use crate::peers::{Announcer, PeerNetwork, PeersService, record_of};
use crate::registrar::{self, JoiningService, OwnCertificate, Registrar, RootKey};
use crate::replica::StateGroup;

/// When the parts of a member stop: those who ask of it first, the connections to other members last, since it hands leadership over in
/// between.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops {
    pub(super) serving: CancellationToken,
    pub(super) peers: CancellationToken,
}

/// A member that has caught up with its group.
pub(super) struct Member {
    pub(super) group: StateGroup,
    pub(super) registrar: Registrar,
    pub(super) sessions: AgentsHandle,
    pub(super) network: PeerNetwork,
    pub(super) root: RootCredentials,
    pub(super) listen: SocketAddr,
}

/// A member whose store is open.
struct Opened {
    group: StateGroup,
    registrar: Registrar,
    network: PeerNetwork,
    certificate: OwnCertificate,
    file: MemberFile,
}

type Parts = JoinSet<Result<(), ControllerError>>;

/// What each way to become a member works with.
struct Opening<'a> {
    options: &'a ControllerOptions,
    cluster: &'a ClusterOptions,
    clock: Arc<dyn Clock>,
    listen: SocketAddr,
    thread: &'a OwnThread,
}

/// Starts the member, and waits until it has caught up with its group.
pub(super) async fn start(
    options: &ControllerOptions,
    cluster: &ClusterOptions,
    clock: Arc<dyn Clock>,
    port: &ClientPort,
    stops: &Stops,
    parts: &mut Parts,
) -> Result<Member, ControllerError> {
    let listener = bind(cluster.listen, "members and agents").await?;
    let listen = address(&listener)?;
    let thread = OwnThread::start("cluster").map_err(ControllerError::Thread)?;
    let opening = Opening {
        options,
        cluster,
        clock: Arc::clone(&clock),
        listen,
        thread: &thread,
    };
    let file = MemberFile::load(&options.data_dir)?;
    opening.refuse_identity_of_another(file.as_ref())?;
    let opened = match (file, &cluster.start) {
        (Some(file), _) => opening.resume(file).await?,
        (None, ClusterStart::Bootstrap { root }) => opening.bootstrap(root.as_ref()).await?,
        (None, ClusterStart::Join { token, peer }) => opening.join(token, peer).await?,
        (None, ClusterStart::Resume) => return Err(ControllerError::NoMember(options.data_dir.clone())),
    };
    let (sessions, helpers) = agents::begin(opened.group.clone(), clock, ids()?, None, stops.serving.clone());
    parts.spawn(async move {
        let ended = helpers.await;
        ended.map_err(|error| ControllerError::Ended(format!("a part of the server for agents failed: {error}")))
    });
    opened.serve(thread, listener, &sessions, stops, parts)?;
    port.watch(&opened.group, &sessions);
    // One that joins knows of the authority only once it has caught up.
    if let Err(error) = port.secure(&opened.registrar, parts) {
        tracing::debug!(error = %chain(&error), "clients cannot be answered yet");
    }
    let Opened {
        group,
        registrar,
        network,
        file,
        ..
    } = &opened;
    let announcer = Announcer {
        network: network.clone(),
        group: group.clone(),
        record: record_of(file.member_id, &cluster.name, &file.address),
        contacts: file.contacts.clone(),
    };
    let mut announcing = tokio::spawn(announcer.run());
    tokio::select! {
        caught = caught_up(group, &options.data_dir) => caught?,
        Ok(Err(why)) = &mut announcing => return Err(ControllerError::NotLetIn(why)),
        () = network.removed() => return Err(ControllerError::MemberRemoved(options.data_dir.clone())),
    }
    let looked_after = members::look_after(group.clone(), registrar.clone(), stops.serving.clone());
    parts.spawn(async move {
        looked_after.await;
        Ok(())
    });
    let root = root_of_cluster(group, options.root.as_ref())?;
    Ok(Member {
        group: group.clone(),
        registrar: registrar.clone(),
        sessions,
        network: network.clone(),
        root,
        listen,
    })
}

impl Opened {
    /// Serves the port, and looks after the certificate.
    fn serve(
        &self,
        thread: OwnThread,
        listener: TcpListener,
        sessions: &AgentsHandle,
        stops: &Stops,
        parts: &mut Parts,
    ) -> Result<(), ControllerError> {
        let tls = self.certificate.shown().tls;
        self.network.show(tls.clone());
        let services = Services {
            peers: PeersService::new(self.network.clone(), Handle::current(), stops.peers.clone()),
            agents: sessions.clone(),
            joining: JoiningService::new(self.registrar.clone()),
        };
        // Events of a connection come to the runtime on which its listener was made.
        let listener = listener.into_std().map_err(ControllerError::Thread)?;
        let stop = stops.peers.clone();
        let serving = thread.spawn(async move {
            let listener = TcpListener::from_std(listener).map_err(ControllerError::Thread)?;
            let serving = cluster_port::serve(listener, tls, services, stop);
            serving.await.map_err(ControllerError::ClusterPort)
        });
        parts.spawn(async move {
            let ended = serving.await;
            drop(thread);
            ended.map_err(|error| ControllerError::Ended(format!("the port for members and agents failed: {error}")))?
        });
        let looked_after = self.certificate.clone().look_after(stops.peers.clone());
        parts.spawn(async move {
            looked_after.await;
            Ok(())
        });
        Ok(())
    }
}

impl Opening<'_> {
    fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(&self.data_dir().join(IDENTITY_FOLDER))
    }

    /// Refuses the identity of another, which an agent that was started on this directory may have left: nobody would let this member in with
    /// it, and were the agent removed, this member would seem to be.
    fn refuse_identity_of_another(&self, file: Option<&MemberFile>) -> Result<(), ControllerError> {
        // One that cannot be read is complained of where it is needed; of one that has not joined, it is replaced.
        let Ok(Some(kept)) = self.keeper().load() else {
            return Ok(());
        };
        let identity = Box::new(kept.credentials.identity().clone());
        let (data_dir, folder) = (self.data_dir().to_owned(), self.data_dir().join(IDENTITY_FOLDER));
        match file {
            Some(file) if identity.member_id() != Some(file.member_id) => Err(ControllerError::OtherIdentity {
                folder,
                identity,
                member: file.member_id,
                file: data_dir.join(MEMBER_FILE),
                data_dir,
            }),
            None if identity.role() != Role::Controller => {
                Err(ControllerError::IdentityOfNoController { folder, identity })
            }
            _ => Ok(()),
        }
    }

    fn has_store(&self) -> bool {
        super::has_store(self.data_dir())
    }

    /// Where others reach this member.
    fn address(&self, before: Option<&str>) -> Result<String, ControllerError> {
        let address = address_for_others(self.cluster.advertise.as_deref(), self.listen, before);
        address.ok_or(ControllerError::NoAddress(self.listen))
    }

    /// Founds a cluster, or makes one of a controller that was by itself.
    async fn bootstrap(&self, root: Option<&RootCredentials>) -> Result<Opened, ControllerError> {
        let address = self.address(None)?;
        let network = PeerNetwork::new(&address, self.thread.runtime().clone());
        let details = record_of(0, &self.cluster.name, &address).details;
        let founding = Founding::Bootstrap {
            name: self.cluster.name.clone(),
            details,
        };
        let group = self.open(founding, None, &network).await?;
        caught_up(&group, self.data_dir()).await?;
        let members = group.members().members.len();
        if members != 1 {
            return Err(ControllerError::NoIdentity {
                data_dir: self.data_dir().to_owned(),
                members,
            });
        }
        let identity = group.identity();
        let registrar = Registrar::new(group.clone(), Arc::clone(&self.clock));
        let id: TrustClusterId = identity.cluster.to_string().parse().map_err(registrar_error)?;
        let root = root.map(|root| RootKey {
            account: root.account.to_string(),
            access_key_id: root.access_key_id.clone(),
            secret_access_key: root.secret_access_key.clone(),
        });
        registrar.found(&id, root.as_ref()).await?;
        let certificate = OwnCertificate::issue(registrar.clone(), self.keeper()).await;
        let certificate = certificate.map_err(ControllerError::Certificate)?;
        let file = MemberFile::new(identity.member_id, identity.cluster, &address, vec![]);
        file.save(self.data_dir())?;
        Ok(Opened {
            group,
            registrar,
            network,
            certificate,
            file,
        })
    }

    /// Joins a cluster.
    async fn join(&self, token: &str, peer: &str) -> Result<Opened, ControllerError> {
        let address = self.address(None)?;
        if self.has_store() {
            return Err(ControllerError::NoIdentity {
                data_dir: self.data_dir().to_owned(),
                members: 1,
            });
        }
        let member = random_id()?;
        let keeper = self.keeper();
        let let_in = first_certificate::get(token, peer, member, &keeper).await?;
        keeper.keep(&let_in.kept)?;
        let mut file = MemberFile::new(member, let_in.raft_cluster, &address, let_in.contacts);
        file.has_begun = false;
        file.save(self.data_dir())?;
        self.go_on(file, let_in.kept).await
    }

    /// Goes on as the member that the directory is of.
    async fn resume(&self, mut file: MemberFile) -> Result<Opened, ControllerError> {
        let data_dir = self.data_dir().to_owned();
        match self.has_store() {
            // It stopped before it had said anything to the others, so that it has promised nothing.
            true if !file.has_begun => super::remove_store(&data_dir)?,
            false if file.has_begun => {
                let member = file.member_id;
                return Err(ControllerError::StoreGone { member, data_dir });
            }
            _ => {}
        }
        let kept = self.keeper().load()?;
        let kept = kept.ok_or(ControllerError::NoIdentity { data_dir, members: 1 })?;
        let address = self.address(Some(&file.address))?;
        if address != file.address {
            tracing::info!(
                before = file.address,
                address,
                "others are told to reach this member at another address"
            );
            file.address = address;
            file.save(self.data_dir())?;
        } else if self.cluster.advertise.is_none() && !has_port(&file.address, self.listen.port()) {
            tracing::warn!(
                address = file.address,
                listen = %self.listen,
                "others are told to reach this member at the address that it had before, although it listens on another port: if they do not reach it \
                 there, start it with --advertise HOST:PORT"
            );
        }
        self.go_on(file, kept).await
    }

    async fn go_on(&self, mut file: MemberFile, kept: berth_trust::keeper::Kept) -> Result<Opened, ControllerError> {
        let network = PeerNetwork::new(&file.address, self.thread.runtime().clone());
        // What is read from the file is checked there.
        let cluster = file.cluster().unwrap_or(berth_raft::ClusterId([0; 16]));
        let opened = self
            .open(Founding::Join { cluster }, Some(file.member_id), &network)
            .await;
        let group = opened.map_err(|error| {
            if !error.is_damage() {
                return error;
            }
            ControllerError::StoreUnusable {
                member: file.member_id,
                data_dir: self.data_dir().to_owned(),
                source: Box::new(error),
            }
        })?;
        if !file.has_begun {
            // Before anybody can reach it.
            file.has_begun = true;
            file.save(self.data_dir())?;
        }
        let registrar = Registrar::new(group.clone(), Arc::clone(&self.clock));
        let mut certificate = OwnCertificate::resume(registrar.clone(), self.keeper(), kept);
        certificate.sign_if_at_its_end();
        Ok(Opened {
            certificate,
            group,
            registrar,
            network,
            file,
        })
    }

    async fn open(
        &self,
        founding: Founding,
        member_id: Option<u64>,
        network: &PeerNetwork,
    ) -> Result<StateGroup, ControllerError> {
        let options = RaftOptions {
            founding,
            member_id,
            ..RaftOptions::default()
        };
        let group = open_group(self.data_dir(), options, network.transport()).await?;
        network.attach(group.downgrade());
        Ok(group)
    }
}

/// The address by which others reach a member that listens there: what is advertised, else where it listens if that is one address, else
/// the one that it had before.
fn address_for_others(advertised: Option<&str>, listen: SocketAddr, before: Option<&str>) -> Option<String> {
    match advertised {
        Some(advertised) => Some(advertised.to_owned()),
        None if listen.ip().is_unspecified() => before.map(str::to_owned),
        None => Some(listen.to_string()),
    }
}

/// Whether an address, HOST:PORT, is of that port.
fn has_port(address: &str, port: u16) -> bool {
    address.rsplit_once(':').and_then(|(_, of)| of.parse().ok()) == Some(port)
}

/// The root user's key, which all members have.
fn root_of_cluster(group: &StateGroup, given: Option<&RootCredentials>) -> Result<RootCredentials, ControllerError> {
    let known = registrar::root_key(&group.view().view).map_err(crate::registrar::RegistrarError::from)?;
    let known = known.ok_or(ControllerError::NoRootKey)?;
    let root = RootCredentials {
        account: known.account.as_str().into(),
        access_key_id: known.access_key_id,
        secret_access_key: known.secret_access_key,
    };
    let is_same = |given: &RootCredentials| {
        (&given.access_key_id, &given.secret_access_key) == (&root.access_key_id, &root.secret_access_key)
    };
    match given {
        Some(given) if !is_same(given) => Err(ControllerError::OtherRootKey {
            given: given.access_key_id.clone(),
            cluster: root.access_key_id,
        }),
        _ => Ok(root),
    }
}

fn random_id() -> Result<u64, ControllerError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| ControllerError::Random(error.to_string()))?;
    // 0 is nobody's id.
    Ok(u64::from_le_bytes(bytes).max(1))
}

fn registrar_error(error: berth_trust::identity::IdentityError) -> ControllerError {
    ControllerError::Registrar(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_the_one_that_the_flags_say_and_the_one_before_only_where_they_say_none() {
        let one = SocketAddr::from(([10, 0, 0, 1], 7482));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 7481));
        let before = Some("10.0.0.1:7481");
        let address = |advertised, listen, before| address_for_others(advertised, listen, before);
        assert_eq!(address(Some("one:1"), one, before).as_deref(), Some("one:1"));
        assert_eq!(
            address(None, one, before).as_deref(),
            Some("10.0.0.1:7482"),
            "it has moved"
        );
        assert_eq!(address(None, everywhere, before).as_deref(), before);
        assert_eq!(address(None, everywhere, None), None);
        assert!(has_port("[::1]:7481", 7481) && !has_port("10.0.0.1:7481", 7482) && !has_port("one", 7481));
    }
}
