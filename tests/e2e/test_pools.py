"""Pools whose hosts are put to sleep and woken, with controllers and agents as they are run: the commands that put a machine to sleep and wake it end an
agent and start it."""

import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.request

import pytest

import berth
from members import Group

CLUSTER = "shop"
HOSTS = ("h1", "h2", "h3")


class Machines:
    """A controller that calls hosts by a file for each call, and machines that start an agent when such a file is there."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port, self.agent_port = berth.free_port(), berth.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.calls = self.directory / "calls"
        self.calls.mkdir()
        self.controller = None
        self.agents, self.broken, self.stopping = {}, set(), threading.Event()
        self.watch = threading.Thread(target=self.answer, daemon=True)

    def start(self):
        self.start_controller()
        self.ecs = berth.client(self.endpoint, retries=8)
        self.ecs.create_cluster(clusterName=CLUSTER)
        for name in HOSTS:
            self.start_agent(name)
        berth.wait_until(lambda: all(self.instance(name) for name in HOSTS), "all hosts have registered", 60)
        self.watch.start()

    def start_controller(self):
        script = self.directory / "wake.sh"
        script.write_text(
            "#!/bin/sh\n"
            'if [ -e "$1/jammed-$BERTH_HOST_NAME" ]; then\n'
            '  echo "$BERTH_CALL" >> "$1/failed-$BERTH_HOST_NAME"; echo "the board does not answer" >&2; exit 3\n'
            "fi\n"
            'echo "$BERTH_HOST_NAME $BERTH_CLUSTER $BERTH_CAPACITY_PROVIDER" > "$1/$BERTH_HOST_NAME-$BERTH_CALL"\n'
        )
        self.controller = berth.Process(
            ["controller", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", f"127.0.0.1:{self.agent_port}",
             "--data-dir", self.directory / "controller", "--wake-command", f"sh {script} {self.calls}"],
            self.directory / "controller.log",
        )
        self.controller.wait_for(r"(?m)^Ready")

    def start_agent(self, name):
        self.agents[name] = berth.Process(
            ["agent", "--controller", f"http://127.0.0.1:{self.agent_port}", "--cluster", CLUSTER, "--data-dir", self.directory / name,
             "--host-name", name, "--runtime", "simulated", "--cpu", "1024", "--memory", "1024", "--capacity-provider", "metal",
             "--sleep-command", "kill -TERM $PPID"],
            self.directory / f"{name}.log",
        )

    def answer(self):
        """Starts the agents of machines that are called."""
        while not self.stopping.wait(0.1):
            for call in sorted(self.calls.glob("h*-*")):
                name = call.name.split("-")[0]
                call.unlink()
                if name not in self.broken and self.agents[name].child.poll() is not None:
                    self.start_agent(name)

    def jam(self, names):
        """Machines that cannot be called, nor start."""
        self.broken.update(names)
        for name in names:
            (self.calls / f"jammed-{name}").touch()

    def mend(self, names=HOSTS):
        self.broken.difference_update(names)
        for name in names:
            (self.calls / f"jammed-{name}").unlink(missing_ok=True)

    def failed(self, name):
        """Which calls of a machine have failed."""
        file = self.calls / f"failed-{name}"
        return file.read_text().split() if file.exists() else []

    def run(self, *arguments):
        result = subprocess.run(
            [berth.BINARY, *arguments], env=berth.environment(self.endpoint), capture_output=True, text=True, check=True
        )
        return result.stdout

    def refused(self, *arguments):
        """What a command says that does not do what it was asked for."""
        result = subprocess.run([berth.BINARY, *arguments], env=berth.environment(self.endpoint), capture_output=True, text=True)
        assert result.returncode == 1, result
        return result.stderr

    def instance(self, name):
        return next((i for i in berth.instances_of(self.ecs, CLUSTER) if i["ec2InstanceId"] == name), None)

    def power(self, name):
        return berth.attribute(self.instance(name), "berth.power") or "awake"

    def all_power(self):
        return [self.power(name) for name in HOSTS]

    def asleep(self):
        return self.all_power().count("asleep")

    def wait_asleep(self):
        """Waits until the machines sleep that no task needs, as each test leaves them."""
        berth.wait_until(lambda: self.asleep() == 2, "two hosts sleep", 60)

    def scale(self, service, count):
        self.ecs.update_service(cluster=CLUSTER, service=service, desiredCount=count)

    def service(self, name, count, memory=600, **more):
        container = {"name": "app", "image": "none", "cpu": 16, "memory": memory}
        self.ecs.register_task_definition(family=name, containerDefinitions=[container])
        self.ecs.create_service(
            cluster=CLUSTER, serviceName=name, taskDefinition=name, desiredCount=count,
            capacityProviderStrategy=[{"capacityProvider": "metal", "weight": 1}], **more,
        )

    def stop(self):
        self.stopping.set()
        if self.watch.is_alive():
            self.watch.join()
        for process in [*self.agents.values(), *filter(None, [self.controller])]:
            process.stop()


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    machines = Machines(tmp_path_factory.mktemp("pools"))
    try:
        machines.start()
        set_up(machines)
        yield machines
    finally:
        machines.stop()


def set_up(machines):
    ecs = machines.ecs
    group = {
        "autoScalingGroupArn": "metal",
        "managedScaling": {"status": "ENABLED", "instanceWarmupPeriod": 0},
        "managedTerminationProtection": "ENABLED",
    }
    made = ecs.create_capacity_provider(name="metal", autoScalingGroupProvider=group)["capacityProvider"]
    assert made["autoScalingGroupProvider"] == {
        "autoScalingGroupArn": "metal",
        "managedScaling": {
            "status": "ENABLED", "targetCapacity": 100, "minimumScalingStepSize": 1, "maximumScalingStepSize": 10000,
            "instanceWarmupPeriod": 0,
        },
        "managedTerminationProtection": "ENABLED",
        "managedDraining": "ENABLED",
    }
    shown = machines.run("hosts", "settings", "--cluster", CLUSTER, "--sleep-after", "5s", "--wake-within", "6s")
    assert "sleep after:        5s" in shown and "wake within:        6s" in shown
    ecs.put_cluster_capacity_providers(cluster=CLUSTER, capacityProviders=["metal"], defaultCapacityProviderStrategy=[])
    machines.service("web", 1)
    berth.wait_stable(ecs, CLUSTER, "web")


def test_hosts_without_tasks_sleep_and_are_shown_as_such(machines):
    machines.wait_asleep()
    [sleeper] = [machines.instance(name) for name in HOSTS if machines.power(name) == "asleep"][:1]
    assert (sleeper["status"], sleeper["agentConnected"]) == ("ACTIVE", False)
    amounts = {resource["name"]: resource["integerValue"] for resource in sleeper["remainingResources"]}
    assert (amounts["CPU"], amounts["MEMORY"]) == (1024, 1024), "what it would have if it were woken"
    # One that sleeps is heard no more a moment before its agent has ended.
    run = lambda: sum(machines.agents[name].child.poll() is None for name in HOSTS)
    berth.wait_until(lambda: run() == 1, "the agents of those that sleep have ended", 30)
    assert len(berth.running(machines.ecs, CLUSTER)) == 1
    lines = machines.run("hosts", "--cluster", CLUSTER).splitlines()
    assert sum("asleep" in line for line in lines) == 2
    rows = json.loads(machines.run("hosts", "--cluster", CLUSTER, "--format", "json"))
    assert sorted(row["power"] for row in rows) == ["asleep", "asleep", "awake"]
    events = machines.run("events", "--cluster", CLUSTER, "--type", "host", "-o", "json")
    seen = [
        attribute["value"]
        for line in events.splitlines()
        for attribute in json.loads(line).get("detail", {}).get("attributes", [])
        if attribute["name"] == "berth.power"
    ]
    assert {"emptying", "falling-asleep", "asleep"} <= set(seen)


def test_hosts_are_woken_for_tasks_that_find_no_room_and_sleep_again_without_them(machines):
    machines.wait_asleep()
    machines.scale("web", 3)
    berth.wait_stable(machines.ecs, CLUSTER, "web", 60)
    assert machines.all_power() == ["awake"] * 3
    assert len({task["containerInstanceArn"] for task in berth.running(machines.ecs, CLUSTER)}) == 3
    machines.scale("web", 1)
    machines.wait_asleep()
    assert len(berth.running(machines.ecs, CLUSTER)) == 1


def test_tasks_wait_for_the_hosts_that_they_need_and_no_others(machines):
    machines.wait_asleep()
    # None of them fits beside the one that runs, and both on one host.
    machines.service("small", 2, memory=450)
    berth.wait_stable(machines.ecs, CLUSTER, "small", 60)
    assert machines.asleep() == 1
    machines.ecs.delete_service(cluster=CLUSTER, service="small", force=True)
    machines.wait_asleep()


def test_host_that_somebody_puts_to_sleep_is_woken_by_people_alone(machines):
    machines.wait_asleep()
    [busy] = [name for name in HOSTS if machines.power(name) == "awake"]
    sleeper, other = [name for name in HOSTS if name != busy]
    hosts = lambda *arguments: machines.run("hosts", *arguments, "--cluster", CLUSTER)
    # Its pool has put it to sleep; its task needs a host, and not this one.
    assert f"{sleeper} sleeps already" in hosts("sleep", sleeper)
    said = hosts("sleep", busy, "--wait", "--timeout", "2m").splitlines()
    assert f"{busy} is emptied of 1 task" in said[0] and said[-1] == f"{busy}: asleep", said
    assert any("1 of service:web" in line for line in said[1:]), said
    assert machines.all_power() == ["awake" if name == other else "asleep" for name in HOSTS]
    lines = hosts().splitlines()
    assert sum("by hand" in line for line in lines) == 2, lines
    [row] = [row for row in json.loads(hosts("--format", "json")) if row["name"] == busy]
    assert (row["power"], row["sleepsByHand"]) == ("asleep", True)
    assert "asleep by hand already" in machines.refused("hosts", "sleep", busy, "--cluster", CLUSTER)
    assert "has no host h9" in machines.refused("hosts", "sleep", "h9", "--cluster", CLUSTER)
    machines.scale("web", 2)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert (machines.power(busy), machines.power(sleeper)) == ("asleep", "asleep"), "its pool wakes it"
        time.sleep(0.5)
    assert hosts("wake", busy, "--wait", "--timeout", "1m").splitlines() == [f"{busy} is waking", f"{busy}: called", f"{busy}: awake"]
    berth.wait_stable(machines.ecs, CLUSTER, "web", 60)
    assert machines.power(sleeper) == "asleep"
    assert f"{busy} is awake" in hosts("wake", busy), "nothing is called"
    machines.scale("web", 1)
    berth.wait_until(lambda: machines.asleep() == 2, "the host that was woken by hand sleeps again in time", 60)
    hosts("wake", sleeper, "--wait", "--timeout", "1m")
    machines.wait_asleep()


def test_host_with_protected_tasks_is_put_to_sleep_by_force_alone(machines):
    machines.wait_asleep()
    [task] = berth.running(machines.ecs, CLUSTER)
    [busy] = [name for name in HOSTS if machines.power(name) == "awake"]
    machines.ecs.update_task_protection(cluster=CLUSTER, tasks=[task["taskArn"]], protectionEnabled=True, expiresInMinutes=60)
    said = machines.refused("hosts", "sleep", busy, "--cluster", CLUSTER)
    assert f"Host {busy} is not put to sleep: 1 task on it is protected from being stopped until 20" in said, said
    assert (machines.power(busy), machines.instance(busy)["status"]) == ("awake", "ACTIVE")
    machines.run("hosts", "sleep", busy, "--cluster", CLUSTER, "--deadline", "0s", "--force", "--timeout", "2m")
    assert machines.power(busy) == "asleep"
    machines.run("hosts", "wake", busy, "--cluster", CLUSTER, "--wait", "--timeout", "1m")
    berth.wait_stable(machines.ecs, CLUSTER, "web", 60)
    machines.wait_asleep()


def test_host_that_does_not_wake_is_told_and_another_is_woken(machines):
    machines.wait_asleep()
    sleepers = [name for name in HOSTS if machines.power(name) == "asleep"]
    machines.jam(sleepers)
    machines.scale("web", 2)
    waking = lambda: [name for name in sleepers if machines.power(name) == "waking"]
    [first] = berth.wait_until(waking, "one is called", 30)[:1]
    trouble = lambda: berth.attribute(machines.instance(first), "berth.power-trouble")
    said = berth.wait_until(trouble, "it is said why it cannot be", 30)
    assert "the wake command failed (exit status: 3): the board does not answer" in said and "wake.sh" not in said, said
    [other] = [name for name in sleepers if name != first]
    machines.mend([other])
    berth.wait_stable(machines.ecs, CLUSTER, "web", 60)
    assert machines.power(other) == "awake"
    given_up = lambda: machines.power(first) == "asleep" and "was called 3 times" in (trouble() or "")
    berth.wait_until(given_up, "it is given up", 120)
    assert machines.failed(first) == ["1", "2", "3"]
    # The other may have been called before it was mended.
    failed = len(machines.failed(first)) + len(machines.failed(other))
    metrics = urllib.request.urlopen(f"{machines.endpoint}/metrics").read().decode()
    assert "berth_hosts_in_trouble 1" in metrics and f'berth_host_calls_total{{outcome="failed"}} {failed}' in metrics, metrics
    lines = machines.run("hosts", "--cluster", CLUSTER).splitlines()
    assert any(first in line and "(!)" in line for line in lines), lines
    machines.scale("web", 1)
    machines.wait_asleep()


def job(machines, family, memory, **more):
    container = {"name": "app", "image": "none", "cpu": 16, "memory": memory}
    machines.ecs.register_task_definition(family=family, containerDefinitions=[container])
    strategy = [{"capacityProvider": "metal", "weight": 1}]
    return machines.ecs.run_task(cluster=CLUSTER, taskDefinition=family, capacityProviderStrategy=strategy, **more)


def described(machines, arn):
    return machines.ecs.describe_tasks(cluster=CLUSTER, tasks=[arn], include=["TAGS"])["tasks"][0]


def test_task_that_is_run_on_a_pool_that_sleeps_is_provisioning_until_its_host_is_there(machines):
    machines.wait_asleep()
    machines.jam(HOSTS)
    overrides = {"containerOverrides": [{"name": "app", "memory": 700}]}
    ran = job(machines, "nightly", 600, overrides=overrides, tags=[{"key": "team", "value": "x"}], startedBy="cron")
    assert ran["failures"] == []
    [task] = ran["tasks"]
    assert (task["lastStatus"], task["desiredStatus"], task["capacityProviderName"]) == ("PROVISIONING", "RUNNING", "metal")
    assert "containerInstanceArn" not in task and task["group"] == "family:nightly"
    arn = task["taskArn"]
    assert arn in machines.ecs.list_tasks(cluster=CLUSTER, family="nightly")["taskArns"]
    assert "waits for a host of capacity provider metal" in machines.run("ps", "--cluster", CLUSTER)
    berth.wait_until(lambda: "waking" in machines.all_power(), "a host is called", 30)
    told = machines.run("why", "--cluster", CLUSTER, berth.id_of(arn))
    assert "It waits for a host of capacity provider metal" in told and "is being woken" in told, told
    machines.mend()
    machines.ecs.get_waiter("tasks_running").wait(cluster=CLUSTER, tasks=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    placed = described(machines, arn)
    assert placed["containerInstanceArn"] in {machines.instance(name)["containerInstanceArn"] for name in HOSTS}
    assert placed["tags"] == [{"key": "team", "value": "x"}] and placed["startedBy"] == "cron"
    assert placed["overrides"]["containerOverrides"][0]["memory"] == 700
    events = machines.run("events", "--cluster", CLUSTER, "--type", "task", "-o", "json")
    seen = [
        event["detail"]["lastStatus"] for event in map(json.loads, events.splitlines()) if event.get("detail", {}).get("taskArn") == arn
    ]
    assert seen[:2] == ["PROVISIONING", "PENDING"] and "RUNNING" in seen, seen
    machines.ecs.stop_task(cluster=CLUSTER, task=arn)
    machines.wait_asleep()


def test_task_that_is_stopped_while_it_waits_is_over_and_one_that_fits_nowhere_fails(machines):
    machines.mend()
    machines.wait_asleep()
    machines.jam(HOSTS)
    [task] = job(machines, "nightly", 600)["tasks"]
    stopped = machines.ecs.stop_task(cluster=CLUSTER, task=task["taskArn"], reason="enough")["task"]
    assert (stopped["lastStatus"], stopped["stopCode"], stopped["stoppedReason"]) == ("STOPPED", "UserInitiated", "enough")
    ran = job(machines, "huge", 4096)
    assert ran["tasks"] == [] and {failure["reason"] for failure in ran["failures"]} == {"RESOURCE:MEMORY"}, ran
    machines.mend()
    berth.wait_until(lambda: "waking" not in machines.all_power(), "nobody is being woken", 60)
    machines.wait_asleep()


def test_controller_that_starts_again_knows_who_sleeps_and_wakes_them(machines):
    machines.mend()
    machines.wait_asleep()
    sleeping = [name for name in HOSTS if machines.power(name) == "asleep"]
    machines.controller.kill()
    machines.start_controller()
    assert [name for name in HOSTS if machines.power(name) == "asleep"] == sleeping
    machines.scale("web", 2)
    berth.wait_stable(machines.ecs, CLUSTER, "web", 60)
    woken = [name for name in sleeping if machines.power(name) == "awake"]
    assert len(woken) == 1 and machines.agents[woken[0]].child.poll() is None
    machines.scale("web", 1)
    machines.wait_asleep()


def test_hosts_that_sleep_are_woken_where_managed_scaling_is_switched_off(machines):
    update = lambda **group: machines.ecs.update_capacity_provider(name="metal", autoScalingGroupProvider=group)["capacityProvider"]
    machines.mend()
    machines.wait_asleep()
    resting = [name for name in HOSTS if berth.attribute(machines.instance(name), "berth.power-trouble")]
    now = update(managedScaling={"status": "DISABLED"})["autoScalingGroupProvider"]
    assert (now["managedScaling"]["status"], now["managedTerminationProtection"], now["managedDraining"]) == ("DISABLED", "DISABLED", "ENABLED")
    others = [name for name in HOSTS if name not in resting]
    berth.wait_until(lambda: all(machines.power(name) == "awake" for name in others), "they are awake", 60)
    # Somebody switched it on.
    for name in resting:
        machines.start_agent(name)
    berth.wait_until(lambda: machines.all_power() == ["awake"] * 3, "all are awake", 60)
    assert not any(berth.attribute(machines.instance(name), "berth.power-trouble") for name in HOSTS)


def test_machine_of_a_controller_gets_no_sleep_command(tmp_path):
    refused = subprocess.run(
        [berth.BINARY, "agent", "--controller", "http://127.0.0.1:1", "--data-dir", tmp_path / "agent", "--sleep-command", "systemctl suspend"],
        env=berth.environment(), capture_output=True, text=True, timeout=60,
    )
    assert refused.returncode == 3, refused.stderr
    assert "the controller http://127.0.0.1:1 is on this machine" in refused.stderr and "--sleep-command" in refused.stderr
    assert not (tmp_path / "agent").exists()


def test_host_on_the_machine_of_a_controller_offers_no_sleep_once_it_knows(tmp_path):
    group = Group(tmp_path, count=1)
    [member] = group.members
    ecs = member.client()
    ecs.create_cluster(clusterName="default")
    agent = berth.Process(
        ["agent", "--data-dir", tmp_path / "host", "--runtime", "simulated", "--host-name", "host", "--sleep-command", "true",
         "--join", member.token(role="agent"), "--peer", member.address],
        tmp_path / "host.log",
    )
    try:
        host = lambda: next(iter(berth.instances_of(ecs, "default")), None)
        told = lambda: host() and berth.attribute(host(), "berth.power-trouble")
        said = berth.wait_until(told, "it is told why it does not sleep", 60)
        assert f"the controller https://{member.address} is on this machine" in said
        assert "berth.sleep" not in [attribute["name"] for attribute in host()["attributes"]]
        refused = member.run("hosts", "sleep", "host", check=False)
        assert refused.returncode == 1 and "or a controller is on its machine" in refused.stderr, refused
    finally:
        agent.stop()
        group.stop()


def test_host_is_put_to_sleep_by_hand_where_nothing_wakes_it_but_its_switch(tmp_path):
    port, agent_port = berth.free_port(), berth.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    controller = berth.Process(
        ["controller", "--listen", f"127.0.0.1:{port}", "--agent-listen", f"127.0.0.1:{agent_port}", "--data-dir", tmp_path / "data"],
        tmp_path / "controller.log",
    )

    def start(name, command):
        return berth.Process(
            ["agent", "--controller", f"http://127.0.0.1:{agent_port}", "--data-dir", tmp_path / name, "--host-name", name,
             "--runtime", "simulated", *(["--sleep-command", command] if command else [])],
            tmp_path / f"{name}.log",
        )

    def hosts(*arguments):
        return subprocess.run([berth.BINARY, "hosts", *arguments], env=berth.environment(endpoint), capture_output=True, text=True)

    agents = []
    try:
        controller.wait_for(r"(?m)^Ready")
        ecs = berth.client(endpoint)
        ecs.create_cluster(clusterName="default")
        lid = "echo the lid is open >&2; exit 3"
        agents = [start("plain", None), start("open", lid), start("shut", "kill -TERM $PPID")]
        berth.wait_until(lambda: len(berth.instances_of(ecs, "default")) == 3, "all hosts have registered", 60)
        refused = hosts("sleep", "plain")
        assert refused.returncode == 1 and "its agent was started without --sleep-command" in refused.stderr, refused
        awake = hosts("sleep", "open", "--wait")
        trouble = "open does not sleep, but is awake: the sleep command failed (exit status: 3): the lid is open"
        assert awake.returncode == 1 and trouble in awake.stderr, awake
        asleep = hosts("sleep", "shut", "--wait")
        assert asleep.returncode == 0 and "switch the machine on to have it back" in asleep.stdout, asleep
        refused = hosts("wake", "shut")
        assert refused.returncode == 1 and "without --wake-command" in refused.stderr, refused
        agents.append(start("shut", "kill -TERM $PPID"))
        power = lambda: {i["ec2InstanceId"]: (i["agentConnected"], berth.attribute(i, "berth.power")) for i in berth.instances_of(ecs, "default")}
        berth.wait_until(lambda: power()["shut"] == (True, None), "it is awake", 60)
    finally:
        for process in [*agents, controller]:
            process.stop()


class Racks:
    """A controller and machines of two pools without managed scaling, one of which is drained before a machine shuts down. What a service manager says of
    the machines, a file says."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port, self.agent_port = berth.free_port(), berth.free_port()
        self.says = self.directory / "says"
        (self.directory / "bin").mkdir()
        systemctl = self.directory / "bin" / "systemctl"
        systemctl.write_text(f"#!/bin/sh\n[ \"$1\" = is-system-running ] && cat {self.says}\nexit 1\n")
        systemctl.chmod(0o755)
        self.agents = {}
        self.controller = berth.Process(
            ["controller", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", f"127.0.0.1:{self.agent_port}", "--data-dir", self.directory / "data"],
            self.directory / "controller.log",
        )
        self.controller.wait_for(r"(?m)^Ready")
        self.ecs = berth.client(f"http://127.0.0.1:{self.port}")
        for name, draining in (("careful", "ENABLED"), ("careless", "DISABLED")):
            group = {"autoScalingGroupArn": name, "managedDraining": draining}
            self.ecs.create_capacity_provider(name=name, autoScalingGroupProvider=group)
        self.ecs.create_cluster(
            clusterName="racks", capacityProviders=["careful", "careless"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "careful", "weight": 1}],
        )
        container = {"name": "app", "image": "none", "memory": 16}
        self.ecs.register_task_definition(family="web", containerDefinitions=[container])

    def start(self, name, pool, *arguments):
        self.agents[name] = berth.Process(
            ["agent", "--controller", f"http://127.0.0.1:{self.agent_port}", "--cluster", "racks", "--data-dir", self.directory / name, "--host-name", name,
             "--runtime", "simulated", "--cpu", "1024", "--memory", "1024", "--capacity-provider", pool, *arguments],
            self.directory / f"{name}.log", PATH=f"{self.directory / 'bin'}:{os.environ['PATH']}",
        )
        berth.wait_until(lambda: self.state(name) == ("ACTIVE", True, None), f"{name} is there", 60)

    def state(self, name):
        found = [i for i in berth.instances_of(self.ecs, "racks") if i["ec2InstanceId"] == name]
        return found and (found[0]["status"], found[0]["agentConnected"], berth.attribute(found[0], "berth.power"))

    def tasks_on(self, name):
        [host] = [i for i in berth.instances_of(self.ecs, "racks") if i["ec2InstanceId"] == name]
        return [task for task in berth.running(self.ecs, "racks") if task["containerInstanceArn"] == host["containerInstanceArn"]]

    def stop_agent(self, name, within):
        """The machine stops the agent; returns what of it was seen meanwhile."""
        child = self.agents[name].child
        child.terminate()
        seen, until = [], time.monotonic() + within
        while child.poll() is None:
            assert time.monotonic() < until, self.agents[name].output()
            seen.append(self.state(name))
            time.sleep(0.05)
        assert child.returncode == 0, self.agents[name].output()
        return seen

    def stop(self):
        for process in [*self.agents.values(), self.controller]:
            process.stop()


