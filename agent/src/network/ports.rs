//! Host ports of bridge-mode tasks. Every port in use is held by a bound socket that never listens, so that no other
//! program, and no other host on this machine, can take it; packets are redirected before they would reach it.
//!
//! Owns the choice of dynamic ports. Shell.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use berth_core::model::{NetworkBinding, TaskId, TaskSpec, TransportProtocol};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

use super::{NetworkError, holder};
use crate::runtime::ContainerBinding;

/// Dynamic ports, as Docker and the kernel choose them.
const FIRST_DYNAMIC: u16 = 32768;
const LAST_DYNAMIC: u16 = 60999;

/// Sockets by task.
type Held = HashMap<TaskId, Vec<(TransportProtocol, u16, OwnedFd)>>;

pub(super) struct PortHolder {
    address: Ipv4Addr,
    held: Mutex<Held>,
}

impl PortHolder {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            held: Mutex::default(),
        }
    }

    /// Takes the ports that the task asks for; none if one of them cannot be had.
    pub(super) fn allocate(&self, task: &TaskSpec) -> Result<Vec<ContainerBinding>, NetworkError> {
        let mut sockets = Vec::new();
        let mut bindings = Vec::new();
        // Fixed ports first, lest a dynamic one takes what another container of the task fixes.
        for fixed in [true, false] {
            for container in &task.containers {
                for mapping in &container.port_mappings {
                    let wanted = mapping.host_port.filter(|port| *port != 0);
                    if wanted.is_some() != fixed {
                        continue;
                    }
                    let (port, socket) = match wanted {
                        Some(port) => (port, self.take(mapping.protocol, port)?),
                        None => self.take_dynamic(mapping.protocol)?,
                    };
                    sockets.push((mapping.protocol, port, socket));
                    let binding = NetworkBinding {
                        bind_ip: self.address.to_string(),
                        container_port: mapping.container_port,
                        host_port: port,
                        protocol: mapping.protocol,
                    };
                    bindings.push(ContainerBinding {
                        container: container.name.clone(),
                        binding,
                    });
                }
            }
        }
        self.lock().insert(task.task, sockets);
        Ok(bindings)
    }

    /// Takes the ports of a task that has them already, those that this process does not hold yet.
    pub(super) fn hold_all(&self, task: TaskId, bindings: &[ContainerBinding]) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        for ContainerBinding { binding, .. } in bindings {
            let key = (binding.protocol, binding.host_port);
            let mine = self
                .lock()
                .get(&task)
                .is_some_and(|held| held.iter().any(|(p, n, _)| (*p, *n) == key));
            if mine {
                continue;
            }
            match self.take(binding.protocol, binding.host_port) {
                Ok(socket) => self.lock().entry(task).or_default().push((key.0, key.1, socket)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Lets go of the task's ports.
    pub(super) fn release(&self, task: TaskId) {
        self.lock().remove(&task);
    }

    /// Whether nobody holds this port.
    pub(super) fn is_free(&self, protocol: TransportProtocol, port: u16) -> bool {
        self.bind(protocol, port).is_ok()
    }

    fn take(&self, protocol: TransportProtocol, port: u16) -> Result<OwnedFd, NetworkError> {
        let address = self.address.to_string();
        self.bind(protocol, port).map_err(|errno| match errno {
            Errno::EADDRINUSE => {
                let holder = holder::describe(protocol, port);
                NetworkError::PortTaken {
                    address,
                    port,
                    protocol,
                    holder,
                }
            }
            other => NetworkError::PortRefused {
                address,
                port,
                why: other.desc().to_owned(),
            },
        })
    }

    fn take_dynamic(&self, protocol: TransportProtocol) -> Result<(u16, OwnedFd), NetworkError> {
        let count = LAST_DYNAMIC - FIRST_DYNAMIC + 1;
        let mut random = [0u8; 2];
        if getrandom::fill(&mut random).is_err() {
            random = [0; 2]; // then the search begins at the first port, which is as right
        }
        let start = u16::from_ne_bytes(random) % count;
        for step in 0..count {
            let offset = (u32::from(start) + u32::from(step)) % u32::from(count);
            let port = FIRST_DYNAMIC + u16::try_from(offset).unwrap_or(0);
            if let Ok(socket) = self.bind(protocol, port) {
                return Ok((port, socket));
            }
        }
        Err(NetworkError::NoPortLeft {
            protocol: protocol.as_str(),
            first: FIRST_DYNAMIC,
            last: LAST_DYNAMIC,
        })
    }

    fn bind(&self, protocol: TransportProtocol, port: u16) -> Result<OwnedFd, Errno> {
        let kind = match protocol {
            TransportProtocol::Tcp => SockType::Stream,
            TransportProtocol::Udp => SockType::Datagram,
        };
        let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let address = SockaddrIn::from(SocketAddrV4::new(self.address, port));
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
        Ok(socket)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 177, 0, 1);

    #[test]
    fn port_held_by_another_program_is_refused_and_the_program_named() {
        let other = TcpListener::bind((ADDRESS, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let error = PortHolder::new(ADDRESS)
            .take(TransportProtocol::Tcp, port)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("127.177.0.1:{port}")) && error.contains("tcp"),
            "{error}"
        );
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn port_held_here_can_be_taken_by_nobody_until_released() {
        let holder = PortHolder::new(ADDRESS);
        let (port, socket) = holder.take_dynamic(TransportProtocol::Tcp).unwrap();
        assert!((FIRST_DYNAMIC..=LAST_DYNAMIC).contains(&port));
        holder
            .lock()
            .insert(TaskId(1), vec![(TransportProtocol::Tcp, port, socket)]);
        assert!(TcpListener::bind((ADDRESS, port)).is_err());
        assert!(PortHolder::new(ADDRESS).take(TransportProtocol::Tcp, port).is_err());
        assert!(
            PortHolder::new(ADDRESS).take(TransportProtocol::Udp, port).is_ok(),
            "another protocol is free"
        );
        holder.release(TaskId(1));
        assert!(TcpListener::bind((ADDRESS, port)).is_ok());
    }
}
