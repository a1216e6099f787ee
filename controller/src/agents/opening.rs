//! The beginning of a session: what an agent says of itself is checked and recorded, or it is refused. Shell.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::model::{
    AgentId, ContainerInstanceId, ContainerInstanceStatus, HostDescription, HostSettings, Scope, TaskId, TaskReport,
};
use berth_core::state::{Command, Feature, Rejection};
use berth_proto::record::{self, RecordError, RecordKind};
use berth_proto::v1::{self, ProtocolVersion, RefusalCode, Refused, Register, Registered};

use super::context::Context;
use super::registry::{AgentKey, SessionState};
use crate::peers::ADDRESS;
use crate::registrar;
use berth_raft::ProposeError;
use berth_trust::identity::Identity;

/// When an agent that this controller cannot serve now is to try again.
const RETRY_AFTER_MS: u32 = 500;

/// Longest name of an agent, account, region or cluster, above anything that ECS allows.
const MAX_NAME_BYTES: usize = 255;

/// What an agent said of itself.
pub(super) struct Applicant {
    pub(super) agent: AgentKey,
    /// Its host; nothing where that is what it was.
    host: Option<HostDescription>,
    previous: Option<ContainerInstanceId>,
    tasks: BTreeSet<TaskId>,
}

impl Applicant {
    /// One that says nothing of its tasks.
    pub(super) fn without_tasks(
        agent: AgentKey,
        host: Option<HostDescription>,
        previous: Option<ContainerInstanceId>,
    ) -> Self {
        Self {
            agent,
            host,
            previous,
            tasks: BTreeSet::new(),
        }
    }
}

/// An agent that has a session now.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) agent: AgentKey,
    pub(super) host: ContainerInstanceId,
    /// The term of the leader that the agent speaks to.
    pub(super) term: u64,
    /// The settings that it is told.
    pub(super) settings: HostSettings,
    pub(super) answer: Registered,
    /// Tasks that the agent has, and so knows the specs of.
    pub(super) tasks: BTreeSet<TaskId>,
}

/// Reads a registration.
pub(super) fn read(register: &Register) -> Result<Applicant, Refused> {
    if register.protocol_version() != ProtocolVersion::ProtocolVersion1 {
        let message = format!(
            "this controller speaks version 1 of the protocol, and the agent version {}: run agents of the \
             controllers' version",
            register.protocol_version
        );
        return Err(refused(RefusalCode::Version, message));
    }
    let names = [
        ("agent_id", &register.agent_id),
        ("account", &register.account),
        ("region", &register.region),
        ("cluster", &register.cluster),
    ];
    for (field, value) in names {
        if value.is_empty() || value.len() > MAX_NAME_BYTES {
            let message = format!("{field} has {} bytes; it needs 1 to {MAX_NAME_BYTES}", value.len());
            return Err(refused(RefusalCode::Invalid, message));
        }
    }
    let host: HostDescription =
        record::decode(RecordKind::HostDescription, &register.host_description).map_err(|e| unreadable(&e))?;
    let cluster = Scope::new(&register.account, &register.region).cluster(&register.cluster);
    let agent = (cluster, AgentId::from(register.agent_id.as_str()));
    tracing::debug!(
        agent = register.agent_id,
        host = host.host_name,
        tasks = register.task_reports.len(),
        "an agent asks for a session"
    );
    let previous = previous(&register.container_instance_arn)?;
    Ok(Applicant {
        agent,
        host: Some(host),
        previous,
        tasks: reported_tasks(register),
    })
}

/// The tasks that the agent says it has. What cannot be read is left out: the agent is then told all of that task.
fn reported_tasks(register: &Register) -> BTreeSet<TaskId> {
    let read = |bytes: &Vec<u8>| record::decode::<TaskReport>(RecordKind::TaskReport, bytes).ok();
    let reports = register.task_reports.iter().filter_map(read);
    reports.map(|report| report.task).collect()
}

/// Refuses an agent that says it is another one than its certificate says.
pub(super) fn hold_to_certificate(register: &Register, identity: Option<&Identity>) -> Result<(), Refused> {
    match identity {
        Some(identity) if identity.id().as_str() != register.agent_id => {
            let message = format!(
                "the agent calls itself {:?}, and its certificate is for {identity}: an agent speaks for itself alone",
                register.agent_id
            );
            Err(refused(RefusalCode::Invalid, message))
        }
        _ => Ok(()),
    }
}

