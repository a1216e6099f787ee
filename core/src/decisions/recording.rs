//! A recording that was read: what its lines say, held together. A line that is wrong is refused with the reason. Pure.

use std::sync::Arc;

use serde::Deserialize;

use super::line::{
    ChangedLine, DecisionLine, EntryLine, Header, HostLine, HostNumberLine, HostStatus, Line, PlacedLine, RequestLine,
    TaskLine, UnplacedLine, VERSION,
};
use super::scene::{Held, Scene};
use super::words;
use crate::model::{
    ContainerInstanceId, ContainerInstanceStatus, LogIndex, Ports, PowerState, Resources, TaskId, Timestamp,
};
use crate::placement::{Ask, Gpus, Host, MAX_STRATEGIES, Shape};

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it is of.
    pub header: Header,
    /// Ids of hosts by their numbers, those that came later included.
    pub hosts: Vec<ContainerInstanceId>,
    /// What tasks ask for, by number.
    pub requests: Vec<Arc<Ask>>,
    /// Hosts and tasks at the beginning.
    pub start: Scene,
    /// What happened, in the order of the log.
    pub entries: Vec<Entry>,
    /// The last entry of the log that may be in it.
    pub last_index: LogIndex,
}

/// An entry of the log that changed something.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its index.
    pub index: LogIndex,
    /// The newest time that an entry up to it names.
    pub at: Option<Timestamp>,
    /// What came of it, in order.
    pub happenings: Vec<Happening>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A host is new, or otherwise than it was; without its tasks.
    Host(Arc<Host>),
    /// A task was put on a host.
    Placed(PlacedTask),
    /// A task runs, or is no longer to.
    Changed {
        /// Which.
        task: u32,
        /// Whether it is wanted to run.
        wanted: bool,
        /// Whether it runs.
        running: bool,
        /// Ports that its host gave it.
        bound: Ports,
    },
    /// A task holds nothing any more.
    Gone(u32),
    /// So many tasks found no host.
    Unplaced {
        /// Number of what they ask for.
        request: u32,
        /// How many.
        tasks: u32,
    },
    /// A host was given up.
    Lost(ContainerInstanceId),
    /// A host left.
    Left(ContainerInstanceId),
}

/// A task that was put on a host.
#[derive(Clone, Debug)]
pub struct PlacedTask {
    /// Its number.
    pub task: u32,
    /// Its id.
    pub id: TaskId,
    /// Number of what it asks for.
    pub request: u32,
    /// The host.
    pub host: ContainerInstanceId,
    /// Whether it could go to no other.
    pub only_host: bool,
    /// How the host was chosen, if that was recorded.
    pub decision: Option<DecisionLine>,
}

/// Why a recording cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// A line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no last line.
    #[error(
        "the recording is cut off after line {0}: its last line should be the one that says \"end\"; export it again"
    )]
    CutOff(u64),
}

/// Reads a recording line by line.
#[derive(Debug, Default)]
pub struct Reader {
    lines: u64,
    recording: Option<Recording>,
    /// Hosts and tasks as they are after the last line.
    now: Scene,
    tasks: u32,
    ended: bool,
}

/// What is read of a first line of whatever version.
#[derive(Deserialize)]
struct AnyHeader {
    recording: AnyVersion,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Recording {
    /// Has a happening take place as it was recorded.
    pub fn follow(&self, scene: &mut Scene, happening: &Happening) {
        match happening {
            Happening::Host(host) => scene.describe(Arc::clone(host)),
            Happening::Placed(placed) => {
                if let Some(request) = self.requests.get(at(placed.request)) {
                    scene.put(placed.task, placed.host, Held::new(Arc::clone(request)));
                }
            }
            Happening::Changed {
                task,
                wanted,
                running,
                bound,
            } => {
                scene.change(*task, |held| {
                    (held.wanted, held.running) = (*wanted, *running);
                    held.bound.clone_from(bound);
                });
            }
            Happening::Gone(task) => _ = scene.take_off(*task),
            Happening::Left(host) => _ = scene.remove(*host),
            Happening::Unplaced { .. } | Happening::Lost(_) => {}
        }
    }

    /// What a task that was put on a host asks for.
    ///
    /// # Panics
    /// If it is of another recording.
    #[must_use]
    pub fn request(&self, number: u32) -> &Arc<Ask> {
        self.requests
            .get(at(number))
            .expect("a recording has the requests that it names")
    }
}

impl Reader {
    /// Takes in the next line.
    ///
    /// # Errors
    /// [`RecordingError::Line`]; nothing more is read after that.
    pub fn line(&mut self, text: &str) -> Result<(), RecordingError> {
        self.lines += 1;
        let line = self.lines;
        let taken = parse(text, line == 1).and_then(|parsed| self.take(parsed));
        taken.map_err(|reason| RecordingError::Line { line, reason })
    }

