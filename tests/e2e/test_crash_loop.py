"""A service whose container always fails: it is tried ever less often, says why, and a deployment of it is rolled back."""

import pytest

import berth

pytestmark = pytest.mark.containers

EXIT_CODE = 7
UNABLE = "is unable to consistently start tasks successfully."
# Delays after the first failures, in seconds, as `core/src/state/backoff.rs` has them: two tries are free.
DELAYS = [0, 0, 1, 2, 4, 8]


def register(ecs, family, command):
    definition = ecs.register_task_definition(
        family=family,
        networkMode="host",
        containerDefinitions=[
            {"name": "app", "image": "berth-sample:latest", "memory": 16, "command": command, "stopTimeout": 2}
        ],
    )
    return definition["taskDefinition"]["taskDefinitionArn"]


def stopped(ecs, service):
    """Tasks of the service that have stopped, the first created first."""
    tasks = berth.tasks_of(ecs, "shop", "STOPPED", serviceName=service)
    return sorted((task for task in tasks if task["lastStatus"] == "STOPPED"), key=lambda task: task["createdAt"])


def primary(service):
    return next(deployment for deployment in service["deployments"] if deployment["status"] == "PRIMARY")


def messages(service):
    return [event["message"] for event in service["events"]]


def test_container_that_always_exits_is_tried_ever_less_often(containers):
    ecs = containers.ecs
    register(ecs, "broken", ["sh", "-c", f"exit {EXIT_CODE}"])
    ecs.create_service(cluster="shop", serviceName="broken", taskDefinition="broken", desiredCount=1)
    tries = len(DELAYS) + 1
    tasks = berth.wait_until(lambda: len(stopped(ecs, "broken")) >= tries and stopped(ecs, "broken"), f"{tries} tries", 60)
    service = berth.service_of(ecs, "shop", "broken")
    assert len(tasks) == primary(service)["failedTasks"] == tries, "each try is counted, and there are no others"
    for task in tasks:
        assert task["stopCode"] == "EssentialContainerExited"
        assert str(EXIT_CODE) in task["stoppedReason"], task["stoppedReason"]
        assert task["containers"][0]["exitCode"] == EXIT_CODE
    pauses = [
        (later["createdAt"] - earlier["executionStoppedAt"]).total_seconds()
        for earlier, later in zip(tasks, tasks[1:], strict=False)
    ]
    assert all(pause >= delay for pause, delay in zip(pauses, DELAYS, strict=True)), (pauses, DELAYS)
    assert any(UNABLE in message for message in messages(service)[:5]), messages(service)
    assert service["runningCount"] == 0
    assert primary(service)["rolloutState"] == "IN_PROGRESS", "without a circuit breaker, ECS never gives up"
    ecs.delete_service(cluster="shop", service="broken", force=True)


def test_deployment_that_always_fails_is_rolled_back_to_the_last_that_completed(containers):
    ecs = containers.ecs
    good = register(ecs, "careful", ["sleep", "100000"])
    ecs.create_service(
        cluster="shop",
        serviceName="careful",
        taskDefinition="careful",
        desiredCount=2,
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
    )
    berth.wait_until(
        lambda: primary(berth.service_of(ecs, "shop", "careful"))["rolloutState"] == "COMPLETED", "the first revision is rolled out", 60
    )
    bad = register(ecs, "careful", ["sh", "-c", f"exit {EXIT_CODE}"])
    updated = ecs.update_service(cluster="shop", service="careful", taskDefinition=bad)["service"]
    failing = primary(updated)["id"]

    serving = []

    def given_up():
        service = berth.service_of(ecs, "shop", "careful")
        serving.append(service["runningCount"])
        # Once it is given up its tasks are gone soon, and it with them; what became of it is remembered.
        arns = [updated["currentServiceDeployment"]]
        deployment = ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"][0]
        return deployment if deployment["status"].startswith("ROLLBACK") else None

    deployment = berth.wait_until(given_up, "the deployment is given up", 60, 0.05)
    assert deployment["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    assert deployment["deploymentCircuitBreaker"]["failureCount"] >= 3

    def rolled_back():
        service = berth.service_of(ecs, "shop", "careful")
        serving.append(service["runningCount"])
        return len(service["deployments"]) == 1 and primary(service)["rolloutState"] == "COMPLETED" and service

    service = berth.wait_until(rolled_back, "the service is back at the last revision that completed", 60)
    assert service["taskDefinition"] == primary(service)["taskDefinition"] == good
    assert min(serving) >= 2, "tasks of the good revision serve all the time"
    running = berth.running(ecs, "shop", serviceName="careful")
    assert [task["taskDefinitionArn"] for task in running] == [good, good]
    said = messages(service)
    for part in (
        f"(deployment {failing}) deployment failed: tasks failed to start.",
        f"rolling back to deployment {primary(service)['id']}.",
    ):
        assert any(part in message for message in said), said
    ecs.delete_service(cluster="shop", service="careful", force=True)
