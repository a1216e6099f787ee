"""Capacity providers over boto3: two pools of hosts, services and tasks that are divided among them, and what is refused."""

import collections
import json

import pytest
from botocore.exceptions import ClientError

import berth

POOLS = ["plain", "gpu"]


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """Two pools with three simulated hosts each, in three zones."""
    pools = [argument for pool in POOLS for argument in ("--capacity-provider", pool)]
    arguments = ["--runtime", "simulated", "--hosts", 6, "--azs", 3, "--cluster", "shop", *pools]
    with berth.dev(tmp_path_factory.mktemp("pools"), *arguments) as process:
        ecs = berth.client(process.endpoint)
        for pool in POOLS:
            ecs.create_capacity_provider(name=pool, autoScalingGroupProvider={"autoScalingGroupArn": pool})
        ecs.put_cluster_capacity_providers(
            cluster="shop", capacityProviders=POOLS, defaultCapacityProviderStrategy=strategy(plain=(0, 1))
        )
        container = {"name": "app", "image": "busybox", "cpu": 64, "memory": 64}
        ecs.register_task_definition(family="app", networkMode="host", containerDefinitions=[container])
        process.ecs = ecs
        yield process


def strategy(**pools):
    """From base and weight by pool."""
    items = pools.items()
    return [{"capacityProvider": pool, "base": base, "weight": weight} for pool, (base, weight) in items]


def pools_of(ecs):
    """The pool of each container instance."""
    return {instance["containerInstanceArn"]: instance["capacityProviderName"] for instance in berth.instances_of(ecs, "shop")}


def by_pool(ecs, group):
    """Running tasks of a group by capacity provider; each is on a host of its own."""
    hosts = pools_of(ecs)
    tasks = [task for task in berth.running(ecs, "shop") if task["group"] == group]
    assert all(task["capacityProviderName"] == hosts[task["containerInstanceArn"]] for task in tasks)
    return dict(collections.Counter(task["capacityProviderName"] for task in tasks))


def refused(call, code, part):
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response["Error"]
    assert answer["Code"] == code, answer
    assert part in answer["Message"], answer


def test_hosts_are_in_the_pools_that_they_were_started_for(dev):
    assert collections.Counter(pools_of(dev.ecs).values()) == {"plain": 3, "gpu": 3}
    described = dev.ecs.describe_capacity_providers(cluster="shop")["capacityProviders"]
    assert [provider["name"] for provider in described] == ["gpu", "plain"]
    cluster = dev.ecs.describe_clusters(clusters=["shop"])["clusters"][0]
    assert cluster["capacityProviders"] == POOLS
    assert cluster["defaultCapacityProviderStrategy"] == strategy(plain=(0, 1))
    rows = json.loads(dev.run("hosts", "--format", "json").stdout)
    assert sorted(row["capacityProvider"] for row in rows) == ["gpu"] * 3 + ["plain"] * 3


def test_service_keeps_its_base_and_its_proportion_as_it_is_scaled(dev):
    ecs = dev.ecs
    ecs.create_service(
        cluster="shop",
        serviceName="site",
        taskDefinition="app",
        desiredCount=2,
        capacityProviderStrategy=strategy(gpu=(2, 1), plain=(0, 3)),
    )
    for desired, expected in [(2, {"gpu": 2}), (10, {"gpu": 4, "plain": 6}), (6, {"gpu": 3, "plain": 3}), (1, {"gpu": 1})]:
        ecs.update_service(cluster="shop", service="site", desiredCount=desired)
        berth.wait_stable(ecs, "shop", "site", 60)
        assert by_pool(ecs, "service:site") == expected
    service = ecs.describe_services(cluster="shop", services=["site"])["services"][0]
    assert service["capacityProviderStrategy"] == strategy(gpu=(2, 1), plain=(0, 3))
    assert "launchType" not in service


def test_other_strategy_takes_a_new_deployment_and_moves_the_tasks(dev):
    ecs = dev.ecs
    ecs.create_service(cluster="shop", serviceName="moves", taskDefinition="app", desiredCount=4)
    berth.wait_stable(ecs, "shop", "moves", 60)
    assert by_pool(ecs, "service:moves") == {"plain": 4}, "by the default of the cluster"
    change = {"cluster": "shop", "service": "moves", "capacityProviderStrategy": strategy(gpu=(0, 1), plain=(0, 1))}
    refused(lambda: ecs.update_service(**change), "InvalidParameterException", "you must force a new deployment")
    ecs.update_service(**change, forceNewDeployment=True)
    berth.wait_stable(ecs, "shop", "moves", 90)
    assert by_pool(ecs, "service:moves") == {"gpu": 2, "plain": 2}


