"""`berth events` and `berth watch`: what happens, once and in order, in the shapes of EventBridge; and resources as they change, for tools. Through the loss
of the controller that was asked, too."""

import json
import queue
import subprocess
import threading

import botocore.utils
import pytest

import berth
from members import Group

STEADY = "SERVICE_STEADY_STATE"


class Follower:
    """A command that prints JSON lines until it is stopped."""

    def __init__(self, *arguments, **variables):
        self.child = subprocess.Popen(
            [berth.BINARY, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables["environment"]
        )
        self.lines, self._queue = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self._queue.put(json.loads(line))

    def until(self, condition, what, deadline=60):
        """All lines so far, once `condition` holds of them."""

        def look():
            while not self._queue.empty():
                self.lines.append(self._queue.get())
            assert self.child.poll() is None, f"ended with {self.child.returncode}: {self.child.stderr.read()}"
            return condition(self.lines)

        berth.wait_until(look, what, deadline)
        return list(self.lines)

    def stop(self):
        self.child.terminate()
        return self.child.wait(30)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Three simulated hosts in the cluster `shop`."""
    with berth.dev(tmp_path_factory.mktemp("events"), "--runtime", "simulated", "--cluster", "shop") as process:
        yield process, berth.client(process.endpoint)


def follow(process, *arguments, cluster="shop"):
    return Follower(*arguments, "--cluster", cluster, environment=berth.environment(process.endpoint))


def names(events):
    return [event["detail"].get("eventName") or event["detail"].get("lastStatus") for event in events]


def events_of(endpoint, **asked):
    """All events that a controller has."""
    found, position = [], {"since": 0}
    while True:
        answer = berth.call(endpoint, "GetEvents", {"maxEvents": 1000, **asked, **position})
        if not answer["events"]:
            return found
        found += answer["events"]
        position = {"position": answer["position"]}


def define(ecs, family, **more):
    container = {"name": "app", "image": "none", "cpu": 64, "memory": 32, **more}
    ecs.register_task_definition(family=family, containerDefinitions=[container])


def plain(value):
    """A description of boto3 with times as texts to the millisecond."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if hasattr(value, "strftime"):
        return value.astimezone(tz=botocore.utils.tzutc()).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def test_course_of_a_service_is_told_once_and_in_order(shop):
    process, ecs = shop
    follower = follow(process, "events", "-f", "--service", "web", "--since", "1h", "-o", "json", "--position", "x")
    assert follower.child.wait(30) != 0, "a time and a position cannot both be given"
    define(ecs, "web")
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=2)
    follower = follow(process, "events", "-f", "--service", "web", "--since", "1h", "-o", "json")
    told = follower.until(lambda lines: STEADY in names(lines), "the service is steady")
    follower.stop()
    assert names(told)[0] == "SERVICE_DEPLOYMENT_IN_PROGRESS" and names(told)[-2:] == ["SERVICE_DEPLOYMENT_COMPLETED", STEADY]
    service = berth.service_of(ecs, "shop", "web")
    [deployment] = service["deployments"]
    first = told[0]
    assert first["resources"] == [service["serviceArn"]]
    assert first["detail"]["deploymentId"] == deployment["id"]
    assert (first["version"], first["source"], first["account"], first["region"]) == ("0", "aws.ecs", berth.ACCOUNT, berth.REGION)
    for task in berth.running(ecs, "shop", serviceName="web"):
        own = [event for event in told if event["resources"] == [task["taskArn"]]]
        statuses = [event["detail"]["lastStatus"] for event in own]
        assert statuses[0] == "PENDING" and statuses[-1] == "RUNNING", statuses
        assert [event["detail"]["version"] for event in own] == list(range(1, len(own) + 1)), "each version once"
        described = plain(task)
        described.pop("tags")
        last = dict(own[-1]["detail"])
        last.pop("updatedAt")
        assert last == described, "as DescribeTasks shows it"
    ids = [event["id"] for event in told]
    assert len(set(ids)) == len(ids)
    assert ids == [event["id"] for event in events_of(process.endpoint, cluster="shop", service="web")]


