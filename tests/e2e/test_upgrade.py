"""Upgrades from a build of an earlier format, which `earlier.txt` names: members one by one while clients write, with hosts of both builds, and what
the earlier build says afterwards."""

import re
import subprocess
import urllib.request

import botocore.exceptions
import pytest

import berth
from members import Group, Member, Writer, families

# The feature levels of the two builds. Where this build stands in for the earlier one, there is none to be raised.
NEW = 2
OLD = 1 if berth.EARLIER != berth.BINARY else NEW

# With what the earlier build ends that is started on newer data: it comes upon it in its log or in its snapshot. From 0.2 on both are 3.
EARLIER_CODES = (74, 1)

needs_earlier = pytest.mark.skipif(OLD == NEW, reason="no earlier build: tests/run.sh earlier makes it")

# A container that fails as soon as it runs.
FAILS = [{"name": "BERTH_SIM_EXIT_AFTER_MS", "value": "20"}, {"name": "BERTH_SIM_EXIT_CODE", "value": "7"}]


class Host:
    """A simulated host that joined with a token; its tasks are gone when its agent ends."""

    def __init__(self, group, name, binary):
        through = group.members[0]
        token = through.token(role="agent")
        self.agent = berth.Process(
            ["agent", "--data-dir", group.directory / name, "--runtime", "simulated", "--host-name", name, "--zone", "zone-a",
             "--join", token, "--peer", through.address],
            group.directory / f"{name}.log", binary=binary,
        )


class Upgraded:
    """Three controllers of the earlier build, a host of each build, a service, and a client that writes all the time."""

    def __init__(self, directory):
        self.group = Group(directory, binary=berth.EARLIER)
        self.hosts, self.writer, self.decided = [], None, []
        try:
            self.ecs.create_cluster(clusterName="default")
            for name, binary in [("host-earlier", berth.EARLIER), ("host-newer", berth.BINARY)]:
                self.hosts.append(Host(self.group, name, binary))
            berth.wait_until(lambda: len(self.connected()) == 2, "both hosts are connected", 60)
            app = {"name": "app", "image": "none", "memory": 16}
            self.ecs.register_task_definition(family="web", containerDefinitions=[app])
            self.ecs.create_service(
                cluster="default", serviceName="web", taskDefinition="web", desiredCount=4,
                placementStrategy=[{"type": "spread", "field": "instanceId"}],
            )
            berth.wait_stable(self.ecs, "default", "web")
            self.write()
        except BaseException:
            self.stop()
            raise

    def write(self):
        self.writer = Writer(self.group.members)
        self.writer.start()

    @property
    def ecs(self):
        return self.group.running()[0].client(retries=8)

    def connected(self):
        return [host for host in berth.instances_of(self.ecs, "default") if host["agentConnected"]]

    def tasks(self):
        """The tasks of the service by when each started: that of one which was replaced or started again is another."""
        running = berth.running(self.ecs, "default", serviceName="web")
        return {task["taskArn"]: (task["startedAt"], task["containers"][0]["runtimeId"]) for task in running}

    def start_again_as(self, member, binary):
        """One member is told to stop, as a package does, and started again as that build."""
        written = len(self.writer.acknowledged)
        assert member.stop() == 0
        upgraded = self.group.restart(member, binary=binary)
        berth.wait_until(lambda: len(self.writer.acknowledged) >= written + 10, "writes go on", 60)
        assert all(member.child.poll() is None for member in self.group.members), "those that are not upgraded run on"
        return upgraded

    def do_what_members_could_differ_in(self, name):
        """Failures, deletions, times of hosts, and commands worth packing: what the newer build does in another way once all members know it."""
        ecs = self.ecs
        self.decided.append(name)
        large = [{"name": f"variable-{number}", "value": "the same again and again"} for number in range(100)]
        app = {"name": "app", "image": "none", "memory": 16, "environment": FAILS + large}
        ecs.register_task_definition(family=name, containerDefinitions=[app])
        breaker = {"enable": True, "rollback": False}
        ecs.create_service(
            cluster="default", serviceName=name, taskDefinition=name, desiredCount=1,
            deploymentConfiguration={"deploymentCircuitBreaker": breaker},
        )
        gave_up = lambda: berth.service_of(ecs, "default", name)["deployments"][0]["rolloutState"] == "FAILED"
        berth.wait_until(gave_up, "the circuit breaker gives up", 60)
        ecs.create_cluster(clusterName=name)
        ecs.delete_cluster(cluster=name)
        ecs.update_service(cluster="default", service="web", desiredCount=5)
        berth.wait_stable(ecs, "default", "web")
        ecs.update_service(cluster="default", service="web", desiredCount=4)
        fewer = lambda: len(berth.tasks_of(ecs, "default", serviceName="web")) == 4
        berth.wait_until(fewer, "one task less", 60)
        ecs.delete_service(cluster="default", service=name, force=True)
        gone = lambda: berth.service_of(ecs, "default", name)["status"] == "INACTIVE"
        berth.wait_until(gone, "the service is gone", 60)

    def all_say_the_same(self):
        """Each member answers from its own state, which is that of every other, whichever build it is. They are asked one after the other, so that
        only answers count between which nothing happened."""
        first, *others = self.group.members

        def look():
            before = described(first.client(), self.decided)
            seen = [described(member.client(), self.decided) for member in others]
            if described(first.client(), self.decided) != before:
                return None
            assert seen == [before] * len(others)
            return before

        seen = berth.wait_until(look, "nothing happens while all are asked", 60)
        assert len(seen["services"]) == 1 + len(self.decided)

    def stop(self):
        if self.writer:
            self.writer.stop()
        for host in self.hosts:
            host.agent.kill()
        self.group.stop()


