"""Hosts that are cut off from their controllers, with real containers: fencing, replacement, return, and restarts in place."""

import os
import pathlib
import subprocess
import time

import pytest

import berth
from containerd import Containerd
from link import Link

pytestmark = pytest.mark.containers

CLUSTER = "shop"


class Hosts:
    """A controller, and agents that reach it over links that can be cut, all on one private containerd."""

    def __init__(self, directory, image):
        self.directory = pathlib.Path(directory)
        self.image = image
        self.port, self.agent_port = berth.free_port(), berth.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.agents, self.links = {}, {}

    def start(self):
        self.containerd = Containerd(self.directory / "containerd")
        self.controller = berth.Process(
            ["controller", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", f"127.0.0.1:{self.agent_port}",
             "--data-dir", self.directory / "controller"],
            self.directory / "controller.log",
        )
        self.controller.wait_for(r"(?m)^Ready")
        self.ecs = berth.client(self.endpoint, retries=8)
        self.ecs.create_cluster(clusterName=CLUSTER)
        for name in ("host-1", "host-2"):
            self.containerd.import_image(self.image, name)
            self.links[name] = Link(self.agent_port)
            self.start_agent(name)
        berth.wait_until(lambda: len(berth.instances_of(self.ecs, CLUSTER)) == 2, "both hosts have registered", 60)

    def start_agent(self, name):
        self.agents[name] = berth.Process(
            ["agent", "--controller", self.links[name].endpoint, "--cluster", CLUSTER, "--data-dir", self.directory / name,
             "--host-name", name, "--zone", f"zone-{name}", "--containerd", self.containerd.socket, "--containerd-namespace", name],
            self.directory / f"{name}.log",
        )

    def settings(self, *arguments):
        result = subprocess.run(
            [berth.BINARY, "hosts", "settings", "--cluster", CLUSTER, *arguments],
            env=berth.environment(self.endpoint), capture_output=True, text=True, check=True,
        )
        return result.stdout

    def service(self, name, count, **container):
        self.ecs.register_task_definition(
            family=name,
            networkMode="host",
            containerDefinitions=[{"name": "app", "image": "berth-sample:latest", "memory": 16, "stopTimeout": 2, **container}],
        )
        self.ecs.create_service(
            cluster=CLUSTER, serviceName=name, taskDefinition=name, desiredCount=count,
            placementStrategy=[{"type": "spread", "field": "instanceId"}],
        )
        berth.wait_stable(self.ecs, CLUSTER, name)

    def remove(self, name):
        self.ecs.delete_service(cluster=CLUSTER, service=name, force=True)
        # STOPPED is what has left nothing on its host.
        stopped = lambda: all(task["lastStatus"] == "STOPPED" for task in berth.tasks_of(self.ecs, CLUSTER, "STOPPED"))
        berth.wait_until(lambda: not berth.running(self.ecs, CLUSTER) and stopped(), "its tasks are STOPPED", 60)
        assert not self.processes("host-1") | self.processes("host-2")

    def instance(self, name):
        return next(i for i in berth.instances_of(self.ecs, CLUSTER) if i["ec2InstanceId"] == name)

    def processes(self, name):
        """Ids of the containers whose processes run on a host."""
        return self.containerd.running(name)

    def task_on(self, name):
        arn = self.instance(name)["containerInstanceArn"]
        return next(t for t in berth.running(self.ecs, CLUSTER) if t["containerInstanceArn"] == arn)

    def describe(self, task):
        return self.ecs.describe_tasks(cluster=CLUSTER, tasks=[task["taskArn"]])["tasks"][0]

    def stop(self):
        for process in [*self.agents.values(), self.controller]:
            process.stop()
        for name, link in self.links.items():
            link.close()
            self.containerd.remove_containers(name)
        self.containerd.stop()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory, sample_image):
    if os.geteuid() != 0:
        pytest.fail("real containers need root")
    hosts = Hosts(tmp_path_factory.mktemp("cut"), sample_image)
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.stop()


