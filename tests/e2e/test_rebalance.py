"""What `berth rebalance` proposes is what then happens, and services have as many healthy tasks as they must while it does."""

import collections
import json
import signal
import time

import berth
from watch import Watch

SETTINGS = {"cluster": "shop", "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000}


def cluster(path, hosts):
    return berth.dev(path, "--runtime", "simulated", "--hosts", hosts, "--host-cpu", 1, "--host-memory", 1000, "--cluster", "shop")


def serve(process, ecs, name, tasks, memory, **more):
    """A service whose tasks are moved by nobody but the tests, unless they say otherwise."""
    more.setdefault("availabilityZoneRebalancing", "DISABLED")
    container = {"name": "app", "image": "busybox", "cpu": 32, "memory": memory}
    ecs.register_task_definition(family=name, networkMode="host", containerDefinitions=[container])
    ecs.create_service(cluster="shop", serviceName=name, taskDefinition=name, desiredCount=tasks, **more)
    berth.wait_stable(ecs, "shop", name, 60)


def hosts_of(ecs):
    return {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, "shop")}


def places(ecs):
    """The host of each task that runs, by service."""
    names = hosts_of(ecs)
    return {task["taskArn"]: (task["group"].removeprefix("service:"), names[task["containerInstanceArn"]]) for task in berth.running(ecs, "shop")}


def counts(ecs):
    return collections.Counter(places(ecs).values())


def plan(process, *arguments):
    return json.loads(process.run("rebalance", *arguments, "--format", "json").stdout)


def test_zones_uneven_since_a_host_was_away_are_made_even_as_was_said(tmp_path):
    with cluster(tmp_path, 3) as process:
        ecs = berth.client(process.endpoint)
        berth.call(process.endpoint, "UpdateHostSettings", SETTINGS)
        process.run("dev", "host", "kill", "host-3")
        berth.wait_until(lambda: sum(i["agentConnected"] for i in berth.instances_of(ecs, "shop")) == 2, "host-3 is away")
        serve(process, ecs, "web", 6, 50)
        serve(process, ecs, "api", 3, 50, deploymentConfiguration={"minimumHealthyPercent": 60, "maximumPercent": 100})
        process.run("dev", "host", "add", "host-3")
        before = places(ecs)
        time.sleep(11)  # Tasks that have not run for ten seconds do not move.

        answer = plan(process)
        assert len(answer["moves"]) == 3, answer
        assert {spread["serviceName"]: spread["skew"] for spread in answer["after"]["spreads"]} == {"api": 0, "web": 0}, answer
        assert "Nothing was changed" in process.run("rebalance").stdout
        assert places(ecs) == before
        with Watch(process.endpoint, "web") as web, Watch(process.endpoint, "api") as api:
            done = process.run("rebalance", "--apply")
        assert "3 tasks have moved." in done.stdout, done.stdout
        assert web.fewest >= 6 and web.most <= 7, (web.fewest, web.most)
        assert api.fewest >= 2 and api.most <= 3, (api.fewest, api.most)

        after, names = places(ecs), hosts_of(ecs)
        made = berth.call(process.endpoint, "DescribeRebalance", {"cluster": "shop"})["rebalance"]
        assert made["status"] == "ENDED"
        for said, move in zip(answer["moves"], made["moves"], strict=True):
            assert (said["taskArn"], said["to"]) == (move["taskArn"], move["to"]) and move["status"] == "MOVED", move
            assert said["taskArn"] not in after
            assert after[move["replacementArn"]] == (said["serviceName"], names[said["to"]["containerInstanceArn"]])
        untouched = set(before) - {move["taskArn"] for move in answer["moves"]}
        assert {task: after[task] for task in untouched} == {task: before[task] for task in untouched}
        events = [event["message"] for event in berth.service_of(ecs, "shop", "web")["events"]]
        assert any("to AZ Rebalance: (task " in message for message in events), events
        assert any("due to AZ rebalancing: (task " in message for message in events), events
        assert plan(process)["moves"] == []