/// What the agent has been since its process began.
fn previous(arn: &str) -> Result<Option<ContainerInstanceId>, Refused> {
    if arn.is_empty() {
        return Ok(None);
    }
    let id = arn.rsplit('/').next().and_then(|id| id.parse().ok());
    let malformed = || format!("container_instance_arn is {arn:?}, which is not the ARN of a container instance");
    id.map(Some).ok_or_else(|| refused(RefusalCode::Invalid, malformed()))
}

/// Records that the agent is connected, and gives its slot to `session`. An older session of the agent ends. `is_trusted` says whether it
/// has shown a certificate.
pub(super) async fn admit(
    context: &Context,
    applicant: Applicant,
    is_trusted: bool,
    session: &Arc<SessionState>,
) -> Result<Admitted, Refused> {
    let Some(term) = context.led_term() else {
        return Err(not_leader(context, is_trusted));
    };
    let (cluster, agent) = applicant.agent.clone();
    hold_to_account(context, cluster.scope.account.as_str()).await?;
    applicant.host.iter().try_for_each(|host| check_level(context, host))?;
    let mut slot = context.registry.hold_slot(&applicant.agent).await;
    // Nobody else registers the agent from here on, so that what is known now is not put in the place of something newer.
    let host = match applicant.host {
        Some(host) => host,
        None => known_host(context, applicant.previous).await?,
    };
    if let Some(older) = slot.replace(None) {
        older.end.cancel();
    }
    let command = Command::RegisterContainerInstance {
        id: context.new_instance_id(),
        previous: applicant.previous,
        cluster: cluster.clone(),
        agent: agent.clone(),
        host,
        at: context.clock.now(),
    };
    match context.group.propose_in_term(command, term).await {
        Ok(applied) => applied.outcome.map_err(|rejection| rejected(&rejection))?,
        Err(ProposeError::TermPassed) => return Err(not_leader(context, is_trusted)),
        Err(error) => return Err(refused(RefusalCode::Unavailable, error.to_string())),
    };
    let view = context.group.view();
    let Some(id) = view.view.container_instance_of_agent(&cluster, &agent) else {
        let message = "the host was deregistered while it registered".to_owned();
        return Err(refused(RefusalCode::Unavailable, message));
    };
    // In the registry before the first look at the tasks, so that no change falls between.
    context.registry.insert(id, session);
    slot.replace(Some(Arc::clone(session)));
    let settings = view.view.host_settings(&cluster);
    let answer = Registered {
        container_instance_arn: cluster.container_instance_arn(id),
        term: view.term,
        index: view.index,
        host_settings: Some(settings_message(&settings, context.news_version(is_trusted))),
        controllers: if is_trusted {
            registrar::controllers(&context.group.members())
        } else {
            vec![]
        },
    };
    Ok(Admitted {
        agent: applicant.agent,
        host: id,
        term,
        settings,
        answer,
        tasks: applicant.tasks,
    })
}

/// What is known of the host of an agent that has been `previous`.
async fn known_host(context: &Context, previous: Option<ContainerInstanceId>) -> Result<HostDescription, Refused> {
    let published = context.group.read().await;
    let published = published.map_err(|error| refused(RefusalCode::Unavailable, error.to_string()))?;
    let known = previous.and_then(|id| published.view.container_instance(id));
    let known = known.filter(|known| known.status != ContainerInstanceStatus::Inactive);
    match (known, previous) {
        (Some(known), _) => Ok(known.host.clone()),
        (None, Some(id)) => Err(deregistered(id)),
        (None, None) => Err(refused(RefusalCode::Invalid, "host_description is missing".to_owned())),
    }
}

/// Refuses a host that says more of itself than every controller can read yet.
fn check_level(context: &Context, host: &HostDescription) -> Result<(), Refused> {
    match &host.capacity_provider {
        Some(name) if !context.group.view().view.uses(Feature::CapacityProviders) => {
            let message = format!(
                "the host belongs to capacity provider {name}, and not every controller of the cluster knows capacity providers yet: \
                 finish the upgrade of the controllers, and the host comes in by itself"
            );
            Err(refused(RefusalCode::Unavailable, message))
        }
        _ => Ok(()),
    }
}

