"""Backing up a cluster that serves, losing it, and going on from the backup with the containers that run."""

import os
import subprocess

import pytest

import berth
from containerd import pids
from test_crash import Split

pytestmark = pytest.mark.containers


@pytest.fixture
def split(tmp_path, sample_image):
    if os.geteuid() != 0:
        pytest.fail("real containers need root")
    parts = Split(tmp_path, sample_image)
    try:
        parts.start_containerd()
        parts.start_controller()
        ecs = berth.client(parts.endpoint, retries=8)
        ecs.create_cluster(clusterName="shop")
        parts.start_agent()
        berth.wait_until(lambda: len(berth.instances_of(ecs, "shop")) == 1, "the host has registered", 30)
        parts.containerd.import_image(sample_image, "berth-split")
        yield parts, ecs
    finally:
        parts.stop()


def backup(split, *arguments, check=True):
    result = subprocess.run(
        [berth.BINARY, "backup", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, env=berth.environment(split.endpoint),
    )
    assert not check or result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
    return result


def test_cluster_restored_from_a_backup_goes_on_with_the_containers_that_run(split):
    parts, ecs = split
    container = {"name": "app", "image": "berth-sample:latest", "memory": 16, "command": ["sleep", "100000"], "stopTimeout": 2}
    ecs.register_task_definition(family="web", networkMode="host", containerDefinitions=[container])
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
    berth.wait_stable(ecs, "shop", "web")
    file = parts.directory / "cluster.backup"
    made = backup(parts, "create", file)
    assert "written and verified" in made.stdout
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert backup(parts, "create", file, check=False).returncode == 1, "an existing file is not overwritten"
    assert "cluster/shop" in backup(parts, "verify", file).stdout
    before = pids(ecs)
    assert len(before) == 3

    # After the backup the history goes on: a task that the backup does not know, and many positions that the agent sees.
    ecs.update_service(cluster="shop", service="web", desiredCount=4)
    berth.wait_stable(ecs, "shop", "web")
    damaged = parts.directory / "damaged.backup"
    damaged.write_bytes(file.read_bytes()[:-3])
    refused = backup(parts, "verify", damaged, check=False)
    assert refused.returncode == 1 and "cut off" in refused.stderr

    parts.processes["controller"].kill()
    controller = parts.directory / "controller"
    refused = backup(parts, "restore", file, "--data-dir", controller, check=False)
    assert refused.returncode == 1 and "is in use" in refused.stderr
    controller.rename(parts.directory / "lost")
    backup(parts, "restore", file, "--data-dir", controller)
    parts.start_controller()
    berth.wait_until(lambda: berth.instances_of(ecs, "shop")[0]["agentConnected"], "the agent is back", 60)
    berth.wait_stable(ecs, "shop", "web")
    assert berth.service_of(ecs, "shop", "web")["desiredCount"] == 3, "as when the backup was made"
    assert pids(ecs) == before, "nothing that the backup knows was started again"

    # And it is a cluster like any other.
    ecs.update_service(cluster="shop", service="web", desiredCount=5)
    berth.wait_stable(ecs, "shop", "web")
    after = pids(ecs)
    assert {task: after[task] for task in before} == before
