"""Deployments that shift traffic, over boto3 and the AWS CLI: blue/green, canary, hooks that pause, and what is refused."""

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("blue-green"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        process.ecs = berth.client(process.endpoint)
        yield process


def define(ecs, family):
    container = {"name": "app", "image": f"{family}:1", "cpu": 64, "memory": 64}
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def create(ecs, name, **configuration):
    """A service of two tasks at its first revision, whose later deployments go by `configuration`."""
    ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=define(ecs, name), desiredCount=2)
    wait_for(ecs, current(ecs, name), lambda found: found["status"] == "SUCCESSFUL", "it is there")
    service = ecs.update_service(cluster=CLUSTER, service=name, deploymentConfiguration=configuration)["service"]
    for member, value in configuration.items():
        assert service["deploymentConfiguration"][member] == value


def deploy(ecs, name):
    updated = ecs.update_service(cluster=CLUSTER, service=name, taskDefinition=define(ecs, name))
    return updated["service"]["currentServiceDeployment"]


def current(ecs, name):
    return berth.service_of(ecs, CLUSTER, name)["currentServiceDeployment"]


def wait_for(ecs, arn, condition, what, deadline=120.0):
    def look():
        found = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
        return condition(found) and found

    return berth.wait_until(look, f"{arn}: {what}", deadline)


def waits(found):
    return [hook for hook in found.get("lifecycleHookDetails", []) if hook["status"] == "AWAITING_ACTION"]


def traffic(found):
    """Production and test traffic of the revision before, and of the new one."""
    revisions = [*found["sourceServiceRevisions"], found["targetServiceRevision"]]
    return [(part["requestedProductionTrafficWeight"], part["requestedTestTrafficWeight"]) for part in revisions]


def running(ecs, name):
    return {task["taskArn"] for task in berth.running(ecs, CLUSTER, serviceName=name)}


def messages(ecs, name):
    return [event["message"] for event in berth.service_of(ecs, CLUSTER, name)["events"]]


PAUSE = {
    "targetType": "PAUSE",
    "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
    "timeoutConfiguration": {"timeoutInMinutes": 30, "action": "ROLLBACK"},
}


def test_new_tasks_stand_beside_the_old_until_somebody_lets_traffic_come_to_them(dev):
    ecs = dev.ecs
    create(ecs, "continued", strategy="BLUE_GREEN", bakeTimeInMinutes=0, lifecycleHooks=[PAUSE], maximumPercent=100, minimumHealthyPercent=50)
    blue = running(ecs, "continued")
    arn = deploy(ecs, "continued")
    paused = wait_for(ecs, arn, waits, "it has paused")
    assert (paused["status"], paused["lifecycleStage"]) == ("IN_PROGRESS", "POST_TEST_TRAFFIC_SHIFT")
    assert traffic(paused) == [(100.0, 0.0), (0.0, 100.0)]
    assert running(ecs, "continued") > blue and len(running(ecs, "continued")) == 4
    hook = waits(paused)[0]
    assert hook["targetType"] == "PAUSE" and hook["timeoutAction"] == "ROLLBACK"
    assert (hook["expiresAt"] - paused["startedAt"]).total_seconds() >= 30 * 60
    arguments = ["--service-deployment-arn", arn, "--hook-id", hook["hookId"], "--action", "CONTINUE"]
    answer = berth.aws(dev.endpoint, "ecs", "continue-service-deployment", *arguments)
    assert answer == {"serviceDeploymentArn": arn}
    over = wait_for(ecs, arn, lambda found: found["status"] == "SUCCESSFUL", "it is over")
    assert over["lifecycleStage"] == "CLEAN_UP"
    assert traffic(over) == [(0.0, 0.0), (100.0, 100.0)]
    assert not running(ecs, "continued") & blue
    berth.wait_stable(ecs, CLUSTER, "continued")
    said = "\n".join(messages(ecs, "continued"))
    assert f"paused at POST_TEST_TRAFFIC_SHIFT: lifecycle hook {hook['hookId']} awaits action." in said
    assert "100% of production traffic is shifted to it." in said


def test_hook_is_named_where_a_wait_ends_at_it_and_answered_by_berth_continue(dev):
    ecs, at = dev.ecs, ("--cluster", CLUSTER)
    create(ecs, "answered", strategy="BLUE_GREEN", bakeTimeInMinutes=0, lifecycleHooks=[PAUSE])
    idle = dev.run("continue", "answered", *at, check=False)
    assert idle.returncode == 1 and "waits at no hook: it is SUCCESSFUL" in idle.stderr
    arn = deploy(ecs, "answered")
    hook = waits(wait_for(ecs, arn, waits, "it has paused"))[0]
    waited = dev.run("wait", "answered", "--timeout", "1s", *at, check=False)
    assert waited.returncode == 1
    assert f"has paused at POST_TEST_TRAFFIC_SHIFT, and waits at {hook['hookId']} (else ROLLBACK at " in waited.stderr
    assert f"`berth continue answered --cluster {CLUSTER}` has it go on" in waited.stderr
    other = dev.run("continue", "answered", "--hook", "ecs-pause-other", *at, check=False)
    assert other.returncode == 1 and f"it waits at {hook['hookId']}" in other.stderr
    told = dev.run("continue", "answered", "--wait", *at).stdout
    assert f"service answered in cluster {CLUSTER}: goes on at hook {hook['hookId']} of POST_TEST_TRAFFIC_SHIFT" in told
    assert wait_for(ecs, arn, lambda found: found["status"] == "SUCCESSFUL", "it is over")
    blue = running(ecs, "answered")
    arn = deploy(ecs, "answered")
    wait_for(ecs, arn, waits, "it has paused")
    assert "is rolled back at hook" in dev.run("continue", "answered", "--rollback", *at).stdout
    wait_for(ecs, arn, lambda found: found["status"] == "ROLLBACK_SUCCESSFUL", "it is rolled back")
    assert running(ecs, "answered") == blue