def test_host_that_is_fenced_stops_its_containers_before_it_is_given_up_and_says_why(hosts):
    shown = hosts.settings("--heartbeat-interval", "500ms", "--lost-after", "60s", "--fence-after", "6s")
    assert "fence after:        6s" in shown
    hosts.service("fenced", 2, command=["sleep", "100000"])
    task = hosts.task_on("host-1")
    hosts.agents["host-1"].wait_for(r"heartbeat_interval_ms\D*500\b.*fence_after_ms\D*6000\b")
    hosts.links["host-1"].cut()
    began = time.monotonic()
    berth.wait_until(lambda: not hosts.processes("host-1"), "the host has stopped its container", 30)
    assert time.monotonic() - began > 4, "not before its time"
    assert hosts.describe(task)["lastStatus"] == "RUNNING", "the controller has not heard of it yet"
    assert len(hosts.processes("host-2")) == 1
    hosts.links["host-1"].heal()

    def stopped():
        found = hosts.describe(task)
        return found["lastStatus"] == "STOPPED" and found

    found = berth.wait_until(stopped, "the host has reported the task", 30)
    assert found["stopCode"] == "TerminationNotice"
    assert found["stoppedReason"].startswith("Host was cut off from every controller for 6 s"), found["stoppedReason"]
    berth.wait_until(lambda: len(berth.running(hosts.ecs, CLUSTER)) == 2, "the service has what it wants", 30)
    hosts.remove("fenced")


def test_host_that_comes_back_stops_what_was_replaced_within_ten_seconds(hosts):
    hosts.settings("--heartbeat-interval", "500ms", "--lost-after", "3s", "--fence-after", "off")
    hosts.service("replaced", 2, command=["sleep", "100000"])
    task = hosts.task_on("host-1")
    hosts.agents["host-1"].wait_for(r"heartbeat_interval_ms\D*500\b.*fence_after_ms\D*0\b")
    hosts.links["host-1"].cut()
    berth.wait_until(lambda: len(hosts.processes("host-2")) == 2, "the other host has replaced the task", 30)
    assert "was lost" in hosts.describe(task)["stoppedReason"]
    assert len(hosts.processes("host-1")) == 1, "without a fence its container runs on"
    hosts.links["host-1"].heal()
    began = time.monotonic()
    connected = lambda: hosts.instance("host-1")["agentConnected"]
    as_wanted = lambda: connected() and len(berth.running(hosts.ecs, CLUSTER)) == 2 and not hosts.processes("host-1")
    berth.wait_until(as_wanted, "the extra copy is gone and the service has what it wants", 30)
    took = time.monotonic() - began
    assert took < 10, f"{took:.1f} s"
    assert len(hosts.processes("host-2")) == 2
    hosts.remove("replaced")


def test_container_is_started_again_in_place_while_its_host_is_cut_off(hosts):
    hosts.settings("--heartbeat-interval", "500ms", "--lost-after", "10m", "--fence-after", "off")
    hosts.service(
        "again",
        2,
        command=["sh", "-c", "echo run; sleep 61; exit 3"],
        restartPolicy={"enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60},
    )
    task = hosts.task_on("host-1")
    identity = task["containers"][0]["runtimeId"]
    hosts.links["host-1"].cut()
    runs = lambda: (hosts.directory / "host-1" / "logs" / task["taskArn"].split("/")[-1] / "app").glob("*")
    count = lambda: sum(path.read_bytes().count(b"run") for path in runs())
    berth.wait_until(lambda: count() == 2, "the container has been started again", 120, 1)
    berth.wait_until(lambda: hosts.processes("host-1") == {identity}, "under its old name", 10)
    hosts.links["host-1"].heal()
    berth.wait_until(lambda: hosts.instance("host-1")["agentConnected"], "the host is back", 30)
    found = hosts.describe(task)
    assert (found["lastStatus"], found["containers"][0]["lastStatus"]) == ("RUNNING", "RUNNING")
    assert found["containers"][0]["runtimeId"] == identity
    assert len(berth.running(hosts.ecs, CLUSTER)) == 2
    hosts.remove("again")