def test_failing_deployment_and_a_task_without_a_host_are_told_as_ecs_documents(shop):
    process, ecs = shop
    define(ecs, "wide", cpu=100_000)
    ecs.create_service(cluster="shop", serviceName="wide", taskDefinition="wide", desiredCount=1)
    failure = lambda: [e for e in events_of(process.endpoint, cluster="shop", service="wide") if e["detail"]["eventName"].endswith("FAILURE")]
    [told, *_] = berth.wait_until(failure, "the task finds no host")
    assert told["detail-type"] == "ECS Service Action"
    assert (told["detail"]["eventType"], told["detail"]["reason"]) == ("ERROR", "RESOURCE:CPU")
    hosts = {instance["containerInstanceArn"] for instance in berth.instances_of(ecs, "shop")}
    assert set(told["detail"]["containerInstanceArns"]) <= hosts
    ecs.delete_service(cluster="shop", service="wide", force=True)
    text = process.run("events", "--service", "wide").stdout
    assert "service wide: SERVICE_TASK_PLACEMENT_FAILURE: RESOURCE:CPU" in text, text


def test_host_that_is_drained_is_told_with_what_it_has_left(shop):
    process, ecs = shop
    [instance] = [found for found in berth.instances_of(ecs, "shop") if found["ec2InstanceId"] == "host-3"]
    before = instance["version"]
    follower = follow(process, "events", "-f", "--host", "host-3", "--type", "host", "--since", "1h", "-o", "json")
    process.run("hosts", "drain", "host-3")
    told = follower.until(lambda lines: lines and lines[-1]["detail"]["status"] == "DRAINING", "the host is drained")
    versions = [event["detail"]["version"] for event in told]
    assert versions == sorted(set(versions)) and versions[-1] > before, "each state under another version"
    process.run("hosts", "activate", "host-3")
    shown = lambda: next(found for found in berth.instances_of(ecs, "shop") if found["ec2InstanceId"] == "host-3")
    # What it has left changes once more where a task that was told to stop stops.
    is_newest = lambda lines: lines[-1]["detail"]["status"] == "ACTIVE" and lines[-1]["detail"]["version"] == shown()["version"]
    told = follower.until(is_newest, "the host is back, and told as it is")
    follower.stop()
    assert told[-1]["detail"]["remainingResources"] == plain(shown()["remainingResources"])


class Tool:
    """Keeps a picture of a cluster from the lines of `berth watch`."""

    def __init__(self, lines):
        self.known = {}
        self.is_whole = False
        for line in lines:
            if "gap" in line:
                self.known, self.is_whole = {}, False
            elif "position" in line:
                self.is_whole = self.is_whole or not line["listing"]
            elif line.get("gone"):
                self.known.pop(line["arn"], None)
            else:
                self.known[line["arn"]] = line["resource"]

    def of(self, kind):
        return {arn: resource for arn, resource in self.known.items() if f":{kind}/" in arn}


def seconds(value):
    """A description of boto3 with times as numbers, as the API writes them."""
    if isinstance(value, dict):
        return {name: seconds(part) for name, part in value.items()}
    if isinstance(value, list):
        return [seconds(part) for part in value]
    return value.timestamp() if hasattr(value, "timestamp") else value


def pictured(ecs, lines):
    """Whether the picture of a tool is what boto3 sees."""
    tool = Tool(lines)
    tasks = berth.tasks_of(ecs, "shop")
    services = ecs.describe_services(cluster="shop", services=["web", "late"], include=["TAGS"])["services"]
    described = {service["serviceArn"]: seconds(service) for service in services if service["status"] != "INACTIVE"}
    hosts = {host["containerInstanceArn"]: seconds(host) for host in berth.instances_of(ecs, "shop")}
    running = {arn for arn, task in tool.of("task").items() if task["desiredStatus"] == "RUNNING"}
    known = {arn: service for arn, service in tool.of("service").items() if arn in described}
    return running == {task["taskArn"] for task in tasks} and known == described and tool.of("container-instance") == hosts


