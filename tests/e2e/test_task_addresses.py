"""Tasks that have an address of their own (networkMode awsvpc), over boto3 and on real containers."""

import pathlib

import pytest
from botocore.exceptions import ClientError

import berth

CLUSTER = "shop"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-default"], "assignPublicIp": "DISABLED"}}
IMAGE = "berth-sample:latest"


def register(ecs, family, *containers, **more):
    return ecs.register_task_definition(family=family, networkMode="awsvpc", containerDefinitions=list(containers), **more)["taskDefinition"]


def server(name="web", port=80, **more):
    return {"name": name, "image": IMAGE, "memory": 32, "stopTimeout": 2, "portMappings": [{"containerPort": port}], **more}


def described(ecs, arn):
    return ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]


def running(ecs, arn):
    return berth.wait_until(lambda: (task := described(ecs, arn))["lastStatus"] == "RUNNING" and task, "the task runs", 60)


def details(task):
    [attachment] = task["attachments"]
    assert attachment["type"] == "ElasticNetworkInterface"
    return attachment["status"], {detail["name"]: detail["value"] for detail in attachment["details"]}


@pytest.mark.containers
def test_tasks_with_one_port_each_have_an_address_that_goes_with_them(containers):
    ecs = containers.ecs
    definition = register(ecs, "own", server())
    assert definition["requiresAttributes"] == [{"name": "ecs.capability.task-eni"}]
    assert definition["containerDefinitions"][0]["portMappings"][0]["hostPort"] == 80
    host = berth.instances_of(ecs, CLUSTER)[0]
    assert berth.attribute(host, "ecs.subnet-id") == "subnet-default"
    # On one host, so that they would be in each other's way if they took its ports.
    arns = [
        ecs.start_task(
            cluster=CLUSTER, taskDefinition="own", containerInstances=[host["containerInstanceArn"]], networkConfiguration=NETWORK
        )["tasks"][0]["taskArn"]
        for _ in range(2)
    ]
    tasks = [running(ecs, arn) for arn in arns]
    addresses = []
    for task in tasks:
        status, found = details(task)
        assert status == "ATTACHED" and found["subnetId"] == "subnet-default"
        assert found["networkInterfaceId"].startswith("eni-") and len(found["macAddress"].split(":")) == 6
        assert found["privateDnsName"] == f"ip-{found['privateIPv4Address'].replace('.', '-')}.ec2.internal"
        [container] = task["containers"]
        assert container["networkBindings"] == []
        assert container["networkInterfaces"] == [
            {"attachmentId": task["attachments"][0]["id"], "privateIpv4Address": found["privateIPv4Address"]}
        ]
        assert berth.page(f"{found['privateIPv4Address']}:80")
        addresses.append(found["privateIPv4Address"])
    assert len(set(addresses)) == 2
    listed = containers.dev.run("ps").stdout
    assert all(address in listed for address in addresses), listed

    for arn in arns:
        ecs.stop_task(cluster=CLUSTER, task=arn)
    for arn in arns:
        stopped = berth.wait_until(lambda arn=arn: (task := described(ecs, arn))["lastStatus"] == "STOPPED" and task, "it stops", 60)
        assert details(stopped)[0] == "DELETED"
        assert not list(pathlib.Path("/run/netns").glob(f"*{arn.split('/')[-1]}"))


@pytest.mark.containers
def test_containers_of_a_task_talk_over_its_loopback_and_services_keep_to_their_subnets(containers):
    ecs = containers.ecs
    # The second container is healthy as soon as the first answers on the loopback that both share.
    ask = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:80/"]
    probe = {"command": ask, "interval": 5, "timeout": 2, "retries": 10}
    register(ecs, "pair", server(), server("beside", 81, healthCheck=probe, environment=[{"name": "PORT", "value": "81"}]))
    service = ecs.create_service(
        cluster=CLUSTER, serviceName="pair", taskDefinition="pair", desiredCount=2, networkConfiguration=NETWORK
    )["service"]
    shown = {"awsvpcConfiguration": {"subnets": ["subnet-default"], "securityGroups": [], "assignPublicIp": "DISABLED"}}
    assert service["networkConfiguration"] == service["deployments"][0]["networkConfiguration"] == shown
    berth.wait_stable(ecs, CLUSTER, "pair")
    tasks = berth.running(ecs, CLUSTER, serviceName="pair")
    assert len({details(task)[1]["privateIPv4Address"] for task in tasks}) == 2
    healthy = lambda: all(task["healthStatus"] == "HEALTHY" for task in berth.running(ecs, CLUSTER, serviceName="pair"))
    berth.wait_until(healthy, "what is asked over the loopback answers", 60)
    # Nothing offers that subnet: the service says so, and keeps what it has.
    elsewhere = {"awsvpcConfiguration": {"subnets": ["subnet-moon"]}}
    ecs.update_service(cluster=CLUSTER, service="pair", networkConfiguration=elsewhere)
    said = lambda: [event["message"] for event in berth.service_of(ecs, CLUSTER, "pair")["events"]]
    berth.wait_until(lambda: any("subnet-moon" in message and "ATTRIBUTE" in message for message in said()), "it says why", 60)
    why = containers.dev.run("why-not", "pair").stdout
    assert "needs the attribute ecs.subnet-id to be subnet-moon, has subnet-default" in why, why
    assert berth.service_of(ecs, CLUSTER, "pair")["runningCount"] == 2
    ecs.delete_service(cluster=CLUSTER, service="pair", force=True)


def test_configuration_that_is_missing_or_means_nothing_is_refused_in_the_words_of_ecs(simulated):
    ecs = simulated.ecs
    register(ecs, "refused", server())
    ecs.register_task_definition(family="bridged", containerDefinitions=[{"name": "c", "image": "i", "memory": 32}])
    for definition, network, said in [
        ("refused", {}, "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        ("bridged", NETWORK, "Network Configuration is not valid for the given networkMode of this task definition."),
        ("refused", {"awsvpcConfiguration": {"subnets": ["s"], "securityGroups": ["sg-1"]}}, "The security group 'sg-1' does not exist."),
        ("refused", {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": "ENABLED"}}, "Assign public IP is not supported for this launch type."),
    ]:
        given = {"networkConfiguration": network} if network else {}
        with pytest.raises(ClientError) as refused:
            ecs.run_task(cluster=CLUSTER, taskDefinition=definition, **given)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"
        assert refused.value.response["Error"]["Message"].startswith(said)
    answer = ecs.run_task(cluster=CLUSTER, taskDefinition="refused", networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-moon"]}})
    assert answer["tasks"] == [] and {failure["reason"] for failure in answer["failures"]} == {"ATTRIBUTE"}
    arn = ecs.run_task(cluster=CLUSTER, taskDefinition="refused", networkConfiguration=NETWORK)["tasks"][0]["taskArn"]
    assert details(running(ecs, arn))[1]["privateIPv4Address"].startswith("10.177.")
    ecs.stop_task(cluster=CLUSTER, task=arn)
