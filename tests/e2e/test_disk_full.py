"""Full disks: what is said, that nothing is lost, and that all goes on once there is space."""

import os
import signal
import subprocess

import botocore.exceptions
import pytest

import berth
from containerd import pids
from faults import fill
from test_crash import Split

pytestmark = pytest.mark.containers

# A controller accepts changes as long as 256 MiB are free.
SIZES = {"controller": "320m", "agent": "32m"}


@pytest.fixture
def split(tmp_path, sample_image):
    """A controller and an agent, each with its data on a small disk of its own."""
    if os.geteuid() != 0:
        pytest.fail("mounting small disks needs root")
    parts = Split(tmp_path, sample_image)
    for name, size in SIZES.items():
        (tmp_path / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", tmp_path / name], check=True)
    try:
        parts.start_containerd()
        parts.start_controller()
        parts.ecs = berth.client(parts.endpoint)
        parts.ecs.create_cluster(clusterName="shop")
        parts.start_agent()
        berth.wait_until(lambda: len(berth.instances_of(parts.ecs, "shop")) == 1, "the host has registered", 30)
        parts.containerd.import_image(sample_image, "berth-split")
        register(parts.ecs, "sleeper")
        parts.ecs.create_service(cluster="shop", serviceName="steady", taskDefinition="sleeper", desiredCount=2)
        berth.wait_stable(parts.ecs, "shop", "steady")
        yield parts
    finally:
        parts.stop()
        for name in SIZES:
            subprocess.run(["umount", "--lazy", tmp_path / name], check=False)


def register(ecs, family):
    container = {"name": "app", "image": "berth-sample:latest", "memory": 16, "command": ["sleep", "100000"], "stopTimeout": 2}
    # An agent keeps its bridge when it stops, so tasks that had one would leave it on the machine.
    ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])


def test_controller_on_a_full_disk_refuses_changes_and_loses_nothing(split):
    before = pids(split.ecs)
    filling = fill(split.directory / "controller")
    with pytest.raises(botocore.exceptions.ClientError, match="free some space") as refused:
        register(split.ecs, "refused")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert split.ecs.list_task_definition_families()["families"] == ["sleeper"], "reads are answered"

    split.processes["controller"].kill()
    with pytest.raises(AssertionError, match="disk is full.*free some space and start again"):
        split.start_controller()
    filling.unlink()
    split.start_controller()
    register(split.ecs, "accepted")
    assert split.ecs.list_task_definition_families()["families"] == ["accepted", "sleeper"]
    berth.wait_until(lambda: berth.instances_of(split.ecs, "shop")[0]["agentConnected"], "the agent is back", 60)
    berth.wait_stable(split.ecs, "shop", "steady")
    assert pids(split.ecs) == before, "no container was restarted"


def test_agent_on_a_full_disk_keeps_its_containers_and_goes_on_once_there_is_space(split):
    before = pids(split.ecs)
    filling = fill(split.directory / "agent")
    caught = split.ecs.run_task(cluster="shop", taskDefinition="sleeper")["tasks"][0]["taskArn"]

    def decided():
        task = split.ecs.describe_tasks(cluster="shop", tasks=[caught])["tasks"][0]
        return task["lastStatus"] in ("RUNNING", "STOPPED") and task

    # What the agent notes has its space already; what a task needs beside that has not.
    task = berth.wait_until(decided, "the task that the full disk caught runs or says why not", 60)
    assert task["lastStatus"] == "RUNNING" or "No space left on device" in task["stoppedReason"], task
    assert {arn: pid for arn, pid in pids(split.ecs).items() if arn in before} == before

    # One that is killed cannot bring its ledger up to date, and says so rather than forget what it does.
    split.processes["agent"].stop(signal.SIGKILL)
    split.start_agent()
    agent = split.processes["agent"]
    assert agent.child.wait(60) != 0
    assert "its disk is full" in agent.output() and "free some space" in agent.output(), agent.output()
    filling.unlink()
    split.start_agent()
    split.ecs.update_service(cluster="shop", service="steady", desiredCount=3)
    berth.wait_stable(split.ecs, "shop", "steady")
    after = pids(split.ecs)
    assert {arn: after.get(arn) for arn in before} == before, "no container was restarted"
