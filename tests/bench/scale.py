"""What ten thousand hosts and a hundred thousand tasks cost: real controllers, and agents as light sessions in one other process.

    BERTH_BINARY=target/release/berth python tests/bench/scale.py [--hosts N] [--tasks N] [--within FILE] [alone] [members] [services]

`alone` measures one controller: time to a steady state, memory, cpu, a scale-up, predictions, a task's successor, and how long a write waits while a
snapshot is taken.
`members` measures placements a second of three.
`services` measures what clients wait for while many of them create a thousand services on a thousand hosts, of one controller and of three. Prints figures as they are found. With `--within`, what has to be quiet holds that
file locked.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import berth  # noqa: E402
import members  # noqa: E402

BINARIES = pathlib.Path(berth.BINARY).parent
CLUSTER = "scale"
# Almost as large as ECS lets a service become (5,000), so that there is room for a scale-up.
TASKS_PER_SERVICE = 4_000
SCALE_UP = 1_000
SCALE_UPS = 5
QUIET_SECONDS = 30
# Clients that make the log grow until a snapshot is due, and for how long: few, since with many it is each other that they wait for.
FILLERS = 8
SNAPSHOT_SECONDS = 60
PROBE_SECONDS = 5
SETTLE_DEADLINE = 900
# Services that clients create at the same time, and on how many hosts.
SERVICES, TASKS_EACH, CLIENTS, HOSTS_OF_SERVICES = 1_000, 10, 64, 1_000
TICKS = os.sysconf("SC_CLK_TCK")


class Hosts:
    """Agents as light sessions in a process of their own."""

    def __init__(self, directory, count, endpoints):
        self.count = count
        self.log = pathlib.Path(directory) / "hosts.log"
        with self.log.open("wb") as out:
            self.child = subprocess.Popen(
                [BINARIES / "many-hosts", CLUSTER, str(count), *endpoints],
                stdout=out, stderr=subprocess.STDOUT, env=berth.environment(BERTH_ACCOUNT=berth.ACCOUNT),
            )

    def counts(self):
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4_096))
            lines = re.findall(rb"^sessions=.*$", log.read(), re.MULTILINE)
        assert self.child.poll() is None, self.log.read_text()[-2_000:]
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", lines[-1].decode())} if lines else {}

    def wait_for(self, name, count, deadline=SETTLE_DEADLINE):
        berth.wait_until(lambda: self.counts().get(name) == count, f"{name}={count}, and not {self.counts()}", deadline, 0.2)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(30)


def metrics(member):
    """The metrics of a controller that have no labels."""
    with urllib.request.urlopen(f"{member.endpoint}/metrics", timeout=30) as answer:
        return {name: float(value) for name, value in re.findall(r"(?m)^(\w+) ([\d.e+-]+)$", answer.read().decode())}


def memory(pid):
    """Resident MiB, now and at most."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return tuple(int(re.search(rf"{name}:\s+(\d+)", status).group(1)) / 1024 for name in ("VmRSS", "VmHWM"))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def prepare(member):
    """A cluster with heartbeats of 10 s, and a task definition for it."""
    ecs = member.client()
    ecs.create_cluster(clusterName=CLUSTER)
    member.run("hosts", "settings", "--cluster", CLUSTER, "--heartbeat-interval", "10s", "--lost-after", "30s")
    container = {"name": "app", "image": "berth-sample:latest", "cpu": 64, "memory": 64, "command": ["sleep", "3600"]}
    ecs.register_task_definition(family="app", networkMode="host", containerDefinitions=[container])
    return ecs


def create_services(ecs, tasks):
    """Services for so many tasks, and their names."""
    sizes = [TASKS_PER_SERVICE] * (tasks // TASKS_PER_SERVICE)
    if tasks % TASKS_PER_SERVICE:
        sizes.append(tasks % TASKS_PER_SERVICE)
    names = [f"service-{number:03}" for number in range(len(sizes))]
    for name, size in zip(names, sizes):
        ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition="app", desiredCount=size)
    return names


def described(ecs, names):
    found = []
    for start in range(0, len(names), 10):
        found += ecs.describe_services(cluster=CLUSTER, services=names[start : start + 10])["services"]
    return found


def wait_steady(ecs, names):
    """Waits until every rollout is complete and has told so."""
    def steady():
        services = described(ecs, names)
        return all(
            s["runningCount"] == s["desiredCount"] and s["deployments"][0]["rolloutState"] == "COMPLETED"
            and any("steady state" in event["message"] for event in s["events"][:5])
            for s in services
        )

    berth.wait_until(steady, "every service is steady", SETTLE_DEADLINE, 1)


