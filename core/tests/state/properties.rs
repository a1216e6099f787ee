//! What holds for every sequence of commands.

use std::collections::BTreeMap;

use berth_core::model::{
    AlarmState, ContainerInstanceId, ContainerInstanceStatus, Deployment, DeploymentId, DesiredStatus, HealthStatus,
    HookAction, HostReports, LogIndex, ManagedScalingChanges, MoveStatus, PowerChange, Rebalance, RebalanceGoal,
    Resources, RolloutState, Scale, Service, ServiceDeploymentStatus, StateChange, StopCode, StrategyKind, Task,
    TaskId, TaskMove, TaskReport, TaskStatus, Timestamp, Traffic, TrafficShare, TransportProtocol,
};
use berth_core::state::{
    ClusterState, Command, FeatureLevel, LifecycleProgress, MoveTask, RebalanceProgress, ServiceProgress,
    ServingRevision, SnapshotError, StopType, TaskSetProgress, UpdateCapacityProvider, apply,
};
use proptest::prelude::*;

use super::alarms::{alarm, minded, set};
use super::capacity_providers::{capacity_provider, put_providers};
use super::daemons;
use super::given::{
    CAPACITY, HOSTS, cluster, definition, no_change, register, register_ecs_agent, register_with, report, service, task,
};
use super::lifecycle::paused;
use super::power;
use super::provisioning as waiting;
use super::service_deployments::{found, web};
use super::task_sets;

/// What hosts that come back may have instead.
const OTHER_CAPACITIES: [(u32, u32); 3] = [(1024, 300), (400, 1000), (2048, 4000)];

/// Capacity providers that there may be.
const POOLS: [&str; 2] = ["plain", "gpu"];

/// What hosts may report.
const STATUSES: [TaskStatus; 3] = [TaskStatus::Activating, TaskStatus::Running, TaskStatus::Stopped];

