//! Whether a host is awake, asleep, or on its way from one to the other.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How often a host is called before nobody expects it any more for a while.
pub const MAX_CALLS: u32 = 3;

/// How long a host is left alone that did not wake, or could not sleep: long beside what either takes, so that trouble costs little.
pub const REST_MS: i64 = 60 * 60 * 1_000;

/// Where a host is between being awake and asleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PowerState {
    /// It is there, or ought to be.
    #[default]
    Awake,
    /// It takes no tasks, and sleeps once nothing runs on it.
    Emptying,
    /// Its agent is told to put it to sleep; it is asleep once that has gone.
    FallingAsleep,
    /// It is there once it is called.
    Asleep,
    /// It is called, and has not come yet.
    Waking,
    /// Its machine shuts down, and its tasks leave it first; it is awake once its agent is there again.
    ShuttingDown,
}

/// What is known of the sleep of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// Where it is.
    pub state: PowerState,
    /// Since when, where it was another state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether it is to be drained once it is there again, since somebody asked for that before it slept or shut down, or meanwhile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// Whether somebody puts it to sleep: it sleeps whatever its capacity provider needs, and people alone wake it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// When its last task ended that was of no daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emptied_at: Option<Timestamp>,
    /// How often it was called since it is to wake.
    #[serde(skip_serializing_if = "is_none")]
    pub calls: u32,
    /// When it was called last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Timestamp>,
    /// Until when it is neither put to sleep nor called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<Timestamp>,
    /// Why it did not sleep or wake when it was to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// A step between being awake and asleep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerChange {
    /// It is to empty, and to sleep then.
    Empty,
    /// It is needed after all.
    Stay,
    /// Its agent is to put it to sleep.
    Sleep,
    /// Its agent could not.
    NotAsleep {
        /// Why.
        reason: String,
    },
    /// It is called, for the first time or again.
    Call,
    /// It could not be called.
    NotCalled {
        /// Which of the calls.
        call: u32,
        /// Why.
        reason: String,
    },
    /// It has not come, and is left alone for a while.
    GiveUp,
    /// Somebody has it empty and sleep, whatever its capacity provider needs.
    SleepByHand {
        /// Even if tasks on it are protected, which are waited for.
        force: bool,
    },
    /// Somebody has it stay awake, or called.
    WakeByHand,
    /// Its machine shuts down, as its agent says, and its capacity provider has hosts drained before.
    ShutDown,
}

/// Why somebody cannot have a host put to sleep, or woken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerRefusal {
    /// Its agent has no command for it.
    #[error("its agent was started without --sleep-command")]
    NoSleepCommand,
    /// Its agent, which would put it to sleep, is not there.
    #[error("its agent is away, and nobody else puts it to sleep")]
    AgentAway,
    /// It could wait for days.
    #[error("{count} of its tasks are protected from being stopped, the last of them until {}", .until.0)]
    Protected {
        /// How many.
        count: usize,
        /// When the protection of the last of them ends.
        until: Timestamp,
    },
    /// Somebody has put it to sleep before.
    #[error("it is asleep by hand already")]
    Already,
    /// It cannot be told before it is there.
    #[error("it is being woken")]
    Waking,
    /// It cannot be called before it sleeps.
    #[error("it is falling asleep")]
    FallingAsleep,
    /// It is on its way off.
    #[error("its machine shuts down")]
    ShuttingDown,
    /// It does not sleep, as far as anybody knows.
    #[error("it was not put to sleep, and its agent is away")]
    AwayAndAwake,
}

impl PowerState {
    /// What it is called, as the value of an attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Emptying => "emptying",
            Self::FallingAsleep => "falling-asleep",
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::ShuttingDown => "shutting-down",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Awake,
        Self::Emptying,
        Self::FallingAsleep,
        Self::Asleep,
        Self::Waking,
        Self::ShuttingDown,
    ];
}

impl Power {
    /// Whether there is nothing to say of it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is left alone.
    #[must_use]
    pub fn rests(&self, now: Timestamp) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// By when a host has to come that is called, where a first call has `within_ms`: each call has twice the time of the one before.
    #[must_use]
    pub fn is_due_at(&self, within_ms: u32) -> Option<Timestamp> {
        let doublings = self.calls.saturating_sub(1).min(MAX_CALLS);
        let called_at = self.called_at.filter(|_| self.state == PowerState::Waking)?;
        Some(called_at.plus_ms(i64::from(within_ms) << doublings))
    }
}
