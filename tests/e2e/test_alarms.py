"""Alarms over boto3's cloudwatch client and the AWS CLI, deployments that fail by them, thresholds of the circuit breaker, early success, and the
events of hooks."""

import json
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"
ERRORS = {
    "MetricName": "5xx",
    "Namespace": "web",
    "Dimensions": [{"Name": "service", "Value": "web"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 2,
    "Threshold": 10.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("alarms"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        process.ecs = berth.client(process.endpoint)
        process.cloudwatch = berth.client(process.endpoint, "cloudwatch")
        yield process


def define(ecs, family, **more):
    container = {"name": "app", "image": f"{family}:1", "cpu": 64, "memory": 64, **more}
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def alarm(dev, name, **more):
    dev.cloudwatch.put_metric_alarm(AlarmName=name, **{**ERRORS, **more})
    dev.cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=[name])


def set_state(dev, name, state):
    dev.cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="the test says so")


def create(dev, name, **configuration):
    """A service of two tasks at its first revision, whose later deployments go by `configuration`."""
    dev.ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=define(dev.ecs, name), desiredCount=2)
    wait_for(dev, current(dev, name), "SUCCESSFUL")
    service = dev.ecs.update_service(cluster=CLUSTER, service=name, deploymentConfiguration=configuration)["service"]
    for member, value in configuration.items():
        assert service["deploymentConfiguration"][member] == value


def deploy(dev, name, **more):
    updated = dev.ecs.update_service(cluster=CLUSTER, service=name, taskDefinition=define(dev.ecs, name, **more))
    return updated["service"]["currentServiceDeployment"]


def current(dev, name):
    return berth.service_of(dev.ecs, CLUSTER, name)["currentServiceDeployment"]


def look(dev, arn):
    return dev.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]


def wait_for(dev, arn, status=None, stage=None, deadline=120.0):
    def reached():
        found = look(dev, arn)
        return found if status in (None, found["status"]) and stage in (None, found.get("lifecycleStage")) else None

    return berth.wait_until(reached, f"{arn} is {status} {stage}", deadline)


def running(dev, name):
    return {task["taskArn"] for task in berth.running(dev.ecs, CLUSTER, serviceName=name)}


def messages(dev, name):
    return "\n".join(event["message"] for event in berth.service_of(dev.ecs, CLUSTER, name)["events"])


def told(dev, *types):
    chosen = [word for kind in types for word in ("--type", kind)]
    lines = dev.run("events", "--cluster", CLUSTER, "-o", "json", *chosen).stdout.splitlines()
    return [json.loads(line) for line in lines]


def alarms(*names, rollback=True):
    return {"alarmNames": list(names), "enable": True, "rollback": rollback}


def test_alarm_is_what_was_written_and_says_what_was_set(dev):
    cloudwatch = dev.cloudwatch
    alarm(dev, "kept-errors", AlarmDescription="too many", Tags=[{"Key": "team", "Value": "web"}])
    found = cloudwatch.describe_alarms(AlarmNames=["kept-errors"])["MetricAlarms"][0]
    for member, value in ERRORS.items():
        assert found[member] == value
    assert (found["StateValue"], found["ActionsEnabled"], found["AlarmActions"]) == ("INSUFFICIENT_DATA", True, [])
    assert found["AlarmArn"] == f"arn:aws:cloudwatch:{berth.REGION}:{berth.ACCOUNT}:alarm:kept-errors"
    cloudwatch.set_alarm_state(AlarmName="kept-errors", StateValue="ALARM", StateReason="37 errors", StateReasonData='{"errors": 37}')
    set_at = cloudwatch.describe_alarms(StateValue="ALARM", AlarmNamePrefix="kept-")["MetricAlarms"][0]
    assert (set_at["StateReason"], set_at["StateReasonData"]) == ("37 errors", '{"errors": 37}')
    assert set_at["StateUpdatedTimestamp"] >= found["AlarmConfigurationUpdatedTimestamp"]
    cloudwatch.tag_resource(ResourceARN=found["AlarmArn"], Tags=[{"Key": "env", "Value": "prod"}])
    tags = cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]
    assert tags == [{"Key": "env", "Value": "prod"}, {"Key": "team", "Value": "web"}]
    for number in range(3):
        alarm(dev, f"kept-{number}")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix="kept-", PaginationConfig={"PageSize": 3})
    names = [shown["AlarmName"] for page in pages for shown in page["MetricAlarms"]]
    assert names == ["kept-0", "kept-1", "kept-2", "kept-errors"]
    cloudwatch.delete_alarms(AlarmNames=names)
    assert cloudwatch.describe_alarms(AlarmNamePrefix="kept-")["MetricAlarms"] == []


