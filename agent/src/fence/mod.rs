//! Stops the host's tasks when it is cut off from every controller for as long as its cluster says, if it says so.
//!
//! Owns when that is: counted by the clock of this boot from the last heartbeat that a leader answered, over restarts of
//! the agent. Controllers that do not lead count for nothing: those that were cut off together with this host know no better
//! than it does. It must not know how tasks are stopped, nor how controllers are reached. Shell; the decision is in `contact`, which is pure.

mod contact;
mod file;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::HostSettings;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::supervisor::Order;
use contact::Contact;
use file::ContactFile;

/// Between two looks at the clock: timers stand still while a machine sleeps, and that clock does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the session says that a controller was heard.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    boot: Arc<str>,
    contact: Arc<watch::Sender<Option<Contact>>>,
    file: Option<ContactFile>,
}

impl Fence {
    /// Takes up what an earlier process of the agent has left in the folder of its ledger, if there is one. Blocks.
    ///
    /// # Errors
    /// If the kernel does not tell one boot from another.
    pub(crate) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let boot = clock::boot_id()?;
        let file = folder.map(ContactFile::in_folder);
        let left = file.as_ref().and_then(|file| {
            file.read().unwrap_or_else(|error| {
                tracing::warn!(%error, "it cannot be read when a controller was heard last: counted from the next time");
                None
            })
        });
        let contact = left.map(|contact| contact.taken_up(&boot, clock::since_boot_ms()));
        Ok(Self {
            boot: boot.into(),
            contact: Arc::new(watch::Sender::new(contact)),
            file,
        })
    }

    /// A leader has answered what was sent at `sent_at_ms` since boot, and these are the settings.
    pub(crate) fn heard(&self, sent_at_ms: u64, settings: &HostSettings) {
        let fence_after_ms = (settings.fence_after_ms > 0).then_some(settings.fence_after_ms);
        let contact = Contact::new(&self.boot, sent_at_ms, fence_after_ms);
        self.contact.send_replace(Some(contact));
    }

    /// Watches until the supervisor is gone.
    pub(crate) async fn watch(self, orders: mpsc::Sender<Order>) {
        let mut contact = self.contact.subscribe();
        let mut kept = None;
        loop {
            let newest = contact.borrow_and_update().clone();
            self.keep(newest.as_ref(), &mut kept).await;
            let after_ms = newest.as_ref().and_then(Contact::fence_after_ms);
            let due_at_ms = newest.as_ref().and_then(Contact::fence_due_at_ms);
            tokio::select! {
                biased;
                changed = contact.changed() => if changed.is_err() { return },
                after_ms = due(due_at_ms, after_ms) => {
                    tracing::warn!(after_ms, "no controller has been heard for so long: this host stops its tasks, as its cluster says");
                    if orders.send(Order::Fence { after_ms }).await.is_err() || contact.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Keeps the contact for the next start. Without a fence nothing depends on when it was.
    async fn keep(&self, contact: Option<&Contact>, kept: &mut Option<Option<u32>>) {
        let (Some(file), Some(contact)) = (self.file.clone(), contact.cloned()) else {
            return;
        };
        let fence = contact.fence_after_ms();
        let is_new = *kept != Some(fence);
        if fence.is_none() && !is_new {
            return;
        }
        // A panic in it would be as bad as an error: it is not kept.
        let written = tokio::task::spawn_blocking(move || file.write(&contact, is_new)).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => *kept = Some(fence),
            Err(error) => {
                tracing::warn!(%error, "it cannot be kept when a controller was heard: the next start may stop tasks too early");
            }
        }
    }
}

/// Resolves with the fence once it is due.
async fn due(at_ms: Option<u64>, after_ms: Option<u32>) -> u32 {
    let (Some(at_ms), Some(after_ms)) = (at_ms, after_ms) else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::from_millis(at_ms.saturating_sub(clock::since_boot_ms()));
        if left.is_zero() {
            return after_ms;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}
