"""Ports of tasks with bridge networks: datagrams, and a port that another program has."""

import contextlib
import glob
import http.server
import os
import select
import socket
import subprocess
import sys
import threading

import pytest

import berth

pytestmark = pytest.mark.containers

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5353))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(1500)
    s.sendto(b"echo " + data, peer)
"""


def register(ecs, family, mappings, command=("sleep", "100000")):
    container = {
        "name": "app", "image": "berth-sample:latest", "memory": 16, "stopTimeout": 2, "command": list(command), "portMappings": mappings,
    }
    ecs.register_task_definition(family=family, networkMode="bridge", containerDefinitions=[container])


@contextlib.contextmanager
def inside(task, program):
    """Runs a Python program in the network namespace of a task, since the sample image can serve no datagrams."""
    [namespace] = glob.glob(f"/run/netns/berth-*{task['taskArn'].split('/')[-1]}")
    child = subprocess.Popen(
        ["ip", "netns", "exec", os.path.basename(namespace), sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    try:
        readable, _, _ = select.select([child.stdout], [], [], 30)
        assert readable and child.stdout.readline() == "ready\n", "the program in the task's network has begun"
        yield
    finally:
        child.kill()
        child.wait()


def ask(address, text):
    """The answer to a datagram, which may be lost and is then sent again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)

        def answered():
            asking.sendto(text, address)
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                return asking.recv(1500)

        return berth.wait_until(answered, f"an answer from {address}", 20)


def test_datagrams_reach_a_container_through_fixed_and_dynamic_ports(containers):
    ecs = containers.ecs
    fixed = berth.free_port()
    # The same number for tcp is another port.
    mappings = [
        {"containerPort": 5353, "protocol": "udp"},
        {"containerPort": 5353, "hostPort": fixed, "protocol": "udp"},
        {"containerPort": 80, "hostPort": fixed, "protocol": "tcp"},
    ]
    register(ecs, "datagrams", mappings)
    arn = ecs.run_task(cluster="shop", taskDefinition="datagrams")["tasks"][0]["taskArn"]
    describe = lambda: ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]
    task = berth.wait_until(lambda: describe()["lastStatus"] == "RUNNING" and describe(), "the task runs", 60)
    bindings = {(b["protocol"], b["hostPort"]): b for b in task["containers"][0]["networkBindings"]}
    assert len(bindings) == 3 and ("udp", fixed) in bindings and ("tcp", fixed) in bindings
    ports = [(b["bindIP"], b["hostPort"]) for b in bindings.values() if b["protocol"] == "udp"]
    with inside(task, ECHO):
        for number, address in enumerate(ports):
            assert ask(address, b"%d" % number) == b"echo %d" % number
    ecs.stop_task(cluster="shop", task=arn)


def test_port_that_another_program_has_on_every_host_is_a_reason_that_names_it_until_it_is_free(containers):
    ecs = containers.ecs
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    try:
        register(ecs, "taken", [{"containerPort": 80, "hostPort": port}])
        ecs.create_service(cluster="shop", serviceName="taken", taskDefinition="taken", desiredCount=1)
        stopped = lambda: [
            task for task in berth.tasks_of(ecs, "shop", "STOPPED", serviceName="taken") if task["lastStatus"] == "STOPPED"
        ]
        events = lambda: [event["message"] for event in berth.service_of(ecs, "shop", "taken")["events"]]
        held = lambda: any(f"host port {port}/tcp is held by a program that is no task" in message for message in events())
        berth.wait_until(held, "the service says why no host is tried any more", 60)
        tasks = stopped()
        assert 1 <= len(tasks) <= 6, f"{len(tasks)} tries on 3 hosts: a host is not tried again while the port is held"
        for task in tasks:
            assert task["stopCode"] == "TaskFailedToStart"
            for part in (str(port), "tcp", f"process {os.getpid()}"):
                assert part in task["stoppedReason"], task["stoppedReason"]
        server.shutdown()
        server.server_close()
        berth.wait_until(lambda: berth.service_of(ecs, "shop", "taken")["runningCount"] == 1, "it runs once the port is free", 60)
    finally:
        server.server_close()
    ecs.delete_service(cluster="shop", service="taken", force=True)
