"""`berth apply`, `diff`, `wait` and `delete`: files that say what a cluster is to be, and what boto3 sees of it."""

import json
import re
import subprocess

import pytest

import berth
from members import Member

WEB = """
kind: Cluster
clusterName: shop
tags: [{key: team, value: web}]
---
kind: TaskDefinition
family: web
networkMode: host
containerDefinitions:
  - name: app
    image: busybox
    memory: 32
    environment:
      - {name: LOG, value: info}
      - {name: PORT, value: 8080}
---
kind: Service
serviceName: web
cluster: shop
taskDefinition: web
desiredCount: 2
placementStrategy: [{type: binpack, field: memory}]
"""

NOTHING, ERROR, CHANGES, NOT_PLACED = 0, 1, 2, 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Three simulated hosts in the cluster `shop`."""
    with berth.dev(tmp_path_factory.mktemp("declarative"), "--runtime", "simulated", "--cluster", "shop") as process:
        yield process, berth.client(process.endpoint)


def run(process, code, *arguments, **more):
    result = process.run(*arguments, check=False, **more)
    assert result.returncode == code, (arguments, result.returncode, result.stdout, result.stderr)
    return result


def written(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def newest(ecs, family):
    return ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]


def test_applied_twice_does_nothing_and_a_changed_member_is_all_that_changes(shop, tmp_path):
    process, ecs = shop
    file = written(tmp_path, "web.yaml", WEB)
    before = run(process, CHANGES, "diff", "-f", file).stdout
    assert "+ service web in cluster shop" in before and '    + desiredCount: 2' in before, before
    assert "serviceArns" in (listed := ecs.list_services(cluster="shop")) and not listed["serviceArns"]

    first = run(process, CHANGES, "apply", "-f", file, "--wait")
    assert "task definition web: registered as web:1" in first.stdout
    assert "service web in cluster shop: created" in first.stdout
    assert "service web: stable, 2 tasks run" in first.stdout.splitlines()[-1]
    service = berth.service_of(ecs, "shop", "web")
    assert (service["runningCount"], service["taskDefinition"].rsplit("/", 1)[1]) == (2, "web:1")
    assert service["placementStrategy"] == [{"type": "binpack", "field": "MEMORY"}]
    cluster = ecs.describe_clusters(clusters=["shop"], include=["TAGS"])["clusters"][0]
    assert cluster["tags"] == [{"key": "team", "value": "web"}]

    again = run(process, NOTHING, "apply", "-f", file)
    assert again.stdout.splitlines() == ["cluster shop: as it is", "task definition web: as it is", "service web in cluster shop: as it is"]
    run(process, NOTHING, "diff", "-f", file)
    assert newest(ecs, "web")["revision"] == 1

    # Another order of what has none, and defaults written out, are no change; one value is.
    same = WEB.replace("      - {name: LOG, value: info}\n", "").replace("PORT, value: 8080}", "PORT, value: 8080}\n      - {name: LOG, value: info}\n    essential: true")
    run(process, NOTHING, "diff", "-f", written(tmp_path, "same.yaml", same))
    changed = written(tmp_path, "changed.yaml", WEB.replace("value: info", "value: debug"))
    difference = run(process, CHANGES, "diff", "-f", changed).stdout
    assert difference.splitlines() == [
        "~ task definition web",
        '    ~ containerDefinitions[app].environment[LOG]: "info" -> "debug"',
        "~ service web in cluster shop",
        '    ~ taskDefinition: "web:1" -> "web (its new revision)"',
        "0 to create, 2 to change, 1 as they are",
    ], difference
    assert newest(ecs, "web")["revision"] == 1
    run(process, CHANGES, "apply", "-f", changed, "--wait")
    service = berth.service_of(ecs, "shop", "web")
    assert service["taskDefinition"].endswith("/web:2") and len(service["deployments"]) == 1
    assert {"name": "LOG", "value": "debug"} in newest(ecs, "web")["containerDefinitions"][0]["environment"]
    run(process, NOTHING, "apply", "-f", changed)

    # Back to the revision before, and forth again.
    assert "from web:2 to web:1" in run(process, CHANGES, "rollback", "web", "--wait").stdout
    assert berth.service_of(ecs, "shop", "web")["taskDefinition"].endswith("/web:1")
    assert "no active revision before 1" in run(process, ERROR, "rollback", "web").stderr
    run(process, NOTHING, "rollback", "web", "--to", "1")
    run(process, CHANGES, "apply", "-f", changed, "--wait")
    assert berth.service_of(ecs, "shop", "web")["taskDefinition"].endswith("/web:2")

    # What the file does not name is left alone.
    ecs.update_service(cluster="shop", service="web", desiredCount=3)
    without_count = written(tmp_path, "uncounted.yaml", changed_text := WEB.replace("value: info", "value: debug").replace("desiredCount: 2\n", ""))
    assert "desiredCount" not in changed_text
    run(process, NOTHING, "apply", "-f", without_count)
    run(process, NOTHING, "wait", "web", "-f", without_count)
    assert berth.service_of(ecs, "shop", "web")["runningCount"] == 3


def test_wait_lasts_until_the_deployment_is_completed_and_says_why_it_was_rolled_back(shop, tmp_path):
    process, ecs = shop
    definition, service = WEB.replace("web", "fragile").split("---")[1:]
    service += "deploymentConfiguration: {deploymentCircuitBreaker: {enable: true, rollback: true}}\n"
    good = written(tmp_path, "good.yaml", f"{definition}---{service}")
    assert "service fragile: stable, 2 tasks run" in run(process, CHANGES, "apply", "-f", good, "--wait").stdout
    assert berth.service_of(ecs, "shop", "fragile")["deployments"][0]["rolloutState"] == "COMPLETED"

    # So what fails right after the wait has something to return to.
    fails = "      - {name: BERTH_SIM_EXIT_AFTER_MS, value: 1}\n      - {name: BERTH_SIM_EXIT_CODE, value: 3}\n---"
    ended = run(process, ERROR, "apply", "-f", written(tmp_path, "bad.yaml", f"{definition}{fails}{service}"), "--wait").stderr
    assert "rolled back from fragile:2" in ended and "ECS deployment circuit breaker: tasks failed to start. " in ended, ended
    assert "tasks of fragile:2 failed, the last of them (task " in ended and "` shows what it wrote" in ended, ended
    arn = berth.service_of(ecs, "shop", "fragile")["currentServiceDeployment"]

    def over():
        found = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
        return found if found["status"] == "ROLLBACK_SUCCESSFUL" else None

    reason = berth.wait_until(over, "it is rolled back", 30)["statusReason"]
    assert re.match(r"ECS deployment circuit breaker: tasks failed to start\. \d+ tasks of fragile:2 failed, the last of them ", reason), reason
    assert " Rolled back to deploymentId ecs-svc/" in reason, reason
    waited = run(process, ERROR, "wait", "fragile").stderr
    assert f"service fragile: was rolled back from fragile:2 to fragile:1: {reason}" in waited, waited

    # What ended before is no matter to files that say what the service is.
    as_it_is = written(tmp_path, "as-it-is.yaml", service.replace("taskDefinition: fragile", "taskDefinition: fragile:1"))
    assert "service fragile: stable" in run(process, NOTHING, "apply", "-f", as_it_is, "--wait").stdout
    run(process, CHANGES, "apply", "-f", good, "--wait")
    run(process, NOTHING, "wait", "fragile")
    ecs.delete_service(cluster="shop", service="fragile", force=True)


WATCHED = """
kind: Alarm
AlarmName: watched-errors
MetricName: 5xx
Namespace: web
Dimensions: [{Name: service, Value: watched}]
Statistic: Sum
Period: 60
EvaluationPeriods: 1
Threshold: 10
ComparisonOperator: GreaterThanThreshold
Tags: [{Key: team, Value: web}]
---
kind: Service
serviceName: watched
cluster: shop
taskDefinition: watched
desiredCount: 1
deploymentConfiguration:
  alarms: {alarmNames: [watched-errors], enable: true, rollback: true}
  bakeTimeInMinutes: 0
