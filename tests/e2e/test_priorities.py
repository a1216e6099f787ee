"""Priorities over boto3: who gets room first, how fast room is used, whose tasks are stopped for whose, and what is said of it."""

import json
import time

import pytest
from botocore.exceptions import ClientError

import berth

CPU = 1024


@pytest.fixture
def dev(tmp_path):
    """Two simulated hosts of one vCPU each."""
    arguments = ["--runtime", "simulated", "--hosts", 2, "--host-cpu", 1, "--host-memory", 4096, "--cluster", "shop"]
    with berth.dev(tmp_path / "d", *arguments) as process:
        process.ecs = berth.client(process.endpoint)
        for family, cpu in (("quarter", CPU // 4), ("half", CPU // 2), ("whole", CPU)):
            container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": 64}
            process.ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
        yield process


def tags(priority):
    return [{"key": "berth:priority", "value": str(priority)}] if priority else []


def create(ecs, name, family, desired, priority=None):
    ecs.create_service(cluster="shop", serviceName=name, taskDefinition=family, desiredCount=desired, tags=tags(priority))


def running(ecs, service):
    return [task for task in berth.running(ecs, "shop") if task["group"] == f"service:{service}"]


def stopped(ecs):
    return berth.tasks_of(ecs, "shop", "STOPPED")


def messages(ecs, service):
    return [event["message"] for event in berth.service_of(ecs, "shop", service)["events"]]


def allow_preemption(ecs, value="enabled"):
    arn = ecs.describe_clusters(clusters=["shop"])["clusters"][0]["clusterArn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "berth:preemption", "value": value}])


def refused(call, part):
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response["Error"]
    assert answer["Code"] == "InvalidParameterException" and part in answer["Message"], answer


def test_what_becomes_free_goes_to_the_highest_priority_first_and_is_used_within_a_second(dev):
    ecs = dev.ecs
    create(ecs, "filler", "whole", 2)
    berth.wait_stable(ecs, "shop", "filler", 60)
    create(ecs, "a-low", "half", 4, 10)
    create(ecs, "b-same", "half", 2)
    create(ecs, "c-same", "half", 2)
    create(ecs, "z-high", "half", 2, 90)
    for service in ("a-low", "b-same", "c-same", "z-high"):
        said = f"(service {service}) was unable to place a task"
        berth.wait_until(lambda service=service, said=said: any(m.startswith(said) for m in messages(ecs, service)), said)

    arn = running(ecs, "filler")[0]["taskArn"]
    ecs.update_service(cluster="shop", service="filler", desiredCount=1)
    berth.wait_until(lambda: len(running(ecs, "z-high")) == 2, "the service of high priority gets all that is free", 60)
    assert not running(ecs, "a-low") and not running(ecs, "b-same") and not running(ecs, "c-same")

    ecs.update_service(cluster="shop", service="filler", desiredCount=0)
    berth.wait_until(lambda: running(ecs, "b-same") and running(ecs, "c-same"), "equals share what is free", 60)
    assert (len(running(ecs, "b-same")), len(running(ecs, "c-same")), running(ecs, "a-low")) == (1, 1, [])

    ended = [task for task in stopped(ecs) if task["group"] == "service:filler"]
    assert arn in [task["taskArn"] for task in ended] and len(ended) == 2
    last = max(task["stoppedAt"] for task in ended).timestamp()
    created = min(task["createdAt"] for task in running(ecs, "b-same") + running(ecs, "c-same")).timestamp()
    assert 0 <= created - last < 2, f"room was used {created - last} s after it was there"


def test_preemption_is_off_until_the_cluster_says_otherwise_and_is_told_by_both_services(dev):
    ecs = dev.ecs
    create(ecs, "batch", "quarter", 8, 10)
    berth.wait_stable(ecs, "shop", "batch", 60)
    create(ecs, "web", "half", 1, 80)
    said = "(service web) was unable to place a task"
    berth.wait_until(lambda: any(m.startswith(said) for m in messages(ecs, "web")), said)
    time.sleep(1)
    assert len(running(ecs, "batch")) == 8
    why_not = dev.run("why-not", "web").stdout
    assert "since preemption is off: the tag berth:preemption of cluster shop turns it on" in why_not, why_not

    allow_preemption(ecs)
    berth.wait_until(lambda: len(running(ecs, "web")) == 1, "room is made", 60)
    ended = stopped(ecs)
    assert len(ended) == 2 and len({task["containerInstanceArn"] for task in ended}) == 1
    for task in ended:
        assert task["stoppedReason"] == "Preempted by (service web), whose priority is 80."
        assert task["stopCode"] == "ServiceSchedulerInitiated"
        why = dev.run("why", task["taskArn"]).stdout
        assert "It was stopped so that a task of (service web), whose priority is higher, has its room." in why, why
    assert any("(service web) is making room on " in message for message in messages(ecs, "web"))
    assert any("preempted by (service web): (task " in message for message in messages(ecs, "batch"))

    # They wait, do not come back at the cost of others, and do once there is room.
    time.sleep(2)
    assert (len(running(ecs, "batch")), len(running(ecs, "web"))) == (6, 1)
    ecs.update_service(cluster="shop", service="web", desiredCount=0)
    berth.wait_until(lambda: len(running(ecs, "batch")) == 8, "what was stopped is back", 60)

    # What nearly matters as much stays, and so does what is protected; a plan says whose turn it would be.
    create(ecs, "near", "half", 1, 19)
    protected = sorted(task["taskArn"] for task in running(ecs, "batch"))
    ecs.update_task_protection(cluster="shop", tasks=protected, protectionEnabled=True)
    ecs.update_service(cluster="shop", service="web", desiredCount=1)
    time.sleep(2)
    assert len(running(ecs, "batch")) == 8 and not running(ecs, "near") and not running(ecs, "web")
    allow_preemption(ecs, "disabled")
    ecs.update_task_protection(cluster="shop", tasks=protected, protectionEnabled=False)
    time.sleep(1)
    assert len(running(ecs, "batch")) == 8


def test_tasks_outside_services_are_stopped_only_where_they_say_a_priority(dev):
    ecs = dev.ecs
    allow_preemption(ecs)
    for priority in (None, 5):
        answer = ecs.run_task(cluster="shop", taskDefinition="whole", count=1, tags=tags(priority))
        assert answer["failures"] == []
    berth.wait_until(lambda: len(berth.running(ecs, "shop")) == 2, "both run", 60)
    create(ecs, "web", "half", 3, 80)
    berth.wait_until(lambda: len(running(ecs, "web")) == 2, "the one that said so makes room", 60)
    described = ecs.describe_tasks(cluster="shop", tasks=[task["taskArn"] for task in stopped(ecs)], include=["TAGS"])
    assert [task["tags"] for task in described["tasks"]] == [tags(5)]
    fit = json.loads(dev.run("why-not", "web", "--format", "json").stdout)
    assert fit["hostsThatFit"] == 0


def test_tags_that_say_nothing_are_refused(dev):
    ecs = dev.ecs
    refused(lambda: create(ecs, "web", "half", 1, "high"), "which is no whole number from 1 to 100")
    refused(lambda: create(ecs, "web", "half", 1, 101), "which is no whole number from 1 to 100")
    refused(lambda: allow_preemption(ecs, "yes"), "neither enabled nor disabled")
    misspelt = [{"key": "berth:prio", "value": "90"}]
    refused(lambda: ecs.run_task(cluster="shop", taskDefinition="half", tags=misspelt), "reserved")
    misplaced = [{"key": "berth:preemption", "value": "enabled"}]
    named = {"cluster": "shop", "serviceName": "web", "taskDefinition": "half", "desiredCount": 1}
    refused(lambda: ecs.create_service(**named, tags=misplaced), "The tag berth:preemption has no meaning on a service. It has one on a cluster.")
    arn = ecs.describe_clusters(clusters=["shop"])["clusters"][0]["clusterArn"]
    refused(lambda: ecs.tag_resource(resourceArn=arn, tags=tags(90)), "The tag berth:priority has no meaning on a cluster. It has one on a service, ")
    assert ecs.list_services(cluster="shop")["serviceArns"] == []
