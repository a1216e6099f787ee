//! The answer: moves with what each is for, and what stays as it is and why. Pure data.

use std::fmt;

use super::measure::Measure;
use super::problem::Stays;
use crate::model::{ContainerInstanceId, MoveStatus, TaskId, TaskMove};
use crate::placement::Refusal;

/// Moves in the order in which they are to be made, and what they bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The moves.
    pub moves: Vec<Move>,
    /// How it is without them.
    pub before: Measure,
    /// How it is after them.
    pub after: Measure,
    /// What could be better and is not, and why.
    pub stuck: Vec<Stuck>,
}

impl Plan {
    /// The moves, as they are to be made.
    #[must_use]
    pub fn to_make(&self) -> Vec<TaskMove> {
        let of_services = self.moves.iter().filter_map(|found| {
            let service = found.group.strip_prefix("service:")?.into();
            Some(TaskMove {
                task: found.task,
                service,
                from: found.from,
                to: found.to,
                status: MoveStatus::Waiting,
            })
        });
        of_services.collect()
    }

    /// Hosts that the moves leave without tasks.
    #[must_use]
    pub fn emptied(&self) -> Vec<ContainerInstanceId> {
        let emptied = self.after.empty.iter().filter(|host| !self.before.empty.contains(host));
        emptied.copied().collect()
    }
}

/// A task that goes to another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The task.
    pub task: TaskId,
    /// Its group, `service:NAME`.
    pub group: String,
    /// Its host.
    pub from: ContainerInstanceId,
    /// The host that its replacement goes to.
    pub to: ContainerInstanceId,
    /// What that is for.
    pub why: Why,
}

/// What a move is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// One zone had more tasks of the group than another.
    Evens {
        /// The zone that has more.
        from: String,
        /// How many, before the move.
        from_tasks: usize,
        /// The zone that has fewer.
        to: String,
        /// How many, before the move.
        to_tasks: usize,
    },
    /// The host is to have no tasks.
    Empties {
        /// Its name.
        host: String,
        /// Which of its tasks this is, counted from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evens {
                from,
                from_tasks,
                to,
                to_tasks,
            } => write!(f, "{from} has {from_tasks} and {to} has {to_tasks}"),
            Self::Empties { host, number, of } => write!(f, "empties {host} ({number} of {of})"),
        }
    }
}

/// Something that could be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// A host that keeps tasks; `None` where it is about zones.
    pub host: Option<ContainerInstanceId>,
    /// The host's name, or the group whose zones are uneven.
    pub name: String,
    /// Why.
    pub obstacle: Obstacle,
}

/// Why something is not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A task stays.
    Stays {
        /// The task.
        task: TaskId,
        /// Its group.
        group: String,
        /// Why.
        why: Stays,
    },
    /// No host that may take the task has room.
    NoRoom {
        /// The task.
        task: TaskId,
        /// Its group.
        group: String,
        /// Which hosts may.
        asked: Asked,
        /// The host that is closest to taking it, and what it says; `None` if there is no host to ask.
        closest: Option<(String, Vec<Refusal>)>,
    },
    /// Each task of the host would find room elsewhere, and not all of them.
    NotTogether {
        /// How many there are.
        tasks: usize,
        /// The first that finds no room once others have moved.
        task: TaskId,
        /// Its group.
        group: String,
        /// A host that would take it if no other moved.
        host: String,
    },
    /// It would make zones uneven over which the task's group is spread.
    Uneven {
        /// The task.
        task: TaskId,
        /// Its group.
        group: String,
    },
    /// It takes more moves than are left.
    TooManyMoves {
        /// How many it takes.
        needs: usize,
        /// How many are left.
        left: usize,
    },
    /// The host takes tasks of hosts that are emptied.
    TakesOthers,
    /// It can be done once these moves are made.
    Later,
    /// The group's placement strategy spreads over something else first.
    OtherStrategy,
}

/// Which hosts may take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Those of a zone.
    InZone(String),
    /// The others that have tasks.
    InUse {
        /// A host that would take it and has no tasks.
        empty: Option<String>,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stays { task, group, why } => write!(f, "task {task} of {group} stays: {why}"),
            Self::NoRoom {
                task,
                group,
                asked,
                closest,
            } => {
                match asked {
                    Asked::InZone(zone) => write!(f, "no host in {zone} takes task {task} of {group}")?,
                    Asked::InUse { .. } => write!(f, "no other host with tasks takes task {task} of {group}")?,
                }
                if let Some((host, refusals)) = closest {
                    let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                    write!(f, "; {host}: {}", refusals.join(", "))?;
                }
                match asked {
                    Asked::InUse { empty: Some(host) } => {
                        write!(f, "; {host} would, but has no tasks, so that nothing would be gained")
                    }
                    _ => Ok(()),
                }
            }
            Self::NotTogether {
                tasks,
                task,
                group,
                host,
            } => write!(
                f,
                "other hosts with tasks do not have room for all of its {tasks} tasks: {host} takes task {task} of {group}, but not once others \
                 have moved"
            ),
            Self::Uneven { task, group } => {
                write!(f, "to move task {task} would make the zones of {group} uneven")
            }
            Self::TooManyMoves { needs: 1, left } => write!(f, "it takes 1 move, and {left} are left"),
            Self::TooManyMoves { needs, left } => write!(f, "it takes {needs} moves, and {left} are left"),
            Self::TakesOthers => f.write_str("it takes tasks of hosts that are emptied"),
            Self::Later => f.write_str("it can be emptied once these moves are made; plan again then"),
            Self::OtherStrategy => f.write_str("its placement strategy does not spread over availability zones first"),
        }
    }
}
