//! Host ports that a task could not have since a program which is no task holds them, for as long as it does.
//!
//! Owns the list of them: what a task ran into comes onto it, and what has become free goes off it, so that the controllers send nothing
//! here that needs one of them, and send it again once it can run. It must not know how ports are bound, nor of the session. Shell: it waits.

use std::time::Duration;

use berth_core::model::{Ports, TransportProtocol};
use tokio::sync::watch;

use crate::runtime::Runtime;

/// Between two looks whether they are free.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ports on the list, as the conversation bounds them; a task that runs into more is told so by itself.
const MAX_PORTS: usize = 64;

/// The list.
#[derive(Debug, Default)]
pub(crate) struct ForeignPorts {
    ports: watch::Sender<Ports>,
}

impl ForeignPorts {
    /// A task could not have this port.
    pub(crate) fn found(&self, protocol: TransportProtocol, port: u16) {
        self.ports.send_if_modified(|ports| {
            let is_new = ports.len() < MAX_PORTS && ports.insert((protocol, port));
            if is_new {
                tracing::warn!(port, ?protocol, "a program that is no task holds a port of this host: tasks that need it go elsewhere until it is free");
            }
            is_new
        });
    }

    /// The list, and its changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Ports> {
        self.ports.subscribe()
    }

    /// Takes ports off the list once they are free, for as long as the agent runs.
    pub(crate) async fn look(&self, runtime: &dyn Runtime) {
        let mut changes = self.ports.subscribe();
        loop {
            let listed = changes.borrow_and_update().clone();
            if listed.is_empty() {
                // The sender is this list's own.
                changes.changed().await.ok();
                continue;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            for (protocol, port) in listed {
                if runtime.is_port_free(protocol, port).await {
                    tracing::info!(port, ?protocol, "a port of this host is free again");
                    self.ports.send_modify(|ports| {
                        ports.remove(&(protocol, port));
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SimulatedRuntime;

    #[tokio::test(start_paused = true)]
    async fn port_is_listed_until_it_is_free_and_no_more_than_the_conversation_takes() {
        let (runtime, list) = (SimulatedRuntime::new(), ForeignPorts::default());
        runtime.hold_ports([(TransportProtocol::Tcp, 80)].into());
        for port in 0..100 {
            list.found(TransportProtocol::Tcp, 80 + port);
        }
        let mut listed = list.watch();
        assert_eq!(listed.borrow_and_update().len(), MAX_PORTS);
        let looking = list.look(&runtime);
        let freed = async {
            listed.wait_for(|ports| ports.len() == 1).await.unwrap();
            runtime.hold_ports(Ports::new());
            listed.wait_for(Ports::is_empty).await.unwrap();
        };
        tokio::select! {
            () = looking => {}
            () = freed => {}
        }
        assert!(list.watch().borrow().is_empty());
    }
}
