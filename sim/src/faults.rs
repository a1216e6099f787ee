//! What goes wrong while a run is busy. A model of the world.

use berth_raft::{Founding, MemberRecord, MemberRole, MembershipChange};

use crate::checks::Checked;
use crate::controller::Input;
use crate::network::{End, Weather};
use crate::world::{Event, World};

/// Time between two faults, from and to.
const FAULT_EVERY_MS: (u64, u64) = (50, 700);

/// How far a clock jumps at most, ahead or back.
const CLOCK_JUMP_MS: u64 = 120_000;

/// Members that a group grows to.
const MOST_MEMBERS: usize = 5;

/// Time between two steps of a change of members: adding, then promoting.
const MEMBERS_CHANGE_EVERY_MS: u64 = 1_500;

/// Commits within which a disk that is to fail does.
const COMMITS_UNTIL_FAILURE: u64 = 6;

impl World {
    /// Something goes wrong, or ends to be wrong; later, something else.
    pub(crate) fn fault(&mut self) -> Checked {
        if !self.busy {
            return Ok(());
        }
        let (least, most) = FAULT_EVERY_MS;
        let pause = self.draws.between(least, most);
        self.schedule.after(pause, Event::Fault);
        match self.draws.below(100) {
            0..16 => self.fail_disk(),
            16..30 => self.kill_controller(),
            30..40 => self.pause(),
            40..52 => self.part_controllers(),
            52..64 => {
                self.network.heal();
                self.count("heals");
            }
            64..72 => self.change_weather(),
            72..78 => return self.hand_over(),
            78..88 => self.cut_off_agent(),
            88..93 => self.crash_agent(),
            93..95 => self.harm_container(),
            95..97 => self.set_clock(),
            _ => return self.change_members(6),
        }
        Ok(())
    }

    /// Its power is cut, or its disk fails, in the middle of one of the next commits.
    fn fail_disk(&mut self) {
        if let Some(id) = self.draws.pick(&self.running()) {
            let commits = self.draws.below(COMMITS_UNTIL_FAILURE);
            self.machines[&id].disk.fail_after(commits);
        }
    }

    fn kill_controller(&mut self) {
        // Leaders are few, and what they do when they die matters most.
        let chosen = if self.draws.chance(400) {
            self.leader()
        } else {
            self.draws.pick(&self.running())
        };
        if let Some(id) = chosen {
            self.count("kills");
            let power = self.draws.chance(500);
            self.crash(id, power);
            let down_ms = self.draws.between(100, 6_000);
            self.schedule.after(down_ms, Event::Start(id));
        }
    }

    /// A controller stands still for a while, as a process that is stopped or a machine that swaps.
    fn pause(&mut self) {
        let chosen = if self.draws.chance(500) {
            self.leader()
        } else {
            self.draws.pick(&self.running())
        };
        let until_ms = self.schedule.now_ms() + self.draws.between(100, 4_000);
        if let Some(machine) = chosen.and_then(|id| self.machines.get_mut(&id)) {
            machine.paused_until_ms = until_ms;
            self.count("pauses");
        }
    }

    /// Nothing arrives any more: from one controller at another, or between one and everybody, in one direction or both.
    fn part_controllers(&mut self) {
        let all: Vec<u64> = self.machines.keys().copied().collect();
        let (Some(one), Some(other)) = (self.draws.pick(&all), self.draws.pick(&all)) else {
            return;
        };
        self.count("partitions");
        let (from, to) = (End::Controller(one), End::Controller(other));
        match self.draws.below(4) {
            0 => self.network.cut(from, to),
            1 => self.network.part(from, to),
            kind => {
                let others = all.iter().filter(|id| **id != one).map(|id| End::Controller(*id));
                let agents = (0..self.agents.len()).map(End::Agent);
                for end in others.chain(agents).collect::<Vec<_>>() {
                    if kind == 2 {
                        self.network.part(from, end);
                    } else {
                        self.network.cut(end, from);
                    }
                }
            }
        }
    }

    fn change_weather(&mut self) {
        self.network.weather = Weather {
            lost: self.draws.below(200),
            repeated: self.draws.below(200),
            late: self.draws.below(300),
        };
    }

