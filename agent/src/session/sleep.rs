//! Putting the host to sleep, when a controller says so. Shell.
//!
//! The session has ended before, which tells the controllers; the next one tells them that the host is awake again, whatever woke it.

use std::time::Duration;

use berth_core::model::{Attributes, attribute_names};
use berth_hooks::Hook;
use tokio::time::Instant;

use super::Session;
use crate::clock;

/// How long the command may take, the time in which the host sleeps left out.
pub(super) const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// How long a host may stay awake after the command: it is sent to sleep by others, which end what they have to.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);

/// Time between two looks at whether the host has slept.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A clock that goes on while the machine sleeps is ahead by so much of one that does not, where it has slept.
const SLEPT: Duration = Duration::from_secs(2);

/// What tells whether the machine has slept since.
struct Watch {
    boot_ms: u64,
    awake: Instant,
}

impl Watch {
    fn start() -> Self {
        Self {
            boot_ms: clock::since_boot_ms(),
            awake: Instant::now(),
        }
    }

    fn has_slept(&self) -> bool {
        let passed = Duration::from_millis(clock::since_boot_ms().saturating_sub(self.boot_ms));
        passed.saturating_sub(self.awake.elapsed()) >= SLEPT
    }
}

impl Session {
    /// Offers no sleep any more once it is known that a controller is on this machine, which the cluster may tell late; whether that is news.
    pub(super) fn withhold_sleep(&mut self) -> bool {
        let offered = self.sleep_command.as_ref();
        let Some(controller) = offered.and_then(|_| self.controllers.on_this_machine()) else {
            return false;
        };
        let trouble = format!(
            "the controller {controller} is on this machine and would sleep too: start this host's agent without --sleep-command"
        );
        tracing::warn!(host = self.host.host_name, trouble, "this host does not sleep");
        self.sleep_command = None;
        without_sleep(&mut self.host.attributes);
        self.withheld = Some(trouble);
        true
    }

    /// Runs the command, and waits until the host has slept. Where it has not, the next session says why.
    pub(super) async fn sleep(&mut self) {
        if self.withhold_sleep() {
            return;
        }
        let Some(command) = self.sleep_command.clone() else {
            return;
        };
        tracing::info!(host = self.host.host_name, "told to put this host to sleep");
        let watch = Watch::start();
        let ended = Hook::new("sleep command", command, COMMAND_WITHIN).run([]).await;
        let due = Instant::now() + ASLEEP_WITHIN;
        let trouble = loop {
            match &ended {
                _ if watch.has_slept() => {
                    tracing::info!(host = self.host.host_name, "this host has slept and is awake again");
                    return;
                }
                Err(error) => break error.to_string(),
                Ok(()) if Instant::now() >= due => {
                    break format!(
                        "the sleep command ended, and the host was still awake after {} s",
                        ASLEEP_WITHIN.as_secs()
                    );
                }
                Ok(()) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        tracing::warn!(host = self.host.host_name, trouble, "this host does not sleep");
        self.not_asleep = Some(trouble);
    }
}

/// Takes off what a host says of itself that can sleep.
fn without_sleep(attributes: &mut Attributes) {
    for name in [attribute_names::SLEEP, attribute_names::MAC_ADDRESSES] {
        attributes.remove(name);
    }
}
