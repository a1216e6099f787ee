//! Network configurations of services, and the interfaces that tasks have got.

use berth_core::model::{NetworkConfiguration, NetworkInterface, NetworkMode, TaskId, TaskStatus, Timestamp};
use berth_core::state::{ClusterState, Command, Rejection};

use super::given::{cluster, definition, register, report, service, task};
use super::service_deployments::{perform, the_service, update, web};
use berth_core::model::{ContainerInstanceId, TaskReport};

fn subnet(name: &str) -> Option<NetworkConfiguration> {
    Some(NetworkConfiguration {
        subnets: vec![name.to_owned()],
        security_groups: vec![],
    })
}

/// A service whose first revision has addresses of its own and whose second has none.
fn created() -> ClusterState {
    let mut state = ClusterState::at_newest_level();
    let mut own = definition(&web(1));
    own.network_mode = NetworkMode::Awsvpc;
    let mut service = service(&web(1));
    service.network_configuration = subnet("subnet-a");
    let commands = [
        register(0, 0),
        Command::RegisterTaskDefinition(own),
        Command::RegisterTaskDefinition(definition(&web(2))),
        Command::CreateService {
            service: Box::new(service),
            client_token: None,
        },
    ];
    for command in commands {
        perform(&mut state, command).expect("accepted");
    }
    state
}

#[test]
fn service_that_gets_another_network_configuration_is_deployed_anew_and_its_revisions_have_their_own() {
    let mut state = created();
    update(&mut state, "ecs-svc/2", |update| {
        update.network_configuration = subnet("subnet-a")
    });
    assert_eq!(the_service(&state).deployments.len(), 1, "the same is no news");
    update(&mut state, "ecs-svc/2", |update| {
        update.network_configuration = subnet("subnet-b")
    });
    let service = the_service(&state);
    let networks: Vec<_> = service
        .service_deployments
        .iter()
        .map(|d| d.revision.network_configuration.clone())
        .collect();
    assert_eq!(networks, [subnet("subnet-b"), subnet("subnet-a")]);
    assert_eq!(
        service.as_of(&"ecs-svc/1".into()).network_configuration,
        subnet("subnet-a")
    );
}

#[test]
fn service_without_addresses_of_its_own_has_no_network_configuration() {
    let mut state = created();
    update(&mut state, "ecs-svc/2", |update| update.task_definition = Some(web(2)));
    assert_eq!(the_service(&state).network_configuration, None);
    let mut wrong = super::given::no_change(the_service(&state), "ecs-svc/3");
    wrong.network_configuration = subnet("subnet-a");
    let refused = perform(&mut state, Command::UpdateService(Box::new(wrong.clone())));
    assert_eq!(refused, Err(Rejection::NetworkConfigurationNotValid));
    wrong.network_configuration = None;
    wrong.task_definition = Some(web(1));
    let refused = perform(&mut state, Command::UpdateService(Box::new(wrong)));
    assert_eq!(refused, Err(Rejection::NetworkConfigurationNeeded));
    assert_eq!(the_service(&state).deployments.len(), 2);
}

#[test]
fn interface_that_a_task_has_got_is_kept_when_later_reports_say_nothing_of_it_and_in_snapshots() {
    let mut state = created();
    let own = task(7, 0, 10, 10, None);
    let run = Command::RunTasks {
        tasks: vec![own],
        client_token: None,
    };
    perform(&mut state, run).expect("runs");
    let interface = NetworkInterface {
        private_ipv4_address: "10.177.0.2".to_owned(),
        mac_address: "02:00:00:00:00:02".to_owned(),
        subnet_id: "subnet-a".to_owned(),
        private_dns_name: "ip-10-177-0-2.ec2.internal".to_owned(),
    };
    for (status, told) in [
        (TaskStatus::Running, Some(interface.clone())),
        (TaskStatus::Stopped, None),
    ] {
        let reports = vec![TaskReport {
            network_interface: told,
            ..report(7, status)
        }];
        let record = Command::RecordTaskReports {
            container_instance: ContainerInstanceId(0),
            reports,
            at: Timestamp(5),
        };
        perform(&mut state, record).expect("recorded");
    }
    let kept = |state: &ClusterState| state.task(TaskId(7)).and_then(|task| task.network_interface.clone());
    assert_eq!(kept(&state), Some(interface.clone()));
    let restored = ClusterState::from_snapshot(state.snapshot()).expect("whole");
    assert_eq!(kept(&restored), Some(interface));
    assert!(restored.service(&cluster().service("web")).is_some());
}
