"""The main road: an unmodified AWS client takes a service through its life. boto3 against simulated containers and real ones."""

import collections

import pytest

import berth

REPLICAS = 6


def definition(family, **container):
    base = {
        "name": "app",
        "image": "berth-sample:latest",
        "cpu": 10,
        "memory": 32,
        "essential": True,
        "portMappings": [{"containerPort": 80}],
        "stopTimeout": 2,
    }
    return {"family": family, "networkMode": "bridge", "containerDefinitions": [{**base, **container}]}


def by_zone(tasks):
    return collections.Counter(task["availabilityZone"] for task in tasks)


def create_service(ecs, name, count=REPLICAS, **container):
    revision = ecs.register_task_definition(**definition(name, **container))["taskDefinition"]
    assert revision["status"] == "ACTIVE"
    service = ecs.create_service(cluster="shop", serviceName=name, taskDefinition=name, desiredCount=count)["service"]
    assert service["status"] == "ACTIVE"
    assert service["desiredCount"] == count
    return service


def delete_service(ecs, name):
    ecs.delete_service(cluster="shop", service=name, force=True)
    berth.wait_until(
        lambda: not berth.tasks_of(ecs, "shop", family=name) and berth.service_of(ecs, "shop", name)["status"] == "INACTIVE",
        f"service {name} is gone",
        60,
    )


