"""Where tasks go: events when nothing fits, no promise beyond what a host has, and a large cluster to steady state."""

import collections
import concurrent.futures
import time

import berth


def register(ecs, family, cpu=10, memory=32, **more):
    container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": memory, **more}
    return ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])["taskDefinition"]


def test_service_that_cannot_be_placed_says_why_in_its_events(simulated):
    ecs = simulated.ecs
    register(ecs, "giant", memory=10_000_000)
    ecs.create_service(cluster="shop", serviceName="giant", taskDefinition="giant", desiredCount=1)

    def look():
        events = berth.service_of(ecs, "shop", "giant")["events"]
        return [event["message"] for event in events if "unable to place a task" in event["message"]]

    message = berth.wait_until(look, "an event that says why", 30)[0]
    assert message.startswith(
        "(service giant) was unable to place a task because no container instance met all of its requirements."
    ), message
    assert "MiB" in message or "memory" in message.lower(), message
    assert any(character.isdigit() for character in message.split("requirements.", 1)[1]), message
    assert berth.service_of(ecs, "shop", "giant")["runningCount"] == 0
    ecs.delete_service(cluster="shop", service="giant", force=True)


def test_run_task_that_fits_nowhere_names_the_resource_per_host(simulated):
    ecs = simulated.ecs
    register(ecs, "heavy", memory=10_000_000)
    answer = ecs.run_task(cluster="shop", taskDefinition="heavy", count=2)
    assert answer["tasks"] == []
    assert {failure["reason"] for failure in answer["failures"]} == {"RESOURCE:MEMORY"}, answer["failures"]


def test_fixed_host_port_takes_one_task_per_host(simulated):
    ecs = simulated.ecs
    register(ecs, "port", portMappings=[{"containerPort": 8080, "hostPort": 8080}])
    answers = [ecs.run_task(cluster="shop", taskDefinition="port") for _ in range(7)]
    tasks = [task for answer in answers for task in answer["tasks"]]
    assert len({task["containerInstanceArn"] for task in tasks}) == len(tasks) == 6
    assert {failure["reason"] for failure in answers[6]["failures"]} == {"RESOURCE:PORTS"}, answers[6]["failures"]
    for task in tasks:
        ecs.stop_task(cluster="shop", task=task["taskArn"])


def test_service_with_a_strategy_of_berths_own_fills_one_host_and_shows_it_again(simulated):
    ecs = simulated.ecs
    register(ecs, "tight")
    strategy = [{"type": "binpack", "field": "berth:tightest"}]
    ecs.create_service(cluster="shop", serviceName="tight", taskDefinition="tight", desiredCount=4, placementStrategy=strategy)
    berth.wait_stable(ecs, "shop", "tight", 60)
    assert berth.service_of(ecs, "shop", "tight")["placementStrategy"] == strategy
    hosts = {task["containerInstanceArn"] for task in berth.running(ecs, "shop", serviceName="tight")}
    assert len(hosts) == 1, hosts
    ecs.delete_service(cluster="shop", service="tight", force=True)


def test_racing_run_task_calls_never_reserve_more_than_a_host_has(tmp_path):
    with berth.dev(
        tmp_path, "--runtime", "simulated", "--hosts", 3, "--host-cpu", 1, "--host-memory", 1024, "--cluster", "shop"
    ) as process:
        ecs = berth.client(process.endpoint, connections=64)
        register(ecs, "race", cpu=10, memory=7)
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda _: ecs.run_task(cluster="shop", taskDefinition="race"), range(1000)))
        placed = [task["containerInstanceArn"] for answer in answers for task in answer["tasks"]]
        reasons = collections.Counter(failure["reason"] for answer in answers for failure in answer["failures"])
        assert len(placed) + sum(1 for answer in answers if answer["failures"]) == 1000
        for instance in berth.instances_of(ecs, "shop"):
            left = {resource["name"]: resource["integerValue"] for resource in instance["remainingResources"] if "integerValue" in resource}
            assert left["CPU"] >= 0 and left["MEMORY"] >= 0, left
            has = {resource["name"]: resource["integerValue"] for resource in instance["registeredResources"] if "integerValue" in resource}
            assert has["CPU"] - left["CPU"] == 10 * placed.count(instance["containerInstanceArn"])
        # 1024 CPU units hold 102 tasks of 10; nothing is refused while there is room.
        assert len(placed) == 3 * 102, reasons
        assert set(reasons) <= {"RESOURCE:CPU", "RESOURCE:MEMORY"}, reasons


def test_two_thousand_tasks_on_two_hundred_hosts_come_to_steady_state(tmp_path, record_property):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 200, "--azs", 3, "--cluster", "shop") as process:
        ecs = berth.client(process.endpoint)
        berth.wait_until(lambda: len(berth.pages(ecs, "list_container_instances", "containerInstanceArns", cluster="shop")) == 200, "200 hosts", 60)
        register(ecs, "many")
        start = time.monotonic()
        ecs.create_service(cluster="shop", serviceName="many", taskDefinition="many", desiredCount=2000)
        berth.wait_stable(ecs, "shop", "many", 300)
        took = time.monotonic() - start
        record_property("seconds", round(took, 1))
        tasks = berth.running(ecs, "shop", serviceName="many")
        zones = collections.Counter(task["availabilityZone"] for task in tasks)
        print(f"2,000 tasks on 200 hosts were steady after {took:.1f} s; by zone {dict(zones)}")
        assert sum(zones.values()) == 2000
        assert len(zones) == 3 and max(zones.values()) - min(zones.values()) <= 1, zones