def test_deployment_that_somebody_refuses_leaves_the_old_tasks_as_they_are(dev):
    ecs = dev.ecs
    create(ecs, "refused", strategy="BLUE_GREEN", bakeTimeInMinutes=0, lifecycleHooks=[PAUSE])
    blue = running(ecs, "refused")
    arn = deploy(ecs, "refused")
    hook = waits(wait_for(ecs, arn, waits, "it has paused"))[0]
    ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=hook["hookId"], action="ROLLBACK")
    over = wait_for(ecs, arn, lambda found: found["status"] == "ROLLBACK_SUCCESSFUL", "it is rolled back")
    assert traffic(over) == [(100.0, 0.0), (0.0, 0.0)]
    assert running(ecs, "refused") == blue
    reason = "Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT lifecycle hook(s) failed."
    assert over["rollback"]["reason"].startswith(reason)
    with pytest.raises(ClientError) as error:
        ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=hook["hookId"])
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"


def test_canary_gets_some_traffic_for_a_while_before_the_rest(dev):
    ecs = dev.ecs
    canary = {"canaryPercent": 12.5, "canaryBakeTimeInMinutes": 1}
    create(ecs, "canary", strategy="CANARY", canaryConfiguration=canary, bakeTimeInMinutes=0)
    arn = deploy(ecs, "canary")
    tried = wait_for(ecs, arn, lambda found: traffic(found)[1][0] > 0, "it gets traffic")
    assert tried["lifecycleStage"] == "PRODUCTION_TRAFFIC_SHIFT"
    assert traffic(tried) == [(87.5, 0.0), (12.5, 100.0)]
    over = wait_for(ecs, arn, lambda found: found["status"] == "SUCCESSFUL", "it is over")
    assert (over["finishedAt"] - tried["updatedAt"]).total_seconds() >= 60
    assert traffic(over) == [(0.0, 0.0), (100.0, 100.0)]


def test_deployment_that_has_paused_is_stopped_or_gives_way_to_the_next(dev):
    ecs = dev.ecs
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}
    create(ecs, "gives-way", strategy="BLUE_GREEN", bakeTimeInMinutes=0)
    blue = running(ecs, "gives-way")
    ecs.update_service(cluster=CLUSTER, service="gives-way", deploymentConfiguration={"lifecycleHooks": [hook]})
    first = deploy(ecs, "gives-way")
    wait_for(ecs, first, waits, "it has paused")
    second = deploy(ecs, "gives-way")
    paused = wait_for(ecs, second, waits, "it has paused")
    assert traffic(paused) == [(0.0, 0.0), (100.0, 0.0), (0.0, 0.0)], "the first of the two is gone, the oldest serves"
    assert len(running(ecs, "gives-way")) == 4 and running(ecs, "gives-way") > blue
    ecs.stop_service_deployment(serviceDeploymentArn=second)
    wait_for(ecs, second, lambda found: found["status"] == "ROLLBACK_SUCCESSFUL", "it is rolled back")
    assert running(ecs, "gives-way") == blue


def test_configurations_that_no_deployment_could_follow_are_refused(dev):
    ecs = dev.ecs
    definition = define(ecs, "bad")
    stages = ["POST_SCALE_UP"]
    for configuration, code, message in [
        ({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 100.1}}, "InvalidParameterException", "canaryPercent must be a multiple"),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 1.0}}, "InvalidParameterException", "from 3.0 to 100.0, not 1."),
        ({"linearConfiguration": {"stepPercent": 10.0}}, "InvalidParameterException", "only valid when the deployment strategy is LINEAR"),
        ({"bakeTimeInMinutes": 1441}, "InvalidParameterException", "bakeTimeInMinutes must be between 0 and 1440"),
        (
            {"strategy": "BLUE_GREEN", "lifecycleHooks": [{"hookTargetArn": "arn:aws:lambda:us-east-1:1:function:f", "lifecycleStages": stages}]},
            "ClientException",
            "deploymentConfiguration.lifecycleHooks[0].targetType",
        ),
        (
            {"strategy": "BLUE_GREEN", "lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["TEST_TRAFFIC_SHIFT"]}]},
            "InvalidParameterException",
            "PAUSE hooks cannot be configured at the lifecycle stage TEST_TRAFFIC_SHIFT.",
        ),
    ]:
        with pytest.raises(ClientError) as error:
            ecs.create_service(
                cluster=CLUSTER, serviceName="bad", taskDefinition=definition, desiredCount=1, deploymentConfiguration=configuration
            )
        told = error.value.response["Error"]
        assert told["Code"] == code and message in told["Message"], told
    with pytest.raises(ClientError) as error:
        ecs.create_service(
            cluster=CLUSTER,
            serviceName="bad",
            taskDefinition=definition,
            schedulingStrategy="DAEMON",
            deploymentConfiguration={"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1},
        )
    assert "does not support the BLUE_GREEN deployment strategy" in error.value.response["Error"]["Message"]