def test_tasks_leave_a_machine_that_shuts_down_where_its_pool_says_so(tmp_path):
    racks = Racks(tmp_path)
    try:
        racks.says.write_text("running\n")
        racks.start("h1", "careful")
        racks.ecs.create_service(cluster="racks", serviceName="web", taskDefinition="web", desiredCount=2)
        berth.wait_stable(racks.ecs, "racks", "web")
        racks.start("h2", "careful", "--drain-on-shutdown", "3s")
        racks.start("h3", "careless")
        # The agent alone is stopped, as for an upgrade.
        racks.stop_agent("h2", 20)
        assert racks.state("h2")[::2] == ("ACTIVE", None)
        racks.start("h2", "careful", "--drain-on-shutdown", "3s")

        racks.says.write_text("stopping\n")
        assert len(racks.tasks_on("h1")) == 2
        seen = racks.stop_agent("h1", 60)
        assert ("DRAINING", True, "shutting-down") in seen, seen
        assert len(racks.tasks_on("h2")) == 2 and not racks.tasks_on("h1"), "they were replaced before it went"
        assert "all tasks have left this machine" in racks.agents["h1"].output()
        berth.wait_until(lambda: racks.state("h1") == ("DRAINING", False, "shutting-down"), "it is off", 20)
        racks.start("h1", "careful")

        # A task of no service leaves no machine; that has its time.
        ran = racks.ecs.start_task(cluster="racks", taskDefinition="web", containerInstances=[host_id(racks, "h2")])
        assert not ran["failures"]
        berth.wait_until(lambda: len(racks.tasks_on("h2")) == 3, "it runs", 30)
        began = time.monotonic()
        seen = racks.stop_agent("h2", 30)
        assert ("DRAINING", True, "shutting-down") in seen and time.monotonic() - began >= 2.5
        assert "tasks are left on this machine" in racks.agents["h2"].output()

        seen = racks.stop_agent("h3", 20)
        assert all(state[0] == "ACTIVE" for state in seen), "its pool drains nothing"
        assert racks.state("h3")[::2] == ("ACTIVE", None)
    finally:
        racks.says.write_text("running\n")
        racks.stop()


def host_id(racks, name):
    [found] = [i["containerInstanceArn"] for i in berth.instances_of(racks.ecs, "racks") if i["ec2InstanceId"] == name]
    return berth.id_of(found)


def test_without_a_command_that_wakes_hosts_managed_scaling_is_refused(tmp_path):
    port = berth.free_port()
    controller = berth.Process(
        ["controller", "--listen", f"127.0.0.1:{port}", "--agent-listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"],
        tmp_path / "controller.log",
    )
    try:
        controller.wait_for(r"(?m)^Ready")
        ecs = berth.client(f"http://127.0.0.1:{port}")
        group = {"autoScalingGroupArn": "metal", "managedScaling": {"status": "ENABLED"}}
        with pytest.raises(ecs.exceptions.ClientException) as refused:
            ecs.create_capacity_provider(name="metal", autoScalingGroupProvider=group)
        assert "--wake-command" in refused.value.response["Error"]["Message"]
    finally:
        controller.stop()