    fn hand_over(&mut self) -> Checked {
        let (Some(leader), Some(to)) = (self.leader(), self.draws.pick(&self.running())) else {
            return Ok(());
        };
        self.step(leader, Input::TransferLeadership(to))
    }

    /// The clock of a controller jumps, or is right again.
    fn set_clock(&mut self) {
        let running = self.running();
        if let Some(id) = self.draws.pick(&running)
            && let Some(machine) = self.machines.get_mut(&id)
        {
            let jump = i64::try_from(self.draws.below(2 * CLOCK_JUMP_MS)).unwrap_or_default();
            let right = self.draws.chance(300);
            machine.clock_ahead_ms = if right { 0 } else { jump - CLOCK_JUMP_MS.cast_signed() };
            self.count("clock jumps");
        }
    }

    /// A member is added, promoted or removed, on whatever controller; what that takes is gone on with a little later.
    pub(crate) fn change_members(&mut self, times: u64) -> Checked {
        if !self.busy || times == 0 {
            return Ok(());
        }
        self.schedule
            .after(MEMBERS_CHANGE_EVERY_MS, Event::MembersChange(times - 1));
        let Some(id) = self.draws.pick(&self.running()) else {
            return Ok(());
        };
        let Some(controller) = &self.machines[&id].controller else {
            return Ok(());
        };
        let (cluster, members) = (controller.identity().cluster, controller.membership().members);
        let ids: Vec<u64> = members.iter().map(|member| member.record.id).collect();
        let learner = members.iter().find(|member| member.role == MemberRole::Learner);
        let change = match learner.map(|member| member.record.id) {
            _ if members.is_empty() => return Ok(()),
            Some(member) => MembershipChange::Promote { member, forced: false },
            None if members.len() < 3 || (members.len() < MOST_MEMBERS && self.draws.chance(500)) => {
                // One whose addition was not agreed on waits still.
                let waiting = self.machines.keys().copied().find(|id| !ids.contains(id));
                let member = waiting.unwrap_or_else(|| self.next_machine());
                if waiting.is_none() {
                    self.add_machine(member, Founding::Join { cluster });
                    self.start(member)?;
                }
                MembershipChange::Add(MemberRecord {
                    id: member,
                    ..MemberRecord::default()
                })
            }
            None => match self.draws.pick(&ids) {
                Some(member) => MembershipChange::Remove { member, forced: false },
                None => return Ok(()),
            },
        };
        self.count("changes of members asked for");
        self.step(id, Input::ChangeMembership(change))
    }

    /// A host is cut off from some controllers, or from all; for so long that it may count as lost.
    fn cut_off_agent(&mut self) {
        let agent = End::Agent(usize::try_from(self.draws.below(self.agents.len() as u64)).unwrap_or_default());
        let from_all = self.draws.chance(600);
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        for id in ids {
            if from_all || self.draws.chance(500) {
                let controller = End::Controller(id);
                match self.draws.below(3) {
                    0 => self.network.cut(agent, controller),
                    1 => self.network.cut(controller, agent),
                    _ => self.network.part(agent, controller),
                }
            }
        }
        self.count("hosts cut off");
        let away_ms = self.draws.between(500, 30_000);
        self.schedule.after(away_ms, Event::Rejoin(agent));
    }

    /// An agent ends, and its host with it or not; it comes back.
    fn crash_agent(&mut self) {
        let agent = usize::try_from(self.draws.below(self.agents.len() as u64)).unwrap_or_default();
        if self.agents[agent].is_running() {
            self.count("agents down");
            let host = self.draws.chance(400);
            self.agents[agent].crash(host);
            let down_ms = self.draws.between(200, 25_000);
            self.schedule.after(down_ms, Event::StartAgent(agent));
        }
    }

    /// A container ends, or its health checks say the opposite.
    fn harm_container(&mut self) {
        let agent = usize::try_from(self.draws.below(self.agents.len() as u64)).unwrap_or_default();
        let running: Vec<_> = self.agents[agent].containers().iter().copied().collect();
        if let Some(task) = self.draws.pick(&running) {
            if self.draws.chance(500) {
                self.agents[agent].end_container(task);
            } else {
                self.agents[agent].turn_health(task);
                self.count("turns of health");
            }
        }
    }
}
