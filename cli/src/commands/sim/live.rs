//! The hosts of an experiment on the terminal, each a character that is the fuller the more of it is allocated.
//!
//! Owns how it is drawn. Shell.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_core::model::ContainerInstanceId;
use berth_core::placement::HostState;
use berth_sim::laboratory::{Sample, Workload};

/// How long one picture stands: slow enough to be seen.
const PICTURE: Duration = Duration::from_millis(40);

/// From nothing to everything.
const FULLNESS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns and rows where the terminal does not say.
const SIZE: (u16, u16) = (80, 24);

/// See the module.
pub(super) struct Screen {
    /// What each host has of what is scarce, in the order of their ids.
    all: Vec<(ContainerInstanceId, u64)>,
    by_gpu: bool,
    policy: String,
}

impl Screen {
    /// # Errors
    /// If standard output is no terminal.
    pub(super) fn new(workload: &Workload) -> Result<Self> {
        if !io::stdout().is_terminal() {
            bail!("--live draws on a terminal, and standard output is none: leave it out");
        }
        let by_gpu = workload.capacity().gpu > 0;
        let of = |host: &berth_core::placement::Host| match by_gpu {
            true => u64::from(host.gpus.registered()),
            false => u64::from(host.registered.cpu.0),
        };
        let all = workload.hosts.iter().map(|host| (host.id, of(host))).collect();
        Ok(Self {
            all,
            by_gpu,
            policy: String::new(),
        })
    }

    /// Begins with a policy.
    pub(super) fn begin(&mut self, policy: &str) {
        policy.clone_into(&mut self.policy);
        draw("\x1b[2J");
    }

    /// Draws the hosts; as many as there is room for.
    pub(super) fn show(&self, sample: &Sample, hosts: &[HostState]) {
        let (columns, rows) = terminal_size::terminal_size().map_or(SIZE, |(width, height)| (width.0, height.0));
        let columns = usize::from(columns.max(20));
        let room = columns * usize::from(rows.saturating_sub(3).max(1));
        let what = if self.by_gpu { "GPUs" } else { "CPU" };
        let mut picture = format!(
            "\x1b[H{}: second {}, {what} {:.1} %, {} of {} hosts, {} tasks wait\x1b[K\r\n",
            self.policy,
            sample.at_s,
            if self.by_gpu { sample.gpu } else { sample.cpu },
            sample.hosts_used,
            hosts.len(),
            sample.waiting,
        );
        for (number, (host, (_, all))) in hosts.iter().zip(&self.all).take(room).enumerate() {
            if number > 0 && number % columns == 0 {
                picture.push_str("\r\n");
            }
            picture.push(self.character(host, *all));
        }
        // The last line keeps its last column, which the terminal has not left yet.
        picture.push_str("\r\n");
        if hosts.len() > room {
            picture.push_str(&format!("and {} more hosts\x1b[K\r\n", hosts.len() - room));
        }
        draw(&picture);
        thread::sleep(PICTURE);
    }

    /// Leaves the last picture where it is.
    pub(super) fn end(&self) {
        draw("\r\n");
    }

    fn character(&self, host: &HostState, all: u64) -> char {
        let free: u64 = match self.by_gpu {
            true => host.free_gpus.iter().map(|share| u64::from(*share)).sum(),
            false => u64::from(host.free.cpu.0),
        };
        let used = all.saturating_sub(free);
        let steps = FULLNESS.len() as u64 - 1;
        // Something is more than nothing.
        let step = (used * steps).div_ceil(all.max(1)).min(steps);
        FULLNESS[usize::try_from(step).unwrap_or_default()]
    }
}

/// A reader that has gone is noticed when the table is printed.
fn draw(picture: &str) {
    let mut out = io::stdout().lock();
    out.write_all(picture.as_bytes()).and_then(|()| out.flush()).ok();
}