    /// What the lines say.
    ///
    /// # Errors
    /// [`RecordingError::CutOff`].
    pub fn end(self) -> Result<Recording, RecordingError> {
        match self.recording.filter(|_| self.ended) {
            Some(recording) => Ok(recording),
            None => Err(RecordingError::CutOff(self.lines)),
        }
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        if self.ended {
            return Err("the recording goes on after its end".to_owned());
        }
        if let Line::Recording(header) = line {
            return self.begin(header);
        }
        if self.recording.is_none() {
            return Err("the first line of a recording is the one that says \"recording\"".to_owned());
        }
        match line {
            Line::Recording(_) => Ok(()),
            Line::Host(host) => self.host(host),
            Line::Request(request) => self.request(request),
            Line::Task(task) => self.task(task),
            Line::Entry(entry) => self.entry(&entry),
            Line::Placed(placed) => self.placed(placed),
            Line::Changed(changed) => self.changed(changed),
            Line::Gone(gone) => {
                self.now.take_off(gone.task).ok_or_else(|| no_task(gone.task))?;
                self.happens(Happening::Gone(gone.task))
            }
            Line::Unplaced(unplaced) => self.unplaced(&unplaced),
            Line::Lost(lost) => {
                let host = self.present(lost.host)?;
                self.happens(Happening::Lost(host))
            }
            Line::Left(left) => self.left(&left),
            Line::End(end) => {
                let lines = self.lines - 1;
                if end.lines != lines {
                    return Err(format!(
                        "{} lines should be in front of this one, and {lines} are",
                        end.lines
                    ));
                }
                self.ended = true;
                self.recorded()?.last_index = end.index;
                Ok(())
            }
        }
    }

    fn begin(&mut self, header: Header) -> Result<(), String> {
        if self.recording.is_some() {
            return Err("the recording begins a second time".to_owned());
        }
        self.recording = Some(Recording {
            last_index: header.from_index,
            header,
            hosts: vec![],
            requests: vec![],
            start: Scene::default(),
            entries: vec![],
        });
        Ok(())
    }

    fn recorded(&mut self) -> Result<&mut Recording, String> {
        self.recording
            .as_mut()
            .ok_or_else(|| "the recording has not begun".to_owned())
    }

    fn host(&mut self, line: HostLine) -> Result<(), String> {
        let hosts = &mut self.recorded()?.hosts;
        match hosts.get(at(line.host)) {
            Some(known) if *known == line.id => {}
            Some(known) => return Err(format!("host {} is {known} and not {}", line.host, line.id)),
            None if at(line.host) != hosts.len() => return Err(out_of_order("host", line.host, hosts.len())),
            None if hosts.contains(&line.id) => return Err(format!("host {} has a number already", line.id)),
            None => hosts.push(line.id),
        }
        let host = Arc::new(bare(line)?);
        self.now.describe(Arc::clone(&host));
        if self.recorded()?.entries.is_empty() {
            self.recorded()?.start.describe(host);
            return Ok(());
        }
        self.happens(Happening::Host(host))
    }

    fn request(&mut self, line: RequestLine) -> Result<(), String> {
        let requests = &mut self.recorded()?.requests;
        if at(line.request) != requests.len() {
            return Err(out_of_order("request", line.request, requests.len()));
        }
        if line.strategies.len() > MAX_STRATEGIES {
            return Err(format!(
                "a request has at most {MAX_STRATEGIES} strategies, and this one {}",
                line.strategies.len()
            ));
        }
        requests.push(Arc::new(Ask {
            group: line.group,
            capacity_provider: line.capacity_provider,
            shape: Shape::of(Resources::new(line.cpu, line.memory)),
            host_ports: read_ports(&line.ports)?,
            constraints: read_words("constraint", &line.constraints, words::constraint)?,
            strategies: read_words("strategy", &line.strategies, words::strategy)?,
        }));
        Ok(())
    }

    fn task(&mut self, line: TaskLine) -> Result<(), String> {
        if !self.recorded()?.entries.is_empty() {
            return Err("tasks that were there at the beginning come before the first entry".to_owned());
        }
        let host = self.present(line.host)?;
        let held = Held {
            wanted: line.wanted,
            running: line.running,
            bound: read_ports(&line.ports)?,
            ..Held::new(self.requested(line.request)?)
        };
        self.next_task(line.task)?;
        self.now.put(line.task, host, held.clone());
        self.recorded()?.start.put(line.task, host, held);
        Ok(())
    }

    fn entry(&mut self, line: &EntryLine) -> Result<(), String> {
        let recording = self.recorded()?;
        let before = recording.entries.last().map(|entry| entry.index);
        if line.index < recording.header.from_index || before.is_some_and(|before| line.index <= before) {
            return Err(format!("entry {} is not behind what was recorded before", line.index.0));
        }
        recording.entries.push(Entry {
            index: line.index,
            at: line.at,
            happenings: vec![],
        });
        Ok(())
    }