def test_tasks_outside_services_are_divided_within_the_request(dev):
    ecs = dev.ecs
    answer = ecs.run_task(
        cluster="shop", taskDefinition="app", count=9, group="jobs", capacityProviderStrategy=strategy(gpu=(1, 1), plain=(0, 1))
    )
    assert answer["failures"] == []
    names = collections.Counter(task["capacityProviderName"] for task in answer["tasks"])
    assert names == {"gpu": 5, "plain": 4}
    anywhere = ecs.run_task(cluster="shop", taskDefinition="app", launchType="EC2")["tasks"][0]
    assert "capacityProviderName" not in anywhere


def test_pool_without_room_is_not_helped_out_by_another_and_why_not_says_what_would_help(dev):
    ecs = dev.ecs
    container = {"name": "app", "image": "busybox", "cpu": 2048, "memory": 64}
    ecs.register_task_definition(family="big", networkMode="host", containerDefinitions=[container])
    answer = ecs.run_task(cluster="shop", taskDefinition="big", count=10, capacityProviderStrategy=strategy(gpu=(0, 1)))
    assert 0 < len(answer["tasks"]) < 10
    assert all(task["capacityProviderName"] == "gpu" for task in answer["tasks"])
    assert answer["failures"][0]["reason"] == "RESOURCE:CPU"
    ecs.create_service(
        cluster="shop", serviceName="stuck", taskDefinition="big", desiredCount=1, capacityProviderStrategy=strategy(gpu=(0, 1))
    )
    told = dev.run("why-not", "stuck", check=False).stdout
    assert "is not in capacity provider gpu, but in plain" in told
    assert "add a host with at least 2048 CPU units and 64 MiB in capacity provider gpu" in told
    dev.run("dev", "host", "add", "--capacity-provider", "gpu")
    berth.wait_stable(ecs, "shop", "stuck", 60)
    assert by_pool(ecs, "service:stuck") == {"gpu": 1}
    for task in answer["tasks"]:
        ecs.stop_task(cluster="shop", task=task["taskArn"])


def test_what_ecs_or_berth_does_not_take_is_refused_by_name(dev):
    ecs = dev.ecs

    def service(**more):
        return lambda: ecs.create_service(cluster="shop", serviceName="none", taskDefinition="app", **more)

    zero = strategy(gpu=(0, 0), plain=(1, 0))
    for call, code, part in [
        (service(desiredCount=1, launchType="EC2", capacityProviderStrategy=strategy(gpu=(0, 1))), "InvalidParameterException", "both a launch type"),
        (service(desiredCount=1, capacityProviderStrategy=zero), "InvalidParameterException", "weight value greater than zero"),
        (service(desiredCount=1, capacityProviderStrategy=strategy(other=(0, 1))), "InvalidParameterException", "not associated with the cluster"),
        (service(desiredCount=1, capacityProviderStrategy=strategy(FARGATE=(0, 1))), "InvalidParameterException", "not associated with the cluster"),
        (service(desiredCount=1, capacityProviderStrategy=strategy(FARGATE=(0, 1), gpu=(0, 1))), "InvalidParameterException", "cannot contain a mix"),
        (service(schedulingStrategy="DAEMON"), "InvalidParameterException", "DAEMON scheduling strategy"),
    ]:
        refused(call, code, part)
    scaled = {"autoScalingGroupArn": "more", "managedScaling": {"status": "ENABLED"}}
    refused(lambda: ecs.create_capacity_provider(name="more", autoScalingGroupProvider=scaled), "ClientException", "managedScaling.status")
    refused(
        lambda: ecs.put_cluster_capacity_providers(cluster="shop", capacityProviders=["plain"], defaultCapacityProviderStrategy=[]),
        "ResourceInUseException",
        "The specified capacity provider is in use and cannot be removed. The capacity provider gpu is used by ",
    )
    refused(lambda: ecs.delete_capacity_provider(capacityProvider="gpu"), "ClientException", "is associated with cluster: shop")
    ecs.create_capacity_provider(name="spare", autoScalingGroupProvider={"autoScalingGroupArn": "spare"}, tags=[{"key": "k", "value": "v"}])
    spare = ecs.describe_capacity_providers(capacityProviders=["spare"], include=["TAGS"])["capacityProviders"][0]
    assert spare["tags"] == [{"key": "k", "value": "v"}]
    assert ecs.delete_capacity_provider(capacityProvider="spare")["capacityProvider"]["status"] == "INACTIVE"
    gone = ecs.describe_capacity_providers(capacityProviders=["spare"])
    assert [failure["reason"] for failure in gone["failures"]] == ["MISSING"]
