"""What schedulers and deployments do, on three hosts of real containers in three zones: what runs is asked of the machine, and not of the controller."""

import collections

import pytest
from botocore.exceptions import WaiterError

import berth
import containerd
from watch import Watch

pytestmark = pytest.mark.containers

CLUSTER = "shop"
SETTINGS = {"cluster": CLUSTER, "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000}


@pytest.fixture(scope="module")
def real(tmp_path_factory, sample_image):
    with berth.dev(tmp_path_factory.mktemp("real"), "--runtime", "containerd", "--hosts", 3, "--azs", 3, "--cluster", CLUSTER) as process:
        process.image = sample_image
        process.run("image", "import", sample_image)
        process.ecs = berth.client(process.endpoint)
        berth.call(process.endpoint, "UpdateHostSettings", SETTINGS)
        yield process


def define(ecs, family, *command, **more):
    container = {"name": "app", "image": "berth-sample:latest", "cpu": 10, "memory": 16, "stopTimeout": 2, **more}
    container["command"] = list(command) or ["sleep", "100000"]
    answer = ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def serve(ecs, name, tasks, **more):
    define(ecs, name)
    ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=name, desiredCount=tasks, **more)
    wait_for(ecs, name, "SUCCESSFUL")


def current(ecs, name):
    arn = berth.service_of(ecs, CLUSTER, name)["currentServiceDeployment"]
    return ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]


def wait_for(ecs, name, status, deadline=90):
    berth.wait_until(lambda: current(ecs, name)["status"] == status, f"the deployment of {name} is {status}", deadline, 0.2)


def tasks(ecs, name):
    return {task["taskArn"]: task for task in berth.running(ecs, CLUSTER, serviceName=name)}


def hosts(ecs, name):
    """How many tasks of a service run on each host."""
    names = {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, CLUSTER)}
    return collections.Counter(names[task["containerInstanceArn"]] for task in tasks(ecs, name).values())


def processes(ecs, name):
    """Processes of the tasks of a service, by task."""
    found = containerd.pids(ecs, CLUSTER)
    return {arn: found.get(arn, set()) for arn in tasks(ecs, name)}


def is_alive(arns):
    """Whether any process of these tasks is left on the machine."""
    return bool(containerd.pids_of(arns))


def leave(ecs, name):
    ecs.delete_service(cluster=CLUSTER, service=name, force=True)
    berth.wait_until(lambda: not tasks(ecs, name), f"{name} has no tasks", 30)


def test_rolling_update_replaces_every_container_and_keeps_within_its_limits(real):
    ecs = real.ecs
    serve(ecs, "rolling", 4, deploymentConfiguration={"minimumHealthyPercent": 75, "maximumPercent": 125})
    before = processes(ecs, "rolling")
    assert len(before) == 4 and all(before.values())
    with Watch(real.endpoint, "rolling") as watch:
        ecs.update_service(cluster=CLUSTER, service="rolling", taskDefinition=define(ecs, "rolling", "sleep", "200000"))
        wait_for(ecs, "rolling", "SUCCESSFUL", 180)
    assert watch.fewest >= 3 and watch.most <= 5, (watch.fewest, watch.most)
    after = processes(ecs, "rolling")
    assert len(after) == 4 and all(after.values()) and not set(after) & set(before)
    assert not is_alive(before)
    leave(ecs, "rolling")


def test_circuit_breaker_gives_up_containers_that_exit_and_rolls_back(real):
    ecs = real.ecs
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    serve(ecs, "breaker", 2, deploymentConfiguration=breaker)
    before = processes(ecs, "breaker")
    with Watch(real.endpoint, "breaker") as watch:
        broken = define(ecs, "breaker", "sh", "-c", "exit 3")
        ecs.update_service(cluster=CLUSTER, service="breaker", taskDefinition=broken)
        wait_for(ecs, "breaker", "ROLLBACK_SUCCESSFUL", 180)
    assert watch.fewest >= 2, "what ran runs on"
    assert processes(ecs, "breaker") == before, "and it is the same"
    ended = current(ecs, "breaker")
    assert ended["deploymentCircuitBreaker"]["status"] == "TRIGGERED" and ended["deploymentCircuitBreaker"]["failureCount"] >= 3
    failed = [task for task in berth.tasks_of(ecs, CLUSTER, "STOPPED", serviceName="breaker") if task["taskDefinitionArn"] == broken]
    exited = [task for task in failed if task.get("stopCode") == "EssentialContainerExited" and task["lastStatus"] == "STOPPED"]
    assert len(exited) >= 3 and all(task["containers"][0]["exitCode"] == 3 for task in exited), failed
    leave(ecs, "breaker")