    fn placed(&mut self, line: PlacedLine) -> Result<(), String> {
        let (host, request) = (self.present(line.host)?, self.requested(line.request)?);
        let runner_up = line.decision.as_ref().and_then(|decision| decision.runner_up.as_ref());
        if let Some(other) = runner_up {
            self.known_host(other.host)?;
        }
        self.next_task(line.task)?;
        self.now.put(line.task, host, Held::new(request));
        self.happens(Happening::Placed(PlacedTask {
            task: line.task,
            id: line.id,
            request: line.request,
            host,
            only_host: line.only_host,
            decision: line.decision,
        }))
    }

    fn changed(&mut self, line: ChangedLine) -> Result<(), String> {
        let bound = read_ports(&line.ports)?;
        let is_there = self.now.change(line.task, |held| {
            (held.wanted, held.running, held.bound) = (line.wanted, line.running, bound.clone());
        });
        if !is_there {
            return Err(no_task(line.task));
        }
        self.happens(Happening::Changed {
            task: line.task,
            wanted: line.wanted,
            running: line.running,
            bound,
        })
    }

    fn unplaced(&mut self, line: &UnplacedLine) -> Result<(), String> {
        self.requested(line.request)?;
        self.happens(Happening::Unplaced {
            request: line.request,
            tasks: line.tasks,
        })
    }

    fn left(&mut self, line: &HostNumberLine) -> Result<(), String> {
        let host = self.present(line.host)?;
        if let Some((task, _)) = self.now.remove(host).first() {
            return Err(format!(
                "host {} leaves with task {task}, which should be gone before",
                line.host
            ));
        }
        self.happens(Happening::Left(host))
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        let entry = self.recorded()?.entries.last_mut();
        let entry = entry.ok_or_else(|| "nothing happens before the first entry".to_owned())?;
        entry.happenings.push(happening);
        Ok(())
    }

    fn known_host(&mut self, number: u32) -> Result<ContainerInstanceId, String> {
        let hosts = &self.recorded()?.hosts;
        let id = hosts.get(at(number)).copied();
        id.ok_or_else(|| format!("there is no host {number}: it was not described before"))
    }

    /// The host of a number that is there now.
    fn present(&mut self, number: u32) -> Result<ContainerInstanceId, String> {
        let id = self.known_host(number)?;
        let is_there = self.now.host(id).is_some();
        is_there.then_some(id).ok_or_else(|| format!("host {number} has left"))
    }

    fn requested(&mut self, number: u32) -> Result<Arc<Ask>, String> {
        let requests = &self.recorded()?.requests;
        let request = requests.get(at(number)).cloned();
        request.ok_or_else(|| format!("there is no request {number}: it was not told before"))
    }

    fn next_task(&mut self, number: u32) -> Result<(), String> {
        if number != self.tasks {
            return Err(out_of_order("task", number, at(self.tasks)));
        }
        self.tasks = number
            .checked_add(1)
            .ok_or_else(|| "there are too many tasks".to_owned())?;
        Ok(())
    }
}

fn parse(text: &str, is_first: bool) -> Result<Line, String> {
    if is_first {
        let header = serde_json::from_str::<AnyHeader>(text);
        let version =
            header.map_err(|_| "this is no recording of placement decisions: it does not begin as one".to_owned())?;
        let version = version.recording.version;
        if version != VERSION {
            return Err(format!(
                "the recording has version {version} of the format, and this program reads version {VERSION}: use the berth that wrote it"
            ));
        }
    }
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // It counts lines too, and sees one only.
        said.replace(" at line 1 column ", " at column ")
    })
}

fn bare(line: HostLine) -> Result<Host, String> {
    let registered = Resources::new(line.cpu, line.memory);
    Ok(Host {
        id: line.id,
        name: line.name,
        attributes: line.attributes,
        capacity_provider: line.capacity_provider,
        registered,
        free: registered,
        gpus: Gpus::default(),
        used_ports: Ports::new(),
        foreign_ports: read_ports(&line.foreign_ports)?,
        status: match line.status {
            HostStatus::Active => ContainerInstanceStatus::Active,
            HostStatus::Draining => ContainerInstanceStatus::Draining,
        },
        agent_connected: line.connected,
        power: PowerState::Awake,
        makes_room_for: line.makes_room_for,
        missing_daemon: None,
        agent_version: line.agent_version,
        registered_at: line.registered_at,
        running_tasks: 0,
        tasks_by_group: std::collections::BTreeMap::new(),
    })
}

fn read_ports(ports: &[String]) -> Result<Ports, String> {
    read_words("port", ports, words::port)
}

fn read_words<T, C: FromIterator<T>>(
    what: &str,
    words: &[String],
    read: impl Fn(&str) -> Option<T>,
) -> Result<C, String> {
    let read = |word: &String| read(word).ok_or_else(|| format!("'{word}' is no {what}"));
    words.iter().map(read).collect()
}

fn no_task(number: u32) -> String {
    format!("there is no task {number}: it was not put on a host before, or is gone")
}

fn out_of_order(what: &str, found: u32, expected: usize) -> String {
    format!("the next {what} that is new has number {expected} and not {found}")
}

fn at(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
