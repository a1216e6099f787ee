"""Services that wait for others by a tag, over boto3 and from a Compose file that is applied without a wait."""

import pytest
from botocore.exceptions import ClientError

import berth

COMPOSE = """
name: shop
services:
  front:
    image: busybox
    mem_limit: 32M
    depends_on: {back: {condition: service_healthy}}
  back:
    image: busybox
    mem_limit: 32M
    environment: {BERTH_SIM_HEALTHY_AFTER_MS: "2000"}
    healthcheck: {test: "true", interval: 5s}
"""


@pytest.fixture
def dev(tmp_path):
    with berth.dev(tmp_path / "d", "--runtime", "simulated", "--hosts", 3, "--cluster", "shop") as process:
        process.ecs = berth.client(process.endpoint)
        for family in ("web", "db"):
            container = {"name": "app", "image": "busybox", "memory": 64}
            process.ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
        yield process


def create(ecs, name, desired=1, depends_on=None):
    tags = [{"key": "berth:depends-on", "value": depends_on}] if depends_on else []
    ecs.create_service(cluster="shop", serviceName=name, taskDefinition=name, desiredCount=desired, tags=tags)


def tasks(ecs, service):
    return [task for task in berth.tasks_of(ecs, "shop") if task["group"] == f"service:{service}"]


def says(ecs, service, part):
    def look():
        return any(part in event["message"] for event in berth.service_of(ecs, "shop", service)["events"])

    berth.wait_until(look, f"{service} says {part!r}", 60)


def test_service_starts_once_what_it_names_is_steady_and_runs_on_whatever_becomes_of_that(dev):
    ecs = dev.ecs
    create(ecs, "web", 2, "db")
    waiting = "(service web) is waiting for other services before it starts tasks: (service db)"
    says(ecs, "web", f"{waiting} does not exist yet.")
    assert f"{waiting} does not exist yet." in dev.run("why-not", "web").stdout
    listed = dev.run("ps")
    assert "service web runs 0 of 2 tasks: is waiting for other services" in listed.stdout + listed.stderr, listed
    create(ecs, "db")
    says(ecs, "web", f"{waiting} has a deployment that is not completed.")
    berth.wait_stable(ecs, "shop", "web", 60)
    steady = [event for event in berth.service_of(ecs, "shop", "db")["events"] if event["message"].endswith("has reached a steady state.")]
    first = min(task["createdAt"] for task in tasks(ecs, "web"))
    waited = (first - steady[-1]["createdAt"]).total_seconds()
    assert 0 <= waited < 2, f"it started {waited} s after the other was steady"

    # What has begun goes on.
    ecs.update_service(cluster="shop", service="db", desiredCount=0)
    berth.wait_until(lambda: tasks(ecs, "db") == [], "db is gone", 60)
    gone = tasks(ecs, "web")[0]["taskArn"]
    ecs.stop_task(cluster="shop", task=gone)
    berth.wait_until(lambda: gone not in (arns := {t["taskArn"] for t in tasks(ecs, "web")}) and len(arns) == 2, "it is replaced", 60)

    # The next deployment waits, and the tasks of the one before stay.
    before = {task["taskArn"] for task in tasks(ecs, "web")}
    ecs.update_service(cluster="shop", service="web", forceNewDeployment=True)
    says(ecs, "web", f"{waiting} wants no task.")
    assert {task["taskArn"] for task in tasks(ecs, "web")} == before
    arn = berth.service_of(ecs, "shop", "web")["serviceArn"]
    ecs.untag_resource(resourceArn=arn, tagKeys=["berth:depends-on"])
    berth.wait_stable(ecs, "shop", "web", 60)
    assert not before & {task["taskArn"] for task in tasks(ecs, "web")}


def test_circle_is_refused_and_names_itself(dev):
    ecs = dev.ecs
    create(ecs, "web", 1, "db")
    with pytest.raises(ClientError) as error:
        create(ecs, "db", 1, "web")
    answer = error.value.response["Error"]
    assert answer["Code"] == "InvalidParameterException" and "(db -> web -> db)" in answer["Message"], answer


def test_compose_file_applied_without_a_wait_starts_in_its_order(dev, tmp_path):
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    dev.run("apply", "-f", file, check=False)
    ecs = dev.ecs
    says(ecs, "front", "is waiting for other services before it starts tasks: (service back)")
    berth.wait_stable(ecs, "shop", "front", 60)
    front, back = (min(task["startedAt"] for task in tasks(ecs, name)) for name in ("front", "back"))
    assert (front - back).total_seconds() >= 2
