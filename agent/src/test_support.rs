//! What the tests of several modules need.

use std::collections::BTreeMap;

use berth_core::model::{ContainerSpec, CpuUnits, MemoryMib, NetworkMode, TaskId, TaskSpec};

/// A task of one essential container named `main`.
pub(crate) fn task_spec(id: u128, image: &str) -> TaskSpec {
    TaskSpec {
        task: TaskId(id),
        task_arn: format!("arn:aws:ecs:us-east-1:123456789012:task/default/{}", TaskId(id)),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        network_mode: NetworkMode::Bridge,
        cpu: None,
        memory: None,
        fargate: false,
        containers: vec![ContainerSpec {
            name: "main".to_owned(),
            image: image.to_owned(),
            cpu: CpuUnits(128),
            memory: Some(MemoryMib(64)),
            memory_reservation: None,
            essential: true,
            entry_point: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
            working_directory: None,
            user: None,
            port_mappings: Vec::new(),
            stop_timeout_secs: 30,
            docker_labels: BTreeMap::new(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        }],
    }
}
