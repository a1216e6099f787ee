//! What operators decide about the cluster itself, as the API's port for it: members, join tokens, the authority. Shell.

use std::time::Duration;

use berth_core::model::AgentId;
use berth_raft::{MembershipChange, MembershipError, TransferError};
use berth_trust::ca::Authority;
use berth_trust::identity::{ClusterId, HolderId, Identity, Role};
use berth_trust::rotation::{Authorities, Phase};
use berth_trust::token::{TokenError, TokenTerms};
use berth_trust::token_record::TokenRecord;
use tokio::time::Instant;

use crate::api::ports::{
    Administration, AdministrationFailure as Failure, AuthorityStatus, Members, PortFuture, RotationStep,
};
use crate::peers::PeerNetwork;
use crate::registrar::{self, Holder, NewToken, Registrar, RegistrarError};
use crate::replica::StateGroup;

/// How long a removed member may take to hear of it and to stop, before its certificate is refused. Until a majority knows of the removal
/// it may be needed for an election, which the group then tells it by itself.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The group and its documents, for operators.
#[derive(Clone, Debug)]
pub(crate) struct ClusterAdministration {
    pub(crate) group: StateGroup,
    pub(crate) registrar: Registrar,
    /// The connections to other members, if there can be any.
    pub(crate) network: Option<PeerNetwork>,
}

impl ClusterAdministration {
    async fn remove(&self, member: u64, forced: bool) -> Result<(), Failure> {
        if member == self.group.identity().member_id {
            let text = format!("member {member} is the one that answers: ask another controller to remove it");
            return Err(Failure::Refused(text));
        }
        self.group
            .read()
            .await
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let was_member = self.group.members().get(member).is_some();
        if was_member {
            let change = MembershipChange::Remove { member, forced };
            let removed = self.group.change_membership(change).await;
            removed.map_err(|error| membership_failure(&error))?;
            self.until_silent(member).await;
        }
        let Some(identity) = self.controller(member)? else {
            return if was_member { Ok(()) } else { Err(no_member(member)) };
        };
        // Also one that has a certificate and never became a member, or whose removal was broken off here.
        let known =
            registrar::holders(&self.group.view().view).map_err(|error| Failure::Unavailable(error.to_string()))?;
        if !was_member && !known.iter().any(|holder| holder.identity == identity) {
            return Err(no_member(member));
        }
        self.registrar.remove(&identity).await.map_err(|error| failure(&error))
    }

    /// Waits until the member says nothing more, or has had the time to hear that it was removed.
    async fn until_silent(&self, member: u64) {
        let until = Instant::now() + LEAVES_WITHIN;
        while self.network.as_ref().is_some_and(|network| network.hears(member)) && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Who a member is by its certificate; nobody where there are no certificates.
    fn controller(&self, member: u64) -> Result<Option<Identity>, Failure> {
        let authorities = self.authorities_now()?;
        let Some(authorities) = authorities else {
            return Ok(None);
        };
        let bundle = authorities
            .bundle()
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(Some(Identity::controller(bundle.cluster().clone(), member)))
    }

    fn authorities_now(&self) -> Result<Option<Authorities>, Failure> {
        let found = registrar::authorities(&self.group.view().view);
        let found = found.map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(found.map(|(_, authorities)| authorities))
    }

    async fn rotate_by(&self, step: Option<RotationStep>) -> Result<AuthorityStatus, Failure> {
        let rotated = self.registrar.rotate(|authorities, holders, now| {
            let next = match step {
                None => authorities.clone(),
                Some(RotationStep::Begin) => {
                    let bundle = authorities.bundle()?;
                    authorities.introduce(&Authority::create(bundle.cluster(), now)?, now)?
                }
                Some(RotationStep::TakeBack) => authorities.take_back()?,
                Some(RotationStep::Continue) => {
                    let waiting = waiting(authorities.phase()?, holders).len();
                    match authorities.phase()? {
                        Phase::Switched { .. } => authorities.retire(waiting)?,
                        Phase::Introduced { .. } | Phase::Settled => authorities.switch(waiting)?,
                    }
                }
            };
            let phase = next.phase()?;
            let status = AuthorityStatus {
                phase,
                trusted: next.bundle()?.authorities().iter().map(|one| one.digest()).collect(),
                waiting: waiting(phase, holders),
            };
            Ok((next, status))
        });
        rotated.await.map_err(|error| failure(&error))
    }
}

/// Those for which the next step of a rotation waits.
fn waiting(phase: Phase, holders: &[Holder]) -> Vec<Identity> {
    let is_waited_for = |holder: &&Holder| match phase {
        Phase::Settled => false,
        Phase::Introduced { next } => !holder.trusts.contains(&next),
        Phase::Switched { old } => holder.authority == old,
    };
    let holders = holders.iter().filter(is_waited_for);
    holders.map(|holder| holder.identity.clone()).collect()
}

impl Administration for ClusterAdministration {
    fn create_token(&self, terms: TokenTerms) -> PortFuture<'_, Result<NewToken, Failure>> {
        Box::pin(async move {
            self.registrar
                .create_token(terms)
                .await
                .map_err(|error| failure(&error))
        })
    }