def described(ecs, names):
    """Everything that was decided, with all times."""
    tasks = berth.tasks_of(ecs, "default") + berth.tasks_of(ecs, "default", "STOPPED")
    return {
        "tasks": sorted(tasks, key=lambda task: task["taskArn"]),
        "services": ecs.describe_services(cluster="default", services=["web", *names])["services"],
        "clusters": ecs.describe_clusters(clusters=["default", *names])["clusters"],
    }


def level(member):
    """The feature level that a member uses, as its metrics say."""
    with urllib.request.urlopen(f"{member.endpoint}/metrics", timeout=10) as answer:
        return int(re.search(r"(?m)^berth_feature_level (\d+)$", answer.read().decode()).group(1))


def shows_what_asks_for_nothing(member, family):
    """Whether a member of a task definition that asks for nothing is shown, which only controllers of level 2 keep."""
    app = {"name": "app", "image": "none", "memory": 16, "privileged": False}
    ecs = member.client(retries=8)
    ecs.register_task_definition(family=family, containerDefinitions=[app])
    shown = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    return "privileged" in shown["containerDefinitions"][0]


def deletes_again(member, name):
    """Whether a service that was deleted is deleted again without an error, as from level 2 on."""
    try:
        member.client(retries=8).delete_service(cluster="default", service=name, force=True)
    except botocore.exceptions.ClientError:
        return False
    return True


def takes_a_reset(member):
    """Whether a circuit breaker may be told when to reset, as from level 2 on."""
    breaker = {"enable": True, "rollback": False, "resetOnHealthyTask": False}
    try:
        member.client(retries=8).update_service(
            cluster="default", service="web", deploymentConfiguration={"deploymentCircuitBreaker": breaker}
        )
    except botocore.exceptions.ClientError as error:
        assert "upgraded" in str(error), error
        return False
    return True


def takes_pools(member, name):
    """Whether there can be capacity providers and what is managed of them, and hosts be put to sleep, as from level 2 on."""
    group = {"autoScalingGroupArn": name, "managedScaling": {"status": "DISABLED", "targetCapacity": 90}}
    asleep = member.run("hosts", "sleep", "host-newer", check=False)
    assert asleep.returncode == 1, asleep
    try:
        member.client(retries=8).create_capacity_provider(name=name, autoScalingGroupProvider=group)
    except botocore.exceptions.ClientError as error:
        assert "upgraded" in str(error) and "upgraded" in asleep.stderr, (error, asleep.stderr)
        return False
    assert "its agent was started without --sleep-command" in asleep.stderr, asleep.stderr
    return True


def refuses_pools(member, name):
    """Whether a member of the earlier build says clearly that it has no capacity providers, and goes on."""
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        member.client().create_capacity_provider(name=name, autoScalingGroupProvider={"autoScalingGroupArn": name})
    return "CreateCapacityProvider" in str(refused.value) and member.child.poll() is None


def refused(member, *arguments):
    """What the earlier build says that is started on what the newer one has written."""
    again = member.again(*arguments, binary=berth.EARLIER)
    again.child.wait(60)
    said = again.output()
    assert again.child.returncode not in (0, None), said
    assert f"feature level {NEW}" in said and "or newer on this data" in said, said
    assert "panicked" not in said, said
    return again.child.returncode