fn commands() -> impl Strategy<Value = Command> {
    let status = prop::sample::select(STATUSES.to_vec());
    let health = prop::option::of(prop::sample::select(vec![
        HealthStatus::Healthy,
        HealthStatus::Unhealthy,
    ]));
    let host_status = prop::sample::select(vec![ContainerInstanceStatus::Active, ContainerInstanceStatus::Draining]);
    prop_oneof![
        (0..HOSTS, 0..1_000_000i64).prop_map(|(h, at)| register(h, at)),
        (0..HOSTS, prop::sample::select(OTHER_CAPACITIES.to_vec())).prop_map(|(h, has)| register_with(h, has, 4)),
        (
            0..200u128,
            0..HOSTS,
            1..600u32,
            1..600u32,
            prop::option::of(prop::sample::select(vec![22u16, 80, 81]))
        )
            .prop_map(|(id, h, cpu, mem, port)| Command::RunTasks {
                tasks: vec![task(id, h, cpu, mem, port)],
                client_token: None
            }),
        (0..200u128, 0..HOSTS, status.clone(), health).prop_map(|(id, h, status, health)| Command::RecordTaskReports {
            container_instance: ContainerInstanceId(h),
            reports: vec![TaskReport {
                health,
                ..report(id, status)
            }],
            at: Timestamp(5),
        }),
        (0..200u128, status.clone()).prop_map(|(id, status)| Command::SubmitStateChange(Box::new(StateChange {
            status: Some(status),
            ..StateChange::nothing_new(TaskId(id), Timestamp(7))
        }))),
        prop::collection::vec((0..200u128).prop_map(TaskId), 0..3).prop_map(|tasks| {
            Command::RecordFailedHealthChecks {
                tasks,
                at: Timestamp(6),
            }
        }),
        prop::collection::vec((0..200u128, 0..HOSTS, status), 0..4).prop_map(|all| {
            let hosts = all.into_iter().map(|(id, h, status)| HostReports {
                container_instance: ContainerInstanceId(h),
                reports: vec![report(id, status)],
                at: Timestamp(5),
            });
            Command::RecordReportsOfHosts { hosts: hosts.collect() }
        }),
        (0..200u128).prop_map(|id| Command::StopTasks {
            tasks: vec![TaskId(id)],
            stop_code: StopCode::UserInitiated,
            reason: "because".to_owned(),
            at: Timestamp(6),
        }),
        prop::collection::vec((0..200u128).prop_map(TaskId), 1..3).prop_map(|tasks| Command::PreemptTasks {
            tasks,
            by: cluster().service("web"),
            reason: "because".to_owned(),
            at: Timestamp(6),
        }),
        (0..200u128, prop::option::of(0..20i64)).prop_map(|(id, until)| Command::UpdateTaskProtection {
            tasks: vec![TaskId(id)],
            protected_until: until.map(Timestamp),
            at: Timestamp(6),
        }),
        (0..HOSTS).prop_map(|h| register_ecs_agent(h, 4)),
        (0..HOSTS, 8000..8004u16).prop_map(|(h, port)| Command::RecordForeignPorts {
            container_instance: ContainerInstanceId(h),
            ports: [(TransportProtocol::Tcp, port)].into(),
        }),
        (0..HOSTS).prop_map(|h| Command::RecordAgentDisconnected {
            container_instance: ContainerInstanceId(h),
            last_heard_at: Timestamp(6),
            at: Timestamp(7)
        }),
        (0..HOSTS).prop_map(|h| Command::DeclareHostLost {
            container_instance: ContainerInstanceId(h),
            reason: "Host lost.".to_owned(),
            at: Timestamp(8),
        }),
        (0..HOSTS, host_status).prop_map(|(h, status)| Command::UpdateContainerInstanceStatus {
            container_instance: ContainerInstanceId(h),
            status,
            at: None,
        }),
        (0..HOSTS, any::<bool>()).prop_map(|(h, force)| Command::DeregisterContainerInstance {
            container_instance: ContainerInstanceId(h),
            force,
            at: Timestamp(9),
        }),
        (0..200u128).prop_map(|id| Command::Forget {
            tasks: vec![TaskId(id)],
            services: vec![],
            container_instances: vec![ContainerInstanceId(id)],
            clusters: vec![],
        }),
        prop::sample::select(POOLS.to_vec()).prop_map(|name| Command::CreateCapacityProvider(capacity_provider(name))),
        prop::sample::select(POOLS.to_vec()).prop_map(|name| Command::DeleteCapacityProvider {
            capacity_provider: cluster().scope.capacity_provider(name),
        }),
        prop::sample::subsequence(POOLS.to_vec(), 0..=POOLS.len()).prop_map(|pools| put_providers(&pools)),
        Just(Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"))),
        rebalancing(),
        alarms(),
        deploying(),
        deploying_from_outside(),
        having_daemons(),
        sleeping(),
        provisioning(),
    ]
}

/// Tasks that wait for a host of their capacity provider, and get one.
fn provisioning() -> impl Strategy<Value = Command> {
    let ids = 0..40u128;
    let run = (ids.clone(), 1..600u32).prop_map(|(id, cpu)| waiting::run(vec![waiting::waiting(id, cpu, POOLS[0])]));
    let place = prop::collection::vec((ids, 0..HOSTS), 1..3).prop_map(|placements| waiting::place(&placements, 9));
    prop_oneof![
        1 => Just(Command::CreateCapacityProvider(capacity_provider(POOLS[0]))),
        1 => Just(put_providers(&POOLS[..1])),
        4 => run,
        4 => place,
    ]
}

/// Hosts that sleep and wake.
fn sleeping() -> impl Strategy<Value = Command> {
    let change = prop::sample::select(vec![
        PowerChange::Empty,
        PowerChange::Stay,
        PowerChange::Sleep,
        PowerChange::Sleep,
        PowerChange::NotAsleep { reason: String::new() },
        PowerChange::Call,
        PowerChange::NotCalled {
            call: 1,
            reason: "é".repeat(400),
        },
        PowerChange::GiveUp,
        PowerChange::SleepByHand { force: false },
        PowerChange::SleepByHand { force: true },
        PowerChange::WakeByHand,
        PowerChange::ShutDown,
    ]);
    let update = |enabled| {
        Command::UpdateCapacityProvider(UpdateCapacityProvider {
            capacity_provider: cluster().scope.capacity_provider(POOLS[0]),
            managed_scaling: Some(ManagedScalingChanges {
                enabled: Some(enabled),
                ..ManagedScalingChanges::default()
            }),
            managed_termination_protection: None,
            managed_draining: None,
        })
    };
    prop_oneof![
        2 => (0..HOSTS).prop_map(|host| power::register_sleepy(host, 4)),
        6 => (0..HOSTS, change).prop_map(|(host, change)| power::power(host, change, 9)),
        1 => any::<bool>().prop_map(update),
    ]
}

/// A daemon that comes and goes, on hosts that join its pool.
fn having_daemons() -> impl Strategy<Value = Command> {
    let define = Command::RegisterTaskDefinition(definition(&daemons::logs()));
    let delete_definition = Command::DeleteDaemonTaskDefinition {
        task_definition: daemons::logs(),
        at: Timestamp(9),
    };
    let gone = ServiceProgress {
        inactive: true,
        ..ServiceProgress::nothing_new(cluster().daemon("logs"), Timestamp(9))
    };
    let is_gone = Command::RecordServiceProgress(Box::new(gone));
    prop_oneof![
        3 => (0..HOSTS).prop_map(daemons::register_in_pool),
        3 => (0..200u128, 0..HOSTS).prop_map(|(id, host)| daemons::task_of_daemon(id, host)),
        2 => any::<bool>().prop_map(daemons::create),
        1 => Just(put_providers(&POOLS)),
        1 => Just(define),
        1 => Just(delete_definition),
        1 => Just(daemons::delete()),
        1 => Just(is_gone),
    ]
}

/// A service that is deployed from outside, by task sets that come and go.
fn deploying_from_outside() -> impl Strategy<Value = Command> {
    let service = Service {
        key: cluster().service("outside"),
        ..task_sets::external()
    };
    let key = service.key.clone();
    let create = Command::CreateService {
        service: Box::new(service),
        client_token: None,
    };
    let ids = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let of_set = (ids, 0..6u8, any::<bool>()).prop_map(move |(id, what, flag)| {
        let (service, at, task_set) = (key.clone(), Timestamp(9), DeploymentId::from(id));
        match what {
            0 | 1 => Command::CreateTaskSet {
                service,
                task_set: Box::new(task_sets::task_set(id)),
                client_token: None,
            },
            2 => Command::UpdateTaskSet {
                service,
                task_set,
                scale: if flag { Scale::WHOLE } else { Scale::NONE },
                at,
            },
            3 => Command::UpdateServicePrimaryTaskSet { service, task_set, at },
            4 => Command::DeleteTaskSet {
                service,
                task_set,
                force: flag,
                at,
            },
            _ => Command::RecordServiceProgress(Box::new(ServiceProgress {
                task_sets: vec![TaskSetProgress {
                    id: task_set,
                    steady: flag,
                    is_gone: !flag,
                }],
                ..ServiceProgress::nothing_new(service, at)
            })),
        }
    });
    prop_oneof![1 => Just(create), 6 => of_set]
}

/// A service that is deployed, stopped, returns and goes.
fn deploying() -> impl Strategy<Value = Command> {
    let site = service(&web(1));
    let id = (1..6u8).prop_map(|number| DeploymentId::of_number(&number.to_string()));
    let create = Command::CreateService {
        service: Box::new(site.clone()),
        client_token: None,
    };
    let delete = Command::DeleteService {
        service: site.key.clone(),
        force: true,
        at: Timestamp(9),
    };
    let (of_update, of_stop, of_resume, of_found) = (site.clone(), site.key.clone(), site.key.clone(), site);
    let action = prop::sample::select(vec![HookAction::Continue, HookAction::Rollback]);
    let resume =
        (id.clone(), action).prop_map(move |(service_deployment, action)| Command::ContinueServiceDeployment {
            service: of_resume.clone(),
            service_deployment,
            hook: "h".to_owned(),
            action,
            at: Timestamp(9),
        });
    let key = of_stop.clone();
    let chosen = prop::option::weighted(0.3, prop::option::of(id.clone()));
    let staged = (id.clone(), id.clone(), 1..4u32, chosen).prop_map(move |(id, serving, turn, chosen)| {
        let mut progress = ServiceProgress::nothing_new(key.clone(), Timestamp(9));
        progress.lifecycle = Some(LifecycleProgress {
            lifecycle: paused("h", turn),
            traffic: Traffic::between(&serving, &id, TrafficShare::NONE),
            serving: chosen.map(|id| ServingRevision { id }),
            id,
        });
        Command::RecordServiceProgress(Box::new(progress))
    });
    let update = (id.clone(), any::<bool>()).prop_map(move |(id, shifts_traffic)| {
        let mut update = no_change(&of_update, id.as_str());
        update.force_new_deployment = true;
        if shifts_traffic {
            update.deployment_configuration.strategy = Some(StrategyKind::BlueGreen);
        }
        Command::UpdateService(Box::new(update))
    });
    let stop_type = prop::sample::select(vec![StopType::Rollback, StopType::Abort]);
    let stop =
        (id.clone(), stop_type).prop_map(move |(service_deployment, stop_type)| Command::StopServiceDeployment {
            service: of_stop.clone(),
            service_deployment,
            stop_type,
            at: Timestamp(9),
        });
    let statuses = prop::sample::select(vec![
        (ServiceDeploymentStatus::Successful, RolloutState::Completed),
        (ServiceDeploymentStatus::Stopped, RolloutState::Failed),
        (ServiceDeploymentStatus::RollbackInProgress, RolloutState::Failed),
        (ServiceDeploymentStatus::RollbackSuccessful, RolloutState::Completed),
    ]);
    let found = (id.clone(), id, statuses, any::<bool>()).prop_map(move |(of, back, (status, rollout), inactive)| {
        let mut progress = found(&of_found, status, rollout);
        progress.deployments[0].id = of.clone();
        if let Some(deployment) = &mut progress.service_deployment {
            deployment.id = of;
        }
        if status == ServiceDeploymentStatus::RollbackInProgress {
            progress.rollback = Some(Deployment::new(back, web(1), Timestamp(9)));
        }
        progress.inactive = inactive;
        Command::RecordServiceProgress(Box::new(progress))
    });
    let define = Command::RegisterTaskDefinition(definition(&web(1)));
    prop_oneof![
        Just(define),
        Just(create),
        update,
        stop,
        staged,
        resume,
        found,
        Just(delete)
    ]
}

/// Alarms of two names, and services that mind one of them.
fn alarms() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b"]);
    let states = prop::sample::select(vec![AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData]);
    let site = service(&web(1));
    let mind = (name.clone(), any::<bool>(), 0..4u32).prop_map(move |(name, rollback, id)| {
        let mut update = no_change(&site, &format!("ecs-svc/{id}"));
        update.force_new_deployment = true;
        update.deployment_configuration.alarms = minded(&[name], rollback);
        Command::UpdateService(Box::new(update))
    });
    prop_oneof![
        name.clone()
            .prop_map(|name| Command::PutAlarm(Box::new(alarm(name, "{}")))),
        (name.clone(), states, 5..9i64).prop_map(|(name, state, at)| set(name, state, at)),
        name.prop_map(|name| Command::DeleteAlarms {
            alarms: vec![cluster().scope.alarm(name)]
        }),
        mind,
    ]
}

