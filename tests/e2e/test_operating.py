"""The walk of `docs/operating.md`: what an operator does in the life of a cluster, on machines of their own with containers that have to run on through
all of it. It begins with a build of an earlier format, if there is one, and upgrades on the way."""

import contextlib
import pathlib
import shutil
import signal
import subprocess

import pytest

import berth
import fleet
from members import Group
from netns import Network

pytestmark = pytest.mark.containers


def test_walk_of_the_operators_page(tmp_path, sample_image):
    installed = pathlib.Path(shutil.copy(berth.EARLIER, tmp_path / "berth"))
    with machines_with_a_cluster(tmp_path, sample_image, str(installed)) as machines:
        machines.serve(6)
        before = machines.pids()
        assert len(before) == 6
        lose_the_leader(machines)
        replace_a_controller(machines)
        assert machines.pids() == before
        upgrade(machines)
        assert machines.pids() == before
        file = back_up(machines)
        lose_all_controllers(machines)
        restore(machines, file)
        assert machines.pids() == before, "what the backup knows runs on, and what it does not is stopped"
        rotate_the_authority(machines)
        assert machines.pids() == before
        scale(machines, 9)
        after = machines.pids()
        assert {task: after[task] for task in before} == before, "it is a cluster like any other"


@contextlib.contextmanager
def machines_with_a_cluster(directory, image, binary):
    """"Three controllers and their hosts": the first founds the cluster, all others join with tokens for several."""
    with Network() as network:
        machines = fleet.Fleet(network, directory)
        try:
            machines.group = group = Group(directory, 1, network.machine, binary=binary)
            first = group.members[0]
            # The root access key, too, is something that the others take from the cluster.
            group.variables.update(BERTH_ROOT_ACCESS_KEY_ID=None, BERTH_ROOT_SECRET_ACCESS_KEY=None)
            token = first.token("--uses", "2")
            for _ in range(2):
                group.add("--join", token, "--peer", first.address)
            group.wait_for_votes(3)
            for member in group.members:
                member.client().create_cluster(clusterName=fleet.CLUSTER)
            token = first.token("--uses", "3", role="agent")
            for zone in ("zone-a", "zone-b", "zone-c"):
                machines.add_host(image, zone, token=token, binary=binary)
            machines.wait_for_hosts()
            yield machines
        finally:
            network.heal()
            machines.stop()


def scale(machines, count, through=None):
    ecs = through.client(retries=8) if through else machines.ecs
    ecs.update_service(cluster=fleet.CLUSTER, service=fleet.SERVICE, desiredCount=count)
    berth.wait_stable(ecs, fleet.CLUSTER, fleet.SERVICE)
    scaled_down = lambda: len(berth.tasks_of(ecs, fleet.CLUSTER)) == count
    berth.wait_until(scaled_down, f"{count} tasks", 60)


def lose_the_leader(machines):
    """Another leads, takes changes and has them carried out; none of the containers notices."""
    group, before = machines.group, machines.pids()
    zones = {berth.attribute(host, "ecs.availability-zone") for host in machines.connected()}
    assert zones == {"zone-a", "zone-b", "zone-c"}
    leader = group.leader()
    leader.kill()
    successor = group.leader()
    assert successor is not leader
    assert machines.pids() == before
    scale(machines, 7, through=successor)
    after = machines.pids()
    assert {task: after[task] for task in before} == before
    # The newest goes first, since it is on the host with the most.
    scale(machines, 6, through=successor)
    assert len(machines.pids()) == 6


def replace_a_controller(machines):
    """The machine of the dead one is lost: it is removed, and another joins."""
    group = machines.group
    [dead] = [member for member in group.members if member not in group.running()]
    group.members.remove(dead)
    group.members[0].run("members", "remove", dead.id)
    joined = group.join()
    group.wait_for_votes(3)
    assert joined.id != dead.id and dead.id not in joined.members()
    # And one that still runs is taken out of the cluster, and ends by itself.
    fourth = group.join(through=1)
    group.wait_for_votes(4)
    group.members.pop()
    joined.run("members", "remove", fourth.id)
    berth.wait_until(lambda: fourth.child.poll() is not None, "the removed controller ends", 30)
    assert fourth.child.returncode == 3, fourth.output()
    group.wait_for_votes(3)


def back_up(machines):
    file = machines.directory / "before-the-loss.backup"
    follower = machines.group.followers()[0]
    follower.run("backup", "create", file)
    assert "whole and unchanged" in follower.run("backup", "verify", file).stdout
    # What comes later is in no backup.
    scale(machines, 8)
    return file


def lose_all_controllers(machines):
    group = machines.group
    group.stop()
    for member in group.members:
        member.data_dir.rename(member.data_dir.with_name(f"{member.name}.lost"))


def restore(machines, file):
    """One restores and founds the cluster again at its old address, the others join it, and the hosts find it."""
    first, *others = machines.group.members
    command = [first.arguments[len(first.machine.prefix)], "backup", "restore", file, "--data-dir", first.data_dir]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)
    restored = first.again("--bootstrap").ready()
    machines.group.members = [restored]
    token = restored.token("--uses", str(len(others)))
    for other in others:
        machines.group.members.append(other.again("--join", token, "--peer", restored.address).ready())
    machines.group.wait_for_votes(3)
    machines.wait_for_hosts()
    berth.wait_until(lambda: berth.service_of(machines.ecs, fleet.CLUSTER, fleet.SERVICE)["desiredCount"] == 6, "as it was backed up", 10)
    berth.wait_stable(machines.ecs, fleet.CLUSTER, fleet.SERVICE)
    known = {task["taskArn"].split("/")[-1] for task in berth.running(machines.ecs, fleet.CLUSTER)}
    there = lambda: {container.split("-")[0] for host in machines.hosts for container in host.running()}
    berth.wait_until(lambda: there() == known, "the hosts run what the cluster knows, and nothing else", 60)


def upgrade(machines):
    """Controllers one by one, each told to stop as a package does, then hosts; meanwhile changes are taken."""
    group, changes = machines.group, []
    for number, member in enumerate(list(group.members)):
        assert member.stop(signal.SIGTERM) == 0
        group.leader()
        app = {"name": "app", "image": "none", "memory": 16}
        machines.ecs.register_task_definition(family=f"during-{number}", containerDefinitions=[app])
        changes.append(f"during-{number}")
        group.restart(member, binary=berth.BINARY)
    for member in group.members:
        assert set(changes) <= set(berth.pages(member.client(), "list_task_definition_families", "families")), member.name
    for host in machines.hosts:
        host.restart(binary=berth.BINARY)
        host.agent.wait_for("registered with the controllers")
    machines.wait_for_hosts()


def rotate_the_authority(machines):
    member = machines.group.members[0]
    signs = lambda: member.run("ca", "show").stdout.split("signs")[1].split()[0]
    before = signs()
    rotated = member.run("ca", "rotate", "--wait", "120s", timeout=150)
    assert "trusted no longer" in rotated.stdout
    assert signs() != before
    machines.wait_for_hosts()