    fn tokens(&self) -> PortFuture<'_, Result<Vec<TokenRecord>, Failure>> {
        Box::pin(async move { self.registrar.tokens().await.map_err(|error| failure(&error)) })
    }

    fn revoke_token<'a>(&'a self, id: &'a str) -> PortFuture<'a, Result<TokenRecord, Failure>> {
        Box::pin(async move {
            let id = id
                .parse()
                .map_err(|error: TokenError| Failure::Refused(error.to_string()))?;
            self.registrar.revoke_token(&id).await.map_err(|error| failure(&error))
        })
    }

    fn members(&self) -> PortFuture<'_, Result<Members, Failure>> {
        Box::pin(async move {
            let read = self.group.read().await;
            read.map_err(|error| Failure::Unavailable(error.to_string()))?;
            let status = self.group.status();
            let members = self.group.members().members.clone();
            let ids = members.iter().map(|member| member.record.id);
            let in_touch = |id: &u64| self.network.as_ref().is_some_and(|network| network.is_in_touch(*id));
            Ok(Members {
                connected: ids.filter(in_touch).collect(),
                members,
                leader: status.leader,
                term: status.term,
            })
        })
    }

    fn remove_member(&self, member: u64, forced: bool) -> PortFuture<'_, Result<(), Failure>> {
        Box::pin(self.remove(member, forced))
    }

    fn promote_member(&self, member: u64, forced: bool) -> PortFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let change = MembershipChange::Promote { member, forced };
            match self.group.change_membership(change).await {
                Ok(_) => Ok(()),
                Err(error) => Err(membership_failure(&error)),
            }
        })
    }

    fn transfer_leadership(&self, member: u64) -> PortFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let moved = self.group.transfer_leadership(member).await;
            moved.map_err(|error| match error {
                TransferError::NotVoter { member } if self.group.members().get(member).is_none() => no_member(member),
                TransferError::NotVoter { .. } => Failure::Refused(error.to_string()),
                TransferError::Timeout { .. } | TransferError::Stopped => Failure::Unavailable(error.to_string()),
            })
        })
    }

    fn authority(&self) -> PortFuture<'_, Result<AuthorityStatus, Failure>> {
        Box::pin(self.rotate_by(None))
    }

    fn rotate(&self, step: RotationStep) -> PortFuture<'_, Result<AuthorityStatus, Failure>> {
        Box::pin(self.rotate_by(Some(step)))
    }

    fn agent_named(&self, named: &str) -> Result<Option<AgentId>, Failure> {
        let Some(authorities) = self.authorities_now()? else {
            return Ok(None);
        };
        let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(error.to_string());
        let bundle = authorities.bundle().map_err(|error| unavailable(&error))?;
        let Some(identity) = agent_identity(bundle.cluster(), named)? else {
            return Ok(None);
        };
        let holders = registrar::holders(&self.group.view().view).map_err(|error| unavailable(&error))?;
        let is_known = holders.iter().any(|holder| holder.identity == identity);
        Ok(is_known.then(|| AgentId::from(identity.id().as_str())))
    }

    fn refuse_agent<'a>(&'a self, agent: &'a str) -> PortFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(authorities) = self.authorities_now()? else {
                return Ok(());
            };
            let bundle = authorities
                .bundle()
                .map_err(|error| Failure::Unavailable(error.to_string()))?;
            // Agents that have another id have no certificate, since none can be made for it.
            let Ok(id) = agent.parse::<HolderId>() else {
                return Ok(());
            };
            let identity = Identity::new(bundle.cluster().clone(), Role::Agent, id);
            let identity = identity.map_err(|error| Failure::Refused(error.to_string()))?;
            self.registrar.remove(&identity).await.map_err(|error| failure(&error))
        })
    }
}

/// Who an agent is by its identity or its id; `None` if that is no id.
fn agent_identity(cluster: &ClusterId, named: &str) -> Result<Option<Identity>, Failure> {
    let Ok(identity) = named.parse::<Identity>() else {
        let Ok(id) = named.parse::<HolderId>() else {
            return Ok(None);
        };
        return Ok(Identity::new(cluster.clone(), Role::Agent, id).ok());
    };
    if identity.role() == Role::Agent {
        return Ok(Some(identity));
    }
    let text = match identity.member_id() {
        Some(member) => format!("{identity} is a controller: `berth members remove {member}` removes it"),
        None => format!("{identity} is no agent of a host"),
    };
    Err(Failure::Refused(text))
}

fn no_member(member: u64) -> Failure {
    Failure::NotFound(format!(
        "the cluster has no member {member}; `berth members list` shows those that it has"
    ))
}

fn failure(error: &RegistrarError) -> Failure {
    let text = crate::errors::chain(error);
    match error {
        RegistrarError::Token(TokenError::Unknown { id }) => Failure::NotFound(format!("there is no join token {id}")),
        RegistrarError::Token(TokenError::Random(_))
        | RegistrarError::Sign(_)
        | RegistrarError::Credentials(_)
        | RegistrarError::Document(_)
        | RegistrarError::Contention
        | RegistrarError::Read(_)
        | RegistrarError::Propose(_) => Failure::Unavailable(text),
        RegistrarError::NoAuthorities
        | RegistrarError::Token(_)
        | RegistrarError::Request(_)
        | RegistrarError::Identity(_)
        | RegistrarError::MemberExists(_)
        | RegistrarError::Removed(_)
        | RegistrarError::IdOfRemoved(_)
        | RegistrarError::OtherAccount(_)
        | RegistrarError::Rotation(_)
        | RegistrarError::Rejected(_) => Failure::Refused(text),
    }
}

fn membership_failure(error: &MembershipError) -> Failure {
    let text = error.to_string();
    match error {
        MembershipError::NoSuchMember { member } => no_member(*member),
        MembershipError::ChangeUnderWay | MembershipError::Propose(_) => Failure::Unavailable(text),
        _ => Failure::Refused(text),
    }
}