@contextlib.contextmanager
def quiet(within):
    """Holds the file locked meanwhile, if one is named."""
    if not within:
        yield
        return
    with open(within, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fill(member, ecs, hosts, tasks):
    began = time.monotonic()
    hosts.wait_for("sessions", hosts.count)
    print(f"scale: {hosts.count} hosts registered in {time.monotonic() - began:.1f} s, {memory(member.pid)[0]:.0f} MiB RSS", flush=True)
    began = time.monotonic()
    names = create_services(ecs, tasks)
    hosts.wait_for("running", tasks)
    ran = time.monotonic() - began
    wait_steady(ecs, names)
    took = time.monotonic() - began
    print(f"scale: {tasks} tasks in {len(names)} services run after {ran:.1f} s ({tasks / ran:.0f}/s) and are steady after {took:.1f} s", flush=True)
    return names


def measure_quiet(member, hosts):
    before, counts = cpu_seconds(member.pid), hosts.counts()
    time.sleep(QUIET_SECONDS)
    used, now = cpu_seconds(member.pid) - before, hosts.counts()
    rss, most = memory(member.pid)
    beats = (now["heartbeats"] - counts["heartbeats"]) / QUIET_SECONDS
    print(f"scale: steady: {rss:.0f} MiB RSS, at most {most:.0f} MiB so far; cpu {100 * used / QUIET_SECONDS:.1f} % of a core at {beats:.0f} heartbeats/s;"
          f" sessions lost {now['lost']}", flush=True)


def measure_scale_ups(member, ecs, hosts, names, tasks):
    """Milliseconds from asking for more tasks until all of them are placed and committed."""
    took, used = [], cpu_seconds(member.pid)
    for name in names[:SCALE_UPS]:
        wanted = berth.service_of(ecs, CLUSTER, name)["desiredCount"] + SCALE_UP
        began = time.monotonic()
        ecs.update_service(cluster=CLUSTER, service=name, desiredCount=wanted)

        def placed():
            service = berth.service_of(ecs, CLUSTER, name)
            return service["pendingCount"] + service["runningCount"] >= wanted

        berth.wait_until(placed, f"{wanted} tasks of {name} are placed", 60, 0.005)
        took.append((time.monotonic() - began) * 1e3)
        tasks += SCALE_UP
        hosts.wait_for("running", tasks, 120)
    each = ", ".join(f"{ms:.0f}" for ms in took)
    used = (cpu_seconds(member.pid) - used) / len(took)
    print(f"scale: {SCALE_UP} more tasks placed and committed in {statistics.median(took):.0f} ms (median of {each});"
          f" until they run, the controller takes {1e3 * used:.0f} ms of processor time; load {os.getloadavg()[0]:.1f}", flush=True)


def measure_predictions(member, ecs, names):
    """Seconds of the commands that look ahead, and milliseconds until a task that was stopped has a successor on a host."""
    name = names[-1]
    host = ecs.list_container_instances(cluster=CLUSTER, maxResults=1)["containerInstanceArns"][0].rsplit("/", 1)[1]
    questions = [
        ("why-not", name),
        ("what-if", "--scale", f"{name}={TASKS_PER_SERVICE + SCALE_UP}"),
        ("what-if", "--lose-host", host),
        ("what-if", "--drain", host),
        ("what-if", "--lose-az", "zone-a"),
    ]
    for command, *arguments in questions:
        began = time.monotonic()
        answer = member.run(command, "--cluster", CLUSTER, *arguments, check=False, timeout=120)
        took = time.monotonic() - began
        print(f"scale: berth {command} {' '.join(arguments)}: {took:.2f} s, {len(answer.stdout.splitlines())} lines, exit code {answer.returncode}", flush=True)
    took = []
    wanted = berth.service_of(ecs, CLUSTER, name)["desiredCount"]
    for task in ecs.list_tasks(cluster=CLUSTER, serviceName=name, maxResults=20)["taskArns"]:
        events = {event["id"] for event in berth.service_of(ecs, CLUSTER, name)["events"]}
        began = time.monotonic()
        ecs.stop_task(cluster=CLUSTER, task=task)

        def succeeded():
            service = berth.service_of(ecs, CLUSTER, name)
            said = [event["message"] for event in service["events"] if event["id"] not in events]
            return any("has started 1 tasks" in message for message in said) and service["pendingCount"] + service["runningCount"] >= wanted

        berth.wait_until(succeeded, f"a task of {name} has a successor", 60, 0.002)
        took.append((time.monotonic() - began) * 1e3)
    print(f"scale: a task that is stopped has a successor on a host, committed, after {statistics.median(took):.0f} ms (median of {len(took)}, at most {max(took):.0f})", flush=True)


def load(member, connections, seconds):
    """A program whose clients write one thing after the other, and little of it."""
    body = f'{{"resourceArn": "arn:aws:ecs:{berth.REGION}:{berth.ACCOUNT}:cluster/{CLUSTER}", "tags": [{{"key": "n", "value": "{{n}}"}}]}}'
    return calls([member], "TagResource", body, connections, str(seconds))


def calls(members, operation, body, connections, length):
    """A program that calls an operation again and again, for so many seconds or `Nx` times."""
    endpoints = [member.endpoint for member in members]
    arguments = [BINARIES / "api-load", operation, body, str(connections), length, *endpoints]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=berth.environment(endpoints[0]))


