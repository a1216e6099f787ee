//! `ListServices`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{
    ListServicesRequest, ListServicesResponse, ResourceManagementType, SchedulingStrategy as AwsStrategy,
};
use berth_core::model::{SchedulingStrategy, Service, ServiceStatus};

use super::{launch_type, references};
use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

/// Services of a page where the request does not say (ECS: 10).
const DEFAULT_PAGE: i32 = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListServicesRequest,
) -> Result<ListServicesResponse, AwsError> {
    let page = Page::parse(
        "ListServices",
        input.next_token.as_deref(),
        input.max_results,
        DEFAULT_PAGE,
    )?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let matching = state
        .services_of(&cluster.key)
        .filter(|service| matches(service, &input));
    let (service_arns, next_token) =
        page.take(matching.map(|service| (service.key.name.as_str().to_owned(), service.key.arn())));
    Ok(ListServicesResponse {
        service_arns: Some(service_arns),
        next_token,
    })
}

fn matches(service: &Service, input: &ListServicesRequest) -> bool {
    let strategy = match service.scheduling_strategy {
        SchedulingStrategy::Replica => AwsStrategy::Replica,
        SchedulingStrategy::Daemon => AwsStrategy::Daemon,
    };
    // One that is being deleted is not listed any more (ECS's rule). Every service runs on hosts that people own, managed by the
    // customer.
    service.status == ServiceStatus::Active
        && input.scheduling_strategy.is_none_or(|wanted| wanted == strategy)
        && input
            .launch_type
            .is_none_or(|wanted| wanted == launch_type::render(service.launches_on()))
        && input
            .resource_management_type
            .is_none_or(|wanted| wanted == ResourceManagementType::Customer)
}
