"""Hosts whose agents speak ECS's own API: here an agent of a few lines of boto3, beside hosts of Berth's own."""

import threading
import time

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "mixed"
DEFINITION = {
    "family": "web",
    "containerDefinitions": [{"name": "web", "image": "web:1", "cpu": 64, "memory": 64, "portMappings": [{"containerPort": 80}]}],
}


class Agent(threading.Thread):
    """Registers a host, asks what it is to run, and says that it does so."""

    def __init__(self, ecs, cluster, every=0.2):
        super().__init__(daemon=True)
        self.ecs, self.cluster, self.every, self.ended = ecs, cluster, every, threading.Event()
        resources = [{"name": name, "type": "INTEGER", "integerValue": 1024} for name in ("CPU", "MEMORY")]
        attributes = [{"name": "ecs.availability-zone", "value": "zone-x"}, {"name": "kind", "value": "mine"}]
        registered = ecs.register_container_instance(
            cluster=cluster, totalResources=resources, attributes=attributes, versionInfo={"agentVersion": "0.1", "agentHash": "abc"}
        )
        self.host = registered["containerInstance"]["containerInstanceArn"]
        self.failures = []

    def run(self):
        while not self.ended.wait(self.every):
            try:
                self.look()
            except Exception as failure:  # told by the test
                self.failures.append(failure)

    def look(self):
        self.ecs.discover_poll_endpoint(cluster=self.cluster, containerInstance=self.host)
        for status in ("RUNNING", "STOPPED"):
            for task in berth.tasks_of(self.ecs, self.cluster, status, containerInstance=self.host):
                self.go_on(task)

    def go_on(self, task):
        change = {"cluster": self.cluster, "task": task["taskArn"]}
        if task["desiredStatus"] == "STOPPED" and task["lastStatus"] != "STOPPED":
            containers = [{"containerName": container["name"], "status": "STOPPED", "exitCode": 0} for container in task["containers"]]
            self.ecs.submit_task_state_change(**change, status="STOPPED", containers=containers)
        elif task["lastStatus"] == "PENDING":
            for number, container in enumerate(task["containers"]):
                binding = {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 40_000 + number, "protocol": "tcp"}
                self.ecs.submit_container_state_change(
                    **change, containerName=container["name"], status="RUNNING", runtimeId=f"run-{number}", networkBindings=[binding]
                )
            self.ecs.submit_task_state_change(**change, status="RUNNING")

    def stop(self):
        self.ended.set()
        self.join()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two simulated hosts of Berth's own agents, and one of another."""
    with berth.dev(tmp_path_factory.mktemp("mixed"), "--runtime", "simulated", "--hosts", 2, "--cluster", CLUSTER) as process:
        ecs = berth.client(process.endpoint)
        ecs.register_task_definition(**DEFINITION)
        agent = Agent(berth.client(process.endpoint), CLUSTER)
        agent.start()
        yield process, ecs, agent
        agent.stop()
        assert agent.failures == []


def test_service_runs_on_hosts_of_either_kind_and_its_tasks_go_the_same_way(mixed):
    _, ecs, agent = mixed
    spread = [{"type": "spread", "field": "instanceId"}]
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=3, placementStrategy=spread)
    berth.wait_stable(ecs, CLUSTER, "web")
    tasks = berth.running(ecs, CLUSTER, serviceName="web")
    assert len({task["containerInstanceArn"] for task in tasks}) == 3
    [mine] = [task for task in tasks if task["containerInstanceArn"] == agent.host]
    assert mine["containers"][0]["networkBindings"][0]["hostPort"] == 40_000
    assert mine["containers"][0]["runtimeId"] == "run-0" and mine["startedAt"] >= mine["createdAt"]
    ecs.update_service(cluster=CLUSTER, service="web", desiredCount=0)
    berth.wait_until(lambda: not berth.tasks_of(ecs, CLUSTER, serviceName="web"), "the service has no tasks")
    stopped = lambda: ecs.describe_tasks(cluster=CLUSTER, tasks=[mine["taskArn"]])["tasks"][0]
    ended = berth.wait_until(lambda: stopped()["lastStatus"] == "STOPPED" and stopped(), "the agent has stopped its task")
    assert ended["containers"][0]["exitCode"] == 0 and ended["stopCode"] == "ServiceSchedulerInitiated"


def test_task_is_placed_by_what_the_agent_said_of_its_host_and_its_logs_are_there(mixed):
    process, ecs, agent = mixed
    on_mine = [{"type": "memberOf", "expression": "attribute:kind == mine"}]
    [task] = ecs.run_task(cluster=CLUSTER, taskDefinition="web", placementConstraints=on_mine)["tasks"]
    assert task["containerInstanceArn"] == agent.host
    ecs.get_waiter("tasks_running").wait(cluster=CLUSTER, tasks=[task["taskArn"]], WaiterConfig={"Delay": 1})
    asked = process.run("logs", "--cluster", CLUSTER, berth.id_of(task["taskArn"]), check=False)
    assert asked.returncode != 0 and "ECS's own API" in asked.stderr
    ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])
    ecs.get_waiter("tasks_stopped").wait(cluster=CLUSTER, tasks=[task["taskArn"]], WaiterConfig={"Delay": 1})


def test_agent_reports_of_its_own_tasks_alone(mixed):
    _, ecs, _ = mixed
    elsewhere = [{"type": "memberOf", "expression": "not(attribute:kind == mine)"}]
    [task] = ecs.run_task(cluster=CLUSTER, taskDefinition="web", placementConstraints=elsewhere)["tasks"]
    with pytest.raises(ClientError, match="says by itself"):
        ecs.submit_task_state_change(cluster=CLUSTER, task=task["taskArn"], status="STOPPED")
    ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])


def test_agent_that_calls_no_more_is_disconnected_and_lost_and_its_tasks_are_replaced(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 1, "--cluster", CLUSTER) as process:
        ecs = berth.client(process.endpoint)
        ecs.register_task_definition(**DEFINITION)
        agent = Agent(berth.client(process.endpoint), CLUSTER)
        agent.start()
        spread = [{"type": "spread", "field": "instanceId"}]
        ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=2, placementStrategy=spread)
        berth.wait_stable(ecs, CLUSTER, "web")
        agent.stop()
        since = time.monotonic()
        host = lambda: ecs.describe_container_instances(cluster=CLUSTER, containerInstances=[agent.host])["containerInstances"][0]
        berth.wait_until(lambda: not host()["agentConnected"], "the agent is missed", 90, 1)
        assert time.monotonic() - since > 50
        on_host = lambda: berth.running(ecs, CLUSTER, containerInstance=agent.host)
        berth.wait_until(lambda: not on_host() and len(berth.running(ecs, CLUSTER)) == 2, "its task is replaced", 60, 1)
        # It comes back, and is asked for nothing that was replaced.
        ecs.discover_poll_endpoint(cluster=CLUSTER, containerInstance=agent.host)
        assert host()["agentConnected"] and on_host() == []
