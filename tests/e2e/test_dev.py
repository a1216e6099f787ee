"""`berth dev` and the commands around it: what they say, and that nothing is left behind."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

import berth
import machine


def leftovers(directory):
    """Processes, mounts, and files that speak of `directory`."""
    name = str(directory)
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if name in command and "pytest" not in command:
                found.append(f"process {entry.name}: {command}")
    found += [f"mount {line}" for line in pathlib.Path("/proc/mounts").read_text().splitlines() if name in line]
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_dev_stopped_without_data_dir_leaves_nothing_behind(tmp_path, how):
    process = berth.Dev(tmp_path, "--runtime", "simulated", TMPDIR=str(tmp_path / "tmp")) if (tmp_path / "tmp").mkdir() is None else None
    process.ready()
    assert process.run("env").stdout.count("export ") == 5
    assert process.stop(how) == 0, process.output()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in process.run_dir.rglob("*") if path.is_file()] == []
    assert leftovers(tmp_path) == []


def test_dev_with_containers_leaves_nothing_behind(tmp_path, sample_image):
    if os.geteuid() != 0:
        pytest.fail("real containers need root")
    before = machine.snapshot()
    (tmp_path / "tmp").mkdir()
    process = berth.Dev(tmp_path, "--runtime", "containerd", "--cluster", "shop", TMPDIR=str(tmp_path / "tmp")).ready()
    try:
        process.run("image", "import", sample_image)
        ecs = berth.client(process.endpoint)
        with open(berth.ROOT / "deploy/samples/web.json") as file:
            ecs.register_task_definition(**json.load(file))
        ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
        berth.wait_stable(ecs, "shop", "web")
        listing = process.run("ps").stdout
        assert listing.count("RUNNING") == 3 and "host-1" in listing and "->80/tcp" in listing, listing
    finally:
        code = process.stop()
    assert code == 0, process.output()
    assert list((tmp_path / "tmp").iterdir()) == [], process.output()[-2000:]
    assert leftovers(tmp_path) == []
    assert machine.left_behind(before) == []


def test_dev_with_data_dir_keeps_its_state(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", keep_data=True, BERTH_ROOT_ACCESS_KEY_ID="", BERTH_ROOT_SECRET_ACCESS_KEY="") as first:
        keys = json.loads(first.run("env", "--format", "json").stdout)
        assert len(keys["AWS_SECRET_ACCESS_KEY"]) == 40
        ecs = berth.client(first.endpoint, key=keys["AWS_ACCESS_KEY_ID"], secret=keys["AWS_SECRET_ACCESS_KEY"])
        ecs.create_cluster(clusterName="kept")
    with berth.dev(tmp_path, "--runtime", "simulated", keep_data=True, BERTH_ROOT_ACCESS_KEY_ID="", BERTH_ROOT_SECRET_ACCESS_KEY="") as second:
        assert json.loads(second.run("env", "--format", "json").stdout)["AWS_SECRET_ACCESS_KEY"] == keys["AWS_SECRET_ACCESS_KEY"]
        ecs = berth.client(second.endpoint, key=keys["AWS_ACCESS_KEY_ID"], secret=keys["AWS_SECRET_ACCESS_KEY"])
        assert ecs.describe_clusters(clusters=["kept"])["clusters"][0]["status"] == "ACTIVE"
        hosts = berth.wait_until(lambda: [h for h in berth.instances_of(ecs, "default") if h["agentConnected"]], "hosts", 30)
        berth.wait_until(lambda: len([h for h in berth.instances_of(ecs, "default") if h["agentConnected"]]) == 3, "three hosts", 30)
        assert len(berth.instances_of(ecs, "default")) == 3, hosts


def test_second_dev_on_the_same_port_says_so(tmp_path):
    with berth.dev(tmp_path / "one", "--runtime", "simulated", "--hosts", 0) as first:
        second = berth.Dev(tmp_path / "two", "--runtime", "simulated", port=first.port)
        assert second.child.wait(30) == 1
        assert str(first.port) in second.output() and "--listen" in second.output(), second.output()
        second.stop()


def test_dev_says_in_its_first_line_which_runtime_it_took(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 1) as process:
        assert "simulated" in process.output().splitlines()[0]


def test_dev_with_testing_resets_on_request(tmp_path):
    import http.client

    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 1, "--testing") as process:
        ecs = berth.client(process.endpoint)
        ecs.create_cluster(clusterName="short-lived")
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        connection.request("POST", "/_berth/reset")
        assert connection.getresponse().status == 200
        assert not any("short-lived" in arn for arn in ecs.list_clusters()["clusterArns"])


def test_commands_without_a_running_cluster_say_how_to_start_one(tmp_path):
    result = subprocess.run(
        [berth.BINARY, "ps"], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert result.returncode == 1
    assert "berth dev" in result.stderr


def test_aws_command_runs_the_aws_cli_against_the_cluster(simulated):
    import sys

    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    result = simulated.dev.run("aws", "ecs", "list-clusters", "--output", "json", PATH=path)
    assert any(arn.endswith("/shop") for arn in json.loads(result.stdout)["clusterArns"])
    missing = simulated.dev.run("aws", "--version", PATH="/nonexistent", check=False)
    assert missing.returncode == 127
    assert "pip install awscli" in missing.stderr
