//! Quantities with their units: cpu, memory, time, and positions in the replicated log.

use serde::{Deserialize, Serialize};

/// CPU units, 1024 to a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuUnits(pub u32);

/// Memory in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoryMib(pub u32);

/// CPU and memory together, as a task reserves them and a host offers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// CPU units.
    pub cpu: CpuUnits,
    /// Memory in MiB.
    pub memory: MemoryMib,
}

impl Resources {
    /// Both quantities at once.
    #[must_use]
    pub fn new(cpu: u32, memory_mib: u32) -> Self {
        Self {
            cpu: CpuUnits(cpu),
            memory: MemoryMib(memory_mib),
        }
    }

    /// The difference, or `None` where `other` is larger in either quantity.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu: CpuUnits(self.cpu.0.checked_sub(other.cpu.0)?),
            memory: MemoryMib(self.memory.0.checked_sub(other.memory.0)?),
        })
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment and `ms` milliseconds; stays at the end of time on overflow.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative if it is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Index of an entry in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogIndex(pub u64);

/// Where in history something was decided: an agent refuses an assignment older than the newest it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPosition {
    /// Raft term.
    pub term: u64,
    /// Log index.
    pub index: LogIndex,
}
