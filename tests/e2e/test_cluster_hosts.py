"""Hosts that joined a cluster of three controllers with tokens: they follow whoever leads, and go on with what they run."""

import subprocess

import pytest

import berth
from members import Group, Member


class Host:
    """A simulated host that joined with a token, and the agent's process."""

    def __init__(self, group, name):
        through = group.members[-1]
        self.name = name
        self.directory = group.directory / name
        self.arguments = ["agent", "--data-dir", self.directory, "--runtime", "simulated", "--host-name", name, "--zone", "zone-a"]
        token = through.token(role="agent")
        self.agent = berth.Process(
            [*self.arguments, "--join", token, "--peer", through.address], group.directory / f"{name}.log"
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    group = Group(tmp_path_factory.mktemp("hosts"))
    hosts = []
    try:
        group.members[0].client().create_cluster(clusterName="default")
        hosts.extend(Host(group, name) for name in ("host-1", "host-2"))
        berth.wait_until(lambda: len(connected(group)) == 2, "both hosts are connected", 60)
        yield group, hosts
    finally:
        for host in hosts:
            host.agent.kill()
        group.stop()


def ecs(group):
    return group.running()[0].client(retries=8)


def connected(group):
    found = berth.instances_of(ecs(group), "default")
    return [instance["ec2InstanceId"] for instance in found if instance["agentConnected"]]


def arns(group):
    return {task["taskArn"]: task["startedAt"] for task in berth.running(ecs(group), "default")}


def test_service_on_hosts_of_the_cluster_survives_its_leader(cluster):
    group, _ = cluster
    client = ecs(group)
    client.register_task_definition(family="web", containerDefinitions=[{"name": "app", "image": "none", "memory": 16}])
    client.create_service(cluster="default", serviceName="web", taskDefinition="web", desiredCount=4)
    berth.wait_stable(client, "default", "web")
    before = arns(group)
    assert len(before) == 4
    leader = group.leader()
    leader.kill()
    successor = group.leader()
    successor.client(retries=8).update_service(cluster="default", service="web", desiredCount=6)
    berth.wait_stable(successor.client(retries=8), "default", "web")
    after = arns(group)
    assert len(after) == 6 and before.items() <= after.items(), "nothing that ran was started again"
    group.restart(leader)
    berth.wait_until(lambda: len(connected(group)) == 2, "both hosts are connected", 60)


def test_authority_is_rotated_without_stopping_a_task(cluster):
    group, _ = cluster
    before = arns(group)
    rotated = group.running()[0].run("ca", "rotate", "--wait", "120s", timeout=150)
    assert "trusted no longer" in rotated.stdout
    berth.wait_until(lambda: len(connected(group)) == 2, "both hosts are connected with what they have now", 60)
    assert arns(group) == before
    # Whoever leads now, the hosts find it with what they have.
    follower = group.followers()[0]
    follower.run("members", "transfer-leader", follower.id)
    berth.wait_until(lambda: len(connected(group)) == 2, "both hosts are connected to the new leader", 60)
    assert arns(group) == before


def test_host_that_is_removed_is_refused_and_replaced(cluster):
    group, hosts = cluster
    member = group.followers()[0]
    refused = member.run("hosts", "remove", "host-2", check=False)
    assert refused.returncode == 1 and "Host host-2 still has" in refused.stderr, refused.stderr
    member.run("hosts", "remove", "host-2", "--force")
    berth.wait_until(lambda: len(connected(group)) == 1, "one host is left", 30)
    berth.wait_stable(ecs(group), "default", "web")
    hosts[1].agent.stop()
    again = berth.Process(hosts[1].arguments, group.directory / "host-2-again.log")
    again.child.wait(60)
    assert again.child.returncode == 3, again.output()
    assert "removed" in again.output(), again.output()
    assert len(connected(group)) == 1


def test_cluster_restored_from_a_backup_is_found_by_its_hosts(cluster):
    group, _ = cluster
    before = arns(group)
    file = group.directory / "cluster.backup"
    group.running()[0].run("backup", "create", file)
    lost = group.members[-1]
    group.stop()
    lost.data_dir.rename(group.directory / "lost")
    subprocess.run(
        [berth.BINARY, "backup", "restore", file, "--data-dir", lost.data_dir], check=True, capture_output=True, timeout=60
    )
    alone = lost.again()
    alone.child.wait(30)
    assert alone.child.returncode == 3 and "--bootstrap" in alone.output(), alone.output()
    restored = lost.again("--bootstrap")
    group.members = [restored]
    restored.ready()
    assert restored.members()[restored.id]["leader"]
    berth.wait_until(lambda: len(connected(group)) == 1, "the host is back", 60)
    assert arns(group) == before, "its tasks go on"
    joined = Member(group.directory, "second", "--join", restored.token(), "--peer", restored.address)
    group.members.append(joined)
    joined.ready()
    group.wait_for_votes(2)