@pytest.mark.parametrize("order", ["leader-last", "leader-first"])
def test_members_are_upgraded_one_by_one_while_clients_write(tmp_path, order):
    cluster = Upgraded(tmp_path)
    group = cluster.group
    try:
        before = cluster.tasks()
        assert len(before) == 4
        leader = group.leader()
        members = sorted(group.members, key=lambda member: (member is leader) == (order == "leader-last"))
        for number, member in enumerate(members, 1):
            upgraded = cluster.start_again_as(member, berth.BINARY)
            if number == 3:
                break
            if number == 1:
                # Second thoughts, which are possible as long as the level is not raised, for one that was told to stop.
                upgraded = cluster.start_again_as(cluster.start_again_as(upgraded, berth.EARLIER), berth.BINARY)
                if OLD != NEW:
                    upgraded = killed_and_put_back(cluster, upgraded)
            assert level(upgraded) == OLD, "there are members that know no other"
            # Whichever build leads, the others can read what it decides.
            for leads in (upgraded, members[-1]):
                if group.leader() is not leads:
                    leads.run("members", "transfer-leader", leads.id)
                name = f"while-{leads.name}-leads-{number}"
                cluster.do_what_members_could_differ_in(name)
                is_new = [shows_what_asks_for_nothing(upgraded, name), deletes_again(upgraded, name), takes_a_reset(upgraded)]
                is_new.append(takes_pools(upgraded, name))
                assert is_new == [OLD == NEW] * 4
                if OLD != NEW:
                    assert refuses_pools(members[-1], name)
                cluster.all_say_the_same()
            for binary in (berth.EARLIER, berth.BINARY):
                come_and_go(group, binary)
            if OLD != NEW:
                listed = upgraded.run("members", "list").stdout
                assert f"uses feature level {OLD}; {NEW} once these are upgraded or removed" in listed, listed
            assert cluster.tasks() == before, "no task of the service was started again"
        berth.wait_until(lambda: [level(member) for member in group.members] == [NEW] * 3, "the level is raised", 60)
        assert "once these are upgraded" not in upgraded.run("members", "list").stdout
        assert {member["featureLevel"] for member in upgraded.members().values()} == {NEW}
        cluster.do_what_members_could_differ_in("afterwards")
        for member in group.members:
            is_new = [shows_what_asks_for_nothing(member, member.name), deletes_again(member, "afterwards"), takes_a_reset(member)]
            assert [*is_new, takes_pools(member, member.name)] == [True] * 4
        cluster.all_say_the_same()
        assert cluster.tasks() == before, "no task of the service was started again"
        assert len(cluster.connected()) == 2, "an earlier agent and a newer one"
        cluster.writer.stop()
        for member in group.members:
            missing = set(cluster.writer.acknowledged) - families(member.client())
            assert not missing, f"{member.name} lost {len(missing)} of {len(cluster.writer.acknowledged)}: {sorted(missing)[:5]}"
        if OLD != NEW:
            the_earlier_build_is_refused(cluster)
    finally:
        cluster.stop()


def killed_and_put_back(cluster, member):
    """One that was killed has left more than the earlier build can read, which says so instead of going on without it."""
    written = len(cluster.writer.acknowledged)
    berth.wait_until(lambda: len(cluster.writer.acknowledged) >= written + 10, "writes go on", 60)
    member.kill()
    again = member.again(binary=berth.EARLIER)
    berth.wait_until(lambda: again.child.poll() is not None or "Ready" in again.output(), "it starts or refuses", 60)
    if again.child.poll() is None:
        # It was killed in the moment after everything had been written where the earlier build reads it.
        again.stop()
    else:
        assert again.child.returncode == 3 and "damaged" in again.output(), again.output()
    return cluster.group.restart(member, binary=berth.BINARY)


def come_and_go(group, binary):
    """A controller joins, of whichever build, learns all there is, votes, and is removed again."""
    group.variables["binary"] = binary
    joined = group.join(through=len(group.members) - 1)
    group.wait_for_votes(4)
    assert families(joined.client()) >= {"web"}
    group.members.pop()
    group.members[0].run("members", "remove", joined.id)
    berth.wait_until(lambda: joined.child.poll() is not None, "the removed controller ends", 30)
    assert joined.child.returncode == 3, joined.output()


def the_earlier_build_is_refused(cluster):
    """It neither goes on where the newer build was, nor joins; and the cluster goes on as it was."""
    group = cluster.group
    member = group.followers()[0]
    member.stop()
    assert refused(member) in EARLIER_CODES
    back = group.restart(member, binary=berth.BINARY)
    assert level(back) == NEW
    late = Member(group.directory, "late", "--join", back.token(), "--peer", back.address, binary=berth.EARLIER)
    try:
        late.child.wait(60)
    finally:
        late.kill()
    said = late.output()
    assert late.child.returncode == 3, said
    assert f"feature level {NEW}" in said and "or newer" in said, said
    assert len(back.members()) == 3, "nobody has to be removed"