"""


def test_alarm_is_declared_beside_the_service_whose_deployments_mind_it(shop, tmp_path):
    process, ecs = shop
    cloudwatch = berth.client(process.endpoint, "cloudwatch")
    text = WEB.split("---")[1].replace("family: web", "family: watched") + "---" + WATCHED
    file = written(tmp_path, "watched.yaml", text)
    planned = run(process, CHANGES, "plan", "-f", file).stdout
    assert "+ alarm watched-errors" in planned and "service:watched" in planned, planned
    done = run(process, CHANGES, "apply", "-f", file, "--wait").stdout.splitlines()
    assert done.index("alarm watched-errors: created") < done.index("service watched in cluster shop: created"), done
    service = berth.service_of(ecs, "shop", "watched")
    assert service["deploymentConfiguration"]["alarms"] == {"alarmNames": ["watched-errors"], "enable": True, "rollback": True}
    run(process, NOTHING, "apply", "-f", file)
    cloudwatch.set_alarm_state(AlarmName="watched-errors", StateValue="OK", StateReason="the test says so")
    run(process, NOTHING, "diff", "-f", file)

    changed = written(tmp_path, "changed.yaml", text.replace("Threshold: 10", "Threshold: 20").replace("Value: web}", "Value: shop}").replace("\nStatistic: Sum", ""))
    difference = run(process, CHANGES, "diff", "-f", changed).stdout.splitlines()
    assert difference == [
        "~ alarm watched-errors",
        '    - Statistic: "Sum"',
        "    ~ Threshold: 10.0 -> 20.0",
        '    ~ Tags[team]: "web" -> "shop"',
        "0 to create, 1 to change, 2 as they are",
    ], difference
    run(process, CHANGES, "apply", "-f", changed)
    found = cloudwatch.describe_alarms(AlarmNames=["watched-errors"])["MetricAlarms"][0]
    assert (found["Threshold"], found["StateValue"], "Statistic" in found) == (20.0, "OK", False)
    assert cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"] == [{"Key": "team", "Value": "shop"}]
    run(process, NOTHING, "apply", "-f", changed)

    refused = run(process, ERROR, "diff", "-f", written(tmp_path, "pager.yaml", text.replace("Threshold: 10", "AlarmActions: [\"arn:aws:sns:us-east-1:1:p\"]"))).stderr
    assert "alarm watched-errors: AlarmActions: AlarmActions is not supported by Berth yet" in refused, refused
    deleted = run(process, CHANGES, "delete", "-f", changed).stdout.splitlines()
    assert deleted == ["service watched in cluster shop: deleted", "alarm watched-errors: deleted", "task definition watched:1: deregistered"], deleted
    assert cloudwatch.describe_alarms(AlarmNames=["watched-errors"])["MetricAlarms"] == []


POOLS = """
kind: CapacityProvider
name: metal
autoScalingGroupProvider:
  autoScalingGroupArn: metal
  managedScaling: {status: ENABLED, targetCapacity: 80, instanceWarmupPeriod: 0}
  managedTerminationProtection: ENABLED
