"""Three and five controllers and hosts with containers, each on a machine of its own, one kind of harm per test. What clients are answered
meanwhile has an explanation in which no acknowledged write is lost, and no container stops."""

import contextlib
import os
import signal
import time
import zlib

import pytest

import berth
import faults
import fleet
from histories import Histories

pytestmark = pytest.mark.containers

# Histories of each kind of harm, unless the environment says how many.
HISTORIES = int(os.environ.get("BERTH_HISTORIES", "1"))
OPERATIONS = 1000
RATE = 300
CLIENTS = 24

# Results of fewer calls say little.
LEAST_PER_SECOND = 100

# Longer than a leader needs to notice that it is alone, and the others to elect another.
ELECTED = 3.0


@pytest.fixture(scope="module")
def three(tmp_path_factory, sample_image):
    with fleet.on_machines(tmp_path_factory.mktemp("three"), sample_image, 3, 2) as machines:
        machines.serve(4)
        yield machines


@pytest.fixture(scope="module")
def five(tmp_path_factory, sample_image):
    with fleet.on_machines(tmp_path_factory.mktemp("five"), sample_image, 5, 2) as machines:
        machines.serve(4)
        yield machines


def hold(machines, directory, harm, pause=1.0):
    """Does harm again and again while clients call, and holds what they were answered against what one controller could have answered."""
    before, times = machines.pids(), 0
    assert len(before) == 4
    endpoints = [member.endpoint for member in machines.group.members]
    options = {"histories": HISTORIES, "operations": OPERATIONS, "rate": RATE, "clients": CLIENTS}
    with Histories(endpoints, directory, seed=zlib.crc32(directory.name.encode()), **options) as histories:
        while histories.at_work():
            harm()
            times += 1
            time.sleep(pause)
    assert times >= 1
    for line in histories.lines:
        print(f"{directory.name}: {times} times,", " ".join(f"{name}={value:.0f}" for name, value in line.items()))
    machines.wait_for_hosts()
    berth.wait_stable(machines.ecs, fleet.CLUSTER, fleet.SERVICE)
    assert machines.pids() == before, "no container was stopped"
    assert all(line["per_second"] >= LEAST_PER_SECOND for line in histories.lines), histories.lines


def kill(group, *members):
    for member in members:
        member.kill()
    time.sleep(1.0)
    group.restart(*members)


def test_leader_killed(three, tmp_path):
    hold(three, tmp_path, lambda: kill(three.group, three.group.leader()))


def test_follower_killed(three, tmp_path):
    hold(three, tmp_path, lambda: kill(three.group, three.group.followers()[0]))


def test_all_controllers_killed(three, tmp_path):
    hold(three, tmp_path, lambda: kill(three.group, *three.group.members), pause=3.0)


def test_leader_and_a_follower_of_five_killed(five, tmp_path):
    hold(five, tmp_path, lambda: kill(five.group, five.group.leader(), five.group.followers()[0]))


def test_leadership_handed_over(three, tmp_path):
    group = three.group
    hold(three, tmp_path, lambda: group.leader().run("members", "transfer-leader", group.followers()[0].id, check=False))


def freeze(member, seconds):
    """It stands still while others go on, and then goes on where it was."""
    member.child.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        member.child.send_signal(signal.SIGCONT)


def test_leader_frozen(three, tmp_path):
    hold(three, tmp_path, lambda: freeze(three.group.leader(), ELECTED))


def test_follower_frozen(three, tmp_path):
    hold(three, tmp_path, lambda: freeze(three.group.followers()[0], ELECTED))


def apart(machines, harm, seconds=ELECTED):
    """Harms the network for a while. `harm` gets the machine of the leader and all others, hosts included."""
    leader = machines.group.leader().machine
    harm(leader, [machine for machine in machines.network.machines if machine is not leader])
    try:
        time.sleep(seconds)
    finally:
        machines.network.heal()


def test_leader_cut_off(three, tmp_path):
    hold(three, tmp_path, lambda: apart(three, lambda leader, others: three.network.part([leader], others)))


