"""Tasks of the launch type FARGATE, which go to hosts that offer it alone, over boto3."""

import pathlib

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-default"]}}


def definition(ecs, family, **more):
    container = {"name": "web", "image": "berth-sample:latest", "portMappings": [{"containerPort": 80}], "stopTimeout": 2}
    given = {"cpu": "256", "memory": "512", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], **more}
    return ecs.register_task_definition(family=family, containerDefinitions=[container], **given)["taskDefinition"]


@pytest.mark.containers
def test_service_runs_within_its_size_on_a_host_that_offers_it(tmp_path, sample_image):
    with berth.dev(
        tmp_path, "--runtime", "containerd", "--cluster", CLUSTER, "--hosts", 1, "--host-cpu", 2, "--host-memory", 2048, "--fargate"
    ) as process:
        process.run("image", "import", sample_image)
        ecs = berth.client(process.endpoint)
        assert "FARGATE" in definition(ecs, "web")["compatibilities"]
        service = ecs.create_service(
            cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=2, launchType="FARGATE", networkConfiguration=NETWORK
        )["service"]
        assert (service["launchType"], service["platformVersion"], service["platformFamily"]) == ("FARGATE", "LATEST", "Linux")
        berth.wait_stable(ecs, CLUSTER, "web")
        [host] = berth.instances_of(ecs, CLUSTER)
        assert any(attribute["name"] == "berth.fargate" for attribute in host["attributes"])
        tasks = berth.running(ecs, CLUSTER, serviceName="web")
        assert len(tasks) == 2
        for task in tasks:
            assert (task["launchType"], task["platformVersion"], task["platformFamily"]) == ("FARGATE", "1.4.0", "Linux")
            assert (task["cpu"], task["memory"]) == ("256", "512") and "containerInstanceArn" not in task
            assert limits(task["taskArn"].split("/")[-1]) == (25_000, 512 << 20)
        assert set(ecs.list_tasks(cluster=CLUSTER, launchType="FARGATE")["taskArns"]) == {task["taskArn"] for task in tasks}
        assert ecs.list_tasks(cluster=CLUSTER, launchType="EC2")["taskArns"] == []


def limits(task):
    """The quota in microseconds of 100 ms and the memory in bytes of the control group of a task."""
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        group = root / "berth" / task
        return int((group / "cpu.max").read_text().split()[0]), int((group / "memory.max").read_text())
    quota = (root / "cpu/berth" / task / "cpu.cfs_quota_us").read_text()
    return int(quota), int((root / "memory/berth" / task / "memory.limit_in_bytes").read_text())


def test_task_finds_no_host_where_none_offers_it_and_what_fargate_has_not_is_refused(simulated):
    ecs = simulated.ecs
    definition(ecs, "nowhere")
    run = lambda **more: ecs.run_task(cluster=CLUSTER, taskDefinition="nowhere", launchType="FARGATE", networkConfiguration=NETWORK, **more)
    answer = run()
    assert answer["tasks"] == [] and answer["failures"][0]["reason"] == "ATTRIBUTE"
    assert "berth.fargate" in answer["failures"][0]["detail"]
    for more, said in [
        ({"placementConstraints": [{"type": "distinctInstance"}]}, "Placement constraints are not supported with FARGATE launch type."),
        ({"placementStrategy": [{"type": "random"}]}, "Placement strategies are not supported with FARGATE launch type."),
        ({"platformVersion": "0.9"}, "The specified platform version 0.9 does not exist."),
        ({"overrides": {"cpu": "512", "memory": "512"}}, "No Fargate configuration exists for given values: 512 CPU, 512 memory."),
    ]:
        with pytest.raises(ClientError) as refused:
            run(**more)
        assert refused.value.response["Error"]["Message"].startswith(said)
    for more, said in [
        ({"networkMode": "bridge"}, "Fargate only supports network mode 'awsvpc'."),
        ({"memory": "4096"}, "No Fargate configuration exists for given values: 256 CPU, 4096 memory."),
    ]:
        with pytest.raises(ClientError) as refused:
            definition(ecs, "wrong", **more)
        assert refused.value.response["Error"]["Message"].startswith(said)