def test_green_stands_beside_blue_until_somebody_lets_it(real):
    ecs = real.ecs
    serve(ecs, "colours", 2)
    pause = {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [pause]}
    ecs.update_service(cluster=CLUSTER, service="colours", deploymentConfiguration=configuration)
    blue = processes(ecs, "colours")
    ecs.update_service(cluster=CLUSTER, service="colours", taskDefinition=define(ecs, "colours", "sleep", "200000"))
    waiting = lambda: [hook for hook in current(ecs, "colours").get("lifecycleHookDetails", []) if hook["status"] == "AWAITING_ACTION"]
    [hook] = berth.wait_until(waiting, "it has paused", 90)
    both = processes(ecs, "colours")
    assert len(both) == 4 and all(both.values()) and set(blue) < set(both), "green beside blue"
    with pytest.raises(WaiterError):
        ecs.get_waiter("services_stable").wait(cluster=CLUSTER, services=["colours"], WaiterConfig={"Delay": 1, "MaxAttempts": 2})
    ecs.continue_service_deployment(serviceDeploymentArn=current(ecs, "colours")["serviceDeploymentArn"], hookId=hook["hookId"])
    wait_for(ecs, "colours", "SUCCESSFUL")
    green = processes(ecs, "colours")
    assert set(green) == set(both) - set(blue)
    assert not is_alive(blue)
    leave(ecs, "colours")


def test_daemon_runs_once_on_every_host_and_on_one_that_joins(real):
    ecs = real.ecs
    define(ecs, "everywhere")
    ecs.create_service(cluster=CLUSTER, serviceName="everywhere", taskDefinition="everywhere", schedulingStrategy="DAEMON")
    berth.wait_until(lambda: hosts(ecs, "everywhere") == {"host-1": 1, "host-2": 1, "host-3": 1}, "one on each", 60)
    real.run("dev", "host", "add", "host-4")
    real.run("image", "import", real.image)
    berth.wait_until(lambda: hosts(ecs, "everywhere") == {f"host-{n}": 1 for n in (1, 2, 3, 4)}, "one on the new host too", 90)
    assert all(processes(ecs, "everywhere").values())
    real.run("dev", "host", "kill", "host-4")
    berth.wait_until(lambda: len(tasks(ecs, "everywhere")) == 3, "and none on one that is lost", 60)
    leave(ecs, "everywhere")


def test_host_is_drained_of_its_containers_with_the_service_at_full_strength(real):
    ecs = real.ecs
    serve(ecs, "drained", 6)
    of = {instance["ec2InstanceId"]: instance["containerInstanceArn"] for instance in berth.instances_of(ecs, CLUSTER)}
    before = [arn for arn, task in tasks(ecs, "drained").items() if task["containerInstanceArn"] == of["host-2"]]
    assert len(before) == 2
    with Watch(real.endpoint, "drained") as watch:
        ecs.update_container_instances_state(cluster=CLUSTER, containerInstances=[of["host-2"]], status="DRAINING")
        berth.wait_until(lambda: hosts(ecs, "drained") == {"host-1": 3, "host-3": 3}, "host-2 is empty", 90)
    assert watch.fewest >= 6, watch.fewest
    berth.wait_until(lambda: not is_alive(before), "its processes are gone", 20)
    ecs.update_container_instances_state(cluster=CLUSTER, containerInstances=[of["host-2"]], status="ACTIVE")
    leave(ecs, "drained")


def test_zone_that_returns_gets_its_share_back(real):
    ecs = real.ecs
    serve(ecs, "level", 6)
    assert berth.service_of(ecs, CLUSTER, "level")["availabilityZoneRebalancing"] == "ENABLED"
    real.run("dev", "host", "kill", "host-3")
    berth.wait_until(lambda: hosts(ecs, "level") == {"host-1": 3, "host-2": 3}, "the zone is lost", 60)
    real.run("dev", "host", "add", "host-3")
    real.run("image", "import", real.image)
    with Watch(real.endpoint, "level") as watch:
        berth.wait_until(lambda: hosts(ecs, "level") == {f"host-{n}": 2 for n in (1, 2, 3)}, "level again", 240, 1)
    assert watch.fewest >= 6, watch.fewest
    assert all(processes(ecs, "level").values())
    leave(ecs, "level")
