"""Health of containers, tasks and services over boto3: probes that pass and fail, and what becomes of the tasks."""

import subprocess

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"
# As short as ECS allows.
CHECK = {"command": ["CMD", "check"], "interval": 5, "timeout": 2, "retries": 1}


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("health"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        process.ecs = berth.client(process.endpoint)
        yield process


def define(ecs, family, check=CHECK, **environment):
    container = {
        "name": "app",
        "image": family,
        "cpu": 64,
        "memory": 64,
        "healthCheck": check,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
    }
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def create(ecs, name, definition, **more):
    return ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=definition, desiredCount=1, **more)["service"]


def health(ecs, name):
    """Health of the tasks of a service that are to run, by task."""
    return {task["taskArn"]: task["healthStatus"] for task in berth.running(ecs, CLUSTER, serviceName=name)}


def completed(ecs, name):
    def look():
        deployment = berth.service_of(ecs, CLUSTER, name)["deployments"][0]
        return deployment["rolloutState"] == "COMPLETED" and deployment

    return berth.wait_until(look, f"{name} is deployed", 60.0)


def messages(ecs, name):
    return [event["message"] for event in berth.service_of(ecs, CLUSTER, name)["events"]]


def stopped(ecs, name):
    return berth.tasks_of(ecs, CLUSTER, "STOPPED", serviceName=name)


