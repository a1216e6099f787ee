"""Starts and stops what the tests talk to: `berth dev`, `berth controller`, `berth agent`, and clients for them."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.httpsession

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BERTH_BINARY", str(ROOT / "target/release/berth"))
# A build of an earlier format to upgrade from, which `tests/run.sh earlier` makes; where there is none, the same build stands in for it.
EARLIER = os.environ.get("BERTH_EARLIER_BINARY", BINARY)
ACCESS_KEY = "AKIAE2ETESTSE2ETESTS"
SECRET = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
REGION = "us-east-1"
ACCOUNT = "123456789012"
START_DEADLINE = 60
STOP_DEADLINE = 60


# Below those that the kernel gives to connections and Berth to tasks, so that nobody has taken one before it is used.
PORTS = range(12_000, 31_000)
_taken = set()


def free_port() -> int:
    """A port that nobody listens on, and that no other call has been given."""
    for _ in range(1_000):
        port = random.choice(PORTS)
        if port in _taken:
            continue
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("0.0.0.0", port))
                udp.bind(("0.0.0.0", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise AssertionError(f"no port of {PORTS} is free")


def wait_until(condition, what, deadline=30.0, pause=0.1):
    """Calls `condition` until it returns something true, and returns that."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(pause)


def environment(endpoint=None, **more):
    """Variables for a child: the root credentials and, for clients, where the endpoint is; nothing of the caller's AWS set-up."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BERTH_"))}
    variables.update(
        BERTH_ROOT_ACCESS_KEY_ID=ACCESS_KEY,
        BERTH_ROOT_SECRET_ACCESS_KEY=SECRET,
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_PAGER="",
        AWS_EC2_METADATA_DISABLED="true",
    )
    if endpoint:
        variables["AWS_ENDPOINT_URL"] = endpoint
    variables.update(more)
    # A variable that is `None` is not to be there.
    return {name: value for name, value in variables.items() if value is not None}


def client(endpoint, service="ecs", region=REGION, secret=SECRET, key=ACCESS_KEY, retries=0, connections=64, **more):
    """A boto3 client that is told nothing but endpoint, region and keys."""
    config = botocore.config.Config(
        retries={"max_attempts": retries}, connect_timeout=5, read_timeout=60, max_pool_connections=connections, **more
    )
    return boto3.client(
        service, endpoint_url=endpoint, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret, config=config
    )


class Process:
    """A `berth` that runs, with its output in a file; on another machine if a prefix for its command says so, or of another build."""

    def __init__(self, arguments, log, prefix=(), binary=BINARY, **variables):
        self.arguments = [*prefix, binary, *map(str, arguments)]
        self.log = pathlib.Path(log)
        self._out = self.log.open("ab")
        # An earlier process may have written to the same file.
        self._begins = self._out.tell()
        self.child = subprocess.Popen(
            self.arguments, stdout=self._out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment(**variables)
        )

    @property
    def pid(self):
        return self.child.pid

    def output(self):
        return self.log.read_bytes()[self._begins :].decode(errors="replace")

    def wait_for(self, pattern, deadline=START_DEADLINE):
        """Waits until the output matches; returns the match."""

        def look():
            found = re.search(pattern, self.output())
            assert found or self.child.poll() is None, f"{self.arguments} ended with {self.child.poll()}:\n{self.output()}"
            return found

        return wait_until(look, f"{pattern!r} in the output of {self.arguments}", deadline, 0.05)

    def stop(self, how=signal.SIGTERM, deadline=STOP_DEADLINE):
        """Ends it and returns its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(deadline)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError(f"{self.arguments} did not end within {deadline} s:\n{self.output()[-4000:]}") from None
        self._out.close()
        return self.child.returncode

    def kill(self):
        return self.stop(signal.SIGKILL)


