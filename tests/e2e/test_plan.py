"""`berth plan`: what it says would happen is what happens when the same files are applied."""

import collections
import json

import pytest

import berth
from test_declarative import CHANGES, ERROR, NOTHING, NOT_PLACED, run, written


def document(name, tasks, memory, cpu=64, **more):
    return f"""
kind: TaskDefinition
family: {name}
networkMode: host
containerDefinitions:
  - {{name: app, image: busybox, cpu: {cpu}, memory: {memory}}}
---
kind: Service
serviceName: {name}
cluster: shop
taskDefinition: {name}
desiredCount: {tasks}
{chr(10).join(f"{member}: {json.dumps(value)}" for member, value in more.items())}
"""


PACKED = [{"type": "binpack", "field": "memory"}]


@pytest.fixture
def shop(tmp_path):
    """Three simulated hosts of 1,000 MiB with two services."""
    with berth.dev(
        tmp_path / "dev", "--runtime", "simulated", "--hosts", 3, "--host-cpu", 1, "--host-memory", 1000, "--cluster", "shop"
    ) as process:
        first = document("web", 4, 150) + "---" + document("old", 2, 100)
        run(process, CHANGES, "apply", "-f", written(tmp_path, "first.yaml", first), "--wait")
        yield process, berth.client(process.endpoint)


def places(ecs):
    names = {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, "shop")}
    return collections.Counter((task["group"], names[task["containerInstanceArn"]]) for task in berth.running(ecs, "shop"))


def started(ecs, before):
    """Tasks that were started since, by group."""
    tasks = berth.tasks_of(ecs, "shop") + berth.tasks_of(ecs, "shop", "STOPPED")
    return collections.Counter(task["group"] for task in tasks if task["taskArn"] not in before)


def all_tasks(ecs):
    return {task["taskArn"] for task in berth.tasks_of(ecs, "shop") + berth.tasks_of(ecs, "shop", "STOPPED")}


def planned(process, code, *arguments):
    return json.loads(run(process, code, "plan", *arguments, "--format", "json").stdout)


def counted(prediction, side):
    counts = collections.Counter()
    for step in prediction["steps"]:
        for found in step[side]:
            counts[found["group"]] += found["tasks"]
    return counts


def after(before, prediction):
    assert prediction["settled"] and not prediction["leftToChance"], prediction
    places = collections.Counter(before)
    for move in prediction["moves"]:
        if "from" in move:
            places[(move["group"], move["from"]["hostName"])] -= move["tasks"]
        if "to" in move:
            places[(move["group"], move["to"]["hostName"])] += move["tasks"]
    return +places


def test_files_that_are_applied_lead_to_what_was_planned(shop, tmp_path):
    process, ecs = shop
    files = document("web", 5, 120) + "---"
    files += document("api", 3, 200, placementStrategy=PACKED) + "---" + document("jobs", 2, 90)
    path = written(tmp_path, "next.yaml", files)
    words = run(process, CHANGES, "plan", "-f", path).stdout
    for said in ["+ service api in cluster shop", "~ task definition web", "STEP  AFTER", "service:api", "The rollout in cluster shop"]:
        assert said in words, words
    plan = planned(process, CHANGES, "-f", path)
    assert {change["subject"] for change in plan["changes"]} >= {"service api in cluster shop", "service web in cluster shop"}
    [cluster] = plan["clusters"]
    prediction = cluster["prediction"]
    before, known = places(ecs), all_tasks(ecs)
    assert not [d for d in ecs.list_task_definitions(familyPrefix="api")["taskDefinitionArns"]], "nothing was registered"
    run(process, CHANGES, "apply", "-f", path, "--wait")
    assert places(ecs) == after(before, prediction), prediction
    assert started(ecs, known) == counted(prediction, "starts")
    assert counted(prediction, "stops") == {"service:web": 4}
    assert prediction["steps"][0]["afterMs"] == 0
    # All is as the files say by now.
    assert planned(process, NOTHING, "-f", path)["changes"] == []


def test_what_would_find_no_host_is_planned_with_what_would_help(shop, tmp_path):
    process, ecs = shop
    path = written(tmp_path, "wide.yaml", document("web", 4, 700))
    words = run(process, NOT_PLACED, "plan", "-f", path).stdout
    assert "What would make one fit" in words and "MIB FREE" in words, words
    [cluster] = planned(process, NOT_PLACED, "-f", path)["clusters"]
    [service] = [found for found in cluster["prediction"]["services"] if found["serviceName"] == "web"]
    before, known = places(ecs), all_tasks(ecs)
    assert run(process, NOT_PLACED, "apply", "-f", path, "--wait", "--timeout", "20s")
    assert places(ecs) == after(before, cluster["prediction"]), "what could be replaced was, as was planned"
    assert started(ecs, known) == counted(cluster["prediction"], "starts")
    assert service["missing"] + service["notReplaced"] > 0
    remedies = service["fit"]["remedies"]
    said = json.loads(process.run("why-not", "web", "--format", "json").stdout)["remedies"]
    assert remedies[0]["sentence"] == said[0]["sentence"], "the smallest change is the one that why-not tells afterwards"


def test_deletion_is_planned_and_happens_so(shop, tmp_path):
    process, ecs = shop
    path = written(tmp_path, "old.yaml", document("old", 2, 100))
    words = run(process, CHANGES, "plan", "-f", path, "--delete").stdout
    assert "- service old in cluster shop" in words and "(gone)" in words, words
    [cluster] = planned(process, CHANGES, "-f", path, "--delete")["clusters"]
    before = places(ecs)
    run(process, CHANGES, "delete", "-f", path)
    assert places(ecs) == after(before, cluster["prediction"])
    assert counted(cluster["prediction"], "stops") == {"service:old": 2}
    assert planned(process, NOTHING, "-f", path, "--delete")["clusters"] == []


def test_plan_for_a_cluster_that_is_yet_to_be_made_and_for_what_is_refused(shop, tmp_path):
    process, _ = shop
    new = "kind: Cluster\nclusterName: fresh\n---" + document("web", 4, 150).replace("cluster: shop", "cluster: fresh")
    words = run(process, NOT_PLACED, "plan", "-f", written(tmp_path, "fresh.yaml", new)).stdout
    assert "Cluster fresh is yet to be made and has no hosts: its services want 4 tasks" in words, words
    wrong = document("x", 1, 10, placementStrategy=[{"type": "spread", "field": "nonsense"}])
    result = run(process, ERROR, "plan", "-f", written(tmp_path, "wrong.yaml", wrong))
    assert "wrong.yaml:" in result.stderr and "would not be accepted" in result.stderr, result.stderr
    assert run(process, ERROR, "plan").stderr.startswith("berth: -f is missing")