def test_leader_and_a_follower_of_five_cut_off(five, tmp_path):
    def part(leader, others):
        follower = five.group.followers()[0].machine
        five.network.part([leader, follower], [machine for machine in others if machine is not follower])

    # Two of five controllers have no answers while they are cut off, and clients of theirs wait: longer pauses leave enough calls a second.
    hold(five, tmp_path, lambda: apart(five, part), pause=4.0)


def test_leader_hears_nobody(three, tmp_path):
    hold(three, tmp_path, lambda: apart(three, lambda leader, others: [leader.drop_from(other) for other in others]))


def test_leader_is_heard_by_nobody(three, tmp_path):
    hold(three, tmp_path, lambda: apart(three, lambda leader, others: [other.drop_from(leader) for other in others]))


def test_packets_lost_between_all(three, tmp_path):
    for machine in three.network.machines:
        for other in three.network.machines:
            if machine is not other:
                machine.drop_from(other, of_hundred=5)
    try:
        hold(three, tmp_path, lambda: None)
    finally:
        three.network.heal()


@contextlib.contextmanager
def equipped(group, members, equipment):
    """Has members run with something preloaded, and without it again at the end."""
    for member in members:
        group.restart(member, **equipment[member.name].variables)
    try:
        yield
    finally:
        for member in [member for member in group.members if member.name in equipment]:
            member.variables = {}
            group.restart(member)


def disks(group, directory):
    made = {}
    for member in group.members:
        (directory / member.name).mkdir()
        made[member.name] = faults.Disk(member.data_dir, directory / member.name)
    return made


def test_power_of_the_leader_cut(three, tmp_path):
    group, of = three.group, disks(three.group, tmp_path)

    def cut():
        leader = group.leader()
        leader.kill()
        of[leader.name].cut_power()
        time.sleep(1.0)
        group.restart(leader)

    with equipped(group, group.members, of):
        hold(three, tmp_path, cut)


def test_power_of_all_controllers_cut(three, tmp_path):
    group, of = three.group, disks(three.group, tmp_path)

    def cut():
        for member in group.members:
            member.kill()
        for member in group.members:
            of[member.name].cut_power()
        group.restart(*group.members)

    with equipped(group, group.members, of):
        hold(three, tmp_path, cut, pause=3.0)


def test_disk_of_the_leader_fails(three, tmp_path):
    group, of = three.group, disks(three.group, tmp_path)

    def fail():
        leader = group.leader()
        of[leader.name].fail()
        berth.wait_until(lambda: leader.child.poll() is not None, "the leader ends, as its disk fails", 30)
        time.sleep(0.5)
        of[leader.name].mend()
        group.restart(leader)

    with equipped(group, group.members, of):
        hold(three, tmp_path, fail)


@pytest.mark.parametrize("leads", [True, False], ids=["of-the-leader", "of-a-follower"])
def test_disk_full(three, tmp_path, leads):
    group = three.group
    member = group.followers()[0]
    name = member.name
    member.stop()
    with faults.small_disk(member.data_dir, "320m"):
        group.restart(member)

        def fill():
            [member] = [one for one in group.members if one.name == name]
            leader = member if leads else next(one for one in group.followers() if one is not member)
            leader.run("members", "transfer-leader", leader.id, check=False)
            filling = faults.fill(member.data_dir)
            try:
                time.sleep(1.0)
            finally:
                filling.unlink()
            if member.child.poll() is not None:
                group.restart(member)

        hold(three, tmp_path, fill)
        [member] = [one for one in group.members if one.name == name]
        member.stop()
    group.restart(member)


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["an-hour-on", "an-hour-back"])
def test_clock_of_the_leader_set(three, tmp_path, seconds):
    group = three.group
    of = {}
    for member in group.members:
        (tmp_path / member.name).mkdir()
        of[member.name] = faults.Clock(tmp_path / member.name)

    def set_clock():
        clock = of[group.leader().name]
        clock.shift(seconds)
        try:
            time.sleep(2.0)
        finally:
            clock.shift(0)

    with equipped(group, group.members, of):
        hold(three, tmp_path, set_clock)


def test_containerd_killed(three, tmp_path):
    def kill_containerd():
        for host in three.hosts:
            host.containerd.kill()
        time.sleep(0.5)
        for host in three.hosts:
            host.containerd.start()

    hold(three, tmp_path, kill_containerd)
