"""Tasks of the launch type FARGATE, which go to hosts that offer it alone, over boto3."""

import json
import pathlib

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-default"]}}


def definition(ecs, family, container=None, **more):
    container = {"name": "web", "image": "berth-sample:latest", "portMappings": [{"containerPort": 80}], "stopTimeout": 2, **(container or {})}
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


def test_what_files_made_for_fargate_have_and_hosts_have_not_is_refused_with_what_to_do_instead(simulated):
    ecs = simulated.ecs
    role = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"}}
    secrets = [{"name": "KEY", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:key"}]
    definition(ecs, "clean")
    run = lambda **overrides: ecs.run_task(
        cluster=CLUSTER, taskDefinition="clean", launchType="FARGATE", networkConfiguration=NETWORK, overrides=overrides
    )
    for call, member, remedy in [
        (lambda: definition(ecs, "asks", executionRoleArn=role), "executionRoleArn", "Leave it out: hosts fetch images from registries that want no credentials, and `berth image import`"),
        (lambda: definition(ecs, "asks", taskRoleArn=role), "taskRoleArn", "Leave it out; what a container needs to call AWS can be in its environment."),
        (lambda: definition(ecs, "asks", ephemeralStorage={"sizeInGiB": 30}), "ephemeralStorage", "Leave it out: tasks may use what is free on the disks of their hosts."),
        (lambda: definition(ecs, "asks", container={"logConfiguration": logs}), "containerDefinitions[0].logConfiguration", "Leave it out: what containers write is kept on their hosts, and `berth logs` shows it."),
        (lambda: definition(ecs, "asks", container={"secrets": secrets}), "containerDefinitions[0].secrets", "Leave it out, and give the values in environment."),
        (lambda: run(executionRoleArn=role), "overrides.executionRoleArn", "`berth image import`"),
        (lambda: run(ephemeralStorage={"sizeInGiB": 30}), "overrides.ephemeralStorage", "free on the disks"),
    ]:
        with pytest.raises(ClientError) as refused:
            call()
        message = refused.value.response["Error"]["Message"]
        assert message.startswith(f"The member {member} is not supported by Berth yet. ") and remedy in message, message


def test_host_that_would_offer_itself_is_played_before_there_is_one(simulated):
    ecs = simulated.ecs
    definition(ecs, "played")
    ecs.create_service(
        cluster=CLUSTER, serviceName="played", taskDefinition="played", desiredCount=2, launchType="FARGATE", networkConfiguration=NETWORK
    )
    said = "does not have the attribute berth.fargate, which the task needs (agents say it with --fargate)"
    assert said in simulated.dev.run("why-not", "played").stdout
    what_if = lambda host: json.loads(simulated.dev.run("what-if", "--add-host", host, "--format", "json").stdout)
    lacks = lambda answer: sum(service["missing"] for service in answer["services"] if service["serviceName"] == "played")
    assert lacks(what_if("cpu=1024,memory=2048,name=plain")) == 2
    offers = what_if("cpu=1024,memory=2048,name=offers,fargate")
    assert lacks(offers) == 0
    moves = [move for move in offers["moves"] if move["group"] == "service:played"]
    assert [(move["to"]["hostName"], move["tasks"]) for move in moves] == [("offers", 2)], moves
    ecs.delete_service(cluster=CLUSTER, service="played", force=True)


@pytest.fixture(scope="module")
def offering(tmp_path_factory):
    """Three simulated hosts that offer both of ECS's own capacity providers, which the cluster has."""
    arguments = ["--runtime", "simulated", "--hosts", 3, "--azs", 3, "--cluster", CLUSTER, "--fargate", "--fargate-spot"]
    with berth.dev(tmp_path_factory.mktemp("offering"), *arguments) as process:
        process.ecs = berth.client(process.endpoint)
        definition(process.ecs, "web")
        yield process


def weights(**providers):
    return [{"capacityProvider": name, "weight": weight, "base": 0} for name, weight in providers.items()]


def test_capacity_providers_of_ecs_are_there_and_cannot_be_changed(offering):
    ecs = offering.ecs
    described = {provider["name"]: provider for provider in ecs.describe_capacity_providers()["capacityProviders"]}
    for name in ("FARGATE", "FARGATE_SPOT"):
        assert (described[name]["status"], described[name]["type"]) == ("ACTIVE", name)
        assert described[name]["capacityProviderArn"].endswith(f"capacity-provider/{name}")
        assert "autoScalingGroupProvider" not in described[name]
    group = {"autoScalingGroupArn": "FARGATE"}
    for call in [
        lambda: ecs.create_capacity_provider(name="FARGATE", autoScalingGroupProvider=group),
        lambda: ecs.update_capacity_provider(name="FARGATE", autoScalingGroupProvider={}),
        lambda: ecs.delete_capacity_provider(capacityProvider="FARGATE_SPOT"),
    ]:
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "ClientException"


def test_tasks_of_fargate_spot_are_interrupted_as_their_host_is_drained(offering):
    ecs = offering.ecs
    ecs.put_cluster_capacity_providers(
        cluster=CLUSTER, capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=weights(FARGATE=1)
    )
    default = ecs.run_task(cluster=CLUSTER, taskDefinition="web", networkConfiguration=NETWORK)["tasks"][0]
    assert (default["launchType"], default["capacityProviderName"]) == ("FARGATE", "FARGATE")
    service = ecs.create_service(
        cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=6, networkConfiguration=NETWORK, platformVersion="1.4.0",
        capacityProviderStrategy=weights(FARGATE=1, FARGATE_SPOT=1),
    )["service"]
    assert "launchType" not in service and service["platformVersion"] == "1.4.0"
    berth.wait_stable(ecs, CLUSTER, "web")
    tasks = berth.running(ecs, CLUSTER, serviceName="web")
    assert sorted(task["capacityProviderName"] for task in tasks) == ["FARGATE"] * 3 + ["FARGATE_SPOT"] * 3
    rows = json.loads(offering.run("ps", "--format", "json").stdout)
    spot = next(task for task in tasks if task["capacityProviderName"] == "FARGATE_SPOT")
    host = next(row["host"] for row in rows if row["taskArn"] == spot["taskArn"])
    assert host.startswith("host-")
    hosts = json.loads(offering.run("hosts", "--format", "json").stdout)
    assert {(row["fargate"], row["fargateSpot"]) for row in hosts} == {("simulated", "simulated")}
    offering.run("hosts", "drain", host)

    def interrupted():
        task = ecs.describe_tasks(cluster=CLUSTER, tasks=[spot["taskArn"]])["tasks"][0]
        return task["lastStatus"] == "STOPPED" and task

    task = berth.wait_until(interrupted, "the task is stopped", 60)
    assert (task["stopCode"], task["stoppedReason"]) == ("SpotInterruption", "Your Spot Task was interrupted.")
    berth.wait_stable(ecs, CLUSTER, "web")
    assert len(berth.running(ecs, CLUSTER, serviceName="web")) == 6
    ecs.update_service(cluster=CLUSTER, service="web", capacityProviderStrategy=[], forceNewDeployment=True)
    berth.wait_stable(ecs, CLUSTER, "web")
    back = berth.service_of(ecs, CLUSTER, "web")
    assert back["launchType"] == "FARGATE" and "capacityProviderStrategy" not in back


def test_platform_of_a_definition_decides_where_its_tasks_go(offering):
    ecs = offering.ecs
    here = berth.attribute(berth.instances_of(ecs, CLUSTER)[0], "ecs.cpu-architecture")
    other = {"x86_64": "ARM64", "arm64": "X86_64"}[here]
    own = here.upper()
    registered = definition(ecs, "here", runtimePlatform={"cpuArchitecture": own, "operatingSystemFamily": "LINUX"})
    assert registered["runtimePlatform"] == {"cpuArchitecture": own, "operatingSystemFamily": "LINUX"}
    run = lambda family: ecs.run_task(cluster=CLUSTER, taskDefinition=family, launchType="FARGATE", networkConfiguration=NETWORK)
    [task] = run("here")["tasks"]
    assert {"name": "ecs.cpu-architecture", "value": here} in task["attributes"]
    definition(ecs, "elsewhere", runtimePlatform={"cpuArchitecture": other})
    answer = run("elsewhere")
    assert answer["tasks"] == []
    assert any(failure["reason"] == "ATTRIBUTE" and "ecs.cpu-architecture" in failure["detail"] for failure in answer["failures"]), answer
    with pytest.raises(ClientError) as refused:
        definition(ecs, "windows", runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"})
    assert "WINDOWS_SERVER_2022_CORE is not supported" in refused.value.response["Error"]["Message"]