def walk(ecs, hosts):
    create_service(ecs, "road")
    ecs.get_waiter("services_stable").wait(cluster="shop", services=["road"], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    tasks = berth.running(ecs, "shop", serviceName="road")
    assert len(tasks) == REPLICAS
    assert sorted(by_zone(tasks).values()) == [2, 2, 2]
    assert {task["group"] for task in tasks} == {"service:road"}
    assert {task["startedBy"] for task in tasks} == {berth.service_of(ecs, "shop", "road")["deployments"][0]["id"]}

    for count in (10, 2):
        ecs.update_service(cluster="shop", service="road", desiredCount=count)
        berth.wait_stable(ecs, "shop", "road")
        berth.wait_until(lambda: len(berth.tasks_of(ecs, "shop", serviceName="road")) == count, f"{count} tasks", 30)
        zones = by_zone(berth.running(ecs, "shop", serviceName="road"))
        assert max(zones.values()) - min(zones[z] for z in ["us-east-1a", "us-east-1b", "us-east-1c"]) <= 1, zones

    arn = ecs.register_task_definition(**definition("road", environment=[{"name": "COLOUR", "value": "blue"}]))["taskDefinition"][
        "taskDefinitionArn"
    ]
    assert arn.endswith("road:2")
    ecs.update_service(cluster="shop", service="road", taskDefinition="road")
    berth.wait_stable(ecs, "shop", "road")
    berth.wait_until(lambda: len(berth.tasks_of(ecs, "shop", serviceName="road")) == 2, "the old tasks are gone", 60)
    assert {task["taskDefinitionArn"] for task in berth.running(ecs, "shop", serviceName="road")} == {arn}

    messages = [event["message"] for event in berth.service_of(ecs, "shop", "road")["events"]]
    assert any(message == "(service road) has reached a steady state." for message in messages), messages
    assert any(message.startswith("(service road) has started ") for message in messages), messages
    assert any(message.startswith("(service road) has stopped ") for message in messages), messages

    drain(ecs, hosts)
    delete_service(ecs, "road")


def drain(ecs, hosts):
    ecs.update_service(cluster="shop", service="road", desiredCount=hosts)
    berth.wait_stable(ecs, "shop", "road")
    victim = berth.running(ecs, "shop", serviceName="road")[0]["containerInstanceArn"]
    answer = ecs.update_container_instances_state(cluster="shop", containerInstances=[victim], status="DRAINING")
    assert answer["containerInstances"][0]["status"] == "DRAINING"
    berth.wait_until(
        lambda: all(task["containerInstanceArn"] != victim for task in berth.tasks_of(ecs, "shop", serviceName="road")),
        "the drained host is empty",
        90,
    )
    berth.wait_stable(ecs, "shop", "road")
    assert len(berth.running(ecs, "shop", serviceName="road")) == hosts
    ecs.update_container_instances_state(cluster="shop", containerInstances=[victim], status="ACTIVE")


def run_and_stop(ecs):
    ecs.register_task_definition(**definition("once"))
    answer = ecs.run_task(cluster="shop", taskDefinition="once", count=2, startedBy="a-test")
    assert answer["failures"] == []
    arns = [task["taskArn"] for task in answer["tasks"]]
    ecs.get_waiter("tasks_running").wait(cluster="shop", tasks=arns, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    listed = berth.pages(ecs, "list_tasks", "taskArns", cluster="shop", startedBy="a-test")
    assert sorted(listed) == sorted(arns)
    for arn in arns:
        ecs.stop_task(cluster="shop", task=arn, reason="seen enough")
    ecs.get_waiter("tasks_stopped").wait(cluster="shop", tasks=arns, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    for task in ecs.describe_tasks(cluster="shop", tasks=arns)["tasks"]:
        assert task["stopCode"] == "UserInitiated"
        assert task["stoppedReason"] == "seen enough"
        assert task["desiredStatus"] == "STOPPED"


def test_service_with_simulated_containers_walks_the_main_road(simulated):
    walk(simulated.ecs, hosts=6)


def test_service_with_real_containers_walks_the_main_road(containers):
    walk(containers.ecs, hosts=3)


def test_run_task_with_simulated_containers_runs_until_stopped(simulated):
    run_and_stop(simulated.ecs)


def test_run_task_with_real_containers_runs_until_stopped(containers):
    run_and_stop(containers.ecs)


def test_page_of_a_real_container_is_served_through_its_dynamic_port(containers):
    ecs = containers.ecs
    create_service(ecs, "page", count=2, environment=[{"name": "PAGE_GREETING", "value": "good morning"}])
    berth.wait_stable(ecs, "shop", "page")
    places = set()
    for task in berth.running(ecs, "shop", serviceName="page"):
        binding = task["containers"][0]["networkBindings"][0]
        assert binding["containerPort"] == 80
        # Each host of a development cluster binds ports on a loopback address of its own.
        where = f"{binding['bindIP']}:{binding['hostPort']}"
        places.add(where)
        assert "PAGE_GREETING=good morning" in berth.page(where)
    assert len(places) == 2
    logs = lambda: containers.dev.run("logs", "--cluster", "shop", "page").stdout
    berth.wait_until(lambda: logs().count("serving port 80") == 2, "both have said that they serve", 30)
    delete_service(ecs, "page")


def test_task_that_ends_by_itself_reports_its_exit_code(containers):
    ecs = containers.ecs
    ecs.register_task_definition(**definition("exits", command=["sh", "-c", "echo bye; exit 7"], portMappings=[]))
    arn = ecs.run_task(cluster="shop", taskDefinition="exits")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(cluster="shop", tasks=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    task = ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]
    assert task["containers"][0]["exitCode"] == 7
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited (exit code 7)"
    assert "bye" in containers.dev.run("logs", "--cluster", "shop", arn).stdout


def test_awscli_walks_the_main_road(simulated):
    aws = simulated.aws
    assert aws("sts", "get-caller-identity")["Account"] == berth.ACCOUNT
    cluster = aws("ecs", "create-cluster", "--cluster-name", "corner")["cluster"]
    assert cluster["clusterArn"] == f"arn:aws:ecs:{berth.REGION}:{berth.ACCOUNT}:cluster/corner"
    sample = (berth.ROOT / "deploy/samples/web.json").as_posix()
    aws("ecs", "register-task-definition", "--cli-input-json", f"file://{sample}")
    at = ["--cluster", "shop"]
    service = ["--service", "cli"]
    aws("ecs", "create-service", *at, "--service-name", "cli", "--task-definition", "web", "--desired-count", "6")
    aws("ecs", "wait", "services-stable", *at, "--services", "cli")
    described = aws("ecs", "describe-services", *at, "--services", "cli")["services"][0]
    assert (described["runningCount"], described["pendingCount"], described["desiredCount"]) == (6, 0, 6)
    aws("ecs", "update-service", *at, *service, "--desired-count", "2")
    berth.wait_stable(simulated.ecs, "shop", "cli")
    run = aws("ecs", "run-task", *at, "--task-definition", "web:1")["tasks"][0]
    aws("ecs", "wait", "tasks-running", *at, "--tasks", run["taskArn"])
    aws("ecs", "stop-task", *at, "--task", run["taskArn"], "--reason", "done")
    aws("ecs", "wait", "tasks-stopped", *at, "--tasks", run["taskArn"])
    aws("ecs", "delete-service", *at, *service, "--force")
    aws("ecs", "wait", "services-inactive", *at, "--services", "cli")
    aws("ecs", "delete-cluster", "--cluster", "corner")
    assert aws("ecs", "describe-clusters", "--clusters", "corner")["clusters"][0]["status"] == "INACTIVE"


def test_client_token_given_twice_starts_one_set_of_tasks(simulated):
    ecs = simulated.ecs
    ecs.register_task_definition(**definition("twice"))
    request = {"cluster": "shop", "taskDefinition": "twice", "count": 2, "clientToken": "7f6c"}
    first = ecs.run_task(**request)["tasks"]
    second = ecs.run_task(**request)["tasks"]
    assert sorted(task["taskArn"] for task in first) == sorted(task["taskArn"] for task in second)
    assert len(berth.tasks_of(ecs, "shop", family="twice")) == 2
    with pytest.raises(ecs.exceptions.ClientError) as error:
        ecs.run_task(**{**request, "count": 3})
    assert error.value.response["Error"]["Code"] == "ConflictException"
    for task in first:
        ecs.stop_task(cluster="shop", task=task["taskArn"])


def test_lists_in_small_pages_give_everything_once(simulated):
    ecs = simulated.ecs
    families = [f"page-{number}" for number in range(7)]
    for family in families:
        ecs.register_task_definition(**definition(family))
    found = []
    for page in ecs.get_paginator("list_task_definition_families").paginate(
        familyPrefix="page-", PaginationConfig={"PageSize": 3}
    ):
        assert len(page["families"]) <= 3
        found += page["families"]
    assert found == families


def test_describe_of_unknown_things_lists_them_as_failures(simulated):
    ecs = simulated.ecs
    assert [f["reason"] for f in ecs.describe_clusters(clusters=["nowhere"])["failures"]] == ["MISSING"]
    assert [f["reason"] for f in ecs.describe_services(cluster="shop", services=["nothing"])["failures"]] == ["MISSING"]
    answer = ecs.describe_tasks(cluster="shop", tasks=["0" * 32])
    assert [failure["reason"] for failure in answer["failures"]] == ["MISSING"]


def test_regions_are_isolated(simulated):
    other = berth.client(simulated.recorder.endpoint, region="eu-west-1")
    assert other.list_clusters()["clusterArns"] == []
    other.create_cluster(clusterName="there")
    assert [arn.split(":")[3] for arn in other.list_clusters()["clusterArns"]] == ["eu-west-1"]
    assert not any("there" in arn for arn in berth.pages(simulated.ecs, "list_clusters", "clusterArns"))
