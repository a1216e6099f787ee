"""The benchmarks: starts against a bare loop over containerd, the API under load, and memory.

    tests/bench/run.sh [starts] [api] [memory]

Every figure is printed as measured on this machine; the start figure is a ratio of two things measured in turn in one run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import berth  # noqa: E402

BINARIES = pathlib.Path(berth.BINARY).parent
TASKS = 100
CONCURRENCY = 4
ROUNDS = 5
COMMAND = ["sleep", "3600"]
LOAD_SECONDS = 5


def definition(ecs, family):
    """Registers a task of one container that sleeps, with the host's network."""
    container = {"name": "sleeper", "image": "berth-sample:latest", "cpu": 2, "memory": 64, "command": COMMAND, "stopTimeout": 2}
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def announced(dev):
    """What the running `berth dev` says of itself, for other commands to find it by."""
    files = [path for path in dev.run_dir.rglob("*.json")]
    assert len(files) == 1, f"expected one file below {dev.run_dir}, found {files}"
    return json.loads(files[0].read_text())


def wait_running(ecs, name, count):
    berth.wait_until(
        lambda: berth.service_of(ecs, "default", name)["runningCount"] == count, f"{count} tasks of {name} run", 120, 0.02
    )


def remove_service(ecs, name):
    ecs.delete_service(cluster="default", service=name, force=True)
    berth.wait_until(lambda: not berth.tasks_of(ecs, "default", "STOPPED") or all(
        t["lastStatus"] == "STOPPED" for t in berth.tasks_of(ecs, "default", "STOPPED")
    ), f"the tasks of {name} have stopped", 120, 0.2)


def rss_mib(pid):
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def container_of(found, task):
    """The container of a task of one, in the containerd of its host."""
    name = task["taskArn"].rsplit("/", 1)[1]
    for namespace in found["namespaces"]:
        listed = subprocess.run(["ctr", "-a", found["socket"], "-n", namespace, "containers", "list", "-q"], capture_output=True, text=True, check=True)
        for container in listed.stdout.split():
            if name in container:
                return namespace, container
    raise AssertionError(f"no container of {name} in {found}")


def measure_starts(dev, memory):
    """Seconds from CreateService to all RUNNING, and seconds of the bare loop that starts the same containers, alternating."""
    ecs = berth.client(dev.endpoint)
    arn = definition(ecs, "bench-starts")
    found = announced(dev)["containerd"]
    ecs.create_service(cluster="default", serviceName="original", taskDefinition=arn, desiredCount=1)
    wait_running(ecs, "original", 1)
    namespace, original = container_of(found, berth.tasks_of(ecs, "default", "RUNNING")[0])
    ratios, ours, bare = [], [], []
    for number in range(ROUNDS):
        name = f"starts-{number}"
        began = time.monotonic()
        ecs.create_service(cluster="default", serviceName=name, taskDefinition=arn, desiredCount=TASKS)
        wait_running(ecs, name, TASKS)
        ours.append(time.monotonic() - began)
        if memory and number == 0:
            print(f"memory: controller and 3 agents in one process with {TASKS} tasks: {rss_mib(dev.pid):.0f} MiB RSS", flush=True)
        remove_service(ecs, name)
        loop = [BINARIES / "bare-starts", found["socket"], namespace, original, str(TASKS), str(CONCURRENCY)]
        result = subprocess.run(loop, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        bare.append(float(result.stdout))
        ratios.append(ours[-1] / bare[-1])
        print(f"starts: round {number + 1}: CreateService of {TASKS} {ours[-1]:.2f} s, bare loop {bare[-1]:.2f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(
        f"starts: median of {ROUNDS} rounds: {statistics.median(ours):.2f} s against {statistics.median(bare):.2f} s,"
        f" ratio {statistics.median(ratios):.2f} (promised: at most 1.30)",
        flush=True,
    )


def measure_api(dev):
    """Requests a second and latencies of a read and a write, over 1 and 64 connections."""
    ecs = berth.client(dev.endpoint)
    arn = definition(ecs, "bench-api")
    ecs.create_service(cluster="default", serviceName="bench-api", taskDefinition=arn, desiredCount=10)
    wait_running(ecs, "bench-api", 10)
    describe = json.dumps({"cluster": "default", "services": ["bench-api"]})
    register = json.dumps({"family": "load-{n}", "containerDefinitions": [{"name": "a", "image": "a", "memory": 8}]})
    for operation, body in [("DescribeServices", describe), ("RegisterTaskDefinition", register)]:
        for connections in ["1", "64"]:
            load = [BINARIES / "api-load", operation, body, connections, str(LOAD_SECONDS)]
            result = subprocess.run(load, capture_output=True, text=True, timeout=120, env=berth.environment(dev.endpoint))
            assert result.returncode == 0, result.stderr
            print("api:", result.stdout.strip(), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["starts", "api", "memory"])
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        if "starts" in what or "memory" in what:
            archive = directory / "sample.tar"
            subprocess.run([sys.executable, berth.ROOT / "deploy/sample-image.py", archive], check=True, stdout=subprocess.DEVNULL)
            with berth.dev(directory / "containers", "--runtime", "containerd") as dev:
                dev.run("image", "import", archive)
                measure_starts(dev, "memory" in what)
        if "api" in what:
            with berth.dev(directory / "api", "--runtime", "simulated") as dev:
                measure_api(dev)
                print(f"memory: controller and 3 simulated agents after the load: {rss_mib(dev.pid):.0f} MiB RSS", flush=True)
    print(f"machine: {os.cpu_count()} cores, {os.uname().release}", flush=True)


if __name__ == "__main__":
    main()
