"""What survives: containers when agents, containerd and controllers are killed; acknowledged writes when a controller is."""

import concurrent.futures
import os
import pathlib
import re
import signal
import threading

import pytest

import berth
from containerd import Containerd, pids

pytestmark = pytest.mark.containers

ROUNDS = 1000


class Split:
    """A controller and an agent as processes of their own, and a private containerd."""

    def __init__(self, directory, image):
        self.directory = pathlib.Path(directory)
        self.image = image
        self.port, self.agent_port = berth.free_port(), berth.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.processes = {}
        self.containerd = None

    def start_containerd(self):
        self.containerd = Containerd(self.directory / "containerd")

    def start_controller(self):
        self.processes["controller"] = berth.Process(
            ["controller", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", f"127.0.0.1:{self.agent_port}",
             "--data-dir", self.directory / "controller"],
            self.directory / "controller.log",
        )
        self.processes["controller"].wait_for(r"(?m)^Ready")

    def start_agent(self):
        self.processes["agent"] = berth.Process(
            ["agent", "--controller", f"http://127.0.0.1:{self.agent_port}", "--cluster", "shop", "--data-dir", self.directory / "agent",
             "--zone", "us-east-1a", "--host-name", "host-1", "--containerd", self.containerd.socket, "--containerd-namespace", "berth-split",
             "--attribute", "rack=r1"],
            self.directory / "agent.log",
        )

    def stop(self):
        for name in ("agent", "controller"):
            if name in self.processes:
                self.processes[name].stop()
        if self.containerd:
            self.containerd.remove_containers("berth-split")
            self.containerd.stop()


@pytest.fixture(scope="module")
def split(tmp_path_factory, sample_image):
    if os.geteuid() != 0:
        pytest.fail("real containers need root")
    parts = Split(tmp_path_factory.mktemp("split"), sample_image)
    try:
        parts.start_containerd()
        parts.start_controller()
        ecs = berth.client(parts.endpoint, retries=8)
        ecs.create_cluster(clusterName="shop")
        parts.start_agent()
        berth.wait_until(lambda: len(berth.instances_of(ecs, "shop")) == 1, "the host has registered", 30)
        parts.containerd.import_image(sample_image, "berth-split")
        ecs.register_task_definition(
            family="steady",
            networkMode="host",
            containerDefinitions=[
                {"name": "app", "image": "berth-sample:latest", "memory": 16, "command": ["sleep", "100000"], "stopTimeout": 2}
            ],
        )
        ecs.create_service(cluster="shop", serviceName="steady", taskDefinition="steady", desiredCount=5)
        berth.wait_stable(ecs, "shop", "steady")
        parts.ecs = ecs
        yield parts
    finally:
        parts.stop()


def test_container_killed_is_replaced_with_its_exit_code_in_the_reason(split):
    before = pids(split.ecs)
    arn, processes = sorted(before.items())[0]
    for pid in processes:
        os.kill(pid, signal.SIGKILL)

    def stopped():
        task = split.ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]
        return task["lastStatus"] == "STOPPED" and task

    task = berth.wait_until(stopped, "the killed task is STOPPED", 30)
    assert task["containers"][0]["exitCode"] == 137
    assert task["stopCode"] == "EssentialContainerExited"
    assert "137" in task["stoppedReason"], task["stoppedReason"]
    berth.wait_until(lambda: len(berth.running(split.ecs, "shop")) == 5, "the service has replaced it", 60)
    assert arn not in pids(split.ecs)


def test_agent_killed_and_restarted_keeps_its_containers(split):
    before = pids(split.ecs)
    assert len(before) == 5
    split.processes["agent"].kill()
    assert before == pids(split.ecs), "containers run on without the agent"
    split.start_agent()
    berth.wait_until(lambda: berth.instances_of(split.ecs, "shop")[0]["agentConnected"], "the agent is back", 60)
    split.processes["agent"].wait_for(r".")
    berth.wait_stable(split.ecs, "shop", "steady")
    assert pids(split.ecs) == before
    assert len(berth.instances_of(split.ecs, "shop")) == 1


def test_containerd_killed_and_restarted_keeps_its_containers(split):
    before = pids(split.ecs)
    split.containerd.kill()
    split.containerd.start()
    # A new task runs, so the agent has found the new containerd.
    split.ecs.update_service(cluster="shop", service="steady", desiredCount=6)
    berth.wait_until(lambda: len(berth.running(split.ecs, "shop")) == 6, "a further task runs", 60)
    after = pids(split.ecs)
    assert {arn: after.get(arn) for arn in before} == before
    split.ecs.update_service(cluster="shop", service="steady", desiredCount=5)
    berth.wait_stable(split.ecs, "shop", "steady")


def test_controller_killed_amid_writes_keeps_every_acknowledged_one(split):
    berth.wait_until(lambda: len(pids(split.ecs)) == 5, "five containers", 30)
    before = pids(split.ecs)
    acknowledged, enough = [], threading.Event()
    ecs = berth.client(split.endpoint, connections=16)

    def write(number):
        if enough.is_set() and not split.processes["controller"].child.poll() is None:
            return
        try:
            answer = ecs.register_task_definition(
                family=f"write-{number}", containerDefinitions=[{"name": "a", "image": "busybox", "memory": 8}]
            )
        except Exception:  # refused or cut off: not acknowledged
            return
        acknowledged.append(answer["taskDefinition"]["taskDefinitionArn"])
        if len(acknowledged) >= ROUNDS // 2:
            enough.set()

    def kill():
        enough.wait(60)
        split.processes["controller"].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(ROUNDS)))
    killer.join()
    assert ROUNDS // 2 <= len(acknowledged) < ROUNDS
    split.start_controller()
    found = set(berth.pages(split.ecs, "list_task_definitions", "taskDefinitionArns"))
    assert set(acknowledged) <= found, f"{len(set(acknowledged) - found)} acknowledged writes are gone"
    written = {arn.split("/")[-1].split(":")[0] for arn in acknowledged}
    for number in range(ROUNDS):
        if f"write-{number}" not in written:
            write(number)
    assert len(acknowledged) == ROUNDS, "the writes go on where they were cut off"
    berth.wait_until(lambda: berth.instances_of(split.ecs, "shop")[0]["agentConnected"], "the agent is back", 60)
    berth.wait_stable(split.ecs, "shop", "steady")
    assert pids(split.ecs) == before


def test_agent_port_beyond_loopback_is_refused(tmp_path):
    process = berth.Process(
        ["controller", "--listen", "127.0.0.1:0", "--agent-listen", "0.0.0.0:0", "--data-dir", tmp_path / "data"], tmp_path / "log"
    )
    assert process.child.wait(30) != 0
    assert re.search("loopback", process.output()), process.output()
    process.stop()
