//! Seeded source of ids and other unpredictable values. Pure: a shell seeds it from the operating system,
//! a test from a constant, and equal seeds give equal ids.

use crate::model::{ContainerInstanceId, DeploymentId, TaskId};

/// A stream of ids that depends on its seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub struct IdSource {
    state: u64,
}

impl IdSource {
    /// A source whose whole stream follows from `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// A fresh task id.
    pub fn task_id(&mut self) -> TaskId {
        TaskId(self.next_u128())
    }

    /// A fresh container instance id.
    pub fn container_instance_id(&mut self) -> ContainerInstanceId {
        ContainerInstanceId(self.next_u128())
    }

    /// A fresh deployment id, `ecs-svc/` and 19 digits as ECS writes it.
    pub fn deployment_id(&mut self) -> DeploymentId {
        const LOWEST: u64 = 1_000_000_000_000_000_000;
        DeploymentId::from(format!("ecs-svc/{}", LOWEST + self.next_u64() % (8 * LOWEST)))
    }

    /// A fresh identifier in UUID form, as service events carry.
    pub fn uuid(&mut self) -> String {
        in_uuid_form(self.next_u128())
    }

    /// The same, and another one for each `salt`: its first half is no other's of the same salt whose seed is another.
    pub fn uuid_in(&mut self, salt: u64) -> String {
        let first = self.next_u64();
        let second = Self::from_seed(first ^ salt).next_u64();
        in_uuid_form((u128::from(first) << 64) | u128::from(second))
    }
}

fn in_uuid_form(number: u128) -> String {
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_source_with_equal_seeds_gives_equal_ids() {
        let (mut a, mut b) = (IdSource::from_seed(7), IdSource::from_seed(7));
        assert_eq!(a.task_id(), b.task_id());
        assert_eq!(a.deployment_id(), b.deployment_id());
        assert_ne!(a.task_id(), a.task_id());
    }

    #[test]
    fn deployment_id_has_the_form_of_ecs() {
        let id = IdSource::from_seed(1).deployment_id();
        let digits = id.as_str().strip_prefix("ecs-svc/").expect("prefix");
        assert_eq!(digits.len(), 19);
        assert!(digits.bytes().all(|b| b.is_ascii_digit()));
    }
}
