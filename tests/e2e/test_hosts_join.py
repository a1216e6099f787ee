"""Hosts that join a cluster of three controllers with tokens, over TLS: they follow the leader, and are refused where they should be."""

import re
import stat

import pytest

import berth
from members import Group

# `berth agent` ends with this when its cluster does not let it in.
NOT_LET_IN = 3


class Host(berth.Process):
    """A simulated host that joins, or has joined."""

    def __init__(self, group, name, *arguments, **variables):
        self.group, self.name = group, name
        self.data_dir = group.directory / name
        super().__init__(
            ["agent", "--data-dir", self.data_dir, "--runtime", "simulated", "--host-name", name, "--zone", name, *arguments],
            group.directory / f"{name}.log",
            **variables,
        )

    def instance(self):
        found = [i for i in berth.instances_of(self.group.running()[0].client(), "default") if i["ec2InstanceId"] == self.name]
        return found[-1] if found else None

    def is_connected(self):
        instance = self.instance()
        return bool(instance and instance["agentConnected"])

    def connected(self, deadline=60):
        berth.wait_until(self.is_connected, f"{self.name} is connected", deadline)
        return self


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    cluster = Group(tmp_path_factory.mktemp("hosts"))
    cluster.members[0].client().create_cluster(clusterName="default")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def hosts(group):
    """Two hosts, each of which was told of one controller, and that not the one that leads."""
    peers = [member.address for member in group.followers()]
    made = [
        Host(group, name, "--join", group.members[0].token(role="agent"), "--peer", peer)
        for name, peer in zip(("host-1", "host-2"), peers, strict=True)
    ]
    for host in made:
        host.connected()
    ecs = group.members[0].client()
    ecs.register_task_definition(family="web", containerDefinitions=[{"name": "app", "image": "none", "memory": 16}])
    ecs.create_service(cluster="default", serviceName="web", taskDefinition="web", desiredCount=4)
    berth.wait_stable(ecs, "default", "web")
    yield made
    for host in made:
        host.stop()


def tasks(group):
    return {task["taskArn"]: task["startedAt"] for task in berth.running(group.running()[0].client(), "default")}


def refused(group, name, *arguments):
    """The last words of a host that is not let in."""
    host = Host(group, name, *arguments)
    assert host.child.wait(90) == NOT_LET_IN, host.output()
    host.stop()
    return host.output()


def test_key_of_a_host_is_for_nobody_else(hosts):
    folder = hosts[0].data_dir / "identity"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "identity.pem").stat().st_mode) == 0o600


def test_hosts_follow_the_leader_and_their_tasks_run_on(group, hosts):
    before = tasks(group)
    assert len(before) == 4
    leader = group.leader()
    leader.kill()
    group.leader()
    for host in hosts:
        host.connected(20)
    assert tasks(group) == before
    group.restart(leader)
    group.wait_for_votes(3)


def test_hosts_follow_a_rotation_of_the_authority(group, hosts):
    before = tasks(group)
    member = group.running()[0]
    rotated = member.run("ca", "rotate", "--wait", "2m", timeout=150).stdout
    assert "The old authority is trusted no longer" in rotated
    # Both what goes on and what begins anew is let in.
    for host in hosts:
        host.connected()
    assert tasks(group) == before
    hosts[0].stop()
    # A variable that is set to nothing is not set.
    hosts[0] = Host(group, "host-1", BERTH_JOIN_TOKEN="").connected()
    assert re.search("takes up the identity", hosts[0].output())


def test_token_that_is_no_good_is_refused_with_the_reason(group, hosts, tmp_path):
    member, peer = group.running()[0], group.running()[0].address
    used = member.token(role="agent")
    other = Host(group, "host-3", "--join", used, "--peer", peer).connected()
    other.stop()
    assert "is used up: make a new one" in refused(group, "host-4", "--join", used, "--peer", peer)
    for_a_controller = member.token(role="controller")
    assert "this join token is for the role controller" in refused(group, "host-4", "--join", for_a_controller, "--peer", peer)
    revoked = member.token(role="agent")
    member.run("token", "revoke", revoked.split(".")[3])
    assert "was revoked at" in refused(group, "host-4", "--join", revoked, "--peer", peer)
    foreign = Group(tmp_path, count=1)
    try:
        token = foreign.members[0].token(role="agent")
    finally:
        foreign.stop()
    assert "does not show authority" in refused(group, "host-4", "--join", token, "--peer", peer)
    assert "has not joined a cluster yet" in refused(group, "host-4", "--peer", peer)
    assert "start it with --peer" in refused(group, "host-3", "--controller", "http://127.0.0.1:1")