def processes(line):
    """Processes of the machine with this command line."""
    found = subprocess.run(["pgrep", "-f", f"^{line}$"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_service_is_deployed_once_its_tasks_are_healthy(dev):
    ecs = dev.ecs
    create(ecs, "healthy", define(ecs, "healthy", BERTH_SIM_HEALTHY_AFTER_MS="12000", check={**CHECK, "retries": 10}))
    berth.wait_until(lambda: list(health(ecs, "healthy").values()) == ["UNKNOWN"], "the task runs", 30.0)
    assert berth.service_of(ecs, CLUSTER, "healthy")["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    completed(ecs, "healthy")
    assert list(health(ecs, "healthy").values()) == ["HEALTHY"]
    task = berth.running(ecs, CLUSTER, serviceName="healthy")[0]
    assert task["containers"][0]["healthStatus"] == "HEALTHY"
    listing = dev.run("ps", "--service", "healthy").stdout.splitlines()
    assert listing[0].split()[:5] == ["TASK", "SERVICE", "DEFINITION", "STATUS", "HEALTH"]
    assert "RUNNING  HEALTHY" in listing[1]


def test_unhealthy_task_is_replaced_by_one_that_is_healthy_first(dev):
    ecs = dev.ecs
    # It is healthy at first, and not any more after 20 seconds.
    create(ecs, "ill", define(ecs, "ill", BERTH_SIM_UNHEALTHY_AFTER_MS="20000"))
    completed(ecs, "ill")
    first = berth.running(ecs, CLUSTER, serviceName="ill")[0]["taskArn"]
    gone = berth.wait_until(lambda: [task for task in stopped(ecs, "ill") if task["taskArn"] == first], "it is replaced", 60.0)[0]
    assert gone["stoppedReason"] == "Task failed container health checks"
    assert gone["stopCode"] == "ServiceSchedulerInitiated"
    assert gone["healthStatus"] == "UNHEALTHY"
    said = messages(ecs, "ill")
    assert f"(service ill) (task {berth.id_of(first)}) failed container health checks." in said
    ecs.update_service(cluster=CLUSTER, service="ill", desiredCount=0)


def test_revision_that_is_never_healthy_is_given_up_and_the_healthy_one_runs_on(dev):
    ecs = dev.ecs
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    good = define(ecs, "breaks")
    create(ecs, "breaks", good, deploymentConfiguration=breaker)
    completed(ecs, "breaks")
    before = health(ecs, "breaks")
    bad = define(ecs, "breaks", BERTH_SIM_UNHEALTHY_AFTER_MS="0")
    arn = ecs.update_service(cluster=CLUSTER, service="breaks", taskDefinition=bad)["service"]["currentServiceDeployment"]

    def rolled_back():
        found = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
        return found["status"] == "ROLLBACK_SUCCESSFUL" and found

    deployment = berth.wait_until(rolled_back, "it is rolled back", 90.0)
    assert deployment["deploymentCircuitBreaker"]["failureCount"] >= 3
    assert health(ecs, "breaks") == before, "the healthy task was never stopped"
    assert berth.service_of(ecs, CLUSTER, "breaks")["taskDefinition"] == good


def test_unhealthy_task_is_left_alone_in_the_grace_period(dev):
    ecs = dev.ecs
    definition = define(ecs, "grace", BERTH_SIM_UNHEALTHY_AFTER_MS="0")
    service = create(ecs, "grace", definition, healthCheckGracePeriodSeconds=600)
    assert service["healthCheckGracePeriodSeconds"] == 600
    berth.wait_until(lambda: list(health(ecs, "grace").values()) == ["UNHEALTHY"], "it is unhealthy", 30.0)
    task = list(health(ecs, "grace"))
    assert not any("failed container health checks" in said for said in messages(ecs, "grace"))
    updated = ecs.update_service(cluster=CLUSTER, service="grace", healthCheckGracePeriodSeconds=0)["service"]
    assert len(updated["deployments"]) == 1, "a grace period is no deployment"
    berth.wait_until(lambda: task[0] in [gone["taskArn"] for gone in stopped(ecs, "grace")], "it stops", 30.0)
    ecs.update_service(cluster=CLUSTER, service="grace", desiredCount=0)


def test_task_of_no_service_runs_on_whatever_its_health(dev):
    ecs = dev.ecs
    definition = define(ecs, "alone", BERTH_SIM_HEALTH_HANGS="1")
    arn = ecs.run_task(cluster=CLUSTER, taskDefinition=definition)["tasks"][0]["taskArn"]

    def look():
        task = ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
        return task["healthStatus"] == "UNHEALTHY" and task

    assert berth.wait_until(look, "a check that is not answered in time has failed", 30.0)["lastStatus"] == "RUNNING"
    row = [line for line in dev.run("ps").stdout.splitlines() if " alone" in line][0]
    assert "UNHEALTHY" in row and row.endswith("health checks fail: app"), row
    ecs.stop_task(cluster=CLUSTER, task=arn)


def test_container_without_a_health_check_is_unknown_and_counts_as_before(dev):
    ecs = dev.ecs
    create(ecs, "none", define(ecs, "none", check={"command": ["NONE"]}))
    completed(ecs, "none")
    assert list(health(ecs, "none").values()) == ["UNKNOWN"]


def test_health_check_that_ecs_refuses_is_refused(dev):
    with pytest.raises(ClientError, match="healthCheck.interval' must be between 5 and 300 seconds, not 4"):
        define(dev.ecs, "bad", check={**CHECK, "interval": 4})


def container(name, essential=True, depends=None, **environment):
    made = {
        "name": name,
        "image": name,
        "memory": 32,
        "essential": essential,
        "environment": [{"name": variable, "value": value} for variable, value in environment.items()],
    }
    if depends:
        made["dependsOn"] = [{"containerName": other, "condition": condition} for other, condition in depends.items()]
    return made


def run(ecs, family, containers):
    ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=containers)
    return ecs.run_task(cluster=CLUSTER, taskDefinition=family)["tasks"][0]["taskArn"]


def task_that_is(ecs, arn, status):
    def look():
        task = ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
        return task["lastStatus"] == status and task

    return berth.wait_until(look, f"{arn} is {status}", 60.0)


def test_container_starts_once_another_is_healthy_and_a_third_has_succeeded(dev):
    ecs = dev.ecs
    db = {**container("db", BERTH_SIM_HEALTHY_AFTER_MS="6000"), "healthCheck": {**CHECK, "retries": 10}, "startTimeout": 120}
    init = container("init", essential=False, BERTH_SIM_EXIT_AFTER_MS="10")
    arn = run(ecs, "ordered", [container("app", depends={"db": "HEALTHY", "init": "SUCCESS"}), db, init])
    waiting = task_that_is(ecs, arn, "ACTIVATING")
    berth.wait_until(
        lambda: [c["lastStatus"] for c in ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]["containers"]]
        == ["PENDING", "RUNNING", "STOPPED"],
        "the others are as far",
        20.0,
    )
    running = task_that_is(ecs, arn, "RUNNING")
    assert [c["lastStatus"] for c in running["containers"]] == ["RUNNING", "RUNNING", "STOPPED"]
    assert running["containers"][1]["healthStatus"] == "HEALTHY"
    assert (running["startedAt"] - waiting["pullStoppedAt"]).total_seconds() > 6
    ecs.stop_task(cluster=CLUSTER, task=arn)
    task_that_is(ecs, arn, "STOPPED")


def test_task_ends_whose_container_waits_for_what_cannot_be(dev):
    ecs = dev.ecs
    init = container("init", essential=False, BERTH_SIM_EXIT_AFTER_MS="10", BERTH_SIM_EXIT_CODE="3")
    arn = run(ecs, "hopeless", [init, container("app", depends={"init": "SUCCESS"})])
    stopped_task = task_that_is(ecs, arn, "STOPPED")
    assert stopped_task["stopCode"] == "TaskFailedToStart"
    assert "container app depends on container init being SUCCESS: it ended with exit code 3" in stopped_task["stoppedReason"]


@pytest.mark.containers
def test_real_container_is_healthy_as_long_as_its_check_finds_a_file(containers):
    ecs = containers.ecs
    check = {"command": ["CMD-SHELL", "ls /www/up > /dev/null && echo $WHO | grep app"], "interval": 5, "timeout": 2, "retries": 1}
    container = {
        "name": "app",
        "image": "berth-sample:latest",
        "memory": 32,
        "environment": [{"name": "WHO", "value": "app"}],
        # The first task of the service is ill after a while; whatever takes its place is too.
        "command": ["/bin/sh", "-c", "echo > /www/up; sleep 9; /bin/busybox rm /www/up; exec sleep 1000"],
        "healthCheck": check,
    }
    definition = ecs.register_task_definition(family="probed", containerDefinitions=[container])["taskDefinition"]
    ecs.create_service(cluster="shop", serviceName="probed", taskDefinition=definition["taskDefinitionArn"], desiredCount=1)
    try:
        healthy = lambda: [task for task, status in health(ecs, "probed").items() if status == "HEALTHY"]
        first = berth.wait_until(healthy, "the probe passes", 60.0)[0]
        gone = berth.wait_until(
            lambda: [task for task in stopped(ecs, "probed") if task["taskArn"] == first], "the probe fails, and it is replaced", 90.0
        )[0]
        assert gone["stoppedReason"] == "Task failed container health checks"
    finally:
        ecs.delete_service(cluster="shop", service="probed", force=True)
        berth.wait_until(lambda: berth.running(ecs, "shop", serviceName="probed") == [], "nothing is left of it", 60.0)


@pytest.mark.containers
def test_real_probe_that_does_not_end_is_killed_with_what_it_started(containers):
    ecs = containers.ecs
    check = {"command": ["CMD-SHELL", "sleep 777; true"], "interval": 5, "timeout": 2, "retries": 2}
    container = {"name": "app", "image": "berth-sample:latest", "memory": 32, "command": ["/bin/sleep", "1000"], "healthCheck": check}
    ecs.register_task_definition(family="hangs", containerDefinitions=[container])
    arn = ecs.run_task(cluster="shop", taskDefinition="hangs")["tasks"][0]["taskArn"]

    def look():
        return ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]["healthStatus"] == "UNHEALTHY"

    berth.wait_until(look, "a probe that does not end has failed", 60.0)
    assert len(processes("sleep 777")) <= 1, "probes that were killed leave nothing behind"
    ecs.stop_task(cluster="shop", task=arn)
    berth.wait_until(lambda: processes("sleep 777") == [], "nothing is left of it", 60.0)
