//! When controllers were last heard, and until when tasks may run on without them. Pure.

use serde::{Deserialize, Serialize};

/// How long an agent that starts has to find a controller before its tasks are stopped for the time that passed without
/// it: long enough to connect to one that is there. Granted once until a controller is heard, so that an agent which is
/// started again and again does not put the fence off for ever.
pub(super) const GRACE_MS: u64 = 5_000;

/// The last contact with the controllers. Its times count from the boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contact {
    /// The boot whose clock this is.
    boot: String,
    /// When the heartbeat that was answered last was sent. Controllers have heard the agent since then, so a host that is fenced
    /// sooner than it counts as lost has stopped its tasks before others take their place.
    heard_at_ms: u64,
    /// How long tasks may run on from there; `None` for as long as they like.
    fence_after_ms: Option<u32>,
    /// The fence is not due before this, since an agent has just started.
    not_before_ms: Option<u64>,
}

impl Contact {
    /// A controller has answered what was sent at `heard_at_ms`, and says what the fence is.
    pub(super) fn new(boot: &str, heard_at_ms: u64, fence_after_ms: Option<u32>) -> Self {
        Self {
            boot: boot.to_owned(),
            heard_at_ms,
            fence_after_ms,
            not_before_ms: None,
        }
    }

    /// The contact as an agent takes it up that starts now. The processes of another boot have ended with it, so what
    /// counts is this one.
    pub(super) fn taken_up(self, boot: &str, now_ms: u64) -> Self {
        if self.boot != boot {
            return Self::new(boot, now_ms, self.fence_after_ms);
        }
        Self {
            not_before_ms: self.not_before_ms.or(Some(now_ms.saturating_add(GRACE_MS))),
            ..self
        }
    }

    /// The fence, where there is one.
    pub(super) fn fence_after_ms(&self) -> Option<u32> {
        self.fence_after_ms
    }

    /// When tasks are to be stopped if no controller is heard until then.
    pub(super) fn fence_due_at_ms(&self) -> Option<u64> {
        let due = self.heard_at_ms.saturating_add(u64::from(self.fence_after_ms?));
        Some(due.max(self.not_before_ms.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_is_due_so_long_after_the_last_contact_and_never_without_a_value() {
        assert_eq!(
            Contact::new("boot", 1_000, Some(30_000)).fence_due_at_ms(),
            Some(31_000)
        );
        assert_eq!(Contact::new("boot", 1_000, None).fence_due_at_ms(), None);
    }

    #[test]
    fn agent_restarted_while_cut_off_goes_on_counting_from_the_last_contact() {
        let contact = Contact::new("boot", 1_000, Some(30_000)).taken_up("boot", 10_000);
        assert_eq!(contact.fence_due_at_ms(), Some(31_000));
    }

    #[test]
    fn agent_started_after_the_fence_was_due_may_look_for_a_controller_once() {
        let contact = Contact::new("boot", 1_000, Some(30_000)).taken_up("boot", 50_000);
        assert_eq!(contact.fence_due_at_ms(), Some(50_000 + GRACE_MS));
        let again = contact.taken_up("boot", 54_000).taken_up("boot", 90_000);
        assert_eq!(again.fence_due_at_ms(), Some(50_000 + GRACE_MS));
    }

    #[test]
    fn agent_started_after_another_boot_counts_from_its_start() {
        let contact = Contact::new("old", 9_000_000, Some(30_000)).taken_up("new", 20_000);
        assert_eq!(contact.fence_due_at_ms(), Some(50_000));
        let again = contact.taken_up("new", 40_000);
        assert_eq!(again.fence_due_at_ms(), Some(50_000));
    }
}