---
kind: CapacityProvider
name: plain
autoScalingGroupProvider: {autoScalingGroupArn: plain}
---
kind: Cluster
clusterName: pools
capacityProviders: [metal, plain]
defaultCapacityProviderStrategy: [{capacityProvider: metal, weight: 1, base: 2}]
"""


def test_pools_of_hosts_that_sleep_are_declared_and_changed_in_place(tmp_path):
    controller = Member(tmp_path, "controller", "--bootstrap", "--wake-command", "true").ready()
    try:
        ecs = controller.client()
        group = lambda name: ecs.describe_capacity_providers(capacityProviders=[name])["capacityProviders"][0]["autoScalingGroupProvider"]
        strategy = lambda: ecs.describe_clusters(clusters=["pools"])["clusters"][0]["defaultCapacityProviderStrategy"]
        file = written(tmp_path, "pools.yaml", POOLS)
        assert "+ capacity provider metal" in run(controller, CHANGES, "diff", "-f", file).stdout
        done = run(controller, CHANGES, "apply", "-f", file).stdout.splitlines()
        assert done == ["capacity provider metal: created", "capacity provider plain: created", "cluster pools: created"]
        assert group("metal") == {
            "autoScalingGroupArn": "metal",
            "managedScaling": {
                "status": "ENABLED", "targetCapacity": 80, "minimumScalingStepSize": 1, "maximumScalingStepSize": 10000, "instanceWarmupPeriod": 0,
            },
            "managedTerminationProtection": "ENABLED", "managedDraining": "ENABLED",
        }
        assert strategy() == [{"capacityProvider": "metal", "weight": 1, "base": 2}]
        for command in ("diff", "plan", "apply"):
            run(controller, NOTHING, command, "-f", file)

        text = POOLS.replace("targetCapacity: 80", "targetCapacity: 50").replace(
            "managedTerminationProtection: ENABLED", "managedDraining: DISABLED"
        ).replace("weight: 1, base: 2}", "weight: 1}, {capacityProvider: plain, weight: 3}")
        changed = written(tmp_path, "changed.yaml", text)
        before = run(controller, CHANGES, "diff", "-f", changed).stdout
        assert "~ autoScalingGroupProvider.managedScaling.targetCapacity: 80 -> 50" in before, before
        assert '~ autoScalingGroupProvider.managedDraining: "ENABLED" -> "DISABLED"' in before, before
        run(controller, CHANGES, "plan", "-f", changed)
        done = run(controller, CHANGES, "apply", "-f", changed).stdout.splitlines()
        assert done == ["capacity provider metal: changed", "capacity provider plain: as it is", "cluster pools: changed"]
        now = group("metal")
        assert (now["managedScaling"]["targetCapacity"], now["managedDraining"]) == (50, "DISABLED")
        assert now["managedTerminationProtection"] == "ENABLED", "the file does not name it any more"
        assert sorted(item["capacityProvider"] for item in strategy()) == ["metal", "plain"]
        run(controller, NOTHING, "apply", "-f", changed)

        for old, new, part in [
            ("targetCapacity: 50", "minimumScalingStepSize: 5, maximumScalingStepSize: 4", "minimumScalingStepSize 5 is larger"),
            ("{autoScalingGroupArn: plain}", "{autoScalingGroupArn: plain, managedTerminationProtection: ENABLED}",
             "managedTerminationProtection cannot be ENABLED"),
            ("autoScalingGroupArn: metal", "autoScalingGroupArn: 'arn:aws:autoscaling:us-east-1:1:autoScalingGroup:1:autoScalingGroupName/metal'",
             "cannot be changed"),
        ]:
            assert old in text
            wrong = written(tmp_path, "wrong.yaml", text.replace(old, new))
            said = run(controller, ERROR, "apply", "-f", wrong).stderr
            assert part in said and "wrong.yaml:" in said, said
            assert group("metal") == now and group("plain")["managedTerminationProtection"] == "DISABLED"

        off = written(tmp_path, "off.yaml", text.replace("status: ENABLED", "status: DISABLED"))
        run(controller, CHANGES, "apply", "-f", off)
        assert (group("metal")["managedScaling"]["status"], group("metal")["managedTerminationProtection"]) == ("DISABLED", "DISABLED")
        run(controller, NOTHING, "apply", "-f", off)
        deleted = run(controller, CHANGES, "delete", "-f", off).stdout.splitlines()
        assert deleted == ["cluster pools: deleted", "capacity provider plain: deleted", "capacity provider metal: deleted"], deleted
    finally:
        controller.stop()


def test_deleted_services_are_gone_and_their_definitions_inactive(shop, tmp_path):
    process, ecs = shop
    text = WEB.split("---", 1)[1].replace("serviceName: web", "serviceName: gone").replace("family: web", "family: gone").replace("taskDefinition: web", "taskDefinition: gone")
    file = written(tmp_path, "gone.yaml", text)
    run(process, CHANGES, "apply", "-f", file, "--wait")
    deleted = run(process, CHANGES, "delete", "-f", file)
    assert deleted.stdout.splitlines() == ["service gone in cluster shop: deleted", "task definition gone:1: deregistered"]
    described = ecs.describe_services(cluster="shop", services=["gone"])
    assert all(service["status"] == "INACTIVE" for service in described["services"])
    assert not berth.tasks_of(ecs, "shop", serviceName="gone")
    assert ecs.list_task_definitions(familyPrefix="gone")["taskDefinitionArns"] == []
    assert "Nothing of it is there." in run(process, NOTHING, "delete", "-f", file).stdout


def test_file_that_is_refused_changes_nothing_and_says_where(shop, tmp_path):
    process, ecs = shop
    good = written(tmp_path, "folder/a.yaml", "kind: TaskDefinition\nfamily: never\ncontainerDefinitions: [{name: a, image: i, memory: 32}]\n")
    written(
        tmp_path,
        "folder/b.json",
        json.dumps([{"kind": "Service", "serviceName": "never", "desiredCont": 2, "taskDefinition": "never"}], indent=1),
    )
    for arguments in (["apply", "-f", good, str(tmp_path / "folder/b.json")], ["apply", "-f", str(tmp_path / "folder")], ["diff", "-f", str(tmp_path / "folder")]):
        refused = run(process, ERROR, *arguments).stderr
        assert "nothing was changed" in refused
        assert "b.json:5: service never: desiredCont: CreateServiceRequest has no member of this name; did you mean desiredCount?" in refused, refused
    assert ecs.list_task_definitions(familyPrefix="never")["taskDefinitionArns"] == []

    # What Berth does not honour, what the cluster has not, and what ECS cannot change, are told before anything is changed too.
    secret = written(tmp_path, "secret.yaml", "kind: TaskDefinition\nfamily: never\nipcMode: host\ncontainerDefinitions: [{name: a, image: i, memory: 32}]\n")
    refused = run(process, ERROR, "apply", "-f", good, secret).stderr
    assert "secret.yaml:3: task definition never: ipcMode:" in refused, refused
    elsewhere = written(tmp_path, "elsewhere.yaml", "kind: Service\nserviceName: never\ncluster: moon\ntaskDefinition: never\ndesiredCount: 1\n")
    refused = run(process, ERROR, "apply", "-f", good, elsewhere).stderr
    assert "elsewhere.yaml:3: service never: cluster: there is no cluster moon" in refused, refused
    run(process, CHANGES, "apply", "-f", written(tmp_path, "web.yaml", WEB.replace("serviceName: web", "serviceName: kept")))
    daemon = WEB.replace("serviceName: web", "serviceName: kept").replace("desiredCount: 2", "schedulingStrategy: DAEMON")
    refused = run(process, ERROR, "apply", "-f", good, written(tmp_path, "daemon.yaml", daemon)).stderr
    assert 'service kept: schedulingStrategy: is "REPLICA", and cannot be changed' in refused, refused
    assert ecs.list_task_definitions(familyPrefix="never")["taskDefinitionArns"] == []
    ecs.delete_service(cluster="shop", service="kept", force=True)


def test_usage_errors_are_errors_and_not_changes(shop):
    process, _ecs = shop
    run(process, ERROR, "apply")
    run(process, ERROR, "apply", "--nonsense")
    run(process, ERROR, "diff", "-f", "/nonexistent.yaml")
    assert "Exit codes: 0" in run(process, NOTHING, "apply", "--help").stdout


def test_wait_says_when_tasks_find_no_host(shop, tmp_path):
    process, ecs = shop
    text = WEB.split("---", 1)[1].replace("memory: 32", "memory: 10000000").replace("serviceName: web", "serviceName: giant").replace("family: web", "family: giant").replace("taskDefinition: web", "taskDefinition: giant")
    result = run(process, NOT_PLACED, "apply", "-f", written(tmp_path, "giant.yaml", text), "--wait", "--timeout", "5s")
    assert "service giant: 0 of 2 tasks of giant:1 run" in result.stdout
    assert "unable to place a task" in result.stderr and "berth why-not giant" in result.stderr, result.stderr
    run(process, NOT_PLACED, "wait", "giant", "--timeout", "1s")
    run(process, ERROR, "wait", "nobody", "--timeout", "1s")
    ecs.delete_service(cluster="shop", service="giant", force=True)


def test_sample_runs_and_is_taken_away(shop):
    process, ecs = shop
    sample = str(berth.ROOT / "deploy/samples/shop.yaml")
    # The service `web` of another test may be there; this one is changed like any other.
    run(process, CHANGES, "apply", "-f", sample, "--wait")
    running = {name: berth.service_of(ecs, "shop", name)["runningCount"] for name in ("web", "orders", "watch")}
    assert running == {"web": 3, "orders": 2, "watch": 3}
    run(process, NOTHING, "apply", "-f", sample)
    run(process, CHANGES, "delete", "-f", sample)


COMPOSE = """
services:
  web:
    image: busybox:${TAG:-1}
    mem_limit: 32M
    environment: {LOG: info}
    ports: ["80"]
    deploy: {replicas: 2}
    depends_on: [db]
  db:
    image: busybox
    command: sleep 1000
    deploy: {resources: {limits: {memory: 64M}}}