def query_client(dev, folder):
    """A client of before CloudWatch spoke JSON: the same model, which says that forms alone are spoken."""
    session = botocore.session.get_session()
    model = session.get_component("data_loader").load_service_model("cloudwatch", "service-2")
    model["metadata"].update(protocol="query", protocols=["query"])
    for member in ("awsQueryCompatible", "jsonVersion", "targetPrefix"):
        model["metadata"].pop(member, None)
    place = folder / "cloudwatch/2010-08-01/service-2.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(model))
    session = botocore.session.get_session({"data_path": ("data_path", None, str(folder), None)})
    keys = {"aws_access_key_id": berth.ACCESS_KEY, "aws_secret_access_key": berth.SECRET}
    client = session.create_client("cloudwatch", endpoint_url=dev.endpoint, region_name=berth.REGION, **keys)
    assert client.meta.service_model.metadata["protocols"] == ["query"]
    return client


def test_clients_that_speak_cloudwatchs_query_protocol_alone_do_the_same(dev, tmp_path):
    older = query_client(dev, tmp_path)
    older.put_metric_alarm(AlarmName="older-errors", **ERRORS, Tags=[{"Key": "team", "Value": "web & shop"}])
    older.set_alarm_state(AlarmName="older-errors", StateValue="ALARM", StateReason="37 < 40 errors")
    found = older.describe_alarms(AlarmNames=["older-errors"])["MetricAlarms"][0]
    same = dev.cloudwatch.describe_alarms(AlarmNames=["older-errors"])["MetricAlarms"][0]
    assert found == same and found["StateReason"] == "37 < 40 errors" and found["Dimensions"] == ERRORS["Dimensions"]
    assert older.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"] == [{"Key": "team", "Value": "web & shop"}]
    older.tag_resource(ResourceARN=found["AlarmArn"], Tags=[{"Key": "env", "Value": "prod"}])
    older.untag_resource(ResourceARN=found["AlarmArn"], TagKeys=["team"])
    assert older.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"] == [{"Key": "env", "Value": "prod"}]
    with pytest.raises(older.exceptions.ResourceNotFound) as missing:
        older.set_alarm_state(AlarmName="nowhere", StateValue="OK", StateReason="r")
    assert missing.value.response["Error"]["Message"] == "There is no alarm with the name nowhere."
    with pytest.raises(ClientError) as unserved:
        older.get_metric_statistics(Namespace="n", MetricName="m", StartTime=0, EndTime=1, Period=60)
    assert unserved.value.response["Error"]["Code"] == "InvalidAction"
    older.delete_alarms(AlarmNames=["older-errors"])
    assert dev.cloudwatch.describe_alarms(AlarmNames=["older-errors"])["MetricAlarms"] == []