/// Refuses a host of another account than the cluster's: nobody could list it, and nobody remove it.
async fn hold_to_account(context: &Context, said: &str) -> Result<(), Refused> {
    let account = context.account().await;
    let account = account.map_err(|error| refused(RefusalCode::Unavailable, error.to_string()))?;
    let Some(account) = account else { return Ok(()) };
    registrar::check_account(account.as_str(), said)
        .map_err(|other| refused(RefusalCode::OtherAccount, other.to_string()))
}

/// The cluster's settings, as far as they concern an agent.
pub(super) fn settings_message(settings: &HostSettings, news_version: u64) -> v1::HostSettings {
    v1::HostSettings {
        heartbeat_interval_ms: settings.heartbeat_interval_ms,
        fence_after_ms: settings.fence_after_ms.unwrap_or(0),
        news_version,
    }
}

/// What an agent is told that asks a controller which does not lead. Where the leader is, is said to those who can connect there.
pub(super) fn not_leader(context: &Context, is_trusted: bool) -> Refused {
    let leader = context.group.status().leader;
    let members = context.group.members();
    let record = leader.and_then(|id| members.get(id)).map(|member| &member.record);
    let address = record
        .and_then(|record| record.details.get(ADDRESS))
        .filter(|_| is_trusted);
    let leader = leader.map_or_else(|| "not known at the moment".to_owned(), |id| format!("member {id}"));
    let message = format!("this controller does not lead its group; the leader is {leader}");
    Refused {
        leader_endpoint: address.map(|address| registrar::uri(address)).unwrap_or_default(),
        ..refused(RefusalCode::NotLeader, message)
    }
}

fn rejected(rejection: &Rejection) -> Refused {
    match rejection {
        Rejection::ClusterNotFound(cluster) => {
            let message = format!("there is no active cluster {}; create it first", cluster.name);
            refused(RefusalCode::ClusterNotFound, message)
        }
        Rejection::ContainerInstanceDeregistered(id) => deregistered(*id),
        other => refused(RefusalCode::Invalid, other.to_string()),
    }
}

/// What the agent of a deregistered host is told.
pub(super) fn deregistered(id: ContainerInstanceId) -> Refused {
    let message = format!(
        "container instance {id} was deregistered; to register the host as a new container instance, restart its agent"
    );
    refused(RefusalCode::Deregistered, message)
}

fn unreadable(error: &RecordError) -> Refused {
    let code = match error {
        RecordError::NewerFormat { .. } => RefusalCode::Version,
        _ => RefusalCode::Invalid,
    };
    refused(code, format!("host_description cannot be read: {error}"))
}