"""


def test_compose_file_becomes_services_in_their_order(shop, tmp_path):
    process, ecs = shop
    file = written(tmp_path, "shop/compose.yaml", COMPOSE)
    done = run(process, CHANGES, "apply", "-f", file, "--wait")
    lines = done.stdout.splitlines()
    assert lines.index("service db: stable, 1 task runs") < lines.index("service web in cluster shop: created"), lines
    container = newest(ecs, "shop-web")["containerDefinitions"][0]
    assert (container["image"], container["memory"], container["portMappings"]) == (
        "busybox:1",
        32,
        [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
    )
    assert newest(ecs, "shop-db")["containerDefinitions"][0]["command"] == ["sleep", "1000"]
    run(process, NOTHING, "apply", "-f", file)
    hurried = run(process, CHANGES, "apply", "-f", written(tmp_path, "shop/compose.yaml", COMPOSE.replace("replicas: 2", "replicas: 1")))
    assert hurried.stderr == "", hurried
    tags = ecs.list_tags_for_resource(resourceArn=berth.service_of(ecs, "shop", "web")["serviceArn"])["tags"]
    assert tags == [{"key": "berth:depends-on", "value": "db"}]

    stranger = written(tmp_path, "other/compose.yaml", COMPOSE)
    refused = run(process, ERROR, "apply", "-f", stranger, "--cluster", "other").stderr
    assert "there is no cluster other" in refused, refused
    refused = run(process, ERROR, "apply", "-f", stranger).stderr
    assert "it runs the task definition shop-web, and would run other-web" in refused, refused
    unknown = written(tmp_path, "shop/unknown.yaml", COMPOSE.replace("    ports:", "    volumes: [data:/data]\n    ports:"))
    refused = run(process, ERROR, "apply", "-f", unknown).stderr
    assert "unknown.yaml:7: services.web.volumes: only folders and files of the host can be mounted" in refused, refused
    run(process, CHANGES, "delete", "-f", file)


def test_standard_input_is_a_file_too(shop):
    process, ecs = shop
    document = {"kind": "TaskDefinition", "family": "piped", "containerDefinitions": [{"name": "a", "image": "i", "memory": 32}]}
    applied = subprocess.run(
        [berth.BINARY, "apply", "-f", "-"], input=json.dumps(document), env=berth.environment(process.endpoint), capture_output=True, text=True, timeout=60
    )
    assert applied.returncode == CHANGES, applied
    assert newest(ecs, "piped")["revision"] == 1
