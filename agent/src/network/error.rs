//! What can go wrong with a task's network. Pure.

use berth_core::model::TransportProtocol;

/// Why a task's network is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A host port is taken. Begins with Docker's words.
    #[error("Bind for {address}:{port} failed: port is already allocated ({}, {holder})", .protocol.as_str())]
    PortTaken {
        /// Address.
        address: String,
        /// Port.
        port: u16,
        /// Protocol.
        protocol: TransportProtocol,
        /// Who holds it, as far as it can be found out.
        holder: String,
    },
    /// A host port cannot be bound for another reason.
    #[error("Bind for {address}:{port} failed: {why}")]
    PortRefused {
        /// Address.
        address: String,
        /// Port.
        port: u16,
        /// The system's words.
        why: String,
    },
    /// No dynamic port is left.
    #[error("no free {protocol} port is left in {first}-{last} on this host")]
    NoPortLeft {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// A CNI plugin is not on this machine.
    #[error("the CNI plugin {plugin} is not in {searched}: install containernetworking-plugins")]
    PluginMissing {
        /// Name.
        plugin: &'static str,
        /// Directories that were searched.
        searched: String,
    },
    /// A CNI plugin failed.
    #[error("the CNI plugin {plugin} failed at {command}: {why}")]
    Plugin {
        /// Name.
        plugin: String,
        /// `ADD` or `DEL`.
        command: &'static str,
        /// Its own words.
        why: String,
    },
    /// A program is missing that bridge networks need.
    #[error("bridge networks need the program {program}: install {package}")]
    ProgramMissing {
        /// Program.
        program: &'static str,
        /// Package that has it.
        package: &'static str,
    },
    /// A namespace could not be made or removed.
    #[error("the network namespace {name} could not be {action}: {why}")]
    Namespace {
        /// Name.
        name: String,
        /// What was to be done to it.
        action: &'static str,
        /// What was said.
        why: String,
    },
    /// No subnet is free.
    #[error("no subnet of {pool} is free on this machine: give one with the agent's --task-network")]
    NoSubnet {
        /// Where one was looked for.
        pool: String,
    },
    /// Several things went wrong.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<NetworkError>),
    /// A file of ours could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Path.
        path: String,
        /// The system's words.
        why: String,
    },
}

impl NetworkError {
    /// Whether all went well; else everything that did not.
    pub(crate) fn joined(outcomes: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let mut errors: Vec<Self> = outcomes.into_iter().filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    pub(crate) fn file(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}
