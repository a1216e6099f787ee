"""Service deployments over boto3: what was deployed, what became of it, and the ways back."""

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("deployments"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        process.ecs = berth.client(process.endpoint)
        yield process


def define(ecs, family, image, **environment):
    container = {
        "name": "app",
        "image": image,
        "cpu": 64,
        "memory": 64,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
    }
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def create(ecs, name, definition, **more):
    ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=definition, desiredCount=2, **more)
    waiter = ecs.get_waiter("services_stable")
    waiter.wait(cluster=CLUSTER, services=[name], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return wait_for(ecs, current(ecs, name), "SUCCESSFUL")


def deploy(ecs, name, definition):
    """Begins a deployment, and returns its ARN."""
    return ecs.update_service(cluster=CLUSTER, service=name, taskDefinition=definition)["service"]["currentServiceDeployment"]


def current(ecs, name):
    return berth.service_of(ecs, CLUSTER, name)["currentServiceDeployment"]


def described(ecs, arn):
    answer = ecs.describe_service_deployments(serviceDeploymentArns=[arn])
    assert answer["failures"] == []
    return answer["serviceDeployments"][0]


def wait_for(ecs, arn, *statuses):
    def look():
        found = described(ecs, arn)
        return found["status"] in statuses and found

    return berth.wait_until(look, f"{arn} is {statuses}", 90.0)


def revision(ecs, arn):
    return ecs.describe_service_revisions(serviceRevisionArns=[arn])["serviceRevisions"][0]


def running(ecs, name):
    """Task definitions of the tasks that run, by task."""
    return {task["taskArn"]: task["taskDefinitionArn"] for task in berth.running(ecs, CLUSTER, serviceName=name)}


def statuses(ecs, name, **more):
    listed = ecs.list_service_deployments(cluster=CLUSTER, service=name, **more)["serviceDeployments"]
    return [found["status"] for found in listed]


def test_deployments_of_a_service_are_told_with_what_each_deployed(dev):
    ecs = dev.ecs
    first, second = define(ecs, "told", "told:1"), define(ecs, "told", "told:2")
    one = create(ecs, "told", first)
    two = wait_for(ecs, deploy(ecs, "told", second), "SUCCESSFUL")
    ecs.update_service(cluster=CLUSTER, service="told", desiredCount=3)
    assert statuses(ecs, "told") == ["SUCCESSFUL"] * 2, "as many tasks as wanted are no revision"
    source, target = two["sourceServiceRevisions"][0]["arn"], two["targetServiceRevision"]["arn"]
    assert source == one["targetServiceRevision"]["arn"]
    assert two["targetServiceRevision"]["runningTaskCount"] == two["targetServiceRevision"]["requestedTaskCount"] == 2
    for arn, definition, image in [(source, first, "told:1"), (target, second, "told:2")]:
        found = revision(ecs, arn)
        assert found["taskDefinition"] == definition
        container = found["containerImages"][0]
        assert (container["containerName"], container["image"]) == ("app", image)
        assert container["imageDigest"].startswith("sha256:"), container
    assert one["createdAt"] <= one["startedAt"] <= one["finishedAt"] <= two["createdAt"]
    page = ecs.list_service_deployments(cluster=CLUSTER, service="told", maxResults=1)
    assert page["serviceDeployments"][0]["targetServiceRevisionArn"] == target
    rest = ecs.list_service_deployments(cluster=CLUSTER, service="told", nextToken=page["nextToken"])
    assert [found["targetServiceRevisionArn"] for found in rest["serviceDeployments"]] == [source]
    assert "nextToken" not in rest
    assert statuses(ecs, "told", createdAt={"before": one["createdAt"]}) == []


def test_deployment_that_fails_returns_to_the_tasks_that_ran(dev):
    ecs = dev.ecs
    good = define(ecs, "fails", "fails:1")
    bad = define(ecs, "fails", "fails:2", BERTH_SIM_EXIT_AFTER_MS="1", BERTH_SIM_EXIT_CODE="1")
    breaker = {"enable": True, "rollback": True}
    create(ecs, "fails", good, deploymentConfiguration={"deploymentCircuitBreaker": breaker})
    before = running(ecs, "fails")
    failed = wait_for(ecs, deploy(ecs, "fails", bad), "ROLLBACK_SUCCESSFUL")
    assert running(ecs, "fails") == before, "they were never stopped"
    counted = failed["deploymentCircuitBreaker"]
    assert counted["status"] == "TRIGGERED" and counted["failureCount"] >= counted["threshold"] == 3, counted
    assert "circuit breaker" in failed["rollback"]["reason"]
    assert revision(ecs, failed["rollback"]["serviceRevisionArn"])["taskDefinition"] == good
    assert berth.service_of(ecs, CLUSTER, "fails")["taskDefinition"] == good
    assert statuses(ecs, "fails", status=["ROLLBACK_SUCCESSFUL"]) == ["ROLLBACK_SUCCESSFUL"]


def test_deployment_is_stopped_with_and_without_a_way_back(dev):
    ecs = dev.ecs
    good = define(ecs, "stopped", "stopped:1")
    # It cannot be started, so that it stays under way.
    stuck = define(ecs, "stopped", "stopped:2", BERTH_SIM_START_ERROR="no such program")
    create(ecs, "stopped", good)
    before = running(ecs, "stopped")
    for stop_type, status in [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOPPED")]:
        arn = deploy(ecs, "stopped", stuck)
        wait_for(ecs, arn, "IN_PROGRESS")
        assert ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType=stop_type)["serviceDeploymentArn"] == arn
        over = wait_for(ecs, arn, status)
        assert ("stoppedAt" in over) == (stop_type == "ABORT")
        assert running(ecs, "stopped") == before
        with pytest.raises(ClientError) as error:
            ecs.stop_service_deployment(serviceDeploymentArn=arn)
        assert error.value.response["Error"]["Code"] == "ConflictException"
    assert statuses(ecs, "stopped") == ["STOPPED", "ROLLBACK_SUCCESSFUL", "SUCCESSFUL"]
    wait_for(ecs, deploy(ecs, "stopped", good), "SUCCESSFUL")


def test_deployment_is_superseded_by_the_next_and_old_revisions_are_deployed_again(dev):
    ecs = dev.ecs
    first = define(ecs, "often", "often:1")
    stuck = define(ecs, "often", "often:2", BERTH_SIM_START_ERROR="no such program")
    third = define(ecs, "often", "often:3")
    one = create(ecs, "often", first)
    superseded, last = deploy(ecs, "often", stuck), deploy(ecs, "often", third)
    assert described(ecs, superseded)["status"] == "STOPPED"
    wait_for(ecs, last, "SUCCESSFUL")
    old = revision(ecs, one["targetServiceRevision"]["arn"])
    wait_for(ecs, deploy(ecs, "often", old["taskDefinition"]), "SUCCESSFUL")
    assert set(running(ecs, "often").values()) == {first}
    assert statuses(ecs, "often") == ["SUCCESSFUL", "SUCCESSFUL", "STOPPED", "SUCCESSFUL"]
