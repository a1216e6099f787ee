"""What `berth what-if` says would happen is what then happens, with hosts that `berth dev host` kills, drains and adds."""

import collections
import json
import pathlib
import time

import pytest

import berth
import containerd

HOSTS = 5
SERVICES = ["edge", "db", "api", "web"]


def register(ecs, family, cpu, memory, **more):
    container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": memory, **more}
    ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])


def furnish(process):
    """Services of several strategies that take 4,040 of 5,000 MiB, so that no host can be spared, and hosts that are given up soon."""
    ecs = berth.client(process.endpoint)
    berth.call(process.endpoint, "UpdateHostSettings", {"cluster": "shop", "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000})
    zone = {"type": "spread", "field": "attribute:ecs.availability-zone"}
    port = {"portMappings": [{"containerPort": 8080, "hostPort": 8080}]}
    for name, tasks, cpu, memory, strategy, more in [
        ("edge", 4, 32, 60, [zone, {"type": "spread", "field": "instanceId"}], port),
        ("db", 2, 64, 550, [zone], {}),
        ("api", 5, 128, 180, [{"type": "binpack", "field": "memory"}], {}),
        ("web", 12, 64, 150, [], {}),
    ]:
        register(ecs, name, cpu, memory, **more)
        # No task moves by itself while a prediction is held against what happens.
        ecs.create_service(
            cluster="shop", serviceName=name, taskDefinition=name, desiredCount=tasks, placementStrategy=strategy,
            availabilityZoneRebalancing="DISABLED",
        )
        berth.wait_stable(ecs, "shop", name, 60)
    return ecs


def places(ecs):
    """Tasks that run, by group and host."""
    names = {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, "shop")}
    tasks = berth.running(ecs, "shop")
    return collections.Counter((task["group"], names[task["containerInstanceArn"]]) for task in tasks)


def predicted(before, answer):
    after = collections.Counter(before)
    for move in answer["moves"]:
        assert move["oneOf"] == [], move
        if "from" in move:
            after[(move["group"], move["from"]["hostName"])] -= move["tasks"]
        if "to" in move:
            after[(move["group"], move["to"]["hostName"])] += move["tasks"]
    return +after


def what_if(process, *arguments):
    answer = json.loads(process.run("what-if", *arguments, "--format", "json").stdout)
    assert answer["settled"], answer
    return answer


def test_loss_of_each_host_leads_to_what_was_predicted(tmp_path):
    with berth.dev(
        tmp_path, "--runtime", "simulated", "--hosts", HOSTS, "--host-cpu", 1, "--host-memory", 1000, "--cluster", "shop"
    ) as process:
        ecs = furnish(process)
        for number in range(1, HOSTS + 1):
            host = f"host-{number}"
            before = places(ecs)
            answer = what_if(process, "--lose-host", host)
            wanted = predicted(before, answer)
            assert [lost["hostName"] for lost in answer["hostsGivenUp"]] == [host]
            assert not any(name == host for _, name in wanted), wanted
            assert host in process.run("dev", "host", "kill", host).stdout
            berth.wait_until(lambda: places(ecs) == wanted, f"{wanted} without {host}, from {before}: {places(ecs)}", 60)
            lacking = {service["serviceName"]: service["missing"] for service in answer["services"] if service["missing"]}
            assert lacking, answer
            for name, missing in lacking.items():
                service = berth.service_of(ecs, "shop", name)
                assert service["desiredCount"] - service["runningCount"] == missing, (host, service, answer)
                said = [event["message"] for event in service["events"] if "unable to place a task" in event["message"]]
                assert said, service["events"]
            # Nothing more happens after that.
            time.sleep(1)
            assert places(ecs) == wanted
            process.run("dev", "host", "add", host)
            for name in SERVICES:
                berth.wait_stable(ecs, "shop", name, 60)


def test_hosts_that_are_drained_and_added_lead_to_what_was_predicted(tmp_path):
    with berth.dev(
        tmp_path, "--runtime", "simulated", "--hosts", HOSTS, "--host-cpu", 1, "--host-memory", 1000, "--cluster", "shop"
    ) as process:
        ecs = furnish(process)
        before = places(ecs)
        wanted = predicted(before, what_if(process, "--drain", "host-2"))
        process.run("dev", "host", "drain", "host-2")
        berth.wait_until(lambda: places(ecs) == wanted, f"{wanted} with host-2 drained, from {before}", 90)

        ecs.update_service(cluster="shop", service="db", desiredCount=4)
        answer = what_if(process, "--scale", "db=4", "--add-host", "name=host-6,cpu=2048,memory=4000,az=us-east-1a")
        assert not any(service["missing"] for service in answer["services"]), answer["services"]
        process.run("dev", "host", "add", "--cpu", 2, "--memory", 4000, "--az", "us-east-1a")
        berth.wait_stable(ecs, "shop", "db", 60)
        assert sum(tasks for (group, host), tasks in places(ecs).items() if host == "host-6" and group == "service:db") > 0

        text = process.run("what-if", "--lose-az", "us-east-1a").stdout
        assert "Lost: host-1, host-4, host-6." in text and "MORE TASKS THAT FIT" in text, text
        for arguments, said in [
            ((), "what if what?"),
            (("--lose-az", "us-east-1z"), "No host of cluster shop is in zone us-east-1z"),
            (("--lose-host", "host-9"), "cluster shop has no host host-9"),
            (("--lose-host", "host-1", "--drain", "host-1"), "Host host-1 is to be lost (loseHosts, loseZones) and to be drained (drainHosts)"),
            (("--add-host", "cpu=1024,memory=1024,name=host-2"), "there is one of that name already"),
            (("--add-host", "cpu=1024,memory=1024,name=a b"), "names have no blanks"),
        ]:
            refused = process.run("what-if", *arguments, check=False)
            assert refused.returncode != 0 and said in refused.stderr, refused
        refused = process.run("dev", "host", "kill", "host-9", check=False)
        assert "there is no host host-9" in refused.stderr, refused


@pytest.mark.parametrize("keep_data", [False, True])
def test_host_of_real_containers_is_gone_when_killed_and_comes_back(tmp_path, sample_image, keep_data):
    with berth.dev(
        tmp_path, "--runtime", "containerd", "--hosts", 2, "--azs", 2, "--cluster", "shop", keep_data=keep_data
    ) as process:
        process.run("image", "import", sample_image)
        ecs = berth.client(process.endpoint)
        berth.call(process.endpoint, "UpdateHostSettings", {"cluster": "shop", "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000})
        container = {"name": "app", "image": "berth-sample:latest", "cpu": 10, "memory": 32, "stopTimeout": 2}
        ecs.register_task_definition(family="web", networkMode="bridge", containerDefinitions=[container])
        ecs.create_service(
            cluster="shop", serviceName="web", taskDefinition="web", desiredCount=4, availabilityZoneRebalancing="DISABLED"
        )
        berth.wait_stable(ecs, "shop", "web")
        wanted = predicted(places(ecs), what_if(process, "--lose-host", "host-2"))
        running = containerd.pids(ecs)
        lost = {instance["containerInstanceArn"] for instance in berth.instances_of(ecs, "shop") if instance["ec2InstanceId"] == "host-2"}
        there = [pid for task in berth.running(ecs, "shop") if task["containerInstanceArn"] in lost for pid in running[task["taskArn"]]]
        assert there
        process.run("dev", "host", "kill", "host-2")
        assert not [pid for pid in there if pathlib.Path(f"/proc/{pid}").exists()], "its processes are dead"
        berth.wait_until(lambda: places(ecs) == wanted, f"{wanted}: {places(ecs)}", 60)
        process.run("dev", "host", "add", "host-2")
        process.run("image", "import", sample_image)
        connected = [instance for instance in berth.instances_of(ecs, "shop") if instance["agentConnected"]]
        assert len(connected) == 2
        assert (lost <= {instance["containerInstanceArn"] for instance in connected}) == keep_data
        ecs.update_service(cluster="shop", service="web", desiredCount=8)
        berth.wait_stable(ecs, "shop", "web")
        assert sum(tasks for (_, host), tasks in places(ecs).items() if host == "host-2") == 4, places(ecs)
