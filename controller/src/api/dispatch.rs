//! The one table of operations with behaviour. An operation of a known service that is not in it is answered with an error that names
//! it. Pure but for the handlers that it names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_aws::{AwsError, Operation, OperationModel, Service, protocol};
use bytes::Bytes;
use http::Response;

use super::context::{Api, Call};
use super::{berth, cloudwatch, ecs, sts};

/// How a request is served once it is known whose it is and what it calls.
type Serve = fn(Arc<Api>, Call, Bytes) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, AwsError>> + Send>>;

/// An operation with behaviour.
#[derive(Debug)]
pub struct Route {
    /// The service that it belongs to.
    pub service: &'static Service,
    /// The operation.
    pub operation: &'static OperationModel,
    /// Whether only the leader can answer: it alone places tasks, has the sessions with agents, and has the clock by which protection ends.
    pub(super) by_leader: bool,
    pub(super) serve: Serve,
}

/// `route!(ecs, CreateService, create_service)`: the operation's input is read, `ecs::create_service::handle` answers it.
macro_rules! route {
    ($service:ident, $operation:ident, $module:ident) => {
        route!($service, $operation, $module, false)
    };
    ($service:ident, $operation:ident, $module:ident, by_leader) => {
        route!($service, $operation, $module, true)
    };
    ($service:ident, $operation:ident, $module:ident, $by_leader:literal) => {
        Route {
            service: <berth_aws::$service::operations::$operation as Operation>::SERVICE,
            operation: <berth_aws::$service::operations::$operation as Operation>::MODEL,
            by_leader: $by_leader,
            serve: |api, call, body| {
                Box::pin(async move {
                    let input = protocol::read::<berth_aws::$service::operations::$operation>(&body)?;
                    let output = $service::$module::handle(&api, &call, input).await?;
                    Ok(protocol::write::<berth_aws::$service::operations::$operation>(
                        &output,
                        &call.request_id,
                    ))
                })
            },
        }
    };
}

