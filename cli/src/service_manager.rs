//! What systemd is told by a service of `Type=notify`: that it is ready, that it stops, that it is well.
//!
//! Owns the protocol of sd_notify(3), a datagram to the socket that the environment names. Without one, nothing is told to anybody. Shell.

use std::convert::Infallible;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Signs of life in the time after which systemd takes the service for hung: one may be late.
const SIGNS_PER_DEADLINE: u32 = 3;

/// By how much the end of a service is put off that takes its time to stop.
const MORE_TIME: Duration = Duration::from_secs(30);

/// The service manager that started this process, if one did.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let is_for_this_process = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        Self::at(
            variable("NOTIFY_SOCKET").as_deref(),
            variable("WATCHDOG_USEC").filter(|_| is_for_this_process).as_deref(),
        )
    }

    fn at(socket: Option<&str>, watchdog_usec: Option<&str>) -> Self {
        let address = socket.and_then(|socket| match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(socket).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let deadline = watchdog_usec
            .and_then(|usec| usec.parse().ok())
            .map(Duration::from_micros);
        Self {
            watchdog: deadline.filter(|deadline| socket.is_some() && !deadline.is_zero()),
            socket,
        }
    }

    /// The service serves; `status` is shown by `systemctl status`.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The service has begun to stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Has it wait for a service that takes its time to stop, for as long as this runs.
    pub(crate) async fn take_time(&self) -> Infallible {
        loop {
            self.tell(&format!("EXTEND_TIMEOUT_USEC={}", MORE_TIME.as_micros()));
            tokio::time::sleep(MORE_TIME / SIGNS_PER_DEADLINE).await;
        }
    }

    /// Gives signs of life for as long as `is_healthy` says so each time. Where nobody waits for them, it does nothing, for ever.
    pub(crate) async fn keep_alive(&self, is_healthy: impl AsyncFn() -> bool) -> Infallible {
        let Some(deadline) = self.watchdog else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(deadline / SIGNS_PER_DEADLINE).await;
            if is_healthy().await {
                self.tell("WATCHDOG=1");
            } else {
                tracing::warn!(
                    "not well: no sign of life is given to the service manager, which restarts what gives none for long"
                );
            }
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager cannot be told how this service is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (tempfile::TempDir, UnixDatagram, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let path = path.to_str().expect("text").to_owned();
        (directory, socket, path)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn manager_is_told_that_the_service_is_ready_and_that_it_stops() {
        let (_directory, socket, path) = socket();
        let manager = ServiceManager::at(Some(&path), None);
        manager.ready("serves");
        manager.stopping();
        assert_eq!(received(&socket), "READY=1\nSTATUS=serves");
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[tokio::test]
    async fn manager_is_told_to_wait_for_a_service_that_takes_its_time() {
        let (_directory, socket, path) = socket();
        let manager = ServiceManager::at(Some(&path), None);
        let waited = tokio::time::timeout(Duration::from_millis(100), manager.take_time()).await;
        assert!(waited.is_err(), "it goes on");
        assert_eq!(received(&socket), "EXTEND_TIMEOUT_USEC=30000000");
    }

    #[test]
    fn process_that_no_manager_started_tells_nobody() {
        let manager = ServiceManager::at(None, Some("1000"));
        manager.ready("serves");
        assert_eq!(manager.watchdog, None);
    }

    #[tokio::test]
    async fn signs_of_life_are_given_only_while_the_service_is_well() {
        let (_directory, socket, path) = socket();
        let manager = ServiceManager::at(Some(&path), Some("3000"));
        let asked = std::cell::Cell::new(0);
        let alive = manager.keep_alive(async || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        });
        let enough = async {
            while asked.get() < 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = alive => match never {},
            () = enough => {}
        }
        assert_eq!(received(&socket), "WATCHDOG=1");
        socket.set_nonblocking(true).expect("set");
        assert!(socket.recv(&mut [0; 64]).is_err(), "of five looks, one was good");
    }
}