/// Moves of tasks that may be there.
fn rebalancing() -> impl Strategy<Value = Command> {
    let moves = prop::collection::vec((0..200u128, 0..HOSTS, 0..HOSTS), 0..4);
    let over = MoveStatus::Dropped {
        reason: "because".to_owned(),
        at: Timestamp(8),
    };
    let begin = moves.prop_map(|moves| {
        let moves = moves.into_iter().map(|(task, from, to)| TaskMove {
            task: TaskId(task),
            service: "web".into(),
            from: ContainerInstanceId(from),
            to: ContainerInstanceId(to),
            status: MoveStatus::Waiting,
        });
        Command::BeginRebalance(Box::new(Rebalance {
            cluster: cluster(),
            id: "r1".to_owned(),
            goal: RebalanceGoal::Zones,
            at_a_time: 1,
            moves: moves.collect(),
            drain: vec![],
            drained: vec![],
            deadline: Timestamp(100),
            stopped: false,
            started_at: Timestamp(7),
            ended_at: None,
        }))
    });
    let step = (0..4u32, prop::option::of((0..200u128, 0..HOSTS))).prop_map(|(number, replacement)| {
        Command::MoveTask(Box::new(MoveTask {
            cluster: cluster(),
            rebalance: "r1".to_owned(),
            number,
            replacement: replacement.map(|(id, host)| task(id, host, 10, 10, None)),
            reason: "it moves".to_owned(),
            at: Timestamp(8),
        }))
    });
    let found = (0..4u32, any::<bool>()).prop_map(move |(number, ended)| {
        Command::RecordRebalance(Box::new(RebalanceProgress {
            cluster: cluster(),
            rebalance: "r1".to_owned(),
            moves: vec![(number, over.clone())],
            drained: vec![],
            ended,
            at: Timestamp(8),
        }))
    });
    let stop = Command::StopRebalance {
        cluster: cluster(),
        at: Timestamp(9),
    };
    prop_oneof![begin, step, found, Just(stop)]
}

