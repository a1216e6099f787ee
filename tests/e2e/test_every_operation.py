"""Every operation of ECS's model, called through boto3 once as it is meant and once with something wrong. The recorder holds each answer against
the model. Then what botocore makes of several calls: pages and waiters."""

import itertools

import botocore
import botocore.session
import pytest
from botocore.exceptions import ClientError, WaiterError

import berth

MODEL = botocore.session.get_session().get_service_model("ecs")
CLUSTER = "shop"
NOWHERE = "none-of-these"
CONTAINER = {"name": "app", "image": "none", "cpu": 16, "memory": 16}
TASK = "0123456789abcdef0123456789abcdef"
HOST_RESOURCES = [{"name": name, "type": "INTEGER", "integerValue": 1024} for name in ("CPU", "MEMORY")]
DAEMON = f"arn:aws:ecs:{berth.REGION}:{berth.ACCOUNT}:daemon/{CLUSTER}/{NOWHERE}"
_numbers = itertools.count()


class World:
    """What calls need: each asks for a fresh thing of its kind."""

    def __init__(self, ecs):
        self.ecs = ecs

    def name(self):
        return f"every-{next(_numbers)}"

    def family(self):
        name = self.name()
        self.ecs.register_task_definition(family=name, networkMode="host", containerDefinitions=[CONTAINER])
        return name

    def service(self, desired=1, **more):
        name = self.name()
        if "deploymentController" not in more:
            more["taskDefinition"] = self.family()
        self.ecs.create_service(cluster=CLUSTER, serviceName=name, desiredCount=desired, **more)
        return name

    def stable_service(self, **more):
        name = self.service(**more)
        berth.wait_stable(self.ecs, CLUSTER, name)
        return name

    def deployment(self, name):
        """The service deployment that is under way or was the last."""
        return berth.service_of(self.ecs, CLUSTER, name)["currentServiceDeployment"]

    def under_way(self):
        """A service deployment that can be stopped: the service has reached one before, and is given another."""
        name = self.stable_service()
        first = lambda: self.ecs.describe_service_deployments(serviceDeploymentArns=[self.deployment(name)])["serviceDeployments"][0]
        berth.wait_until(lambda: first()["status"] == "SUCCESSFUL", f"{name} is deployed", 60)
        self.ecs.update_service(cluster=CLUSTER, service=name, forceNewDeployment=True)
        return self.deployment(name)

    def paused(self):
        """A service deployment that waits at a hook, and the hook."""
        hook = {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]}
        arn = self.deployment(self.service(deploymentConfiguration={"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [hook]}))
        found = lambda: self.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
        hooks = berth.wait_until(lambda: found().get("lifecycleHookDetails"), f"{arn} has paused", 60)
        return {"serviceDeploymentArn": arn, "hookId": hooks[0]["hookId"]}

    def revision(self):
        return berth.service_of(self.ecs, CLUSTER, self.stable_service())["currentServiceRevisions"][0]["arn"]

    def external(self):
        return {"cluster": CLUSTER, "service": self.service(deploymentController={"type": "EXTERNAL"})}

    def task_set(self, of):
        return self.ecs.create_task_set(**of, taskDefinition=self.family())["taskSet"]["id"]

    def task(self):
        return self.ecs.run_task(cluster=CLUSTER, taskDefinition=self.family())["tasks"][0]["taskArn"]

    def task_of_service(self):
        return berth.tasks_of(self.ecs, CLUSTER, serviceName=self.stable_service())[0]["taskArn"]

    def host(self):
        return self.ecs.list_container_instances(cluster=CLUSTER)["containerInstanceArns"][0]

    def cluster(self):
        return self.ecs.create_cluster(clusterName=self.name())["cluster"]["clusterName"]

    def ecs_agent(self):
        """A host in a cluster of its own, whose agent speaks ECS's API."""
        cluster = self.cluster()
        host = self.ecs.register_container_instance(cluster=cluster, totalResources=HOST_RESOURCES)["containerInstance"]
        return {"cluster": cluster, "containerInstance": host["containerInstanceArn"]}

    def task_of_ecs_agent(self):
        """A task on such a host."""
        of = self.ecs_agent()
        started = self.ecs.start_task(cluster=of["cluster"], containerInstances=[of["containerInstance"]], taskDefinition=self.family())
        return {"cluster": of["cluster"], "task": started["tasks"][0]["taskArn"]}

    def pool(self):
        name = self.name()
        self.ecs.create_capacity_provider(name=name, autoScalingGroupProvider={"autoScalingGroupArn": name})
        return name

    def daemon_definition(self):
        name = self.name()
        self.ecs.register_daemon_task_definition(family=name, containerDefinitions=[CONTAINER])
        return f"{name}:1"

    def daemon_of(self):
        """Arguments for a daemon of a pool without hosts, in the cluster of all other tests."""
        pool = self.pool()
        known = self.ecs.describe_clusters(clusters=[CLUSTER])["clusters"][0]["capacityProviders"]
        self.ecs.put_cluster_capacity_providers(cluster=CLUSTER, capacityProviders=[*known, pool], defaultCapacityProviderStrategy=[])
        return {"daemonTaskDefinitionArn": self.daemon_definition(), "capacityProviderArns": [pool]}

    def daemon(self):
        return self.ecs.create_daemon(clusterArn=CLUSTER, daemonName=self.name(), **self.daemon_of())

    def daemon_revision(self):
        daemon = self.ecs.describe_daemon(daemonArn=self.daemon()["daemonArn"])["daemon"]
        return daemon["currentRevisions"][0]["arn"]

    def inactive_definition(self):
        definition = f"{self.family()}:1"
        self.ecs.deregister_task_definition(taskDefinition=definition)
        return definition

    def attribute(self):
        attribute = {"name": self.name(), "targetType": "container-instance", "targetId": self.host()}
        self.ecs.put_attributes(cluster=CLUSTER, attributes=[attribute])
        return attribute


def task_set_call(**more):
    """Arguments for an operation on a task set."""

    def arguments(world):
        of = world.external()
        name = "primaryTaskSet" if more.get("primary") else "taskSet"
        return {**of, name: world.task_set(of), **{key: value for key, value in more.items() if key != "primary"}}

    return arguments


# Of each operation: what is right, what is wrong, and the error that it is.
CALLS = {
    "ContinueServiceDeployment": (
        lambda w: w.paused(),
        {"serviceDeploymentArn": NOWHERE, "hookId": "ecs-pause-1"},
        "InvalidParameterException",
    ),
    "CreateCapacityProvider": (
        lambda w: (lambda name: {"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": name}})(w.name()),
        {"name": "aws-mine", "autoScalingGroupProvider": {"autoScalingGroupArn": "aws-mine"}},
        "ClientException",
    ),
    "CreateCluster": (lambda w: {"clusterName": w.name()}, {"clusterName": "no such name"}, "InvalidParameterException"),
    "CreateDaemon": (
        lambda w: {"clusterArn": CLUSTER, "daemonName": w.name(), **w.daemon_of()},
        {"clusterArn": CLUSTER, "daemonName": "x", "daemonTaskDefinitionArn": NOWHERE, "capacityProviderArns": ["x"]},
        "ClientException",
    ),
    "CreateService": (
        lambda w: {"cluster": CLUSTER, "serviceName": w.name(), "taskDefinition": w.family(), "desiredCount": 1},
        {"cluster": CLUSTER, "serviceName": "x", "taskDefinition": NOWHERE, "desiredCount": 1},
        "ClientException",
    ),
    "CreateTaskSet": (
        lambda w: {**w.external(), "taskDefinition": w.family()},
        {"cluster": CLUSTER, "service": NOWHERE, "taskDefinition": "x"},
        "ServiceNotFoundException",
    ),
    "DeleteAccountSetting": (lambda w: {"name": "containerInsights"}, {"name": "fargateFIPSMode", "principalArn": "x"}, "InvalidParameterException"),
    "DeleteAttributes": (
        lambda w: {"cluster": CLUSTER, "attributes": [w.attribute()]},
        {"cluster": CLUSTER, "attributes": [{"name": "x", "targetId": NOWHERE, "targetType": "container-instance"}]},
        "TargetNotFoundException",
    ),
    "DeleteCapacityProvider": (lambda w: {"capacityProvider": w.pool()}, {"capacityProvider": NOWHERE}, "InvalidParameterException"),
    "DeleteCluster": (lambda w: {"cluster": w.cluster()}, {"cluster": NOWHERE}, "ClusterNotFoundException"),
    "DeleteDaemon": (lambda w: {"daemonArn": w.daemon()["daemonArn"]}, {"daemonArn": DAEMON}, "DaemonNotFoundException"),
    "DeleteDaemonTaskDefinition": (lambda w: {"daemonTaskDefinition": w.daemon_definition()}, {"daemonTaskDefinition": f"{NOWHERE}:1"}, "ClientException"),
    "DeleteService": (
        lambda w: {"cluster": CLUSTER, "service": w.service(), "force": True},
        {"cluster": CLUSTER, "service": NOWHERE},
        "ServiceNotFoundException",
    ),
    "DeleteTaskDefinitions": (lambda w: {"taskDefinitions": [w.inactive_definition()]}, {"taskDefinitions": []}, "InvalidParameterException"),
    "DeleteTaskSet": (
        task_set_call(force=True),
        {"cluster": CLUSTER, "service": NOWHERE, "taskSet": "ecs-svc/1"},
        "ServiceNotFoundException",
    ),
    "DeregisterContainerInstance": (
        lambda w: w.ecs_agent(),
        {"cluster": CLUSTER, "containerInstance": NOWHERE},
        "InvalidParameterException",
    ),
    "DeregisterTaskDefinition": (lambda w: {"taskDefinition": f"{w.family()}:1"}, {"taskDefinition": NOWHERE}, "ClientException"),
    "DescribeCapacityProviders": (lambda w: {"capacityProviders": [w.pool()]}, {"capacityProviders": ["arn:aws:ecs:x"]}, "InvalidParameterException"),
    "DescribeClusters": (lambda w: {"clusters": [CLUSTER]}, {"clusters": ["x"] * 101}, "InvalidParameterException"),
    "DescribeContainerInstances": (
        lambda w: {"cluster": CLUSTER, "containerInstances": [w.host()]},
        {"cluster": NOWHERE, "containerInstances": ["x"]},
        "ClusterNotFoundException",
    ),
    "DescribeDaemon": (lambda w: {"daemonArn": w.daemon()["daemonArn"]}, {"daemonArn": DAEMON}, "DaemonNotFoundException"),
    "DescribeDaemonDeployments": (
        lambda w: {"daemonDeploymentArns": [w.daemon()["deploymentArn"]]},
        {"daemonDeploymentArns": [NOWHERE]},
        "InvalidParameterException",
    ),
    "DescribeDaemonRevisions": (lambda w: {"daemonRevisionArns": [w.daemon_revision()]}, {"daemonRevisionArns": [NOWHERE]}, "InvalidParameterException"),
    "DescribeDaemonTaskDefinition": (lambda w: {"daemonTaskDefinition": w.daemon_definition()}, {"daemonTaskDefinition": NOWHERE}, "ClientException"),
    "DescribeServiceDeployments": (
        lambda w: {"serviceDeploymentArns": [w.deployment(w.service())]},
        {"serviceDeploymentArns": [NOWHERE]},
        "InvalidParameterException",
    ),
    "DescribeServiceRevisions": (lambda w: {"serviceRevisionArns": [w.revision()]}, {"serviceRevisionArns": [NOWHERE]}, "InvalidParameterException"),
    "DescribeServices": (lambda w: {"cluster": CLUSTER, "services": [w.service()]}, {"cluster": CLUSTER, "services": []}, "InvalidParameterException"),
    "DescribeTaskDefinition": (lambda w: {"taskDefinition": w.family()}, {"taskDefinition": NOWHERE}, "ClientException"),
    "DescribeTaskSets": (lambda w: w.external(), {"cluster": CLUSTER, "service": NOWHERE}, "ServiceNotFoundException"),
    "DescribeTasks": (lambda w: {"cluster": CLUSTER, "tasks": [w.task()]}, {"cluster": CLUSTER, "tasks": ["x"]}, "InvalidParameterException"),
    "DiscoverPollEndpoint": (lambda w: w.ecs_agent(), {"cluster": CLUSTER}, "ClientException"),
    "GetTaskProtection": (
        lambda w: {"cluster": CLUSTER, "tasks": [w.task_of_service()]},
        {"cluster": NOWHERE, "tasks": [TASK]},
        "ClusterNotFoundException",
    ),
    "ListAccountSettings": (lambda w: {"effectiveSettings": True}, {"value": "enabled", "nextToken": "x"}, "InvalidParameterException"),
    "ListAttributes": (
        lambda w: {"cluster": CLUSTER, "targetType": "container-instance"},
        {"cluster": NOWHERE, "targetType": "container-instance"},
        "ClusterNotFoundException",
    ),
    "ListClusters": (lambda w: {}, {"nextToken": "x"}, "InvalidParameterException"),
    "ListContainerInstances": (lambda w: {"cluster": CLUSTER}, {"cluster": CLUSTER, "filter": "attribute:"}, "InvalidParameterException"),
    "ListDaemonDeployments": (lambda w: {"daemonArn": w.daemon()["daemonArn"]}, {"daemonArn": DAEMON}, "InvalidParameterException"),
    "ListDaemonTaskDefinitions": (lambda w: {}, {"nextToken": "x"}, "InvalidParameterException"),
    "ListDaemons": (lambda w: {"clusterArn": CLUSTER}, {"clusterArn": NOWHERE}, "ClusterNotFoundException"),
    "ListServiceDeployments": (
        lambda w: {"cluster": CLUSTER, "service": w.service()},
        {"cluster": CLUSTER, "service": NOWHERE},
        "ServiceNotFoundException",
    ),
    "ListServices": (lambda w: {"cluster": CLUSTER}, {"cluster": NOWHERE}, "ClusterNotFoundException"),
    "ListServicesByNamespace": (None, {"namespace": "shop.local"}, "NamespaceNotFoundException"),
    "ListTagsForResource": (lambda w: {"resourceArn": w.task()}, {"resourceArn": NOWHERE}, "InvalidParameterException"),
    "ListTaskDefinitionFamilies": (lambda w: {}, {"nextToken": "x"}, "InvalidParameterException"),
    "ListTaskDefinitions": (lambda w: {}, {"nextToken": "x"}, "InvalidParameterException"),
    "ListTasks": (lambda w: {"cluster": CLUSTER}, {"cluster": CLUSTER, "serviceName": NOWHERE}, "ServiceNotFoundException"),
    "PutAccountSetting": (lambda w: {"name": "containerInsights", "value": "disabled"}, {"name": "containerInsights", "value": "x"}, "InvalidParameterException"),
    "PutAccountSettingDefault": (
        lambda w: {"name": "containerInsights", "value": "disabled"},
        {"name": "containerInsights", "value": "x"},
        "InvalidParameterException",
    ),
    "PutAttributes": (
        lambda w: {"cluster": CLUSTER, "attributes": [w.attribute()]},
        {"cluster": CLUSTER, "attributes": [{"name": "x", "targetId": NOWHERE, "targetType": "container-instance"}]},
        "TargetNotFoundException",
    ),
    "PutClusterCapacityProviders": (
        lambda w: {"cluster": w.cluster(), "capacityProviders": [w.pool()], "defaultCapacityProviderStrategy": []},
        {"cluster": CLUSTER, "capacityProviders": [NOWHERE], "defaultCapacityProviderStrategy": []},
        "InvalidParameterException",
    ),
    "RegisterContainerInstance": (
        lambda w: {"cluster": w.cluster(), "totalResources": HOST_RESOURCES},
        {"cluster": CLUSTER, "totalResources": []},
        "InvalidParameterException",
    ),
    "RegisterDaemonTaskDefinition": (
        lambda w: {"family": w.name(), "containerDefinitions": [CONTAINER]},
        {"family": "x", "containerDefinitions": []},
        "ClientException",
    ),
    "RegisterTaskDefinition": (
        lambda w: {"family": w.name(), "containerDefinitions": [CONTAINER]},
        {"family": "x", "containerDefinitions": []},
        "ClientException",
    ),
    "RunTask": (lambda w: {"cluster": CLUSTER, "taskDefinition": w.family()}, {"cluster": CLUSTER, "taskDefinition": NOWHERE}, "ClientException"),
    "StartTask": (
        lambda w: {"cluster": CLUSTER, "taskDefinition": w.family(), "containerInstances": [w.host()]},
        {"cluster": CLUSTER, "taskDefinition": NOWHERE, "containerInstances": ["x"]},
        "ClientException",
    ),
    "StopServiceDeployment": (
        lambda w: {"serviceDeploymentArn": w.under_way()},
        {"serviceDeploymentArn": NOWHERE},
        "InvalidParameterException",
    ),
    "StopTask": (lambda w: {"cluster": CLUSTER, "task": w.task()}, {"cluster": CLUSTER, "task": TASK}, "InvalidParameterException"),
    "SubmitAttachmentStateChanges": (
        lambda w: {"cluster": CLUSTER, "attachments": []},
        {"cluster": CLUSTER, "attachments": [{"attachmentArn": NOWHERE, "status": "ATTACHED"}]},
        "InvalidParameterException",
    ),
    "SubmitContainerStateChange": (
        lambda w: {**w.task_of_ecs_agent(), "containerName": "app", "status": "RUNNING"},
        {"cluster": CLUSTER, "task": TASK, "containerName": "app", "status": "RUNNING"},
        "InvalidParameterException",
    ),
    "SubmitTaskStateChange": (
        lambda w: {**w.task_of_ecs_agent(), "status": "RUNNING"},
        {"cluster": CLUSTER, "task": TASK, "status": "RUNNING"},
        "InvalidParameterException",
    ),
    "TagResource": (
        lambda w: {"resourceArn": w.task(), "tags": [{"key": "k", "value": "v"}]},
        {"resourceArn": NOWHERE, "tags": [{"key": "k", "value": "v"}]},
        "InvalidParameterException",
    ),
    "UntagResource": (lambda w: {"resourceArn": w.task(), "tagKeys": ["k"]}, {"resourceArn": NOWHERE, "tagKeys": ["k"]}, "InvalidParameterException"),
    "UpdateCapacityProvider": (
        lambda w: (lambda name: {"name": name, "autoScalingGroupProvider": {"managedDraining": "DISABLED"}})(w.pool()),
        {"name": NOWHERE, "autoScalingGroupProvider": {}},
        "InvalidParameterException",
    ),
    "UpdateCluster": (
        lambda w: {"cluster": w.cluster(), "settings": [{"name": "containerInsights", "value": "disabled"}]},
        {"cluster": NOWHERE},
        "ClusterNotFoundException",
    ),
    "UpdateClusterSettings": (
        lambda w: {"cluster": w.cluster(), "settings": [{"name": "containerInsights", "value": "disabled"}]},
        {"cluster": NOWHERE, "settings": [{"name": "containerInsights", "value": "disabled"}]},
        "ClusterNotFoundException",
    ),
    "UpdateContainerAgent": (None, {"cluster": CLUSTER, "containerInstance": NOWHERE}, "InvalidParameterException"),
    "UpdateContainerInstancesState": (
        lambda w: {"cluster": CLUSTER, "containerInstances": [w.host()], "status": "ACTIVE"},
        {"cluster": NOWHERE, "containerInstances": ["x"], "status": "ACTIVE"},
        "ClusterNotFoundException",
    ),
    "UpdateDaemon": (
        lambda w: {"daemonArn": w.daemon()["daemonArn"], **w.daemon_of()},
        {"daemonArn": DAEMON, "daemonTaskDefinitionArn": "x", "capacityProviderArns": ["x"]},
        "DaemonNotFoundException",
    ),
    "UpdateService": (
        lambda w: {"cluster": CLUSTER, "service": w.service(), "desiredCount": 2},
        {"cluster": CLUSTER, "service": NOWHERE},
        "ServiceNotFoundException",
    ),
    "UpdateServicePrimaryTaskSet": (
        task_set_call(primary=True),
        {"cluster": CLUSTER, "service": NOWHERE, "primaryTaskSet": "ecs-svc/1"},
        "ServiceNotFoundException",
    ),
    "UpdateTaskProtection": (
        lambda w: {"cluster": CLUSTER, "tasks": [w.task_of_service()], "protectionEnabled": False},
        {"cluster": CLUSTER, "tasks": [TASK], "protectionEnabled": True, "expiresInMinutes": 2881},
        "InvalidParameterException",
    ),
    "UpdateTaskSet": (
        task_set_call(scale={"value": 50, "unit": "PERCENT"}),
        {"cluster": CLUSTER, "service": NOWHERE, "taskSet": "ecs-svc/1", "scale": {"value": 1}},
        "ServiceNotFoundException",
    ),
}

# Operations without a right call: agents are not updated by the controller, and there are no namespaces.
WITHOUT = {"ListServicesByNamespace", "UpdateContainerAgent"}


@pytest.fixture(scope="module")
def world(simulated):
    return World(simulated.direct)


def method(ecs, operation):
    names = {name for name in dir(ecs) if not name.startswith("_")}
    wanted = operation.lower()
    return getattr(ecs, next(name for name in names if name.replace("_", "") == wanted))


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_operation_is_carried_out_as_it_is_meant_and_refuses_what_is_wrong(simulated, world, operation):
    call = method(simulated.ecs, operation)
    if operation not in CALLS:
        # Without validation, since what it would take does not matter.
        with pytest.raises(ClientError) as refused:
            method(berth.client(simulated.recorder.endpoint, parameter_validation=False), operation)()
        assert refused.value.response["Error"]["Code"] in ("NotImplementedException", "InvalidParameterException", "ClientException")
        assert operation in str(refused.value)
        return
    right, wrong, error = CALLS[operation]
    if right is not None:
        assert call(**right(world))["ResponseMetadata"]["HTTPStatusCode"] == 200
    else:
        assert operation in WITHOUT
    with pytest.raises(ClientError) as refused:
        call(**wrong)
    assert refused.value.response["Error"]["Code"] == error, refused.value
    assert refused.value.response["Error"]["Message"], "an error says what is wrong"


def test_pages_of_every_list_are_the_whole_list(simulated, world):
    names = [world.stable_service(tags=[{"key": "k", "value": "v"}]) for _ in range(3)]
    for _ in range(3):
        world.cluster()
        world.attribute()
    in_cluster = {"cluster": CLUSTER}
    arguments = {
        "ListAccountSettings": {"effectiveSettings": True},
        "ListAttributes": {**in_cluster, "targetType": "container-instance"},
        "ListClusters": {},
        "ListContainerInstances": in_cluster,
        "ListServices": in_cluster,
        "ListTaskDefinitionFamilies": {},
        "ListTaskDefinitions": {},
        "ListTasks": in_cluster,
    }
    without = {"ListServicesByNamespace", "ListGatewayClusterAssociations", "ListGatewayRoutes", "ListGateways"}
    ecs = simulated.ecs
    pages = {operation for operation in MODEL.operation_names if ecs.can_paginate(botocore.xform_name(operation))}
    assert set(arguments) | without == pages
    for operation, asked in arguments.items():
        paginator = ecs.get_paginator(botocore.xform_name(operation))
        key = paginator.result_keys[0].expression
        whole = paginator.paginate(**asked).build_full_result()[key]
        several = list(paginator.paginate(**asked, PaginationConfig={"PageSize": 2}))
        assert [found for page in several for found in page[key]] == whole, operation
        assert len(several) >= 2 and all(len(page[key]) <= 2 for page in several), operation
    assert set(names) <= {arn.rsplit("/", 1)[1] for arn in berth.pages(ecs, "list_services", "serviceArns", **in_cluster)}


def test_waiters_end_when_what_they_wait_for_has_come_and_fail_when_it_cannot(simulated, world):
    ecs = simulated.ecs
    of_daemons = {
        "daemon_active",
        "daemon_deployment_stopped",
        "daemon_deployment_successful",
        "daemon_task_definition_active",
        "daemon_task_definition_deleted",
    }
    assert set(ecs.waiter_names) == of_daemons | {"services_inactive", "services_stable", "tasks_running", "tasks_stopped"}
    soon = {"Delay": 1, "MaxAttempts": 60}
    service, task = {"cluster": CLUSTER, "services": [world.service(desired=2)]}, {"cluster": CLUSTER, "tasks": [world.task()]}
    ecs.get_waiter("services_stable").wait(**service, WaiterConfig=soon)
    ecs.get_waiter("tasks_running").wait(**task, WaiterConfig=soon)
    ecs.stop_task(cluster=CLUSTER, task=task["tasks"][0])
    ecs.get_waiter("tasks_stopped").wait(**task, WaiterConfig=soon)
    ecs.delete_service(cluster=CLUSTER, service=service["services"][0], force=True)
    ecs.get_waiter("services_inactive").wait(**service, WaiterConfig=soon)
    for name, arguments in [
        ("services_stable", service),
        ("services_stable", {"cluster": CLUSTER, "services": [NOWHERE]}),
        ("services_inactive", {"cluster": CLUSTER, "services": [NOWHERE]}),
        ("tasks_running", task),
        ("tasks_running", {"cluster": CLUSTER, "tasks": [TASK]}),
    ]:
        with pytest.raises(WaiterError, match="Waiter encountered a terminal failure state"):
            ecs.get_waiter(name).wait(**arguments, WaiterConfig=soon)


def test_waiters_of_daemons_end_when_what_they_wait_for_has_come_and_fail_when_it_cannot(simulated, world):
    ecs = simulated.ecs
    soon = {"Delay": 1, "MaxAttempts": 60}
    definition = {"daemonTaskDefinition": world.daemon_definition()}
    ecs.get_waiter("daemon_task_definition_active").wait(**definition, WaiterConfig=soon)
    created = world.daemon()
    daemon, deployment = {"daemonArn": created["daemonArn"]}, {"daemonDeploymentArns": [created["deploymentArn"]]}
    ecs.get_waiter("daemon_active").wait(**daemon, WaiterConfig=soon)
    # It has no hosts, and so is deployed at once.
    ecs.get_waiter("daemon_deployment_successful").wait(**deployment, WaiterConfig=soon)
    first = ecs.update_daemon(**daemon, **world.daemon_of(), deploymentConfiguration={"bakeTimeInMinutes": 60})
    ecs.update_daemon(**daemon, **world.daemon_of())
    stopped = {"daemonDeploymentArns": [first["deploymentArn"]]}
    ecs.get_waiter("daemon_deployment_stopped").wait(**stopped, WaiterConfig=soon)
    ecs.delete_daemon_task_definition(**definition)
    ecs.get_waiter("daemon_task_definition_deleted").wait(**definition, WaiterConfig=soon)
    none = {"daemonDeploymentArns": [f"{DAEMON.replace(':daemon/', ':daemon-deployment/')}/1"]}
    for name, arguments in [
        ("daemon_deployment_successful", stopped),
        ("daemon_deployment_successful", none),
        ("daemon_deployment_stopped", none),
        ("daemon_task_definition_active", definition),
    ]:
        with pytest.raises(WaiterError, match="Waiter encountered a terminal failure state"):
            ecs.get_waiter(name).wait(**arguments, WaiterConfig=soon)
