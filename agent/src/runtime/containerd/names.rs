//! What Berth's containers are called in containerd, and the labels that find them again.
//!
//! Pure.

use std::collections::HashMap;

use berth_core::model::TaskId;
use sha2::{Digest, Sha256};

use crate::runtime::{ContainerKey, CreateContainer};

/// Label: the agent whose container it is.
pub(crate) const LABEL_AGENT: &str = "berth.host";
/// Label: task id.
pub(crate) const LABEL_TASK: &str = "berth.task-id";
/// Label: name within the task.
pub(crate) const LABEL_CONTAINER: &str = "berth.container-name";
/// Label: number of the signal that asks the container to stop.
pub(crate) const LABEL_STOP_SIGNAL: &str = "berth.stop-signal";
/// Label with which containerd's garbage collector keeps a resource that nothing else refers to.
pub(crate) const LABEL_GC_ROOT: &str = "containerd.io/gc.root";

/// containerd refuses longer ids.
const MAX_ID_BYTES: usize = 76;
/// containerd refuses labels whose key and value together are longer.
const MAX_LABEL_BYTES: usize = 4096;

/// The container's id in containerd: readable where its name allows, else with a digest of the name.
pub(crate) fn container_id(key: &ContainerKey) -> String {
    let readable = format!("{}-{}", key.task, key.name);
    if readable.len() <= MAX_ID_BYTES && is_containerd_id(&readable) {
        return readable;
    }
    format!(
        "{}-x{}",
        key.task,
        hex::encode(&Sha256::digest(key.name.as_bytes())[..8])
    )
}

/// containerd's rule: letters and digits, separated by single `.`, `_` or `-`.
fn is_containerd_id(text: &str) -> bool {
    text.split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The labels of a container: the user's, then those that find it again.
pub(crate) fn labels(agent: &str, request: &CreateContainer<'_>, stop_signal: i32) -> HashMap<String, String> {
    let fits = |(key, value): &(&String, &String)| key.len() + value.len() <= MAX_LABEL_BYTES;
    let mut labels: HashMap<String, String> = request
        .container
        .docker_labels
        .iter()
        .filter(fits)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    labels.insert(LABEL_AGENT.to_owned(), agent.to_owned());
    labels.insert(LABEL_TASK.to_owned(), request.task.task.to_string());
    labels.insert(LABEL_CONTAINER.to_owned(), request.container.name.clone());
    labels.insert(LABEL_STOP_SIGNAL.to_owned(), stop_signal.to_string());
    labels.insert("com.amazonaws.ecs.task-arn".to_owned(), request.task.task_arn.clone());
    labels.insert("com.amazonaws.ecs.cluster".to_owned(), request.task.cluster.clone());
    labels.insert(
        "com.amazonaws.ecs.container-name".to_owned(),
        request.container.name.clone(),
    );
    labels.insert(
        "com.amazonaws.ecs.task-definition-family".to_owned(),
        request.task.family.clone(),
    );
    labels.insert(
        "com.amazonaws.ecs.task-definition-version".to_owned(),
        request.task.revision.to_string(),
    );
    labels
}

/// Which container the labels of a containerd container name, if it is Berth's.
pub(crate) fn key_of(labels: &HashMap<String, String>) -> Option<ContainerKey> {
    let task: TaskId = labels.get(LABEL_TASK)?.parse().ok()?;
    Some(ContainerKey::new(task, labels.get(LABEL_CONTAINER)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_id_of_a_plain_name_is_readable() {
        assert_eq!(
            container_id(&ContainerKey::new(TaskId(1), "web-1")),
            format!("{}1-web-1", "0".repeat(31))
        );
    }

    #[test]
    fn container_id_of_a_name_that_containerd_refuses_is_a_digest_and_distinct() {
        let ids: Vec<String> = ["web__x", "web_", &"n".repeat(200)]
            .iter()
            .map(|name| container_id(&ContainerKey::new(TaskId(1), name)))
            .collect();
        assert!(
            ids.iter().all(|id| id.len() <= MAX_ID_BYTES && is_containerd_id(id)),
            "{ids:?}"
        );
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    }

    #[test]
    fn key_of_foreign_labels_is_none() {
        assert_eq!(key_of(&HashMap::new()), None);
        let labels = HashMap::from([
            (LABEL_TASK.to_owned(), TaskId(7).to_string()),
            (LABEL_CONTAINER.to_owned(), "web".to_owned()),
        ]);
        assert_eq!(key_of(&labels), Some(ContainerKey::new(TaskId(7), "web")));
    }
}