def test_tool_that_watches_has_all_resources_as_they_are(shop):
    process, ecs = shop
    define(ecs, "web")
    watcher = follow(process, "watch", "-o", "json")
    watcher.until(lambda lines: pictured(ecs, lines), "the tool knows what there is")
    define(ecs, "late", memory=48)
    ecs.create_service(cluster="shop", serviceName="late", taskDefinition="late", desiredCount=3)
    berth.wait_stable(ecs, "shop", "late")
    watcher.until(lambda lines: pictured(ecs, lines), "the tool knows of the new service")
    ecs.update_service(cluster="shop", service="late", desiredCount=1)
    berth.wait_stable(ecs, "shop", "late")
    lines = watcher.until(lambda lines: pictured(ecs, lines), "the tool knows of the smaller service")
    watcher.stop()
    # A list is enough for who looks once, and its position for who goes on later.
    listed = process.run("watch", "--list", "-o", "json", "--kind", "service").stdout.splitlines()
    documents = [json.loads(line) for line in listed]
    assert {line["kind"] for line in documents if "kind" in line} == {"SERVICE"}
    position = [line["position"] for line in documents if "position" in line][-1]
    ecs.update_service(cluster="shop", service="late", desiredCount=2)
    later = follow(process, "watch", "-o", "json", "--kind", "service", "--position", position)
    changed = lambda lines: any(line.get("resource", {}).get("desiredCount") == 2 for line in lines)
    lines = later.until(changed, "the tool that went on knows of the change")
    later.stop()
    assert all(line["arn"].endswith("/late") for line in lines if "arn" in line), "and is told of nothing else"


def test_followers_go_on_at_another_controller_when_theirs_is_lost(tmp_path):
    group = Group(tmp_path)
    agent = None
    try:
        ecs = group.members[0].client()
        ecs.create_cluster(clusterName="default")
        controllers = [flag for member in group.members for flag in ("--controller", member.agent_endpoint)]
        agent = berth.Process(
            ["agent", *controllers, "--data-dir", tmp_path / "agent", "--runtime", "simulated", "--host-name", "host-1"], tmp_path / "agent.log"
        )
        berth.wait_until(lambda: berth.instances_of(ecs, "default"), "the host has registered", 60)
        leader = group.leader()
        others = [flag for member in group.members if member is not leader for flag in ("--or-endpoint", member.endpoint)]
        events = follow(leader, "events", "-f", "--since", "1h", "-o", "json", *others, cluster="default")
        watcher = follow(leader, "watch", "-o", "json", *others, cluster="default")
        define(ecs, "web")
        survivor = next(member for member in group.members if member is not leader)
        survivor.client().create_service(serviceName="web", taskDefinition="web", desiredCount=2)
        events.until(lambda lines: names(lines).count("RUNNING") >= 2, "the tasks run")
        leader.kill()
        survivor = group.leader()
        ecs = survivor.client()
        ecs.update_service(service="web", desiredCount=4)
        berth.wait_stable(ecs, "default", "web")
        told = events.until(lambda lines: names(lines).count(STEADY) >= 1 and sum(n == "RUNNING" for n in names(lines)) >= 4, "the new tasks run")
        knows = lambda lines: any(s.get("runningCount") == 4 for s in Tool(lines).of("service").values())
        watcher.until(knows, "the tool knows of the new tasks")
        assert not [line for line in watcher.lines if "gap" in line]
        assert not [line for line in told if "gap" in line]
        ids = [event["id"] for event in told]
        known = [event["id"] for event in events_of(survivor.endpoint, cluster="default")]
        assert ids == known[: len(ids)], "each event once, in order, under the same id at another controller"
        events.stop()
        watcher.stop()
    finally:
        if agent:
            agent.stop()
        group.stop()


def test_reader_of_a_history_that_is_not_kept_is_told_of_the_gap(shop):
    process, _ = shop
    result = process.run("events", "--position", "0000000000000001-1-0", "-o", "json")
    first = json.loads(result.stdout.splitlines()[0])
    assert "another history" in first["gap"]["reason"] and "events are missing here" in result.stderr
    watched = process.run("watch", "--list", "--position", "0000000000000001-1-0", "-o", "json").stdout.splitlines()
    assert "another history" in json.loads(watched[0])["gap"]["reason"]
    assert any(json.loads(line).get("kind") == "CLUSTER" for line in watched), "all resources are listed again"
