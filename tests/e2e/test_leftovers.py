"""However `berth dev` ends, the machine becomes what it was before: at once, or at the next start if it was killed."""

import json
import os
import signal
import time

import pytest

import berth
import machine

pytestmark = pytest.mark.containers


@pytest.fixture
def before():
    if os.geteuid() != 0:
        pytest.fail("real containers need root")
    return machine.snapshot()


def start(directory, *arguments, **more):
    (directory / "tmp").mkdir(exist_ok=True)
    return berth.Dev(directory, *arguments, TMPDIR=str(directory / "tmp"), **more)


def run_web(process, image):
    """Runs a service of three tasks with bridge networks; returns the ids of its tasks."""
    process.run("image", "import", image)
    ecs = berth.client(process.endpoint)
    definition = json.loads((berth.ROOT / "deploy/samples/web.json").read_text())
    definition["networkMode"] = "bridge"
    # With limits of the task's own, it has a control group that is Berth's work.
    ecs.register_task_definition(**{**definition, "memory": "64"})
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition=definition["family"], desiredCount=3)
    berth.wait_stable(ecs, "shop", "web")
    return [task["taskArn"].split("/")[-1] for task in berth.running(ecs, "shop")]


def assert_as_before(before, directory, tasks=()):
    assert machine.left_behind(before, tasks) == []
    assert list((directory / "tmp").iterdir()) == []
    assert [path for path in (directory / "run").rglob("*") if path.is_file()] == []


# What exists by then, in the order in which it comes about.
MOMENTS = {
    "at-once": "",
    "with-a-controller": "controller",
    "with-containerd": "containerd/containerd.pid",
    "with-the-first-host": "hosts/host-1",
    "with-the-last-host": "hosts/host-3",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_dev_stopped_while_it_starts_leaves_nothing_behind(tmp_path, before, moment):
    process = start(tmp_path, "--runtime", "containerd")
    there = lambda: list((tmp_path / "tmp").glob("berth-dev-*/" + MOMENTS[moment])) or process.child.poll() is not None
    berth.wait_until(there, moment, 30, 0.001)
    assert process.stop() == 0, process.output()
    assert "Nothing is left behind" in process.output()
    assert_as_before(before, tmp_path)


def test_dev_killed_is_cleaned_up_after_by_the_next_one(tmp_path, before, sample_image):
    killed = start(tmp_path, "--runtime", "containerd", "--cluster", "shop").ready()
    tasks = run_web(killed, sample_image)
    killed.kill()
    left = machine.more_than(before, tasks)
    for kind in ("interface: berth-", "rule: ", "mount: ", "process: ", "control group: ", "file: /run/netns/"):
        assert any(item.startswith(kind) for item in left), f"a killed one should have left {kind!r}: {left}"

    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 1, TMPDIR=str(tmp_path / "tmp")) as following:
        assert f"process {killed.pid}" in following.output(), following.output()
        assert "Removed what an earlier `berth dev`" in following.output()
    assert_as_before(before, tmp_path, tasks)


def test_dev_killed_goes_on_from_its_data_directory_on_another_port(tmp_path, before, sample_image):
    killed = start(tmp_path, "--runtime", "containerd", "--cluster", "shop", keep_data=True).ready()
    tasks = run_web(killed, sample_image)
    killed.kill()

    following = start(tmp_path, "--runtime", "containerd", "--cluster", "shop", keep_data=True).ready()
    try:
        following.run("image", "import", sample_image)
        ecs = berth.client(following.endpoint)
        berth.wait_stable(ecs, "shop", "web")
        hosts = berth.instances_of(ecs, "shop")
        assert len(hosts) == 3 and all(host["agentConnected"] for host in hosts), "they are the same hosts"
        tasks += [task["taskArn"].split("/")[-1] for task in berth.tasks_of(ecs, "shop")]
    finally:
        following.stop()
    assert_as_before(before, tmp_path, tasks)
    assert (tmp_path / "data/controller").is_dir(), "the state is kept"


def test_clean_removes_what_a_killed_one_left_and_nothing_of_one_that_runs(tmp_path, before, sample_image):
    killed = start(tmp_path, "--runtime", "containerd", "--cluster", "shop").ready()
    tasks = run_web(killed, sample_image)
    killed.kill()
    with berth.dev(tmp_path / "other", "--runtime", "simulated", "--hosts", 2) as running:
        cleaned = running.run("dev", "--clean", TMPDIR=str(tmp_path / "tmp"))
        assert "Nothing is left" in cleaned.stdout
        assert all(host["agentConnected"] for host in berth.instances_of(berth.client(running.endpoint), "default"))
        assert running.run("dev", "--clean").stderr == "", "there is nothing more to remove"
    assert_as_before(before, tmp_path, tasks)


def test_dev_stopped_twice_at_once_is_cleaned_up_after(tmp_path, before, sample_image):
    process = start(tmp_path, "--runtime", "containerd", "--cluster", "shop").ready()
    tasks = run_web(process, sample_image)
    process.child.send_signal(signal.SIGINT)
    process.wait_for("Stopping")
    # Signals closer together than a person's are taken as one.
    time.sleep(0.3)
    assert process.stop(signal.SIGINT) == 1
    assert "berth dev --clean" in process.output()
    process.run("dev", "--clean")
    assert_as_before(before, tmp_path, tasks)