def form(dev, **fields):
    """The answer to a signed form, whatever its status."""
    body = urllib.parse.urlencode({"Version": "2010-08-01", **fields})
    request = AWSRequest("POST", dev.endpoint + "/", {"Content-Type": "application/x-www-form-urlencoded"}, body)
    SigV4Auth(Credentials(berth.ACCESS_KEY, berth.SECRET), "monitoring", berth.REGION).add_auth(request)
    sent = urllib.request.Request(request.url, body.encode(), dict(request.headers.items()))
    try:
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return answer.status, ElementTree.fromstring(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, ElementTree.fromstring(refused.read())


def test_signed_form_is_answered_in_xml(dev):
    space = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"
    status, put = form(dev, Action="PutMetricAlarm", AlarmName="form", Threshold="2.5", EvaluationPeriods="1")
    assert (status, put.tag) == (200, f"{space}PutMetricAlarmResponse")
    status, described = form(dev, Action="DescribeAlarms", **{"AlarmNames.member.1": "form"})
    found = described.find(f"{space}DescribeAlarmsResult/{space}MetricAlarms/{space}member")
    assert (status, found.findtext(f"{space}AlarmName"), found.findtext(f"{space}Threshold")) == (200, "form", "2.5")
    status, refused = form(dev, Action="SetAlarmState", AlarmName="form", StateValue="HOT", StateReason="r")
    assert (status, refused.findtext(f"{space}Error/{space}Code")) == (400, "ValidationError"), ElementTree.tostring(refused)


def test_what_is_wrong_is_refused_with_the_errors_of_cloudwatch(dev):
    cloudwatch = dev.cloudwatch
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound) as missing:
        set_state(dev, "nowhere", "OK")
    assert missing.value.response["Error"]["Message"] == "There is no alarm with the name nowhere."
    with pytest.raises(cloudwatch.exceptions.InvalidNextToken):
        cloudwatch.describe_alarms(NextToken="x")
    alarm(dev, "format")
    with pytest.raises(cloudwatch.exceptions.InvalidFormatFault):
        cloudwatch.set_alarm_state(AlarmName="format", StateValue="OK", StateReason="r", StateReasonData="{")
    with pytest.raises(ClientError) as refused:
        cloudwatch.put_metric_alarm(AlarmName="pager", **ERRORS, AlarmActions=["arn:aws:sns:us-east-1:123456789012:pager"])
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert "AlarmActions is not supported by Berth yet" in refused.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as unserved:
        cloudwatch.get_metric_statistics(Namespace="n", MetricName="m", StartTime=0, EndTime=1, Period=60)
    assert unserved.value.response["Error"]["Code"] == "InvalidAction"
    assert "has no operation GetMetricStatistics here. Served of cloudwatch are: DeleteAlarms, DescribeAlarms" in unserved.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as unknown:
        dev.ecs.update_service(cluster=CLUSTER, service="any", deploymentConfiguration={"alarms": alarms("nowhere")})
    assert unknown.value.response["Error"]["Code"] in ("InvalidParameterException", "ServiceNotFoundException")


def test_alarm_in_the_bake_time_brings_the_revision_before_back(dev):
    alarm(dev, "baked-errors")
    create(dev, "baked", bakeTimeInMinutes=10, alarms=alarms("baked-errors"))
    first = berth.service_of(dev.ecs, CLUSTER, "baked")["taskDefinition"]
    arn = deploy(dev, "baked")
    baking = wait_for(dev, arn, "IN_PROGRESS", "BAKE_TIME")
    assert baking["alarms"] == {"status": "MONITORING", "alarmNames": ["baked-errors"]}
    set_state(dev, "baked-errors", "ALARM")
    over = wait_for(dev, arn, "ROLLBACK_SUCCESSFUL")
    assert over["alarms"] == {"status": "TRIGGERED", "alarmNames": ["baked-errors"], "triggeredAlarmNames": ["baked-errors"]}
    why = "ECS deployment failed: alarm detected. Alarm baked-errors went off."
    assert over["rollback"]["reason"] == why
    assert over["statusReason"].startswith(f"{why} Rolled back to deploymentId ecs-svc/")
    service = berth.service_of(dev.ecs, CLUSTER, "baked")
    assert service["taskDefinition"] == first
    failed = f"(deployment ecs-svc/{arn.rsplit('/', 1)[-1]}) deployment failed: alarm detected. Alarm baked-errors went off."
    assert failed in messages(dev, "baked")
    details = [event["detail"] for event in told(dev, "deployment") if event["detail"]["eventName"] == "SERVICE_DEPLOYMENT_FAILED"]
    assert "ECS deployment failed: alarm detected." in [detail["reason"] for detail in details]
    # What may mend it begins with the alarm off, and is not rolled back by it.
    mends = deploy(dev, "baked")
    assert look(dev, mends)["alarms"] == {"status": "DISABLED", "alarmNames": ["baked-errors"]}
    wait_for(dev, mends, "IN_PROGRESS", "BAKE_TIME")
    assert "does not monitor alarms, since alarm baked-errors was in the ALARM state when it began." in messages(dev, "baked")


