"""Fixtures: a simulated cluster and one of real containers, both behind the recorder."""

import os
import subprocess
import sys

import pytest

import berth
import machine
from recorder import Recorder

sys.path.insert(0, os.path.dirname(__file__))

SAMPLE_IMAGE = "berth-sample:latest"


def pytest_report_header():
    def version(binary):
        asked = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
        return f"{binary} ({asked.stdout.strip()})"

    earlier = f"upgrades are tested from: {version(berth.EARLIER)}"
    if berth.EARLIER == berth.BINARY:
        earlier = "UPGRADES FROM AN EARLIER FORMAT ARE NOT TESTED: there is no BERTH_EARLIER_BINARY, so this build stands in for it"
    return [f"binary: {version(berth.BINARY)}", earlier]


@pytest.fixture(scope="session", autouse=True)
def machine_is_left_as_it_was():
    """Fails a run that leaves interfaces, rules, mounts, processes, files or control groups on the machine."""
    if os.geteuid() != 0:
        yield  # what could be left needs root
        return
    before = machine.snapshot()
    yield
    assert machine.left_behind(before) == [], "the tests left this on the machine"


@pytest.fixture(scope="session")
def sample_image(tmp_path_factory):
    """The archive of the sample image."""
    path = tmp_path_factory.mktemp("image") / "sample.tar"
    subprocess.run([sys.executable, berth.ROOT / "deploy/sample-image.py", path], check=True)
    return path


class Cluster:
    """A development cluster and clients for it, through the recorder and past it."""

    def __init__(self, process, name):
        self.dev = process
        self.name = name
        self.recorder = Recorder(process.port)
        self.ecs = berth.client(self.recorder.endpoint)
        self.direct = berth.client(process.endpoint)

    def aws(self, *arguments, **more):
        return berth.aws(self.recorder.endpoint, *arguments, **more)

    def close(self):
        self.recorder.close()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Six simulated hosts in three zones, in the cluster `shop`."""
    with berth.dev(
        tmp_path_factory.mktemp("simulated"), "--runtime", "simulated", "--hosts", 6, "--azs", 3, "--cluster", "shop"
    ) as process:
        cluster = Cluster(process, "shop")
        yield cluster
        cluster.close()


@pytest.fixture(scope="module")
def containers(tmp_path_factory, sample_image):
    """Three hosts of real containers in three zones, in the cluster `shop`, with the sample image."""
    if os.geteuid() != 0:
        pytest.fail("real containers need root; run the tests as root, or leave these out with -m 'not containers'")
    with berth.dev(tmp_path_factory.mktemp("containers"), "--runtime", "containerd", "--cluster", "shop") as process:
        process.run("image", "import", sample_image)
        cluster = Cluster(process, "shop")
        yield cluster
        cluster.close()


@pytest.fixture(autouse=True)
def answers_fit_the_model(request):
    """Fails a test during which an answer was not what the service model says."""
    yield
    for name in ("simulated", "containers"):
        if name in request.fixturenames:
            recorder = request.getfixturevalue(name).recorder
            violations, recorder.violations = recorder.violations, []
            assert not violations, "\n".join(["answers that are not what the model says:", *violations[:20]])