/// What the tasks on each host hold, counted from the tasks themselves.
fn held(state: &ClusterState) -> BTreeMap<ContainerInstanceId, (u32, u32, Vec<u16>)> {
    let mut held: BTreeMap<ContainerInstanceId, (u32, u32, Vec<u16>)> = BTreeMap::new();
    for task in state.tasks_of_cluster(&cluster()).filter(|t| !t.is_stopped()) {
        let Some(host) = task.container_instance else {
            assert!(waits(state, task), "{task:?}");
            continue;
        };
        let entry = held.entry(host).or_default();
        entry.0 += task.reservation.cpu.0;
        entry.1 += task.reservation.memory.0;
        entry.2.extend(task.host_ports.iter().map(|(_, p)| *p));
    }
    held
}

/// Whether a task without a host is one of those that wait for one.
fn waits(state: &ClusterState, task: &Task) -> bool {
    let known = state.provisioning_tasks(&cluster()).any(|known| known.id == task.id);
    let is_wanted = task.desired_status == DesiredStatus::Running && task.last_status == TaskStatus::Provisioning;
    known && is_wanted && task.provision_until.is_some()
}

proptest! {
    #[test]
    fn host_after_any_commands_is_never_promised_more_than_it_has(log in prop::collection::vec(commands(), 1..120)) {
        let mut state = ClusterState::default();
        for (index, command) in (1u64..).zip(&log) {
            let before = state.clone();
            let outcome = apply(&mut state, LogIndex(index), command);
            if outcome.is_err() {
                let unchanged: Vec<_> = before.snapshot().skip(1).collect();
                prop_assert_eq!(unchanged, state.snapshot().skip(1).collect::<Vec<_>>());
            }
            let held_before = held(&before);
            for (host, (cpu, memory, mut ports)) in held(&state) {
                let has = state.container_instance(host).expect("kept while it has tasks").host.capacity;
                // A host that came back smaller keeps what it had, and gets no more.
                let had = held_before.get(&host).map_or((0, 0), |(cpu, memory, _)| (*cpu, *memory));
                prop_assert!(cpu <= has.cpu.0.max(had.0) && memory <= has.memory.0.max(had.1));
                let free = state.allocation(host).free(has);
                let left = Resources::new(has.cpu.0.saturating_sub(cpu), has.memory.0.saturating_sub(memory));
                prop_assert_eq!(free, left);
                let count = ports.len();
                ports.sort_unstable();
                ports.dedup();
                prop_assert_eq!(ports.len(), count);
                prop_assert!(!ports.contains(&22));
            }
        }
    }

    #[test]
    fn snapshot_of_any_state_restores_an_equal_state(log in prop::collection::vec(commands(), 1..120)) {
        let mut state = ClusterState::default();
        for (index, command) in (1u64..).zip(&log) {
            let _refused = apply(&mut state, LogIndex(index), command).is_err();
        }
        let records: Vec<_> = state.snapshot().collect();
        let json = serde_json::to_string(&records).expect("serializes");
        let read = serde_json::from_str::<Vec<_>>(&json).expect("deserializes");
        let restored = ClusterState::from_snapshot(read).expect("whole");
        prop_assert_eq!(restored.snapshot().collect::<Vec<_>>(), records.clone());
        // What is kept beside the records is the same too.
        prop_assert_eq!(&restored, &state);
        for host in (0..HOSTS).map(ContainerInstanceId) {
            let capacity = Resources::new(CAPACITY.0, CAPACITY.1);
            prop_assert_eq!(restored.allocation(host).free(capacity), state.allocation(host).free(capacity));
        }
        if records.len() > 2 {
            let mut cut = records;
            cut.remove(1);
            let refused = matches!(ClusterState::from_snapshot(cut), Err(SnapshotError::RecordsMissing { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn command_written_and_read_back_is_the_same(command in commands()) {
        let json = serde_json::to_string(&command).expect("serializes");
        prop_assert_eq!(serde_json::from_str::<Command>(&json).expect("deserializes"), command);
    }
}