class Dev(Process):
    """`berth dev` on ports of its own."""

    def __init__(self, directory, *arguments, keep_data=False, port=None, **variables):
        self.port = port or free_port()
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.run_dir = directory / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        data = ["--data-dir", self.data_dir] if keep_data else []
        super().__init__(
            ["dev", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", "127.0.0.1:0", *data, *arguments],
            directory / "dev.log",
            XDG_RUNTIME_DIR=str(self.run_dir),
            HOME=str(directory),
            **variables,
        )
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def ready(self):
        self.wait_for(r"(?m)^Ready")
        return self

    def run(self, *arguments, check=True, **variables):
        """Runs another command of `berth` as the same user."""
        result = subprocess.run(
            [BINARY, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BERTH_"))},
                "XDG_RUNTIME_DIR": str(self.run_dir),
                "HOME": str(self.run_dir.parent),
                **variables,
            },
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result


@contextlib.contextmanager
def dev(directory, *arguments, **more):
    process = Dev(directory, *arguments, **more)
    try:
        yield process.ready()
    finally:
        process.stop()


def aws(endpoint, *arguments, check=True, timeout=300):
    """Runs pip's AWS CLI, told nothing but endpoint, region and keys; returns its JSON, or the finished process."""
    program = pathlib.Path(sys.executable).with_name("aws")
    result = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=timeout, env=environment(endpoint, HOME="/nonexistent")
    )
    if not check:
        return result
    assert result.returncode == 0, f"aws {' '.join(arguments)}: {result.returncode}\n{result.stderr}"
    return json.loads(result.stdout) if result.stdout.strip() else None


def pages(ecs, operation, result, **arguments):
    """All results of a list operation."""
    found = []
    for page in ecs.get_paginator(operation).paginate(**arguments):
        found.extend(page[result])
    return found


def tasks_of(ecs, cluster, status="RUNNING", **more):
    """Descriptions of the tasks of a cluster of which `status` is wanted."""
    arns = pages(ecs, "list_tasks", "taskArns", cluster=cluster, desiredStatus=status, **more)
    found = []
    for start in range(0, len(arns), 100):
        found += ecs.describe_tasks(cluster=cluster, tasks=arns[start : start + 100])["tasks"]
    return found


def running(ecs, cluster, **more):
    return [task for task in tasks_of(ecs, cluster, **more) if task["lastStatus"] == "RUNNING"]


def service_of(ecs, cluster, name):
    return ecs.describe_services(cluster=cluster, services=[name])["services"][0]


def wait_stable(ecs, cluster, name, deadline=120.0):
    """What the `ServicesStable` waiter waits for, looked at more often."""

    def look():
        service = service_of(ecs, cluster, name)
        return len(service["deployments"]) == 1 and service["runningCount"] == service["desiredCount"] and service

    return wait_until(look, f"service {name} is stable", deadline, 0.2)


def instances_of(ecs, cluster):
    arns = pages(ecs, "list_container_instances", "containerInstanceArns", cluster=cluster)
    found = []
    for start in range(0, len(arns), 100):
        found += ecs.describe_container_instances(cluster=cluster, containerInstances=arns[start : start + 100])["containerInstances"]
    return found


def attribute(instance, name):
    return next((a.get("value") for a in instance["attributes"] if a["name"] == name), None)


def id_of(arn):
    """What stands after the last slash of an ARN."""
    return arn.rsplit("/", 1)[-1]


def page(address):
    """What a web server answers at `host:port`, once it does: a task runs as soon as its processes do, and they may not listen yet."""

    def fetched():
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return None

    return wait_until(fetched, f"an answer from {address}", 30)


def call(endpoint, operation, document):
    """Calls an operation of Berth's own service as any client can that signs its requests; returns the answer."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Berth_20261101.{operation}"}
    request = botocore.awsrequest.AWSRequest("POST", f"{endpoint}/", headers=headers, data=json.dumps(document))
    keys = botocore.credentials.Credentials(ACCESS_KEY, SECRET)
    botocore.auth.SigV4Auth(keys, "berth", REGION).add_auth(request)
    answer = botocore.httpsession.URLLib3Session().send(request.prepare())
    assert answer.status_code == 200, (operation, answer.status_code, answer.text)
    return json.loads(answer.text)