def measure_snapshot(member):
    """How long one client's writes take, at most, while others make the log grow: until a snapshot is taken, and while one is."""
    begins = metrics(member)["berth_raft_snapshot_index"]
    with load(member, FILLERS, SNAPSHOT_SECONDS) as fillers:
        while fillers.poll() is None:
            before = metrics(member)["berth_raft_snapshot_index"]
            with load(member, 1, PROBE_SECONDS) as probe:
                written = probe.communicate(timeout=60)[0].strip()
            taken = metrics(member)["berth_raft_snapshot_index"] > before
            print(f"scale: one client beside {FILLERS}, {'a snapshot was finished meanwhile' if taken else 'no snapshot was finished'}: {written}", flush=True)
        print(f"scale: {fillers.communicate(timeout=60)[0].strip()}", flush=True)
    if metrics(member)["berth_raft_snapshot_index"] == begins:
        print("scale: no snapshot was due: its longest wait is not measured", flush=True)


def alone(directory, arguments):
    with contextlib.ExitStack() as stack:
        member = members.Member(directory, "controller-1", "--bootstrap", RUST_LOG="warn")
        stack.callback(member.stop)
        ecs = prepare(member.ready())
        hosts = Hosts(directory, arguments.hosts, [member.agent_endpoint])
        stack.callback(hosts.stop)
        names = fill(member, ecs, hosts, arguments.tasks)
        with quiet(arguments.within):
            measure_quiet(member, hosts)
            measure_scale_ups(member, ecs, hosts, names, arguments.tasks)
            measure_predictions(member, ecs, names)
            measure_snapshot(member)


def measure_services(group, hosts, count):
    """Seconds until services that many clients create at the same time are steady, and what each call and those of others take meanwhile."""
    leader = group[0]
    ecs = prepare(leader)
    hosts.wait_for("sessions", hosts.count)
    service = {"cluster": CLUSTER, "serviceName": "service-{n}", "taskDefinition": "app", "desiredCount": TASKS_EACH}
    described_one = json.dumps({"cluster": CLUSTER, "services": ["service-0"]})
    began = time.monotonic()
    created = calls(group, "CreateService", json.dumps(service), CLIENTS, f"{SERVICES}x")
    said, tasks = created.communicate(timeout=SETTLE_DEADLINE)[0].strip(), SERVICES * TASKS_EACH
    print(f"services: {count} members, {hosts.count} hosts: {said}", flush=True)
    while hosts.counts().get("running") != tasks:
        # Until all of them run, others write and read.
        with load(leader, CLIENTS, 1) as writers, calls(group, "DescribeServices", described_one, 1, "1") as reader:
            print(f"services: meanwhile {writers.communicate(timeout=60)[0].strip()}", flush=True)
            print(f"services: meanwhile {reader.communicate(timeout=60)[0].strip()}", flush=True)
    ran = time.monotonic() - began
    wait_steady(ecs, [f"service-{number}" for number in range(SERVICES)])
    took = time.monotonic() - began
    print(f"services: {count} members: {tasks} tasks of {SERVICES} services run {ran:.1f} s after the first call and are steady after {took:.1f} s", flush=True)


def services(directory, arguments):
    for count in (1, 3):
        with contextlib.ExitStack() as stack:
            home = pathlib.Path(directory) / f"{count}-members"
            home.mkdir()
            if count == 1:
                group = [members.Member(home, "controller-1", "--bootstrap", RUST_LOG="warn").ready()]
                stack.callback(group[0].stop)
            else:
                three = members.Group(home, count)
                stack.callback(three.stop)
                group = [three.leader(), *three.followers()]
            hosts = Hosts(directory, HOSTS_OF_SERVICES, [member.agent_endpoint for member in group])
            stack.callback(hosts.stop)
            with quiet(arguments.within):
                measure_services(group, hosts, count)


def placed_tasks(ecs, names):
    return sum(s["pendingCount"] + s["runningCount"] for s in described(ecs, names))


def three_members(directory, arguments):
    with contextlib.ExitStack() as stack:
        group = members.Group(directory, 3)
        stack.callback(group.stop)
        leader = group.leader()
        ecs = prepare(leader)
        others = [member.agent_endpoint for member in group.followers()]
        hosts = Hosts(directory, arguments.hosts, [leader.agent_endpoint, *others])
        stack.callback(hosts.stop)
        hosts.wait_for("sessions", hosts.count)
        with quiet(arguments.within):
            began = time.monotonic()
            names = create_services(ecs, arguments.tasks)
            berth.wait_until(lambda: placed_tasks(ecs, names) == arguments.tasks, "all tasks are placed", SETTLE_DEADLINE, 0.05)
            took = time.monotonic() - began
            print(f"scale: 3 members, {hosts.count} hosts: {arguments.tasks} tasks placed and committed in {took:.2f} s, {arguments.tasks / took:.0f}/s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["alone", "members"])
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--within", metavar="FILE")
    arguments = parser.parse_args()
    for what, measure in [("alone", alone), ("members", three_members), ("services", services)]:
        if what in arguments.what:
            with tempfile.TemporaryDirectory() as directory:
                measure(directory, arguments)
    print(f"machine: {os.cpu_count()} cores, {os.uname().release}, load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
