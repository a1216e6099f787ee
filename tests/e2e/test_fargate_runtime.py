"""What runs the containers of tasks of the launch type FARGATE: the runtime that the agent was told, or the strongest that it finds. Programs
that do what runc does stand in for others."""

import base64
import contextlib
import json
import os
import pathlib

import pytest

import berth
import fleet

pytestmark = pytest.mark.containers

SUBNETS = pathlib.Path("/run/berth/subnets")
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-default"]}}


def program(directory, name, runs):
    """A program of this name that runs another one."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f'#!/bin/sh\nexec {runs} "$@"\n')
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def host_with(directory, image, *arguments):
    """A controller, and a host that offers itself to FARGATE. In the folder itself: the paths of containerd's sockets must not be longer."""
    taken = set(SUBNETS.glob("*"))
    try:
        with fleet.on_machines(directory, image, 1, 0) as machines:
            machines.add_host(image, "zone-1", arguments=["--fargate", *arguments])
            machines.wait_for_hosts()
            yield machines
    finally:
        # An agent keeps its network when it stops.
        for subnet in set(SUBNETS.glob("*")) - taken:
            subnet.unlink()
        for folder in (SUBNETS, SUBNETS.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def define(ecs, family, *names, **more):
    containers = [
        {"name": name, "image": "berth-sample:latest", "memory": 32, "command": ["sleep", "100000"], "stopTimeout": 2} for name in names
    ]
    ecs.register_task_definition(family=family, containerDefinitions=containers, **more)


def of_fargate(ecs, family, *names):
    define(ecs, family, *names, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512")


def runtimes(machines):
    """What containerd says of the runtime of each container, by the task's id."""
    [host] = machines.hosts
    ctr = lambda *words: host.containerd.ctr("-n", host.machine.namespace, "containers", *words, check=False)
    told = {identifier: ctr("info", identifier) for identifier in ctr("ls", "-q").stdout.split()}
    # One that was removed in between is told of no more.
    return {identifier.split("-")[0]: json.loads(info.stdout)["Runtime"] for identifier, info in told.items() if info.returncode == 0}


def nothing_left(machines):
    """Waits until every task is over, with its network, and no container is there."""
    stopped = lambda: [task["lastStatus"] for task in berth.tasks_of(machines.ecs, "shop", "STOPPED")]
    over = lambda: berth.running(machines.ecs, "shop") == [] and set(stopped()) == {"STOPPED"} and runtimes(machines) == {}
    berth.wait_until(over, "every task is over", 60)


def task_id(task):
    return task["taskArn"].split("/")[-1]


def run(ecs, **more):
    answer = ecs.run_task(cluster="shop", **more)
    assert answer["failures"] == [], answer
    arn = answer["tasks"][0]["taskArn"]

    def is_running():
        task = ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]
        assert task["lastStatus"] != "STOPPED", (task["stoppedReason"], task["containers"])
        return task["lastStatus"] == "RUNNING" and task

    return berth.wait_until(is_running, "the task runs", 60)


def test_tasks_of_fargate_run_by_the_runtime_that_was_named_and_are_found_again(tmp_path, sample_image, monkeypatch):
    program(tmp_path / "bin", "containerd-shim-standin-v1", "containerd-shim-runc-v2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with host_with(tmp_path, sample_image, "--fargate-runtime", "io.containerd.standin.v1") as machines:
        ecs = machines.ecs
        of_fargate(ecs, "web", "app", "side")
        define(ecs, "plain", "app", networkMode="host")
        [host] = berth.instances_of(ecs, "shop")
        assert berth.attribute(host, "berth.fargate") == "standin"
        ecs.create_service(
            cluster="shop", serviceName="web", taskDefinition="web", desiredCount=1, launchType="FARGATE", networkConfiguration=NETWORK
        )
        plain = run(ecs, taskDefinition="plain")
        berth.wait_stable(ecs, "shop", "web")
        [web] = [task for task in berth.running(ecs, "shop") if task["launchType"] == "FARGATE"]
        assert {identifier: runtime["Name"] for identifier, runtime in runtimes(machines).items()} == {
            task_id(web): "io.containerd.standin.v1",
            task_id(plain): "io.containerd.runc.v2",
        }
        before = machines.pids()
        assert len(before[web["taskArn"]]) == 2
        machines.hosts[0].restart()
        machines.wait_for_hosts()
        berth.wait_stable(ecs, "shop", "web")
        assert machines.pids() == before
        ecs.delete_service(cluster="shop", service="web", force=True)
        ecs.stop_task(cluster="shop", task=plain["taskArn"])
        nothing_left(machines)


def test_agent_finds_gvisor_and_takes_tasks_of_one_container_there_alone(tmp_path, sample_image, monkeypatch):
    runsc = program(tmp_path / "bin", "runsc", "runc")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with host_with(tmp_path, sample_image) as machines:
        ecs = machines.ecs
        of_fargate(ecs, "one", "app")
        of_fargate(ecs, "two", "app", "side")
        [host] = berth.instances_of(ecs, "shop")
        assert berth.attribute(host, "berth.fargate") == "runsc"
        task = run(ecs, taskDefinition="one", launchType="FARGATE", networkConfiguration=NETWORK)
        [runtime] = runtimes(machines).values()
        assert runtime["Name"] == "io.containerd.runc.v2"
        assert str(runsc).encode() in base64.b64decode(runtime["Options"]["value"])
        refused = ecs.run_task(cluster="shop", taskDefinition="two", launchType="FARGATE", networkConfiguration=NETWORK)
        said = refused["failures"][0]["detail"]
        assert refused["tasks"] == [] and "berth.fargate-sidecars" in said and "--fargate-runtime runc" in said, said
        ecs.stop_task(cluster="shop", task=task["taskArn"])
        nothing_left(machines)


def test_gvisor_that_cannot_run_containers_is_not_taken_and_the_agent_says_why(tmp_path, sample_image, monkeypatch):
    runsc = program(tmp_path / "bin", "runsc", "runc")
    why = "starting container: cannot run with network enabled in root network namespace"
    runsc.write_text(f'#!/bin/sh\ncase " $* " in *" run "*) echo "{why}" >&2; exit 128;; esac\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with host_with(tmp_path, sample_image) as machines:
        ecs = machines.ecs
        [host] = berth.instances_of(ecs, "shop")
        assert berth.attribute(host, "berth.fargate") == "runc"
        said = machines.hosts[0].agent.output()
        assert "gVisor (runsc) is on this host and cannot run containers" in said and why in said, said
        of_fargate(ecs, "two", "app", "side")
        task = run(ecs, taskDefinition="two", launchType="FARGATE", networkConfiguration=NETWORK)
        assert [runtime["Name"] for runtime in runtimes(machines).values()] == ["io.containerd.runc.v2"]
        ecs.stop_task(cluster="shop", task=task["taskArn"])
        nothing_left(machines)


def test_agent_ends_at_its_start_where_the_runtime_that_was_named_is_not_there(tmp_path):
    agent = berth.Process(
        ["agent", "--controller", "http://127.0.0.1:9", "--data-dir", tmp_path / "agent", "--fargate", "--fargate-runtime", "kata"],
        tmp_path / "log",
        PATH="/usr/sbin:/usr/bin:/sbin:/bin",
    )
    agent.child.wait(30)
    said = pathlib.Path(tmp_path / "log").read_text()
    assert agent.stop() == 1
    assert "containerd-shim-kata-v2 is not in PATH" in said, said