def test_token_in_a_file_is_used_once_and_one_without_an_address_names_the_flag(group, hosts, tmp_path):
    member = group.running()[0]
    file = tmp_path / "token"
    file.write_text(member.token(role="agent") + "\n")
    for program in ("agent", "controller"):
        alone = berth.Process([program, "--data-dir", tmp_path / program, "--join-file", file], tmp_path / f"{program}.log")
        assert alone.child.wait(30) not in (0, NOT_LET_IN)
        assert "add --peer HOST:PORT" in alone.output(), alone.output()
        alone.stop()
    host = Host(group, "host-5", "--join-file", file, "--peer", member.address).connected()
    host.stop()
    file.unlink()
    Host(group, "host-5", "--join-file", file, "--peer", member.address).connected().stop()


def test_host_removed_ends_and_is_refused_until_it_has_a_new_token(group, hosts):
    member = group.running()[0]
    member.run("hosts", "remove", "host-2", "--force")
    ecs = member.client()
    berth.wait_until(lambda: len(berth.running(ecs, "default")) == 4, "its tasks are replaced", 60)
    hosts[1].stop()
    said = refused(group, "host-2")
    assert "removed from the cluster" in said and "berth token create" in said, said
    hosts[1] = Host(group, "host-2", "--join", member.token(role="agent"), "--peer", member.address).connected()


def test_host_beyond_this_machine_is_not_spoken_to_without_tls(tmp_path):
    agent = berth.Process(
        ["agent", "--controller", "http://192.0.2.1:7481", "--data-dir", tmp_path / "data", "--runtime", "simulated"], tmp_path / "log"
    )
    assert agent.child.wait(30) != 0
    assert "over TLS alone" in agent.output()
    agent.stop()


def test_agent_that_is_no_host_of_the_cluster_is_named_by_a_rotation_and_removed_by_its_identity(tmp_path):
    group = Group(tmp_path, count=1)
    try:
        [member] = group.members
        member.client().create_cluster(clusterName="shop")
        join = lambda name, cluster: Host(
            group, name, "--cluster", cluster, "--join", member.token(role="agent"), "--peer", member.address
        )
        elsewhere, never = join("host-shop", "shop"), join("host-never", "absent")
        berth.wait_until(lambda: berth.instances_of(member.client(), "shop"), "it is a host of another cluster", 60)
        never.wait_for("this host has joined")
        for agent in (elsewhere, never):
            agent.kill()
        waiting = member.run("ca", "rotate", "--wait", "10s", check=False).stderr
        assert "waits for 2" in waiting and "`berth hosts remove`" in waiting, waiting
        [of_shop] = re.findall(r"(berth://\S+/agent/\S+) \(host host-shop of cluster shop in us-east-1\)", waiting)
        [of_none] = re.findall(r"(berth://\S+/agent/\S+) \(an agent that is no host\)", waiting)
        assert of_none in member.run("ca", "show").stdout
        controller = f"{of_none.split('/agent/')[0]}/controller/{member.id}"
        assert "`berth members remove" in member.run("hosts", "remove", controller, check=False).stderr
        assert "removed" in member.run("hosts", "remove", of_none).stdout
        assert "No agent of this cluster" in member.run("hosts", "remove", of_none, check=False).stderr
        assert "removed" in member.run("hosts", "remove", "--cluster", "shop", of_shop.split("/")[-1]).stdout
        assert "removed from the cluster" in refused(group, "host-never", "--cluster", "absent")
        assert "trusted no longer" in member.run("ca", "rotate", "--wait", "60s").stdout
    finally:
        group.stop()