def controller(directory, binary):
    """A controller by itself, with its data in `directory`."""
    port = berth.free_port()
    process = berth.Process(
        ["controller", "--data-dir", directory / "data", "--listen", f"127.0.0.1:{port}", "--agent-listen", f"127.0.0.1:{berth.free_port()}"],
        directory / "controller.log", binary=binary,
    )
    process.endpoint = f"http://127.0.0.1:{port}"
    return process


def kept(ecs):
    """What a controller has, without hosts."""
    names = berth.pages(ecs, "list_services", "serviceArns", cluster="shop")
    services = ecs.describe_services(cluster="shop", services=[*names, "gone"])["services"]
    for service in services:
        # A controller that finds no host says so again after its start.
        service.pop("events")
        # Of level 2.
        service.pop("currentServiceDeployment", None)
        service.pop("currentServiceRevisions", None)
    return {
        "definitions": berth.pages(ecs, "list_task_definitions", "taskDefinitionArns"),
        "services": services,
        "clusters": ecs.describe_clusters(clusters=["shop", "closed"])["clusters"],
    }


@needs_earlier
def test_controller_by_itself_goes_on_from_what_an_earlier_one_left_and_back_from_a_backup(tmp_path):
    earlier = controller(tmp_path, berth.EARLIER)
    backup = tmp_path / "before.backup"
    try:
        earlier.wait_for(r"(?m)^Ready")
        ecs = berth.client(earlier.endpoint)
        for name in ("shop", "closed"):
            ecs.create_cluster(clusterName=name)
        ecs.delete_cluster(cluster="closed")
        app = {"name": "app", "image": "none", "memory": 16, "privileged": False}
        for _ in range(3):
            ecs.register_task_definition(family="web", containerDefinitions=[app])
        for name in ("web", "gone"):
            ecs.create_service(cluster="shop", serviceName=name, taskDefinition="web", desiredCount=2)
        ecs.delete_service(cluster="shop", service="gone", force=True)
        berth.wait_until(lambda: berth.service_of(ecs, "shop", "gone")["status"] == "INACTIVE", "it is gone", 30)
        before = kept(ecs)
        made = berth_command(earlier.endpoint, "backup", "create", backup)
        assert "written and verified" in made.stdout
    finally:
        earlier.kill()
    newer = controller(tmp_path, berth.BINARY)
    try:
        newer.wait_for(r"(?m)^Ready")
        assert level(newer) == NEW, "there is nobody to wait for"
        assert kept(berth.client(newer.endpoint)) == before
    finally:
        newer.stop()
    back = controller(tmp_path, berth.EARLIER)
    back.child.wait(60)
    assert back.child.returncode in EARLIER_CODES and f"feature level {NEW}" in back.output(), back.output()
    # The way back is the backup.
    (tmp_path / "back").mkdir()
    berth_command("", "backup", "restore", backup, "--data-dir", tmp_path / "back" / "data", binary=berth.EARLIER)
    restored = controller(tmp_path / "back", berth.EARLIER)
    try:
        restored.wait_for(r"(?m)^Ready")
        assert kept(berth.client(restored.endpoint)) == before
    finally:
        restored.stop()


def berth_command(endpoint, *arguments, binary=berth.BINARY):
    result = subprocess.run(
        [binary, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False, env=berth.environment(endpoint)
    )
    assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
    return result


@needs_earlier
def test_development_cluster_goes_on_from_what_an_earlier_one_left(tmp_path):
    arguments = ["--runtime", "simulated", "--hosts", 2, "--cluster", "shop"]
    app = {"name": "app", "image": "none", "memory": 16}
    with berth.dev(tmp_path, *arguments, keep_data=True, binary=berth.EARLIER) as process:
        ecs = berth.client(process.endpoint)
        ecs.register_task_definition(family="web", containerDefinitions=[app])
        ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
        berth.wait_stable(ecs, "shop", "web")
        hosts = {host["containerInstanceArn"] for host in berth.instances_of(ecs, "shop")}
    with berth.dev(tmp_path, *arguments, keep_data=True) as process:
        ecs = berth.client(process.endpoint)
        berth.wait_stable(ecs, "shop", "web")
        assert {host["containerInstanceArn"] for host in berth.instances_of(ecs, "shop")} == hosts
        assert level(process) == NEW