pub(super) fn refused(code: RefusalCode, message: String) -> Refused {
    Refused {
        code: code.into(),
        message,
        retry_after_ms: RETRY_AFTER_MS,
        leader_endpoint: String::new(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A controller that leads, and agents that want to speak to it.

    use std::collections::BTreeMap;

    use berth_core::ids::IdSource;
    use berth_core::model::Resources;
    use berth_raft::RaftOptions;
    use berth_storage::MemoryStorage;
    use tokio_util::sync::CancellationToken;

    use super::super::registry::Registry;
    use super::super::reports::Recorder;
    use super::*;
    use crate::clock::SystemClock;
    use crate::replica::{ReplicatedState, StateGroup};

    pub(in super::super) async fn leading_context() -> Context {
        let group = leading_group().await;
        let (recorder, recording) = Recorder::new(group.clone());
        tokio::spawn(recording);
        Context {
            group,
            clock: Arc::new(SystemClock),
            ids: std::sync::Mutex::new(IdSource::from_seed(1)),
            registry: Arc::new(Registry::default()),
            recorder,
            account: None,
            stop: CancellationToken::new(),
        }
    }

    pub(crate) async fn leading_group() -> StateGroup {
        let options = RaftOptions {
            required_free_bytes: 0,
            on_fault: |_| {},
            ..RaftOptions::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        let group = StateGroup::start(storage, ReplicatedState::default(), options).expect("the group starts");
        group.read().await.expect("the group has a leader");
        group
    }

    pub(in super::super) fn applicant(agent: &str) -> Applicant {
        let cluster = Scope::new("123456789012", "us-east-1").cluster("web");
        Applicant {
            agent: (cluster, AgentId::from(agent)),
            host: Some(description()),
            previous: None,
            tasks: BTreeSet::new(),
        }
    }

    pub(in super::super) fn description() -> HostDescription {
        HostDescription {
            host_name: "host-1".to_owned(),
            capacity: Resources::new(1024, 1024),
            attributes: BTreeMap::new(),
            agent_version: "1".to_owned(),
            runtime_version: "1".to_owned(),
            capacity_provider: None,
            ecs_agent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::model::{Cluster, Resources};

    use super::testing::{applicant, description, leading_context};
    use super::*;

    #[tokio::test]
    async fn agents_refused_leave_nothing_behind() {
        let context = leading_context().await;
        for name in 0..100 {
            let (session, _calls) = SessionState::new(context.stop.child_token());
            let refused = admit(&context, applicant(&format!("agent-{name}")), false, &session).await;
            let refused = refused.expect_err("there is no such cluster");
            assert_eq!(refused.code(), RefusalCode::ClusterNotFound);
        }
        assert_eq!(context.registry.slots(), 0);
    }

    #[tokio::test]
    async fn host_of_a_capacity_provider_is_told_to_wait_until_every_controller_knows_them() {
        let context = leading_context().await;
        let (session, _calls) = SessionState::new(context.stop.child_token());
        let mut applicant = applicant("agent-1");
        applicant.host = Some(HostDescription {
            capacity_provider: Some("gpu".into()),
            ..description()
        });
        let refused = admit(&context, applicant, false, &session).await;
        let refused = refused.expect_err("the level is not raised");
        assert_eq!(refused.code(), RefusalCode::Unavailable);
        assert!(refused.message.contains("gpu"), "{}", refused.message);
    }

    #[tokio::test]
    async fn host_of_an_agent_that_says_nothing_of_it_stays_what_it_was_said_to_be_last() {
        let context = leading_context().await;
        let (cluster, _) = applicant("agent-1").agent;
        let create = Command::CreateCluster(Cluster::new(cluster, context.clock.now()));
        let term = context.led_term().expect("leads");
        let created = context.group.propose_in_term(create, term).await.expect("committed");
        created.outcome.expect("created");
        let admitted = async |host: Option<HostDescription>, previous| {
            let (session, _calls) = SessionState::new(context.stop.child_token());
            let applicant = Applicant::without_tasks(applicant("agent-1").agent, host, previous);
            admit(&context, applicant, false, &session)
                .await
                .map(|admitted| admitted.host)
        };
        let larger = HostDescription {
            capacity: Resources::new(2048, 2048),
            ..description()
        };
        let id = admitted(Some(description()), None).await.expect("comes in");
        assert_eq!(
            admitted(Some(larger.clone()), Some(id)).await.expect("is larger now"),
            id
        );
        assert_eq!(admitted(None, Some(id)).await.expect("is known"), id);
        let view = context.group.view();
        assert_eq!(view.view.container_instance(id).map(|known| &known.host), Some(&larger));
        let unknown = admitted(None, Some(ContainerInstanceId(9)))
            .await
            .expect_err("is not known");
        assert_eq!(unknown.code(), RefusalCode::Deregistered);
    }

    #[tokio::test]
    async fn agent_of_another_account_is_refused_with_the_right_one() {
        let of_itself = Context {
            account: Some("999999999999".into()),
            ..leading_context().await
        };
        let of_a_cluster = leading_context().await;
        let registrar = registrar::Registrar::new(of_a_cluster.group.clone(), Arc::clone(&of_a_cluster.clock));
        let root = registrar::RootKey {
            account: "999999999999".to_owned(),
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        let cluster = "home".parse().expect("an id");
        registrar.found(&cluster, Some(&root)).await.expect("founded");
        for context in [of_itself, of_a_cluster] {
            let (session, _calls) = SessionState::new(context.stop.child_token());
            let refused = admit(&context, applicant("agent-1"), true, &session).await;
            let refused = refused.expect_err("it says 123456789012");
            assert_eq!(refused.code(), RefusalCode::OtherAccount);
            assert_eq!(
                refused.message,
                "the account of the cluster is 999999999999, and this host says 123456789012: start it with --account-id 999999999999"
            );
            assert_eq!(context.group.view().view.all_container_instances().count(), 0);
        }
    }
}
