//! The address that a task has of its own, in answers: as ECS shows an elastic network interface. Pure.

use berth_aws::ecs::{Attachment, KeyValuePair, NetworkInterface as AwsNetworkInterface};
use berth_core::model::{NetworkMode, Task, TaskDefinition, TaskStatus};

use super::task::uuid_of;

/// Tells the attachment's id from those of containers, which are counted from 1.
const ATTACHMENT: u128 = 1 << 64;

/// The attachment of a task that has, or is to have, an address of its own.
pub(super) fn attachment(task: &Task, definition: Option<&TaskDefinition>) -> Option<Attachment> {
    let is_to_have = definition.is_some_and(|definition| definition.network_mode == NetworkMode::Awsvpc);
    if task.network_interface.is_none() && !is_to_have {
        return None;
    }
    let detail = |name: &str, value: &str| KeyValuePair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let details = task.network_interface.as_ref().map(|interface| {
        vec![
            detail("subnetId", &interface.subnet_id),
            detail("networkInterfaceId", &interface_id(task)),
            detail("macAddress", &interface.mac_address),
            detail("privateDnsName", &interface.private_dns_name),
            detail("privateIPv4Address", &interface.private_ipv4_address),
        ]
    });
    Some(Attachment {
        id: Some(uuid_of(task, ATTACHMENT)),
        r#type: Some("ElasticNetworkInterface".to_owned()),
        status: Some(status(task).to_owned()),
        details: Some(details.unwrap_or_default()),
    })
}

fn status(task: &Task) -> &'static str {
    match (task.last_status, &task.network_interface) {
        (TaskStatus::Stopped, _) => "DELETED",
        (TaskStatus::Deprovisioning, _) => "DETACHING",
        (_, Some(_)) => "ATTACHED",
        (_, None) => "PRECREATED",
    }
}

/// As each container of the task shows it, once it has an address.
pub(super) fn of_container(task: &Task) -> Option<AwsNetworkInterface> {
    let interface = task.network_interface.as_ref()?;
    Some(AwsNetworkInterface {
        attachment_id: Some(uuid_of(task, ATTACHMENT)),
        private_ipv4_address: Some(interface.private_ipv4_address.clone()),
        ..Default::default()
    })
}

/// `eni-` and 17 digits, as AWS writes them: the first of the task's id.
fn interface_id(task: &Task) -> String {
    format!("eni-{:017x}", task.id.0 >> 60)
}