/// Every operation with behaviour, by service, then by name.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    route!(berth, CreateBackup, create_backup),
    route!(berth, CreateJoinToken, create_join_token),
    route!(berth, DescribeAuthority, describe_authority),
    route!(berth, DescribeHostSettings, describe_host_settings),
    route!(berth, DescribeHosts, describe_hosts),
    route!(berth, DescribeRebalance, describe_rebalance),
    route!(berth, ExplainPlacement, explain_placement),
    route!(berth, ExportDecisions, export_decisions),
    route!(berth, GetBackupPart, get_backup_part),
    route!(berth, GetDecisionsPart, get_decisions_part),
    route!(berth, GetEvents, get_events),
    route!(berth, GetTaskLogs, get_task_logs, by_leader),
    route!(berth, ListJoinTokens, list_join_tokens),
    route!(berth, ListMembers, list_members, by_leader),
    route!(berth, PlanRebalance, plan_rebalance),
    route!(berth, PredictChanges, predict_changes),
    route!(berth, PromoteMember, promote_member),
    route!(berth, RemoveHost, remove_host),
    route!(berth, RemoveMember, remove_member),
    route!(berth, RevokeJoinToken, revoke_join_token),
    route!(berth, RotateAuthority, rotate_authority),
    route!(berth, SleepHost, sleep_host),
    route!(berth, StartRebalance, start_rebalance),
    route!(berth, StopRebalance, stop_rebalance),
    route!(berth, TransferLeadership, transfer_leadership),
    route!(berth, UpdateHostSettings, update_host_settings),
    route!(berth, WakeHost, wake_host),
    route!(berth, WatchResources, watch_resources),
    route!(cloudwatch, DeleteAlarms, delete_alarms),
    route!(cloudwatch, DescribeAlarms, describe_alarms),
    route!(cloudwatch, ListTagsForResource, list_tags_for_resource),
    route!(cloudwatch, PutMetricAlarm, put_metric_alarm),
    route!(cloudwatch, SetAlarmState, set_alarm_state),
    route!(cloudwatch, TagResource, tag_resource),
    route!(cloudwatch, UntagResource, untag_resource),
    route!(ecs, ContinueServiceDeployment, continue_service_deployment),
    route!(ecs, CreateCapacityProvider, create_capacity_provider),
    route!(ecs, CreateCluster, create_cluster),
    route!(ecs, CreateDaemon, create_daemon),
    route!(ecs, CreateService, create_service),
    route!(ecs, CreateTaskSet, create_task_set),
    route!(ecs, DeleteAccountSetting, delete_account_setting),
    route!(ecs, DeleteAttributes, delete_attributes),
    route!(ecs, DeleteCapacityProvider, delete_capacity_provider),
    route!(ecs, DeleteCluster, delete_cluster),
    route!(ecs, DeleteDaemon, delete_daemon),
    route!(ecs, DeleteDaemonTaskDefinition, delete_daemon_task_definition),
    route!(ecs, DeleteService, delete_service),
    route!(ecs, DeleteTaskDefinitions, delete_task_definitions),
    route!(ecs, DeleteTaskSet, delete_task_set),
    route!(ecs, DeregisterContainerInstance, deregister_container_instance),
    route!(ecs, DeregisterTaskDefinition, deregister_task_definition),
    route!(ecs, DescribeCapacityProviders, describe_capacity_providers),
    route!(ecs, DescribeClusters, describe_clusters),
    route!(ecs, DescribeContainerInstances, describe_container_instances),
    route!(ecs, DescribeDaemon, describe_daemon),
    route!(ecs, DescribeDaemonDeployments, describe_daemon_deployments),
    route!(ecs, DescribeDaemonRevisions, describe_daemon_revisions),
    route!(ecs, DescribeDaemonTaskDefinition, describe_daemon_task_definition),
    route!(ecs, DescribeServiceDeployments, describe_service_deployments),
    route!(ecs, DescribeServiceRevisions, describe_service_revisions),
    route!(ecs, DescribeServices, describe_services),
    route!(ecs, DescribeTaskDefinition, describe_task_definition),
    route!(ecs, DescribeTaskSets, describe_task_sets),
    route!(ecs, DescribeTasks, describe_tasks),
    route!(ecs, DiscoverPollEndpoint, discover_poll_endpoint, by_leader),
    route!(ecs, GetTaskProtection, get_task_protection, by_leader),
    route!(ecs, ListAccountSettings, list_account_settings),
    route!(ecs, ListAttributes, list_attributes),
    route!(ecs, ListClusters, list_clusters),
    route!(ecs, ListContainerInstances, list_container_instances),
    route!(ecs, ListDaemonDeployments, list_daemon_deployments),
    route!(ecs, ListDaemonTaskDefinitions, list_daemon_task_definitions),
    route!(ecs, ListDaemons, list_daemons),
    route!(ecs, ListServiceDeployments, list_service_deployments),
    route!(ecs, ListServices, list_services),
    route!(ecs, ListServicesByNamespace, list_services_by_namespace),
    route!(ecs, ListTagsForResource, list_tags_for_resource),
    route!(ecs, ListTaskDefinitionFamilies, list_task_definition_families),
    route!(ecs, ListTaskDefinitions, list_task_definitions),
    route!(ecs, ListTasks, list_tasks),
    route!(ecs, PutAccountSetting, put_account_setting),
    route!(ecs, PutAccountSettingDefault, put_account_setting_default),
    route!(ecs, PutAttributes, put_attributes),
    route!(ecs, PutClusterCapacityProviders, put_cluster_capacity_providers),
    route!(ecs, RegisterContainerInstance, register_container_instance, by_leader),
    route!(ecs, RegisterDaemonTaskDefinition, register_daemon_task_definition),
    route!(ecs, RegisterTaskDefinition, register_task_definition),
    route!(ecs, RunTask, run_task, by_leader),
    route!(ecs, StartTask, start_task, by_leader),
    route!(ecs, StopServiceDeployment, stop_service_deployment),
    route!(ecs, StopTask, stop_task),
    route!(ecs, SubmitAttachmentStateChanges, submit_attachment_state_changes),
    route!(ecs, SubmitContainerStateChange, submit_container_state_change, by_leader),
    route!(ecs, SubmitTaskStateChange, submit_task_state_change, by_leader),
    route!(ecs, TagResource, tag_resource),
    route!(ecs, UntagResource, untag_resource),
    route!(ecs, UpdateCapacityProvider, update_capacity_provider),
    route!(ecs, UpdateCluster, update_cluster),
    route!(ecs, UpdateClusterSettings, update_cluster_settings),
    route!(ecs, UpdateContainerAgent, update_container_agent),
    route!(ecs, UpdateContainerInstancesState, update_container_instances_state),
    route!(ecs, UpdateDaemon, update_daemon),
    route!(ecs, UpdateService, update_service),
    route!(ecs, UpdateServicePrimaryTaskSet, update_service_primary_task_set),
    route!(ecs, UpdateTaskProtection, update_task_protection, by_leader),
    route!(ecs, UpdateTaskSet, update_task_set),
    route!(sts, GetCallerIdentity, get_caller_identity),
];

/// The route of an operation, if it has behaviour.
#[must_use]
pub fn find(service: &Service, operation: &OperationModel) -> Option<&'static Route> {
    let wanted = (service.name, operation.name);
    let place = ROUTES.binary_search_by_key(&wanted, |route| (route.service.name, route.operation.name));
    place.ok().map(|place| &ROUTES[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_in_order_and_each_operation_is_there_once() {
        let names: Vec<_> = ROUTES.iter().map(|r| (r.service.name, r.operation.name)).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