def test_alarm_that_was_deleted_is_named_by_the_service_and_the_deployment_that_would_monitor_it(dev):
    alarm(dev, "gone-errors")
    create(dev, "careless", bakeTimeInMinutes=10, alarms=alarms("gone-errors"))
    dev.cloudwatch.delete_alarms(AlarmNames=["gone-errors"])
    arn = deploy(dev, "careless")
    baking = wait_for(dev, arn, "IN_PROGRESS", "BAKE_TIME")
    missing = "Alarm gone-errors, which it monitors, does not exist."
    assert missing in baking["statusReason"]
    assert f"monitors alarms of which some cannot go off. {missing}" in messages(dev, "careless")
    dev.ecs.delete_service(cluster=CLUSTER, service="careless", force=True)


def test_alarm_set_by_the_aws_cli_shifts_traffic_of_blue_green_back(dev):
    put = ["--alarm-name", "green-errors", "--evaluation-periods", "1", "--comparison-operator", "GreaterThanThreshold", "--threshold", "1"]
    berth.aws(dev.endpoint, "cloudwatch", "put-metric-alarm", *put, "--metric-name", "5xx", "--namespace", "web", "--period", "60", "--statistic", "Sum")
    shown = berth.aws(dev.endpoint, "cloudwatch", "describe-alarms", "--alarm-names", "green-errors")["MetricAlarms"][0]
    assert (shown["StateValue"], shown["Threshold"]) == ("INSUFFICIENT_DATA", 1.0)
    create(dev, "green", strategy="BLUE_GREEN", bakeTimeInMinutes=10, alarms=alarms("green-errors"))
    blue = running(dev, "green")
    arn = deploy(dev, "green")
    baking = wait_for(dev, arn, "IN_PROGRESS", "BAKE_TIME")
    assert baking["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100.0
    berth.aws(dev.endpoint, "cloudwatch", "set-alarm-state", "--alarm-name", "green-errors", "--state-value", "ALARM", "--state-reason", "bad")
    over = wait_for(dev, arn, "ROLLBACK_SUCCESSFUL")
    assert over["targetServiceRevision"]["requestedProductionTrafficWeight"] == 0.0
    assert running(dev, "green") == blue


def test_alarm_without_rollback_leaves_the_deployment_failed(dev):
    alarm(dev, "stopped-errors")
    create(dev, "stopped", bakeTimeInMinutes=10, alarms=alarms("stopped-errors", rollback=False))
    arn = deploy(dev, "stopped")
    wait_for(dev, arn, "IN_PROGRESS", "BAKE_TIME")
    set_state(dev, "stopped-errors", "ALARM")
    over = wait_for(dev, arn, "STOPPED")
    assert over["alarms"]["status"] == "TRIGGERED" and "rollback" not in over
    primary = berth.service_of(dev.ecs, CLUSTER, "stopped")["deployments"][0]
    assert (primary["rolloutState"], primary["rolloutStateReason"]) == ("FAILED", "ECS deployment failed: alarm detected.")


def test_deployment_with_alarms_bakes_as_long_as_they_take_where_nobody_says_how_long(dev):
    alarm(dev, "default-errors", Period=60, EvaluationPeriods=3)
    create(dev, "default", alarms=alarms("default-errors"))
    assert berth.service_of(dev.ecs, CLUSTER, "default")["deploymentConfiguration"]["bakeTimeInMinutes"] == 0
    arn = deploy(dev, "default")
    found = wait_for(dev, arn, "IN_PROGRESS", "BAKE_TIME")
    assert found["deploymentConfiguration"]["bakeTimeInMinutes"] == 3
    dev.ecs.update_service(cluster=CLUSTER, service="default", deploymentConfiguration={"bakeTimeInMinutes": 0})
    assert wait_for(dev, deploy(dev, "default"), "SUCCESSFUL")["alarms"]["status"] == "MONITORING_COMPLETE"


def test_circuit_breaker_gives_up_with_as_many_failures_as_it_is_told(dev):
    breaker = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": "COUNT", "value": 1}}
    create(dev, "breaker", deploymentCircuitBreaker=breaker)
    cannot_start = {"name": "BERTH_SIM_START_ERROR", "value": "it is broken"}
    arn = deploy(dev, "breaker", environment=[cannot_start])
    found = wait_for(dev, arn, "ROLLBACK_SUCCESSFUL")
    assert (found["deploymentCircuitBreaker"]["status"], found["deploymentCircuitBreaker"]["threshold"]) == ("TRIGGERED", 1)
    for kind, value, expected in (("BOUNDED_PERCENT", 10, 3), ("UNBOUNDED_PERCENT", 10, 1)):
        breaker["thresholdConfiguration"] = {"type": kind, "value": value}
        dev.ecs.update_service(cluster=CLUSTER, service="breaker", deploymentConfiguration={"deploymentCircuitBreaker": breaker})
        arn = deploy(dev, "breaker")
        assert wait_for(dev, arn, "SUCCESSFUL")["deploymentCircuitBreaker"]["threshold"] == expected


def test_rolling_update_is_successful_before_a_protected_task_has_stopped(dev):
    early = {"enable": True, "healthyPercent": 50, "sourceServiceRevisionCleanup": "DEFERRED"}
    create(dev, "early", minimumHealthyPercent=50, earlySuccessCriteria=early)
    protected = sorted(running(dev, "early"))[0]
    dev.ecs.update_task_protection(cluster=CLUSTER, tasks=[protected], protectionEnabled=True)
    arn = deploy(dev, "early")
    over = wait_for(dev, arn, "SUCCESSFUL")
    assert over["deploymentConfiguration"]["earlySuccessCriteria"] == early
    assert protected in running(dev, "early")
    assert len(berth.service_of(dev.ecs, CLUSTER, "early")["deployments"]) == 2
    dev.ecs.update_task_protection(cluster=CLUSTER, tasks=[protected], protectionEnabled=False)
    berth.wait_stable(dev.ecs, CLUSTER, "early")
    early["sourceServiceRevisionCleanup"] = "BLOCKING"
    dev.ecs.update_service(cluster=CLUSTER, service="early", deploymentConfiguration={"earlySuccessCriteria": early})
    wait_for(dev, deploy(dev, "early"), "SUCCESSFUL")
    assert len(berth.service_of(dev.ecs, CLUSTER, "early")["deployments"]) == 1
    with pytest.raises(ClientError) as refused:
        dev.ecs.update_service(cluster=CLUSTER, service="early", deploymentConfiguration={"strategy": "BLUE_GREEN"})
    assert "earlySuccessCriteria is only valid when the deployment strategy is ROLLING" in refused.value.response["Error"]["Message"]


def test_hook_is_told_as_it_waits_and_as_it_ends(dev):
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"], "timeoutConfiguration": {"timeoutInMinutes": 30, "action": "ROLLBACK"}}
    create(dev, "hooked", lifecycleHooks=[hook])
    arn = deploy(dev, "hooked")
    waits = lambda: [shown for shown in look(dev, arn).get("lifecycleHookDetails", []) if shown["status"] == "AWAITING_ACTION"]
    hook_id = berth.wait_until(waits, f"{arn} has paused", 60)[0]["hookId"]
    dev.ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=hook_id, action="CONTINUE")
    wait_for(dev, arn, "SUCCESSFUL")
    events = [event for event in told(dev, "hook") if event["detail"]["hookId"] == hook_id]
    assert [event["detail"]["eventName"] for event in events] == ["HOOK_AWAITING_ACTION", "HOOK_SUCCEEDED"]
    first = events[0]
    assert (first["detail-type"], first["source"], first["resources"]) == ("ECS Hook State Change", "aws.ecs", [arn])
    detail = first["detail"]
    assert (detail["hookType"], detail["lifecycleStage"], detail["serviceDeploymentArn"]) == ("PAUSE", "POST_SCALE_UP", arn)
    assert detail["serviceArn"].endswith(f":service/{CLUSTER}/hooked") and detail["clusterArn"].endswith(f":cluster/{CLUSTER}")
    assert detail["expiresAt"] > detail["updatedAt"]
