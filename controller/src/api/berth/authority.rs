//! The cluster's authority as the API shows it: those for whom a rotation waits with what people call them. Shell, but for that.

use std::collections::BTreeMap;

use berth_aws::AwsError;
use berth_aws::berth::{Authority, Holder, RotationPhase};
use berth_core::model::{ContainerInstance, ContainerInstanceStatus};
use berth_core::state::ClusterState;
use berth_trust::identity::{Identity, Role};
use berth_trust::rotation::Phase;

use crate::api::context::Api;
use crate::api::ports::AuthorityStatus;

/// Identities that one answer names; the rest is counted.
const MAX_NAMED: usize = 100;

/// How far a rotation is, as the API shows it.
pub(super) async fn describe(api: &Api, status: &AuthorityStatus) -> Result<Authority, AwsError> {
    let mut holders = vec![];
    if !status.waiting.is_empty() {
        let state = api.read().await?;
        // Their names are of use, and not worth to fail for.
        let members = api.administration().members().await;
        let members = members.map(|members| members.members).unwrap_or_default();
        let controllers = members.into_iter().map(|member| (member.record.id, member.record.name));
        holders = named(&status.waiting, &state, &controllers.collect());
    }
    Ok(render(status, holders))
}

fn render(status: &AuthorityStatus, holders: Vec<Holder>) -> Authority {
    let phase = match status.phase {
        Phase::Settled => RotationPhase::Settled,
        Phase::Introduced { .. } => RotationPhase::Introduced,
        Phase::Switched { .. } => RotationPhase::Switched,
    };
    let trusted: Vec<String> = status.trusted.iter().map(ToString::to_string).collect();
    Authority {
        phase: Some(phase),
        signing: trusted.first().cloned(),
        trusted: Some(trusted),
        waiting_for: Some(status.waiting.iter().take(MAX_NAMED).map(Identity::to_string).collect()),
        waiting_count: i32::try_from(status.waiting.len()).ok(),
        waiting_holders: Some(holders),
    }
}

/// The first of these with what people call them: the hosts of agents, in whichever cluster they are, and the names of controllers.
fn named(identities: &[Identity], state: &ClusterState, controllers: &BTreeMap<u64, String>) -> Vec<Holder> {
    let hosts = state.all_container_instances();
    let hosts: BTreeMap<&str, &ContainerInstance> = hosts
        .filter(|host| host.status != ContainerInstanceStatus::Inactive)
        .map(|host| (host.agent.as_str(), host.as_ref()))
        .collect();
    let holder = |identity: &Identity| {
        let host = hosts
            .get(identity.id().as_str())
            .filter(|_| identity.role() == Role::Agent);
        let controller = identity
            .member_id()
            .and_then(|member| controllers.get(&member).cloned());
        Holder {
            identity: Some(identity.to_string()),
            name: host.map(|host| host.host.host_name.clone()).or(controller),
            cluster: host.map(|host| host.cluster.arn()),
        }
    };
    identities.iter().take(MAX_NAMED).map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::Harness;

    #[tokio::test]
    async fn holders_are_named_by_their_hosts_and_controllers_and_others_by_nothing() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a");
        let state = harness.state.state();
        let host = state.container_instance(id).expect("there");
        let identities = [
            format!("berth://c/agent/{}", host.agent),
            "berth://c/agent/nobody".to_owned(),
            "berth://c/controller/7".to_owned(),
        ];
        let identities: Vec<Identity> = identities
            .iter()
            .map(|text| text.parse().expect("an identity"))
            .collect();
        let found = named(&identities, &state, &BTreeMap::from([(7, "controller-1".to_owned())]));
        let of = |number: usize| (found[number].name.as_deref(), found[number].cluster.as_deref());
        let arn = host.cluster.arn();
        assert_eq!(of(0), (Some(host.host.host_name.as_str()), Some(arn.as_str())));
        assert_eq!(of(1), (None, None));
        assert_eq!(of(2), (Some("controller-1"), None));
    }
}
