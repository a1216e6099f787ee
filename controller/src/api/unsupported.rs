//! Operations of ECS that Berth does not have, and why. Pure.

use berth_aws::{OperationModel, Service};

/// What the operations on gateways need.
const GATEWAYS: &str = "a gateway makes load balancers of AWS and manages them, and Berth has none: put a load balancer of your own in front of the tasks, \
     whose addresses and ports DescribeTasks and the events tell";

/// What the operations on Express services need.
const EXPRESS: &str = "an Express service makes Application Load Balancers, security groups, certificates and scaling policies of AWS: make a service \
     with CreateService, and put a load balancer of your own in front of it";

/// Why an operation has no behaviour; `None` for one that has, or is to have some.
pub(super) fn reason(service: &Service, operation: &OperationModel) -> Option<&'static str> {
    match operation.name {
        _ if service.name != "ecs" => None,
        name if name.contains("ExpressGateway") => Some(EXPRESS),
        name if name.contains("Gateway") => Some(GATEWAYS),
        _ => None,
    }
}

/// What is said to who calls such an operation.
pub(super) fn message(service: &Service, operation: &OperationModel) -> String {
    match reason(service, operation) {
        Some(reason) => format!("The operation {} is not supported by Berth: {reason}.", operation.name),
        None => format!(
            "The operation {} of {} is not supported by Berth yet.",
            operation.name, service.name
        ),
    }
}