def test_services_that_ask_for_it_are_made_even_by_themselves_once_a_zone_is_back(tmp_path):
    with cluster(tmp_path, 3) as process:
        ecs = berth.client(process.endpoint)
        berth.call(process.endpoint, "UpdateHostSettings", SETTINGS)
        process.run("dev", "host", "kill", "host-3")
        berth.wait_until(lambda: sum(i["agentConnected"] for i in berth.instances_of(ecs, "shop")) == 2, "host-3 is away")
        serve(process, ecs, "asks", 6, 50, availabilityZoneRebalancing="ENABLED")
        serve(process, ecs, "stays", 3, 50)
        assert berth.service_of(ecs, "shop", "asks")["availabilityZoneRebalancing"] == "ENABLED"
        process.run("dev", "host", "add", "host-3")
        of = lambda name: sorted(tasks for (service, _), tasks in counts(ecs).items() if service == name)
        with Watch(process.endpoint, "asks") as asks:
            berth.wait_until(lambda: of("asks") == [2, 2, 2], "two tasks in each zone", 180, 1)
        assert asks.fewest >= 6 and asks.most <= 7, (asks.fewest, asks.most)
        assert of("stays") == [1, 2]
        events = [event["message"] for event in berth.service_of(ecs, "shop", "asks")["events"]]
        assert any("is not AZ balanced with " in message for message in events), events


def test_hosts_half_empty_are_freed_and_drained_as_was_said(tmp_path):
    with cluster(tmp_path, 6) as process:
        ecs = berth.client(process.endpoint)
        serve(process, ecs, "web", 18, 150)
        ecs.update_service(cluster="shop", service="web", desiredCount=6)
        berth.wait_stable(ecs, "shop", "web", 60)
        time.sleep(11)
        answer = plan(process, "--goal", "defragment")
        freed = {host["hostName"] for host in answer["hostsEmptied"]}
        assert len(freed) == 3 and len(answer["moves"]) == 3, answer
        assert answer["after"]["emptyHosts"] == 3 and answer["after"]["largestTask"]["memory"] == 1000
        wanted = counts(ecs)
        for move in answer["moves"]:
            wanted[("web", move["from"]["hostName"])] -= 1
            wanted[("web", move["to"]["hostName"])] += 1
        with Watch(process.endpoint, "web") as web:
            done = process.run("rebalance", "--goal", "defragment", "--apply", "--drain-emptied", "--at-a-time", 2)
        assert web.fewest >= 6 and web.most <= 8, (web.fewest, web.most)
        assert "3 tasks have moved. DRAINING, without tasks: " in done.stdout, done.stdout
        assert counts(ecs) == +wanted
        draining = {i["ec2InstanceId"] for i in berth.instances_of(ecs, "shop") if i["status"] == "DRAINING"}
        assert draining == freed
        assert "MOVED" in process.run("rebalance", "--status").stdout


def test_moves_are_dropped_with_a_reason_and_ctrl_c_leaves_tasks_where_they_are(tmp_path):
    with cluster(tmp_path, 2) as process:
        ecs = berth.client(process.endpoint)
        process.run("dev", "host", "drain", "host-2")
        serve(process, ecs, "web", 4, 50)
        process.run("hosts", "activate", "host-2")
        time.sleep(11)
        before = places(ecs)
        process.run("dev", "host", "drain", "host-2")
        moves = [{"task": task, "containerInstance": arn} for task in sorted(before) for arn, name in hosts_of(ecs).items() if name == "host-2"]
        berth.call(process.endpoint, "StartRebalance", {"cluster": "shop", "moves": moves})
        ended = lambda: berth.call(process.endpoint, "DescribeRebalance", {"cluster": "shop"})["rebalance"]["status"] == "ENDED"
        berth.wait_until(ended, "the moves are dropped")
        text = process.run("rebalance", "--status").stdout
        assert "4 were not moved." in text and "Host host-2 does not take it: is DRAINING." in text, text
        assert places(ecs) == before

        process.run("hosts", "activate", "host-2")
        command = berth.Process(
            ["rebalance", "--apply"], tmp_path / "rebalance.log", XDG_RUNTIME_DIR=str(process.run_dir), HOME=str(process.run_dir.parent)
        )
        command.wait_for(r"1/2 web: task \w+ moves from host-1 to host-2 as ")
        assert command.stop(signal.SIGINT, 60) == 130, command.output()
        assert "no further task is moved" in command.output() and "The rebalancing was stopped." in command.output(), command.output()
        berth.wait_until(lambda: places(ecs) == before, f"{before}: {places(ecs)}")
