"""Tools that people deploy to ECS with, as they are: told nothing but the endpoint, the region and keys."""

import pathlib
import subprocess
import sys

import pytest

import berth

CLUSTER = "shop"


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("tools"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        process.ecs = berth.client(process.endpoint)
        yield process


def test_ecs_deploy_deploys_scales_compares_and_runs(dev):
    ecs = dev.ecs

    def tool(*words):
        program = pathlib.Path(sys.executable).with_name("ecs")
        environment = berth.environment(dev.endpoint)
        ran = subprocess.run([program, *words], capture_output=True, text=True, timeout=180, env=environment, check=False)
        assert ran.returncode == 0, f"{words}: {ran.stdout}\n{ran.stderr}"
        return ran.stdout

    container = {"name": "web", "image": "web:1", "cpu": 64, "memory": 64}
    ecs.register_task_definition(family="web", networkMode="host", containerDefinitions=[container])
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=2)
    berth.wait_stable(ecs, CLUSTER, "web")
    said = tool("deploy", CLUSTER, "web", "--image", "web", "web:2", "-e", "web", "LOG", "debug", "--timeout", "120")
    assert "Deployment successful" in said and "Successfully deregistered revision: 1" in said
    definition = ecs.describe_task_definition(taskDefinition="web")["taskDefinition"]["containerDefinitions"][0]
    assert (definition["image"], definition["environment"]) == ("web:2", [{"name": "LOG", "value": "debug"}])
    assert {task["taskDefinitionArn"].rsplit(":", 1)[1] for task in berth.running(ecs, CLUSTER, serviceName="web")} == {"2"}
    assert "Scaling successful" in tool("scale", CLUSTER, "web", "4", "--timeout", "120")
    assert berth.service_of(ecs, CLUSTER, "web")["runningCount"] == 4
    assert '"web:2"' in tool("diff", "web", "1", "2")
    assert "Successfully started 2 instances of task: web:2" in tool("run", CLUSTER, "web", "2")
    assert len(berth.tasks_of(ecs, CLUSTER, startedBy="ECS Deploy")) == 2
