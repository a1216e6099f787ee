"""Task sets over boto3: a deployer outside the cluster brings in what is new beside what is there, and takes that away."""

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"


@pytest.fixture(scope="module")
def ecs(tmp_path_factory):
    with berth.dev(tmp_path_factory.mktemp("task-sets"), "--runtime", "simulated", "--hosts", 3, "--cluster", CLUSTER) as process:
        ecs = berth.client(process.endpoint)
        for image in ["web:1", "web:2"]:
            app = {"name": "app", "image": image, "cpu": 64, "memory": 64}
            ecs.register_task_definition(family="web", networkMode="host", containerDefinitions=[app])
        yield ecs


def service(ecs, name, tasks):
    ecs.create_service(cluster=CLUSTER, serviceName=name, desiredCount=tasks, deploymentController={"type": "EXTERNAL"})
    return {"cluster": CLUSTER, "service": name}


def steady(ecs, of, task_set):
    """Waits until the task set has what it wants, and returns it."""

    def look():
        found = ecs.describe_task_sets(**of, taskSets=[task_set["id"]])["taskSets"]
        return found and found[0]["stabilityStatus"] == "STEADY_STATE" and found[0]

    return berth.wait_until(look, f"{task_set['id']} is steady", 60.0)


def tasks_by_definition(ecs, of):
    counts = {}
    for task in berth.running(ecs, CLUSTER, serviceName=of["service"]):
        definition = task["taskDefinitionArn"].rsplit("/", 1)[1]
        counts[definition] = counts.get(definition, 0) + 1
    return counts


def test_deployer_shifts_a_service_from_one_task_set_to_another(ecs):
    of = service(ecs, "shifted", 4)
    blue = ecs.create_task_set(**of, taskDefinition="web:1", externalId="blue")["taskSet"]
    assert blue["computedDesiredCount"] == 4
    steady(ecs, of, blue)
    ecs.update_service_primary_task_set(**of, primaryTaskSet=blue["id"])

    green = ecs.create_task_set(**of, taskDefinition="web:2", externalId="green", scale={"value": 30, "unit": "PERCENT"})["taskSet"]
    green = steady(ecs, of, green)
    assert (green["computedDesiredCount"], green["runningCount"]) == (2, 2)
    assert tasks_by_definition(ecs, of) == {"web:1": 4, "web:2": 2}
    ecs.update_task_set(**of, taskSet=green["taskSetArn"], scale={"value": 100, "unit": "PERCENT"})
    berth.wait_until(lambda: tasks_by_definition(ecs, of) == {"web:1": 4, "web:2": 4}, "both are whole", 30.0)
    steady(ecs, of, green)
    ecs.update_service_primary_task_set(**of, primaryTaskSet=green["id"])

    with pytest.raises(ClientError, match="scaled above 0"):
        ecs.delete_task_set(**of, taskSet=blue["id"])
    assert ecs.delete_task_set(**of, taskSet=blue["id"], force=True)["taskSet"]["status"] == "DRAINING"
    left = lambda: [found["externalId"] for found in berth.service_of(ecs, CLUSTER, "shifted")["taskSets"]]
    berth.wait_until(lambda: left() == ["green"], "the old one is gone", 60.0)
    assert tasks_by_definition(ecs, of) == {"web:2": 4}

    shown = berth.service_of(ecs, CLUSTER, "shifted")
    assert shown["deployments"] == [] and shown["deploymentController"] == {"type": "EXTERNAL"}
    assert shown["taskSets"][0]["status"] == "PRIMARY"
    said = [event["message"] for event in shown["events"]]
    assert any(f"(service shifted, taskSet {green['id']}) has started 2 tasks" in message for message in said), said


def test_task_sets_follow_the_desired_count_and_go_with_their_service(ecs):
    of = service(ecs, "followed", 0)
    for revision, percent in [(1, 50), (2, 25)]:
        ecs.create_task_set(**of, taskDefinition=f"web:{revision}", scale={"value": percent, "unit": "PERCENT"})
    for desired, counts in [(8, {"web:1": 4, "web:2": 2}), (2, {"web:1": 1, "web:2": 1})]:
        ecs.update_service(**of, desiredCount=desired)
        berth.wait_until(lambda: tasks_by_definition(ecs, of) == counts, f"{counts} run", 60.0)
    ecs.delete_service(**of, force=True)
    ecs.get_waiter("services_inactive").wait(cluster=CLUSTER, services=["followed"], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    with pytest.raises(ecs.exceptions.ServiceNotActiveException):
        ecs.create_task_set(**of, taskDefinition="web:1")


def test_what_belongs_to_task_sets_is_refused_elsewhere(ecs):
    of = service(ecs, "external", 1)
    for call, part in [
        (lambda: ecs.update_service(**of, taskDefinition="web:2"), "Create another task set"),
        (lambda: ecs.update_service(**of, deploymentController={"type": "ECS"}), "cannot be changed"),
        (lambda: ecs.create_service(cluster=CLUSTER, serviceName="a", taskDefinition="web", deploymentController={"type": "EXTERNAL"}), "taskDefinition"),
        (
            lambda: ecs.create_service(
                cluster=CLUSTER, serviceName="b", schedulingStrategy="DAEMON", deploymentController={"type": "EXTERNAL"}
            ),
            "daemon scheduling strategy",
        ),
        (lambda: ecs.update_task_set(**of, taskSet="ecs-svc/1", scale={"value": 1}), "has no task set"),
    ]:
        with pytest.raises(ClientError, match=part):
            call()
