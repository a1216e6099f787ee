"""Placement decisions of a cluster exported from its log."""

import json

import berth

HOSTS = 4


def furnish(process):
    """A service that is packed, one that is spread over two zones, and hosts that are given up soon."""
    ecs = berth.client(process.endpoint)
    berth.call(process.endpoint, "UpdateHostSettings", {"cluster": "shop", "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000})
    packed = [{"type": "binpack", "field": "cpu"}]
    for name, cpu, strategy in [("batch", 128, packed), ("web", 64, [])]:
        container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": 64}
        ecs.register_task_definition(family=name, containerDefinitions=[container])
        ecs.create_service(cluster="shop", serviceName=name, taskDefinition=name, desiredCount=2, placementStrategy=strategy)
        berth.wait_stable(ecs, "shop", name, 60)
    return ecs


def hosts_of(ecs, group):
    """The hosts on which tasks of a group run."""
    names = {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, "shop")}
    return {names[task["containerInstanceArn"]] for task in berth.running(ecs, "shop") if task["group"] == group}


def lines(path):
    """The lines of a recording as pairs: what a line is, and what it says."""
    return [next(iter(json.loads(line).items())) for line in path.read_text().splitlines()]


def of_kind(recording, kind):
    return [said for what, said in recording if what == kind]


def test_decisions_of_a_cluster_are_exported_for_any_span_that_is_held(tmp_path):
    arguments = ("--runtime", "simulated", "--hosts", HOSTS, "--host-cpu", 1, "--host-memory", 4000, "--cluster", "shop")
    with berth.dev(tmp_path, *arguments) as process:
        ecs = furnish(process)
        ecs.update_service(cluster="shop", service="batch", desiredCount=6)
        berth.wait_stable(ecs, "shop", "batch", 60)
        # Six of 128 CPU units fit on one host of 1024 beside a task of the other service: where the first went, the others followed.
        [full] = hosts_of(ecs, "service:batch")
        process.run("dev", "host", "kill", full)
        moved = lambda: len(berth.running(ecs, "shop")) == 8 and full not in hosts_of(ecs, "service:batch")
        berth.wait_until(moved, f"the tasks of {full} run elsewhere", 60)

        whole = tmp_path / "whole.jsonl"
        assert str(whole) in process.run("decisions", "export", "--out", whole).stdout
        recording = lines(whole)
        placed, hosts = of_kind(recording, "placed"), {host["host"]: host["name"] for host in of_kind(recording, "host")}
        gone = of_kind(recording, "gone")
        assert len(placed) == 8 + len(gone) and gone, recording
        assert sorted(hosts.values()) == [f"host-{number}" for number in range(1, HOSTS + 1)]
        assert [hosts[lost["host"]] for lost in of_kind(recording, "lost")] == [full]
        requests = {request["request"]: request for request in of_kind(recording, "request")}
        packed = [task for task in placed if requests[task["request"]]["group"] == "service:batch"]
        assert {hosts[task["host"]] for task in packed[:6]} == {full}, packed
        assert all(task["decision"]["considered"] == HOSTS for task in placed), placed

        middle = [entry["index"] for entry in of_kind(recording, "entry")][len(of_kind(recording, "entry")) // 2]
        part = tmp_path / "part.jsonl"
        process.run("decisions", "export", "--out", part, "--from", middle)
        assert min(entry["index"] for entry in of_kind(lines(part), "entry")) == middle
        for arguments, said in [
            (("--out", part), "exists already"),
            (("--out", tmp_path / "a", "--from", 1_000_000), "There is no entry 1000000 in the log yet"),
            (("--out", tmp_path / "a", "--from", 1), "entry 1 is no longer in this controller's log"),
            (("--out", tmp_path / "a", "--from", "2100-01-01T00:00:00Z"), "nothing was decided at that time or later"),
            (("--out", tmp_path / "a", "--from", "lately"), "neither an entry of the log nor a time"),
            (("--out", tmp_path / "a", "--cluster", "other"), "Cluster not found"),
        ]:
            refused = process.run("decisions", "export", *arguments, check=False)
            assert refused.returncode != 0 and said.lower() in refused.stderr.lower(), refused.stderr
        assert not (tmp_path / "a").exists()
